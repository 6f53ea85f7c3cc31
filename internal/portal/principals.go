package portal

import (
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() {
	at := Root + "/server/principals"
	addPages(
		route{"GET " + at, showPrincipals},
		route{"POST " + at, createPrincipal},
		route{"GET " + at + "/{principal}", showPrincipal},
		route{"POST " + at + "/{principal}/reset", resetPrincipal},
		route{"POST " + at + "/{principal}/delete", deletePrincipal},
	)
	done["principal-deleted"] = "The service principal is deleted, and its sessions and tokens are refused."
}

// roleChoices are the roles that the form offers, and what each is for.
var roleChoices = []struct{ Name, Text string }{
	{"AcrPull", "pull images"},
	{"AcrPush", "pull and push images"},
	{"AcrDelete", "delete images"},
	{"Reader", "see everything, but no secret"},
	{"Contributor", "everything, but give roles and rotate signing keys"},
	{"Owner", "everything"},
	{"AcrQuarantineReader", "pull what is in quarantine"},
	{"AcrQuarantineWriter", "release what is in quarantine"},
}

// principals is what the list of service principals shows.
type principals struct {
	Pages  []entry
	List   []principalRow
	Form   form
	Roles  []struct{ Name, Text string }
	Scopes []scopeChoice
}

// principalRow is a service principal in the list, or on its page.
type principalRow struct {
	controlclient.ServicePrincipal
	Roles []roleRow
}

// scopeChoice is where a role can be given.
type scopeChoice struct{ ID, Text string }

// reach reports whether a scope, an ARM id, has a registry in it, and says in words
// which it is.
func reach(scope, registryID string) (where string, ok bool) {
	scope = strings.TrimSuffix(scope, "/")
	switch {
	case strings.EqualFold(scope, registryID):
		return "this registry", true
	case scope == "" || len(registryID) > len(scope) && strings.EqualFold(registryID[:len(scope)], scope) && registryID[len(scope)] == '/':
		return scopeWords(scope), true
	}
	return "", false
}

// scopeWords writes a scope as people name it.
func scopeWords(scope string) string {
	parts := strings.Split(strings.Trim(scope, "/"), "/")
	switch {
	case len(parts) == 8:
		return "registry " + parts[7]
	case len(parts) == 4:
		return "resource group " + parts[3]
	}
	return "all registries"
}

func newPrincipalRow(sp controlclient.ServicePrincipal) principalRow {
	row := principalRow{ServicePrincipal: sp}
	for _, as := range sp.RoleAssignments {
		row.Roles = append(row.Roles, roleRow{sp.DisplayName, sp.AppID, as.Role, scopeWords(as.Scope)})
	}
	return row
}

// loadPrincipals reads what the list shows.
func loadPrincipals(v *visit) (b principals, err error) {
	registries, err := v.api.Registries(v.Context())
	if err != nil {
		return b, err
	}
	b.Pages, b.Roles = v.serverPages(registries), roleChoices
	if s := subscriptionOf(registries); v.visitor.May(giveRoles, s) {
		b.Scopes = append(b.Scopes, scopeChoice{"", "all registries"})
	}
	for _, reg := range registries {
		if v.visitor.May(giveRoles, reg.ID) {
			b.Scopes = append(b.Scopes, scopeChoice{reg.ID, "registry " + reg.Name})
		}
	}
	if len(b.Scopes) == 0 {
		return b, fault.New(fault.Denied, "%.80s may not manage service principals: only an Owner and the operator may", v.visitor.Name())
	}
	list, err := v.api.ServicePrincipals(v.Context())
	for _, sp := range list {
		b.List = append(b.List, newPrincipalRow(sp))
	}
	return b, err
}

func showPrincipals(p *portal, w http.ResponseWriter, v *visit) error {
	b, err := loadPrincipals(v)
	if err != nil {
		return err
	}
	return p.renderPrincipals(w, v, http.StatusOK, b)
}

func (p *portal) renderPrincipals(w http.ResponseWriter, v *visit, status int, b principals) error {
	return p.render(w, v.Request, v, status, "principals", page{Title: "Service principals", Section: "server", Body: b})
}

func createPrincipal(p *portal, w http.ResponseWriter, v *visit) error {
	name, role, scope := strings.TrimSpace(v.PostFormValue("name")), v.PostFormValue("role"), v.PostFormValue("scope")
	sp, err := v.api.CreateServicePrincipal(v.Context(), name, []controlclient.RoleAssignment{{Role: role, Scope: scope}})
	if err == nil {
		return p.showPassword(w, v, sp, "Service principal "+sp.DisplayName+" is made")
	}
	f := form{Typed: map[string]string{"name": name, "role": role, "scope": scope}}
	status, err := f.refused(err, func(cause *fault.Error) string {
		switch {
		case cause.Code == "RoleDefinitionDoesNotExist":
			return "role"
		case strings.HasPrefix(cause.Message, "there is no scope"):
			return "scope"
		}
		return "name"
	})
	if err != nil {
		return err
	}
	b, err := loadPrincipals(v)
	if err != nil {
		return err
	}
	b.Form = f
	return p.renderPrincipals(w, v, status, b)
}

// showPassword shows the password of a service principal, which was just made.
func (p *portal) showPassword(w http.ResponseWriter, v *visit, sp controlclient.ServicePrincipal, title string) error {
	return p.renderPasswords(w, v, "server", passwordsPage{
		Title: title, Lead: "Keep the password now: it is shown this once and cannot be had again.", User: sp.AppID,
		Values: []passwordValue{{Name: "password", Value: sp.Password}}, Command: "docker login " + v.Host + " -u " + sp.AppID,
		Back: entry{Text: "Service principals", Link: serverPath("principals")},
	})
}

// findPrincipal returns the one of the path.
func findPrincipal(v *visit) (controlclient.ServicePrincipal, error) {
	list, err := v.api.ServicePrincipals(v.Context())
	if err != nil {
		return controlclient.ServicePrincipal{}, err
	}
	id := v.PathValue("principal")
	for _, sp := range list {
		if sp.AppID == id {
			return sp, nil
		}
	}
	return controlclient.ServicePrincipal{}, fault.New(fault.NotFound, "there is no service principal %.80q that you may manage", id)
}

// principalPage is what the page of a service principal shows.
type principalPage struct {
	principalRow
	Self bool // it is the visitor
}

func showPrincipal(p *portal, w http.ResponseWriter, v *visit) error {
	sp, err := findPrincipal(v)
	if err != nil {
		return err
	}
	b := principalPage{principalRow: newPrincipalRow(sp), Self: v.visitor.Name() == sp.AppID || v.visitor.Name() == sp.DisplayName}
	return p.render(w, v.Request, v, http.StatusOK, "principal", page{
		Title: sp.DisplayName, Section: "server", Crumbs: []crumb{{"Service principals", serverPath("principals")}}, Body: b,
	})
}

func resetPrincipal(p *portal, w http.ResponseWriter, v *visit) error {
	sp, err := v.api.ResetServicePrincipal(v.Context(), v.PathValue("principal"))
	if err != nil {
		return err
	}
	return p.showPassword(w, v, sp, "New password of "+sp.DisplayName)
}

func deletePrincipal(_ *portal, w http.ResponseWriter, v *visit) error {
	if err := v.api.DeleteServicePrincipal(v.Context(), v.PathValue("principal")); err != nil {
		return err
	}
	return back(w, v, serverPath("principals"), "principal-deleted")
}
