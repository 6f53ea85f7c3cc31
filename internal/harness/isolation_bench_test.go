package harness_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// What BenchmarkIsolation offers.
const (
	perRegistry   = 500 // webhooks: as many as the tier allows
	registryCount = 20
	hookCount     = perRegistry * registryCount
	holeEvery     = 100 // one webhook of so many is a black hole in the end
	holeCount     = hookCount / holeEvery

	pushesPerSecond = 200
	holeTraffic     = 10 // one push of so many is for a black hole
)

// BenchmarkIsolation measures how long healthy receivers wait for their events
// among 10,000 webhooks of 20 registries on the real program, while all are
// healthy, while 1 % of them become black holes that take 10 % of the traffic,
// and when their breakers are open. A black hole takes a request and never
// answers; webhooks have the default time limit of 10 s. A healthy receiver takes
// a time of its own, log-normal about a median of 50 ms, to answer.
//
// "rings" is from the push's 201 until the request is at the receiver, and
// "delivered" until the receiver answers it.
func BenchmarkIsolation(b *testing.B) {
	w := newWorld(b)
	w.load(5 * time.Second) // connections, caches
	healthy := w.load(40 * time.Second)
	b.Logf("all healthy:      %s", healthy)
	w.holes.Store(true)
	minute := w.load(time.Minute)
	b.Logf("the first minute: %s", minute)
	for deadline := time.Now().Add(2 * time.Minute); w.failing() < holeCount; {
		if time.Now().After(deadline) {
			b.Fatalf("the breakers of %d of %d black holes are open", w.failing(), holeCount)
		}
		w.load(5 * time.Second)
	}
	w.load(10 * time.Second) // what was in flight to them ends
	w.calls.Store(0)
	open := w.load(40 * time.Second)
	b.Logf("breakers open:    %s; %d requests to %d black holes", open, w.calls.Load(), holeCount)

	peak := w.server.PeakMemory()
	w.server.Kill()
	most, allowed := w.probes()
	b.Logf("each black hole was sent at most %d requests after its breaker had opened; %d have their time in that", most, allowed)
	if most > allowed {
		b.Errorf("a black hole was sent %d requests after its breaker had opened, want at most %d", most, allowed)
	}
	ratio := float64(open.delivered(0.99)) / float64(healthy.delivered(0.99))
	b.ReportMetric(healthy.ms(healthy.delivered, 0.99), "healthy-p99-ms")
	b.ReportMetric(minute.ms(minute.delivered, 0.99), "first-minute-p99-ms")
	b.ReportMetric(open.ms(open.delivered, 0.99), "open-p99-ms")
	b.ReportMetric(ratio, "open/healthy-p99")
	b.ReportMetric(healthy.ms(healthy.rings, 0.99), "healthy-ring-p99-ms")
	b.ReportMetric(minute.ms(minute.rings, 0.99), "first-minute-ring-p99-ms")
	b.ReportMetric(open.ms(open.rings, 0.99), "open-ring-p99-ms")
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
	b.ReportMetric(0, "ns/op")
}

// world is a server with many webhooks and their receivers.
type world struct {
	b      *testing.B
	data   string
	server *harness.Server
	client *http.Client
	holes  atomic.Bool  // the black holes are
	calls  atomic.Int64 // requests to them

	mu      sync.Mutex
	pushed  []*pushed
	healthy int // webhooks that were pushed for, in turn
	hole    int
}

// pushed is a push and what came of it. Its index in world.pushed is in its tag.
type pushed struct {
	hook                  int
	acked, rung, answered time.Time
}

func (w *world) isHole(hook int) bool { return hook%holeEvery == 0 }

func registryName(hook int) string { return fmt.Sprintf("bench%03d", hook/perRegistry) }

func hookName(hook int) string { return fmt.Sprintf("hook%d", hook) }

