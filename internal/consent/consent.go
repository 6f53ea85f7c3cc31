// Package consent is how an address agrees to be sent events, as CloudEvents has
// it (HTTP 1.1 Web Hooks for Event Delivery, section 4): it is asked by OPTIONS,
// and says yes by the header of its answer.
//
// It owns the header fields, what counts as a yes, how long that holds, and when
// an address is asked again. Asking is for package outbound; keeping what came of
// it, and sending nothing without it, for the owner of the address.
//
// Invariant: a State is changed by its methods alone, each a pure function of the
// state and the moment.
package consent

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The header fields of a handshake, as package net/http writes them.
const (
	OriginField   = "Webhook-Request-Origin"   // of deliveries too
	CallbackField = "Webhook-Request-Callback" // where consent may be given later

	rateField          = "Webhook-Request-Rate"
	allowedOriginField = "Webhook-Allowed-Origin"
	allowedRateField   = "Webhook-Allowed-Rate"
)

// GoodFor is how long consent lasts. It is asked for anew renewBefore its end.
const (
	GoodFor     = 30 * 24 * time.Hour
	renewBefore = 3 * 24 * time.Hour
)

// Header returns what the question has in its header: for whom it is asked, a DNS
// name, and how many requests a minute there may be; 0 asks for no rate.
func Header(origin string, perMinute int) http.Header {
	h := http.Header{OriginField: {origin}}
	if perMinute > 0 {
		h[rateField] = []string{strconv.Itoa(perMinute)}
	}
	return h
}

// Origin returns for whom a receiver is asked to take events: a login server
// without its port, for origins are DNS names.
func Origin(loginServer string) string {
	if host, _, err := net.SplitHostPort(loginServer); err == nil {
		return host
	}
	return loginServer
}

// Read tells whether an answer is consent for an origin: only a 200 or 204 is,
// that allows the origin, or any. perMinute is how many requests it allows, 0 for
// any number. Otherwise refusal says in a sentence what the answer is instead.
// Header names are as package net/http writes them; of body, which may be anything,
// the first bytes are quoted.
func Read(origin string, status int, header map[string]string, body []byte) (perMinute int, refusal string) {
	if status != http.StatusOK && status != http.StatusNoContent {
		return 0, fmt.Sprintf("the answer was %d%s, and 200 or 204 is needed", status, Quote(body))
	}
	allowed, there := header[allowedOriginField]
	switch {
	case !there:
		return 0, fmt.Sprintf("the answer was %d without WebHook-Allowed-Origin%s", status, Quote(body))
	case allowed != "*" && !strings.EqualFold(allowed, origin):
		return 0, fmt.Sprintf("the answer allows the origin %s, and not %s", clip(allowed), origin)
	}
	switch rate, there := header[allowedRateField]; {
	case !there, rate == "*":
		return 0, ""
	default:
		n, err := strconv.Atoi(rate)
		if err != nil || n < 1 {
			return 0, fmt.Sprintf("the answer allows a rate of %s, which is neither * nor a number from 1 on", clip(rate))
		}
		return n, ""
	}
}

// Quote returns the first bytes of a body, in quotes behind a blank.
func Quote(body []byte) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), 200)]), "")), " ")
	if text == "" {
		return ""
	}
	return " " + clip(text)
}

// clip quotes the beginning of what strangers wrote.
func clip(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return strconv.Quote(string(r[:most]) + "…")
	}
	return strconv.Quote(s)
}

// State is what is known of an address's consent. Begin with New.
type State struct {
	// Epoch tells one address from the next: what came of asking in another epoch
	// does not count.
	Epoch string `json:"epoch"`

	Until     time.Time `json:"until,omitzero"`     // consent lasts until then; zero: there is none
	PerMinute int       `json:"perMinute,omitzero"` // requests that it allows; 0: any number

	AskedAt time.Time `json:"askedAt,omitzero"` // zero: never, in this epoch
	NextAt  time.Time `json:"nextAt,omitzero"`  // when it is asked next; zero: at once

	Failures int       `json:"failures,omitzero"` // handshakes in a row without consent
	Since    time.Time `json:"since,omitzero"`    // of the first of them
	Told     bool      `json:"told,omitzero"`     // people were, of these
	Last     Failure   `json:"last,omitzero"`     // the newest of them
}

// Failure is why a handshake brought no consent.
type Failure struct {
	Status int    `json:"status,omitzero"` // of the answer; 0: there was none
	Class  string `json:"class,omitempty"` // why there was none: a class of package outbound
	Why    string `json:"why"`             // a sentence
}

// New is the state of an address that was not asked yet.
func New() State { return State{Epoch: rand.Text()} }

// Given reports whether there is consent at a moment.
func (s State) Given(now time.Time) bool { return now.Before(s.Until) }

// Granted returns the state after a yes.
func (s State) Granted(now time.Time, perMinute int) State {
	return State{Epoch: s.Epoch, Until: now.Add(GoodFor), PerMinute: perMinute, AskedAt: now, NextAt: now.Add(GoodFor - renewBefore)}
}

// Failed returns the state after a handshake that brought no consent. What was
// given before stays until it ends. jitter in [0, 1) spreads the next handshake.
func (s State) Failed(now time.Time, f Failure, jitter float64) State {
	if s.Failures == 0 {
		s.Since = now
	}
	s.NextAt = now.Add(pause(s.Failures, jitter))
	s.Failures++
	s.AskedAt, s.Last = now, f
	return s
}

// Again returns the state of an address that someone expects to agree by now: it
// is asked at once, and its refusals count from here. Consent stays.
func (s State) Again() State {
	return State{Epoch: s.Epoch, Until: s.Until, PerMinute: s.PerMinute, Told: s.Told}
}

// pauses are those after the first, second, … handshake that brought no consent;
// the last is that after all others. They are the engine's for probes.
var pauses = [...]time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute}

// pause returns how long to wait after n failures and one more: early ones up to
// 10 % longer, those of the flat end 20 % either way.
func pause(n int, jitter float64) time.Duration {
	if n >= len(pauses)-1 {
		flat := pauses[len(pauses)-1]
		return flat - flat/5 + time.Duration(jitter*float64(2*flat/5))
	}
	return pauses[n] + time.Duration(jitter*float64(pauses[n]/10))
}

// When people are told of an address that does not agree, and when it is given
// up: both of the latter have to be reached.
const (
	tellAfter    = 3
	giveUpAfter  = 5 * 24 * time.Hour
	giveUpFailed = 100
)

// Tell reports whether people are to be told now that nothing can be sent.
func (s State) Tell(now time.Time) bool {
	return !s.Told && !s.Given(now) && s.Failures >= tellAfter
}

// Hopeless reports whether an address has been asked often enough, for long
// enough.
func (s State) Hopeless(now time.Time) bool {
	return !s.Given(now) && s.Failures >= giveUpFailed && now.Sub(s.Since) >= giveUpAfter
}
