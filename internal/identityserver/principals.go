package identityserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/audit"
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
func (s *server) create(w http.ResponseWriter, r *http.Request, who auth.Principal, _ string, e *audit.Entry) (status int, answer any, err error) {
	var body struct {
		DisplayName string     `json:"displayName"`
		Roles       []roleBody `json:"roleAssignments"`
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return 0, nil, fault.Wrap(err, fault.TooLarge, "the body is larger than %d bytes", maxBody)
		}
		return 0, nil, fault.Wrap(err, fault.Invalid, `the body is no JSON object: send one like {"displayName":"ci","roleAssignments":[{"role":"AcrPush"}]}`).
			WithCode("InvalidRequestContent")
	}
	var assignments []auth.Assignment
	for _, as := range body.Roles {
		scope, err := s.scope(as.Scope)
		if err != nil {
			return 0, nil, err
		}
		if !who.May(giveRoles, scope) {
			return 0, nil, fault.New(fault.Denied, "%s may not give roles in %s: only an Owner there and the operator may", who.Name(), scope)
		}
		assignments = append(assignments, auth.Assignment{Role: as.Role, Scope: scope})
	}
	p, password, err := s.Authority.CreatePrincipal(r.Context(), body.DisplayName, assignments)
	if err != nil {
		return 0, nil, err
	}
	about(e, p)
	return http.StatusCreated, s.wire(p, password), nil
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

// managed returns the service principal of a name, which who may manage.
func (s *server) managed(r *http.Request, who auth.Principal, name string) (auth.ServicePrincipal, error) {
	p, err := s.Authority.ServicePrincipal(r.Context(), name)
	if err == nil && !s.manages(who, p) {
		err = fault.New(fault.Denied, "%s may not manage service principal %s: only an Owner of all its scopes and the operator may", who.Name(), p.DisplayName)
	}
	return p, err
}

func (s *server) show(w http.ResponseWriter, r *http.Request, name string) error {
	who, err := s.caller(r)
	if err != nil {
		return err
	}
	p, err := s.managed(r, who, name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s.wire(p, ""))
	return nil
}

// reset gives a service principal a new password and answers with it.
func (s *server) reset(_ http.ResponseWriter, r *http.Request, who auth.Principal, name string, e *audit.Entry) (status int, answer any, err error) {
	p, err := s.managed(r, who, name)
	if err != nil {
		return 0, nil, err
	}
	about(e, p)
	p, password, err := s.Authority.ResetPassword(r.Context(), p.AppID)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, s.wire(p, password), nil
}

func (s *server) delete(_ http.ResponseWriter, r *http.Request, who auth.Principal, name string, e *audit.Entry) (status int, answer any, err error) {
	p, err := s.managed(r, who, name)
	if err != nil {
		return 0, nil, err
	}
	about(e, p)
	return http.StatusNoContent, nil, s.Authority.DeletePrincipal(r.Context(), p.AppID)
}
