package controlclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

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

// FeedWait is FeedAfter that waits for something to happen behind the position, up to
// wait, in whole seconds and at most 60. A page without entries may have a Next to go
// on from.
func (c *Client) FeedWait(ctx context.Context, registry string, after int64, n int, wait time.Duration) (FeedPage, error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(n)}, "wait": {strconv.Itoa(int(wait / time.Second))}}
	return get[FeedPage](ctx, c, http.MethodGet, registryPath(registry, "events")+"?"+q.Encode(), nil)
}

// FeedFilter narrows FeedBefore to events about something. Empty members let all
// pass.
type FeedFilter struct {
	Action     string
	Repository string
	Tag        string
	Digest     string
}

// Passes reports whether the filter lets an event pass.
func (f FeedFilter) Passes(e *EventBody) bool {
	return (f.Action == "" || f.Action == e.Action) && (f.Repository == "" || f.Repository == e.Target.Repository) &&
		(f.Tag == "" || f.Tag == e.Target.Tag) && (f.Digest == "" || f.Digest == e.Target.Digest)
}

// FeedBefore returns up to n events before a position that the filter lets pass,
// newest first; 0 begins with the newest. The page may be shorter where they are far
// apart. Its Next is the position to go on before, 0 if there is nothing older.
func (c *Client) FeedBefore(ctx context.Context, registry string, before int64, n int, f FeedFilter) (FeedPage, error) {
	q := url.Values{"before": {strconv.FormatInt(before, 10)}, "limit": {strconv.Itoa(n)}}
	for name, value := range map[string]string{"action": f.Action, "repository": f.Repository, "tag": f.Tag, "digest": f.Digest} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return get[FeedPage](ctx, c, http.MethodGet, registryPath(registry, "events")+"?"+q.Encode(), nil)
}

// FeedDetails is an event of a registry with everything that is known of it.
type FeedDetails struct {
	FeedEntry
	CloudEvent json.RawMessage
	Rings      []Ring // only for who may write webhooks; by webhooks and subscriptions as they have names
}

// UnmarshalJSON reads what an entry of the feed has, and what is beside it.
func (d *FeedDetails) UnmarshalJSON(b []byte) error {
	var beside struct {
		CloudEvent json.RawMessage `json:"cloudEvent"`
		Rings      []Ring          `json:"deliveries"`
	}
	if err := json.Unmarshal(b, &beside); err != nil {
		return err
	}
	d.CloudEvent, d.Rings = beside.CloudEvent, beside.Rings
	return json.Unmarshal(b, &d.FeedEntry)
}

// Ring is what became of an event at one endpoint.
type Ring struct {
	Kind       EndpointKind `json:"kind"`
	Name       string       `json:"name"`
	State      string       `json:"state"`      // delivered, refused, waiting or deadLettered
	Attempts   int          `json:"attempts"`   // 0: it was not tried yet
	LastStatus int          `json:"lastStatus"` // of the newest attempt; 0: there was no answer
	LastError  string       `json:"lastError"`  // why there was none, in a word
	DurationMs float64      `json:"durationMs"`
	LastAt     time.Time    `json:"lastAttempt"`
	NextAt     time.Time    `json:"nextAttempt"` // zero: not known, or none
}

// FeedEvent returns one event of a registry, by its position or its id.
func (c *Client) FeedEvent(ctx context.Context, registry, id string) (FeedDetails, error) {
	return get[FeedDetails](ctx, c, http.MethodGet, registryPath(registry, "events", id), nil)
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
