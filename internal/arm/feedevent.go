package arm

import (
	"encoding/json"
	"net/http"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
)

// The wire forms of one event of the feed: what the feed has of it, and what
// became of it.
type (
	feedDetails struct {
		feedEntry
		CloudEvent json.RawMessage `json:"cloudEvent"`
		Deliveries []ringBody      `json:"deliveries,omitempty"`
	}
	ringBody struct {
		Kind        string             `json:"kind"` // webhooks or eventSubscriptions, as in paths
		Name        string             `json:"name"`
		State       delivery.RingState `json:"state"`
		Attempts    int                `json:"attempts"`
		LastStatus  int                `json:"lastStatus,omitempty"` // absent: there was no answer
		LastError   string             `json:"lastError,omitempty"`
		DurationMs  float64            `json:"durationMs,omitempty"`
		LastAttempt string             `json:"lastAttempt,omitempty"`
		NextAttempt string             `json:"nextAttempt,omitempty"`
	}
)

// readFeedEvent answers with one event, and to those who are told how requests
// fail, with whom it was owed to.
func readFeedEvent(a *api, c call) (answer, error) {
	found, err := a.Feed.Find(c.Context(), c.registry.ID, c.name)
	if err != nil {
		return answer{}, err
	}
	body := feedDetails{feedEntry: c.feedToWire(found)}
	body.CloudEvent = event.CloudEvent(c.shown(found.Event))
	if c.seesFailures() {
		if body.Deliveries, err = a.ringsOf(c, found.Event.Pos); err != nil {
			return answer{}, err
		}
	}
	return answer{http.StatusOK, body}, nil
}

// ringsOf tells what became of an event, at the webhooks and event subscriptions
// that there are: webhooks first, both by name.
func (a *api) ringsOf(c call, pos int64) (bodies []ringBody, err error) {
	rings, err := a.Deliveries.Rings(c.Context(), c.registry.ID, pos)
	if err != nil || len(rings) == 0 {
		return nil, err
	}
	of := make(map[int64]delivery.Ring, len(rings))
	for _, r := range rings {
		of[r.Endpoint] = r
	}
	add := func(endpoint int64, kind, name string) {
		if r, ok := of[endpoint]; ok {
			bodies = append(bodies, ringBody{
				Kind: kind, Name: name, State: r.State, Attempts: r.Attempts, LastStatus: r.Status, LastError: r.Class,
				DurationMs: float64(r.Duration.Microseconds()) / 1000, LastAttempt: optionalTime(r.LastAt), NextAttempt: optionalTime(r.Due),
			})
		}
	}
	if c.caller.May(readWebhook, c.registry.ResourceID()) {
		hooks, err := a.Webhooks.List(c.Context(), hooksOf(c.registry))
		if err != nil {
			return nil, err
		}
		for _, w := range hooks {
			add(w.ID, "webhooks", w.Name)
		}
	}
	if c.caller.May(readEventSubscription, c.registry.ResourceID()) {
		subscriptions, err := a.sortedSubscriptions(c.Context(), c.registry)
		if err != nil {
			return nil, err
		}
		for _, s := range subscriptions {
			add(s.ID, "eventSubscriptions", s.Name)
		}
	}
	return bodies, nil
}
