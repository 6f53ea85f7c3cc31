package controlclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ReplayRequest says which events are to ring once more, and how. Its members
// narrow each other; the zero value is everything that is kept and that the
// endpoint asks for.
type ReplayRequest struct {
	From       time.Time `json:"from,omitzero"`        // events of this moment and later
	Until      time.Time `json:"until,omitzero"`       // events before this moment
	After      int64     `json:"after,omitempty"`      // events behind this position
	Upto       int64     `json:"upto,omitempty"`       // events up to this position
	Only       string    `json:"only,omitempty"`       // undelivered, refused or delivered
	Actions    []string  `json:"actions,omitempty"`    // one of these
	Repository string    `json:"repository,omitempty"` // a * at the end stands for any rest

	DeadLetters *DeadLetterIDs `json:"deadLetters,omitempty"` // the events of these

	ServiceURI   string `json:"serviceUri,omitempty"`   // to ring in place of a webhook's
	MaxPerMinute int    `json:"maxPerMinute,omitempty"` // 0: as fast as the receiver takes them
}

// DeadLetterIDs names dead letters of an endpoint: all of them if it is empty.
type DeadLetterIDs []int64

// MarshalJSON writes a list of numbers, or "all".
func (ids DeadLetterIDs) MarshalJSON() ([]byte, error) {
	if len(ids) == 0 {
		return []byte(`"all"`), nil
	}
	return json.Marshal([]int64(ids))
}

// The states of a Replay.
const (
	ReplayRunning   = "running"
	ReplayDone      = "done"
	ReplayCancelled = "cancelled"
)

// Replay is a piece of work on the server that rings events once more.
type Replay struct {
	ID        int64          `json:"id"`
	State     string         `json:"state"`
	Selection map[string]any `json:"selection"` // as it was asked for, less the address
	Elsewhere bool           `json:"elsewhere"` // it rings another address than the endpoint's

	// Looked of ToLook events were looked at, Matched of them taken; of those
	// so many were Delivered, Refused, or given up (Dead). The rest is under way.
	Looked    int64 `json:"looked"`
	ToLook    int64 `json:"toLook"`
	Matched   int64 `json:"matched"`
	Delivered int64 `json:"delivered"`
	Refused   int64 `json:"refused"`
	Dead      int64 `json:"dead"`

	CreatedAt time.Time `json:"createdAt"`

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (r *Replay) UnmarshalJSON(b []byte) error {
	type fields Replay // without this method
	r.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(r))
}

// Redeliver makes an endpoint ring once more for one event, wanted or not.
func (c *Client) Redeliver(ctx context.Context, e Endpoint, eventID string) (Replay, error) {
	body := struct {
		EventID string `json:"eventId"`
	}{eventID}
	return get[Replay](ctx, c, http.MethodPost, e.path("redeliver"), body)
}

// StartReplay makes an endpoint ring once more for the events chosen. The replay
// goes on by itself, also after a restart of the server.
func (c *Client) StartReplay(ctx context.Context, e Endpoint, r ReplayRequest) (Replay, error) {
	return get[Replay](ctx, c, http.MethodPost, e.path("replays"), r)
}

// Replays returns the replays of an endpoint, newest first.
func (c *Client) Replays(ctx context.Context, e Endpoint) ([]Replay, error) {
	return list[Replay](ctx, c, http.MethodGet, e.path("replays"))
}

// ReplayPage returns some of the replays of an endpoint, newest first, from where
// next of another page says.
func (c *Client) ReplayPage(ctx context.Context, e Endpoint, next string) (Page[Replay], error) {
	return onePage[Replay](ctx, c, e.path("replays"), url.Values{}, next)
}

// Replay returns one replay of an endpoint.
func (c *Client) Replay(ctx context.Context, e Endpoint, id int64) (Replay, error) {
	return get[Replay](ctx, c, http.MethodGet, replayPath(e, id), nil)
}

// CancelReplay ends a replay: what it has not sent yet is not sent.
func (c *Client) CancelReplay(ctx context.Context, e Endpoint, id int64) (Replay, error) {
	return get[Replay](ctx, c, http.MethodDelete, replayPath(e, id), nil)
}

func replayPath(e Endpoint, id int64) string {
	return e.path("replays", strconv.FormatInt(id, 10))
}

// DeadLetter is one event, or a range of them, that was given up.
type DeadLetter struct {
	ID        int64     `json:"id"`
	Count     int64     `json:"count"` // events in it
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`        // when it was given up; of a range, when it last grew
	EventID   string    `json:"eventId"`   // of the first event; empty when that is not kept any more
	EventTime time.Time `json:"eventTime"` // when that happened
	Expired   bool      `json:"expired"`   // events of it are not kept any more

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (d *DeadLetter) UnmarshalJSON(b []byte) error {
	type fields DeadLetter // without this method
	d.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(d))
}

// DeadLetters returns what was given up for an endpoint, newest first.
func (c *Client) DeadLetters(ctx context.Context, e Endpoint) ([]DeadLetter, error) {
	return list[DeadLetter](ctx, c, http.MethodGet, e.path("deadLetters"))
}

// DeadLetterPage returns some of what was given up for an endpoint, newest first,
// from where next of another page says.
func (c *Client) DeadLetterPage(ctx context.Context, e Endpoint, next string) (Page[DeadLetter], error) {
	return onePage[DeadLetter](ctx, c, e.path("deadLetters"), url.Values{}, next)
}

// PurgeDeadLetters forgets dead letters of an endpoint and returns how many events
// that were.
func (c *Client) PurgeDeadLetters(ctx context.Context, e Endpoint, ids DeadLetterIDs) (events int64, err error) {
	body := struct {
		IDs DeadLetterIDs `json:"ids"`
	}{ids}
	answer, err := get[struct {
		Purged int64 `json:"purged"`
	}](ctx, c, http.MethodPost, e.path("deadLetters", "purge"), body)
	return answer.Purged, err
}
