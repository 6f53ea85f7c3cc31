package webhook

import (
	"strings"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/ring"
)

// Format is how the requests of a webhook tell of an event.
type Format string

// The formats.
const (
	ACR               Format = "acr"                // the body of ACR's webhooks
	CloudEvents       Format = "cloudevents"        // CloudEvents 1.0, structured mode
	CloudEventsBinary Format = "cloudevents-binary" // CloudEvents 1.0, binary mode
)

func parseFormat(text string) (Format, error) {
	switch f := Format(strings.ToLower(text)); f {
	case ACR, CloudEvents, CloudEventsBinary:
		return f, nil
	}
	return "", fault.New(fault.Invalid, "format %q is none of a webhook: use acr, cloudevents or cloudevents-binary", clip(text))
}

// contentType returns the media type of bodies.
func (f Format) contentType() string {
	if f == CloudEvents {
		return event.StructuredType
	}
	return event.BinaryType
}

// encode returns the body of a request, and the header fields beside it that tell
// of the event.
func (f Format) encode(c ring.Call) (body []byte, attributes []event.Attribute) {
	switch f {
	case CloudEvents:
		return event.CloudEvent(c.Event), nil
	case CloudEventsBinary:
		attributes, body = event.BinaryCloudEvent(c.Event)
		return body, attributes
	}
	return c.ACRBody, nil
}

// publicAttributes are public, and the fields of binary mode.
var publicAttributes = append(public[:len(public):len(public)], "Ce-Specversion", "Ce-Id", "Ce-Source", "Ce-Type", "Ce-Subject", "Ce-Time")

// public returns the header fields whose values are shown in the log.
func (f Format) public() []string {
	if f == CloudEventsBinary {
		return publicAttributes
	}
	return public
}

// Handshake is how the address of a webhook is asked whether it wants to be rung.
type Handshake string

// The handshakes.
const (
	NoHandshake          Handshake = "none"        // it is not asked: its owner answers for it
	CloudEventsHandshake Handshake = "cloudevents" // that of package consent
)

func parseHandshake(text string) (Handshake, error) {
	switch h := Handshake(strings.ToLower(text)); h {
	case NoHandshake, CloudEventsHandshake:
		return h, nil
	}
	return "", fault.New(fault.Invalid, "handshake %q is none of a webhook: use cloudevents or none", clip(text))
}

// handshake returns that of webhooks whose owner has not chosen one.
func (f Format) handshake() Handshake {
	if f == ACR {
		return NoHandshake
	}
	return CloudEventsHandshake
}
