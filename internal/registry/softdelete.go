package registry

import (
	"context"
	"errors"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Soft delete. A manifest that is deleted moves to a table of its own, with the tags
// that went with it, so that nothing that looks at what is there meets it. Its blobs
// stay linked to the repository, for collections read this table as well; so they can
// be pulled by their digests until they are collected, as those of no manifest can
// anyway. A repository that is deleted whole leaves its row, marked as gone.
//
// A push costs no statement for this: the row of a manifest that is there again counts
// for nothing, and goes when the manifest is deleted next, or by its age.

// deleteManifest deletes a manifest and the tags that name it, and keeps both where
// that is the policy. It returns sqldb.ErrNoRow if there is none.
func (h *handle) deleteManifest(tx *sqldb.Tx, repo oci.Repository, repository int64, dgst oci.Digest) (row manifestRow, tags []oci.Tag, err error) {
	if h.caller.SoftDelete {
		err = keepManifest(tx, repository, dgst, h.caller.Actor)
	} else {
		err = forgetDeleted(tx, repository, dgst)
	}
	if err != nil {
		return row, nil, err
	}
	return deleteManifest(tx, repo, repository, dgst)
}

// keepTag keeps what a tag names that is about to be deleted, or moved by force, where
// that is the policy.
func (h *handle) keepTag(tx *sqldb.Tx, repository int64, tag oci.Tag) error {
	if !h.caller.SoftDelete {
		return nil
	}
	return keepTag(tx, repository, h.caller.Quarantine, tag, h.caller.Actor)
}

// DeletedRepositories implements oci.SoftDelete.
func (h *handle) DeletedRepositories(ctx context.Context, last string, n int) (repos []oci.Repository, more bool, err error) {
	n = limit(n)
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		repos, err = deletedRepositories(tx, h.reg.ID, h.caller.Quarantine, last, n+1)
		return err
	})
	repos, more = page(repos, n)
	return repos, more, err
}

// DeletedManifests implements oci.SoftDelete.
func (h *handle) DeletedManifests(ctx context.Context, repo oci.Repository, p oci.DetailsPage) (found []oci.DeletedManifest, more bool, err error) {
	n := limit(p.N)
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		id, err := h.findDeleted(tx, repo)
		if err != nil {
			return err
		}
		from, err := placeOf(tx, id, p, deletionTime)
		if err != nil {
			return err
		}
		found, err = deletedManifests(tx, id, h.caller.Quarantine, p.Order, from, n+1)
		if err != nil {
			return err
		}
		found, more = page(found, n)
		for i, m := range found {
			found[i].ExpiresAt = m.DeletedAt.Add(h.caller.DeletedFor)
			went, err := tagsThatWent(tx, id, m.Digest)
			if err != nil {
				return err
			}
			for _, t := range went {
				found[i].Tags = append(found[i].Tags, t.name)
			}
		}
		return nil
	})
	return found, more, err
}

// DeletedTags implements oci.SoftDelete.
func (h *handle) DeletedTags(ctx context.Context, repo oci.Repository, after oci.DeletedTag, n int) (tags []oci.DeletedTag, more bool, err error) {
	n = limit(n)
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		id, err := h.findDeleted(tx, repo)
		if err != nil {
			return err
		}
		tags, err = deletedTags(tx, id, h.caller.Quarantine, after, n+1)
		return err
	})
	for i, t := range tags {
		tags[i].ExpiresAt = t.DeletedAt.Add(h.caller.DeletedFor)
	}
	tags, more = page(tags, n)
	return tags, more, err
}

// findDeleted returns the id of a repository that may be gone.
func (h *handle) findDeleted(tx *sqldb.Tx, repo oci.Repository) (int64, error) {
	id, err := repositoryEvenGone(tx, h.reg.ID, repo)
	if errors.Is(err, sqldb.ErrNoRow) {
		err = oci.NameUnknown(repo)
	}
	return id, err
}
