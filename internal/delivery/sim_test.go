package delivery

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"modernc.org/sqlite"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// TestSimulation lives through days with an engine, its receivers, the people
// who look after them, and crashes between any two rows that are written; and
// checks what is on record against what really happened.
//
// DOCKBELL_TEST_SEEDS says which histories: how many, or "from-to".
func TestSimulation(t *testing.T) {
	from, to := 0, 20
	if text := os.Getenv("DOCKBELL_TEST_SEEDS"); text != "" {
		first, last, ranged := strings.Cut(text, "-")
		if !ranged {
			first, last = "0", text
		}
		var err, err2 error
		from, err = strconv.Atoi(first)
		to, err2 = strconv.Atoi(last)
		if err != nil || err2 != nil {
			t.Fatalf("DOCKBELL_TEST_SEEDS=%s is neither a number nor a range", text)
		}
	}
	for seed := from; seed < to; seed++ {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			fakeTime(t, func(t *testing.T) { simulate(t, uint64(seed)) })
		})
	}
}

// simulate is one history. The choices of the people follow from the seed, and
// so does what each request is answered; which goroutine runs first does not.
func simulate(t *testing.T, seed uint64) {
	w := &world{
		t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 7)), open: inMemory(t),
		members: map[int64]*member{}, events: map[int64]*event.Event{}, cancelled: map[int64]time.Time{},
	}
	w.start()
	defer w.end()
	for range 4 + w.rnd.IntN(3) {
		w.add()
	}
	for range 40 + w.rnd.IntN(50) {
		w.step()
		if w.now.isDead() {
			w.restart()
		}
		if t.Failed() {
			return
		}
	}
	w.settleDown()
}

