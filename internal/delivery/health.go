package delivery

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// State says in a word what becomes of an endpoint's events now.
type State string

// The states.
const (
	Live       State = "live"       // events are sent as they happen
	Failing    State = "failing"    // the breaker is open: events wait, one probe is sent now and then
	CatchingUp State = "catchingUp" // events that waited are sent in order, then new ones
	Paused     State = "paused"     // by a person: events wait
)

// Health is how an endpoint fares.
type Health struct {
	State       State
	FailStreak  int       // failed attempts in a row
	FirstFail   time.Time // of these; zero for none
	LastSuccess time.Time // zero: never
	LastAttempt time.Time // zero: never
	LastStatus  int       // of the newest attempt; 0: no answer, or no attempt
	LastError   string    // why there was no answer: a class of package outbound

	Waiting int   // deliveries owed, as far as they have rows or are in memory
	Behind  int64 // events not yet looked at, of which some may be owed too; 0 unless events wait

	// Oldest is when the oldest event happened that is owed, or may be; zero for
	// none.
	Oldest time.Time

	// NextAttempt is when something is sent next, if that is known and nothing
	// new happens; zero otherwise.
	NextAttempt time.Time
	PausedAt    time.Time // zero unless paused
	DeadLetters int64     // events given up
}

// Health returns how endpoints fare, by id. Those that do not exist are left
// out.
func (e *Engine) Health(ctx context.Context, endpoints ...int64) (map[int64]Health, error) {
	all := make(map[int64]Health, len(endpoints))
	cursors := make(map[int64]int64, len(endpoints))
	e.mu.Lock()
	now := time.Now()
	for _, id := range endpoints {
		if ep := e.endpoints[id]; ep != nil {
			all[id] = e.health(ep, now)
			if ep.parked {
				cursors[id] = ep.cursor
			}
		}
	}
	e.mu.Unlock()
	err := e.DB.Read(ctx, func(tx *sqldb.Tx) error {
		for id, h := range all {
			cursor, parked := cursors[id]
			if !parked {
				cursor = -1
			}
			oldest, err := oldestOwed(tx, id, cursor)
			if err != nil {
				return err
			}
			if h.Oldest.IsZero() || !oldest.IsZero() && oldest.Before(h.Oldest) {
				h.Oldest = oldest
			}
			if h.DeadLetters, err = countDeadLetters(tx, id); err != nil {
				return err
			}
			all[id] = h
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// health is what memory knows of it. Callers hold e.mu.
func (e *Engine) health(ep *endpoint, now time.Time) Health {
	h := Health{
		State: Live, FailStreak: ep.breaker.streak, FirstFail: ep.breaker.firstFail,
		LastSuccess: ep.seen.lastSuccess, LastAttempt: ep.seen.lastAttempt,
		LastStatus: ep.seen.lastStatus, LastError: ep.seen.lastError,
		Waiting: max(0, ep.rows) + len(ep.queue) + len(ep.now), PausedAt: ep.pausedAt,
	}
	for _, j := range ep.queue {
		if at := j.entry.Event.At; h.Oldest.IsZero() || at.Before(h.Oldest) {
			h.Oldest = at
		}
	}
	if ep.parked {
		h.Behind = max(0, e.next-1-ep.cursor)
	}
	switch {
	case !ep.pausedAt.IsZero():
		h.State = Paused
	case ep.breaker.open():
		h.State = Failing
	case ep.parked:
		h.State = CatchingUp
	}
	if s, at := e.nextStep(ep, now); s != idle {
		h.NextAttempt = at
	}
	return h
}

// Pause stops sending to an endpoint: what it is owed waits, in its order, until
// Resume, within its time to live. Pausing one that is paused is fine. Unknown
// endpoints are fault.NotFound.
func (e *Engine) Pause(ctx context.Context, id int64) error {
	return e.change(ctx, id, func(ep *endpoint) {
		if !ep.pausedAt.IsZero() {
			return
		}
		ep.pausedAt = time.Now().UTC()
		e.park(ep, e.next-1)
		e.spillQueue(ep)
	})
}

// Resume sends again, and begins with what waited. Unknown endpoints are
// fault.NotFound.
func (e *Engine) Resume(ctx context.Context, id int64) error {
	return e.change(ctx, id, func(ep *endpoint) {
		if ep.pausedAt.IsZero() {
			return
		}
		ep.pausedAt = time.Time{}
		if ep.breaker.open() {
			ep.breaker.nextProbe = time.Now() // whoever resumes it has mended it
		}
		e.hurry(ep)
	})
}

// change changes whether an endpoint is paused, and returns once that is on
// record.
func (e *Engine) change(ctx context.Context, id int64, fn func(*endpoint)) error {
	e.mu.Lock()
	ep := e.endpoints[id]
	if ep == nil {
		e.mu.Unlock()
		return fault.New(fault.NotFound, "there is no endpoint %d", id)
	}
	fn(ep)
	paused := ep.pausedAt
	written := e.enqueueWait(op{
		run:  func(tx *sqldb.Tx) error { return savePaused(tx, ep.id, paused) },
		done: func() { e.schedule(ep) },
	})
	e.mu.Unlock()
	return e.await(ctx, written)
}

// enqueueWait hands an op to the settler and returns what is closed once it is
// written. Callers hold e.mu.
func (e *Engine) enqueueWait(o op) <-chan struct{} {
	written := make(chan struct{})
	done := o.done
	o.done = func() {
		close(written)
		if done != nil {
			done()
		}
	}
	e.enqueue(o)
	return written
}

// await waits for an op to be written.
func (e *Engine) await(ctx context.Context, written <-chan struct{}) error {
	select {
	case <-written:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.run.Done():
		return fault.New(fault.Unavailable, "the server is shutting down")
	}
}
