package app

import (
	"context"
	"net/http"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/chart"
	"github.com/dockbell/dockbell/internal/event"
)

// openCharts is whose request it is and the charts of which registry it means, as
// package acrserver asks.
func (s *Server) openCharts(r *http.Request) (auth.Charts, error) {
	reg, door, who, err := s.admit(r)
	if err != nil {
		return nil, err
	}
	charts := s.charts.For(s.source(reg), chart.Caller{
		Request: eventRequest(r), Actor: who.Name, Kind: audit.ActorKind(who.Kind()), Correlation: r.Header.Get(correlationID),
	})
	return auth.GuardCharts(charts, who, door), nil
}

// eventRequest is a request as an event tells of it.
func eventRequest(r *http.Request) event.Request {
	return event.Request{
		ID: r.Header.Get(requestID), Host: r.Host, Method: r.Method, UserAgent: r.UserAgent(), Addr: audit.Host(r.RemoteAddr), Hops: hopsOf(r),
	}
}

// size returns how many bytes a registry holds: images and charts.
func (s *Server) size(ctx context.Context, registry int64) (int64, error) {
	images, err := s.registry.Size(ctx, registry)
	if err != nil {
		return 0, err
	}
	charts, err := s.charts.Size(ctx, registry)
	return images + charts, err
}
