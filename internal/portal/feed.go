package portal

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/event"
)

func init() {
	addPages(
		route{"GET " + Root + "/registries/{registry}/events", showFeed},
		route{"GET " + Root + "/registries/{registry}/events/tail", tailFeed},
		route{"GET " + Root + "/registries/{registry}/events/{event}", showEvent},
	)
}

// feedPage is how many events a page of the feed shows.
const feedPage = 50

// feedView is what the page of the feed shows.
type feedView struct {
	Rows    []feedRow
	Tail    string // address of what comes; empty on a page of what was
	Filters []choice
	Action  string
	Image   string

	// Older is the address of the page before this one, empty if there is none; Back
	// is whether this one is not the newest, and Newest where that is.
	Older  string
	Back   bool
	Newest string
	All    string // the address of the feed without filters
}

// choice is a filter, as a link.
type choice struct {
	Text, Link string
	Current    bool
}

// feedRow is an event in a list.
type feedRow struct {
	Position         int64
	Link             string
	At               time.Time
	Action           string
	Image, ImageLink string
	Digest           string
	Who, Cause       string
	Sample           bool
}

func (v *visit) feedRows(entries []controlclient.FeedEntry) []feedRow {
	rows := make([]feedRow, len(entries))
	for i, e := range entries {
		rows[i] = v.feedRow(e)
	}
	return rows
}

func (v *visit) feedRow(e controlclient.FeedEntry) feedRow {
	t := e.Event.Target
	row := feedRow{
		Position: e.Position, Link: v.path("events", strconv.FormatInt(e.Position, 10)), Action: e.Event.Action,
		Image: e.Event.Image(), ImageLink: v.imageLink(&e.Event), Digest: t.Digest, Who: e.Actor, Cause: e.Cause, Sample: e.Sample,
	}
	if row.Who == "" && row.Cause == "" {
		row.Who = "anonymous"
	}
	row.At, _ = time.Parse(time.RFC3339Nano, e.Event.Timestamp)
	return row
}

// imageLink returns where to see what an event is about: the manifest, or what was
// around it where that is gone. It is empty for what has no page.
func (v *visit) imageLink(e *controlclient.EventBody) string {
	t := e.Target
	switch {
	case t.Webhook != "":
		return v.path("webhooks", t.Webhook)
	case t.Repository == "" || e.Action == string(event.ChartPush) || e.Action == string(event.ChartDelete):
		return ""
	case t.Digest == "" || e.Action == string(event.Delete):
		return v.repositoryPath(t.Repository, "")
	}
	link := v.repositoryPath(t.Repository, t.Digest)
	if t.Tag != "" && e.Action != string(event.Untag) {
		link += "?tag=" + url.QueryEscape(t.Tag)
	}
	return link
}

// filterOf reads what of the feed an address asks for. image is as people name one:
// repository, repository:tag or repository@digest.
func filterOf(q url.Values) (f controlclient.FeedFilter, image string) {
	image = strings.TrimSpace(q.Get("image"))
	f.Action, f.Repository = q.Get("action"), image
	if repo, digest, ok := strings.Cut(image, "@"); ok {
		f.Repository, f.Digest = repo, digest
	} else if repo, tag, ok := strings.Cut(image, ":"); ok {
		f.Repository, f.Tag = repo, tag
	}
	return f, image
}

func showFeed(p *portal, w http.ResponseWriter, v *visit) error {
	q := v.URL.Query()
	filter, image := filterOf(q)
	before, _ := strconv.ParseInt(q.Get("before"), 10, 64) // anything else is the newest
	before = max(before, 0)
	end, err := v.api.FeedLast(v.Context(), v.registry, 0) // before the page, so that none slips between
	if err != nil {
		return err
	}
	feed, err := v.api.FeedBefore(v.Context(), v.registry, before, feedPage, filter)
	if err != nil {
		return err
	}
	at := v.path("events")
	address := func(path, action, image, name, value string) string {
		rest, _ := query([]string{"action", action, "image", image, name, value})
		return path + rest
	}
	view := feedView{
		Rows: v.feedRows(feed.Entries), Action: filter.Action, Image: image,
		Back: before > 0, Newest: address(at, filter.Action, image, "", ""), All: at,
	}
	if feed.Next > 0 {
		view.Older = address(at, filter.Action, image, "before", strconv.FormatInt(feed.Next, 10))
	}
	if before == 0 {
		view.Tail = address(at+"/tail", filter.Action, image, "after", strconv.FormatInt(end.Next, 10))
	}
	view.Filters = []choice{{"All", address(at, "", image, "", ""), filter.Action == ""}}
	for _, action := range event.Subscribable {
		view.Filters = append(view.Filters, choice{string(action), address(at, string(action), image, "", ""), filter.Action == string(action)})
	}
	return p.render(w, v.Request, v, http.StatusOK, "events", page{Title: "Events", Section: "events", Body: view})
}

