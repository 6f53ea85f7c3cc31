package app

import (
	"context"
	"maps"
	"strings"

	"github.com/dockbell/dockbell/internal/listen"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/webhook"
)

// poster brings a request to where it says: to a broker, to a listener over its
// client's connection, or to a stranger.
type poster struct {
	strangers *outbound.Client
	listeners *listen.Hub
	id        string // of this server
}

// Post implements delivery.Poster.
func (p poster) Post(ctx context.Context, r outbound.Request) outbound.Result {
	if r.Publish != nil {
		return r.Publish(ctx, &r)
	}
	if strings.HasPrefix(r.URL, listen.Scheme+"://") {
		r.Header = maps.Clone(r.Header)
		r.Header.Set(outbound.HopsHeader, r.NextHops(p.id)) // wherever its client may forward it to
		return p.listeners.Post(ctx, r)
	}
	return p.strangers.Post(ctx, r)
}

// startListeners makes the listeners known that were there before: their clients
// are about to come back.
func (s *Server) startListeners(ctx context.Context) error {
	hooks, err := s.webhooks.Listeners(ctx)
	if err != nil {
		return err
	}
	existing := make([]listen.Listener, len(hooks))
	for i, w := range hooks {
		existing[i] = listenerOf(w)
	}
	return s.listeners.Start(ctx, listen.Options{
		Endpoints: s.deliver, Log: s.log,
		Delete: func(ctx context.Context, l listen.Listener) error {
			return s.webhooks.Unlisten(ctx, webhook.Registry{ID: l.Registry, Name: s.tenants.ByID(l.Registry).Name}, l.Name)
		},
	}, existing)
}

func listenerOf(w webhook.Webhook) listen.Listener {
	return listen.Listener{Registry: w.RegistryID, Endpoint: w.ID, Name: strings.ToLower(w.Name)}
}
