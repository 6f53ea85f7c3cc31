package delivery

import (
	"container/heap"
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Windows: how many requests to one endpoint may run at once. A window grows by
// one after as many successes in a row, and halves when the receiver shows that
// it cannot keep up.
const (
	startWindow = 4
	maxWindow   = 32
)

// endpoint is what the engine knows of one destination. The engine's lock
// guards it.
type endpoint struct {
	id   int64
	gone bool // deleted

	window   int
	clean    int // successes since the window last changed
	inFlight int // requests, and slots promised to a claim

	queue  []*job         // first attempts that wait in memory, in commit order
	active map[string]int // order keys with an attempt in flight

	rows     int            // deliveries in the table
	rowKeys  map[string]int // their order keys; nil when there are too many to know
	due      time.Time      // when the first pending row is due; zero for none
	dueIndex int            // in Engine.dues; -1 if not there
	claiming bool

	listed bool // in Engine.waiting

	health health
}

// health is what is known of how an endpoint fares, and what of that the
// database has not been told.
type health struct {
	failStreak  int
	firstFail   time.Time
	lastSuccess time.Time
	changed     bool
}

// job is a delivery in memory: queued for its first attempt, or in flight.
type job struct {
	ep       *endpoint
	pos      int64        // of the event
	entry    outbox.Entry // the event
	key      string
	replayNo int64
	n        int // number of the attempt, from 1
	expires  time.Time
	owed     *owed // for a first attempt from memory; nil for a row
	row      bool  // the delivery has a row
}

func newEndpoint(id int64) *endpoint {
	return &endpoint{id: id, window: startWindow, active: map[string]int{}, rowKeys: map[string]int{}, dueIndex: -1}
}

// behind reports whether something older of the same order key is still to be
// delivered, or may be.
func (ep *endpoint) behind(key string) bool {
	return ep.active[key] > 0 || ep.hasRows(key)
}

// hasRows reports whether rows of this key exist, or may.
func (ep *endpoint) hasRows(key string) bool {
	if ep.rows == 0 {
		return false
	}
	return ep.rowKeys == nil || ep.rowKeys[key] > 0
}

// addRow and dropRow count deliveries in the table.
func (ep *endpoint) addRow(key string) {
	ep.rows++
	if ep.rowKeys == nil {
		return
	}
	ep.rowKeys[key]++
	if len(ep.rowKeys) > maxRowKeys {
		ep.rowKeys = nil
	}
}

func (ep *endpoint) dropRow(key string) {
	ep.rows--
	if ep.rows == 0 {
		ep.rowKeys = map[string]int{} // whatever they were, there are none now
	} else if ep.rowKeys != nil {
		if ep.rowKeys[key]--; ep.rowKeys[key] == 0 {
			delete(ep.rowKeys, key)
		}
	}
}

// offer takes a first attempt: into the endpoint's queue, or into a row when
// that is full or older rows of the same key go first. Callers hold e.mu.
func (e *Engine) offer(ep *endpoint, j *job) {
	if e.stopping || len(ep.queue) >= maxQueue || ep.hasRows(j.key) {
		e.spill(j)
		return
	}
	ep.queue = append(ep.queue, j)
	e.kick(ep)
}

// spill puts a job that waits in memory into a row.
func (e *Engine) spill(j *job) {
	ep := j.ep
	held := ep.behind(j.key) || ep.queued(j.key)
	ep.addRow(j.key)
	e.enqueue(op{
		run: func(tx *sqldb.Tx) error {
			return insertDelivery(tx, j, held, tx.Now())
		},
		done: func() {
			j.owed.open--
			e.noteExpanded()
			if !held {
				e.setDue(ep, time.Now())
			}
			e.kick(ep)
		},
	})
}

// queued reports whether a job of that key waits in memory.
func (ep *endpoint) queued(key string) bool {
	for _, j := range ep.queue {
		if j.key == key {
			return true
		}
	}
	return false
}

// spillQueue puts everything that waits in memory for ep into rows, in order.
func (e *Engine) spillQueue(ep *endpoint) {
	queue := ep.queue
	ep.queue = nil
	for _, j := range queue {
		e.spill(j)
	}
}

// spillKey does so for one order key: its older one failed and goes first.
func (e *Engine) spillKey(ep *endpoint, key string) {
	var rest, moved []*job
	for _, j := range ep.queue {
		if j.key == key {
			moved = append(moved, j)
		} else {
			rest = append(rest, j)
		}
	}
	ep.queue = rest
	for _, j := range moved {
		e.spill(j)
	}
}

// take removes and returns the first queued job whose key is free, or nil.
func (ep *endpoint) take() *job {
	for i, j := range ep.queue {
		if ep.active[j.key] == 0 {
			ep.queue = append(ep.queue[:i], ep.queue[i+1:]...)
			return j
		}
	}
	return nil
}

// kick starts what ep can start now. Callers hold e.mu.
func (e *Engine) kick(ep *endpoint) {
	if e.stopping || ep.gone {
		return
	}
	for ep.inFlight < ep.window && len(ep.queue) > 0 {
		if e.inFlight >= e.MaxInFlight {
			e.wait(ep)
			return
		}
		j := ep.take()
		if j == nil {
			break
		}
		e.begin(ep, 1)
		e.launch(j)
	}
	e.claim(ep)
}

// begin takes n slots of ep's window and of the engine.
func (e *Engine) begin(ep *endpoint, n int) {
	ep.inFlight += n
	e.inFlight += n
}

// end gives n slots back and hands them on: first to those who had to wait for
// the engine's limit, in turn.
func (e *Engine) end(ep *endpoint, n int) {
	ep.inFlight -= n
	e.inFlight -= n
	if e.stopping {
		return
	}
	turn := e.waiting
	e.waiting = nil
	for i, other := range turn {
		if e.inFlight >= e.MaxInFlight {
			e.waiting = append(e.waiting, turn[i:]...)
			break
		}
		other.listed = false
		e.kick(other)
	}
	e.kick(ep)
}

func (e *Engine) wait(ep *endpoint) {
	if !ep.listed {
		ep.listed = true
		e.waiting = append(e.waiting, ep)
	}
}

// launch runs the attempt. Its slots are taken already.
func (e *Engine) launch(j *job) {
	j.ep.active[j.key]++
	e.running.Go(func() { e.attempt(j) })
}

// claim takes due rows of ep, if there are any and slots to send them. Half of
// the window stays free for first attempts.
func (e *Engine) claim(ep *endpoint) {
	if e.stopping || ep.claiming || ep.gone || ep.due.IsZero() || ep.due.After(time.Now()) {
		return
	}
	if e.inFlight >= e.MaxInFlight {
		e.wait(ep)
		return
	}
	n := min(claimSize, (ep.window+1)/2, ep.window-ep.inFlight, e.MaxInFlight-e.inFlight)
	if n < 1 {
		return // the end of an attempt comes back here
	}
	ep.claiming = true
	e.begin(ep, n)
	var claimed []*job
	var due time.Time
	e.enqueue(op{
		run: func(tx *sqldb.Tx) (err error) {
			claimed, due, err = claimDeliveries(tx, ep, n)
			return err
		},
		done: func() {
			ep.claiming = false
			e.setDueExactly(ep, due)
			if e.stopping {
				e.unclaim(claimed)
				return
			}
			for _, j := range claimed {
				e.launch(j)
			}
			if free := n - len(claimed); free > 0 {
				e.end(ep, free)
			}
		},
	})
}

// unclaim puts back rows that were claimed when the engine was told to stop: no
// attempt was made for them.
func (e *Engine) unclaim(claimed []*job) {
	for _, j := range claimed {
		e.enqueue(op{run: func(tx *sqldb.Tx) error {
			return rescheduleDelivery(tx, j, j.n-1, tx.Now())
		}})
	}
}

// setDue says that a row of ep is due at t, if none is due earlier.
func (e *Engine) setDue(ep *endpoint, t time.Time) {
	if ep.due.IsZero() || t.Before(ep.due) {
		e.setDueExactly(ep, t)
	}
}

// setDueExactly says when the first pending row of ep is due; zero for none.
func (e *Engine) setDueExactly(ep *endpoint, t time.Time) {
	ep.due = t
	switch {
	case t.IsZero() && ep.dueIndex >= 0:
		heap.Remove(&e.dues, ep.dueIndex)
	case t.IsZero():
	case ep.dueIndex >= 0:
		heap.Fix(&e.dues, ep.dueIndex)
	default:
		heap.Push(&e.dues, ep)
	}
	if len(e.dues) > 0 && e.dues[0] == ep {
		wake(e.clock)
	}
}

// runClock claims rows when they become due.
func (e *Engine) runClock(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-e.clock:
		}
		if next, ok := e.claimDue(); ok {
			timer.Reset(next)
		}
	}
}

