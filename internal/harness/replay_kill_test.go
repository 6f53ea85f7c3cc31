package harness_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// TestKill9DuringReplay kills the real program several times while it replays
// all events there are. After each kill nothing that the replay has looked at is
// skipped, and its numbers add up; in the end every event has rung with the
// number of the replay in its header, and twice only where an attempt is marked
// interrupted. DOCKBELL_TEST_REPLAY is how many events that are.
func TestKill9DuringReplay(t *testing.T) {
	t.Parallel()
	events, kills := 5000, 3
	if n, err := strconv.Atoi(os.Getenv("DOCKBELL_TEST_REPLAY")); err == nil {
		events, kills = n, 10
	}
	data := t.TempDir()
	harness.Start(t, data).Stop() // which makes the database
	past := appendPast(t, data, events)

	ear := &replayEar{rang: map[string]int{}, refuses: map[string]bool{}, enough: make(chan struct{})}
	for i, e := range past {
		ear.refuses[e.ID] = i%10 == 0
	}
	receiver := httptest.NewServer(ear)
	defer receiver.Close()
	const hook = "/api/v1/registries/dockbell/webhooks/replayhook/replays"
	s := harness.Start(t, data)
	s.Webhook("replayhook", receiver.URL, "push")
	var r replayAnswer
	ear.next(events / (kills + 1))
	r.parse(t, s.Must(http.StatusAccepted, "POST", hook, nil, []byte("{}")))
	ear.mu.Lock()
	ear.number = strconv.FormatInt(r.ID, 10)
	ear.mu.Unlock()

	began, cursor := time.Now(), int64(0)
	for kill := range kills {
		select {
		case <-ear.enough:
		case <-time.After(2 * time.Minute):
			t.Fatalf("the replay stands still before kill %d: %s", kill+1, s.Must(http.StatusOK, "GET", fmt.Sprint(hook, "/", r.ID), nil, nil))
		}
		s.Kill()
		at := checkReplay(t, data, r.ID, past)
		if at.State != "running" || at.cursor <= cursor || at.Delivered+at.Refused+at.Dead >= int64(events) {
			t.Fatalf("kill %d hit the replay in state %+v, want one that has moved on from %d and is not done", kill+1, at, cursor)
		}
		if t.Failed() {
			t.Fatalf("after kill %d", kill+1)
		}
		cursor = at.cursor
		ear.next(events * (kill + 2) / (kills + 1))
		s = harness.Start(t, data)
	}
	for deadline := time.Now().Add(5 * time.Minute); r.State != "done"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the replay does not end: %+v", r)
		}
		r.parse(t, s.Must(http.StatusOK, "GET", fmt.Sprint(hook, "/", r.ID), nil, nil))
	}
	took := time.Since(began)
	s.Stop()

	if n := int64(events); r.Matched != n || r.Looked != n || r.ToLook != n || r.Delivered+r.Refused+r.Dead != n {
		t.Errorf("the replay says %+v: want all %d looked at and matched, and as many delivered, refused or dead", r, n)
	}
	checkReplay(t, data, r.ID, past)
	twice, total := ear.check(t, data, r, past)
	t.Logf("%d events, %d kills, %d rings of which %d were repeated, %s (%.0f events/s, restarts included); %+v",
		events, kills, total, twice, took.Round(time.Millisecond), float64(events)/took.Seconds(), r)
}

// replayAnswer is a replay as the control plane shows it.
type replayAnswer struct {
	ID                                int64
	State                             string
	Looked, ToLook                    int64
	Matched, Delivered, Refused, Dead int64
}

func (r *replayAnswer) parse(t *testing.T, answer []byte) {
	t.Helper()
	if err := json.Unmarshal(answer, r); err != nil {
		t.Fatal(err)
	}
}

// replayRow is a replay as the database has it.
type replayRow struct {
	replayAnswer
	cursor int64
}

