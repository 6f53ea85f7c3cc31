package portal

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

// inRegistry is what the paths of a registry's pages begin with, as patterns.
const inRegistry = Root + "/registries/{registry}"

func init() {
	addPages(
		route{"GET " + inRegistry + "/access", showAccess},
		route{"POST " + inRegistry + "/access/admin", switchAdmin},
		route{"POST " + inRegistry + "/access/admin/show", showAdminPasswords},
		route{"POST " + inRegistry + "/access/admin/renew", renewAdminPassword},
		route{"POST " + inRegistry + "/access/anonymous", switchAnonymous},
	)
	done["admin-on"] = "The admin user can log in."
	done["admin-off"] = "The admin user cannot log in any more."
	done["anonymous-on"] = "Anyone can pull from this registry."
	done["anonymous-off"] = "Whoever pulls from this registry has to log in."
}

// access is what the page of who may do what in a registry shows.
type access struct {
	Registry   controlclient.Registry
	Tokens     []tokenRow
	Maps       []mapRow
	MoreTokens string // link to the page with the next ones; empty: there are no more
	MoreMaps   string // likewise
	Principals []roleRow

	MayTokens, MayMaps bool     // make them
	MayRoles           bool     // see who has which role
	MayChange          bool     // switch the admin user and anonymous pull
	MayShow, MayRenew  bool     // the admin user's passwords
	AdminPasswords     []string // their names
	PrincipalsPage     string
}

// roleRow is a role that a service principal has in a registry.
type roleRow struct {
	Name, AppID, Role string
	Where             string // this registry, or what it is in
}

func showAccess(p *portal, w http.ResponseWriter, v *visit) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	a := access{
		Registry: reg, AdminPasswords: []string{"password", "password2"}, PrincipalsPage: serverPath("principals"),
		MayTokens: v.may("tokens/write", reg.ID), MayMaps: v.may("scopeMaps/write", reg.ID), MayChange: v.may("write", reg.ID),
		MayShow: v.may("listCredentials/action", reg.ID), MayRenew: v.may("regenerateCredential/action", reg.ID),
		MayRoles: v.visitor.May(giveRoles, reg.ID),
	}
	q := v.URL.Query()
	tokens, err := v.api.TokensPage(v.Context(), v.registry, q.Get("tokens"))
	if err != nil {
		return err
	}
	maps, err := v.api.ScopeMapsPage(v.Context(), v.registry, q.Get("maps"))
	if err != nil {
		return err
	}
	a.MoreTokens, a.MoreMaps = v.more("tokens", tokens.Next), v.more("maps", maps.Next)
	for _, t := range tokens.Value {
		a.Tokens = append(a.Tokens, newTokenRow(t, time.Now()))
	}
	for _, m := range maps.Value {
		a.Maps = append(a.Maps, newMapRow(m))
	}
	if a.MayRoles {
		all, err := v.api.ServicePrincipals(v.Context())
		if err != nil {
			return err
		}
		a.Principals = rolesIn(reg.ID, all)
	}
	return p.render(w, v.Request, v, http.StatusOK, "access", page{Title: "Access", Section: "access", Body: a})
}

// more returns the address of the page of access with the next of a list, empty if
// there are no more.
func (v *visit) more(list, next string) string {
	if next == "" {
		return ""
	}
	return v.path("access") + "?" + url.Values{list: {next}}.Encode() + "#" + list
}

// rolesIn returns the roles that service principals have in a registry, or in what it
// is in.
func rolesIn(id string, all []controlclient.ServicePrincipal) (rows []roleRow) {
	for _, sp := range all {
		for _, as := range sp.RoleAssignments {
			if where, ok := reach(as.Scope, id); ok {
				rows = append(rows, roleRow{sp.DisplayName, sp.AppID, as.Role, where})
			}
		}
	}
	return rows
}

// switchAdmin enables or disables the admin user.
func switchAdmin(_ *portal, w http.ResponseWriter, v *visit) error {
	on := v.PostFormValue("on") == "true"
	_, err := v.api.PatchRegistry(v.Context(), v.registry, controlclient.RegistryWrite{Properties: controlclient.RegistryProperties{AdminUserEnabled: &on}})
	if err != nil {
		return err
	}
	return back(w, v, v.path("access"), word(on, "admin-on", "admin-off"))
}

