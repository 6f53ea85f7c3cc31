package arm

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/filter"
	"github.com/dockbell/dockbell/internal/subscription"
)

type (
	// eventSubscriptionInput is the body of PUT, whose members are within one
	// named properties.
	eventSubscriptionInput struct {
		Properties member[eventSubscriptionMembers] `json:"properties"`
	}

	// eventSubscriptionMembers is the body of PATCH, which has them at its top.
	eventSubscriptionMembers struct {
		Properties json.RawMessage `json:"properties"` // where they are not

		Destination    member[destinationInput]       `json:"destination"`
		Filter         member[filter.Definition]      `json:"filter"`
		Labels         member[[]string]               `json:"labels"`
		Schema         member[string]                 `json:"eventDeliverySchema"`
		Expiration     member[string]                 `json:"expirationTimeUtc"`
		Retry          member[subscriptionRetryInput] `json:"retryPolicy"`
		DeadLetters    member[typedInput]             `json:"deadLetterDestination"`
		ByIdentity     member[json.RawMessage]        `json:"deliveryWithResourceIdentity"`
		DeadByIdentity member[json.RawMessage]        `json:"deadLetterWithResourceIdentity"`
	}

	subscriptionRetryInput struct {
		MaxDeliveryAttempts      member[int] `json:"maxDeliveryAttempts"`
		EventTimeToLiveInMinutes member[int] `json:"eventTimeToLiveInMinutes"`
	}

	// typedInput is an object whose properties are of the type that it names.
	typedInput struct {
		EndpointType string          `json:"endpointType"`
		Properties   json.RawMessage `json:"properties"`
	}

	deadLetterInput struct {
		ResourceID member[string] `json:"resourceId"`
		Container  member[string] `json:"blobContainerName"`
	}
)

// What a subscription has whose owner does not say, and the ranges.
const (
	mostAttempts = 30
	mostMinutes  = 1440
)

// definition reads the body of a PUT, where null is the same as absent.
func (in eventSubscriptionInput) definition() (def subscription.Definition, err error) {
	p := in.Properties.orZero()
	if !in.Properties.present {
		return def, invalidRequest("properties is missing: destination, filter and the rest of an event subscription are members of it")
	}
	if err := p.refuseIdentities(); err != nil {
		return def, err
	}
	if p.Destination.value != nil {
		if def.Destination, err = p.Destination.value.destination("properties.destination"); err != nil {
			return def, err
		}
	}
	def.Filter, def.Labels = p.Filter.orZero(), p.Labels.orZero()
	if def.Schema, err = schemaOf(p.Schema.orZero()); err != nil {
		return def, err
	}
	if def.ExpiresAt, err = expirationOf(p.Expiration.orZero()); err != nil {
		return def, err
	}
	if def.MaxAttempts, def.TTL, err = p.Retry.orZero().read(); err != nil {
		return def, err
	}
	if p.DeadLetters.value != nil {
		def.DeadLetters, err = p.DeadLetters.value.deadLetterStore()
	}
	return def, err
}

// change reads the body of a PATCH: a member that is absent stays as it is, one that
// is there counts as a whole, and null takes away what was there.
func (in eventSubscriptionMembers) change() (change subscription.Change, err error) {
	if len(in.Properties) > 0 {
		return change, invalidRequest("the members of a PATCH are not within properties: send {\"labels\": …} for example, as Event Grid has it")
	}
	if err := in.refuseIdentities(); err != nil {
		return change, err
	}
	if in.Destination.null() {
		return change, invalidRequest("destination cannot be null: an event subscription is never without it; leave it out to keep it as it is")
	}
	if in.Destination.value != nil {
		if change.Destination, err = in.Destination.value.destination("destination"); err != nil {
			return change, err
		}
	}
	if in.Filter.present {
		change.Filter = new(in.Filter.orZero())
	}
	if in.Labels.present {
		change.Labels = new(in.Labels.orZero())
	}
	if in.Schema.value != nil {
		schema, err := schemaOf(*in.Schema.value)
		if err != nil {
			return change, err
		}
		change.Schema = &schema
	}
	if in.Expiration.present {
		at, err := expirationOf(in.Expiration.orZero())
		if err != nil {
			return change, err
		}
		change.ExpiresAt = &at
	}
	if in.Retry.present {
		attempts, ttl, err := in.Retry.orZero().read()
		if err != nil {
			return change, err
		}
		change.MaxAttempts, change.TTL = &attempts, &ttl
	}
	if in.DeadLetters.present {
		var store *subscription.DeadLetterStore
		if in.DeadLetters.value != nil {
			if store, err = in.DeadLetters.value.deadLetterStore(); err != nil {
				return change, err
			}
		}
		change.DeadLetters = &store
	}
	return change, nil
}

