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
	run    func(*sqldb.Tx) error // may run twice; nil: nothing but the mark
	done   func()                // after the commit, with e.mu held
	health *endpoint             // whose health may have changed
	lazy   bool                  // nothing waits for it
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
	timer := time.NewTimer(0)
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
		case <-timer.C:
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
		e.mu.Unlock()
		if len(ops) == 0 && (!save || ctx.Err() == nil) {
			return
		}
		if err := e.write(ops, marked); err != nil {
			e.Log.Error("what deliveries came to cannot be written down; trying again", "waiting", len(ops), "error", err)
			select {
			case <-ctx.Done():
				return // after the next start these attempts count as interrupted
			case <-time.After(time.Second):
			}
			continue
		}
		e.mu.Lock()
		e.ops = append(e.ops[:0:0], e.ops[len(ops):]...)
		e.owed.saved = marked
		for _, o := range ops {
			if o.done != nil {
				o.done()
			}
		}
		e.mu.Unlock()
	}
}

// write runs ops in one transaction.
func (e *Engine) write(ops []op, marked int64) error {
	// What the endpoints' health is now is as good as what it was when each
	// op was enqueued.
	changed := map[int64]health{}
	e.mu.Lock()
	for _, o := range ops {
		if o.health != nil && o.health.health.changed {
			changed[o.health.id] = o.health.health
			o.health.health.changed = false
		}
	}
	e.mu.Unlock()
	return e.DB.Write(context.Background(), sqldb.Settle, func(tx *sqldb.Tx) error {
		for _, o := range ops {
			if o.run == nil {
				continue
			}
			if err := o.run(tx); err != nil {
				return err
			}
		}
		for id, h := range changed {
			if err := updateHealth(tx, id, h); err != nil {
				return err
			}
		}
		return outbox.SetExpanded(tx, marked)
	})
}
