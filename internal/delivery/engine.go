// Package delivery brings events to endpoints: each event that an endpoint wants
// is owed to it, and stays owed until it was delivered, refused, or given up
// with a reason on record.
//
// It owns the tables endpoint, delivery, attempt, attempt_volume, attempt_count,
// dead_letter and replay: the schedule of attempts, their order, the health of
// endpoints, the figures of what attempts came to, and how long all of it is kept.
// What an endpoint wants and how a request to it looks is for the owner of the
// endpoint (packages webhook and subscription), reached through the interface
// Destinations; sending is for package outbound, files of dead letters for package
// subscription.
//
// Invariants:
//   - Nothing is committed between the transaction that made an event and the
//     first byte sent for it: the event in the outbox is the promise.
//   - What was tried is on record. An attempt that a crash cut off is recorded
//     as interrupted, and only such an attempt can have rung twice.
//   - For one endpoint, events of one order key are sent one at a time and in
//     commit order.
//   - A slow or dead endpoint delays no other: it holds at most its window of
//     requests, and never more than half of what all share for longer than a
//     second. What it is owed costs a bounded number of rows and a position.
//   - Nothing is given up in silence: it becomes a dead letter, alone or in a
//     range, with its reason. Of an event subscription, Unfiled returns each such
//     event until it was told that it is filed.
//
// Words: an event happened; a delivery is an event owed to one endpoint; an
// attempt is one request for it. A live endpoint is handed events as they
// happen. A parked one has a cursor instead: events behind it are owed, and have
// no rows yet.
package delivery

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Destinations are the owners of endpoints.
type Destinations interface {
	Matcher
	Caller
	Keeper
}

// Matcher tells which endpoints want an event.
type Matcher interface {
	// InForce returns the rules of this moment: a function that tells which
	// endpoints an event is owed to. It is called by whoever commits an event
	// and must cost next to nothing.
	InForce() func(*event.Event) []int64

	// MatchAt tells which endpoints an event was owed to by the rules in force
	// when it committed.
	MatchAt(tx *sqldb.Tx, e *event.Event) ([]int64, error)

	// History returns the same for one endpoint and any event still kept: the rule
	// by which it was owed events.
	History(tx *sqldb.Tx, registry, endpoint int64) (ring.Rule, error)

	// Wants returns the rule of now: whether the endpoint would want an event, if
	// it were enabled.
	Wants(registry, endpoint int64) ring.Rule
}

// Caller says how an endpoint is reached.
type Caller interface {
	// Terms returns how an endpoint is to be tried; false if it is gone. It is
	// called for every delivery.
	Terms(registry, endpoint int64) (ring.Terms, bool)

	// Request returns what to send for all events of a call, signed; false if the
	// endpoint takes nothing any more.
	Request(ring.Call) (outbound.Request, bool)

	// ElsewhereHost returns the host of a sealed address, as Terms names hosts.
	ElsewhereHost(sealed []byte) string
}

// Keeper is told how an endpoint fares.
type Keeper interface {
	// Report tells people. It appends an event in tx.
	Report(tx *sqldb.Tx, r ring.Report) error

	// Disable ends what an endpoint is owed.
	Disable(ctx context.Context, registry, endpoint int64, why string) error
}

// Poster sends one request; *outbound.Client is one.
type Poster interface {
	Post(context.Context, outbound.Request) outbound.Result
}

// Options are what an Engine is made of.
type Options struct {
	DB     *sqldb.DB
	Poster Poster
	Log    *slog.Logger

	// Node names this process in attempts.
	Node string

	// MaxInFlight is how many requests may run at once, over all endpoints;
	// those that run for longer than a second count up to half of it. 0 means
	// 256.
	MaxInFlight int

	// MaxPerHost is how many requests to one host may run at once. 0 means 64.
	MaxPerHost int

	Retention Retention

	// DeadLettered is told that Unfiled may have more of an endpoint, after the commit
	// that made it so. It must not block. What is left of an earlier process it is not
	// told of. Nil tells nobody.
	DeadLettered func(endpoint int64)

	// LowDisk reports whether the disk is nearly full. Nil means it never is.
	LowDisk func() bool
}

// What is kept in memory, and in rows, at the most. Beyond it, what an endpoint
// is owed is a position.
const (
	maxIntake  = 1024   // committed events not yet looked at
	maxQueue   = 256    // first attempts waiting for one endpoint: a few group commits. Then it is parked
	maxRows    = 1000   // deliveries of one endpoint with rows. Then it is parked; what it has in memory may join them
	maxCounted = 10_000 // of them, to be counted at start
	maxRowKeys = 1000   // order keys with rows, per endpoint
	startKeys  = 100    // of them, to be known from the start: there may be many endpoints
	claimSize  = 8      // rows taken for one endpoint at once
)

