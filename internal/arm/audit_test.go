package arm_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// recorded returns what is on record, newest first, with what was counted.
func (p *plane) recorded(t *testing.T) []audit.Entry {
	t.Helper()
	ended, end := context.WithCancel(t.Context())
	end()
	p.audit.Run(ended) // which writes what was counted
	all, _, err := p.audit.Entries(t.Context(), audit.Filter{}, "", 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestAudit compares what is on record of operations: one entry each, and one line,
// with a host at most of the address that is rung.
func TestAudit(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	p.engine.dead = []deadLetter{{1, delivery.DeadLetter{ID: 7, Count: 5}}}
	const to = "to=https://receiver.example:443"
	for _, x := range []struct {
		method, target, body string
		action               string // below webhooks/; empty: nothing is on record
		outcome              audit.Outcome
		detail               string
	}{
		{"POST", "/pause", "", "pause/action", audit.Succeeded, to},
		{"POST", "/resume", "", "resume/action", audit.Succeeded, to},
		{"POST", "/redeliver", `{"eventId":"e1"}`, "redeliver/action", audit.Succeeded, to + " replay=1 elsewhere=false"},
		{"POST", "/replays", `{}`, "replays/write", audit.Succeeded, to + " replay=2 elsewhere=false"},
		{"DELETE", "/replays/2", "", "replays/cancel/action", audit.Succeeded, to},
		{"POST", "/deadLetters/purge", `{"ids":[7]}`, "deadLetters/purge/action", audit.Succeeded, to + " events=5"},
		{"POST", "/getCallbackConfig", "", "getCallbackConfig/action", audit.Succeeded, to},
		{"POST", "/rotateSecret", `{"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}`, "rotateSecret/action", audit.Succeeded, to + " overlapInMinutes=1440"},
		{"PATCH", "", `{"properties":{"serviceUri":"https://u:s3cret@other.example/acr?code=s3cret","customHeaders":{"X-Key":"s3cret"}}}`, "write", audit.Succeeded, "to=https://other.example:443"},
		{"PATCH", "", `{"properties":{"serviceUri":"https://receiver.example/acr?code=s3cret"}}`, "write", audit.Succeeded, to},
		{"PATCH", "", `{"properties":{"scope":"s3cret scope"}}`, "write", audit.Failed, "400 InvalidRequest"},
		{"PATCH", "", `{"properties":{"serviceUri":"ftp://s3cret"}}`, "write", audit.Failed, "400 InvalidRequest"},
		{"PATCH", "", `{"properties": s3cret}`, "write", audit.Failed, "400 InvalidRequestContent"},
		{"POST", "/rotateSecret", `{"secret":"whsec_short"}`, "rotateSecret/action", audit.Failed, "400 InvalidRequest"},
		{"POST", "/redeliver", `{"eventId":"nosuch"}`, "redeliver/action", audit.Failed, "404 ResourceNotFound"},
		{"GET", "", "", "", "", ""},
		{"POST", "/listEvents", "", "", "", ""},
		{"GET", "/listEvents", "", "", "", ""},
		{"GET", "/replays", "", "", "", ""},
		{"PUT", "/nothing/here", "", "", "", ""},
		{"DELETE", "", "", "delete", audit.Succeeded, ""},
		{"DELETE", "", "", "delete", audit.Succeeded, "there was none"},
	} {
		p.logged.Reset()
		known := len(p.recorded(t))
		w := p.do(x.method, hook+x.target, x.body)
		got, line := p.recorded(t), p.logged.String()
		if x.action == "" {
			if len(got) != known || line != "" {
				t.Errorf("%s %s: %d, on record %s", x.method, x.target, w.Code, line)
			}
			continue
		}
		if len(got) != known+1 || strings.Count(line, "\n") != 1 || !strings.Contains(line, "level=INFO msg=audit actor=dockbell kind=Application ") {
			t.Errorf("%s %s: %d, %d entries, %s", x.method, x.target, w.Code, len(got)-known, line)
			continue
		}
		e := got[0]
		resource := registry + "/webhooks/DeployHook"
		if rest, ok := strings.CutPrefix(x.target, "/replays/"); ok {
			resource += "/replays/" + rest
		}
		want := audit.Entry{
			ID: e.ID, Time: e.Time, Registry: 2, Actor: "dockbell", ActorKind: audit.Application, Client: "192.0.2.1",
			Action: "Microsoft.ContainerRegistry/registries/webhooks/" + x.action, Resource: resource, Outcome: x.outcome,
			Request: w.Header().Get("X-Ms-Request-Id"), Correlation: w.Header().Get("X-Ms-Correlation-Request-Id"), Detail: x.detail, Count: 1,
		}
		if e != want || e.Request == "" {
			t.Errorf("%s %s: %d\ngot  %+v\nwant %+v", x.method, x.target, w.Code, e, want)
		}
		for _, secret := range []string{"s3cret", "/acr", "whsec_"} {
			if strings.Contains(line, secret) || strings.Contains(fmt.Sprint(e), secret) {
				t.Errorf("%s %s: %s is on record: %s", x.method, x.target, secret, line)
			}
		}
	}
}

// TestAuditOfEventSubscriptions: of the address there is the host, and of a secret
// nothing; of a system topic the registry that it stands for.
func TestAuditOfEventSubscriptions(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	const to = "to=https://receiver.example:443"
	topic := group + grid + "/systemTopics/contoso-topic"
	for _, x := range []struct{ method, target, body, action, resource, detail string }{
		{"PUT", onPush, subscribe, "eventSubscriptions/write", registry + grid + "/eventSubscriptions/on-push", to + " created=true"},
		{"PUT", arm.Root + "/contoso/eventSubscriptions/on-push", subscribe, "eventSubscriptions/write", registry + grid + "/eventSubscriptions/on-push", to + " created=false"},
		{"POST", arm.Root + "/contoso/eventSubscriptions/on-push/getFullUrl", "", "eventSubscriptions/getFullUrl/action", registry + grid + "/eventSubscriptions/on-push", to},
		{"POST", arm.Root + "/contoso/eventSubscriptions/on-push/validate", "", "eventSubscriptions/validate/action", registry + grid + "/eventSubscriptions/on-push", to + " state=Succeeded"},
		{"PUT", topic + version, makeTopic, "systemTopics/write", topic, "source=contoso created=true"},
		{"PATCH", topic + "/eventSubscriptions/on-push" + version, `{"labels":["a"]}`, "systemTopics/eventSubscriptions/write", topic + "/eventSubscriptions/on-push", to},
		{"DELETE", topic + version, "", "systemTopics/delete", topic, "409 Conflict"},
		{"DELETE", topic + "/eventSubscriptions/on-push" + version, "", "systemTopics/eventSubscriptions/delete", topic + "/eventSubscriptions/on-push", ""},
	} {
		w := p.do(x.method, x.target, x.body)
		e := p.recorded(t)[0]
		if e.Action != "Microsoft.EventGrid/"+x.action || e.Resource != x.resource || e.Detail != x.detail || e.Registry != 2 && x.action != "systemTopics/write" {
			t.Errorf("%s %s: %d, on record %+v", x.method, x.target, w.Code, e)
		}
	}
	if strings.Contains(p.logged.String(), "s3cret") {
		t.Errorf("the log has a secret: %s", p.logged.String())
	}
}

// TestAuditOfEveryRoute has a whole server asked for every operation under both
// roots, by someone who may and by someone who may not: what is no reading leaves
// one entry, and reading none.
func TestAuditOfEveryRoute(t *testing.T) {
	if raceEnabled {
		t.Skip("some 600 requests, one after the other: the detector has nothing to see in them; scripts/test.sh runs them without")
	}
	t.Parallel()
	s := startReal(t, t.TempDir())
	s.fill()
	puller := s.create("puller", "AcrPull", "")
	type entry struct{ Action, Outcome, Actor, CorrelationID, ResourceID, Registry string }
	for _, who := range []struct {
		name, outcome string
		with          credentials
	}{
		{s.Operator(), "", basic(s.Operator(), s.Password)},
		{"puller", "refused", basic(puller.AppID, puller.Password)},
	} {
		for _, rt := range arm.RoutesForTest() {
			for _, way := range ways(rt, s.listener, true) {
				id := uuid.NewString()
				status, _ := s.do(func(r *http.Request) {
					who.with(r)
					r.Header.Set("X-Ms-Correlation-Request-Id", id)
				}, way.Method, s.here(way.target), s.here(way.body))
				var log struct{ Value []entry }
				s.must("GET", "/api/v1/auditLog", "", &log)
				var found []entry
				for _, e := range log.Value {
					if e.CorrelationID == id {
						found = append(found, e)
					}
				}
				what := fmt.Sprintf("%s: %s %s: %d, on record %+v", who.name, way.Method, way.target, status, found)
				switch {
				case !rt.Audit && len(found) != 0, rt.Audit && len(found) != 1:
					t.Error(what)
				case rt.Audit:
					e := found[0]
					want := who.outcome
					if want == "" {
						want = map[bool]string{true: "succeeded", false: "failed"}[status < 300]
					}
					if e.Action != rt.Action || e.Outcome != want || e.Actor != who.name || rt.Level == 3 && e.Registry != "contoso" {
						t.Error(what)
					}
				}
				if rt.Method == http.MethodDelete && status < 300 {
					s.fill()
				}
			}
		}
	}
	for _, action := range handsOutSecrets {
		if !strings.Contains(s.log(), "msg=audit actor=contoso kind=User client=127.0.0.1 action="+action+" ") {
			t.Errorf("the log has no line of %s", action)
		}
	}
	// Nothing of a body, and no answer's secret.
	var all []string
	for next := "/api/v1/auditLog"; next != ""; {
		var page struct {
			Value    []map[string]any
			NextLink string
		}
		s.must("GET", next, "", &page)
		all = append(all, fmt.Sprint(page.Value))
		next = strings.TrimPrefix(page.NextLink, s.URL())
	}
	text := strings.Join(all, "\n") + s.log()
	secrets := []string{"s3cret", "whsec_", s.Password, puller.Password, "/acr?"}
	for range 2 {
		_, answer := s.do(basic(s.Operator(), s.Password), "POST", s.here(registry)+"/listCredentials"+version, "")
		for _, m := range valueOfPassword.FindAllStringSubmatch(answer, -1) {
			secrets = append(secrets, m[1])
		}
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s is on record", secret)
		}
	}
}

// TestAuditOfStrangers: what they ask for is counted, and comes to one entry.
func TestAuditOfStrangers(t *testing.T) {
	t.Parallel()
	p, listener := filled(t)
	p.auth = func(*http.Request) (arm.Caller, error) { return nil, fault.New(fault.Unauthenticated, "who are you?") }
	for _, rt := range arm.RoutesForTest() {
		known := len(p.recorded(t))
		asked := 0
		for range 3 {
			way := ways(rt, listener, true)[0]
			if w := p.do(way.Method, way.target, way.body); w.Code != http.StatusUnauthorized {
				t.Fatalf("%s %s: %d", way.Method, way.target, w.Code)
			}
			asked++
		}
		got := p.recorded(t)
		switch {
		case !rt.Audit:
			if len(got) != known {
				t.Errorf("%s %s: %d entries", rt.Method, rt.Path, len(got)-known)
			}
		case len(got) != known+1:
			t.Errorf("%s %s: %d entries, want one", rt.Method, rt.Path, len(got)-known)
		default:
			e := got[0]
			if e.Count != int64(asked) || e.Action != rt.Action || e.Outcome != audit.Refused || e.Actor != "" || e.ActorKind != audit.Anonymous || e.Client != "192.0.2.1" || e.Detail != "401 AuthenticationFailed" {
				t.Errorf("%s %s: %+v", rt.Method, rt.Path, e)
			}
		}
	}
}

// TestAuditOutlivesTheClient: who goes away at once is on record, and an entry that
// cannot be written is in the log.
func TestAuditOutlivesTheClient(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	known := len(p.recorded(t))
	ctx, gone := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", "http://contoso.azurecr.example"+hook+"/getCallbackConfig", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	gone()
	r.RemoteAddr = "192.0.2.1:1234"
	p.ServeHTTP(&discard{}, r)
	if n := len(p.recorded(t)); n != known+1 {
		t.Errorf("%d entries, want one", n-known)
	}
	err = p.db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
		_, err := tx.Exec("DROP TABLE audit_entry")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p.logged.Reset()
	w := p.do("POST", hook+"/getCallbackConfig", "")
	if got := p.logged.String(); w.Code != http.StatusOK || !strings.Contains(got, "level=ERROR msg=\"an entry of the audit log could not be written") || !strings.Contains(got, "actor=dockbell") {
		t.Errorf("without its table: %d, the log has %s", w.Code, got)
	}
}

// discard is an answer that nobody reads.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}
func (*discard) Write(p []byte) (int, error) { return len(p), nil }
func (*discard) WriteHeader(int)             {}

// TestAuditLogPages reads the log of the server and of a registry in pages, and
// with filters.
func TestAuditLogPages(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	for i := range 250 {
		e := audit.Entry{Registry: int64(i % 3), Actor: "ci", ActorKind: audit.Application, Action: "Microsoft.ContainerRegistry/registries/webhooks/write",
			Resource: fmt.Sprint("/x/webhooks/hook", i), Outcome: audit.Succeeded}
		if i == 7 {
			e.Actor, e.Action, e.Outcome = "Operator", "Microsoft.ContainerRegistry/registries/webhooks/delete", audit.Refused
		}
		p.audit.Record(t.Context(), e)
	}
	type page struct {
		Value    []struct{ ResourceID, Time string }
		NextLink string
	}
	read := func(target string) (all []string, pages int) {
		t.Helper()
		for target != "" {
			got := answerOf[page](t, p, "GET", target, "")
			for _, e := range got.Value {
				all = append(all, e.ResourceID)
			}
			target = strings.TrimPrefix(got.NextLink, "http://contoso.azurecr.example")
			pages++
		}
		return all, pages
	}
	for target, want := range map[string]int{
		"/api/v1/auditLog": 250,
		subscription + "/providers/Microsoft.ContainerRegistry/auditLog" + version:         250,
		arm.Root + "/contoso/auditLog":                                                     83, // registry 2
		registry + "/auditLog" + version:                                                   83,
		"/api/v1/auditLog?actor=OPERATOR":                                                  1,
		"/api/v1/auditLog?actor=oper":                                                      0,
		"/api/v1/auditLog?action=registries/WEBHOOKS":                                      250,
		"/api/v1/auditLog?action=microsoft.containerregistry/registries/webhooks/d":        1,
		"/api/v1/auditLog?action=%25":                                                      0,
		"/api/v1/auditLog?outcome=Refused":                                                 1,
		"/api/v1/auditLog?outcome=succeeded&resource=HOOK24":                               11,
		"/api/v1/auditLog?resource=h%5F%5Fk":                                               0,
		"/api/v1/auditLog?after=" + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339):  250,
		"/api/v1/auditLog?before=" + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339): 0,
		"/api/v1/auditLog?after=2100-01-01T00:00:00Z":                                      0,
		"/api/v1/auditLog?actor=%00%ff":                                                    0,
	} {
		all, pages := read(target)
		if len(all) != want || pages != max(1, (want+99)/100) {
			t.Errorf("%s: %d entries in %d pages, want %d", target, len(all), pages, want)
		}
	}
	all, _ := read("/api/v1/auditLog")
	for i, resource := range all {
		if resource != fmt.Sprint("/x/webhooks/hook", 249-i) {
			t.Fatalf("entry %d is %s: not the newest first", i, resource)
		}
	}
	for _, query := range []string{"after=yesterday", "before=2026", "outcome=perhaps", "$skiptoken=x", "$skiptoken=1.2.3", "after=9999-01-01T00:00:00Z"} {
		if w := p.do("GET", "/api/v1/auditLog?"+query, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	reader := func(action, _ string) bool { return strings.HasSuffix(action, "/read") }
	for _, target := range []string{"/api/v1/auditLog", arm.Root + "/contoso/auditLog"} {
		if w := p.as(reader, "GET", target, ""); w.Code != http.StatusForbidden {
			t.Errorf("a reader: %s: %d", target, w.Code)
		}
	}
}

// TestSigningKeysOverTheWire rotates and revokes.
func TestSigningKeysOverTheWire(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	type key struct{ ID, State, CreatedAt, SignsFrom, VerifiesUntil string }
	list := func() []key {
		return answerOf[struct{ Value []key }](t, p, "GET", "/api/v1/signingKeys", "").Value
	}
	first := list()
	if len(first) != 1 || first[0].State != "signing" || first[0].VerifiesUntil != "" {
		t.Fatalf("%+v", first)
	}
	if w := p.do("POST", "/api/v1/signingKeys/rotate", ""); w.Code != http.StatusCreated || !strings.Contains(w.Body.String(), `"state":"next"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := p.do("POST", "/api/v1/signingKeys/rotate", `{}`); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"state":"next"`) {
		t.Errorf("again: %d %s", w.Code, w.Body)
	}
	if keys := list(); len(keys) != 2 || keys[0].ID != first[0].ID || keys[0].VerifiesUntil == "" {
		t.Errorf("%+v", keys)
	}
	if w := p.do("POST", "/api/v1/signingKeys/rotate", `{"revoked":true}`); w.Code != http.StatusBadRequest {
		t.Errorf("a member that is not known: %d %s", w.Code, w.Body)
	}
	if w := p.do("POST", subscription+"/providers/Microsoft.ContainerRegistry/signingKeys/rotate"+version, `{"revoke":true}`); w.Code != http.StatusCreated {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if keys := list(); len(keys) != 1 || keys[0].ID == first[0].ID || keys[0].State != "signing" {
		t.Errorf("%+v", keys)
	}
	if e := p.recorded(t)[0]; !strings.HasSuffix(e.Detail, "made=true revoke=true") || e.Resource != subscription {
		t.Errorf("on record %+v", e)
	}
}
