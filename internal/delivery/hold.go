package delivery

import (
	"time"

	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// An endpoint whose owner says that it may not be rung for now is held: it is
// parked, and nothing is sent to it, neither probes nor what a person asks for.
// Whether it is held is in its terms, which each request is made by, so the last
// word is the owner's.

// Held tells that an endpoint may not be rung until Changed says so. What it is
// owed waits, and what has waited for its time to live is given up; call it again
// now and then for that.
func (e *Engine) Held(tx *sqldb.Tx, id int64) error {
	last, err := outbox.Last(tx)
	if err != nil {
		return err
	}
	if err := holdEndpoint(tx, id, last); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		ep := e.endpoints[id]
		if ep == nil || !e.renew(ep) || !ep.terms.Held {
			return
		}
		e.hold(ep, e.next-1)
		if !ep.feeding && !ep.emptying {
			ep.feeding = true
			e.expire(ep)
		}
	})
	return nil
}

// hold parks an endpoint that may not be rung. Callers hold e.mu.
func (e *Engine) hold(ep *endpoint, cursor int64) {
	e.park(ep, cursor)
	e.spillQueue(ep)
	e.schedule(ep)
}

// putBack ends an attempt that was not made, because its endpoint is held: what it
// was for waits. What a person waits for does not.
func (e *Engine) putBack(j *job, all []*job) {
	if all == nil {
		all = []*job{j}
	}
	e.concludeAll(all, nil, func(j *job) settled {
		if urgent(j.entry.Event) {
			return settled{dead: &reasonHeld}
		}
		j.n-- // the number is free for the next one
		return settled{again: true, due: time.Now(), uncounted: j.uncounted}
	})
	e.hold(j.ep, e.next-1)
}

// expire gives up what a held endpoint has been owed for too long: rows, a piece
// at a time, and then what waits behind the cursor. Callers hold e.mu and have set
// ep.feeding.
func (e *Engine) expire(ep *endpoint) {
	expired := func(tx *sqldb.Tx) ([]*job, error) { return deleteExpired(tx, ep.id, purgeSize) }
	e.giveUpRows(ep, reasonExpired(ep), expired, func(gone int) {
		switch {
		case ep.gone || e.stopping:
		case gone == purgeSize:
			e.expire(ep)
		case ep.parked:
			e.expireBehind(ep)
		default:
			ep.feeding = false
			e.schedule(ep)
		}
	})
}

// expireBehind is expire for what waits behind the cursor, which stops before the
// first event that is not too old.
func (e *Engine) expireBehind(ep *endpoint) {
	cursor, since := ep.cursor, time.Now().Add(-ep.terms.TTL)
	e.look(func() {
		f, err := e.lookBehind(e.run, cursor, 0, 1, since, e.wasOwed(ep))
		e.mu.Lock()
		defer e.mu.Unlock()
		if err != nil || ep.gone || ep.emptying { // the next time will do
			ep.feeding = false
			e.schedule(ep)
			return
		}
		cursor := f.cursor
		if len(f.owed) > 0 {
			cursor = f.owed[0].Event.Pos - 1
		}
		expired := reasonExpired(ep)
		e.enqueue(op{
			run: func(tx *sqldb.Tx) error {
				if err := e.addLapsed(tx, ep, f.lapsed, expired); err != nil {
					return err
				}
				return saveCursor(tx, ep.id, cursor)
			},
			done: func() {
				ep.feeding, ep.cursor = false, cursor
				e.schedule(ep)
			},
		})
	})
}
