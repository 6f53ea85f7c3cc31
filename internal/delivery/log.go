package delivery

import (
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
)

// Outcome is what an attempt came to.
type Outcome string

// The outcomes. Interrupted means that this process ended while the attempt
// ran: the receiver may have seen it.
const (
	Delivered   Outcome = "delivered"
	Refused     Outcome = "refused" // the receiver does not want this event; not tried again
	Failed      Outcome = "failed"  // tried again later
	Interrupted Outcome = "interrupted"
)

// Attempt is one request made for a delivery, as it is on record.
type Attempt struct {
	Endpoint  int64
	Pos       int64  // of the event
	EventID   string // of the event
	ACRBody   []byte // of the event, as it was sent
	ReplayNo  int
	N         int // from 1
	StartedAt time.Time
	Duration  time.Duration
	Outcome   Outcome
	Class     outbound.Class
	Message   string // why there was no answer, for people
	Sent      outbound.RequestHead
	Answer    *outbound.ResponseHead // nil: there was none
	Body      []byte                 // of the answer, when it was no success
}
