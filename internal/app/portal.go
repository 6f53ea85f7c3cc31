package app

import (
	"context"
	"net/http"
	"time"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/portal"
	"github.com/dockbell/dockbell/internal/registry"
)

// portal is the face for browsers, over the control plane and what registries hold.
func (s *Server) portal(control http.Handler) http.Handler {
	return portal.New(portal.Config{
		API: control, Login: s.startSession, Visitor: s.visitor, Contents: s.visitorsContents, Stopping: s.stopping, Version: Version, Log: s.log,
	})
}

// startSession implements portal.Config.Login: a session is a token for the control
// plane.
func (s *Server) startSession(ctx context.Context, client, user, password string) (string, error) {
	p, err := s.authority.LoginClient(ctx, client, user, password)
	if err != nil {
		return "", err
	}
	return s.sessionToken(p)
}

func (s *Server) sessionToken(p auth.Principal) (string, error) {
	host := s.loginServer(s.tenants.Default())
	return s.authority.IssueBearer(p, "https://"+host+portal.Root, "https://"+host)
}

// visitor implements portal.Config.Visitor. A token is renewed in the second half of
// its life, so that a session ends when nobody looks at it for half of that.
func (s *Server) visitor(ctx context.Context, token string) (portal.Visitor, string, error) {
	p, until, err := s.authority.Session(ctx, token)
	if err != nil {
		return nil, "", err
	}
	if time.Until(until) > auth.BearerTokenLife/2 {
		return p, "", nil
	}
	renewed, err := s.sessionToken(p)
	return p, renewed, err
}

// visitorsContents implements portal.Config.Contents.
func (s *Server) visitorsContents(r *http.Request, v portal.Visitor, name string) (oci.Contents, error) {
	p, ok := v.(auth.Principal)
	reg, err := s.tenants.ByName(name)
	if err == nil && (!ok || !p.May("Microsoft.ContainerRegistry/registries/read", reg.ResourceID())) {
		err = fault.New(fault.NotFound, "there is no registry %.80q", name)
	}
	if err != nil {
		return nil, err
	}
	who, door := p.Identity(), s.door(r, reg)
	contents := s.contents(reg, registry.Caller{
		Request: eventRequest(r), Actor: who.Name, Kind: audit.ActorKind(who.Kind()), Correlation: r.Header.Get(correlationID),
	}, who.SeesQuarantine(door))
	return auth.Guard(contents, who, door), nil
}
