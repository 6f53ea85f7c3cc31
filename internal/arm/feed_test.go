package arm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
)

// feed is a feed in memory. A page of it looks at three events.
type feed struct {
	mu      sync.Mutex
	entries []arm.FeedEntry // position is index and 1
	oldest  int64
	changed chan struct{}
	err     error
}

const feedPage = 3

func newFeed() *feed { return &feed{changed: make(chan struct{}), oldest: 1} }

// add makes events of a registry happen.
func (f *feed) add(registry int64, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		pos := int64(len(f.entries) + 1)
		f.entries = append(f.entries, arm.FeedEntry{
			Event: &event.Event{
				Pos: pos, Action: event.Push, Registry: event.Registry{ID: registry, Location: "westeurope"}, Actor: "alice",
			},
			ACRBody: fmt.Appendf(nil, `{"id":"e%d","action":"push","target":{"tag":"<&>"}}`, pos),
		})
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *feed) bounds() arm.FeedPage {
	return arm.FeedPage{Oldest: min(f.oldest, int64(len(f.entries))), Newest: int64(len(f.entries))}
}

func (f *feed) After(_ context.Context, registry, pos int64, n int) (arm.FeedPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	page := f.bounds()
	page.Next = max(pos, page.Oldest-1)
	from := min(page.Next, page.Newest)
	for _, e := range f.entries[from:min(from+feedPage, page.Newest)] {
		if e.Event.Registry.ID == registry {
			if len(page.Entries) == n {
				break
			}
			page.Entries = append(page.Entries, e)
		}
		page.Next = e.Event.Pos
	}
	return page, f.err
}

func (f *feed) Last(_ context.Context, registry int64, n int) (arm.FeedPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	page := f.bounds()
	page.Next = page.Newest
	for i := len(f.entries) - 1; i >= 0 && len(page.Entries) < n; i-- {
		if e := f.entries[i]; e.Event.Registry.ID == registry {
			page.Entries = append([]arm.FeedEntry{e}, page.Entries...)
		}
	}
	return page, f.err
}

func (f *feed) Before(_ context.Context, registry, pos int64, n int, want arm.FeedFilter) (arm.FeedPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	page := f.bounds()
	first := page.Newest + 1
	if pos > 0 {
		first = min(first, pos)
	}
	page.Next = first
	for i := first - 1; i >= max(page.Oldest, 1) && i > first-1-feedPage; i-- {
		if e := f.entries[i-1]; e.Event.Registry.ID == registry && want.Passes(e.Event) {
			if len(page.Entries) == n {
				return page, f.err
			}
			page.Entries = append(page.Entries, e)
		}
		page.Next = i
	}
	if page.Next <= page.Oldest {
		page.Next = 0
	}
	return page, f.err
}

func (f *feed) Find(_ context.Context, registry int64, id string) (arm.FeedEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, e := range f.entries {
		if e.Event.Registry.ID == registry && (id == fmt.Sprint(i+1) || id == fmt.Sprintf("e%d", i+1)) {
			return e, f.err
		}
	}
	return arm.FeedEntry{}, fault.New(fault.NotFound, "there is no event %q", id)
}

func (f *feed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// reader is a control plane that reads a feed, in fake time.
type reader struct {
	*plane
	*feed
	stopping chan struct{}
	denied   atomic.Bool // nobody has rights any more
	contoso  int64       // ids
	fabrikam int64
}

// reading runs fn in fake time. Nothing in it may touch the database, which is
// outside of that.
func reading(t *testing.T, fn func(*testing.T, *reader)) {
	t.Helper()
	p := newPlane(t)
	synctest.Test(t, func(t *testing.T) {
		r := &reader{plane: p, feed: newFeed(), stopping: make(chan struct{})}
		cfg := p.config
		cfg.Feed, cfg.Stopping = r.feed, r.stopping
		cfg.Authenticate = func(*http.Request) (arm.Caller, error) {
			if r.denied.Load() {
				return nil, fault.New(fault.Unauthenticated, "the password has changed")
			}
			return caller{name: "dockbell"}, nil
		}
		p.Handler = arm.New(cfg)
		for _, reg := range cfg.Tenants.List() {
			switch reg.Name {
			case "contoso":
				r.contoso = reg.ID
			case "fabrikam":
				r.fabrikam = reg.ID
			}
		}
		fn(t, r)
	})
}

// recorder takes an answer that is read while it is written.
type recorder struct {
	mu sync.Mutex
	*httptest.ResponseRecorder
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ResponseRecorder.Write(b)
}

// drain returns what has been written since the last call.
func (r *recorder) drain() string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.Body.String()
	r.Body.Reset()
	return text
}

