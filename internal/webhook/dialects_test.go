package webhook

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	official "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
)

// Addresses as the services have them.
const (
	githubURI = "https://api.github.example/repos/contoso/deploy/dispatches"
	gitlabURI = "https://gitlab.example/api/v4/projects/9/trigger/pipeline?token=t0ken&ref=main"
	slackURI  = "https://hooks.slack.example/services/T0/B0/s3cret"
)

// TestDialects: each format tells of each action in its own way, signed as it is
// sent, alike in each attempt and after a restart.
func TestDialects(t *testing.T) { onEach(t, testDialects) }

func testDialects(t *testing.T, w *world) {
	extras := event.CloudExtras{TypePrefix: "com.example.container", FlatData: true}
	json := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	tests := []struct {
		name   string
		change func(*Definition)
		body   func(*event.Event) []byte
		header http.Header // without that of every request
	}{
		{"slackhook", func(d *Definition) { d.Format, d.ServiceURI = "Slack", slackURI }, event.SlackMessage, json},
		{"githubhook", func(d *Definition) { d.Format, d.ServiceURI = "github", githubURI }, event.GitHubDispatch, http.Header{
			"Content-Type": json["Content-Type"], "Accept": {"application/vnd.github+json"}, "X-Github-Api-Version": {"2022-11-28"},
		}},
		{"gitlabhook", func(d *Definition) { d.Format, d.ServiceURI = "GITLAB", gitlabURI }, event.GitLabTrigger, json},
		{"cloudhook", func(d *Definition) {
			d.Format, d.Handshake, d.EventTypePrefix, d.FlatData = "cloudevents", "none", extras.TypePrefix, extras.FlatData
		}, extras.Structured, http.Header{"Content-Type": {"application/cloudevents+json; charset=utf-8"}}},
		{"binaryhook", func(d *Definition) {
			d.Format, d.Handshake, d.EventTypePrefix, d.FlatData = "cloudevents-binary", "none", extras.TypePrefix, extras.FlatData
		}, func(e *event.Event) []byte { _, data := extras.Binary(e); return data }, json},
	}
	hooks := map[string]Webhook{}
	for _, test := range tests {
		hooks[test.name] = w.put(contoso, test.name, test.change)
	}
	w.open(w.DB)
	for _, test := range tests {
		hook := hooks[test.name]
		if hook.Handshake != NoHandshake || w.get(test.name).Extras != hook.Extras {
			t.Errorf("%s: %+v", test.name, hook)
		}
		verifier, err := official.NewWebhook(w.config(contoso, test.name).SigningSecret)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range append([]event.Action{event.Ping}, event.Subscribable...) {
			e := happened(action, "web", "v1")
			e.ID, e.Registry, e.At, e.Sample = "5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11", sourceOf(contoso.ID), time.Now().UTC(), true
			fillSample(e)
			at := time.Now()
			r, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: []byte("{}"), At: at})
			if !ok || !bytes.Equal(r.Body, test.body(e)) {
				t.Errorf("%s, %s: %v, body %s", test.name, action, ok, r.Body)
			}
			for name, want := range test.header {
				if got := r.Header[name]; len(got) != 1 || got[0] != want[0] {
					t.Errorf("%s, %s: %s is %q, want %q", test.name, action, name, got, want)
				}
			}
			if r.Header.Get("Dockbell-Test") != "true" || r.Header.Get("WebHook-Request-Origin") != "" || r.SecretPath != (hook.Format == Slack) {
				t.Errorf("%s, %s: %+v", test.name, action, r)
			}
			if cloud := r.Header.Get("ce-type"); hook.Format == CloudEventsBinary && !strings.HasPrefix(cloud, "com.example.container.") || hook.Format != CloudEventsBinary && cloud != "" {
				t.Errorf("%s, %s: the type is %q", test.name, action, cloud)
			}
			if err := verifier.Verify(r.Body, r.Header); err != nil {
				t.Errorf("%s, %s: %v", test.name, action, err)
			}
			again, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: []byte("{}"), At: at.Add(time.Minute)})
			if !bytes.Equal(again.Body, r.Body) {
				t.Errorf("%s, %s: another attempt sends %s", test.name, action, again.Body)
			}
		}
	}

	// A replay to another address speaks as the webhook does.
	sealed, err := w.SealElsewhere("https://other.example.net/s3cret")
	if err != nil {
		t.Fatal(err)
	}
	e := happened(event.Push, "web", "v1")
	for _, test := range tests {
		r, ok := w.Request(ring.Call{Endpoint: hooks[test.name].ID, Event: e, ACRBody: []byte("{}"), At: time.Now(), Elsewhere: sealed})
		if !ok || !bytes.Equal(r.Body, test.body(e)) || r.Header.Get("Accept") != test.header.Get("Accept") || r.URL != "https://other.example.net/s3cret" {
			t.Errorf("%s elsewhere: %v, %+v", test.name, ok, r)
		}
	}
}

