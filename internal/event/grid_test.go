package event

import (
	"slices"
	"strings"
	"testing"
	"time"
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

// The question to a receiver, byte for byte.
func TestSubscriptionValidation(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 3, 4, 10, 0, 0, 123_456_700, time.FixedZone("", 3600))
	const want = `[{"id":"2d17","topic":"` + acme + `","subject":"","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2025-03-04T09:00:00.1234567Z",` +
		`"data":{"validationCode":"512D","validationUrl":"https://acme.example/validate?id=512D&t=x"},"dataVersion":"1","metadataVersion":"1"}]`
	if got := SubscriptionValidation("2d17", acme, at, "512D", "https://acme.example/validate?id=512D&t=x"); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
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
