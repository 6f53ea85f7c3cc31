package controlclient

import (
	"context"
	"encoding/json"
	"net/http"
)

// ListenerCreate says what a listener is to hear. The zero value is every event
// of the registry's location.
type ListenerCreate struct {
	Actions  []string `json:"actions,omitempty"`
	Scope    string   `json:"scope,omitempty"`
	Location string   `json:"location,omitempty"`
}

// Delivery is a request that the server would send to a URL, for the caller to
// carry out.
type Delivery struct {
	Attempt string            `json:"attempt"` // by which its result is reported
	EventID string            `json:"eventId"`
	Actor   string            `json:"actor"`   // who made the change
	Headers map[string]string `json:"headers"` // signature included
	Body    string            `json:"body"`    // byte for byte as it is signed
	Replay  int64             `json:"replay"`  // number of the replay it belongs to; 0: none
}

// DeliveryResult is what became of a Delivery: an answer with a Status, or an
// Error.
type DeliveryResult struct {
	Attempt    string            `json:"attempt"`
	Status     int               `json:"status,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Body       string            `json:"body,omitempty"` // the first MaxResultBody bytes
	DurationMs float64           `json:"durationMs"`

	// Error is the step at which it ended without an answer: dns, connect, tls,
	// timeout, protocol or cancelled. Message is a sentence that says more.
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`
}

// MaxResultBody is how much of an answer's body is reported, in bytes.
const MaxResultBody = 4 << 10

// CreateListener makes a webhook that rings over connections from here: see
// Listen. The server deletes it when it had none for 10 minutes.
func (c *Client) CreateListener(ctx context.Context, registry string, l ListenerCreate) (Webhook, error) {
	return get[Webhook](ctx, c, http.MethodPost, registryPath(registry, "listeners"), l)
}

// Listen calls each with every delivery to a listener as it comes, until each
// fails, ctx ends or the connection does; the last two are faults of kind
// Unavailable. opened is called when the server has agreed. What a delivery came
// to is for Report.
func (c *Client) Listen(ctx context.Context, registry, name string, opened func(), each func(Delivery) error) error {
	return c.stream(ctx, registryPath(registry, "listeners", name, "deliveries"), "", opened, func(m message) error {
		if m.name != "delivery" {
			return nil
		}
		var d Delivery
		if err := json.Unmarshal(m.data, &d); err != nil {
			return c.undecodable(err)
		}
		return each(d)
	})
}

// Report says what a delivery came to. It fails with fault.NotFound if the
// server does not wait for that any more.
func (c *Client) Report(ctx context.Context, registry, name string, r DeliveryResult) error {
	_, err := c.do(ctx, http.MethodPost, registryPath(registry, "listeners", name, "results"), r, nil)
	return err
}

// DeleteListener ends a listener, and with it what it was not sent yet.
func (c *Client) DeleteListener(ctx context.Context, registry, name string) error {
	_, err := c.do(ctx, http.MethodDelete, registryPath(registry, "listeners", name), nil, nil)
	return err
}
