package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// rig is an engine on a real database, with receivers that the test plays. It
// can be crashed and started again on the same file.
type rig struct {
	t      *testing.T
	open   func() *sqldb.DB
	db     *sqldb.DB
	outbox *outbox.Outbox
	engine *Engine

	retention Retention // from the next start on
	lowDisk   atomic.Bool

	mu       sync.Mutex
	disabled bool
	held     bool                 // nobody may be rung
	sameHost bool                 // all endpoints are on one
	terms    map[int64]ring.Terms // of endpoints that have not the default
	actor    string               // whose doings alone are owed, which the head of an event does not tell; empty: everybody's
	lettered map[int64]int        // how often it was told that there are dead letters
	reports  []ring.Report
	answer   func(endpoint int64, e *event.Event) outbound.Result // what receivers do
	rang     []rung
	crashed  bool
	dead     chan struct{} // closed by crash: the world ends
}

// rung is one request that a receiver saw.
type rung struct {
	endpoint int64
	pos      int64
	replay   int64
	at       time.Time
	commits  int64
	rest     []int64 // the others in the request
	earlier  int
}

func status(code int) outbound.Result {
	return outbound.Result{Answer: &outbound.ResponseHead{Status: code, Version: "1.1", Header: map[string]string{}}}
}

// fakeTime runs f in a bubble of fake time. Not under the race detector: Go
// 1.26 then crashes now and then, in its own handling of the bubble's timers
// (SIGSEGV in runtime.(*timer).maybeRunChan, or a failed check of the
// detector's). scripts/test.sh runs these tests a second time without it;
// TestPostgres, and the tests of package app, take the engine through the
// detector in real time.
func fakeTime(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if raceEnabled {
		t.Skip("fake time and the race detector crash Go 1.26 together: run go test ./internal/delivery without -race")
	}
	synctest.Test(t, f)
}

func newRig(t *testing.T) *rig { return newRigOn(t, sqldbtest.SQLite(t)) }

func newRigOn(t *testing.T, open func() *sqldb.DB) *rig {
	r := &rig{t: t, open: open}
	r.answer = func(int64, *event.Event) outbound.Result { return status(200) }
	r.start()
	t.Cleanup(func() {
		if !r.crashed {
			r.stop()
		}
	})
	return r
}

func (r *rig) start() {
	r.t.Helper()
	life := &life{rig: r, over: make(chan struct{})}
	r.db, r.dead, r.crashed = r.open(), life.over, false
	r.engine = New(Options{
		DB: r.db, Poster: life, Log: slog.New(slog.DiscardHandler), Node: "test",
		Retention: r.retention, LowDisk: r.lowDisk.Load, DeadLettered: life.deadLettered,
	})
	r.outbox = outbox.New(r.engine.Committed)
	if err := r.engine.Start(context.Background(), life); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r.engine.Stop(ctx)
	if err := r.db.Close(); err != nil {
		r.t.Error(err)
	}
}

// crash ends the process, as far as one can inside another: the database takes
// no more, requests in flight never come back, and what was in memory is gone.
func (r *rig) crash() {
	r.db.Close()
	r.mu.Lock()
	r.crashed = true
	close(r.dead)
	r.mu.Unlock()
	done, cancel := context.WithCancel(context.Background())
	cancel()
	r.engine.Stop(done)
}

// life is one life of the process.
type life struct {
	*rig
	over chan struct{}
}

func (l *life) InForce() func(*event.Event) []int64 {
	return func(e *event.Event) []int64 { return l.owners(e) }
}

func (l *life) owners(e *event.Event) []int64 {
	var ids []int64
	if l.actor != "" && e.Actor != l.actor {
		return nil
	}
	for id := range e.Registry.ID { // as many endpoints as the event's registry number says
		ids = append(ids, id+1)
	}
	return ids
}

func (l *life) MatchAt(_ *sqldb.Tx, e *event.Event) ([]int64, error) { return l.owners(e), nil }

func (l *life) History(_ *sqldb.Tx, _, endpoint int64) (ring.Rule, error) {
	return l.Wants(0, endpoint), nil
}

func (l *life) Wants(_, endpoint int64) ring.Rule {
	return ring.Rule{Takes: func(e *event.Event) bool { return slices.Contains(l.owners(e), endpoint) && e.Action != "" }, Whole: l.actor != ""}
}

