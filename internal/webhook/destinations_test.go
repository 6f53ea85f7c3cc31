package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	official "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// TestPolicy makes, changes and resets the retry policy of a webhook.
func TestPolicy(t *testing.T) { onEach(t, testPolicy) }

func testPolicy(t *testing.T, w *world) {
	own := ring.Policy{Timeout: 5 * time.Second, MaxAttempts: 1, TTL: time.Hour, Order: ring.Unordered, PerMinute: 60}
	hook := w.put(contoso, "deployhook", nil)
	check := func(want ring.Policy) {
		t.Helper()
		got, err := w.Get(t.Context(), contoso, "deployhook")
		if err != nil || got.Policy != want {
			t.Errorf("policy %+v, %v; want %+v", got.Policy, err, want)
		}
		terms, ok := w.Terms(contoso.ID, hook.ID)
		if diff := gocmp.Diff(ring.Terms{Policy: want, Host: "https://hooks.example.net:443"}, terms); diff != "" || !ok {
			t.Errorf("terms (-want +got):\n%s", diff)
		}
		request, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: happened(event.Push, "web", "v1"), At: time.Now()})
		if request.Timeout != want.Timeout {
			t.Errorf("timeout of a request %s, want %s", request.Timeout, want.Timeout)
		}
	}
	check(ring.Default())
	if n := w.count("SELECT count(*) FROM webhook WHERE policy = ''"); n != 1 {
		t.Error("the default is stored, and could not become another one day")
	}
	w.put(contoso, "deployhook", func(d *Definition) { d.Policy = &own })
	check(own)
	w.open(w.DB)
	check(own)
	attempts, order := 30, ring.PerRepository
	w.patch(contoso, "deployhook", Change{Policy: &PolicyChange{MaxAttempts: &attempts, Order: &order}})
	own.MaxAttempts, own.Order = 30, ring.PerRepository
	check(own)
	w.patch(contoso, "deployhook", Change{})
	check(own)

	for _, tt := range []struct {
		change func(*ring.Policy)
		want   string
	}{
		{func(p *ring.Policy) { p.Timeout = 31 * time.Second }, "the time limit of 31s for one attempt is out of range: use 1 to 30 whole seconds"},
		{func(p *ring.Policy) { p.MaxAttempts = 0 }, "0 attempts are out of range: use 1 to 30"},
		{func(p *ring.Policy) { p.TTL = 8 * 24 * time.Hour }, "the time to live of 192h0m0s is out of range: use 1 to 10080 whole minutes"},
		{func(p *ring.Policy) { p.Order = "newest" }, `order "newest" is none there is: use tag, repository or none`},
		{func(p *ring.Policy) { p.PerMinute = -1 }, "-1 attempts a minute are out of range: use 1 to 600000, or 0 for no limit"},
	} {
		p := own
		tt.change(&p)
		_, err := w.Patch(t.Context(), contoso, "deployhook", Change{Policy: ReplacePolicy(p)}, ada)
		fails(t, err, fault.Invalid, "", tt.want)
		_, _, err = w.Put(t.Context(), contoso, "otherhook", Definition{Location: "eastus", ServiceURI: "https://x.example/", Actions: []string{"push"}, Policy: &p}, ada)
		fails(t, err, fault.Invalid, "", tt.want)
	}
	check(own)

	w.put(contoso, "deployhook", nil) // a definition without one has the default
	check(ring.Default())
}

// TestHosts writes one receiver in many ways.
func TestHosts(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://hooks.example.net":                "https://hooks.example.net:443",
		"HTTPS://$u:p@Hooks.Example.NET.:443/x?y":  "https://hooks.example.net:443",
		"http://hooks.example.net/":                "http://hooks.example.net:80",
		"http://hooks.example.net:8080/":           "http://hooks.example.net:8080",
		"http://10.0.3.7":                          "http://10.0.3.7:80",
		"https://[2001:DB8::1]/":                   "https://[2001:db8::1]:443",
		"https://[2001:db8::1]:8443/":              "https://[2001:db8::1]:8443",
		"listen://listen0abc":                      "listen://listen0abc",
		"https://us3r:p%zz@hooks.example.net/p4th": "",
	} {
		if got := outbound.HostOf(raw); got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
}

