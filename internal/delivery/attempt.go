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

// attempt sends one request, for j or for all of a batch that j leads, and puts on
// record what came of it. It runs in a goroutine of its own.
func (e *Engine) attempt(j *job, all []*job) {
	res, there := e.post(j, all)
	if e.LowDisk() {
		res.Body = nil
	}
	x := encode(res)
	e.mu.Lock()
	defer e.mu.Unlock()
	ep := j.ep
	e.slots.untrack(j)
	switch {
	case !there && e.renew(ep) && ep.terms.Held:
		e.putBack(j, all)
	case !there && all == nil:
		e.conclude(j, nil, settled{dead: &reasonDisabled})
	case !there:
		e.concludeAll(all, nil, func(*job) settled { return settled{dead: &reasonDisabled} })
	default:
		v := ep.answers().judge(res)
		if !ep.gone {
			e.heard(j, v, res)
			if v.gone {
				e.disable(ep, "its receiver answered 410 Gone")
			}
		}
		now, jitter := time.Now(), rand.Float64()
		if all == nil {
			e.conclude(j, &x, e.ending(j, v, res, now, jitter))
		} else {
			e.concludeAll(all, &x, func(j *job) settled { return e.ending(j, v, res, now, jitter) })
		}
	}
	// Not before: what heard puts into rows waits behind this one.
	ep.deactivate(j)
	for _, other := range all {
		if other != j {
			ep.deactivate(other)
		}
	}
	e.end(ep, j.host, 1, j.backlog())
}

func (ep *endpoint) deactivate(j *job) {
	if ep.active[j.key]--; ep.active[j.key] == 0 {
		delete(ep.active, j.key)
	}
}

// ending is decide, for a delivery that perhaps nobody wants any more.
func (e *Engine) ending(j *job, v verdict, res outbound.Result, now time.Time, jitter float64) settled {
	end := j.decide(v, res, now, jitter)
	if end.again && e.calledOff(j) {
		return settled{outcome: end.outcome, dead: &reasonCancelled}
	}
	return end
}

// calledOff reports whether nobody wants a delivery any more: its endpoint is
// deleted, or its replay is cancelled.
func (e *Engine) calledOff(j *job) bool {
	return j.ep.gone || j.replay > 0 && e.replays[j.replay] == nil
}

// post sends the request. A panic on the way is a failed attempt like another.
func (e *Engine) post(j *job, all []*job) (res outbound.Result, there bool) {
	started := time.Now()
	var rest []*event.Event
	for _, other := range all {
		if other != j {
			rest = append(rest, other.entry.Event)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			e.Log.Error("panic in an attempt: please report it", "panic", p, "stack", string(debug.Stack()))
			res = outbound.Result{Started: started, Duration: time.Since(started), Class: outbound.Protocol,
				Message: "the request could not be made: internal error, see the server's log"}
			there = true
		}
	}()
	req, there := e.destinations.Request(ring.Call{
		Endpoint: j.ep.owner, Event: j.entry.Event, ACRBody: j.entry.ACRBody, Rest: rest, Earlier: j.n - 1,
		At: started, Replay: j.replay, Elsewhere: j.ep.elsewhere,
	})
	if !there {
		return res, false
	}
	return e.Poster.Post(e.attempts, req), true
}

// reason is why a delivery is given up.
type reason struct {
	code ring.Reason
	why  string // a sentence
}

var (
	reasonDisabled  = reason{ring.WasDisabled, "it was disabled before this was sent"}
	reasonHeld      = reason{ring.NotAgreed, "its receiver had not agreed to be rung"}
	reasonGone      = reason{ring.Gone, "the receiver answered 410 Gone: it wants nothing any more"}
	reasonRemoved   = reason{ring.Removed, "the event is older than 90 days, and not kept any more"}
	reasonCancelled = reason{ring.Cancelled, "its replay was cancelled"}
	reasonCrashed   = reason{ring.Crashed, "the server stopped during three attempts for this in a row, so it is not tried again by itself"}
)

func reasonExpired(ep *endpoint) reason {
	return reason{ring.TimeToLiveExceeded, fmt.Sprintf("not delivered within %s", spellDuration(ep.terms.TTL))}
}

// spellDuration writes d without the zeros that Duration.String adds.
func spellDuration(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return d.String()
}