// ask makes a request that goes on until its answer has ended.
func (r *reader) ask(ctx context.Context, query string, header ...string) (answer *recorder, ended <-chan struct{}) {
	req := httptest.NewRequestWithContext(ctx, "GET", "http://contoso.azurecr.example/api/v1/registries/contoso/events"+query, nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer = &recorder{ResponseRecorder: httptest.NewRecorder()}
	done := make(chan struct{})
	go func() { defer close(done); r.ServeHTTP(answer, req) }()
	synctest.Wait()
	return answer, done
}

func isEnded(done <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-done:
		return true
	default:
		return false
	}
}

const streamed = "text/event-stream"

func TestFeedPages(t *testing.T) {
	t.Parallel()
	reading(t, func(t *testing.T, r *reader) {
		tr := &transcript{plane: r.plane}
		const events = "/api/v1/registries/contoso/events"
		get := func(query string) { tr.exchange("GET", events+query, "") }
		get("") // nothing happened yet
		get("?after=0")
		get("?after=1")
		r.add(r.contoso, 2)
		r.add(r.fabrikam, 5)
		r.add(r.contoso, 2)
		r.entries[1].Event.Cause, r.entries[1].Event.Actor = "retention", ""
		r.entries[0].Event.Sample = true
		get("?limit=1")
		get("?after=1")
		get("?after=3") // three events of another registry
		get("?after=6&limit=1")
		get("?after=9")
		get("?last=3")
		get("?last=0")
		get("?before=0&limit=3")
		get("?before=9&limit=1")
		get("?before=7") // three events of another registry
		get("?before=3")
		get("?before=0&action=delete")
		get("?before=0&action=push&limit=1")
		get("/2")
		get("/e9")
		get("/5") // of another registry
		get("/x")
		r.oldest = 5
		get("")
		get("?after=3")
		get("?after=4&limit=1")
		for _, query := range []string{
			"?after=-1", "?after=abc", "?after=1.5", "?after=10", "?after=99999999999999999999", "?limit=0", "?limit=1001", "?limit=x",
			"?wait=61", "?wait=-1", "?last=-1", "?last=1001", "?after=4&last=2",
			"?before=-1", "?before=x", "?before=1&after=1", "?before=1&last=1", "?before=1&wait=1", "?action=push", "?after=1&tag=v1",
		} {
			get(query)
		}
		tr.exchange("POST", events, "{}")
		tr.exchange("HEAD", events, "")
		golden(t, "feed.txt", tr.String())
	})
}

// TestFeedEvent: one event says whom it was owed to, whatever has been deleted since,
// webhooks first.
func TestFeedEvent(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	source := newFeed()
	contoso, err := p.tenants.ByName("contoso")
	if err != nil {
		t.Fatal(err)
	}
	source.add(contoso.ID, 1)
	p.engine.rings = []delivery.Ring{
		{Endpoint: 99, State: delivery.RingDelivered, Attempts: 1, Status: 200},
		{Endpoint: 1, State: delivery.RingWaiting, Attempts: 2, LastAt: moment, Duration: 1500 * time.Microsecond, Status: 503, Due: moment.Add(time.Minute)},
	}
	cfg := p.config
	cfg.Feed = source
	p.Handler = arm.New(cfg)
	w := p.do("GET", "/api/v1/registries/contoso/events/1", "")
	const want = `"deliveries":[{"kind":"webhooks","name":"DeployHook","state":"waiting","attempts":2,"lastStatus":503,"durationMs":1.5,"lastAttempt":"2026-03-14T09:26:53.5897932Z","nextAttempt":"2026-03-14T09:27:53.5897932Z"}]`
	if !strings.Contains(w.Body.String(), want) || !strings.Contains(w.Body.String(), `"cloudEvent":{"specversion":"1.0"`) {
		t.Errorf("got %s", w.Body)
	}
}

