package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	official "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dockbell/dockbell/internal/consent"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// Answers to a handshake.
func agrees(outbound.Request) outbound.Result {
	return outbound.Result{Answer: outbound.NewAnswer(http.StatusOK, map[string]string{"Webhook-Allowed-Origin": "*", "Webhook-Allowed-Rate": "120"})}
}

func refuses(outbound.Request) outbound.Result {
	return outbound.Result{Answer: outbound.NewAnswer(http.StatusMethodNotAllowed, nil), Body: []byte("no")}
}

func asCloudEvents(d *Definition) { d.Format = "CloudEvents" }

// held reports whether nothing may be sent for a webhook now; terms and requests
// have to agree.
func (w *world) held(hook Webhook) bool {
	w.t.Helper()
	terms, ok := w.Terms(hook.RegistryID, hook.ID)
	_, rings := w.Request(ring.Call{Endpoint: hook.ID, Event: happened(event.Push, "web", "v1"), ACRBody: []byte("{}"), At: time.Now()})
	if !ok || terms.Held == rings {
		w.t.Errorf("terms %+v, %v, and a request is made: %v", terms, ok, rings)
	}
	return terms.Held
}

func (w *world) get(name string) Webhook {
	w.t.Helper()
	hook, err := w.Get(w.t.Context(), contoso, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return hook
}

// TestFormats: checklist points 19 and 21. What is sent in each format, by the
// header that says which it is, and signed as it is sent.
func TestFormats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answers(agrees)
	e := happened(event.Push, "web", `v1 "beta" 100% ë`) // no tag has that, but what if
	e.ID, e.Actor, e.At = "5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11", `Zoë "the" 1st`, time.Now().UTC()
	e.Registry = sourceOf(contoso.ID)
	acr := []byte(`{"id":"5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11","action":"push"}`)
	for _, test := range []struct {
		format, contentType string
		check               func(outbound.Request) bool
	}{
		{"acr", "application/json; charset=utf-8", func(r outbound.Request) bool { return bytes.Equal(r.Body, acr) && r.Header["Ce-Id"] == nil }},
		{"cloudevents", "application/cloudevents+json; charset=utf-8", func(r outbound.Request) bool {
			return bytes.Equal(r.Body, event.CloudEvent(e)) && r.Header["Ce-Id"] == nil
		}},
		{"cloudevents-binary", "application/json; charset=utf-8", func(r outbound.Request) bool {
			subject, err := url.PathUnescape(r.Header.Get("ce-subject"))
			var data struct{ Actor struct{ Name string } }
			return err == nil && subject == "web:"+e.Target.Tag && json.Unmarshal(r.Body, &data) == nil && data.Actor.Name == e.Actor &&
				r.Header.Get("ce-id") == e.ID && r.Header.Get("ce-source") == "/registries/contoso" && r.Header.Get("ce-specversion") == "1.0" &&
				r.Header.Get("ce-type") == "Microsoft.ContainerRegistry.ImagePushed" && slices.Contains(r.Public, "Ce-Subject")
		}},
	} {
		name := strings.ReplaceAll(test.format, "-", "") + "hook"
		hook := w.put(contoso, name, func(d *Definition) {
			d.Format, d.CustomHeaders, d.SignatureHeaders = test.format, map[string]string{"X-Env": "prod"}, []string{"github"}
		})
		at := time.Now()
		r, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: acr, At: at})
		if !ok || !test.check(r) || r.Header.Get("Content-Type") != test.contentType || r.Header.Get("X-Env") != "prod" {
			t.Errorf("%s: %v, %v, body %s", test.format, ok, r.Header, r.Body)
		}
		verifier, err := official.NewWebhook(w.config(contoso, name).SigningSecret)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(r.Body, r.Header); err != nil {
			t.Errorf("%s: %v", test.format, err)
		}
		again, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: acr, At: at.Add(time.Minute)})
		if !bytes.Equal(again.Body, r.Body) || again.Header.Get("Webhook-Id") != r.Header.Get("Webhook-Id") {
			t.Errorf("%s: another attempt sends %s", test.format, again.Body)
		}
		origin := ""
		if test.format != "acr" {
			origin = "contoso.example"
		}
		if r.Header.Get("WebHook-Request-Origin") != origin || r.Header.Get("Origin") != origin {
			t.Errorf("%s: the origin is %v", test.format, r.Header)
		}
	}
}

