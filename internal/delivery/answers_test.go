package delivery

import (
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
)

// Retries are never early, and at most 10 % late until the end of the schedule.
func TestRetryPauses(t *testing.T) {
	for answers, last := range map[ring.Answers]struct{ least, most time.Duration }{
		ring.OfWebhooks:  {6 * time.Hour, 12 * time.Hour},
		ring.OfEventGrid: {12 * time.Hour, 12*time.Hour + 72*time.Minute},
		ring.OfBrokers:   {12 * time.Hour, 12*time.Hour + 72*time.Minute},
	} {
		for n := 1; n <= ring.MaxMaxAttempts; n++ {
			for _, jitter := range []float64{0, 0.3, 0.999999} {
				pause := tables[answers].pause(n, jitter)
				least, most := last.least, last.most
				if n <= len(retryAfter) {
					least = retryAfter[n-1]
					most = least * 11 / 10
				}
				if pause < least || pause > most {
					t.Errorf("%d: after attempt %d: %s, want %s to %s", answers, n, pause, least, most)
				}
			}
		}
	}
}

// Every status and every class has its outcome.
func TestOutcomes(t *testing.T) {
	want := func(status int) (Outcome, bool) {
		switch {
		case status >= 200 && status < 300:
			return Delivered, false
		case status == 401, status == 403, status == 410:
			return Failed, false
		case status == 404, status == 408, status == 425, status == 429:
			return Failed, true
		case status >= 400 && status < 500:
			return Refused, false
		}
		return Failed, true
	}
	for code := 100; code < 1000; code++ {
		v := tables[ring.OfWebhooks].judge(status(code))
		outcome, unhealthy := want(code)
		if v.outcome != outcome || v.unhealthy != unhealthy {
			t.Errorf("%d is %s, against health: %v; want %s, %v", code, v.outcome, v.unhealthy, outcome, unhealthy)
		}
		if (code == 410) != v.gone {
			t.Errorf("%d: the endpoint is gone: %v", code, v.gone)
		}
	}
	for class, unhealthy := range map[outbound.Class]bool{
		outbound.DNS: true, outbound.Refused: true, outbound.Connect: true, outbound.Timeout: true, outbound.Protocol: true,
		outbound.TLSFailed: true, outbound.TLSExpired: true, outbound.TLSName: true, outbound.TLSUntrusted: true,
		outbound.Proxy: false, outbound.Unread: false,
	} {
		if v := tables[ring.OfWebhooks].judge(outbound.Result{Class: class}); v.outcome != Failed || v.unhealthy != unhealthy {
			t.Errorf("%s is %+v, want failed, against health: %v", class, v, unhealthy)
		}
	}
	if v := tables[ring.OfWebhooks].judge(outbound.Result{Class: outbound.Cancelled}); v.outcome != Interrupted {
		t.Errorf("cancelled is %s", v.outcome)
	}
}

// What Event Grid documents for webhooks, status by status.
func TestOutcomesOfEventGrid(t *testing.T) {
	for code := 100; code < 1000; code++ {
		want := verdict{outcome: Failed, unhealthy: true, atLeast: 10 * time.Second}
		switch code {
		case 200, 201, 202, 203, 204:
			want = verdict{outcome: Delivered}
		case 400:
			want = verdict{outcome: Refused, dead: "UndeliverableDueToHttpBadRequest"}
		case 413:
			want = verdict{outcome: Refused, dead: "UndeliverableDueToClientError"}
		case 401, 403:
			want = verdict{outcome: Failed, unhealthy: true, dead: "UndeliverableDueToClientError"}
		case 404:
			want.atLeast = 5 * time.Minute
		case 408:
			want.atLeast = 2 * time.Minute
		case 503:
			want.atLeast, want.overload = 30*time.Second, true
		case 429, 502, 504:
			want.overload = true
		}
		if got := tables[ring.OfEventGrid].judge(status(code)); got != want {
			t.Errorf("%d is %+v, want %+v", code, got, want)
		}
	}
}

// Package sink tells of brokers in the statuses of HTTP.
func TestOutcomesOfBrokers(t *testing.T) {
	for code, want := range map[int]verdict{
		200: {outcome: Delivered},
		204: {outcome: Failed, unhealthy: true},
		400: {outcome: Refused, dead: ring.BadRequest},
		413: {outcome: Refused, dead: ring.ClientError},
		401: {outcome: Failed, unhealthy: true, atLeast: 5 * time.Minute},
		403: {outcome: Failed, unhealthy: true, atLeast: 5 * time.Minute},
		404: {outcome: Failed, unhealthy: true, atLeast: 5 * time.Minute},
		410: {outcome: Failed, unhealthy: true},
		429: {outcome: Failed, unhealthy: true, overload: true},
		500: {outcome: Failed, unhealthy: true},
		503: {outcome: Failed, unhealthy: true, overload: true},
	} {
		if got := tables[ring.OfBrokers].judge(status(code)); got != want {
			t.Errorf("%d is %+v, want %+v", code, got, want)
		}
	}
}

// Whoever reads a file of dead letters knows these words.
func TestLastOutcome(t *testing.T) {
	for _, test := range []struct {
		status int
		class  outbound.Class
		want   ring.LastOutcome
	}{
		{400, "", "BadRequest"}, {401, "", "Unauthorized"}, {403, "", "Forbidden"}, {404, "", "NotFound"}, {410, "", "NotFound"},
		{408, "", "TimedOut"}, {413, "", "PayloadTooLarge"}, {429, "", "Busy"}, {500, "", "Busy"}, {503, "", "Busy"},
		{301, "", "Aborted"}, {206, "", "Aborted"}, {409, "", "Aborted"},
		{0, outbound.Timeout, "TimedOut"}, {0, outbound.DNS, "ResolutionError"}, {0, outbound.Cancelled, "Canceled"},
		{0, outbound.Connect, "SocketError"}, {0, outbound.TLSExpired, "SocketError"}, {0, outbound.Protocol, "SocketError"}, {0, outbound.Refused, "SocketError"},
	} {
		if got := lastOutcome(test.status, test.class); got != test.want {
			t.Errorf("%d %s is %s, want %s", test.status, test.class, got, test.want)
		}
	}
}
