package acrserver

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// A call is one request to the metadata API on its way through a handler.
type call struct {
	path
	w        http.ResponseWriter
	r        *http.Request
	service  string // the registry's login server
	contents oci.Contents
}

// A route is what one method does with a resource.
type route struct {
	method string
	serve  func(*call) error
}

// routes is the whole metadata API. HEAD is GET without the body, which net/http
// drops.
var routes = [...][]route{
	catalog: {
		{http.MethodGet, (*call).listRepositories},
		{http.MethodHead, (*call).listRepositories},
	},
	repository: {
		{http.MethodGet, (*call).getRepository},
		{http.MethodHead, (*call).getRepository},
		{http.MethodPatch, (*call).patchRepository},
		{http.MethodDelete, (*call).deleteRepository},
	},
	tags: {
		{http.MethodGet, (*call).listTags},
		{http.MethodHead, (*call).listTags},
	},
	oneTag: {
		{http.MethodGet, (*call).getTag},
		{http.MethodHead, (*call).getTag},
		{http.MethodPatch, (*call).patchTag},
		{http.MethodDelete, (*call).deleteTag},
	},
	manifests: {
		{http.MethodGet, (*call).listManifests},
		{http.MethodHead, (*call).listManifests},
	},
	oneManifest: {
		{http.MethodGet, (*call).getManifest},
		{http.MethodHead, (*call).getManifest},
		{http.MethodPatch, (*call).patchManifest},
	},
	deletedCatalog: {
		{http.MethodGet, (*call).listDeletedRepositories},
		{http.MethodHead, (*call).listDeletedRepositories},
	},
	deletedTags: {
		{http.MethodGet, (*call).listDeletedTags},
		{http.MethodHead, (*call).listDeletedTags},
	},
	deletedManifests: {
		{http.MethodGet, (*call).listDeletedManifests},
		{http.MethodHead, (*call).listDeletedManifests},
	},
	oneDeletedManifest: {
		{http.MethodPost, (*call).restoreManifest},
	},
}

// metadata answers a request below /acr/. The version that newer clients name in
// api-version changes nothing.
func (s *server) metadata(w http.ResponseWriter, r *http.Request) error {
	registry, err := s.Resolve(r)
	if err != nil {
		return err
	}
	p, err := parsePath(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	offered := routes[p.resource]
	for _, route := range offered {
		if route.method != r.Method {
			continue
		}
		contents, err := s.Open(r)
		if err != nil {
			return err
		}
		return route.serve(&call{p, w, r, registry.Service, contents})
	}
	methods := make([]string, len(offered))
	for i, route := range offered {
		methods[i] = route.method
	}
	allow := strings.Join(methods, ", ")
	w.Header().Set("Allow", allow)
	if p.resource == oneManifest && r.Method == http.MethodDelete {
		return oci.Unsupported("a manifest is deleted by DELETE of /v2/%s/manifests/<digest>", p.repo)
	}
	return oci.Unsupported("method %.20q is not offered here: use %s", r.Method, allow)
}

// write answers with a document.
func (c *call) write(status int, document any) error {
	body := oci.EncodeJSON(document)
	h := c.w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	c.w.Write(body) // whoever went away needs no answer
	return nil
}

// tag reads the tag in the path. One that breaks the grammar cannot be there.
func (c *call) tag() (oci.Tag, error) {
	tag, err := oci.ParseTag(c.last)
	if err != nil {
		return "", fault.Wrap(err, fault.NotFound, "%s", fault.As(err).Message).WithCode(oci.CodeTagUnknown)
	}
	return tag, nil
}

func (c *call) getRepository() error {
	d, err := c.contents.DescribeRepository(c.r.Context(), c.repo)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, newRepositoryAnswer(c.service, d))
}

// patchRepository, like the other handlers of PATCH, makes its call with a body that
// is bad too, as a change of nothing: who may not change anything is told that
// first. Azure's clients send their first request without a body and without
// credentials, for the challenge.
func (c *call) patchRepository() error {
	change, bad := c.readChange()
	d, err := c.contents.SetRepositoryAttributes(c.r.Context(), c.repo, change)
	if err = cmp.Or(err, bad); err != nil {
		return err
	}
	return c.write(http.StatusOK, newRepositoryAnswer(c.service, d))
}

func (c *call) deleteRepository() error {
	gone, err := c.contents.DeleteRepository(c.r.Context(), c.repo)
	if err != nil {
		return err
	}
	return c.write(http.StatusAccepted, deletedAnswer{list(gone.Manifests), list(gone.Tags)})
}

func (c *call) getTag() error {
	tag, err := c.tag()
	if err != nil {
		return err
	}
	d, err := c.contents.DescribeTag(c.r.Context(), c.repo, tag)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, tagAnswer{c.service, c.repo, newTag(d)})
}

func (c *call) patchTag() error {
	tag, err := c.tag()
	if err != nil {
		return err
	}
	change, bad := c.readChange()
	d, err := c.contents.SetTagAttributes(c.r.Context(), c.repo, tag, change)
	if err = cmp.Or(err, bad); err != nil {
		return err
	}
	return c.write(http.StatusOK, tagAnswer{c.service, c.repo, newTag(d)})
}

// deleteTag is az acr repository untag: the manifest stays, and nothing is raised.
func (c *call) deleteTag() error {
	tag, err := c.tag()
	if err != nil {
		return err
	}
	dgst, err := c.contents.DeleteTag(c.r.Context(), c.repo, tag)
	if err != nil {
		if fault.As(err).Code == oci.CodeManifestUnknown {
			err = oci.TagUnknown(c.repo, tag)
		}
		return err
	}
	h := c.w.Header()
	h.Set("X-Ms-Int-Docker-Content-Digest", string(dgst))
	h.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

func (c *call) getManifest() error {
	dgst, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	d, err := c.contents.DescribeManifest(c.r.Context(), c.repo, dgst)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, manifestAnswer{c.service, c.repo, newManifest(d)})
}

