package acrserver

import (
	"net/url"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// resource is a kind of path of the metadata API.
type resource uint8

const (
	catalog     resource = iota // /acr/v1/_catalog
	repository                  // /acr/v1/<name>
	tags                        // /acr/v1/<name>/_tags
	oneTag                      // /acr/v1/<name>/_tags/<tag>
	manifests                   // /acr/v1/<name>/_manifests
	oneManifest                 // /acr/v1/<name>/_manifests/<digest>

	deletedCatalog     // /acr/v1/_deleted/_catalog
	deletedTags        // /acr/v1/_deleted/<name>/_tags
	deletedManifests   // /acr/v1/_deleted/<name>/_manifests
	oneDeletedManifest // /acr/v1/_deleted/<name>/_manifests/<digest>
)

// ofDeleted is what stands for a resource below _deleted.
var ofDeleted = map[resource]resource{
	catalog: deletedCatalog, tags: deletedTags, manifests: deletedManifests, oneManifest: oneDeletedManifest,
}

// path is what the path of a request names.
type path struct {
	resource resource
	repo     oci.Repository
	last     string // tag or digest: not empty where the resource has one, not yet checked
}

const metadataRoot = "/acr/v1/"

// parsePath reads an escaped path, from its end: no part of a repository's name
// begins with an underscore, so _tags and _manifests separate it from the rest.
// Azure's clients escape the slashes of a name and the colon of a digest, so both
// are unescaped, once, and only after the path was taken apart: what was escaped
// separates nothing, and has to be a name, tag or digest when it is plain.
func parsePath(escaped string) (path, error) {
	rest, ok := strings.CutPrefix(escaped, metadataRoot)
	if !ok || rest == "" {
		return path{}, noResource(escaped)
	}
	rest, deleted := strings.CutPrefix(rest, "_deleted/")
	p, err := parseRest(escaped, rest)
	if err == nil && deleted {
		if p.resource, ok = ofDeleted[p.resource]; !ok {
			return path{}, noResource(escaped)
		}
	}
	return p, err
}

// parseRest reads what is behind the root, or _deleted.
func parseRest(escaped, rest string) (path, error) {
	if rest == "_catalog" {
		return path{resource: catalog}, nil
	}
	parts := strings.Split(rest, "/")
	n := len(parts)
	p := path{resource: repository}
	switch {
	case parts[n-1] == "":
		return path{}, noResource(escaped)
	case n > 1 && parts[n-2] == "_tags": // before the others: _tags is a tag too
		p.resource, p.last, n = oneTag, parts[n-1], n-2
	case n > 1 && parts[n-2] == "_manifests":
		p.resource, p.last, n = oneManifest, parts[n-1], n-2
	case parts[n-1] == "_tags":
		p.resource, n = tags, n-1
	case parts[n-1] == "_manifests":
		p.resource, n = manifests, n-1
	}
	for _, part := range parts[:n] {
		if strings.HasPrefix(part, "_") {
			return path{}, noResource(escaped)
		}
	}
	front := strings.Join(parts[:n], "/")
	name, err := url.PathUnescape(front)
	if err != nil {
		return path{}, oci.NameInvalid(front, "it has a broken percent escape")
	}
	if p.repo, err = oci.ParseRepository(name); err != nil {
		return path{}, err
	}
	if p.last, err = url.PathUnescape(p.last); err != nil {
		return path{}, noResource(escaped)
	}
	return p, nil
}

// noResource refuses a path of which nothing can be made.
func noResource(escaped string) error {
	return fault.New(fault.NotFound, "%.200q is no path of the metadata API: there are %s_catalog, %[2]s<name>, and below <name> _tags, _tags/<tag>, _manifests and _manifests/<digest>; and %[2]s_deleted/_catalog, and below %[2]s_deleted/<name> _tags, _manifests and _manifests/<digest>", escaped, metadataRoot).
		WithCode(oci.CodeUnsupported)
}

// String returns the path as ACR writes it in links: with a slash in the name
// escaped.
func (p path) String() string {
	name := metadataRoot + url.PathEscape(string(p.repo))
	switch p.resource {
	case deletedCatalog:
		return metadataRoot + "_deleted/_catalog"
	case deletedTags, deletedManifests, oneDeletedManifest:
		name = metadataRoot + "_deleted/" + url.PathEscape(string(p.repo))
	}
	switch p.resource {
	case catalog:
		return metadataRoot + "_catalog"
	case tags, deletedTags:
		return name + "/_tags"
	case oneTag:
		return name + "/_tags/" + url.PathEscape(p.last)
	case manifests, deletedManifests:
		return name + "/_manifests"
	case oneManifest, oneDeletedManifest:
		return name + "/_manifests/" + url.PathEscape(p.last)
	}
	return name
}
