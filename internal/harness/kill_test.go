package harness_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Clean()
	os.Exit(code)
}

// change is what a client asked for: a push of a manifest that no other change
// pushes, or its delete.
type change struct {
	action, repo, tag, digest string
	acked                     bool // answered with success; otherwise nobody knows
}

// TestKill9 kills the real program under load, again and again. After each
// restart every acknowledged push and delete has exactly its event, and no event
// stands for a change that did not happen; in the end every event was delivered,
// and rang twice only where an attempt is marked interrupted.
func TestKill9(t *testing.T) {
	kills := 50
	if n, err := strconv.Atoi(os.Getenv("DOCKBELL_TEST_KILLS")); err == nil {
		kills = n
	}
	if testing.Short() {
		kills = 5
	}
	data := t.TempDir()
	bell := newBell()
	receiver := httptest.NewServer(bell)
	defer receiver.Close()

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var history []*change
	for round := range kills {
		s := harness.Start(t, data)
		if round == 0 {
			s.Webhook("killhook", receiver.URL, "push", "delete")
		}
		done := make(chan []*change)
		ctx, cancel := context.WithCancel(context.Background())
		const workers = 4
		for w := range workers {
			go func() {
				done <- load(ctx, s, fmt.Sprintf("%d.%d", round, w), rand.New(rand.NewPCG(seed, uint64(round*workers+w+1))))
			}()
		}
		time.Sleep(time.Duration(20+rnd.IntN(300)) * time.Millisecond) // when the power goes is chance
		s.Kill()
		cancel()
		for range workers {
			history = append(history, <-done...)
		}
		checkEvents(t, data, history)
		if t.Failed() {
			t.Fatalf("after kill %d", round+1)
		}
	}

	events := checkEvents(t, data, history)
	for owed := 1; owed > 0; { // what was interrupted has rung, and is owed once more
		s := harness.Start(t, data)
		bell.await(t, len(events))
		s.Stop()
		read(t, data, func(tx *sqldb.Tx) error { return tx.Get("SELECT count(*) FROM delivery", nil, &owed) })
	}
	checkDeliveries(t, data, events, bell)
	t.Logf("%d kills, %d changes acknowledged of %d asked for, %d events, %d rings", kills, acked(history), len(history), len(events), bell.total())
}

func acked(history []*change) (n int) {
	for _, c := range history {
		if c.acked {
			n++
		}
	}
	return n
}

// load pushes and deletes until the server is gone.
func load(ctx context.Context, s *harness.Server, name string, rnd *rand.Rand) (history []*change) {
	repo := fmt.Sprintf("load/r%d", rnd.IntN(3))
	if err := s.PushBlob(ctx, repo, []byte("{}")); err != nil {
		return nil
	}
	var mine []*change
	for i := 0; ; i++ {
		manifest := harness.Manifest(fmt.Sprintf("%s.%d", name, i))
		c := &change{action: "push", repo: repo, digest: harness.Digest(manifest)}
		ref := c.digest
		if rnd.IntN(4) > 0 {
			c.tag = fmt.Sprintf("t%d", rnd.IntN(5))
			ref = c.tag
		}
		history = append(history, c)
		if !c.do(ctx, s, "PUT", ref, manifest, http.StatusCreated) {
			return history
		}
		mine = append(mine, c)
		if rnd.IntN(5) == 0 {
			at := rnd.IntN(len(mine))
			gone := &change{action: "delete", repo: repo, digest: mine[at].digest}
			mine = append(mine[:at], mine[at+1:]...)
			history = append(history, gone)
			if !gone.do(ctx, s, "DELETE", gone.digest, nil, http.StatusAccepted) {
				return history
			}
		}
	}
}

func (c *change) do(ctx context.Context, s *harness.Server, method, ref string, body []byte, want int) bool {
	status, _, err := s.Do(ctx, method, "/v2/"+c.repo+"/manifests/"+ref, harness.ManifestType, body)
	c.acked = err == nil && status == want
	return c.acked
}