func (c *call) patchManifest() error {
	dgst, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	p, bad := c.readPatch()
	var d oci.ManifestDetails
	if p.quarantine {
		d, err = c.contents.SetQuarantine(c.r.Context(), c.repo, dgst, p.QuarantineChange)
	} else {
		d, err = c.contents.SetManifestAttributes(c.r.Context(), c.repo, dgst, p.Attributes)
	}
	if err = cmp.Or(err, bad); err != nil {
		return err
	}
	return c.write(http.StatusOK, manifestAnswer{c.service, c.repo, newManifest(d)})
}

func (c *call) listRepositories() error {
	return c.listNames(c.contents.Repositories)
}

// listNames lists repositories.
func (c *call) listNames(names func(ctx context.Context, last string, n int) ([]oci.Repository, bool, error)) error {
	q, err := c.readList()
	if err != nil {
		return err
	}
	if q.Order != oci.ByName {
		return byNameOnly("repositories")
	}
	repos, more, err := names(c.r.Context(), q.Last, q.N)
	if err != nil {
		return err
	}
	if more {
		c.linkNext(q, string(repos[len(repos)-1]), time.Time{})
	}
	return c.write(http.StatusOK, catalogAnswer{list(repos)})
}

// byNameOnly refuses another order.
func byNameOnly(what string) error {
	return fault.New(fault.Invalid, "%s are listed by name: leave orderby out", what).WithCode(oci.CodeUnsupported)
}

func (c *call) listTags() error {
	q, err := c.readList()
	if err != nil {
		return err
	}
	if text := c.r.URL.Query().Get("digest"); text != "" {
		if q.digest, err = oci.ParseDigest(text); err != nil {
			return err
		}
	}
	found, more, err := c.contents.DescribeTags(c.r.Context(), c.repo, q.digest, q.DetailsPage)
	if err != nil {
		return err
	}
	if more {
		last := found[len(found)-1]
		c.linkNext(q, string(last.Name), last.UpdatedAt)
	}
	answer := tagsAnswer{c.service, c.repo, make([]tagEntry, len(found))}
	for i, d := range found {
		answer.Tags[i] = newTag(d)
	}
	return c.write(http.StatusOK, answer)
}

func (c *call) listManifests() error {
	q, err := c.readList()
	if err != nil {
		return err
	}
	found, more, err := c.contents.DescribeManifests(c.r.Context(), c.repo, q.DetailsPage)
	if err != nil {
		return err
	}
	if more {
		last := found[len(found)-1]
		c.linkNext(q, string(last.Digest), last.UpdatedAt)
	}
	answer := manifestsAnswer{c.service, c.repo, make([]manifestEntry, len(found))}
	for i, d := range found {
		answer.Manifests[i] = newManifest(d)
	}
	return c.write(http.StatusOK, answer)
}

// The sizes of a page: unless told otherwise, and at most.
const (
	defaultPage = 100
	maxPage     = 1000
)

// orders are the values of orderby.
var orders = map[string]oci.Order{"": oci.ByName, "none": oci.ByName, "timeasc": oci.OldestFirst, "timedesc": oci.NewestFirst}

// listQuery is which part of a list a client wants.
type listQuery struct {
	oci.DetailsPage
	digest  oci.Digest // of tags: only those of this manifest
	orderBy string     // as it was sent
}

// readList reads n, last and orderby, and lasttime, which is ours: see linkNext.
func (c *call) readList() (q listQuery, err error) {
	query := c.r.URL.Query()
	q.Last, q.N, q.orderBy = query.Get("last"), defaultPage, query.Get("orderby")
	if query.Has("n") {
		n, err := strconv.Atoi(query.Get("n"))
		if err != nil || n < 1 {
			return q, fault.New(fault.Invalid, "n=%.40q is not a size of a page: use 1 to %d", query.Get("n"), maxPage).WithCode(oci.CodeUnsupported)
		}
		q.N = min(n, maxPage)
	}
	var ok bool
	if q.Order, ok = orders[q.orderBy]; !ok {
		return q, fault.New(fault.Invalid, "orderby=%.40q is no order: use timeasc, timedesc or none", q.orderBy).WithCode(oci.CodeUnsupported)
	}
	if text := query.Get("lasttime"); text != "" {
		nanos, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return q, fault.New(fault.Invalid, "lasttime=%.40q is not a time: follow the Link of the page before as it is, or leave it out", text).WithCode(oci.CodeUnsupported)
		}
		q.LastTime = time.Unix(0, nanos)
	}
	return q, nil
}

// linkNext points to the next page in ACR's form. In an order of time it also
// tells when the last item had changed, so that the next page is found even if
// that item is deleted or changed by then.
func (c *call) linkNext(q listQuery, last string, at time.Time) {
	if q.Order == oci.ByName {
		at = time.Time{}
	}
	c.linkPage(q, last, at)
}

// linkPage is linkNext, with a time in any order unless that is zero.
func (c *call) linkPage(q listQuery, last string, at time.Time) {
	query := url.Values{"last": {last}, "n": {strconv.Itoa(q.N)}, "orderby": {q.orderBy}}
	if q.digest != "" {
		query.Set("digest", string(q.digest))
	}
	if !at.IsZero() {
		query.Set("lasttime", strconv.FormatInt(at.UnixNano(), 10))
	}
	c.w.Header().Set("Link", "<"+c.path.String()+"?"+query.Encode()+`>; rel="next"`)
}
