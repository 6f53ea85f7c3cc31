package event

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

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