// switchAnonymous lets anyone pull, or not.
func switchAnonymous(_ *portal, w http.ResponseWriter, v *visit) error {
	on := v.PostFormValue("on") == "true"
	_, err := v.api.PatchRegistry(v.Context(), v.registry, controlclient.RegistryWrite{Properties: controlclient.RegistryProperties{AnonymousPullEnabled: &on}})
	if err != nil {
		return err
	}
	return back(w, v, v.path("access"), word(on, "anonymous-on", "anonymous-off"))
}

func word(on bool, yes, no string) string {
	if on {
		return yes
	}
	return no
}

// passwordsPage is what a page with passwords shows: the answer to whoever asked for
// them or just made them.
type passwordsPage struct {
	Title, Lead string
	User        string
	Values      []passwordValue
	Command     string // to use them with; it asks for the password
	Back        entry
}

// passwordValue is one of them.
type passwordValue struct {
	Name, Value string
	Until       time.Time // zero: it does not expire
}

func (p *portal) renderPasswords(w http.ResponseWriter, v *visit, section string, s passwordsPage) error {
	return p.render(w, v.Request, v, http.StatusOK, "passwords", page{Title: s.Title, Section: section, Crumbs: []crumb{{s.Back.Text, s.Back.Link}}, Body: s})
}

func showAdminPasswords(p *portal, w http.ResponseWriter, v *visit) error {
	c, err := v.api.Credentials(v.Context(), v.registry)
	if err != nil {
		return err
	}
	return p.showCredentials(w, v, c, "Passwords of the admin user", "Either of them lets whoever has it do everything in this registry. To see them again takes asking again, and each time is in the audit log.")
}

func renewAdminPassword(p *portal, w http.ResponseWriter, v *visit) error {
	name := v.PostFormValue("name")
	c, err := v.api.RenewCredential(v.Context(), v.registry, name)
	if err != nil {
		return err
	}
	fresh := c
	fresh.Passwords = nil
	for _, one := range c.Passwords {
		if one.Name == name {
			fresh.Passwords = append(fresh.Passwords, one)
		}
	}
	return p.showCredentials(w, v, fresh, "New password of the admin user", "The one that it replaces is refused from now on.")
}

func (p *portal) showCredentials(w http.ResponseWriter, v *visit, c controlclient.Credentials, title, lead string) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	s := passwordsPage{Title: title, Lead: lead, User: c.Username, Command: "docker login " + reg.Properties.LoginServer + " -u " + c.Username, Back: entry{Text: "Access", Link: v.path("access")}}
	for _, one := range c.Passwords {
		s.Values = append(s.Values, passwordValue{Name: one.Name, Value: one.Value})
	}
	return p.renderPasswords(w, v, "access", s)
}

// form is what pages with a form for one thing show: what was typed, and what is wrong
// with it.
type form struct {
	Typed map[string]string
	Wrong map[string]string // by field; under an empty name what is about none
}

// refused has a form say what the server refused, if that is about what was typed, and
// returns the status of the answer. Other errors are returned. field tells which field a
// fault is about.
func (f *form) refused(err error, field func(*fault.Error) string) (status int, other error) {
	cause := fault.As(err)
	switch cause.Kind {
	case fault.Invalid, fault.OutOfRange, fault.TooLarge, fault.Unsupported, fault.Conflict, fault.Quota:
		f.Wrong = map[string]string{field(cause): sentence(err)}
		return statusOf(cause.Kind), nil
	}
	return 0, err
}

// free fails unless something of a name can be created: what is there already would be
// replaced. rule says what names are, and find fails with fault.NotFound for one that is
// not there.
func free(what, name, rule string, find func() error) error {
	switch {
	case name == "":
		return fault.New(fault.Invalid, "the %s needs a name: %s", what, rule).WithCode(badName)
	case anotherPath(name):
		return fault.New(fault.Invalid, "%s name %.80q is not valid: use %s", what, name, rule).WithCode(badName)
	}
	err := find()
	switch {
	case fault.Is(err, fault.NotFound):
		return nil
	case err == nil:
		return fault.New(fault.Conflict, "there is a %s %.80q already: choose another name, or change that one", what, name).WithCode(badName)
	}
	return err
}

// anotherPath reports whether what is asked of the API by a name would be asked of
// something else. There is no such name.
func anotherPath(name string) bool { return strings.ContainsAny(name, "/.") }

// badName is the server's code for a name that cannot be one.
const badName = "InvalidResourceName"
