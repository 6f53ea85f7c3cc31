package delivery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// crashLoop is how often in a row a crash may cut off attempts for one delivery
// before that is taken for the reason.
const crashLoop = 3

// recover puts on record what a crash left open, and rebuilds what the engine
// keeps in memory:
//
//   - each endpoint has its state; whether it has rows is found out later, for
//     there may be many;
//   - an event that was not expanded gets, for each live endpoint it is owed to
//     and that has no result, an interrupted attempt and a row;
//   - the same holds for what was handed over from behind a cursor;
//   - a row that was in flight gets an interrupted attempt and is due again;
//   - replays go on.
func (e *Engine) recover(ctx context.Context) error {
	if err := e.recoverInFlight(ctx); err != nil {
		return fmt.Errorf("take back deliveries after a restart: %w", err)
	}
	if err := e.recoverFed(ctx); err != nil {
		return fmt.Errorf("take back what waited behind a cursor after a restart: %w", err)
	}
	if err := e.recoverEvents(ctx); err != nil {
		return fmt.Errorf("expand events after a restart: %w", err)
	}
	if err := e.loadReplays(ctx); err != nil {
		return fmt.Errorf("load replays: %w", err)
	}
	return nil
}

// recoverInFlight takes back the rows that an attempt was running for.
func (e *Engine) recoverInFlight(ctx context.Context) error {
	return e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		running, err := selectRunning(tx)
		if err != nil {
			return err
		}
		jobs, err := takeBackInFlight(tx)
		if err != nil {
			return err
		}
		var made written
		for _, j := range jobs {
			goesOn := j.replay == 0 || slices.ContainsFunc(running, func(r *replayRun) bool { return r.id == j.replay })
			if ep := e.endpoints[j.ep.id]; ep != nil {
				j.ep = ep
				ep.setDue(tx.Now())
			} else {
				goesOn = false
			}
			if err := insertInterrupted(tx, j, e.Node, &made); err != nil {
				return err
			}
			dead := reasonCrashed
			switch {
			case !goesOn:
				dead = reasonCancelled
			case j.crashes < crashLoop:
				continue
			}
			if err := deleteDelivery(tx, j); err != nil {
				return err
			}
			if err := e.giveUp(tx, j, j.n, dead); err != nil {
				return err
			}
			if err := concludeReplay(tx, j, ""); err != nil {
				return err
			}
			if _, err := releaseNext(tx, j.ep.id, j.key); err != nil {
				return err
			}
		}
		return made.save(tx)
	})
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
			var made written
			for _, entry := range entries {
				if err := e.recoverEvent(tx, entry, &made); err != nil {
					return err
				}
				mark = entry.Event.Pos
			}
			if err := made.save(tx); err != nil {
				return err
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
// was sent to, perhaps, and that has no result for it.
func (e *Engine) recoverEvent(tx *sqldb.Tx, entry outbox.Entry, made *written) error {
	owners, err := e.destinations.MatchAt(tx, entry.Event)
	if err != nil {
		return err
	}
	for _, id := range owners {
		ep := e.endpoints[id]
		if ep == nil || !urgent(entry.Event) && (entry.Event.Pos <= ep.from || ep.parked && entry.Event.Pos > ep.cursor) {
			continue // behind the cursor it waits for its turn
		}
		if err := e.recoverFirst(tx, ep, entry.Event, made); err != nil {
			return err
		}
	}
	return nil
}

// recoverFirst records an interrupted attempt, and makes a row, if it is not on
// record what became of an event that ep was handed.
func (e *Engine) recoverFirst(tx *sqldb.Tx, ep *endpoint, ev *event.Event, made *written) error {
	known, err := hasResult(tx, ep.id, ev.Pos)
	if err != nil || known || !e.renew(ep) {
		return err
	}
	j := ep.first(outbox.Entry{Event: ev})
	lapsed, err := isInRange(tx, ep.id, ev.Pos)
	if err != nil || lapsed && ep.keepsEach() {
		return err // it was given up behind the cursor
	}
	if err := insertInterrupted(tx, j, e.Node, made); err != nil || lapsed {
		return err // it was given up with others, before its attempt or while that ran
	}
	j.n, j.crashes, j.uncounted = 2, 1, 1 // its next attempt
	if err := insertDelivery(tx, j, place{unsure: true}, tx.Now()); err != nil {
		return err
	}
	ep.setDue(tx.Now())
	return nil
}

// recoverFed goes through what endpoints were handed from behind their cursors.
// Many of them may have been catching up at once, so the log is read once for
// all.
func (e *Engine) recoverFed(ctx context.Context) error {
	var spans []fedSpan
	err := e.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		spans, err = selectFed(tx)
		return err
	})
	if err != nil || len(spans) == 0 {
		return err
	}
	for after := spans[0].from; len(spans) > 0; {
		after = max(after, spans[0].from)
		var last int64
		err := e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
			heads, err := eventsAfter(tx, after, lookChunk, false)
			if err != nil {
				return err
			}
			last = math.MaxInt64
			if len(heads) == lookChunk {
				last = heads[len(heads)-1].Event.Pos
			}
			var made written
			var whole []outbox.Entry // the same, once somebody asks for it
			for _, s := range spans {
				if s.from >= last {
					break
				}
				ep := e.endpoints[s.endpoint]
				rule, err := e.destinations.History(tx, ep.registry, ep.owner)
				if err != nil {
					return err
				}
				events := heads
				if rule.Whole {
					if whole == nil {
						if whole, err = eventsAfter(tx, after, len(heads), true); err != nil {
							return err
						}
					}
					events = whole
				}
				if err := e.recoverSpan(tx, ep, s.span, rule, events, &made); err != nil {
					return err
				}
			}
			return made.save(tx)
		})
		if err != nil {
			return err
		}
		after = last
		spans = slices.DeleteFunc(spans, func(s fedSpan) bool { return s.to <= last })
	}
	return e.DB.Write(ctx, sqldb.Bulk, clearFed)
}

