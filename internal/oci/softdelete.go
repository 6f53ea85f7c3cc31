package oci

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// SoftDelete lists what was deleted and is kept for a while, and brings it back:
// ACR's /acr/v1/_deleted. Which registries keep what is deleted in them, and for how
// long, is decided elsewhere: here is what of it there is. What was deleted is found
// by no other method. What is there again, because it was pushed, is not deleted any
// more.
type SoftDelete interface {
	// DeletedRepositories lists the repositories that hold nothing but what was
	// deleted, in byte order.
	DeletedRepositories(ctx context.Context, last string, n int) (repos []Repository, more bool, err error)

	// DeletedManifests lists those of a repository, in order of digest or of the time
	// of deletion; LastTime of a page is the DeletedAt of Last. It fails with
	// NAME_UNKNOWN where there neither is nor was such a repository.
	DeletedManifests(ctx context.Context, repo Repository, p DetailsPage) (manifests []DeletedManifest, more bool, err error)

	// DeletedTags lists those of a repository that can be restored: what each named is
	// there, or deleted as well. They are in byte order, those of one name in the order
	// in which they were deleted. It fails as DeletedManifests.
	DeletedTags(ctx context.Context, repo Repository, after DeletedTag, n int) (tags []DeletedTag, more bool, err error)

	// Restore brings a manifest back, with those deleted ones that it lists, and tags,
	// in one transaction; a push event is recorded for each tag that names something
	// again, and one for each manifest without. A registry that holds images back holds
	// back also what is restored. It fails with
	// MANIFEST_UNKNOWN or NAME_UNKNOWN for what was not deleted or is gone for good,
	// with MANIFEST_BLOB_UNKNOWN if something is gone for good that the manifest needs,
	// and with TAG_IN_USE, kind Conflict.
	Restore(ctx context.Context, repo Repository, dgst Digest, how Restoring) (Restored, error)
}

// DeletedManifest is what is known of a manifest that was deleted.
type DeletedManifest struct {
	Digest       Digest
	MediaType    string
	ArtifactType string
	CreatedAt    time.Time
	DeletedAt    time.Time
	DeletedBy    string    // user name, or the policy that did it
	ExpiresAt    time.Time // when it is gone for good, as things are
	Tags         []Tag     // that went with it, in byte order

	Quarantine        QuarantineState // as for ManifestDetails
	QuarantineDetails string
}

// DeletedTag is what is known of a tag that was deleted. One tag may have been deleted
// several times, each time from another manifest.
type DeletedTag struct {
	Name      Tag
	Digest    Digest // of what it named
	DeletedAt time.Time
	DeletedBy string
	ExpiresAt time.Time
}

// Restoring says which tags come back with a manifest.
type Restoring struct {
	// Tag is the one that does, whether it was the manifest's before or not; empty:
	// those that went with it. Of a manifest that is there a tag comes back only if it
	// was deleted from it.
	Tag Tag

	// Force moves a tag that is in use by another manifest by now.
	Force bool
}

// Restored is what was brought back.
type Restored struct {
	Manifests []Digest // those that an index lists before it
	Tags      []Tag
}

// NotDeleted says that there is no manifest that could be restored.
func NotDeleted(repo Repository, dgst Digest) error {
	return fault.New(fault.NotFound, "repository %s has no deleted manifest %s: it was never deleted, is there again, or is gone for good", repo, dgst).
		WithCode(CodeManifestUnknown).WithDetail(map[string]string{"name": string(repo), "digest": string(dgst)})
}

// TagNotDeleted says the same of a tag of a manifest that is there.
func TagNotDeleted(repo Repository, tag Tag, dgst Digest) error {
	return fault.New(fault.NotFound, "tag %s of %s was not deleted from %s, which is there: it cannot be restored; push it", tag, repo, dgst).
		WithCode(CodeManifestUnknown).WithDetail(map[string]string{"name": string(repo), "tag": string(tag), "digest": string(dgst)})
}

// TagInUse says that a tag that is to come back names another manifest.
func TagInUse(repo Repository, tag Tag, by Digest) error {
	return fault.New(fault.Conflict, "tag %s of %s is in use by %s: restore with force to move it, or restore with another tag", tag, repo, by).
		WithCode(CodeTagInUse).WithDetail(map[string]string{"name": string(repo), "tag": string(tag), "digest": string(by)})
}

// Unrestorable says that a manifest cannot be restored because what it refers to is
// not there, which why says.
func Unrestorable(dgst Digest, why error) error {
	f := fault.As(why)
	return fault.Wrap(why, f.Kind, "manifest %s cannot be restored, something that it needs is gone for good: %s", dgst, f.Message).
		WithCode(f.Code).WithDetail(f.Detail)
}
