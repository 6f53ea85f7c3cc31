// Package controlclient is the control plane from the other side: a typed client
// of /api/v1 for the command line and for tests.
//
// It owns the requests and the following of pages. What the answers look like on
// a screen is for package cli; how a request is sent, for package exchange.
// Invariant: credentials go to the one server the client was made for, and
// nowhere else: no redirect is followed, and of a link to a next page only path
// and query are used.
//
// Every method fails with a *fault.Error. What the server refused comes with the
// server's code and sentence.
package controlclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/exchange"
	"github.com/dockbell/dockbell/internal/fault"
)

// root is where the server has the control plane for people with curl.
const root = "/api/v1/registries"

// Client talks to one server. Its methods may be called from many goroutines.
type Client struct {
	server             *url.URL
	username, password string
	http               http.Client
	silence            time.Duration // after which a stream counts as lost
}

// New returns a client of the server, of whose URL scheme, host and port count.
// An empty username sends no credentials. The transport and time limit of hc are
// used.
func New(server *url.URL, username, password string, hc *http.Client) *Client {
	return &Client{
		server:   &url.URL{Scheme: server.Scheme, Host: server.Host},
		username: username,
		password: password,
		http:     exchange.Client(hc),
		silence:  silence,
	}
}

// Registries returns the registries the caller may see, by name.
func (c *Client) Registries(ctx context.Context) ([]Registry, error) {
	return list[Registry](ctx, c, http.MethodGet, root)
}

// Registry returns one registry.
func (c *Client) Registry(ctx context.Context, name string) (Registry, error) {
	return get[Registry](ctx, c, http.MethodGet, registryPath(name), nil)
}

// withHealth is the query that asks how webhooks fare.
const withHealth = "?expand=health"

// Webhooks returns the webhooks of a registry, with their health.
func (c *Client) Webhooks(ctx context.Context, registry string) ([]Webhook, error) {
	return list[Webhook](ctx, c, http.MethodGet, registryPath(registry, "webhooks")+withHealth)
}

// Webhook returns one webhook, with its health.
func (c *Client) Webhook(ctx context.Context, registry, name string) (Webhook, error) {
	return get[Webhook](ctx, c, http.MethodGet, webhookPath(registry, name)+withHealth, nil)
}

// PutWebhook creates a webhook or replaces the one of that name. The answer is
// without health.
func (c *Client) PutWebhook(ctx context.Context, registry, name string, def WebhookCreate) (Webhook, error) {
	return get[Webhook](ctx, c, http.MethodPut, webhookPath(registry, name), def)
}

// PatchWebhook changes the members that are set. The answer is without health.
func (c *Client) PatchWebhook(ctx context.Context, registry, name string, change WebhookUpdate) (Webhook, error) {
	return get[Webhook](ctx, c, http.MethodPatch, webhookPath(registry, name), change)
}

// PauseWebhook makes what a webhook is owed wait, until ResumeWebhook, and
// returns it with its health.
func (c *Client) PauseWebhook(ctx context.Context, registry, name string) (Webhook, error) {
	return get[Webhook](ctx, c, http.MethodPost, webhookPath(registry, name, "pause"), nil)
}

// ResumeWebhook ends a pause and returns the webhook with its health.
func (c *Client) ResumeWebhook(ctx context.Context, registry, name string) (Webhook, error) {
	return get[Webhook](ctx, c, http.MethodPost, webhookPath(registry, name, "resume"), nil)
}

// Handshake asks the address of a webhook whether it agrees to be rung, and
// returns the webhook as it is then, with its health.
func (c *Client) Handshake(ctx context.Context, registry, name string) (Webhook, error) {
	return get[Webhook](ctx, c, http.MethodPost, webhookPath(registry, name, "handshake"), nil)
}

// DeleteWebhook deletes a webhook; existed is false when there was none.
func (c *Client) DeleteWebhook(ctx context.Context, registry, name string) (existed bool, err error) {
	status, err := c.do(ctx, http.MethodDelete, webhookPath(registry, name), nil, nil)
	return err == nil && status != http.StatusNoContent, err
}

// created is the answer that names what was made.
type created struct {
	ID string `json:"id"`
}

// Ping makes the webhook ring once and returns the id of the event. How it went
// is in Events.
func (c *Client) Ping(ctx context.Context, registry, name string) (id string, err error) {
	event, err := get[created](ctx, c, http.MethodPost, webhookPath(registry, name, "ping"), nil)
	return event.ID, err
}

