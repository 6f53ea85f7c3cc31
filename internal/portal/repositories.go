package portal

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

func init() {
	addPages(
		route{"GET " + Root + "/registries/{registry}/repositories", showRepositories},
		// The rest of the path is a repository, repository@digest, or repository:tag.
		// None of these characters is in a repository's name.
		route{"GET " + Root + "/registries/{registry}/repositories/{image...}", showContents},
		route{"POST " + Root + "/registries/{registry}/repositories/{image...}", changeContents},
	)
}

// contentsPage is how many repositories, tags or manifests a page shows. Each is
// described by itself.
const contentsPage = 50

// repositoryPath returns the address of a repository, or of a manifest in it.
func (v *visit) repositoryPath(repo, digest string) string {
	at := v.path(append([]string{"repositories"}, strings.Split(repo, "/")...)...)
	if digest != "" {
		at += "@" + url.PathEscape(digest)
	}
	return at
}

// unseen is the error for what is not there and for what the visitor may not see: one
// looks like the other.
func unseen(err error, what string) error {
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Denied) || fault.Is(err, fault.Unauthenticated) || fault.Is(err, fault.Invalid) {
		return fault.New(fault.NotFound, "there is no %s, or you may not see it", what)
	}
	return err
}

// repositoryList is what the page of all repositories shows.
type repositoryList struct {
	Registry controlclient.Registry
	Rows     []repositoryRow
	Prefix   string
	Next     string // address of the next page, empty if there is none
	First    string // address of the first page, empty on that
	All      string
	Steps    []step
}

type repositoryRow struct {
	oci.RepositoryDetails
	Link  string
	Locks []badge
}

func showRepositories(p *portal, w http.ResponseWriter, v *visit) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	contents, err := p.Contents(v.Request, v.visitor, v.registry)
	if err != nil {
		return err
	}
	prefix, last := strings.ToLower(strings.TrimSpace(v.URL.Query().Get("prefix"))), v.URL.Query().Get("last")
	names, more, err := repositoriesAfter(v.Context(), contents, prefix, last)
	if err != nil {
		return unseen(err, "list of repositories")
	}
	at := v.path("repositories")
	view := repositoryList{Registry: reg, Prefix: prefix, All: at}
	for _, name := range names {
		row := repositoryRow{Link: v.repositoryPath(string(name), "")}
		if row.RepositoryDetails, err = contents.DescribeRepository(v.Context(), name); fault.Is(err, fault.NotFound) {
			continue // it went just now
		} else if fault.Is(err, fault.Denied) || fault.Is(err, fault.Unauthenticated) {
			row.RepositoryDetails = oci.RepositoryDetails{Name: name, Attributes: oci.Attributes{Delete: true, Write: true, Read: true, List: true}}
		} else if err != nil {
			return err
		}
		row.Locks = locksOf(row.Attributes)
		view.Rows = append(view.Rows, row)
	}
	if more {
		rest, _ := query([]string{"prefix", prefix, "last", string(names[len(names)-1])})
		view.Next = at + rest
	}
	if last != "" {
		rest, _ := query([]string{"prefix", prefix})
		view.First = at + rest
	}
	if len(view.Rows) == 0 && prefix == "" && last == "" {
		view.Steps = firstSteps(reg, v.may("push/write", reg.ID), false)
	}
	return p.render(w, v.Request, v, http.StatusOK, "repositories", page{Title: "Repositories", Section: "repositories", Body: view})
}

// repositoriesAfter returns a page of the repositories whose names begin with a
// prefix, from the one after last on.
func repositoriesAfter(ctx context.Context, contents oci.Contents, prefix, last string) (names []oci.Repository, more bool, err error) {
	if last < prefix {
		last = beforeAll(prefix)
	}
	names, more, err = contents.Repositories(ctx, last, contentsPage)
	beyond := slices.IndexFunc(names, func(name oci.Repository) bool { return !strings.HasPrefix(string(name), prefix) })
	if beyond >= 0 {
		names, more = names[:beyond], false
	}
	return names, more && len(names) > 0, err
}