// claimDue claims what is due and returns how long it is until the next is.
func (e *Engine) claimDue() (time.Duration, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for len(e.dues) > 0 && !e.dues[0].due.After(now) {
		// Off the heap: it comes back with the claim that is made now, or with
		// the one that follows when slots are free again.
		ep := heap.Pop(&e.dues).(*endpoint)
		e.claim(ep)
	}
	if len(e.dues) == 0 {
		return 0, false
	}
	return e.dues[0].due.Sub(now), true
}

// dueHeap orders endpoints by when their first row is due (container/heap).
type dueHeap []*endpoint

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].dueIndex, h[j].dueIndex = i, j
}
func (h *dueHeap) Push(x any) {
	ep := x.(*endpoint)
	ep.dueIndex = len(*h)
	*h = append(*h, ep)
}
func (h *dueHeap) Pop() any {
	old := *h
	ep := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	ep.dueIndex = -1
	return ep
}

// Add makes an endpoint that is owed what happens from now on. kind is
// "webhook" or "subscription".
func (e *Engine) Add(tx *sqldb.Tx, kind string, registry int64, location string) (int64, error) {
	id, err := insertEndpoint(tx, kind, registry, location)
	if err != nil {
		return 0, err
	}
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.endpoints[id] = newEndpoint(id)
	})
	return id, nil
}

