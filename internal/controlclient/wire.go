package controlclient

import (
	"encoding/json"
	"net/url"
	"strconv"
	"time"
)

// Registry is a registry as the control plane shows it. Only the members that
// commands work with have fields; Raw is the whole.
type Registry struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Location   string `json:"location"`
	SKU        SKU    `json:"sku"`
	Properties struct {
		LoginServer      string `json:"loginServer"`
		CreationDate     string `json:"creationDate"`
		AdminUserEnabled bool   `json:"adminUserEnabled"`

		AnonymousPullEnabled bool             `json:"anonymousPullEnabled"`
		Policies             RegistryPolicies `json:"policies"`
	} `json:"properties"`

	Raw json.RawMessage `json:"-"`
}

// RegistryPolicies are the policies of a Registry. A status is enabled or disabled.
type RegistryPolicies struct {
	Quarantine struct {
		Status string `json:"status"`
	} `json:"quarantinePolicy"`
	Retention struct {
		Status string `json:"status"`
		Days   int    `json:"days"`
	} `json:"retentionPolicy"`
	SoftDelete struct {
		Status string `json:"status"`
		Days   int    `json:"retentionDays"`
	} `json:"softDeletePolicy"`
}

// SKU is a registry's tier.
type SKU struct {
	Name string `json:"name"` // Basic, Standard or Premium
	Tier string `json:"tier,omitempty"`
}

// UnmarshalJSON keeps the whole object beside the fields.
func (r *Registry) UnmarshalJSON(b []byte) error {
	type fields Registry // without this method
	r.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(r))
}

