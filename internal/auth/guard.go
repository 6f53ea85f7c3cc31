package auth

import (
	"context"
	"io"

	"github.com/dockbell/dockbell/internal/oci"
)

// Guard returns inner as the identity may use it. What it may not do fails as
// Identity.Require says, before inner hears of it.
//
// Rights by method: OpenBlob, StatBlob, GetManifest and Referrers need pull on
// the repository; Tags pull or metadata_read; uploads and PutManifest pull and
// push; MountBlob these and pull on the source; deletions delete; descriptions
// metadata_read; changes of attributes metadata_write and metadata_read;
// Repositories registry:catalog:*; SetQuarantine a role that may it, see requireMark;
// DeletedRepositories registry:deleted_catalog:*; DeletedManifests and DeletedTags
// deleted_read; Restore deleted_read and deleted_restore.
// What is in quarantine inner hides by itself: it was told whether the caller sees
// it, see Identity.SeesQuarantine.
func Guard(inner oci.Contents, id Identity, registry Registry) oci.Contents {
	return &guard{inner, id, registry}
}

// guard embeds nothing: a method that oci.Contents gains has to be taught here
// before this compiles.
type guard struct {
	inner    oci.Contents
	id       Identity
	registry Registry
}

func (g *guard) pull(repo oci.Repository) error {
	return g.id.Require(g.registry, ToRepository(repo, Pull))
}

func (g *guard) push(repo oci.Repository) error {
	return g.id.Require(g.registry, ToRepository(repo, Pull, Push))
}

func (g *guard) delete(repo oci.Repository) error {
	return g.id.Require(g.registry, ToRepository(repo, Delete))
}

func (g *guard) readMetadata(repo oci.Repository) error {
	return g.id.Require(g.registry, ToRepository(repo, MetadataRead))
}

func (g *guard) writeMetadata(repo oci.Repository) error {
	return g.id.Require(g.registry, ToRepository(repo, MetadataWrite, MetadataRead))
}

func (g *guard) Ping(ctx context.Context) error {
	if err := g.id.Require(g.registry); err != nil {
		return err
	}
	return g.inner.Ping(ctx)
}

func (g *guard) OpenBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) (*oci.Blob, error) {
	if err := g.pull(repo); err != nil {
		return nil, err
	}
	return g.inner.OpenBlob(ctx, repo, dgst)
}

func (g *guard) StatBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) (oci.Descriptor, error) {
	if err := g.pull(repo); err != nil {
		return oci.Descriptor{}, err
	}
	return g.inner.StatBlob(ctx, repo, dgst)
}

func (g *guard) GetManifest(ctx context.Context, repo oci.Repository, ref oci.Reference) (*oci.Manifest, error) {
	if err := g.pull(repo); err != nil {
		return nil, err
	}
	return g.inner.GetManifest(ctx, repo, ref)
}

// MountBlob without a source looks everywhere, so it is for those who may read
// everything; to others the blob is unknown, and they upload it.
func (g *guard) MountBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest, from oci.Repository) (oci.Descriptor, error) {
	wanted := []Access{ToRepository(repo, Pull, Push)}
	if from != "" {
		wanted = append(wanted, ToRepository(from, Pull))
	}
	if err := g.id.Require(g.registry, wanted...); err != nil {
		return oci.Descriptor{}, err
	}
	if from == "" && !g.id.mayPullAll(g.registry) {
		return oci.Descriptor{}, oci.BlobUnknown(repo, dgst)
	}
	return g.inner.MountBlob(ctx, repo, dgst, from)
}

func (g *guard) StartUpload(ctx context.Context, repo oci.Repository) (oci.UploadID, error) {
	if err := g.push(repo); err != nil {
		return "", err
	}
	return g.inner.StartUpload(ctx, repo)
}

func (g *guard) UploadOffset(ctx context.Context, repo oci.Repository, id oci.UploadID) (int64, error) {
	if err := g.push(repo); err != nil {
		return 0, err
	}
	return g.inner.UploadOffset(ctx, repo, id)
}

