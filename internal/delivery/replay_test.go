package delivery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
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

// A replay skips nothing, wherever between two rows the process dies.
func TestReplayCrashesAnywhere(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		const pushes = 2000
		r.pushMany(1, pushes)
		time.Sleep(time.Minute)
		made, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1})
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		crashes := 0
		for {
			burnt := make(chan struct{})
			fuse := addFuse(t, r.db, sync.OnceFunc(func() { close(burnt) }))
			fuse.left.Store(rnd.Int64N(1500))
			select {
			case <-burnt:
				crashes++
				r.crash()
				r.start()
				continue
			case <-time.After(time.Hour): // nothing more to write
			}
			break
		}
		done, err := r.engine.ReplayByID(bg, 1, made.ID)
		if err != nil || done.State != ReplayDone || done.Matched != pushes || done.Delivered != pushes || crashes < 5 {
			t.Errorf("%+v, %v: want %d delivered, after %d crashes", done, err, pushes, crashes)
		}
		rang := map[int64]int{}
		for _, pos := range r.replayed(made.ID) {
			rang[pos]++
		}
		for _, a := range r.attempts(1) {
			if a.Replay == made.ID && a.Outcome == Interrupted && rang[a.Pos] > 1 {
				rang[a.Pos]--
			}
		}
		for pos := int64(1); pos <= pushes; pos++ {
			if rang[pos] != 1 {
				t.Errorf("event %d rang %d times that no interrupted attempt explains", pos, rang[pos])
			}
		}
	})
}

func TestTenReplaysAtMost(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(2)
		r.pushMany(2, 20)
		synctest.Wait()
		ask := func(endpoint int64) (Replay, error) {
			return r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: endpoint, PerMinute: 1})
		}
		var last Replay
		for i := range maxReplays {
			var err error
			if last, err = ask(1); err != nil {
				t.Fatalf("replay %d: %v", i+1, err)
			}
		}
		if _, err := ask(1); !fault.Is(err, fault.Conflict) {
			t.Errorf("one more: %v, want a conflict", err)
		}
		if _, err := ask(2); err != nil {
			t.Errorf("to another endpoint: %v", err)
		}
		if _, err := r.engine.CancelReplay(bg, 1, last.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(1); err != nil {
			t.Errorf("after one was cancelled: %v", err)
		}
	})
}

// Who rings an event again thinks that the receiver is back: it is probed at
// once.
func TestReplayProbesAtOnce(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.push(1, "v0")
		synctest.Wait()
		r.down(all)
		r.pushMany(1, 2*openAfter)
		time.Sleep(time.Hour + 10*time.Second)
		synctest.Wait()
		r.down(nil)
		if done := r.replay(Selection{EventID: r.attempts(1)[len(r.attempts(1))-1].EventID}, time.Second); done.Delivered != 1 {
			t.Errorf("%+v, want it delivered at once", done)
		}
		if n := len(r.delivered(1)); n != 2*openAfter+2 {
			t.Errorf("%d delivered, want what waited too", n)
		}
	})
}

// A replay on a paused endpoint, which somebody tries, keeps to its rate.
func TestReplayOnPausedKeepsTheRate(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.pushMany(1, 20)
		time.Sleep(time.Minute)
		r.policy(1, func(p *ring.Policy) { p.PerMinute = 6 })
		if err := r.engine.Pause(bg, 1); err != nil {
			t.Fatal(err)
		}
		done := r.replay(Selection{}, time.Hour)
		if done.Delivered != 20 {
			t.Errorf("%+v, want 20 delivered", done)
		}
		var last time.Time
		for _, g := range r.rang {
			if g.replay == 0 {
				continue
			}
			if g.at.Sub(last) < 10*time.Second {
				t.Errorf("event %d was sent %s after another", g.pos, g.at.Sub(last))
			}
			last = g.at
		}
	})
}

