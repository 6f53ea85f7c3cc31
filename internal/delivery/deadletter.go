package delivery

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// DeadLetter is one event, or a range of them, that was given up.
type DeadLetter struct {
	ID      int64
	PosFrom int64 // position of the first event
	PosTo   int64 // of the last; the same for a single one
	Count   int64 // events in the range that were owed and not delivered
	Reason  string
	At      time.Time // when it was given up; of a range, when it last grew

	EventID string    // of the first event; empty when that is not kept any more
	EventAt time.Time // when that happened

	// Expired is set when events of the range are not kept any more: they cannot
	// be rung again.
	Expired bool
}

// DeadLetters returns up to n dead letters of an endpoint, newest first, from
// the one behind the cursor on (an empty one: from the newest), and the cursor to
// go on with, empty at the end. It fails with fault.Invalid for a cursor that is
// none.
func (e *Engine) DeadLetters(ctx context.Context, endpoint int64, after string, n int) (page []DeadLetter, next string, err error) {
	return nil, "", fault.New(fault.Internal, "not built")
}

// PurgeDeadLetters forgets dead letters of an endpoint, all if ids is nil, and
// returns how many events that were. Their attempts stay on record.
func (e *Engine) PurgeDeadLetters(ctx context.Context, endpoint int64, ids []int64) (events int64, err error) {
	return 0, fault.New(fault.Internal, "not built")
}
