package arm_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
)

// newHook returns a plane that has the webhook at hook, with endpoint 1.
func newHook(t *testing.T) *plane {
	t.Helper()
	p := newPlane(t)
	if w := p.do("PUT", hook, create); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	p.engine.health = map[int64]delivery.Health{1: {State: delivery.Live}}
	return p
}

func TestHealth(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newHook(t)}
	tr.exchange("GET", hook, "")
	tr.exchange("GET", hook+"?expand=health", "")
	tr.engine.health[1] = delivery.Health{
		State: delivery.Failing, FailStreak: 7, FirstFail: moment, LastSuccess: moment, LastAttempt: moment, LastError: "dns",
		Waiting: 3, Behind: 12, Oldest: moment, NextAttempt: moment, DeadLetters: 4,
	}
	tr.exchange("GET", "/api/v1/registries/contoso/webhooks?expand=Health", "")
	tr.exchange("POST", hook+"/pause", "")
	tr.exchange("POST", hook+"/pause", "")
	tr.exchange("POST", hook+"/resume", "")
	tr.exchange("PATCH", hook, `{"properties":{"status":"disabled"}}`)
	tr.exchange("GET", hook+"?expand=health", "")
	tr.engine.health = nil // deleted in between
	tr.exchange("GET", "/api/v1/registries/contoso/webhooks?expand=health", "")
	tr.exchange("GET", hook+"?expand=log", "")
	tr.exchange("GET", "/api/v1/registries/contoso/webhooks?expand=log", "")
	golden(t, "health.txt", tr.String())
}

func TestReplays(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newHook(t)}
	for _, x := range []struct{ method, target, body string }{
		{"POST", "/redeliver", `{"eventId":"831e1650-001e-001b-66ab-eeb76e069631"}`},
		{"POST", "/replays", `{}`},
		{"POST", "/replays", `{"from":"2026-03-14T10:26:53+01:00","until":"2026-03-15T00:00:00.5Z","after":7,"upto":1200,"only":"undelivered","actions":["Push","delete","push"],"repository":"team/*","maxPerMinute":60}`},
		{"POST", "/replays", `{"deadLetters":[4,2],"repository":null}`},
		{"POST", "/replays", `{"deadLetters":"all","from":null}`},
		{"GET", "/replays/3", ""},
		{"DELETE", "/replays/3", ""},
		{"DELETE", "/replays/3", ""},
		{"GET", "/replays", ""},
		{"GET", "/replays/6", ""},
		{"DELETE", "/replays/6", ""},
		{"POST", "/redeliver", `{"eventId":"nosuch"}`},
	} {
		tr.exchange(x.method, hook+x.target, x.body)
	}
	golden(t, "replays.txt", tr.String())
}

// TestReplayRequests compares what is asked of the engine.
func TestReplayRequests(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	for _, x := range []struct{ target, body, want string }{
		{"/redeliver", `{"eventId":"e1"}`, `{"eventId":"e1"}`},
		{"/replays", `{}`, `{}`},
		{"/replays", `{"from":"2026-03-14T10:26:53+01:00","until":"2026-03-15T00:00:00Z"}`, `{"from":"2026-03-14T09:26:53Z","until":"2026-03-15T00:00:00Z"}`},
		{"/replays", `{"after":7,"upto":8,"only":"Refused","actions":["CHART_push"],"repository":"*"}`, `{"after":7,"upto":8,"only":"refused","actions":["chart_push"],"repository":"*"}`},
		{"/replays", `{"deadLetters":[4,2,4]}`, `{"deadLetters":[2,4]}`},
		{"/replays", `{"deadLetters":"All","repository":""}`, `{"allDeadLetters":true}`},
	} {
		if w := p.do("POST", hook+x.target, x.body); w.Code != http.StatusAccepted {
			t.Fatalf("%s %s: %d %s", x.target, x.body, w.Code, w.Body)
		}
		r := p.asked[len(p.asked)-1]
		got, err := json.Marshal(r.Selection)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != x.want || r.Registry == 0 || r.Endpoint != 1 || r.By != "dockbell" || r.Elsewhere != nil {
			t.Errorf("%s: asks for %s, %+v", x.body, got, r)
		}
	}
}

