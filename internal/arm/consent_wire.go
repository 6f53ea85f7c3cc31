package arm

import (
	"time"

	"github.com/dockbell/dockbell/internal/consent"
)

// consentBody is what is known of the consent of a webhook's address. Failures,
// and what is last of them, are handshakes in a row that brought none.
type consentBody struct {
	Given               bool   `json:"given"`
	Until               string `json:"until,omitempty"`
	MaxPerMinute        int    `json:"maxPerMinute,omitempty"` // absent: as many as the webhook allows
	LastAsked           string `json:"lastAsked,omitempty"`
	NextAsked           string `json:"nextAsked,omitempty"` // absent: now
	ConsecutiveFailures int    `json:"consecutiveFailures,omitempty"`
	FirstFailure        string `json:"firstFailure,omitempty"` // of these
	LastStatus          int    `json:"lastStatus,omitempty"`   // absent: there was no answer
	LastError           string `json:"lastError,omitempty"`    // the class of the failure, if there was no answer
	Reason              string `json:"reason,omitempty"`       // a sentence
}

func consentToWire(c consent.State, now time.Time) *consentBody {
	body := &consentBody{
		Given: c.Given(now), LastAsked: optionalTime(c.AskedAt), NextAsked: optionalTime(c.NextAt),
		ConsecutiveFailures: c.Failures, FirstFailure: optionalTime(c.Since),
		LastStatus: c.Last.Status, LastError: c.Last.Class, Reason: c.Last.Why,
	}
	if body.Given {
		body.Until, body.MaxPerMinute = optionalTime(c.Until), c.PerMinute
	}
	return body
}
