package delivery

import (
	"container/heap"
	"slices"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// step is what an endpoint can do next.
type step uint8

const (
	idle  step = iota // nothing, until something happens to it
	later             // something, at a known time
	send              // a first attempt from memory
	claim             // due rows
	probe             // one row, due or not
	feed              // read what is behind the cursor
)

// nextStep decides what ep can do now, and when it can do more if that is
// nothing. Limits that it shares with others are not its concern.
func (e *Engine) nextStep(ep *endpoint, now time.Time) (step, time.Time) {
	switch {
	case e.stopping, ep.gone:
		return idle, time.Time{}
	case len(ep.now) > 0:
		return send, now
	case ep.terms.Held, ep.emptying, ep.disabling:
		return idle, time.Time{} // the end of that comes back here
	case ep.pausedAt.IsZero() && !ep.breaker.open() && ep.hungry():
		return feed, now
	case ep.claiming, ep.inFlight >= ep.window, e.slots.keptBack(ep):
		return idle, time.Time{} // likewise
	case !ep.pausedAt.IsZero() && ep.replayRows == 0:
		return idle, time.Time{}
	case ep.breaker.open():
		return e.nextProbe(ep, now)
	}
	open := latest(ep.notBefore, ep.nextSlot)
	if !ep.pausedAt.IsZero() { // a replay, then
		if ep.due.IsZero() {
			return idle, time.Time{}
		}
		return at(claim, latest(open, ep.due), now)
	}
	due := !ep.due.IsZero()
	if i := ep.ready(); i >= 0 && (!ep.unparking || ep.queue[i].fed) && (!due || !ep.sentLast || ep.due.After(now)) {
		return at(send, open, now)
	}
	if due {
		return at(claim, latest(open, ep.due), now)
	}
	return idle, time.Time{}
}

// hungry reports whether ep, being parked, can be handed more from behind its
// cursor: of what it was handed no more is left than keeps it busy meanwhile, and
// not much of what it was owed before waits in rows.
func (ep *endpoint) hungry() bool {
	return ep.parked && !ep.feeding && ep.counted && ep.rows <= maxRows/4 &&
		len(ep.queue) <= ep.portion && ep.cursor-ep.recordedTo() < maxFedSpan
}

// nextProbe is nextStep for an open breaker.
func (e *Engine) nextProbe(ep *endpoint, now time.Time) (step, time.Time) {
	when := latest(latest(ep.breaker.nextProbe, ep.notBefore), ep.nextSlot)
	switch {
	case ep.inFlight > 0, ep.feeding:
		return idle, time.Time{}
	case ep.rows > 0 || !ep.counted:
		return at(probe, when, now)
	case ep.parked && ep.cursor < e.next-1:
		return at(feed, when, now) // for one to probe with
	}
	return idle, time.Time{} // nothing is owed: the next event comes back here
}

// at is s from t on, and until then a matter for later; never, if t is zero and
// s takes rows.
func at(s step, t, now time.Time) (step, time.Time) {
	switch {
	case s == claim && t.IsZero():
		return idle, t
	case t.After(now):
		return later, t
	}
	return s, now
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// schedule has ep take its turn, now or when it can do something. Callers hold
// e.mu; what got ready starts with the next dispatch.
func (e *Engine) schedule(ep *endpoint) {
	switch s, t := e.nextStep(ep, time.Now()); s {
	case idle:
		e.setWake(ep, time.Time{})
	case later:
		e.setWake(ep, t)
	default:
		e.setWake(ep, time.Time{})
		if !ep.listed {
			ep.listed = true
			e.turns.push(ep)
		}
	}
}

// kick is schedule and dispatch. Callers hold e.mu.
func (e *Engine) kick(ep *endpoint) {
	e.schedule(ep)
	e.dispatch()
}

// dispatch gives those who can do something their turns, while there are slots.
// Callers hold e.mu.
func (e *Engine) dispatch() {
	now := time.Now()
	for !e.turns.empty() {
		if !e.slots.room(now) {
			e.setTimer() // the slots of slow attempts count less after a second
			return
		}
		ep := e.turns.pop()
		ep.listed = false
		s, _ := e.nextStep(ep, now)
		switch s {
		case send:
			e.send(ep, now)
		case claim, probe:
			e.claim(ep, s, now)
		case feed:
			e.feed(ep)
		}
		if !ep.listed {
			e.schedule(ep)
		}
	}
}

// send starts one first attempt of ep.
func (e *Engine) send(ep *endpoint, now time.Time) {
	h := e.slots.host(ep.terms.Host)
	if h.inFlight >= h.limit {
		h.wait(ep)
		return
	}
	var j *job
	if len(ep.now) > 0 {
		j = ep.now[0]
		ep.now = slices.Delete(ep.now, 0, 1)
	} else {
		i := ep.ready()
		j = ep.queue[i]
		if j.fed && e.slots.retries >= e.slots.retryLimit() {
			e.slots.waitRetry(ep)
			return
		}
		ep.queue = slices.Delete(ep.queue, i, i+1)
		ep.sentLast = true
	}
	e.begin(ep, h, 1, j.backlog())
	e.launch(j, ep.companions(j), h, now)
}

// backlog reports whether j is an attempt for what has waited already, which
// leaves half of the slots to what happens now.
func (j *job) backlog() bool { return j.row || j.fed }

// claim takes rows of ep and sends them: due ones, or for a probe the oldest.
// Half of the window stays free for first attempts.
func (e *Engine) claim(ep *endpoint, s step, now time.Time) {
	e.renew(ep) // its owner may have changed something since the last event
	h := e.slots.host(ep.terms.Host)
	switch {
	case ep.terms.Held:
		e.hold(ep, e.next-1)
		return
	case h.inFlight >= h.limit:
		h.wait(ep)
		return
	case e.slots.retries >= e.slots.retryLimit():
		e.slots.waitRetry(ep)
		return
	}
	n := min(claimSize, (ep.window+1)/2, ep.window-ep.inFlight, e.slots.retryLimit()-e.slots.retries, h.limit-h.inFlight)
	if s == probe || ep.interval() > 0 {
		n = 1
	}
	c := &claiming{probe: s == probe, replays: !ep.pausedAt.IsZero(), n: n, slots: n, late: reasonExpired(ep), limit: ep.batchLimit()}
	if c.together = c.limit.Events > 1 && !c.probe; c.together {
		c.n, c.slots = c.limit.Events, 1
	}
	ep.claiming, ep.sentLast = true, false
	e.begin(ep, h, c.slots, true)
	e.enqueue(op{
		run:  func(tx *sqldb.Tx) error { return c.claim(tx, e, ep) },
		done: func() { e.claimed(ep, h, c) },
	})
}

// claimed launches what a claim took.
func (e *Engine) claimed(ep *endpoint, h *host, c *claiming) {
	ep.claiming, ep.due = false, c.due
	for _, j := range c.expired {
		ep.droppedRow(j.key, j.replay)
		e.replayed(j)
	}
	now := time.Now()
	if c.probe && len(c.taken)+len(c.expired) == 0 {
		ep.breaker.nextProbe = now.Add(probeAfter[0]) // nothing to probe with after all
	}
	free := c.slots
	var all []*job
	for _, j := range c.taken {
		switch {
		case e.calledOff(j):
			e.conclude(j, nil, settled{dead: &reasonCancelled})
		case e.stopping, ep.emptying, ep.disabling:
			e.unclaim(j)
		case c.together:
			all = append(all, j)
		default:
			j.probe = c.probe
			e.launch(j, nil, h, now)
			free--
		}
	}
	if len(all) > 0 {
		e.launch(all[0], all, h, now)
		free--
	}
	if len(c.taken) == 0 && ep.due.IsZero() && !ep.counted {
		e.count(ep) // that were all, perhaps
	}
	if free > 0 {
		e.end(ep, h, free, true)
	}
}

// unclaim puts back a row that was claimed when something came between: no
// attempt was made for it.
func (e *Engine) unclaim(j *job) {
	e.enqueue(op{
		run:  func(tx *sqldb.Tx) error { return rescheduleDelivery(tx, j, j.n-1, j.uncounted, tx.Now()) },
		done: func() { j.ep.setDue(time.Now()); e.schedule(j.ep) },
	})
}

// begin takes n slots of everything that is limited.
func (e *Engine) begin(ep *endpoint, h *host, n int, retry bool) {
	ep.inFlight += n
	h.inFlight += n
	e.slots.inFlight += n
	if retry {
		e.slots.retries += n
	}
}

// end gives n slots back, and hands them on.
func (e *Engine) end(ep *endpoint, h *host, n int, retry bool) {
	ep.inFlight -= n
	h.inFlight -= n
	e.slots.inFlight -= n
	if retry {
		e.slots.retries -= n
	}
	// As many as there is room for: some who waited have nothing to do any more.
	for next := e.slots.freed(h); len(next) > 0; next = e.slots.freed(h) {
		for _, other := range next {
			other.listed = false
			e.schedule(other)
		}
		e.dispatch()
	}
	e.schedule(ep)
	e.dispatch()
}

// launch runs an attempt for j, or for all of a batch that j leads. Its slots are
// taken already.
func (e *Engine) launch(j *job, all []*job, h *host, now time.Time) {
	ep := j.ep
	ep.active[j.key]++
	for _, other := range all {
		if other != j {
			ep.active[other.key]++
		}
	}
	if pause := ep.interval(); pause > 0 {
		ep.nextSlot = latest(ep.nextSlot, now).Add(pause)
	}
	j.host, j.started = h, now
	e.slots.track(j)
	if len(all) > 1 {
		e.running.Go(func() { e.attempt(j, all) })
	} else {
		e.running.Go(func() { e.attempt(j, nil) })
	}
}

// interval returns how far apart requests to ep have to be; 0: they need not.
func (ep *endpoint) interval() time.Duration {
	rate := ep.terms.PerMinute
	if ep.allowedRate > 0 && (rate == 0 || ep.allowedRate < rate) {
		rate = ep.allowedRate
	}
	if rate == 0 {
		return 0
	}
	return time.Minute / time.Duration(rate)
}

// slowAfter is when an attempt counts as slow: from then on it holds a slot of
// the half that slow attempts may hold.
const slowAfter = time.Second

// slots are what all attempts share. Slow attempts count up to half of a limit,
// so that endpoints which hang leave the other half to those which do not, also
// in the seconds before their breakers open. How many there are in all is
// bounded by hardLimit.
type slots struct {
	limit   int
	perHost int

	inFlight int
	old      int
	retries  int    // of them, those for what waited: in rows, or behind a cursor
	flights  []*job // that are not old yet, by when they started, and some that ended

	retryWaiting []*endpoint // for a slot for what waited
	hosts        map[string]*host
}

// hardLimit is how many times the limit may be in flight when most are slow.
const hardLimit = 4

func newSlots(limit, perHost int) slots {
	return slots{limit: limit, perHost: perHost, hosts: map[string]*host{}}
}

// retryLimit is what attempts for what waited may hold: a backlog that is worked
// off leaves the rest to new events.
func (s *slots) retryLimit() int { return max(1, s.limit/2) }

// waitRetry lists ep for the next of these slots that is free.
func (s *slots) waitRetry(ep *endpoint) {
	ep.listed = true
	s.retryWaiting = append(s.retryWaiting, ep)
}

// room reports whether one more attempt may start.
func (s *slots) room(now time.Time) bool {
	s.age(now)
	return s.inFlight-s.old < s.limit-min(s.old, s.limit/2) && s.inFlight < hardLimit*s.limit
}

// age counts the attempts that have become slow.
func (s *slots) age(now time.Time) {
	i := 0
	for ; i < len(s.flights); i++ {
		j := s.flights[i]
		if j.ended {
			continue
		}
		if now.Sub(j.started) < slowAfter {
			break
		}
		j.old = true
		s.old++
		j.host.old++
		j.ep.old++
	}
	if i > 0 {
		s.flights = s.flights[i:]
		if cap(s.flights) > 64 && len(s.flights) < cap(s.flights)/4 {
			s.flights = append([]*job(nil), s.flights...)
		}
	}
}

func (s *slots) track(j *job) { s.flights = append(s.flights, j) }

// untrack takes note that an attempt has ended.
func (s *slots) untrack(j *job) {
	j.ended = true
	if j.old {
		s.old--
		j.host.old--
		j.ep.old--
	}
}

// nextSlow returns when the next attempt becomes slow; false if none runs.
func (s *slots) nextSlow() (time.Time, bool) {
	for _, j := range s.flights {
		if !j.ended {
			return j.started.Add(slowAfter), true
		}
	}
	return time.Time{}, false
}

// freed returns who may go on because slots were given back: one who waits for
// h, and one who waits for a slot for what waited.
func (s *slots) freed(h *host) (next []*endpoint) {
	if len(h.waiting) > 0 && h.inFlight < h.limit {
		next = append(next, h.waiting[0])
		h.waiting = h.waiting[1:]
	}
	if len(s.retryWaiting) > 0 && s.retries < s.retryLimit() {
		next = append(next, s.retryWaiting[0])
		s.retryWaiting = s.retryWaiting[1:]
	}
	if h.inFlight == 0 && len(h.waiting) == 0 {
		delete(s.hosts, h.name)
	}
	return next
}

// host is whom several endpoints may ring.
type host struct {
	name     string // scheme://name:port
	limit    int
	inFlight int
	old      int
	waiting  []*endpoint // for a slot here, in turn
}

// host returns the host of that name. It stays known while something is in
// flight to it or waits for it.
func (s *slots) host(name string) *host {
	h := s.hosts[name]
	if h == nil {
		h = &host{name: name, limit: s.perHost}
		s.hosts[name] = h
	}
	return h
}

// wait lists ep for the next slot that is free.
func (h *host) wait(ep *endpoint) {
	ep.listed = true
	h.waiting = append(h.waiting, ep)
}

// keptBack reports whether ep, having a slow attempt in flight, has to wait for
// that, because slow ones hold half of what its host takes.
func (s *slots) keptBack(ep *endpoint) bool {
	if ep.old == 0 {
		return false
	}
	h := s.hosts[ep.terms.Host]
	return h != nil && h.old >= (h.limit+1)/2
}

// turns are the endpoints that can do something, in the order of their turns:
// registries take turns, and within each its endpoints do.
type turns struct {
	registries []*turn
	by         map[int64]*turn
}

type turn struct {
	registry  int64
	endpoints []*endpoint
}

func newTurns() turns { return turns{by: map[int64]*turn{}} }

func (t *turns) empty() bool { return len(t.registries) == 0 }

func (t *turns) push(ep *endpoint) {
	of := t.by[ep.registry]
	if of == nil {
		of = &turn{registry: ep.registry}
		t.by[ep.registry] = of
		t.registries = append(t.registries, of)
	}
	of.endpoints = append(of.endpoints, ep)
}

// pop returns whose turn it is.
func (t *turns) pop() *endpoint {
	of := t.registries[0]
	t.registries = t.registries[1:]
	ep := of.endpoints[0]
	of.endpoints = of.endpoints[1:]
	if len(of.endpoints) > 0 {
		t.registries = append(t.registries, of)
	} else {
		delete(t.by, of.registry)
	}
	return ep
}

// setWake says when ep can do something; zero for not before something happens.
func (e *Engine) setWake(ep *endpoint, t time.Time) {
	ep.wakeAt = t
	switch {
	case t.IsZero() && ep.wakeIndex >= 0:
		heap.Remove(&e.wakes, ep.wakeIndex)
	case t.IsZero():
	case ep.wakeIndex >= 0:
		heap.Fix(&e.wakes, ep.wakeIndex)
	default:
		heap.Push(&e.wakes, ep)
	}
	if len(e.wakes) > 0 && e.wakes[0] == ep {
		e.setTimer()
	}
}

// setTimer has tick called when the next endpoint wakes, or, where someone waits
// for slots, when the next attempt becomes slow.
func (e *Engine) setTimer() {
	if e.timer == nil || e.stopping {
		return
	}
	var next time.Time
	if len(e.wakes) > 0 {
		next = e.wakes[0].wakeAt
	}
	if !e.turns.empty() {
		if slow, ok := e.slots.nextSlow(); ok && (next.IsZero() || slow.Before(next)) {
			next = slow
		}
	}
	if !next.IsZero() {
		e.timer.Reset(time.Until(next))
	}
}

// tick gives those whose time has come their turn.
func (e *Engine) tick() {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for len(e.wakes) > 0 && !e.wakes[0].wakeAt.After(now) {
		ep := e.wakes[0]
		e.setWake(ep, time.Time{})
		e.schedule(ep)
	}
	e.dispatch()
	e.setTimer()
}

// wakeHeap orders endpoints by when they can do something (container/heap).
type wakeHeap []*endpoint

func (h wakeHeap) Len() int           { return len(h) }
func (h wakeHeap) Less(i, j int) bool { return h[i].wakeAt.Before(h[j].wakeAt) }
func (h wakeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].wakeIndex, h[j].wakeIndex = i, j
}
func (h *wakeHeap) Push(x any) {
	ep := x.(*endpoint)
	ep.wakeIndex = len(*h)
	*h = append(*h, ep)
}
func (h *wakeHeap) Pop() any {
	old := *h
	ep := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	ep.wakeIndex = -1
	return ep
}
