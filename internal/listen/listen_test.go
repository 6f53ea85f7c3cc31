package listen

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine notes what it is told.
type engine struct {
	mu      sync.Mutex
	told    []string
	deleted []Listener
	err     error // what everything fails with
}

func (e *engine) note(what string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, what)
	return e.err
}

func (e *engine) Pause(context.Context, int64) error  { return e.note("pause") }
func (e *engine) Resume(context.Context, int64) error { return e.note("resume") }

func (e *engine) delete(_ context.Context, l Listener) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deleted = append(e.deleted, l)
	return e.err
}

// heard returns what the engine was told since the last call.
func (e *engine) heard() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	told := strings.Join(e.told, " ")
	e.told = nil
	return told
}

// deletions returns what was to be deleted so far.
func (e *engine) deletions() []Listener {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.deleted)
}

func (e *engine) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
}

// count returns how many listeners the hub keeps.
func (h *Hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.listeners)
}

var who = Listener{Registry: 7, Endpoint: 42, Name: "listen0123456789"}

// inTime runs a test of a hub that knows existing, in fake time.
func inTime(t *testing.T, existing []Listener, fn func(*testing.T, *Hub, *engine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, e := New(), &engine{}
		if err := h.Start(t.Context(), Options{Endpoints: e, Delete: e.delete, Log: slog.New(slog.DiscardHandler)}, existing); err != nil {
			t.Fatal(err)
		}
		fn(t, h, e)
		h.Stop()
		h.Stop()
	})
}

func request() outbound.Request {
	return outbound.Request{
		URL: "listen://" + who.Name, Body: []byte(`{"id":"e1"}`), Timeout: 10 * time.Second,
		Header: http.Header{"Webhook-Id": {"e1"}, "Content-Type": {"application/json"}, "Webhook-Signature": {"v1,abc="}, "Dockbell-Replay": {"3"}},
		Public: []string{"Content-Type", "Content-Length", "Webhook-Id"}, Actor: "alice",
	}
}

// posting posts a request and returns where its result will be.
func posting(h *Hub) <-chan outbound.Result {
	res := make(chan outbound.Result, 1)
	go func() { res <- h.Post(context.Background(), request()) }()
	return res
}

func open(t *testing.T, h *Hub) *Stream {
	t.Helper()
	s, err := h.Open(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func next(t *testing.T, s *Stream) Delivery {
	t.Helper()
	d, err := s.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func wantFault(t *testing.T, err error, kind fault.Kind, message string) {
	t.Helper()
	if !fault.Is(err, kind) || !strings.Contains(err.Error(), message) {
		t.Errorf("error %v; want kind %s and %q", err, kind, message)
	}
}

// TestDelivery: what the client gets is the request; what it reports is the
// result, and what is kept of the request shows no secret.
func TestDelivery(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		s := open(t, h)
		defer s.Close()
		if got := e.heard(); got != "resume" {
			t.Errorf("the engine heard %q", got)
		}
		result := posting(h)
		d := next(t, s)
		if diff := cmp.Diff(Delivery{
			Attempt: d.Attempt, EventID: "e1", Actor: "alice", Replay: 3, Header: request().Header, Body: request().Body, Timeout: 10 * time.Second,
		}, d); diff != "" || len(d.Attempt) < 20 {
			t.Errorf("delivery (-want +got):\n%s", diff)
		}
		time.Sleep(3 * time.Second)
		report := Report{Status: 503, Header: map[string]string{"Retry-After": "9"}, Body: []byte("not now"), Duration: 2500 * time.Millisecond}
		if err := h.Result(who.Registry, who.Name, d.Attempt, report); err != nil {
			t.Fatal(err)
		}
		got := <-result
		if age := time.Since(got.Started); age != 3*time.Second {
			t.Errorf("started %v ago", age)
		}
		got.Started = time.Time{}
		if diff := cmp.Diff(outbound.Result{
			Duration: 2500 * time.Millisecond,
			Sent: outbound.RequestHead{Method: "POST", URI: "listen://listen0123456789/", Version: "1.1", Header: map[string]string{
				"Content-Type": "application/json", "Content-Length": "11", "Webhook-Id": "e1", "Webhook-Signature": "******", "Dockbell-Replay": "******",
			}},
			Answer: &outbound.ResponseHead{Status: 503, Reason: "Service Unavailable", Version: "1.1", Header: map[string]string{"Retry-After": "9"}},
			Body:   []byte("not now"),
		}, got); diff != "" {
			t.Errorf("result (-want +got):\n%s", diff)
		}
		wantFault(t, h.Result(who.Registry, who.Name, d.Attempt, report), fault.NotFound, "reported already")
	})
}

func TestReports(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10_000)
	for _, test := range []struct {
		name    string
		in      Report
		want    outbound.Result
		refused string
	}{
		{"answer", Report{Status: 200}, outbound.Result{Answer: outbound.NewAnswer(200, nil)}, ""},
		{"long body", Report{Status: 500, Body: []byte(long)}, outbound.Result{Answer: outbound.NewAnswer(500, nil), Body: []byte(long[:4096]), Cut: true}, ""},
		{"long header", Report{Status: 500, Header: map[string]string{"A": "b", "X": long}}, outbound.Result{Answer: outbound.NewAnswer(500, map[string]string{"A": "b"})}, ""},
		{"error", Report{Class: "connect", Message: "localhost:80\nrefused"}, outbound.Result{Class: outbound.Connect, Message: "localhost:80 refused"}, ""},
		{"error without a word", Report{Class: "timeout"}, outbound.Result{Class: outbound.Timeout, Message: "the client that listens gave no reason"}, ""},
		{"many words", Report{Class: "dns", Message: long}, outbound.Result{Class: outbound.DNS, Message: long[:512] + "…"}, ""},
		{"nothing", Report{}, outbound.Result{}, "status 0 is none of HTTP"},
		{"no status", Report{Status: 999}, outbound.Result{}, "status 999 is none of HTTP"},
		{"both", Report{Status: 200, Class: "connect"}, outbound.Result{}, "a status and an error"},
		{"the server's own", Report{Class: "refused"}, outbound.Result{}, `error "refused" is none that can be reported`},
		{"made up", Report{Class: "weather"}, outbound.Result{}, `error "weather"`},
	} {
		got, err := test.in.result()
		if test.refused != "" {
			wantFault(t, err, fault.Invalid, test.refused)
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", test.name, err, diff)
		}
	}
}

