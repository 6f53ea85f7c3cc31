package arm_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
)

// TestSettings sets what is not ACR's: it shows only where it is not the default,
// so a webhook that Azure's tools made reads as ACR's do.
func TestSettings(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newHook(t)}
	const put = `{"location":"westeurope","properties":{"serviceUri":"https://receiver.example/acr","actions":["push"]%s}}`
	for _, x := range []struct{ method, body string }{
		{"PUT", fmt.Sprintf(put, `,"retryPolicy":{"maxDeliveryAttempts":1,"timeoutInSeconds":5},"signatureHeaders":["GitHub","flux"]`)},
		{"PATCH", `{"properties":{"retryPolicy":{"order":"repository","maxPerMinute":60},"signatureHeaders":["flux"]}}`},
		{"PATCH", `{"properties":{"retryPolicy":{"maxDeliveryAttempts":null,"eventTimeToLiveInMinutes":60}}}`},
		{"GET", ""},
		{"PATCH", `{"properties":{"retryPolicy":null,"signatureHeaders":null}}`},
		{"PUT", fmt.Sprintf(put, `,"retryPolicy":{"order":"none"},"signatureHeaders":["flux"]`)},
		{"PUT", fmt.Sprintf(put, "")},
		{"PUT", fmt.Sprintf(put, `,"retryPolicy":{"timeoutInSeconds":31}`)},
		{"PUT", fmt.Sprintf(put, `,"retryPolicy":{"timeoutInSeconds":"5"}`)},
		{"PUT", fmt.Sprintf(put, `,"retryPolicy":"none"`)},
		{"PATCH", `{"properties":{"retryPolicy":{"order":"strict"}}}`},
		{"PATCH", `{"properties":{"retryPolicy":{"eventTimeToLiveInMinutes":0}}}`},
		{"PATCH", `{"properties":{"signatureHeaders":["svix"]}}`},
		{"PATCH", `{"properties":{"signatureHeaders":"github"}}`},
		{"PATCH", `{"properties":{"tls":{"caCertificates":"not PEM"}}}`},
		{"PATCH", `{"properties":{"tls":{"clientKey":"s3cret"}}}`},
		{"PATCH", `{"properties":{"tls":"s3cret"}}`},
	} {
		tr.exchange(x.method, hook, x.body)
	}
	golden(t, "settings.txt", tr.String())
}

// TestTLS gives a webhook authorities to trust: no answer shows them, a PUT
// without them keeps them unless it gives an address, null takes them away.
func TestTLS(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	tls, err := json.Marshal(map[string]string{"caCertificates": ca})
	if err != nil {
		t.Fatal(err)
	}
	const (
		there   = `"serviceUri":"https://receiver.example/acr",`
		actions = `"actions":["push"]`
	)
	body := func(properties string) string { return `{"location":"westeurope","properties":{` + properties + `}}` }
	for i, x := range []struct {
		method, body string
		set          bool
	}{
		{"PUT", body(there + actions + `,"tls":` + string(tls)), true},
		{"PUT", body(actions), true},
		{"PATCH", body(`"scope":"team/web"`), true},
		{"PATCH", body(there[:len(there)-1]), true},
		{"PUT", body(there + actions), false},
		{"PATCH", body(`"tls":` + string(tls)), true},
		{"PATCH", body(`"tls":null`), false},
		{"PATCH", body(`"tls":` + string(tls)), true},
		{"PUT", body(actions + `,"tls":null`), false},
	} {
		w := p.do(x.method, hook, x.body)
		if w.Code != http.StatusOK || strings.Contains(strings.ToLower(w.Body.String()), "cert") {
			t.Errorf("step %d: %d %s", i, w.Code, w.Body)
		}
		if got := p.request(t).TLS; (got != nil) != x.set || x.set && string(got.CA) != ca {
			t.Errorf("step %d: the request has %+v", i, got)
		}
	}
}

// request returns what the webhook at hook is rung with.
func (p *plane) request(t *testing.T) outbound.Request {
	t.Helper()
	contoso, err := p.tenants.ByName("contoso")
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{ID: "e1", Action: event.Push, Registry: event.Registry{ID: contoso.ID}}
	r, ok := p.hooks.Request(ring.Call{Endpoint: 1, Event: e, ACRBody: []byte("{}"), At: time.Now()})
	if !ok {
		t.Fatal("the webhook is gone")
	}
	return r
}