// Webhook is a webhook as the control plane shows it: without service URI,
// custom headers and certificates.
type Webhook struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Name       string            `json:"name"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	SystemData json.RawMessage   `json:"systemData"`
	Properties WebhookProperties `json:"properties"`
	Health     *Health           `json:"health"` // nil where it was not asked for
}

// WebhookProperties are the properties of a Webhook.
type WebhookProperties struct {
	Status            string   `json:"status"` // enabled or disabled
	Scope             string   `json:"scope"`  // empty: every event of the registry
	Actions           []string `json:"actions"`
	ProvisioningState string   `json:"provisioningState"`

	// These are absent where a webhook is as most are.
	RetryPolicy      *RetryPolicy `json:"retryPolicy"`
	SignatureHeaders []string     `json:"signatureHeaders"`
	DisabledReason   string       `json:"disabledReason"`  // why the server disabled it
	Listener         bool         `json:"listener"`        // of dockbell listen: it goes with its connection
	Format           string       `json:"format"`          // acr, cloudevents, cloudevents-binary, github, gitlab or slack; empty: acr
	Handshake        string       `json:"handshake"`       // cloudevents or none; empty: none
	EventTypePrefix  string       `json:"eventTypePrefix"` // of the types of CloudEvents
	FlatData         bool         `json:"flatData"`        // of CloudEvents: an image is named by members of its own too
	Consent          *Consent     `json:"consent"`         // nil without a handshake
}

// Consent is whether the address of a webhook agrees to be rung. Times are zero
// where there is none to tell.
type Consent struct {
	Given     bool      `json:"given"`
	Until     time.Time `json:"until"`
	NextAsked time.Time `json:"nextAsked"`

	// Of the handshakes that brought none:
	ConsecutiveFailures int    `json:"consecutiveFailures"`
	LastStatus          int    `json:"lastStatus"` // 0: there was no answer
	LastError           string `json:"lastError"`  // why there was no answer, in a word
	Reason              string `json:"reason"`     // a sentence

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (c *Consent) UnmarshalJSON(b []byte) error {
	type fields Consent // without this method
	c.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(c))
}

// RetryPolicy says how long and how hard a webhook is tried. In a request, a nil
// member is the default in a create and stays as it is in an update.
type RetryPolicy struct {
	MaxDeliveryAttempts      *int    `json:"maxDeliveryAttempts,omitempty"`
	EventTimeToLiveInMinutes *int    `json:"eventTimeToLiveInMinutes,omitempty"`
	TimeoutInSeconds         *int    `json:"timeoutInSeconds,omitempty"`
	Order                    *string `json:"order,omitempty"`        // tag, repository or none
	MaxPerMinute             *int    `json:"maxPerMinute,omitempty"` // 0: no limit
}

// WebhookTLS is whom a webhook's requests trust and how they show who they are,
// all PEM. The zero value stands for nothing special, and is null on the wire.
type WebhookTLS struct {
	CACertificates    string `json:"caCertificates,omitempty"`
	ClientCertificate string `json:"clientCertificate,omitempty"`
	ClientKey         string `json:"clientKey,omitempty"` // of ClientCertificate
}

// MarshalJSON writes the zero value as null.
func (t WebhookTLS) MarshalJSON() ([]byte, error) {
	if t == (WebhookTLS{}) {
		return []byte("null"), nil
	}
	type fields WebhookTLS // without this method
	return json.Marshal(fields(t))
}

// Health is how an endpoint fares. Times are zero where there is none to tell.
type Health struct {
	State               string    `json:"state"` // ok, failing, catchingUp, paused, awaitingConsent or disabled
	ConsecutiveFailures int       `json:"consecutiveFailures"`
	FirstFailure        time.Time `json:"firstFailure"` // of the consecutive ones
	LastSuccess         time.Time `json:"lastSuccess"`
	LastAttempt         time.Time `json:"lastAttempt"`
	LastStatus          int       `json:"lastStatus"` // 0: there was no answer, or no attempt
	LastError           string    `json:"lastError"`  // why there was no answer, in a word

	Waiting           int64     `json:"waiting"` // events it is owed
	Behind            int64     `json:"behind"`  // events of which some may be owed to it too
	OldestUndelivered time.Time `json:"oldestUndelivered"`
	NextAttempt       time.Time `json:"nextAttempt"`
	PausedAt          time.Time `json:"pausedAt"`
	DeadLetters       int64     `json:"deadLetters"` // events given up
	Destination       string    `json:"destination"` // of a webhook: scheme://name:port; empty for who is not told

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (h *Health) UnmarshalJSON(b []byte) error {
	type fields Health // without this method
	h.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(h))
}

// WebhookCreate is the body that creates or replaces a webhook. Location,
// ServiceURI and Actions are required.
type WebhookCreate struct {
	Location   string                  `json:"location,omitempty"`
	Tags       map[string]string       `json:"tags,omitempty"`
	Properties WebhookCreateProperties `json:"properties"`
}

// WebhookCreateProperties are the properties of a WebhookCreate.
type WebhookCreateProperties struct {
	ServiceURI    string            `json:"serviceUri,omitempty"`
	CustomHeaders map[string]string `json:"customHeaders,omitempty"`
	Status        string            `json:"status,omitempty"` // empty: enabled
	Scope         string            `json:"scope,omitempty"`
	Actions       []string          `json:"actions,omitempty"`

	RetryPolicy      *RetryPolicy `json:"retryPolicy,omitempty"`      // nil: the default
	SignatureHeaders []string     `json:"signatureHeaders,omitempty"` // github, flux
	TLS              *WebhookTLS  `json:"tls,omitempty"`
	Format           string       `json:"format,omitempty"`    // empty: acr
	Handshake        string       `json:"handshake,omitempty"` // empty: that of the format
	EventTypePrefix  string       `json:"eventTypePrefix,omitempty"`
	FlatData         bool         `json:"flatData,omitempty"`
}

// WebhookUpdate is the body that changes a webhook: a nil member stays as it is,
// an empty map, list or scope clears what was there, and so does a zero TLS.
type WebhookUpdate struct {
	Tags       map[string]string       `json:"tags,omitzero"`
	Properties WebhookUpdateProperties `json:"properties,omitzero"`
}

// WebhookUpdateProperties are the properties of a WebhookUpdate.
type WebhookUpdateProperties struct {
	ServiceURI    *string           `json:"serviceUri,omitempty"`
	CustomHeaders map[string]string `json:"customHeaders,omitzero"`
	Status        *string           `json:"status,omitempty"`
	Scope         *string           `json:"scope,omitempty"`
	Actions       []string          `json:"actions,omitzero"`

	RetryPolicy      *RetryPolicy `json:"retryPolicy,omitempty"`
	SignatureHeaders []string     `json:"signatureHeaders,omitzero"`
	TLS              *WebhookTLS  `json:"tls,omitempty"`
	Format           *string      `json:"format,omitempty"`
	Handshake        *string      `json:"handshake,omitempty"`
	EventTypePrefix  *string      `json:"eventTypePrefix,omitempty"`
	FlatData         *bool        `json:"flatData,omitempty"`
}

// IsZero reports whether nothing is set, so that an empty update has no
// properties on the wire.
func (p WebhookUpdateProperties) IsZero() bool {
	return p.ServiceURI == nil && p.CustomHeaders == nil && p.Status == nil && p.Scope == nil && p.Actions == nil &&
		p.RetryPolicy == nil && p.SignatureHeaders == nil && p.TLS == nil && p.Format == nil && p.Handshake == nil &&
		p.EventTypePrefix == nil && p.FlatData == nil
}

// CallbackConfig is where a webhook rings, and with which headers.
type CallbackConfig struct {
	ServiceURI    string            `json:"serviceUri"`
	CustomHeaders map[string]string `json:"customHeaders"`
	SigningSecret string            `json:"signingSecret"` // of Standard Webhooks, whsec_…

	// The secret before the last rotation, while it signs too.
	PreviousSigningSecret string    `json:"previousSigningSecret"`
	PreviousValidUntil    time.Time `json:"previousValidUntil"`
}

// Rotation is a webhook's new signing secret.
type Rotation struct {
	SigningSecret      string    `json:"signingSecret"`
	PreviousValidUntil time.Time `json:"previousValidUntil"` // zero: the previous one signs no more
}

// EventFilter narrows an endpoint's log. The zero value is all of it.
type EventFilter struct {
	Outcome string // delivered, refused, failed or interrupted; empty: any
	Replay  int64  // attempts of this replay; 0: any

	// Attempts that began in this time; zero: at any.
	From, Until time.Time

	// Attempts for this event; empty: any. EventTime, if it is not zero, is when that
	// happened, by which it is found however old it is.
	EventID   string
	EventTime time.Time

	// Attempts for events of this kind; empty: any.
	Action, Repository, Tag string
}

// query returns the filter as the query of a path, question mark included.
func (f EventFilter) query() string {
	q := f.values()
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func (f EventFilter) values() url.Values {
	q := url.Values{}
	for name, text := range map[string]string{
		"outcome": f.Outcome, "eventId": f.EventID, "action": f.Action, "repository": f.Repository, "tag": f.Tag,
	} {
		if text != "" {
			q.Set(name, text)
		}
	}
	for name, t := range map[string]time.Time{"from": f.From, "until": f.Until, "eventTime": f.EventTime} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if f.Replay != 0 {
		q.Set("replay", strconv.FormatInt(f.Replay, 10))
	}
	return q
}

// Event is one attempt to deliver an event to an endpoint.
type Event struct {
	ID       string        `json:"id"`
	Request  EventRequest  `json:"eventRequestMessage"`
	Response EventResponse `json:"eventResponseMessage"`

	Outcome    string    `json:"outcome"` // delivered, refused, failed or interrupted
	Attempt    int       `json:"attempt"` // from 1
	DurationMs float64   `json:"durationMs"`
	Replay     int64     `json:"replay"`    // number of the replay it belongs to; 0: none
	Timestamp  time.Time `json:"timestamp"` // of the attempt

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (e *Event) UnmarshalJSON(b []byte) error {
	type fields Event // without this method
	e.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(e))
}

// EventRequest is what was sent.
type EventRequest struct {
	Content    EventBody         `json:"content"`
	Headers    map[string]string `json:"headers"` // secret values as ******
	Method     string            `json:"method"`
	RequestURI string            `json:"requestUri"`
	Version    string            `json:"version"`
}

// EventResponse is what came back. An attempt without an answer has a reason, and
// a status as ACR makes one up.
type EventResponse struct {
	Content      string            `json:"content"`
	Headers      map[string]string `json:"headers"`
	ReasonPhrase string            `json:"reasonPhrase"`
	StatusCode   string            `json:"statusCode"`
	Version      string            `json:"version"`
}
