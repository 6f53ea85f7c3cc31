package delivery

import (
	"math/bits"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/ring"
)

// The breaker against a plain account of what it was told, for many histories.
func TestBreakerOpensByItsRules(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		b := breaker{recent: 1}
		var seen []bool // true: failed
		streak, now := 0, time.Unix(1e9, 0)
		bad := rnd.IntN(100)
		for range 60 {
			now = now.Add(time.Second)
			failed := rnd.IntN(100) < bad
			seen = append(seen, failed)
			if !failed {
				streak = 0
				b.answered()
				continue
			}
			streak++
			opened := b.failed(now, false, rnd.Float64())
			last := seen[max(0, len(seen)-recentSize):]
			failures := 0
			for _, f := range last {
				if f {
					failures++
				}
			}
			want := streak >= openAfter || len(last) >= recentEnough && failures*2 > len(last)
			if opened != want {
				t.Fatalf("seed %d: after %v it opened: %v, want %v", seed, seen, opened, want)
			}
			if n := bits.Len32(b.recent) - 1; n != len(last) || bits.OnesCount32(b.recent)-1 != failures {
				t.Fatalf("seed %d: %b stands for %d outcomes, want %d with %d failures", seed, b.recent, n, len(last), failures)
			}
			if opened {
				break
			}
		}
	}
}

// Probes come soon at first, and then for ever every five minutes or so: their
// pause does not grow.
func TestProbesAreFlat(t *testing.T) {
	for n := range 1000 {
		for _, jitter := range []float64{0, 0.5, 0.999999} {
			pause := probePause(n, jitter)
			least, most := probeAfter[min(n, 4)], probeAfter[min(n, 4)]*11/10
			if n >= 4 {
				least, most = 4*time.Minute, 6*time.Minute
			}
			if pause < least || pause > most {
				t.Fatalf("probe %d comes after %s, want %s to %s", n, pause, least, most)
			}
		}
	}
}

// Only probes move the next probe, and one that is answered closes the breaker;
// until the endpoint has proved itself the next failure opens it again.
func TestBreakerHalfOpen(t *testing.T) {
	b, now := breaker{recent: 1}, time.Unix(1e9, 0)
	for range openAfter {
		b.failed(now, false, 0)
	}
	if !b.open() || b.nextProbe != now.Add(probeAfter[0]) {
		t.Fatalf("%+v, want open with a probe after %s", b, probeAfter[0])
	}
	next := b.nextProbe
	if b.failed(now.Add(time.Second), false, 0); b.nextProbe != next || b.probes != 0 {
		t.Errorf("an attempt that was in flight moved the probe: %+v", b)
	}
	if b.failed(next, true, 0); b.probes != 1 || b.nextProbe != next.Add(probeAfter[1]) {
		t.Errorf("%+v after a failed probe", b)
	}
	if !b.answered() || b.open() || !b.ramping || b.streak != 0 {
		t.Errorf("%+v after an answered probe, want closed", b)
	}
	if !b.failed(now.Add(time.Hour), false, 0) {
		t.Error("a failure right after the recovery did not open it")
	}
}

// Both five days and a hundred probes have to pass.
func TestWayToDisabled(t *testing.T) {
	start := time.Unix(1e9, 0)
	for _, test := range []struct {
		days   float64
		probes int
		want   int
	}{{0, 0, 0}, {5, 50, 50}, {2.5, 1000, 50}, {4.5, 95, 90}, {5, 100, 100}, {100, 99, 99}} {
		b := breaker{openedAt: start, firstFail: start, probes: test.probes}
		if got := b.wayToDisabled(start.Add(time.Duration(test.days * 24 * float64(time.Hour)))); got != test.want {
			t.Errorf("%v days, %d probes: %d %%, want %d", test.days, test.probes, got, test.want)
		}
	}
}

func TestAskedPause(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "soon": 0, "99999999999": ring.MaxTTL,
		"Sun, 22 Nov 2026 13:00:00 GMT": time.Hour, "Sun, 22 Nov 2026 11:00:00 GMT": 0, "Sun, 22 Nov 2036 11:00:00 GMT": ring.MaxTTL,
	} {
		res := status(503)
		res.Started, res.Answer.Header["Retry-After"] = now, value
		if got := askedPause(res); got != want {
			t.Errorf("%q asks for %s, want %s", value, got, want)
		}
	}
}

// After an outage a window is 1, 2 and 4, and grows by one from there on, each
// time after as many successes as it is wide.
func TestWindowAfterRecovery(t *testing.T) {
	ep := newEndpoint(1)
	ep.breaker.openedAt = time.Now()
	ep.breaker.answered()
	ep.window = 1
	want := []int{1, 2, 4}
	for n := startWindow + 1; n <= maxWindow; n++ {
		want = append(want, n)
	}
	for _, window := range want {
		for i := range window {
			if ep.window != window {
				t.Fatalf("the window is %d after %d successes with %d", ep.window, i, window)
			}
			ep.grow()
		}
	}
	if ep.window != maxWindow || ep.breaker.ramping {
		t.Errorf("the window is %d, still after an outage: %t", ep.window, ep.breaker.ramping)
	}
}
