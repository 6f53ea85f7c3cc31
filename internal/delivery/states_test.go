package delivery

import (
	"context"
	"fmt"
	"maps"
	"slices"
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

var bg = context.Background()

// unreachable is a receiver that is down.
func unreachable() outbound.Result {
	return outbound.Result{Class: outbound.Connect, Message: "no connection"}
}

// policy sets the policy of an endpoint.
func (r *rig) policy(endpoint int64, change func(*ring.Policy)) {
	terms := ring.Terms{Policy: ring.Default()}
	change(&terms.Policy)
	r.ask(endpoint, terms)
}

// ask sets what an endpoint asks for.
func (r *rig) ask(endpoint int64, terms ring.Terms) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.terms == nil {
		r.terms = map[int64]ring.Terms{}
	}
	r.terms[endpoint] = terms
}

// down makes the receivers fail, or not, until it is called again.
func (r *rig) down(is func(endpoint int64) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = func(endpoint int64, _ *event.Event) outbound.Result {
		if is != nil && is(endpoint) {
			return unreachable()
		}
		return status(200)
	}
}

func all(int64) bool { return true }

// delivered returns the positions that were delivered to an endpoint, in the
// order of their attempts.
func (r *rig) delivered(endpoint int64) (positions []int64) {
	r.t.Helper()
	for _, a := range reversed(r.attempts(endpoint)) {
		if a.Outcome == Delivered {
			positions = append(positions, a.Pos)
		}
	}
	return positions
}

func (r *rig) health(endpoint int64) Health {
	r.t.Helper()
	all, err := r.engine.Health(bg, endpoint)
	if err != nil {
		r.t.Fatal(err)
	}
	return all[endpoint]
}

