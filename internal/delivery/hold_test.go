package delivery

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// hold has the owner of the endpoints hold them, or let them go, as it does when
// an address has not agreed.
func (r *rig) hold(endpoint int64, held bool) {
	r.t.Helper()
	r.mu.Lock()
	r.held = held
	r.mu.Unlock()
	r.write(func(tx *sqldb.Tx) error {
		if held {
			return r.engine.Held(tx, endpoint)
		}
		return r.engine.Changed(tx, endpoint)
	})
}

// ping commits an event that is owed to one endpoint alone.
func (r *rig) ping(endpoint int64) int64 {
	r.t.Helper()
	e := &event.Event{Action: event.Ping, Registry: event.Registry{ID: endpoint, Location: "local"}, OwedTo: endpoint}
	r.write(func(tx *sqldb.Tx) error { return r.outbox.Append(tx, outbox.Prepare(e)) })
	return e.Pos
}

// rings returns how often the receivers were rung.
func (r *rig) rings() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.rang)
}

// An endpoint that may not be rung is sent nothing: no event, ping, retry, probe
// or replay, over a restart too. It costs a position, and gets all of it in order
// once it may.
func TestHeld(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.policy(1, func(p *ring.Policy) { p.Order = ring.PerRepository })
		r.hold(1, true)
		const pushes = 1500
		var first int64
		for i := range pushes {
			if pos := r.push(1, fmt.Sprint("v", i)); i == 0 {
				first = pos
			}
			if i%500 == 0 {
				r.hold(1, true) // it was asked again
				synctest.Wait()
			}
			if i == 700 {
				synctest.Wait()
				r.crash()
				r.start()
			}
		}
		ping := r.ping(1)
		entry, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{Upto: first, Actions: []event.Action{event.Push}}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.rings(); n != 0 {
			t.Fatalf("it was rung %d times", n)
		}
		if attempts := r.attempts(1); len(attempts) != 0 {
			t.Errorf("%d attempts are on record, for example %+v", len(attempts), attempts[0])
		}
		if n := r.rowCount("delivery"); n > 1 { // that of the replay
			t.Errorf("it has %d rows", n)
		}
		letters := r.deadLetters(1)
		if len(letters) != 1 || letters[0].PosFrom != ping || letters[0].Reason != reasonHeld.why {
			t.Errorf("dead letters %+v, want the ping", letters)
		}
		if h := r.health(1); h.Behind < pushes || !h.NextAttempt.IsZero() {
			t.Errorf("health is %+v", h)
		}

		r.hold(1, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		got := r.delivered(1)
		var fresh []int64
		for _, rung := range r.rang {
			if rung.replay == 0 {
				fresh = append(fresh, rung.pos)
			}
		}
		if len(fresh) != pushes || !slices.IsSorted(fresh) || len(got) < pushes {
			t.Errorf("%d of %d events came, sorted: %v", len(fresh), pushes, slices.IsSorted(fresh))
		}
		if done, err := r.engine.ReplayByID(bg, 1, entry.ID); err != nil || done.State != ReplayDone || done.Delivered != 1 {
			t.Errorf("the replay is %+v, %v", done, err)
		}
		if n := r.rowCount("delivery"); n != 0 {
			t.Errorf("%d rows left", n)
		}
		r.push(1, "now")
		time.Sleep(time.Second)
		synctest.Wait()
		if h := r.health(1); h.State != Live || h.Waiting != 0 || r.rings() != pushes+2 {
			t.Errorf("health is %+v after %d rings", h, r.rings())
		}
	})
}

// What waits in memory, in rows, or is about to be sent when an endpoint may not be
// rung any more, waits and is not counted as an attempt.
func TestHeldInTheMidst(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.policy(1, func(p *ring.Policy) { p.Order, p.MaxAttempts = ring.PerRepository, 2 })
		r.answer = func(_ int64, e *event.Event) outbound.Result {
			res := status(200)
			if e.Pos == 1 {
				res = status(503)
			}
			res.Duration = time.Second
			return res
		}
		for i := range 5 {
			r.push(1, fmt.Sprint("v", i)) // one in flight, four in the queue
		}
		synctest.Wait()
		if n := r.rings(); n != 1 {
			t.Fatalf("rung %d times, want 1", n)
		}
		// Without a word to the engine: it finds out when it asks for a request.
		r.mu.Lock()
		r.held = true
		r.mu.Unlock()
		time.Sleep(20 * time.Second) // the retry is due
		synctest.Wait()
		r.push(1, "v5")
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.rings(); n != 1 {
			t.Fatalf("rung %d times while it may not be", n-1)
		}
		r.hold(1, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		var order []int64
		for _, rung := range r.rang {
			order = append(order, rung.pos)
		}
		if want := []int64{1, 1, 2, 3, 4, 5, 6}; !slices.Equal(order, want) {
			t.Errorf("rung for %v, want %v", order, want)
		}
		for _, a := range r.attempts(1) {
			if want := 1; a.Pos != 1 && a.N != want || a.N > 2 {
				t.Errorf("event %d: attempt %d", a.Pos, a.N)
			}
		}
		if letters := r.deadLetters(1); len(letters) != 1 || letters[0].PosFrom != 1 { // the second of two attempts failed
			t.Errorf("dead letters %+v", letters)
		}
	})
}

