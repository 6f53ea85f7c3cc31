package delivery

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// State says in a word what becomes of an endpoint's events now.
type State string

// The states.
const (
	Live       State = "live"       // events are sent as they happen
	Failing    State = "failing"    // the breaker is open: events wait, one probe is sent now and then
	CatchingUp State = "catchingUp" // events that waited are sent in order, then new ones
	Paused     State = "paused"     // by a person: events wait
)

// Health is how an endpoint fares.
type Health struct {
	State       State
	FailStreak  int       // failed attempts in a row
	FirstFail   time.Time // of these; zero for none
	LastSuccess time.Time // zero: never
	LastAttempt time.Time // zero: never
	LastStatus  int       // of the newest attempt; 0: no answer, or no attempt
	LastError   string    // why there was no answer: a class of package outbound

	Waiting int   // deliveries owed, as far as they have rows or are in memory
	Behind  int64 // events not yet looked at, of which some may be owed too; 0 unless events wait

	// Oldest is when the oldest event happened that is owed, or may be; zero for
	// none.
	Oldest time.Time

	// NextAttempt is when something is sent next, if that is known and nothing
	// new happens; zero otherwise.
	NextAttempt time.Time
	PausedAt    time.Time // zero unless paused
	DeadLetters int64     // events given up
}

// Health returns how endpoints fare, by id. Those that do not exist are left
// out.
func (e *Engine) Health(ctx context.Context, endpoints ...int64) (map[int64]Health, error) {
	return nil, fault.New(fault.Internal, "not built")
}

// Pause stops sending to an endpoint: what it is owed waits, in its order, until
// Resume, within its time to live. Pausing one that is paused is fine. Unknown
// endpoints are fault.NotFound.
func (e *Engine) Pause(ctx context.Context, endpoint int64) error {
	return fault.New(fault.Internal, "not built")
}

// Resume sends again, and begins with what waited. Unknown endpoints are
// fault.NotFound.
func (e *Engine) Resume(ctx context.Context, endpoint int64) error {
	return fault.New(fault.Internal, "not built")
}
