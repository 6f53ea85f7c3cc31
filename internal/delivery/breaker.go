package delivery

import (
	"math/bits"
	"time"
)

// breaker decides from what came of attempts whether an endpoint is sent to.
// Open, it lets one probe through now and then; a probe that is answered closes
// it.
type breaker struct {
	streak    int       // failures in a row
	firstFail time.Time // of them; zero for none
	recent    uint32    // the newest outcomes, 1 for a failure, behind a leading 1

	openedAt  time.Time // zero: closed
	probes    int       // made since then
	nextProbe time.Time

	// ramping is set after it closed, until the endpoint has proved itself: the
	// next failure opens it again.
	ramping bool
}

// When a breaker opens.
const (
	openAfter    = 5  // failures in a row
	recentSize   = 20 // or more than half of so many newest outcomes
	recentEnough = 10 // of which there are so many at least
)

// probeAfter holds the pauses before the first, second, … probe. It stays flat
// at the end on purpose: a receiver that is back waits minutes for its events,
// not hours, and one probe in five minutes costs nothing.
var probeAfter = [...]time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute}

// probePause returns how long to wait for the next probe after n of them failed.
// jitter in [0, 1) spreads them: early ones by up to 10 % later, those of the
// flat end by 20 % either way, so that endpoints that died together do not come
// back together.
func probePause(n int, jitter float64) time.Duration {
	if n >= len(probeAfter)-1 {
		flat := probeAfter[len(probeAfter)-1]
		return flat - flat/5 + time.Duration(jitter*float64(2*flat/5))
	}
	return probeAfter[n] + time.Duration(jitter*float64(probeAfter[n]/10))
}

func (b *breaker) open() bool { return !b.openedAt.IsZero() }

func (b *breaker) note(failed bool) {
	bit := uint32(0)
	if failed {
		bit = 1
	}
	b.recent = max(b.recent, 1)<<1 | bit
	if b.recent >= 1<<(recentSize+1) {
		b.recent = b.recent&(1<<recentSize-1) | 1<<recentSize
	}
}

// failed takes note of a failed attempt and reports whether that opened the
// breaker. Only a probe's failure moves the next probe.
func (b *breaker) failed(now time.Time, probe bool, jitter float64) (opened bool) {
	b.note(true)
	if b.streak == 0 {
		b.firstFail = now
	}
	b.streak++
	if b.open() {
		if probe {
			b.probes++
			b.nextProbe = now.Add(probePause(b.probes, jitter))
		}
		return false
	}
	seen := bits.Len32(b.recent) - 1
	failures := bits.OnesCount32(b.recent) - 1
	if b.streak < openAfter && !b.ramping && (seen < recentEnough || failures*2 <= seen) {
		return false
	}
	b.openedAt, b.probes, b.ramping = now, 0, false
	b.nextProbe = now.Add(probePause(0, jitter))
	return true
}

// answered takes note of an answer that shows the endpoint to be there, and
// reports whether that closed the breaker.
func (b *breaker) answered() (closed bool) {
	b.note(false)
	b.streak, b.firstFail = 0, time.Time{}
	if !b.open() {
		return false
	}
	*b = breaker{recent: 1, ramping: true}
	return true
}

// How long an endpoint may fail before it is disabled: both have to be reached.
const (
	disableAfter  = 5 * 24 * time.Hour
	disableProbes = 100
)

// milestones are what people are told on the way there, in percent.
var milestones = [...]int{90, 70, 50}

// wayToDisabled returns how far that way is, in percent.
func (b *breaker) wayToDisabled(now time.Time) int {
	if !b.open() {
		return 0
	}
	byTime := now.Sub(b.firstFail) * 100 / disableAfter
	byProbes := b.probes * 100 / disableProbes
	return min(int(byTime), byProbes)
}
