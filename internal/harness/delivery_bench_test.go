package harness_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/signature"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/tenant"
	"github.com/dockbell/dockbell/internal/webhook"
)

// BenchmarkDeliveryRate measures deliveries per second to one receiver, each
// with its attempt on record, beside a bare loop in which as many workers as the
// engine's widest window send the same signed bodies to the same receiver. Live:
// events come one in a transaction, as pushes make them, as fast as the outbox
// takes them. Flood: ten in a transaction, which is more than can be delivered.
// CatchUp: all events wait for an endpoint that is resumed, so that nothing but
// deliveries is measured. Beside the rates there is the processor time of both
// ways, receiver included, which the load of the machine changes less. Both run
// with the settings of the Go runtime that dockbell serve has.
func BenchmarkDeliveryRate(b *testing.B) {
	const events, workers = 60_000, 32
	defer debug.SetGCPercent(debug.SetGCPercent(300))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 1))
	for _, way := range []struct {
		name string
		run  func(*ringer, int) time.Duration
	}{{"Live", (*ringer).live}, {"Flood", (*ringer).flood}, {"CatchUp", (*ringer).catchUp}} {
		b.Run(way.name, func(b *testing.B) {
			r := newRinger(b)
			idle := processorTime(b)
			bare := r.bare(events, workers)
			posting := processorTime(b) - idle
			took := way.run(r, events)
			delivering := processorTime(b) - idle - posting
			bare = min(bare, r.bare(events, workers))
			b.ReportMetric(events/took.Seconds(), "deliveries/s")
			b.ReportMetric(events/bare.Seconds(), "bare-posts/s")
			b.ReportMetric(bare.Seconds()/took.Seconds(), "times-bare")
			b.ReportMetric(float64(delivering.Microseconds())/events, "cpu-us/delivery")
			b.ReportMetric(float64(posting.Microseconds())/events, "cpu-us/post")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// processorTime returns how much this process has taken so far.
func processorTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// ringer is all of a server that rings, without its faces.
type ringer struct {
	b        *testing.B
	db       *sqldb.DB
	engine   *delivery.Engine
	events   *outbox.Outbox
	source   event.Registry
	hook     webhook.Webhook
	receiver *httptest.Server
	heard    atomic.Int64 // requests at the receiver
}

func newRinger(b *testing.B) *ringer {
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	r := &ringer{b: b}
	r.receiver = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		r.heard.Add(1)
	}))
	b.Cleanup(r.receiver.Close)
	var err error
	r.db, err = sqldb.Open(ctx, sqldb.Config{Path: filepath.Join(b.TempDir(), "dockbell.db"), Log: log})
	must(err)
	b.Cleanup(func() { r.db.Close() })
	tenants, err := tenant.Open(ctx, r.db, tenant.Options{})
	must(err)
	key, err := seal.New(make([]byte, seal.KeySize))
	must(err)
	policy := outbound.Policy{Loopback: true}
	client := outbound.New(outbound.Options{Policy: policy, ID: "bench"})
	b.Cleanup(client.Close)
	r.engine = delivery.New(delivery.Options{DB: r.db, Poster: client, Log: log, Node: "bench"})
	r.events = outbox.New(r.engine.Committed)
	r.source = sourceOf(tenants.Default())
	hooks, err := webhook.Open(ctx, webhook.Options{
		DB: r.db, Key: key, Endpoints: r.engine, Outbox: r.events, CheckURL: policy.CheckURL, Version: "bench",
		Source: func(int64) event.Registry { return r.source },
	})
	must(err)
	must(r.engine.Start(ctx, hooks))
	b.Cleanup(func() { r.engine.Stop(ctx) })
	d := tenants.Default()
	r.hook, _, err = hooks.Put(ctx,
		webhook.Registry{ID: d.ID, Name: d.Name, SKU: string(d.SKU), Limit: d.SKU.WebhookLimit(), Locations: []string{d.Location}},
		"ratehook", webhook.Definition{Location: d.Location, ServiceURI: r.receiver.URL, Actions: []string{"push"}}, webhook.Actor{Name: "dockbell", Kind: "User"})
	must(err)
	return r
}

// push appends n events, a few in each transaction, with so many goroutines that
// commits are shared.
func (r *ringer) push(n, few int) {
	drafts := make([]*outbox.Draft, n)
	for i := range drafts {
		drafts[i] = outbox.Prepare(pushOf(r.source, "app", fmt.Sprintf("t%d", i)))
	}
	work := make(chan []*outbox.Draft, n)
	for part := range slices.Chunk(drafts, few) {
		work <- part
	}
	close(work)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for part := range work {
				err := r.db.Write(context.Background(), sqldb.Change, func(tx *sqldb.Tx) error {
					for _, d := range part {
						if err := r.events.Append(tx, d); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					r.b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (r *ringer) live(n int) time.Duration  { return r.ring(n, 1) }
func (r *ringer) flood(n int) time.Duration { return r.ring(n, 10) }

// ring pushes n events and returns how long it took until all were delivered.
func (r *ringer) ring(n, few int) time.Duration {
	heard := r.heard.Load()
	began := time.Now()
	r.push(n, few)
	r.b.Logf("the outbox took %.0f events/s, of which %d had rung by then", float64(n)/time.Since(began).Seconds(), r.heard.Load()-heard)
	r.await(heard, n)
	return time.Since(began)
}

// catchUp has n events wait, and returns how long it took until all were
// delivered.
func (r *ringer) catchUp(n int) time.Duration {
	ctx, heard := context.Background(), r.heard.Load()
	if err := r.engine.Pause(ctx, r.hook.ID); err != nil {
		r.b.Fatal(err)
	}
	r.push(n, 10)
	began := time.Now()
	if err := r.engine.Resume(ctx, r.hook.ID); err != nil {
		r.b.Fatal(err)
	}
	r.await(heard, n)
	return time.Since(began)
}

// await waits until n more events have rung and are on record as delivered.
func (r *ringer) await(heard int64, n int) {
	deadline := time.Now().Add(2 * time.Minute)
	for recorded := 0; recorded < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.b.Fatalf("%d of %d events rang, %d are on record", r.heard.Load()-heard, n, recorded)
		}
		if r.heard.Load() < heard+int64(n) {
			continue
		}
		err := r.db.Read(context.Background(), func(tx *sqldb.Tx) error {
			return tx.Get("SELECT count(*) FROM attempt WHERE outcome = 'delivered'", nil, &recorded)
		})
		if err != nil {
			r.b.Fatal(err)
		}
	}
}

// bare sends as many requests as fast as an HTTP client can that does nothing
// else, and returns how long it took.
func (r *ringer) bare(n, workers int) time.Duration {
	transport := &http.Transport{MaxIdleConnsPerHost: workers, DisableCompression: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	secret := signature.New()
	e := pushOf(r.source, "app", "t0")
	e.ID, e.At = "00000000-0000-4000-8000-000000000000", time.Now()
	body := event.ACRBody(e)
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	began := time.Now()
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				req, err := http.NewRequest(http.MethodPost, r.receiver.URL, bytes.NewReader(body))
				if err != nil {
					r.b.Error(err)
					return
				}
				timestamp := signature.Timestamp(time.Now())
				req.Header.Set("Content-Type", "application/json; charset=utf-8")
				req.Header.Set(signature.IDField, e.ID)
				req.Header.Set(signature.TimestampField, timestamp)
				req.Header.Set(signature.SignatureField, signature.Sign(e.ID, timestamp, body, secret))
				res, err := client.Do(req)
				if err != nil {
					r.b.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}
