package event

import (
	"testing"
	"time"
)

// The bodies, byte for byte.
func TestACRBody(t *testing.T) {
	at := time.Date(2025, 3, 14, 9, 26, 53, 500_000_000, time.FixedZone("", 3600))
	request := Request{ID: "b1f1a3f4-0c2a-4b57-8a0f-9a4d6d1f2e33", Host: "contoso.example", Method: "PUT", UserAgent: `docker/27 ("a" <b> & c)`, Addr: "192.0.2.7"}
	target := Target{MediaType: "application/vnd.oci.image.manifest.v1+json", ArtifactType: "application/x", Size: 1574, Digest: "sha256:3b0e", Repository: "team/web", Tag: "2.4.1"}
	untagged := target
	untagged.Tag = ""
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
		{"ping", Ping, Target{}, `{"id":"5f4c","timestamp":"2025-03-14T08:26:53.5000000Z","action":"ping"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &Event{ID: "5f4c", At: at, Action: test.action, Target: test.target, Request: request}
			if got := string(ACRBody(e)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
