package arm

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
)

// Feed reads what happened, in the order in which it was committed.
type Feed interface {
	// After returns up to n events of a registry behind position pos, fewer if
	// they are large or far apart.
	After(ctx context.Context, registry, pos int64, n int) (FeedPage, error)

	// Last returns the newest n events of a registry, fewer if they are large or
	// far apart. Its page ends with the newest event there is.
	Last(ctx context.Context, registry int64, n int) (FeedPage, error)

	// Before returns up to n events of a registry before position pos, newest first,
	// that the filter lets pass, fewer if they are large or far apart; pos 0 begins with
	// the newest. Its Next is the oldest position that was looked at, 0 if there is
	// nothing before that.
	Before(ctx context.Context, registry, pos int64, n int, f FeedFilter) (FeedPage, error)

	// Find returns the event of a registry that has a position, or an id. It fails with
	// fault.NotFound.
	Find(ctx context.Context, registry int64, id string) (FeedEntry, error)

	// Changed returns a channel that is closed when something happens next.
	Changed() <-chan struct{}
}

// FeedFilter narrows the feed to events about something. Empty members let all
// pass.
type FeedFilter struct {
	Action     event.Action
	Repository string
	Tag        string
	Digest     string
}

// Passes reports whether the filter lets an event pass.
func (f FeedFilter) Passes(e *event.Event) bool {
	return (f.Action == "" || f.Action == e.Action) && (f.Repository == "" || f.Repository == e.Target.Repository) &&
		(f.Tag == "" || f.Tag == e.Target.Tag) && (f.Digest == "" || f.Digest == e.Target.Digest)
}

// FeedPage is a piece of the feed.
type FeedPage struct {
	Entries []FeedEntry // of the registry, oldest first

	// Next is the last position that was looked at, whoever's event that is: the
	// one to go on from.
	Next int64

	// Oldest and Newest are the positions of the oldest and newest event that are
	// kept, of all registries; 0 for none.
	Oldest, Newest int64
}

// FeedEntry is an event in the feed.
type FeedEntry struct {
	Event   *event.Event
	ACRBody []byte
}

// The wire forms of the feed.
type (
	feedBody struct {
		Value []feedEntry `json:"value"`
		Next  int64       `json:"next"` // what after is to be the next time
	}
	feedEntry struct {
		Position int64           `json:"position"`
		Location string          `json:"location"`
		Actor    string          `json:"actor"`
		Cause    string          `json:"cause,omitempty"`
		Sample   bool            `json:"sample,omitempty"`
		Event    json.RawMessage `json:"event"` // the body of a webhook
	}
	expiredBody struct {
		Error  errorDetail `json:"error"`
		Oldest int64       `json:"oldest"` // the oldest position kept
	}
)

func (c call) feedToWire(e FeedEntry) feedEntry {
	entry := feedEntry{
		Position: e.Event.Pos, Location: e.Event.Registry.Location, Actor: e.Event.Actor, Cause: e.Event.Cause, Sample: e.Event.Sample,
		Event: e.ACRBody,
	}
	if shown := c.shown(e.Event); shown != e.Event {
		entry.Event = event.ACRBody(shown)
	}
	return entry
}

// shown returns an event as the caller may see it: the same one, or another without
// what they are not told of failures.
func (c call) shown(e *event.Event) *event.Event {
	if e.Webhook == nil || c.seesFailures() {
		return e
	}
	shown, fares := *e, *e.Webhook
	fares.LastStatus, fares.LastError = 0, ""
	shown.Webhook = &fares
	return &shown
}

func (c call) feedPageToWire(page FeedPage) feedBody {
	body := feedBody{Value: make([]feedEntry, len(page.Entries)), Next: page.Next}
	for i, e := range page.Entries {
		body.Value[i] = c.feedToWire(e)
	}
	return body
}

// Bounds on what a client of the feed asks for.
const (
	feedLimit    = 100 // events in a page, unless the client says
	maxFeedLimit = 1000
	maxFeedWait  = 60 // seconds
)