func (g *guard) AppendUpload(ctx context.Context, repo oci.Repository, id oci.UploadID, at int64, r io.Reader) (int64, error) {
	if err := g.push(repo); err != nil {
		return 0, err
	}
	return g.inner.AppendUpload(ctx, repo, id, at, r)
}

func (g *guard) CommitUpload(ctx context.Context, repo oci.Repository, id oci.UploadID, at int64, r io.Reader, dgst oci.Digest) (oci.Descriptor, error) {
	if err := g.push(repo); err != nil {
		return oci.Descriptor{}, err
	}
	return g.inner.CommitUpload(ctx, repo, id, at, r, dgst)
}

func (g *guard) CancelUpload(ctx context.Context, repo oci.Repository, id oci.UploadID) error {
	if err := g.push(repo); err != nil {
		return err
	}
	return g.inner.CancelUpload(ctx, repo, id)
}

func (g *guard) PutManifest(ctx context.Context, repo oci.Repository, put oci.ManifestPut) (oci.ManifestResult, error) {
	if err := g.push(repo); err != nil {
		return oci.ManifestResult{}, err
	}
	return g.inner.PutManifest(ctx, repo, put)
}

func (g *guard) DeleteBlob(ctx context.Context, repo oci.Repository, dgst oci.Digest) error {
	if err := g.delete(repo); err != nil {
		return err
	}
	return g.inner.DeleteBlob(ctx, repo, dgst)
}

func (g *guard) DeleteManifest(ctx context.Context, repo oci.Repository, dgst oci.Digest) error {
	if err := g.delete(repo); err != nil {
		return err
	}
	return g.inner.DeleteManifest(ctx, repo, dgst)
}

func (g *guard) DeleteTag(ctx context.Context, repo oci.Repository, tag oci.Tag) (oci.Digest, error) {
	if err := g.delete(repo); err != nil {
		return "", err
	}
	return g.inner.DeleteTag(ctx, repo, tag)
}

// Tags tells no more than DescribeTags, so who may have that may have this.
func (g *guard) Tags(ctx context.Context, repo oci.Repository, last string, n int) ([]oci.Tag, bool, error) {
	if err := g.id.requireOne(g.registry, ToRepository(repo, Pull), ToRepository(repo, MetadataRead)); err != nil {
		return nil, false, err
	}
	return g.inner.Tags(ctx, repo, last, n)
}

func (g *guard) Repositories(ctx context.Context, last string, n int) ([]oci.Repository, bool, error) {
	if err := g.id.Require(g.registry, Catalog); err != nil {
		return nil, false, err
	}
	return g.inner.Repositories(ctx, last, n)
}

func (g *guard) Referrers(ctx context.Context, repo oci.Repository, dgst oci.Digest, artifactType, last string, n int) ([]oci.Descriptor, bool, error) {
	if err := g.pull(repo); err != nil {
		return nil, false, err
	}
	return g.inner.Referrers(ctx, repo, dgst, artifactType, last, n)
}

func (g *guard) DescribeRepository(ctx context.Context, repo oci.Repository) (oci.RepositoryDetails, error) {
	if err := g.readMetadata(repo); err != nil {
		return oci.RepositoryDetails{}, err
	}
	return g.inner.DescribeRepository(ctx, repo)
}

func (g *guard) DescribeTag(ctx context.Context, repo oci.Repository, tag oci.Tag) (oci.TagDetails, error) {
	if err := g.readMetadata(repo); err != nil {
		return oci.TagDetails{}, err
	}
	return g.inner.DescribeTag(ctx, repo, tag)
}

func (g *guard) DescribeManifest(ctx context.Context, repo oci.Repository, dgst oci.Digest) (oci.ManifestDetails, error) {
	if err := g.readMetadata(repo); err != nil {
		return oci.ManifestDetails{}, err
	}
	return g.inner.DescribeManifest(ctx, repo, dgst)
}

