package portal

import (
	"cmp"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() {
	at := inRegistry + "/access"
	addPages(
		route{"GET " + at + "/new-token", showNewToken},
		route{"POST " + at + "/new-token", createToken},
		route{"GET " + at + "/tokens/{token}", showToken},
		route{"POST " + at + "/tokens/{token}/scope-map", changeTokenMap},
		route{"POST " + at + "/tokens/{token}/status", changeTokenStatus},
		route{"POST " + at + "/tokens/{token}/password", generatePassword},
		route{"POST " + at + "/tokens/{token}/forget", forgetPassword},
		route{"POST " + at + "/tokens/{token}/delete", deleteToken},
	)
	done["token-made"] = "The token is made. It can log in when it has a password."
	done["token-changed"] = "The token is changed; what it may do now counts from its next request on."
	done["token-enabled"] = "The token can log in."
	done["token-disabled"] = "The token cannot log in any more."
	done["token-deleted"] = "The token is deleted, and its passwords are refused."
	done["password-deleted"] = "The password is refused from now on."
}

// tokenRow is a token in the list, or on its page.
type tokenRow struct {
	Name      string
	ScopeMap  string // name
	State     state
	Passwords []passwordRow
	Created   time.Time
}

// state is how something is, in words, and the class of the badge that shows it.
type state struct{ Class, Text string }

// passwordRow is one of a token's two passwords; without State.Class it is not there.
type passwordRow struct {
	Name   string
	State  state
	Expiry time.Time // zero: never
}

// tokenPasswords are the names of the passwords that a token can have.
var tokenPasswords = []string{"password1", "password2"}

func newTokenRow(t controlclient.Token, now time.Time) tokenRow {
	p := t.Properties
	row := tokenRow{Name: t.Name, ScopeMap: path.Base(p.ScopeMapID), State: tokenState(t, now)}
	row.Created, _ = time.Parse(time.RFC3339, p.CreationDate)
	for _, one := range p.Credentials.Passwords {
		r := passwordRow{Name: one.Name}
		r.Expiry, _ = time.Parse(time.RFC3339, one.Expiry)
		r.State = passwordState(r.Expiry, now)
		row.Passwords = append(row.Passwords, r)
	}
	return row
}

// passwordState says whether a password is good.
func passwordState(expiry, now time.Time) state {
	switch {
	case expiry.IsZero():
		return state{"good", "does not expire"}
	case !expiry.After(now):
		return state{"bad", "expired"}
	case expiry.Sub(now) < 7*24*time.Hour:
		return state{"wait", "expires soon"}
	}
	return state{"good", "good"}
}

// tokenState says whether a token can log in.
func tokenState(t controlclient.Token, now time.Time) state {
	all := t.Properties.Credentials.Passwords
	good := slices.ContainsFunc(all, func(p controlclient.TokenPassword) bool {
		expiry, _ := time.Parse(time.RFC3339, p.Expiry)
		return expiry.IsZero() || expiry.After(now)
	})
	switch {
	case t.Properties.Status != "enabled":
		return state{"pause", "disabled"}
	case len(all) == 0:
		return state{"wait", "no password"}
	case !good:
		return state{"bad", "passwords expired"}
	}
	return state{"good", "enabled"}
}

// newToken is what the form for a token shows.
type newToken struct {
	form
	Maps []mapRow
}

func showNewToken(p *portal, w http.ResponseWriter, v *visit) error {
	return p.renderNewToken(w, v, http.StatusOK, form{Typed: map[string]string{"scopeMap": "_repositories_pull"}})
}

func (p *portal) renderNewToken(w http.ResponseWriter, v *visit, status int, f form) error {
	if err := v.mustMay("tokens/write", "make tokens"); err != nil {
		return err
	}
	maps, err := v.api.ScopeMaps(v.Context(), v.registry)
	if err != nil {
		return err
	}
	b := newToken{form: f}
	for _, m := range maps {
		b.Maps = append(b.Maps, newMapRow(m))
	}
	return p.render(w, v.Request, v, status, "newtoken", page{Title: "New token", Section: "access", Crumbs: v.accessCrumbs(), Body: b})
}

// mustMay refuses who may not do an action of the registry. what says what they may
// not.
func (v *visit) mustMay(action, what string) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err == nil && !v.may(action, reg.ID) {
		err = fault.New(fault.Denied, "you may not %s of %s", what, reg.Name)
	}
	return err
}

func (v *visit) accessCrumbs() []crumb { return []crumb{{"Access", v.path("access")}} }

// createToken makes a token; one that is there already is not replaced.
func createToken(p *portal, w http.ResponseWriter, v *visit) error {
	name, scopeMap := strings.TrimSpace(v.PostFormValue("name")), v.PostFormValue("scopeMap")
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	err = free("token", name, "5 to 50 letters, digits and dashes, for example ci-pull", func() error {
		_, err := v.api.Token(v.Context(), v.registry, name)
		return err
	})
	if err == nil {
		_, err = v.api.PutToken(v.Context(), v.registry, name, controlclient.TokenWrite{ScopeMapID: reg.ID + "/scopeMaps/" + scopeMap, Status: "enabled"})
	}
	if err == nil {
		return back(w, v, v.path("access", "tokens", name), "token-made")
	}
	f := form{Typed: map[string]string{"name": name, "scopeMap": scopeMap}}
	status, err := f.refused(err, func(cause *fault.Error) string {
		switch cause.Code {
		case badName:
			return "name"
		case "ScopeMapNotFound", "ScopeMapRequired", "InvalidRequestContent":
			return "scopeMap"
		}
		return ""
	})
	if err != nil {
		return err
	}
	return p.renderNewToken(w, v, status, f)
}