// TestContentTypeOfCloudEventsIsFixed: a custom header may replace it on acr only,
// whichever of the two comes first.
func TestContentTypeOfCloudEventsIsFixed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	custom := map[string]string{"content-type": "text/plain"}
	const rule = "webhook deployhook has a custom header Content-Type, which the format cloudevents-binary sets itself: take the header away, or use the format acr"
	def := definition()
	def.Format, def.CustomHeaders = "cloudevents-binary", custom
	_, _, err := w.Put(t.Context(), contoso, "deployhook", def, ada)
	fails(t, err, fault.Invalid, "", rule)
	w.put(contoso, "deployhook", func(d *Definition) { d.CustomHeaders = custom })
	_, err = w.Patch(t.Context(), contoso, "deployhook", Change{Format: new("cloudevents-binary")}, ada)
	fails(t, err, fault.Invalid, "", rule)
	w.patch(contoso, "deployhook", Change{Format: new("cloudevents-binary"), CustomHeaders: map[string]string{}})
	_, err = w.Patch(t.Context(), contoso, "deployhook", Change{CustomHeaders: custom}, ada)
	fails(t, err, fault.Invalid, "", rule)
	if n := w.handshakes(); n != 1 {
		t.Errorf("asked %d times, want once: only one change was made that needs it", n)
	}
}

// TestHandshakeOfAFormat: which handshake follows from which changes.
func TestHandshakeOfAFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(contoso, "deployhook", nil)
	for _, test := range []struct {
		change    Change
		format    Format
		handshake Handshake
	}{
		{Change{}, ACR, NoHandshake},
		{Change{Format: new("cloudevents")}, CloudEvents, CloudEventsHandshake},
		{Change{Handshake: new("NONE")}, CloudEvents, NoHandshake},
		{Change{Format: new("CloudEvents-Binary")}, CloudEventsBinary, NoHandshake}, // the owner's choice stays
		{Change{Handshake: new("")}, CloudEventsBinary, CloudEventsHandshake},
		{Change{Format: new("acr")}, ACR, CloudEventsHandshake},
		{Change{Handshake: new("")}, ACR, NoHandshake},
		{Change{Handshake: new("none")}, ACR, NoHandshake},
		{Change{Format: new("cloudevents")}, CloudEvents, CloudEventsHandshake},
		{Change{Format: new("acr"), Handshake: new("none")}, ACR, NoHandshake},
		{Change{Handshake: new("cloudevents")}, ACR, CloudEventsHandshake},
		{Change{Format: new("slack")}, Slack, NoHandshake}, // who takes this does not know the question
		{Change{Format: new("cloudevents")}, CloudEvents, CloudEventsHandshake},
		{Change{Format: new("slack")}, Slack, NoHandshake},
		{Change{Handshake: new("cloudevents")}, Slack, CloudEventsHandshake},
		{Change{Format: new("acr")}, ACR, CloudEventsHandshake},
		{Change{Format: new("slack"), Handshake: new("cloudevents")}, Slack, CloudEventsHandshake},
		{Change{Handshake: new("")}, Slack, NoHandshake},
	} {
		hook := w.patch(contoso, "deployhook", test.change)
		if hook.Format != test.format || hook.Handshake != test.handshake || w.held(hook) != (test.handshake == CloudEventsHandshake) || (hook.Consent == consent.State{}) != (test.handshake == NoHandshake) {
			t.Errorf("%+v: %s, %s, consent %+v", test.change, hook.Format, hook.Handshake, hook.Consent)
		}
	}
	listener, err := w.Listen(t.Context(), contoso, Definition{}, ada)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Patch(t.Context(), contoso, listener.Name, Change{Format: new("cloudevents")}, ada)
	fails(t, err, fault.Invalid, "", "webhook "+listener.Name+" is a listener, which has no address: leave format and handshake out")
}

