package app

import (
	"net/http"

	"github.com/dockbell/dockbell/internal/arm"
)

// authenticateControl is who makes a request to the control plane.
func (s *Server) authenticateControl(r *http.Request) (arm.Caller, error) {
	door, err := s.authRegistry(r)
	if err != nil {
		return nil, err
	}
	return s.authority.AuthenticateControl(r, door)
}

// scopes returns the ARM ids at which one can have a role: the subscription's
// first.
func (s *Server) scopes() []string {
	ids := []string{"/subscriptions/" + s.tenants.Default().Subscription}
	for _, r := range s.tenants.List() {
		ids = append(ids, r.ResourceID())
	}
	return ids
}
