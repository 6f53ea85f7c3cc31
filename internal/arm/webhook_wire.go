package arm

import (
	"time"

	"github.com/dockbell/dockbell/internal/signature"
	"github.com/dockbell/dockbell/internal/tenant"
	"github.com/dockbell/dockbell/internal/webhook"
)

// webhookInput is the body of PUT and of PATCH.
type webhookInput struct {
	Location   member[string]            `json:"location"`
	Tags       member[map[string]string] `json:"tags"`
	Properties member[webhookInputProps] `json:"properties"`
}

type webhookInputProps struct {
	ServiceURI    member[string]            `json:"serviceUri"`
	CustomHeaders member[map[string]string] `json:"customHeaders"`
	Status        member[string]            `json:"status"`
	Scope         member[string]            `json:"scope"`
	Actions       member[[]string]          `json:"actions"`

	// These are not ACR's.
	RetryPolicy      member[policyInput] `json:"retryPolicy"`
	SignatureHeaders member[[]string]    `json:"signatureHeaders"`
	TLS              member[tlsInput]    `json:"tls"`
	Format           member[string]      `json:"format"`
	Handshake        member[string]      `json:"handshake"`
	EventTypePrefix  member[string]      `json:"eventTypePrefix"`
	FlatData         member[bool]        `json:"flatData"`
}

// definition reads the body of a PUT, where null is the same as absent, but for
// tls, which it clears. What a webhook cannot be without is for the rules to say:
// a body that a client read, changed and puts back has no service URI, because
// none was shown.
func (in webhookInput) definition() (webhook.Definition, error) {
	p := in.Properties.orZero()
	policy, err := policyOf(p.RetryPolicy)
	if err != nil {
		return webhook.Definition{}, err
	}
	return webhook.Definition{
		Location:      in.Location.orZero(),
		Tags:          in.Tags.orZero(),
		ServiceURI:    p.ServiceURI.orZero(),
		CustomHeaders: p.CustomHeaders.orZero(),
		Status:        p.Status.orZero(),
		Scope:         p.Scope.orZero(),
		Actions:       p.Actions.orZero(),

		Policy:           policy,
		SignatureHeaders: p.SignatureHeaders.orZero(),
		TLS:              tlsOf(p.TLS),
		Format:           p.Format.orZero(),
		Handshake:        p.Handshake.orZero(),
		EventTypePrefix:  p.EventTypePrefix.orZero(),
		FlatData:         p.FlatData.orZero(),
	}, nil
}

// change reads the body of a PATCH: an absent member stays as it is, null clears
// what a webhook can be without.
func (in webhookInput) change() (webhook.Change, error) {
	p := in.Properties.orZero()
	for _, m := range []struct {
		name string
		null bool
	}{
		{"properties.serviceUri", p.ServiceURI.null()},
		{"properties.status", p.Status.null()},
		{"properties.actions", p.Actions.null()},
	} {
		if m.null {
			return webhook.Change{}, invalidContent("%s cannot be null: a webhook is never without it; leave it out to keep it as it is", m.name)
		}
	}
	policy, err := policyChange(p.RetryPolicy)
	if err != nil {
		return webhook.Change{}, err
	}
	c := webhook.Change{
		Tags:          clearable(in.Tags),
		ServiceURI:    p.ServiceURI.value,
		CustomHeaders: clearable(p.CustomHeaders),
		Status:        p.Status.value,
		Scope:         p.Scope.value,
		Actions:       p.Actions.orZero(),

		Policy:           policy,
		SignatureHeaders: p.SignatureHeaders.orZero(),
		TLS:              tlsOf(p.TLS),
		Format:           p.Format.value,
		Handshake:        p.Handshake.value,
		EventTypePrefix:  p.EventTypePrefix.value,
		FlatData:         p.FlatData.value,
	}
	if p.Format.null() {
		c.Format = new(string(webhook.ACR))
	}
	if p.Handshake.null() {
		c.Handshake = new("")
	}
	if p.EventTypePrefix.null() {
		c.EventTypePrefix = new("")
	}
	if p.FlatData.null() {
		c.FlatData = new(false)
	}
	if p.Scope.null() {
		c.Scope = new("")
	}
	if p.Actions.value != nil && c.Actions == nil {
		c.Actions = []string{} // sent, and empty: for the rules to refuse
	}
	if p.SignatureHeaders.null() {
		c.SignatureHeaders = []string{}
	}
	return c, nil
}

