package ociserver

import (
	"net/url"
	"strconv"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

func (c *call) listTags() error {
	p, err := c.page()
	if err != nil {
		return err
	}
	tags, more, err := c.registry.Tags(c.r.Context(), c.repo, p.last, p.limit())
	if err != nil {
		return err
	}
	tags, more = cut(p, tags, more)
	if more {
		c.linkNext("/v2/"+string(c.repo)+"/tags/list", p, string(tags[len(tags)-1]), nil)
	}
	return c.writeJSON("application/json; charset=utf-8", struct {
		Name oci.Repository `json:"name"`
		Tags []oci.Tag      `json:"tags"`
	}{c.repo, tags})
}

func (c *call) listRepositories() error {
	p, err := c.page()
	if err != nil {
		return err
	}
	repos, more, err := c.registry.Repositories(c.r.Context(), p.last, p.limit())
	if err != nil {
		return err
	}
	repos, more = cut(p, repos, more)
	if more {
		c.linkNext("/v2/_catalog", p, string(repos[len(repos)-1]), nil)
	}
	return c.writeJSON("application/json; charset=utf-8", struct {
		Repositories []oci.Repository `json:"repositories"`
	}{repos})
}

func (c *call) listReferrers() error {
	dgst, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	p, err := c.page()
	if err != nil {
		return err
	}
	artifactType := c.r.URL.Query().Get("artifactType")
	refs, more, err := c.registry.Referrers(c.r.Context(), c.repo, dgst, artifactType, p.last, p.limit())
	if err != nil {
		return err
	}
	refs, more = cut(p, refs, more)
	filter := url.Values{}
	if artifactType != "" {
		filter.Set("artifactType", artifactType)
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if more {
		c.linkNext("/v2/"+string(c.repo)+"/referrers/"+string(dgst), p, string(refs[len(refs)-1].Digest), filter)
	}
	return c.writeJSON(oci.MediaTypeImageIndex, struct {
		SchemaVersion int              `json:"schemaVersion"`
		MediaType     string           `json:"mediaType"`
		Manifests     []oci.Descriptor `json:"manifests"`
	}{2, oci.MediaTypeImageIndex, refs})
}

// page is which part of a list a client wants.
type page struct {
	last string // what the part before ended with
	n    int    // at most so many; -1: as many as the registry likes
}

// page reads ?n= and ?last=.
func (c *call) page() (page, error) {
	query := c.r.URL.Query()
	p := page{last: query.Get("last"), n: -1}
	if query.Has("n") {
		n, err := strconv.Atoi(query.Get("n"))
		if err != nil || n < 0 {
			return p, fault.New(fault.Invalid, "n=%.40q is not a number of items: use 0 or more", query.Get("n")).WithCode(oci.CodeUnsupported)
		}
		p.n = n
	}
	return p, nil
}

// limit is the n that Lister understands, to which zero means something else.
// One item is read in its place: the repository may not exist, or be forbidden.
func (p page) limit() int {
	if p.n == 0 {
		return 1
	}
	return p.n
}

// cut applies n=0, and makes sure that an empty list is written [].
func cut[T any](p page, items []T, more bool) ([]T, bool) {
	if p.n == 0 || len(items) == 0 {
		return []T{}, false
	}
	return items, more
}

// linkNext points to the next part (RFC 5988), with the same filter and size.
func (c *call) linkNext(path string, p page, last string, filter url.Values) {
	query := url.Values{"last": {last}}
	if p.n > 0 {
		query.Set("n", strconv.Itoa(p.n))
	}
	for name, values := range filter {
		query[name] = values
	}
	c.w.Header().Set("Link", "<"+path+"?"+query.Encode()+`>; rel="next"`)
}
