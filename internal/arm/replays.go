package arm

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/ring"
)

type (
	// redeliverInput asks for one event once more.
	redeliverInput struct {
		EventID    string `json:"eventId"`
		ServiceURI string `json:"serviceUri"` // empty: the endpoint's own
	}

	// replayInput asks for many. Absent, null and zero say the same: no limit.
	replayInput struct {
		From         string          `json:"from"`
		Until        string          `json:"until"`
		After        int64           `json:"after"`
		Upto         int64           `json:"upto"`
		Only         string          `json:"only"`
		Actions      []string        `json:"actions"`
		Repository   string          `json:"repository"`
		DeadLetters  json.RawMessage `json:"deadLetters"` // see parseIDs
		ServiceURI   string          `json:"serviceUri"`  // empty: the endpoint's own
		MaxPerMinute int             `json:"maxPerMinute"`
	}

	replayBody struct {
		ID           int64         `json:"id"`
		State        string        `json:"state"`
		Selection    selectionBody `json:"selection"`
		Elsewhere    bool          `json:"elsewhere"`
		MaxPerMinute int           `json:"maxPerMinute"`
		Looked       int64         `json:"looked"`
		ToLook       int64         `json:"toLook"`
		Matched      int64         `json:"matched"`
		Delivered    int64         `json:"delivered"`
		Refused      int64         `json:"refused"`
		Dead         int64         `json:"dead"`
		CreatedAt    string        `json:"createdAt"`
		CreatedBy    string        `json:"createdBy"`
		EndedAt      string        `json:"endedAt,omitempty"`
	}

	// selectionBody is which events a replay brings, as it was asked for.
	selectionBody struct {
		EventID     string         `json:"eventId,omitempty"`
		From        string         `json:"from,omitempty"`
		Until       string         `json:"until,omitempty"`
		After       int64          `json:"after,omitempty"`
		Upto        int64          `json:"upto,omitempty"`
		Only        delivery.Only  `json:"only,omitempty"`
		Actions     []event.Action `json:"actions,omitempty"`
		Repository  string         `json:"repository,omitempty"`
		DeadLetters any            `json:"deadLetters,omitempty"` // ids, or "all"
	}
)

func replayToWire(r delivery.Replay) replayBody {
	return replayBody{
		ID: r.ID, State: string(r.State), Selection: selectionToWire(r.Selection),
		Elsewhere: r.Elsewhere, MaxPerMinute: r.PerMinute,
		Looked: r.Looked, ToLook: r.ToLook, Matched: r.Matched, Delivered: r.Delivered, Refused: r.Refused, Dead: r.Dead,
		CreatedAt: wireTime(r.CreatedAt), CreatedBy: r.CreatedBy, EndedAt: optionalTime(r.EndedAt),
	}
}

func selectionToWire(s delivery.Selection) selectionBody {
	body := selectionBody{
		EventID: s.EventID, From: optionalTime(s.From), Until: optionalTime(s.Until), After: s.After, Upto: s.Upto,
		Only: s.Only, Actions: s.Actions, Repository: s.Repository,
	}
	switch {
	case s.AllDeadLetters:
		body.DeadLetters = "all"
	case s.DeadLetters != nil:
		body.DeadLetters = s.DeadLetters
	}
	return body
}

// selection reads which events are meant. Every refusal names the member.
func (in replayInput) selection() (s delivery.Selection, err error) {
	s = delivery.Selection{After: in.After, Upto: in.Upto, Repository: in.Repository}
	if s.From, err = parseTime("from", in.From); err != nil {
		return s, err
	}
	if s.Until, err = parseTime("until", in.Until); err != nil {
		return s, err
	}
	if s.DeadLetters, s.AllDeadLetters, err = parseIDs("deadLetters", in.DeadLetters); err != nil {
		return s, err
	}
	if s.Only, err = parseOnly(in.Only); err != nil {
		return s, err
	}
	if s.Actions, err = parseReplayActions(in.Actions); err != nil {
		return s, err
	}
	narrowed := in.From != "" || in.Until != "" || in.After != 0 || in.Upto != 0 || in.Only != "" || in.Actions != nil || in.Repository != ""
	listed := s.DeadLetters != nil || s.AllDeadLetters
	switch {
	case in.After < 0:
		return s, invalidContent("after is %d: positions count from 1", in.After)
	case in.Upto < 0:
		return s, invalidContent("upto is %d: positions count from 1", in.Upto)
	case in.Upto != 0 && in.After >= in.Upto:
		return s, invalidContent("after is %d and upto is %d, so there is nothing between: after must be the smaller", in.After, in.Upto)
	case !s.Until.IsZero() && !s.From.Before(s.Until):
		return s, invalidContent("from is %s and until is %s, so there is nothing between: from must be the earlier", in.From, in.Until)
	case narrowed && listed:
		return s, invalidContent("deadLetters says which events are meant, and so do from, until, after, upto, only, actions and repository: give one or the other")
	case strings.Contains(strings.TrimSuffix(in.Repository, "*"), "*"):
		return s, invalidContent("repository %q has a * that is not at the end: give a name, or the beginning of one and a *, for example team/*", clip(in.Repository))
	}
	return s, nil
}

