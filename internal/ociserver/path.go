package ociserver

import (
	"net/url"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// endpoint is a kind of path.
type endpoint uint8

const (
	atBase      endpoint = iota // /v2 and /v2/
	atCatalog                   // /v2/_catalog
	atTags                      // /v2/<name>/tags/list
	atReferrers                 // /v2/<name>/referrers/<digest>
	atManifest                  // /v2/<name>/manifests/<tag or digest>
	atBlob                      // /v2/<name>/blobs/<digest>
	atUploads                   // /v2/<name>/blobs/uploads and /v2/<name>/blobs/uploads/
	atUpload                    // /v2/<name>/blobs/uploads/<id>
)

// path is what the path of a request names. The name of a repository may
// contain any of the words that separate it from the rest (a/blobs/uploads is a
// name), so a path is read from its end.
type path struct {
	endpoint endpoint
	repo     oci.Repository
	last     string // digest, tag or upload id: not empty where the endpoint has one, not yet checked
}

// parsePath reads an escaped path. Azure's SDK for JavaScript escapes the
// slashes of a name and the colon of a digest, so both are unescaped, once, and
// only after the path was taken apart: what was escaped separates nothing, and
// has to be a name or digest when it is plain.
func parsePath(escaped string) (path, error) {
	rest, ok := strings.CutPrefix(escaped, "/v2/")
	if !ok {
		if escaped == "/v2" {
			return path{endpoint: atBase}, nil
		}
		return path{}, noEndpoint(escaped)
	}
	switch rest {
	case "":
		return path{endpoint: atBase}, nil
	case "_catalog":
		return path{endpoint: atCatalog}, nil
	}
	rest, last := cutLast(rest)
	front, verb := cutLast(rest)
	p := path{last: last}
	switch verb {
	case "tags":
		if last != "list" {
			return path{}, noEndpoint(escaped)
		}
		p.endpoint, p.last = atTags, ""
	case "referrers":
		p.endpoint = atReferrers
	case "manifests":
		p.endpoint = atManifest
	case "blobs":
		p.endpoint = atBlob
		if last == "uploads" {
			p.endpoint, p.last = atUploads, ""
		}
	case "uploads":
		if front, verb = cutLast(front); verb != "blobs" {
			return path{}, noEndpoint(escaped)
		}
		p.endpoint = atUpload
		if last == "" {
			p.endpoint = atUploads
		}
	default:
		return path{}, noEndpoint(escaped)
	}
	if last == "" && p.endpoint != atUploads {
		return path{}, noEndpoint(escaped)
	}
	name, err := url.PathUnescape(front)
	if err != nil {
		return path{}, oci.NameInvalid(front, "it has a broken percent escape")
	}
	if p.repo, err = oci.ParseRepository(name); err != nil {
		return path{}, err
	}
	if p.last, err = url.PathUnescape(p.last); err != nil {
		return path{}, noEndpoint(escaped)
	}
	return p, nil
}

// cutLast cuts s at its last slash.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

// noEndpoint refuses a path of which nothing can be made.
func noEndpoint(escaped string) error {
	return fault.New(fault.NotFound, "%.200q is no path of the registry API: after /v2/<name> comes /manifests/<tag or digest>, /blobs/<digest>, /blobs/uploads/, /tags/list or /referrers/<digest>", escaped).
		WithCode(oci.CodeUnsupported)
}

// Where things are, as Location and Link say it. Names, digests and upload ids
// need no escapes.

func manifestPath(repo oci.Repository, dgst oci.Digest) string {
	return "/v2/" + string(repo) + "/manifests/" + string(dgst)
}

func blobPath(repo oci.Repository, dgst oci.Digest) string {
	return "/v2/" + string(repo) + "/blobs/" + string(dgst)
}

func uploadPath(repo oci.Repository, id oci.UploadID) string {
	return "/v2/" + string(repo) + "/blobs/uploads/" + string(id)
}