func TestRotateSecret(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	config := func() (c struct {
		SigningSecret, PreviousSigningSecret string
		PreviousValidUntil                   time.Time
	}) {
		t.Helper()
		if err := json.Unmarshal(p.do("POST", hook+"/getCallbackConfig", "").Body.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := config(); c.PreviousSigningSecret != "" || !c.PreviousValidUntil.IsZero() {
		t.Errorf("before: %+v", c)
	}
	const own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for _, x := range []struct {
		body    string
		overlap time.Duration
	}{
		{"", 24 * time.Hour},
		{"{}", 24 * time.Hour},
		{`{"overlapInMinutes":null}`, 24 * time.Hour},
		{`{"overlapInMinutes":10080,"secret":"` + own + `"}`, 7 * 24 * time.Hour},
		{`{"overlapInMinutes":0}`, 0},
	} {
		before := config()
		from := time.Now()
		w := p.do("POST", hook+"/rotateSecret", x.body)
		var answer struct {
			SigningSecret      string
			PreviousValidUntil time.Time
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", x.body, w.Code, w.Body)
		}
		after := config()
		if answer.SigningSecret == before.SigningSecret || answer.SigningSecret != after.SigningSecret || !answer.PreviousValidUntil.Equal(after.PreviousValidUntil) {
			t.Errorf("%s: answers %+v, then there is %+v", x.body, answer, after)
		}
		if strings.Contains(x.body, own) && answer.SigningSecret != own {
			t.Errorf("%s: the secret is %s", x.body, answer.SigningSecret)
		}
		if x.overlap == 0 {
			if after.PreviousSigningSecret != "" || !after.PreviousValidUntil.IsZero() || strings.Contains(w.Body.String(), "previous") {
				t.Errorf("%s: the old secret still signs: %s", x.body, w.Body)
			}
			continue
		}
		if off := after.PreviousValidUntil.Sub(from.Add(x.overlap)); off < -time.Second || off > time.Minute || after.PreviousSigningSecret != before.SigningSecret {
			t.Errorf("%s: %+v, off by %s", x.body, after, off)
		}
	}
	if strings.Contains(p.logged.String(), "whsec_") {
		t.Errorf("a secret is on record: %s", &p.logged)
	}
	tr := &transcript{plane: p}
	for _, body := range []string{
		"", `{"overlapInMinutes":0}`,
		`{"overlapInMinutes":-1}`, `{"overlapInMinutes":10081}`, `{"overlapInMinutes":0.5}`, `{"overlap":0}`, `{"secret":"hunter2"}`, `{"secret":7}`, `[]`,
	} {
		tr.exchange("POST", hook+"/rotateSecret", body)
	}
	golden(t, "rotate.txt", tr.String())
	if strings.Contains(tr.String(), `message":"hunter2`) {
		t.Error("an answer repeats a secret")
	}
}

func TestTestWebhook(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newHook(t)}
	for _, body := range []string{`{"action":"push"}`, `{"action":"CHART_DELETE"}`, `{"action":"ping"}`, `{"action":""}`, `{}`, "", `{"action":["push"]}`, `{"actions":"push"}`} {
		tr.exchange("POST", hook+"/test", body)
	}
	tr.exchange("POST", hook+"x/test", `{"action":"push"}`)
	golden(t, "test.txt", tr.String())
}

// TestElsewhere replays to another address: the engine gets it sealed, and no
// answer or log has more of it than the host.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	const uri = `"https://user:s3cret@staging.example:8443/acr?code=s3cret"`
	for _, x := range []struct{ target, body string }{
		{"/redeliver", `{"eventId":"e1","serviceUri":` + uri + `}`},
		{"/replays", `{"serviceUri":` + uri + `}`},
	} {
		p.logged.Reset()
		w := p.do("POST", hook+x.target, x.body)
		if w.Code != http.StatusAccepted || !strings.Contains(w.Body.String(), `"elsewhere":true`) {
			t.Fatalf("%s: %d %s", x.target, w.Code, w.Body)
		}
		shown := w.Body.String() + p.do("GET", hook+"/replays", "").Body.String()
		if strings.Contains(shown, "staging.example") || strings.Contains(shown, "s3cret") {
			t.Errorf("%s: shows the address: %s", x.target, shown)
		}
		sealed := p.asked[len(p.asked)-1].Elsewhere
		if strings.Contains(string(sealed), "staging") || p.hooks.ElsewhereHost(sealed) != "https://staging.example:8443" {
			t.Errorf("%s: asks for %q, %s", x.target, sealed, p.hooks.ElsewhereHost(sealed))
		}
		if got := p.logged.String(); !strings.Contains(got, "to=https://staging.example:8443 ") || !strings.Contains(got, "elsewhere=true") || strings.Contains(got, "s3cret") {
			t.Errorf("%s: on record %s", x.target, got)
		}
	}
	p.logged.Reset()
	for uri, want := range map[string]int{
		"http://10.0.3.7/acr": http.StatusForbidden, "ftp://staging.example": http.StatusBadRequest, "http://user:s3cret@/": http.StatusBadRequest, "s3cret": http.StatusBadRequest,
	} {
		w := p.do("POST", hook+"/replays", `{"serviceUri":"`+uri+`"}`)
		if w.Code != want || strings.Contains(w.Body.String(), "s3cret") {
			t.Errorf("%s: %d %s", uri, w.Code, w.Body)
		}
	}
	if got := p.logged.String(); len(p.asked) != 2 || strings.Contains(got, "to=") || strings.Contains(got, "s3cret") {
		t.Errorf("%d replays, on record %s", len(p.asked), &p.logged)
	}
}

// TestDisabledReason shows a webhook that the server disabled, and the same once
// someone enables it.
func TestDisabledReason(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	contoso, err := p.tenants.ByName("contoso")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.hooks.Disable(t.Context(), contoso.ID, 1, "gone: the receiver answered 410"); err != nil {
		t.Fatal(err)
	}
	const reason = `"disabledReason":"gone: the receiver answered 410"`
	for _, target := range []string{hook, hook + "?expand=health", "/api/v1/registries/contoso/webhooks"} {
		if w := p.do("GET", target, ""); !strings.Contains(w.Body.String(), reason) || !strings.Contains(w.Body.String(), `"status":"disabled"`) {
			t.Errorf("%s: %s", target, w.Body)
		}
	}
	if w := p.do("PATCH", hook, `{"properties":{"status":"enabled"}}`); strings.Contains(w.Body.String(), "disabledReason") {
		t.Errorf("enabled again: %s", w.Body)
	}
}
