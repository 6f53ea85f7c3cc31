package identityserver

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
)

// giveRoles is the action of whoever manages service principals. In Azure too
// only Owners of a scope may do it there.
const giveRoles = "Microsoft.Authorization/roleAssignments/write"

// maxBody is the largest body read, in bytes.
const maxBody = 64 << 10

// principalBody is a service principal, with the names that Azure's command line
// prints.
type principalBody struct {
	AppID       string     `json:"appId"`
	DisplayName string     `json:"displayName"`
	Password    string     `json:"password,omitempty"` // only in the answer to who made it
	Tenant      string     `json:"tenant"`
	CreatedAt   time.Time  `json:"createdAt"`
	ResetAt     time.Time  `json:"passwordCreatedAt"`
	Roles       []roleBody `json:"roleAssignments"`
}

// roleBody is a role in a scope.
type roleBody struct {
	Role  string `json:"role"`
	Scope string `json:"scope"` // empty in a request: the subscription
}

func (s *server) wire(p auth.ServicePrincipal, password string) principalBody {
	body := principalBody{
		AppID: p.AppID, DisplayName: p.DisplayName, Password: password, Tenant: s.Authority.Tenant(),
		CreatedAt: p.CreatedAt, ResetAt: p.ResetAt, Roles: []roleBody{},
	}
	for _, as := range p.Assignments {
		body.Roles = append(body.Roles, roleBody(as))
	}
	return body
}

// caller returns who makes the request.
func (s *server) caller(r *http.Request) (auth.Principal, error) {
	door, err := s.Resolve(r)
	if err != nil {
		return auth.Principal{}, err
	}
	return s.Authority.AuthenticateControl(r, door)
}

// list answers with the service principals that the caller may manage.
func (s *server) list(w http.ResponseWriter, r *http.Request, _ string) error {
	who, err := s.caller(r)
	if err != nil {
		return err
	}
	all, err := s.Authority.ServicePrincipals(r.Context())
	if err != nil {
		return err
	}
	page := struct {
		Value []principalBody `json:"value"`
	}{[]principalBody{}}
	for _, p := range all {
		if s.manages(who, p) {
			page.Value = append(page.Value, s.wire(p, ""))
		}
	}
	writeJSON(w, http.StatusOK, page)
	return nil
}

// create makes a service principal and answers with its password.
func (s *server) create(w http.ResponseWriter, r *http.Request, _ string) error {
	who, err := s.caller(r)
	if err != nil {
		return err
	}
	var body struct {
		DisplayName string     `json:"displayName"`
		Roles       []roleBody `json:"roleAssignments"`
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return fault.Wrap(err, fault.TooLarge, "the body is larger than %d bytes", maxBody)
		}
		return fault.Wrap(err, fault.Invalid, `the body is no JSON object: send one like {"displayName":"ci","roleAssignments":[{"role":"AcrPush"}]}`).
			WithCode("InvalidRequestContent")
	}
	var assignments []auth.Assignment
	for _, as := range body.Roles {
		scope, err := s.scope(as.Scope)
		if err != nil {
			return err
		}
		if !who.May(giveRoles, scope) {
			return fault.New(fault.Denied, "%s may not give roles in %s: only an Owner there and the operator may", who.Name(), scope)
		}
		assignments = append(assignments, auth.Assignment{Role: as.Role, Scope: scope})
	}
	p, password, err := s.Authority.CreatePrincipal(r.Context(), body.DisplayName, assignments)
	if err != nil {
		return err
	}
	s.audit(r, who, "create", p)
	writeJSON(w, http.StatusCreated, s.wire(p, password))
	return nil
}

// scope returns the scope that is meant, in the case in which it is known. None
// is the subscription.
func (s *server) scope(asked string) (string, error) {
	known := s.Scopes()
	if asked == "" {
		return known[0], nil
	}
	for _, scope := range known {
		if strings.EqualFold(scope, strings.TrimSuffix(asked, "/")) {
			return scope, nil
		}
	}
	return "", fault.New(fault.Invalid, "there is no scope %.200q: use the id of the subscription, %s, or of a registry, as dockbell registry show prints it", asked, known[0])
}

// manages reports whether someone may manage a service principal: give roles in
// all the scopes where it has one. One whose registries are gone has none, and is
// for the Owners of everything.
func (s *server) manages(who auth.Principal, p auth.ServicePrincipal) bool {
	if len(p.Assignments) == 0 {
		return who.May(giveRoles, s.Scopes()[0])
	}
	for _, as := range p.Assignments {
		if !who.May(giveRoles, as.Scope) {
			return false
		}
	}
	return true
}

// managed returns who asks, and the service principal they ask for, which they
// may manage.
func (s *server) managed(r *http.Request, name string) (auth.Principal, auth.ServicePrincipal, error) {
	who, err := s.caller(r)
	if err != nil {
		return auth.Principal{}, auth.ServicePrincipal{}, err
	}
	p, err := s.Authority.ServicePrincipal(r.Context(), name)
	if err == nil && !s.manages(who, p) {
		err = fault.New(fault.Denied, "%s may not manage service principal %s: only an Owner of all its scopes and the operator may", who.Name(), p.DisplayName)
	}
	return who, p, err
}

func (s *server) show(w http.ResponseWriter, r *http.Request, name string) error {
	_, p, err := s.managed(r, name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.wire(p, ""))
	return nil
}

// reset gives a service principal a new password and answers with it.
func (s *server) reset(w http.ResponseWriter, r *http.Request, name string) error {
	who, p, err := s.managed(r, name)
	if err != nil {
		return err
	}
	p, password, err := s.Authority.ResetPassword(r.Context(), p.AppID)
	if err != nil {
		return err
	}
	s.audit(r, who, "reset", p)
	writeJSON(w, http.StatusOK, s.wire(p, password))
	return nil
}

func (s *server) delete(w http.ResponseWriter, r *http.Request, name string) error {
	who, p, err := s.managed(r, name)
	if err != nil {
		return err
	}
	if err := s.Authority.DeletePrincipal(r.Context(), p.AppID); err != nil {
		return err
	}
	s.audit(r, who, "delete", p)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// audit puts on record who did what with a service principal.
func (s *server) audit(r *http.Request, who auth.Principal, what string, p auth.ServicePrincipal) {
	var roles []string
	for _, as := range p.Assignments {
		roles = append(roles, as.Role+" in "+as.Scope)
	}
	s.Log.InfoContext(r.Context(), "a service principal was managed", slog.Group("audit",
		"by", who.Name(), "what", what, "principal", p.DisplayName, "appId", p.AppID, "roles", strings.Join(roles, ", ")))
}