// tokenPage is what the page of a token shows.
type tokenPage struct {
	tokenRow
	Maps                         []mapRow
	Lines                        []mapLine // of its scope map
	Slots                        []passwordRow
	LoginServer                  string
	MayWrite, MayMake, MayDelete bool
	Lives                        []lifeChoice
}

// lifeChoice is how long a password is to be good.
type lifeChoice struct {
	Days int
	Text string
}

var lifeChoices = []lifeChoice{{90, "90 days"}, {30, "30 days"}, {7, "7 days"}, {1, "a day"}, {365, "a year"}, {0, "for ever"}}

func showToken(p *portal, w http.ResponseWriter, v *visit) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	t, err := v.api.Token(v.Context(), v.registry, v.PathValue("token"))
	if err != nil {
		return err
	}
	maps, err := v.api.ScopeMaps(v.Context(), v.registry)
	if err != nil {
		return err
	}
	b := tokenPage{
		tokenRow: newTokenRow(t, time.Now()), LoginServer: reg.Properties.LoginServer, Lives: lifeChoices,
		MayWrite: v.may("tokens/write", reg.ID), MayMake: v.may("generateCredentials/action", reg.ID), MayDelete: v.may("tokens/delete", reg.ID),
	}
	for _, m := range maps {
		row := newMapRow(m)
		b.Maps = append(b.Maps, row)
		if row.Name == b.ScopeMap {
			b.Lines = row.Lines
		}
	}
	for _, name := range tokenPasswords {
		slot := passwordRow{Name: name}
		for _, have := range b.Passwords {
			if have.Name == name {
				slot = have
			}
		}
		b.Slots = append(b.Slots, slot)
	}
	return p.render(w, v.Request, v, http.StatusOK, "token", page{Title: t.Name, Section: "access", Crumbs: v.accessCrumbs(), Body: b})
}

// tokenPath returns the address of the token of the path.
func (v *visit) tokenPath() string { return v.path("access", "tokens", v.PathValue("token")) }

func changeTokenMap(_ *portal, w http.ResponseWriter, v *visit) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	_, err = v.api.PatchToken(v.Context(), v.registry, v.PathValue("token"), controlclient.TokenWrite{ScopeMapID: reg.ID + "/scopeMaps/" + v.PostFormValue("scopeMap")})
	if err != nil {
		return err
	}
	return back(w, v, v.tokenPath(), "token-changed")
}

func changeTokenStatus(_ *portal, w http.ResponseWriter, v *visit) error {
	status := v.PostFormValue("status")
	if _, err := v.api.PatchToken(v.Context(), v.registry, v.PathValue("token"), controlclient.TokenWrite{Status: cmp.Or(status, "none")}); err != nil {
		return err
	}
	return back(w, v, v.tokenPath(), word(status == "enabled", "token-enabled", "token-disabled"))
}

// generatePassword makes a password and shows it: it is in this answer and in no other.
func generatePassword(p *portal, w http.ResponseWriter, v *visit) error {
	name := v.PostFormValue("name")
	if !slices.Contains(tokenPasswords, name) { // without a name, both are made
		return fault.New(fault.Invalid, "there is no password %.80q: choose %s", name, strings.Join(tokenPasswords, " or "))
	}
	days, err := strconv.Atoi(v.PostFormValue("days"))
	if err != nil || days < 0 || days > 36500 {
		return fault.New(fault.Invalid, "%.80q is no number of days: choose how long the password is to be good", v.PostFormValue("days"))
	}
	var expiry time.Time
	if days > 0 {
		expiry = time.Now().AddDate(0, 0, days).UTC().Truncate(time.Second)
	}
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	made, err := v.api.GenerateCredentials(v.Context(), v.registry, reg.ID+"/tokens/"+v.PathValue("token"), name, expiry)
	if err != nil {
		return err
	}
	s := passwordsPage{
		Title: fmt.Sprintf("New %s of %s", name, made.Username), Lead: "Keep the password now: it is shown this once and cannot be had again.",
		User: made.Username, Command: "docker login " + reg.Properties.LoginServer + " -u " + made.Username, Back: entry{Text: made.Username, Link: v.tokenPath()},
	}
	for _, one := range made.Passwords {
		if one.Value != "" {
			s.Values = append(s.Values, passwordValue{one.Name, one.Value, expiry})
		}
	}
	return p.renderPasswords(w, v, "access", s)
}

// forgetPassword takes one password away and leaves the other as it is.
func forgetPassword(_ *portal, w http.ResponseWriter, v *visit) error {
	t, err := v.api.Token(v.Context(), v.registry, v.PathValue("token"))
	if err != nil {
		return err
	}
	name := v.PostFormValue("name")
	rest := slices.DeleteFunc(slices.Clone(t.Properties.Credentials.Passwords), func(p controlclient.TokenPassword) bool { return p.Name == name })
	if len(rest) == len(t.Properties.Credentials.Passwords) {
		return fault.New(fault.NotFound, "token %s has no password %.80q", t.Name, name)
	}
	if rest == nil {
		rest = []controlclient.TokenPassword{}
	}
	if _, err := v.api.PatchToken(v.Context(), v.registry, t.Name, controlclient.TokenWrite{Credentials: &controlclient.TokenCredentials{Passwords: rest}}); err != nil {
		return err
	}
	return back(w, v, v.tokenPath(), "password-deleted")
}

func deleteToken(_ *portal, w http.ResponseWriter, v *visit) error {
	if _, err := v.api.DeleteToken(v.Context(), v.registry, v.PathValue("token")); err != nil {
		return err
	}
	return back(w, v, v.path("access"), "token-deleted")
}
