package event

import "strings"

// The types of events. Those of Azure's registries are Event Grid's; what Event Grid
// has no type for has one of ours.
var eventTypes = map[Action]string{
	Push:             "Microsoft.ContainerRegistry.ImagePushed",
	Delete:           "Microsoft.ContainerRegistry.ImageDeleted",
	ChartPush:        "Microsoft.ContainerRegistry.ChartPushed",
	ChartDelete:      "Microsoft.ContainerRegistry.ChartDeleted",
	Quarantine:       "Dockbell.Registry.Quarantined",
	Ping:             "Dockbell.Registry.Ping",
	Untag:            "Dockbell.Registry.TagDeleted",
	TagMoved:         "Dockbell.Registry.TagMoved",
	ReferrerAttached: "Dockbell.Registry.ReferrerAttached",
	Pull:             "Dockbell.Registry.ImagePulled",
	WebhookFailing:   "Dockbell.Registry.WebhookFailing",
}

// DefaultTypes are the four types that Event Grid has for a registry, which an
// event subscription hears of that names none.
var DefaultTypes = []string{
	eventTypes[Push], eventTypes[Delete], eventTypes[ChartPush], eventTypes[ChartDelete],
}

// Types are all that an event subscription can name: DefaultTypes, then ours.
var Types = append(DefaultTypes[:len(DefaultTypes):len(DefaultTypes)],
	eventTypes[Quarantine], eventTypes[Untag], eventTypes[TagMoved], eventTypes[ReferrerAttached], eventTypes[Pull], eventTypes[WebhookFailing],
)

// EventGridType returns the type of an action's events, in Event Grid's schema and
// as CloudEvents, and "" for what is no action.
func EventGridType(a Action) string { return eventTypes[a] }

// The wire forms of an event's data, members in the order of Event Grid's samples.
type (
	eventData struct {
		ID        string      `json:"id"`
		Timestamp string      `json:"timestamp"`
		Action    Action      `json:"action"`
		Target    any         `json:"target,omitempty"` // as acrBody has it
		Request   *acrRequest `json:"request,omitempty"`
		Actor     *named      `json:"actor,omitempty"`
		Source    *dataSource `json:"source,omitempty"`
		Location  string      `json:"location,omitempty"`
		Connected *named      `json:"connectedRegistry,omitempty"`
	}
	named struct {
		Name string `json:"name"`
	}
	dataSource struct {
		Addr       string `json:"addr,omitempty"`
		InstanceID string `json:"instanceID,omitempty"`
	}
)

// In Event Grid's events, charts have their moment with an offset.
const sevenDigitsOffset = "2006-01-02T15:04:05.0000000-07:00"

// newEventData returns ACR's body of e with Event Grid's additions. Those that are
// about a request are not in the events of charts.
func newEventData(e *Event) eventData {
	data := eventData{ID: e.ID, Timestamp: timestamp(e), Action: e.Action, Location: e.Registry.Location}
	data.Target, data.Request = about(e)
	if e.Action == ChartPush || e.Action == ChartDelete {
		data.Timestamp = e.At.UTC().Format(sevenDigitsOffset)
	}
	if name := e.Registry.Connected; name != "" {
		data.Connected = &named{name}
	}
	switch t := data.Target.(type) {
	case *acrTarget:
		if e.Action == Push || e.Action == Pull {
			t.URL = contentURL(e)
		}
	case *beyondTarget:
		t.URL = contentURL(e)
	}
	if data.Request == nil {
		return data
	}
	if e.Registry.Scheme != "" { // an old record is encoded as it was
		data.Request.Addr = cut(e.Request.Addr, maxAddr)
	}
	if e.Actor != "" {
		data.Actor = &named{cut(e.Actor, maxText)}
	}
	if node := e.Registry.Node; node != (Node{}) {
		data.Source = &dataSource{Addr: node.Addr, InstanceID: node.ID}
	}
	return data
}

// contentURL returns where the manifest is read that e tells of, "" where the record
// does not say how clients reach the registry.
func contentURL(e *Event) string {
	r, t := e.Registry, e.Target
	if r.Scheme == "" || r.LoginServer == "" || t.Repository == "" || t.Digest == "" {
		return ""
	}
	return r.Scheme + "://" + r.LoginServer + "/v2/" + t.Repository + "/manifests/" + t.Digest
}

// Source returns where e comes from: the ARM id of the registry, or of the connected
// registry.
func Source(e *Event) string {
	if name := e.Registry.Connected; name != "" {
		return e.Registry.ResourceID + "/connectedRegistries/" + name
	}
	return e.Registry.ResourceID
}

// Subject returns what e is about, as Event Grid writes it: a delete has the
// repository alone, a chart its name and version. A push without a tag has the
// digest, a ping nothing.
func Subject(e *Event) string {
	switch t := e.Target; {
	case e.Action == Ping, e.Action == WebhookFailing && e.Webhook == nil: // as about has it
		return ""
	case e.Action == WebhookFailing:
		return clean(e.Webhook.Name)
	case e.Action == Delete:
		return clean(t.Repository)
	case e.Action == ChartPush, e.Action == ChartDelete:
		return clean(t.Name + ":" + t.Version)
	case t.Tag == "":
		return clean(t.Repository + "@" + t.Digest)
	default:
		return clean(t.Repository + ":" + t.Tag)
	}
}

// clean returns s with U+FFFD for what a string of a CloudEvent must not have
// (section 2.2 of the specification): what is no UTF-8, control characters, and
// code points that are no characters.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef {
			return '\uFFFD'
		}
		return r
	}, s)
}