// TestReplayPages follows the links and expects every replay once.
func TestReplayPages(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	for range 250 {
		if w := p.do("POST", hook+"/replays", `{}`); w.Code != http.StatusAccepted {
			t.Fatal(w.Body)
		}
	}
	if w := p.do("POST", hook+"/replays", `{}`); w.Code != http.StatusConflict {
		t.Errorf("one too many: %d %s", w.Code, w.Body)
	}
	var want []int64
	for id := int64(250); id > 0; id-- {
		want = append(want, id)
	}
	if got := p.ids(t, hook+"/replays"); !slices.Equal(got, want) {
		t.Errorf("replays %v", got)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	p.engine.dead = []deadLetter{
		{1, delivery.DeadLetter{ID: 9, PosFrom: 12, PosTo: 12, Count: 1, Reason: "30 attempts failed", At: moment, EventID: "e12", EventAt: moment}},
		{2, delivery.DeadLetter{ID: 8, Reason: "another webhook's"}},
		{1, delivery.DeadLetter{ID: 7, PosFrom: 3, PosTo: 11, Count: 5, Reason: "older than 72h", At: moment, Expired: true}},
	}
	tr := &transcript{plane: p}
	for _, x := range []struct{ method, target, body string }{
		{"GET", "/deadLetters", ""},
		{"POST", "/deadLetters/purge", `{"ids":[7,8]}`},
		{"POST", "/deadLetters/purge", `{"ids":[7,7]}`},
		{"POST", "/deadLetters/purge", `{"ids":"all"}`},
		{"GET", "/deadLetters", ""},
		{"GET", "/deadLetters?$skiptoken=x", ""},
	} {
		tr.exchange(x.method, hook+x.target, x.body)
	}
	golden(t, "deadletters.txt", tr.String())
	if len(p.engine.dead) != 1 {
		t.Errorf("left over: %+v", p.engine.dead)
	}
}

// TestDeadLetterPages follows the links and expects every dead letter once.
func TestDeadLetterPages(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	var want []int64
	for id := int64(250); id > 0; id-- {
		p.engine.dead = append(p.engine.dead, deadLetter{1, delivery.DeadLetter{ID: id, At: moment}})
		want = append(want, id)
	}
	if got := p.ids(t, hook+"/deadLetters"); !slices.Equal(got, want) {
		t.Errorf("dead letters %v", got)
	}
}

// ids returns the ids of a list, from all its pages.
func (p *plane) ids(t *testing.T, target string) (ids []int64) {
	t.Helper()
	for target != "" {
		w := p.do("GET", target, "")
		var page struct {
			Value    []struct{ ID int64 }
			NextLink string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", target, w.Code, w.Body)
		}
		if len(page.Value) > 100 {
			t.Errorf("%s: %d on a page", target, len(page.Value))
		}
		for _, entry := range page.Value {
			ids = append(ids, entry.ID)
		}
		target = strings.TrimPrefix(page.NextLink, "http://contoso.azurecr.example")
	}
	return ids
}

// TestOperationRefusals sends bad input to what is not ACR's: each answer names
// the member and the rule, and the engine hears of none.
func TestOperationRefusals(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newHook(t)}
	for _, x := range []struct{ method, target, body string }{
		{"POST", "/redeliver", ""},
		{"POST", "/redeliver", `{}`},
		{"POST", "/redeliver", `{"eventId":7}`},
		{"POST", "/redeliver", `{"eventid":"e1","event":"e1"}`},
		{"POST", "/replays", ""},
		{"POST", "/replays", `[]`},
		{"POST", "/replays", `{"repositry":"team/web"}`},
		{"POST", "/replays", `{"only":"failed"}`},
		{"POST", "/replays", `{"from":"yesterday"}`},
		{"POST", "/replays", `{"until":"2026-03-14"}`},
		{"POST", "/replays", `{"from":"0001-01-01T00:00:00Z"}`},
		{"POST", "/replays", `{"until":"2262-01-01T00:00:00Z"}`},
		{"POST", "/replays", `{"from":"2026-03-14T00:00:00Z","until":"2026-03-14T01:00:00+01:00"}`},
		{"POST", "/replays", `{"after":-1}`},
		{"POST", "/replays", `{"upto":-1}`},
		{"POST", "/replays", `{"after":1.5}`},
		{"POST", "/replays", `{"after":"7"}`},
		{"POST", "/replays", `{"upto":9223372036854775808}`},
		{"POST", "/replays", `{"after":7,"upto":7}`},
		{"POST", "/replays", `{"actions":[]}`},
		{"POST", "/replays", `{"actions":["ping"]}`},
		{"POST", "/replays", `{"actions":"push"}`},
		{"POST", "/replays", `{"repository":"team/*/web"}`},
		{"POST", "/replays", `{"maxPerMinute":-1}`},
		{"POST", "/replays", `{"maxPerMinute":600001}`},
		{"POST", "/replays", `{"deadLetters":[]}`},
		{"POST", "/replays", `{"deadLetters":["7"]}`},
		{"POST", "/replays", `{"deadLetters":[7,null]}`},
		{"POST", "/replays", `{"deadLetters":"none"}`},
		{"POST", "/replays", `{"deadLetters":7}`},
		{"POST", "/replays", `{"deadLetters":{"id":7}}`},
		{"POST", "/replays", `{"deadLetters":[7],"from":"2026-03-14T00:00:00Z"}`},
		{"POST", "/replays", `{"deadLetters":"all","upto":7}`},
		{"POST", "/replays", `{"deadLetters":"all","repository":"team/web"}`},
		{"GET", "/replays?$skiptoken=x", ""},
		{"GET", "/replays?$skiptoken=-1", ""},
		{"GET", "/replays/x", ""},
		{"GET", "/replays/0", ""},
		{"DELETE", "/replays/1e3", ""},
		{"POST", "/replays/1", ""},
		{"POST", "/deadLetters/purge", ""},
		{"POST", "/deadLetters/purge", `{}`},
		{"POST", "/deadLetters/purge", `{"ids":null}`},
		{"POST", "/deadLetters/purge", `{"ids":[]}`},
		{"POST", "/deadLetters/purge", `{"ids":["7"]}`},
		{"POST", "/deadLetters/purge", `{"all":true}`},
		{"POST", "/listEvents?outcome=lost", ""},
		{"POST", "/listEvents?replay=x", ""},
		{"POST", "/listEvents?replay=0", ""},
		{"POST", "/deadLetters/nosuch", ""},
		{"GET", "/pause", ""},
	} {
		tr.exchange(x.method, hook+x.target, x.body)
	}
	golden(t, "operation_refusals.txt", tr.String())
	if tr.engine.calls != 0 {
		t.Errorf("the engine was asked %d times", tr.engine.calls)
	}
	tooMany := `{"ids":[1` + strings.Repeat(",1", 1000) + `]}`
	if w := tr.do("POST", hook+"/deadLetters/purge", tooMany); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "ids has 1001 ids: give at most 1000") {
		t.Errorf("too many ids: %d %s", w.Code, w.Body)
	}
}