// refuseIdentities fails for destinations that are reached with an identity of
// Azure's.
func (p eventSubscriptionMembers) refuseIdentities() error {
	if p.ByIdentity.value != nil {
		return invalidRequest("deliveryWithResourceIdentity is not possible: a registry has no managed identity here, so there is no token to deliver with; " +
			"use destination, and a secret delivery attribute named Authorization if the receiver wants to know who sends")
	}
	if p.DeadByIdentity.value != nil {
		return invalidRequest("deadLetterWithResourceIdentity is not possible: a registry has no managed identity here; use deadLetterDestination, which is a folder of the server")
	}
	return nil
}

// schemaOf returns the schema of a name, in any case; those that Event Grid gave up
// mean those that took their place.
func schemaOf(name string) (subscription.Schema, error) {
	switch {
	case name == "":
		return "", nil
	case strings.EqualFold(name, string(subscription.EventGridSchema)), strings.EqualFold(name, "InputEventSchema"):
		return subscription.EventGridSchema, nil
	case strings.EqualFold(name, string(subscription.CloudEventSchema)), strings.EqualFold(name, "CloudEventV01Schema"):
		return subscription.CloudEventSchema, nil
	case strings.EqualFold(name, "CustomInputSchema"):
		return "", invalidRequest("eventDeliverySchema CustomInputSchema is for custom topics, whose events have a schema of their owner's: for a registry use %s or %s",
			subscription.EventGridSchema, subscription.CloudEventSchema)
	}
	return "", invalidRequest("eventDeliverySchema %q is none: use %s or %s", clip(name), subscription.EventGridSchema, subscription.CloudEventSchema)
}

// expirationOf reads a moment; empty is none.
func expirationOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.Year() > 2261 {
		return time.Time{}, invalidRequest("Invalid expiration time. expirationTimeUtc %q is no moment: write it like 2030-01-31T15:04:05Z", clip(text))
	}
	return at.UTC(), nil
}

// read returns how often and how long is tried. What is absent is as Event Grid has
// it by default.
func (in subscriptionRetryInput) read() (attempts int, ttl time.Duration, err error) {
	attempts, minutes := mostAttempts, mostMinutes
	for _, m := range []struct {
		name string
		sent member[int]
		most int
		into *int
	}{
		{"maxDeliveryAttempts", in.MaxDeliveryAttempts, mostAttempts, &attempts},
		{"eventTimeToLiveInMinutes", in.EventTimeToLiveInMinutes, mostMinutes, &minutes},
	} {
		if m.sent.value == nil {
			continue
		}
		if *m.into = *m.sent.value; *m.into < 1 || *m.into > m.most {
			return 0, 0, invalidRequest("retryPolicy.%s is %d: use 1 to %d", m.name, *m.into, m.most)
		}
	}
	return attempts, time.Duration(minutes) * time.Minute, nil
}

// storageBlob is the one kind of place that dead letters have.
const storageBlob = "StorageBlob"