// beforeAll returns a text that is before every name with a prefix, and behind all
// names before these, in byte order.
func beforeAll(prefix string) string {
	if prefix == "" {
		return ""
	}
	end := len(prefix) - 1
	if prefix[end] == 0 {
		return prefix[:end]
	}
	return prefix[:end] + string([]byte{prefix[end] - 1}) + "~" // which is behind all that names are made of
}

// locksOf returns what may not be done with a thing, whatever one's role.
func locksOf(a oci.Attributes) (locks []badge) {
	for _, is := range []struct {
		on   bool
		text string
	}{{a.Write, "no push"}, {a.Delete, "no delete"}, {a.Read, "no pull"}, {a.List, "not listed"}} {
		if !is.on {
			locks = append(locks, badge{"pause", is.text})
		}
	}
	return locks
}

// allowedText says what may be done with a thing by who has the role for it.
func allowedText(a oci.Attributes) string {
	var allowed []string
	for _, is := range []struct {
		on   bool
		text string
	}{{a.Write, "push"}, {a.Delete && a.Write, "delete"}, {a.Read, "pull"}, {a.List, "list"}} {
		if is.on {
			allowed = append(allowed, is.text)
		}
	}
	if allowed == nil {
		return "nothing"
	}
	return strings.Join(allowed, ", ")
}

// imageOf reads what a path names: a repository, and a manifest of it by its tag or
// its digest where it names one.
func imageOf(path string) (repo oci.Repository, ref oci.Reference, err error) {
	name, digest, byDigest := strings.Cut(path, "@")
	name, tag, byTag := strings.Cut(name, ":")
	if repo, err = oci.ParseRepository(name); err != nil {
		return "", oci.Reference{}, err
	}
	if byDigest {
		ref.Digest, err = oci.ParseDigest(digest)
	} else if byTag {
		ref.Tag, err = oci.ParseTag(tag)
	}
	return repo, ref, err
}

// holding is a place in what a registry holds, as a visitor has it.
type holding struct {
	oci.Contents
	*visit
	reg  controlclient.Registry
	repo oci.Repository
	ref  oci.Reference
}

// holding finds what the path names.
func (p *portal) holding(v *visit) (h holding, err error) {
	path := v.PathValue("image")
	h.visit = v
	if h.repo, h.ref, err = imageOf(path); err != nil {
		return h, unseen(err, "image "+clip(path))
	}
	if h.reg, err = v.api.Registry(v.Context(), v.registry); err != nil {
		return h, err
	}
	h.Contents, err = p.Contents(v.Request, v.visitor, v.registry)
	return h, err
}

// clip shortens what somebody typed for a sentence.
func clip(text string) string {
	if len(text) > 120 {
		text = strings.ToValidUTF8(text[:120], "") + "…"
	}
	return text
}

// mayDelete, mayLock and mayMark report whether the visitor may do that, unless a
// lock forbids it.
func (h *holding) mayDelete() bool { return h.may("artifacts/delete", h.reg.ID) }
func (h *holding) mayLock() bool   { return h.may("metadata/write", h.reg.ID) }
func (h *holding) mayMark() bool {
	return h.quarantines() && h.may("quarantinedArtifacts/write", h.reg.ID)
}

// quarantines reports whether the registry holds back what is pushed.
func (h *holding) quarantines() bool { return h.reg.Properties.Policies.Quarantine.Status == "enabled" }

func showContents(p *portal, w http.ResponseWriter, v *visit) error {
	h, err := p.holding(v)
	if err != nil {
		return err
	}
	if do := v.URL.Query().Get("do"); do != "" && h.ref.Tag == "" {
		return p.confirm(w, h, do, v.URL.Query().Get("tag"), "")
	}
	switch {
	case h.ref.Tag != "":
		tag, err := h.DescribeTag(v.Context(), h.repo, h.ref.Tag)
		if err != nil {
			return unseen(err, "image "+string(h.repo)+":"+string(h.ref.Tag))
		}
		http.Redirect(w, v.Request, v.repositoryPath(string(h.repo), string(tag.Digest))+"?tag="+url.QueryEscape(string(tag.Name)), http.StatusSeeOther)
		return nil
	case h.ref.Digest != "":
		return p.showManifest(w, h)
	}
	return p.showRepository(w, h)
}

