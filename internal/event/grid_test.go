package event

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

// Events in Event Grid's schema, alone and together, byte for byte.
func TestEventGrid(t *testing.T) {
	t.Parallel()
	all := samples()
	var events []*Event
	var texts []string
	for _, s := range all {
		if got, want := string(EventGrid(s.event)), "["+s.grid("")+"]"; got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", s.name, got, want)
		}
		events, texts = append(events, s.event), append(texts, s.grid(""))
	}
	if got, want := string(EventGrid(events...)), "["+strings.Join(texts, ",")+"]"; got != want {
		t.Errorf("all:\ngot  %s\nwant %s", got, want)
	}
	if got := string(EventGrid()); got != "[]" {
		t.Errorf("none: got %s", got)
	}
}

// The events about subscriptions, byte for byte.
func TestControlEvents(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 3, 4, 10, 0, 0, 123_456_700, time.FixedZone("", 3600))
	const subscription = acme + "/providers/Microsoft.EventGrid/eventSubscriptions/on-push"
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"validation", SubscriptionValidation("2d17", acme, at, "512D", "https://acme.example/validate?id=512D&t=x"),
			`[{"id":"2d17","topic":"` + acme + `","subject":"","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2025-03-04T09:00:00.1234567Z",` +
				`"data":{"validationCode":"512D","validationUrl":"https://acme.example/validate?id=512D&t=x"},"dataVersion":"1","metadataVersion":"1"}]`},
		{"deleted", SubscriptionDeleted("2d17", acme, at, subscription),
			`[{"id":"2d17","topic":"` + acme + `","subject":"","eventType":"Microsoft.EventGrid.SubscriptionDeletedEvent","eventTime":"2025-03-04T09:00:00.1234567Z",` +
				`"data":{"eventSubscriptionId":"` + subscription + `"},"dataVersion":"1","metadataVersion":"1"}]`},
		{"deleted, as a CloudEvent", SubscriptionDeletedCloudEvent("2d17", acme, at, subscription),
			`{"specversion":"1.0","id":"2d17","source":"` + acme + `","type":"Microsoft.EventGrid.SubscriptionDeletedEvent","time":"2025-03-04T09:00:00.1234567Z",` +
				`"data":{"eventSubscriptionId":"` + subscription + `"}}`},
	} {
		if string(test.got) != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, test.got, test.want)
		}
	}
	mustBeValid(t, SubscriptionDeletedCloudEvent("2d17", acme, at, subscription))
}

// The files of dead letters, byte for byte.
func TestDeadLetterFile(t *testing.T) {
	t.Parallel()
	published, last := time.Date(2025, 3, 4, 9, 10, 11, 800_000_000, time.UTC), time.Date(2025, 3, 5, 10, 0, 0, 0, time.FixedZone("", 3600))
	var letters []DeadLetter
	var grid, cloud []string
	for _, s := range samples() {
		letters = append(letters, DeadLetter{Event: s.event, Reason: "MaxDeliveryAttemptsExceeded", Attempts: 6, LastOutcome: "NotFound", LastStatus: 404, PublishedAt: published, LastAttemptAt: last})
		grid = append(grid, s.grid(`,"deadLetterReason":"MaxDeliveryAttemptsExceeded","deliveryAttempts":6,"lastDeliveryOutcome":"NotFound",`+
			`"publishTime":"2025-03-04T09:10:11.8000000Z","lastDeliveryAttemptTime":"2025-03-05T09:00:00.0000000Z","lastHttpStatusCode":404`))
		cloud = append(cloud, s.cloud(`"deadletterreason":"MaxDeliveryAttemptsExceeded","deliveryattempts":6,"lastdeliveryoutcome":"NotFound",`+
			`"publishtime":"2025-03-04T09:10:11.8000000Z","lastdeliveryattempttime":"2025-03-05T09:00:00.0000000Z","lasthttpstatuscode":404,`))
	}
	never := samples()[0] // given up without an attempt
	letters = append(letters, DeadLetter{Event: never.event, Reason: "TimeToLiveExceeded"})
	grid = append(grid, never.grid(`,"deadLetterReason":"TimeToLiveExceeded","deliveryAttempts":0,"publishTime":"2025-03-04T09:10:11.4123456Z"`))
	cloud = append(cloud, never.cloud(`"deadletterreason":"TimeToLiveExceeded","deliveryattempts":0,"publishtime":"2025-03-04T09:10:11.4123456Z",`))

	if got, want := string(DeadLetterFile(false, letters)), "["+strings.Join(grid, ",")+"]"; got != want {
		t.Errorf("Event Grid's schema:\ngot  %s\nwant %s", got, want)
	}
	file := DeadLetterFile(true, letters)
	if want := "[" + strings.Join(cloud, ",") + "]"; string(file) != want {
		t.Errorf("CloudEvents:\ngot  %s\nwant %s", file, want)
	}
	for _, e := range mustBeBatch(t, file) {
		if e.Extensions()["deadletterreason"] == nil || e.Extensions()["deliveryattempts"] == nil {
			t.Errorf("a dead letter has the extensions %v", e.Extensions())
		}
	}
	if got := string(DeadLetterFile(true, nil)) + string(DeadLetterFile(false, nil)); got != "[][]" {
		t.Errorf("no letters: %s", got)
	}
}