// What is in flight when a replay is cancelled, and then cut off by a crash, is
// not sent again, and is a dead letter again.
func TestCancelThenCrash(t *testing.T) {
	for _, elsewhere := range [][]byte{nil, []byte("http://other")} {
		t.Run(string(elsewhere), func(t *testing.T) {
			fakeTime(t, func(t *testing.T) {
				r := newRig(t)
				r.endpoints(1)
				r.policy(1, func(p *ring.Policy) { p.MaxAttempts = 1 })
				r.answer = func(int64, *event.Event) outbound.Result { return status(500) }
				r.pushMany(1, 3)
				time.Sleep(time.Minute)
				r.mu.Lock()
				r.answer = func(int64, *event.Event) outbound.Result {
					res := status(200)
					res.Duration = time.Hour
					return res
				}
				r.mu.Unlock()
				made, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Elsewhere: elsewhere, Selection: Selection{AllDeadLetters: true}})
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				rang := len(r.replayed(made.ID))
				if _, err := r.engine.CancelReplay(bg, 1, made.ID); err != nil || rang == 0 {
					t.Fatalf("%d requests, %v", rang, err)
				}
				r.crash()
				r.start()
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := len(r.replayed(made.ID)); n != rang {
					t.Errorf("%d requests after the cancel", n-rang)
				}
				if d := r.deadLetters(1); len(d) != 3 || r.rowCount("delivery") != 0 {
					t.Errorf("dead letters are %+v, %d rows: want 3 and none", d, r.rowCount("delivery"))
				}
			})
		})
	}
}

// A replay may be cancelled while the start still counts its rows.
func TestCancelAtTheStart(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.endpoints(1)
		r.pushMany(1, 200)
		for range 20 {
			made, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, PerMinute: 1})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			r.crash()
			r.start()
			if _, err := r.engine.CancelReplay(bg, 1, made.ID); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			r.engine.mu.Lock()
			ep := r.engine.endpoints[1]
			rows, keys, replays, counted := ep.rows, len(ep.rowKeys), ep.replayRows, ep.counted
			r.engine.mu.Unlock()
			if n := r.rowCount("delivery"); n != 0 || rows != 0 || keys != 0 || replays != 0 || !counted {
				t.Fatalf("there are %d rows; it is thought that there are %d with %d keys, %d of replays (counted: %t)", n, rows, keys, replays, counted)
			}
		}
	})
}

// The replays of an endpoint that is deleted end with it, crash or not.
func TestReplayOfTheDeleted(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(1)
		r.pushMany(1, 20)
		synctest.Wait()
		for _, elsewhere := range [][]byte{nil, []byte("http://other")} {
			if _, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, PerMinute: 1, Elsewhere: elsewhere}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		fuse := addFuse(t, r.db, func() {})
		r.write(func(tx *sqldb.Tx) error {
			tx.AfterCommit(func() { fuse.left.Store(0) })
			return r.engine.Drop(tx, 1)
		})
		r.crash()
		r.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		list, err := r.engine.Replays(bg, 1, 0, 10)
		if err != nil || len(list) != 2 || list[0].State != ReplayCancelled || list[1].State != ReplayCancelled {
			t.Errorf("replays are %+v, %v: want them cancelled", list, err)
		}
		if n := r.rowCount("delivery") + r.rowCount("endpoint"); n != 0 {
			t.Errorf("%d rows and endpoints left", n)
		}
	})
}

func TestPurgeDeadLetters(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(2)
		r.policy(1, func(p *ring.Policy) { p.MaxAttempts = 1 })
		r.answer = func(endpoint int64, _ *event.Event) outbound.Result { return status(500) }
		r.pushMany(1, 4)
		time.Sleep(time.Minute)
		synctest.Wait()
		first := r.deadLetters(1)[0].ID
		for _, test := range []struct {
			endpoint int64
			ids      []int64
			events   int64
			left     int
			kind     fault.Kind
		}{
			{1, []int64{first, 99}, 0, 4, fault.NotFound}, // all of them, or none
			{2, []int64{first}, 0, 4, fault.NotFound},
			{2, nil, 0, 4, 0},
			{1, []int64{first}, 1, 3, 0},
			{1, nil, 3, 0, 0},
		} {
			events, err := r.engine.PurgeDeadLetters(bg, test.endpoint, test.ids)
			if err == nil && events != test.events || (err != nil) != (test.kind != 0) || test.kind != 0 && !fault.Is(err, test.kind) {
				t.Errorf("purge %v of %d: %d events, %v; want %d", test.ids, test.endpoint, events, err, test.events)
			}
			if n := len(r.deadLetters(1)); n != test.left {
				t.Errorf("purge %v of %d: %d are left, want %d", test.ids, test.endpoint, n, test.left)
			}
		}
		if n := len(r.attempts(1)); n != 4 {
			t.Errorf("%d attempts are on record, want all 4", n)
		}
	})
}