// repositoryView is what the page of a repository shows.
type repositoryView struct {
	oci.RepositoryDetails
	Locks   []badge
	Allowed string
	Views   []choice
	Tags    []tagRow
	Images  []imageRow
	IsTags  bool

	Next, First string
	Empty       string // a sentence, where the list has nothing
	Push        []string

	SeesEvents bool
	Events     []feedRow
	AllEvents  string

	At                 string // the page's address
	MayDelete, MayLock bool
}

// imageRow is a manifest in a list.
type imageRow struct {
	Digest     string
	Link       string
	Kind       string
	Size       string
	Platforms  []string
	At         time.Time
	Tags       []string
	Locks      []badge
	Quarantine badge // no text: nothing to tell
}

// tagRow is a tag in a list.
type tagRow struct {
	imageRow
	Tag  string
	Lock []badge // of the tag
}

func (h *holding) imageRow(d oci.ManifestDetails) imageRow {
	row := imageRow{
		Digest: string(d.Digest), Link: h.repositoryPath(string(h.repo), string(d.Digest)), Kind: kindOf(d), Size: sizeOf(d),
		Platforms: platformsOf(d), At: d.UpdatedAt, Locks: locksOf(d.Attributes), Quarantine: h.quarantineMark(d.Quarantine),
	}
	for _, tag := range d.Tags {
		row.Tags = append(row.Tags, string(tag))
	}
	return row
}

// quarantineMark says what was found of a manifest, where anybody looks.
func (h *holding) quarantineMark(state oci.QuarantineState) badge {
	return quarantineMark(state, h.quarantines())
}

func quarantineMark(state oci.QuarantineState, on bool) badge {
	switch state {
	case oci.Passed:
		return badge{"good", "passed"}
	case oci.Failed:
		return badge{"bad", "failed"}
	case oci.Quarantined:
		return badge{"wait", "in quarantine"}
	}
	if on {
		return badge{"wait", "in quarantine"}
	}
	return badge{}
}

// sizeOf tells how much a pull brings. That of an index depends on who pulls.
func sizeOf(d oci.ManifestDetails) string {
	if isIndex(d.MediaType) {
		return countOf(int64(len(d.References)), "manifest")
	}
	return size(d.ImageSize)
}

func isIndex(mediaType string) bool {
	return mediaType == oci.MediaTypeImageIndex || mediaType == oci.MediaTypeDockerManifestList
}

// kindOf says in a word what a manifest is.
func kindOf(d oci.ManifestDetails) string {
	artifact := d.ArtifactType
	if artifact == "" {
		artifact = d.ConfigMediaType
	}
	switch {
	case artifact == "application/vnd.cncf.helm.config.v1+json":
		return "Helm chart"
	case artifact == oci.MediaTypeImageConfig || artifact == oci.MediaTypeDockerConfig:
		return "image"
	case artifact != "" && artifact != oci.MediaTypeEmptyJSON && artifact != oci.MediaTypeOctetStream:
		return artifact
	case isIndex(d.MediaType):
		return "index"
	}
	return "artifact"
}

