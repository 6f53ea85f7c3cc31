package arm_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// patience is how long a test waits for what happens in the background.
const patience = 20 * time.Second

// receiver is a server that is rung, and answers as it is told.
type receiver struct {
	*httptest.Server
	status atomic.Int32
	rung   chan http.Header
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{rung: make(chan http.Header, 100)}
	r.status.Store(http.StatusOK)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.rung <- req.Header
		w.WriteHeader(int(r.status.Load()))
	}))
	t.Cleanup(r.Close)
	return r
}

// next returns the headers of the next request.
func (r *receiver) next(t *testing.T) http.Header {
	t.Helper()
	select {
	case h := <-r.rung:
		return h
	case <-time.After(patience):
		t.Fatal("nothing rings")
		return nil
	}
}

// answerOf carries out a request and returns what its answer holds.
func answerOf[T any](t *testing.T, p *plane, method, target, body string) (v T) {
	t.Helper()
	w := p.do(method, target, body)
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code >= 300 {
		t.Fatalf("%s %s %s: %d %s", method, target, body, w.Code, w.Body)
	}
	return v
}

// eventually asks with GET until done accepts the answer, and returns that.
func eventually[T any](t *testing.T, p *plane, target string, done func(T) bool) T {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if v := answerOf[T](t, p, "GET", target, ""); done(v) {
			return v
		} else if time.Now().After(deadline) {
			t.Fatalf("GET %s: in the end %+v", target, v)
		}
	}
}

// push commits an event of contoso and returns its id.
func (p *plane) push(t *testing.T) string {
	t.Helper()
	contoso, err := p.tenants.ByName("contoso")
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{Action: event.Push, Registry: p.config.Source(contoso), Target: event.Target{Repository: "team/web", Tag: "v1"}}
	err = p.db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error { return p.events.Append(tx, outbox.Prepare(e)) })
	if err != nil {
		t.Fatal(err)
	}
	return e.ID
}

