package delivery

import (
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
)

// How long a delivery is tried by default: whichever ends first. 72 hours cover
// a weekend.
const (
	defaultTTL         = 72 * time.Hour
	defaultMaxAttempts = 30
)

// retryAfter holds the pauses after the first, second, … failed attempt; after
// the last of them the pause stays the same.
var retryAfter = [...]time.Duration{
	10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 3 * time.Hour, 6 * time.Hour,
}

// secretsRotate is how long an answer that says "not with these credentials" is
// left alone at the least.
const secretsRotate = 5 * time.Minute

// retryPause returns how long to wait after attempt n (from 1) failed with res.
// jitter in [0, 1) spreads attempts; it only ever adds: up to 10 %, and up to
// the double after the end of the table.
func retryPause(n int, res outbound.Result, jitter float64) time.Duration {
	pause := retryAfter[min(n, len(retryAfter))-1]
	spread := pause / 10
	if n > len(retryAfter) {
		spread = pause
	}
	if res.Answer != nil {
		switch res.Answer.Status {
		case http.StatusUnauthorized, http.StatusForbidden:
			pause = max(pause, secretsRotate)
		}
		pause = max(pause, askedPause(res))
	}
	return pause + time.Duration(jitter*float64(spread))
}

// askedPause returns what a Retry-After header asks for, at most the TTL; 0
// without one.
func askedPause(res outbound.Result) time.Duration {
	value := res.Answer.Header["Retry-After"]
	if value == "" {
		return 0
	}
	if seconds, err := strconv.Atoi(value); err == nil {
		return max(0, min(time.Duration(min(seconds, int(defaultTTL/time.Second)))*time.Second, defaultTTL))
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(at.Sub(res.Started.Add(res.Duration)), defaultTTL))
	}
	return 0
}

// classify tells what an exchange means for its delivery.
//
// Receivers written for ACR answer 400 to actions they do not know; such an
// answer is about the event, not about the receiver's health, and final.
func classify(res outbound.Result) Outcome {
	if res.Class == outbound.Cancelled {
		return Interrupted
	}
	if res.Answer == nil {
		return Failed
	}
	switch s := res.Answer.Status; {
	case s >= 200 && s < 300:
		return Delivered
	case s < 400 || s >= 500: // redirects are not followed
		return Failed
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound,
		s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
		return Failed
	}
	return Refused
}

// overloaded reports whether the receiver shows that it gets too much at once.
func overloaded(res outbound.Result) bool {
	if res.Answer == nil {
		return res.Class == outbound.Timeout
	}
	switch res.Answer.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
