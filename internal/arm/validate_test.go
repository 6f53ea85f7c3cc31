package arm_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbox"
)

// TestDryRun asks what PUT and PATCH would come to. Nothing is changed, and nothing is
// on record in the audit log but who was refused.
func TestDryRun(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	f := newFeed()
	p.config.Feed = f
	p.Handler = arm.New(p.config)
	var contoso int64
	for _, r := range p.tenants.List() {
		if r.Name == "contoso" {
			contoso = r.ID
		}
	}
	f.add(contoso, 3)
	f.entries[1].Event.Action = event.Delete
	f.entries[2].Event.OwedTo = 1 // a ping, or a sample
	before, recorded := rows(t, p.db), len(p.recorded(t))
	tr := &transcript{plane: p}
	const dry = "?validateOnly=true"
	for _, x := range []struct{ method, target, body string }{
		{"PUT", hook + dry, create},
		{"PUT", "/api/v1/registries/contoso/webhooks/x" + dry, `{"properties":{"scope":"*","actions":["fly"],"retryPolicy":{"maxDeliveryAttempts":0,"timeoutInSeconds":99,"order":"none"}}}`},
		{"PUT", "/api/v1/registries/contoso/webhooks/NewHook" + dry + "&last=100", `{"location":"westeurope","properties":{"serviceUri":"https://receiver.example/","actions":["push"]}}`},
		{"PATCH", hook + dry, `{"properties":{"retryPolicy":{"order":"tags"},"format":"fax"}}`},
		{"PATCH", hook + dry + "&last=2", `{"properties":{"scope":""}}`},
		{"PATCH", hook + "?validateOnly=TRUE", `{}`},
	} {
		tr.exchange(x.method, x.target, x.body)
	}
	if got := changes(before, rows(t, p.db)); got != "" {
		t.Errorf("a dry run changes %s", got)
	}
	if n := len(p.recorded(t)) - recorded; n != 0 {
		t.Errorf("%d dry runs are on record", n)
	}
	for _, x := range []struct{ method, target, body string }{
		{"PATCH", "/api/v1/registries/contoso/webhooks/NoSuch" + dry, `{}`},
		{"PUT", hook + "?validateOnly=perhaps", create},
		{"PUT", hook + dry + "&last=101", create},
		{"PATCH", hook + dry, `{"properties":{"actions":null}}`},
	} {
		tr.exchange(x.method, x.target, x.body)
	}
	golden(t, "validate.txt", tr.String())
	if w := p.as(func(string, string) bool { return false }, "PUT", hook+dry, create); w.Code != http.StatusForbidden {
		t.Errorf("who may not write: %d %s", w.Code, w.Body)
	}
	if last := p.recorded(t)[0]; last.Outcome != "refused" {
		t.Errorf("a refusal is on record as %+v", last)
	}
}

// TestStanding shows how one event stands, to who may see the log.
func TestStanding(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	entry := outbox.Entry{Event: &event.Event{Pos: 7, ID: "e7", Actor: "alice", Registry: event.Registry{Location: "westeurope"}}, ACRBody: []byte(`{"id":"e7"}`)}
	p.engine.standing = map[string]delivery.Standing{
		"e7": {Entry: entry, State: delivery.StandsWaiting, Attempts: 2, MaxAttempts: 30, Next: moment, Expires: moment, Behind: true, Probing: true},
		"e8": {Entry: entry, State: delivery.StandsDead, DeadLetter: &delivery.DeadLetter{ID: 4, PosFrom: 7, PosTo: 7, Count: 1, Reason: "30 attempts failed", At: moment}},
	}
	tr := &transcript{plane: p}
	tr.exchange("GET", hook+"/deliveries/e7?eventTime=2026-03-14T09:26:53Z", "")
	tr.exchange("GET", hook+"/deliveries/e8", "")
	tr.exchange("GET", hook+"/deliveries/e9", "")
	tr.exchange("GET", hook+"/deliveries/e7?eventTime=noon", "")
	golden(t, "standing.txt", tr.String())
}

// TestListEventsAsks compares what a query asks of the log, and how much is shown.
func TestListEventsAsks(t *testing.T) {
	t.Parallel()
	p := newHook(t)
	for i := range 1500 {
		p.attempts = append(p.attempts, delivery.Attempt{Endpoint: 1, EventID: fmt.Sprint("e", i), ACRBody: []byte("{}"), Outcome: delivery.Delivered})
	}
	count := func(target string) (n int) {
		for method := http.MethodPost; target != ""; method = http.MethodGet {
			page := answerOf[struct {
				Value    []struct{ ID string }
				NextLink string
			}](t, p, method, target, "")
			n += len(page.Value)
			target = strings.TrimPrefix(page.NextLink, "http://contoso.azurecr.example")
		}
		return n
	}
	if n := count(hook + "/listEvents"); n != 1000 {
		t.Errorf("as ACR has it: %d entries", n)
	}
	if n := count(hook + "/listEvents?limit=70"); n != 1500 {
		t.Errorf("with a limit: %d entries", n)
	}
	p.do("POST", hook+"/listEvents?action=Push&repository=team/web&tag=v1&eventId=e1&eventTime=2026-03-14T09:26:53Z&from=2026-03-14T10:00:00%2B01:00&until=2026-03-15T00:00:00Z", "")
	got := p.engine.filters[len(p.engine.filters)-1]
	if s := fmt.Sprintf("%s %s %s %s %s %s %s", got.Action, got.Repository, got.Tag, got.EventID, got.EventAt.Format("15:04:05"), got.From.Format("15:04"), got.Until.Format("02")); s != "push team/web v1 e1 09:26:53 09:00 15" {
		t.Errorf("asks for %s", s)
	}
	for query, want := range map[string]string{
		"action=fly": `action \"fly\" is none: use ping, push`, "from=noon": `from \"noon\" is no time`, "until=x": "until", "eventTime=x": "eventTime",
		"limit=0": `limit \"0\" is out of range: use 1 to 100 entries`, "limit=101": "limit",
	} {
		if w := p.do("POST", hook+"/listEvents?"+query, ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}
