package delivery

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Windows: how many requests to one endpoint may run at once. A window grows by
// one after as many successes in a row, and halves when the receiver shows that
// it cannot keep up. After an outage it begins at one and doubles up to where
// windows start.
const (
	startWindow = 4
	maxWindow   = 32
)

// The kinds of endpoints, as the database has them. Beside these there is "alert",
// where people are told how the others fare.
const (
	kindWebhook      = "webhook"
	kindSubscription = "subscription"
	kindReplay       = "replay" // rings another address, for one replay
)

// reported says that people are told how ep fares.
func (ep *endpoint) reported() bool { return ep.kind == kindWebhook || ep.kind == kindSubscription }

// noun is what people call an endpoint.
func (ep *endpoint) noun() string {
	if ep.kind == kindSubscription {
		return "event subscription"
	}
	return "webhook"
}

// keepsEach says that what ep is owed in rows is given up one by one, each with
// what its attempts came to, and only what was never handed to it in ranges. So it
// follows from its ranges which events those are, for whoever files them.
func (ep *endpoint) keepsEach() bool { return ep.kind == kindSubscription }

func (e *Engine) noun(id int64) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ep := e.endpoints[id]; ep != nil {
		return ep.noun()
	}
	return "endpoint"
}

// endpoint is what the engine knows of one destination. The engine's lock
// guards it.
type endpoint struct {
	id, registry int64
	kind         string
	owner        int64      // whose events a replay brings elsewhere; else id
	elsewhere    []byte     // its sealed address
	terms        ring.Terms // as of the last look
	from         int64      // owed events after this position
	gone         bool       // deleted
	disabling    bool       // its owner was told to disable it
	emptying     bool       // disabled: what it is owed is being given up

	window   int
	clean    int // successes since the window last changed
	inFlight int // requests, and slots promised to a claim
	old      int // requests that run for longer than a second
	breaker  breaker

	notBefore   time.Time // the receiver asked to be left alone until then
	allowedRate int       // requests a minute that the receiver said it takes; 0: any
	nextSlot    time.Time // when the rate allows the next request
	pausedAt    time.Time // zero: it is not

	queue  []*job         // first attempts that wait in memory, in commit order
	now    []*job         // those that a person waits for
	active map[string]int // order keys with an attempt in flight

	rows       int            // deliveries in the table; while not counted, only what changed
	counted    bool           // rows and rowKeys are the whole truth
	counting   bool           // they are being counted
	rowKeys    map[string]int // their order keys; nil when there are too many to know
	replayRows int            // those of replays; only a hint while not counted
	due        time.Time      // when the first pending row is due; zero for none
	claiming   bool
	sentLast   bool // its last turn was a first attempt: due rows are next

	parked    bool      // events behind the cursor are not looked at yet
	cursor    int64     // position
	feeding   bool      // they are being read
	portion   int       // how many of them were asked for
	fedAt     time.Time // when
	fed       owedList  // those that were handed over and are not on record
	unparking bool      // that it is live again is not on record: after a crash it would be parked, so nothing is sent

	wakeAt    time.Time // in Engine.wakes; zero if not there
	wakeIndex int
	listed    bool // in a list of those that wait for their turn or a slot

	seen      health
	announced int   // what people were told: 0 nothing, 1 failing, else percent
	version   int64 // of everything above that the database keeps
	saved     int64 // the version it has
}

// health is what is known of an endpoint's newest attempts, for people to see.
type health struct {
	lastAttempt, lastSuccess time.Time
	lastStatus               int
	lastError                string
	message                  string // of the last error
}

// job is a delivery in memory: queued for its first attempt, or in flight.
type job struct {
	ep      *endpoint
	pos     int64        // of the event
	entry   outbox.Entry // the event
	key     string
	replay  int64 // number of the replay it belongs to; 0: none
	n       int   // number of the attempt, from 1
	crashes int   // attempts in a row before it that a crash cut off

	// uncounted is how many of the attempts before it its policy does not count:
	// probes, and what was cut off.
	uncounted int

	expires time.Time
	owed    *owed // for a first attempt from memory; nil for a row
	fed     bool  // it was behind the cursor
	row     bool  // the delivery has a row
	probe   bool

	host    *host
	started time.Time
	old     bool // it runs for longer than a second
	ended   bool
}