// Engine delivers events. Start it once, after which Committed feeds it.
type Engine struct {
	Options
	destinations Destinations

	// mu guards everything below. It is held for bookkeeping only, never over
	// a request or a transaction.
	mu        sync.Mutex
	endpoints map[int64]*endpoint
	slots     slots
	turns     turns    // endpoints that can do something now
	wakes     wakeHeap // endpoints that can do something later
	timer     *time.Timer
	intake    []intake // committed events, oldest first
	missed    bool     // the intake was full: what is missing is in the outbox
	next      int64    // position of the next event to expand
	owed      owedList // expanded events with first attempts not yet on record
	ops       []op     // for the settler
	urgent    bool     // some of them should not wait
	looks     looks    // readers of the outbox for parked endpoints and replays
	replays   map[int64]*replayRun
	stopping  bool

	loading sync.Once
	loaded  error // what came of it

	expand chan struct{} // wake the expander
	settle chan struct{} // wake the settler

	attempts context.Context // of all requests
	running  sync.WaitGroup  // attempts
	cancel   context.CancelFunc
	run      context.Context // of everything else
	stop     context.CancelFunc
	loops    sync.WaitGroup
}

// intake is a committed event with the rules that were in force then.
type intake struct {
	entry outbox.Entry
	rules func(*event.Event) []int64
}

// New returns an engine. It does nothing before Start.
func New(o Options) *Engine {
	o.MaxInFlight = cmp.Or(o.MaxInFlight, 256)
	o.MaxPerHost = cmp.Or(o.MaxPerHost, 64)
	if o.LowDisk == nil {
		o.LowDisk = func() bool { return false }
	}
	return &Engine{
		Options:   o,
		endpoints: map[int64]*endpoint{},
		slots:     newSlots(o.MaxInFlight, o.MaxPerHost),
		turns:     newTurns(),
		replays:   map[int64]*replayRun{},
		expand:    make(chan struct{}, 1),
		settle:    make(chan struct{}, 1),
	}
}

// Load reads the endpoints and how they fare. Start does so too; ahead of it, it can
// run while the owners of endpoints open, and add some.
func (e *Engine) Load(ctx context.Context) error {
	e.loading.Do(func() { e.loaded = e.load(ctx) })
	return e.loaded
}

func (e *Engine) load(ctx context.Context) error {
	var endpoints []*endpoint
	err := e.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		endpoints, err = selectEndpoints(tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("load endpoints: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ep := range endpoints {
		if e.endpoints[ep.id] == nil {
			e.endpoints[ep.id] = ep
		}
	}
	return nil
}

// Start puts on record what a crash left open, and starts delivering to the
// endpoints that destinations own. Events must not be committed before it
// returns.
func (e *Engine) Start(ctx context.Context, destinations Destinations) error {
	e.destinations = destinations
	if err := e.Load(ctx); err != nil {
		return err
	}
	if err := e.recover(ctx); err != nil {
		return err
	}
	e.run, e.stop = context.WithCancel(context.Background())
	e.attempts, e.cancel = context.WithCancel(context.Background())
	e.mu.Lock()
	e.timer = time.AfterFunc(time.Hour, e.tick)
	e.startEndpoints()
	e.mu.Unlock()
	e.loops.Go(func() { e.runExpander(e.run) })
	e.loops.Go(func() { e.runSettler(e.run) })
	e.loops.Go(func() { e.runRetention(e.run) })
	e.loops.Go(func() { e.recoverDeleted(e.run) })
	return nil
}

// Stop ends deliveries in order: no new ones start, those in flight may end
// until ctx does and are then cut off and recorded as interrupted, and what
// waited in memory is put into rows.
func (e *Engine) Stop(ctx context.Context) {
	e.mu.Lock()
	e.stopping = true
	e.timer.Stop()
	for _, ep := range e.endpoints {
		e.spillAll(ep)
	}
	e.mu.Unlock()
	stopCutting := context.AfterFunc(ctx, e.cancel)
	e.running.Wait()
	stopCutting()
	e.stop()
	e.loops.Wait()
	e.cancel()
}

// Committed takes an event that has just become durable. It never blocks: what
// does not fit in memory is read from the outbox later. It fits outbox.New.
func (e *Engine) Committed(entry outbox.Entry) {
	in := intake{entry, e.destinations.InForce()}
	e.mu.Lock()
	if len(e.intake) < maxIntake {
		e.intake = append(e.intake, in)
	} else {
		e.missed = true
	}
	e.mu.Unlock()
	wake(e.expand)
}

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) {
	over, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-over.Done()
}

// runExpander turns events into deliveries, in order of position.
func (e *Engine) runExpander(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.expand:
		}
		for e.expandSome(ctx) {
		}
	}
}

// expandSome expands what is in memory, and reads from the outbox what is not.
// It reports whether there may be more.
func (e *Engine) expandSome(ctx context.Context) bool {
	e.mu.Lock()
	taken, missed := e.intake, e.missed
	e.intake, e.missed = nil, false
	stopping := e.stopping
	e.mu.Unlock()
	if stopping {
		return false // the outbox remembers
	}
	for _, in := range taken {
		if in.entry.Event.Pos > e.next && !e.expandFromOutbox(ctx, in.entry.Event.Pos-1) {
			return e.retryExpand(ctx)
		}
		if in.entry.Event.Pos == e.next {
			e.expandOne(in.entry, in.rules(in.entry.Event))
		}
	}
	if missed && !e.expandFromOutbox(ctx, 0) {
		return e.retryExpand(ctx)
	}
	return len(taken) > 0
}