func TestTerms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.put(contoso, "deployhook", func(d *Definition) { d.Status = "disabled" })
	if terms, ok := w.Terms(contoso.ID, hook.ID); !ok || !terms.Disabled {
		t.Errorf("terms of a disabled webhook: %+v, %v", terms, ok)
	}
	enabled := "enabled"
	w.patch(contoso, "deployhook", Change{Status: &enabled})
	if terms, ok := w.Terms(contoso.ID, hook.ID); !ok || terms.Disabled {
		t.Errorf("terms of an enabled webhook: %+v, %v", terms, ok)
	}
	for _, unknown := range [][2]int64{{contoso.ID, hook.ID + 1}, {fabrika.ID, hook.ID}, {0, 0}, {-1, -1}} {
		if _, ok := w.Terms(unknown[0], unknown[1]); ok {
			t.Errorf("there are terms for %v", unknown)
		}
	}
}

// TestHeadersOfReplaysAndSamples checks what tells such requests from others,
// and that only these have it.
func TestHeadersOfReplaysAndSamples(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.put(contoso, "deployhook", nil)
	e := happened(event.Push, "web", "v1")
	e.ID, e.Request.Hops = "id", "one, two"
	sample := *e
	sample.Sample = true
	for _, tt := range []struct {
		call         ring.Call
		replay, test []string
	}{
		{ring.Call{Event: e}, nil, nil},
		{ring.Call{Event: e, Replay: 17}, []string{"17"}, nil},
		{ring.Call{Event: &sample}, nil, []string{"true"}},
		{ring.Call{Event: &sample, Replay: 1}, []string{"1"}, []string{"true"}},
	} {
		tt.call.Endpoint, tt.call.At = hook.ID, time.Now()
		request, ok := w.Request(tt.call)
		if !ok || !gocmp.Equal(request.Header.Values("Dockbell-Replay"), tt.replay) || !gocmp.Equal(request.Header.Values("Dockbell-Test"), tt.test) {
			t.Errorf("%+v: %v", tt.call, request.Header)
		}
		if request.Header.Get("Webhook-Id") != "id" || request.Hops != "one, two" {
			t.Errorf("%+v: id %q, hops %q", tt.call, request.Header.Get("Webhook-Id"), request.Hops)
		}
	}
}

// TestElsewhere rings another address than the webhook's own.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.put(contoso, "deployhook", func(d *Definition) {
		d.ServiceURI, d.Status, d.TLS = "https://us3r:p4ss@hooks.example.net/", "disabled", newTLS(t)
		d.CustomHeaders = map[string]string{"Authorization": "Bearer s3cret", "Content-Type": "text/plain"}
		d.SignatureHeaders = []string{"flux"}
		d.Policy = new(ring.Default())
		d.Policy.Timeout = 3 * time.Second
	})
	sealed, err := w.SealElsewhere("http://127.0.0.1:8080/again?code=qu3ry")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "127.0.0.1") || strings.Contains(string(sealed), "qu3ry") {
		t.Errorf("sealed %q", sealed)
	}
	if host := w.ElsewhereHost(sealed); host != "http://127.0.0.1:8080" {
		t.Errorf("host %q", host)
	}
	call := ring.Call{Endpoint: hook.ID, Event: happened(event.Push, "web", "v1"), ACRBody: []byte("{}"), At: time.Now(), Replay: 3, Elsewhere: sealed}
	call.Event.ID = "id"
	request, ok := w.Request(call)
	if !ok {
		t.Fatal("no request")
	}
	verifier, err := official.NewWebhook(w.config(contoso, "deployhook").SigningSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(request.Body, request.Header); err != nil {
		t.Error(err)
	}
	if request.URL != "http://127.0.0.1:8080/again?code=qu3ry" || request.TLS != nil || request.Timeout != 3*time.Second || request.Header.Get("X-Signature") == "" {
		t.Errorf("request %+v", request)
	}
	if request.Header.Get("Authorization") != "" || request.Header.Get("Content-Type") != "application/json; charset=utf-8" || request.Header.Get("Dockbell-Replay") != "3" {
		t.Errorf("header %v", request.Header)
	}

	call.Elsewhere = append([]byte{}, sealed...)
	call.Elsewhere[len(sealed)-1]++
	if _, ok := w.Request(call); ok || w.ElsewhereHost(call.Elsewhere) != "" {
		t.Error("an address that this server did not seal is rung")
	}
	if _, err := w.SealElsewhere("http://10.0.3.7/"); !fault.Is(err, fault.Denied) {
		t.Errorf("an address that is refused: %v", err)
	}
	if _, err := w.SealElsewhere("listen://listenx"); !fault.Is(err, fault.Invalid) {
		t.Errorf("the address of a listener: %v", err)
	}
	call.Elsewhere, call.Event.Registry.ID = sealed, fabrika.ID
	if _, ok := w.Request(call); ok {
		t.Error("an event of another registry is rung")
	}
}