// TestConsentFirst: checklist point 29. The question is all that is sent before the
// address agrees; consent ends with the address.
func TestConsentFirst(t *testing.T) { onEach(t, testConsentFirst) }

func testConsentFirst(t *testing.T, w *world) {
	ctx := t.Context()
	w.answers(refuses)
	hook := w.put(contoso, "deployhook", func(d *Definition) {
		asCloudEvents(d)
		d.ServiceURI, d.CustomHeaders = "https://us3r:p4ssw0rd@hooks.example.net/ce?code=qu3ry", map[string]string{"Authorization": "Bearer t0ken"}
		d.Policy = new(ring.Default())
		d.Policy.PerMinute, d.Policy.Timeout = 600, 3*time.Second
	})
	asked := w.asked[0]
	if asked.Method != http.MethodOptions || asked.URL != "https://us3r:p4ssw0rd@hooks.example.net/ce?code=qu3ry" || asked.Timeout != 3*time.Second || len(asked.Body) != 0 ||
		asked.Header.Get("WebHook-Request-Origin") != "contoso.example" || asked.Header.Get("WebHook-Request-Rate") != "600" ||
		asked.Header.Get("Authorization") != "Bearer t0ken" || asked.Header.Get("Content-Type") != "" {
		t.Errorf("asked by %+v", asked)
	}
	if hook.Consent.Failures != 1 || hook.Consent.Last.Status != 405 || !w.held(hook) || len(w.endpoints.held) == 0 {
		t.Errorf("made as %+v, the endpoint was told %+v", hook, w.endpoints)
	}
	for what, err := range map[string]error{
		"ping":      func() error { _, err := w.Ping(ctx, contoso, sourceOf(1), "deployhook"); return err }(),
		"sample":    func() error { _, err := w.Test(ctx, contoso, sourceOf(1), "deployhook", "push", "ada"); return err }(),
		"replay":    w.get("deployhook").MayRing(time.Now(), false),
		"elsewhere": w.get("deployhook").MayRing(time.Now(), true),
	} {
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := w.count("SELECT count(*) FROM event"); n != 0 {
		t.Errorf("%d events were made", n)
	}

	w.answers(agrees)
	before := len(w.endpoints.changed)
	agreed, err := w.Handshake(ctx, contoso, "DEPLOYHOOK")
	if err != nil || !agreed.Consent.Given(time.Now()) || agreed.Consent.PerMinute != 120 || w.held(hook) || len(w.endpoints.changed) != before+1 {
		t.Fatalf("agreed %+v, %v, the endpoint was told %+v", agreed.Consent, err, w.endpoints)
	}
	if terms, _ := w.Terms(contoso.ID, hook.ID); terms.PerMinute != 120 {
		t.Errorf("%d requests a minute, want what it allows: 120", terms.PerMinute)
	}
	if agreed.UpdatedAt != hook.UpdatedAt || agreed.UpdatedBy != hook.UpdatedBy {
		t.Error("a handshake counts as a change of the webhook")
	}
	if _, err := w.Ping(ctx, contoso, sourceOf(1), "deployhook"); err != nil {
		t.Error(err)
	}
	sealed, err := w.SealElsewhere("https://other.example.net/")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: happened(event.Push, "web", "v1"), At: time.Now(), Elsewhere: sealed}); ok || agreed.MayRing(time.Now(), true) == nil {
		t.Error("another address may be rung, which was not asked")
	}

	// It survives a restart, and changes that are not of the address.
	w.open(w.DB)
	w.patch(contoso, "deployhook", Change{Format: new("cloudevents-binary"), Scope: new("web:*"), CustomHeaders: map[string]string{"X": "y"}})
	if w.held(hook) || w.handshakes() != 2 {
		t.Errorf("held %v, asked %d times", w.held(hook), w.handshakes())
	}

	// Another address has to agree itself.
	w.answers(refuses)
	was := w.get("deployhook").Consent.Epoch
	moved := w.patch(contoso, "deployhook", Change{ServiceURI: new("https://other.example.net/ce")})
	if !w.held(hook) || moved.Consent.Given(time.Now()) || moved.Consent.Epoch == was || moved.Consent.Failures != 1 || w.asked[2].URL != "https://other.example.net/ce" {
		t.Errorf("moved: %+v", moved.Consent)
	}
	if terms, _ := w.Terms(contoso.ID, hook.ID); terms.PerMinute != 600 {
		t.Errorf("the old address's rate holds: %d", terms.PerMinute)
	}
	// And so has the old one, when it comes back.
	back := w.patch(contoso, "deployhook", Change{ServiceURI: new("https://us3r:p4ssw0rd@hooks.example.net/ce?code=qu3ry")})
	if !w.held(hook) || back.Consent.Epoch == was {
		t.Errorf("back: %+v", back.Consent)
	}

	// An owner who answers for the address.
	changed := len(w.endpoints.changed)
	if none := w.patch(contoso, "deployhook", Change{Handshake: new("none")}); w.held(hook) || none.Consent != (consent.State{}) || len(w.endpoints.changed) != changed+1 {
		t.Errorf("without a handshake: %+v", none)
	}
	if _, err := w.Handshake(ctx, contoso, "deployhook"); !fault.Is(err, fault.Conflict) {
		t.Errorf("a handshake of one that has none: %v", err)
	}
	if _, err := w.Handshake(ctx, contoso, "nosuch"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a handshake of none: %v", err)
	}
	if n := w.count("SELECT count(*) FROM webhook WHERE consent LIKE '%t0ken%' OR consent LIKE '%qu3ry%'"); n != 0 {
		t.Error("secrets are beside the sealed ones")
	}
}

