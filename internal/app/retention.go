package app

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/tenant"
)

// How often it is looked for registries with a policy that is due, and how often that
// of each is. One that was switched on or changed is due at once.
const (
	retainLook  = time.Minute
	retainEvery = time.Hour
)

// untaggedGrace is how long a manifest stays at least, also by a policy of 0 days:
// the parts of an image are pushed before the index that lists them.
const untaggedGrace = time.Hour

// retainAlways carries out the retention policies of registries, and those of what was
// deleted in them.
func (s *Server) retainAlways(ctx context.Context) {
	tick := time.NewTicker(retainLook)
	defer tick.Stop()
	due, deleted := policiesDue{}, policiesDue{}
	for {
		s.retain(ctx, time.Now(), due)
		s.purgeDeleted(ctx, time.Now(), deleted)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// policiesDue remembers, by registry, which policy of one kind was carried out when.
type policiesDue map[int64]retained

type retained struct {
	updated time.Time // the policy's
	at      time.Time
}

// next returns the registries that are due at the moment now, and notes that they
// are being seen to. policy says whether one has the policy, and since when.
func (d policiesDue) next(registries []tenant.Registry, now time.Time, policy func(tenant.Registry) (on bool, updated time.Time)) (due []tenant.Registry) {
	enabled := map[int64]bool{}
	for _, r := range registries {
		on, updated := policy(r)
		if !on {
			continue
		}
		enabled[r.ID] = true
		if last, ok := d[r.ID]; !ok || !last.updated.Equal(updated) || now.Sub(last.at) >= retainEvery {
			d[r.ID] = retained{updated, now}
			due = append(due, r)
		}
	}
	for id := range d {
		if !enabled[id] {
			delete(d, id)
		}
	}
	return due
}

func retention(r tenant.Registry) (on bool, updated time.Time) {
	policy := r.RetentionPolicy()
	return policy.Enabled, policy.Updated
}

// untaggedBefore returns the time before which a manifest must have lost its last
// tag to be removed at the moment now.
func untaggedBefore(p tenant.RetentionPolicy, now time.Time) time.Time {
	return now.Add(-max(time.Duration(p.Days)*24*time.Hour, untaggedGrace))
}

// retain removes what the policies of registries want removed at the moment now.
func (s *Server) retain(ctx context.Context, now time.Time, due policiesDue) {
	for _, r := range due.next(s.tenants.List(), now, retention) {
		removed, err := s.registry.RemoveUntagged(ctx, s.source(r), untaggedBefore(r.RetentionPolicy(), now), r.SoftDeletePolicy().Enabled)
		if ctx.Err() != nil {
			return
		}
		if removed > 0 {
			s.log.Info("the retention policy removed untagged manifests", "registry", r.Name, "count", removed)
		}
		if err != nil {
			s.log.Error("the retention policy could not remove all untagged manifests; it is tried again in an hour", "registry", r.Name, "error", err)
		}
	}
}