func (r *rig) deadLetters(endpoint int64) []DeadLetter {
	r.t.Helper()
	list, _, err := r.engine.DeadLetters(bg, endpoint, "", 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// A receiver that was down for 20 hours gets everything once it is back: in
// order per repository, as asked, within its rate, while its outage cost a few
// rows and one probe in five minutes.
func TestBackAfter20Hours(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		const perMinute = 60
		r.policy(1, func(p *ring.Policy) { p.Order, p.PerMinute = ring.PerRepository, perMinute })
		r.down(all)
		outage := time.Now()
		repository := map[int64]string{}
		const pushes = 1200
		for i := range pushes {
			repo := fmt.Sprint("team/", i%5)
			repository[r.pushTo(1, repo, fmt.Sprint("v", i))] = repo
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if n := r.rowCount("delivery"); n > 50 {
			t.Errorf("a dead endpoint has %d rows", n)
		}
		if probes, most := len(r.rang), int(time.Since(outage)/(4*time.Minute))+20; probes > most {
			t.Errorf("a dead endpoint was rung %d times, want at most %d", probes, most)
		}
		h := r.health(1)
		if h.State != Failing || h.Oldest.Sub(outage) > time.Minute {
			t.Errorf("health is %+v, want failing with the oldest event owed", h)
		}

		r.mu.Lock()
		healed := len(r.rang)
		r.mu.Unlock()
		r.down(nil)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		got := r.delivered(1)
		if len(got) != pushes {
			t.Errorf("%d of %d events delivered", len(got), pushes)
		}
		last := map[string]int64{}
		for _, pos := range got {
			if pos < last[repository[pos]] {
				t.Fatalf("event %d was delivered after event %d of the same repository", pos, last[repository[pos]])
			}
			last[repository[pos]] = pos
		}
		rang := r.rang[healed:]
		for i := range rang {
			if i >= perMinute && rang[i].at.Sub(rang[i-perMinute].at) < time.Minute {
				t.Fatalf("more than %d requests in a minute", perMinute)
			}
		}
		if n := r.rowCount("delivery") + r.rowCount("dead_letter"); n != 0 {
			t.Errorf("%d rows left", n)
		}
		if h := r.health(1); h.State != Live || h.Behind != 0 || h.Waiting != 0 {
			t.Errorf("health is %+v, want live with nothing waiting", h)
		}
		// What happens now goes out at once again.
		pos := r.push(1, "now")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.delivered(1); got[len(got)-1] != pos {
			t.Errorf("the newest delivery is of event %d, want %d", got[len(got)-1], pos)
		}
	})
}

// One that was down for longer than the time to live leaves one dead letter, a
// range, which one replay rings again.
func TestDownForLongerThanTTL(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.policy(1, func(p *ring.Policy) { p.TTL = 24 * time.Hour })
		r.down(all)
		for i := range 48 {
			r.push(1, fmt.Sprint("v", i))
			time.Sleep(time.Hour)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		letters := r.deadLetters(1)
		if len(letters) != 1 {
			t.Fatalf("dead letters are %+v, want one range", letters)
		}
		before := letters[0]
		if before.PosFrom != 1 || before.Count < 22 || before.Count > 25 || before.PosTo-before.PosFrom+1 != before.Count {
			t.Errorf("the range is %+v, want the first day's 24 events or so", before)
		}
		if h := r.health(1); h.DeadLetters != before.Count {
			t.Errorf("health knows of %d dead letters, want %d", h.DeadLetters, before.Count)
		}
		r.down(nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(r.delivered(1)); int64(n)+before.Count < 48 || n > 26 {
			t.Errorf("%d events delivered and %d given up, of 48", n, before.Count)
		}
		rang := len(r.rang)
		replay, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{AllDeadLetters: true}, By: "test"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		replay, err = r.engine.ReplayByID(bg, 1, replay.ID)
		if err != nil {
			t.Fatal(err)
		}
		given := letters[0].Count
		if replay.State != ReplayDone || replay.Delivered != given || replay.Matched != given {
			t.Errorf("replay %+v, want %d events delivered", replay, given)
		}
		for _, g := range r.rang[rang:] {
			if g.replay != replay.ID {
				t.Errorf("event %d does not say that it is of replay %d", g.pos, replay.ID)
			}
		}
		got := r.delivered(1)
		slices.Sort(got)
		if len(slices.Compact(got)) != 48 || len(r.deadLetters(1)) != 0 {
			t.Errorf("%d of 48 events delivered, %d dead letters left", len(slices.Compact(got)), len(r.deadLetters(1)))
		}
	})
}

// An endpoint is live again while something from before it was parked is still in
// memory, and then the process dies: that is not lost.
func TestCrashJustAfterCatchingUp(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.endpoints(1)
		r.policy(1, func(p *ring.Policy) { p.TTL, p.PerMinute, p.Order = time.Minute, 60, ring.Unordered })
		last := r.pushMany(1, 2*maxQueue)
		for r.health(1).State == Live {
			time.Sleep(time.Millisecond)
		}
		for r.health(1).State != Live {
			time.Sleep(10 * time.Millisecond)
		}
		if r.health(1).Waiting == 0 {
			t.Fatal("nothing is in memory any more")
		}
		synctest.Wait()
		r.crash()
		r.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		known := map[int64]bool{}
		for _, pos := range r.delivered(1) {
			known[pos] = true
		}
		for _, d := range r.deadLetters(1) {
			for pos := d.PosFrom; pos <= d.PosTo; pos++ {
				known[pos] = true
			}
		}
		for pos := int64(1); pos <= last; pos++ {
			if !known[pos] {
				t.Errorf("event %d is lost", pos)
			}
		}
	})
}

