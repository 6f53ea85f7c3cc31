package registry

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Quarantine says whether a registry holds images back until they have passed, and
// what that is to a caller. It is decided when a request is read, so a policy that
// is switched costs no row a change: what was never judged counts as held while it
// is on, and nothing is held while it is off.
//
// By digest only who sees what is in quarantine reaches it. A tag leads nobody
// there. Its pushes are numbered, and it names the newest whose manifest has
// passed:
//
//   - A push of a manifest that has passed, or while the policy is off, moves the tag.
//     Whatever was pushed to it before and still waits can move it no more.
//   - A push into quarantine waits, and the tag goes on naming what it named: also
//     nothing, if that has not passed itself.
//   - When a manifest passes, each tag moves to it that waits for it and that no
//     newer push has moved. It may pass before or after others that wait.
//   - A tag that was deleted is not made again: of what waited for it, the manifests
//     pass without it.
//   - When what waits for a tag is deleted, the tag goes on naming what it named; and
//     with the manifest that it names and nothing that waits, the tag goes.
//   - A manifest that loses its mark takes the tags that name it out of sight, and
//     brings them back with it. They fall back on nothing older: that was a push's
//     doing only while it waited.
//   - While the policy is off a tag names the newest push.
//
// Each push that waited rings push once, when its manifest passes: with the tag, if
// it moves that, and else without, for then the image is had by its digest.
type Quarantine int

// What it can be.
const (
	NoQuarantine Quarantine = iota // the policy is off
	Hidden                         // it is on, and the caller sees nothing of what is held
	Seen                           // it is on, and the caller sees all
)

func (q Quarantine) on() bool { return q != NoQuarantine }

// verdict is a state of a manifest as it is stored.
type verdict int64

const (
	undecided verdict = iota
	passed            // an index of the database has this number
	failed
	quarantined
)

var verdicts = map[oci.QuarantineState]verdict{oci.Passed: passed, oci.Failed: failed, oci.Quarantined: quarantined}

// state is how a caller is told of a verdict.
func (q Quarantine) state(v verdict) oci.QuarantineState {
	switch {
	case v == passed:
		return oci.Passed
	case v == failed:
		return oci.Failed
	case v == quarantined || q.on():
		return oci.Quarantined
	}
	return oci.Undecided
}

// holds reports whether a manifest of that verdict is held back.
func (q Quarantine) holds(v verdict) bool { return q.on() && v != passed }

// hides reports whether a manifest of that verdict is kept from the caller.
func (q Quarantine) hides(v verdict) bool { return q == Hidden && v != passed }

// arrival is the verdict of a manifest that is new.
func (q Quarantine) arrival() verdict {
	if q.on() {
		return quarantined
	}
	return undecided
}

// heldPush is a push that waits, as it is stored.
type heldPush struct {
	id       int64
	manifest int64
	tag      oci.Tag
	number   int64
	by       pusher
	of       manifestRow // without its bytes
}

// pusher is whose push it was, as its event will tell.
type pusher struct {
	Request event.Request `json:"request"`
	Actor   string        `json:"actor,omitempty"`
	Cause   string        `json:"cause,omitempty"`
}