// TestNobodyListens: a client that lost its connection is waited for a while.
func TestNobodyListens(t *testing.T) {
	inTime(t, []Listener{who}, func(t *testing.T, h *Hub, e *engine) {
		if got := e.heard(); got != "pause" {
			t.Errorf("at the start the engine heard %q", got)
		}
		start := time.Now()
		res := <-posting(h)
		if res.Class != outbound.Connect || !strings.HasPrefix(res.Message, "nobody listens: ") || res.Sent.Method != "POST" || time.Since(start) != 10*time.Second {
			t.Errorf("result %+v after %v", res, time.Since(start))
		}

		result := posting(h)
		time.Sleep(4 * time.Second)
		d := next(t, open(t, h))
		if d.Timeout != 6*time.Second {
			t.Errorf("the client that came back has %v", d.Timeout)
		}
		if err := h.Result(who.Registry, who.Name, d.Attempt, Report{Status: 200}); err != nil {
			t.Error(err)
		}
		if res := <-result; res.Answer == nil {
			t.Errorf("result %+v", res)
		}

		start = time.Now()
		unknown := request()
		unknown.URL = "listen://listenother12345"
		if res := h.Post(t.Context(), unknown); res.Class != outbound.Connect || time.Since(start) != 0 {
			t.Errorf("result %+v after %v", res, time.Since(start))
		}
	})
}

// TestPostBeforeStart: the engine may be quicker than the hub at the start of a
// server.
func TestPostBeforeStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, e := New(), &engine{}
		result, other := posting(h), posting(h)
		time.Sleep(time.Second)
		if err := h.Start(t.Context(), Options{Endpoints: e, Delete: e.delete, Log: slog.New(slog.DiscardHandler)}, []Listener{who}); err != nil {
			t.Fatal(err)
		}
		d := next(t, open(t, h))
		if err := h.Result(who.Registry, who.Name, d.Attempt, Report{Status: 200}); err != nil {
			t.Error(err)
		}
		h.Stop()
		first, second := <-result, <-other
		if first.Answer == nil {
			first, second = second, first
		}
		if first.Answer == nil || second.Class != outbound.Cancelled {
			t.Errorf("results %+v, %+v", first, second)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := New()
		result := posting(h)
		h.Stop()
		if res := <-result; res.Class != outbound.Cancelled {
			t.Errorf("result %+v", res)
		}
	})
}

// TestPausedWhileAway: the engine is told when the connection goes and comes, and
// a stream that was replaced pauses nothing.
func TestPausedWhileAway(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		if err := h.Add(t.Context(), who); err != nil || e.heard() != "pause" {
			t.Errorf("a new listener is not paused: %v", err)
		}
		first := open(t, h)
		second := open(t, h)
		_, err := first.Next(t.Context())
		wantFault(t, err, fault.Conflict, "another connection listens to listen0123456789")
		first.Close()
		if got := e.heard(); got != "resume" {
			t.Errorf("after a second connection took over, the engine heard %q", got)
		}
		result := posting(h)
		next(t, second)
		second.Close()
		second.Close()
		if got := e.heard(); got != "pause" {
			t.Errorf("after the connection ended, the engine heard %q", got)
		}
		if _, err := second.Next(t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("Next after Close: %v", err)
		}
		if res := <-result; res.Class != outbound.Cancelled || !strings.Contains(res.Message, "may have seen it") {
			t.Errorf("what the client took with it: %+v", res)
		}
		open(t, h).Close()
		if got := e.heard(); got != "resume pause" {
			t.Errorf("after it came and went, the engine heard %q", got)
		}
	})
}