func newEndpoint(id int64) *endpoint {
	return &endpoint{
		id: id, owner: id, kind: kindWebhook, window: startWindow, counted: true, portion: minPortion, wakeIndex: -1,
		active: map[string]int{}, rowKeys: map[string]int{}, terms: ring.Terms{Policy: ring.Default()},
	}
}

// renew looks up the terms of ep; false if its owner has it no more.
func (e *Engine) renew(ep *endpoint) bool {
	terms, ok := e.destinations.Terms(ep.registry, ep.owner)
	if !ok {
		return false
	}
	if ep.elsewhere != nil {
		terms.Host = e.destinations.ElsewhereHost(ep.elsewhere)
	}
	ep.terms = terms
	return true
}

// place says where the row of a delivery goes that is made now.
type place struct {
	held   bool // behind an older one of its key
	unsure bool // whether that has a row: the database knows
}

// behind returns the place behind what is in flight and in rows.
func (ep *endpoint) behind(key string) place {
	switch {
	case ep.active[key] > 0:
		return place{held: true}
	case ep.claiming || ep.emptying: // some of the rows may be on their way out
	case ep.counted && ep.rowKeys != nil:
		return place{held: ep.rowKeys[key] > 0}
	}
	return place{unsure: ep.hasRows(key)}
}

// hasRows reports whether rows of this key exist, or may.
func (ep *endpoint) hasRows(key string) bool {
	if ep.counted && ep.rows == 0 {
		return false
	}
	return !ep.counted || ep.rowKeys == nil || ep.rowKeys[key] > 0
}

// addRow and dropRow count deliveries in the table, when the op is enqueued that
// writes or deletes the row.
func (ep *endpoint) addRow(key string, replay int64) {
	ep.rows++
	if replay > 0 {
		ep.replayRows++
	}
	if ep.rowKeys == nil {
		return
	}
	ep.rowKeys[key]++
	if len(ep.rowKeys) > maxRowKeys {
		ep.rowKeys = nil
	}
}

func (ep *endpoint) dropRow(key string, replay int64) {
	ep.rows--
	if replay > 0 {
		ep.replayRows--
	}
	if ep.counted && ep.rows == 0 {
		ep.rowKeys, ep.replayRows = map[string]int{}, 0 // whatever they were, there are none now
	} else if ep.rowKeys != nil {
		if ep.rowKeys[key]--; ep.rowKeys[key] == 0 {
			delete(ep.rowKeys, key)
		}
	}
}

// droppedRow is dropRow for an op that is written already. One that was before the
// counting has been taken into account by that.
func (ep *endpoint) droppedRow(key string, replay int64) {
	if !ep.counting {
		ep.dropRow(key, replay)
	}
}

// offer takes a first attempt: into the endpoint's queue, or into a row when
// older rows of the same key go first. Callers hold e.mu.
func (e *Engine) offer(ep *endpoint, j *job) {
	switch {
	case e.stopping:
		e.spill(j, ep.last(j.key))
		return
	case urgent(j.entry.Event):
		ep.now = append(ep.now, j)
	case ep.hasRows(j.key), !e.sends(ep):
		e.spill(j, ep.last(j.key))
		return
	default:
		ep.queue = append(ep.queue, j)
	}
	e.schedule(ep)
}

// sends reports whether anything but a probe may be sent to ep before long.
func (e *Engine) sends(ep *endpoint) bool {
	return !ep.breaker.open() && ep.pausedAt.IsZero() && !ep.emptying && !ep.disabling && !ep.terms.Held
}

// spill puts a job that waits in memory into a row.
func (e *Engine) spill(j *job, p place) {
	ep := j.ep
	ep.addRow(j.key, j.replay)
	e.enqueue(op{
		run: func(tx *sqldb.Tx) error {
			return insertDelivery(tx, j, p, tx.Now())
		},
		done: func() {
			e.recorded(j)
			if !p.held {
				ep.setDue(time.Now())
			}
			e.schedule(ep)
		},
	})
}