func (l *life) Terms(_, endpoint int64) (ring.Terms, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	terms, ok := l.terms[endpoint]
	if !ok {
		terms.Policy = ring.Default()
	}
	terms.Host, terms.Disabled, terms.Held = fmt.Sprint("http://", endpoint), l.disabled, l.held
	if l.sameHost {
		terms.Host = "http://all"
	}
	return terms, true
}

func (l *life) Request(c ring.Call) (outbound.Request, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	body := fmt.Sprint(c.Earlier)
	for _, e := range c.Rest {
		body += fmt.Sprint(" ", e.Pos)
	}
	return outbound.Request{URL: fmt.Sprintf("%d %d %d %s", c.Endpoint, c.Event.Pos, c.Replay, c.Elsewhere), Body: []byte(body)}, !l.disabled && !l.held
}

func (l *life) deadLettered(endpoint int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lettered == nil {
		l.lettered = map[int64]int{}
	}
	l.lettered[endpoint]++
}

func (l *life) ElsewhereHost(sealed []byte) string { return string(sealed) }

func (l *life) Report(_ *sqldb.Tx, r ring.Report) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reports = append(l.reports, r)
	return nil
}

func (l *life) Disable(ctx context.Context, _, endpoint int64, why string) error {
	l.mu.Lock()
	already := l.disabled
	l.disabled = true
	l.mu.Unlock()
	if already {
		return nil // it stays so, and nobody hears of it again
	}
	return l.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error { return l.engine.Disabled(tx, endpoint, reasonDisabled.why) })
}

func (l *life) Post(ctx context.Context, req outbound.Request) outbound.Result {
	var endpoint, pos, replay int64
	fmt.Sscanf(req.URL, "%d %d %d", &endpoint, &pos, &replay)
	started := time.Now()
	g := rung{endpoint: endpoint, pos: pos, replay: replay, at: started, commits: l.db.Commits()}
	fields := strings.Fields(string(req.Body))
	g.earlier, _ = strconv.Atoi(fields[0])
	for _, field := range fields[1:] {
		other, _ := strconv.ParseInt(field, 10, 64)
		g.rest = append(g.rest, other)
	}
	l.mu.Lock()
	l.rang = append(l.rang, g)
	answer := l.answer
	l.mu.Unlock()
	res := answer(endpoint, &event.Event{Pos: pos})
	if res.Duration > 0 {
		select {
		case <-time.After(res.Duration):
		case <-l.over:
		case <-ctx.Done():
			res = outbound.Result{Class: outbound.Cancelled}
		}
	}
	res.Started, res.Duration = started, time.Since(started)
	return res
}

// endpoints makes n endpoints, with ids from 1.
func (r *rig) endpoints(n int) { r.add(kindWebhook, n) }