// Test sends the webhook a sample of an action, marked as one, and returns the
// id of the event. How it went is in Events.
func (c *Client) Test(ctx context.Context, registry, name, action string) (id string, err error) {
	body := struct {
		Action string `json:"action"`
	}{action}
	event, err := get[created](ctx, c, http.MethodPost, webhookPath(registry, name, "test"), body)
	return event.ID, err
}

// CallbackConfig returns where a webhook rings and with which headers: in clear,
// secrets included.
func (c *Client) CallbackConfig(ctx context.Context, registry, name string) (CallbackConfig, error) {
	return get[CallbackConfig](ctx, c, http.MethodPost, webhookPath(registry, name, "getCallbackConfig"), nil)
}

// RotateSecret gives a webhook a new signing secret and returns it. The one it
// had signs too for the overlap, in whole minutes.
func (c *Client) RotateSecret(ctx context.Context, registry, name string, overlap time.Duration) (Rotation, error) {
	body := struct {
		OverlapInMinutes int64 `json:"overlapInMinutes"`
	}{int64(overlap / time.Minute)}
	return get[Rotation](ctx, c, http.MethodPost, webhookPath(registry, name, "rotateSecret"), body)
}

func registryPath(segments ...string) string {
	var b strings.Builder
	b.WriteString(root)
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// webhookPath is the path of a webhook, and below that.
func webhookPath(registry, name string, below ...string) string {
	return Endpoint{OfWebhook, registry, name}.path(below...)
}

// page is one answer of a list.
type page[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink"`
}

// maxPages ends a list whose server links its pages in a circle.
const maxPages = 10_000

// list collects all pages. The next ones are asked for with GET, also after a
// POST.
func list[T any](ctx context.Context, c *Client, method, path string) ([]T, error) {
	all := []T{}
	for range maxPages {
		var p page[T]
		if _, err := c.do(ctx, method, path, nil, &p); err != nil {
			return nil, err
		}
		all = append(all, p.Value...)
		if p.NextLink == "" {
			return all, nil
		}
		next, err := url.Parse(p.NextLink)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "%s links to a next page at %q, which is no URL", c.server, p.NextLink)
		}
		method, path = http.MethodGet, next.RequestURI()
	}
	return nil, fault.New(fault.Internal, "%s links from page to page without an end", c.server)
}

// Page is a part of a list.
type Page[T any] struct {
	Value []T
	Next  string // with which the next part is asked for; empty: this is the last one
}

// onePage asks for one part of a list, which begins where next of another part says.
func onePage[T any](ctx context.Context, c *Client, path string, query url.Values, next string) (Page[T], error) {
	if next != "" {
		query.Set(skipToken, next)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	p, err := get[page[T]](ctx, c, http.MethodGet, path, nil)
	if err != nil {
		return Page[T]{}, err
	}
	link, err := url.Parse(p.NextLink)
	if err != nil {
		return Page[T]{}, fault.Wrap(err, fault.Internal, "%s links to a next page at %q, which is no URL", c.server, p.NextLink)
	}
	return Page[T]{p.Value, link.Query().Get(skipToken)}, nil
}

// skipToken is the query parameter by which a link leads to a next page.
const skipToken = "$skiptoken"

// get sends one request and returns the answer.
func get[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var answer T
	_, err := c.do(ctx, method, path, body, &answer)
	return answer, err
}

// do sends one request and decodes the answer into out, unless that is nil. path
// is escaped and may have a query.
func (c *Client) do(ctx context.Context, method, path string, body, out any) (status int, err error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, fault.Wrap(err, fault.Internal, "the request cannot be encoded")
		}
		content = bytes.NewReader(encoded)
	}
	req, err := exchange.Request(ctx, c.server, method, path, content, c.username, c.password)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := exchange.Do(&c.http, c.server, req)
	if err != nil {
		return 0, err
	}
	if !answer.Done() {
		return answer.Status, c.refused(answer)
	}
	if out == nil {
		return answer.Status, nil
	}
	if err := json.Unmarshal(answer.Body, out); err != nil {
		return answer.Status, fault.Wrap(err, fault.Internal, "%s answered with something that is not the control plane's JSON: is this the address of a dockbell server?", c.server)
	}
	return answer.Status, nil
}

// String returns the server's address.
func (c *Client) String() string { return fmt.Sprint(c.server) }
