package acrserver

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// The answers about what was deleted. Azure's client reads digest, tag and deletedAt of
// them, works out expiresAfter itself, and hands the rest on.
type (
	deletedTagsAnswer struct {
		Registry  string            `json:"registry"`
		ImageName oci.Repository    `json:"imageName"`
		Tags      []deletedTagEntry `json:"tags"`
	}
	deletedManifestsAnswer struct {
		Registry  string                 `json:"registry"`
		ImageName oci.Repository         `json:"imageName"`
		Manifests []deletedManifestEntry `json:"manifests"`
	}
	restoredAnswer struct {
		Registry          string         `json:"registry"`
		ImageName         oci.Repository `json:"imageName"`
		ManifestsRestored []oci.Digest   `json:"manifestsRestored"`
		TagsRestored      []oci.Tag      `json:"tagsRestored"`
	}

	deletedTagEntry struct {
		Tag          oci.Tag    `json:"tag"`
		Digest       oci.Digest `json:"digest"`
		DeletedAt    string     `json:"deletedAt"`
		DeletedBy    string     `json:"deletedBy"`
		ExpiresAfter string     `json:"expiresAfter"`
	}
	deletedManifestEntry struct {
		Digest            oci.Digest          `json:"digest"`
		MediaType         string              `json:"mediaType"`
		ArtifactType      string              `json:"artifactType,omitempty"`
		CreatedTime       string              `json:"createdTime"`
		DeletedAt         string              `json:"deletedAt"`
		DeletedBy         string              `json:"deletedBy"`
		ExpiresAfter      string              `json:"expiresAfter"`
		Tags              []oci.Tag           `json:"tags,omitempty"`
		QuarantineState   oci.QuarantineState `json:"quarantineState,omitempty"`
		QuarantineDetails string              `json:"quarantineDetails,omitempty"` // JSON
	}
)

func (c *call) listDeletedRepositories() error {
	return c.listNames(c.contents.DeletedRepositories)
}

func (c *call) listDeletedManifests() error {
	q, err := c.readList()
	if err != nil {
		return err
	}
	found, more, err := c.contents.DeletedManifests(c.r.Context(), c.repo, q.DetailsPage)
	if err != nil {
		return err
	}
	if more {
		last := found[len(found)-1]
		c.linkNext(q, string(last.Digest), last.DeletedAt)
	}
	answer := deletedManifestsAnswer{c.service, c.repo, make([]deletedManifestEntry, len(found))}
	for i, m := range found {
		answer.Manifests[i] = newDeletedManifest(m)
	}
	return c.write(http.StatusOK, answer)
}

func newDeletedManifest(m oci.DeletedManifest) deletedManifestEntry {
	e := deletedManifestEntry{
		Digest: m.Digest, MediaType: m.MediaType, CreatedTime: timestamp(m.CreatedAt),
		DeletedAt: timestamp(m.DeletedAt), DeletedBy: m.DeletedBy, ExpiresAfter: timestamp(m.ExpiresAt), Tags: m.Tags,
		QuarantineState: m.Quarantine, QuarantineDetails: m.QuarantineDetails,
	}
	if m.ArtifactType != oci.MediaTypeImageConfig && m.ArtifactType != oci.MediaTypeDockerConfig { // else it is an image
		e.ArtifactType = m.ArtifactType
	}
	return e
}

// listDeletedTags lists the deletions of one tag oldest first: Azure's client restores
// the last one.
func (c *call) listDeletedTags() error {
	q, err := c.readList()
	if err != nil {
		return err
	}
	if q.Order != oci.ByName {
		return byNameOnly("deleted tags")
	}
	after, err := parseDeletedPlace(q)
	if err != nil {
		return err
	}
	found, more, err := c.contents.DeletedTags(c.r.Context(), c.repo, after, q.N)
	if err != nil {
		return err
	}
	if more {
		last := found[len(found)-1]
		c.linkPage(q, string(last.Name)+"@"+string(last.Digest), last.DeletedAt)
	}
	answer := deletedTagsAnswer{c.service, c.repo, make([]deletedTagEntry, len(found))}
	for i, t := range found {
		answer.Tags[i] = deletedTagEntry{t.Name, t.Digest, timestamp(t.DeletedAt), t.DeletedBy, timestamp(t.ExpiresAt)}
	}
	return c.write(http.StatusOK, answer)
}

// parseDeletedPlace reads where a page of deleted tags begins: behind a tag, or behind
// one deletion of it, which is written tag@digest and comes with its time.
func parseDeletedPlace(q listQuery) (after oci.DeletedTag, err error) {
	tag, digest, one := strings.Cut(q.Last, "@")
	after.Name = oci.Tag(tag) // of any form: it only says where to begin
	if !one {
		return after, nil
	}
	if after.Digest, err = oci.ParseDigest(digest); err != nil {
		return oci.DeletedTag{}, err
	}
	if q.LastTime.IsZero() {
		return oci.DeletedTag{}, fault.New(fault.Invalid, "last=%.200q needs lasttime: follow the Link of the page before as it is, or use last=%.128s", q.Last, tag).WithCode(oci.CodeUnsupported)
	}
	after.DeletedAt = q.LastTime
	return after, nil
}

// restoreManifest is az acr manifest restore: force is in the query, the tag in the
// body.
func (c *call) restoreManifest() error {
	dgst, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	body, err := c.readBody()
	if err != nil {
		return err
	}
	how, err := parseRestore(c.r.URL.Query().Get("force"), body)
	if err != nil {
		return err
	}
	done, err := c.contents.Restore(c.r.Context(), c.repo, dgst, how)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, restoredAnswer{c.service, c.repo, list(done.Manifests), list(done.Tags)})
}

// parseRestore reads what is to come back with a manifest: true or false, in Python's
// way of writing too, and an object with a tag, or null for it, or nothing at all. It
// fails with fault.Invalid.
func parseRestore(force string, body []byte) (how oci.Restoring, err error) {
	if force != "" {
		if how.Force, err = strconv.ParseBool(force); err != nil {
			return oci.Restoring{}, badChange("force=%.40q is neither true nor false", force)
		}
	}
	if len(body) == 0 {
		return how, nil
	}
	err = eachMember("the body", `{"tag":"v1"}`, body, func(name string, value any) (err error) {
		if name != "tag" {
			return badChange("there is no member %.40q: use tag", name)
		}
		switch v := value.(type) {
		case nil:
			return nil
		case string:
			how.Tag, err = oci.ParseTag(v)
			return err
		}
		return badChange("tag is neither a string nor null")
	})
	if err != nil {
		return oci.Restoring{}, err
	}
	return how, nil
}
