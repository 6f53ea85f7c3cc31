package app

import (
	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
)

// loginFailed counts a login that was refused for the audit log.
func (s *Server) loginFailed(f auth.Failure) {
	e := audit.Entry{
		Registry: f.Registry, Actor: f.User, ActorKind: audit.ActorKind(f.Kind), Client: audit.Host(f.Client),
		Action: "Microsoft.ContainerRegistry/login/failed", Resource: "/subscriptions/" + s.tenants.Default().Subscription,
		Outcome: audit.Refused, Detail: string(f.Cause),
	}
	if f.Registry != 0 {
		e.Action, e.Resource = "Microsoft.ContainerRegistry/registries/login/failed", s.tenants.ByID(f.Registry).ResourceID()
	}
	s.audit.Count(e)
}
