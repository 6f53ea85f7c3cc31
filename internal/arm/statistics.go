package arm

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/fault"
)

type (
	// statisticsBody is the figures of an endpoint, or of a registry: of all its
	// endpoints together, and of each.
	statisticsBody struct {
		Since string `json:"since"` // where the first step begins
		Until string `json:"until"`
		Step  string `json:"step"`
		seriesBody
		Value []seriesBody `json:"value,omitempty"`
	}

	// seriesBody is how figures went.
	seriesBody struct {
		Kind    string `json:"kind,omitempty"` // webhooks or eventSubscriptions
		Name    string `json:"name,omitempty"`
		Waiting int64  `json:"waiting"` // now, as health has it
		Behind  int64  `json:"behind"`
		countsBody
		Points []pointBody `json:"points"` // oldest first; a step in which nothing was tried is left out
	}

	pointBody struct {
		At string `json:"at"` // where the step begins
		countsBody
	}

	// countsBody is what attempts came to. The percentiles are of those that were
	// answered, and absent where none was.
	countsBody struct {
		Delivered   int64   `json:"delivered"`
		Refused     int64   `json:"refused"`
		Failed      int64   `json:"failed"`
		Interrupted int64   `json:"interrupted"`
		P50         float64 `json:"p50Ms,omitempty"`
		P95         float64 `json:"p95Ms,omitempty"`
		P99         float64 `json:"p99Ms,omitempty"`
	}
)

// statisticsSpan is which figures are asked for.
type statisticsSpan struct {
	name  string
	step  delivery.Step
	since time.Time
	until time.Time // now
}

// Of the last time there are figures by the minute, of a longer one by the hour.
const (
	shownMinutes = 59 * time.Minute // unless the client says: and the minute that runs
	shownHours   = 23 * time.Hour   // unless the client says: and the hour that runs
	mostHours    = 31 * 24 * time.Hour
)

// parseSpan reads the query parameters since and step.
func parseSpan(query url.Values, now time.Time) (s statisticsSpan, err error) {
	s = statisticsSpan{name: cmp.Or(strings.ToLower(query.Get("step")), "hour"), step: delivery.ByHour, until: now}
	shown, most := shownHours, mostHours
	switch s.name {
	case "hour":
	case "minute":
		s.step, shown, most = delivery.ByMinute, shownMinutes, delivery.MinutesKept
	default:
		return s, fault.New(fault.Invalid, "step %q is none: use minute or hour, or leave it out for hours", clip(query.Get("step")))
	}
	if s.since, err = parseTime("since", query.Get("since")); err != nil {
		return s, err
	}
	earliest := now.Add(-most - time.Minute) // it took a moment to ask
	switch {
	case s.since.IsZero():
		s.since = now.Add(-shown)
	case s.since.After(now):
		return s, fault.New(fault.Invalid, "since %s is in the future: give a time before %s", wireTime(s.since), wireTime(now))
	case s.since.Before(earliest) && s.step == delivery.ByMinute:
		return s, fault.New(fault.Invalid, "since %s is too early: figures by the minute are of the last %d minutes; use step=hour for earlier ones", wireTime(s.since), most/time.Minute)
	case s.since.Before(earliest):
		return s, fault.New(fault.Invalid, "since %s is too early: figures are shown of the last %d days", wireTime(s.since), most/(24*time.Hour))
	}
	return s, nil
}

// shown returns the body that says which span is meant.
func (s statisticsSpan) shown() statisticsBody {
	return statisticsBody{Since: wireTime(s.since.Truncate(time.Duration(s.step))), Until: wireTime(s.until), Step: s.name}
}

// getEndpointStatistics shows the figures of one endpoint.
func getEndpointStatistics(a *api, c call, e endpoint) (answer, error) {
	span, err := parseSpan(c.URL.Query(), time.Now())
	if err != nil {
		return answer{}, err
	}
	all, err := a.Deliveries.Statistics(c.Context(), c.registry.ID, e.id, span.step, span.since)
	if err != nil {
		return answer{}, err
	}
	body := span.shown()
	body.seriesBody = seriesToWire(e.list, e.name, all[e.id]) // none of one deleted in between
	return answer{http.StatusOK, body}, nil
}

// getStatistics shows the figures of a registry: of the endpoints that the caller may
// read.
func getStatistics(a *api, c call) (answer, error) {
	span, err := parseSpan(c.URL.Query(), time.Now())
	if err != nil {
		return answer{}, err
	}
	type named struct {
		id         int64
		kind, name string
	}
	var shown []named
	if c.caller.May(readWebhook, c.registry.ResourceID()) {
		hooks, err := a.Webhooks.List(c.Context(), hooksOf(c.registry))
		if err != nil {
			return answer{}, err
		}
		for _, w := range hooks {
			shown = append(shown, named{w.ID, "webhooks", w.Name})
		}
	}
	if c.caller.May(readEventSubscription, c.registry.ResourceID()) {
		subscriptions, err := a.sortedSubscriptions(c.Context(), c.registry)
		if err != nil {
			return answer{}, err
		}
		for _, s := range subscriptions {
			shown = append(shown, named{s.ID, "eventSubscriptions", s.Name})
		}
	}
	all, err := a.Deliveries.Statistics(c.Context(), c.registry.ID, 0, span.step, span.since)
	if err != nil {
		return answer{}, err
	}
	body := span.shown()
	body.Value = make([]seriesBody, 0, len(shown))
	var total delivery.Statistics
	points := map[time.Time]delivery.Counts{}
	for _, e := range shown {
		s := all[e.id]
		body.Value = append(body.Value, seriesToWire(e.kind, e.name, s))
		total.Waiting += s.Waiting
		total.Behind += s.Behind
		for _, p := range s.Points {
			sum := points[p.At]
			sum.Add(p.Counts)
			points[p.At] = sum
		}
	}
	for at, c := range points {
		total.Points = append(total.Points, delivery.Point{At: at, Counts: c})
	}
	slices.SortFunc(total.Points, func(a, b delivery.Point) int { return a.At.Compare(b.At) })
	body.seriesBody = seriesToWire("", "", total)
	return answer{http.StatusOK, body}, nil
}

func seriesToWire(kind, name string, s delivery.Statistics) seriesBody {
	body := seriesBody{Kind: kind, Name: name, Waiting: int64(s.Waiting), Behind: s.Behind, countsBody: countsToWire(s.Total()), Points: make([]pointBody, len(s.Points))}
	for i, p := range s.Points {
		body.Points[i] = pointBody{wireTime(p.At), countsToWire(p.Counts)}
	}
	return body
}

func countsToWire(c delivery.Counts) countsBody {
	ms := func(p int) float64 { return float64(c.Percentile(p).Microseconds()) / 1000 }
	return countsBody{c.Delivered, c.Refused, c.Failed, c.Interrupted, ms(50), ms(95), ms(99)}
}