// recoverSpan goes through those of events that lie in a span.
func (e *Engine) recoverSpan(tx *sqldb.Tx, ep *endpoint, s span, owed ring.Rule, events []outbox.Entry, made *written) error {
	for _, entry := range events {
		pos := entry.Event.Pos
		if pos <= s.from || pos > s.to || !takes(owed, entry.Event) {
			continue
		}
		if err := e.recoverFirst(tx, ep, entry.Event, made); err != nil {
			return err
		}
	}
	return nil
}

// loadReplays takes up the replays that were running, and ends those of deleted
// endpoints.
func (e *Engine) loadReplays(ctx context.Context) error {
	return e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		running, err := selectRunning(tx)
		if err != nil {
			return err
		}
		for _, r := range running {
			if e.endpoints[r.endpoint] == nil {
				if r.target.id != r.endpoint {
					delete(e.endpoints, r.target.id)
					if err := deleteEndpoint(tx, r.target.id); err != nil {
						return err
					}
				}
				if err := finishReplay(tx, r.id, ReplayCancelled); err != nil {
					return err
				}
				continue
			}
			r.target = e.endpoints[r.target.id]
			if r.outstanding, err = countReplayRows(tx, r.target.id, r.id); err != nil {
				return err
			}
			e.replays[r.id] = r
		}
		return nil
	})
}

// startEndpoints begins with what the endpoints are owed. Callers hold e.mu.
func (e *Engine) startEndpoints() {
	all := slices.SortedFunc(maps.Values(e.endpoints), func(a, b *endpoint) int { return cmp.Compare(a.id, b.id) })
	for some := range slices.Chunk(all, 100) {
		e.findRows(some)
	}
	for _, r := range e.replays {
		e.advance(r)
	}
}

// findRows finds out by a seek each which endpoints have rows, and has those
// counted. Until then their first attempts go through rows, in case older ones
// wait there. Callers hold e.mu.
func (e *Engine) findRows(endpoints []*endpoint) {
	due := make([]time.Time, len(endpoints))
	e.enqueue(op{
		run: func(tx *sqldb.Tx) (err error) {
			for i, ep := range endpoints {
				if due[i], err = firstDue(tx, ep.id, false); err != nil {
					return err
				}
			}
			return nil
		},
		done: func() {
			for i, ep := range endpoints {
				if ep.gone {
					continue
				}
				ep.counted = due[i].IsZero()
				if !ep.counted {
					ep.setDue(due[i])
					e.count(ep)
				}
				if e.renew(ep) && ep.kind != kindReplay && ep.terms.Disabled && (!ep.counted || ep.parked) {
					ep.reset() // which may not have been on record
					e.empty(ep, e.next-1, reasonDisabled)
				}
				e.schedule(ep)
			}
		},
	})
}

// count finds out how many rows ep has. Ops that are enqueued after this one
// count on top. Callers hold e.mu.
func (e *Engine) count(ep *endpoint) {
	if ep.counting {
		return
	}
	ep.counting = true
	ep.counted, ep.rows, ep.replayRows, ep.rowKeys = false, 0, 0, map[string]int{}
	var keys map[string]int
	var rows, replays int
	e.enqueue(op{
		run: func(tx *sqldb.Tx) (err error) {
			keys, rows, replays, err = countDeliveries(tx, ep.id, maxCounted, startKeys)
			return err
		},
		done: func() {
			ep.counting = false
			if rows > maxCounted {
				e.park(ep, e.next-1) // more than are counted: they go first
				return
			}
			ep.counted = true
			ep.rows += rows
			ep.replayRows += replays
			if keys == nil || ep.rowKeys == nil {
				keys, ep.rowKeys = nil, nil // too many in rows, or since
			}
			for key, n := range keys {
				if ep.rowKeys[key] += n; ep.rowKeys[key] == 0 {
					delete(ep.rowKeys, key)
				}
			}
			e.schedule(ep)
		},
	})
}

// recoverDeleted goes on with purging the rows of deleted endpoints. Nobody
// waits for it.
func (e *Engine) recoverDeleted(ctx context.Context) {
	for id := int64(0); ; {
		err := e.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			id, err = deliveriesAfter(tx, id)
			return err
		})
		if err != nil || id == 0 {
			return // what is left goes at the next start
		}
		e.mu.Lock()
		ep := e.endpoints[id]
		e.mu.Unlock()
		if ep == nil {
			e.purge(ctx, id)
		}
	}
}
