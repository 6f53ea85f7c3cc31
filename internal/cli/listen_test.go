package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hub is a server with nothing but the listeners of registry contoso.
type hub struct {
	*httptest.Server
	deliveries chan string       // for the listener, as JSON
	results    chan reportedBody // as they come
	streams    chan struct{}     // gets one for each stream that begins

	mu      sync.Mutex
	made    []string // bodies of the requests that make a listener
	deleted bool     // by someone: there is no listener
	removed []string // by the command
	refuses bool     // results: nobody waits for them any more
}

type reportedBody struct {
	Attempt, Body, Error, Message string
	Status                        int
	Headers                       map[string]string
	DurationMs                    float64
}

func newHub(t *testing.T) *hub {
	h := &hub{deliveries: make(chan string), results: make(chan reportedBody, 1000), streams: make(chan struct{}, 100)}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	t.Cleanup(h.CloseClientConnections)
	return h
}

func (h *hub) shell(t *testing.T) *shell {
	sh := newShell(t)
	sh.env = map[string]string{"DOCKBELL_SERVER": h.URL, "DOCKBELL_USERNAME": "dockbell", "DOCKBELL_PASSWORD": "s3cret", "DOCKBELL_REGISTRY": "contoso"}
	return sh
}

func (h *hub) do(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const listeners = "/api/v1/registries/contoso/listeners"
	body, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	deleted, refuses := h.deleted, h.refuses
	name := fmt.Sprint("listenab", len(h.made))
	h.mu.Unlock()
	switch r.Method + " " + r.URL.Path {
	case "POST " + listeners:
		h.do(func() { h.made = append(h.made, string(body)); name = fmt.Sprint("listenab", len(h.made)) })
		var in struct {
			Actions []string
			Scope   string
		}
		json.Unmarshal(body, &in)
		if in.Actions == nil {
			in.Actions = []string{"push", "delete"}
		}
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(map[string]any{"name": name, "location": "local", "properties": map[string]any{"listener": true, "scope": in.Scope, "actions": in.Actions}})
	case "GET " + listeners + "/" + name + "/deliveries":
		if deleted {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"error":{"code":"ResourceNotFound","message":"no such listener"}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, ":\n\n")
		http.NewResponseController(w).Flush()
		h.streams <- struct{}{}
		for {
			select {
			case d := <-h.deliveries:
				fmt.Fprintf(w, "event: delivery\ndata: %s\n\n", d)
				http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	case "POST " + listeners + "/" + name + "/results":
		if refuses {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"error":{"code":"ResourceNotFound","message":"too late"}}`)
			return
		}
		var result reportedBody
		if err := json.Unmarshal(body, &result); err != nil {
			panic(err)
		}
		w.WriteHeader(http.StatusNoContent)
		h.results <- result
	case "DELETE " + listeners + "/" + name:
		h.do(func() { h.removed = append(h.removed, name) })
		w.WriteHeader(http.StatusOK)
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, `{"error":{"code":"ResourceNotFound","message":"nothing is at %s %s"}}`, r.Method, r.URL.Path)
	}
}

// deliver sends the listener an event and returns what it reports.
func (h *hub) deliver(t *testing.T, event string) reportedBody {
	t.Helper()
	select {
	case h.deliveries <- event:
	case <-time.After(patience):
		t.Fatal("the delivery is not taken")
	}
	select {
	case r := <-h.results:
		return r
	case <-time.After(patience):
		t.Fatal("no result is reported")
		return reportedBody{}
	}
}

// pushed is a delivery of a push, whose attempt, event and tag are named so.
func pushed(name string) string {
	body := fmt.Sprintf(`{"id":%q,"timestamp":"2026-11-22T03:04:05.123456789Z","action":"push","target":{"repository":"team/web","tag":%q,"digest":"sha256:0123456789abcdef"}}`, name, name)
	d, err := json.Marshal(map[string]any{
		"attempt": name, "eventId": name, "actor": "ci", "timeoutInSeconds": 10, "body": body,
		"headers": map[string]string{
			"Content-Type": "application/json; charset=utf-8", "User-Agent": "AzureContainerRegistry/1.0 (Dockbell/1.2.3)",
			"Webhook-Id": name, "Webhook-Timestamp": "1795309720", "Webhook-Signature": "v1,B+cz5If",
		},
	})
	if err != nil {
		panic(err)
	}
	return string(d)
}

func TestListen(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	p := h.shell(t).start("listen", "--scope", "team/*:*", "--actions", "push")
	<-h.streams
	if got := h.deliver(t, pushed("v1")); got.Attempt != "v1" || got.Status != 200 || got.Error != "" {
		t.Errorf("reported %+v", got)
	}
	p.sees(p.out, "2026-11-22T03:04:05Z  push  team/web:v1  0123456789ab  ci  200 OK  0 ms\n")
	if code := p.stop(); code != 0 {
		t.Errorf("exit %d", code)
	}
	want := `listening to registry contoso: push of team/*:*
answering 200 to each; with --forward URL a program of yours does
signed with a secret: dockbell webhook get-config -r contoso -n listenab1 --query signingSecret -o tsv
Ctrl-C ends it and deletes listenab1
stopped: 1 received; listenab1 is deleted
`
	if got := p.err.String(); got != want {
		t.Errorf("said\n%swant\n%s", got, want)
	}
	if got := strings.Join(h.made, "; "); got != `{"actions":["push"],"scope":"team/*:*"}` {
		t.Errorf("asked for %s", got)
	}
	if got := strings.Join(h.removed, " "); got != "listenab1" {
		t.Errorf("deleted %s", got)
	}
}

// TestListenForward: the program gets what a webhook gets, and what it answers is
// what is reported.
func TestListenForward(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	answers := map[string]http.HandlerFunc{
		"good":     func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusAccepted) },
		"broken":   func(w http.ResponseWriter, r *http.Request) { http.Error(w, "out of \x1b[31m paper\n", 500) },
		"broken2":  func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", 503) },
		"good2":    func(w http.ResponseWriter, r *http.Request) {},
		"unwanted": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadRequest) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"gone":     func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusGone) },
		"cut":      func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"half": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "half")
		},
		"long": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, strings.Repeat("x", 1<<16)) },
	}
	var seen atomic.Value
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen.Store(fmt.Sprintf("%s %s %s %v %s", r.Method, r.URL, r.Host, r.Header, body))
		answers[r.Header.Get("Webhook-Id")](w, r)
	}))
	program.Config.ErrorLog = nil
	t.Cleanup(program.Close)

	sh := h.shell(t)
	sh.terminal = true
	p := sh.start("listen", "--forward", program.URL+"/hook?a=b")
	<-h.streams

	got := h.deliver(t, pushed("good"))
	if got.Status != 202 || got.DurationMs <= 0 || got.Headers["Content-Length"] != "0" {
		t.Errorf("reported %+v", got)
	}
	want := "POST /hook?a=b " + strings.TrimPrefix(program.URL, "http://") + " map[Accept-Encoding:[identity] Connection:[close] Content-Length:[157] Content-Type:[application/json; charset=utf-8] " +
		"User-Agent:[AzureContainerRegistry/1.0 (Dockbell/1.2.3)] Webhook-Id:[good] Webhook-Signature:[v1,B+cz5If] Webhook-Timestamp:[1795309720]] " +
		`{"id":"good","timestamp":"2026-11-22T03:04:05.123456789Z","action":"push","target":{"repository":"team/web","tag":"good","digest":"sha256:0123456789abcdef"}}`
	if sent := seen.Load().(string); sent != want {
		t.Errorf("the program got\n%s\nwant\n%s", sent, want)
	}
	p.sees(p.out, "\x1b[32m202 Accepted\x1b[0m")

	redeliver := "dockbell webhook redeliver -r contoso -n listenab1 --event "
	for _, tt := range []struct {
		event    string
		status   int
		class    string
		line     string
		mentions bool // of how to send it again
	}{
		{"broken", 500, "", "out of �[31m paper; it is tried again by itself", true},
		{"broken2", 503, "", "it is tried again by itself", false},
		{"good2", 200, "", "200 OK", false},
		{"unwanted", 400, "", "it is not tried again, for the answer says that this event is not wanted", true},
		{"redirect", 302, "", "it is tried again by itself", false},
		{"gone", 410, "", "the server disables the listener", false},
		{"cut", 0, "protocol", "closed the connection before it had answered; it is tried again by itself", false},
		{"half", 0, "protocol", "closed the connection before it had answered", false},
		{"long", 200, "", "200 OK", false},
	} {
		before := len(p.out.String())
		got := h.deliver(t, pushed(tt.event))
		if got.Status != tt.status || got.Error != tt.class || len(got.Body) > 4096 {
			t.Errorf("%s: reported %+v", tt.event, got)
		}
		p.sees(p.out, "team/web:"+tt.event+" ")
		printed := p.out.String()[before:]
		if !strings.Contains(printed, tt.line) || strings.Contains(printed, redeliver+tt.event) != tt.mentions || strings.Contains(strings.ReplaceAll(printed, "\x1b[32m", ""), "\x1b[31m") != (tt.line != "200 OK") {
			t.Errorf("%s: printed\n%q", tt.event, printed)
		}
	}
	program.Close()
	if got := h.deliver(t, pushed("closed")); got.Error != "connect" || !strings.HasSuffix(got.Message, "refused the connection: nothing listens there") {
		t.Errorf("reported %+v", got)
	}
	p.sees(p.out, "team/web:closed ")
	if code := p.stop(); code != 0 || !strings.Contains(p.err.String(), "forwarding to "+program.URL+"/hook?a=b\n") || !strings.HasSuffix(p.err.String(), "stopped: 11 received, 8 of them failed; listenab1 is deleted\n") {
		t.Errorf("exit %d, said\n%s", code, p.err)
	}
}

// TestListenSeveral: deliveries do not wait for each other.
func TestListenSeveral(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	const n = 32
	var arrived sync.WaitGroup
	arrived.Add(n)
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Done()
		arrived.Wait() // for all others
	}))
	t.Cleanup(program.Close)
	p := h.shell(t).start("listen", "--forward", strings.TrimPrefix(program.URL, "http://"))
	<-h.streams
	for i := range n {
		h.deliveries <- pushed(fmt.Sprint("v", i))
	}
	for range n {
		if r := <-h.results; r.Status != 200 {
			t.Errorf("reported %+v", r)
		}
	}
	for i := range n {
		p.sees(p.out, fmt.Sprint("team/web:v", i, " "))
	}
	p.stop()
	if !strings.Contains(p.err.String(), "stopped: 32 received; ") {
		t.Errorf("said\n%s", p.err)
	}
}

func TestListenLosesTheServer(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	p := h.shell(t).start("listen", "-v")
	<-h.streams
	h.CloseClientConnections()
	p.sees(p.err, "lost the connection, trying again until it is back: "+h.URL+" closed the connection\n")
	p.sees(p.err, "connected to "+h.URL+" again\n")
	<-h.streams
	h.deliver(t, pushed("v1"))
	p.sees(p.out, "200 OK  0 ms\n    {\n      \"id\": \"v1\",\n")

	h.do(func() { h.refuses = true })
	h.deliveries <- pushed("late")
	p.sees(p.out, "the server did not wait for this answer any more: it sends the event again\n")

	h.do(func() { h.deleted = true })
	h.CloseClientConnections()
	if code := p.wait(); code != 1 || !strings.HasSuffix(p.err.String(), "error: listenab1 was deleted by someone: dockbell listen makes another\n") {
		t.Errorf("exit %d, said\n%s", code, p.err)
	}
}

func TestListenEndsWithoutServer(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	p := h.shell(t).start("listen")
	<-h.streams
	h.CloseClientConnections()
	h.Close()
	p.sees(p.err, "lost the connection")
	if code := p.stop(); code != 0 || !strings.Contains(p.err.String(), "stopped: 0 received; listenab1 could not be deleted and goes by itself after 10 minutes: nothing listens at ") {
		t.Errorf("exit %d, said\n%s", code, p.err)
	}
}

func TestListenRefusals(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	sh := newShell(t)
	sh.env = map[string]string{"DOCKBELL_SERVER": "http://" + closed.Addr().String(), "DOCKBELL_REGISTRY": "contoso"}
	for _, tt := range []struct {
		line, want string
		code       int
	}{
		{"listen --forward ftp://x", `error: --forward: "ftp://x" is no address of a program that takes HTTP: give one like http://127.0.0.1:3000/hook`, 2},
		{"listen --forward http:///hook", `error: --forward: "http:///hook" is no address of a program that takes HTTP: give one like http://127.0.0.1:3000/hook`, 2},
		{"listen --actions pulls", `error: --actions: "pulls" is not one of push, delete, quarantine, chart_push, chart_delete, untag, tag_moved, referrer_attached, pull, webhook_failing, did you mean pull?`, 2},
		{"listen", `error: nothing listens at ` + closed.Addr().String() + `: start the server with dockbell serve, or name another with --server`, 1},
	} {
		if got := sh.run(strings.Fields(tt.line)...); got.code != tt.code || !strings.HasPrefix(got.err, tt.want) || got.out != "" {
			t.Errorf("%s: %+v", tt.line, got)
		}
	}
}