// Events for a dead endpoint have no rows, and it is as cheap after a crash.
func TestParkedEndpointSurvivesCrashes(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(2)
		r.down(func(endpoint int64) bool { return endpoint == 1 })
		const pushes = 3000
		for i := range pushes {
			r.push(2, fmt.Sprint("v", i))
			if i%500 == 250 {
				r.crash()
				r.start()
			}
			if i%50 == 0 {
				time.Sleep(time.Second)
			}
		}
		synctest.Wait()
		if n := r.rowCount("delivery"); n > maxRows {
			t.Errorf("%d rows for a dead endpoint", n)
		}
		r.down(nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		for endpoint := int64(1); endpoint <= 2; endpoint++ {
			got := r.delivered(endpoint)
			slices.Sort(got)
			if n := len(slices.Compact(got)); n != pushes {
				t.Errorf("endpoint %d: %d of %d events delivered", endpoint, n, pushes)
			}
		}
		if n := r.rowCount("delivery") + r.rowCount("dead_letter"); n != 0 {
			t.Errorf("%d rows left", n)
		}
	})
}

// A receiver that cannot keep up gets a bounded number of rows, then a cursor,
// and everything in the end.
func TestBacklogParks(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(200)
			res.Duration = time.Second
			return res
		}
		const pushes = 5000
		for i := range pushes {
			r.push(1, fmt.Sprint("v", i))
		}
		synctest.Wait()
		if n := r.rowCount("delivery"); n > maxRows+maxQueue {
			t.Errorf("%d rows", n)
		}
		if h := r.health(1); h.State != CatchingUp || h.Behind == 0 {
			t.Errorf("health is %+v, want catching up", h)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(r.delivered(1)); n != pushes {
			t.Errorf("%d of %d events delivered", n, pushes)
		}
		if h := r.health(1); h.State != Live {
			t.Errorf("health is %+v, want live", h)
		}
	})
}

// Retry-After holds back the whole endpoint, for as long as asked at least.
func TestRetryAfterHoldsTheEndpoint(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		var asked atomic.Bool
		r.answer = func(int64, *event.Event) outbound.Result {
			if asked.Swap(true) {
				return status(200)
			}
			res := status(429)
			res.Answer.Header["Retry-After"] = "1800"
			return res
		}
		start := time.Now()
		r.push(1, "v1")
		synctest.Wait()
		for i := range 5 {
			r.push(1, fmt.Sprint("other", i))
			time.Sleep(time.Minute)
		}
		if len(r.rang) != 1 {
			t.Errorf("%d requests within the time that the receiver asked for", len(r.rang))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := r.delivered(1); len(got) != 6 {
			t.Errorf("delivered are %v, want all 6", got)
		}
		if first := r.rang[1].at.Sub(start); first < 30*time.Minute {
			t.Errorf("it was rung again after %s, want 30 minutes", first)
		}
	})
}

// The rate that a receiver says it takes is kept, however much waits.
func TestAllowedRate(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(200)
			res.Answer.Header["Webhook-Allowed-Rate"] = "30"
			return res
		}
		r.push(1, "first")
		synctest.Wait()
		for i := range 100 {
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.rang) != 101 {
			t.Fatalf("%d requests, want 101", len(r.rang))
		}
		for i := 31; i < len(r.rang); i++ {
			if r.rang[i].at.Sub(r.rang[i-30].at) < time.Minute {
				t.Fatalf("more than 30 requests in a minute, at request %d", i)
			}
		}
	})
}

// Wrong credentials are not bad health: the endpoint stays live, and is left
// alone for five minutes.
func TestUnauthorizedIsNotIllness(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result { return status(401) }
		for i := range 10 {
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if len(r.rang) != 10 {
			t.Errorf("%d requests within five minutes, want one for each event", len(r.rang))
		}
		if h := r.health(1); h.State != Live || h.FailStreak != 0 || h.LastStatus != 401 {
			t.Errorf("health is %+v, want live with 401 as the last status", h)
		}
	})
}

