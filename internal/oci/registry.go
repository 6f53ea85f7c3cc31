package oci

import (
	"context"
	"io"
)

// A Registry is one hosted registry as one caller sees it: the implementation
// already knows whose request it serves (for the event it will record) and what
// that caller may do. Handles are cheap and made per request.
//
// Every method returns faults (package fault) whose Code is one of the codes of
// this package; the constructors in errors.go are the only place they are made.
// What an attribute forbids (see Metadata) fails with
// REGISTRY_DISALLOWED_OPERATION, beside the errors named.
// Repository names, digests and tags passed in are valid: their types can only
// be made by parsing.
type Registry interface {
	// Ping reports whether the caller may talk to this registry at all
	// (end-1). It fails with UNAUTHORIZED or DENIED.
	Ping(ctx context.Context) error
	Reader
	Writer
	Deleter
	Lister
}

// Reader reads blobs and manifests (OCI Distribution 1.1, "Pulling").
type Reader interface {
	// OpenBlob opens a blob that is linked to the repository. The caller
	// closes it. It fails with BLOB_UNKNOWN, or NAME_UNKNOWN when there is no
	// such repository.
	OpenBlob(ctx context.Context, repo Repository, dgst Digest) (*Blob, error)

	// StatBlob describes a blob without opening it. Errors as OpenBlob.
	StatBlob(ctx context.Context, repo Repository, dgst Digest) (Descriptor, error)

	// GetManifest returns a manifest, byte for byte as it was pushed. It fails
	// with MANIFEST_UNKNOWN or NAME_UNKNOWN. See Quarantine for one that is held
	// back.
	GetManifest(ctx context.Context, repo Repository, ref Reference) (*Manifest, error)
}

// Writer stores blobs and manifests (OCI Distribution 1.1, "Pushing").
type Writer interface {
	// MountBlob links a blob of another repository into repo without moving
	// bytes (end-11). An empty from means "from wherever it is" (anonymous
	// mount). It fails with BLOB_UNKNOWN when the blob cannot be had that way;
	// the caller then starts an upload.
	MountBlob(ctx context.Context, repo Repository, dgst Digest, from Repository) (Descriptor, error)

	// StartUpload returns the id of a new upload session. It stores nothing:
	// the id is signed, and the session exists from its first byte.
	// It fails with DENIED.
	StartUpload(ctx context.Context, repo Repository) (UploadID, error)

	// UploadOffset returns how many bytes of the session are stored. It fails
	// with BLOB_UPLOAD_UNKNOWN.
	UploadOffset(ctx context.Context, repo Repository, id UploadID) (int64, error)

	// AppendUpload adds bytes to a session and returns the new offset. at is
	// the offset the client means to write at, or -1 for "the end". It fails
	// with BLOB_UPLOAD_UNKNOWN, BLOB_UPLOAD_INVALID (kind OutOfRange: at is not
	// the end; the offset returned is the session's; kind Conflict: another
	// request is writing, which is not waited for), or NoSpace. An error of r
	// is returned so that errors.Is and errors.As find it; after any failure of
	// r or of the disk what did arrive is kept and counted.
	AppendUpload(ctx context.Context, repo Repository, id UploadID, at int64, r io.Reader) (int64, error)

	// CommitUpload adds the last bytes, if any, checks the digest and links
	// the blob to the repository. at is as in AppendUpload. It fails with
	// DIGEST_INVALID, after which the session is empty or gone, and as
	// AppendUpload.
	// Committing content that exists already succeeds.
	CommitUpload(ctx context.Context, repo Repository, id UploadID, at int64, r io.Reader, dgst Digest) (Descriptor, error)

	// CancelUpload ends a session and drops its bytes. It fails with
	// BLOB_UPLOAD_UNKNOWN.
	CancelUpload(ctx context.Context, repo Repository, id UploadID) error

	// PutManifest stores a manifest, moves the tags to it and records one
	// event per tag (or one without a tag), all in one transaction; one that
	// comes into quarantine has the tags wait. It returns after that transaction
	// is durable. It fails with MANIFEST_INVALID,
	// MANIFEST_BLOB_UNKNOWN, DIGEST_INVALID, SIZE_INVALID or NoSpace.
	PutManifest(ctx context.Context, repo Repository, put ManifestPut) (ManifestResult, error)
}

// Deleter removes things (OCI Distribution 1.1, "Content Management").
type Deleter interface {
	// DeleteBlob unlinks a blob from the repository. It fails with
	// BLOB_UNKNOWN.
	DeleteBlob(ctx context.Context, repo Repository, dgst Digest) error

	// DeleteManifest removes a manifest and all tags that name it, and records
	// one delete event. It fails with MANIFEST_UNKNOWN.
	DeleteManifest(ctx context.Context, repo Repository, dgst Digest) error

	// DeleteTag removes a tag, leaves its manifest and returns that one's
	// digest; only who asks for more than ACR has hears of it. It fails with
	// MANIFEST_UNKNOWN.
	DeleteTag(ctx context.Context, repo Repository, tag Tag) (Digest, error)
}

// Lister lists in byte order, a page at a time. An empty last starts at the
// beginning; n < 1 means a page of the implementation's size. more says whether
// another page follows the last item.
type Lister interface {
	// Tags lists the tags of a repository. It fails with NAME_UNKNOWN.
	Tags(ctx context.Context, repo Repository, last string, n int) (tags []Tag, more bool, err error)

	// Repositories lists the repositories that hold something.
	Repositories(ctx context.Context, last string, n int) (repos []Repository, more bool, err error)

	// Referrers lists the manifests of the repository whose subject is dgst,
	// of any artifact type when artifactType is empty. A digest nobody refers
	// to, or that does not exist, has none, also in a repository that does not
	// exist: that is no error. last is the digest after which to go on.
	Referrers(ctx context.Context, repo Repository, dgst Digest, artifactType string, last string, n int) (refs []Descriptor, more bool, err error)
}

// UploadID names an upload session: a token, opaque and safe in a URL path.
type UploadID string

// Blob is an open blob. Content is an *os.File where the blob is a file, so
// that a server can hand it to the kernel; it is positioned at the start.
type Blob struct {
	Descriptor Descriptor
	Content    io.ReadSeekCloser
}

// Manifest is a stored manifest: its descriptor, and its bytes as pushed.
type Manifest struct {
	Descriptor Descriptor
	Data       []byte
}

// ManifestPut is a manifest to be stored.
type ManifestPut struct {
	// MediaType is what the client said in Content-Type; empty means that the
	// manifest's own mediaType counts.
	MediaType string

	// Data is the manifest. It is stored and served untouched.
	Data []byte

	// Digest is what the client said the content hashes to (push by digest);
	// empty for a push by tag, which uses sha256.
	Digest Digest

	// Tags are moved to the manifest: one for a push by tag, none or several
	// (?tag=, 1.1+dev) for a push by digest.
	Tags []Tag
}

// ManifestResult is what a stored manifest turned out to be.
type ManifestResult struct {
	Descriptor Descriptor

	// Subject is the digest of the manifest's subject, empty without one; a
	// server answers it as OCI-Subject.
	Subject Digest
}
