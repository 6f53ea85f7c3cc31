package app

import (
	"net/http"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/fault"
)

// operator is the one who may do everything in the control plane.
type operator struct{ name string }

func (o operator) Name() string       { return o.name }
func (operator) Kind() string         { return "User" }
func (operator) May(_, _ string) bool { return true }

// authenticateControl is who makes a request to the control plane. For now that
// can only be the operator.
func (s *Server) authenticateControl(r *http.Request) (arm.Caller, error) {
	reg, err := s.hosts.Resolve(r.Host)
	if err != nil {
		return nil, err
	}
	door := s.door(r, reg)
	who, err := s.authority.Authenticate(r, door)
	if err != nil {
		return nil, err
	}
	if err := who.Require(door); err != nil {
		return nil, err
	}
	if !who.Operator {
		return nil, fault.New(fault.Denied, "only the operator may use the control plane: log in as %s", s.Operator())
	}
	return operator{who.Name}, nil
}