// 410 ends it: the endpoint is disabled, and what it was owed is in dead
// letters.
func TestGoneDisables(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(410)
			res.Duration = time.Second
			return res
		}
		for range 20 {
			r.push(1, "latest") // one after the other
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.rang) != 1 {
			t.Errorf("%d requests after 410", len(r.rang)-1)
		}
		var given int64
		for _, d := range r.deadLetters(1) {
			given += d.Count
		}
		if given != 20 || r.rowCount("delivery") != 0 {
			t.Errorf("%d events given up, %d rows left: want 20 and 0", given, r.rowCount("delivery"))
		}
		if len(r.reports) != 1 || r.reports[0].Condition != ring.Disabled {
			t.Errorf("reports are %+v, want disabled", r.reports)
		}
	})
}

// After five days without one success an endpoint is disabled; people hear of it
// on the way.
func TestDisabledAfterFiveDays(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.policy(1, func(p *ring.Policy) { p.TTL = ring.MaxTTL })
		r.down(all)
		for i := range 10 {
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(3 * 24 * time.Hour)
		r.crash()
		r.start()
		time.Sleep(3 * 24 * time.Hour)
		synctest.Wait()
		var heard []string
		for _, report := range r.reports {
			heard = append(heard, fmt.Sprint(report.Condition, report.Progress))
		}
		want := []string{"failing0", "disabling50", "disabling70", "disabling90", "disabled0"}
		if !slices.Equal(heard, want) {
			t.Errorf("reports are %v, want %v", heard, want)
		}
		var given int64
		for _, d := range r.deadLetters(1) {
			given += d.Count
		}
		if given != 10 {
			t.Errorf("%d events given up, want 10", given)
		}
	})
}

// A blip is nobody's business; an outage is, and its end too.
func TestReportsOfFailureAndRecovery(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		for _, outage := range []struct {
			length  time.Duration
			reports int
		}{{5 * time.Second, 0}, {time.Hour, 2}} {
			r.reports = nil
			r.down(all)
			for i := range 10 {
				r.push(1, fmt.Sprint("v", i))
			}
			time.Sleep(outage.length)
			r.down(nil)
			time.Sleep(time.Hour)
			synctest.Wait()
			if len(r.reports) != outage.reports {
				t.Errorf("an outage of %s made %+v, want %d reports", outage.length, r.reports, outage.reports)
			}
		}
		if c := r.reports[1].Condition; c != ring.Recovered {
			t.Errorf("the last report is of %s, want recovered", c)
		}
	})
}

// Paused, an endpoint is left alone, but for what a person sends by hand;
// resumed, it gets what waited.
func TestPause(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		first := r.push(1, "v0")
		synctest.Wait()
		if err := r.engine.Pause(bg, 1); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			r.push(1, fmt.Sprint("v", i))
			if i == 50 {
				r.crash()
				r.start()
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.rang) != 1 || r.rowCount("delivery") != 0 || r.health(1).State != Paused {
			t.Errorf("%d requests, %d rows, health %+v: want a paused endpoint left alone", len(r.rang)-1, r.rowCount("delivery"), r.health(1))
		}
		id := r.attempts(1)[0].EventID
		if _, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{EventID: id}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.delivered(1); !slices.Equal(got, []int64{first, first}) {
			t.Errorf("delivered are %v, want the first event twice", got)
		}
		if err := r.engine.Resume(bg, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(r.delivered(1)); n != 102 {
			t.Errorf("%d delivered, want 102", n)
		}
		if h := r.health(1); h.State != Live {
			t.Errorf("health is %+v, want live", h)
		}
	})
}

// MaxAttempts 1 is what ACR does: one try, whatever comes of it.
func TestOneAttempt(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.policy(1, func(p *ring.Policy) { p.MaxAttempts = 1 })
		r.answer = func(int64, *event.Event) outbound.Result { return status(500) }
		for i := range 3 {
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if len(r.rang) != 3 || len(r.deadLetters(1)) != 3 {
			t.Errorf("%d requests and %d dead letters, want 3 and 3", len(r.rang), len(r.deadLetters(1)))
		}
	})
}

