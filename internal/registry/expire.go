package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// softDeleteActor is who the audit log says it was that purged.
const softDeleteActor = "soft delete policy"

// purgedAtOnce is how many manifests, and how many tags, are purged in one transaction.
const purgedAtOnce = 25

// PurgeDeleted removes for good what was deleted in a hosted registry before a time,
// and returns how many manifests that were. No event tells of it: the deletion rang.
// Contents of their blobs go with the next collections. It works in small pieces, and
// what an error or a crash leaves over another call removes.
func (s *Store) PurgeDeleted(ctx context.Context, reg event.Registry, before time.Time) (purged int, err error) {
	h := &handle{s, reg, Caller{Request: event.Request{Host: reg.LoginServer}, Actor: softDeleteActor, Kind: audit.Application}}
	var failed error // what one repository meets is no reason to spare the others
	for last, more := oci.Repository(""), true; more; {
		var repos []repositoryDue
		err := s.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			repos, err = lookForDeleted(tx, reg.ID, last, before.UnixNano(), repositoriesAtOnce)
			return err
		})
		if err != nil {
			return purged, err
		}
		for _, r := range repos {
			last = r.name
			if !r.due {
				continue
			}
			n, err := h.purgeRepository(ctx, r.name, before)
			purged += n
			if ctx.Err() != nil {
				return purged, ctx.Err()
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("repository %s: %w", r.name, err))
			}
		}
		more = len(repos) == repositoriesAtOnce
	}
	return purged, failed
}

// purgeRepository does so in one repository. If it was deleted whole, and nothing of it
// can be restored any more, it ends.
func (h *handle) purgeRepository(ctx context.Context, repo oci.Repository, before time.Time) (purged int, err error) {
	ended := false
	for more := true; more; {
		n := 0
		err := h.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
			n, more, ended, err = h.purgePiece(tx, repo, before)
			return err
		})
		if err != nil {
			return purged, err
		}
		purged += n
	}
	if ended {
		h.removeGivenUp(ctx)
	}
	return purged, nil
}

func (h *handle) purgePiece(tx *sqldb.Tx, repo oci.Repository, before time.Time) (purged int, more, ended bool, err error) {
	id, locked, err := holdEvenGone(tx, h.reg.ID, repo)
	if errors.Is(err, sqldb.ErrNoRow) {
		return 0, false, false, nil
	}
	if err != nil {
		return 0, false, false, err
	}
	manifests, err := purgeManifests(tx, id, before.UnixNano(), purgedAtOnce)
	if err != nil {
		return 0, false, false, err
	}
	tags, err := purgeTags(tx, id, before.UnixNano(), purgedAtOnce)
	if err != nil {
		return 0, false, false, err
	}
	if more = len(manifests) == purgedAtOnce || tags == purgedAtOnce; !more && locked&gone != 0 {
		if err := endRepository(tx, id, h.reg.ID); err != nil {
			return 0, false, false, err
		}
		ended = true
	}
	if len(manifests) == 0 {
		return 0, more, ended, nil
	}
	what, detail := thing{repo: repo, digest: manifests[0]}, "purged, deleted before "+before.UTC().Format(time.RFC3339)
	if n := len(manifests); n > 1 {
		what.digest, detail = "", fmt.Sprintf("%d of its deleted manifests %s", n, detail)
	}
	return len(manifests), more, ended, h.record(tx, contentDelete, what, detail)
}
