package event

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	sdk "github.com/cloudevents/sdk-go/v2/protocol/http"
)

const acme = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/build/providers/Microsoft.ContainerRegistry/registries/acme"

// cloudSample returns an event of an action, with all that a record may hold.
func cloudSample(action Action) *Event {
	e := &Event{
		ID: "5f4c", At: time.Date(2025, 3, 4, 10, 10, 11, 412_345_678, time.FixedZone("", 3600)), Action: action,
		Registry: Registry{ID: 1, Name: "acme", LoginServer: "acme.example", ResourceID: acme, Location: "westus"},
		Target: Target{
			MediaType: "application/vnd.oci.image.manifest.v1+json", ArtifactType: "application/x", Size: 1471, Digest: "sha256:9f86", Repository: "team/api", Tag: "1.4.2",
		},
		Request: Request{ID: "a2a1", Host: "registry.acme.example", Method: "PUT", UserAgent: `containers/5.29 ("a" <b> & c)`, Addr: "192.0.2.7"},
		Actor:   `Zoë "the" 100%`,
	}
	switch action {
	case Delete:
		e.Request.Method = "DELETE"
	case ChartPush, ChartDelete:
		e.Target = Target{MediaType: "application/vnd.acr.helm.chart", Size: 20480, Digest: "sha256:6030", Repository: "charts", Tag: "web-2.1.0.tgz", Name: "web", Version: "2.1.0"}
	case TagMoved:
		e.Target.PreviousDigest = "sha256:77aa"
	case ReferrerAttached:
		e.Target.Tag, e.Target.SubjectDigest = "", "sha256:77aa"
	case Ping:
		e.Target, e.Request = Target{}, Request{}
	case WebhookFailing:
		e.Target, e.Request = Target{}, Request{}
		e.Webhook = &Webhook{Endpoint: 7, Name: "deployhook", Condition: "failing", Since: e.At, LastStatus: 503}
	}
	return e
}

var allActions = append([]Action{Ping}, Subscribable...)

