package portal

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// Bounds on what the page of a manifest reads and shows.
const (
	maxConfig    = 256 << 10 // bytes of a config that is read
	maxReferrers = 50
	maxRang      = 20
)

// manifestView is what the page of a manifest shows.
type manifestView struct {
	oci.ManifestDetails
	Repository string
	Tag        string // by which one came here, if it names the manifest
	Kind       string
	Size       string
	Platform   string
	Quarantine badge
	Waiting    bool   // in quarantine: its tags do not name it yet
	Found      string // of quarantine: the details, as somebody wrote them
	States     []oci.QuarantineState

	Pull        []string
	Children    []childRow
	Layers      []layerRow
	Total       string // of config and layers
	Config      *configFacts
	Unread      string // why the config is not shown, empty if it is, or there is none
	Annotations []pair
	Subject     string // digest
	SubjectLink string
	Referrers   []childRow
	More        bool   // there are more referrers
	Raw         string // the manifest; empty if it may not be read
	RawLink     string
	NotRead     string // why the manifest is not shown

	TagRows []tagLink
	Locks   []badge
	Allowed string

	SeesEvents bool
	Pushed     *pushed
	Events     []feedRow
	AllEvents  string

	At                          string // the page's address
	MayDelete, MayLock, MayMark bool
}

// childRow is a manifest that another one lists, or that refers to it.
type childRow struct {
	Digest, Link string
	Kind         string // artifact type, or media type
	Platform     string
	Size         string
}

// layerRow is a blob of a manifest.
type layerRow struct {
	Digest, MediaType, Size string
	Of                      string // config or layer
}

// pair is a name and a value.
type pair struct{ Name, Value string }

// pairsOf sorts a map by name.
func pairsOf(m map[string]string) (all []pair) {
	for name, value := range m {
		all = append(all, pair{name, value})
	}
	slices.SortFunc(all, func(a, b pair) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// tagLink is a tag of a manifest, and where it is removed.
type tagLink struct{ Name, Untag string }

// pushed is who pushed a manifest, as the newest event of a push tells.
type pushed struct {
	feedRow
	UserAgent string
}

// configFacts are what an image's config says that people ask for. What it says of
// the environment is left out: it is where secrets end up.
type configFacts struct {
	Created    time.Time
	Author     string
	Entrypoint string
	Cmd        string
	User       string
	WorkingDir string
	Ports      string
	Labels     []pair
}

// parseConfig reads an image's config (Image 1.1, "OCI Image Configuration").
func parseConfig(data []byte) (*configFacts, bool) {
	var c struct {
		Created string `json:"created"`
		Author  string `json:"author"`
		Config  struct {
			User         string              `json:"User"`
			ExposedPorts map[string]struct{} `json:"ExposedPorts"`
			Entrypoint   []string            `json:"Entrypoint"`
			Cmd          []string            `json:"Cmd"`
			WorkingDir   string              `json:"WorkingDir"`
			Labels       map[string]string   `json:"Labels"`
		} `json:"config"`
	}
	if json.Unmarshal(data, &c) != nil {
		return nil, false
	}
	facts := &configFacts{
		Author: c.Author, Entrypoint: words(c.Config.Entrypoint), Cmd: words(c.Config.Cmd), User: c.Config.User, WorkingDir: c.Config.WorkingDir,
		Labels: pairsOf(c.Config.Labels),
	}
	facts.Created, _ = time.Parse(time.RFC3339Nano, c.Created)
	var ports []string
	for port := range c.Config.ExposedPorts {
		ports = append(ports, port)
	}
	slices.Sort(ports)
	facts.Ports = strings.Join(ports, ", ")
	return facts, true
}

// words writes the words of a command; those with blanks, quotes or control
// characters are quoted.
func words(list []string) string {
	shown := make([]string, len(list))
	for i, w := range list {
		if shown[i] = w; w == "" || strings.ContainsFunc(w, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) || r == '"' || r == '\'' || r == '\\' }) {
			shown[i] = strconv.Quote(w)
		}
	}
	return strings.Join(shown, " ")
}

// pullCommands returns how a thing is got: by its tag, if one is known, and by its
// digest.
func pullCommands(kind, server, repo, tag, digest string) (all []string) {
	name := server + "/" + repo
	switch kind {
	case "image", "index":
		if tag != "" {
			all = append(all, "docker pull "+name+":"+tag)
		}
		return append(all, "docker pull "+name+"@"+digest)
	case "Helm chart":
		if tag != "" {
			return []string{"helm pull oci://" + name + " --version " + strings.ReplaceAll(tag, "_", "+")} // Helm writes + as _
		}
	}
	return []string{"oras pull " + name + "@" + digest}
}

