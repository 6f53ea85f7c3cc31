package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
)

// replay starts a replay to endpoint 1, and returns it as it is after some time.
func (r *rig) replay(s Selection, wait time.Duration) Replay {
	r.t.Helper()
	made, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: s, By: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	time.Sleep(wait)
	synctest.Wait()
	done, err := r.engine.ReplayByID(bg, 1, made.ID)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

// replayed returns the positions that a replay rang, sorted.
func (r *rig) replayed(id int64) (positions []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range r.rang {
		if g.replay == id {
			positions = append(positions, g.pos)
		}
	}
	slices.Sort(positions)
	return positions
}

// Each member of a selection narrows it to what it says.
func TestSelections(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		start := time.Now()
		r.answer = func(_ int64, e *event.Event) outbound.Result {
			switch e.Pos {
			case 4, 5:
				return status(400)
			case 6:
				return status(422)
			}
			return status(200)
		}
		for i := range 10 { // an hour apart
			r.pushTo(1, []string{"app", "team/web", "team/api"}[i%3], fmt.Sprint("v", i))
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		second := r.attempts(1)[8].EventID
		for _, test := range []struct {
			what string
			s    Selection
			want []int64
		}{
			{"one event", Selection{EventID: second}, []int64{2}},
			{"everything", Selection{}, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
			{"behind a position, up to another", Selection{After: 2, Upto: 5}, []int64{3, 4, 5}},
			{"of a time", Selection{From: start.Add(150 * time.Minute), Until: start.Add(5 * time.Hour)}, []int64{4, 5}},
			{"of a repository", Selection{Repository: "app"}, []int64{1, 4, 7, 10}},
			{"of repositories", Selection{Repository: "team/*", Upto: 3}, []int64{2, 3}},
			{"of other actions", Selection{Actions: []event.Action{event.Delete}}, nil},
			{"refused", Selection{Only: OnlyRefused}, []int64{4, 5, 6}},
			{"delivered", Selection{Only: OnlyDelivered, Upto: 5}, []int64{1, 2, 3, 4, 5}}, // all were, by the replays before
			{"undelivered", Selection{Only: Undelivered}, nil},
		} {
			if test.what == "delivered" {
				r.down(nil)
				r.replay(Selection{Upto: 5}, time.Minute)
			}
			done := r.replay(test.s, time.Minute)
			if got := r.replayed(done.ID); !slices.Equal(got, test.want) {
				t.Errorf("%s: %v, want %v", test.what, got, test.want)
			}
			if done.State != ReplayDone || done.Matched != int64(len(test.want)) || done.Matched != done.Delivered+done.Refused+done.Dead || done.Looked != done.ToLook {
				t.Errorf("%s: %+v does not add up", test.what, done)
			}
			log, _, err := r.engine.Attempts(bg, 1, Filter{Replay: done.ID}, "", 100)
			if err != nil || len(log) != len(test.want) {
				t.Errorf("%s: the log has %d attempts of it, %v; want %d", test.what, len(log), err, len(test.want))
			}
		}
	})
}

func TestReplayRefusals(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.push(1, "v1")
		synctest.Wait()
		now := time.Now()
		for _, test := range []struct {
			s    Selection
			kind fault.Kind
			says string
		}{
			{Selection{EventID: "none"}, fault.NotFound, `"none"`},
			{Selection{EventID: "x", After: 1}, fault.Invalid, "one event"},
			{Selection{AllDeadLetters: true, Only: Undelivered}, fault.Invalid, "dead letters"},
			{Selection{AllDeadLetters: true}, fault.NotFound, "no dead letters"},
			{Selection{DeadLetters: []int64{7}}, fault.NotFound, "7"},
			{Selection{From: now, Until: now}, fault.Invalid, "later"},
			{Selection{After: 5, Upto: 5}, fault.Invalid, "position 5"},
			{Selection{Only: "late"}, fault.Invalid, `"late"`},
		} {
			_, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: test.s})
			if !fault.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%+v: %v, want a %v that says %s", test.s, err, test.kind, test.says)
			}
		}
		if _, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 9}); !fault.Is(err, fault.NotFound) {
			t.Errorf("an endpoint that is not there: %v", err)
		}
		if n := r.rowCount("replay"); n != 0 {
			t.Errorf("%d replays are on record", n)
		}
	})
}

