package controlclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// The provisioning states of an EventSubscription that mean something to people.
const (
	SubscriptionReady    = "Succeeded"
	SubscriptionAwaiting = "AwaitingManualAction" // until a person opens the address that the receiver was sent
	SubscriptionFailed   = "Failed"               // its receiver has not agreed
)

// The types of a Destination.
const (
	ToWebHook       = "WebHook"
	ToNatsJetStream = "NatsJetStream"
	ToKafka         = "Kafka"
)

// Hidden stands for a secret in what the server shows. Sent back, it means the one
// there is.
const Hidden = "Hidden"

// EventSubscription is an event subscription as the control plane shows it:
// without the query of its address and without its secrets.
type EventSubscription struct {
	ID         string                      `json:"id"`
	Name       string                      `json:"name"`
	Properties EventSubscriptionProperties `json:"properties"`
	Health     *Health                     `json:"health"` // nil where it was not asked for

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (s *EventSubscription) UnmarshalJSON(b []byte) error {
	type fields EventSubscription // without this method
	s.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(s))
}

// EventSubscriptionProperties are the properties of an EventSubscription.
type EventSubscriptionProperties struct {
	ProvisioningState     string                 `json:"provisioningState"`
	StateReason           string                 `json:"provisioningStateReason"` // a sentence, where the state is none of readiness
	Destination           Destination            `json:"destination"`
	Filter                SubscriptionFilter     `json:"filter"`
	Labels                []string               `json:"labels"`
	EventDeliverySchema   string                 `json:"eventDeliverySchema"` // EventGridSchema or CloudEventSchemaV1_0
	ExpirationTimeUTC     Expiry                 `json:"expirationTimeUtc"`
	RetryPolicy           RetryPolicy            `json:"retryPolicy"` // its first two members
	DeadLetterDestination *DeadLetterDestination `json:"deadLetterDestination"`
}

// Destination is where a subscription is told of events.
type Destination struct {
	EndpointType string                `json:"endpointType"` // WebHook, NatsJetStream or Kafka
	Properties   DestinationProperties `json:"properties"`
}

// DestinationProperties are the properties of a Destination.
type DestinationProperties struct {
	// Of a WebHook.
	EndpointURL                   string `json:"endpointUrl,omitempty"`     // write-only; absent in a change, the one there is
	EndpointBaseURL               string `json:"endpointBaseUrl,omitempty"` // the same without its query; read-only
	MaxEventsPerBatch             *int   `json:"maxEventsPerBatch,omitempty"`
	PreferredBatchSizeInKilobytes *int   `json:"preferredBatchSizeInKilobytes,omitempty"`
	MinimumTLSVersionAllowed      string `json:"minimumTlsVersionAllowed,omitempty"`

	// Of a broker. Password, Token and Credentials are secrets: shown as Hidden, which
	// sent back means the one there is.
	Servers     []string   `json:"servers,omitempty"` // host:port each
	Subject     string     `json:"subject,omitempty"` // NATS
	Topic       string     `json:"topic,omitempty"`   // Kafka
	Mode        string     `json:"mode,omitempty"`    // structured or binary
	Key         string     `json:"key,omitempty"`     // of a Kafka record: none, repository or subject
	Username    string     `json:"username,omitempty"`
	Password    string     `json:"password,omitempty"`
	Mechanism   string     `json:"mechanism,omitempty"`   // of SASL, Kafka
	Token       string     `json:"token,omitempty"`       // NATS
	Credentials string     `json:"credentials,omitempty"` // NATS: the text of a credentials file
	TLS         *BrokerTLS `json:"tls,omitempty"`

	// In a change, nil stands for those there are.
	DeliveryAttributeMappings []DeliveryAttribute `json:"deliveryAttributeMappings,omitzero"`
}

// BrokerTLS is how the connection to a broker is encrypted; all but Enabled is
// PEM.
type BrokerTLS struct {
	Enabled     bool   `json:"enabled"`
	CA          string `json:"ca,omitempty"` // the authorities its certificate must be from; empty: the system's
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"` // of Certificate
}

// DeliveryAttribute is a header field of requests, or a property of messages.
type DeliveryAttribute struct {
	Name       string                      `json:"name"`
	Type       string                      `json:"type"` // Static or Dynamic
	Properties DeliveryAttributeProperties `json:"properties"`
}

// DeliveryAttributeProperties are the properties of a DeliveryAttribute.
type DeliveryAttributeProperties struct {
	Value       *string `json:"value,omitempty"`    // of a Static one; Hidden if it is secret
	IsSecret    *bool   `json:"isSecret,omitempty"` // of a Static one
	SourceField string  `json:"sourceField,omitempty"`
}

