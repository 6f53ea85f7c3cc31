// Package controlclient is the control plane from the other side: a typed client
// of /api/v1 for the command line and for tests.
//
// It owns the requests, the following of pages, and the sentences for what can
// go wrong between here and the server. What the answers look like on a screen
// is for package cli. Invariant: credentials go to the one server the client was
// made for, and nowhere else: no redirect is followed, and of a link to a next
// page only path and query are used.
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

	"github.com/dockbell/dockbell/internal/fault"
)

// root is where the server has the control plane for people with curl.
const root = "/api/v1/registries"

// maxAnswer bounds what is read of one answer, in bytes. A page of a hundred
// events with their bodies is well below.
const maxAnswer = 32 << 20

// Client talks to one server. Its methods may be called from many goroutines.
type Client struct {
	server             *url.URL
	username, password string
	http               http.Client
}

// New returns a client of the server, of whose URL scheme, host and port count.
// An empty username sends no credentials. The transport and time limit of hc are
// used.
func New(server *url.URL, username, password string, hc *http.Client) *Client {
	c := &Client{
		server:   &url.URL{Scheme: server.Scheme, Host: server.Host},
		username: username,
		password: password,
		http:     *hc,
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// Registries returns the registries the caller may see, by name.
func (c *Client) Registries(ctx context.Context) ([]Registry, error) {
	return list[Registry](ctx, c, http.MethodGet, root)
}

// Registry returns one registry.
func (c *Client) Registry(ctx context.Context, name string) (Registry, error) {
	var r Registry
	_, err := c.do(ctx, http.MethodGet, registryPath(name), nil, &r)
	return r, err
}

// Webhooks returns the webhooks of a registry.
func (c *Client) Webhooks(ctx context.Context, registry string) ([]Webhook, error) {
	return list[Webhook](ctx, c, http.MethodGet, registryPath(registry, "webhooks"))
}

// Webhook returns one webhook.
func (c *Client) Webhook(ctx context.Context, registry, name string) (Webhook, error) {
	return c.webhook(ctx, http.MethodGet, registry, name, nil)
}

// PutWebhook creates a webhook or replaces the one of that name.
func (c *Client) PutWebhook(ctx context.Context, registry, name string, def WebhookCreate) (Webhook, error) {
	return c.webhook(ctx, http.MethodPut, registry, name, def)
}

// PatchWebhook changes the members that are set.
func (c *Client) PatchWebhook(ctx context.Context, registry, name string, change WebhookUpdate) (Webhook, error) {
	return c.webhook(ctx, http.MethodPatch, registry, name, change)
}

func (c *Client) webhook(ctx context.Context, method, registry, name string, body any) (Webhook, error) {
	var w Webhook
	_, err := c.do(ctx, method, registryPath(registry, "webhooks", name), body, &w)
	return w, err
}

// DeleteWebhook deletes a webhook; existed is false when there was none.
func (c *Client) DeleteWebhook(ctx context.Context, registry, name string) (existed bool, err error) {
	status, err := c.do(ctx, http.MethodDelete, registryPath(registry, "webhooks", name), nil, nil)
	return err == nil && status != http.StatusNoContent, err
}

// Ping makes the webhook ring once and returns the id of the event. How it went
// is in Events.
func (c *Client) Ping(ctx context.Context, registry, name string) (id string, err error) {
	var answer struct {
		ID string `json:"id"`
	}
	_, err = c.do(ctx, http.MethodPost, registryPath(registry, "webhooks", name, "ping"), nil, &answer)
	return answer.ID, err
}

// CallbackConfig returns where a webhook rings and with which headers: in clear,
// secrets included.
func (c *Client) CallbackConfig(ctx context.Context, registry, name string) (CallbackConfig, error) {
	var cfg CallbackConfig
	_, err := c.do(ctx, http.MethodPost, registryPath(registry, "webhooks", name, "getCallbackConfig"), nil, &cfg)
	return cfg, err
}

// Events returns the attempts made for a webhook, newest first, as many as the
// server shows.
func (c *Client) Events(ctx context.Context, registry, name string) ([]Event, error) {
	return list[Event](ctx, c, http.MethodPost, registryPath(registry, "webhooks", name, "listEvents"))
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
	req, err := http.NewRequestWithContext(ctx, method, c.server.String()+path, content)
	if err != nil {
		return 0, fault.Wrap(err, fault.Invalid, "%q is no address of a server: give one like http://localhost:5000", c.server)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.username != "" {
		req.SetBasicAuth(c.username, c.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return 0, c.unreachable(ctx, err)
	}
	if len(answer) > maxAnswer {
		return 0, fault.New(fault.Internal, "%s answered with more than %d bytes", c.server, maxAnswer)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp.StatusCode, c.refused(resp, answer)
	}
	if out == nil {
		return resp.StatusCode, nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return resp.StatusCode, fault.Wrap(err, fault.Internal, "%s answered with something that is not the control plane's JSON: is this the address of a dockbell server?", c.server)
	}
	return resp.StatusCode, nil
}

// String returns the server's address.
func (c *Client) String() string { return fmt.Sprint(c.server) }
