package registry

import (
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
)

// The events of changes that ACR tells nobody of. They are made only while a
// webhook of the registry asks for them.

// untagged returns the events of tags that are gone from a manifest.
func (h *handle) untagged(repo oci.Repository, m manifestRow, tags ...oci.Tag) (events []*outbox.Draft) {
	if len(tags) == 0 || !h.Wanted(h.reg.ID, event.Untag) {
		return nil
	}
	for _, tag := range tags {
		events = append(events, h.event(event.Untag, event.Target{
			MediaType: m.mediaType, ArtifactType: m.artifactType, Digest: string(m.digest), Repository: string(repo), Tag: string(tag),
		}))
	}
	return events
}

// moved returns the event of a tag that named another manifest before; before is
// empty if it did not.
func (h *handle) moved(repo oci.Repository, m manifestRow, tag oci.Tag, before oci.Digest) []*outbox.Draft {
	if before == "" || !h.Wanted(h.reg.ID, event.TagMoved) {
		return nil
	}
	target := m.target(repo, tag)
	target.PreviousDigest = string(before)
	return []*outbox.Draft{h.event(event.TagMoved, target)}
}

// attached returns the event of a manifest that refers to another, if it does.
func (h *handle) attached(repo oci.Repository, m manifestRow, tag oci.Tag) []*outbox.Draft {
	if !m.subject.Valid || !h.Wanted(h.reg.ID, event.ReferrerAttached) {
		return nil
	}
	target := m.target(repo, tag)
	target.SubjectDigest = m.subject.String
	return []*outbox.Draft{h.event(event.ReferrerAttached, target)}
}