// eventView is what the page of one event shows.
type eventView struct {
	feedRow
	ID, Location string
	Request      eventRequest
	Body, Cloud  string

	SeesRings bool
	Rings     []ringRow
}

// eventRequest is the request that made a change; empty where there was none.
type eventRequest struct {
	ID        string `json:"id"`
	Host      string `json:"host"`
	Method    string `json:"method"`
	UserAgent string `json:"useragent"`
	Addr      string `json:"addr"`
}

// requestOf reads the request out of an event as a webhook and as a subscription gets
// it: the client's address is in the latter alone.
func requestOf(body, cloud json.RawMessage) eventRequest {
	var plain struct{ Request eventRequest }
	json.Unmarshal(body, &plain) // what is not there is empty
	var rich struct {
		Data struct{ Request eventRequest }
	}
	json.Unmarshal(cloud, &rich)
	if plain.Request.Addr == "" {
		plain.Request.Addr = rich.Data.Request.Addr
	}
	return plain.Request
}

// ringRow is what became of an event at one endpoint.
type ringRow struct {
	controlclient.Ring
	Kind, Link string
	Mark       badge
	Text       string
	Duration   time.Duration
}

// ringMark says in a word how far an event is with an endpoint.
func ringMark(state string) badge {
	switch state {
	case "delivered":
		return badge{"good", "delivered"}
	case "refused":
		return badge{"", "refused"}
	case "waiting":
		return badge{"wait", "waiting"}
	case "deadLettered":
		return badge{"bad", "given up"}
	}
	return badge{"", state}
}

// ringText says what came back at last.
func ringText(r controlclient.Ring) string {
	switch {
	case r.Attempts == 0:
		return "not tried yet"
	case r.LastStatus != 0:
		return "HTTP " + strconv.Itoa(r.LastStatus)
	case r.LastError != "":
		return "no answer: " + r.LastError
	}
	return ""
}

func (v *visit) ringRows(rings []controlclient.Ring) []ringRow {
	rows := make([]ringRow, len(rings))
	for i, r := range rings {
		row := ringRow{Ring: r, Kind: "webhook", Link: v.path("webhooks", r.Name), Mark: ringMark(r.State), Text: ringText(r), Duration: time.Duration(r.DurationMs * float64(time.Millisecond))}
		if r.State != "waiting" || !row.NextAt.After(time.Now()) {
			row.NextAt = time.Time{} // it is due, and waits for its turn
		}
		if r.Kind == controlclient.OfEventSubscription {
			row.Kind, row.Link = "subscription", v.path("subscriptions", r.Name)
		}
		rows[i] = row
	}
	return rows
}

func showEvent(p *portal, w http.ResponseWriter, v *visit) error {
	found, err := v.api.FeedEvent(v.Context(), v.registry, v.PathValue("event"))
	if err != nil {
		return err
	}
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	var body struct{ Event json.RawMessage }
	json.Unmarshal(found.Raw, &body) // the client has read it already
	view := eventView{
		feedRow: v.feedRow(found.FeedEntry), ID: found.Event.ID, Location: found.Location, Request: requestOf(body.Event, found.CloudEvent),
		Body: pretty(string(body.Event)), Cloud: pretty(string(found.CloudEvent)),
		SeesRings: v.may("webhooks/write", reg.ID), Rings: v.ringRows(found.Rings),
	}
	title := view.Action
	if view.Image != "" {
		title += " of " + view.Image
	}
	return p.render(w, v.Request, v, http.StatusOK, "event", page{
		Title: title, Section: "events", Crumbs: []crumb{{"Events", v.path("events")}}, Body: view,
	})
}
