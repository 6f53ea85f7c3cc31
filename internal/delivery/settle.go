package delivery

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// op is a piece of bookkeeping for the database. Ops are written in the order
// in which they were enqueued, as many as have gathered in one transaction; so
// what one decides from the rows is not undone by another that came later.
type op struct {
	run      func(*sqldb.Tx) error // may run twice; nil: nothing but the mark
	done     func()                // after the commit, with e.mu held
	endpoint *endpoint             // whose state may have changed; nil for none
	lazy     bool                  // nothing waits for it

	attempt *exchange // written by run, of endpoint; nil for none
	outcome Outcome   // of it
}

// enqueue hands an op to the settler. Callers hold e.mu.
func (e *Engine) enqueue(o op) {
	e.ops = append(e.ops, o)
	if !o.lazy || len(e.ops) >= maxOps {
		e.urgent = true
	}
	wake(e.settle)
}

const (
	// maxOps is how many ops one transaction writes: about 5 ms of work.
	maxOps = 256

	// gather is how long lazy ops wait for company. What was delivered is on
	// record a little later, and pushes, which share the database's writer, get
	// more of it. A crash within that time rings these once more, as an
	// interrupted attempt each.
	gather = 10 * time.Millisecond
)

// runSettler writes ops until it is told to stop, and then those that are left.
func (e *Engine) runSettler(ctx context.Context) {
	gathered := make(chan struct{}, 1)
	timer := time.AfterFunc(time.Hour, func() { wake(gathered) })
	defer timer.Stop()
	gathering := false
	for {
		select {
		case <-e.settle:
			if e.takeUrgent() {
				e.settleAll(ctx)
			} else if !gathering {
				gathering = true
				timer.Reset(gather)
			}
		case <-gathered:
			gathering = false
			e.settleAll(ctx)
		case <-ctx.Done():
			e.settleAll(ctx)
			return
		}
	}
}

// takeUrgent reports whether something waits for the ops to be written.
func (e *Engine) takeUrgent() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	urgent := e.urgent
	e.urgent = false
	return urgent
}

// settleAll writes until nothing is left. A database that takes no writes is
// asked again every second, while ctx allows.
func (e *Engine) settleAll(ctx context.Context) {
	for {
		e.mu.Lock()
		ops := e.ops[:min(len(e.ops), maxOps)]
		marked := e.owed.marked
		save := marked > e.owed.saved
		changed := statesOf(ops)
		e.mu.Unlock()
		if len(ops) == 0 && (!save || ctx.Err() == nil) {
			return
		}
		if err := e.write(ops, changed, marked); err != nil {
			e.Log.Error("what deliveries came to cannot be written down; trying again", "waiting", len(ops), "error", err)
			if ctx.Err() != nil {
				return // after the next start these attempts count as interrupted
			}
			pause(ctx, time.Second)
			continue
		}
		e.mu.Lock()
		e.ops = append(e.ops[:0:0], e.ops[len(ops):]...)
		e.owed.saved = marked
		for _, s := range changed {
			s.ep.saved = s.version
		}
		for _, o := range ops {
			if o.done != nil {
				o.done()
			}
		}
		e.dispatch()
		e.mu.Unlock()
	}
}

// state is what the database keeps of an endpoint's health.
type state struct {
	ep        *endpoint
	id        int64
	version   int64
	breaker   breaker
	seen      health
	notBefore time.Time
	announced int
}

// statesOf returns the states that ops may have changed and that the database
// has not been told: as they are now, which is as good as what they were when
// each op was enqueued.
func statesOf(ops []op) (changed []state) {
	var listed map[*endpoint]bool
	for _, o := range ops {
		ep := o.endpoint
		if ep == nil || ep.version == ep.saved || listed[ep] {
			continue
		}
		if listed == nil {
			listed = map[*endpoint]bool{}
		}
		listed[ep] = true
		changed = append(changed, state{ep, ep.id, ep.version, ep.breaker, ep.seen, ep.notBefore, ep.announced})
	}
	return changed
}

// write runs ops in one transaction.
func (e *Engine) write(ops []op, changed []state, marked int64) error {
	return e.DB.Write(context.Background(), sqldb.Settle, func(tx *sqldb.Tx) error {
		var made written
		for _, o := range ops {
			if o.run == nil {
				continue
			}
			if err := o.run(tx); err != nil {
				return err
			}
			if o.attempt != nil {
				made.add(o.endpoint.id, *o.attempt, o.outcome)
			}
		}
		for _, s := range changed {
			if err := updateState(tx, s); err != nil {
				return err
			}
		}
		if err := made.save(tx); err != nil {
			return err
		}
		return outbox.SetExpanded(tx, marked)
	})
}
