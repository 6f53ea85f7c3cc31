package controlclient

import (
	"context"
	"net/http"
)

// Endpoint names what a registry tells of its events: a webhook or an event
// subscription. What was sent to it, and is sent once more, is asked for alike.
type Endpoint struct {
	Kind     EndpointKind
	Registry string
	Name     string
}

// EndpointKind is a kind of Endpoint, as paths have it.
type EndpointKind string

// The kinds.
const (
	OfWebhook           EndpointKind = "webhooks"
	OfEventSubscription EndpointKind = "eventSubscriptions"
)

// path is the path of an endpoint, and below that.
func (e Endpoint) path(below ...string) string {
	return registryPath(append([]string{e.Registry, string(e.Kind), e.Name}, below...)...)
}

// Events returns the attempts made for an endpoint that the filter lets pass,
// newest first, as many as the server shows.
func (c *Client) Events(ctx context.Context, e Endpoint, f EventFilter) ([]Event, error) {
	return list[Event](ctx, c, http.MethodPost, e.path("listEvents")+f.query())
}
