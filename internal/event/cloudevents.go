package event

import (
	"encoding/json"
	"strings"
)

// The media types of the two modes of CloudEvents over HTTP: of a whole event,
// and of the data of one whose attributes are in the header.
const (
	StructuredType = "application/cloudevents+json; charset=utf-8"
	BinaryType     = "application/json; charset=utf-8"
)

// The types of CloudEvents. Those of Azure's registries are Event Grid's; what
// Event Grid has no type for has one of ours.
var cloudEventTypes = map[Action]string{
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

// The wire forms of a CloudEvent, members in the order of Event Grid's samples.
type (
	cloudEvent struct {
		SpecVersion string          `json:"specversion"`
		ID          string          `json:"id"`
		Source      string          `json:"source"`
		Type        string          `json:"type"`
		Subject     string          `json:"subject,omitempty"`
		Time        string          `json:"time"`
		Data        json.RawMessage `json:"data"`
	}
	cloudData struct {
		ID        string      `json:"id"`
		Timestamp string      `json:"timestamp"`
		Action    Action      `json:"action"`
		Target    any         `json:"target,omitempty"` // as acrBody has it
		Request   *acrRequest `json:"request,omitempty"`
		Actor     *cloudActor `json:"actor,omitempty"`
		Location  string      `json:"location,omitempty"`
	}
	cloudActor struct {
		Name string `json:"name"`
	}
)

// In Event Grid's events, charts have their moment with an offset.
const sevenDigitsOffset = "2006-01-02T15:04:05.0000000-07:00"

func newCloudEvent(e *Event) cloudEvent {
	data := cloudData{ID: e.ID, Timestamp: timestamp(e), Action: e.Action, Location: e.Registry.Location}
	data.Target, data.Request = about(e)
	switch {
	case e.Action == ChartPush, e.Action == ChartDelete:
		data.Timestamp = e.At.UTC().Format(sevenDigitsOffset)
	case data.Request != nil && e.Actor != "":
		data.Actor = &cloudActor{cut(e.Actor, maxText)}
	}
	return cloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: e.Registry.ResourceID, Type: cloudEventTypes[e.Action],
		Subject: cloudSubject(e), Time: e.At.UTC().Format(sevenDigits), Data: compact(data),
	}
}

// cloudSubject returns what an event is about, as Event Grid writes it: a delete
// has the repository alone, a chart its name and version. A push without a tag
// has the digest.
func cloudSubject(e *Event) string {
	switch t := e.Target; {
	case e.Action == Ping:
		return ""
	case e.Action == WebhookFailing:
		return e.Webhook.Name
	case e.Action == Delete:
		return t.Repository
	case e.Action == ChartPush, e.Action == ChartDelete:
		return t.Name + ":" + t.Version
	case t.Tag == "":
		return t.Repository + "@" + t.Digest
	default:
		return t.Repository + ":" + t.Tag
	}
}

// CloudEvent returns e as a CloudEvent 1.0 in structured mode: one compact JSON
// object, of StructuredType. Its data are ACR's body with Event Grid's additions,
// and it has less than MaxBody bytes whatever strangers sent.
func CloudEvent(e *Event) []byte { return compact(newCloudEvent(e)) }

// Attribute is an attribute of a CloudEvent as a header field has it.
type Attribute struct {
	Field string // its name, as package net/http writes it: Ce-Id
	Value string // percent-encoded
}

// BinaryCloudEvent returns e as a CloudEvent 1.0 in binary mode: the attributes,
// in an order that does not change, for the header, and the data, of BinaryType,
// for the body.
func BinaryCloudEvent(e *Event) (attributes []Attribute, data []byte) {
	c := newCloudEvent(e)
	for _, a := range [...]Attribute{
		{"Ce-Specversion", c.SpecVersion}, {"Ce-Id", c.ID}, {"Ce-Source", c.Source}, {"Ce-Type", c.Type}, {"Ce-Subject", c.Subject}, {"Ce-Time", c.Time},
	} {
		if a.Value != "" {
			attributes = append(attributes, Attribute{a.Field, percentEncode(a.Value)})
		}
	}
	return attributes, c.Data
}

// percentEncode writes an attribute's value as a header field has it (CloudEvents
// HTTP binding, section 3.1.3.2): blanks, quotes, percent signs and whatever is not
// printable ASCII as %XX, byte by byte of its UTF-8. What is no UTF-8 becomes
// U+FFFD.
func percentEncode(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(strings.ToValidUTF8(s, "\uFFFD")) {
		if c > ' ' && c < 0x7f && c != '"' && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}