// What crashes the server three times is not tried again by itself.
func TestCrashLoop(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(200)
			res.Duration = time.Hour
			return res
		}
		r.push(1, "v1")
		for range 3 {
			synctest.Wait()
			time.Sleep(time.Second)
			r.crash()
			r.start()
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		letters := r.deadLetters(1)
		if len(r.rang) != 3 || len(letters) != 1 || letters[0].Reason != reasonCrashed.why || r.rowCount("delivery") != 0 {
			t.Errorf("%d requests, dead letters %+v: want three and one", len(r.rang), letters)
		}
	})
}

// Half of the slots stay with those who answer, also while many hang.
func TestHangingOnesLeaveHalf(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		const hanging = 200 // far more than there are slots
		r.engine.slots.limit = 16
		r.endpoints(hanging + 1)
		r.answer = func(endpoint int64, _ *event.Event) outbound.Result {
			res := status(200)
			if endpoint <= hanging {
				res = outbound.Result{Class: outbound.Timeout, Duration: 10 * time.Second}
			}
			return res
		}
		pushed := map[int64]time.Time{}
		for i := range 30 {
			pushed[r.push(hanging+1, fmt.Sprint("v", i))] = time.Now()
			time.Sleep(2 * time.Second)
			if n := r.engine.slots.inFlight; n > hardLimit*16 {
				t.Fatalf("%d requests in flight", n)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var late time.Duration
		for _, g := range r.rang {
			if g.endpoint == hanging+1 {
				late = max(late, g.at.Sub(pushed[g.pos]))
			}
		}
		if late > 2*time.Minute {
			t.Errorf("the healthy one waited %s", late)
		}
	})
}

// One host takes so many requests and no more, however many endpoints are there.
func TestHostLimit(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(50)
		r.mu.Lock()
		r.sameHost = true
		r.mu.Unlock()
		r.engine.slots.perHost = 8
		var inFlight, most atomic.Int64
		r.answer = func(int64, *event.Event) outbound.Result {
			n := inFlight.Add(1)
			most.Store(max(most.Load(), n))
			time.Sleep(time.Second)
			inFlight.Add(-1)
			return status(200)
		}
		for i := range 4 {
			r.push(50, fmt.Sprint("v", i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(r.rang) != 200 || most.Load() != 8 {
			t.Errorf("%d requests, up to %d at once: want 200, and 8", len(r.rang), most.Load())
		}
	})
}

// What a receiver sends is on record byte for byte, also where it is no UTF-8.
func TestBytesOfAnswersAreKept(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		const bytes = "caf\xe9 \x00\xff"
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(400)
			res.Answer.Header["X-Odd"], res.Answer.Header["X-Plain"], res.Body = bytes, "plain", []byte(bytes)
			return res
		}
		r.push(1, "v1")
		time.Sleep(time.Second)
		synctest.Wait()
		log := r.attempts(1)
		if len(log) != 1 || log[0].Answer.Header["X-Odd"] != bytes || log[0].Answer.Header["X-Plain"] != "plain" || string(log[0].Body) != bytes {
			t.Errorf("the log has %+v, want the bytes as they came", log)
		}
	})
}

// Whoever tries a receiver that is down, again and again, does not park what
// happens; one that answers proves to be back.
func TestPingsDoNotOpenTheBreaker(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		ping := func() {
			t.Helper()
			e := &event.Event{Action: event.Ping, Registry: event.Registry{ID: 1}, OwedTo: 1}
			if err := r.db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error { return r.outbox.Append(tx, outbox.Prepare(e)) }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		r.down(all)
		for range 2 * openAfter {
			ping()
		}
		if h := r.health(1); h.State != Live || h.LastError == "" {
			t.Errorf("health is %+v, want live with the last error", h)
		}
		for i := range openAfter {
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if h := r.health(1); h.State != Failing {
			t.Errorf("health is %+v, want failing", h)
		}
		r.down(nil)
		ping()
		if n := len(r.delivered(1)); n != openAfter+1 {
			t.Errorf("%d delivered after a ping was answered, want all", n)
		}
	})
}

