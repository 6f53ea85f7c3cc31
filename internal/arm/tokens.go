package arm

import (
	"net/http"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
)

// The wire forms of a repository-scoped token, which ARM calls a token.
type (
	tokenInput struct {
		Properties member[tokenInputProps] `json:"properties"`
	}
	tokenInputProps struct {
		ScopeMapID  member[string]               `json:"scopeMapId"`
		Status      member[string]               `json:"status"`
		Credentials member[tokenCredentialInput] `json:"credentials"`
	}
	tokenCredentialInput struct {
		Certificates []struct{}                   `json:"certificates"`
		Passwords    member[[]tokenPasswordInput] `json:"passwords"`
	}
	tokenPasswordInput struct {
		Name   string         `json:"name"`
		Expiry member[string] `json:"expiry"`
	}
	tokenBody struct {
		Type       string          `json:"type"`
		ID         string          `json:"id"`
		Name       string          `json:"name"`
		SystemData systemData      `json:"systemData"`
		Properties tokenProperties `json:"properties"`
	}
	tokenProperties struct {
		CreationDate      string          `json:"creationDate"`
		ProvisioningState string          `json:"provisioningState"`
		ScopeMapID        string          `json:"scopeMapId"`
		Credentials       tokenCredential `json:"credentials"`
		Status            string          `json:"status"`
	}
	tokenCredential struct {
		Certificates []string            `json:"certificates"` // there are none
		Passwords    []tokenPasswordBody `json:"passwords"`
	}
	tokenPasswordBody struct {
		CreationTime string `json:"creationTime"`
		Expiry       string `json:"expiry,omitempty"` // absent: never
		Name         string `json:"name"`
		Value        string `json:"value,omitempty"` // in the answer that makes it, and in no other
	}
	generateInput struct {
		TokenID string         `json:"tokenId"`
		Name    member[string] `json:"name"`
		Expiry  member[string] `json:"expiry"`
	}
	generatedBody struct {
		Username  string              `json:"username"`
		Passwords []tokenPasswordBody `json:"passwords"`
	}
)

// change reads the body of a PATCH: an absent member stays as it is, null takes
// away what a token can be without.
func (in tokenInput) change(r tenant.Registry) (change auth.TokenChange, err error) {
	p := in.Properties.orZero()
	for _, m := range []struct {
		name string
		null bool
	}{{"properties.scopeMapId", p.ScopeMapID.null()}, {"properties.status", p.Status.null()}} {
		if m.null {
			return change, invalidContent("%s cannot be null: a token is never without it; leave it out to keep it as it is", m.name)
		}
	}
	change.Status = p.Status.value
	if id := p.ScopeMapID.value; id != nil {
		name, ok := nameIn(r, "scopeMaps", *id)
		if !ok {
			return change, invalidContent("properties.scopeMapId %.300q is no scope map of registry %s: give its id, %s/scopeMaps/NAME", *id, r.Name, r.ResourceID())
		}
		change.ScopeMap = &name
	}
	credentials := p.Credentials.orZero()
	if len(credentials.Certificates) > 0 {
		return change, invalidContent("properties.credentials.certificates: tokens log in with passwords here, not with certificates; leave them out")
	}
	if p.Credentials.null() || credentials.Passwords.present {
		change.Keep = []auth.TokenPassword{}
	}
	for _, sent := range credentials.Passwords.orZero() {
		expires, err := readExpiry("properties.credentials.passwords.expiry", sent.Expiry)
		if err != nil {
			return change, err
		}
		change.Keep = append(change.Keep, auth.TokenPassword{Name: sent.Name, ExpiresAt: expires})
	}
	return change, nil
}

// definition reads the body of a PUT, where null is the same as absent.
func (in tokenInput) definition(r tenant.Registry) (auth.TokenChange, error) {
	if p := in.Properties.value; p != nil {
		p.ScopeMapID.present = p.ScopeMapID.value != nil
		p.Status.present = p.Status.value != nil
		p.Credentials.present = p.Credentials.value != nil
		if c := p.Credentials.value; c != nil {
			c.Passwords.present = c.Passwords.value != nil
		}
	}
	return in.change(r)
}

// readExpiry reads a time (RFC 3339), the zero one where none is given.
func readExpiry(name string, m member[string]) (time.Time, error) {
	if m.value == nil {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, *m.value)
	if err != nil {
		return time.Time{}, invalidContent("%s %q is no time: write it like 2030-01-31T12:00:00Z", name, clip(*m.value))
	}
	return t, nil
}

