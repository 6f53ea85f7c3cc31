package harness_test

import (
	"database/sql"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// fate is what became of an event at an endpoint that it is owed to.
type fate string

const (
	delivered fate = "delivered"
	refused   fate = "refused"
	waiting   fate = "waiting in a row"
	behind    fate = "beyond the cursor of its endpoint"
	unknown   fate = "not expanded yet"
	dead      fate = "a dead letter"
	lost      fate = "nowhere"
)

// ledger is what a database knows of deliveries.
type ledger struct {
	endpoints []endpointRow
	expanded  int64 // every event up to here has its deliveries on record
	outcomes  map[owed]fate
	rows      map[owed]bool
	letters   []letter
}

type endpointRow struct {
	id     int64
	cursor sql.NullInt64
}

// owed is an event that is owed to an endpoint.
type owed struct{ endpoint, pos int64 }

// letter is a dead letter: one event or a range.
type letter struct {
	endpoint, from, to int64
}

func readLedger(tx *sqldb.Tx) (l ledger, err error) {
	l.outcomes, l.rows = map[owed]fate{}, map[owed]bool{}
	if err := tx.Get("SELECT expanded FROM event_position", nil, &l.expanded); err != nil {
		return l, err
	}
	l.endpoints, err = sqldb.Select(tx, func(scan sqldb.Scan) (e endpointRow, err error) {
		return e, scan(&e.id, &e.cursor)
	}, "SELECT id, cursor FROM endpoint ORDER BY id")
	if err != nil {
		return l, err
	}
	err = tx.Each("SELECT endpoint, pos, outcome FROM attempt WHERE outcome IN ('delivered', 'refused')", nil, func(scan sqldb.Scan) error {
		var o owed
		var outcome string
		err := scan(&o.endpoint, &o.pos, &outcome)
		l.outcomes[o] = fate(outcome)
		return err
	})
	if err != nil {
		return l, err
	}
	err = tx.Each("SELECT endpoint, pos FROM delivery", nil, func(scan sqldb.Scan) error {
		var o owed
		err := scan(&o.endpoint, &o.pos)
		l.rows[o] = true
		return err
	})
	if err != nil {
		return l, err
	}
	l.letters, err = sqldb.Select(tx, func(scan sqldb.Scan) (d letter, err error) {
		return d, scan(&d.endpoint, &d.from, &d.to)
	}, "SELECT endpoint, pos_from, pos_to FROM dead_letter")
	return l, err
}

// fate returns what became of an event that is owed to an endpoint.
func (l *ledger) fate(e endpointRow, pos int64) fate {
	if outcome, ok := l.outcomes[owed{e.id, pos}]; ok {
		return outcome
	}
	for _, d := range l.letters {
		if d.endpoint == e.id && d.from <= pos && pos <= d.to {
			return dead
		}
	}
	switch {
	case l.rows[owed{e.id, pos}]:
		return waiting
	case e.cursor.Valid && pos > e.cursor.Int64:
		return behind
	case pos > l.expanded:
		return unknown
	}
	return lost
}