// TestResultOverAnotherConnection: a client that lost its stream while it worked
// can still report.
func TestResultOverAnotherConnection(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		s := open(t, h)
		result := posting(h)
		d := next(t, s)
		s.Close()
		time.Sleep(time.Second)
		if err := h.Result(who.Registry, who.Name, d.Attempt, Report{Status: 200}); err != nil {
			t.Fatal(err)
		}
		if res := <-result; res.Answer == nil || res.Answer.Status != 200 {
			t.Errorf("result %+v", res)
		}
	})
}

// TestSilentClient: a client that took a delivery and reports nothing sleeps. It
// is not to blame for what it did not say, and what follows waits for it.
func TestSilentClient(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		s := open(t, h)
		e.heard()
		start := time.Now()
		result := posting(h)
		d := next(t, s)
		if res := <-result; res.Class != outbound.Cancelled || time.Since(start) != 12*time.Second {
			t.Errorf("result %+v after %v", res, time.Since(start))
		}
		_, err := s.Next(t.Context())
		wantFault(t, err, fault.Unavailable, "connect again")
		if got := e.heard(); got != "pause" {
			t.Errorf("the engine heard %q", got)
		}
		wantFault(t, h.Result(who.Registry, who.Name, d.Attempt, Report{Status: 200}), fault.NotFound, "too late")
	})
}

// TestSilenceOfAnOldConnection: a client that was started anew is not to blame for
// what the old one took with it.
func TestSilenceOfAnOldConnection(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		old := open(t, h)
		result := posting(h)
		next(t, old)
		old.Close()
		s := open(t, h)
		defer s.Close()
		e.heard()
		if res := <-result; res.Class != outbound.Cancelled {
			t.Errorf("result %+v", res)
		}
		result = posting(h)
		d := next(t, s)
		if err := h.Result(who.Registry, who.Name, d.Attempt, Report{Status: 200}); err != nil {
			t.Error(err)
		}
		<-result
		if got := e.heard(); got != "" {
			t.Errorf("the engine heard %q", got)
		}
	})
}

// TestStuckClient: one that does not take what it is sent.
func TestStuckClient(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		open(t, h)
		e.heard()
		if res := <-posting(h); res.Class != outbound.Timeout || !strings.Contains(res.Message, "within 10s") {
			t.Errorf("result %+v", res)
		}
		if got := e.heard(); got != "pause" {
			t.Errorf("the engine heard %q", got)
		}
	})
}

// TestOthersCannotReport: neither another registry nor another listener, nor with
// an id that was made up.
func TestOthersCannotReport(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		other := Listener{Registry: 7, Endpoint: 43, Name: "listenother12345"}
		if err := h.Add(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		s := open(t, h)
		defer s.Close()
		result := posting(h)
		d := next(t, s)
		ok := Report{Status: 200}
		wantFault(t, h.Result(8, who.Name, d.Attempt, ok), fault.NotFound, "no delivery")
		wantFault(t, h.Result(7, other.Name, d.Attempt, ok), fault.NotFound, "no delivery")
		wantFault(t, h.Result(7, "listenunknown", d.Attempt, ok), fault.NotFound, "no delivery")
		wantFault(t, h.Result(7, who.Name, "guess", ok), fault.NotFound, "no delivery")
		wantFault(t, h.Result(7, who.Name, d.Attempt, Report{}), fault.Invalid, "status 0")
		if err := h.Result(7, who.Name, d.Attempt, ok); err != nil {
			t.Error(err)
		}
		<-result
	})
}

// TestDeletedAfterTenMinutes: without a connection, also one that never was, or
// was before a restart; not while there is one.
func TestDeletedAfterTenMinutes(t *testing.T) {
	inTime(t, []Listener{who}, func(t *testing.T, h *Hub, e *engine) {
		time.Sleep(KeptFor - time.Second)
		s := open(t, h)
		time.Sleep(KeptFor * 3)
		s.Close()
		time.Sleep(KeptFor - time.Second)
		if len(e.deletions()) != 0 {
			t.Fatalf("deleted %v too early", e.deletions())
		}
		e.fail(errors.New("the database is closed"))
		time.Sleep(2 * time.Second)
		e.fail(nil)
		if len(e.deletions()) != 1 {
			t.Fatalf("deletions %v", e.deletions())
		}
		time.Sleep(KeptFor) // it is tried again
		if diff := cmp.Diff([]Listener{who, who}, e.deletions()); diff != "" {
			t.Errorf("deletions:\n%s", diff)
		}
		if h.count() != 0 {
			t.Error("a deleted listener is kept in memory")
		}
		time.Sleep(3 * KeptFor)
		if len(e.deletions()) != 2 {
			t.Errorf("deletions %v", e.deletions())
		}
	})
}