// inMemory returns a function that opens a SQLite database of the test's own: in
// memory where there is such a folder, for what crashes here is the process, not
// the machine, and flushes would take most of the time.
func inMemory(t *testing.T) func() *sqldb.DB {
	dir, err := os.MkdirTemp("/dev/shm", "dockbell-")
	if err != nil {
		return sqldbtest.SQLite(t)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return func() *sqldb.DB {
		db, err := sqldb.Open(bg, sqldb.Config{Path: filepath.Join(dir, "test.db"), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
}

// fuse stops a database in the midst of its work: after so many changes of rows
// it takes no more, as if the process had died there.
type fuse struct {
	left  atomic.Int64 // changes until it burns
	burnt func()
}

// fuses are those of the databases that are open, by number: triggers on their
// tables call the SQL function fuse with it.
var (
	fuses    sync.Map
	lastFuse atomic.Int64
	errBurnt = errors.New("the fuse has burnt")
)

func init() { // before a database is opened
	sqlite.MustRegisterScalarFunction("fuse", 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		found, ok := fuses.Load(args[0])
		if !ok {
			return nil, errBurnt
		}
		if f := found.(*fuse); f.left.Add(-1) < 0 {
			f.burnt()
			return nil, errBurnt
		}
		return nil, nil
	})
}

const never = 1 << 40 // changes of rows

// addFuse puts a fuse into the connection that writes.
func addFuse(t *testing.T, db *sqldb.DB, burnt func()) *fuse {
	f := &fuse{burnt: burnt}
	f.left.Store(never)
	number := lastFuse.Add(1)
	fuses.Store(number, f)
	err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
		for _, table := range []string{"event", "event_position", "endpoint", "delivery", "attempt", "attempt_volume", "attempt_count", "dead_letter", "replay"} {
			for _, change := range []string{"INSERT", "UPDATE", "DELETE"} {
				if _, err := tx.Exec(fmt.Sprintf("CREATE TEMP TRIGGER fuse_%s_%s BEFORE %[2]s ON main.%[1]s BEGIN SELECT fuse(%[3]d); END", table, change, number)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// world is what is around the engine: the owner of endpoints, receivers, and
// people.
type world struct {
	t    *testing.T
	seed uint64
	rnd  *rand.Rand // for the goroutine of the test alone
	open func() *sqldb.DB
	now  *existence
	life int // number of the process

	mu        sync.Mutex
	members   map[int64]*member
	events    map[int64]*event.Event // that committed
	seen      []*request
	cancelled map[int64]time.Time // replays, and when their cancelling was confirmed
	calm      bool                // all receivers are healthy
}

// member is an endpoint as its owner knows it.
type member struct {
	id, registry int64
	from         int64
	policy       ring.Policy
	host         string
	kind         string
	answers      ring.Answers
	batch        ring.Batch
	repository   string // that it wants; empty: all
	actor        string // whose doings it wants, which is not in the head of an event; empty: all
	alerts       bool   // it wants to hear of failing endpoints
	rules        []rule // oldest first
	dropped      bool
	mode         mode
	handled      bool                    // its dead letters were replayed or purged
	purged       map[int64]bool          // events of dead letters that were purged, or may have been
	wanted       map[int64]bool          // urgent events that were made for it
	filed        map[int64][]ring.Letter // by position, each key once
}

func (m *member) isSubscription() bool { return m.kind == kindSubscription }

// rule says from which position on an endpoint is enabled or not.
type rule struct {
	from    int64
	enabled bool
}

func (m *member) enabled() bool { return m.rules[len(m.rules)-1].enabled }

// wants holds an event against what m asks for, enabled or not.
func (m *member) wants(e *event.Event) bool {
	switch {
	case e.OwedTo != 0:
		return e.OwedTo == m.id
	case e.Action == event.WebhookFailing:
		return m.alerts && e.Registry.ID == m.registry
	}
	return e.Action != "" && e.Registry.ID == m.registry && (m.repository == "" || m.repository == e.Target.Repository) &&
		(m.actor == "" || m.actor == e.Actor)
}

// owed tells whether m was owed an event when it committed.
func (m *member) owed(e *event.Event) bool {
	enabled := e.OwedTo != 0
	for _, r := range m.rules {
		if r.from < e.Pos {
			enabled = r.enabled || e.OwedTo != 0
		}
	}
	return enabled && e.Pos > m.from && m.wants(e)
}

// mode is how a receiver answers.
type mode int

const (
	healthy mode = iota
	slow
	flapping
	down
	hanging
	refusing
	busy
	locked
	odd
	gone
	particular
	modes
)

// request is one that a receiver saw.
type request struct {
	owner, pos, replay int64
	elsewhere, urgent  bool
	life               int
	key                string // order key; empty where there is no order
	behind             bool   // an older event of the key is in the same request
	at                 time.Time
	answered           bool
	outcome            Outcome
}

// existence is one life of the process.
type existence struct {
	*world
	db     *sqldb.DB
	outbox *outbox.Outbox
	engine *Engine
	fuse   *fuse
	over   chan struct{} // closed when nothing of it is left
	ctx    context.Context
	die    context.CancelFunc

	// Guarded by world.mu: requests in flight, and when the last one came, per
	// endpoint or replay elsewhere.
	flights map[string]int
	latest  map[string]time.Time
}

// complaints is where the engine logs errors. While the database works, there is
// nothing to complain about.
type complaints struct{ *existence }

func (c complaints) Write(line []byte) (int, error) {
	if !c.isDead() {
		c.t.Errorf("the engine complains: %s", line)
		c.die()
	}
	return len(line), nil
}

func (l *existence) isDead() bool { return l.ctx.Err() != nil }

// start brings the process to life. It may die while it starts.
func (w *world) start() {
	for {
		w.life++
		l := &existence{world: w, over: make(chan struct{}), flights: map[string]int{}, latest: map[string]time.Time{}}
		l.ctx, l.die = context.WithCancel(bg)
		l.db = w.open()
		l.fuse = addFuse(w.t, l.db, l.die)
		l.engine = New(Options{DB: l.db, Poster: l, Log: slog.New(slog.NewTextHandler(complaints{l}, &slog.HandlerOptions{Level: slog.LevelError})), Node: "test", MaxInFlight: 4 + int(w.seed%3)*60, MaxPerHost: 2 + int(w.seed%5)*8})
		l.outbox = outbox.New(l.engine.Committed)
		w.now = l
		w.checkBooks(stopped)
		if w.life > 1 && w.rnd.IntN(5) == 0 {
			l.fuse.left.Store(w.rnd.Int64N(40))
		}
		err := l.engine.Start(bg, l)
		if err == nil {
			w.log("started")
			return
		}
		if !l.isDead() {
			w.t.Fatalf("the engine does not start: %v", err)
		}
		close(l.over)
		l.db.Close()
	}
}

// crash ends the process at once.
func (w *world) crash() {
	l := w.now
	l.die()
	l.db.Close()
	close(l.over)
	l.engine.Stop(l.ctx)
}

func (w *world) restart() {
	w.crash()
	w.start()
}

// restartOrderly is what an operator does.
func (w *world) restartOrderly() {
	l := w.now
	w.log("restart in order")
	ctx, cancel := context.WithTimeout(bg, time.Duration(w.rnd.IntN(20))*time.Second)
	defer cancel()
	l.engine.Stop(ctx)
	l.die()
	close(l.over)
	l.db.Close()
	w.start()
}

func (w *world) end() {
	if w.t.Failed() {
		w.t.Logf("DOCKBELL_TEST_SEEDS=%d-%d go test ./internal/delivery -run TestSimulation", w.seed, w.seed+1)
	}
	w.crash()
}

// sleep waits, unless the process dies.
func (w *world) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.now.ctx.Done():
	}
}

// What the engine asks the owner of endpoints.

func (l *existence) InForce() func(*event.Event) []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var of []*member
	enabled := map[int64]bool{}
	for _, m := range l.members {
		if !m.dropped {
			of = append(of, m)
			enabled[m.id] = m.enabled()
		}
	}
	return func(e *event.Event) (ids []int64) {
		for _, m := range of {
			if (enabled[m.id] || e.OwedTo != 0) && m.wants(e) {
				ids = append(ids, m.id)
			}
		}
		slices.Sort(ids)
		return ids
	}
}

func (l *existence) MatchAt(_ *sqldb.Tx, e *event.Event) (ids []int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.members {
		if !m.dropped && m.owed(e) {
			ids = append(ids, m.id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (l *existence) History(_ *sqldb.Tx, _, endpoint int64) (ring.Rule, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[endpoint]
	if m == nil || m.dropped {
		return ring.Rule{Takes: func(*event.Event) bool { return false }}, nil
	}
	then := *m
	then.rules = slices.Clone(m.rules)
	return ring.Rule{Takes: then.owed, Whole: m.actor != ""}, nil
}

func (l *existence) Wants(_, endpoint int64) ring.Rule {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[endpoint]
	return ring.Rule{Takes: func(e *event.Event) bool { return m != nil && m.wants(e) }, Whole: m != nil && m.actor != ""}
}

func (l *existence) Terms(_, endpoint int64) (ring.Terms, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[endpoint]
	if m == nil || m.dropped {
		return ring.Terms{}, false
	}
	return ring.Terms{Policy: m.policy, Answers: m.answers, Batch: m.batch, Host: m.host, Disabled: !m.enabled()}, true
}

func (l *existence) ElsewhereHost(sealed []byte) string { return string(sealed) }

func (l *existence) Request(c ring.Call) (outbound.Request, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.members[c.Endpoint]
	if m == nil || m.dropped || !m.enabled() && c.Event.OwedTo == 0 && c.Elsewhere == nil {
		return outbound.Request{}, false
	}
	urgently := c.Event.Action == event.Ping || c.Event.Sample
	var rest []string
	for _, e := range c.Rest {
		rest = append(rest, fmt.Sprint(e.Pos))
		if urgently || e.Action == event.Ping || e.Sample {
			l.t.Errorf("what a person waits for is sent with %d others", len(c.Rest))
		}
	}
	return outbound.Request{URL: fmt.Sprintf("%d %d %d %t %s", c.Endpoint, c.Event.Pos, c.Replay, urgently, c.Elsewhere), Body: []byte(strings.Join(rest, " "))}, true
}

func (l *existence) Report(tx *sqldb.Tx, r ring.Report) error {
	e := &event.Event{Action: event.WebhookFailing, Registry: event.Registry{ID: r.Registry, Location: "local"}, Target: event.Target{Digest: fmt.Sprint(r.Endpoint)}, Webhook: &event.Webhook{Endpoint: r.Endpoint}}
	return l.append(tx, e)
}

func (l *existence) Disable(ctx context.Context, _, endpoint int64, why string) error {
	return l.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error { return l.enable(tx, endpoint, false, why) })
}

// enable writes that an endpoint is enabled from here on, or not.
func (l *existence) enable(tx *sqldb.Tx, endpoint int64, enabled bool, why string) error {
	l.mu.Lock()
	m := l.members[endpoint]
	already := m.dropped || m.enabled() == enabled
	l.mu.Unlock()
	if already {
		return nil
	}
	last, err := outbox.Last(tx)
	if err != nil {
		return err
	}
	if !enabled {
		if err := l.engine.Disabled(tx, endpoint, why); err != nil {
			return err
		}
	}
	// A change of its own rows, as the owner of endpoints would have it.
	if _, err := tx.Exec("UPDATE endpoint SET location = location WHERE id = $1", endpoint); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		m.rules = append(m.rules, rule{last, enabled})
	})
	return nil
}

// append commits an event.
func (l *existence) append(tx *sqldb.Tx, e *event.Event) error {
	tx.AfterCommit(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.events[e.Pos] = e
		if urgent(e) {
			l.members[e.OwedTo].wanted[e.Pos] = true
		}
	})
	return l.outbox.Append(tx, outbox.Prepare(e))
}

// key is the order in which m asked for an event; empty: it asked for none.
func (m *member) key(e *event.Event) string {
	switch {
	case urgent(e) || m.policy.Order == ring.Unordered:
		return ""
	case m.policy.Order == ring.PerRepository || e.Target.Tag != "":
		key := "repository " + e.Target.Repository
		if m.policy.Order == ring.PerTag {
			key += " tag " + e.Target.Tag
		}
		return key
	}
	return "digest " + e.Target.Repository + e.Target.Digest
}

// Post is a receiver. It also sees to it that the engine keeps to what the
// endpoint allows at this moment.
func (l *existence) Post(ctx context.Context, req outbound.Request) outbound.Result {
	g := &request{life: l.life, at: time.Now()}
	var elsewhere string
	fmt.Sscanf(req.URL, "%d %d %d %t %s", &g.owner, &g.pos, &g.replay, &g.urgent, &elsewhere)
	g.elsewhere = elsewhere != ""
	place := fmt.Sprint("endpoint ", g.owner)
	if g.elsewhere {
		place = fmt.Sprint("elsewhere of replay ", g.replay)
	}
	if l.isDead() {
		return l.hang(ctx, g.at)
	}
	all := []*request{g}
	for _, pos := range strings.Fields(string(req.Body)) {
		other := *g
		other.pos, _ = strconv.ParseInt(pos, 10, 64)
		all = append(all, &other)
	}
	probing := l.watch(g)

	l.mu.Lock()
	m := l.members[g.owner]
	l.checkBatch(m, all, probing)
	if !g.urgent {
		if at, ok := l.cancelled[g.replay]; ok && at.Before(g.at) {
			l.t.Errorf("event %d was sent %s after replay %d was cancelled", g.pos, g.at.Sub(at), g.replay)
		}
		n := l.flights[place]
		if n >= maxWindow {
			l.t.Errorf("%s: %d requests at once", place, n+1)
		}
		if probing && n > 0 {
			l.t.Errorf("%s: event %d was sent beside %d others though the breaker is open", place, g.pos, n)
		}
		if m.policy.PerMinute > 0 {
			apart := time.Minute / time.Duration(m.policy.PerMinute)
			if last, ok := l.latest[place]; ok && g.at.Sub(last) < apart {
				l.t.Errorf("%s: event %d was sent %s after another, the rate allows one in %s", place, g.pos, g.at.Sub(last), apart)
			}
		}
		l.latest[place] = g.at
		l.flights[place]++
	}
	tries := 0
	for _, each := range all {
		each.key = m.key(l.events[each.pos])
		for _, other := range l.seen {
			if other.owner == each.owner && other.pos == each.pos && other.replay == each.replay {
				if each == g {
					tries++
				}
				if each.key != "" && !other.answered && other.life == each.life {
					l.t.Errorf("%s: event %d is sent twice at once", place, each.pos)
				}
			}
		}
	}
	l.seen = append(l.seen, all...)
	res := l.answer(m, g, tries)
	l.mu.Unlock()

	if res.Duration > 0 {
		select {
		case <-time.After(res.Duration):
		case <-ctx.Done():
			res = outbound.Result{Class: outbound.Cancelled}
		case <-l.over:
		}
	}
	if l.isDead() {
		return l.hang(ctx, g.at)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, each := range all {
		each.answered, each.outcome = true, tables[m.answers].judge(res).outcome
	}
	if !g.urgent {
		l.flights[place]--
	}
	res.Started, res.Duration = g.at, time.Since(g.at)
	return res
}

// checkBatch checks that what goes in one request may.
func (l *existence) checkBatch(m *member, all []*request, probing bool) {
	var positions []int64
	bytes := 0
	newest := map[string]int64{}
	for _, g := range all {
		e := l.events[g.pos]
		positions, bytes = append(positions, g.pos), bytes+event.EncodedSize(e)
		if key := m.key(e); key != "" {
			if g.pos <= newest[key] {
				l.t.Errorf("endpoint %d: events %v go in one request: %d is of the key of one before it", m.id, positions, g.pos)
			}
			g.behind = newest[key] > 0
			newest[key] = g.pos
		}
	}
	n := len(all)
	if n > 1 && (n > m.batch.Events || m.batch.Bytes > 0 && bytes > m.batch.Bytes || probing) {
		l.t.Errorf("endpoint %d: events %v of %d bytes go in one request, probe: %t; it takes %+v", m.id, positions, bytes, probing, m.batch)
	}
}

// hang is a request of a process that is dead: nobody sees it.
func (l *existence) hang(ctx context.Context, started time.Time) outbound.Result {
	select {
	case <-l.over:
	case <-ctx.Done():
	}
	return outbound.Result{Class: outbound.Cancelled, Started: started}
}

// watch checks what only the engine knows, and reports whether the breaker is
// open and was before this moment: at the same one, much happens.
func (l *existence) watch(g *request) bool {
	e := l.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	ep := e.endpoints[g.owner]
	if g.elsewhere {
		ep = nil
		if r := e.replays[g.replay]; r != nil {
			ep = r.target
		}
	}
	if ep == nil || g.urgent {
		return false
	}
	if ep.pausedAt.Before(g.at) && !ep.pausedAt.IsZero() && g.replay == 0 {
		l.t.Errorf("event %d was sent to endpoint %d, which is paused", g.pos, g.owner)
	}
	if !ep.breaker.open() || !ep.breaker.openedAt.Before(g.at) {
		return false
	}
	if due := ep.breaker.nextProbe; due.After(g.at) {
		l.t.Errorf("endpoint %d was probed %s too early", g.owner, due.Sub(g.at))
	}
	return true
}

// answer is what a receiver does with a request. It follows from the seed.
func (w *world) answer(m *member, g *request, tries int) outbound.Result {
	dice := rand.New(rand.NewPCG(w.seed<<32|uint64(g.owner)<<16|uint64(tries), uint64(g.pos)<<16|uint64(g.replay)))
	took := func(res outbound.Result, d time.Duration) outbound.Result {
		res.Duration = time.Duration(dice.Int64N(int64(d)))
		return res
	}
	is := m.mode
	if w.calm || g.elsewhere && dice.IntN(4) > 0 {
		is = healthy
	}
	switch is {
	case slow:
		return took(status(200), 9*time.Second)
	case flapping:
		if dice.IntN(2) == 0 {
			return took(status([]int{500, 502, 503, 504}[dice.IntN(4)]), time.Second)
		}
	case down:
		return unreachable()
	case hanging:
		return outbound.Result{Class: outbound.Timeout, Duration: m.policy.Timeout}
	case refusing:
		return took(status(400), time.Second)
	case gone:
		return took(status(410), 3*time.Second)
	case busy:
		if dice.IntN(3) > 0 {
			res := took(status(429), time.Second)
			res.Answer.Header["Retry-After"] = strconv.Itoa(20 + dice.IntN(900))
			return res
		}
	case locked:
		return status(401 + 2*dice.IntN(2))
	case particular:
		return status([]int{200, 202, 205, 400, 404, 408, 413, 503}[dice.IntN(8)])
	case odd:
		return []outbound.Result{status(301), status(404), status(200), {Class: outbound.Proxy}, {Class: outbound.DNS}, {Class: outbound.Protocol}}[dice.IntN(6)]
	}
	if dice.IntN(2) == 0 {
		return status(200)
	}
	return took(status(204), 100*time.Millisecond)
}

// step is one thing that happens.
func (w *world) step() {
	choices := []struct {
		weight int
		do     func()
	}{
		{30, w.pushSome}, {1, w.pushMany}, {10, w.changeMode}, {4, w.pause}, {6, w.resume}, {3, w.redeliver}, {4, w.replay},
		{4, w.redrive}, {4, w.cancel}, {2, w.purge}, {1, w.drop}, {3, w.disable}, {4, w.reenable}, {2, w.changed}, {3, w.try},
		{4, w.restart}, {2, w.restartOrderly}, {8, w.light}, {6, w.file},
	}
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	n := w.rnd.IntN(total)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			c.do()
			break
		}
	}
	switch w.rnd.IntN(10) {
	case 0, 1, 2:
		w.sleep(time.Duration(w.rnd.IntN(5000)) * time.Millisecond)
	case 3, 4, 5:
		w.sleep(time.Duration(w.rnd.IntN(300)) * time.Second)
	case 6:
		w.sleep(time.Duration(w.rnd.IntN(300)) * time.Minute)
	}
}

// light has the process die after some more changes of rows.
func (w *world) light() {
	most := []int64{3, 30, 300}[w.rnd.IntN(3)]
	w.log("crash before long")
	w.now.fuse.left.Store(w.rnd.Int64N(most))
}

// did is for what may fail because the process died, or there is nothing to do
// it to.
func (w *world) did(err error) bool {
	if err != nil && !w.now.isDead() && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Conflict) {
		w.t.Errorf("refused: %v", err)
	}
	return err == nil
}

func (w *world) write(fn func(*sqldb.Tx) error) bool {
	return w.did(w.now.db.Write(w.now.ctx, sqldb.Change, fn))
}

// any returns a member that is there, nil if none is.
func (w *world) any() *member {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := slices.Sorted(maps.Keys(w.members))
	ids = slices.DeleteFunc(ids, func(id int64) bool { return w.members[id].dropped })
	if len(ids) == 0 {
		return nil
	}
	return w.members[ids[w.rnd.IntN(len(ids))]]
}

func pick[T any](w *world, of ...T) T { return of[w.rnd.IntN(len(of))] }

func (w *world) add() {
	p := ring.Default()
	p.Order = pick(w, ring.PerTag, ring.PerTag, ring.PerRepository, ring.Unordered)
	p.TTL = pick(w, 72*time.Hour, 24*time.Hour, time.Hour, 10*time.Minute, time.Minute)
	p.MaxAttempts = pick(w, 30, 30, 30, 5, 2, 1)
	p.PerMinute = pick(w, 0, 0, 0, 0, 600, 60, 7)
	m := &member{
		registry: int64(1 + w.rnd.IntN(2)), policy: p, host: pick(w, "a", "b", "c", "d"), repository: pick(w, "", "", "app", "team/x"),
		alerts: w.rnd.IntN(3) == 0, purged: map[int64]bool{}, wanted: map[int64]bool{}, filed: map[int64][]ring.Letter{}, kind: kindWebhook,
	}
	if w.rnd.IntN(2) == 0 {
		m.kind, m.actor = kindSubscription, pick(w, "", "", "ann")
		m.answers = pick(w, ring.OfEventGrid, ring.OfEventGrid, ring.OfBrokers)
		m.batch = ring.Batch{Events: pick(w, 0, 1, 2, 10, 5000), Bytes: pick(w, 0, 1, 3000, 65536)}
	}
	l := w.now
	defer func() { w.log("endpoint %d: %+v", m.id, *m) }()
	w.write(func(tx *sqldb.Tx) (err error) {
		if m.id, err = l.engine.Add(tx, m.kind, m.registry, "local"); err != nil {
			return err
		}
		if m.from, err = outbox.Last(tx); err != nil {
			return err
		}
		tx.AfterCommit(func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			m.rules = []rule{{m.from, true}}
			l.members[m.id] = m
		})
		return nil
	})
}

func (w *world) push(n int) {
	events := make([]*event.Event, n)
	w.log("push %d", n)
	for i := range events {
		events[i] = &event.Event{
			Action: event.Push, Registry: event.Registry{ID: int64(1 + w.rnd.IntN(2)), Location: "local"}, Actor: pick(w, "ann", "ben"),
			Target: event.Target{Repository: pick(w, "app", "app", "team/x", "team/y"), Tag: pick(w, "", "latest", "latest", "v1", "v2", "v3"), Digest: fmt.Sprint("sha256:", w.rnd.Uint64())},
		}
	}
	w.write(func(tx *sqldb.Tx) error {
		for _, e := range events {
			if err := w.now.append(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) pushSome() {
	for range 1 + w.rnd.IntN(15) {
		w.push(1 + w.rnd.IntN(3))
		if w.rnd.IntN(3) == 0 {
			w.sleep(time.Duration(w.rnd.IntN(2000)) * time.Millisecond)
		}
		if w.now.isDead() {
			return
		}
	}
}

func (w *world) pushMany() { w.push(pick(w, 300, 600, 1200)) }

func (w *world) changeMode() {
	if m := w.any(); m != nil {
		w.mu.Lock()
		m.mode = mode(w.rnd.IntN(int(modes)))
		if w.rnd.IntN(3) == 0 {
			m.mode = healthy
		}
		w.log("mode of %d is %d", m.id, m.mode)
		w.mu.Unlock()
	}
}

func (w *world) pause() {
	if m := w.any(); m != nil {
		w.log("pause %d", m.id)
		w.did(w.now.engine.Pause(w.now.ctx, m.id))
	}
}

func (w *world) resume() {
	if m := w.any(); m != nil {
		w.log("resume %d", m.id)
		w.did(w.now.engine.Resume(w.now.ctx, m.id))
	}
}

func (w *world) ask(m *member, s Selection) {
	r := ReplayRequest{Registry: m.registry, Endpoint: m.id, Selection: s, By: "test", PerMinute: pick(w, 0, 0, 600, 60)}
	if w.rnd.IntN(4) == 0 {
		r.Elsewhere = []byte(pick(w, "elsewhere", "far"))
	}
	w.log("replay %+v", r)
	_, err := w.now.engine.Replay(w.now.ctx, r)
	w.did(err)
}

func (w *world) redeliver() {
	m := w.any()
	w.mu.Lock()
	positions := slices.Sorted(maps.Keys(w.events))
	w.mu.Unlock()
	if m == nil || len(positions) == 0 {
		return
	}
	w.mu.Lock()
	e := w.events[positions[w.rnd.IntN(len(positions))]]
	w.mu.Unlock()
	w.ask(m, Selection{EventID: e.ID})
}

func (w *world) replay() {
	m := w.any()
	if m == nil {
		return
	}
	s := Selection{Only: pick(w, "", Undelivered, Undelivered, OnlyRefused, OnlyDelivered), Repository: pick(w, "", "", "team/*", "app")}
	if w.rnd.IntN(2) == 0 {
		s.From = time.Now().Add(-time.Duration(1+w.rnd.IntN(600)) * time.Minute)
	}
	if w.rnd.IntN(4) == 0 {
		s.After = int64(w.rnd.IntN(200))
	}
	w.ask(m, s)
}

// letters returns some dead letters of m, and notes that m's are handled.
func (w *world) letters(m *member) (ids []int64, events [][2]int64) {
	list, _, err := w.now.engine.DeadLetters(w.now.ctx, m.id, "", 1000)
	if !w.did(err) {
		return nil, nil
	}
	for _, d := range list {
		if w.rnd.IntN(2) == 0 {
			ids, events = append(ids, d.ID), append(events, [2]int64{d.PosFrom, d.PosTo})
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	m.handled = m.handled || len(ids) > 0
	return ids, events
}

func (w *world) redrive() {
	m := w.any()
	if m == nil {
		return
	}
	if w.rnd.IntN(2) == 0 {
		w.mu.Lock()
		m.handled = true
		w.mu.Unlock()
		w.ask(m, Selection{AllDeadLetters: true})
		return
	}
	if ids, _ := w.letters(m); ids != nil {
		w.ask(m, Selection{DeadLetters: ids})
	}
}

func (w *world) purge() {
	m := w.any()
	if m == nil {
		return
	}
	ids, events := w.letters(m)
	if ids == nil {
		return
	}
	w.log("purge %v of %d", ids, m.id)
	w.mu.Lock()
	for _, span := range events {
		for pos := span[0]; pos <= span[1]; pos++ {
			m.purged[pos] = true
		}
	}
	w.mu.Unlock()
	_, err := w.now.engine.PurgeDeadLetters(w.now.ctx, m.id, ids)
	w.did(err)
}

// file is what the owner of subscriptions does with dead letters. It may die before
// it has said that they are filed.
func (w *world) file() {
	m := w.any()
	if m == nil || !m.isSubscription() {
		return
	}
	w.fileSome(m, 1+w.rnd.IntN(100))
}

func (w *world) fileSome(m *member, n int) (more bool) {
	letters, err := w.now.engine.Unfiled(w.now.ctx, m.id, n)
	if !w.did(err) {
		return false
	}
	w.mu.Lock()
	for _, l := range letters {
		pos := l.Event.Pos
		if !slices.ContainsFunc(m.filed[pos], func(other ring.Letter) bool { return other.Key == l.Key }) {
			m.filed[pos] = append(m.filed[pos], l)
		}
		if l.Event.Actor == "" && l.Event.Action == event.Push || l.Reason == "" || l.LastOutcome == "" {
			w.t.Errorf("endpoint %d: event %d is filed with %+v", m.id, pos, l)
		}
	}
	w.mu.Unlock()
	return w.did(w.now.engine.Filed(w.now.ctx, letters)) && len(letters) > 0
}

func (w *world) cancel() {
	w.now.engine.mu.Lock()
	running := slices.Sorted(maps.Keys(w.now.engine.replays))
	var of int64
	var id int64
	if len(running) > 0 {
		id = running[w.rnd.IntN(len(running))]
		of = w.now.engine.replays[id].endpoint
	}
	w.now.engine.mu.Unlock()
	if id == 0 {
		return
	}
	w.log("cancel replay %d", id)
	if _, err := w.now.engine.CancelReplay(w.now.ctx, of, id); w.did(err) {
		w.mu.Lock()
		w.cancelled[id] = time.Now()
		w.mu.Unlock()
	}
}

func (w *world) drop() {
	m := w.any()
	if m == nil {
		return
	}
	l := w.now
	w.log("drop %d", m.id)
	w.write(func(tx *sqldb.Tx) error {
		tx.AfterCommit(func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			m.dropped = true
		})
		return l.engine.Drop(tx, m.id)
	})
	w.add()
}

func (w *world) disable() {
	if m := w.any(); m != nil {
		w.log("disable %d", m.id)
		w.write(func(tx *sqldb.Tx) error { return w.now.enable(tx, m.id, false, "a person did it") })
	}
}

func (w *world) reenable() {
	w.mu.Lock()
	var off []int64
	for id, m := range w.members {
		if !m.dropped && !m.enabled() {
			off = append(off, id)
		}
	}
	w.mu.Unlock()
	slices.Sort(off)
	for _, id := range off {
		w.log("enable %d", id)
		w.write(func(tx *sqldb.Tx) error { return w.now.enable(tx, id, true, "") })
	}
}

func (w *world) changed() {
	m := w.any()
	if m == nil {
		return
	}
	w.log("another address for %d", m.id)
	w.write(func(tx *sqldb.Tx) error { return w.now.engine.Changed(tx, m.id) })
}

// log tells those who look for the cause of a failure what happened.
func (w *world) log(format string, args ...any) {
	w.t.Logf("%s, life %d: %s", time.Now().Format("2 Jan 15:04:05"), w.life, fmt.Sprintf(format, args...))
}

// try sends a ping or a sample.
func (w *world) try() {
	m := w.any()
	if m == nil {
		return
	}
	e := &event.Event{Action: event.Ping, Registry: event.Registry{ID: m.registry, Location: "local"}, OwedTo: m.id}
	w.log("try %d", m.id)
	if w.rnd.IntN(2) == 0 {
		e.Action, e.Sample = event.Push, true
		e.Target = event.Target{Repository: "app", Tag: "latest"}
	}
	w.write(func(tx *sqldb.Tx) error { return w.now.append(tx, e) })
}

// settleDown makes everything healthy, lets time pass, and checks that nothing
// is left but what waits for a person.
func (w *world) settleDown() {
	w.now.fuse.left.Store(never)
	w.mu.Lock()
	w.calm = true
	w.mu.Unlock()
	if w.now.isDead() {
		w.restart()
	}
	w.now.fuse.left.Store(never)
	for range 3 {
		w.sleep(12 * time.Hour)
		w.resume()
		w.push(20) // a breaker that is open has something to probe with
	}
	w.sleep(36 * time.Hour)
	synctest.Wait()
	for _, id := range slices.Sorted(maps.Keys(w.members)) {
		if m := w.members[id]; m.isSubscription() && !m.dropped {
			for w.fileSome(m, 100) {
			}
		}
	}
	w.checkBooks(settledDown)
}

// books is all that the database says about deliveries.
type books struct {
	last, expanded int64
	attempts       map[deliveryID][]attemptRow // by n
	rows           map[deliveryID]deliveryRow
	letters        map[int64][]DeadLetter
	endpoints      map[int64]endpointRow
	replays        map[int64]replayRow
	volume, bytes  int64 // what the attempts take as it was added up, and as it is
	miscounted     []string
}

// deliveryID names a delivery: a replay's, or if that is 0 the first.
type deliveryID struct{ endpoint, pos, replay int64 }

type attemptRow struct {
	n       int
	started int64
	outcome Outcome
}

type deliveryRow struct {
	state, key string
	attempts   int
}

type endpointRow struct {
	kind   string
	parked bool
	cursor int64
	fed    span
	paused bool
}

type replayRow struct {
	id, endpoint, target                             int64
	state                                            ReplayState
	redrive                                          bool
	cursor, until, matched, delivered, refused, dead int64
	taken                                            []taken
}

// took tells whether a dead letter that the replay took over covers a position.
func (r replayRow) took(pos int64) bool {
	return slices.ContainsFunc(r.taken, func(t taken) bool { return t.From <= pos && pos <= t.To })
}

func readBooks(db *sqldb.DB) (b *books, err error) {
	b = &books{
		attempts: map[deliveryID][]attemptRow{}, rows: map[deliveryID]deliveryRow{}, letters: map[int64][]DeadLetter{},
		endpoints: map[int64]endpointRow{}, replays: map[int64]replayRow{},
	}
	err = db.Read(bg, func(tx *sqldb.Tx) error {
		var errs [9]error
		b.last, errs[0] = outbox.Last(tx)
		b.expanded, errs[1] = outbox.Expanded(tx)
		errs[2] = tx.Each("SELECT endpoint, pos, replay_no, n, started_at, outcome FROM attempt ORDER BY n", nil, func(s sqldb.Scan) error {
			var id deliveryID
			var a attemptRow
			err := s(&id.endpoint, &id.pos, &id.replay, &a.n, &a.started, &a.outcome)
			b.attempts[id] = append(b.attempts[id], a)
			return err
		})
		errs[3] = tx.Each("SELECT endpoint, pos, replay_no, state, order_key, attempts FROM delivery", nil, func(s sqldb.Scan) error {
			var id deliveryID
			var r deliveryRow
			err := s(&id.endpoint, &id.pos, &id.replay, &r.state, &r.key, &r.attempts)
			b.rows[id] = r
			return err
		})
		errs[4] = tx.Each("SELECT endpoint, id, pos_from, pos_to, count, reason FROM dead_letter ORDER BY id", nil, func(s sqldb.Scan) error {
			var endpoint int64
			var d DeadLetter
			err := s(&endpoint, &d.ID, &d.PosFrom, &d.PosTo, &d.Count, &d.Reason)
			b.letters[endpoint] = append(b.letters[endpoint], d)
			return err
		})
		errs[5] = tx.Each("SELECT id, kind, cursor IS NOT NULL, coalesce(cursor, 0), coalesce(fed_from, 0), coalesce(fed_to, 0), paused_at IS NOT NULL FROM endpoint", nil, func(s sqldb.Scan) error {
			var id int64
			var e endpointRow
			err := s(&id, &e.kind, &e.parked, &e.cursor, &e.fed.from, &e.fed.to, &e.paused)
			b.endpoints[id] = e
			return err
		})
		errs[6] = tx.Each("SELECT id, endpoint, target, state, redrive, cursor, until_pos, matched, delivered, refused, dead, selection FROM replay", nil, func(s sqldb.Scan) error {
			var r replayRow
			var selection string
			err := s(&r.id, &r.endpoint, &r.target, &r.state, &r.redrive, &r.cursor, &r.until, &r.matched, &r.delivered, &r.refused, &r.dead, &selection)
			kept, err2 := parseStored(selection)
			r.taken = kept.Taken
			b.replays[r.id] = r
			return errors.Join(err, err2)
		})
		errs[7] = tx.Get(`SELECT coalesce((SELECT sum(bytes) FROM attempt_volume), 0),
			coalesce((SELECT sum($1 + length(request_head) + coalesce(length(response_head), 0) + coalesce(length(response_body), 0)) FROM attempt), 0)`,
			[]any{rowOverhead}, &b.volume, &b.bytes)
		b.miscounted, errs[8] = miscounted(tx)
		return errors.Join(errs[:]...)
	})
	return b, err
}

// moment says when the books are checked.
type moment bool

const (
	stopped     moment = false // between two lives of the process
	settledDown moment = true  // all is healthy, and time has passed
)

// checkBooks is the checker of a history. From what is on record and from what
// receivers saw, it checks that
//
//   - every event that was owed to an endpoint was delivered or refused, or has a
//     row, or is behind the cursor, among the dead letters, or with a replay
//     that took it from there; or the next start takes it up, for it is beyond
//     the mark, or among what the endpoint was handed from behind its cursor;
//   - of these it is one only, as far as they end it;
//   - attempts of a delivery are counted without gap, and none comes after the
//     one that ended it;
//   - no receiver saw more requests than are on record, or will be as
//     interrupted;
//   - what was delivered in the order of a key was never older than what was
//     before it, and within one life nothing older was even tried;
//   - who waits behind somebody waits behind somebody who is there;
//   - the counters of replays and the volume and figures of the attempts add up;
//   - rows are bounded; and once everything has settled down, there are none but
//     those of paused endpoints, no replay runs, and no endpoint is parked.
func (w *world) checkBooks(at moment) {
	b, err := readBooks(w.now.db)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	fail := func(format string, args ...any) {
		w.t.Errorf("life %d, %s: %s", w.life, time.Now().Format("2 Jan 15:04:05"), fmt.Sprintf(format, args...))
	}
	for _, id := range slices.Sorted(maps.Keys(w.members)) {
		m := w.members[id]
		if m.dropped {
			continue
		}
		w.checkOwed(b, m, at, fail)
		if m.isSubscription() && at == settledDown {
			w.checkFiled(b, m, fail)
		}
	}
	w.checkAttempts(b, at, fail)
	w.checkOrder(b, fail)
	w.checkReplays(b, at, fail)
	w.checkRows(b, at, fail)
	if b.volume != b.bytes {
		fail("attempts are said to take %d bytes, and take %d", b.volume, b.bytes)
	}
	for _, hour := range b.miscounted {
		fail("%s", hour)
	}
}

// report tells what is wrong.
type report func(format string, args ...any)

// checkOwed checks that each event that m was owed is somewhere.
func (w *world) checkOwed(b *books, m *member, at moment, fail report) {
	ep := b.endpoints[m.id]
	var owed, ended, rows, behind, dead, tried, unsure int64
	covered := map[int64]int{}
	alone := map[int64]int{}
	for _, d := range b.letters[m.id] {
		dead += d.Count
		if d.PosFrom == d.PosTo {
			alone[d.PosFrom]++
		}
		for pos := d.PosFrom; pos <= d.PosTo; pos++ {
			covered[pos]++
		}
	}
	for _, pos := range slices.Sorted(maps.Keys(w.events)) {
		e := w.events[pos]
		if !m.owed(e) {
			continue
		}
		first := deliveryID{m.id, pos, 0}
		_, hasRow := b.rows[first]
		end := b.ended(first)
		if m.isSubscription() && end { // what it refuses is a dead letter
			end = b.attempts[first][len(b.attempts[first])-1].outcome == Delivered
		}
		isBehind := ep.parked && pos > ep.cursor
		if urgent(e) {
			if len(b.attempts[first]) == 0 && !hasRow && pos <= b.expanded && covered[pos] == 0 {
				fail("event %d, which somebody waits for, was never sent to endpoint %d", pos, m.id)
			}
			if covered[pos] > 0 {
				tried++
			}
			continue
		}
		owed++
		if list := b.attempts[first]; !end && !hasRow && covered[pos] > 0 && len(list) == 1 && list[0].outcome == Interrupted {
			unsure++
		}
		switch {
		case end:
			ended++
		case hasRow:
			rows++
		case isBehind && alone[pos] == 0 && covered[pos] == 0:
			behind++
		}
		if end && alone[pos] > 0 || hasRow && alone[pos] > 0 || alone[pos] > 1 {
			if !m.handled {
				fail("endpoint %d, event %d: ended %t, row %t, %d dead letters: want one of them", m.id, pos, end, hasRow, alone[pos])
			}
		}
		if end || hasRow || isBehind || covered[pos] > 0 || b.isTakenUp(first) || m.purged[pos] || b.redriven(m.id, pos) {
			continue
		}
		fail("endpoint %d: event %d is lost; %s", m.id, pos, w.lineOf(b, first))
	}
	// What somebody waits for may be among the dead letters, and is not counted. A
	// range of them may hold an event without counting it, if a crash cut it off
	// while its neighbours were given up.
	if sum := ended + rows + behind + dead; at == settledDown && !m.handled && (sum < owed-unsure || sum > owed+tried) {
		var open []int64
		for _, pos := range slices.Sorted(maps.Keys(w.events)) {
			if e := w.events[pos]; m.owed(e) && !b.ended(deliveryID{m.id, pos, 0}) {
				open = append(open, pos)
			}
		}
		fail("endpoint %d was owed %d events: %d ended, %d have rows, %d are behind the cursor, %d given up: %v of %v", m.id, owed, ended, rows, behind, dead, b.letters[m.id], open)
	}
}

// checkFiled checks that each event that is among the dead letters of m is filed,
// and no other: of one that nobody meddled with, each once and as many as the dead
// letters count.
func (w *world) checkFiled(b *books, m *member, fail report) {
	count := map[int64]int64{} // by dead letter
	for _, pos := range slices.Sorted(maps.Keys(m.filed)) {
		letters := m.filed[pos]
		for _, l := range letters {
			count[l.ID]++
		}
		if e := w.events[pos]; !m.owed(e) {
			fail("endpoint %d: event %d is filed, and was not owed: %+v", m.id, pos, letters)
		}
		if m.handled {
			continue
		}
		first := deliveryID{m.id, pos, 0}
		if len(letters) > 1 || slices.ContainsFunc(b.attempts[first], func(a attemptRow) bool { return a.outcome == Delivered }) {
			fail("endpoint %d: event %d is filed as %+v; %s", m.id, pos, letters, w.lineOf(b, first))
		}
		if tried := len(b.attempts[first]); letters[0].Attempts != tried {
			fail("endpoint %d: event %d is filed with %d attempts, %d are on record", m.id, pos, letters[0].Attempts, tried)
		}
	}
	for _, d := range b.letters[m.id] {
		urgently := int64(0)
		if d.PosFrom == d.PosTo && urgent(w.events[d.PosFrom]) {
			urgently = 1
		}
		ended := int64(0) // by a replay, before it was filed or after
		for id := range b.attempts {
			if id.endpoint == m.id && id.replay > 0 && d.PosFrom <= id.pos && id.pos <= d.PosTo && b.ended(id) {
				ended++
			}
		}
		if n := count[d.ID]; n > d.Count || !m.handled && (n > d.Count-urgently || n < d.Count-urgently-ended) {
			fail("endpoint %d: of dead letter %+v %d events are filed", m.id, d, n)
		}
	}
}

// isTakenUp tells whether the next start looks for what became of a first attempt.
func (b *books) isTakenUp(id deliveryID) bool {
	fed := b.endpoints[id.endpoint].fed
	return id.replay == 0 && (id.pos > b.expanded || fed.from < id.pos && id.pos <= fed.to)
}

// ended tells whether a delivery was delivered or refused.
func (b *books) ended(id deliveryID) bool {
	return slices.ContainsFunc(b.attempts[id], func(a attemptRow) bool { return a.outcome == Delivered || a.outcome == Refused })
}

// redriven tells whether an event that was among the dead letters is in the hands
// of the replay that took it from there, or was ended by one, whichever.
func (b *books) redriven(endpoint, pos int64) bool {
	for _, r := range b.replays {
		if r.endpoint != endpoint {
			continue
		}
		id := deliveryID{r.target, pos, r.id}
		_, hasRow := b.rows[id]
		if r.took(pos) && (hasRow || b.ended(id) || r.state == ReplayRunning && pos > r.cursor) || b.ended(deliveryID{endpoint, pos, r.id}) {
			return true
		}
	}
	return false
}

func (w *world) checkAttempts(b *books, at moment, fail report) {
	for id, list := range b.attempts {
		for i, a := range list {
			if a.n != i+1 {
				fail("%v: attempt %d is on record as number %d", id, i+1, a.n)
			}
			if (a.outcome == Delivered || a.outcome == Refused) && i < len(list)-1 {
				fail("%v: attempts %v go on after the end", id, list)
			}
		}
	}
	for id, row := range b.rows {
		if n := len(b.attempts[id]); row.attempts != n {
			fail("%v: its row counts %d attempts, %d are on record", id, row.attempts, n)
		}
		if b.ended(id) {
			fail("%v has a row though it has ended: %v", id, b.attempts[id])
		}
	}
	saw := map[deliveryID]int{}
	for _, g := range w.seen {
		id := deliveryID{g.owner, g.pos, g.replay}
		if g.elsewhere {
			id.endpoint = b.replays[g.replay].target
		}
		if w.members[g.owner].dropped || g.elsewhere && b.replays[g.replay].state == ReplayCancelled {
			continue // who cuts off what is in flight does not ask what came of it
		}
		saw[id]++
	}
	for id, n := range saw {
		known := len(b.attempts[id])
		if b.rows[id].state == stateInFlight || b.isTakenUp(id) && known == 0 {
			known++
		}
		if n > known {
			fail("%v was sent %d times, %d attempts are on record or will be: %v, row %+v; %s", id, n, known, b.attempts[id], b.rows[id], w.lineOf(b, id))
		}
	}
}

func (w *world) checkOrder(b *books, fail report) {
	type sequence struct {
		endpoint, replay int64
		life             int
		key              string
	}
	last := map[sequence]int64{}
	for _, g := range w.seen {
		s := sequence{g.owner, g.replay, g.life, g.key}
		if g.key == "" {
			continue
		}
		if g.pos < last[s] {
			fail("endpoint %d, replay %d, %s: event %d was sent after event %d; %s", g.owner, g.replay, g.key, g.pos, last[s], w.lineOf(b, deliveryID{g.owner, g.pos, g.replay}))
		}
		if !g.behind || g.outcome == Delivered { // else both are tried again, in order
			last[s] = g.pos
		}
	}
	type delivered struct {
		deliveryID
		started int64
	}
	var all []delivered
	for id, list := range b.attempts {
		if end := list[len(list)-1]; end.outcome == Delivered && id.replay == 0 {
			all = append(all, delivered{id, end.started})
		}
	}
	slices.SortFunc(all, func(a, b delivered) int {
		return cmp.Or(cmp.Compare(a.started, b.started), cmp.Compare(a.pos, b.pos))
	})
	clear(last)
	for _, d := range all {
		key := w.members[d.endpoint].key(w.events[d.pos])
		s := sequence{endpoint: d.endpoint, key: key}
		if key == "" {
			continue
		}
		if d.pos < last[s] {
			fail("endpoint %d, %s: event %d was delivered after event %d", d.endpoint, key, d.pos, last[s])
		}
		last[s] = d.pos
	}
}

func (w *world) checkReplays(b *books, at moment, fail report) {
	open := map[int64]int64{}
	for id := range b.rows {
		open[id.replay]++
	}
	for _, id := range slices.Sorted(maps.Keys(b.replays)) {
		r := b.replays[id]
		ended := r.delivered + r.refused + r.dead
		switch {
		case r.state == ReplayRunning && r.matched != ended+open[id]:
			fail("%+v has %d rows, which with those that ended is not what matched", r, open[id])
		case r.state == ReplayDone && (r.matched != ended || r.cursor != r.until || open[id] > 0):
			fail("%+v is done, with %d rows", r, open[id])
		case r.state == ReplayCancelled && ended > r.matched:
			fail("%+v ended more than matched", r)
		case at == settledDown && r.state == ReplayRunning && !b.endpoints[r.endpoint].paused:
			fail("%+v runs for ever, with %d rows", r, open[id])
		}
	}
	for id, ep := range b.endpoints {
		if ep.kind != kindReplay {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(b.replays)), func(r replayRow) bool { return r.target == id && r.state == ReplayRunning }) {
			fail("endpoint %d of a replay is there though that does not run", id)
		}
	}
}

func (w *world) checkRows(b *books, at moment, fail report) {
	type line struct {
		endpoint int64
		key      string
	}
	oldest := map[line]int64{}
	rows := map[int64]int{}
	for id, row := range b.rows {
		rows[id.endpoint]++
		at := line{id.endpoint, row.key}
		if first, ok := oldest[at]; !ok || id.pos < first {
			oldest[at] = id.pos
		}
	}
	for id, row := range b.rows {
		switch {
		case row.state != stateHeld || oldest[line{id.endpoint, row.key}] < id.pos || w.waitsForFirst(b, id):
		default:
			fail("%v waits for nobody: %+v; %s", id, row, w.lineOf(b, id))
		}
	}
	for id, n := range rows {
		ep, there := b.endpoints[id]
		if n > maxRows+2*maxPortion+10*replayBatch {
			fail("endpoint %d has %d rows", id, n)
		}
		if at == settledDown && (!there || !ep.paused) {
			of := maps.Clone(b.rows)
			maps.DeleteFunc(of, func(row deliveryID, _ deliveryRow) bool { return row.endpoint != id })
			fail("endpoint %d (there: %t) still has %d rows: %+v; %+v", id, there, n, of, w.now.engine.endpoints[id])
		}
	}
	for id, ep := range b.endpoints {
		if at == settledDown && ep.parked && !ep.paused && w.waitsBehind(id, ep.cursor) {
			fail("endpoint %d is still parked at %d of %d: %+v", id, ep.cursor, b.last, w.now.engine.endpoints[id])
		}
		if at == settledDown && ep.fed != (span{}) {
			fail("of endpoint %d it is said that %+v may not be on record", id, ep.fed)
		}
	}
}

// waitsBehind tells whether an endpoint is owed an event beyond a position. With
// none, one whose breaker is open has nothing to probe with.
func (w *world) waitsBehind(id, cursor int64) bool {
	m := w.members[id]
	for pos, e := range w.events {
		if m == nil || pos > cursor && m.owed(e) {
			return true
		}
	}
	return false
}

// waitsForFirst tells whether a row that is held may wait for a first attempt that
// was made from memory, or for one that waited there.
func (w *world) waitsForFirst(b *books, id deliveryID) bool {
	m := w.members[id.endpoint]
	if m == nil || id.replay != 0 {
		return false
	}
	key := m.key(w.events[id.pos])
	for pos, e := range w.events {
		first := deliveryID{id.endpoint, pos, 0}
		if pos < id.pos && b.isTakenUp(first) && m.owed(e) && m.key(e) == key && len(b.attempts[first]) == 0 {
			return true
		}
	}
	return false
}

// lineOf describes what became of the events before one, in its line.
func (w *world) lineOf(b *books, id deliveryID) string {
	var text strings.Builder
	m := w.members[id.endpoint]
	fmt.Fprintf(&text, "mark %d, endpoint %+v, dead letters", b.expanded, b.endpoints[id.endpoint])
	for _, d := range b.letters[id.endpoint] {
		fmt.Fprintf(&text, " %d-%d (%d, %s)", d.PosFrom, d.PosTo, d.Count, d.Reason)
	}
	if m == nil {
		return text.String()
	}
	for _, pos := range slices.Sorted(maps.Keys(w.events)) {
		if e := w.events[pos]; m.owed(e) && m.key(e) == m.key(w.events[id.pos]) {
			first := deliveryID{id.endpoint, pos, 0}
			fmt.Fprintf(&text, "; %d: %v %v", pos, b.attempts[first], b.rows[first])
		}
	}
	return text.String()
}