// TestFormatSwitches: what is CloudEvents' own goes with the format, and is refused
// for another.
func TestFormatSwitches(t *testing.T) { onEach(t, testFormatSwitches) }

func testFormatSwitches(t *testing.T, w *world) {
	const rule = "webhook deployhook has a prefix of event types or flat data, and the format slack, which has neither: leave them out, or use the format cloudevents or cloudevents-binary"
	w.put(contoso, "deployhook", func(d *Definition) { d.ServiceURI = slackURI })
	prefix, flat := event.CloudExtras{TypePrefix: "com.example"}, event.CloudExtras{TypePrefix: "com.example", FlatData: true}
	for _, test := range []struct {
		change Change
		format Format
		extras event.CloudExtras
	}{
		{Change{Format: new("slack"), EventTypePrefix: new(""), FlatData: new(false)}, Slack, event.CloudExtras{}},
		{Change{Format: new("cloudevents"), Handshake: new("none"), EventTypePrefix: new("com.example")}, CloudEvents, prefix},
		{Change{FlatData: new(true)}, CloudEvents, flat},
		{Change{}, CloudEvents, flat},
		{Change{Format: new("cloudevents-binary")}, CloudEventsBinary, flat},
		{Change{FlatData: new(false)}, CloudEventsBinary, prefix},
		{Change{Format: new("slack")}, Slack, event.CloudExtras{}},
		{Change{Format: new("cloudevents"), Handshake: new("none")}, CloudEvents, event.CloudExtras{}},
		{Change{EventTypePrefix: new("com.example")}, CloudEvents, prefix},
		{Change{EventTypePrefix: new("")}, CloudEvents, event.CloudExtras{}},
		{Change{FlatData: new(true), EventTypePrefix: new("com.example")}, CloudEvents, flat},
		{Change{Format: new("acr")}, ACR, event.CloudExtras{}},
		{Change{Format: new("slack")}, Slack, event.CloudExtras{}},
	} {
		hook := w.patch(contoso, "deployhook", test.change)
		if hook.Format != test.format || hook.Extras != test.extras || w.get("deployhook").Extras != test.extras {
			t.Errorf("%+v: %s with %+v, and %+v on record", test.change, hook.Format, hook.Extras, w.get("deployhook").Extras)
		}
	}
	for _, change := range []Change{{FlatData: new(true)}, {EventTypePrefix: new("com.example")}} {
		_, err := w.Patch(t.Context(), contoso, "deployhook", change, ada)
		fails(t, err, fault.Invalid, "", rule)
	}
	for _, bad := range []string{"com.", "a b", strings.Repeat("a", 129)} {
		_, err := w.Patch(t.Context(), contoso, "deployhook", Change{Format: new("cloudevents"), EventTypePrefix: &bad}, ada)
		fails(t, err, fault.Invalid, "", event.CheckTypePrefix(bad).Error())
	}
	// A definition without them has none.
	w.patch(contoso, "deployhook", Change{Format: new("cloudevents"), Handshake: new("none"), EventTypePrefix: new("com.example"), FlatData: new(true)})
	if hook := w.put(contoso, "deployhook", func(d *Definition) { d.Format, d.Handshake = "cloudevents", "none" }); hook.Extras != (event.CloudExtras{}) {
		t.Errorf("after a replacement: %+v", hook.Extras)
	}
}

