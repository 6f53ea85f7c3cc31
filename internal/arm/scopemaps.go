package arm

import (
	"net/http"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
)

// The wire forms of a scope map.
type (
	scopeMapInput struct {
		Properties member[scopeMapInputProps] `json:"properties"`
	}
	scopeMapInputProps struct {
		Description member[string]   `json:"description"`
		Actions     member[[]string] `json:"actions"`
	}
	scopeMapBody struct {
		Type       string             `json:"type"`
		ID         string             `json:"id"`
		Name       string             `json:"name"`
		SystemData systemData         `json:"systemData"`
		Properties scopeMapProperties `json:"properties"`
	}
	scopeMapProperties struct {
		Description       string   `json:"description,omitempty"`
		Type              string   `json:"type"` // UserDefined or SystemDefined
		CreationDate      string   `json:"creationDate"`
		ProvisioningState string   `json:"provisioningState"`
		Actions           []string `json:"actions"`
	}
)

// tokensOf is a registry as package auth sees it whose tokens and scope maps are
// changed.
func tokensOf(r tenant.Registry) auth.TokenRegistry {
	return auth.TokenRegistry{ID: r.ID, Name: r.Name, SKU: string(r.SKU), Limit: r.SKU.TokenLimit()}
}

// scopeMapToWire shows a scope map. The built-in ones are as old as the registry.
func scopeMapToWire(r tenant.Registry, m auth.ScopeMap) scopeMapBody {
	kind := "UserDefined"
	if m.BuiltIn {
		kind = "SystemDefined"
		by := auth.Actor(r.CreatedBy)
		m.Stamp = auth.Stamp{CreatedAt: r.CreatedAt, UpdatedAt: r.CreatedAt, CreatedBy: by, UpdatedBy: by}
	}
	return scopeMapBody{
		Type:       aScopeMap,
		ID:         r.ResourceID() + "/scopeMaps/" + m.Name,
		Name:       m.Name,
		SystemData: authStampToWire(m.Stamp),
		Properties: scopeMapProperties{m.Description, kind, wireTime(m.CreatedAt), provisioned, m.Actions},
	}
}

func authStampToWire(s auth.Stamp) systemData {
	return newSystemData(tenant.Actor(s.CreatedBy), s.CreatedAt, tenant.Actor(s.UpdatedBy), s.UpdatedAt)
}

// listScopeMaps answers in pages. The built-in ones are first, and beyond the
// length of a page.
func listScopeMaps(a *api, c call) (answer, error) {
	after, err := nameToken(c)
	if err != nil {
		return answer{}, err
	}
	page, next, err := a.Tokens.ScopeMaps(c.Context(), tokensOf(c.registry), after, namesPerPage)
	if err != nil {
		return answer{}, err
	}
	list := listBody[scopeMapBody]{Value: make([]scopeMapBody, len(page))}
	for i, m := range page {
		list.Value[i] = scopeMapToWire(c.registry, m)
	}
	if next != "" {
		list.NextLink = nextLink(c.Request, next)
	}
	return answer{http.StatusOK, list}, nil
}

func getScopeMap(a *api, c call) (answer, error) {
	m, err := a.Tokens.ScopeMap(c.Context(), tokensOf(c.registry), c.name)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, scopeMapToWire(c.registry, m)}, nil
}

// putScopeMap creates (201) or replaces (200).
func putScopeMap(a *api, c call) (answer, error) {
	var in scopeMapInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	p := in.Properties.orZero()
	if p.Actions.value == nil {
		return answer{}, invalidContent("properties.actions is missing: give what the scope map allows, such as repositories/team/*/content/read, or an empty list for nothing")
	}
	m, created, err := a.Tokens.PutScopeMap(c.Context(), tokensOf(c.registry), c.name, p.Description.orZero(), *p.Actions.value, auth.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.note("created", created, "actions", len(m.Actions))
	return answer{status, scopeMapToWire(c.registry, m)}, nil
}

// patchScopeMap changes what is there; null clears.
func patchScopeMap(a *api, c call) (answer, error) {
	var in scopeMapInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	p := in.Properties.orZero()
	change := auth.ScopeMapChange{Description: p.Description.value, Actions: p.Actions.orZero()}
	if p.Description.null() {
		change.Description = new("")
	}
	if p.Actions.present && change.Actions == nil {
		change.Actions = []string{}
	}
	m, err := a.Tokens.PatchScopeMap(c.Context(), tokensOf(c.registry), c.name, change, auth.Actor(c.by()))
	if err != nil {
		return answer{}, err
	}
	c.note("actions", len(m.Actions))
	return answer{http.StatusOK, scopeMapToWire(c.registry, m)}, nil
}

// deleteScopeMap answers 204 when there was nothing to delete.
func deleteScopeMap(a *api, c call) (answer, error) {
	err := a.Tokens.DeleteScopeMap(c.Context(), tokensOf(c.registry), c.name)
	if fault.Is(err, fault.NotFound) {
		return answer{status: http.StatusNoContent}, nil
	}
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK}, nil
}