func (r *rig) add(kind string, n int) {
	r.t.Helper()
	for range n {
		err := r.db.Write(context.Background(), sqldb.Change, func(tx *sqldb.Tx) error {
			_, err := r.engine.Add(tx, kind, 1, "local")
			return err
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// push commits an event that is owed to the first n endpoints.
func (r *rig) push(n int, tag string) int64 { return r.pushTo(n, "app", tag) }

func (r *rig) pushTo(n int, repository, tag string) int64 {
	r.t.Helper()
	e := &event.Event{Action: event.Push, Registry: event.Registry{ID: int64(n), Location: "local"},
		Target: event.Target{Repository: repository, Tag: tag, Digest: "sha256:" + tag}}
	err := r.db.Write(context.Background(), sqldb.Change, func(tx *sqldb.Tx) error { return r.outbox.Append(tx, outbox.Prepare(e)) })
	if err != nil {
		r.t.Fatal(err)
	}
	return e.Pos
}

// pushMany commits n events with tags of their own in one transaction, and
// returns the position of the last.
func (r *rig) pushMany(endpoints, n int) (last int64) {
	r.t.Helper()
	r.write(func(tx *sqldb.Tx) error {
		for i := range n {
			e := &event.Event{Action: event.Push, Registry: event.Registry{ID: int64(endpoints), Location: "local"},
				Target: event.Target{Repository: "app", Tag: fmt.Sprint("many", i)}}
			if err := r.outbox.Append(tx, outbox.Prepare(e)); err != nil {
				return err
			}
			last = e.Pos
		}
		return nil
	})
	return last
}

func (r *rig) write(fn func(*sqldb.Tx) error) {
	r.t.Helper()
	if err := r.db.Write(context.Background(), sqldb.Change, fn); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) attempts(endpoint int64) []Attempt {
	r.t.Helper()
	page, _, err := r.engine.Attempts(context.Background(), endpoint, Filter{}, "", 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	return page
}

// rowCount counts the rows of a table.
func (r *rig) rowCount(table string) (n int) {
	r.t.Helper()
	err := r.db.Read(context.Background(), func(tx *sqldb.Tx) error { return tx.Get("SELECT count(*) FROM "+table, nil, &n) })
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func TestNoCommitBetweenPushAndFirstByte(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		for i := range 10 {
			synctest.Wait() // what the last push left to write is written
			before := r.db.Commits()
			r.push(1, fmt.Sprint("v", i))
			synctest.Wait()
			if got := r.rang[i].commits; got != before+1 {
				t.Errorf("push %d: %d commits when the receiver heard of it, want 1: the push's own", i, got-before)
			}
		}
	})
}

func TestRetriesOnScheduleThenDelivers(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		heals := time.Now().Add(2 * time.Hour)
		r.answer = func(int64, *event.Event) outbound.Result {
			if time.Now().Before(heals) {
				return outbound.Result{Class: outbound.Connect, Message: "no connection"}
			}
			return status(200)
		}
		r.push(1, "v1")
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		log := r.attempts(1)
		if log[0].Outcome != Delivered {
			t.Fatalf("the newest attempt is %s, want delivered", log[0].Outcome)
		}
		if n := r.rowCount("delivery"); n != 0 {
			t.Errorf("%d rows left after delivery", n)
		}
		for i := len(log) - 1; i > 0; i-- {
			n := len(log) - i
			if log[i].N != n || log[i].Outcome != Failed {
				t.Errorf("attempt %d is on record as %d, %s", n, log[i].N, log[i].Outcome)
			}
			least, most := retryAfter[min(n, len(retryAfter))-1], 0*time.Second
			if n >= openAfter { // from here on it is the breaker that asks
				least = probeAfter[min(n-openAfter, len(probeAfter)-1)]
			}
			most = least*11/10 + time.Second
			if n-openAfter >= len(probeAfter)-1 {
				least, most = least*4/5, least*6/5+time.Second
			}
			if pause := log[i-1].StartedAt.Sub(log[i].StartedAt); pause < least || pause > most {
				t.Errorf("pause after attempt %d was %s, want %s to %s", n, pause, least, most)
			}
		}
		if late := log[0].StartedAt.Sub(heals); late > 6*time.Minute {
			t.Errorf("it was delivered %s after the receiver was back, want within 6 minutes", late)
		}
	})
}

func TestGivesUpWithAReason(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result { return status(500) }
		r.push(1, "v1")
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if d, l := r.rowCount("delivery"), r.rowCount("dead_letter"); d != 0 || l != 1 {
			t.Errorf("%d rows and %d dead letters after the TTL, want 0 and 1", d, l)
		}
		last := r.rang[len(r.rang)-1].at
		if age := last.Sub(r.rang[0].at); age > ring.Default().TTL || age < ring.Default().TTL/2 {
			t.Errorf("the last attempt came %s after the event, want within the TTL of %s and not long before", age, ring.Default().TTL)
		}
	})
}

func TestRefusedIsFinal(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result { return status(400) }
		r.push(1, "v1")
		time.Sleep(time.Hour)
		synctest.Wait()
		if log := r.attempts(1); len(log) != 1 || log[0].Outcome != Refused {
			t.Errorf("log %+v, want one refused attempt", log)
		}
		if n := r.rowCount("dead_letter") + r.rowCount("delivery"); n != 0 {
			t.Errorf("%d rows left for a refused event", n)
		}
	})
}

// What is still owed when an endpoint is disabled is given up, with the reason.
func TestDisabledTakesNothing(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result { return status(503) }
		for range 3 {
			r.push(1, "latest")
		}
		synctest.Wait()
		r.mu.Lock()
		r.disabled = true
		r.mu.Unlock()
		rang := len(r.rang)
		r.push(1, "other")
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.rang) > rang {
			t.Errorf("a disabled endpoint was rung %d times", len(r.rang)-rang)
		}
		if d, l := r.rowCount("delivery"), r.rowCount("dead_letter"); d != 0 || l != 4 {
			t.Errorf("%d rows and %d dead letters, want 0 and 4", d, l)
		}
	})
}