// last returns the place behind everything that ep is owed.
func (ep *endpoint) last(key string) place {
	if ep.queued(key) {
		return place{held: true}
	}
	return ep.behind(key)
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

// spillQueue puts the queue of ep into rows. What has rows of the same key by now
// came later, so the first of each key waits for nothing but an attempt in
// flight.
func (e *Engine) spillQueue(ep *endpoint) {
	queue := ep.queue
	ep.queue = nil
	older := map[string]bool{}
	for _, j := range queue {
		e.spill(j, place{held: older[j.key] || ep.active[j.key] > 0})
		older[j.key] = true
	}
}

// spillAll puts whatever waits in memory for ep into rows.
func (e *Engine) spillAll(ep *endpoint) {
	ep.queue, ep.now = append(ep.now, ep.queue...), nil
	e.spillQueue(ep)
}

// spillKey does so for one order key, of which an older one is about to have a
// row.
func (e *Engine) spillKey(ep *endpoint, key string) {
	var rest []*job
	for _, j := range ep.queue {
		if j.key == key {
			e.spill(j, place{held: true})
		} else {
			rest = append(rest, j)
		}
	}
	ep.queue = rest
}

// ready returns the index of the first queued job whose key is free, or -1.
func (ep *endpoint) ready() int {
	for i, j := range ep.queue {
		if ep.active[j.key] == 0 {
			return i
		}
	}
	return -1
}

// setDue says that a row of ep is due at t, if none is due earlier.
func (ep *endpoint) setDue(t time.Time) {
	if ep.due.IsZero() || t.Before(ep.due) {
		ep.due = t
	}
}

// park stops handing events to ep: those after cursor wait in the outbox. It
// works on one that is parked already. Callers hold e.mu.
func (e *Engine) park(ep *endpoint, cursor int64) {
	if ep.parked || ep.kind == kindReplay {
		return
	}
	cursor = max(cursor, ep.from) // when it was fed last, that may have been further
	ep.parked, ep.cursor = true, cursor
	// A crash before the cursor is on record would make ep live again: the mark
	// must not pass what it has not been handed.
	barrier := e.owed.barrier(min(cursor, e.next-1))
	e.enqueue(op{
		run:  func(tx *sqldb.Tx) error { return saveCursor(tx, ep.id, cursor) },
		done: func() { barrier.open--; e.noteExpanded() },
	})
}

// barrier holds the mark at pos until the one it returns has nothing open.
func (l *owedList) barrier(pos int64) *owed {
	if n := len(l.events); n > 0 && l.events[n-1].pos > pos {
		l.events[n-1].open++
		return l.events[n-1]
	}
	o := l.add(pos)
	o.open++
	return o
}

// unpark hands events to ep again: the cursor has reached the newest one.
// Callers hold e.mu.
func (e *Engine) unpark(ep *endpoint) {
	// What it was handed before it was parked may still be in memory: a start after a
	// crash has to look for that, which is behind the mark.
	from, span := max(ep.from, min(ep.cursor, e.owed.marked)), ep.fedSpan(nil)
	ep.parked, ep.from, ep.unparking = false, ep.cursor, true
	e.enqueue(op{
		run:  func(tx *sqldb.Tx) error { return saveLive(tx, ep.id, from, span) },
		done: func() { ep.unparking = false; e.schedule(ep) },
	})
}

// heard takes note of how an endpoint answered, and draws the consequences.
// Callers hold e.mu.
func (e *Engine) heard(j *job, v verdict, res outbound.Result) {
	ep, now := j.ep, res.Started.Add(res.Duration)
	if v.outcome == Interrupted {
		return
	}
	before := ep.seen
	ep.seen.lastAttempt, ep.seen.lastStatus, ep.seen.lastError, ep.seen.message = now, 0, string(res.Class), res.Message
	if res.Answer != nil {
		ep.seen.lastStatus = res.Answer.Status
	}
	if rate := allowedRate(res); rate > 0 {
		ep.allowedRate = rate
	}
	if asked := askedPause(res); asked > 0 && v.outcome == Failed {
		ep.notBefore = now.Add(min(asked, ep.terms.TTL))
		ep.version++
	}
	switch {
	case v.outcome != Failed: // it is there and answers
		ep.seen.lastSuccess = now
		if ep.breaker.streak > 0 || now.Sub(before.lastSuccess) > 10*time.Second || ep.seen.lastStatus != before.lastStatus {
			ep.version++
		}
		if ep.breaker.answered() {
			e.closed(ep)
		}
		ep.grow()
	case v.unhealthy && !urgent(j.entry.Event): // who tries a receiver does not make others wait
		ep.version++
		ep.clean = 0
		if v.overload {
			ep.window = max(1, ep.window/2)
		}
		if ep.breaker.failed(now, j.probe, rand.Float64()) {
			e.opened(ep)
		}
		if v.atLeast > 0 && ep.breaker.open() {
			ep.breaker.nextProbe = latest(ep.breaker.nextProbe, now.Add(v.atLeast))
		}
		e.announce(ep, now)
	default:
		ep.version++
		if j.probe { // no illness, but no cure either
			ep.breaker.nextProbe = now.Add(max(v.atLeast, probePause(ep.breaker.probes, rand.Float64())))
		}
	}
}

// grow widens the window after a clean round.
func (ep *endpoint) grow() {
	if ep.clean++; ep.clean < ep.window || ep.window >= maxWindow {
		return
	}
	ep.clean = 0
	if ep.breaker.ramping {
		ep.window *= 2
		ep.breaker.ramping = ep.window < startWindow
		return
	}
	ep.window++
}

// opened parks an endpoint whose breaker has opened.
func (e *Engine) opened(ep *endpoint) {
	e.Log.Info("an endpoint fails: its events wait, and it is probed", "endpoint", ep.owner, "class", ep.seen.lastError, "status", ep.seen.lastStatus)
	e.park(ep, e.next-1)
	e.spillQueue(ep)
}

// closed begins to catch up: whatever waits is due.
func (e *Engine) closed(ep *endpoint) {
	e.Log.Info("an endpoint answers again", "endpoint", ep.owner)
	ep.window, ep.clean, ep.notBefore = 1, 0, time.Time{}
	e.hurry(ep)
	if ep.announced > 0 {
		ep.announced = 0
		e.report(ep, ring.Report{Condition: ring.Recovered})
	}
}

// hurry makes all rows of ep due that waited for their next attempt.
func (e *Engine) hurry(ep *endpoint) {
	if ep.counted && ep.rows == 0 {
		return
	}
	e.enqueue(op{
		run:  func(tx *sqldb.Tx) error { return makeDue(tx, ep.id) },
		done: func() { ep.setDue(time.Now()); e.schedule(ep) },
	})
}

// announceAfter is how many probes fail before people are told: not for a blip.
const announceAfter = 2

// announce tells people of an endpoint that goes on failing, and disables it in
// the end, if it is one that is.
func (e *Engine) announce(ep *endpoint, now time.Time) {
	if !ep.breaker.open() || !ep.reported() {
		return
	}
	way := 0
	if ep.answers().disables {
		way = ep.breaker.wayToDisabled(now)
	}
	if way >= 100 {
		e.disable(ep, "every attempt failed for 5 days")
		return
	}
	for _, milestone := range milestones {
		if way >= milestone {
			if ep.announced < milestone {
				ep.announced = milestone
				e.report(ep, ring.Report{Condition: ring.Disabling, Progress: milestone})
			}
			return
		}
	}
	if ep.announced == 0 && ep.breaker.probes >= announceAfter {
		ep.announced = 1
		e.report(ep, ring.Report{Condition: ring.Failing})
	}
}

// report has people told, in the transaction that also keeps that they were.
func (e *Engine) report(ep *endpoint, r ring.Report) {
	if !ep.reported() {
		return
	}
	r.Registry, r.Endpoint, r.Since = ep.registry, ep.id, ep.breaker.firstFail
	r.LastStatus, r.LastError = ep.seen.lastStatus, ep.seen.message
	ep.version++
	e.enqueue(op{
		endpoint: ep,
		run:      func(tx *sqldb.Tx) error { return e.destinations.Report(tx, r) },
	})
}

// disable has the owner of an endpoint disable it; what follows comes back by
// Disabled. If that fails, the next failed probe tries again.
func (e *Engine) disable(ep *endpoint, why string) {
	if ep.disabling || ep.emptying || ep.kind != kindWebhook {
		return
	}
	ep.disabling = true
	e.report(ep, ring.Report{Condition: ring.Disabled})
	e.loops.Go(func() {
		err := e.destinations.Disable(e.run, ep.registry, ep.id, why)
		if err != nil && e.run.Err() == nil {
			e.Log.Error("an endpoint could not be disabled", "endpoint", ep.id, "why", why, "error", err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		ep.disabling = false // if Disabled was not called, it was disabled already
		e.kick(ep)
	})
}

// Add makes an endpoint that is owed what happens from now on. kind is
// "webhook", "subscription" or "alert".
func (e *Engine) Add(tx *sqldb.Tx, kind string, registry int64, location string) (int64, error) {
	from, err := outbox.Last(tx)
	if err != nil {
		return 0, err
	}
	ep := newEndpoint(0)
	ep.kind, ep.registry, ep.from = kind, registry, from
	if err := insertEndpoint(tx, ep, location); err != nil {
		return 0, err
	}
	ep.owner = ep.id
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.endpoints[ep.id] = ep
	})
	return ep.id, nil
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
		if ep := e.endpoints[id]; ep != nil {
			e.forget(ep)
		}
	})
	return nil
}