func (p *portal) showManifest(w http.ResponseWriter, h holding) error {
	ctx := h.Context()
	d, err := h.DescribeManifest(ctx, h.repo, h.ref.Digest)
	if err != nil {
		return unseen(err, "manifest "+string(h.ref.Digest)+" in "+string(h.repo))
	}
	m, err := h.GetManifest(ctx, h.repo, oci.Reference{Digest: h.ref.Digest})
	notRead := ""
	if err != nil {
		if f := fault.As(err); f.Kind == fault.Internal || f.Kind == fault.Unavailable {
			return err
		}
		notRead = "The manifest itself cannot be read now: " + fault.As(err).Message
	}
	if h.URL.Query().Has("raw") && m != nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write(m.Data)
		return nil
	}
	at := h.repositoryPath(string(h.repo), string(d.Digest))
	view := manifestView{
		ManifestDetails: d, Repository: string(h.repo), Kind: kindOf(d), Size: sizeOf(d), Platform: platformText(d.Platform), Quarantine: h.quarantineMark(d.Quarantine),
		Found: pretty(d.QuarantineDetails), NotRead: notRead, RawLink: at + "?raw", At: at,
		Locks: locksOf(d.Attributes), Allowed: allowedText(d.Attributes),
		MayDelete: h.mayDelete() && d.Attributes.Write && d.Attributes.Delete, MayLock: h.mayLock(), MayMark: h.mayMark(),
		States: []oci.QuarantineState{oci.Passed, oci.Failed, oci.Quarantined},
	}
	view.Waiting = h.quarantines() && d.Quarantine != oci.Passed
	asked := h.URL.Query().Get("tag")
	for _, tag := range d.Tags {
		link := tagLink{Name: string(tag)}
		if h.mayDelete() && !view.Waiting {
			link.Untag = at + "?do=untag&tag=" + url.QueryEscape(string(tag))
		}
		view.TagRows = append(view.TagRows, link)
		if string(tag) == asked && !view.Waiting {
			view.Tag = asked
		}
	}
	tag := view.Tag
	if tag == "" && len(d.Tags) > 0 && !view.Waiting {
		tag = string(d.Tags[0])
	}
	view.Pull = pullCommands(view.Kind, h.reg.Properties.LoginServer, string(h.repo), tag, string(d.Digest))
	if m != nil {
		view.Raw = pretty(string(m.Data))
		h.readManifest(ctx, &view, m)
	}
	refs, more, err := h.Contents.Referrers(ctx, h.repo, d.Digest, "", "", maxReferrers)
	if err == nil {
		view.More = more
		for _, r := range refs {
			view.Referrers = append(view.Referrers, h.childRow(r))
		}
	} else if f := fault.As(err); f.Kind == fault.Internal || f.Kind == fault.Unavailable {
		return err
	}
	h.readEvents(&view)
	crumbs := []crumb{{"Repositories", h.path("repositories")}, {string(h.repo), h.repositoryPath(string(h.repo), "")}}
	title := string(h.repo) + "@" + short(string(d.Digest))
	if view.Tag != "" {
		title = string(h.repo) + ":" + view.Tag
	}
	return p.render(w, h.Request, h.visit, http.StatusOK, "manifest", page{Title: title, Section: "repositories", Crumbs: crumbs, Body: view})
}

func (h *holding) childRow(d oci.Descriptor) childRow {
	row := childRow{Digest: string(d.Digest), Link: h.repositoryPath(string(h.repo), string(d.Digest)), Kind: d.ArtifactType, Size: size(d.Size)}
	if row.Kind == "" {
		row.Kind = d.MediaType
	}
	if d.Platform != nil {
		row.Platform = platformText(*d.Platform)
	}
	return row
}

// readManifest shows what a manifest says.
func (h *holding) readManifest(ctx context.Context, view *manifestView, m *oci.Manifest) {
	parsed, err := oci.ParseManifest(m.Descriptor.MediaType, m.Data)
	if err != nil {
		return // an older version took it: there is the raw text
	}
	view.Annotations = pairsOf(parsed.Annotations)
	if parsed.Subject != nil {
		view.Subject, view.SubjectLink = string(parsed.Subject.Digest), h.repositoryPath(string(h.repo), string(parsed.Subject.Digest))
	}
	total, once := int64(0), map[oci.Digest]bool{}
	for _, r := range parsed.References {
		if r.Kind == oci.RefersChild {
			view.Children = append(view.Children, h.childRow(r.Descriptor))
			continue
		}
		view.Layers = append(view.Layers, layerRow{string(r.Descriptor.Digest), r.Descriptor.MediaType, size(r.Descriptor.Size), string(r.Kind)})
		if !once[r.Descriptor.Digest] {
			once[r.Descriptor.Digest] = true
			total += r.Descriptor.Size
		}
		if r.Kind == oci.RefersConfig && (r.Descriptor.MediaType == oci.MediaTypeImageConfig || r.Descriptor.MediaType == oci.MediaTypeDockerConfig) {
			view.Config, view.Unread = h.readConfig(ctx, r.Descriptor)
		}
	}
	view.Total = size(total)
}

// readConfig reads an image's config, or says why not.
func (h *holding) readConfig(ctx context.Context, d oci.Descriptor) (facts *configFacts, why string) {
	if d.Size > maxConfig {
		return nil, "It has " + size(d.Size) + ", which is too much to show."
	}
	blob, err := h.OpenBlob(ctx, h.repo, d.Digest)
	if err != nil {
		return nil, "It cannot be read."
	}
	defer blob.Content.Close()
	data, err := io.ReadAll(io.LimitReader(blob.Content, maxConfig))
	if err != nil {
		return nil, "It cannot be read."
	}
	facts, ok := parseConfig(data)
	if !ok {
		return nil, "It is no config of an image."
	}
	return facts, ""
}

// readEvents shows what rang for a manifest, as far as the newest events tell.
func (h *holding) readEvents(view *manifestView) {
	feed, err := h.api.FeedBefore(h.Context(), h.registry, 0, maxRang, controlclient.FeedFilter{Repository: view.Repository, Digest: string(view.Digest)})
	if err != nil {
		return // the page is of use without
	}
	view.SeesEvents, view.Events = true, h.feedRows(feed.Entries)
	view.AllEvents = h.path("events") + "?image=" + url.QueryEscape(view.Repository+"@"+string(view.Digest))
	for i, e := range feed.Entries {
		if a := event.Action(e.Event.Action); (a == event.Push || a == event.Quarantine) && !e.Sample {
			var body struct{ Event json.RawMessage }
			json.Unmarshal(e.Raw, &body) // the client has read it already
			view.Pushed = &pushed{view.Events[i], requestOf(body.Event, nil).UserAgent}
			return
		}
	}
}