// clearable returns nil for an absent map, and an empty one for null.
func clearable(m member[map[string]string]) map[string]string {
	if m.null() {
		return map[string]string{}
	}
	return m.orZero()
}

type (
	testInput struct {
		Action string `json:"action"`
	}
	rotateInput struct {
		OverlapInMinutes int    `json:"overlapInMinutes"`
		Secret           string `json:"secret"` // empty: one is made
	}
)

// The wire forms of a webhook, members in the order Azure sends them.
type (
	webhookBody struct {
		Type       string            `json:"type"`
		ID         string            `json:"id"`
		Name       string            `json:"name"`
		Location   string            `json:"location"`
		Tags       map[string]string `json:"tags"`
		SystemData systemData        `json:"systemData"`
		Properties webhookProperties `json:"properties"`
		Health     *healthBody       `json:"health,omitempty"` // nil: not asked for
	}
	webhookProperties struct {
		Status            string   `json:"status"`
		Scope             string   `json:"scope"`
		Actions           []string `json:"actions"`
		ProvisioningState string   `json:"provisioningState"`

		// These are not ACR's, and absent where a webhook is as ACR's are.
		RetryPolicy      *policyBody       `json:"retryPolicy,omitempty"`
		SignatureHeaders []signature.Style `json:"signatureHeaders,omitempty"`
		DisabledReason   string            `json:"disabledReason,omitempty"`
		Listener         bool              `json:"listener,omitempty"`
		Format           webhook.Format    `json:"format,omitempty"`    // absent: acr
		Handshake        webhook.Handshake `json:"handshake,omitempty"` // absent: none
		EventTypePrefix  string            `json:"eventTypePrefix,omitempty"`
		FlatData         bool              `json:"flatData,omitempty"`
		Consent          *consentBody      `json:"consent,omitempty"`
	}
	callbackBody struct {
		ServiceURI    string            `json:"serviceUri"`
		CustomHeaders map[string]string `json:"customHeaders"`

		// These are not ACR's.
		SigningSecret         string `json:"signingSecret"`
		PreviousSigningSecret string `json:"previousSigningSecret,omitempty"` // signs too, until
		PreviousValidUntil    string `json:"previousValidUntil,omitempty"`
	}
	rotateBody struct {
		SigningSecret      string `json:"signingSecret"`
		PreviousValidUntil string `json:"previousValidUntil,omitempty"` // absent: the old one signs no more
	}
	pingBody struct {
		ID string `json:"id"`
	}
	systemData struct {
		CreatedBy          string `json:"createdBy"`
		CreatedByType      string `json:"createdByType"`
		CreatedAt          string `json:"createdAt"`
		LastModifiedBy     string `json:"lastModifiedBy"`
		LastModifiedByType string `json:"lastModifiedByType"`
		LastModifiedAt     string `json:"lastModifiedAt"`
	}
)

func newSystemData(createdBy tenant.Actor, createdAt time.Time, modifiedBy tenant.Actor, modifiedAt time.Time) systemData {
	return systemData{
		CreatedBy: createdBy.Name, CreatedByType: createdBy.Kind, CreatedAt: wireTime(createdAt),
		LastModifiedBy: modifiedBy.Name, LastModifiedByType: modifiedBy.Kind, LastModifiedAt: wireTime(modifiedAt),
	}
}

func stampToWire(s tenant.Stamp) systemData {
	return newSystemData(s.CreatedBy, s.CreatedAt, s.UpdatedBy, s.UpdatedAt)
}