// A new endpoint has nothing of a deleted one: neither its log nor its rows.
func TestDeletedEndpointIsGone(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result { return status(503) }
		for i := range 5 {
			r.push(1, fmt.Sprint("v", i))
		}
		synctest.Wait()
		err := r.db.Write(context.Background(), sqldb.Change, func(tx *sqldb.Tx) error { return r.engine.Drop(tx, 1) })
		if err != nil {
			t.Fatal(err)
		}
		rang := len(r.rang)
		r.endpoints(1)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.rang) > rang {
			t.Errorf("%d rings after the endpoint was deleted", len(r.rang)-rang)
		}
		if n := r.rowCount("delivery"); n != 0 {
			t.Errorf("%d rows left", n)
		}
		var id int64
		err = r.db.Read(context.Background(), func(tx *sqldb.Tx) error { return tx.Get("SELECT max(id) FROM endpoint", nil, &id) })
		if err != nil {
			t.Fatal(err)
		}
		if log := r.attempts(id); len(log) > 0 {
			t.Errorf("a new endpoint has %d attempts on record", len(log))
		}
	})
}

// A ping is not tried again: whoever asked looks at the log at once.
func TestPingIsTriedOnce(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result { return status(500) }
		e := &event.Event{Action: event.Ping, Registry: event.Registry{ID: 1}, OwedTo: 1}
		err := r.db.Write(context.Background(), sqldb.Change, func(tx *sqldb.Tx) error { return r.outbox.Append(tx, outbox.Prepare(e)) })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(r.rang) != 1 || r.rowCount("delivery")+r.rowCount("dead_letter") != 0 {
			t.Errorf("%d rings, %d rows, %d dead letters: want one ring and nothing else", len(r.rang), r.rowCount("delivery"), r.rowCount("dead_letter"))
		}
	})
}

func TestOneTagStaysInOrder(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		var failing atomic.Bool
		r.answer = func(_ int64, e *event.Event) outbound.Result {
			if failing.Load() {
				return status(503)
			}
			res := status(200)
			res.Duration = time.Second
			return res
		}
		// More than the queue holds, so that all ways are taken: in flight, in
		// memory, held in rows; then an outage in the middle.
		const pairs = maxQueue * 3 / 4
		for i := range pairs {
			r.push(1, "latest")
			r.push(1, fmt.Sprint("other", i))
		}
		time.Sleep(5 * time.Second)
		failing.Store(true)
		time.Sleep(20 * time.Second)
		failing.Store(false)
		time.Sleep(time.Hour)
		synctest.Wait()
		delivered := map[int64]bool{}
		var last int64
		for _, a := range reversed(r.attempts(1)) {
			if a.Outcome != Delivered {
				continue
			}
			delivered[a.Pos] = true
			if a.Pos%2 == 1 { // latest
				if a.Pos < last {
					t.Fatalf("event %d was delivered after event %d of the same tag", a.Pos, last)
				}
				last = a.Pos
			}
		}
		if len(delivered) != 2*pairs {
			t.Errorf("%d of %d events delivered", len(delivered), 2*pairs)
		}
	})
}

func reversed(log []Attempt) []Attempt {
	out := make([]Attempt, 0, len(log))
	for i := len(log) - 1; i >= 0; i-- {
		out = append(out, log[i])
	}
	return out
}

func TestSlowReceiverHarmsOnlyItself(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(2)
		r.answer = func(endpoint int64, _ *event.Event) outbound.Result {
			res := status(200)
			if endpoint == 1 {
				res = outbound.Result{Class: outbound.Timeout}
				res.Duration = 10 * time.Second
			}
			return res
		}
		pushed := map[int64]time.Time{}
		for i := range 500 {
			pushed[r.push(2, fmt.Sprint("v", i))] = time.Now()
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		heard := 0
		for _, g := range r.rang {
			if g.endpoint == 2 {
				heard++
				if late := g.at.Sub(pushed[g.pos]); late > 0 {
					t.Errorf("event %d reached the healthy receiver %s late", g.pos, late)
				}
			}
		}
		if heard != 500 {
			t.Errorf("the healthy receiver heard of %d of 500 events", heard)
		}
	})
}

