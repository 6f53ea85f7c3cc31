package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Selection says which events a replay brings to an endpoint. Its members narrow
// each other; the zero value is everything that is kept and that the endpoint
// wants by its rules of today.
type Selection struct {
	EventID    string         `json:"eventId,omitempty"`    // this one alone, wanted or not
	From       time.Time      `json:"from,omitzero"`        // events of this moment and later
	Until      time.Time      `json:"until,omitzero"`       // events before this moment
	After      int64          `json:"after,omitempty"`      // events behind this position
	Upto       int64          `json:"upto,omitempty"`       // events up to this position
	Only       Only           `json:"only,omitempty"`       // by what became of them
	Actions    []event.Action `json:"actions,omitempty"`    // one of these
	Repository string         `json:"repository,omitempty"` // of this name; a * at the end stands for any rest

	// DeadLetters takes the events of these dead letters, which are the replay's
	// from then on. AllDeadLetters takes those of all.
	DeadLetters    []int64 `json:"deadLetters,omitempty"`
	AllDeadLetters bool    `json:"allDeadLetters,omitempty"`
}

// Only narrows a Selection by what became of an event.
type Only string

// The values of Only. Undelivered is what the endpoint was owed by the rules
// of its time and has neither delivered, nor refused, nor still to come.
const (
	Undelivered   Only = "undelivered"
	OnlyRefused   Only = "refused"
	OnlyDelivered Only = "delivered"
)

// ReplayRequest asks for a replay.
type ReplayRequest struct {
	Registry, Endpoint int64
	Selection          Selection
	PerMinute          int    // the most deliveries in a minute; 0: as the endpoint takes them
	Elsewhere          []byte // another address to ring, sealed by the owner of the endpoint; nil: the endpoint's
	By                 string // who asks
}

// ReplayState says how far a replay is.
type ReplayState string

// The states.
const (
	ReplayRunning   ReplayState = "running"
	ReplayDone      ReplayState = "done"
	ReplayCancelled ReplayState = "cancelled"
)

// Replay is a piece of work that rings events once more. Its deliveries carry
// the ids of their events, a fresh signature, and the header Dockbell-Replay
// with its id.
type Replay struct {
	ID        int64
	Endpoint  int64
	State     ReplayState
	Selection Selection
	Elsewhere bool // it rings another address
	PerMinute int

	// Looked of ToLook events were looked at, Matched of them taken; of those
	// so many were Delivered, Refused, or given up (Dead). The rest is under way.
	Looked, ToLook                    int64
	Matched, Delivered, Refused, Dead int64

	CreatedAt time.Time
	CreatedBy string
	EndedAt   time.Time // zero while it runs
}

// stored is a selection as it is kept: with the dead letters that it took over.
type stored struct {
	Selection
	Taken []taken `json:"taken,omitempty"`
}

// taken is a dead letter that became a replay's.
type taken struct {
	From  int64 `json:"from"`
	To    int64 `json:"to"`
	Count int64 `json:"count"`
	Filed int64 `json:"filed,omitempty"` // of its events, those up to this position
}

// replayRun is a replay at work.
type replayRun struct {
	id        int64
	endpoint  int64     // whose events they are
	target    *endpoint // that is rung
	selection stored
	cursor    int64
	until     int64
	spacing   time.Duration
	nextAt    time.Time // when the rate allows the next delivery

	outstanding int // deliveries in rows
	looking     bool
	letters     letters // of the selection; for who looks
}

const (
	maxReplays  = 10 // running, per endpoint
	replayBatch = 64 // deliveries of one replay that have rows, at the most
)

// replayKey is the order key of a replayed event: replays keep their own order,
// and what happens now does not wait for them.
func replayKey(id int64, key string) string { return fmt.Sprintf("replay %d %s", id, key) }

