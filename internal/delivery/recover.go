package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// recover puts on record what a crash left open, and rebuilds what the engine
// keeps in memory:
//
//   - an event that was not expanded gets, for each endpoint it is owed to and
//     that has no result, an interrupted attempt and a row;
//   - a row that was in flight gets an interrupted attempt and is due again;
//   - each endpoint learns how many rows it has and when the first is due.
func (e *Engine) recover(ctx context.Context) error {
	if err := e.recoverEvents(ctx); err != nil {
		return fmt.Errorf("expand events after a restart: %w", err)
	}
	if err := e.recoverInFlight(ctx); err != nil {
		return fmt.Errorf("take back deliveries after a restart: %w", err)
	}
	if err := e.loadEndpoints(ctx); err != nil {
		return fmt.Errorf("load endpoints: %w", err)
	}
	return e.recoverDeleted(ctx)
}

// recoverEvents expands the events beyond the mark, a chunk per transaction.
func (e *Engine) recoverEvents(ctx context.Context) error {
	const chunk = 100
	for {
		var n int
		var mark int64
		err := e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
			if mark, err = outbox.Expanded(tx); err != nil {
				return err
			}
			entries, err := outbox.After(tx, mark, chunk)
			if err != nil {
				return err
			}
			n = len(entries)
			for _, entry := range entries {
				if err := e.recoverEvent(tx, entry); err != nil {
					return err
				}
				mark = entry.Event.Pos
			}
			return outbox.SetExpanded(tx, mark)
		})
		if err != nil {
			return err
		}
		if n == 0 {
			e.next, e.owed.marked, e.owed.saved = mark+1, mark, mark
			return nil
		}
	}
}

// recoverEvent records an interrupted attempt for every endpoint that the event
// is owed to and that has no result for it.
func (e *Engine) recoverEvent(tx *sqldb.Tx, entry outbox.Entry) error {
	owners, err := e.destinations.MatchAt(tx, entry.Event)
	if err != nil {
		return err
	}
	for _, id := range owners {
		known, err := hasResult(tx, id, entry.Event.Pos)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		j := &job{ep: &endpoint{id: id}, pos: entry.Event.Pos, entry: entry, key: orderKey(entry.Event), n: 1, expires: entry.Event.At.Add(defaultTTL)}
		if err := insertInterrupted(tx, j, tx.Now(), e.Node); err != nil {
			return err
		}
		held, err := hasDeliveries(tx, id, j.key)
		if err != nil {
			return err
		}
		j.n = 2 // its next attempt
		if err := insertDelivery(tx, j, held, tx.Now()); err != nil {
			return err
		}
	}
	return nil
}

// recoverInFlight takes back the rows that an attempt was running for.
func (e *Engine) recoverInFlight(ctx context.Context) error {
	return e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		jobs, err := takeBackInFlight(tx)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if err := insertInterrupted(tx, j, tx.Now(), e.Node); err != nil {
				return err
			}
		}
		return nil
	})
}

// loadEndpoints fills the engine's picture of the endpoints.
func (e *Engine) loadEndpoints(ctx context.Context) error {
	return e.DB.Read(ctx, func(tx *sqldb.Tx) error {
		endpoints, err := selectEndpoints(tx)
		if err != nil {
			return err
		}
		for _, ep := range endpoints {
			var due time.Time
			if ep.rows, due, err = countDeliveries(tx, ep.id); err != nil {
				return err
			}
			ep.rowKeys = nil
			if ep.rows <= maxRowKeys {
				if ep.rowKeys, err = selectOrderKeys(tx, ep.id); err != nil {
					return err
				}
			}
			e.endpoints[ep.id] = ep
			e.setDueExactly(ep, due)
		}
		return nil
	})
}

// recoverDeleted goes on with purging the rows of deleted endpoints.
func (e *Engine) recoverDeleted(ctx context.Context) error {
	for id := int64(0); ; {
		err := e.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			id, err = deliveriesAfter(tx, id)
			return err
		})
		if err != nil || id == 0 {
			return err
		}
		if e.endpoints[id] == nil {
			e.purge(ctx, id)
		}
	}
}