// TestAddressesOfServices: an address that the service of the format does not have
// is refused, whichever of the two is given first, and no message has it.
func TestAddressesOfServices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		github = "the format github needs a service URI that ends in /dispatches: give one like https://api.github.com/repos/OWNER/REPOSITORY/dispatches"
		gitlab = "the format gitlab needs a service URI that starts a pipeline, with token and ref in its query: give one like https://gitlab.example.com/api/v4/projects/ID/trigger/pipeline?token=TOKEN&ref=main"
		api    = "https://gitlab.example/api/v4/projects/"
	)
	for _, test := range []struct{ format, uri, want string }{
		{"github", githubURI, ""},
		{"github", "https://github.example/api/v3/repos/contoso/deploy/dispatches/", ""},
		{"github", "https://github.com/contoso/deploy", github},
		{"github", "https://api.github.com/repos/contoso/deploy?x=/dispatches", github},
		{"gitlab", gitlabURI, ""},
		{"gitlab", api + "team%2Fweb/ref/release%2F1/trigger/pipeline?token=t0ken", ""},
		{"gitlab", api + "9/trigger/pipeline?token=t0ken", gitlab},
		{"gitlab", api + "9/trigger/pipeline?ref=main", gitlab},
		{"gitlab", api + "9/trigger/pipeline?token=&ref=main", gitlab},
		{"gitlab", api + "9/pipeline?token=t0ken&ref=main", gitlab},
		{"slack", slackURI, ""},
		{"slack", "https://chat.example/", ""},
	} {
		def := definition()
		def.Format, def.ServiceURI = test.format, test.uri
		_, _, err := w.Put(t.Context(), contoso, "deployhook", def, ada)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s with %s: %v", test.format, test.uri, err)
			}
			continue
		}
		fails(t, err, fault.Invalid, "", test.want)
		w.put(contoso, "otherhook", func(d *Definition) { d.ServiceURI = test.uri })
		_, err = w.Patch(t.Context(), contoso, "otherhook", Change{Format: &test.format}, ada)
		fails(t, err, fault.Invalid, "", test.want)
	}
	_, err := w.Patch(t.Context(), contoso, "deployhook", Change{Format: new("gitlap")}, ada)
	fails(t, err, fault.Invalid, "", `format "gitlap" is none of a webhook: use acr, cloudevents, cloudevents-binary, github, gitlab or slack, did you mean gitlab?`)
	_, err = w.Patch(t.Context(), contoso, "deployhook", Change{Format: new("")}, ada)
	fails(t, err, fault.Invalid, "", `format "" is none of a webhook: use acr, cloudevents, cloudevents-binary, github, gitlab or slack`)
}

// TestHeadersOfServices: the type of a body cannot be replaced by a custom header,
// and what GitHub is told beside it can.
func TestHeadersOfServices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for format, uri := range map[string]string{"github": githubURI, "gitlab": gitlabURI, "slack": slackURI} {
		def := definition()
		def.Format, def.ServiceURI, def.CustomHeaders = format, uri, map[string]string{"CONTENT-type": "text/plain"}
		_, _, err := w.Put(t.Context(), contoso, "deployhook", def, ada)
		fails(t, err, fault.Invalid, "", "webhook deployhook has a custom header Content-Type, which the format "+format+" sets itself: take the header away, or use the format acr")
	}
	hook := w.put(contoso, "deployhook", func(d *Definition) {
		d.Format, d.ServiceURI = "github", githubURI
		d.CustomHeaders = map[string]string{"Authorization": "Bearer t0ken", "x-github-api-version": "2026-03-10"}
	})
	r, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: happened(event.Push, "web", "v1"), At: time.Now()})
	if r.Header.Get("Authorization") != "Bearer t0ken" || r.Header.Get("X-GitHub-Api-Version") != "2026-03-10" || r.Header.Get("Accept") != "application/vnd.github+json" {
		t.Errorf("header %v", r.Header)
	}
}

// TestSecretPathsAreKeptFromTheLog: what is kept of a request, and of a handshake
// that someone asked for all the same, has neither the path of an address for Slack
// nor the token of one for GitLab.
func TestSecretPathsAreKeptFromTheLog(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no "+r.Method+" for "+r.URL.Path, http.StatusNotFound)
	}))
	t.Cleanup(receiver.Close)
	client := outbound.New(outbound.Options{Policy: outbound.Policy{Loopback: true}})
	t.Cleanup(client.Close)
	w := newWorld(t)
	w.answers(func(r outbound.Request) outbound.Result { return client.Post(t.Context(), r) })
	for format, test := range map[string]struct{ uri, kept string }{
		"slack":  {"/services/T0/B0/s3cret?thread=s3cret", "/******?thread=******"},
		"gitlab": {"/api/v4/projects/9/trigger/pipeline?token=s3cret&ref=main", "/api/v4/projects/9/trigger/pipeline?token=******&ref=******"},
	} {
		hook := w.put(contoso, format+"hook", func(d *Definition) { d.Format, d.ServiceURI = format, receiver.URL+test.uri })
		r, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: happened(event.Push, "web", "v1"), At: time.Now()})
		if !ok {
			t.Fatal("gone")
		}
		if res := client.Post(t.Context(), r); res.Answer == nil || res.Sent.URI != receiver.URL+test.kept || r.Head().URI != res.Sent.URI {
			t.Errorf("%s: %+v, and without a client %s", format, res, r.Head().URI)
		}
	}
	hook := w.patch(contoso, "slackhook", Change{Handshake: new("cloudevents")})
	if why := hook.Consent.Last.Why; !strings.Contains(why, "no OPTIONS for /******") || strings.Contains(why, "s3cret") {
		t.Errorf("a refused handshake says %q", why)
	}
}