func (g *guard) DescribeTags(ctx context.Context, repo oci.Repository, dgst oci.Digest, p oci.DetailsPage) ([]oci.TagDetails, bool, error) {
	if err := g.readMetadata(repo); err != nil {
		return nil, false, err
	}
	return g.inner.DescribeTags(ctx, repo, dgst, p)
}

func (g *guard) DescribeManifests(ctx context.Context, repo oci.Repository, p oci.DetailsPage) ([]oci.ManifestDetails, bool, error) {
	if err := g.readMetadata(repo); err != nil {
		return nil, false, err
	}
	return g.inner.DescribeManifests(ctx, repo, p)
}

func (g *guard) SetRepositoryAttributes(ctx context.Context, repo oci.Repository, change oci.AttributesChange) (oci.RepositoryDetails, error) {
	if err := g.writeMetadata(repo); err != nil {
		return oci.RepositoryDetails{}, err
	}
	return g.inner.SetRepositoryAttributes(ctx, repo, change)
}

func (g *guard) SetTagAttributes(ctx context.Context, repo oci.Repository, tag oci.Tag, change oci.AttributesChange) (oci.TagDetails, error) {
	if err := g.writeMetadata(repo); err != nil {
		return oci.TagDetails{}, err
	}
	return g.inner.SetTagAttributes(ctx, repo, tag, change)
}

func (g *guard) SetManifestAttributes(ctx context.Context, repo oci.Repository, dgst oci.Digest, change oci.AttributesChange) (oci.ManifestDetails, error) {
	if err := g.writeMetadata(repo); err != nil {
		return oci.ManifestDetails{}, err
	}
	return g.inner.SetManifestAttributes(ctx, repo, dgst, change)
}

func (g *guard) SetQuarantine(ctx context.Context, repo oci.Repository, dgst oci.Digest, change oci.QuarantineChange) (oci.ManifestDetails, error) {
	if err := g.id.requireMark(g.registry, repo); err != nil {
		return oci.ManifestDetails{}, err
	}
	if change.Attributes != (oci.AttributesChange{}) {
		if err := g.writeMetadata(repo); err != nil {
			return oci.ManifestDetails{}, err
		}
	}
	return g.inner.SetQuarantine(ctx, repo, dgst, change)
}

func (g *guard) DeletedRepositories(ctx context.Context, last string, n int) ([]oci.Repository, bool, error) {
	if err := g.id.Require(g.registry, DeletedCatalog); err != nil {
		return nil, false, err
	}
	return g.inner.DeletedRepositories(ctx, last, n)
}

func (g *guard) DeletedManifests(ctx context.Context, repo oci.Repository, p oci.DetailsPage) ([]oci.DeletedManifest, bool, error) {
	if err := g.id.Require(g.registry, ToRepository(repo, DeletedRead)); err != nil {
		return nil, false, err
	}
	return g.inner.DeletedManifests(ctx, repo, p)
}

func (g *guard) DeletedTags(ctx context.Context, repo oci.Repository, after oci.DeletedTag, n int) ([]oci.DeletedTag, bool, error) {
	if err := g.id.Require(g.registry, ToRepository(repo, DeletedRead)); err != nil {
		return nil, false, err
	}
	return g.inner.DeletedTags(ctx, repo, after, n)
}

func (g *guard) Restore(ctx context.Context, repo oci.Repository, dgst oci.Digest, how oci.Restoring) (oci.Restored, error) {
	if err := g.id.Require(g.registry, ToRepository(repo, DeletedRead, DeletedRestore)); err != nil {
		return oci.Restored{}, err
	}
	return g.inner.Restore(ctx, repo, dgst, how)
}

func (g *guard) DeleteRepository(ctx context.Context, repo oci.Repository) (oci.Deleted, error) {
	if err := g.delete(repo); err != nil {
		return oci.Deleted{}, err
	}
	return g.inner.DeleteRepository(ctx, repo)
}