// What waits for longer than its time to live becomes one dead letter, as it does
// for an endpoint that is down: what is behind the cursor, and what has rows.
func TestHeldForLongerThanTTL(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.policy(1, func(p *ring.Policy) { p.TTL = 24 * time.Hour })
		r.down(all)
		for i := range 3 {
			r.push(1, fmt.Sprint("row", i)) // these get rows
		}
		synctest.Wait()
		rung := r.rings()
		r.hold(1, true)
		for i := range 48 {
			r.push(1, fmt.Sprint("v", i))
			time.Sleep(time.Hour)
			r.hold(1, true)
		}
		synctest.Wait()
		givenUp := func() (n int64) {
			for _, d := range r.deadLetters(1) {
				n += d.Count
			}
			return n
		}
		if n := givenUp(); len(r.deadLetters(1)) != 1 || n < 3+23 || n > 3+25 || r.rowCount("delivery") != 0 {
			t.Errorf("%d events in %d dead letters, %d rows", n, len(r.deadLetters(1)), r.rowCount("delivery"))
		}
		if r.rings() != rung {
			t.Error("it was rung")
		}
		r.down(nil)
		r.hold(1, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, given := int64(len(r.delivered(1))), givenUp(); got+given != 51 || got < 23 {
			t.Errorf("%d delivered and %d given up of 51", got, given)
		}
		if h := r.health(1); h.State != Live {
			t.Errorf("health is %+v", h)
		}
	})
}

// What the engine is about to send when the owner of an endpoint holds it, goes
// back to where it waits, and its next attempt is its first.
func TestHeldAtTheLastMoment(t *testing.T) {
	for name, batch := range map[string]ring.Batch{"one by one": {}, "together": {Events: 10}} {
		t.Run(name, func(t *testing.T) { heldAtTheLastMoment(t, batch) })
	}
}

func heldAtTheLastMoment(t *testing.T, batch ring.Batch) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		terms := ring.Terms{Policy: ring.Default(), Batch: batch}
		terms.MaxAttempts = 1
		r.ask(1, terms)
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(200)
			res.Duration = time.Second
			return res
		}
		for i := range startWindow { // as many in flight as may be
			r.push(1, fmt.Sprint("v", i))
		}
		r.push(1, "one") // two in the queue
		r.push(1, "other")
		synctest.Wait()
		r.mu.Lock()
		r.held = true
		r.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n, rows := r.rings(), r.rowCount("delivery"); n != startWindow || rows != 2 {
			t.Fatalf("rung %d times, and %d rows wait", n, rows)
		}
		if attempts := r.attempts(1); len(attempts) != startWindow {
			t.Errorf("%d attempts are on record", len(attempts))
		}
		// The same with rows that were claimed.
		r.hold(1, false)
		r.mu.Lock()
		r.held = true
		r.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n, rows := r.rings(), r.rowCount("delivery"); n != startWindow || rows != 2 {
			t.Fatalf("rung %d times, and %d rows wait", n, rows)
		}
		r.hold(1, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		attempts := r.attempts(1)
		if len(attempts) != startWindow+2 || r.rowCount("delivery")+r.rowCount("dead_letter") != 0 {
			t.Errorf("%d attempts are on record", len(attempts))
		}
		for _, a := range attempts {
			if a.N != 1 || a.Outcome != Delivered {
				t.Errorf("event %d: attempt %d, %s", a.Pos, a.N, a.Outcome)
			}
		}
	})
}

// TestHeldOnPostgres does so on PostgreSQL, in real time, over a crash.
func TestHeldOnPostgres(t *testing.T) {
	r := newRigOn(t, sqldbtest.Postgres(t))
	r.endpoints(1)
	await := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within a minute; health %+v, rung %d times", what, r.health(1), r.rings())
			}
		}
	}
	r.down(all)
	first := r.push(1, "v0")
	r.push(1, "v1")
	await("both have rows", func() bool { return r.rowCount("delivery") == 2 })
	r.hold(1, true)
	rung := r.rings()
	r.write(func(tx *sqldb.Tx) error {
		_, err := tx.Exec("UPDATE delivery SET expires_at = 1 WHERE pos = $1", first)
		return err
	})
	await("one has waited for too long", func() bool {
		r.hold(1, true) // as its owner does now and then
		letters := r.deadLetters(1)
		return len(letters) == 1 && letters[0].PosFrom == first && r.rowCount("delivery") == 1
	})
	r.pushMany(1, 20)
	await("the others wait behind the cursor", func() bool { return r.health(1).Behind == 20 })
	r.crash()
	r.start()
	r.push(1, "v2")
	await("they wait after a crash too", func() bool { return r.health(1).Behind == 21 })
	if n := r.rings(); n != rung || r.rowCount("delivery") != 1 {
		t.Errorf("rung %d times, with %d rows", n-rung, r.rowCount("delivery"))
	}
	r.down(nil)
	r.hold(1, false)
	await("all comes", func() bool { return r.health(1).State == Live && len(r.delivered(1)) == 22 })
}
