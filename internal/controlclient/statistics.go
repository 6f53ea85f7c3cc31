package controlclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// The steps of Statistics.
const (
	ByMinute = "minute" // of the last hour
	ByHour   = "hour"   // shown for 31 days
)

// Statistics is how deliveries went: to one endpoint, or to all of a registry
// together, of which Each has them one by one.
type Statistics struct {
	Since time.Time `json:"since"` // where the first step begins
	Until time.Time `json:"until"` // the moment of the answer
	Step  string    `json:"step"`  // minute or hour
	Series
	Each []Series `json:"value"` // of a registry: webhooks by name, then event subscriptions by name

	Raw json.RawMessage `json:"-"` // the whole
}

// UnmarshalJSON keeps the whole object beside the fields.
func (s *Statistics) UnmarshalJSON(b []byte) error {
	type fields Statistics // without this method
	s.Raw = append(json.RawMessage(nil), b...)
	return json.Unmarshal(b, (*fields)(s))
}

// Series is how the figures of an endpoint went.
type Series struct {
	Kind    EndpointKind `json:"kind"`    // empty: of all together
	Name    string       `json:"name"`    // empty: of all together
	Waiting int64        `json:"waiting"` // now, as Health has it
	Behind  int64        `json:"behind"`  // now, as Health has it
	Counts               // of all steps
	Points  []Point      `json:"points"` // oldest first; a step in which nothing was tried is left out
}

// Point is the figures of one step.
type Point struct {
	At time.Time `json:"at"` // where it begins
	Counts
}

// Counts is what attempts came to that began in a span of time. The percentiles are
// of those that were answered, whatever the answer: half of the answers came within
// P50 milliseconds. They are 0 if there was none.
type Counts struct {
	Delivered   int64   `json:"delivered"`
	Refused     int64   `json:"refused"`
	Failed      int64   `json:"failed"`
	Interrupted int64   `json:"interrupted"`
	P50         float64 `json:"p50Ms"`
	P95         float64 `json:"p95Ms"`
	P99         float64 `json:"p99Ms"`
}

// Attempts is how many there were.
func (c Counts) Attempts() int64 { return c.Delivered + c.Refused + c.Failed + c.Interrupted }

// StatisticsSpan says which figures are wanted. The zero value is the last 24 hours
// by the hour, of which the last is the one that runs.
type StatisticsSpan struct {
	Step  string    // minute or hour; empty: hour
	Since time.Time // a moment of the first step; zero: 60 minutes or 24 hours
}

// query returns the span as the query of a path, question mark included.
func (s StatisticsSpan) query() string {
	q := url.Values{}
	if s.Step != "" {
		q.Set("step", s.Step)
	}
	if !s.Since.IsZero() {
		q.Set("since", s.Since.UTC().Format(time.RFC3339))
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// Statistics returns the figures of a registry's webhooks and event subscriptions, in
// one request.
func (c *Client) Statistics(ctx context.Context, registry string, span StatisticsSpan) (Statistics, error) {
	return get[Statistics](ctx, c, http.MethodGet, registryPath(registry, "statistics")+span.query(), nil)
}

// EndpointStatistics returns the figures of one endpoint.
func (c *Client) EndpointStatistics(ctx context.Context, e Endpoint, span StatisticsSpan) (Statistics, error) {
	return get[Statistics](ctx, c, http.MethodGet, e.path("statistics")+span.query(), nil)
}
