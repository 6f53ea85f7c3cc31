package controlclient

import "encoding/json"

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
	} `json:"properties"`

	Raw json.RawMessage `json:"-"`
}

// SKU is a registry's tier.
type SKU struct {
	Name string `json:"name"` // Basic, Standard or Premium
	Tier string `json:"tier"`
}

// UnmarshalJSON keeps the whole object beside the fields.
func (r *Registry) UnmarshalJSON(b []byte) error {
	type fields Registry // without this method
	r.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(r))
}

// Webhook is a webhook as the control plane shows it: without service URI and
// custom headers.
type Webhook struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Name       string            `json:"name"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	SystemData json.RawMessage   `json:"systemData"`
	Properties WebhookProperties `json:"properties"`
}

// WebhookProperties are the properties of a Webhook.
type WebhookProperties struct {
	Status            string   `json:"status"` // enabled or disabled
	Scope             string   `json:"scope"`  // empty: every event of the registry
	Actions           []string `json:"actions"`
	ProvisioningState string   `json:"provisioningState"`
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
}

// WebhookUpdate is the body that changes a webhook: a nil member stays as it is,
// an empty map or scope clears what was there.
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
}

// IsZero reports whether nothing is set, so that an empty update has no
// properties on the wire.
func (p WebhookUpdateProperties) IsZero() bool {
	return p.ServiceURI == nil && p.CustomHeaders == nil && p.Status == nil && p.Scope == nil && p.Actions == nil
}

// CallbackConfig is where a webhook rings, and with which headers.
type CallbackConfig struct {
	ServiceURI    string            `json:"serviceUri"`
	CustomHeaders map[string]string `json:"customHeaders"`
	SigningSecret string            `json:"signingSecret"` // of Standard Webhooks, whsec_…
}

// Event is one attempt to deliver an event to a webhook.
type Event struct {
	ID       string        `json:"id"`
	Request  EventRequest  `json:"eventRequestMessage"`
	Response EventResponse `json:"eventResponseMessage"`

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
	Content struct {
		ID        string `json:"id"`
		Timestamp string `json:"timestamp"`
		Action    string `json:"action"`
		Target    struct {
			Digest     string `json:"digest"`
			Repository string `json:"repository"`
			Tag        string `json:"tag"`
		} `json:"target"`
	} `json:"content"`
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
