package subscription

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/consent"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sink"
)

// The header fields of Event Grid, as package net/http writes them.
const (
	typeField            = "Aeg-Event-Type"
	subscriptionField    = "Aeg-Subscription-Name"
	countField           = "Aeg-Delivery-Count"
	metadataVersionField = "Aeg-Metadata-Version"
	dataVersionField     = "Aeg-Data-Version"
	eventIDField         = "Aeg-Output-Event-Id"

	replayField = "Dockbell-Replay" // the number of the replay that the request belongs to
)

// What aeg-event-type says.
const (
	notification = "Notification"
	validation   = "SubscriptionValidation"
)

// public are the header fields whose values are shown in the log, beside attributes
// that are not secret.
var public = []string{
	"Content-Type", "Content-Length", "User-Agent", typeField, subscriptionField, countField, metadataVersionField, dataVersionField, eventIDField, replayField,
	consent.OriginField, "Origin",
}

// hook is a subscription made ready for use: all that does not change from one
// request to the next. It is never changed.
type hook struct {
	record
	rule   rule
	terms  ring.Terms
	header http.Header // without what changes
	public []string
	server sink.Server // of a broker
}

func (s *Store) newHook(r record) (*hook, error) {
	wants, err := newRule(r.Filter, r.ExpiresAt)
	if err != nil {
		return nil, fmt.Errorf("event subscription %d: %w", r.ID, err)
	}
	h := &hook{record: r, rule: wants, terms: ring.Terms{Policy: r.policy(), Held: r.State != Succeeded}, header: http.Header{}, public: public}
	for _, a := range r.whole.Attributes {
		if a.SourceField == "" {
			h.header[http.CanonicalHeaderKey(a.Name)] = []string{a.Value}
		}
		if !a.Secret {
			h.public = append(h.public[:len(h.public):len(h.public)], http.CanonicalHeaderKey(a.Name))
		}
	}
	if b := r.whole.Broker; b != nil {
		h.server = b.server(r.whole.Type)
		h.terms.Answers = ring.OfBrokers
		h.terms.Host = string(h.server.Kind) + "://" + h.server.Addresses[0]
		return h, nil
	}
	h.terms.Answers = ring.OfEventGrid
	h.terms.Host = outbound.HostOf(r.whole.URL)
	h.terms.Batch = ring.Batch{Events: r.whole.MaxEvents, Bytes: r.whole.PreferredKB << 10}
	h.header["User-Agent"] = []string{s.userAgent}
	h.header[subscriptionField] = []string{strings.ToUpper(r.Name)}
	h.header[metadataVersionField] = []string{event.MetadataVersion}
	if r.Schema == CloudEventSchema {
		h.header[metadataVersionField] = []string{"1.0"}
		h.header[consent.OriginField] = []string{s.origin(r.RegistryID)}
		h.header["Origin"] = h.header[consent.OriginField]
	}
	return h, nil
}

// batches reports whether requests tell of several events. Then they have the form
// for several also when there is one, so that a receiver sees one form.
func (h *hook) batches() bool { return h.whole.MaxEvents > 1 }

// encode returns the body for events, and its media type.
func (h *hook) encode(events []*event.Event) (body []byte, contentType string) {
	switch {
	case h.Schema == EventGridSchema:
		return event.EventGrid(events...), event.EventGridMediaType
	case h.batches():
		return event.CloudEventBatch(events...), event.BatchType
	}
	return event.CloudEvent(events[0]), event.StructuredType
}

// request returns the request for a call to a receiver.
func (h *hook) request(c ring.Call) outbound.Request {
	events := append([]*event.Event{c.Event}, c.Rest...)
	header := maps.Clone(h.header)
	set := func(name, value string) { header[name] = []string{value} }
	body, contentType := h.encode(events)
	set("Content-Type", contentType)
	set(typeField, notification)
	set(countField, strconv.Itoa(c.Earlier))
	set(eventIDField, c.Event.ID)
	if h.Schema == EventGridSchema {
		set(dataVersionField, event.DataVersion)
	}
	if c.Replay != 0 {
		set(replayField, strconv.FormatInt(c.Replay, 10))
	}
	h.addDynamic(c.Event, set)
	return outbound.Request{
		URL: h.whole.URL, Header: header, Body: body, Timeout: h.terms.Timeout, Public: h.public, Hops: c.Event.Request.Hops, Actor: c.Event.Actor,
	}
}

// addDynamic sets the attributes that an event gives their values, of a batch the
// first. What an event does not have, and what no header can hold, is left out.
func (h *hook) addDynamic(e *event.Event, set func(name, value string)) {
	var content *event.Content
	for _, a := range h.whole.Attributes {
		if a.SourceField == "" {
			continue
		}
		content = cmp.Or(content, event.ContentOf(e))
		var value string
		switch v := content.Member(event.ParseKey(a.SourceField)).(type) {
		case string:
			value = v
		case int64:
			value = strconv.FormatInt(v, 10)
		}
		if value != "" && outbound.IsFieldValue(value) && len(value) <= maxAttributeValue {
			set(http.CanonicalHeaderKey(a.Name), value)
		}
	}
}

// message returns an event as a message of a broker has it.
func message(t Type, binary bool, e *event.Event) (header []sink.Field, body []byte) {
	var attributes []event.Attribute
	switch {
	case t == Kafka && binary:
		attributes, body = event.KafkaCloudEvent(e)
	case t == Kafka:
		attributes, body = []event.Attribute{{Field: event.KafkaContentType, Value: event.StructuredType}}, event.CloudEvent(e)
	case binary:
		attributes, body = event.NATSCloudEvent(e)
	default:
		attributes, body = []event.Attribute{{Field: event.NATSContentType, Value: event.StructuredType}}, event.CloudEvent(e)
	}
	for _, a := range attributes {
		header = append(header, sink.Field{Name: a.Field, Value: a.Value})
	}
	return header, body
}

// publish returns the request for a call to a broker.
func (h *hook) publish(c ring.Call, brokers Brokers) outbound.Request {
	b := h.whole.Broker
	// A stream keeps one message of an id, and several subscriptions may publish to it.
	m := sink.Message{Topic: b.Topic, ID: c.Event.ID + "/" + strconv.FormatInt(h.ID, 10)}
	switch b.Key {
	case KeyRepository:
		m.Key = []byte(c.Event.Target.Repository)
	case KeySubject:
		m.Key = []byte(event.Subject(c.Event))
	}
	m.Header, m.Body = message(h.whole.Type, b.Binary, c.Event)
	add := func(name, value string) {
		m.Header = append(m.Header, sink.Field{Name: name, Value: value, Secret: !slices.Contains(h.public, name)})
	}
	for _, name := range slices.Sorted(maps.Keys(h.header)) {
		add(name, h.header[name][0])
	}
	h.addDynamic(c.Event, add)
	if c.Replay != 0 {
		add(replayField, strconv.FormatInt(c.Replay, 10))
		m.ID += "/" + strconv.FormatInt(c.Replay, 10) // or the broker would drop it as one it has
	}
	return outbound.Request{
		URL: h.terms.Host, Body: m.Body, Timeout: h.terms.Timeout, Public: h.public, Actor: c.Event.Actor,
		Publish: func(ctx context.Context, r *outbound.Request) outbound.Result {
			return brokers.Publish(ctx, h.server, m, r.Timeout)
		},
	}
}