// read runs fn on the database of a server.
func read(t testing.TB, data string, fn func(*sqldb.Tx) error) {
	t.Helper()
	ctx := context.Background()
	db, err := sqldb.Open(ctx, sqldb.Config{Path: filepath.Join(data, "dockbell.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Read(ctx, fn); err != nil {
		t.Fatal(err)
	}
}

// checkEvents compares the events with what clients asked for and were told, and
// the tables with what the events say. It returns the events.
func checkEvents(t testing.TB, data string, history []*change) (events []outbox.Entry) {
	t.Helper()
	manifests, tags := map[string]bool{}, map[string]string{}
	read(t, data, func(tx *sqldb.Tx) (err error) {
		if events, err = outbox.After(tx, 0, 1<<30); err != nil {
			return err
		}
		err = tx.Each("SELECT r.name, m.digest FROM manifest m JOIN repository r ON r.id = m.repository", nil, func(scan sqldb.Scan) error {
			var repo, dgst string
			err := scan(&repo, &dgst)
			manifests[repo+"@"+dgst] = true
			return err
		})
		if err != nil {
			return err
		}
		return tx.Each("SELECT r.name, t.name, m.digest FROM tag t JOIN repository r ON r.id = t.repository JOIN manifest m ON m.id = t.manifest", nil, func(scan sqldb.Scan) error {
			var repo, tag, dgst string
			err := scan(&repo, &tag, &dgst)
			tags[repo+":"+tag] = dgst
			return err
		})
	})

	seen := map[change]int{}
	wantManifests, wantTags := map[string]bool{}, map[string]string{}
	for i, entry := range events {
		e := entry.Event
		if e.Pos != int64(i+1) {
			t.Errorf("event %d has position %d", i+1, e.Pos)
		}
		seen[change{action: string(e.Action), repo: e.Target.Repository, tag: e.Target.Tag, digest: e.Target.Digest}]++
		key := e.Target.Repository + "@" + e.Target.Digest
		switch e.Action {
		case "push":
			wantManifests[key] = true
			if e.Target.Tag != "" {
				wantTags[e.Target.Repository+":"+e.Target.Tag] = e.Target.Digest
			}
		case "delete":
			delete(wantManifests, key)
			for tag, dgst := range wantTags {
				if dgst == e.Target.Digest {
					delete(wantTags, tag)
				}
			}
		}
	}
	for _, c := range history {
		key := *c
		key.acked = false
		switch n := seen[key]; {
		case n > 1:
			t.Errorf("%+v has %d events", *c, n)
		case n == 0 && c.acked:
			t.Errorf("%+v was acknowledged and has no event", *c)
		}
		delete(seen, key)
	}
	for c := range seen {
		t.Errorf("an event stands for %+v, which nobody asked for", c)
	}
	if diff := cmp.Diff(wantManifests, manifests); diff != "" {
		t.Errorf("the manifests are not those of the events (-events +tables):\n%s", diff)
	}
	if diff := cmp.Diff(wantTags, tags); diff != "" {
		t.Errorf("the tags are not those of the events (-events +tables):\n%s", diff)
	}
	return events
}

// bell is a receiver that counts how often each event rang.
type bell struct {
	mu   sync.Mutex
	rang map[string]int
	more chan struct{} // something rang
}

func newBell() *bell { return &bell{rang: map[string]int{}, more: make(chan struct{}, 1)} }

func (b *bell) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ ID string }
	text, err := io.ReadAll(r.Body)
	if err = errors.Join(err, json.Unmarshal(text, &body)); err != nil || body.ID == "" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	b.rang[body.ID]++
	b.mu.Unlock()
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// await waits until n different events rang.
func (b *bell) await(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		b.mu.Lock()
		have := len(b.rang)
		b.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-b.more:
		case <-deadline:
			t.Fatalf("%d of %d events rang", have, n)
		}
	}
}

func (b *bell) total() (n int) {
	for _, times := range b.rang {
		n += times
	}
	return n
}

// checkDeliveries compares the log of attempts with what the receiver heard.
func checkDeliveries(t *testing.T, data string, events []outbox.Entry, b *bell) {
	t.Helper()
	type log struct{ delivered, interrupted, all int }
	logs := map[int64]*log{}
	read(t, data, func(tx *sqldb.Tx) error {
		return tx.Each("SELECT pos, outcome FROM attempt", nil, func(scan sqldb.Scan) error {
			var pos int64
			var outcome string
			if err := scan(&pos, &outcome); err != nil {
				return err
			}
			l := logs[pos]
			if l == nil {
				l = &log{}
				logs[pos] = l
			}
			l.all++
			switch outcome {
			case "delivered":
				l.delivered++
			case "interrupted":
				l.interrupted++
			}
			return nil
		})
	})
	// On a busy machine a process may be killed before it has sent anything, time and
	// again. What three crashes in a row cut off is taken to be their cause.
	crashed := map[int64]bool{}
	read(t, data, func(tx *sqldb.Tx) error {
		return tx.Each("SELECT pos_from FROM dead_letter WHERE reason LIKE 'the server stopped during three attempts%' AND pos_from = pos_to", nil, func(scan sqldb.Scan) error {
			var pos int64
			err := scan(&pos)
			crashed[pos] = true
			return err
		})
	})
	for _, e := range events {
		l, rang := logs[e.Event.Pos], b.rang[e.Event.ID]
		switch {
		case l == nil:
			t.Errorf("event %d has no attempt on record", e.Event.Pos)
		case crashed[e.Event.Pos] && l.delivered == 0 && l.interrupted == 3 && l.all == 3 && rang <= 3:
		case l.delivered != 1 || rang < 1:
			t.Errorf("event %d rang %d times, log %+v: want delivered once", e.Event.Pos, rang, *l)
		case rang > 1 && l.interrupted == 0, rang > l.all:
			t.Errorf("event %d rang %d times, log %+v: want an interrupted attempt for each further ring", e.Event.Pos, rang, *l)
		}
	}
}