// Replay starts a replay and returns it. It is on record before Replay returns
// and goes on after a restart.
//
// Errors: fault.NotFound for an endpoint, event or dead letter that is not there,
// fault.Invalid for a selection that contradicts itself, fault.Conflict for an
// endpoint with ten replays running.
func (e *Engine) Replay(ctx context.Context, r ReplayRequest) (Replay, error) {
	if err := r.Selection.check(); err != nil {
		return Replay{}, err
	}
	e.mu.Lock()
	ep := e.endpoints[r.Endpoint]
	behind := int64(0)
	if ep != nil && ep.parked {
		behind = ep.recordedTo() // what it was handed last may be in memory
	}
	e.mu.Unlock()
	if ep == nil || ep.kind == kindReplay {
		return Replay{}, fault.New(fault.NotFound, "there is no endpoint %d", r.Endpoint)
	}
	var id int64
	err := e.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		running, err := countRunning(tx, r.Endpoint)
		if err != nil {
			return err
		}
		if running >= maxReplays {
			return fault.New(fault.Conflict, "%d replays to this %s are running: wait for one to end, or cancel one", running, ep.noun())
		}
		run := &replayRun{endpoint: r.Endpoint, target: ep, selection: stored{Selection: r.Selection}, nextAt: tx.Now()}
		if r.PerMinute > 0 {
			run.spacing = time.Minute / time.Duration(r.PerMinute)
		}
		if err := run.bound(tx, r.Registry, behind); err != nil {
			return err
		}
		if r.Elsewhere != nil {
			run.target = newEndpoint(0)
			run.target.kind, run.target.registry, run.target.owner, run.target.elsewhere = kindReplay, r.Registry, r.Endpoint, r.Elsewhere
			if err := insertEndpoint(tx, run.target, ""); err != nil {
				return err
			}
		}
		if err := insertReplay(tx, run, r.PerMinute, r.By); err != nil {
			return err
		}
		id = run.id
		tx.AfterCommit(func() { e.startReplay(run) })
		return nil
	})
	if err != nil {
		return Replay{}, err
	}
	return e.ReplayByID(ctx, r.Endpoint, id)
}

func (s Selection) check() error {
	letters := s.AllDeadLetters || s.DeadLetters != nil
	ranged := !s.From.IsZero() || !s.Until.IsZero() || s.After != 0 || s.Upto != 0 || s.Only != "" || s.Actions != nil || s.Repository != ""
	switch {
	case s.EventID != "" && (letters || ranged):
		return fault.New(fault.Invalid, "one event is named, and a selection besides: give one of them")
	case letters && ranged:
		return fault.New(fault.Invalid, "dead letters are named, and a selection besides: give one of them")
	case !s.From.IsZero() && !s.Until.IsZero() && !s.From.Before(s.Until):
		return fault.New(fault.Invalid, "nothing is between %s and %s: give an end that is later than the beginning", s.From.Format(time.RFC3339), s.Until.Format(time.RFC3339))
	case s.After < 0 || s.Upto < 0 || s.Upto != 0 && s.Upto <= s.After:
		return fault.New(fault.Invalid, "nothing is behind position %d and up to %d: positions begin at 1", s.After, s.Upto)
	case s.Only != "" && s.Only != Undelivered && s.Only != OnlyRefused && s.Only != OnlyDelivered:
		return fault.New(fault.Invalid, "%q is nothing that becomes of events: use undelivered, refused or delivered", string(s.Only))
	}
	return nil
}

// bound sets which events a replay looks at. What a parked endpoint has before
// it anyway, behind its cursor, is not undelivered.
func (r *replayRun) bound(tx *sqldb.Tx, registry, behind int64) error {
	last, err := outbox.Last(tx)
	if err != nil {
		return err
	}
	s := &r.selection
	r.cursor, r.until = s.After, last
	switch {
	case s.EventID != "":
		found, err := outbox.ByID(tx, registry, s.EventID)
		if errors.Is(err, sqldb.ErrNoRow) {
			return fault.New(fault.NotFound, "there is no event %q that is still kept: the log of deliveries has the ids of those that are", s.EventID)
		}
		if err != nil {
			return err
		}
		r.cursor, r.until = found.Event.Pos-1, found.Event.Pos
		return nil
	case s.AllDeadLetters, s.DeadLetters != nil:
		letters, err := takeDeadLetters(tx, r.endpoint, s.DeadLetters)
		if err != nil {
			return err
		}
		return r.take(letters)
	}
	if !s.From.IsZero() {
		from, err := outbox.Since(tx, s.From)
		if err != nil {
			return err
		}
		r.cursor = max(r.cursor, from-1)
	}
	if !s.Until.IsZero() {
		end, err := outbox.Since(tx, s.Until)
		if err != nil {
			return err
		}
		r.until = min(r.until, end-1)
	}
	if s.Upto > 0 {
		r.until = min(r.until, s.Upto)
	}
	if s.Only == Undelivered && behind > 0 {
		r.until = min(r.until, behind)
	}
	r.until = max(r.until, r.cursor)
	return nil
}

// take makes dead letters the replay's.
func (r *replayRun) take(letters []DeadLetter) error {
	if len(letters) == 0 {
		return fault.New(fault.NotFound, "there are no dead letters")
	}
	r.cursor, r.until = letters[0].PosFrom-1, letters[0].PosTo
	for _, d := range letters {
		r.selection.Taken = append(r.selection.Taken, taken{d.PosFrom, d.PosTo, d.Count, d.filed})
		r.cursor, r.until = min(r.cursor, d.PosFrom-1), max(r.until, d.PosTo)
	}
	return nil
}

