package event

import "strings"

// The media types of CloudEvents: of a whole event, of several, and of the data of
// one whose attributes are in the header.
const (
	StructuredType = "application/cloudevents+json; charset=utf-8"
	BatchType      = "application/cloudevents-batch+json; charset=utf-8"
	BinaryType     = "application/json; charset=utf-8"
)

// The wire forms of a CloudEvent, members in the order of Event Grid's samples.
type (
	cloudEvent struct {
		cloudAttributes
		Data eventData `json:"data"`
	}
	cloudAttributes struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		Source      string `json:"source"`
		Type        string `json:"type"`
		Subject     string `json:"subject,omitempty"`
		Time        string `json:"time"`
	}
)

func newCloudEvent(e *Event) cloudEvent {
	return cloudEvent{cloudAttributes{
		SpecVersion: "1.0", ID: e.ID, Source: Source(e), Type: EventGridType(e.Action), Subject: Subject(e), Time: e.At.UTC().Format(sevenDigits),
	}, newEventData(e)}
}

// CloudEvent returns e as a CloudEvent 1.0 in structured mode: one compact JSON
// object, of StructuredType. Its data are ACR's body with Event Grid's additions,
// and it has less than MaxBody bytes whatever strangers sent.
func CloudEvent(e *Event) []byte { return compact(newCloudEvent(e)) }

// CloudEventBatch returns events as a batch of CloudEvents 1.0: one compact JSON
// array, of BatchType.
func CloudEventBatch(events ...*Event) []byte {
	all := make([]cloudEvent, len(events))
	for i, e := range events {
		all[i] = newCloudEvent(e)
	}
	return compact(all)
}

// Attribute is an attribute of a CloudEvent, or the type of its data, as a header
// field has it.
type Attribute struct {
	Field string // its name as it is sent
	Value string
}

// The names of the header field that has the media type of a message: of
// StructuredType where the whole event is in the body.
const (
	KafkaContentType = "content-type"
	NATSContentType  = "Content-Type"
)

// The names of attributes as header fields. Those of HTTP are as package net/http
// writes them.
var (
	httpFields  = [...]string{"Ce-Specversion", "Ce-Id", "Ce-Source", "Ce-Type", "Ce-Subject", "Ce-Time"}
	kafkaFields = [...]string{"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time"}
	natsFields  = [...]string{"ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time"}
)

// fields appends the attributes that a has to header, under the names of a binding.
func (a *cloudAttributes) fields(header []Attribute, names *[6]string, encode func(string) string) []Attribute {
	for i, value := range [...]string{a.SpecVersion, a.ID, a.Source, a.Type, a.Subject, a.Time} {
		if value != "" {
			header = append(header, Attribute{names[i], encode(value)})
		}
	}
	return header
}

// BinaryCloudEvent returns e as a CloudEvent 1.0 in binary mode over HTTP: the
// attributes, percent-encoded and in an order that does not change, for the header,
// and the data, of BinaryType, for the body.
func BinaryCloudEvent(e *Event) (attributes []Attribute, data []byte) {
	c := newCloudEvent(e)
	return c.fields(nil, &httpFields, percentEncode), compact(c.Data)
}

// KafkaCloudEvent returns e as a record of Kafka in binary mode: the header, with
// values as they are and the media type of the value, and the value.
func KafkaCloudEvent(e *Event) (header []Attribute, value []byte) {
	c := newCloudEvent(e)
	asIs := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	return c.fields([]Attribute{{KafkaContentType, BinaryType}}, &kafkaFields, asIs), compact(c.Data)
}

// NATSCloudEvent returns e as a message of NATS in binary mode: the header, with
// values percent-encoded as over HTTP, and the payload. The media type of that is an
// attribute like others there, so it has no parameter, which a blank would set off.
func NATSCloudEvent(e *Event) (header []Attribute, payload []byte) {
	c := newCloudEvent(e)
	return c.fields([]Attribute{{"ce-datacontenttype", "application/json"}}, &natsFields, percentEncode), compact(c.Data)
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
