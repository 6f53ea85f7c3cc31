package event

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
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
		Registry: Registry{ID: 1, Name: "acme", LoginServer: "acme.example", ResourceID: acme, Location: "westus", Scheme: "https", Node: Node{Addr: "10.0.0.5:5000", ID: "6c1d"}},
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

// samples are events, and how they are encoded.
func samples() []sample {
	untagged, nobody, old, edge := cloudSample(Push), cloudSample(Push), cloudSample(Push), cloudSample(ChartPush)
	untagged.Target.Tag = ""
	nobody.Actor, nobody.Registry.Location = "", ""
	old.Registry.Scheme, old.Registry.Node = "", Node{}
	edge.Registry.Connected = "edge1"
	const (
		nine    = `"id":"5f4c","timestamp":"2025-03-04T09:10:11.412345678Z",`
		seven   = `"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456Z",`
		offset  = `"id":"5f4c","timestamp":"2025-03-04T09:10:11.4123456+00:00",`
		image   = `"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api"`
		tagged  = `"target":{` + image + `,"tag":"1.4.2"`
		url     = `,"url":"https://acme.example/v2/team/api/manifests/sha256:9f86"`
		chart   = `"target":{"mediaType":"application/vnd.acr.helm.chart","size":20480,"digest":"sha256:6030","repository":"charts","tag":"web-2.1.0.tgz","name":"web","version":"2.1.0"},"location":"westus"`
		begin   = `"request":{"id":"a2a1","host":"registry.acme.example","method":"PUT","addr":"192.0.2.7"`
		request = begin + `,"useragent":"containers/5.29 (\"a\" <b> & c)"}`
		source  = `,"source":{"addr":"10.0.0.5:5000","instanceID":"6c1d"}`
		actor   = `,"actor":{"name":"Zoë \"the\" 100%"}`
		end     = actor + source + `,"location":"westus"`
	)
	return []sample{
		{"push", cloudSample(Push), acme, "Microsoft.ContainerRegistry.ImagePushed", "team/api:1.4.2", nine + `"action":"push",` + tagged + url + `},` + request + end},
		{"push by digest", untagged, acme, "Microsoft.ContainerRegistry.ImagePushed", "team/api@sha256:9f86", nine + `"action":"push","target":{` + image + url + `},` + request + end},
		{"push by nobody, nowhere", nobody, acme, "Microsoft.ContainerRegistry.ImagePushed", "team/api:1.4.2", nine + `"action":"push",` + tagged + url + `},` + request + source},
		{"push in an old record", old, acme, "Microsoft.ContainerRegistry.ImagePushed", "team/api:1.4.2", nine + `"action":"push",` + tagged + `},` + strings.Replace(request, `,"addr":"192.0.2.7"`, "", 1) + actor + `,"location":"westus"`},
		{"delete", cloudSample(Delete), acme, "Microsoft.ContainerRegistry.ImageDeleted", "team/api",
			nine + `"action":"delete","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:9f86","repository":"team/api"},` + strings.Replace(request, "PUT", "DELETE", 1) + end},
		{"quarantine", cloudSample(Quarantine), acme, "Dockbell.Registry.Quarantined", "team/api:1.4.2",
			seven + `"action":"quarantine","target":{"size":1471,"digest":"sha256:9f86","length":1471,"repository":"team/api","tag":"1.4.2"},` + begin + `}` + end},
		{"chart push", cloudSample(ChartPush), acme, "Microsoft.ContainerRegistry.ChartPushed", "web:2.1.0", offset + `"action":"chart_push",` + chart},
		{"chart push at the edge", edge, acme + "/connectedRegistries/edge1", "Microsoft.ContainerRegistry.ChartPushed", "web:2.1.0", offset + `"action":"chart_push",` + chart + `,"connectedRegistry":{"name":"edge1"}`},
		{"chart delete", cloudSample(ChartDelete), acme, "Microsoft.ContainerRegistry.ChartDeleted", "web:2.1.0", offset + `"action":"chart_delete",` + chart},
		{"untag", cloudSample(Untag), acme, "Dockbell.Registry.TagDeleted", "team/api:1.4.2", seven + `"action":"untag",` + tagged + `},` + request + end},
		{"tag_moved", cloudSample(TagMoved), acme, "Dockbell.Registry.TagMoved", "team/api:1.4.2", seven + `"action":"tag_moved",` + tagged + url + `,"previousDigest":"sha256:77aa"},` + request + end},
		{"referrer_attached", cloudSample(ReferrerAttached), acme, "Dockbell.Registry.ReferrerAttached", "team/api@sha256:9f86",
			seven + `"action":"referrer_attached","target":{` + image + url + `,"subjectDigest":"sha256:77aa","artifactType":"application/x"},` + request + end},
		{"pull", cloudSample(Pull), acme, "Dockbell.Registry.ImagePulled", "team/api:1.4.2", seven + `"action":"pull",` + tagged + url + `},` + request + end},
		{"ping", cloudSample(Ping), acme, "Dockbell.Registry.Ping", "", seven + `"action":"ping","location":"westus"`},
		{"webhook_failing", cloudSample(WebhookFailing), acme, "Dockbell.Registry.WebhookFailing", "deployhook",
			seven + `"action":"webhook_failing","target":{"webhook":"deployhook","condition":"failing","since":"2025-03-04T09:10:11.4123456Z","lastStatus":503,"lastError":"","progress":0},"location":"westus"`},
	}
}

