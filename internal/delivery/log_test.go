package delivery

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// logOf walks all pages of an endpoint's log, n at a time, and returns the attempts
// and how many pages there were.
func (r *rig) logOf(endpoint int64, f Filter, n int) (all []Attempt, pages int) {
	r.t.Helper()
	for after := ""; ; pages++ {
		page, next, err := r.engine.Attempts(bg, endpoint, f, after, n)
		if err != nil {
			r.t.Fatal(err)
		}
		if all = append(all, page...); next == "" {
			return all, pages + 1
		}
		if next == after {
			r.t.Fatalf("the log goes on at %s for ever", next)
		}
		after = next
	}
}

// writeLog makes an endpoint's log of n attempts, one a second from begin on, each
// for an event of its own. change sets what is otherwise: delivered, and of app:v1.
func (r *rig) writeLog(begin time.Time, n int, change func(i int, e *event.Event, outcome *Outcome)) {
	r.t.Helper()
	r.write(func(tx *sqldb.Tx) error {
		for i := range n {
			at := begin.Add(time.Duration(i) * time.Second)
			e, outcome := &event.Event{ID: fmt.Sprint("e", i), At: at, Action: event.Push, Target: event.Target{Repository: "app", Tag: "v1"}}, Delivered
			change(i, e, &outcome)
			if _, err := tx.Exec(`INSERT INTO event (pos, id, at, registry, location, action, repository, tag, digest, record, acr_body) VALUES ($1, $2, $3, 1, 'eastus', $4, $5, $6, '', $7, $8)`,
				i+1, e.ID, at.UnixNano(), string(e.Action), e.Target.Repository, e.Target.Tag, mustJSON(e), []byte("{}")); err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO attempt (endpoint, pos, replay_no, n, started_at, micros, outcome, status, error_class, error_message, request_head, node)
				VALUES (1, $1, 0, 1, $2, 100, $3, 200, '', '', $4, '')`, i+1, at.UnixNano(), string(outcome), []byte("{}")); err != nil {
				return err
			}
		}
		return nil
	})
}

// TestLog narrows a log that is longer than what is looked at for a page: everything
// that passes is found once, newest first, in pages that cost no more than that.
func TestLog(t *testing.T) {
	for name, open := range map[string]func(*testing.T) func() *sqldb.DB{"SQLite": sqldbtest.SQLite, "PostgreSQL": sqldbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			r := newRigOn(t, open(t))
			r.endpoints(1)
			const attempts = 2*maxSifted + 500
			begin := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
			r.writeLog(begin, attempts, func(i int, e *event.Event, outcome *Outcome) {
				switch i {
				case 3, 700:
					*outcome = Failed
				case 4:
					*outcome = Refused
				}
				if i == 10 || i == attempts-10 {
					e.Action, e.Target = event.Delete, event.Target{Repository: "team/web"}
				}
				if i%1000 == 0 {
					e.Target.Tag = "v2"
				}
			})
			at := func(i int) time.Time { return begin.Add(time.Duration(i) * time.Second) }
			for _, tt := range []struct {
				name  string
				f     Filter
				want  int
				pages int // 0: one that is full follows another
			}{
				{"all", Filter{}, attempts, 0},
				{"delivered", Filter{Outcome: Delivered}, attempts - 3, 0},
				{"failed", Filter{Outcome: Failed}, 2, 1}, // they have an index of their own
				{"refused", Filter{Outcome: Refused}, 1, 1},
				{"interrupted", Filter{Outcome: Interrupted}, 0, 1},
				{"action", Filter{Action: event.Delete}, 2, 3},
				{"repository", Filter{Repository: "team/web"}, 2, 3},
				{"image", Filter{Repository: "app", Tag: "v2"}, attempts/1000 + 1, 3},
				{"no such image", Filter{Repository: "app", Tag: "v9"}, 0, 3},
				{"failed, of an action", Filter{Outcome: Failed, Action: event.Delete}, 0, 1},
				{"from", Filter{From: at(attempts - 5)}, 5, 1},
				{"until", Filter{Until: at(5)}, 5, 1},
				{"between", Filter{From: at(5), Until: at(15)}, 10, 1},
				{"an action, between", Filter{From: at(5), Until: at(15), Action: event.Delete}, 1, 1},
				{"event", Filter{EventID: "e7"}, 1, 1},
				{"event and when it was", Filter{EventID: "e7", EventAt: at(7)}, 1, 1},
				{"event at another time", Filter{EventID: "e7", EventAt: at(70)}, 0, 1},
				{"failed, of an event", Filter{EventID: "e7", Outcome: Failed}, 0, 1},
				{"no such event", Filter{EventID: "x"}, 0, 1},
				{"no such replay", Filter{Replay: 9}, 0, 1},
			} {
				got, pages := r.logOf(1, tt.f, 1000)
				if len(got) != tt.want || tt.pages != 0 && pages != tt.pages {
					t.Errorf("%s: %d attempts in %d pages, want %d in %d", tt.name, len(got), pages, tt.want, tt.pages)
				}
				for i := range got {
					if i > 0 && !got[i].StartedAt.Before(got[i-1].StartedAt) {
						t.Fatalf("%s: attempt %d is not older than the one before it", tt.name, i)
					}
				}
			}
		})
	}
}

// TestLogFollowsIndexes expects of every query of the log that it reads no table from
// one end to the other.
func TestLogFollowsIndexes(t *testing.T) {
	r := newRigOn(t, sqldbtest.SQLite(t))
	for _, f := range []Filter{{}, {Outcome: Failed}, {Action: event.Push}} {
		query := "SELECT started_at" + stretch + undelivered(f) + " ORDER BY " + newestFirst + " LIMIT $7"
		var plan []string
		err := r.db.Read(bg, func(tx *sqldb.Tx) error {
			return tx.Each("EXPLAIN QUERY PLAN "+query, append(stretchOf(1, f, cursor{started: math.MaxInt64}), 10), func(s sqldb.Scan) error {
				var id, parent, unused int
				var detail string
				err := s(&id, &parent, &unused, &detail)
				plan = append(plan, detail)
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		want := "attempt_started"
		if f.Outcome == Failed {
			want = "attempt_undelivered"
		}
		if all := strings.Join(plan, "; "); !strings.Contains(all, "INDEX "+want) || strings.Contains(all, "SCAN attempt") {
			t.Errorf("%+v: %s, want the index %s", f, all, want)
		}
	}
}

// TestStanding takes one event after the other through what can become of it.
func TestStanding(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(2)
		r.policy(1, func(p *ring.Policy) { p.MaxAttempts, p.Order = 3, ring.Unordered })
		answer := func(res outbound.Result) {
			r.mu.Lock()
			r.answer = func(int64, *event.Event) outbound.Result { return res }
			r.mu.Unlock()
		}
		standing := func(pos int64) Standing {
			t.Helper()
			time.Sleep(time.Second) // what was tried is on record
			synctest.Wait()
			var id string
			err := r.db.Read(bg, func(tx *sqldb.Tx) error { return tx.Get("SELECT id FROM event WHERE pos = $1", []any{pos}, &id) })
			if err != nil {
				t.Fatal(err)
			}
			s, err := r.engine.Standing(bg, 1, id, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if s.Event.Pos != pos {
				t.Fatalf("event %d stands for event %d", s.Event.Pos, pos)
			}
			return s
		}
		answer(status(200))
		if s := standing(r.push(1, "good")); s.State != StandsDelivered || !s.Next.IsZero() || s.DeadLetter != nil {
			t.Errorf("delivered: %+v", s)
		}
		answer(status(400))
		if s := standing(r.push(1, "bad")); s.State != StandsRefused {
			t.Errorf("refused: %+v", s)
		}
		answer(status(503))
		again := r.push(1, "later")
		if s := standing(again); s.State != StandsWaiting || s.Attempts != 1 || s.MaxAttempts != 3 || !s.Next.After(time.Now()) || !s.Expires.After(s.Next) {
			t.Errorf("tried once: %+v", s)
		}
		if err := r.engine.Pause(bg, 1); err != nil {
			t.Fatal(err)
		}
		held := r.push(1, "held")
		if s := standing(held); s.State != StandsWaiting || !s.Paused || !s.Behind || !s.Next.IsZero() {
			t.Errorf("behind, while paused: %+v", s)
		}
		if s := standing(again); s.State != StandsWaiting || !s.Paused || !s.Next.IsZero() {
			t.Errorf("tried once, while paused: %+v", s)
		}
		if err := r.engine.Resume(bg, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ring.Default().TTL + time.Hour)
		if s := standing(again); s.State != StandsDead || s.DeadLetter == nil || s.DeadLetter.Reason == "" {
			t.Errorf("given up: %+v", s)
		}
		if _, err := r.engine.Standing(bg, 1, "nosuch", time.Time{}); !fault.Is(err, fault.NotFound) {
			t.Errorf("no such event: %v", err)
		}
	})
}