// TestOtherAnswersAreNoConsent: refusals, redirects, other origins, silence.
func TestOtherAnswersAreNoConsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, answer := range []outbound.Result{
		{Answer: outbound.NewAnswer(405, map[string]string{"Webhook-Allowed-Origin": "*"})},
		{Answer: outbound.NewAnswer(307, map[string]string{"Webhook-Allowed-Origin": "*", "Location": "https://hooks.example.net/"})},
		{Answer: outbound.NewAnswer(200, nil)},
		{Answer: outbound.NewAnswer(200, map[string]string{"Webhook-Allowed-Origin": "fabrika.example"})},
		{Answer: outbound.NewAnswer(202, map[string]string{"Webhook-Allowed-Origin": "*"})},
		{Class: outbound.Timeout, Message: "hooks.example.net did not answer within 10s"},
		{Class: outbound.TLSExpired, Message: "the certificate of hooks.example.net expired"},
	} {
		w.answers(func(outbound.Request) outbound.Result { return answer })
		hook := w.put(contoso, fmt.Sprint("otherhook", i), asCloudEvents)
		if !w.held(hook) || hook.Consent.Last.Why == "" || hook.Consent.Last.Class != string(answer.Class) {
			t.Errorf("%+v: %+v", answer, hook.Consent)
		}
	}
}

// TestHandshakeInFlight: what an address answers counts for that address only,
// even if it answers when the webhook has another.
func TestHandshakeInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	w.answers(func(r outbound.Request) outbound.Result {
		if strings.Contains(r.URL, "slow") {
			close(arrived)
			<-release
			return agrees(r)
		}
		return refuses(r)
	})
	made := make(chan error)
	go func() {
		def := definition()
		asCloudEvents(&def)
		def.ServiceURI = "https://slow.example.net/"
		_, _, err := w.Put(context.Background(), contoso, "deployhook", def, ada)
		made <- err
	}()
	<-arrived
	patched := make(chan error)
	go func() {
		_, err := w.Patch(context.Background(), contoso, "deployhook", Change{ServiceURI: new("https://other.example.net/")}, Actor{"bob", "User"})
		patched <- err
	}()
	for deadline := time.Now().Add(20 * time.Second); w.config(contoso, "deployhook").ServiceURI != "https://other.example.net/"; {
		if time.Now().After(deadline) {
			t.Fatal("the address does not change while a handshake runs")
		}
	}
	close(release)
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	if err := <-patched; err != nil {
		t.Fatal(err)
	}
	hook := w.get("deployhook")
	if !w.held(hook) || hook.Consent.Failures != 1 || hook.Consent.Last.Status != 405 {
		t.Errorf("consent %+v", hook.Consent)
	}
	if n := w.handshakes(); n != 2 {
		t.Errorf("asked %d times, want each address once", n)
	}
}

