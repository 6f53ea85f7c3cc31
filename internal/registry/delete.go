package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// deletedAtOnce is how many manifests of a repository are deleted in one
// transaction, with as many events.
const deletedAtOnce = 25

// DeleteRepository implements oci.Metadata. It deletes the manifests that it finds
// at first, so that one who goes on pushing cannot keep it busy for ever; when
// none is left, and none was pushed meanwhile, the repository goes with its links
// of blobs. They are many, so the row is first given up: no request finds it any
// more, whoever pushes makes a new one, and nothing is added to what is being
// removed. What a crash leaves of it the next call in the registry removes.
//
// With something in it that can be restored the row stays instead, and is marked.
func (h *handle) DeleteRepository(ctx context.Context, repo oci.Repository) (oci.Deleted, error) {
	defer h.removeGivenUp(context.WithoutCancel(ctx))
	var last int64
	err := h.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		last, err = h.deletable(tx, repo)
		return err
	})
	if err != nil {
		return oci.Deleted{}, err
	}
	var gone oci.Deleted
	for more := true; more; {
		var piece oci.Deleted
		err := h.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
			piece, more, err = h.deletePiece(tx, repo, last)
			return err
		})
		if fault.Is(err, fault.NotFound) && len(gone.Manifests) > 0 {
			break // somebody else came to the end of it
		}
		if err != nil {
			return gone, err
		}
		gone.Manifests = append(gone.Manifests, piece.Manifests...)
		gone.Tags = append(gone.Tags, piece.Tags...)
	}
	slices.Sort(gone.Manifests)
	slices.Sort(gone.Tags)
	return gone, nil
}

// deletable returns the row id up to which a repository's manifests are to go, if
// nothing forbids it.
func (h *handle) deletable(tx *sqldb.Tx, repo oci.Repository) (last int64, err error) {
	id, locked, err := repositoryID(tx, h.reg.ID, repo)
	if errors.Is(err, sqldb.ErrNoRow) {
		return 0, oci.NameUnknown(repo)
	}
	if err == nil {
		err = locked.allow(lockAnyDelete, thing{repo: repo})
	}
	if err != nil {
		return 0, err
	}
	switch what, locked, err := lockedAgainstDelete(tx, repo, id); {
	case err == nil:
		return 0, locked.allow(lockAnyDelete, what)
	case !errors.Is(err, sqldb.ErrNoRow):
		return 0, err
	}
	return newestManifest(tx, id)
}

// deletePiece deletes some of a repository's manifests, or the repository if it
// was left without any.
func (h *handle) deletePiece(tx *sqldb.Tx, repo oci.Repository, last int64) (gone oci.Deleted, more bool, err error) {
	id, err := h.lock(tx, repo)
	if err != nil {
		return gone, false, err
	}
	found, err := someManifests(tx, id, last, deletedAtOnce)
	if err != nil {
		return gone, false, err
	}
	var events []*outbox.Draft
	for _, dgst := range found {
		row, tags, err := h.deleteManifest(tx, repo, id, dgst)
		if err != nil {
			return gone, false, err
		}
		gone.Manifests = append(gone.Manifests, dgst)
		gone.Tags = append(gone.Tags, tags...)
		events = append(events, h.deleteEvents(repo, row, tags)...)
	}
	more = len(found) == deletedAtOnce
	if !more {
		if err := endRepository(tx, id, h.reg.ID); err != nil {
			return gone, false, err
		}
	}
	detail := fmt.Sprintf("%d of its manifests", len(found)) // their digests are in the events
	if !more {
		detail += ", and what is left of it"
	}
	if err := h.record(tx, contentDelete, thing{repo: repo}, detail); err != nil {
		return gone, false, err
	}
	return gone, more, h.append(tx, events)
}

// removeGivenUp removes repositories that were given up, and their links. It is
// not told to whoever deleted them if that fails: for them they are gone.
func (h *handle) removeGivenUp(ctx context.Context) {
	for {
		var id int64
		err := h.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			id, err = anyGivenUp(tx, doomed(h.reg.ID))
			return err
		})
		if errors.Is(err, sqldb.ErrNoRow) {
			return
		}
		if err == nil {
			err = h.remove(ctx, id)
		}
		if err != nil {
			h.Log.Warn("links of a deleted repository are left: the next deletion of a repository in this registry removes them", "registry", h.reg.Name, "error", err)
			return
		}
	}
}

// remove removes a repository that was given up.
func (s *Store) remove(ctx context.Context, id int64) error {
	for after := ""; ; {
		var links []string
		err := s.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			links, err = linksOf(tx, id, after, linksAtOnce)
			return err
		})
		if err != nil {
			return err
		}
		err = s.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
			for _, dgst := range links {
				if _, err := unlinkBlob(tx, id, oci.Digest(dgst)); err != nil {
					return err
				}
			}
			if len(links) < linksAtOnce {
				return deleteRepository(tx, id)
			}
			return nil
		})
		if err != nil || len(links) < linksAtOnce {
			return err
		}
		after = links[len(links)-1]
	}
}
