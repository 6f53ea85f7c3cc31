package controlclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/dockbell/dockbell/internal/fault"
)

// FeedEntry is an event of a registry, at its place in commit order.
type FeedEntry struct {
	Position int64     `json:"position"`
	Location string    `json:"location"`
	Actor    string    `json:"actor"`  // who did it
	Cause    string    `json:"cause"`  // what did it, where that was no client's request
	Sample   bool      `json:"sample"` // someone tries a webhook: nothing happened
	Event    EventBody `json:"event"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (e *FeedEntry) UnmarshalJSON(b []byte) error {
	type fields FeedEntry // without this method
	e.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(e))
}

// EventBody is what a webhook is sent.
type EventBody struct {
	ID        string `json:"id"`
	Timestamp string `json:"timestamp"` // RFC 3339, with a fraction
	Action    string `json:"action"`
	Target    struct {
		Digest     string `json:"digest"`
		Repository string `json:"repository"`
		Tag        string `json:"tag"`
		Name       string `json:"name"`    // of a chart
		Version    string `json:"version"` // of a chart

		// Of a webhook_failing: the webhook that fails, and whether it still does.
		Webhook   string `json:"webhook"`
		Condition string `json:"condition"`
	} `json:"target"`
}

// Image returns what was acted on as people name it: repository:tag, or the
// repository alone, or a chart's name and version. Of a webhook_failing it is
// the webhook and its condition.
func (e *EventBody) Image() string {
	t := e.Target
	switch {
	case t.Tag != "":
		return t.Repository + ":" + t.Tag
	case t.Webhook != "":
		return "webhook " + t.Webhook + " " + t.Condition
	case t.Repository == "" && t.Name != "":
		return t.Name + "-" + t.Version
	}
	return t.Repository
}

// Expired is the detail of the fault.OutOfRange that FeedAfter and FollowFeed
// fail with when events behind the position are not kept any more.
type Expired struct {
	Oldest int64 // position of the oldest event that is kept
}

// ExpiredIn returns the Expired of an error.
func ExpiredIn(err error) (Expired, bool) {
	var f *fault.Error
	if !errors.As(err, &f) {
		return Expired{}, false
	}
	expired, ok := f.Detail.(Expired)
	return expired, ok
}

// FeedPage is a part of the feed.
type FeedPage struct {
	Entries []FeedEntry `json:"value"`
	Next    int64       `json:"next"` // the position behind which the feed goes on
}

// FeedAfter returns up to n events behind a position, in commit order.
func (c *Client) FeedAfter(ctx context.Context, registry string, after int64, n int) (FeedPage, error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(n)}}
	return get[FeedPage](ctx, c, http.MethodGet, registryPath(registry, "events")+"?"+q.Encode(), nil)
}

// FeedLast returns the newest n events, in commit order; of none, the page has
// the position behind which happens what happens from now on.
func (c *Client) FeedLast(ctx context.Context, registry string, n int) (FeedPage, error) {
	return get[FeedPage](ctx, c, http.MethodGet, registryPath(registry, "events")+"?last="+strconv.Itoa(n), nil)
}

// FollowFeed calls each with every event behind a position, in commit order, as
// they come, until each fails, ctx ends or the connection does; the last two are
// faults of kind Unavailable. opened is called when the server has agreed. To go
// on, call it again with the position of the last event.
func (c *Client) FollowFeed(ctx context.Context, registry string, after int64, opened func(), each func(FeedEntry) error) error {
	position := strconv.FormatInt(after, 10)
	return c.stream(ctx, registryPath(registry, "events")+"?after="+position, position, opened, func(m message) error {
		var e FeedEntry
		if err := json.Unmarshal(m.data, &e); err != nil {
			return c.undecodable(err)
		}
		return each(e)
	})
}