// TestListEventsFilters checks what the query lets pass, on all pages.
func TestListEventsFilters(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	for i := range 300 {
		a := delivery.Attempt{Endpoint: 1, EventID: fmt.Sprint("e", i), ACRBody: []byte("{}"), Outcome: delivery.Failed, Replay: int64(i % 2)}
		if i%3 == 0 {
			a.Outcome = delivery.Delivered
		}
		p.attempts = append(p.attempts, a)
	}
	for query, want := range map[string]int{
		"": 300, "?outcome=failed": 200, "?outcome=DELIVERED": 100, "?outcome=refused": 0, "?replay=1": 150, "?replay=2": 0, "?outcome=failed&replay=1": 100,
	} {
		method, target, entries := http.MethodPost, hook+"/listEvents"+query, 0
		for target != "" {
			w := p.do(method, target, "")
			var page struct {
				Value []struct {
					Outcome string
					Replay  int64
				}
				NextLink string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", target, w.Code, w.Body)
			}
			entries += len(page.Value)
			method, target = http.MethodGet, strings.TrimPrefix(page.NextLink, "http://contoso.azurecr.example")
		}
		if entries != want {
			t.Errorf("%q: %d entries, want %d", query, entries, want)
		}
	}
}

// TestStoredXSS shows an answer that is a page with a script, in bytes that are
// no UTF-8: what is shown of it is JSON, and says that it is nothing else.
func TestStoredXSS(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	const script = "<script>alert(1)</script>"
	p.attempts = []delivery.Attempt{{
		Endpoint: 1, EventID: "e1", ACRBody: []byte(`{}`), Outcome: delivery.Refused,
		Answer: &outbound.ResponseHead{Status: 400, Reason: "No\xff", Version: "1.1", Header: map[string]string{"X-\xfe": script + "\xc3\x28", "Content-Type": "text/html"}},
		Body:   []byte(script + "\xff\xfe\x00\u2028\xed\xa0\x80"),
	}}
	for _, method := range []string{"GET", "POST"} {
		w := p.do(method, hook+"/listEvents", "")
		h := w.Header()
		if h.Get("Content-Type") != "application/json; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", method, h)
		}
		if !json.Valid(w.Body.Bytes()) || strings.ToValidUTF8(w.Body.String(), "") != w.Body.String() {
			t.Errorf("%s: not valid: %q", method, w.Body)
		}
		var page struct {
			Value []struct {
				Response struct {
					Content string
					Headers map[string]string
				} `json:"eventResponseMessage"`
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		if got, want := page.Value[0].Response.Content, script+"\ufffd\ufffd\x00\u2028\ufffd\ufffd\ufffd"; got != want {
			t.Errorf("%s: content %q, want %q", method, got, want)
		}
		if got, want := page.Value[0].Response.Headers["X-\ufffd"], script+"\ufffd("; got != want {
			t.Errorf("%s: header %q, want %q", method, got, want)
		}
	}
}