// feedQuery is what a client asks of the feed.
type feedQuery struct {
	after  int64      // position; absent: before the oldest event kept
	before int64      // position, going back; 0: the newest; absent: going forward
	filter FeedFilter // going back alone
	last   int        // so many of the newest events; absent: those behind after
	limit  int
	wait   time.Duration // for the first event
}

// absent marks a member of a feedQuery that the client left out.
const absent = -1

// parseFeedQuery reads a request for the feed. A client that lost its connection
// says with Last-Event-ID how far it came, which counts more than where it first
// began.
func parseFeedQuery(query url.Values, lastEventID string) (q feedQuery, err error) {
	if query.Has("after") && query.Has("last") {
		return q, fault.New(fault.Invalid, "after and last exclude each other: give the position to begin behind, or how many of the newest events")
	}
	if q.before, err = parseBefore(query); err != nil {
		return q, err
	}
	q.filter = FeedFilter{event.Action(query.Get("action")), query.Get("repository"), query.Get("tag"), query.Get("digest")}
	if q.before == absent && q.filter != (FeedFilter{}) {
		return q, fault.New(fault.Invalid, "action, repository, tag and digest go with before: use before=0 to begin with the newest event")
	}
	name, text := "after", query.Get("after")
	if lastEventID != "" {
		name, text = "Last-Event-ID", lastEventID
		query.Del("last")
	}
	q.after = absent
	if text != "" {
		q.after, err = strconv.ParseInt(text, 10, 64)
		if err != nil || q.after < 0 {
			return q, fault.New(fault.Invalid, "%s %q is no position in the feed: use the next of an answer, a number from 0 on", name, clip(text))
		}
	}
	if q.last, err = parseCount(query, "last", "events", 0, maxFeedLimit, absent); err != nil {
		return q, err
	}
	if q.limit, err = parseCount(query, "limit", "events", 1, maxFeedLimit, feedLimit); err != nil {
		return q, err
	}
	wait, err := parseCount(query, "wait", "seconds", 0, maxFeedWait, 0)
	q.wait = time.Duration(wait) * time.Second
	return q, err
}

// parseBefore reads the position before which a client that goes back wants to go
// on.
func parseBefore(query url.Values) (int64, error) {
	if !query.Has("before") {
		return absent, nil
	}
	for _, other := range []string{"after", "last", "wait"} {
		if query.Has(other) {
			return 0, fault.New(fault.Invalid, "before and %s exclude each other: before goes back, newest first", other)
		}
	}
	before, err := strconv.ParseInt(query.Get("before"), 10, 64)
	if err != nil || before < 0 {
		return 0, fault.New(fault.Invalid, "before %q is no position in the feed: use the next of an answer, or 0 to begin with the newest event", clip(query.Get("before")))
	}
	return before, nil
}

// parseCount reads a number from the query; without one it is otherwise.
func parseCount(query url.Values, name, unit string, least, most, otherwise int) (int, error) {
	text := query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fault.New(fault.Invalid, "%s %q is out of range: use %d to %d %s", name, clip(text), least, most, unit)
	}
	return n, nil
}

// begin returns the first page that is asked for.
func (a *api) begin(ctx context.Context, registry int64, q feedQuery) (FeedPage, error) {
	if q.last != absent {
		return a.Feed.Last(ctx, registry, q.last)
	}
	if q.after == absent {
		return a.Feed.After(ctx, registry, 0, q.limit) // whatever is kept is behind 0
	}
	page, err := a.Feed.After(ctx, registry, q.after, q.limit)
	if err == nil && page.Newest == 0 && q.after > 0 {
		err = fault.New(fault.Invalid, "position %d is in the future: nothing has happened yet; use after=0", q.after)
	} else if err == nil && q.after > page.Newest {
		err = fault.New(fault.Invalid, "position %d is in the future: the newest event is %d; leave after out to begin with the oldest event kept, or use last=0 for what happens from now on", q.after, page.Newest)
	}
	if err == nil {
		err = page.complete(q.after)
	}
	return page, err
}

