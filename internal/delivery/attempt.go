package delivery

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// attempt sends one request and puts on record what came of it. It runs in a
// goroutine of its own.
func (e *Engine) attempt(j *job) {
	res, there := e.post(j)
	x := encode(res)
	e.mu.Lock()
	defer e.mu.Unlock()
	if j.ep.active[j.key]--; j.ep.active[j.key] == 0 {
		delete(j.ep.active, j.key)
	}
	switch {
	case j.ep.gone:
		// Its rows go with the others of the endpoint.
		if j.owed != nil {
			j.owed.open--
			e.noteExpanded()
		}
	case !there:
		e.conclude(j, nil, settled{dead: "the webhook was disabled before this was sent"})
	default:
		end := j.decide(res)
		j.ep.heard(end.outcome, res)
		e.conclude(j, &x, end)
	}
	e.end(j.ep, 1)
}

// post sends the request. A panic on the way is a failed attempt like another.
func (e *Engine) post(j *job) (res outbound.Result, there bool) {
	started := time.Now()
	defer func() {
		if p := recover(); p != nil {
			e.Log.Error("panic in an attempt: please report it", "panic", p, "stack", string(debug.Stack()))
			res = outbound.Result{Started: started, Duration: time.Since(started), Class: outbound.Protocol,
				Message: "the request could not be made: internal error, see the server's log"}
			there = true
		}
	}()
	req, there := e.destinations.Request(ring.Call{Endpoint: j.ep.id, Event: j.entry.Event, ACRBody: j.entry.ACRBody, At: started})
	if !there {
		return res, false
	}
	return e.Poster.Post(e.attempts, req), true
}

// decide tells what becomes of the delivery after an attempt.
func (j *job) decide(res outbound.Result) settled {
	end := settled{outcome: classify(res)}
	switch end.outcome {
	case Interrupted:
		end.again, end.due = true, time.Now()
	case Failed:
		end.due = time.Now().Add(retryPause(j.n, res, rand.Float64()))
		switch {
		case j.entry.Event.Action == event.Ping:
			// Whoever asked looks at the log now; hours later it would be noise.
		case j.n >= defaultMaxAttempts:
			end.dead = fmt.Sprintf("given up after %d attempts", j.n)
		case end.due.After(j.expires):
			end.dead = fmt.Sprintf("given up: the next attempt would be later than %s after the event", defaultTTL)
		default:
			end.again = true
		}
	}
	return end
}

// conclude has it written down what an attempt, if one was made, came to, and
// keeps the picture in memory true. Callers hold e.mu.
func (e *Engine) conclude(j *job, x *exchange, end settled) {
	ep := j.ep
	switch {
	case end.again && !j.row:
		ep.addRow(j.key)
	case !end.again && j.row:
		ep.dropRow(j.key)
	}
	// The next row of the key may go, unless this one or something older that
	// waits in memory goes first.
	release := !end.again && ep.hasRows(j.key) && !ep.queued(j.key)
	e.enqueue(e.settleOp(j, x, end, release))
	if end.again {
		e.spillKey(ep, j.key) // what came later for the same key must not overtake it
	}
}

// settled is what becomes of a delivery after an attempt.
type settled struct {
	outcome Outcome
	again   bool // it will be tried again, at due
	due     time.Time
	dead    string // why it will not, though it failed
}

// settleOp writes an attempt and its consequence. release says that rows of the
// same key may wait behind it.
func (e *Engine) settleOp(j *job, x *exchange, end settled, release bool) op {
	var next time.Time
	return op{
		health: j.ep,
		lazy:   !j.row && !end.again && !release,
		run: func(tx *sqldb.Tx) error {
			next = time.Time{}
			if x != nil {
				if err := insertAttempt(tx, j, *x, end.outcome, e.Node); err != nil {
					return err
				}
			}
			switch {
			case end.again && j.row:
				return rescheduleDelivery(tx, j, j.n, end.due)
			case end.again:
				return insertRetry(tx, j, end)
			case j.row:
				if err := deleteDelivery(tx, j); err != nil {
					return err
				}
			}
			if end.dead != "" {
				if err := insertDeadLetter(tx, j, end.dead); err != nil {
					return err
				}
			}
			if !release {
				return nil
			}
			released, err := releaseNext(tx, j.ep.id, j.key)
			if released {
				next = tx.Now()
			}
			return err
		},
		done: func() {
			if j.owed != nil {
				j.owed.open--
				e.noteExpanded()
			}
			if end.again {
				next = end.due
			}
			if !next.IsZero() && !j.ep.gone {
				e.setDue(j.ep, next)
			}
			e.kick(j.ep)
		},
	}
}

// heard takes note of how an endpoint answered.
func (ep *endpoint) heard(outcome Outcome, res outbound.Result) {
	now := res.Started.Add(res.Duration)
	switch outcome {
	case Delivered, Refused: // it is there and answers
		if ep.health.failStreak > 0 || now.Sub(ep.health.lastSuccess) > 10*time.Second {
			ep.health.changed = true
		}
		ep.health.failStreak, ep.health.firstFail, ep.health.lastSuccess = 0, time.Time{}, now
		if ep.clean++; ep.clean >= ep.window && ep.window < maxWindow {
			ep.window, ep.clean = ep.window+1, 0
		}
	case Failed:
		if ep.health.failStreak == 0 {
			ep.health.firstFail = now
		}
		ep.health.failStreak++
		ep.health.changed = true
		ep.clean = 0
		if overloaded(res) {
			ep.window = max(1, ep.window/2)
		}
	}
}