// The events, byte for byte.
func TestCloudEvent(t *testing.T) {
	t.Parallel()
	untagged := cloudSample(Push)
	untagged.Target.Tag = ""
	nobody := cloudSample(Push)
	nobody.Actor, nobody.Registry.Location = "", ""
	const (
		begin = `{"specversion":"1.0","id":"5f4c","source":"` + acme + `",`
		put   = `"request":{"id":"a2a1","host":"registry.acme.example","method":"PUT","useragent":"containers/5.29 (\"a\" <b> & c)"}`
		actor = `,"actor":{"name":"Zoë \"the\" 100%"},"location":"westus"}}`
	)
	for _, test := range []struct {
		name  string
		event *Event
		want  string
	}{
		{"push", cloudSample(Push), begin + `"type":"Microsoft.ContainerRegistry.ImagePushed","subject":"team/api:1.4.2","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.412345678Z","action":"push",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api","tag":"1.4.2"},` + put + actor},
		{"push by digest", untagged, begin + `"type":"Microsoft.ContainerRegistry.ImagePushed","subject":"team/api@sha256:9f86","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.412345678Z","action":"push",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api"},` + put + actor},
		{"push by nobody, nowhere", nobody, begin + `"type":"Microsoft.ContainerRegistry.ImagePushed","subject":"team/api:1.4.2","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.412345678Z","action":"push",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api","tag":"1.4.2"},` + put + `}}`},
		{"delete", cloudSample(Delete), begin + `"type":"Microsoft.ContainerRegistry.ImageDeleted","subject":"team/api","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.412345678Z","action":"delete",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:9f86","repository":"team/api"},` + strings.Replace(put, "PUT", "DELETE", 1) + actor},
		{"quarantine", cloudSample(Quarantine), begin + `"type":"Dockbell.Registry.Quarantined","subject":"team/api:1.4.2","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456Z","action":"quarantine",` +
			`"target":{"size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api","tag":"1.4.2"},` +
			`"request":{"id":"a2a1","host":"registry.acme.example","method":"PUT"}` + actor},
		{"chart push", cloudSample(ChartPush), begin + `"type":"Microsoft.ContainerRegistry.ChartPushed","subject":"web:2.1.0","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456+00:00","action":"chart_push",` +
			`"target":{"mediaType":"application/vnd.acr.helm.chart","size":20480,"digest":"sha256:6030","repository":"charts","tag":"web-2.1.0.tgz","name":"web","version":"2.1.0"},"location":"westus"}}`},
		{"chart delete", cloudSample(ChartDelete), begin + `"type":"Microsoft.ContainerRegistry.ChartDeleted","subject":"web:2.1.0","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456+00:00","action":"chart_delete",` +
			`"target":{"mediaType":"application/vnd.acr.helm.chart","size":20480,"digest":"sha256:6030","repository":"charts","tag":"web-2.1.0.tgz","name":"web","version":"2.1.0"},"location":"westus"}}`},
		{"untag", cloudSample(Untag), begin + `"type":"Dockbell.Registry.TagDeleted","subject":"team/api:1.4.2","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456Z","action":"untag",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api","tag":"1.4.2"},` + put + actor},
		{"tag_moved", cloudSample(TagMoved), begin + `"type":"Dockbell.Registry.TagMoved","subject":"team/api:1.4.2","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456Z","action":"tag_moved",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api","tag":"1.4.2","previousDigest":"sha256:77aa"},` + put + actor},
		{"referrer_attached", cloudSample(ReferrerAttached), begin + `"type":"Dockbell.Registry.ReferrerAttached","subject":"team/api@sha256:9f86","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456Z","action":"referrer_attached",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api","subjectDigest":"sha256:77aa","artifactType":"application/x"},` + put + actor},
		{"pull", cloudSample(Pull), begin + `"type":"Dockbell.Registry.ImagePulled","subject":"team/api:1.4.2","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456Z","action":"pull",` +
			`"target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api","tag":"1.4.2"},` + put + actor},
		{"ping", cloudSample(Ping), begin + `"type":"Dockbell.Registry.Ping","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456Z","action":"ping","location":"westus"}}`},
		{"webhook_failing", cloudSample(WebhookFailing), begin + `"type":"Dockbell.Registry.WebhookFailing","subject":"deployhook","time":"2025-03-04T09:10:11.4123456Z",` +
			`"data":{"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456Z","action":"webhook_failing",` +
			`"target":{"webhook":"deployhook","condition":"failing","since":"2025-03-04T09:10:11.4123456Z","lastStatus":503,"lastError":"","progress":0},"location":"westus"}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := string(CloudEvent(test.event)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// asHeader returns attributes as a request has them.
func asHeader(attributes []Attribute) http.Header {
	h := http.Header{"Content-Type": {BinaryType}}
	for _, a := range attributes {
		h[a.Field] = []string{a.Value}
	}
	return h
}

// TestSDKTakesCloudEvents: the receivers of CloudEvents' own library take both
// modes, find them valid, and find the same in them.
func TestSDKTakesCloudEvents(t *testing.T) {
	t.Parallel()
	for _, action := range allActions {
		e := cloudSample(action)
		attributes, data := BinaryCloudEvent(e)
		var read []*cloudevents.Event
		for _, m := range []struct {
			header http.Header
			body   []byte
		}{
			{http.Header{"Content-Type": {StructuredType}}, CloudEvent(e)},
			{asHeader(attributes), data},
		} {
			req, err := http.NewRequest("POST", "http://127.0.0.1/", bytes.NewReader(m.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = m.header
			got, err := sdk.NewEventFromHTTPRequest(req)
			if err != nil {
				t.Fatalf("%s %v: %v", action, m.header, err)
			}
			if err := got.Validate(); err != nil {
				t.Errorf("%s %v: %v", action, m.header, err)
			}
			if got.ID() != e.ID || got.Source() != acme || got.Type() != EventGridType(action) || got.Subject() != Subject(e) || got.Time().Sub(e.At).Abs() >= time.Microsecond {
				t.Errorf("%s %v: read as %s", action, m.header, got)
			}
			read = append(read, got)
		}
		if !bytes.Equal(read[0].Data(), read[1].Data()) || !json.Valid(read[0].Data()) {
			t.Errorf("%s: structured data %s, binary %s", action, read[0].Data(), read[1].Data())
		}
	}
}

// TestBinaryAttributesRoundTrip: tags and names with whatever in them arrive as
// they were, and nothing in them is a header of its own.
func TestBinaryAttributesRoundTrip(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ tag, encoded string }{
		{"v1", "v1"},
		{"a b", "a%20b"},
		{`a"b"`, "a%22b%22"},
		{"100%", "100%25"},
		{"%20", "%2520"},
		{"Zoë", "Zo%C3%AB"},
		{"日本€😀", "%E6%97%A5%E6%9C%AC%E2%82%AC%F0%9F%98%80"},
		{"a\r\nX-Evil: b", "a%0D%0AX-Evil:%20b"},
		{"\x7f\x00\t", "%7F%00%09"},
		{"!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"},
		{"\xff", "%EF%BF%BD"},
	} {
		e := cloudSample(Push)
		e.Target.Tag, e.Actor = test.tag, test.tag
		attributes, data := BinaryCloudEvent(e)
		header := asHeader(attributes)
		if got, want := header.Get("ce-subject"), "team/api:"+test.encoded; got != want {
			t.Errorf("%q is sent as %s, want %s", test.tag, got, want)
		}
		decoded, err := url.PathUnescape(header.Get("ce-subject"))
		valid := strings.ToValidUTF8(test.tag, "\uFFFD")
		if err != nil || decoded != "team/api:"+valid {
			t.Errorf("%q arrives as %q, %v", test.tag, decoded, err)
		}
		var body struct {
			Target struct{ Tag string }
			Actor  struct{ Name string }
		}
		if err := json.Unmarshal(data, &body); err != nil || body.Target.Tag != valid || body.Actor.Name != valid {
			t.Errorf("%q arrives in the body as %+v, %v", test.tag, body, err)
		}
	}
}

// FuzzPercentEncode: any text arrives as it was, in printable ASCII.
func FuzzPercentEncode(f *testing.F) {
	for _, s := range []string{"", "v1", `a "b" %`, "é\r\n", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded := percentEncode(s)
		for _, c := range []byte(encoded) {
			if c <= ' ' || c >= 0x7f || c == '"' {
				t.Fatalf("%q is sent as %q", s, encoded)
			}
		}
		decoded, err := url.PathUnescape(encoded)
		if err != nil || !utf8.ValidString(decoded) || decoded != strings.ToValidUTF8(s, "\uFFFD") {
			t.Fatalf("%q arrives as %q, %v", s, decoded, err)
		}
	})
}

// TestCloudEventsAreSmall does for CloudEvents what TestBodiesAreSmall does for
// ACR's bodies.
func TestCloudEventsAreSmall(t *testing.T) {
	t.Parallel()
	for _, worst := range []string{"\x00", "\xff", "\u2028", `"`, "x"} {
		long := strings.Repeat(worst, 1<<20)
		for _, action := range allActions {
			e := cloudSample(action)
			e.Actor, e.Target.MediaType, e.Request.Host, e.Request.UserAgent = long, long, long, long
			if e.Webhook != nil {
				e.Webhook.LastError = long
			}
			attributes, data := BinaryCloudEvent(e)
			whole := CloudEvent(e)
			if len(whole) > MaxBody || len(data) > MaxBody || !json.Valid(whole) || !json.Valid(data) || len(attributes) > 6 {
				t.Errorf("%s of %q: %d and %d bytes, want at most %d, in JSON", action, worst, len(whole), len(data), MaxBody)
			}
		}
	}
}
