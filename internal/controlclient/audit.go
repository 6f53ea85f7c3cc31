package controlclient

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// AuditEntry is something that was done or tried.
type AuditEntry struct {
	Time          time.Time `json:"time"` // of several, of the last
	Actor         string    `json:"actor"`
	ActorKind     string    `json:"actorKind"` // User, Application, Token or Anonymous
	Client        string    `json:"client"`    // address, or network
	Action        string    `json:"action"`    // Microsoft.ContainerRegistry/registries/webhooks/write
	ResourceID    string    `json:"resourceId"`
	Registry      string    `json:"registry"` // name; empty: of the server, or deleted
	Outcome       string    `json:"outcome"`  // succeeded, refused or failed
	RequestID     string    `json:"requestId"`
	CorrelationID string    `json:"correlationId"`
	Detail        string    `json:"detail"`
	Count         int64     `json:"count"` // how often it happened
}

// AuditFilter says which entries are wanted. Zero members want all.
type AuditFilter struct {
	After, Before time.Time
	Actor         string // whole name
	Action        string // with which it begins, with or without Microsoft.ContainerRegistry/
	Resource      string // a part of its id
	Outcome       string
}

func (f AuditFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"actor": f.Actor, "action": f.Action, "resource": f.Resource, "outcome": f.Outcome} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"after": f.After, "before": f.Before} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return q
}

// AuditLog returns the newest n entries that the filter lets pass, newest first: of
// a registry, or with an empty name of the whole server.
func (c *Client) AuditLog(ctx context.Context, registry string, f AuditFilter, n int) ([]AuditEntry, error) {
	all, next := []AuditEntry{}, ""
	for range maxPages {
		p, err := c.AuditPage(ctx, registry, f, next)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Value...)
		if len(all) >= n || p.Next == "" {
			return all[:min(n, len(all))], nil
		}
		next = p.Next
	}
	return nil, fault.New(fault.Internal, "%s links from page to page without an end", c.server)
}

// AuditPage returns some of what AuditLog does, as many as the server shows at once,
// from where next of another page says.
func (c *Client) AuditPage(ctx context.Context, registry string, f AuditFilter, next string) (Page[AuditEntry], error) {
	path := "/api/v1/auditLog"
	if registry != "" {
		path = registryPath(registry, "auditLog")
	}
	return onePage[AuditEntry](ctx, c, path, f.query(), next)
}

// SigningKey is a key that signs tokens.
type SigningKey struct {
	ID            string    `json:"id"`    // kid in tokens
	State         string    `json:"state"` // next, signing or verifying
	CreatedAt     time.Time `json:"createdAt"`
	SignsFrom     time.Time `json:"signsFrom"`
	VerifiesUntil time.Time `json:"verifiesUntil"` // zero while none is to follow it
}

const signingKeysRoot = "/api/v1/signingKeys"

// SigningKeys returns the keys whose signatures count, in the order in which they
// sign.
func (c *Client) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return list[SigningKey](ctx, c, http.MethodGet, signingKeysRoot)
}

// RotateSigningKey has another key follow the one that signs, and returns it; made
// is false for one that waited to sign already. With revoke it signs at once, and
// what any other has signed is refused.
func (c *Client) RotateSigningKey(ctx context.Context, revoke bool) (key SigningKey, made bool, err error) {
	body := struct {
		Revoke bool `json:"revoke"`
	}{revoke}
	status, err := c.do(ctx, http.MethodPost, signingKeysRoot+"/rotate", body, &key)
	return key, status == http.StatusCreated, err
}