// hold has the tags, or the manifest alone, wait for a manifest to pass.
func (h *handle) hold(tx *sqldb.Tx, repo oci.Repository, repository, manifest int64, tags []oci.Tag) error {
	record, err := json.Marshal(pusher{h.caller.Request, h.caller.Actor, h.caller.Cause})
	if err != nil {
		return err
	}
	if len(tags) == 0 {
		return putHeldPush(tx, repository, manifest, "", 0, record)
	}
	for _, tag := range tags {
		number, err := holdTag(tx, repo, repository, tag, manifest)
		if err == nil {
			err = putHeldPush(tx, repository, manifest, tag, number, record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SetQuarantine implements oci.Quarantine.
func (h *handle) SetQuarantine(ctx context.Context, repo oci.Repository, dgst oci.Digest, c oci.QuarantineChange) (oci.ManifestDetails, error) {
	of := thing{repo: repo, digest: dgst}
	if c == (oci.QuarantineChange{}) {
		return h.DescribeManifest(ctx, repo, dgst) // a change of nothing leaves no trace
	}
	err := h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		id, locked, err := lockRepository(tx, h.reg.ID, repo)
		if errors.Is(err, sqldb.ErrNoRow) {
			return oci.NameUnknown(repo)
		}
		if err != nil {
			return err
		}
		head, err := readManifestHead(tx, id, dgst)
		if errors.Is(err, sqldb.ErrNoRow) {
			return oci.ManifestUnknown(repo, oci.Reference{Digest: dgst})
		}
		if err != nil {
			return err
		}
		if c.Attributes != (oci.AttributesChange{}) {
			if _, err := setManifestLocks(tx, id, dgst, newLockChange(c.Attributes)); err != nil {
				return err
			}
			if err := h.record(tx, metadataWrite, of, changeText(c.Attributes)); err != nil {
				return err
			}
		}
		if c.Details != nil {
			if err := setQuarantineDetails(tx, head.id, *c.Details); err != nil {
				return err
			}
		}
		if c.State == oci.Undecided {
			if c.Details == nil {
				return nil
			}
			return h.record(tx, quarantineWrite, of, "quarantineDetails")
		}
		return h.judge(tx, repo, id, locked, head, c.State)
	})
	if err != nil {
		return oci.ManifestDetails{}, err
	}
	return h.DescribeManifest(ctx, repo, dgst)
}

// judge sets a state, and lets go of what waited for it.
func (h *handle) judge(tx *sqldb.Tx, repo oci.Repository, repository int64, locked locks, head manifestHead, state oci.QuarantineState) error {
	all, err := family(tx, repository, head)
	if err != nil {
		return err
	}
	if err := setVerdicts(tx, all, verdicts[state]); err != nil {
		return err
	}
	var events []*outbox.Draft
	if state == oci.Passed {
		if events, err = h.release(tx, repo, repository, locked, all); err != nil {
			return err
		}
	}
	if err := h.record(tx, quarantineWrite, thing{repo: repo, digest: head.digest}, "quarantineState="+string(state)); err != nil {
		return err
	}
	return h.append(tx, events)
}

// family returns the ids of a manifest and of all that its state holds for: what it
// lists and what that lists, and what refers to any of these.
func family(tx *sqldb.Tx, repository int64, head manifestHead) (all []int64, err error) {
	known := map[int64]bool{head.id: true}
	next := []relative{{head.id, head.digest, head.mediaType}}
	for len(next) > 0 {
		generation := next
		next = nil
		add := func(found []relative) {
			for _, r := range found {
				if !known[r.id] {
					known[r.id] = true
					next = append(next, r)
				}
			}
		}
		var digests []oci.Digest
		for _, r := range generation {
			all = append(all, r.id)
			digests = append(digests, r.digest)
			if !isIndex(r.mediaType) {
				continue
			}
			children, err := childrenOf(tx, repository, r)
			if err != nil {
				return nil, err
			}
			add(children)
		}
		referrers, err := relatives(tx, repository, "subject", digests)
		if err != nil {
			return nil, err
		}
		add(referrers)
	}
	return all, nil
}

// relative is a manifest, as far as looking for others takes it.
type relative struct {
	id        int64
	digest    oci.Digest
	mediaType string
}

// childrenOf returns those manifests an index lists that are there.
func childrenOf(tx *sqldb.Tx, repository int64, index relative) ([]relative, error) {
	data, err := manifestData(tx, index.id)
	if err != nil {
		return nil, err
	}
	parsed, err := oci.ParseManifest(index.mediaType, data)
	if err != nil {
		return nil, nil // it was taken once: what it lists cannot be told
	}
	var digests []oci.Digest
	for _, r := range parsed.References {
		if r.Kind == oci.RefersChild {
			digests = append(digests, r.Descriptor.Digest)
		}
	}
	return relatives(tx, repository, "digest", digests)
}

// release moves the tags that waited for manifests, and returns the events of the
// pushes that waited, in their order.
func (h *handle) release(tx *sqldb.Tx, repo oci.Repository, repository int64, locked locks, manifests []int64) (events []*outbox.Draft, err error) {
	waiting, err := takeHeldPushes(tx, manifests)
	if err != nil {
		return nil, err
	}
	untagged := map[int64]bool{} // those that have their event without a tag
	for _, p := range waiting {
		moved, before, err := h.settle(tx, repo, repository, locked, p)
		if err != nil {
			return nil, err
		}
		if !moved {
			if untagged[p.manifest] {
				continue
			}
			untagged[p.manifest] = true
			p.tag = ""
		}
		// As whoever pushed it would have raised them.
		pusher := &handle{h.Store, h.reg, Caller{Request: p.by.Request, Actor: p.by.Actor, Cause: p.by.Cause}}
		events = append(events, pusher.pushEvents(repo, p.of, []oci.Tag{p.tag}, []event.Action{event.Push})...)
		events = append(events, pusher.moved(repo, p.of, p.tag, before)...)
	}
	return events, nil
}

// settle moves the tag that a push waited to move, and reports whether there is one
// that nothing newer has moved, and what it named before.
func (h *handle) settle(tx *sqldb.Tx, repo oci.Repository, repository int64, locked locks, p heldPush) (moved bool, before oci.Digest, err error) {
	if p.tag == "" {
		return false, "", nil
	}
	onTag, before, err := settleTag(tx, repository, p.tag, p.manifest, p.number)
	if errors.Is(err, sqldb.ErrNoRow) {
		return false, "", nil
	}
	if err == nil {
		err = locked.allow(lockWrite, thing{repo: repo})
	}
	if err == nil {
		err = onTag.allow(lockWrite, thing{repo: repo, tag: p.tag})
	}
	return true, before, err
}

// inOrder sorts pushes as they came.
func inOrder(pushes []heldPush) []heldPush {
	slices.SortFunc(pushes, func(a, b heldPush) int { return int(a.id - b.id) })
	return pushes
}
