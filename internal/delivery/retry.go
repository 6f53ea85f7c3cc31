package delivery

import (
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
)

// retryAfter holds the pauses after the first, second, … failed attempt; after
// the last of them the pause stays the same.
var retryAfter = [...]time.Duration{
	10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour,
}

// retryPause returns how long to wait after attempt n (from 1) failed. jitter in
// [0, 1) spreads attempts; it only ever adds: up to 10 %, and up to the double
// after the end of the table.
func retryPause(n int, jitter float64) time.Duration {
	pause := retryAfter[min(n, len(retryAfter))-1]
	spread := pause / 10
	if n > len(retryAfter) {
		spread = pause
	}
	return pause + time.Duration(jitter*float64(spread))
}

// verdict is what an exchange means for its delivery and for the endpoint.
type verdict struct {
	outcome Outcome

	unhealthy bool          // it counts against the endpoint
	overload  bool          // the endpoint gets too much at once
	atLeast   time.Duration // not again before
	soon      bool          // again much sooner than after another failure
	gone      bool          // the endpoint wants nothing any more
}

// secretsRotate is how long an answer that says "not with these credentials" is
// left alone at the least.
const secretsRotate = 5 * time.Minute

var failure = verdict{outcome: Failed, unhealthy: true}

// statuses says what answers mean; the first line that holds counts. Receivers
// written for ACR answer 400 to actions they do not know: such an answer is about
// the event, not about the receiver's health, and final.
var statuses = []struct {
	from, to int
	verdict
}{
	{200, 299, verdict{outcome: Delivered}},
	{http.StatusGone, http.StatusGone, verdict{outcome: Failed, gone: true}},
	{http.StatusUnauthorized, http.StatusUnauthorized, verdict{outcome: Failed, atLeast: secretsRotate}},
	{http.StatusForbidden, http.StatusForbidden, verdict{outcome: Failed, atLeast: secretsRotate}},
	{http.StatusTooManyRequests, http.StatusTooManyRequests, verdict{outcome: Failed, unhealthy: true, overload: true}},
	{http.StatusNotFound, http.StatusNotFound, failure},
	{http.StatusRequestTimeout, http.StatusRequestTimeout, failure},
	{http.StatusTooEarly, http.StatusTooEarly, failure},
	{400, 499, verdict{outcome: Refused}},
	{http.StatusBadGateway, http.StatusGatewayTimeout, verdict{outcome: Failed, unhealthy: true, overload: true}},
	{100, 999, failure}, // 1xx, 5xx, and 3xx: redirects are not followed
}

// judge tells what an exchange means.
func judge(res outbound.Result) verdict {
	if res.Answer == nil {
		switch res.Class {
		case outbound.Cancelled:
			return verdict{outcome: Interrupted}
		case outbound.Timeout:
			return verdict{outcome: Failed, unhealthy: true, overload: true}
		case outbound.Proxy:
			return verdict{outcome: Failed} // the receiver was not asked
		case outbound.Unread:
			return verdict{outcome: Failed, soon: true} // it was, and asks for another connection
		}
		return failure
	}
	for _, line := range statuses {
		if line.from <= res.Answer.Status && res.Answer.Status <= line.to {
			return line.verdict
		}
	}
	return failure
}

// askedPause returns what a Retry-After header asks for (RFC 9110, section
// 10.2.3), at most the longest time to live; 0 without one.
func askedPause(res outbound.Result) time.Duration {
	if res.Answer == nil {
		return 0
	}
	value := res.Answer.Header["Retry-After"]
	if value == "" {
		return 0
	}
	if seconds, err := strconv.Atoi(value); err == nil {
		return max(0, time.Duration(min(seconds, int(ring.MaxTTL/time.Second)))*time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(at.Sub(res.Started.Add(res.Duration)), ring.MaxTTL))
	}
	return 0
}

// allowedRate returns how many requests a minute a receiver says it takes
// (CloudEvents webhooks, section 4.2.2), 0 if it does not say or takes any.
func allowedRate(res outbound.Result) int {
	if res.Answer == nil {
		return 0
	}
	n, err := strconv.Atoi(res.Answer.Header["Webhook-Allowed-Rate"])
	if err != nil || n < 1 {
		return 0
	}
	return min(n, ring.MaxPerMinute)
}
