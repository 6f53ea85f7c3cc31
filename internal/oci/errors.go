package oci

import (
	"fmt"

	"github.com/dockbell/dockbell/internal/fault"
)

// The error codes of Distribution 1.1, "Error Codes", then the two that Docker's
// registries add and clients know, and those that ACR adds.
const (
	CodeBlobUnknown         = "BLOB_UNKNOWN"          // code-1
	CodeBlobUploadInvalid   = "BLOB_UPLOAD_INVALID"   // code-2
	CodeBlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"   // code-3
	CodeDigestInvalid       = "DIGEST_INVALID"        // code-4
	CodeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN" // code-5
	CodeManifestInvalid     = "MANIFEST_INVALID"      // code-6
	CodeManifestUnknown     = "MANIFEST_UNKNOWN"      // code-7
	CodeNameInvalid         = "NAME_INVALID"          // code-8
	CodeNameUnknown         = "NAME_UNKNOWN"          // code-9
	CodeSizeInvalid         = "SIZE_INVALID"          // code-10
	CodeUnauthorized        = "UNAUTHORIZED"          // code-11
	CodeDenied              = "DENIED"                // code-12
	CodeUnsupported         = "UNSUPPORTED"           // code-13
	CodeTooManyRequests     = "TOOMANYREQUESTS"       // code-14
	CodeUnknown             = "UNKNOWN"
	CodeUnavailable         = "UNAVAILABLE"
	CodeTagUnknown          = "TAG_UNKNOWN"
	CodeDisallowed          = "REGISTRY_DISALLOWED_OPERATION"
	CodeTagInUse            = "TAG_IN_USE" // ours
)

// NameInvalid says that name is no repository name, and why.
func NameInvalid(name, why string) error {
	return fault.New(fault.Invalid, "repository name %q is not valid: %s", clip(name), why).WithCode(CodeNameInvalid)
}

// NameUnknown says that the registry has no such repository.
func NameUnknown(repo Repository) error {
	return fault.New(fault.NotFound, "repository %s does not exist in this registry", repo).
		WithCode(CodeNameUnknown).WithDetail(map[string]string{"name": string(repo)})
}

// TagInvalid says that tag breaks the grammar.
func TagInvalid(tag string) error {
	return fault.New(fault.Invalid, "tag %q is not valid: use 1 to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'", clip(tag)).
		WithCode(CodeManifestInvalid)
}

// DigestInvalid says that text is no digest we take, and why.
func DigestInvalid(text, why string) error {
	return fault.New(fault.Invalid, "digest %q is not valid: %s", clip(text), why).WithCode(CodeDigestInvalid)
}

// DigestMismatch says that content does not hash to what the client said.
func DigestMismatch(said, is Digest) error {
	return fault.New(fault.Invalid, "the content hashes to %s, not to %s as the request says", is, said).
		WithCode(CodeDigestInvalid).WithDetail(map[string]Digest{"given": said, "computed": is})
}

// BlobUnknown says that the repository does not hold the blob.
func BlobUnknown(repo Repository, dgst Digest) error {
	return fault.New(fault.NotFound, "repository %s has no blob %s", repo, dgst).
		WithCode(CodeBlobUnknown).WithDetail(map[string]Digest{"digest": dgst})
}

// UploadUnknown says that there is no such upload session here.
func UploadUnknown(repo Repository) error {
	return fault.New(fault.NotFound, "repository %s has no such upload: it was finished, cancelled or has expired; start again with POST", repo).
		WithCode(CodeBlobUploadUnknown)
}

// UploadBusy says that another request is writing to the session.
func UploadBusy(repo Repository) error {
	return fault.New(fault.Conflict, "another request is writing to this upload of repository %s: wait for it to end", repo).
		WithCode(CodeBlobUploadInvalid)
}

// UploadOutOfOrder says that a chunk does not start at the end of what is
// stored.
func UploadOutOfOrder(at, offset int64) error {
	return fault.New(fault.OutOfRange, "the chunk starts at %d but the upload has %d bytes: continue there", at, offset).
		WithCode(CodeBlobUploadInvalid).WithDetail(map[string]int64{"offset": offset})
}

// UploadInvalid says that an upload request cannot be understood.
func UploadInvalid(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).WithCode(CodeBlobUploadInvalid)
}

// SizeInvalid says that a length does not match the content.
func SizeInvalid(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).WithCode(CodeSizeInvalid)
}

// ManifestUnknown says that the repository has no such manifest.
func ManifestUnknown(repo Repository, ref Reference) error {
	what := "tag " + ref.String()
	if ref.Digest != "" {
		what = "manifest " + ref.String()
	}
	return fault.New(fault.NotFound, "repository %s has no %s", repo, what).
		WithCode(CodeManifestUnknown).WithDetail(map[string]string{"name": string(repo), "reference": ref.String()})
}

// TagUnknown says that the repository has no such tag, as ACR's metadata API has
// it.
func TagUnknown(repo Repository, tag Tag) error {
	return fault.New(fault.NotFound, "repository %s has no tag %s", repo, tag).
		WithCode(CodeTagUnknown).WithDetail(map[string]string{"name": string(repo), "tag": string(tag)})
}

// Disallowed says that an attribute of what, for example repository team/web or
// tag v1 of team/web, is off which the operation needs: delete, write or read.
func Disallowed(what, attribute string) error {
	return fault.New(fault.Unsupported, "the operation is disallowed: %s is locked, %sEnabled is off (az acr repository update, or dockbell repository update, --%s-enabled true turns it on)",
		what, attribute, attribute).WithCode(CodeDisallowed)
}

// ManifestInvalid says what is wrong with a manifest.
func ManifestInvalid(format string, args ...any) error {
	return fault.New(fault.Invalid, "the manifest is not valid: %s", fmt.Sprintf(format, args...)).WithCode(CodeManifestInvalid)
}

// ManifestTooLarge says that a manifest exceeds the limit, in bytes.
func ManifestTooLarge(limit int64) error {
	return fault.New(fault.TooLarge, "the manifest is larger than %d bytes, the limit of this registry (--max-manifest-size)", limit).
		WithCode(CodeSizeInvalid)
}

// ManifestBlobUnknown says that a manifest names content the repository does
// not hold.
func ManifestBlobUnknown(repo Repository, what string, dgst Digest) error {
	return fault.New(fault.NotFound, "the manifest's %s %s is not in repository %s: push it first", what, dgst, repo).
		WithCode(CodeManifestBlobUnknown).WithDetail(map[string]Digest{"digest": dgst})
}

// Unsupported says that the operation is not offered.
func Unsupported(format string, args ...any) error {
	return fault.New(fault.Unsupported, format, args...).WithCode(CodeUnsupported)
}

// clip shortens hostile input for a message.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
