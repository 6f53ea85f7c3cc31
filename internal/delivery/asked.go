package delivery

import (
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
)

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