// TestAnswersShowNoSecrets: a receiver that repeats what it was asked with.
func TestAnswersShowNoSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answers(func(r outbound.Request) outbound.Result {
		return outbound.Result{Answer: outbound.NewAnswer(200, map[string]string{"Webhook-Allowed-Origin": r.Header.Get("Authorization")}), Body: []byte(r.URL)}
	})
	hook := w.put(contoso, "deployhook", func(d *Definition) {
		asCloudEvents(d)
		d.ServiceURI, d.CustomHeaders = "https://us3r:p4ssw0rd@hooks.example.net/ce?code=qu3ry", map[string]string{"Authorization": "Bearer t0ken"}
	})
	w.answers(func(r outbound.Request) outbound.Result {
		return outbound.Result{Answer: outbound.NewAnswer(500, nil), Body: fmt.Appendf(nil, "%s %v", r.URL, r.Header["Authorization"])}
	})
	again, err := w.Handshake(t.Context(), contoso, "deployhook")
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range []string{hook.Consent.Last.Why, again.Consent.Last.Why} {
		for _, secret := range []string{"t0ken", "us3r", "p4ssw0rd", "qu3ry"} {
			if strings.Contains(why, secret) || !strings.Contains(why, "******") {
				t.Errorf("%q has %q", why, secret)
			}
		}
	}
}

// whileAsking gives test a world whose store asks by itself, in a bubble of fake time. Under the
// race detector Go 1.26 crashes there now and then; these tests run a second time
// without it.
func whileAsking(t *testing.T, test func(*testing.T, *world, func() (stop func()))) {
	t.Helper()
	if raceEnabled {
		t.Skip("fake time and the race detector crash Go 1.26 together: run go test ./internal/webhook without -race")
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, endpoints: &endpoints{}}
		w.open(sqldbtest.SQLite(t)())
		test(t, w, func() func() {
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() { defer close(ended); w.Run(ctx) }()
			return func() { cancel(); <-ended }
		})
	})
}