// TestFeedWait: a request that finds nothing is answered when something happens.
func TestFeedWait(t *testing.T) {
	t.Parallel()
	reading(t, func(t *testing.T, r *reader) {
		r.add(r.fabrikam, 1)
		start := time.Now()
		answer, done := r.ask(t.Context(), "?after=1&wait=30")
		time.Sleep(10 * time.Second)
		r.add(r.fabrikam, 1) // another registry's
		if isEnded(done) {
			t.Fatalf("answered with %s", answer.Body)
		}
		r.add(r.contoso, 1)
		<-done
		if want := `{"value":[{"position":3,"location":"westeurope","actor":"alice","event":{"id":"e3","action":"push","target":{"tag":"<&>"}}}],"next":3}`; strings.TrimSpace(answer.Body.String()) != want || time.Since(start) != 10*time.Second {
			t.Errorf("after %v: %s", time.Since(start), answer.Body)
		}
		for _, test := range []struct {
			name  string
			cause func()
			after time.Duration
			code  int
			body  string
		}{
			{"nothing happens", func() {}, 30 * time.Second, 200, `{"value":[],"next":3}`},
			{"the server stops", func() { close(r.stopping) }, 0, 200, `{"value":[],"next":3}`},
		} {
			start := time.Now()
			answer, done := r.ask(t.Context(), "?after=3&wait=30")
			test.cause()
			<-done
			if answer.Code != test.code || strings.TrimSpace(answer.Body.String()) != test.body || time.Since(start) != test.after {
				t.Errorf("%s: after %v: %d %s", test.name, time.Since(start), answer.Code, answer.Body)
			}
		}
	})
}

// TestFeedStream: what happened and what happens, in order, of this registry
// only, and a sign of life at least each 15 s.
func TestFeedStream(t *testing.T) {
	t.Parallel()
	reading(t, func(t *testing.T, r *reader) {
		r.add(r.contoso, 1)
		r.add(r.fabrikam, 7)
		r.add(r.contoso, 1)
		sent := func(pos int) string {
			return fmt.Sprintf("id: %d\nevent: push\ndata: {\"position\":%d,\"location\":\"westeurope\",\"actor\":\"alice\",\"event\":{\"id\":\"e%d\",\"action\":\"push\",\"target\":{\"tag\":\"<&>\"}}}\n\n", pos, pos, pos)
		}
		ctx, cancel := context.WithCancel(t.Context())
		answer, done := r.ask(ctx, "?after=0", "Accept", "text/html, "+streamed+";q=0.9")
		if got := answer.Header().Get("Content-Type"); got != "text/event-stream; charset=utf-8" || answer.Code != 200 || !answer.Flushed {
			t.Errorf("%d %s, flushed %v", answer.Code, got, answer.Flushed)
		}
		expect := func(what, want string) {
			t.Helper()
			if got := answer.drain(); got != want {
				t.Errorf("%s: got\n%swant\n%s", what, got, want)
			}
		}
		expect("what happened", ":\n\n"+sent(1)+sent(9))
		r.add(r.contoso, 2)
		expect("two at once", sent(10)+sent(11))
		r.add(r.fabrikam, 1)
		expect("another registry's", "")
		time.Sleep(15 * time.Second)
		expect("a heart-beat", ":\nid: 12\n\n")
		time.Sleep(40 * time.Second)
		expect("more", ":\nid: 12\n\n:\nid: 12\n\n")
		cancel()
		if !isEnded(done) {
			t.Error("it goes on without its client")
		}

		answer, done = r.ask(t.Context(), "?after=0", "Accept", streamed, "Last-Event-ID", "9")
		expect("where the client was", ":\n\n"+sent(10)+sent(11))
		close(r.stopping)
		if !isEnded(done) {
			t.Error("it goes on though the server stops")
		}
	})
}

// TestFeedStreamBegins: a stream begins as a page does, and is refused as one.
func TestFeedStreamBegins(t *testing.T) {
	t.Parallel()
	reading(t, func(t *testing.T, r *reader) {
		r.add(r.contoso, 9)
		for query, want := range map[string]string{"?last=1": "id: 9\n", "?last=0": ":\n\n", "": "id: 1\n", "?after=8": "id: 9\n"} {
			ctx, cancel := context.WithCancel(t.Context())
			answer, done := r.ask(ctx, query, "Accept", streamed)
			if got := answer.drain(); !strings.HasPrefix(strings.TrimPrefix(got, ":\n\n")+":\n\n", want) || answer.Code != 200 {
				t.Errorf("%q: %d %s, want %s", query, answer.Code, got, want)
			}
			cancel()
			<-done
		}
		r.oldest = 5
		for query, want := range map[string]int{"?after=3": 410, "?after=10": 400, "?after=x": 400} {
			answer, done := r.ask(t.Context(), query, "Accept", streamed)
			<-done
			if answer.Code != want || !strings.HasPrefix(answer.Header().Get("Content-Type"), "application/json") {
				t.Errorf("%q: %d %s", query, answer.Code, answer.Body)
			}
		}
	})
}