// TestPostgres takes the same engine through a crash on PostgreSQL, in real time:
// what was owed then is delivered after the restart.
func TestPostgres(t *testing.T) {
	r := newRigOn(t, sqldbtest.Postgres(t))
	r.endpoints(2)
	hang := func(int64, *event.Event) outbound.Result {
		res := status(200)
		res.Duration = time.Hour
		return res
	}
	r.mu.Lock()
	r.answer = hang
	r.mu.Unlock()
	const events = 20
	for i := range events {
		r.push(2, fmt.Sprint("tag", i%5))
	}
	r.crash()
	r.mu.Lock()
	r.answer = func(int64, *event.Event) outbound.Result { return status(200) }
	r.mu.Unlock()
	r.start()
	for deadline := time.Now().Add(time.Minute); r.rowCount("delivery") > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d deliveries are still owed", r.rowCount("delivery"))
		}
	}
	for endpoint := int64(1); endpoint <= 2; endpoint++ {
		delivered := 0
		for _, a := range r.attempts(endpoint) {
			if a.Outcome == Delivered {
				delivered++
			}
		}
		if delivered != events {
			t.Errorf("endpoint %d: %d of %d events delivered", endpoint, delivered, events)
		}
	}
}

// TestCrashes runs seeded histories of pushes, failures and crashes, and checks
// the promises at the end.
func TestCrashes(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			fakeTime(t, func(t *testing.T) { crashHistory(t, seed) })
		})
	}
}

func crashHistory(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var rmu sync.Mutex
	chance := func(n int) int { rmu.Lock(); defer rmu.Unlock(); return rnd.IntN(n) }
	r := newRig(t)
	r.endpoints(3)
	var calm atomic.Bool
	r.answer = func(endpoint int64, _ *event.Event) outbound.Result {
		if calm.Load() {
			return status(200)
		}
		switch chance(5) {
		case 0:
			return status(503)
		case 1:
			return outbound.Result{Class: outbound.Connect, Message: "no connection"}
		case 2:
			res := status(200)
			res.Duration = time.Duration(chance(5000)) * time.Millisecond
			return res
		}
		return status(200)
	}
	var pushes int64
	tags := map[int64]string{}
	for range 6 {
		for range 20 + chance(60) {
			tag := fmt.Sprint("tag", chance(4))
			pushes = r.push(3, tag)
			tags[pushes] = tag
			if chance(4) == 0 {
				time.Sleep(time.Duration(chance(3000)) * time.Millisecond)
			}
		}
		r.crash()
		r.start()
	}
	calm.Store(true)
	time.Sleep(24 * time.Hour)
	synctest.Wait()

	for endpoint := int64(1); endpoint <= 3; endpoint++ {
		delivered, unsure, tries := map[int64]int{}, map[int64]int{}, map[int64]int{}
		last := map[string]int64{}
		for _, a := range reversed(r.attempts(endpoint)) {
			tries[a.Pos]++
			switch a.Outcome {
			case Delivered:
				delivered[a.Pos]++
				if before := last[tags[a.Pos]]; a.Pos < before {
					t.Errorf("endpoint %d: event %d was delivered after event %d of the same tag", endpoint, a.Pos, before)
				}
				last[tags[a.Pos]] = a.Pos
			case Interrupted:
				unsure[a.Pos]++
			}
		}
		for pos := int64(1); pos <= pushes; pos++ {
			if delivered[pos] != 1 {
				t.Errorf("endpoint %d: event %d is on record as delivered %d times", endpoint, pos, delivered[pos])
			}
		}
		heard := map[int64]int{}
		for _, g := range r.rang {
			if g.endpoint == endpoint {
				heard[g.pos]++
			}
		}
		for pos, n := range heard {
			if n > tries[pos] {
				t.Errorf("endpoint %d: event %d was sent %d times but %d attempts are on record", endpoint, pos, n, tries[pos])
			}
			if delivered[pos] > 0 && n > 1 && tries[pos] == 1 {
				t.Errorf("endpoint %d: event %d rang %d times with nothing on record to say why", endpoint, pos, n)
			}
		}
	}
	if n := r.rowCount("delivery") + r.rowCount("dead_letter"); n != 0 {
		t.Errorf("%d rows left", n)
	}
}
