package arm

import (
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
)

// listRegistries answers all at once: what a page would save is little beside
// what the caller reads next.
func listRegistries(a *api, c call) (answer, error) {
	list := listBody[registryBody]{Value: []registryBody{}}
	for _, r := range a.registriesIn(c) {
		list.Value = append(list.Value, registryToWire(r, a.Source(r)))
	}
	return answer{http.StatusOK, list}, nil
}

// registriesIn returns the registries that the caller may read in the group that
// the path names, or everywhere.
func (a *api) registriesIn(c call) (found []tenant.Registry) {
	for _, r := range a.Tenants.List() {
		if (c.place.group == "" || strings.EqualFold(c.place.group, r.ResourceGroup)) && c.mayRead(r) {
			found = append(found, r)
		}
	}
	return found
}

func getRegistry(a *api, c call) (answer, error) {
	return answer{http.StatusOK, registryToWire(c.registry, a.Source(c.registry))}, nil
}

// putRegistry creates (201) or replaces (200).
func putRegistry(a *api, c call) (answer, error) {
	var in registryInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	settings, admin, err := in.settings()
	if err != nil {
		return answer{}, err
	}
	def := tenant.Definition{
		Location: in.Location.orZero(), SKU: in.SKU.orZero().Name, Tags: in.Tags.orZero(),
		AdminEnabled: admin != nil && *admin, Settings: settings,
	}
	group := c.place.group
	switch {
	case c.registry.ID != 0:
		group = c.registry.ResourceGroup
	case group == "":
		group = a.Tenants.Default().ResourceGroup // and no other, where the caller may have no right
	}
	r, created, err := a.Tenants.Put(c.Context(), group, c.place.registry, def, c.by())
	if err != nil {
		return answer{}, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.note("created", created)
	return answer{status, registryToWire(r, a.Source(r))}, nil
}

func patchRegistry(a *api, c call) (answer, error) {
	var in registryInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	settings, admin, err := in.settings()
	if err != nil {
		return answer{}, err
	}
	change := tenant.Change{Tags: clearable(in.Tags), AdminEnabled: admin, Settings: settings}
	if in.SKU.value != nil {
		change.SKU = &in.SKU.value.Name
	}
	r, err := a.Tenants.Patch(c.Context(), c.registry.Name, change, c.by())
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, registryToWire(r, a.Source(r))}, nil
}

// deleteRegistry answers 204 when there was nothing to delete. What the registry
// held goes in the background: nobody finds it any more.
func deleteRegistry(a *api, c call) (answer, error) {
	if c.registry.ID == 0 {
		return answer{status: http.StatusNoContent}, nil
	}
	_, err := a.Tenants.Delete(c.Context(), c.registry.Name)
	if fault.Is(err, fault.NotFound) {
		return answer{status: http.StatusNoContent}, nil
	}
	if err != nil {
		return answer{}, err
	}
	a.Purge()
	return answer{status: http.StatusOK}, nil
}

// The wire forms around registries.
type (
	checkNameInput struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	availabilityBody struct {
		NameAvailable bool   `json:"nameAvailable"`
		Reason        string `json:"reason,omitempty"`
		Message       string `json:"message,omitempty"`
	}
	usageBody struct {
		Name         string `json:"name"`
		Limit        int64  `json:"limit"` // -1: none
		CurrentValue int64  `json:"currentValue"`
		Unit         string `json:"unit"`
	}
	credentialsBody struct {
		Username  string         `json:"username"`
		Passwords []passwordBody `json:"passwords"`
	}
	passwordBody struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	regenerateInput struct {
		Name string `json:"name"`
	}
)

func checkName(a *api, c call) (answer, error) {
	var in checkNameInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	if !strings.EqualFold(in.Type, aRegistry) {
		return answer{}, invalidContent("type %q is not known: use %s", clip(in.Type), aRegistry)
	}
	name := a.Tenants.CheckName(in.Name)
	return answer{http.StatusOK, availabilityBody{name.Available, name.Reason, name.Message}}, nil
}

// listUsages shows how much of what a tier allows a registry has, in Azure's
// order.
func listUsages(a *api, c call) (answer, error) {
	r := c.registry
	hooks, err := a.Webhooks.List(c.Context(), hooksOf(r))
	if err != nil {
		return answer{}, err
	}
	counted := int64(0)
	for _, w := range hooks {
		if !w.Listener { // which does not count against the limit
			counted++
		}
	}
	size, err := a.Size(c.Context(), r.ID)
	if err != nil {
		return answer{}, err
	}
	maps, tokens, err := a.Tokens.Usage(c.Context(), r.ID)
	if err != nil {
		return answer{}, err
	}
	const count = "Count"
	list := listBody[usageBody]{Value: []usageBody{
		{"Size", r.SKU.IncludedStorage(), size, "Bytes"},
		{"Webhooks", int64(r.SKU.WebhookLimit()), counted, count},
	}}
	if r.SKU == tenant.Premium {
		list.Value = append(list.Value,
			usageBody{"Geo-replications", -1, int64(len(r.Locations())), count},
			// There are none of these yet, so none are used.
			usageBody{"IPRules", 200, 0, count},
			usageBody{"VNetRules", 100, 0, count},
			usageBody{"PrivateEndpointConnections", 200, 0, count},
		)
	}
	list.Value = append(list.Value,
		usageBody{"ScopeMaps", int64(r.SKU.TokenLimit()), int64(maps), count},
		usageBody{"Tokens", int64(r.SKU.TokenLimit()), int64(tokens), count},
	)
	return answer{http.StatusOK, list}, nil
}

// passwordNames are what Azure calls an admin user's passwords.
var passwordNames = [2]string{"password", "password2"}

func listCredentials(a *api, c call) (answer, error) {
	if err := needsAdmin(c.registry); err != nil {
		return answer{}, err
	}
	passwords, err := a.Admins.AdminPasswords(c.Context(), c.registry.ID)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, credentialsToWire(c.registry, passwords)}, nil
}

// regenerateCredential makes one of the two passwords anew.
func regenerateCredential(a *api, c call) (answer, error) {
	var in regenerateInput
	if err := readBody(c.Request, &in); err != nil {
		return answer{}, err
	}
	n := -1
	for i, name := range passwordNames {
		if strings.EqualFold(in.Name, name) {
			n = i
		}
	}
	if n < 0 {
		return answer{}, invalidContent("name %q is no password's: use password or password2", clip(in.Name))
	}
	if err := needsAdmin(c.registry); err != nil {
		return answer{}, err
	}
	passwords, err := a.Admins.RenewAdminPassword(c.Context(), c.registry.ID, n)
	if err != nil {
		return answer{}, err
	}
	c.note("name", passwordNames[n])
	return answer{http.StatusOK, credentialsToWire(c.registry, passwords)}, nil
}

func needsAdmin(r tenant.Registry) error {
	if r.AdminEnabled {
		return nil
	}
	return fault.New(fault.Invalid, "Cannot perform credential operations for %s as admin user is disabled. Enable it first: az acr update -n %s --admin-enabled true, or dockbell registry update -n %s --admin-enabled true",
		r.ResourceID(), r.Name, r.Name).WithCode("UnAuthorizedForCredentialOperations")
}

func credentialsToWire(r tenant.Registry, passwords [2]string) credentialsBody {
	body := credentialsBody{Username: r.Name}
	for i, name := range passwordNames {
		body.Passwords = append(body.Passwords, passwordBody{name, passwords[i]})
	}
	return body
}