// taking returns which events the replay takes.
func (e *Engine) taking(r *replayRun) func(*sqldb.Tx) (want, error) {
	registry, s := r.target.registry, r.selection
	if s.Taken != nil && r.letters.single == nil {
		r.letters = lettersOf(s.Taken)
	}
	return func(tx *sqldb.Tx) (want, error) {
		if s.EventID != "" {
			return want{takes: func(ev *event.Event) (bool, error) { return ev.ID == s.EventID, nil }}, nil
		}
		rule := e.destinations.Wants(registry, r.endpoint)
		if s.Only == Undelivered || s.Taken != nil {
			var err error
			if rule, err = e.destinations.History(tx, registry, r.endpoint); err != nil {
				return want{}, err
			}
		}
		return want{whole: rule.Whole, takes: func(ev *event.Event) (bool, error) {
			switch {
			case s.Taken != nil:
				if single := r.letters.single[ev.Pos]; single || !r.letters.inRange(ev.Pos) || !takes(rule, ev) {
					return single, nil
				}
				return isGivenUp(tx, r.endpoint, ev.Pos)
			case !s.matches(ev) || !takes(rule, ev):
				return false, nil
			case s.Only == Undelivered:
				return isUndelivered(tx, r.endpoint, ev.Pos)
			case s.Only != "":
				return hasOutcome(tx, r.endpoint, ev.Pos, Outcome(s.Only))
			}
			return true, nil
		}}, nil
	}
}

// letters are dead letters that a replay took over: there may be many.
type letters struct {
	single map[int64]bool // by position
	ranges []taken
}

func lettersOf(list []taken) letters {
	l := letters{single: map[int64]bool{}}
	for _, t := range list {
		if t.From == t.To {
			l.single[t.From] = true
		} else {
			l.ranges = append(l.ranges, t)
		}
	}
	return l
}

// inRange reports whether a position lies in one of the ranges.
func (l letters) inRange(pos int64) bool {
	return slices.ContainsFunc(l.ranges, func(t taken) bool { return t.From <= pos && pos <= t.To })
}

// filed returns pos if the event there was filed, in a dead letter that was taken
// over, else 0.
func (s stored) filed(pos int64) int64 {
	for _, t := range s.Taken {
		if t.From <= pos && pos <= min(t.To, t.Filed) {
			return pos
		}
	}
	return 0
}

// matches holds a selection's narrower members against an event.
func (s Selection) matches(e *event.Event) bool {
	if s.Actions != nil && !slices.Contains(s.Actions, e.Action) {
		return false
	}
	if prefix, ok := strings.CutSuffix(s.Repository, "*"); ok {
		return strings.HasPrefix(e.Target.Repository, prefix)
	}
	return s.Repository == "" || s.Repository == e.Target.Repository
}

// startReplay puts a replay to work that was just made. An endpoint that fails is
// tried at once: someone expects it to work.
func (e *Engine) startReplay(r *replayRun) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r.target.kind == kindReplay {
		e.endpoints[r.target.id] = r.target
	}
	if r.target.breaker.open() {
		r.target.breaker.nextProbe = time.Now()
	}
	e.replays[r.id] = r
	e.advance(r)
}

// advance takes a replay's next step. Callers hold e.mu.
func (e *Engine) advance(r *replayRun) {
	switch {
	case e.replays[r.id] != r || e.stopping || r.looking || r.outstanding > replayBatch/2:
		return
	case r.cursor >= r.until && r.outstanding == 0:
		e.endReplay(r, ReplayDone)
		return
	case r.cursor >= r.until || !e.renew(r.target):
		return
	}
	r.looking = true
	cursor, n := r.cursor, replayBatch-r.outstanding
	e.look(func() {
		f, err := e.lookBehind(e.run, cursor, r.until, n, time.Time{}, e.taking(r))
		e.mu.Lock()
		defer e.mu.Unlock()
		switch {
		case e.replays[r.id] != r:
		case err == nil:
			e.replay(r, f)
		case e.run.Err() == nil:
			e.Log.Error("a replay cannot read what it is to ring; trying again", "replay", r.id, "error", err)
			time.AfterFunc(time.Second, func() {
				e.mu.Lock()
				defer e.mu.Unlock()
				r.looking = false
				e.advance(r)
			})
		}
	})
}

// replay puts what a look found into rows, and moves the replay's cursor, in one
// transaction.
func (e *Engine) replay(r *replayRun, f found) {
	ep := r.target
	due := latest(r.nextAt, time.Now())
	rows, _ := e.rowsFor(ep, f.owed, r.id, due, r.spacing)
	next := due.Add(time.Duration(len(f.owed)) * r.spacing)
	r.outstanding += len(f.owed)
	e.enqueue(op{
		run: func(tx *sqldb.Tx) error {
			if err := rows(tx); err != nil {
				return err
			}
			return moveReplay(tx, r.id, f.cursor, len(f.owed), next)
		},
		done: func() {
			r.looking, r.cursor, r.nextAt = false, f.cursor, next
			if len(f.owed) > 0 {
				ep.setDue(due)
				e.schedule(ep)
			}
			e.advance(r)
		},
	})
}