// Drop removes an endpoint: nothing more is sent to it, and what it was owed is
// dropped. Its attempts stay on record.
func (e *Engine) Drop(tx *sqldb.Tx, id int64) error {
	if err := deleteEndpoint(tx, id); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		ep := e.endpoints[id]
		if ep == nil {
			return
		}
		delete(e.endpoints, id)
		ep.gone = true
		for _, j := range ep.queue {
			j.owed.open--
		}
		ep.queue = nil
		e.setDueExactly(ep, time.Time{})
		e.noteExpanded()
		if ep.rows > 0 {
			e.loops.Go(func() { e.purge(e.attempts, id) })
		}
	})
	return nil
}

// Changed tells that where an endpoint is reached has changed: its bad health
// was the old address's.
func (e *Engine) Changed(tx *sqldb.Tx, id int64) error {
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if ep := e.endpoints[id]; ep != nil {
			ep.window, ep.clean = startWindow, 0
			ep.health = health{lastSuccess: ep.health.lastSuccess}
		}
	})
	return resetHealth(tx, id)
}

// purge deletes the rows of a deleted endpoint, a piece at a time. What a
// shutdown leaves of them goes at the next start.
func (e *Engine) purge(ctx context.Context, id int64) {
	for {
		var n int64
		err := e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
			n, err = deleteDeliveries(tx, id, purgeSize)
			return err
		})
		if err != nil || n < purgeSize {
			return
		}
	}
}

// purgeSize is how many rows one transaction deletes.
const purgeSize = 500