// platformsOf returns the platforms that a manifest is for.
func platformsOf(d oci.ManifestDetails) (all []string) {
	if p := platformText(d.Platform); p != "" {
		return []string{p}
	}
	for _, r := range d.References {
		if r.Platform != nil {
			if p := platformText(*r.Platform); p != "" && !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// platformText writes a platform as clients take it; empty for one that is none, as
// those of attestations.
func platformText(p oci.Platform) string {
	if p.OS == "" && p.Architecture == "" || p.OS == "unknown" && p.Architecture == "unknown" {
		return ""
	}
	text := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

func (p *portal) showRepository(w http.ResponseWriter, h holding) error {
	details, err := h.DescribeRepository(h.Context(), h.repo)
	if err != nil {
		return unseen(err, "repository "+string(h.repo))
	}
	at := h.repositoryPath(string(h.repo), "")
	kind := h.URL.Query().Get("view")
	if kind != "manifests" && kind != "untagged" {
		kind = ""
	}
	view := repositoryView{
		RepositoryDetails: details, Locks: locksOf(details.Attributes), Allowed: allowedText(details.Attributes), IsTags: kind == "",
		Views:     []choice{{"Tags", at, kind == ""}, {"Manifests", at + "?view=manifests", kind == "manifests"}, {"Untagged", at + "?view=untagged", kind == "untagged"}},
		MayDelete: h.mayDelete() && details.Attributes.Write && details.Attributes.Delete, MayLock: h.mayLock(), At: at,
	}
	from := oci.DetailsPage{Last: h.URL.Query().Get("last"), N: contentsPage, Order: oci.NewestFirst}
	if from.Last != "" {
		from.LastTime, _ = time.Parse(time.RFC3339Nano, h.URL.Query().Get("time")) // zero means what it has now
		rest, _ := query([]string{"view", kind})
		view.First = at + rest
	}
	var next oci.DetailsPage
	if kind == "" {
		view.Tags, next, err = h.tagRows(from)
		view.Empty = "No tag names anything in this repository."
		if h.quarantines() {
			view.Empty = "No tag names anything in this repository. One that is pushed names its manifest when that has passed quarantine."
		}
	} else {
		view.Images, next, err = h.imageRows(from, kind == "untagged")
		view.Empty = map[string]string{"manifests": "There is no manifest in this repository.", "untagged": "Every manifest has a tag, as far as this page looked."}[kind]
	}
	if err != nil {
		return unseen(err, "repository "+string(h.repo))
	}
	if next.Last != "" {
		rest, _ := query([]string{"view", kind, "last", next.Last, "time", next.LastTime.Format(time.RFC3339Nano)})
		view.Next = at + rest
	}
	server := h.reg.Properties.LoginServer
	if h.may("push/write", h.reg.ID) && details.Attributes.Write {
		view.Push = []string{"docker push " + server + "/" + string(h.repo) + ":v1"}
	}
	feed, err := h.api.FeedBefore(h.Context(), h.registry, 0, 10, controlclient.FeedFilter{Repository: string(h.repo)})
	view.SeesEvents, view.Events = err == nil, h.feedRows(feed.Entries)
	view.AllEvents = h.path("events") + "?image=" + url.QueryEscape(string(h.repo))
	return p.render(w, h.Request, h.visit, http.StatusOK, "repository", page{
		Title: string(h.repo), Section: "repositories", Crumbs: []crumb{{"Repositories", h.path("repositories")}}, Body: view,
	})
}

// tagRows returns a page of tags, newest first, and where the next one goes on.
func (h *holding) tagRows(from oci.DetailsPage) (rows []tagRow, next oci.DetailsPage, err error) {
	tags, more, err := h.DescribeTags(h.Context(), h.repo, "", from)
	if err != nil {
		return nil, next, err
	}
	images := map[oci.Digest]imageRow{}
	for _, tag := range tags {
		image, known := images[tag.Digest]
		if !known {
			d, err := h.DescribeManifest(h.Context(), h.repo, tag.Digest)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return nil, next, err
			}
			d.Digest = tag.Digest // it may have gone just now
			image = h.imageRow(d)
			images[tag.Digest] = image
		}
		image.At = tag.UpdatedAt
		image.Link += "?tag=" + url.QueryEscape(string(tag.Name))
		rows = append(rows, tagRow{image, string(tag.Name), locksOf(tag.Attributes)})
	}
	if more {
		last := tags[len(tags)-1]
		next = oci.DetailsPage{Last: string(last.Name), LastTime: last.UpdatedAt}
	}
	return rows, next, nil
}

// maxLooks is how many pages of manifests are looked at for those without a tag.
const maxLooks = 4

// imageRows returns a page of manifests, newest first, and where the next one goes
// on; if untagged only those without a tag.
func (h *holding) imageRows(from oci.DetailsPage, untagged bool) (rows []imageRow, next oci.DetailsPage, err error) {
	for range maxLooks {
		all, more, err := h.DescribeManifests(h.Context(), h.repo, from)
		if err != nil {
			return nil, next, err
		}
		next = oci.DetailsPage{}
		for i, d := range all {
			if len(d.Tags) == 0 || !untagged {
				rows = append(rows, h.imageRow(d))
			}
			from.Last, from.LastTime = string(d.Digest), d.UpdatedAt
			if full := len(rows) == contentsPage; full && (more || i < len(all)-1) {
				return rows, from, nil
			}
		}
		if !more {
			return rows, next, nil
		}
		next = from
		if !untagged {
			return rows, next, nil
		}
	}
	return rows, next, nil
}
