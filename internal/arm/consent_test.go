package arm_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/outbound"
)

// respondent is a receiver that is asked for its consent, and says what it is told
// to.
type respondent struct {
	answer outbound.Result
	asked  []outbound.Request
}

// Post answers at one moment, so that answers of the control plane can be compared
// whole.
func (r *respondent) Post(_ context.Context, q outbound.Request) outbound.Result {
	r.asked = append(r.asked, q)
	res := r.answer
	res.Started = moment
	return res
}

// TestConsent: what the answers tell of a receiver that has not agreed to be rung,
// and what is refused for it.
func TestConsent(t *testing.T) {
	t.Parallel()
	receiver := &respondent{answer: outbound.Result{
		Answer: outbound.NewAnswer(http.StatusMethodNotAllowed, nil), Body: []byte("no OPTIONS for Bearer s3cret here"),
	}}
	p := newPlaneWith(t, outbound.Policy{}, nil, receiver)
	p.engine.health = map[int64]delivery.Health{1: {State: delivery.CatchingUp, Waiting: 2, Behind: 3}}
	tr := &transcript{plane: p}
	asCloudEvents := strings.Replace(create, `"properties":{`, `"properties":{"format":"CloudEvents",`, 1)
	if asCloudEvents == create {
		t.Fatal("the body of a creation is written in another way by now")
	}
	tr.exchange("PUT", hook, asCloudEvents)
	tr.exchange("GET", hook+"?expand=health", "")
	for _, refused := range []struct{ what, body string }{
		{"/ping", ""},
		{"/test", `{"action":"push"}`},
		{"/redeliver", `{"eventId":"831e1650-001e-001b-66ab-eeb76e069631"}`},
		{"/replays", `{}`},
		{"/replays", `{"serviceUri":"https://other.example.net/"}`},
	} {
		tr.exchange("POST", hook+refused.what, refused.body)
	}
	if len(p.asked) != 0 {
		t.Errorf("the engine was asked for %d replays", len(p.asked))
	}
	receiver.answer = outbound.Result{Class: outbound.Connect, Message: "hooks.example.net refused the connection: nothing listens there"}
	tr.exchange("POST", hook+"/handshake", "")

	// From here on it agrees; its consent ends some day, so it has to begin now.
	receiver.answer = outbound.Result{Answer: outbound.NewAnswer(http.StatusOK, map[string]string{"Webhook-Allowed-Origin": "*", "Webhook-Allowed-Rate": "120"})}
	receiver.answer.Duration = time.Since(moment)
	type webhookWithConsent struct {
		Properties struct {
			Format, Handshake string
			Consent           struct {
				Given        bool
				Until        time.Time
				MaxPerMinute int
				Reason       string
			}
		}
		Health struct{ State string }
	}
	w := answerOf[webhookWithConsent](t, p, "POST", hook+"/handshake", "")
	agreed := w.Properties.Consent
	if lasts := time.Until(agreed.Until); !agreed.Given || agreed.MaxPerMinute != 120 || agreed.Reason != "" || lasts < 29*24*time.Hour || lasts > 30*24*time.Hour || w.Health.State != "catchingUp" {
		t.Errorf("after it agreed: %+v", w)
	}
	if got := p.do("POST", hook+"/ping", ""); got.Code != http.StatusOK {
		t.Errorf("ping: %d %s", got.Code, got.Body)
	}

	tr.exchange("PATCH", hook, `{"properties":{"format":"cloudevents-binary","handshake":"none"}}`)
	tr.exchange("POST", hook+"/handshake", "")
	tr.exchange("PATCH", hook, `{"properties":{"format":null,"handshake":null}}`)
	tr.exchange("PATCH", hook, `{"properties":{"format":"cloud"}}`)
	tr.exchange("PATCH", hook, `{"properties":{"handshake":"firm"}}`)
	tr.exchange("PATCH", hook, `{"properties":{"format":"cloudevents","handshake":"none","customHeaders":{"content-type":"text/plain"}}}`)
	golden(t, "consent.txt", tr.String())
	if logged := p.logged.String(); strings.Count(logged, "given=") != 2 || strings.Contains(logged, "s3cret") {
		t.Errorf("logged:\n%s", logged)
	}
	if len(receiver.asked) != 3 {
		t.Errorf("asked %d times, want 3", len(receiver.asked))
	}
}
