package delivery

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
)

// Selection says which events a replay brings to an endpoint. Its members narrow
// each other; the zero value is everything that is kept and that the endpoint
// wants by its rules of today.
type Selection struct {
	EventID    string         `json:"eventId,omitempty"`    // this one alone, wanted or not
	From       time.Time      `json:"from,omitzero"`        // events of this moment and later
	Until      time.Time      `json:"until,omitzero"`       // events before this moment
	After      int64          `json:"after,omitempty"`      // events behind this position
	Upto       int64          `json:"upto,omitempty"`       // events up to this position
	Only       Only           `json:"only,omitempty"`       // by what became of them
	Actions    []event.Action `json:"actions,omitempty"`    // one of these
	Repository string         `json:"repository,omitempty"` // of this name; a * at the end stands for any rest

	// DeadLetters takes the events of these dead letters, which are gone once the
	// replay has looked at them. AllDeadLetters takes those of all.
	DeadLetters    []int64 `json:"deadLetters,omitempty"`
	AllDeadLetters bool    `json:"allDeadLetters,omitempty"`
}

// Only narrows a Selection by what became of an event.
type Only string

// The values of Only. Undelivered is what the endpoint was owed by the rules
// of its time and has neither delivered, nor refused, nor still to come.
const (
	Undelivered   Only = "undelivered"
	OnlyRefused   Only = "refused"
	OnlyDelivered Only = "delivered"
)

// ReplayRequest asks for a replay.
type ReplayRequest struct {
	Registry, Endpoint int64
	Selection          Selection
	PerMinute          int    // the most deliveries in a minute; 0: as the endpoint takes them
	Elsewhere          []byte // another address to ring, sealed by the owner of the endpoint; nil: the endpoint's
	By                 string // who asks
}

// ReplayState says how far a replay is.
type ReplayState string

// The states.
const (
	ReplayRunning   ReplayState = "running"
	ReplayDone      ReplayState = "done"
	ReplayCancelled ReplayState = "cancelled"
)

// Replay is a piece of work that rings events once more. Its deliveries carry
// the ids of their events, a fresh signature, and the header Dockbell-Replay
// with its id.
type Replay struct {
	ID        int64
	Endpoint  int64
	State     ReplayState
	Selection Selection
	Elsewhere bool // it rings another address
	PerMinute int

	// Looked of ToLook events were looked at, Matched of them taken; of those
	// so many were Delivered, Refused, or given up (Dead). The rest is under way.
	Looked, ToLook                    int64
	Matched, Delivered, Refused, Dead int64

	CreatedAt time.Time
	CreatedBy string
	EndedAt   time.Time // zero while it runs
}

// Replay starts a replay and returns it. It is on record before Replay returns
// and goes on after a restart.
//
// Errors: fault.NotFound for an endpoint, event or dead letter that is not there,
// fault.Invalid for a selection that contradicts itself, fault.Conflict for an
// endpoint with ten replays running.
func (e *Engine) Replay(ctx context.Context, r ReplayRequest) (Replay, error) {
	return Replay{}, fault.New(fault.Internal, "not built")
}

// Replays returns up to n replays of an endpoint, newest first, those with an id
// below before (0: all).
func (e *Engine) Replays(ctx context.Context, endpoint, before int64, n int) ([]Replay, error) {
	return nil, fault.New(fault.Internal, "not built")
}

// ReplayByID returns a replay of an endpoint, or fault.NotFound.
func (e *Engine) ReplayByID(ctx context.Context, endpoint, id int64) (Replay, error) {
	return Replay{}, fault.New(fault.Internal, "not built")
}

// CancelReplay ends a replay: what it has not sent yet is not sent. Ending one
// that has ended is fine. It fails with fault.NotFound if there is none.
func (e *Engine) CancelReplay(ctx context.Context, endpoint, id int64) (Replay, error) {
	return Replay{}, fault.New(fault.Internal, "not built")
}
