package portal

import (
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// badge is a word about a state, with its colour.
type badge struct {
	Class string // good, wait, bad, pause, or empty for the rest
	Word  string
}

// verdict is how an endpoint fares, in words.
type verdict struct {
	Badge   badge
	trouble int // how much it needs somebody: 0 is the most

	// The sentence: Lead, the time Since, then what Because says, and what waits.
	Lead    string
	Since   time.Time // zero: the lead says it all
	Because string
	Waits   string
	Next    time.Time // of what is sent next; zero: not known
}

// judge puts health into words. asked names who has to agree.
func judge(h *controlclient.Health) verdict {
	if h == nil {
		return verdict{Badge: badge{"", "Unknown"}, trouble: 9, Lead: "How it fares is not known."}
	}
	v := verdict{Next: h.NextAttempt}
	if n := h.Waiting; n > 0 {
		v.Waits = counted(n, "event waits", "events wait")
	}
	switch n := h.Behind; {
	case n > 0 && h.Waiting > 0:
		v.Waits += ", and up to " + count(n) + " more"
	case n > 0:
		v.Waits = "up to " + counted(n, "event waits", "events wait")
	}
	why := whyFailed(h.LastStatus, h.LastError)
	switch {
	case h.State == "disabled":
		v.Badge, v.trouble, v.Next = badge{"pause", "Disabled"}, 8, time.Time{}
		v.Lead = "Disabled: it is sent nothing, and owed nothing."
	case h.State == "awaitingConsent":
		v.Badge, v.trouble, v.Next = badge{"wait", "Awaiting consent"}, 2, time.Time{}
		v.Lead = "Its receiver has not agreed to be rung yet."
	case h.State == "paused":
		v.Badge, v.trouble, v.Next = badge{"pause", "Paused"}, 4, time.Time{}
		v.Lead, v.Since = "Paused", h.PausedAt
	case h.State == "failing":
		v.Badge, v.trouble = badge{"bad", "Parked"}, 0
		v.Lead, v.Since, v.Because = "Failing, the first time", h.FirstFailure, why
	case h.ConsecutiveFailures > 0:
		v.Badge, v.trouble = badge{"bad", "Failing"}, 1
		v.Lead, v.Since, v.Because = counted(int64(h.ConsecutiveFailures), "attempt", "attempts in a row")+" failed", h.FirstFailure, why
	case h.State == "catchingUp":
		v.Badge, v.trouble = badge{"wait", "Waiting"}, 3
		v.Lead = "Catching up with what waited."
	case h.Waiting > 0 || h.Behind > 0:
		v.Badge, v.trouble = badge{"wait", "Waiting"}, 3
		v.Lead = "Deliveries are under way."
	case h.LastAttempt.IsZero():
		v.Badge, v.trouble = badge{"", "Nothing sent yet"}, 6
		v.Lead = "Nothing was sent yet."
	case h.LastStatus >= 400:
		v.Badge, v.trouble = badge{"", "Refused"}, 2
		v.Lead, v.Since, v.Because = "Its receiver did not want the newest event", h.LastAttempt, why
	default:
		v.Badge, v.trouble = badge{"good", "Delivered"}, 5
		v.Lead, v.Since = "Everything is delivered; the last time", h.LastSuccess
		if h.LastSuccess.IsZero() {
			v.Lead, v.Since = "Nothing waits; the last attempt was", h.LastAttempt
		}
	}
	return v
}

// whyFailed says what the last attempt met; empty where that is not told.
func whyFailed(status int, class string) string {
	if status != 0 {
		return "the receiver answered " + strconv.Itoa(status)
	}
	switch class {
	case "":
		return ""
	case "dns":
		return "its name has no address"
	case "refused":
		return "its address may not be rung by this server"
	case "connect":
		return "no connection"
	case "timeout":
		return "no answer in time"
	case "protocol":
		return "what it answered is no HTTP, or broke off"
	case "unread":
		return "it turned the request away unread"
	case "cancelled":
		return "this server stopped"
	case "proxy":
		return "this server’s proxy failed"
	case "tls":
		return "the TLS handshake failed"
	case "tls_expired":
		return "its certificate has expired, or is not valid yet"
	case "tls_name":
		return "its certificate is for another name"
	case "tls_untrusted":
		return "its certificate is of no authority that is trusted"
	}
	return class
}

// attemptWords are the words for what an attempt came to.
var attemptWords = map[string]badge{
	"delivered": {"good", "Delivered"}, "refused": {"", "Refused"}, "failed": {"bad", "Failed"}, "interrupted": {"wait", "Interrupted"},
}

// outcome puts an attempt's outcome into a word.
func outcome(word string) badge {
	if b, ok := attemptWords[word]; ok {
		return b
	}
	return badge{"", word}
}
