package delivery

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// DeadLetter is one event, or a range of them, that was given up.
type DeadLetter struct {
	ID      int64
	PosFrom int64 // position of the first event
	PosTo   int64 // of the last; the same for a single one
	Count   int64 // events in the range that were owed and not delivered
	Reason  string
	Code    ring.Reason // the same as a word; empty for old ones
	At      time.Time   // when it was given up; of a range, when it last grew

	// What the attempts for a single one came to; of a range nothing was attempted,
	// or it does not say.
	Attempts    int
	LastOutcome ring.LastOutcome // empty if that is not known
	LastStatus  int              // 0: no answer
	LastAttempt time.Time        // zero if that is not known

	EventID string    // of the first event; empty when that is not kept any more
	EventAt time.Time // when that happened

	// Expired is set when events of the range are not kept any more: they cannot
	// be rung again.
	Expired bool

	filed int64 // events up to this position are filed
}

// giveUp writes that a delivery is given up, after so many attempts.
func (e *Engine) giveUp(tx *sqldb.Tx, j *job, made int, why reason) error {
	owner, err := letterOwner(tx, j)
	if err != nil || owner == 0 {
		return err
	}
	t, err := selectLastTry(tx, j, made)
	if err != nil {
		return err
	}
	return e.addDeadLetter(tx, owner, lapsed{j.pos, j.pos, 1}, why, t, 0)
}

// lapse gives up a delivery that has a row and was not sent in time, in a range
// where it makes one with others.
func (e *Engine) lapse(tx *sqldb.Tx, j *job, why reason) error {
	if j.replay == 0 && !j.ep.keepsEach() {
		return e.addLapsed(tx, j.ep, lapsed{j.pos, j.pos, 1}, why)
	}
	if err := concludeReplay(tx, j, ""); err != nil {
		return err
	}
	return e.giveUp(tx, j, j.n-1, why)
}

func (e *Engine) addDeadLetter(tx *sqldb.Tx, endpoint int64, l lapsed, why reason, t lastTry, filed int64) error {
	if filed < l.to {
		e.tellDeadLettered(tx, endpoint)
	}
	return insertDeadLetter(tx, endpoint, l, why, t, filed)
}

// addLapsed gives up events in a range.
func (e *Engine) addLapsed(tx *sqldb.Tx, ep *endpoint, l lapsed, why reason) error {
	if l.count == 0 {
		return nil
	}
	e.tellDeadLettered(tx, ep.id)
	return growDeadLetter(tx, ep.id, l, why)
}

func (e *Engine) tellDeadLettered(tx *sqldb.Tx, endpoint int64) {
	if e.DeadLettered != nil {
		tx.AfterCommit(func() { e.DeadLettered(endpoint) })
	}
}

// lastOutcome puts what an attempt came to that delivered nothing into Event Grid's
// words.
func lastOutcome(status int, class outbound.Class) ring.LastOutcome {
	switch {
	case class == outbound.Timeout, status == http.StatusRequestTimeout:
		return ring.OutcomeTimedOut
	case class == outbound.DNS:
		return ring.OutcomeResolutionError
	case class == outbound.Cancelled:
		return ring.OutcomeCanceled
	case status == 0:
		return ring.OutcomeSocketError
	case status == http.StatusBadRequest:
		return ring.OutcomeBadRequest
	case status == http.StatusUnauthorized:
		return ring.OutcomeUnauthorized
	case status == http.StatusForbidden:
		return ring.OutcomeForbidden
	case status == http.StatusNotFound, status == http.StatusGone:
		return ring.OutcomeNotFound
	case status == http.StatusRequestEntityTooLarge:
		return ring.OutcomePayloadTooLarge
	case status == http.StatusTooManyRequests, status >= 500:
		return ring.OutcomeBusy
	}
	return ring.OutcomeAborted
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