// TestThroughTheEngine rings real receivers by the real engine: a sample that is
// refused, redelivered and brought elsewhere, and an event that is given up and
// brought once more.
func TestThroughTheEngine(t *testing.T) {
	t.Parallel()
	policy := outbound.Policy{Loopback: true}
	client := outbound.New(outbound.Options{Policy: policy})
	t.Cleanup(client.Close)
	p := newPlaneOver(t, policy, client)
	here, there := newReceiver(t), newReceiver(t)

	type (
		id      struct{ ID string }
		attempt struct {
			ID, Outcome, Timestamp string
			Attempt                int
			Replay                 int64
		}
		attempts struct{ Value []attempt }
		replay   struct {
			ID                 int64
			State              string
			Elsewhere          bool
			Matched, Delivered int64
		}
		letters struct {
			Value []struct {
				ID, Count       int64
				EventID, Reason string
			}
		}
		resource struct{ Health struct{ State string } }
	)
	done := func(r replay) bool { return r.State == "done" }
	one := func(a attempts) bool { return len(a.Value) == 1 }
	if w := p.do("PUT", hook, `{"location":"westeurope","properties":{"serviceUri":"`+here.URL+`","customHeaders":{"X-Team":"s3cret"},"actions":["push"]}}`); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}

	here.status.Store(http.StatusBadRequest)
	sample := answerOf[id](t, p, "POST", hook+"/test", `{"action":"push"}`).ID
	if h := here.next(t); h.Get("Webhook-Id") != sample || h.Get("Dockbell-Test") != "true" || h.Get("X-Team") != "s3cret" {
		t.Errorf("the sample %s came with %v", sample, h)
	}
	refused := eventually(t, p, hook+"/listEvents?outcome=refused", one).Value[0]
	if refused.ID != sample || refused.Outcome != "refused" || refused.Attempt != 1 || refused.Replay != 0 || refused.Timestamp == "" {
		t.Errorf("on record %+v", refused)
	}

	here.status.Store(http.StatusOK)
	again := answerOf[replay](t, p, "POST", hook+"/redeliver", `{"eventId":"`+sample+`"}`)
	if h := here.next(t); h.Get("Webhook-Id") != sample || h.Get("Dockbell-Replay") != fmt.Sprint(again.ID) {
		t.Errorf("replay %d came with %v", again.ID, h)
	}
	if r := eventually(t, p, fmt.Sprint(hook, "/replays/", again.ID), done); r.Matched != 1 || r.Delivered != 1 || r.Elsewhere {
		t.Errorf("the replay came to %+v", r)
	}
	if a := eventually(t, p, fmt.Sprint(hook, "/listEvents?replay=", again.ID), one).Value[0]; a.ID != sample || a.Outcome != "delivered" || a.Replay != again.ID {
		t.Errorf("on record %+v", a)
	}

	elsewhere := answerOf[replay](t, p, "POST", hook+"/redeliver", `{"eventId":"`+sample+`","serviceUri":"`+there.URL+`"}`)
	if h := there.next(t); h.Get("Webhook-Id") != sample || h.Get("Webhook-Signature") == "" || h.Get("X-Team") != "" {
		t.Errorf("elsewhere it came with %v", h)
	}
	if r := eventually(t, p, fmt.Sprint(hook, "/replays/", elsewhere.ID), done); !r.Elsewhere || r.Delivered != 1 {
		t.Errorf("the replay elsewhere came to %+v", r)
	}
	if !strings.Contains(p.logged.String(), "to="+there.URL) {
		t.Errorf("on record %s", &p.logged)
	}

	here.status.Store(http.StatusServiceUnavailable)
	answerOf[struct{}](t, p, "PATCH", hook, `{"properties":{"retryPolicy":{"maxDeliveryAttempts":1}}}`)
	pushed := p.push(t)
	here.next(t)
	dead := eventually(t, p, hook+"/deadLetters", func(l letters) bool { return len(l.Value) == 1 }).Value[0]
	if dead.EventID != pushed || dead.Count != 1 || dead.Reason == "" {
		t.Errorf("given up: %+v", dead)
	}
	here.status.Store(http.StatusOK)
	last := answerOf[replay](t, p, "POST", hook+"/replays", fmt.Sprintf(`{"deadLetters":[%d]}`, dead.ID))
	if h := here.next(t); h.Get("Webhook-Id") != pushed {
		t.Errorf("the dead letter came with %v", h)
	}
	if r := eventually(t, p, fmt.Sprint(hook, "/replays/", last.ID), done); r.Delivered != 1 {
		t.Errorf("the replay of dead letters came to %+v", r)
	}
	if l := answerOf[letters](t, p, "GET", hook+"/deadLetters", ""); len(l.Value) != 0 {
		t.Errorf("dead letters left: %+v", l)
	}
	if got := p.ids(t, hook+"/replays"); fmt.Sprint(got) != fmt.Sprint([]int64{last.ID, elsewhere.ID, again.ID}) {
		t.Errorf("replays %v", got)
	}

	if r := answerOf[resource](t, p, "POST", hook+"/pause", ""); r.Health.State != "paused" {
		t.Errorf("paused: %+v", r)
	}
	if r := answerOf[resource](t, p, "POST", hook+"/resume", ""); r.Health.State == "paused" {
		t.Errorf("resumed: %+v", r)
	}
	eventually(t, p, hook+"?expand=health", func(r resource) bool { return r.Health.State == "ok" })

	for _, x := range []struct{ target, body, code string }{
		{"/redeliver", `{"eventId":"nosuch"}`, "ResourceNotFound"},
		{"/replays", `{"deadLetters":[99]}`, "ResourceNotFound"},
		{"/deadLetters/purge", `{"ids":[99]}`, "ResourceNotFound"},
	} {
		if w := p.do("POST", hook+x.target, x.body); !strings.Contains(w.Body.String(), `"code":"`+x.code+`"`) {
			t.Errorf("%s %s: %d %s", x.target, x.body, w.Code, w.Body)
		}
	}
	for _, target := range []string{"/deadLetters?$skiptoken=x", "/listEvents?$skiptoken=1-x"} {
		if w := p.do("GET", hook+target, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if w := p.do("GET", hook+"/replays/99", ""); w.Code != http.StatusNotFound {
		t.Errorf("replay 99: %d %s", w.Code, w.Body)
	}
}