// A receiver that is back, but refuses our credentials, is probed no more often
// than before: that is no answer which another request could better.
func TestProbesOfWhoRefusesUs(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.down(all)
		for i := range 2 * openAfter {
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(time.Minute)
		r.mu.Lock()
		r.answer = func(int64, *event.Event) outbound.Result { return status(401) }
		before := len(r.rang)
		r.mu.Unlock()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(r.rang) - before; n < 10 || n > 13 {
			t.Errorf("%d probes in an hour, want one in five minutes", n)
		}
	})
}

// Two answers of 410 are as good as one: an endpoint that is enabled again after
// them is rung.
func TestGoneTwice(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(_ int64, e *event.Event) outbound.Result {
			res := status(410)
			res.Duration = time.Duration(e.Pos) * time.Second
			return res
		}
		r.push(1, "v1")
		r.push(1, "v2")
		time.Sleep(10 * time.Second)
		r.mu.Lock()
		r.disabled = false
		r.mu.Unlock()
		r.down(nil)
		pos := r.push(1, "v3")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.delivered(1); !slices.Equal(got, []int64{pos}) {
			t.Errorf("delivered are %v, want event %d", got, pos)
		}
	})
}

// What happens after an endpoint was disabled, because it was enabled again at
// once, does not wait behind what was given up.
func TestDisabledAndEnabledAtOnce(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result { return status(503) }
		for range 3 {
			r.push(1, "latest")
		}
		synctest.Wait()
		r.down(nil)
		e := &event.Event{Action: event.Push, Registry: event.Registry{ID: 1}, Target: event.Target{Repository: "app", Tag: "latest"}}
		r.write(func(tx *sqldb.Tx) error {
			if err := r.engine.Disabled(tx, 1, "a person did it"); err != nil {
				return err
			}
			return r.outbox.Append(tx, outbox.Prepare(e))
		})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := r.delivered(1); !slices.Equal(got, []int64{e.Pos}) || r.rowCount("delivery") != 0 {
			t.Errorf("delivered are %v, %d rows left: want event %d and none", got, r.rowCount("delivery"), e.Pos)
		}
	})
}

// A slot that is free goes on to who has something to send: those who waited for
// it may be deleted by then.
func TestSlotsPassTheDeleted(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(3)
		r.mu.Lock()
		r.sameHost = true
		r.mu.Unlock()
		r.engine.slots.perHost = 1
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(200)
			res.Duration = time.Second
			return res
		}
		r.push(3, "v1")
		synctest.Wait()
		r.write(func(tx *sqldb.Tx) error { return r.engine.Drop(tx, 2) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := r.delivered(3); len(got) != 1 {
			t.Errorf("the last in the queue for a host got %v, want its event", got)
		}
	})
}

// Events of one order key that wait in memory wait on while the failure of the
// first opens the breaker.
func TestOpeningKeepsTheOrder(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(_ int64, e *event.Event) outbound.Result {
			res := status(500)
			if e.Pos == openAfter {
				res.Duration = time.Second
			}
			return res
		}
		for i := range openAfter - 1 {
			r.push(1, fmt.Sprint("v", i))
		}
		synctest.Wait()
		for range 5 {
			r.push(1, "latest") // the first opens the breaker, in a second
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if h := r.health(1); h.State != Failing {
			t.Fatalf("health is %+v, want failing", h)
		}
		states := map[int64]string{}
		err := r.db.Read(bg, func(tx *sqldb.Tx) error {
			return tx.Each("SELECT pos, state FROM delivery WHERE order_key = 'app:latest'", nil, func(s sqldb.Scan) error {
				var pos int64
				var state string
				err := s(&pos, &state)
				states[pos] = state
				return err
			})
		})
		want := map[int64]string{5: statePending, 6: stateHeld, 7: stateHeld, 8: stateHeld, 9: stateHeld}
		if err != nil || !maps.Equal(states, want) {
			t.Errorf("rows of the tag are %v, %v; want %v", states, err, want)
		}
	})
}