// TestWants asks by today's rules, which do not ask for the status.
func TestWants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.put(contoso, "deployhook", func(d *Definition) {
		d.Status, d.Scope, d.Actions, d.Location = "disabled", "web:*", []string{"push", "webhook_failing"}, "westeurope"
	})
	for _, tt := range []struct {
		name   string
		change func(*event.Event)
		want   bool
	}{
		{"in scope", func(*event.Event) {}, true},
		{"not asked for", func(e *event.Event) { e.Action = event.Delete }, false},
		{"out of scope", func(e *event.Event) { e.Target.Repository = "api" }, false},
		{"elsewhere", func(e *event.Event) { e.Registry.Location = "eastus" }, false},
		{"of another registry", func(e *event.Event) { e.Registry.ID = fabrika.ID }, false},
		{"its own sample", func(e *event.Event) { e.OwedTo, e.Action = hook.ID, event.Delete }, true},
		{"another's sample", func(e *event.Event) { e.OwedTo = hook.ID + 1 }, false},
		{"another's failure", func(e *event.Event) {
			e.Action, e.Target = event.WebhookFailing, event.Endpoint(hook.ID+1)
		}, true},
		{"its own failure", func(e *event.Event) {
			e.Action, e.Target = event.WebhookFailing, event.Endpoint(hook.ID)
		}, false},
	} {
		e := happened(event.Push, "web", "v1")
		e.Registry.Location = "westeurope"
		tt.change(e)
		if got := w.Wants(contoso.ID, hook.ID).Takes(e); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if w.Wants(contoso.ID, hook.ID+7).Takes(e) {
			t.Errorf("%s: a webhook that is not there wants it", tt.name)
		}
	}
}

// TestHistoryOfOwnedEvents has pings and samples, and webhooks that are gone.
func TestHistoryOfOwnedEvents(t *testing.T) { onEach(t, testHistoryOfOwnedEvents) }

