package app_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/sqldb"
)

const plane = "/api/v1/registries/dockbell/"

// sent is one server-sent event.
type sent struct{ id, name, data string }

// stream is an answer of server-sent events.
type stream struct {
	t      *testing.T
	events chan sent // closed when the stream ends
	close  func()    // and wait until it has ended
}

// open asks for a stream, which has begun when open returns.
func (r *running) open(t *testing.T, path string, changes ...func(*http.Request)) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", r.URL()+plane+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.asOperator(req)
	req.Header.Set("Accept", "text/event-stream")
	for _, change := range changes {
		change(req)
	}
	res, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, res.Status)
	}
	s := &stream{t: t, events: make(chan sent, 1000)}
	done := make(chan struct{})
	s.close = func() { cancel(); <-done }
	t.Cleanup(s.close)
	go func() {
		defer close(done)
		defer close(s.events)
		defer res.Body.Close()
		var e sent
		for in := bufio.NewScanner(res.Body); in.Scan(); {
			field, value, _ := strings.Cut(in.Text(), ": ")
			switch {
			case in.Text() == "" && e.data != "":
				s.events <- e
				e = sent{}
			case field == "id":
				e.id = value
			case field == "event":
				e.name = value
			case field == "data":
				e.data = value
			}
		}
	}()
	return s
}

// patience is how long a test waits for what has to come. The first retry of a
// delivery comes after 10 s.
const patience = 30 * time.Second

// next returns the next event of that name.
func (s *stream) next(name string) sent {
	s.t.Helper()
	select {
	case e, ok := <-s.events:
		if !ok || e.name != name {
			s.t.Fatalf("the stream brings %q %s, want %s", e.name, e.data, name)
		}
		return e
	case <-time.After(patience):
		s.t.Fatalf("no %s came", name)
	}
	return sent{}
}

// ended waits for the end of the stream.
func (s *stream) ended() {
	s.t.Helper()
	for {
		select {
		case _, ok := <-s.events:
			if !ok {
				return
			}
		case <-time.After(patience):
			s.t.Fatal("the stream does not end")
		}
	}
}

// delivered is what a listener is sent.
type delivered struct {
	Attempt, EventID, Actor, Body string
	Headers                       map[string]string
	TimeoutInSeconds              int
}

func (s *stream) delivery() (d delivered) {
	s.t.Helper()
	e := s.next("delivery")
	if err := json.Unmarshal([]byte(e.data), &d); err != nil {
		s.t.Fatalf("%v in %s", err, e.data)
	}
	return d
}

// listener makes a listener and returns its name.
func (r *running) listener(t *testing.T, body string) (name string) {
	t.Helper()
	status, _, answer := r.do("POST", plane+"listeners", []byte(body), r.asOperator)
	var hook struct {
		Name       string
		Properties struct {
			Listener bool
			Scope    string
			Actions  []string
		}
	}
	if err := json.Unmarshal(answer, &hook); status != http.StatusCreated || err != nil {
		t.Fatalf("new listener: %d %s", status, answer)
	}
	if !regexp.MustCompile(`^listen[a-z0-9]{10}$`).MatchString(hook.Name) || !hook.Properties.Listener || len(hook.Properties.Actions) == 0 {
		t.Errorf("new listener: %s", answer)
	}
	return hook.Name
}

// report tells the outcome of a delivery and returns the status of the answer.
func (r *running) report(name, format string, args ...any) int {
	r.t.Helper()
	status, _, _ := r.do("POST", plane+"listeners/"+name+"/results", fmt.Appendf(nil, format, args...), r.asOperator)
	return status
}

// entry is one of the delivery log.
type entry struct {
	ID       string
	Outcome  string
	Attempt  int
	Request  struct{ RequestURI string }                        `json:"eventRequestMessage"`
	Response struct{ StatusCode, Content, ReasonPhrase string } `json:"eventResponseMessage"`
}

func (e entry) String() string {
	return strconv.Itoa(e.Attempt) + " " + e.Outcome + " " + e.Response.StatusCode + " " + e.Response.Content
}

// log waits until the log of a webhook has n entries, and returns them, oldest
// first.
func (r *running) log(t *testing.T, name string, n int) []string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		_, _, answer := r.do("POST", plane+"webhooks/"+name+"/listEvents", nil, r.asOperator)
		var list struct{ Value []entry }
		if err := json.Unmarshal(answer, &list); err != nil {
			t.Fatalf("%v in %s", err, answer)
		}
		if len(list.Value) >= n || time.Now().After(deadline) {
			lines := make([]string, len(list.Value))
			for i, e := range list.Value {
				lines[len(lines)-1-i] = e.String()
			}
			return lines
		}
		time.Sleep(10 * time.Millisecond) // the log is written after the answer
	}
}