func newWorld(b *testing.B) *world {
	w := &world{b: b, data: b.TempDir(), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	b.Cleanup(w.client.CloseIdleConnections)
	// Each black hole is a host of its own, as strangers' receivers are; the
	// healthy ones share as many.
	hosts := make([]*httptest.Server, 2*holeCount)
	for i := range hosts {
		hosts[i] = httptest.NewServer(w)
		b.Cleanup(hosts[i].Close)
	}
	harness.Start(b, w.data).Stop()
	offline(b, w.data, func(db *sqldb.DB) error {
		return db.Write(context.Background(), sqldb.Bulk, func(tx *sqldb.Tx) error { return addRegistries(tx, registryCount) })
	})
	w.server = harness.Start(b, w.data)
	var wg sync.WaitGroup
	hooks := make(chan int)
	for range 64 {
		wg.Go(func() {
			for hook := range hooks {
				host := hosts[holeCount+hook%holeCount]
				if w.isHole(hook) {
					host = hosts[hook/holeEvery]
				}
				body := fmt.Sprintf(`{"location":"local","properties":{"serviceUri":"%s/%d","scope":"app:w%d-*","actions":["push"]}}`, host.URL, hook, hook)
				path := "/api/v1/registries/" + registryName(hook) + "/webhooks/" + hookName(hook)
				status, answer, err := w.server.Do(context.Background(), "PUT", path, nil, []byte(body))
				if err != nil || status != http.StatusCreated {
					b.Errorf("webhook %d: %d %v %s", hook, status, err, answer)
				}
			}
		})
	}
	for hook := range hookCount {
		hooks <- hook
	}
	close(hooks)
	wg.Wait()
	for hook := 0; hook < hookCount; hook += perRegistry {
		if err := w.send("POST", hook, "/v2/app/blobs/uploads/?digest="+harness.Digest([]byte("{}")), "application/octet-stream", []byte("{}")); err != nil {
			b.Error(err)
		}
	}
	if b.Failed() {
		b.FailNow()
	}
	b.Logf("%d webhooks made: %d MiB at the most", hookCount, w.server.PeakMemory()>>20)
	w.server.Stop()
	w.server = harness.Start(b, w.data)
	b.Logf("started with them: %d MiB at the most", w.server.PeakMemory()>>20)
	return w
}

// addRegistries makes registries beside the default one, in all like that.
func addRegistries(tx *sqldb.Tx, n int) error {
	for i := range n {
		_, err := tx.Exec(`INSERT INTO registry (name, subscription, resource_group, location, sku, created_at)
			SELECT $1, subscription, resource_group, location, sku, created_at FROM registry WHERE name = 'dockbell'`, registryName(i*perRegistry))
		if err != nil {
			return err
		}
	}
	return nil
}

// send makes a request to the registry that a webhook belongs to.
func (w *world) send(method string, hook int, path, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(context.Background(), method, w.server.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Host = registryName(hook) + ".dockbell.localhost"
	req.Header.Set("Content-Type", contentType)
	req.SetBasicAuth("dockbell", harness.Password)
	res, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	return err
}

// load pushes for d, whatever the server does, and returns how the healthy
// receivers fared.
func (w *world) load(d time.Duration) isolationRun {
	began, n := time.Now(), int(d.Seconds()*pushesPerSecond)
	var mine []*pushed
	var wg sync.WaitGroup
	for i := range n {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / pushesPerSecond)))
		p, number := w.next(i)
		mine = append(mine, p)
		wg.Go(func() {
			tag := fmt.Sprintf("w%d-%d", p.hook, number)
			if err := w.send("PUT", p.hook, "/v2/app/manifests/"+tag, harness.ManifestType.Get("Content-Type"), harness.Manifest(tag)); err != nil {
				w.b.Error(err)
				return
			}
			now := time.Now()
			w.mu.Lock()
			defer w.mu.Unlock()
			p.acked = now
		})
	}
	wg.Wait()
	run := isolationRun{offered: float64(n) / time.Since(began).Seconds()}
	for deadline := time.Now().Add(20 * time.Second); !run.sum(w, mine); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.b.Errorf("%d of %d events to healthy receivers were delivered", len(run.deliveredAfter), n-n/holeTraffic)
			break
		}
	}
	return run
}

// next chooses for which webhook the next push is.
func (w *world) next(i int) (p *pushed, number int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p = &pushed{}
	if i%holeTraffic == 0 {
		p.hook = w.hole % holeCount * holeEvery
		w.hole++
	} else {
		// A step that has no divisor in common with the number of webhooks takes
		// them all, and from every registry.
		for p.hook = w.healthy * 3001 % hookCount; w.isHole(p.hook); p.hook = w.healthy * 3001 % hookCount {
			w.healthy++
		}
		w.healthy++
	}
	w.pushed = append(w.pushed, p)
	return p, len(w.pushed) - 1
}

