package arm

import (
	"encoding/json"
	"strconv"

	"github.com/dockbell/dockbell/internal/delivery"
)

// The wire forms of one entry of listEvents, which is one attempt. What follows
// the response is not ACR's.
type (
	eventBody struct {
		ID         string           `json:"id"` // of the event
		Request    eventRequest     `json:"eventRequestMessage"`
		Response   eventResponse    `json:"eventResponseMessage"`
		Outcome    delivery.Outcome `json:"outcome"`
		Attempt    int              `json:"attempt"`
		DurationMs float64          `json:"durationMs"`
		Replay     int64            `json:"replay,omitempty"`
		Timestamp  string           `json:"timestamp"` // when the attempt began
	}
	eventRequest struct {
		Content    json.RawMessage   `json:"content"` // the event as ACR's body has it, whatever the format
		Headers    map[string]string `json:"headers"`
		Method     string            `json:"method"`
		RequestURI string            `json:"requestUri"`
		Version    string            `json:"version"`
	}
	eventResponse struct {
		Content      string            `json:"content"`
		Headers      map[string]string `json:"headers,omitempty"`
		ReasonPhrase string            `json:"reasonPhrase"`
		StatusCode   string            `json:"statusCode"`
		Version      string            `json:"version,omitempty"`
	}
)

// standingBody is how an event stands for an endpoint.
type standingBody struct {
	feedEntry
	State       delivery.StandingState `json:"state"`
	Attempts    int                    `json:"attempts,omitempty"`
	MaxAttempts int                    `json:"maxAttempts,omitempty"`
	NextAttempt string                 `json:"nextAttempt,omitempty"`
	ExpiresAt   string                 `json:"expiresAt,omitempty"`
	Behind      bool                   `json:"behind,omitempty"`
	Paused      bool                   `json:"paused,omitempty"`
	Probing     bool                   `json:"probing,omitempty"`
	DeadLetter  *deadLetterBody        `json:"deadLetter,omitempty"`
}

func (c call) standingToWire(s delivery.Standing) standingBody {
	body := standingBody{
		feedEntry: c.feedToWire(FeedEntry{s.Event, s.ACRBody}), State: s.State,
		Attempts: s.Attempts, MaxAttempts: s.MaxAttempts, NextAttempt: optionalTime(s.Next), ExpiresAt: optionalTime(s.Expires),
		Behind: s.Behind, Paused: s.Paused, Probing: s.Probing,
	}
	if s.DeadLetter != nil {
		letter := deadLetterToWire(*s.DeadLetter)
		body.DeadLetter = &letter
	}
	return body
}

func eventToWire(at delivery.Attempt) eventBody {
	return eventBody{
		ID: at.EventID,
		Request: eventRequest{
			Content:    at.ACRBody,
			Headers:    orEmpty(at.Sent.Header),
			Method:     at.Sent.Method,
			RequestURI: at.Sent.URI,
			Version:    at.Sent.Version,
		},
		Response:   responseToWire(at),
		Outcome:    at.Outcome,
		Attempt:    at.N,
		DurationMs: float64(at.Duration.Microseconds()) / 1000,
		Replay:     at.Replay,
		Timestamp:  wireTime(at.StartedAt),
	}
}

// The classes of attempts without an answer that have an entry of their own.
const (
	classTimeout   = "timeout"
	classCancelled = "cancelled"
)

// responseToWire shows the answer. Where there was none, ACR makes one up for
// what happened, and so do we: 504 when the time ran out, word for word as ACR's,
// 502 for whatever else kept an answer from coming.
func responseToWire(at delivery.Attempt) eventResponse {
	switch {
	case at.Answer != nil:
		return eventResponse{
			Content:      string(at.Body),
			Headers:      at.Answer.Header,
			ReasonPhrase: at.Answer.Reason,
			StatusCode:   strconv.Itoa(at.Answer.Status),
			Version:      at.Answer.Version,
		}
	case at.Outcome == delivery.Interrupted, at.Class == classCancelled:
		return eventResponse{
			Content:      "Interrupted: the server stopped during this attempt; the receiver may have seen it.",
			ReasonPhrase: "Interrupted",
		}
	case at.Class == classTimeout:
		return eventResponse{Content: "Operation timed out.", ReasonPhrase: "GatewayTimeout", StatusCode: "504"}
	default:
		return eventResponse{Content: at.Message, ReasonPhrase: "BadGateway", StatusCode: "502"}
	}
}