func wantLog(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the log has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestListener: what happens comes over the client's own connection, and what
// the client makes of it is the outcome.
func TestListener(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	name := s.listener(t, `{"scope":"app:*","actions":["push"]}`)
	listening := s.open(t, "listeners/"+name+"/deliveries")
	s.push("other", "v1") // out of scope
	digest := s.push("app", "v1")
	first := listening.delivery()
	if !strings.Contains(first.Body, digest) || !strings.Contains(first.Body, `"action":"push"`) || first.Actor != "dockbell" || first.TimeoutInSeconds != 10 ||
		first.Headers["Webhook-Id"] != first.EventID || first.Headers[hopsField] == "" || !strings.HasPrefix(first.Headers["Webhook-Signature"], "v1,") {
		t.Errorf("delivery %+v", first)
	}
	if status := s.report(name, `{"attempt":%q,"status":500,"headers":{"X-Why":"because"},"body":"broken","durationMs":1.5}`, first.Attempt); status != http.StatusNoContent {
		t.Errorf("report: %d", status)
	}
	wantLog(t, s.log(t, name, 1), "1 failed 500 broken")
	if status := s.report(name, `{"attempt":%q,"status":200}`, first.Attempt); status != http.StatusNotFound {
		t.Errorf("second report of the same: %d", status)
	}

	again := listening.delivery() // by itself, after a while
	if again.EventID != first.EventID || again.Body != first.Body || again.Attempt == first.Attempt {
		t.Errorf("the retry is %+v after %+v", again, first)
	}
	if status := s.report(name, `{"attempt":%q,"status":200,"durationMs":1}`, again.Attempt); status != http.StatusNoContent {
		t.Errorf("report: %d", status)
	}
	wantLog(t, s.log(t, name, 2), "1 failed 500 broken", "2 delivered 200 ")

	// One that could not be brought is on record with the reason.
	s.push("app", "v2")
	third := listening.delivery()
	s.report(name, `{"attempt":%q,"error":"connect","message":"127.0.0.1:3000 refused the connection"}`, third.Attempt)
	if log := s.log(t, name, 3); len(log) != 3 || !strings.HasPrefix(log[2], "1 failed 502 ") {
		t.Errorf("the log has %q", log)
	}

	// A second connection takes the place of the first, which hears of it.
	second := s.open(t, "listeners/"+name+"/deliveries")
	if e := listening.next("error"); !strings.Contains(e.data, "another connection listens to "+name) {
		t.Errorf("the first connection hears %s", e.data)
	}
	listening.ended()

	if status, _, _ := s.do("DELETE", plane+"listeners/"+name, nil, s.asOperator); status != http.StatusOK {
		t.Errorf("delete: %d", status)
	}
	if e := second.next("error"); !strings.Contains(e.data, name+" was deleted") {
		t.Errorf("a listener that is deleted hears %s", e.data)
	}
	second.ended()
	for method, path := range map[string]string{"GET": "listeners/" + name + "/deliveries", "POST": "listeners/" + name + "/results"} {
		if status, _, body := s.do(method, plane+path, []byte(`{"attempt":"x","status":200}`), s.asOperator); status != http.StatusNotFound {
			t.Errorf("%s %s: %d %s", method, path, status, body)
		}
	}
	if status, _, _ := s.do("DELETE", plane+"listeners/"+name, nil, s.asOperator); status != http.StatusNoContent {
		t.Errorf("second delete: %d", status)
	}
}

// TestListenerRefusals: each is a sentence that says what to do.
func TestListenerRefusals(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.webhook("deployhook", "http://127.0.0.1:1/")
	name := s.listener(t, `{}`)
	for _, test := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"POST", "listeners", `{"actions":["explode"]}`, 400, `action "explode"`},
		{"POST", "listeners", `{"scope":"*"}`, 400, "scope"},
		{"POST", "listeners", `{"location":"mars"}`, 400, "mars"},
		{"POST", "listeners", `{"action":["push"]}`, 400, `"action"`},
		{"GET", "listeners/deployhook/deliveries", "", 404, `no listener "deployhook"`},
		{"GET", "listeners/nothing/deliveries", "", 404, `no listener "nothing"`},
		{"POST", "listeners/" + name + "/results", `{"attempt":"x"}`, 400, "status 0"},
		{"POST", "listeners/" + name + "/results", `{"attempt":"x","status":200,"error":"connect"}`, 400, "a status and an error"},
		{"POST", "listeners/" + name + "/results", `{"attempt":"x","error":"weather"}`, 400, `"weather"`},
		{"POST", "listeners/" + name + "/results", `{"attempt":"x","status":200}`, 404, "no delivery"},
		{"PUT", "listeners/" + name, `{}`, 405, "DELETE"},
	} {
		status, _, body := s.do(test.method, plane+test.path, []byte(test.body), s.asOperator)
		if m := message(t, body); status != test.status || !strings.Contains(m, test.message) {
			t.Errorf("%s %s %s: %d %s, want %d and %q", test.method, test.path, test.body, status, body, test.status, test.message)
		}
	}
	// Nobody else's business.
	for _, path := range []string{"listeners/" + name + "/deliveries", "events"} {
		if status, _, body := s.do("GET", plane+path, nil); status != http.StatusUnauthorized {
			t.Errorf("%s without credentials: %d %s", path, status, body)
		}
	}
	if status, _, _ := s.do("DELETE", plane+"listeners/deployhook", nil, s.asOperator); status != http.StatusNoContent {
		t.Errorf("delete of a webhook as a listener: %d", status)
	}
	if status, _, _ := s.do("GET", plane+"webhooks/deployhook", nil, s.asOperator); status != http.StatusOK {
		t.Errorf("the webhook is gone: %d", status)
	}
}