func testHistoryOfOwnedEvents(t *testing.T, w *world) {
	one := w.put(contoso, "deployhook", nil)
	two := w.put(contoso, "otherhook", nil)
	west := w.put(contoso, "westhook", func(d *Definition) { d.Location = "westeurope" })
	if _, err := w.Ping(t.Context(), contoso, sourceOf(contoso.ID), "deployhook"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Test(t.Context(), contoso, sourceOf(contoso.ID), "otherhook", "push", "ada"); err != nil {
		t.Fatal(err)
	}
	w.happen(event.Push, "web", "v1")
	check := func(id int64, want ...bool) {
		t.Helper()
		was := w.history(contoso.ID, id)
		for i, r := range w.rang {
			if got := was(r.entry.Event); got != want[i] {
				t.Errorf("endpoint %d, event %d: %v, want %v", id, i+1, got, want[i])
			}
		}
	}
	check(one.ID, true, false, true)
	check(two.ID, false, true, true)
	check(west.ID, false, false, false)
	check(two.ID+100, false, false, false)
	if err := w.Delete(t.Context(), contoso, "otherhook"); err != nil {
		t.Fatal(err)
	}
	check(two.ID, false, false, false)
}

// TestDisable has the server disable a webhook, and people enable it again.
func TestDisable(t *testing.T) { onEach(t, testDisable) }

func testDisable(t *testing.T, w *world) {
	ctx := t.Context()
	const why = "410 Gone: the receiver wants nothing more"
	hook := w.put(contoso, "deployhook", nil)
	if err := w.Disable(ctx, contoso.ID, hook.ID, why); err != nil {
		t.Fatal(err)
	}
	got, _ := w.Get(ctx, contoso, "deployhook")
	if got.Status != Disabled || got.DisabledWhy != why || got.UpdatedBy.Name != "dockbell" {
		t.Errorf("disabled: %+v", got)
	}
	if !gocmp.Equal(w.endpoints.disabled, map[int64]string{hook.ID: why}) {
		t.Errorf("told %v", w.endpoints.disabled)
	}
	e := w.happen(event.Push, "web", "v1")
	if owed := w.InForce()(e); owed != nil {
		t.Errorf("owed to %v", owed)
	}
	if w.history(contoso.ID, hook.ID)(e) {
		t.Error("the database has it enabled")
	}
	clear(w.endpoints.disabled)
	for _, id := range []int64{hook.ID, hook.ID + 1} { // again, and one that is not there
		if err := w.Disable(ctx, contoso.ID, id, "again"); err != nil {
			t.Error(err)
		}
	}
	disabled, enabled := "disabled", "enabled"
	if got := w.patch(contoso, "deployhook", Change{Status: &disabled}); got.DisabledWhy != why {
		t.Errorf("disabled twice: %q", got.DisabledWhy)
	}
	if len(w.endpoints.disabled) != 0 {
		t.Errorf("told again: %v", w.endpoints.disabled)
	}
	if got := w.patch(contoso, "deployhook", Change{Status: &enabled}); got.DisabledWhy != "" || got.Status != Enabled {
		t.Errorf("enabled: %+v", got)
	}
	if got := w.patch(contoso, "deployhook", Change{Status: &disabled}); got.DisabledWhy != "" {
		t.Errorf("disabled by a person: %q", got.DisabledWhy)
	}
	if !gocmp.Equal(w.endpoints.disabled, map[int64]string{hook.ID: "the webhook was disabled by bob"}) {
		t.Errorf("told %v", w.endpoints.disabled)
	}
}

// TestFailingWebhooksAreReported has several webhooks, of which some asked to be
// told of the others.
func TestFailingWebhooksAreReported(t *testing.T) { onEach(t, testFailingWebhooksAreReported) }

func testFailingWebhooksAreReported(t *testing.T, w *world) {
	sick := w.put(contoso, "FailingHook", func(d *Definition) { d.Actions = []string{"push", "webhook_failing"} })
	w.put(contoso, "otherhook", nil)
	watcher := w.put(contoso, "watcher", func(d *Definition) { d.Actions, d.Scope = []string{"Webhook_Failing"}, "web:v1" })
	w.put(contoso, "westwatcher", func(d *Definition) { d.Actions, d.Location = []string{"webhook_failing"}, "westeurope" })
	w.put(fabrika, "fabrika", func(d *Definition) { d.Actions = []string{"webhook_failing"} })
	since := time.Date(2025, 3, 14, 9, 26, 53, 0, time.FixedZone("", 3600))
	w.report(ring.Report{Registry: contoso.ID, Endpoint: sick.ID, Condition: ring.Disabling, Since: since, LastStatus: 503, LastError: "x", Progress: 70})
	if len(w.rang) != 1 {
		t.Fatalf("%d events, want 1", len(w.rang))
	}
	got := w.rang[0].entry.Event
	want := &event.Event{
		Pos: 1, ID: got.ID, At: got.At, Action: event.WebhookFailing, Registry: sourceOf(contoso.ID), Target: event.Endpoint(sick.ID), Cause: "delivery",
		Webhook: &event.Webhook{Endpoint: sick.ID, Name: "FailingHook", Condition: "disabling", Since: since.UTC(), LastStatus: 503, LastError: "x", Progress: 70},
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	for how, owed := range map[string][]int64{"in force": w.rang[0].owed, "from the database": w.matchAt(got)} {
		if !gocmp.Equal(owed, []int64{watcher.ID}) {
			t.Errorf("%s: owed to %v, want %d: who asked, is there, and is not the one that fails", how, owed, watcher.ID)
		}
	}
	var heads []*event.Event
	if err := w.DB.Read(t.Context(), func(tx *sqldb.Tx) (err error) {
		heads, err = outbox.Heads(tx, 0, 1)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, e := range []*event.Event{got, heads[0]} {
		if w.history(contoso.ID, sick.ID)(e) || !w.history(contoso.ID, watcher.ID)(e) {
			t.Errorf("the history of who asked tells another story of %+v", e)
		}
	}

	listener, err := w.Listen(t.Context(), contoso, Definition{}, ada)
	if err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []int64{listener.ID, listener.ID + 1} {
		w.report(ring.Report{Registry: contoso.ID, Endpoint: endpoint, Condition: ring.Failing})
	}
	if len(w.rang) != 1 {
		t.Errorf("%d events: a listener or nobody was reported", len(w.rang))
	}
}

// TestAlerts opens the store with a place for alerts, with another, and without.
func TestAlerts(t *testing.T) { onEach(t, testAlerts) }

func testAlerts(t *testing.T, w *world) {
	reopen := func(alerts string) {
		t.Helper()
		if err := w.openWith(w.DB, alerts); err != nil {
			t.Fatal(err)
		}
	}
	endpoint := func() (id int64) {
		t.Helper()
		if err := w.DB.Read(t.Context(), func(tx *sqldb.Tx) (err error) {
			id, err = selectAlert(tx)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := w.put(contoso, "deployhook", nil)
	second := w.put(fabrika, "deployhook", nil)
	before := ring.Report{Registry: contoso.ID, Endpoint: first.ID, Condition: ring.Failing}
	w.report(before)

	reopen("https://$u:p@alerts.example.net/x")
	id := endpoint()
	if id == 0 || w.count("SELECT count(*) FROM endpoint WHERE kind = 'alert' AND registry = 0") != 1 {
		t.Fatalf("endpoint %d", id)
	}
	secret := w.AlertsSecret()
	if terms, ok := w.Terms(0, id); !ok || terms != (ring.Terms{Policy: ring.Default(), Host: "https://alerts.example.net:443"}) {
		t.Errorf("terms %+v, %v", terms, ok)
	}
	w.report(before)
	w.report(ring.Report{Registry: fabrika.ID, Endpoint: second.ID, Condition: ring.Recovered})
	w.report(ring.Report{Registry: 0, Endpoint: id, Condition: ring.Failing}) // of itself it hears nothing
	w.happen(event.Push, "web", "v1")
	if len(w.rang) != 4 {
		t.Fatalf("%d events, want 4", len(w.rang))
	}
	for i, want := range [][]int64{nil, {id}, {id}, {first.ID}} {
		e := w.rang[i].entry.Event
		if got := w.rang[i].owed; !gocmp.Equal(got, want) {
			t.Errorf("event %d is owed to %v, want %v", i+1, got, want)
		}
		if got := w.matchAt(e); !gocmp.Equal(got, want) {
			t.Errorf("event %d is owed to %v by the database, want %v", i+1, got, want)
		}
		if got := w.history(0, id)(e); got != slices.Contains(want, id) {
			t.Errorf("event %d was owed to the endpoint for alerts: %v", i+1, got)
		}
		if got := w.Wants(0, id).Takes(e); got != (e.Action == event.WebhookFailing) {
			t.Errorf("event %d is wanted: %v", i+1, got)
		}
	}
	r := w.rang[2]
	request, ok := w.Request(ring.Call{Endpoint: id, Event: r.entry.Event, ACRBody: r.entry.ACRBody, At: time.Now()})
	verifier, err := official.NewWebhook(secret)
	if err != nil || !ok {
		t.Fatal(err, ok)
	}
	if err := verifier.Verify(request.Body, request.Header); err != nil || request.URL != "https://$u:p@alerts.example.net/x" {
		t.Errorf("request to %s: %v", request.URL, err)
	}
	if err := w.Disable(t.Context(), 0, id, "410 Gone"); err != nil {
		t.Error(err)
	}
	if _, ok := w.Request(ring.Call{Endpoint: id, Event: r.entry.Event, At: time.Now()}); !ok {
		t.Error("the endpoint for alerts was disabled")
	}

	reopen("https://other.example.net/")
	if endpoint() != id || w.AlertsSecret() != secret {
		t.Error("another address makes another endpoint or secret")
	}
	if terms, _ := w.Terms(0, id); terms.Host != "https://other.example.net:443" {
		t.Errorf("host %s", terms.Host)
	}
	reopen("")
	if endpoint() != 0 || !gocmp.Equal(w.endpoints.dropped, []int64{id}) {
		t.Errorf("endpoint %d is left, dropped %v", endpoint(), w.endpoints.dropped)
	}
	w.report(before)
	if owed := w.rang[4].owed; owed != nil {
		t.Errorf("owed to %v without alerts", owed)
	}
	if _, ok := w.Terms(0, id); ok {
		t.Error("there are terms without alerts")
	}
	if err := w.openWith(w.DB, "http://10.0.3.7/"); err == nil || !strings.HasPrefix(err.Error(), "alerts: 10.0.3.7 is a private address and this server may not ring it: start it with --allow-destinations") {
		t.Errorf("a place that is refused: %v", err)
	}
}

// TestListeners makes listeners, changes and removes them.
func TestListeners(t *testing.T) { onEach(t, testListeners) }

func testListeners(t *testing.T, w *world) {
	ctx := t.Context()
	full := Registry{ID: contoso.ID, Name: "contoso", SKU: "Basic", Limit: 0, Locations: []string{"eastus", "westeurope"}}
	made, err := w.Listen(ctx, full, Definition{}, ada)
	if err != nil {
		t.Fatal(err)
	}
	want := Webhook{
		ID: made.ID, RegistryID: full.ID, Name: made.Name, Location: "eastus", Tags: map[string]string{}, Status: Enabled, Listener: true,
		Actions: []string{"push", "delete", "quarantine", "chart_push", "chart_delete"}, Policy: ring.Default(), Format: ACR, Handshake: NoHandshake,
		CreatedAt: made.CreatedAt, UpdatedAt: made.CreatedAt, CreatedBy: ada, UpdatedBy: ada,
	}
	got, err := w.Get(ctx, full, made.Name)
	if diff := gocmp.Diff(want, got); diff != "" || err != nil || !regexp.MustCompile(`\Alisten[a-z0-9]{10}\z`).MatchString(made.Name) {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if uri := w.config(full, made.Name).ServiceURI; uri != "listen://"+made.Name {
		t.Errorf("service URI %q", uri)
	}
	scoped, err := w.Listen(ctx, full, Definition{Location: "West Europe", Scope: "web:*", Actions: []string{"push"}, ServiceURI: "https://x.example/"}, bob)
	if err != nil {
		t.Fatal(err)
	}
	push := w.happen(event.Push, "web", "v1")
	if owed := w.InForce()(push); !gocmp.Equal(owed, []int64{made.ID}) {
		t.Errorf("owed to %v", owed)
	}
	if request, ok := w.Request(ring.Call{Endpoint: made.ID, Event: push, At: time.Now()}); !ok || request.URL != "listen://"+made.Name || request.Header.Get("Webhook-Signature") == "" {
		t.Errorf("request %+v, %v", request, ok)
	}
	if terms, _ := w.Terms(full.ID, scoped.ID); terms.Host != "listen://"+scoped.Name {
		t.Errorf("host %q", terms.Host)
	}
	w.open(w.DB)
	list, err := w.Listeners(ctx)
	if diff := gocmp.Diff([]string{made.Name, scoped.Name}, names(list), sorted); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}

	// It cannot become a webhook that does not count, and no webhook one of it.
	uri, listen := "https://x.example/", "listen://"+made.Name
	_, err = w.Patch(ctx, full, made.Name, Change{ServiceURI: &uri}, ada)
	fails(t, err, fault.Conflict, "", "webhook "+made.Name+" is a listener, which has no address: create a webhook of another name for a service URI")
	_, _, err = w.Put(ctx, full, made.Name, definition(), ada)
	fails(t, err, fault.Conflict, "", "webhook "+made.Name+" is a listener, which has no address: create a webhook of another name for a service URI")
	w.put(contoso, "deployhook", nil)
	if _, err = w.Patch(ctx, contoso, "deployhook", Change{ServiceURI: &listen}, ada); !fault.Is(err, fault.Invalid) {
		t.Errorf("a webhook with the address of a listener: %v", err)
	}
	scope := "api:*"
	if got := w.patch(full, made.Name, Change{Scope: &scope}); got.Scope != scope || !got.Listener {
		t.Errorf("changed: %+v", got)
	}

	for _, tt := range []struct {
		def  Definition
		kind fault.Kind
	}{
		{Definition{Location: "northeurope"}, fault.Invalid},
		{Definition{Scope: "*"}, fault.Invalid},
		{Definition{Actions: []string{}}, fault.Invalid},
		{Definition{Actions: []string{"ping"}}, fault.Invalid},
	} {
		if _, err := w.Listen(ctx, full, tt.def, ada); !fault.Is(err, tt.kind) {
			t.Errorf("%+v: %v", tt.def, err)
		}
	}

	if err := w.Unlisten(ctx, full, strings.ToUpper(made.Name)); err != nil {
		t.Fatal(err)
	}
	if !gocmp.Equal(w.endpoints.dropped, []int64{made.ID}) {
		t.Errorf("dropped %v", w.endpoints.dropped)
	}
	for _, name := range []string{made.Name, "deployhook"} {
		fails(t, w.Unlisten(ctx, contoso, name), fault.NotFound, "ResourceNotFound", `registry contoso has no listener "`+name+`": it has ended`)
	}
	if list, _ := w.Listeners(ctx); !gocmp.Equal(names(list), []string{scoped.Name}) {
		t.Errorf("listeners %v", names(list))
	}
}

func names(list []Webhook) (names []string) {
	for _, w := range list {
		names = append(names, w.Name)
	}
	return names
}

var sorted = gocmp.Transformer("sorted", func(s []string) []string { return slices.Sorted(slices.Values(s)) })

// TestSamples compares the body of each sample with what ACR sends.
func TestSamples(t *testing.T) { onEach(t, testSamples) }

func testSamples(t *testing.T, w *world) {
	hook := w.put(contoso, "deployhook", func(d *Definition) { d.Status, d.Scope, d.Location = "disabled", "other:1", "westeurope" })
	w.put(contoso, "otherhook", func(d *Definition) { d.Location = "westeurope" })
	for _, tt := range []struct{ action, want string }{
		{"push", `{"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1574,"digest":"DIGEST","length":1574,"repository":"dockbell/sample","tag":"sample"},` +
			`"request":{"id":"REQUEST","host":"contoso.example","method":"PUT","useragent":"Dockbell/1.2.3 (webhook test: nothing happened)"}}`},
		{"Delete", `{"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"DIGEST","repository":"dockbell/sample"},` +
			`"request":{"id":"REQUEST","host":"contoso.example","method":"DELETE","useragent":"Dockbell/1.2.3 (webhook test: nothing happened)"}}`},
		{"quarantine", `{"target":{"size":1574,"digest":"DIGEST","length":1574,"repository":"dockbell/sample","tag":"sample"},` +
			`"request":{"id":"REQUEST","host":"contoso.example","method":"PUT"}}`},
		{"chart_push", `{"target":{"mediaType":"application/vnd.acr.helm.chart","size":25265,"digest":"DIGEST","repository":"dockbell/sample","tag":"sample-0.1.0.tgz","name":"sample","version":"0.1.0"}}`},
		{"chart_delete", `{"target":{"mediaType":"application/vnd.acr.helm.chart","size":25265,"digest":"DIGEST","repository":"dockbell/sample","tag":"sample-0.1.0.tgz","name":"sample","version":"0.1.0"}}`},
		{"untag", `{"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"DIGEST","repository":"dockbell/sample","tag":"sample"},` +
			`"request":{"id":"REQUEST","host":"contoso.example","method":"DELETE","useragent":"Dockbell/1.2.3 (webhook test: nothing happened)"}}`},
		{"tag_moved", `{"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1574,"digest":"DIGEST","length":1574,"repository":"dockbell/sample","tag":"sample","previousDigest":"DIGEST"},` +
			`"request":{"id":"REQUEST","host":"contoso.example","method":"PUT","useragent":"Dockbell/1.2.3 (webhook test: nothing happened)"}}`},
		{"referrer_attached", `{"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1574,"digest":"DIGEST","length":1574,"repository":"dockbell/sample","subjectDigest":"DIGEST","artifactType":"application/spdx+json"},` +
			`"request":{"id":"REQUEST","host":"contoso.example","method":"PUT","useragent":"Dockbell/1.2.3 (webhook test: nothing happened)"}}`},
		{"pull", `{"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1574,"digest":"DIGEST","length":1574,"repository":"dockbell/sample","tag":"sample"},` +
			`"request":{"id":"REQUEST","host":"contoso.example","method":"GET","useragent":"Dockbell/1.2.3 (webhook test: nothing happened)"}}`},
		{"webhook_failing", `{"target":{"webhook":"samplehook","condition":"failing","since":"SINCE","lastStatus":503,"lastError":"","progress":0}}`},
	} {
		id, err := w.Test(t.Context(), contoso, sourceOf(contoso.ID), "DEPLOYHOOK", tt.action, "ada")
		if err != nil {
			t.Fatal(err)
		}
		r := w.rang[len(w.rang)-1]
		e := r.entry.Event
		var body struct {
			ID      string          `json:"id"`
			Action  string          `json:"action"`
			Target  json.RawMessage `json:"target,omitempty"`
			Request json.RawMessage `json:"request,omitempty"`
		}
		if err := json.Unmarshal(r.entry.ACRBody, &body); err != nil {
			t.Fatal(err)
		}
		if body.ID != id || e.ID != id || body.Action != strings.ToLower(tt.action) {
			t.Errorf("%s: id %q, event %q with action %q", tt.action, id, body.ID, body.Action)
		}
		got := `{"target":` + string(body.Target)
		if body.Request != nil {
			got += `,"request":` + string(body.Request)
		}
		got = regexp.MustCompile(`sha256:[0-9a-f]{64}`).ReplaceAllString(got+"}", "DIGEST")
		got = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(got, "REQUEST")
		got = regexp.MustCompile(`"since":"20[^"]*Z"`).ReplaceAllString(got, `"since":"SINCE"`)
		if got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.action, got, tt.want)
		}
		if !e.Sample || e.OwedTo != hook.ID || e.Actor != "ada" || e.Registry.Location != "westeurope" {
			t.Errorf("%s: event %+v", tt.action, e)
		}
		for how, owed := range map[string][]int64{"in force": r.owed, "from the database": w.matchAt(e)} {
			if !gocmp.Equal(owed, []int64{hook.ID}) {
				t.Errorf("%s, %s: owed to %v, want %d alone", tt.action, how, owed, hook.ID)
			}
		}
		if request, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: r.entry.ACRBody, At: time.Now()}); !ok || request.Header.Get("Dockbell-Test") != "true" {
			t.Errorf("%s to a disabled webhook: %v", tt.action, ok)
		}
	}
	_, err := w.Test(t.Context(), contoso, sourceOf(contoso.ID), "deployhook", "ping", "ada")
	fails(t, err, fault.Invalid, "", `action "ping" is not one a webhook can ask for: use push, delete, quarantine, chart_push, chart_delete, untag, tag_moved, referrer_attached, pull or webhook_failing`)
	_, err = w.Test(t.Context(), contoso, sourceOf(contoso.ID), "nosuchhook", "push", "ada")
	fails(t, err, fault.NotFound, "ResourceNotFound", `registry contoso has no webhook "nosuchhook": dockbell webhook list -r contoso shows those it has`)
}

// TestRulesAreRecordedOnlyWhenTheyChange has a webhook put again and again, as
// scripts do.
func TestRulesAreRecordedOnlyWhenTheyChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 5 {
		w.put(contoso, "deployhook", nil)
		w.happen(event.Push, "web", "v1")
	}
	if n := w.count("SELECT count(*) FROM webhook_rule"); n != 1 {
		t.Errorf("%d rules, want 1", n)
	}
}

// TestAChangeTouchesOneShard is why it costs the same however many registries
// there are: a change shares all other shards with the rules before it.
func TestAChangeTouchesOneShard(t *testing.T) {
	t.Parallel()
	const registries = 10_000
	all := &rules{}
	for registry := range int64(registries) {
		all = all.with(pushHook(registry+1, registry+1))
	}
	for _, change := range []func() *rules{
		func() *rules { return all.with(pushHook(77, registries+1)) },
		func() *rules { return all.without(77, 77) },
	} {
		next := change()
		changed := 0
		for i := range all.shards {
			if reflect.ValueOf(all.shards[i]).Pointer() != reflect.ValueOf(next.shards[i]).Pointer() {
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("%d shards are other ones, want 1", changed)
		}
	}
	for i := range all.shards {
		if n := len(all.shards[i]); n > 2*registries/shardCount {
			t.Errorf("shard %d has %d of %d registries", i, n, registries)
		}
	}
	for registry := range int64(registries) {
		if h := all.hook(registry+1, registry+1); h == nil || h.registry != registry+1 {
			t.Fatalf("registry %d lost its webhook", registry+1)
		}
	}
	gone := all.without(77, 77)
	if gone.of(77) != nil || all.of(77) == nil || gone.without(77, 77) != gone {
		t.Error("a registry without webhooks is kept, or was changed in place")
	}
}

func pushHook(registry, id int64) *hook {
	return &hook{id: id, registry: registry, location: "eastus", rule: rule{enabled: true, scope: scope{everything: true}, actions: []event.Action{event.Push}}}
}

// BenchmarkChange is what a change of one webhook costs in memory, among others
// of as many registries.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int64{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all := &rules{}
			for registry := range n {
				all = all.with(pushHook(registry, registry+1))
			}
			h := pushHook(1, 2)
			b.ReportAllocs()
			for b.Loop() {
				all = all.with(h)
			}
		})
	}
}

// The store answers what package delivery asks.
var _ interface {
	InForce() func(*event.Event) []int64
	MatchAt(tx *sqldb.Tx, e *event.Event) ([]int64, error)
	History(tx *sqldb.Tx, registry, endpoint int64) (ring.Rule, error)
	Wants(registry, endpoint int64) ring.Rule
	Terms(registry, endpoint int64) (ring.Terms, bool)
	Request(ring.Call) (outbound.Request, bool)
	Report(tx *sqldb.Tx, r ring.Report) error
	Disable(ctx context.Context, registry, endpoint int64, why string) error
	ElsewhereHost(sealed []byte) string
} = (*Store)(nil)