// SubscriptionFilter is which events a subscription wants; all parts have to
// hold.
type SubscriptionFilter struct {
	SubjectBeginsWith               string           `json:"subjectBeginsWith,omitempty"`
	SubjectEndsWith                 string           `json:"subjectEndsWith,omitempty"`
	IsSubjectCaseSensitive          bool             `json:"isSubjectCaseSensitive,omitempty"`
	IncludedEventTypes              []string         `json:"includedEventTypes,omitempty"` // empty: the default set
	EnableAdvancedFilteringOnArrays bool             `json:"enableAdvancedFilteringOnArrays,omitempty"`
	AdvancedFilters                 []AdvancedFilter `json:"advancedFilters,omitempty"`
}

// AdvancedFilter is a condition on a member of an event. Which operand it has
// follows from the operator.
type AdvancedFilter struct {
	OperatorType string `json:"operatorType"`
	Key          string `json:"key"`
	Value        any    `json:"value,omitempty"`  // number or boolean
	Values       []any  `json:"values,omitempty"` // strings, numbers, or pairs of numbers
}

// DeadLetterDestination is where files of dead letters go. The zero value is null
// on the wire: they are kept in the database alone.
type DeadLetterDestination struct {
	ResourceID string // of a storage account, in Azure; may be empty
	Container  string
}

// deadLetterWire is the wire form of a DeadLetterDestination.
type deadLetterWire struct {
	EndpointType string `json:"endpointType"`
	Properties   struct {
		ResourceID string `json:"resourceId,omitempty"`
		Container  string `json:"blobContainerName"`
	} `json:"properties"`
}

// MarshalJSON writes the zero value as null.
func (d DeadLetterDestination) MarshalJSON() ([]byte, error) {
	if d == (DeadLetterDestination{}) {
		return []byte("null"), nil
	}
	w := deadLetterWire{EndpointType: "StorageBlob"}
	w.Properties.ResourceID, w.Properties.Container = d.ResourceID, d.Container
	return json.Marshal(w)
}

// UnmarshalJSON reads the wire form.
func (d *DeadLetterDestination) UnmarshalJSON(b []byte) error {
	var w deadLetterWire
	err := json.Unmarshal(b, &w)
	*d = DeadLetterDestination{w.Properties.ResourceID, w.Properties.Container}
	return err
}

// Expiry is when a subscription ends, in UTC. The zero value is never, and null on
// the wire.
type Expiry struct{ time.Time }

// MarshalJSON writes the zero value as null.
func (e Expiry) MarshalJSON() ([]byte, error) {
	if e.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(e.UTC().Format(time.RFC3339))
}

// UnmarshalJSON reads a time, null, or the empty string for never.
func (e *Expiry) UnmarshalJSON(b []byte) error {
	*e = Expiry{}
	if string(b) == `""` {
		return nil
	}
	return json.Unmarshal(b, &e.Time)
}

// EventSubscriptionWrite is what a subscription is to be, or what of it is to be
// another. In a create, Destination is required and a nil member is the default; in
// a change, it stays as it is, and one that is there replaces the whole, less what of
// a Destination is Hidden. An empty list, a zero Expiry and a zero
// DeadLetterDestination are none.
type EventSubscriptionWrite struct {
	Destination           *Destination           `json:"destination,omitempty"`
	Filter                *SubscriptionFilter    `json:"filter,omitempty"`
	Labels                []string               `json:"labels,omitzero"`
	ExpirationTimeUTC     *Expiry                `json:"expirationTimeUtc,omitempty"`
	EventDeliverySchema   string                 `json:"eventDeliverySchema,omitempty"`
	RetryPolicy           *RetryPolicy           `json:"retryPolicy,omitempty"`
	DeadLetterDestination *DeadLetterDestination `json:"deadLetterDestination,omitempty"`
}

