package delivery

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// volumeKept returns what the log takes by its own account, and by a count of
// its rows.
func (r *rig) volumeKept() (account, counted int64) {
	r.t.Helper()
	err := r.db.Read(bg, func(tx *sqldb.Tx) error {
		if err := tx.Get("SELECT coalesce(sum(bytes), 0) FROM attempt_volume", nil, &account); err != nil {
			return err
		}
		return tx.Get(`SELECT coalesce(sum(200 + length(request_head) + coalesce(length(response_head), 0) + coalesce(length(response_body), 0)), 0)
			FROM attempt`, nil, &counted)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return account, counted
}

// Attempts and events go after 30 days; what is left is accounted for.
func TestOldAttemptsAndEventsGo(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(_ int64, e *event.Event) outbound.Result {
			if e.Pos%5 == 0 {
				res := status(400)
				res.Body = []byte("no")
				return res
			}
			return status(200)
		}
		for i := range 60 { // a day apart
			r.push(1, fmt.Sprint("v", i))
			time.Sleep(24 * time.Hour)
		}
		synctest.Wait()
		if n := r.rowCount("attempt"); n < 30 || n > 32 {
			t.Errorf("%d attempts are kept of 60 days, want those of 30", n)
		}
		if n := r.rowCount("event"); n < 30 || n > 32 {
			t.Errorf("%d events are kept of 60 days, want those of 30", n)
		}
		if account, counted := r.volumeKept(); account != counted || counted == 0 {
			t.Errorf("the log takes %d bytes by its account, %d by its rows", account, counted)
		}
		time.Sleep(100 * 24 * time.Hour)
		synctest.Wait()
		if n := r.rowCount("event"); n != 1 {
			t.Errorf("%d events are kept, want the newest: the next position follows from it", n)
		}
		if pos := r.push(1, "next"); pos != 61 {
			t.Errorf("the next position is %d, want 61", pos)
		}
	})
}

// Beyond the budget the oldest delivered attempts go first.
func TestBudgetOfAttempts(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.retention.Budget = 10_000
		r.crash()
		r.start()
		r.endpoints(1)
		r.answer = func(_ int64, e *event.Event) outbound.Result {
			if e.Pos%10 == 0 {
				return status(400)
			}
			return status(200)
		}
		for i := range 100 {
			r.push(1, fmt.Sprint("v", i))
			time.Sleep(6 * time.Hour)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		account, counted := r.volumeKept()
		if account != counted || counted > 10_000 || counted < 5_000 {
			t.Errorf("the log takes %d bytes by its account and %d by its rows, want up to 10,000", account, counted)
		}
		refused := 0
		for _, a := range r.attempts(1) {
			if a.Outcome == Refused {
				refused++
			}
		}
		if refused != 10 {
			t.Errorf("%d of 10 refused attempts are kept, want all: delivered ones go first", refused)
		}
	})
}

// An event that somebody waits for is kept beyond its time, but not for ever.
func TestEventsThatAreNeededStay(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(2)
		r.policy(1, func(p *ring.Policy) { p.MaxAttempts = 1 })
		r.answer = func(endpoint int64, _ *event.Event) outbound.Result {
			if endpoint == 1 {
				return status(500)
			}
			return status(200)
		}
		r.push(2, "dead") // a dead letter of endpoint 1
		time.Sleep(time.Minute)
		r.down(nil)
		for i := range 10 {
			r.push(2, fmt.Sprint("v", i))
		}
		time.Sleep(60 * 24 * time.Hour)
		synctest.Wait()
		if n := r.rowCount("event"); n != 11 {
			t.Errorf("%d events are kept, want 11: the first is among the dead letters", n)
		}
		if d := r.deadLetters(1); len(d) != 1 || d[0].Expired || d[0].EventID == "" {
			t.Errorf("dead letters are %+v, want one that can ring", d)
		}
		time.Sleep(31 * 24 * time.Hour)
		synctest.Wait()
		if n := r.rowCount("event"); n != 1 {
			t.Errorf("%d events are kept after 91 days, want the newest", n)
		}
		if d := r.deadLetters(1); len(d) != 1 || !d[0].Expired {
			t.Errorf("dead letters are %+v, want one that has expired", d)
		}
	})
}

// While the disk is nearly full no bodies are kept, and attempts for a day.
func TestLowDisk(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(400)
			res.Body = []byte("what is wrong")
			return res
		}
		r.push(1, "before")
		time.Sleep(3 * 24 * time.Hour)
		synctest.Wait()
		if log := r.attempts(1); len(log) != 1 || string(log[0].Body) != "what is wrong" {
			t.Fatalf("the log has %+v", log)
		}
		r.lowDisk.Store(true)
		r.push(1, "full")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if log := r.attempts(1); len(log) != 1 || log[0].Body != nil || log[0].Pos != 2 {
			t.Errorf("the log has %+v, want the newest attempt without a body", log)
		}
	})
}

// A delivery whose event is removed under it, because that is too old, is given
// up, and delays no other.
func TestEventRemovedUnderItsDelivery(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.retention.Events = MaxEvents
		r.crash()
		r.start()
		r.endpoints(2)
		r.policy(1, func(p *ring.Policy) { p.TTL = ring.MaxTTL })
		r.push(2, "v1")
		time.Sleep(89 * 24 * time.Hour)
		r.push(2, "v2")
		synctest.Wait()
		r.down(func(endpoint int64) bool { return endpoint == 1 })
		done := r.replay(Selection{Upto: 1}, 36*time.Hour)
		if done.State != ReplayDone || done.Dead != 1 {
			t.Errorf("%+v, want the event dead", done)
		}
		pos := r.push(2, "v3")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.delivered(2); got[len(got)-1] != pos {
			t.Errorf("delivered to the other are %v, want event %d too", got, pos)
		}
	})
}

// What an endpoint that was paused for longer than events are kept was owed is
// given up before it is removed.
func TestPausedForLongerThanEventsAreKept(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(2)
		if err := r.engine.Pause(bg, 1); err != nil {
			t.Fatal(err)
		}
		r.pushMany(2, 30)
		time.Sleep(89 * 24 * time.Hour)
		r.push(2, "late")
		synctest.Wait()
		if n := r.rowCount("event"); n != 31 {
			t.Errorf("%d events are kept after 89 days, want all 31: a paused endpoint waits for them", n)
		}
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		if n := r.rowCount("event"); n != 1 {
			t.Errorf("%d events are kept after 91 days, want the last", n)
		}
		if d := r.deadLetters(1); len(d) != 1 || d[0].Count != 30 || !d[0].Expired {
			t.Errorf("dead letters are %+v, want a range of 30 that has expired", d)
		}
		if err := r.engine.Resume(bg, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := r.delivered(1); len(got) != 1 || got[0] != 31 {
			t.Errorf("delivered are %v, want event 31", got)
		}
	})
}
