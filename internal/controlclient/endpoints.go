package controlclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
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

// EventPage returns up to n attempts made for an endpoint that the filter lets pass,
// 100 at the most: newest first, from where next of another page says. A page may be
// short, or empty, and not be the last one.
func (c *Client) EventPage(ctx context.Context, e Endpoint, f EventFilter, next string, n int) (Page[Event], error) {
	query := f.values()
	query.Set("limit", strconv.Itoa(n))
	return onePage[Event](ctx, c, e.path("listEvents"), query, next)
}

// The states of a Standing.
const (
	StandsWaiting   = "waiting"
	StandsDelivered = "delivered"
	StandsRefused   = "refused"
	StandsDead      = "dead" // given up
	StandsNowhere   = "none" // never owed, or forgotten
)

// Standing is how one event stands for an endpoint.
type Standing struct {
	FeedEntry
	State string `json:"state"`

	// Of one that waits:
	Attempts    int       `json:"attempts"`    // made so far
	MaxAttempts int       `json:"maxAttempts"` // 0: not known
	NextAttempt time.Time `json:"nextAttempt"` // zero: it has no time
	ExpiresAt   time.Time `json:"expiresAt"`   // when it is given up; zero: not known
	Behind      bool      `json:"behind"`      // behind others that wait
	Paused      bool      `json:"paused"`      // until somebody resumes the endpoint
	Probing     bool      `json:"probing"`     // the receiver fails, and one event is tried now and then

	DeadLetter *DeadLetter `json:"deadLetter"` // it is among; nil: among none
}

// UnmarshalJSON reads the event and how it stands.
func (s *Standing) UnmarshalJSON(b []byte) error {
	type fields struct { // the embedded entry would read all by its own method
		State                  string
		Attempts, MaxAttempts  int
		NextAttempt, ExpiresAt time.Time
		Behind, Paused         bool
		Probing                bool
		DeadLetter             *DeadLetter
	}
	var f fields
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*s = Standing{
		State: f.State, Attempts: f.Attempts, MaxAttempts: f.MaxAttempts, NextAttempt: f.NextAttempt, ExpiresAt: f.ExpiresAt,
		Behind: f.Behind, Paused: f.Paused, Probing: f.Probing, DeadLetter: f.DeadLetter,
	}
	return json.Unmarshal(b, &s.FeedEntry)
}

// Standing returns how an event stands for an endpoint. A time that is not zero is
// when the event happened, by which it is found however old it is.
func (c *Client) Standing(ctx context.Context, e Endpoint, eventID string, at time.Time) (Standing, error) {
	path := e.path("deliveries", eventID)
	if !at.IsZero() {
		path += "?" + url.Values{"eventTime": {at.UTC().Format(time.RFC3339Nano)}}.Encode()
	}
	return get[Standing](ctx, c, http.MethodGet, path, nil)
}

// Pause makes what an endpoint is owed wait, until Resume.
func (c *Client) Pause(ctx context.Context, e Endpoint) error {
	_, err := c.do(ctx, http.MethodPost, e.path("pause"), nil, nil)
	return err
}

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context, e Endpoint) error {
	_, err := c.do(ctx, http.MethodPost, e.path("resume"), nil, nil)
	return err
}