// replayed takes note that a delivery of a replay has ended. Callers hold e.mu.
func (e *Engine) replayed(j *job) {
	if r := e.replays[j.replay]; r != nil && j.row {
		r.outstanding--
		e.advance(r)
	}
}

// endReplay ends a replay's work. Callers hold e.mu.
func (e *Engine) endReplay(r *replayRun, state ReplayState) {
	delete(e.replays, r.id)
	e.enqueue(op{
		run: func(tx *sqldb.Tx) error {
			if r.target.kind == kindReplay {
				if err := deleteEndpoint(tx, r.target.id); err != nil {
					return err
				}
			}
			return finishReplay(tx, r.id, state)
		},
		done: func() { e.release(r) },
	})
}

// release forgets the endpoint that was made for a replay.
func (e *Engine) release(r *replayRun) {
	if r.target.kind == kindReplay && !r.target.gone {
		e.forget(r.target)
	}
}

// Replays returns up to n replays of an endpoint, newest first, those with an id
// below before (0: all).
func (e *Engine) Replays(ctx context.Context, endpoint, before int64, n int) (list []Replay, err error) {
	err = e.DB.Read(ctx, func(tx *sqldb.Tx) error {
		list, err = selectReplays(tx, endpoint, cmp.Or(before, 1<<62), n)
		return err
	})
	return list, err
}

// ReplayByID returns a replay of an endpoint, or fault.NotFound.
func (e *Engine) ReplayByID(ctx context.Context, endpoint, id int64) (Replay, error) {
	list, err := e.Replays(ctx, endpoint, id+1, 1)
	if err != nil {
		return Replay{}, err
	}
	if len(list) == 0 || list[0].ID != id {
		return Replay{}, fault.New(fault.NotFound, "there is no replay %d of this %s", id, e.noun(endpoint))
	}
	return list[0], nil
}

// CancelReplay ends a replay: what it has not sent yet is not sent. Dead letters
// that it took over and did not get to are dead letters again. Ending one that
// has ended is fine. It fails with fault.NotFound if there is none.
func (e *Engine) CancelReplay(ctx context.Context, endpoint, id int64) (Replay, error) {
	e.mu.Lock()
	r := e.replays[id]
	if r == nil || r.endpoint != endpoint {
		e.mu.Unlock()
		return e.ReplayByID(ctx, endpoint, id)
	}
	delete(e.replays, id)
	var gone []*job
	written := e.enqueueWait(op{
		run: func(tx *sqldb.Tx) (err error) {
			gone, err = e.cancelReplay(tx, r)
			return err
		},
		done: func() {
			for _, j := range gone {
				r.target.droppedRow(j.key, id)
			}
			e.release(r)
		},
	})
	e.mu.Unlock()
	if err := e.await(ctx, written); err != nil {
		return Replay{}, err
	}
	return e.ReplayByID(ctx, endpoint, id)
}

// cancelReplay writes down that a replay is cancelled, and gives back what it
// took over. It returns the deliveries that were removed.
func (e *Engine) cancelReplay(tx *sqldb.Tx, r *replayRun) ([]*job, error) {
	cursor, err := replayCursor(tx, r.id)
	if err != nil {
		return nil, err
	}
	gone, err := deleteReplayRows(tx, r.target.id, r.id)
	if err != nil {
		return nil, err
	}
	if r.selection.Taken != nil {
		for _, j := range gone {
			j.ep = r.target
			t, err := selectLastTry(tx, j, j.n-1)
			if err != nil {
				return nil, err
			}
			if err := e.addDeadLetter(tx, r.endpoint, lapsed{j.pos, j.pos, 1}, reasonCancelled, t, r.selection.filed(j.pos)); err != nil {
				return nil, err
			}
		}
		for _, t := range r.selection.Taken {
			if t.To > cursor {
				rest := lapsed{max(t.From, cursor+1), t.To, t.Count} // at most so many
				if err := e.addDeadLetter(tx, r.endpoint, rest, reasonCancelled, lastTry{outcome: ring.OutcomeProbation}, t.Filed); err != nil {
					return nil, err
				}
			}
		}
	}
	if r.target.kind == kindReplay {
		if err := deleteEndpoint(tx, r.target.id); err != nil {
			return nil, err
		}
	}
	return gone, finishReplay(tx, r.id, ReplayCancelled)
}

// marshal writes a selection as it is stored.
func (s stored) marshal() string { return string(mustJSON(s)) }

func parseStored(text string) (s stored, err error) {
	err = json.Unmarshal([]byte(text), &s)
	return s, err
}
