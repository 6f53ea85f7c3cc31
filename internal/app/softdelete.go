package app

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/tenant"
)

// softDelete is for policiesDue. What was deleted under the policy goes after the days
// that this says now, also where it was switched off since.
func softDelete(r tenant.Registry) (on bool, updated time.Time) {
	return true, r.SoftDeletePolicy().Updated
}

// purgeDeleted removes for good what was deleted in registries longer ago, at the moment
// now, than their policies say.
func (s *Server) purgeDeleted(ctx context.Context, now time.Time, due policiesDue) {
	for _, r := range due.next(s.tenants.List(), now, softDelete) {
		purged, err := s.registry.PurgeDeleted(ctx, s.source(r), now.Add(-r.SoftDeletePolicy().Lifetime()))
		if ctx.Err() != nil {
			return
		}
		if purged > 0 {
			s.log.Info("deleted manifests were purged: they cannot be restored any more", "registry", r.Name, "count", purged)
		}
		if err != nil {
			s.log.Error("what was deleted could not all be purged; it is tried again in an hour", "registry", r.Name, "error", err)
		}
	}
}