func (in typedInput) deadLetterStore() (*subscription.DeadLetterStore, error) {
	if !strings.EqualFold(in.EndpointType, storageBlob) {
		return nil, invalidRequest("deadLetterDestination.endpointType %q is none: use %s", clip(in.EndpointType), storageBlob)
	}
	var p deadLetterInput
	if err := readProperties("deadLetterDestination.properties", in.Properties, &p); err != nil {
		return nil, err
	}
	return &subscription.DeadLetterStore{ResourceID: p.ResourceID.orZero(), Container: p.Container.orZero()}, nil
}

// readProperties decodes the object at path, which may be absent.
func readProperties(path string, text json.RawMessage, out any) error {
	if len(text) == 0 || string(text) == "null" {
		return nil
	}
	if err := decode(text, out); err != nil {
		return invalidContent("%s: %s", path, fault.As(err).Message)
	}
	return nil
}

// invalidRequest is Event Grid's refusal of what it can read and not do.
func invalidRequest(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).WithCode("InvalidRequest")
}

// The wire forms of an event subscription. Members that are null are so in Event
// Grid's answers too.
type (
	eventSubscriptionBody struct {
		ID         string                      `json:"id"`
		Name       string                      `json:"name"`
		Type       string                      `json:"type"`
		SystemData *systemData                 `json:"systemData"` // null
		Properties eventSubscriptionProperties `json:"properties"`
		Health     *healthBody                 `json:"health,omitempty"` // nil: not asked for
	}
	eventSubscriptionProperties struct {
		Topic             string                `json:"topic"`
		ProvisioningState string                `json:"provisioningState"`
		Reason            string                `json:"provisioningStateReason,omitempty"` // not Event Grid's: a sentence
		Destination       typedBody             `json:"destination"`
		Filter            filter.Definition     `json:"filter"`
		Labels            []string              `json:"labels"`
		Schema            subscription.Schema   `json:"eventDeliverySchema"`
		Expiration        *string               `json:"expirationTimeUtc"`
		Retry             subscriptionRetryBody `json:"retryPolicy"`
		DeadLetters       *typedBody            `json:"deadLetterDestination"`
		ByIdentity        *typedBody            `json:"deliveryWithResourceIdentity"`   // null
		DeadByIdentity    *typedBody            `json:"deadLetterWithResourceIdentity"` // null
	}
	typedBody struct {
		EndpointType string `json:"endpointType"`
		Properties   any    `json:"properties"`
	}
	subscriptionRetryBody struct {
		MaxDeliveryAttempts      int `json:"maxDeliveryAttempts"`
		EventTimeToLiveInMinutes int `json:"eventTimeToLiveInMinutes"`
	}
	deadLetterStoreBody struct {
		ResourceID string `json:"resourceId"`
		Container  string `json:"blobContainerName"`
	}
)

// eventSubscriptionToWire shows a subscription to topic, an ARM id, as a resource of
// kind that is at in a list of such.
func eventSubscriptionToWire(topic, at, kind string, s subscription.Subscription) eventSubscriptionBody {
	body := eventSubscriptionBody{
		ID: at + "/" + s.Name, Name: s.Name, Type: kind,
		Properties: eventSubscriptionProperties{
			// Event Grid writes its own part of the id in lower case.
			Topic:             strings.Replace(topic, "/providers/"+aRegistry, "/providers/"+strings.ToLower(aRegistry), 1),
			ProvisioningState: string(s.State), Reason: s.StateWhy,
			Destination: destinationToWire(s.Destination), Filter: s.Filter, Labels: s.Labels, Schema: s.Schema,
			Retry: subscriptionRetryBody{s.MaxAttempts, int(s.TTL / time.Minute)},
		},
	}
	if !s.ExpiresAt.IsZero() {
		body.Properties.Expiration = new(s.ExpiresAt.UTC().Format(time.RFC3339Nano))
	}
	if d := s.DeadLetters; d != nil {
		body.Properties.DeadLetters = &typedBody{storageBlob, deadLetterStoreBody{d.ResourceID, d.Container}}
	}
	return body
}
