package delivery

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
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
	before := int64(math.MaxInt64)
	if after != "" {
		if before, err = strconv.ParseInt(after, 10, 64); err != nil {
			return nil, "", fault.New(fault.Invalid, "%q is no place among the dead letters: use the nextLink of an answer as it is", after)
		}
	}
	err = e.DB.Read(ctx, func(tx *sqldb.Tx) error {
		page, err = selectDeadLetters(tx, endpoint, before, n+1)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(page) > n {
		page = page[:n]
		next = strconv.FormatInt(page[n-1].ID, 10)
	}
	return page, next, nil
}

// PurgeDeadLetters forgets dead letters of an endpoint, all if ids is nil, and
// returns how many events that were. Their attempts stay on record.
func (e *Engine) PurgeDeadLetters(ctx context.Context, endpoint int64, ids []int64) (events int64, err error) {
	err = e.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		taken, err := takeDeadLetters(tx, endpoint, ids)
		events = 0
		for _, d := range taken {
			events += d.Count
		}
		return err
	})
	return events, err
}

// takeDeadLetters removes dead letters of an endpoint, all if ids is nil, and
// returns them. It fails with fault.NotFound for an id that is none of them.
func takeDeadLetters(tx *sqldb.Tx, endpoint int64, ids []int64) ([]DeadLetter, error) {
	if ids == nil {
		return deleteDeadLetters(tx, endpoint)
	}
	var taken []DeadLetter
	for _, id := range ids {
		d, found, err := deleteDeadLetter(tx, endpoint, id)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fault.New(fault.NotFound, "there is no dead letter %d", id)
		}
		taken = append(taken, d)
	}
	return taken, nil
}
