package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// The policy that removes untagged manifests. A manifest stays while it has a tag,
// while an index that is there lists it, while its subject is there, and while a
// lock on it or its repository forbids to delete it. So an image goes from the
// top: the index first, then what it listed, then what referred to that; each
// removal is looked for what it set free until nothing more goes.

const (
	manifestsLookedAt = 500  // in one transaction
	untaggedAtOnce    = 1000 // in memory, while indexes are searched for them
)

// retentionActor is who the audit log says it was.
const retentionActor = "retention policy"

// RemoveUntagged removes the manifests of a hosted registry that have been without
// a tag since before a time, and returns how many. Each removal rings as a delete
// that no client asked for, with the cause retention, and can be restored where that
// is the policy. It works in small pieces, and what an error or a crash leaves over
// another call removes.
func (s *Store) RemoveUntagged(ctx context.Context, reg event.Registry, before time.Time, softDelete bool) (removed int, err error) {
	h := &handle{s, reg, Caller{
		Request: event.Request{Host: reg.LoginServer}, Actor: retentionActor, Kind: audit.Application, Cause: "retention", SoftDelete: softDelete,
	}}
	var failed error // what one repository meets is no reason to spare the others
	for last, more := oci.Repository(""), true; more; {
		var repos []oci.Repository
		err := s.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			repos, err = allRepositories(tx, reg.ID, last, repositoriesAtOnce)
			return err
		})
		if err != nil {
			return removed, err
		}
		for _, repo := range repos {
			n, err := h.removeUntagged(ctx, repo, before)
			removed += n
			if ctx.Err() != nil {
				return removed, ctx.Err()
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("repository %s: %w", repo, err))
			}
			last = repo
		}
		more = len(repos) == repositoriesAtOnce
	}
	return removed, failed
}

// removeUntagged does so in one repository, which may be gone or locked: then
// there is nothing to do.
func (h *handle) removeUntagged(ctx context.Context, repo oci.Repository, before time.Time) (removed int, err error) {
	for {
		n, err := h.removeFreed(ctx, repo, before)
		removed += n
		if err != nil || n == 0 {
			return removed, err
		}
	}
}

// removeFreed goes through a repository once and removes what nothing holds.
func (h *handle) removeFreed(ctx context.Context, repo oci.Repository, before time.Time) (removed int, err error) {
	for last, more := oci.Digest(""), true; more; {
		var untagged []oci.Digest
		for more && len(untagged) < untaggedAtOnce {
			var some []oci.Digest
			err := h.DB.Read(ctx, func(tx *sqldb.Tx) error {
				id, locked, err := repositoryID(tx, h.reg.ID, repo)
				if errors.Is(err, sqldb.ErrNoRow) || err == nil && locked&lockAnyDelete != 0 {
					last = ""
					return nil
				}
				if err != nil {
					return err
				}
				last, some, err = lookAtManifests(tx, id, last, before.UnixNano(), manifestsLookedAt)
				return err
			})
			if err != nil {
				return removed, err
			}
			untagged = append(untagged, some...)
			more = last != ""
		}
		if untagged, err = h.notListed(ctx, repo, untagged); err != nil {
			return removed, err
		}
		for part := range slices.Chunk(untagged, deletedAtOnce) {
			n, err := h.removePiece(ctx, repo, part, before)
			removed += n
			if err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}

// notListed returns those of some manifests that no index of the repository lists.
// An index that is pushed meanwhile renews what it lists, which removePiece sees.
func (h *handle) notListed(ctx context.Context, repo oci.Repository, some []oci.Digest) ([]oci.Digest, error) {
	if len(some) == 0 {
		return nil, nil
	}
	listed := make(map[oci.Digest]bool, len(some))
	for _, dgst := range some {
		listed[dgst] = false
	}
	for last, more := oci.Digest(""), true; more; more = last != "" {
		err := h.DB.Read(ctx, func(tx *sqldb.Tx) error {
			id, _, err := repositoryID(tx, h.reg.ID, repo)
			if errors.Is(err, sqldb.ErrNoRow) {
				last = "" // and removePiece finds nothing either
				return nil
			}
			if err != nil {
				return err
			}
			last, err = lookAtIndexes(tx, id, last, manifestsLookedAt, func(mediaType string, data []byte) error {
				index, err := oci.ParseManifest(mediaType, data)
				if err != nil {
					return fmt.Errorf("an index cannot be read, so what it lists is not known: %w", err)
				}
				for _, r := range index.References {
					if _, asked := listed[r.Descriptor.Digest]; asked && r.Kind == oci.RefersChild {
						listed[r.Descriptor.Digest] = true
					}
				}
				return nil
			})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(some, func(dgst oci.Digest) bool { return listed[dgst] }), nil
}

// removePiece removes those of a few manifests that are still untagged.
func (h *handle) removePiece(ctx context.Context, repo oci.Repository, some []oci.Digest, before time.Time) (removed int, err error) {
	err = h.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		removed = 0
		id, locked, err := lockRepository(tx, h.reg.ID, repo)
		if errors.Is(err, sqldb.ErrNoRow) || err == nil && locked&lockAnyDelete != 0 {
			return nil
		}
		if err != nil {
			return err
		}
		var events []*outbox.Draft
		what := thing{repo: repo}
		for _, dgst := range some {
			is, err := isStillUntagged(tx, id, dgst, before.UnixNano())
			if err != nil {
				return err
			}
			if !is {
				continue
			}
			row, tags, err := h.deleteManifest(tx, repo, id, dgst)
			if err != nil {
				return err
			}
			events = append(events, h.deleteEvents(repo, row, tags)...)
			removed++
			what.digest = dgst
		}
		if removed == 0 {
			return nil
		}
		detail := "untagged since before " + before.UTC().Format(time.RFC3339)
		if removed > 1 { // their digests are in the events
			what.digest, detail = "", fmt.Sprintf("%d of its manifests, %s", removed, detail)
		}
		if err := h.record(tx, contentDelete, what, detail); err != nil {
			return err
		}
		return h.append(tx, events)
	})
	return removed, err
}