// forget removes a deleted endpoint from memory, and then its rows. Callers hold
// e.mu.
func (e *Engine) forget(ep *endpoint) {
	delete(e.endpoints, ep.id)
	ep.gone = true
	for _, j := range append(ep.now, ep.queue...) {
		j.owed.open--
	}
	ep.queue, ep.now = nil, nil
	e.setWake(ep, time.Time{})
	e.noteExpanded()
	for _, run := range e.replays {
		if run.target == ep || run.endpoint == ep.id {
			e.endReplay(run, ReplayCancelled)
		}
	}
	if ep.rows > 0 || !ep.counted {
		e.loops.Go(func() { e.purge(e.run, ep.id) })
	}
}

// Changed tells that where an endpoint is reached has changed, or that it may be
// rung again: its bad health was the old address's, and so was what that asked
// for.
func (e *Engine) Changed(tx *sqldb.Tx, id int64) error {
	if err := resetHealth(tx, id); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		ep := e.endpoints[id]
		if ep == nil {
			return
		}
		ep.reset()
		e.renew(ep)
		e.hurry(ep)
		e.schedule(ep)
		e.dispatch()
	})
	return nil
}

// reset forgets how an endpoint fared.
func (ep *endpoint) reset() {
	ep.window, ep.clean, ep.breaker = startWindow, 0, breaker{recent: 1}
	ep.notBefore, ep.allowedRate, ep.announced = time.Time{}, 0, 0
	ep.version++
}

// Disabled tells that an endpoint takes nothing any more. What it is still owed
// becomes dead letters, for the reason why.
func (e *Engine) Disabled(tx *sqldb.Tx, id int64, why string) error {
	if err := resetHealth(tx, id); err != nil {
		return err
	}
	last, err := outbox.Last(tx)
	if err != nil {
		return err
	}
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if ep := e.endpoints[id]; ep != nil {
			ep.reset()
			e.empty(ep, last, reason{ring.WasDisabled, why})
		}
	})
	return nil
}

// purge deletes the rows of a deleted endpoint, a piece at a time. What a
// shutdown leaves of them goes at the next start.
func (e *Engine) purge(ctx context.Context, id int64) {
	for {
		var n int
		err := e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
			rows, err := deleteDeliveries(tx, id, math.MaxInt64, purgeSize)
			n = len(rows)
			return err
		})
		if err != nil || n < purgeSize {
			return
		}
	}
}

// purgeSize is how many rows one transaction deletes.
const purgeSize = 500
