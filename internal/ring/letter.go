package ring

import (
	"time"

	"github.com/dockbell/dockbell/internal/event"
)

// Reason is why a delivery was given up.
type Reason string

// The reasons. The first four are Event Grid's, as its files of dead letters have
// them; that of the time to live is not documented there.
const (
	AttemptsExceeded   Reason = "MaxDeliveryAttemptsExceeded"
	TimeToLiveExceeded Reason = "TimeToLiveExceeded"
	BadRequest         Reason = "UndeliverableDueToHttpBadRequest" // the receiver answered 400
	ClientError        Reason = "UndeliverableDueToClientError"    // 401, 403 or 413
	WasDisabled        Reason = "Disabled"                         // the endpoint, before it was sent
	Gone               Reason = "Gone"                             // the receiver wants nothing any more
	Cancelled          Reason = "Cancelled"                        // the replay it belonged to
	NotAgreed          Reason = "NotAgreed"                        // the receiver, to be rung
	Removed            Reason = "Removed"                          // the event, which is not kept any more
	Crashed            Reason = "Crashed"                          // the server, in each of the last attempts
)

// LastOutcome is what the last attempt came to, in Event Grid's words.
type LastOutcome string

// The outcomes, as far as there is something here that they fit.
const (
	OutcomeBadRequest      LastOutcome = "BadRequest"
	OutcomeUnauthorized    LastOutcome = "Unauthorized"
	OutcomeForbidden       LastOutcome = "Forbidden"
	OutcomeNotFound        LastOutcome = "NotFound"
	OutcomePayloadTooLarge LastOutcome = "PayloadTooLarge"
	OutcomeTimedOut        LastOutcome = "TimedOut"
	OutcomeBusy            LastOutcome = "Busy"            // 429, and 5xx
	OutcomeResolutionError LastOutcome = "ResolutionError" // the name has no address
	OutcomeSocketError     LastOutcome = "SocketError"     // there was no answer, for another reason
	OutcomeCanceled        LastOutcome = "Canceled"        // the server stopped meanwhile
	OutcomeAborted         LastOutcome = "Aborted"         // every other answer
	OutcomeProbation       LastOutcome = "Probation"       // there was no attempt: others failed
)

// Letter is an event that was given up, for whoever files dead letters.
type Letter struct {
	Key      string // names it among all of all endpoints, always in the same way; letters, digits and dashes
	Endpoint int64
	Event    *event.Event
	Reason   Reason
	Why      string    // a sentence
	At       time.Time // when it was given up; of one of many, when the last of them was

	Attempts    int
	LastOutcome LastOutcome
	LastStatus  int       // of the last attempt; 0: it had no answer, or there was none
	LastAttempt time.Time // zero: there was none, or it is not on record any more

	// ID and Upto say what is filed with this letter: of the dead letter ID the
	// events up to that position.
	ID, Upto int64
}
