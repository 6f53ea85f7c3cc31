package delivery

import (
	"context"
	"maps"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// How much is read of the outbox for one endpoint at once.
const (
	lookChunk  = 1000   // events in one read transaction
	lookMost   = 20_000 // events in one look
	feedChunk  = 250    // deliveries that a look makes rows for
	maxLookers = 4      // looks at once
)

// looks are the readers of the outbox: few at once, however many endpoints come
// back together.
type looks struct {
	running int
	waiting []func()
}

// look runs fn, which reads the outbox, in a goroutine when it is its turn.
// Callers hold e.mu.
func (e *Engine) look(fn func()) {
	if e.looks.running >= maxLookers {
		e.looks.waiting = append(e.looks.waiting, fn)
		return
	}
	e.looks.running++
	e.loops.Go(func() {
		for fn != nil {
			fn()
			e.mu.Lock()
			fn = nil
			if len(e.looks.waiting) > 0 && !e.stopping {
				fn, e.looks.waiting = e.looks.waiting[0], e.looks.waiting[1:]
			} else {
				e.looks.running--
			}
			e.mu.Unlock()
		}
	})
}

// found is what a look at the events behind a position came to.
type found struct {
	cursor int64          // events up to here were looked at
	end    bool           // there were no more
	owed   []*event.Event // heads
	lapsed lapsed
}

// lapsed counts events that were owed and are given up.
type lapsed struct {
	from, to int64 // positions of the first and the last
	count    int64
}

func (l *lapsed) add(pos int64) {
	if l.count == 0 || pos < l.from {
		l.from = pos
	}
	l.to = max(l.to, pos)
	l.count++
}

// lookBehind reads the events behind a position up to another (0: all), and sorts
// out those that want takes: the ones from before since are lapsed, of the others
// it stops after n.
func (e *Engine) lookBehind(ctx context.Context, after, upTo int64, n int, since time.Time, open func(*sqldb.Tx) (want, error)) (found, error) {
	f := found{cursor: after}
	for looked := 0; looked < lookMost && !f.end && len(f.owed) < n; {
		err := e.DB.Read(ctx, func(tx *sqldb.Tx) error {
			takes, err := open(tx)
			if err != nil {
				return err
			}
			heads, err := outbox.Heads(tx, f.cursor, lookChunk)
			if err != nil {
				return err
			}
			f.end = len(heads) < lookChunk
			for _, head := range heads {
				if upTo > 0 && head.Pos > upTo {
					f.end = true
					break
				}
				looked++
				f.cursor = head.Pos
				taken, err := takes(head)
				switch {
				case err != nil:
					return err
				case !taken:
				case head.At.Before(since):
					f.lapsed.add(head.Pos)
				default:
					f.owed = append(f.owed, head)
				}
				if len(f.owed) >= n {
					f.end = false
					break
				}
			}
			return nil
		})
		if err != nil {
			return f, err
		}
	}
	if f.end && upTo > 0 {
		f.cursor = upTo
	}
	return f, nil
}

// want tells in a transaction whether an event is taken.
type want func(*event.Event) (bool, error)

// wasOwed takes what ep was owed by the rules of the event's time, less what was
// tried already, or has a row: between a crash and the cursor that it kept there
// may be some of that.
func (e *Engine) wasOwed(ep *endpoint) func(*sqldb.Tx) (want, error) {
	return func(tx *sqldb.Tx) (want, error) {
		owed, err := e.destinations.History(tx, ep.registry, ep.owner)
		if err != nil {
			return nil, err
		}
		return func(head *event.Event) (bool, error) {
			if !owed(head) {
				return false, nil
			}
			known, err := wasTried(tx, ep.id, head.Pos)
			return !known, err
		}, nil
	}
}

// feed makes rows of events behind the cursor of ep. Callers hold e.mu.
func (e *Engine) feed(ep *endpoint) {
	n := feedChunk
	if ep.breaker.open() {
		n = 1 // something to probe with
	}
	if !e.renew(ep) {
		ep.gone = true // its owner has it no more
		return
	}
	ep.feeding = true
	cursor, since := ep.cursor, time.Now().Add(-ep.terms.TTL)
	e.look(func() {
		f, err := e.lookBehind(e.run, cursor, 0, n, since, e.wasOwed(ep))
		e.mu.Lock()
		defer e.mu.Unlock()
		switch {
		case err == nil:
			e.fed(ep, f)
		case e.run.Err() == nil:
			e.Log.Error("what waits for an endpoint cannot be read; trying again", "endpoint", ep.id, "error", err)
			time.AfterFunc(time.Second, func() {
				e.mu.Lock()
				defer e.mu.Unlock()
				ep.feeding = false
				e.kick(ep)
			})
		}
	})
}

// fed puts what a feed found into rows, and moves the cursor, in one
// transaction.
func (e *Engine) fed(ep *endpoint, f found) {
	if ep.gone || ep.emptying {
		ep.feeding = false
		return
	}
	rows, pending := e.rowsFor(ep, f.owed, 0, time.Time{}, 0)
	expired := reasonExpired(ep)
	e.enqueue(op{
		run: func(tx *sqldb.Tx) error {
			if err := addLapsed(tx, ep.id, f.lapsed, expired); err != nil {
				return err
			}
			if err := rows(tx); err != nil {
				return err
			}
			return saveCursor(tx, ep.id, f.cursor)
		},
		done: func() {
			ep.feeding, ep.cursor = false, f.cursor
			if pending {
				ep.setDue(time.Now())
			}
			if f.end && ep.cursor >= e.next-1 && e.sends(ep) && !ep.gone {
				e.unpark(ep)
			}
			e.schedule(ep)
		},
	})
}

// rowsFor returns what writes rows for events into a transaction, and whether any
// of them will be pending. Rows of a replay are due from due on, spaced apart.
// Callers hold e.mu.
func (e *Engine) rowsFor(ep *endpoint, heads []*event.Event, replay int64, due time.Time, spacing time.Duration) (write func(*sqldb.Tx) error, pending bool) {
	type row struct {
		job   *job
		place place
	}
	rows := make([]row, len(heads))
	for i, head := range heads {
		j := &job{ep: ep, pos: head.Pos, key: ep.orderKey(head), replay: replay, n: 1, expires: head.At.Add(ep.terms.TTL)}
		if replay > 0 {
			j.key = replayKey(replay, j.key)
			j.expires = latest(due, time.Now()).Add(ep.terms.TTL)
		}
		// After a crash there may be rows of events that are newer than these.
		p := place{held: ep.active[j.key] > 0, unsure: true}
		ep.addRow(j.key, replay)
		rows[i] = row{j, p}
		pending = pending || !p.held
	}
	return func(tx *sqldb.Tx) error {
		at := due
		if at.IsZero() {
			at = tx.Now()
		}
		for _, r := range rows {
			if err := insertDelivery(tx, r.job, r.place, at); err != nil {
				return err
			}
			at = at.Add(spacing)
		}
		return nil
	}, pending
}

// empty gives up what a disabled endpoint is owed up to a position: its rows,
// and what waits behind its cursor. Then it is as new. Callers hold e.mu.
func (e *Engine) empty(ep *endpoint, upTo int64, why string) {
	if ep.emptying {
		return
	}
	ep.emptying, ep.disabling = true, false
	e.spillAll(ep)
	e.emptyRows(ep, upTo, why)
}

// emptyRows gives up rows, a piece at a time, and then goes on behind the
// cursor. What is in flight ends by itself. Rows of events beyond upTo, for which
// someone enabled the endpoint again, wait for those no more.
func (e *Engine) emptyRows(ep *endpoint, upTo int64, why string) {
	var gone []*job
	active := maps.Clone(ep.active)
	e.enqueue(op{
		run: func(tx *sqldb.Tx) (err error) {
			gone, err = deleteDeliveries(tx, ep.id, upTo, purgeSize)
			if err != nil {
				return err
			}
			for _, j := range gone {
				j.ep = ep
				if err := lapse(tx, j, why); err != nil {
					return err
				}
			}
			return releaseFirst(tx, ep.id, active)
		},
		done: func() {
			for _, j := range gone {
				ep.dropRow(j.key, j.replay)
				e.replayed(j)
			}
			if len(gone) > 0 {
				ep.setDue(time.Now())
			}
			switch {
			case ep.gone || e.stopping:
			case len(gone) == purgeSize:
				e.emptyRows(ep, upTo, why)
			case ep.parked && ep.cursor < upTo:
				e.emptyBehind(ep, upTo, why)
			default:
				e.emptied(ep)
			}
		},
	})
}

// emptyBehind gives up the events between the cursor and upTo.
func (e *Engine) emptyBehind(ep *endpoint, upTo int64, why string) {
	cursor := ep.cursor
	e.look(func() {
		f, err := e.lookBehind(e.run, cursor, upTo, 1, time.Now().Add(time.Hour), e.wasOwed(ep)) // all of it is lapsed
		if err != nil {
			return // the next start goes on
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.enqueue(op{
			run: func(tx *sqldb.Tx) error {
				if err := addLapsed(tx, ep.id, f.lapsed, why); err != nil {
					return err
				}
				return saveCursor(tx, ep.id, f.cursor)
			},
			done: func() {
				ep.cursor = f.cursor
				if f.end || ep.gone {
					e.emptied(ep)
				} else {
					e.emptyBehind(ep, upTo, why)
				}
			},
		})
	})
}

// emptied ends the emptying. Whatever happened meanwhile, because someone
// enabled it again, is behind the cursor or in rows as always.
func (e *Engine) emptied(ep *endpoint) {
	ep.emptying = false
	e.enqueue(op{endpoint: ep, run: func(tx *sqldb.Tx) error { return closeRange(tx, ep.id) }})
	e.schedule(ep)
}