func parseTime(member, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, invalidContent("%s %q is no time: write it as RFC 3339 has it, for example 2026-01-31T15:04:05Z", member, clip(text))
	}
	// Beyond, a time has no count of nanoseconds since 1970 in 64 bits.
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 2261 {
		return time.Time{}, invalidContent("%s %q is out of range: give a time of the years 1970 to 2261", member, clip(text))
	}
	return t, nil
}

func parseOnly(text string) (delivery.Only, error) {
	switch only := delivery.Only(strings.ToLower(text)); only {
	case "", delivery.Undelivered, delivery.OnlyRefused, delivery.OnlyDelivered:
		return only, nil
	}
	return "", invalidContent("only %q is not known: use undelivered, refused or delivered, or leave it out for all", clip(text))
}

func parseReplayActions(sent []string) (actions []event.Action, err error) {
	if sent != nil && len(sent) == 0 {
		return nil, invalidContent("actions is empty: give one or more, or leave it out for all")
	}
	for _, text := range sent {
		action := event.Action(strings.ToLower(text))
		if !slices.Contains(event.Subscribable, action) {
			return nil, invalidContent("actions has %q, which is none: use %s", clip(text), event.SubscribableText())
		}
		if !slices.Contains(actions, action) {
			actions = append(actions, action)
		}
	}
	return actions, nil
}

// redeliver rings one event once more, wanted or not.
func redeliver(a *api, c call, e endpoint) (answer, error) {
	var in redeliverInput
	if err := readStrict(c.Request, &in); err != nil {
		return answer{}, err
	}
	if in.EventID == "" {
		return answer{}, invalidContent("eventId is missing: give the id of the event to ring once more, as listEvents shows it")
	}
	return a.startReplay(c, e, in.ServiceURI, delivery.ReplayRequest{Selection: delivery.Selection{EventID: in.EventID}})
}

func postReplay(a *api, c call, e endpoint) (answer, error) {
	var in replayInput
	if err := readStrict(c.Request, &in); err != nil {
		return answer{}, err
	}
	selection, err := in.selection()
	if err != nil {
		return answer{}, err
	}
	if in.MaxPerMinute < 0 || in.MaxPerMinute > ring.MaxPerMinute {
		return answer{}, invalidContent("maxPerMinute is %d: use 1 to %d, or 0 for no limit", in.MaxPerMinute, ring.MaxPerMinute)
	}
	return a.startReplay(c, e, in.ServiceURI, delivery.ReplayRequest{Selection: selection, PerMinute: in.MaxPerMinute})
}

// startReplay starts r for e, which it names, and answers as soon as it is on
// record.
func (a *api) startReplay(c call, e endpoint, uri string, r delivery.ReplayRequest) (answer, error) {
	r.Registry, r.Endpoint, r.By = c.registry.ID, e.id, c.user
	if err := e.ready(uri != ""); err != nil {
		return answer{}, err
	}
	host := e.host
	if uri != "" {
		sealed, err := a.Webhooks.SealElsewhere(uri)
		if err != nil {
			return answer{}, err
		}
		r.Elsewhere, host = sealed, a.Webhooks.ElsewhereHost(sealed)
	}
	started, err := a.Deliveries.Replay(c.Context(), r)
	if err != nil {
		return answer{}, err
	}
	c.note("to", host, "replay", started.ID, "elsewhere", started.Elsewhere)
	return answer{http.StatusAccepted, replayToWire(started)}, nil
}

// listReplays shows the replays of an endpoint, newest first, in pages.
func listReplays(a *api, c call, e endpoint) (answer, error) {
	var before int64
	var err error
	if token := c.URL.Query().Get(skipToken); token != "" {
		if before, err = strconv.ParseInt(token, 10, 64); err != nil || before <= 0 {
			return answer{}, badSkipToken(token)
		}
	}
	page, err := a.Deliveries.Replays(c.Context(), e.id, before, perPage+1)
	if err != nil {
		return answer{}, err
	}
	var list listBody[replayBody]
	if len(page) > perPage {
		page = page[:perPage]
		list.NextLink = nextLink(c.Request, strconv.FormatInt(page[perPage-1].ID, 10))
	}
	list.Value = make([]replayBody, len(page))
	for i, r := range page {
		list.Value[i] = replayToWire(r)
	}
	return answer{http.StatusOK, list}, nil
}

func getReplay(a *api, c call, e endpoint) (answer, error) {
	id, err := c.replay(e)
	if err != nil {
		return answer{}, err
	}
	r, err := a.Deliveries.ReplayByID(c.Context(), e.id, id)
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, replayToWire(r)}, nil
}

// cancelReplay ends a replay, which stays on record.
func cancelReplay(a *api, c call, e endpoint) (answer, error) {
	id, err := c.replay(e)
	if err != nil {
		return answer{}, err
	}
	r, err := a.Deliveries.CancelReplay(c.Context(), e.id, id)
	if err != nil {
		return answer{}, err
	}
	c.note("to", e.host)
	return answer{http.StatusOK, replayToWire(r)}, nil
}

// replay returns which replay of e the path names; whether there is such a replay
// is not known yet.
func (c call) replay(e endpoint) (id int64, err error) {
	id, err = strconv.ParseInt(c.inner, 10, 64)
	if err != nil || id <= 0 {
		return 0, fault.New(fault.Invalid, "%q is no number of a replay: GET %s/%s/replays shows those there are", clip(c.inner), e.list, e.name)
	}
	return id, nil
}
