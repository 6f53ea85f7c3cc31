package delivery

import (
	"context"
	"maps"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// How much is read of the outbox for one endpoint at once.
const (
	lookChunk  = 1000   // events in one read transaction
	wholeChunk = 100    // the same, where more than their heads is looked at
	lookMost   = 20_000 // events in one look
	maxLookers = 4      // looks at once
)

// How much an endpoint is handed of what is behind its cursor. It is in memory
// until it was tried, and after a crash all between the first and the last of it
// is looked at again.
const (
	minPortion = 4
	maxPortion = 512
	maxFedSpan = 5000 // positions
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
	cursor int64 // events up to here were looked at
	end    bool  // there were no more
	owed   []outbox.Entry
	whole  bool // owed are whole events, not heads alone
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
// out those that want takes: the first of them, as far as they are from before
// since, are lapsed; of the others it stops after n, and before they span more than
// maxFedSpan.
func (e *Engine) lookBehind(ctx context.Context, after, upTo int64, n int, since time.Time, open func(*sqldb.Tx) (want, error)) (found, error) {
	f := found{cursor: after}
	chunk := min(max(n, 16), lookChunk)
	for looked := 0; looked < lookMost && !f.end && len(f.owed) < n; chunk = min(4*chunk, lookChunk) {
		full := false
		err := e.DB.Read(ctx, func(tx *sqldb.Tx) error {
			want, err := open(tx)
			if err != nil {
				return err
			}
			if f.whole = want.whole; f.whole {
				chunk = min(chunk, wholeChunk)
			}
			events, err := eventsAfter(tx, f.cursor, chunk, f.whole)
			if err != nil {
				return err
			}
			if want.among != nil && len(events) > 0 {
				if err := want.among(events[0].Event.Pos, events[len(events)-1].Event.Pos); err != nil {
					return err
				}
			}
			f.end = len(events) < chunk
			for _, entry := range events {
				head := entry.Event
				if upTo > 0 && head.Pos > upTo {
					f.end = true
					break
				}
				if full = len(f.owed) == n || len(f.owed) > 0 && head.Pos > f.owed[0].Event.Pos+maxFedSpan; full {
					f.end = false
					break
				}
				looked++
				f.cursor = head.Pos
				taken, err := want.takes(head)
				switch {
				case err != nil:
					return err
				case !taken:
				case head.At.Before(since) && len(f.owed) == 0:
					f.lapsed.add(head.Pos)
				default:
					f.owed = append(f.owed, entry)
				}
			}
			return nil
		})
		if err != nil || full {
			return f, err
		}
	}
	if f.end && upTo > 0 {
		f.cursor = upTo
	}
	return f, nil
}

// eventsAfter returns up to n events after a position, or their heads alone. Events
// that are owed to one endpoint, whatever the rules, are not among whole ones: where
// those are looked at, a rule decides.
func eventsAfter(tx *sqldb.Tx, pos int64, n int, whole bool) ([]outbox.Entry, error) {
	if whole {
		return outbox.After(tx, pos, n)
	}
	heads, err := outbox.Heads(tx, pos, n)
	entries := make([]outbox.Entry, len(heads))
	for i, head := range heads {
		entries[i].Event = head
	}
	return entries, err
}

// want tells in a transaction which events are taken.
type want struct {
	whole bool                             // takes looks at more than heads
	among func(first, last int64) error    // called with the stretch of positions that is asked for next; nil for none
	takes func(*event.Event) (bool, error) // asked in order
}

// wasOwed takes what ep was owed by the rules of the event's time, less what was
// tried already, or has a row: between a crash and the cursor that it kept there
// may be some of that.
func (e *Engine) wasOwed(ep *endpoint) func(*sqldb.Tx) (want, error) {
	return func(tx *sqldb.Tx) (want, error) {
		owed, err := e.destinations.History(tx, ep.registry, ep.owner)
		var known map[int64]bool
		return want{
			whole: owed.Whole,
			among: func(first, last int64) (err error) {
				known, err = triedBetween(tx, ep.id, first, last)
				return err
			},
			takes: func(ev *event.Event) (bool, error) { return takes(owed, ev) && !known[ev.Pos], nil },
		}, err
	}
}

// takes holds an event against a rule. Those that are owed to one endpoint,
// whatever the rules, are no affair of rules; of a head alone that cannot be seen,
// but it has no action either.
func takes(r ring.Rule, ev *event.Event) bool { return ev.OwedTo == 0 && r.Takes(ev) }

// feed hands on events behind the cursor of ep, as first attempts from memory, or
// puts one into a row to probe with. Callers hold e.mu.
func (e *Engine) feed(ep *endpoint) {
	if !e.renew(ep) {
		ep.gone = true // its owner has it no more
		return
	}
	n := ep.nextPortion(time.Now())
	if ep.breaker.open() {
		n = 1
	}
	ep.feeding = true
	cursor, since := ep.cursor, time.Now().Add(-ep.terms.TTL)
	e.look(func() {
		f, err := e.lookBehind(e.run, cursor, 0, n, since, e.wasOwed(ep))
		var entries []outbox.Entry
		if err == nil {
			entries, err = e.entries(e.run, f)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		switch {
		case err == nil:
			e.fed(ep, f, entries)
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

// nextPortion returns how much ep is handed next: twice as much as the last time
// if that was soon gone, less if it was not, so that one that is slow, or has a
// rate, holds little memory.
func (ep *endpoint) nextPortion(now time.Time) int {
	switch took := now.Sub(ep.fedAt); {
	case took < 100*time.Millisecond:
		ep.portion = min(2*ep.portion, maxPortion)
	case took > time.Second:
		ep.portion = max(ep.portion/2, minPortion)
	}
	ep.fedAt = now
	return ep.portion
}

// entries reads the events that a look found: those of a run of positions
// together.
func (e *Engine) entries(ctx context.Context, f found) (entries []outbox.Entry, err error) {
	heads := f.owed
	if f.whole {
		return heads, nil
	}
	err = e.DB.Read(ctx, func(tx *sqldb.Tx) error {
		entries = make([]outbox.Entry, 0, len(heads))
		for n := 0; len(entries) < len(heads); n = 0 {
			rest := heads[len(entries):]
			for n < len(rest) && rest[n].Event.Pos == rest[0].Event.Pos+int64(n) {
				n++
			}
			run, err := outbox.After(tx, rest[0].Event.Pos-1, n)
			if err != nil {
				return err
			}
			if len(run) != n || run[n-1].Event.Pos != rest[n-1].Event.Pos {
				return sqldb.ErrNoRow // they are being removed
			}
			entries = append(entries, run...)
		}
		return nil
	})
	return entries, err
}

// fed hands on what a feed found, once it is on record that it may have been: what
// of that has no result after a crash was cut off. To an endpoint to which nothing
// may be sent it gives a row instead, to probe with.
func (e *Engine) fed(ep *endpoint, f found, entries []outbox.Entry) {
	sends := e.sends(ep)
	if ep.gone || ep.emptying || !sends && len(f.owed) > 1 {
		ep.feeding = false
		e.kick(ep) // nothing is written that would
		return
	}
	var inRows []outbox.Entry
	if !sends {
		inRows, entries = f.owed, nil
	}
	rows, pending := e.rowsFor(ep, inRows, 0, time.Time{}, 0)
	span, expired := ep.fedSpan(entries), reasonExpired(ep)
	closes := len(f.owed) > 0 && ep.keepsEach() // a range spans nothing that was handed over
	e.enqueue(op{
		run: func(tx *sqldb.Tx) error {
			if err := e.addLapsed(tx, ep, f.lapsed, expired); err != nil {
				return err
			}
			if err := rows(tx); err != nil {
				return err
			}
			if closes {
				if err := closeRange(tx, ep.id); err != nil {
					return err
				}
			}
			return saveFed(tx, ep.id, f.cursor, span)
		},
		done: func() {
			ep.feeding, ep.cursor = false, f.cursor
			for _, entry := range entries {
				j := ep.first(entry)
				j.fed = true
				j.owed = ep.fed.add(j.pos)
				j.owed.open++
				e.offer(ep, j)
			}
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

// span is a stretch of positions of which some may have been handed over: those
// after from, up to to. The zero span is none.
type span struct{ from, to int64 }

// fedSpan returns where that is which ep was handed from behind its cursor and is
// not on record, with what it is about to be handed.
func (ep *endpoint) fedSpan(more []outbox.Entry) (s span) {
	if len(more) > 0 {
		s = span{more[0].Event.Pos - 1, more[len(more)-1].Event.Pos}
	}
	if fed := ep.fed.events; len(fed) > 0 {
		s = span{fed[0].pos - 1, max(s.to, fed[len(fed)-1].pos)}
	}
	return s
}

// recordedTo returns the position up to which everything before the cursor is on
// record.
func (ep *endpoint) recordedTo() int64 {
	if len(ep.fed.events) == 0 {
		return ep.cursor
	}
	return ep.fed.events[0].pos - 1
}

// first returns the first attempt of an event for ep.
func (ep *endpoint) first(entry outbox.Entry) *job {
	e := entry.Event
	return &job{ep: ep, pos: e.Pos, entry: entry, key: ep.orderKey(e), n: 1, expires: e.At.Add(ep.terms.TTL)}
}

// rowsFor returns what writes rows for events into a transaction, and whether any
// of them will be pending. Rows of a replay are due from due on, spaced apart.
// Callers hold e.mu.
func (e *Engine) rowsFor(ep *endpoint, entries []outbox.Entry, replay int64, due time.Time, spacing time.Duration) (write func(*sqldb.Tx) error, pending bool) {
	type row struct {
		job   *job
		place place
	}
	rows := make([]row, len(entries))
	for i, entry := range entries {
		j := ep.first(entry)
		j.replay = replay
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
func (e *Engine) empty(ep *endpoint, upTo int64, why reason) {
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
func (e *Engine) emptyRows(ep *endpoint, upTo int64, why reason) {
	old := func(tx *sqldb.Tx) ([]*job, error) { return deleteDeliveries(tx, ep.id, upTo, purgeSize) }
	e.giveUpRows(ep, why, old, func(gone int) {
		if gone > 0 {
			ep.setDue(time.Now())
		}
		switch {
		case ep.gone || e.stopping:
		case gone == purgeSize:
			e.emptyRows(ep, upTo, why)
		case ep.parked && ep.cursor < upTo:
			e.emptyBehind(ep, upTo, why)
		default:
			e.emptied(ep)
		}
	})
}

// giveUpRows gives up the rows of ep that remove deletes, and calls then with how
// many those were. Callers hold e.mu.
func (e *Engine) giveUpRows(ep *endpoint, why reason, remove func(*sqldb.Tx) ([]*job, error), then func(gone int)) {
	var gone []*job
	active := maps.Clone(ep.active)
	e.enqueue(op{
		run: func(tx *sqldb.Tx) (err error) {
			if gone, err = remove(tx); err != nil {
				return err
			}
			for _, j := range gone {
				j.ep = ep
				if err := e.lapse(tx, j, why); err != nil {
					return err
				}
			}
			return releaseFirst(tx, ep.id, active)
		},
		done: func() {
			for _, j := range gone {
				ep.droppedRow(j.key, j.replay)
				e.replayed(j)
			}
			then(len(gone))
		},
	})
}

// emptyBehind gives up the events between the cursor and upTo.
func (e *Engine) emptyBehind(ep *endpoint, upTo int64, why reason) {
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
				if err := e.addLapsed(tx, ep, f.lapsed, why); err != nil {
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