// sample is an event, and what is in its encodings.
type sample struct {
	name                       string
	event                      *Event
	source, eventType, subject string
	data                       string // without its braces
}

// cloud returns the event as a CloudEvent, and as one that is a dead letter with
// more members before its data.
func (s sample) cloud(more string) string {
	subject := `"subject":"` + s.subject + `",`
	if s.subject == "" {
		subject = ""
	}
	return `{"specversion":"1.0","id":"5f4c","source":"` + s.source + `","type":"` + s.eventType + `",` + subject + `"time":"2025-03-04T09:10:11.4123456Z",` +
		more + `"data":{` + s.data + `}}`
}

// grid returns the event in Event Grid's schema, with more members at its end.
func (s sample) grid(more string) string {
	return `{"id":"5f4c","topic":"` + s.source + `","subject":"` + s.subject + `","eventType":"` + s.eventType + `","eventTime":"2025-03-04T09:10:11.4123456Z",` +
		`"data":{` + s.data + `},"dataVersion":"2.0","metadataVersion":"1"` + more + `}`
}

// The events, byte for byte.
func TestCloudEvent(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		if got, want := string(CloudEvent(s.event)), s.cloud(""); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", s.name, got, want)
		}
	}
}

// The batches, byte for byte.
func TestCloudEventBatch(t *testing.T) {
	t.Parallel()
	all := samples()
	for n := range all {
		var events []*Event
		var texts []string
		for _, s := range all[:n] {
			events, texts = append(events, s.event), append(texts, s.cloud(""))
		}
		got := CloudEventBatch(events...)
		if want := "[" + strings.Join(texts, ",") + "]"; string(got) != want {
			t.Errorf("%d events:\ngot  %s\nwant %s", n, got, want)
		}
		if valid := mustBeBatch(t, got); len(valid) != n {
			t.Errorf("%d events are read of %d", len(valid), n)
		}
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

// Messages of brokers, byte for byte: the names of attributes are each broker's own,
// and the values are escaped for NATS alone.
func TestMessages(t *testing.T) {
	t.Parallel()
	e := cloudSample(Push)
	e.Target.Tag = "Zoë 1"
	_, data := BinaryCloudEvent(e)
	for _, test := range []struct {
		name   string
		encode func(*Event) ([]Attribute, []byte)
		want   []Attribute
	}{
		{"Kafka", KafkaCloudEvent, []Attribute{
			{"content-type", "application/json; charset=utf-8"}, {"ce_specversion", "1.0"}, {"ce_id", "5f4c"}, {"ce_source", acme},
			{"ce_type", "Microsoft.ContainerRegistry.ImagePushed"}, {"ce_subject", "team/api:Zoë 1"}, {"ce_time", "2025-03-04T09:10:11.4123456Z"},
		}},
		{"NATS", NATSCloudEvent, []Attribute{
			{"ce-datacontenttype", "application/json"}, {"ce-specversion", "1.0"}, {"ce-id", "5f4c"}, {"ce-source", acme},
			{"ce-type", "Microsoft.ContainerRegistry.ImagePushed"}, {"ce-subject", "team/api:Zo%C3%AB%201"}, {"ce-time", "2025-03-04T09:10:11.4123456Z"},
		}},
	} {
		header, got := test.encode(e)
		if !slices.Equal(header, test.want) {
			t.Errorf("%s: got  %q\nwant %q", test.name, header, test.want)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%s: the body is %s", test.name, got)
		}
		if header, _ := test.encode(cloudSample(Ping)); len(header) != len(test.want)-1 { // it has no subject
			t.Errorf("%s: a ping has %q", test.name, header)
		}
	}
	odd := cloudSample(Push)
	odd.Target.Tag, odd.Registry.ResourceID = "\xff\x00", "\xff"
	header, _ := KafkaCloudEvent(odd)
	for _, a := range header {
		if a.Value != clean(a.Value) {
			t.Errorf("Kafka: %s is %q", a.Field, a.Value)
		}
	}
}

// TestBinaryAttributesRoundTrip: tags and names with whatever in them arrive as
// they were, but for what no CloudEvent has, and nothing in them is a header of its
// own.
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
		{"a\r\nX-Evil: b", "a%EF%BF%BD%EF%BF%BDX-Evil:%20b"},
		{"\x7f\x00\t", "%EF%BF%BD%EF%BF%BD%EF%BF%BD"},
		{"\uffff\U0001fffe", "%EF%BF%BD%EF%BF%BD"},
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
		if err != nil || decoded != "team/api:"+clean(valid) {
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
			e.Actor, e.Target.MediaType, e.Target.ArtifactType, e.Request.Host, e.Request.UserAgent, e.Request.Addr = long, long, long, long, long, long
			if e.Webhook != nil {
				e.Webhook.LastError = long
			}
			attributes, data := BinaryCloudEvent(e)
			whole, grid := CloudEvent(e), EventGrid(e)
			if len(whole) > MaxBody || len(grid) > MaxBody || !json.Valid(grid) || len(data) > MaxBody || !json.Valid(whole) || !json.Valid(data) || len(attributes) > 6 {
				t.Errorf("%s of %q: %d and %d bytes, want at most %d, in JSON", action, worst, len(whole), len(data), MaxBody)
			}
			if estimate := EncodedSize(e); 10*estimate < 9*len(grid) || 10*estimate > 13*len(whole) {
				t.Errorf("%s of %q: %d bytes are estimated, %d and %d taken", action, worst, estimate, len(grid), len(whole))
			}
		}
	}
}
