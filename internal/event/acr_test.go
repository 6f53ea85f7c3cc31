package event

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The bodies, byte for byte.
func TestACRBody(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 3, 14, 9, 26, 53, 500_000_000, time.FixedZone("", 3600))
	request := Request{ID: "b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33", Host: "contoso.example", Method: "PUT", UserAgent: `docker/27 ("a" <b> & c)`, Addr: "192.0.2.7"}
	elsewhere := Registry{LoginServer: "contoso.example", Location: "eastus", Scheme: "https", Node: Node{Addr: "10.0.0.5:5000", ID: "6c1d"}, Connected: "edge1"} // not for ACR
	target := Target{MediaType: "application/vnd.oci.image.manifest.v1+json", ArtifactType: "application/x", Size: 1574, Digest: "sha256:3b0e", Repository: "team/web", Tag: "2.4.1"}
	untagged := target
	untagged.Tag = ""
	gone, moved, attached := target, target, untagged
	gone.Size, moved.PreviousDigest, attached.SubjectDigest = 0, "sha256:77aa", "sha256:77aa"
	chart := Target{MediaType: "application/vnd.acr.helm.chart", Size: 25265, Digest: "sha256:8f1d", Repository: "repo", Tag: "webshop-1.4.0.tgz", Name: "webshop", Version: "1.4.0"}
	for _, test := range []struct {
		name   string
		action Action
		target Target
		want   string
	}{
		{"push", Push, target, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.500000000Z","action":"push",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1574,"digest":"sha256:3b0e","length":1574,"repository":"team/web","tag":"2.4.1"},` +
			`"request":{"id":"b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33","host":"contoso.example","method":"PUT","useragent":"docker/27 (\"a\" <b> & c)"}}`},
		{"push by digest", Push, untagged, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.500000000Z","action":"push",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1574,"digest":"sha256:3b0e","length":1574,"repository":"team/web"},` +
			`"request":{"id":"b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33","host":"contoso.example","method":"PUT","useragent":"docker/27 (\"a\" <b> & c)"}}`},
		{"delete", Delete, target, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.500000000Z","action":"delete",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:3b0e","repository":"team/web"},` +
			`"request":{"id":"b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33","host":"contoso.example","method":"PUT","useragent":"docker/27 (\"a\" <b> & c)"}}`},
		{"quarantine", Quarantine, target, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.5000000Z","action":"quarantine",` +
			`"target":{"size":1574,"digest":"sha256:3b0e","length":1574,"repository":"team/web","tag":"2.4.1"},` +
			`"request":{"id":"b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33","host":"contoso.example","method":"PUT"}}`},
		{"chart", ChartPush, chart, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.5000000Z","action":"chart_push",` +
			`"target":{"mediaType":"application/vnd.acr.helm.chart","size":25265,"digest":"sha256:8f1d","repository":"repo","tag":"webshop-1.4.0.tgz","name":"webshop","version":"1.4.0"}}`},
		{"chart deleted", ChartDelete, chart, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.5000000Z","action":"chart_delete",` +
			`"target":{"mediaType":"application/vnd.acr.helm.chart","size":25265,"digest":"sha256:8f1d","repository":"repo","tag":"webshop-1.4.0.tgz","name":"webshop","version":"1.4.0"}}`},
		{"untag", Untag, gone, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.5000000Z","action":"untag",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:3b0e","repository":"team/web","tag":"2.4.1"},` +
			`"request":{"id":"b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33","host":"contoso.example","method":"PUT","useragent":"docker/27 (\"a\" <b> & c)"}}`},
		{"tag_moved", TagMoved, moved, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.5000000Z","action":"tag_moved",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1574,"digest":"sha256:3b0e","length":1574,"repository":"team/web","tag":"2.4.1","previousDigest":"sha256:77aa"},` +
			`"request":{"id":"b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33","host":"contoso.example","method":"PUT","useragent":"docker/27 (\"a\" <b> & c)"}}`},
		{"referrer_attached", ReferrerAttached, attached, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.5000000Z","action":"referrer_attached",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1574,"digest":"sha256:3b0e","length":1574,"repository":"team/web","subjectDigest":"sha256:77aa","artifactType":"application/x"},` +
			`"request":{"id":"b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33","host":"contoso.example","method":"PUT","useragent":"docker/27 (\"a\" <b> & c)"}}`},
		{"pull", Pull, target, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.5000000Z","action":"pull",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1574,"digest":"sha256:3b0e","length":1574,"repository":"team/web","tag":"2.4.1"},` +
			`"request":{"id":"b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33","host":"contoso.example","method":"PUT","useragent":"docker/27 (\"a\" <b> & c)"}}`},
		{"ping", Ping, Target{}, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.5000000Z","action":"ping"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &Event{ID: "5f4c", At: at, Action: test.action, Target: test.target, Request: request, Actor: "ada", Registry: elsewhere}
			if got := string(ACRBody(e)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// The bodies about a webhook, byte for byte: every member is there, also where it
// says that there is nothing.
func TestWebhookFailingBody(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 3, 14, 9, 26, 53, 500_000_000, time.UTC)
	for _, test := range []struct {
		name    string
		webhook Webhook
		want    string
	}{
		{"answered", Webhook{Endpoint: 7, Name: "deployhook", Condition: "disabling", Since: at.Add(-60 * time.Hour), LastStatus: 503, Progress: 50},
			`{"id":"5f4c","timestamp":"2025-03-14T09:26:53.5000000Z","action":"webhook_failing","target":{"webhook":"deployhook","condition":"disabling",` +
				`"since":"2025-03-11T21:26:53.5000000Z","lastStatus":503,"lastError":"","progress":50}}`},
		{"not reached", Webhook{Endpoint: 7, Name: "deployhook", Condition: "failing", Since: at.In(time.FixedZone("", 3600)), LastError: `no connection to "hooks.example.net"`},
			`{"id":"5f4c","timestamp":"2025-03-14T09:26:53.5000000Z","action":"webhook_failing","target":{"webhook":"deployhook","condition":"failing",` +
				`"since":"2025-03-14T09:26:53.5000000Z","lastStatus":0,"lastError":"no connection to \"hooks.example.net\"","progress":0}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &Event{ID: "5f4c", At: at, Action: WebhookFailing, Webhook: &test.webhook, Request: Request{Host: "contoso.example"}, Actor: "ada"}
			if got := string(ACRBody(e)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestBodiesAreSmall fills an event with the longest and worst that a stranger
// can send, and whatever a registry takes for a name.
func TestBodiesAreSmall(t *testing.T) {
	t.Parallel()
	for _, worst := range []string{"\x00", "\xff", "\u2028", `"`, "x"} {
		long := strings.Repeat(worst, 1<<20)
		e := &Event{
			ID: "5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11", Actor: long,
			Target: Target{
				MediaType: long, ArtifactType: long, Size: 1 << 62, Digest: "sha512:" + strings.Repeat("a", 128),
				Repository: strings.Repeat("r", 255), Tag: strings.Repeat("t", 128), Name: strings.Repeat("n", 250), Version: strings.Repeat("v", 128),
			},
			Request: Request{ID: "b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33", Host: long, Method: "DELETE", UserAgent: long, Addr: long},
			Webhook: &Webhook{Name: strings.Repeat("n", 50), Condition: "recovered", LastError: long},
		}
		for _, e.Action = range []Action{Push, Delete, Quarantine, ChartPush, ChartDelete, Ping, WebhookFailing} {
			body := ACRBody(e)
			if len(body) > MaxBody || !json.Valid(body) {
				t.Errorf("%s of %q: %d bytes, want at most %d, in JSON", e.Action, worst, len(body), MaxBody)
			}
		}
	}
}
