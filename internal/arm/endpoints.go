package arm

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// endpoint is what a registry owes events to: a webhook or an event subscription.
// The operations on what it is owed are the same for both.
type endpoint struct {
	id   int64
	list string // its path in the registry without its name, for people
	name string
	host string // whom it rings, as scheme://name:port

	// ready fails if nothing may be sent now, or, elsewhere, not to another address
	// than its own.
	ready func(elsewhere bool) error

	// show answers with it, and with how it fares.
	show func() (answer, error)
}

// endpointRoutes are the operations on what an endpoint is owed. path is where it
// is in a registry, action what its own actions begin with, find finds it.
func endpointRoutes(path []string, action string, find func(*api, call) (endpoint, error)) []route {
	at := func(method, below, verb string, run func(*api, call, endpoint) (answer, error)) route {
		return route{ofRegistry, method, append(slices.Clone(path), strings.Split(below, "/")...), action + verb, false, func(a *api, c call) (answer, error) {
			e, err := find(a, c)
			if err != nil {
				return answer{}, err
			}
			return run(a, c, e)
		}}
	}
	return []route{
		at(http.MethodPost, "listEvents", listEventsVerb, listEvents),
		at(http.MethodGet, "listEvents", listEventsVerb, listEvents), // how clients follow its links to next pages
		at(http.MethodGet, "deliveries/*", listEventsVerb, getStanding),
		at(http.MethodGet, "statistics", "/statistics/read", getEndpointStatistics),
		at(http.MethodPost, "pause", "/pause/action", pause),
		at(http.MethodPost, "resume", "/resume/action", resume),
		at(http.MethodPost, "redeliver", "/redeliver/action", redeliver),
		at(http.MethodPost, "replays", "/replays/write", postReplay),
		at(http.MethodGet, "replays", "/replays/read", listReplays),
		at(http.MethodGet, "replays/*", "/replays/read", getReplay),
		at(http.MethodDelete, "replays/*", "/replays/cancel/action", cancelReplay),
		at(http.MethodGet, "deadLetters", "/deadLetters/read", listDeadLetters),
		at(http.MethodPost, "deadLetters/purge", "/deadLetters/purge/action", purgeDeadLetters),
	}
}

// listEventsVerb ends the actions that read the log of attempts.
const listEventsVerb = "/listEvents/action"

// webhookEndpoint returns the webhook that the path names.
func webhookEndpoint(a *api, c call) (endpoint, error) {
	w, err := a.webhook(c)
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{
		id: w.ID, list: "webhooks", name: w.Name, host: a.host(w),
		ready: func(elsewhere bool) error { return w.MayRing(time.Now(), elsewhere) },
		show:  func() (answer, error) { return a.withHealth(c, w) },
	}, nil
}