// complete fails with *expired if events behind position after are not kept any
// more.
func (p FeedPage) complete(after int64) error {
	if after < p.Oldest-1 {
		return &expired{after, p.Oldest}
	}
	return nil
}

// expired is the error of a position whose events are not kept any more.
type expired struct{ after, oldest int64 }

func (e *expired) Error() string {
	return "the events behind position " + strconv.FormatInt(e.after, 10) + " are not all kept any more: the oldest that is has position " +
		strconv.FormatInt(e.oldest, 10) + "; go on with after=" + strconv.FormatInt(e.oldest-1, 10) + ", and look at the registry itself for what is missing"
}

func (e *expired) body() expiredBody {
	return expiredBody{errorDetail{Code: "PositionExpired", Message: e.Error()}, e.oldest}
}

// readFeed answers with what happened in the registry: a page, for which it may
// wait, or a stream.
func readFeed(a *api, c call) (answer, error) {
	q, err := parseFeedQuery(c.URL.Query(), c.Header.Get("Last-Event-ID"))
	if err != nil {
		return answer{}, err
	}
	if q.before != absent {
		page, err := a.Feed.Before(c.Context(), c.registry.ID, q.before, q.limit, q.filter)
		return answer{http.StatusOK, c.feedPageToWire(page)}, err
	}
	// Before the first look: what happens after that is seen by either.
	changed := a.Feed.Changed()
	page, err := a.begin(c.Context(), c.registry.ID, q)
	if gone, ok := err.(*expired); ok {
		return answer{http.StatusGone, gone.body()}, nil
	}
	if err != nil {
		return answer{}, err
	}
	if wantsStream(c.Request) && c.Method != http.MethodHead {
		return answer{http.StatusOK, stream(func(s *eventStream) { a.streamFeed(c, s, page, changed) })}, nil
	}
	deadline := time.NewTimer(q.wait)
	defer deadline.Stop()
	for waiting := true; waiting && len(page.Entries) == 0 && page.Next == page.Newest; {
		select {
		case <-changed:
		case <-deadline.C:
			waiting = false
		case <-a.Stopping:
			waiting = false
		case <-c.Context().Done():
			return answer{}, c.Context().Err()
		}
		if err := a.recheck(c); err != nil {
			return answer{}, err
		}
		changed = a.Feed.Changed()
		if page, err = a.Feed.After(c.Context(), c.registry.ID, page.Next, q.limit); err != nil {
			return answer{}, err
		}
	}
	return answer{http.StatusOK, c.feedPageToWire(page)}, nil
}

// streamFeed sends page and what follows it. changed was taken before the page.
func (a *api) streamFeed(c call, s *eventStream, page FeedPage, changed <-chan struct{}) {
	beat := time.NewTicker(heartBeat)
	defer beat.Stop()
	for {
		for _, e := range page.Entries {
			if s.send(strconv.FormatInt(e.Event.Pos, 10), string(e.Event.Action), c.feedToWire(e)) != nil {
				return
			}
		}
		if page.Next == page.Newest {
			select {
			case <-changed:
			case <-beat.C:
				// What was looked at and is another registry's is not looked at again.
				if s.mark(strconv.FormatInt(page.Next, 10)) != nil {
					return
				}
			case <-a.Stopping:
				return
			case <-c.Context().Done():
				return
			}
		}
		if err := a.recheck(c); err != nil {
			s.fail(err)
			return
		}
		changed = a.Feed.Changed()
		after := page.Next
		var err error
		if page, err = a.Feed.After(c.Context(), c.registry.ID, after, feedLimit); err == nil {
			err = page.complete(after)
		}
		if gone, ok := err.(*expired); ok {
			s.send("", "error", gone.body())
			return
		}
		if err != nil {
			s.fail(err)
			return
		}
	}
}