// TestRemove ends the connection, and what it had in hand.
func TestRemove(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		s := open(t, h)
		start := time.Now()
		result := posting(h)
		next(t, s)
		s.Close()
		untaken := posting(h)
		h.Remove(who.Registry+1, who.Name) // another registry's
		h.Remove(who.Registry, "listenother12345")
		synctest.Wait()
		if len(result) != 0 {
			t.Error("it ended with another's")
		}
		h.Remove(who.Registry, who.Name)
		h.Remove(who.Registry, who.Name)
		if res := <-result; res.Class != outbound.Cancelled || time.Since(start) != 0 {
			t.Errorf("result %+v after %v", res, time.Since(start))
		}
		if res := <-untaken; res.Class != outbound.Connect || time.Since(start) != 0 {
			t.Errorf("result %+v after %v", res, time.Since(start))
		}
		e.heard()
		s.Close()
		if got := e.heard(); got != "" {
			t.Errorf("the engine heard %q of an endpoint that is gone", got)
		}
		time.Sleep(2 * KeptFor)
		if len(e.deletions()) != 0 {
			t.Errorf("deleted %v", e.deletions())
		}
	})
}

// TestStop: connections and waiting requests end at once, and nothing more is
// deleted.
func TestStop(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		s := open(t, h)
		start := time.Now()
		result := posting(h)
		next(t, s)
		h.Stop()
		if res := <-result; res.Class != outbound.Cancelled || !strings.Contains(res.Message, "shutting down") || time.Since(start) != 0 {
			t.Errorf("result %+v after %v", res, time.Since(start))
		}
		_, err := s.Next(t.Context())
		wantFault(t, err, fault.Unavailable, "the server is stopping")
		s.Close()
		if got := e.heard(); got != "resume pause" {
			t.Errorf("the engine heard %q", got)
		}
		if res := h.Post(t.Context(), request()); res.Class != outbound.Cancelled {
			t.Errorf("result %+v", res)
		}
		_, err = h.Open(t.Context(), who)
		wantFault(t, err, fault.Unavailable, "the server is stopping")
		time.Sleep(2 * KeptFor)
		if len(e.deletions()) != 0 {
			t.Errorf("deleted %v", e.deletions())
		}
	})
}

// TestCancelledPost: the engine may give up before the client reports.
func TestCancelledPost(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		s := open(t, h)
		defer s.Close()
		for _, taken := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan outbound.Result, 1)
			go func() { result <- h.Post(ctx, request()) }()
			if taken {
				next(t, s)
			}
			cancel()
			if res := <-result; res.Class != outbound.Cancelled {
				t.Errorf("result %+v", res)
			}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := len(h.listeners[who.Name].open); n != 0 {
			t.Errorf("%d attempts are kept in memory", n)
		}
	})
}

// TestGoneEndpoint: a webhook that is deleted by other means cannot be listened
// to, and its listener is not kept.
func TestGoneEndpoint(t *testing.T) {
	inTime(t, nil, func(t *testing.T, h *Hub, e *engine) {
		e.fail(fault.New(fault.NotFound, "no endpoint"))
		_, err := h.Open(t.Context(), who)
		wantFault(t, err, fault.NotFound, "no endpoint")
		time.Sleep(2 * KeptFor)
		if h.count() != 0 {
			t.Error("it is kept in memory")
		}
	})
}

// FuzzReport: what is kept of a report is bounded, and says something.
func FuzzReport(f *testing.F) {
	f.Add(200, "Retry-After", "9", []byte("body"), int64(1), "", "")
	f.Add(0, "", "", []byte(nil), int64(-1), "connect", "refused\nby \xff")
	f.Fuzz(func(t *testing.T, status int, name, value string, body []byte, took int64, class, message string) {
		res, err := Report{
			Status: status, Header: map[string]string{name: value}, Body: body, Duration: time.Duration(took), Class: class, Message: message,
		}.result()
		switch {
		case err != nil:
			if !fault.Is(err, fault.Invalid) || len(err.Error()) > 500 {
				t.Errorf("error %v", err)
			}
		case res.Answer != nil:
			if res.Class != outbound.None || len(res.Body) > outbound.MaxResponseBody || len(res.Answer.Header[name]) > 8<<10 {
				t.Errorf("result %+v", res)
			}
		case res.Class == outbound.None || res.Message == "" || len(res.Message) > 520 || strings.ContainsAny(res.Message, "\r\n"):
			t.Errorf("result %+v", res)
		}
	})
}