// A replay keeps its rate, goes on after crashes where it was, and skips nothing.
func TestReplaySurvivesCrashes(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		const pushes = 600
		for i := range pushes {
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		made, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, PerMinute: 60})
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			time.Sleep(77 * time.Second)
			r.crash()
			r.start()
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		done, err := r.engine.ReplayByID(bg, 1, made.ID)
		if err != nil || done.State != ReplayDone || done.Matched != pushes || done.Delivered != pushes {
			t.Errorf("%+v, %v: want %d delivered", done, err, pushes)
		}
		rang := r.replayed(made.ID)
		twice := len(rang) - len(slices.Compact(slices.Clone(rang)))
		if len(rang)-twice != pushes {
			t.Errorf("%d of %d events rang", len(rang)-twice, pushes)
		}
		cut := 0
		for _, a := range r.attempts(1) {
			if a.Replay == made.ID && a.Outcome == Interrupted {
				cut++
			}
		}
		if twice > cut {
			t.Errorf("%d events rang twice, %d attempts are on record as cut off", twice, cut)
		}
	})
}

// A replay to another address has a health of its own, and leaves nothing behind.
func TestReplayElsewhere(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		for i := range 20 {
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(time.Second)
		r.down(all)
		made, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Elsewhere: []byte("http://other")})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if h := r.health(1); h.State != Live || h.FailStreak != 0 || h.Waiting != 0 {
			t.Errorf("health of the webhook is %+v, want untouched", h)
		}
		r.down(nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		done, err := r.engine.ReplayByID(bg, 1, made.ID)
		if err != nil || done.State != ReplayDone || done.Delivered != 20 || !done.Elsewhere {
			t.Errorf("%+v, %v: want 20 delivered elsewhere", done, err)
		}
		if n := r.rowCount("endpoint"); n != 1 {
			t.Errorf("%d endpoints, want the webhook's alone", n)
		}
		if log, _, err := r.engine.Attempts(bg, 1, Filter{Replay: made.ID, Outcome: Delivered}, "", 100); err != nil || len(log) != 20 {
			t.Errorf("%d delivered attempts under its number, %v; want 20", len(log), err)
		}
	})
}

// A replay that is cancelled sends nothing more, and dead letters that it had
// taken over are dead letters again.
func TestCancelReplay(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.down(all)
		for i := range 200 {
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(80 * time.Hour)
		synctest.Wait()
		var given int64
		for _, d := range r.deadLetters(1) {
			given += d.Count
		}
		if given != 200 {
			t.Fatalf("%d events given up, want 200", given)
		}
		r.down(nil)
		made, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{AllDeadLetters: true}, PerMinute: 10})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		done, err := r.engine.CancelReplay(bg, 1, made.ID)
		if err != nil || done.State != ReplayCancelled {
			t.Fatalf("%+v, %v", done, err)
		}
		rang := len(r.replayed(made.ID))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := len(r.replayed(made.ID)) - rang; n != 0 {
			t.Errorf("%d requests after the cancel", n)
		}
		again := r.replay(Selection{AllDeadLetters: true}, time.Hour)
		if again.State != ReplayDone || len(r.deadLetters(1)) != 0 {
			t.Errorf("%+v, %d dead letters left", again, len(r.deadLetters(1)))
		}
		got := slices.Compact(slices.Sorted(slices.Values(r.delivered(1))))
		if len(got) != 200 {
			t.Errorf("%d of 200 events delivered in the end", len(got))
		}
		if _, err := r.engine.CancelReplay(bg, 1, made.ID); err != nil {
			t.Errorf("a second cancel: %v", err)
		}
	})
}