// The lists of types say what can be subscribed to.
func TestTypes(t *testing.T) {
	t.Parallel()
	for _, a := range Subscribable {
		if !slices.Contains(Types, EventGridType(a)) {
			t.Errorf("%s is not among the types", a)
		}
	}
	if len(Types) != len(Subscribable) || !slices.Equal(Types[:4], DefaultTypes) || slices.Contains(Types, EventGridType(Ping)) || EventGridType("x") != "" {
		t.Errorf("types %q, of them by default %q", Types, DefaultTypes)
	}
	for _, name := range DefaultTypes {
		if !strings.HasPrefix(name, "Microsoft.ContainerRegistry.") {
			t.Errorf("%s is in the default set", name)
		}
	}
}

// TestOldRecords: a record without what newer ones have is read, and an event
// without it makes one.
func TestOldRecords(t *testing.T) {
	t.Parallel()
	const old = `{"id":1,"name":"acme","loginServer":"acme.example","resourceId":"/r","location":"westus"}`
	var r Registry
	if err := json.Unmarshal([]byte(old), &r); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(r); err != nil || string(again) != old {
		t.Errorf("got %s, %v, want %s", again, err, old)
	}
	now := Registry{ID: 1, Scheme: "https", Node: Node{Addr: "10.0.0.5:5000", ID: "6c1d"}, Connected: "edge1"}
	record, err := json.Marshal(now)
	if err != nil {
		t.Fatal(err)
	}
	var read Registry
	if err := json.Unmarshal(record, &read); err != nil || read != now {
		t.Errorf("%s is read as %+v, %v", record, read, err)
	}
}

// mustBeValid fails unless CloudEvents' own library finds an event valid.
func mustBeValid(t testing.TB, structured []byte) cloudevents.Event {
	t.Helper()
	var e cloudevents.Event
	if err := json.Unmarshal(structured, &e); err != nil {
		t.Fatalf("%v: %s", err, structured)
	}
	if err := e.Validate(); err != nil {
		t.Fatalf("%v: %s", err, structured)
	}
	return e
}

// mustBeBatch does so for each event of a batch.
func mustBeBatch(t testing.TB, batch []byte) (events []cloudevents.Event) {
	t.Helper()
	var raw []json.RawMessage
	if err := json.Unmarshal(batch, &raw); err != nil {
		t.Fatalf("%v: %s", err, batch)
	}
	for _, one := range raw {
		events = append(events, mustBeValid(t, one))
	}
	return events
}

// hasNull reports whether there is a null anywhere in a JSON value.
func hasNull(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(v, hasNull)
	case map[string]any:
		for _, member := range v {
			if hasNull(member) {
				return true
			}
		}
	}
	return false
}