// A ping that a crash cut off has a row beyond the cursor of a paused endpoint.
// That it is given up says nothing of the events between.
func TestRangesDoNotSwallow(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.policy(1, func(p *ring.Policy) { p.TTL = time.Hour })
		r.down(all)
		r.push(1, "v0")
		synctest.Wait()
		if err := r.engine.Pause(bg, 1); err != nil {
			t.Fatal(err)
		}
		r.push(1, "v1")
		r.push(1, "v2")
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(200)
			res.Duration = time.Hour
			return res
		}
		ping := &event.Event{Action: event.Ping, Registry: event.Registry{ID: 1}, OwedTo: 1}
		r.write(func(tx *sqldb.Tx) error { return r.outbox.Append(tx, outbox.Prepare(ping)) })
		synctest.Wait()
		r.crash()
		r.start()
		time.Sleep(2 * time.Hour)
		if err := r.engine.Resume(bg, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if letters := r.deadLetters(1); len(letters) != 1 || letters[0].Count != 4 {
			t.Errorf("dead letters are %+v, want a range of 4: three events and the ping", letters)
		}
	})
}

// TestStatesOnPostgres takes an endpoint through its states on PostgreSQL, in real
// time: parked, catching up, disabled, and its dead letters rung again.
func TestStatesOnPostgres(t *testing.T) {
	r := newRigOn(t, sqldbtest.Postgres(t))
	r.endpoints(2)
	await := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within a minute; health %+v, delivered %d", what, r.health(1), len(r.delivered(1)))
			}
		}
	}
	end := func(what string, made Replay, err error) Replay {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		await(what, func() bool {
			made, err = r.engine.ReplayByID(bg, 1, made.ID)
			return err != nil || made.State != ReplayRunning
		})
		if err != nil || made.State != ReplayDone || made.Matched != made.Delivered+made.Refused+made.Dead {
			t.Errorf("%s: %+v, %v", what, made, err)
		}
		return made
	}

	// Paused: one who waits costs no rows; resumed, it catches up.
	if err := r.engine.Pause(bg, 1); err != nil {
		t.Fatal(err)
	}
	r.pushMany(2, 300)
	await("the other gets all", func() bool { return len(r.delivered(2)) == 300 })
	if h := r.health(1); h.State != Paused || h.Behind != 300 || r.rowCount("delivery") != 0 {
		t.Errorf("health is %+v with %d rows, want paused with 300 behind", h, r.rowCount("delivery"))
	}
	if err := r.engine.Resume(bg, 1); err != nil {
		t.Fatal(err)
	}
	await("it catches up", func() bool { return r.health(1).State == Live && len(r.delivered(1)) == 300 })

	// Failing: the breaker opens, and stays open over a crash.
	r.down(func(endpoint int64) bool { return endpoint == 1 })
	for i := range 2 * openAfter {
		r.push(1, fmt.Sprint("v", i%(openAfter+1)))
	}
	await("the breaker opens", func() bool { return r.health(1).State == Failing })
	last := r.pushMany(1, 50)
	await("events wait behind the cursor", func() bool { return r.health(1).Behind > 0 })
	await("that is on record", func() (is bool) {
		r.write(func(tx *sqldb.Tx) error {
			return tx.Get("SELECT opened_at IS NOT NULL AND cursor IS NOT NULL FROM endpoint WHERE id = 1", nil, &is)
		})
		return is
	})
	r.crash()
	r.start()
	if h := r.health(1); h.State != Failing {
		t.Errorf("health after a crash is %+v, want failing", h)
	}
	r.down(nil)
	r.write(func(tx *sqldb.Tx) error { return r.engine.Changed(tx, 1) })
	await("all is delivered", func() bool { return r.health(1).State == Live && len(r.delivered(1)) >= int(last) })
	rank := map[string]int64{}
	for _, g := range reversed(r.attempts(1)) {
		if tag := fmt.Sprint("v", (g.Pos-301)%(openAfter+1)); g.Pos > 300 && g.Pos <= 300+2*openAfter && g.Outcome == Delivered {
			if g.Pos < rank[tag] {
				t.Errorf("event %d was delivered after event %d of the same tag", g.Pos, rank[tag])
			}
			rank[tag] = g.Pos
		}
	}

	// Disabled: what waited is a range of dead letters, which one replay rings.
	if err := r.engine.Pause(bg, 1); err != nil {
		t.Fatal(err)
	}
	r.pushMany(1, 20)
	r.write(func(tx *sqldb.Tx) error { return r.engine.Disabled(tx, 1, "a person did it") })
	await("what waited is given up", func() bool { return r.health(1).DeadLetters == 20 })
	if letters := r.deadLetters(1); len(letters) != 1 || letters[0].PosTo-letters[0].PosFrom != 19 || letters[0].EventID == "" {
		t.Errorf("dead letters are %+v, want one range of 20", letters)
	}
	if err := r.engine.Resume(bg, 1); err != nil {
		t.Fatal(err)
	}
	made, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{AllDeadLetters: true}})
	if made = end("dead letters are rung", made, err); made.Delivered != 20 || len(r.deadLetters(1)) != 0 {
		t.Errorf("%+v, %d dead letters left: want 20 delivered and none", made, len(r.deadLetters(1)))
	}

	// The selections of a replay, to another address too, and a cancel.
	made, err = r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{Upto: 10, Only: OnlyDelivered}, Elsewhere: []byte("http://other")})
	if made = end("elsewhere", made, err); made.Delivered != 10 {
		t.Errorf("%+v, want 10 delivered elsewhere", made)
	}
	if log, _, err := r.engine.Attempts(bg, 1, Filter{Replay: made.ID, Outcome: Delivered}, "", 100); err != nil || len(log) != 10 {
		t.Errorf("%d attempts of the replay are in the log, %v; want 10", len(log), err)
	}
	made, err = r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{Only: Undelivered}})
	if made = end("undelivered", made, err); made.Matched != 0 {
		t.Errorf("%+v, want nothing undelivered", made)
	}
	made, err = r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, PerMinute: 1})
	if err != nil {
		t.Fatal(err)
	}
	await("one is sent", func() bool { return r.rowCount("delivery") > 1 })
	if made, err = r.engine.CancelReplay(bg, 1, made.ID); err != nil || made.State != ReplayCancelled {
		t.Errorf("%+v, %v: want it cancelled", made, err)
	}
	await("its rows are gone", func() bool { return r.rowCount("delivery") == 0 })

	// Retention removes what nobody needs.
	if err := r.engine.sweep(bg, time.Now().Add(31*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if attempts, events := r.rowCount("attempt"), r.rowCount("event"); attempts != 0 || events != 1 {
		t.Errorf("%d attempts and %d events are kept, want none and the newest", attempts, events)
	}
}

// A ping goes out also when its endpoint was just fed beyond it: what is fed holds
// no pings.
func TestPingWhileCatchingUp(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.engine.mu.Lock()
		r.engine.endpoints[1].from = 10 // as it is when it catches up before the expander does
		r.engine.mu.Unlock()
		r.push(1, "v1")
		e := &event.Event{Action: event.Ping, Registry: event.Registry{ID: 1}, OwedTo: 1}
		r.write(func(tx *sqldb.Tx) error { return r.outbox.Append(tx, outbox.Prepare(e)) })
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.delivered(1); !slices.Equal(got, []int64{e.Pos}) {
			t.Errorf("delivered are %v, want the ping alone", got)
		}
	})
}
