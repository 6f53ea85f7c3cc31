package harness_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/tenant"
)

// BenchmarkMillionPending measures what a million deliveries cost that wait in
// the database, 1,000 for each of 1,000 endpoints and each of an event of its
// own, beside an empty database in the same run: the time from the start of the
// real program to its first 200 on /readyz (best of nine, for the load of the
// machine only ever adds), its memory then and a minute later, and the p50 of
// pushes that ring another endpoint. The log has the time for the webhooks alone.
func BenchmarkMillionPending(b *testing.B) {
	const second = time.Second
	p := newBacklog(b)
	for _, way := range []struct {
		name  string
		does  receives // all receivers
		state string   // of all endpoints, in SQL
	}{
		{"Paused", answers(0), "paused_at = 1, cursor = (SELECT max(pos) FROM event)"},
		{"Slow", answers(second), "paused_at = NULL, cursor = NULL"},
		{"Holes", never, "paused_at = NULL, cursor = NULL"},
	} {
		b.Run(way.name, func(b *testing.B) {
			p.receiver.Store(&way.does)
			offline(b, p.full, func(db *sqldb.DB) error {
				return db.Write(context.Background(), sqldb.Bulk, func(tx *sqldb.Tx) error {
					_, err := tx.Exec(`UPDATE endpoint SET fail_streak = 0, first_fail_at = NULL, recent = 1, opened_at = NULL, probes = 0, next_at = NULL, ` +
						way.state + ` WHERE registry <> (SELECT id FROM registry WHERE name = 'dockbell')`)
					return err
				})
			})
			var emptyReady, idleReady, fullReady []time.Duration
			var empty, full *harness.Server
			for range 9 {
				startReady(b, p.empty, &emptyReady).Stop()
				startReady(b, p.idle, &idleReady).Stop()
				startReady(b, p.full, &fullReady).Kill()
			}
			empty = harness.Start(b, p.empty)
			before := p.pushes(b, empty)
			empty.Stop() // a killed one has more to do at its next start
			full = startReady(b, p.full, &fullReady)
			atStart := full.PeakMemory()
			began := time.Now()
			during := p.pushes(b, full)
			time.Sleep(time.Until(began.Add(time.Minute)))
			minuteLater := full.PeakMemory()
			full.Kill()
			empty = harness.Start(b, p.empty)
			after := p.pushes(b, empty)
			empty.Stop()

			ready, reference := slices.Min(fullReady), (before.push+after.push)/2
			b.Logf("%d deliveries are pending; ready after %v, with as many webhooks and nothing pending after %v, with an empty database after %v",
				p.count(b), fullReady, idleReady, emptyReady)
			b.Logf("push p50 %s (ring p50 %s); with an empty database before %s (%s), after %s (%s)",
				during.push, during.ring, before.push, before.ring, after.push, after.ring)
			b.ReportMetric(float64(ready.Microseconds())/1000, "ready-ms")
			b.ReportMetric(float64(ready)/float64(slices.Min(emptyReady)), "ready/empty")
			b.ReportMetric(float64(ready)/float64(slices.Min(idleReady)), "ready/idle")
			b.ReportMetric(float64(atStart)/(1<<20), "start-MiB")
			b.ReportMetric(float64(minuteLater)/(1<<20), "minute-MiB")
			b.ReportMetric(float64(during.push.Microseconds())/1000, "push-p50-ms")
			b.ReportMetric(float64(during.push)/float64(reference), "push/empty")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// startReady starts the program and measures how long that takes until it is
// ready.
func startReady(b *testing.B, data string, took *[]time.Duration) *harness.Server {
	b.Helper()
	harness.Binary(b)
	began := time.Now()
	s := harness.Start(b, data)
	s.Must(http.StatusOK, "GET", "/readyz", nil, nil)
	*took = append(*took, time.Since(began))
	return s
}

// receives is what a receiver does with a request.
type receives func(http.ResponseWriter, *http.Request)

func answers(after time.Duration) receives {
	return func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-time.After(after):
		case <-r.Context().Done():
		}
	}
}

func never(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// backlog is a data folder with a million deliveries, one with the same webhooks
// only, and an empty one.
type backlog struct {
	full, idle, empty string

	receiver atomic.Pointer[receives]
	other    *httptest.Server // of the webhook that is pushed for

	mu     sync.Mutex
	rung   map[string]time.Time // by tag
	pushed int
}

const (
	pendingHooks   = 1000
	pendingPerHook = 1000
)

func newBacklog(b *testing.B) *backlog {
	ctx := context.Background()
	p := &backlog{full: b.TempDir(), idle: b.TempDir(), empty: b.TempDir(), rung: map[string]time.Time{}}
	p.other = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		now := time.Now()
		var body struct{ Target struct{ Tag string } }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return // the program was killed while it sent
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.rung[body.Target.Tag] = now
	}))
	b.Cleanup(p.other.Close)
	waiting := make([]*httptest.Server, 20) // hosts
	for i := range waiting {
		waiting[i] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*p.receiver.Load())(w, r) }))
		b.Cleanup(waiting[i].Close)
	}
	for _, data := range []string{p.empty, p.full} {
		s := harness.Start(b, data)
		s.Webhook("otherhook", p.other.URL, "push")
		if err := s.PushBlob(ctx, "app", []byte("{}")); err != nil {
			b.Fatal(err)
		}
		s.Stop()
	}
	offline(b, p.full, func(db *sqldb.DB) error {
		return db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error { return addRegistries(tx, pendingHooks/perRegistry) })
	})
	s := harness.Start(b, p.full)
	for hook := range pendingHooks {
		s.Must(http.StatusCreated, "PUT", "/api/v1/registries/"+registryName(hook)+"/webhooks/"+hookName(hook), nil, fmt.Appendf(nil,
			`{"location":"local","properties":{"serviceUri":"%s/%d","scope":"app:w%d-*","actions":["push"]}}`, waiting[hook%len(waiting)].URL, hook, hook))
	}
	s.Stop()
	if err := os.CopyFS(p.idle, os.DirFS(p.full)); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	offline(b, p.full, p.fill)
	b.Logf("%d deliveries written in %s", p.count(b), time.Since(began).Round(time.Second))
	return p
}