// EventType is a type of event that a registry raises.
type EventType struct {
	Name       string `json:"name"`
	Properties struct {
		DisplayName    string `json:"displayName"`
		Description    string `json:"description"`
		IsInDefaultSet bool   `json:"isInDefaultSet"`
	} `json:"properties"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (t *EventType) UnmarshalJSON(b []byte) error {
	type fields EventType // without this method
	t.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(t))
}

func subscriptionPath(registry, name string, below ...string) string {
	return Endpoint{OfEventSubscription, registry, name}.path(below...)
}

// handshakeTime is how long a server may take that asks a receiver whether it agrees:
// that has 30 seconds, and is asked twice.
const handshakeTime = 2 * time.Minute

// askingReceivers is a client that waits as long as handshakes take.
func (c *Client) askingReceivers() *Client {
	patient := *c
	if t := patient.http.Timeout; t > 0 {
		patient.http.Timeout = max(t, handshakeTime)
	}
	return &patient
}

// EventSubscriptions returns the event subscriptions of a registry, with their
// health: those whose name the OData filter takes, all of them if it is empty.
func (c *Client) EventSubscriptions(ctx context.Context, registry, filter string) ([]EventSubscription, error) {
	q := ""
	if filter != "" {
		q = "&%24filter=" + url.QueryEscape(filter)
	}
	return list[EventSubscription](ctx, c, http.MethodGet, registryPath(registry, string(OfEventSubscription))+withHealth+q)
}

// EventSubscription returns one event subscription, with its health.
func (c *Client) EventSubscription(ctx context.Context, registry, name string) (EventSubscription, error) {
	return get[EventSubscription](ctx, c, http.MethodGet, subscriptionPath(registry, name)+withHealth, nil)
}

// PutEventSubscription creates an event subscription or replaces the one of that
// name, when its receiver has been asked. As with Event Grid the answer says that it
// is being made, though that is over: how it is then says EventSubscription.
func (c *Client) PutEventSubscription(ctx context.Context, registry, name string, def EventSubscriptionWrite) (EventSubscription, error) {
	body := struct {
		Properties EventSubscriptionWrite `json:"properties"`
	}{def}
	return get[EventSubscription](ctx, c.askingReceivers(), http.MethodPut, subscriptionPath(registry, name), body)
}

// PatchEventSubscription changes the members that are set. Its answer is as that of
// PutEventSubscription.
func (c *Client) PatchEventSubscription(ctx context.Context, registry, name string, change EventSubscriptionWrite) (EventSubscription, error) {
	return get[EventSubscription](ctx, c.askingReceivers(), http.MethodPatch, subscriptionPath(registry, name), change)
}

// DeleteEventSubscription deletes an event subscription; existed is false when
// there was none.
func (c *Client) DeleteEventSubscription(ctx context.Context, registry, name string) (existed bool, err error) {
	status, err := c.do(ctx, http.MethodDelete, subscriptionPath(registry, name), nil, nil)
	return err == nil && status != http.StatusNoContent, err
}

// FullURL returns the address of a subscription to a WebHook, with its query.
func (c *Client) FullURL(ctx context.Context, registry, name string) (string, error) {
	answer, err := get[struct {
		EndpointURL string `json:"endpointUrl"`
	}](ctx, c, http.MethodPost, subscriptionPath(registry, name, "getFullUrl"), nil)
	return answer.EndpointURL, err
}

// DeliveryAttributes returns the delivery attributes of a subscription, secrets in
// clear.
func (c *Client) DeliveryAttributes(ctx context.Context, registry, name string) ([]DeliveryAttribute, error) {
	return list[DeliveryAttribute](ctx, c, http.MethodPost, subscriptionPath(registry, name, "getDeliveryAttributes"))
}

// ValidateEventSubscription asks the receiver of a subscription once more whether
// it agrees, and returns the subscription as it is then.
func (c *Client) ValidateEventSubscription(ctx context.Context, registry, name string) (EventSubscription, error) {
	return get[EventSubscription](ctx, c.askingReceivers(), http.MethodPost, subscriptionPath(registry, name, "validate"), nil)
}

// PauseEventSubscription makes what a subscription is owed wait, until
// ResumeEventSubscription, and returns it with its health.
func (c *Client) PauseEventSubscription(ctx context.Context, registry, name string) (EventSubscription, error) {
	return get[EventSubscription](ctx, c, http.MethodPost, subscriptionPath(registry, name, "pause"), nil)
}

// ResumeEventSubscription ends a pause and returns the subscription with its
// health.
func (c *Client) ResumeEventSubscription(ctx context.Context, registry, name string) (EventSubscription, error) {
	return get[EventSubscription](ctx, c, http.MethodPost, subscriptionPath(registry, name, "resume"), nil)
}

// EventTypes returns the types of events that registries raise, for filters of
// subscriptions.
func (c *Client) EventTypes(ctx context.Context) ([]EventType, error) {
	return list[EventType](ctx, c, http.MethodGet, "/providers/Microsoft.EventGrid/topicTypes/Microsoft.ContainerRegistry.Registries/eventTypes?api-version=2022-06-15")
}
