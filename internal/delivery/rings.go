package delivery

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// Ring is what became of one event at one endpoint.
type Ring struct {
	Endpoint int64
	State    RingState
	Attempts int       // on record, those of replays included
	LastAt   time.Time // of the newest attempt; zero for none
	Duration time.Duration
	Status   int    // of its answer; 0: there was none
	Class    string // why there was none: a class of package outbound
	Due      time.Time
}

// RingState is how far an event is with an endpoint.
type RingState string

// The states. Once an event was delivered it stays that, also while a replay sends
// it once more.
const (
	RingDelivered    RingState = "delivered"
	RingRefused      RingState = "refused"      // the receiver does not want it
	RingWaiting      RingState = "waiting"      // for its next attempt, or behind another event
	RingDeadLettered RingState = "deadLettered" // given up
)

// maxRingAttempts bounds how many attempts of one event are looked at.
const maxRingAttempts = 2000

// Rings returns what became of the event at a position, by endpoint of its
// registry. An endpoint that it was not owed to is left out, and so is one that has
// not begun with it: of that nothing is on record yet.
func (e *Engine) Rings(ctx context.Context, registry, pos int64) (rings []Ring, err error) {
	err = e.DB.Read(ctx, func(tx *sqldb.Tx) error {
		rings, err = selectRings(tx, registry, pos)
		return err
	})
	return rings, err
}

// selectRings looks by the keys of its tables, which begin with endpoint and
// position.
func selectRings(tx *sqldb.Tx, registry, pos int64) ([]Ring, error) {
	const ofRegistry = "endpoint IN (SELECT id FROM endpoint WHERE registry = $1)"
	var order []int64
	rings := map[int64]*Ring{}
	of := func(endpoint int64) *Ring {
		r := rings[endpoint]
		if r == nil {
			r = &Ring{Endpoint: endpoint}
			rings[endpoint] = r
			order = append(order, endpoint)
		}
		return r
	}
	err := tx.Each(`SELECT endpoint, started_at, micros, outcome, status, error_class FROM attempt
		WHERE pos = $2 AND `+ofRegistry+` ORDER BY started_at DESC LIMIT $3`, []any{registry, pos, maxRingAttempts}, func(s sqldb.Scan) error {
		var endpoint, started, micros int64
		var outcome Outcome
		var status int
		var class string
		if err := s(&endpoint, &started, &micros, &outcome, &status, &class); err != nil {
			return err
		}
		r := of(endpoint)
		if r.Attempts++; r.Attempts == 1 {
			r.LastAt, r.Duration = time.Unix(0, started).UTC(), time.Duration(micros)*time.Microsecond
			r.Status, r.Class = status, class
			r.State = RingWaiting // unless something else is found
		}
		switch {
		case outcome == Delivered:
			r.State = RingDelivered
		case outcome == Refused && r.State != RingDelivered:
			r.State = RingRefused
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	owed := map[int64]bool{}
	err = tx.Each("SELECT endpoint, min(due_at) FROM delivery WHERE pos = $2 AND "+ofRegistry+" GROUP BY endpoint ORDER BY endpoint", []any{registry, pos}, func(s sqldb.Scan) error {
		var endpoint, due int64
		if err := s(&endpoint, &due); err != nil {
			return err
		}
		r := of(endpoint)
		owed[endpoint] = true
		if r.State == "" || r.State == RingWaiting {
			r.State, r.Due = RingWaiting, time.Unix(0, due).UTC()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = tx.Each("SELECT DISTINCT endpoint FROM dead_letter WHERE pos_from <= $2 AND pos_to >= $2 AND "+ofRegistry+" ORDER BY endpoint", []any{registry, pos}, func(s sqldb.Scan) error {
		var endpoint int64
		if err := s(&endpoint); err != nil {
			return err
		}
		tried := rings[endpoint] != nil
		if r := of(endpoint); !owed[endpoint] && (!tried || r.State == RingWaiting) {
			r.State = RingDeadLettered
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := make([]Ring, len(order))
	for i, id := range order {
		all[i] = *rings[id]
	}
	return all, nil
}
