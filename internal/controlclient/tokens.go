package controlclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// ScopeMap is a named list of what may be done with repositories.
type ScopeMap struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		Type         string   `json:"type"` // SystemDefined or UserDefined
		Description  string   `json:"description"`
		CreationDate string   `json:"creationDate"`
		Actions      []string `json:"actions"` // repositories/NAME/content/read and so on
	} `json:"properties"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (m *ScopeMap) UnmarshalJSON(b []byte) error {
	type fields ScopeMap // without this method
	m.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(m))
}

// ScopeMapWrite is the body that creates or changes a scope map: in an update, a
// nil member stays as it is. Actions are required in a create.
type ScopeMapWrite struct {
	Description *string  `json:"description,omitempty"`
	Actions     []string `json:"actions,omitzero"`
}

// Token is an account for some of a registry's repositories.
type Token struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		CreationDate      string `json:"creationDate"`
		ProvisioningState string `json:"provisioningState"`
		ScopeMapID        string `json:"scopeMapId"`
		Status            string `json:"status"` // enabled or disabled
		Credentials       struct {
			Passwords []TokenPassword `json:"passwords"`
		} `json:"credentials"`
	} `json:"properties"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (t *Token) UnmarshalJSON(b []byte) error {
	type fields Token // without this method
	t.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(t))
}

// TokenPassword is one of the two passwords that a token can have.
type TokenPassword struct {
	Name   string `json:"name"`             // password1 or password2
	Expiry string `json:"expiry,omitempty"` // empty: never
	Value  string `json:"value,omitempty"`  // only where it was just made
}

// TokenWrite is the body that creates or changes a token: in an update, what is
// empty or nil stays as it is. ScopeMapID is required in a create.
type TokenWrite struct {
	ScopeMapID  string            `json:"scopeMapId,omitempty"`
	Status      string            `json:"status,omitempty"`
	Credentials *TokenCredentials `json:"credentials,omitempty"`
}

// TokenCredentials says which of a token's passwords are kept: those whose names
// are there.
type TokenCredentials struct {
	Passwords []TokenPassword `json:"passwords"`
}

// GeneratedCredentials are the passwords of a token, those in clear that were just
// made.
type GeneratedCredentials struct {
	Username  string          `json:"username"`
	Passwords []TokenPassword `json:"passwords"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (g *GeneratedCredentials) UnmarshalJSON(b []byte) error {
	type fields GeneratedCredentials // without this method
	g.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(g))
}

// properties is a body as ARM has it.
func properties(p any) any {
	return struct {
		Properties any `json:"properties"`
	}{p}
}

// ScopeMaps returns the scope maps of a registry.
func (c *Client) ScopeMaps(ctx context.Context, registry string) ([]ScopeMap, error) {
	return list[ScopeMap](ctx, c, http.MethodGet, registryPath(registry, "scopeMaps"))
}

// ScopeMapsPage returns some of what ScopeMaps does, as many as the server shows at
// once, from where next of another page says.
func (c *Client) ScopeMapsPage(ctx context.Context, registry, next string) (Page[ScopeMap], error) {
	return onePage[ScopeMap](ctx, c, registryPath(registry, "scopeMaps"), url.Values{}, next)
}

// ScopeMap returns one scope map.
func (c *Client) ScopeMap(ctx context.Context, registry, name string) (ScopeMap, error) {
	return get[ScopeMap](ctx, c, http.MethodGet, registryPath(registry, "scopeMaps", name), nil)
}

// PutScopeMap creates a scope map or replaces the one of that name.
func (c *Client) PutScopeMap(ctx context.Context, registry, name string, def ScopeMapWrite) (ScopeMap, error) {
	return get[ScopeMap](ctx, c, http.MethodPut, registryPath(registry, "scopeMaps", name), properties(def))
}

// PatchScopeMap changes the members that are set.
func (c *Client) PatchScopeMap(ctx context.Context, registry, name string, change ScopeMapWrite) (ScopeMap, error) {
	return get[ScopeMap](ctx, c, http.MethodPatch, registryPath(registry, "scopeMaps", name), properties(change))
}

// DeleteScopeMap deletes a scope map; existed is false when there was none.
func (c *Client) DeleteScopeMap(ctx context.Context, registry, name string) (existed bool, err error) {
	status, err := c.do(ctx, http.MethodDelete, registryPath(registry, "scopeMaps", name), nil, nil)
	return err == nil && status != http.StatusNoContent, err
}

// Tokens returns the tokens of a registry, without the values of passwords.
func (c *Client) Tokens(ctx context.Context, registry string) ([]Token, error) {
	return list[Token](ctx, c, http.MethodGet, registryPath(registry, "tokens"))
}

// TokensPage returns some of what Tokens does, as ScopeMapsPage does of scope maps.
func (c *Client) TokensPage(ctx context.Context, registry, next string) (Page[Token], error) {
	return onePage[Token](ctx, c, registryPath(registry, "tokens"), url.Values{}, next)
}

// Token returns one token, without the values of its passwords.
func (c *Client) Token(ctx context.Context, registry, name string) (Token, error) {
	return get[Token](ctx, c, http.MethodGet, registryPath(registry, "tokens", name), nil)
}

// PutToken creates a token or replaces the one of that name.
func (c *Client) PutToken(ctx context.Context, registry, name string, def TokenWrite) (Token, error) {
	return get[Token](ctx, c, http.MethodPut, registryPath(registry, "tokens", name), properties(def))
}

// PatchToken changes the members that are set.
func (c *Client) PatchToken(ctx context.Context, registry, name string, change TokenWrite) (Token, error) {
	return get[Token](ctx, c, http.MethodPatch, registryPath(registry, "tokens", name), properties(change))
}

// DeleteToken deletes a token; existed is false when there was none.
func (c *Client) DeleteToken(ctx context.Context, registry, name string) (existed bool, err error) {
	status, err := c.do(ctx, http.MethodDelete, registryPath(registry, "tokens", name), nil, nil)
	return err == nil && status != http.StatusNoContent, err
}

// GenerateCredentials makes passwords of a token, which is named by its ARM id,
// and returns them in clear: the one of a name, both if that is empty. They are
// good until expiry, for ever if that is zero.
func (c *Client) GenerateCredentials(ctx context.Context, registry, tokenID, password string, expiry time.Time) (GeneratedCredentials, error) {
	body := struct {
		TokenID string    `json:"tokenId"`
		Name    string    `json:"name,omitempty"`
		Expiry  time.Time `json:"expiry,omitzero"`
	}{tokenID, password, expiry}
	return get[GeneratedCredentials](ctx, c, http.MethodPost, registryPath(registry, "generateCredentials"), body)
}