// TestLogsAndReplaysNeedTheRegistry tries every operation that reads or makes
// deliveries: without the right to manage the registry, and at the registry next
// to it.
func TestLogsAndReplaysNeedTheRegistry(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	if w := p.do("POST", hook+"/replays", `{}`); w.Code != http.StatusAccepted {
		t.Fatal(w.Body)
	}
	if w := p.do("GET", hook+"/replays/1", ""); w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	before := p.engine.calls
	for _, registry := range []string{"contoso", "fabrikam"} {
		p.auth = func(*http.Request) (arm.Caller, error) { return owner("someone", "fabrikam"), nil }
		want := map[string]int{"contoso": http.StatusForbidden, "fabrikam": http.StatusNotFound}[registry]
		for _, x := range []struct{ method, target, body string }{
			{"GET", "?expand=health", ""},
			{"GET", "/listEvents", ""},
			{"POST", "/listEvents", ""},
			{"POST", "/getCallbackConfig", ""},
			{"POST", "/rotateSecret", ""},
			{"POST", "/ping", ""},
			{"POST", "/test", `{"action":"push"}`},
			{"POST", "/pause", ""},
			{"POST", "/resume", ""},
			{"POST", "/redeliver", `{"eventId":"e1"}`},
			{"POST", "/replays", `{}`},
			{"GET", "/replays", ""},
			{"GET", "/replays/1", ""},
			{"DELETE", "/replays/1", ""},
			{"GET", "/deadLetters", ""},
			{"POST", "/deadLetters/purge", `{"ids":"all"}`},
		} {
			target := "/api/v1/registries/" + registry + "/webhooks/DeployHook" + x.target
			if w := p.do(x.method, target, x.body); w.Code != want {
				t.Errorf("%s %s: %d %s", x.method, target, w.Code, w.Body)
			}
		}
	}
	if p.engine.calls != before || p.engine.replays[0].State != delivery.ReplayRunning {
		t.Errorf("the engine was asked %d times, the replay is %s", p.engine.calls-before, p.engine.replays[0].State)
	}
	for line := range strings.Lines(p.logged.String()) {
		if strings.Contains(line, "someone") && strings.Contains(line, "outcome=succeeded") {
			t.Errorf("what was refused is on record as done: %s", line)
		}
	}
}

