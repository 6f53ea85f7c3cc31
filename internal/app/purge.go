package app

import (
	"context"
	"errors"
	"strings"
	"time"
)

// purgeAgain is how long after a failure the rest of a deleted registry is tried
// to be removed again.
const purgeAgain = time.Minute

// purgeAlways removes what deleted registries held: what an earlier process left
// of them first, and then of each that is deleted.
func (s *Server) purgeAlways(ctx context.Context) {
	for {
		var again <-chan time.Time
		if err := s.purgeDoomed(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("what a deleted registry held cannot all be removed; it is tried again", "error", err)
			again = time.After(purgeAgain)
		}
		select {
		case <-s.doomed:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// purge makes purgeAlways's loop look for deleted registries.
func (s *Server) purge() {
	select {
	case s.doomed <- struct{}{}:
	default: // it is about to look
	}
}

func (s *Server) purgeDoomed(ctx context.Context) error {
	ids, err := s.tenants.Doomed(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		listeners, err := s.webhooks.DropAll(ctx, id)
		for _, w := range listeners {
			s.listeners.Remove(id, strings.ToLower(w.Name))
		}
		if err != nil {
			return err
		}
		err = errors.Join(s.subscriptions.DropAll(ctx, id), s.authority.RepositoryTokens().Purge(ctx, id), s.registry.Purge(ctx, id), s.charts.Purge(ctx, id))
		if err != nil {
			return err
		}
		if err := s.tenants.Purged(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