// FuzzEncodings: whatever strangers sent, no event is an invalid CloudEvent, has a
// null in it, or is larger than it may be, both schemas have the same data, and the
// estimate of its size is near.
func FuzzEncodings(f *testing.F) {
	f.Add("team/api", "1.4.2", "application/json", "docker/27", "ada", "web", int64(5), uint8(0))
	f.Add("\x00\x01", "\xff", "\u2028", "\ufffe\U0010ffff", `"\`, "", int64(-1), uint8(3))
	f.Add("", "", "", "", "", "", int64(0), uint8(6))
	f.Fuzz(func(t *testing.T, repository, tag, mediaType, agent, actor, chart string, size int64, n uint8) {
		e := cloudSample(allActions[int(n)%len(allActions)])
		// A registry takes no blanks in names, nor longer ones.
		e.Target.Repository, e.Target.Tag = "r"+cut(repository, 254), cut(tag, 128)
		e.Target.Name, e.Target.Version = cut(chart, 250), cut(tag, 128)
		e.Target.MediaType, e.Target.ArtifactType, e.Target.Size = mediaType, mediaType, max(size, 0)
		e.Request.UserAgent, e.Request.Host, e.Request.Addr, e.Actor = agent, mediaType, agent, actor
		if e.Webhook != nil {
			e.Webhook.Name, e.Webhook.LastError = "w"+cut(chart, 49), agent
		}
		check(t, e)
	})
}

// check fails unless the encodings of an event agree and can be sent.
func check(t *testing.T, e *Event) {
	t.Helper()
	grid, cloud := EventGrid(e), CloudEvent(e)
	valid := mustBeValid(t, cloud)
	if valid.Subject() != Subject(e) {
		t.Errorf("the subject is %q, sent is %q", Subject(e), valid.Subject())
	}
	var inGrid []map[string]any
	var inCloud map[string]any
	if err := json.Unmarshal(grid, &inGrid); err != nil || len(inGrid) != 1 {
		t.Fatalf("%v: %s", err, grid)
	}
	if err := json.Unmarshal(cloud, &inCloud); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(inGrid[0]["data"], inCloud["data"]) || inGrid[0]["subject"] != Subject(e) {
		t.Errorf("the schemas differ: %s and %s", grid, cloud)
	}
	if hasNull(inCloud) || hasNull(inGrid[0]) {
		t.Errorf("there is a null in %s or %s", grid, cloud)
	}
	estimate := EncodedSize(e)
	for _, size := range []int{len(grid) - 1, len(cloud) + 1} { // with a comma
		if size > MaxBody || 10*estimate < 9*size || 10*estimate > 13*size {
			t.Errorf("%d bytes are estimated, %d taken", estimate, size)
		}
	}
	mustAgree(t, e, inGrid[0])
	mustAgree(t, e, inCloud)
}

// mustAgree fails unless the members of an event are what its JSON has, all of them.
func mustAgree(t *testing.T, e *Event, read map[string]any) {
	t.Helper()
	content := ContentOf(e)
	seen := map[Key]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		k := ParseKey(path)
		seen[k] = true
		got := content.Member(k)
		if n, ok := got.(int64); ok {
			got = float64(n)
		}
		if members, ok := v.(map[string]any); ok {
			for name, member := range members {
				walk(path+"."+name, member)
			}
			v = Object{}
		}
		if s, ok := got.(string); ok {
			got = toJSON(s)
		}
		if k == 0 || got != v {
			t.Errorf("%s of %s is %#v in JSON, and as a member %#v", path, e.Action, v, got)
		}
	}
	for name, v := range read {
		if name != "subject" || v != "" {
			walk(name, v)
		}
	}
	for k := Key(1); k < Key(Keys); k++ {
		if strings.HasPrefix(members[k].paths, "data") && members[k].paths != "dataversion" && !seen[k] && content.Member(k) != nil {
			t.Errorf("%s of %s is in no JSON, and as a member %#v", members[k].paths, e.Action, content.Member(k))
		}
	}
}

// TestMembers: members are what JSON has, of every action.
func TestMembers(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		check(t, s.event)
	}
	for path, want := range map[string]any{
		"Subject": "team/api:1.4.2", "EVENTTYPE": "Microsoft.ContainerRegistry.ImagePushed", "type": "Microsoft.ContainerRegistry.ImagePushed", "Topic": acme, "source": acme,
		"data.Target.Size": int64(1471), "data.target": Object{}, "data.target.name": nil, "data.connectedregistry": nil, "": nil, "data.": nil, "x": nil, "data.target.tag.x": nil,
	} {
		if got := ContentOf(cloudSample(Push)).Member(ParseKey(path)); got != want {
			t.Errorf("%s is %#v, want %#v", path, got, want)
		}
	}
	if got := ContentOf(cloudSample(Push)).Member(255); got != nil {
		t.Errorf("no key's is %#v", got)
	}
}

// TestWithoutRecord: what was read without its record has no members that are there
// alone, whatever happened.
func TestWithoutRecord(t *testing.T) {
	t.Parallel()
	for _, action := range append(allActions, "") {
		content := ContentOf(&Event{ID: "5f4c", Action: action})
		for k := range Key(Keys) {
			content.Member(k)
		}
		if got := content.Member(ParseKey("data.target.mediaType")); got != nil {
			t.Errorf("%s: the media type is %#v", action, got)
		}
	}
}

// toJSON returns a text as it is once written to JSON and read again.
func toJSON(s string) (again string) {
	if json.Unmarshal(compact(s), &again) != nil {
		panic("a text is JSON")
	}
	return again
}