// fill writes the events and deliveries of each webhook. An event is written as
// package outbox does it, but for what is in all of them the same: that is
// encoded once, and the rest put into its place by the database.
func (p *backlog) fill(db *sqldb.DB) error {
	ctx := context.Background()
	tenants, err := tenant.Open(ctx, db, tenant.Options{})
	if err != nil {
		return err
	}
	for _, r := range tenants.List() {
		if r.ID == tenants.Default().ID {
			continue
		}
		record, body := marked(sourceOf(r))
		for from := 0; from < perRegistry; from += 50 {
			err := db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(`INSERT INTO event (pos, id, at, registry, location, action, repository, tag, digest, record, acr_body)
					SELECT pos, id, at, registry, location, 'push', 'app', tag, digest,
						CAST(replace(replace(replace($1, 'THE-ID', id), 'THE-TAG', tag), 'THE-DIGEST', digest) AS BLOB),
						CAST(replace(replace(replace($2, 'THE-ID', id), 'THE-TAG', tag), 'THE-DIGEST', digest) AS BLOB)
					FROM (SELECT n.pos AS pos, $3 AS at, w.registry AS registry, w.location AS location, printf('%08x-0000-4000-8000-000000000000', n.pos) AS id,
							substr(w.scope, 5, length(w.scope) - 5) || n.i AS tag, printf('sha256:%064x', n.pos) AS digest
						FROM (WITH RECURSIVE counted(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM counted WHERE i < $4)
							SELECT i, hook, (SELECT coalesce(max(pos), 0) FROM event) + row_number() OVER (ORDER BY i, hook) AS pos FROM counted,
								(SELECT id AS hook FROM webhook WHERE registry = $5 ORDER BY id LIMIT 50 OFFSET $6)) n
						JOIN webhook w ON w.id = n.hook)`,
					string(record), string(body), tx.Now().UnixNano(), pendingPerHook-1, r.ID, from)
				if err != nil {
					return err
				}
				_, err = tx.Exec(`INSERT INTO delivery (endpoint, pos, replay_no, state, order_key, due_at, attempts, expires_at)
					SELECT w.id, e.pos, 0, 'pending', e.repository || ':' || e.tag, $1, 0, $2 FROM event e
					JOIN webhook w ON w.registry = e.registry AND w.name_key = 'hook' || substr(e.tag, 2, instr(e.tag, '-') - 2)
					WHERE e.pos > (SELECT expanded FROM event_position)`, tx.Now().UnixNano(), tx.Now().Add(72*time.Hour).UnixNano())
				if err != nil {
					return err
				}
				last, err := outbox.Last(tx)
				if err != nil {
					return err
				}
				return outbox.SetExpanded(tx, last)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// marked returns a push as it is in the log, with words in place of its id, tag
// and digest.
func marked(source event.Registry) (record, body []byte) {
	e := pushOf(source, "app", "THE-TAG")
	e.ID, e.Target.Digest, e.At = "THE-ID", "THE-DIGEST", time.Now().UTC()
	record, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return record, event.ACRBody(e)
}

// count returns how many deliveries are pending.
func (p *backlog) count(b *testing.B) (n int) {
	read(b, p.full, func(tx *sqldb.Tx) error { return tx.Get("SELECT count(*) FROM delivery", nil, &n) })
	return n
}

// latency is the medians of pushes, one at a time.
type latency struct{ push, ring time.Duration }

// pushes pushes for ten seconds.
func (p *backlog) pushes(b *testing.B, s *harness.Server) latency {
	b.Helper()
	var took, rings []time.Duration
	acked := map[string]time.Time{}
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		p.pushed++
		tag := fmt.Sprintf("t%d", p.pushed)
		manifest := harness.Manifest(tag)
		at := time.Now()
		s.Must(http.StatusCreated, "PUT", "/v2/app/manifests/"+tag, harness.ManifestType, manifest)
		now := time.Now()
		took = append(took, now.Sub(at))
		acked[tag] = now
	}
	for range 20 { // a first attempt that failed is repeated after ten seconds
		await(func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			for tag := range acked {
				if p.rung[tag].IsZero() {
					return false
				}
			}
			return true
		})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for tag, at := range acked {
		if p.rung[tag].IsZero() {
			b.Errorf("the push of %s did not ring", tag)
			continue
		}
		rings = append(rings, max(0, p.rung[tag].Sub(at)))
	}
	clear(p.rung)
	slices.Sort(took)
	slices.Sort(rings)
	if last := quantile(rings, 1); last > 2*time.Second {
		log := s.Must(http.StatusOK, "POST", "/api/v1/registries/dockbell/webhooks/otherhook/listEvents?outcome=failed", nil, nil)
		b.Errorf("the last push rang after %s: %s", last, log)
	}
	return latency{quantile(took, 0.5), quantile(rings, 0.5)}
}