// nameIn returns the name in the id of a child resource of a registry, which is a
// path under either root, in any case.
func nameIn(r tenant.Registry, kind, id string) (name string, ok bool) {
	p := parsePath(id)
	switch {
	case p.level != ofRegistry || !strings.EqualFold(p.registry, r.Name) || len(p.rest) != 2 || !strings.EqualFold(p.rest[0], kind):
		return "", false
	case !p.short && !(strings.EqualFold(p.subscription, r.Subscription) && strings.EqualFold(p.group, r.ResourceGroup)):
		return "", false
	}
	return p.rest[1], true
}

func tokenToWire(r tenant.Registry, t auth.RepositoryToken) tokenBody {
	body := tokenBody{
		Type:       aToken,
		ID:         r.ResourceID() + "/tokens/" + t.Name,
		Name:       t.Name,
		SystemData: authStampToWire(t.Stamp),
		Properties: tokenProperties{
			CreationDate:      wireTime(t.CreatedAt),
			ProvisioningState: provisioned,
			ScopeMapID:        r.ResourceID() + "/scopeMaps/" + t.ScopeMap,
			Credentials:       tokenCredential{[]string{}, make([]tokenPasswordBody, len(t.Passwords))},
			Status:            t.Status(),
		},
	}
	for i, p := range t.Passwords {
		body.Properties.Credentials.Passwords[i] = passwordToWire(p)
	}
	return body
}

func passwordToWire(p auth.TokenPassword) tokenPasswordBody {
	return tokenPasswordBody{CreationTime: wireTime(p.CreatedAt), Expiry: optionalTime(p.ExpiresAt), Name: p.Name}
}

// listTokens answers in pages.
func listTokens(a *api, c call) (answer, error) {
	after, err := nameToken(c)
	if err != nil {
		return answer{}, err
	}
	page, next, err := a.Tokens.Tokens(c.Context(), tokensOf(c.registry), after, namesPerPage)
	if err != nil {
		return answer{}, err
	}
	list := listBody[tokenBody]{Value: make([]tokenBody, len(page))}
	for i, t := range page {
		list.Value[i] = tokenToWire(c.registry, t)
	}
	if next != "" {
		list.NextLink = nextLink(c.Request, next)
	}
	return answer{http.StatusOK, list}, nil
}

func getToken(a *api, c call) (answer, error) {
	t, err := a.Tokens.Token(c.Context(), tokensOf(c.registry), c.name)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, tokenToWire(c.registry, t)}, nil
}

// putToken creates (201) or replaces (200).
func putToken(a *api, c call) (answer, error) {
	var in tokenInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	def, err := in.definition(c.registry)
	if err != nil {
		return answer{}, err
	}
	t, created, err := a.Tokens.PutToken(c.Context(), tokensOf(c.registry), c.name, def, auth.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.note("created", created)
	c.noteToken(t)
	return answer{status, tokenToWire(c.registry, t)}, nil
}

func patchToken(a *api, c call) (answer, error) {
	var in tokenInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	change, err := in.change(c.registry)
	if err != nil {
		return answer{}, err
	}
	t, err := a.Tokens.PatchToken(c.Context(), tokensOf(c.registry), c.name, change, auth.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	c.noteToken(t)
	return answer{http.StatusOK, tokenToWire(c.registry, t)}, nil
}

// deleteToken answers 204 when there was nothing to delete.
func deleteToken(a *api, c call) (answer, error) {
	err := a.Tokens.DeleteToken(c.Context(), tokensOf(c.registry), c.name)
	if fault.Is(err, fault.NotFound) {
		return answer{status: http.StatusNoContent}, nil
	}
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK}, nil
}

// generateCredentials makes passwords of a token, and answers what no other
// operation does: their values.
func generateCredentials(a *api, c call) (answer, error) {
	var in generateInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	name, ok := nameIn(c.registry, "tokens", in.TokenID)
	if !ok {
		return answer{}, invalidContent("tokenId %.300q is no token of registry %s: give its id, %s/tokens/NAME", in.TokenID, c.registry.Name, c.registry.ResourceID())
	}
	expires, err := readExpiry("expiry", in.Expiry)
	if err != nil {
		return answer{}, err
	}
	t, made, err := a.Tokens.GenerateCredentials(c.Context(), tokensOf(c.registry), name, in.Name.orZero(), expires, auth.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	body := generatedBody{Username: t.Name}
	var names []string
	for _, p := range made {
		shown := passwordToWire(p.TokenPassword)
		shown.Value = p.Value
		body.Passwords, names = append(body.Passwords, shown), append(names, p.Name)
	}
	c.note("token", t.Name, "passwords", strings.Join(names, ","))
	c.noteToken(t)
	return answer{http.StatusOK, body}, nil
}

// noteToken puts on record what a token is now.
func (c call) noteToken(t auth.RepositoryToken) {
	c.note("scopeMap", t.ScopeMap, "status", t.Status())
}