// TestFeedRightsAreRechecked: checklist point 34. Whoever lost the right to
// manage the registry hears of nothing that happens after that, and of the loss
// within a heart-beat.
func TestFeedRightsAreRechecked(t *testing.T) {
	t.Parallel()
	const end = "event: error\ndata: {\"error\":{\"code\":\"AuthenticationFailed\",\"message\":\"the password has changed\"}}\n\n"
	for _, test := range []struct {
		name, query, accept string
		cause               func(*reader)
		want                string
	}{
		{"stream, at the next event", "?after=1", streamed, func(r *reader) { r.add(r.contoso, 1) }, end},
		{"stream, at the heart-beat", "?after=1", streamed, func(*reader) { time.Sleep(15 * time.Second) }, ":\nid: 1\n\n" + end},
		{"long poll, at the next event", "?after=1&wait=60", "", func(r *reader) { r.add(r.contoso, 1) }, `{"error":{"code":"AuthenticationFailed","message":"the password has changed"}}` + "\n"},
		{"long poll, at its end", "?after=1&wait=20", "", func(*reader) { time.Sleep(20 * time.Second) }, `{"error":{"code":"AuthenticationFailed","message":"the password has changed"}}` + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			reading(t, func(t *testing.T, r *reader) {
				r.add(r.contoso, 1)
				answer, done := r.ask(t.Context(), test.query, "Accept", test.accept)
				answer.drain()
				r.denied.Store(true)
				test.cause(r)
				if !isEnded(done) {
					t.Error("it goes on")
				}
				if got := answer.drain(); got != test.want {
					t.Errorf("got %s\nwant %s", got, test.want)
				}
			})
		})
	}
}

// TestFeedStreamFails: a stream that cannot go on says why.
func TestFeedStreamFails(t *testing.T) {
	t.Parallel()
	reading(t, func(t *testing.T, r *reader) {
		r.add(r.contoso, 1)
		answer, done := r.ask(t.Context(), "?after=1", "Accept", streamed)
		r.fail(errors.New("the file is gone: /secret/path"))
		r.add(r.contoso, 1)
		if got := answer.drain(); !isEnded(done) || !strings.Contains(got, "event: error\ndata: {\"error\":{\"code\":\"InternalServerError\"") || strings.Contains(got, "secret") {
			t.Errorf("got %s", got)
		}

		// Retention overtook a client that reads slowly.
		r.fail(nil)
		answer, done = r.ask(t.Context(), "?after=2", "Accept", streamed)
		r.mu.Lock()
		r.oldest = 5
		r.mu.Unlock()
		r.add(r.contoso, 7)
		if got := answer.drain(); !isEnded(done) || !strings.Contains(got, "event: error\ndata: {\"error\":{\"code\":\"PositionExpired\"") || !strings.Contains(got, `"oldest":5}`) {
			t.Errorf("got %s", got)
		}
	})
}

// FuzzFeedQuery: whatever a client asks for, it gets a page or is told what is
// wrong with it.
func FuzzFeedQuery(f *testing.F) {
	for _, query := range []string{"", "after=1&limit=2", "last=3", "wait=60", "after=-1", "limit=%zz", "after=9223372036854775807", "last=0&after="} {
		f.Add(query, "")
	}
	f.Add("last=2", "1")
	p := newPlane(f)
	source := newFeed()
	stopping := make(chan struct{})
	close(stopping) // nobody waits
	cfg := p.config
	cfg.Feed, cfg.Stopping = source, stopping
	source.add(cfg.Tenants.Default().ID, 5)
	handler := arm.New(cfg)
	f.Fuzz(func(t *testing.T, query, lastEventID string) {
		r := httptest.NewRequest("GET", "http://contoso.azurecr.example/api/v1/registries/contoso/events", nil)
		r.URL.RawQuery = query
		r.Header.Set("Last-Event-ID", lastEventID)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusGone {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
