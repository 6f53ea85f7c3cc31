package arm

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/delivery"
)

// How much is shown and taken at once.
const (
	perPage = 100  // dead letters, or replays
	maxIDs  = 1000 // of dead letters in one request
)

type (
	// deadLetterBody is one event, or a range of them, that was given up.
	deadLetterBody struct {
		ID           int64  `json:"id"`
		Count        int64  `json:"count"`
		Reason       string `json:"reason"`
		At           string `json:"at"`
		PositionFrom int64  `json:"positionFrom"`
		PositionTo   int64  `json:"positionTo"`
		EventID      string `json:"eventId,omitempty"` // of the first event
		EventTime    string `json:"eventTime,omitempty"`
		Expired      bool   `json:"expired"`
	}
	purgeInput struct {
		IDs json.RawMessage `json:"ids"` // see parseIDs
	}
	purgeBody struct {
		Purged int64 `json:"purged"` // events
	}
)

func deadLetterToWire(d delivery.DeadLetter) deadLetterBody {
	return deadLetterBody{
		ID: d.ID, Count: d.Count, Reason: d.Reason, At: wireTime(d.At),
		PositionFrom: d.PosFrom, PositionTo: d.PosTo,
		EventID: d.EventID, EventTime: optionalTime(d.EventAt), Expired: d.Expired,
	}
}

// parseIDs reads a member that is an array of dead letters' ids or the word
// "all". Absent and null are neither: no ids, and not all.
func parseIDs(member string, text json.RawMessage) (ids []int64, all bool, err error) {
	var word string
	switch {
	case len(text) == 0 || string(text) == "null":
		return nil, false, nil
	case json.Unmarshal(text, &word) == nil && strings.EqualFold(word, "all"):
		return nil, true, nil
	case json.Unmarshal(text, &ids) != nil, slices.ContainsFunc(ids, func(id int64) bool { return id < 1 }):
		return nil, false, invalidContent(`%s is %s: give an array of whole numbers from 1, the ids of dead letters, or "all"`, member, clip(string(text)))
	case len(ids) == 0:
		return nil, false, invalidContent(`%s is empty: give the ids of dead letters, or "all"`, member)
	case len(ids) > maxIDs:
		return nil, false, invalidContent(`%s has %d ids: give at most %d at once, or "all"`, member, len(ids), maxIDs)
	}
	slices.Sort(ids)
	return slices.Compact(ids), false, nil
}

// listDeadLetters shows what was given up, newest first, in pages.
func listDeadLetters(a *api, c call, e endpoint) (answer, error) {
	page, next, err := a.Deliveries.DeadLetters(c.Context(), e.id, c.URL.Query().Get(skipToken), perPage)
	if err != nil {
		return answer{}, err
	}
	list := listBody[deadLetterBody]{Value: make([]deadLetterBody, len(page))}
	for i, d := range page {
		list.Value[i] = deadLetterToWire(d)
	}
	if next != "" {
		list.NextLink = nextLink(c.Request, next)
	}
	return answer{http.StatusOK, list}, nil
}

func purgeDeadLetters(a *api, c call, e endpoint) (answer, error) {
	var in purgeInput
	if err := readStrict(c.Request, &in); err != nil {
		return answer{}, err
	}
	ids, all, err := parseIDs("ids", in.IDs)
	if err != nil {
		return answer{}, err
	}
	if ids == nil && !all {
		return answer{}, invalidContent(`ids is missing: give the ids of the dead letters to forget, or "all"`)
	}
	events, err := a.Deliveries.PurgeDeadLetters(c.Context(), e.id, ids)
	if err != nil {
		return answer{}, err
	}
	c.note("to", e.host, "events", events)
	return answer{http.StatusOK, purgeBody{events}}, nil
}