// retryExpand is for a database that does not answer: what was taken from
// memory is still in the outbox.
func (e *Engine) retryExpand(ctx context.Context) bool {
	e.mu.Lock()
	e.missed = true
	e.mu.Unlock()
	pause(ctx, time.Second)
	return ctx.Err() == nil
}

// expandFromOutbox expands the events up to position upTo, or all if it is 0.
func (e *Engine) expandFromOutbox(ctx context.Context, upTo int64) bool {
	const chunk = 100
	for upTo == 0 || e.next <= upTo {
		var entries []outbox.Entry
		var owners [][]int64
		err := e.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			entries, err = outbox.After(tx, e.next-1, chunk)
			if err != nil {
				return err
			}
			owners = make([][]int64, len(entries))
			for i, entry := range entries {
				if owners[i], err = e.destinations.MatchAt(tx, entry.Event); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				e.Log.Error("events wait: the outbox cannot be read; trying again", "after", e.next-1, "error", err)
			}
			return false
		}
		if len(entries) == 0 {
			return upTo == 0
		}
		for i, entry := range entries {
			e.expandOne(entry, owners[i])
		}
	}
	return true
}

// expandOne owes the event at position e.next to its endpoints and starts what
// can start at once.
func (e *Engine) expandOne(entry outbox.Entry, ids []int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next = entry.Event.Pos + 1
	o := e.owed.add(entry.Event.Pos)
	for _, id := range ids {
		ep := e.endpoints[id]
		switch {
		case ep == nil, entry.Event.Pos <= ep.from && !urgent(entry.Event):
			continue // deleted since, or handed to it when it caught up
		case ep.parked && !urgent(entry.Event):
			e.schedule(ep) // its probe may have waited for something to send
			continue
		case (ep.rows >= maxRows || len(ep.queue) >= maxQueue) && !urgent(entry.Event):
			e.park(ep, entry.Event.Pos-1)
			e.schedule(ep)
			continue
		}
		switch {
		case !e.renew(ep):
			continue // deleted just now
		case ep.terms.Held && !urgent(entry.Event):
			e.hold(ep, entry.Event.Pos-1)
			continue
		}
		o.open++
		j := ep.first(entry)
		j.owed = o
		e.offer(ep, j)
	}
	e.noteExpanded()
	e.dispatch()
}

// urgent reports whether a person waits for this event, to see how an endpoint
// answers: it goes out at once, whatever the state of the endpoint, and once.
func urgent(e *event.Event) bool { return e.Action == event.Ping || e.Sample }

// orderKey names what is sent to ep one at a time.
func (ep *endpoint) orderKey(e *event.Event) string {
	switch {
	case urgent(e), ep.terms.Order == ring.Unordered:
		return e.ID
	case ep.terms.Order == ring.PerRepository:
		return e.Target.Repository
	case e.Target.Tag != "":
		return e.Target.Repository + ":" + e.Target.Tag
	}
	return e.Target.Repository + "@" + e.Target.Digest
}

// owedList holds expanded events, oldest first, until all their first attempts
// are on record.
type owedList struct {
	events []*owed
	marked int64 // the position up to which everything is on record
	saved  int64 // the same, as the database has it
}

// owed is an expanded event, or something else that has to be on record before
// the mark may pass its position.
type owed struct {
	pos  int64
	open int // deliveries neither attempted on record nor in rows
}

func (l *owedList) add(pos int64) *owed {
	o := &owed{pos: pos}
	l.events = append(l.events, o)
	return o
}

// advance moves the mark over events that have nothing open.
func (l *owedList) advance() {
	i := 0
	for i < len(l.events) && l.events[i].open == 0 {
		l.marked = l.events[i].pos
		i++
	}
	if i > 0 {
		l.events = append(l.events[:0], l.events[i:]...)
	}
}

// recorded takes note that a first attempt from memory is on record, or has a
// row. Callers hold e.mu.
func (e *Engine) recorded(j *job) {
	j.owed.open--
	ep := j.ep
	if !j.fed {
		e.noteExpanded()
		return
	}
	ep.fed.advance()
	if len(ep.fed.events) == 0 && !ep.feeding { // which will say so
		e.enqueue(op{lazy: true, run: func(tx *sqldb.Tx) error { return saveFedSpan(tx, ep.id, span{}) }})
	}
}

// saveExpandedEvery is how far the mark in the database may lag behind when
// there is nothing else to write: recovery looks at the events beyond it.
const saveExpandedEvery = 1000

// noteExpanded moves the mark and has it saved now and then. The settler saves
// it with everything else it writes.
func (e *Engine) noteExpanded() {
	e.owed.advance()
	if e.owed.marked-e.owed.saved >= saveExpandedEvery {
		e.enqueue(op{lazy: true})
	}
}
