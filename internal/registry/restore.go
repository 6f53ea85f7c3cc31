package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// restorer is one restoration: a handle in the transaction of it, which holds the
// repository's row.
type restorer struct {
	handle
	tx         *sqldb.Tx
	repo       oci.Repository
	repository int64

	done   oci.Restored
	events []*outbox.Draft
}

// Restore implements oci.SoftDelete. What was off of the attributes of what comes back
// is off again; those of a tag that is there stay as they are.
func (h *handle) Restore(ctx context.Context, repo oci.Repository, dgst oci.Digest, how oci.Restoring) (done oci.Restored, err error) {
	err = h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		id, locked, err := reviveRepository(tx, h.reg.ID, repo)
		if errors.Is(err, sqldb.ErrNoRow) {
			return oci.NameUnknown(repo)
		}
		if err == nil {
			err = locked.allow(lockWrite, thing{repo: repo})
		}
		if err != nil {
			return err
		}
		r := &restorer{handle: *h, tx: tx, repo: repo, repository: id}
		r.caller.Cause = "restore"
		if err := r.restore(dgst, how); err != nil {
			return err
		}
		if err := r.record(tx, deletedRestore, thing{repo: repo, digest: dgst}, r.detail()); err != nil {
			return err
		}
		done = r.done
		return r.append(tx, r.events)
	})
	return done, err
}

// detail says for the audit log what came back beside the manifest.
func (r *restorer) detail() string {
	var parts []string
	for _, tag := range r.done.Tags {
		parts = append(parts, "tag "+string(tag))
	}
	if n := len(r.done.Manifests) - 1; n > 0 {
		parts = append(parts, fmt.Sprintf("%d manifests that it lists", n))
	}
	return strings.Join(parts, ", ")
}

func (r *restorer) restore(dgst oci.Digest, how oci.Restoring) error {
	tags, err := tagsThatWent(r.tx, r.repository, dgst)
	if err != nil {
		return err
	}
	id, row, locked, err := manifestThere(r.tx, r.repository, dgst)
	there := err == nil
	switch {
	case errors.Is(err, sqldb.ErrNoRow):
		id, row, err = r.revive(dgst)
	case there && how.Tag == "":
		err = oci.NotDeleted(r.repo, dgst)
	case there:
		err = locked.allow(lockWrite, thing{repo: r.repo, digest: dgst})
	}
	if err != nil {
		return err
	}
	if how.Tag != "" {
		tag := deletedTag{name: how.Tag}
		tag.locks, err = deletedTagLocks(r.tx, r.repository, how.Tag, dgst)
		if errors.Is(err, sqldb.ErrNoRow) && !there {
			err = nil // a new name for it
		}
		if errors.Is(err, sqldb.ErrNoRow) {
			err = oci.TagNotDeleted(r.repo, how.Tag, dgst)
		}
		if err != nil {
			return err
		}
		tags = []deletedTag{tag}
	}
	if tags, err = r.free(dgst, tags, how.Force); err != nil {
		return err
	}
	if there && len(tags) == 0 {
		return oci.TagNotDeleted(r.repo, how.Tag, dgst)
	}
	return r.show(id, row, tags)
}

// revive brings a manifest back, after those that it lists, but no tags.
func (r *restorer) revive(dgst oci.Digest) (id int64, row manifestRow, err error) {
	mediaType, data, err := deletedData(r.tx, r.repository, dgst)
	if errors.Is(err, sqldb.ErrNoRow) {
		return 0, row, oci.NotDeleted(r.repo, dgst)
	}
	if err != nil {
		return 0, row, err
	}
	parsed, err := oci.ParseManifest(mediaType, data)
	if err != nil {
		return 0, row, err
	}
	for _, ref := range parsed.References {
		if ref.Kind == oci.RefersChild {
			if err := r.reviveChild(ref.Descriptor.Digest); err != nil {
				return 0, row, err
			}
		}
	}
	err = checkReferences(r.tx, r.repo, r.repository, parsed.References)
	if fault.Is(err, fault.NotFound) {
		err = oci.Unrestorable(dgst, err)
	}
	if err == nil {
		err = renewChildren(r.tx, r.repository, parsed.References)
	}
	if err == nil {
		err = reviveManifest(r.tx, r.repository, dgst, r.caller.Quarantine.arrival())
	}
	if err != nil {
		return 0, row, err
	}
	r.done.Manifests = append(r.done.Manifests, dgst)
	id, row, _, err = manifestThere(r.tx, r.repository, dgst)
	return id, row, err
}

// reviveChild is revive for what an index lists, unless it is there, or gone for good:
// whether the index needs it, checkReferences tells.
func (r *restorer) reviveChild(dgst oci.Digest) error {
	if _, _, _, err := manifestThere(r.tx, r.repository, dgst); !errors.Is(err, sqldb.ErrNoRow) {
		return err
	}
	id, row, err := r.revive(dgst)
	switch {
	case err == nil:
		return r.show(id, row, nil)
	case fault.As(err).Code == oci.CodeManifestUnknown:
		return nil
	}
	return err
}

// free returns those of some tags that do not name a manifest and are to. It fails if
// one is in use by another, unless it is to be moved.
func (r *restorer) free(dgst oci.Digest, tags []deletedTag, force bool) (free []deletedTag, err error) {
	for _, t := range tags {
		by, err := namedBy(r.tx, r.repository, r.caller.Quarantine, t.name)
		switch {
		case errors.Is(err, sqldb.ErrNoRow):
		case err != nil:
			return nil, err
		case by == dgst:
			continue
		case !force:
			return nil, oci.TagInUse(r.repo, t.name, by)
		default:
			t.inUse = true
		}
		free = append(free, t)
	}
	return free, nil
}

// show has tags name a manifest that came back, or wait for it to pass, as a push would.
func (r *restorer) show(id int64, row manifestRow, tags []deletedTag) error {
	names := make([]oci.Tag, len(tags))
	for i, t := range tags {
		names[i] = t.name
	}
	action := event.Push
	if r.caller.Quarantine.holds(row.verdict) {
		action = event.Quarantine
		if err := r.hold(r.tx, r.repo, r.repository, id, names); err != nil {
			return err
		}
	}
	r.events = append(r.events, r.pushEvents(r.repo, row, names, []event.Action{action})...)
	for _, t := range tags {
		if action == event.Push {
			if err := r.moveTag(id, row, t); err != nil {
				return err
			}
		}
		if err := bringTag(r.tx, r.repository, t, row.digest); err != nil {
			return err
		}
	}
	r.done.Tags = append(r.done.Tags, names...)
	return nil
}

// moveTag has a tag name a manifest. What it is taken from by force it is deleted from.
func (r *restorer) moveTag(id int64, row manifestRow, t deletedTag) error {
	if t.inUse {
		if err := r.keepTag(r.tx, r.repository, t.name); err != nil {
			return err
		}
	}
	before, err := moveTag(r.tx, r.repo, r.repository, t.name, id)
	r.events = append(r.events, r.moved(r.repo, row, t.name, before)...)
	return err
}