// TestHealthTimes checks that every time of a webhook's health is RFC 3339.
func TestHealthTimes(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	p.engine.health[1] = delivery.Health{
		State: delivery.Paused, FirstFail: moment, LastSuccess: moment, LastAttempt: moment, Oldest: moment, NextAttempt: moment, PausedAt: moment,
	}
	var body struct{ Health map[string]any }
	if err := json.Unmarshal(p.do("GET", hook+"?expand=health", "").Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	times := 0
	for _, name := range slices.Sorted(maps.Keys(body.Health)) {
		text, ok := body.Health[name].(string)
		if !ok || name == "state" || name == "destination" {
			continue
		}
		times++
		// ARM writes seven digits; what is stored has nine.
		if got, err := time.Parse(time.RFC3339, text); err != nil || !got.Equal(moment.Truncate(100)) {
			t.Errorf("%s: %q: %v", name, text, err)
		}
	}
	if times != 6 {
		t.Errorf("%d times in %v", times, body.Health)
	}
}

// TestReadersSeeOnlyThatItFails: who may read webhooks and not write them learns
// that one fails, and not in which way.
func TestReadersSeeOnlyThatItFails(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	p.engine.health[1] = delivery.Health{State: delivery.Failing, FailStreak: 7, LastStatus: 418, LastError: "connect"}
	contoso, err := p.tenants.ByName("contoso")
	if err != nil {
		t.Fatal(err)
	}
	fails := &event.Event{
		ID: "e1", Pos: 1, Action: event.WebhookFailing, Registry: event.Registry{ID: contoso.ID},
		Webhook: &event.Webhook{Name: "DeployHook", Condition: "failing", LastStatus: 418, LastError: "connect"},
	}
	happened := newFeed()
	happened.entries = []arm.FeedEntry{{Event: fails, ACRBody: event.ACRBody(fails)}}
	p.engine.rings = []delivery.Ring{{Endpoint: 1, State: delivery.RingWaiting, Attempts: 7, Class: "connect"}}
	cfg := p.config
	cfg.Feed = happened
	p.Handler = arm.New(cfg)
	for _, target := range []string{hook + "?expand=health", "/api/v1/registries/contoso/webhooks?expand=health", "/api/v1/registries/contoso/events", "/api/v1/registries/contoso/events/e1"} {
		for who, may := range map[string]func(action, scope string) bool{
			"a reader": func(action, _ string) bool { return strings.HasSuffix(action, "/read") },
			"an owner": func(string, string) bool { return true },
		} {
			w := p.as(may, "GET", target, "")
			shown := w.Body.String()
			told := strings.Contains(shown, "connect") && strings.Contains(shown, "418")
			if w.Code != http.StatusOK || !strings.Contains(shown, "failing") || told != (who == "an owner") {
				t.Errorf("%s, %s: %d %s", who, target, w.Code, shown)
			}
			if who == "a reader" && (strings.Contains(shown, "connect") || strings.Contains(shown, "418")) {
				t.Errorf("%s, %s: %s", who, target, shown)
			}
		}
	}
}

// TestFailuresNameNoAddress lets real requests to a host by its name fail in each
// way: whoever reads the log learns which, and never what the name resolved to.
func TestFailuresNameNoAddress(t *testing.T) {
	t.Parallel()
	mute := make(chan struct{})
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-mute }))
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	closed := httptest.NewServer(nil)
	closed.Close()
	t.Cleanup(func() { close(mute); plain.Close(); secure.Close() })

	p := newHook(t)
	loopback := outbound.Policy{Loopback: true}
	for _, x := range []struct {
		policy outbound.Policy
		server *httptest.Server
		limit  time.Duration
		want   string // in the message
	}{
		{outbound.Policy{}, plain, time.Minute, "may not ring it"},
		{loopback, plain, 500 * time.Millisecond, "timed out"},
		{loopback, closed, time.Minute, "refused the connection"},
		{loopback, secure, time.Minute, "certificate"},
	} {
		u, err := url.Parse(x.server.URL)
		if err != nil {
			t.Fatal(err)
		}
		u.Host = "localhost:" + u.Port()
		client := outbound.New(outbound.Options{Policy: x.policy})
		res := client.Post(t.Context(), outbound.Request{URL: u.String(), Body: []byte("{}"), Timeout: x.limit})
		client.Close()
		p.attempts = []delivery.Attempt{{
			Endpoint: 1, EventID: "e1", ACRBody: []byte("{}"), Outcome: delivery.Failed, Class: res.Class, Message: res.Message, Sent: res.Sent, Answer: res.Answer,
		}}
		p.engine.health[1] = delivery.Health{State: delivery.Failing, LastError: string(res.Class)}
		shown := p.do("POST", hook+"/listEvents", "").Body.String() + p.do("GET", hook+"?expand=health", "").Body.String()
		if !strings.Contains(shown, x.want) {
			t.Errorf("%s: no %q in %s", res.Class, x.want, shown)
		}
		if !strings.Contains(shown, `"lastError":"`+string(res.Class)+`"`) || res.Class == outbound.None {
			t.Errorf("class %q is not in %s", res.Class, shown)
		}
		for _, address := range []string{"127.0.0.1", "::1"} {
			if strings.Contains(shown, address) {
				t.Errorf("%s: %s is in %s", res.Class, address, shown)
			}
		}
	}
}