// decide tells what becomes of the delivery after an attempt that ended at now.
// jitter in [0, 1) spreads attempts; those of a batch have the same, and stay
// together.
func (j *job) decide(v verdict, res outbound.Result, now time.Time, jitter float64) settled {
	end := settled{outcome: v.outcome, uncounted: j.uncounted}
	terms := j.ep.terms
	if j.probe || v.outcome == Interrupted {
		end.uncounted++ // it was our wish, not the delivery's turn
	}
	tries := j.n - end.uncounted
	switch {
	case v.outcome == Interrupted:
		end.again, end.due = true, now
	case urgent(j.entry.Event):
		// Whoever asked looks at the log now; hours later it would be noise.
	case v.dead != "":
		end.dead = &reason{v.dead, fmt.Sprintf("given up after %s: the receiver answered %d, which is final", attempts(j.n), res.Answer.Status)}
	case v.outcome != Failed:
	case v.gone:
		end.dead = &reasonGone
	default:
		least := max(v.atLeast, askedPause(res))
		pause := j.ep.answers().pause(max(tries, 1), jitter)
		if v.soon {
			pause /= 100
		}
		end.due = now.Add(max(pause, least))
		switch {
		case tries >= terms.MaxAttempts:
			end.dead = &reason{ring.AttemptsExceeded, fmt.Sprintf("given up after %s", attempts(j.n))}
		case j.probe:
			end.again = true // when it is too late for this one, the claim finds out
		case end.due.After(j.expires):
			end.dead = &reason{ring.TimeToLiveExceeded,
				fmt.Sprintf("given up after %s: the next would be later than %s after the event", attempts(j.n), spellDuration(terms.TTL))}
		default:
			end.again = true
		}
	}
	return end
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

// conclude has it written down what an attempt, if one was made, came to, and
// keeps the picture in memory true. Callers hold e.mu.
func (e *Engine) conclude(j *job, x *exchange, end settled) {
	ep := j.ep
	switch {
	case end.again && !j.row:
		ep.addRow(j.key, j.replay)
	case !end.again && j.row:
		ep.dropRow(j.key, j.replay)
	}
	// The next row of the key may go, unless this one or something older that
	// waits in memory goes first.
	release := !end.again && !end.blocked && ep.hasRows(j.key) && !ep.queued(j.key)
	e.enqueue(e.settleOp(j, x, end, release))
	if end.again {
		e.spillKey(ep, j.key) // what came later for the same key must not overtake it
	}
}

// settled is what becomes of a delivery after an attempt.
type settled struct {
	outcome Outcome
	again   bool // it will be tried again, at due

	// Of others of its key in the same request: one that is older will be tried again
	// too; one is yet to be concluded, or will be tried again.
	behind, blocked bool

	due  time.Time
	dead *reason // why it will not, though nobody has it; nil for none

	uncounted int // attempts so far that its policy does not count
}

// concludeAll is conclude for a batch. The body of the answer is kept with the
// first.
func (e *Engine) concludeAll(all []*job, x *exchange, ending func(*job) settled) {
	last := make(map[string]*job, len(all))
	for _, j := range all {
		last[j.key] = j
	}
	again := map[string]bool{}
	for i, j := range all {
		if i == 1 && x != nil {
			rest := *x
			rest.Body, x = nil, &rest
		}
		end := ending(j)
		end.behind = again[j.key]
		end.blocked = again[j.key] || last[j.key] != j
		if end.again {
			again[j.key] = true
		}
		e.conclude(j, x, end)
	}
}

// settleOp writes an attempt and its consequence. release says that rows of the
// same key may wait behind it.
func (e *Engine) settleOp(j *job, x *exchange, end settled, release bool) op {
	var next time.Time
	return op{
		endpoint: j.ep,
		lazy:     !j.row && !end.again && !release,
		attempt:  x,
		outcome:  end.outcome,
		run: func(tx *sqldb.Tx) error {
			next = time.Time{}
			if x != nil {
				if err := insertAttempt(tx, j, *x, end.outcome, e.Node); err != nil {
					return err
				}
			}
			switch {
			case end.again && j.row:
				return rescheduleDelivery(tx, j, j.n, end.uncounted, end.due)
			case end.again:
				return insertRetry(tx, j, end)
			case j.row:
				if err := deleteDelivery(tx, j); err != nil {
					return err
				}
			}
			if err := concludeReplay(tx, j, end.outcome); err != nil {
				return err
			}
			if end.dead != nil {
				made := j.n
				if x == nil {
					made--
				}
				if err := e.giveUp(tx, j, made, *end.dead); err != nil {
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
				e.recorded(j)
			}
			if end.again {
				next = end.due
			} else {
				e.replayed(j)
			}
			if !next.IsZero() && !j.ep.gone {
				j.ep.setDue(next)
			}
			e.schedule(j.ep)
		},
	}
}