// TestListenerRestart: what happens while the client is away, or the server, waits
// for it and does not fail.
func TestListenerRestart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		crash bool
	}{{"stop", false}, {"crash", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			s := start(t, settings(data))
			name := s.listener(t, `{"actions":["push"]}`)
			s.push("app", "v0") // nobody has listened yet
			listening := s.open(t, "listeners/"+name+"/deliveries")
			zero := listening.delivery()
			if status := s.report(name, `{"attempt":%q,"status":200}`, zero.Attempt); status != http.StatusNoContent {
				t.Errorf("report: %d", status)
			}
			wantLog(t, s.log(t, name, 1), "1 delivered 200 ")
			began := time.Now()
			s.stop()
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("the server took %v to stop", took)
			}
			listening.ended()
			if test.crash { // then nobody put down that the connection is gone
				write(t, data, "UPDATE endpoint SET paused_at = NULL")
			}

			s = start(t, settings(data))
			s.push("app", "v1")
			s.push("app", "v2")
			listening = s.open(t, "listeners/"+name+"/deliveries")
			for _, tag := range []string{"v1", "v2"} {
				d := listening.delivery()
				if !strings.Contains(d.Body, `"tag":"`) {
					t.Errorf("delivery %+v for %s", d, tag)
				}
				if status := s.report(name, `{"attempt":%q,"status":200}`, d.Attempt); status != http.StatusNoContent {
					t.Errorf("report: %d", status)
				}
			}
			wantLog(t, s.log(t, name, 3), "1 delivered 200 ", "1 delivered 200 ", "1 delivered 200 ")
		})
	}
}

// TestFeed: what happened is read by pages, by waiting, and as a stream, and the
// three agree.
func TestFeed(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	start(t, settings(data, func(c *config.Config) { c.RegistryName = "fabrikam" })).stop()
	s := start(t, settings(data))
	type page struct {
		Value []struct {
			Position int64
			Actor    string
			Event    struct {
				Target struct{ Tag string }
			}
		}
		Next int64
	}
	read := func(query string) (p page, tags string) {
		t.Helper()
		status, _, body := s.do("GET", plane+"events"+query, nil, s.asOperator)
		if err := json.Unmarshal(body, &p); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %v in %s", query, status, err, body)
		}
		for _, e := range p.Value {
			tags += e.Event.Target.Tag + " "
		}
		return p, tags
	}
	other := host("fabrikam.dockbell.localhost")
	for i := range 3 {
		s.push("app", "v"+strconv.Itoa(i))
		s.push("app", "other", other)
	}
	first, tags := read("?limit=2")
	if tags != "v0 v1 " || first.Next != 4 || first.Value[0].Actor != "dockbell" {
		t.Errorf("first page %+v", first)
	}
	if second, tags := read("?after=4"); tags != "v2 " || second.Next != 6 {
		t.Errorf("second page %+v", second)
	}
	if last, tags := read("?last=2"); tags != "v1 v2 " || last.Next != 6 {
		t.Errorf("last %+v", last)
	}

	streaming := s.open(t, "events?after=5", field("Last-Event-ID", "3"))
	if e := streaming.next("push"); e.id != "5" || !strings.Contains(e.data, `"position":5`) {
		t.Errorf("the stream brings %+v", e)
	}
	waited := make(chan string)
	go func() {
		_, tags := read("?after=6&wait=30")
		waited <- tags
	}()
	s.push("app", "other", other)
	s.push("app", "v3")
	if tags := <-waited; tags != "v3 " {
		t.Errorf("a request that waits brings %q", tags)
	}
	if e := streaming.next("push"); e.id != "8" || !strings.Contains(e.data, `"tag":"v3"`) {
		t.Errorf("the stream brings %+v", e)
	}

	// All that waits is answered when the server stops.
	go func() {
		_, tags := read("?after=8&wait=60")
		waited <- tags
	}()
	name := s.listener(t, `{}`)
	listening := s.open(t, "listeners/"+name+"/deliveries")
	began := time.Now()
	s.stop()
	if tags := <-waited; tags != "" {
		t.Errorf("a request that waited brings %q", tags)
	}
	streaming.ended()
	listening.ended()
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("the server took %v to stop", took)
	}
}