// ServeHTTP is every receiver.
func (w *world) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	now := time.Now()
	var body struct{ Target struct{ Tag string } }
	hook, err := strconv.Atoi(r.URL.Path[1:])
	if err != nil || json.NewDecoder(r.Body).Decode(&body) != nil {
		w.b.Errorf("a request to %s that no push has led to", r.URL)
		return
	}
	io.Copy(io.Discard, r.Body)
	_, text, _ := strings.Cut(body.Target.Tag, "-")
	number, err := strconv.Atoi(text)
	if err != nil {
		w.b.Errorf("a request for tag %q", body.Target.Tag)
		return
	}
	w.mu.Lock()
	p := w.pushed[number]
	if p.rung.IsZero() {
		p.rung = now
	}
	w.mu.Unlock()
	if w.isHole(hook) && w.holes.Load() {
		w.calls.Add(1)
		<-r.Context().Done()
		return
	}
	time.Sleep(serviceTime(number))
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.answered.IsZero() {
		p.answered = time.Now()
	}
}

// serviceTime is how long a receiver takes to answer: log-normal, with a median
// of 50 ms and a 99th percentile of 160 ms. Numbers that follow each other spread
// evenly over the distribution, so that two runs have the same.
func serviceTime(number int) time.Duration {
	_, u := math.Modf((float64(number) + 0.5) * math.Phi)
	return time.Duration(float64(50*time.Millisecond) * math.Exp(0.5*math.Sqrt2*math.Erfinv(2*u-1)))
}

// failing counts the black holes whose breakers are open.
func (w *world) failing() (n int) {
	for hook := 0; hook < hookCount; hook += holeEvery {
		path := "/api/v1/registries/" + registryName(hook) + "/webhooks/" + hookName(hook) + "?expand=health"
		var answer struct{ Health struct{ State string } }
		if err := json.Unmarshal(w.server.Must(http.StatusOK, "GET", path, nil, nil), &answer); err != nil {
			w.b.Fatal(err)
		}
		if answer.Health.State == "failing" {
			n++
		}
	}
	return n
}

// probes returns how many requests a black hole was sent after its breaker had
// opened, at the most, and how many there may be in the longest of those times:
// 10 s, 30 s, 1 min, 2 min after the one before has run into its time limit.
func (w *world) probes() (most, allowed int) {
	var since time.Duration
	read(w.b, w.data, func(tx *sqldb.Tx) error {
		return tx.Each(`SELECT e.opened_at, (SELECT count(*) FROM attempt a WHERE a.endpoint = e.id AND a.started_at > e.opened_at),
				(SELECT count(*) FROM delivery d WHERE d.endpoint = e.id AND d.state = 'inflight')
			FROM endpoint e WHERE e.opened_at IS NOT NULL`, nil, func(scan sqldb.Scan) error {
			var opened int64
			var ended, open int
			err := scan(&opened, &ended, &open)
			most = max(most, ended+open)
			since = max(since, time.Since(time.Unix(0, opened)))
			return err
		})
	})
	const limit = 10 * time.Second
	at := time.Duration(0)
	for _, pause := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute} {
		if at += pause; at > since {
			break
		}
		allowed++
		at += limit
	}
	return most, allowed
}

// isolationRun is how the healthy receivers fared for a while.
type isolationRun struct {
	offered                   float64         // pushes a second
	rungAfter, deliveredAfter []time.Duration // sorted
}

// sum adds up what has been delivered; false if that is not all.
func (r *isolationRun) sum(w *world, mine []*pushed) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.rungAfter, r.deliveredAfter = nil, nil
	all := true
	for _, p := range mine {
		switch {
		case w.isHole(p.hook):
		case p.answered.IsZero() || p.acked.IsZero():
			all = false
		default:
			r.rungAfter = append(r.rungAfter, max(0, p.rung.Sub(p.acked)))
			r.deliveredAfter = append(r.deliveredAfter, max(0, p.answered.Sub(p.acked)))
		}
	}
	slices.Sort(r.rungAfter)
	slices.Sort(r.deliveredAfter)
	return all
}

func (r isolationRun) rings(q float64) time.Duration     { return quantile(r.rungAfter, q) }
func (r isolationRun) delivered(q float64) time.Duration { return quantile(r.deliveredAfter, q) }

func (r isolationRun) ms(of func(float64) time.Duration, q float64) float64 {
	return float64(of(q).Microseconds()) / 1000
}

func (r isolationRun) String() string {
	return fmt.Sprintf("%.0f pushes/s; rings after p50 %s, p99 %s, max %s; delivered after p50 %s, p99 %s, max %s (n=%d)",
		r.offered, r.rings(0.5), r.rings(0.99), r.rings(1), r.delivered(0.5), r.delivered(0.99), r.delivered(1), len(r.deliveredAfter))
}

// quantile returns a quantile of sorted values, 0 for none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}