// checkReplay compares a replay's numbers with its deliveries and attempts, and
// fails if it has passed by an event.
func checkReplay(t *testing.T, data string, id int64, past []*event.Event) (r replayRow) {
	t.Helper()
	rows, outcomes := map[int64]bool{}, map[string]int64{}
	ended := map[int64]bool{}
	read(t, data, func(tx *sqldb.Tx) error {
		err := tx.Get("SELECT state, cursor, matched, delivered, refused, dead FROM replay WHERE id = $1", []any{id},
			&r.State, &r.cursor, &r.Matched, &r.Delivered, &r.Refused, &r.Dead)
		if err != nil {
			return err
		}
		err = tx.Each("SELECT pos FROM delivery WHERE replay_no = $1", []any{id}, func(scan sqldb.Scan) error {
			var pos int64
			err := scan(&pos)
			rows[pos] = true
			return err
		})
		if err != nil {
			return err
		}
		return tx.Each("SELECT pos, outcome FROM attempt WHERE replay_no = $1", []any{id}, func(scan sqldb.Scan) error {
			var pos int64
			var outcome string
			err := scan(&pos, &outcome)
			outcomes[outcome]++
			ended[pos] = ended[pos] || outcome == "delivered" || outcome == "refused"
			return err
		})
	})
	if r.Delivered != outcomes["delivered"] || r.Refused != outcomes["refused"] || r.Dead != 0 {
		t.Errorf("the replay counts %+v, its attempts are %v", r, outcomes)
	}
	if open := int64(len(rows)); r.Matched != r.Delivered+r.Refused+r.Dead+open {
		t.Errorf("the replay counts %+v and has %d deliveries open: that does not add up", r, open)
	}
	for _, e := range past {
		if looked := e.Pos <= r.cursor; looked != (rows[e.Pos] || ended[e.Pos]) || rows[e.Pos] && ended[e.Pos] {
			t.Errorf("event %d, cursor %d: open %v, ended %v", e.Pos, r.cursor, rows[e.Pos], ended[e.Pos])
		}
	}
	return r
}

// replayEar is a receiver of one replay. It refuses some events.
type replayEar struct {
	mu      sync.Mutex
	rang    map[string]int
	refuses map[string]bool
	number  string // of the replay; empty while not known
	wrong   []string
	until   int           // different events, and then
	enough  chan struct{} // gets a value
}

// next has enough get a value when n different events have rung.
func (r *replayEar) next(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until, r.enough = n, make(chan struct{}, 1)
}

func (r *replayEar) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var body struct{ ID string }
	text, err := io.ReadAll(req.Body)
	if err = errors.Join(err, json.Unmarshal(text, &body)); err != nil {
		return // the program was killed while it sent
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if number := req.Header.Get("Dockbell-Replay"); number == "" || r.number != "" && number != r.number {
		r.wrong = append(r.wrong, fmt.Sprintf("%s: Dockbell-Replay is %q", body.ID, number))
	}
	if r.rang[body.ID]++; len(r.rang) == r.until {
		select {
		case r.enough <- struct{}{}:
		default:
		}
	}
	if r.refuses[body.ID] {
		w.WriteHeader(http.StatusBadRequest)
	}
}

// check compares what rang with the log of attempts. It returns how many rings
// were repeated, and how many there were.
func (r *replayEar) check(t *testing.T, data string, replay replayAnswer, past []*event.Event) (twice, total int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, wrong := range r.wrong {
		t.Error(wrong)
	}
	interrupted := map[int64]int{}
	read(t, data, func(tx *sqldb.Tx) error {
		return tx.Each("SELECT pos, count(*) FROM attempt WHERE replay_no = $1 AND outcome = 'interrupted' GROUP BY pos", []any{replay.ID}, func(scan sqldb.Scan) error {
			var pos int64
			var n int
			err := scan(&pos, &n)
			interrupted[pos] = n
			return err
		})
	})
	for _, e := range past {
		n := r.rang[e.ID]
		if n < 1 || n > 1+interrupted[e.Pos] {
			t.Errorf("event %d rang %d times, with %d interrupted attempts on record: want once, and once more for each at the most", e.Pos, n, interrupted[e.Pos])
		}
		twice += max(0, n-1)
		total += n
	}
	if len(r.rang) != len(past) {
		t.Errorf("%d different events rang, want %d", len(r.rang), len(past))
	}
	if total == 0 {
		t.Error("nothing rang")
	}
	return twice, total
}