// TestFeedFarApart: a page looks at a bounded number of events, and the next one
// goes on behind them.
func TestFeedFarApart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	start(t, settings(data, func(c *config.Config) { c.RegistryName = "fabrikam" })).stop()
	s := start(t, settings(data))
	s.push("app", "v0")
	s.push("app", "other", host("fabrikam.dockbell.localhost"))
	s.stop()
	// 5,000 more of another registry, then one.
	write(t, data, `WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 5002)
		INSERT INTO event SELECT i, 'e' || i, at, registry, location, action, repository, tag, digest, record, acr_body FROM n, event WHERE pos = 2`)
	s = start(t, settings(data))
	s.push("app", "v1")
	var pages []string
	for after := "1"; len(pages) < 10; {
		_, _, body := s.do("GET", plane+"events?after="+after, nil, s.asOperator)
		var p struct {
			Value []json.RawMessage
			Next  json.Number
		}
		if err := json.Unmarshal(body, &p); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		pages = append(pages, fmt.Sprintf("%d to %s", len(p.Value), p.Next))
		after = p.Next.String()
		if after == "5003" {
			break
		}
	}
	if got := strings.Join(pages, ", "); got != "0 to 4001, 1 to 5003" {
		t.Errorf("pages %s", got)
	}
	// Going back, likewise.
	pages = nil
	for before := "0"; len(pages) < 10; {
		_, _, body := s.do("GET", plane+"events?repository=app&before="+before, nil, s.asOperator)
		var p struct {
			Value []json.RawMessage
			Next  json.Number
		}
		if err := json.Unmarshal(body, &p); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		pages = append(pages, fmt.Sprintf("%d to %s", len(p.Value), p.Next))
		if before = p.Next.String(); before == "0" {
			break
		}
	}
	if got := strings.Join(pages, ", "); got != "1 to 1004, 1 to 0" {
		t.Errorf("pages back %s", got)
	}
	for query, want := range map[string]int{"before=3&repository=app&tag=v0": 1, "before=3&tag=v1": 0, "before=3&action=delete": 0, "before=0&action=push&repository=app&limit=1": 1} {
		_, _, body := s.do("GET", plane+"events?"+query, nil, s.asOperator)
		if got := strings.Count(string(body), `"position"`); got != want {
			t.Errorf("%s: %d events, want %d: %s", query, got, want, body)
		}
	}
	if status, _, body := s.do("GET", plane+"events/2", nil, s.asOperator); status != http.StatusNotFound {
		t.Errorf("another registry's event: %d %s", status, body)
	}
	if status, _, body := s.do("GET", plane+"events/1", nil, s.asOperator); status != http.StatusOK || !strings.Contains(string(body), `"tag":"v0"`) {
		t.Errorf("an event: %d %s", status, body)
	}
	if status, _, body := s.do("GET", plane+"events?last=5", nil, s.asOperator); status != http.StatusOK || !strings.Contains(string(body), `"position":5003`) || strings.Contains(string(body), `"position":1,`) {
		t.Errorf("last: %d %s", status, body)
	}

	// Beyond the oldest event that is kept there is nothing, and nothing is shown twice.
	s.stop()
	write(t, data, "DELETE FROM event WHERE pos < 4600")
	s = start(t, settings(data))
	for _, query := range []string{"last=1000", "before=0&limit=1000"} {
		_, _, body := s.do("GET", "/api/v1/registries/fabrikam/events?"+query, nil, s.asOperator)
		if got := strings.Count(string(body), `"position"`); got != 403 {
			t.Errorf("%s: %d events, want 403", query, got)
		}
	}
}

// write changes the database of a server that has stopped.
func write(t *testing.T, data, statement string) {
	t.Helper()
	db, err := sqldb.Open(context.Background(), sqldb.Config{Path: filepath.Join(data, "dockbell.db"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Write(context.Background(), sqldb.Change, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
