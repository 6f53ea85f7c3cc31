package delivery

import (
	"net/http"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
)

// verdict is what an exchange means for its delivery and for the endpoint.
type verdict struct {
	outcome Outcome

	unhealthy bool          // it counts against the endpoint
	overload  bool          // the endpoint gets too much at once
	atLeast   time.Duration // not again before
	soon      bool          // again much sooner than after another failure
	gone      bool          // the endpoint wants nothing any more
	dead      ring.Reason   // not again, and a dead letter; empty for neither
}

// table is one way to read answers, and to try again after them.
type table struct {
	statuses []line // the first that holds counts

	// pauses are those after the first, second, … failed attempt. After the last of
	// them the pause stays the same, and is longer by up to spread parts of itself.
	pauses []time.Duration
	spread float64

	// disables says that an endpoint which fails for long enough is disabled.
	disables bool
}

// line says what the statuses from one to another mean.
type line struct {
	from, to int
	verdict
}

// secretsRotate is how long an answer that says "not with these credentials" is
// left alone at the least.
const secretsRotate = 5 * time.Minute

// retryAfter is the schedule. Beyond it webhooks are tried every six to twelve
// hours, and event subscriptions, as Event Grid does, every twelve.
var retryAfter = []time.Duration{
	10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour,
}

var (
	failure  = verdict{outcome: Failed, unhealthy: true}
	overload = verdict{outcome: Failed, unhealthy: true, overload: true}
)

// after is v, not again before d.
func (v verdict) after(d time.Duration) verdict {
	v.atLeast = d
	return v
}

// tables has what ring.Answers names.
var tables = [...]table{
	// Receivers written for ACR answer 400 to actions they do not know: such an
	// answer is about the event, not about the receiver's health, and final.
	ring.OfWebhooks: {
		statuses: []line{
			{200, 299, verdict{outcome: Delivered}},
			{http.StatusGone, http.StatusGone, verdict{outcome: Failed, gone: true}},
			{http.StatusUnauthorized, http.StatusUnauthorized, verdict{outcome: Failed, atLeast: secretsRotate}},
			{http.StatusForbidden, http.StatusForbidden, verdict{outcome: Failed, atLeast: secretsRotate}},
			{http.StatusTooManyRequests, http.StatusTooManyRequests, overload},
			{http.StatusNotFound, http.StatusNotFound, failure},
			{http.StatusRequestTimeout, http.StatusRequestTimeout, failure},
			{http.StatusTooEarly, http.StatusTooEarly, failure},
			{400, 499, verdict{outcome: Refused}},
			{http.StatusBadGateway, http.StatusGatewayTimeout, overload},
			{100, 999, failure}, // 1xx, 5xx, and 3xx: redirects are not followed
		},
		pauses: retryAfter, spread: 1, disables: true,
	},
	// Event Grid's, as it documents them for webhooks. Wrong credentials are final
	// there, so they count against the endpoint: it is better that events wait for
	// whoever mends them than that all die meanwhile.
	ring.OfEventGrid: {
		statuses: []line{
			{200, 204, verdict{outcome: Delivered}},
			{http.StatusBadRequest, http.StatusBadRequest, verdict{outcome: Refused, dead: ring.BadRequest}},
			{http.StatusRequestEntityTooLarge, http.StatusRequestEntityTooLarge, verdict{outcome: Refused, dead: ring.ClientError}},
			{http.StatusUnauthorized, http.StatusUnauthorized, verdict{outcome: Failed, unhealthy: true, dead: ring.ClientError}},
			{http.StatusForbidden, http.StatusForbidden, verdict{outcome: Failed, unhealthy: true, dead: ring.ClientError}},
			{http.StatusNotFound, http.StatusNotFound, failure.after(5 * time.Minute)},
			{http.StatusRequestTimeout, http.StatusRequestTimeout, failure.after(2 * time.Minute)},
			{http.StatusServiceUnavailable, http.StatusServiceUnavailable, overload.after(30 * time.Second)},
			{http.StatusTooManyRequests, http.StatusTooManyRequests, overload.after(10 * time.Second)},
			{http.StatusBadGateway, http.StatusGatewayTimeout, overload.after(10 * time.Second)},
			{100, 999, failure.after(10 * time.Second)}, // other 2xx, 3xx and 410 too
		},
		pauses: append(retryAfter[:len(retryAfter):len(retryAfter)], 12*time.Hour), spread: 0.1,
	},
	// What a broker says of credentials and names may be another thing in a while.
	ring.OfBrokers: {
		statuses: []line{
			{http.StatusOK, http.StatusOK, verdict{outcome: Delivered}},
			{http.StatusBadRequest, http.StatusBadRequest, verdict{outcome: Refused, dead: ring.BadRequest}},
			{http.StatusRequestEntityTooLarge, http.StatusRequestEntityTooLarge, verdict{outcome: Refused, dead: ring.ClientError}},
			{http.StatusUnauthorized, http.StatusUnauthorized, failure.after(secretsRotate)},
			{http.StatusForbidden, http.StatusForbidden, failure.after(secretsRotate)},
			{http.StatusNotFound, http.StatusNotFound, failure.after(5 * time.Minute)},
			{http.StatusTooManyRequests, http.StatusTooManyRequests, overload},
			{http.StatusBadGateway, http.StatusGatewayTimeout, overload},
			{100, 999, failure},
		},
		pauses: append(retryAfter[:len(retryAfter):len(retryAfter)], 12*time.Hour), spread: 0.1,
	},
}

// unanswered is what the end of an exchange without an answer means, where that is
// not a failure like another.
var unanswered = map[outbound.Class]verdict{
	outbound.Cancelled: {outcome: Interrupted},
	outbound.Timeout:   overload,
	outbound.Proxy:     {outcome: Failed},             // the receiver was not asked
	outbound.Unread:    {outcome: Failed, soon: true}, // it was, and asks for another connection
}

// answers returns the table that ep is judged by.
func (ep *endpoint) answers() *table { return &tables[ep.terms.Answers] }

// judge tells what an exchange means.
func (t *table) judge(res outbound.Result) verdict {
	if res.Answer == nil {
		if v, ok := unanswered[res.Class]; ok {
			return v
		}
		return failure
	}
	for _, l := range t.statuses {
		if l.from <= res.Answer.Status && res.Answer.Status <= l.to {
			return l.verdict
		}
	}
	return failure
}

// pause returns how long to wait after attempt n (from 1) failed. jitter in
// [0, 1) spreads attempts; it only ever adds: up to 10 %, and beyond the end of
// the schedule up to what the table says.
func (t *table) pause(n int, jitter float64) time.Duration {
	pause, spread := t.pauses[min(n, len(t.pauses))-1], 0.1
	if n > len(t.pauses) {
		spread = t.spread
	}
	return pause + time.Duration(jitter*spread*float64(pause))
}