// TestConsentIsAskedAgain: an address that does not agree is asked in flat pauses,
// over restarts too; one that does, again before its consent ends.
func TestConsentIsAskedAgain(t *testing.T) {
	whileAsking(t, func(t *testing.T, w *world, run func() func()) {
		stop := run()
		w.answers(refuses)
		hook := w.put(contoso, "deployhook", asCloudEvents)
		time.Sleep(time.Hour)
		synctest.Wait()
		first := w.handshakes()
		if first < 12 || first > 22 {
			t.Errorf("asked %d times in the first hour", first)
		}
		stop()
		w.open(w.DB)
		stop = run()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.handshakes() - first; n < 9 || n > 16 {
			t.Errorf("asked %d times in the hour after a restart", n)
		}
		if !w.held(hook) {
			t.Error("it is rung")
		}
		if len(w.rang) != 0 { // nobody asked for webhook_failing, but the event is there to be asked for
			if e := w.rang[0].entry.Event; e.Webhook.Condition != "failing" || len(w.rang) != 1 {
				t.Errorf("%d reports, the first %+v", len(w.rang), e.Webhook)
			}
		} else {
			t.Error("nobody was told")
		}

		w.answers(agrees)
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if w.held(hook) {
			t.Fatal("it is not rung though it agrees")
		}
		agreed, asked := w.get("deployhook").Consent, w.handshakes()
		time.Sleep(time.Until(agreed.NextAt) - time.Second)
		synctest.Wait()
		if n := w.handshakes(); n != asked {
			t.Errorf("asked %d times while consent lasts", n-asked)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		renewed := w.get("deployhook").Consent
		if w.handshakes() != asked+1 || !renewed.Until.After(agreed.Until) || time.Until(renewed.Until) < consent.GoodFor-time.Minute {
			t.Errorf("asked %d times more, consent until %s, it was %s", w.handshakes()-asked, renewed.Until, agreed.Until)
		}

		// Whoever agrees no more is rung to the end of what was agreed.
		w.answers(refuses)
		time.Sleep(time.Until(renewed.Until) - time.Second)
		synctest.Wait()
		if w.held(hook) {
			t.Error("held before the end")
		}
		time.Sleep(2 * time.Second)
		if !w.held(hook) {
			t.Error("rung after the end")
		}
		stop()
	})
}

// TestNeverAgreed: an address that does not agree for five days has its webhook
// disabled, and people hear of it; who enables it has it asked anew.
func TestNeverAgreed(t *testing.T) {
	whileAsking(t, func(t *testing.T, w *world, run func() func()) {
		defer run()()
		hook := w.put(contoso, "deployhook", asCloudEvents) // nobody listens there
		w.put(contoso, "otherhook", func(d *Definition) { asCloudEvents(d); d.Status = "disabled" })
		time.Sleep(5*24*time.Hour - time.Hour)
		synctest.Wait()
		if got := w.get("deployhook"); got.Status != Enabled {
			t.Fatalf("disabled after %s: %s", time.Since(got.CreatedAt), got.DisabledWhy)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		got := w.get("deployhook")
		if got.Status != Disabled || got.DisabledWhy != "its address did not agree to be rung for 5 days" {
			t.Errorf("%s, %q", got.Status, got.DisabledWhy)
		}
		var told []string
		for _, r := range w.rang {
			told = append(told, r.entry.Event.Webhook.Condition)
			if r.entry.Event.Webhook.LastError == "" {
				t.Errorf("told without a reason: %+v", r.entry.Event.Webhook)
			}
		}
		if !slices.Equal(told, []string{"failing", "disabled"}) {
			t.Errorf("people were told %v", told)
		}
		asked := w.handshakes()
		if w.asked[1].URL != w.asked[0].URL || w.get("otherhook").Consent.Failures != 1 {
			t.Errorf("a disabled webhook is asked for %d times", w.get("otherhook").Consent.Failures)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := w.handshakes(); n != asked {
			t.Errorf("asked %d times when it was disabled", n-asked)
		}
		w.answers(agrees)
		if on := w.patch(contoso, "deployhook", Change{Status: new("enabled")}); !on.Consent.Given(time.Now()) || w.held(hook) {
			t.Errorf("enabled: %+v", on.Consent)
		}
	})
}

// TestAskedByFew: many addresses that hang are asked by a bounded number of
// requests at once.
func TestAskedByFew(t *testing.T) {
	whileAsking(t, func(t *testing.T, w *world, run func() func()) {
		for i := range 40 {
			w.put(contoso, fmt.Sprint("hook", i, "x"), asCloudEvents)
		}
		var running, most int
		w.answers(func(outbound.Request) outbound.Result {
			w.mu.Lock()
			running++
			most = max(most, running)
			w.mu.Unlock()
			time.Sleep(5 * time.Second)
			w.mu.Lock()
			running--
			w.mu.Unlock()
			return outbound.Result{Class: outbound.Timeout, Message: "no answer"}
		})
		stop := run()
		time.Sleep(time.Minute)
		stop()
		if most != maxAsking {
			t.Errorf("%d at once, want %d", most, maxAsking)
		}
		if err := w.DB.Read(t.Context(), func(tx *sqldb.Tx) error {
			hooks, err := selectList(tx, contoso.ID)
			for _, h := range hooks {
				if h.Consent.Failures < 2 {
					t.Errorf("%s was asked %d times", h.Name, h.Consent.Failures)
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	})
}
