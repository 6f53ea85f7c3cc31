package delivery

import (
	"cmp"
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Retention says how long is kept what nobody waits for.
type Retention struct {
	// Attempts is how long attempts are on record. 0 means 30 days.
	Attempts time.Duration

	// Budget is how many bytes they may take; beyond it the oldest delivered
	// ones go first. 0 means 2 GiB.
	Budget int64

	// Events is how long events are kept, and up to MaxEvents if deliveries,
	// parked endpoints, dead letters or replays need them. 0 means 30 days.
	Events time.Duration
}

// MaxEvents is how long events are kept at the most.
const MaxEvents = 90 * 24 * time.Hour

const (
	sweepEvery = time.Hour
	lookEvery  = time.Minute // at the disk
	sweepChunk = 1000        // rows that one transaction removes
	day        = 24 * time.Hour

	// shortAttempts is how long attempts are kept while the disk is nearly full.
	shortAttempts = day
)

func (r Retention) attempts() time.Duration { return cmp.Or(r.Attempts, 30*day) }
func (r Retention) budget() int64           { return cmp.Or(r.Budget, 2<<30) }
func (r Retention) events() time.Duration   { return min(cmp.Or(r.Events, 30*day), MaxEvents) }

// runRetention removes what is kept no longer, every hour, and at once when the
// disk gets full.
func (e *Engine) runRetention(ctx context.Context) {
	swept, low := time.Now(), false
	for {
		pause(ctx, lookEvery)
		if ctx.Err() != nil {
			return
		}
		wasLow := low
		low = e.LowDisk()
		if time.Since(swept) < sweepEvery && (!low || wasLow) {
			continue
		}
		swept = time.Now()
		if err := e.sweep(ctx, swept); err != nil && ctx.Err() == nil {
			e.Log.Error("old attempts and events cannot be removed; trying again in an hour", "error", err)
		}
	}
}

// sweep removes attempts and events that are kept no longer at the moment now.
func (e *Engine) sweep(ctx context.Context, now time.Time) error {
	keep := e.Retention.attempts()
	if e.LowDisk() {
		e.Log.Error("the disk is nearly full: answers of receivers are not kept, and attempts for a day only; free space, or move the data folder")
		keep = min(keep, shortAttempts)
	}
	old := attemptsBefore(now.Add(-keep))
	if err := e.sweepAttempts(ctx, old); err != nil {
		return err
	}
	if err := e.sweepCounts(ctx, now, time.Unix(0, old.before)); err != nil {
		return err
	}
	if err := e.sweepBudget(ctx); err != nil {
		return err
	}
	return e.sweepEvents(ctx, now)
}

// sweepAttempts removes the attempts that pick takes, a chunk per transaction.
func (e *Engine) sweepAttempts(ctx context.Context, pick attemptPick) error {
	for {
		var n int64
		err := e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
			n, err = deleteAttempts(tx, pick, sweepChunk)
			return err
		})
		if err != nil || n < sweepChunk {
			return err
		}
	}
}

// sweepBudget removes the oldest days of attempts until the rest is within the
// budget: delivered ones first, for the others are what people look for.
func (e *Engine) sweepBudget(ctx context.Context) error {
	for {
		var days []volumeDay
		err := e.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			days, err = selectVolume(tx)
			return err
		})
		if err != nil {
			return err
		}
		var total int64
		for _, d := range days {
			total += d.bytes
		}
		if total <= e.Retention.budget() || len(days) == 0 {
			return nil
		}
		oldest := days[0] // delivered before others, older before newer
		if err := e.sweepAttempts(ctx, attemptsOf(oldest)); err != nil {
			return err
		}
		if err := e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error { return deleteVolume(tx, oldest) }); err != nil {
			return err
		}
	}
}

// sweepEvents removes events that nothing needs any more. The newest always
// stays: the next position follows from it.
func (e *Engine) sweepEvents(ctx context.Context, now time.Time) error {
	var before int64
	err := e.DB.Read(ctx, func(tx *sqldb.Tx) error {
		needed, err := neededFrom(tx)
		if err != nil {
			return err
		}
		old, err := outbox.Since(tx, now.Add(-e.Retention.events()))
		if err != nil {
			return err
		}
		veryOld, err := outbox.Since(tx, now.Add(-MaxEvents))
		before = max(min(old, needed), veryOld)
		return err
	})
	if err == nil {
		before = e.giveUpBefore(before)
	}
	for n := int64(sweepChunk); err == nil && n == sweepChunk; {
		err = e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
			n, err = outbox.Remove(tx, before, sweepChunk)
			return err
		})
	}
	return err
}

// giveUpBefore gives up what parked endpoints are owed of the events before a
// position: they are about to be removed. It returns the position of the first
// event that none of them waited for; what is before it can go the next time.
func (e *Engine) giveUpBefore(before int64) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := before
	for _, ep := range e.endpoints {
		if !ep.parked || ep.cursor >= before-1 || !e.renew(ep) {
			continue
		}
		first = min(first, ep.cursor+1)
		if ep.feeding || ep.emptying {
			continue
		}
		ep.feeding = true
		cursor := ep.cursor
		e.look(func() {
			f, err := e.lookBehind(e.run, cursor, before-1, 1, time.Now().Add(time.Hour), e.wasOwed(ep)) // all of it is lapsed
			e.mu.Lock()
			defer e.mu.Unlock()
			if err != nil {
				ep.feeding = false
				e.kick(ep)
				return
			}
			e.fed(ep, f, nil)
		})
	}
	return first
}

// neededFrom returns the position of the first event that something needs: a
// delivery, a parked endpoint, a dead letter, a replay, or the expander.
func neededFrom(tx *sqldb.Tx) (int64, error) {
	expanded, err := outbox.Expanded(tx)
	if err != nil {
		return 0, err
	}
	first, err := selectNeeded(tx)
	return min(first, expanded+1), err
}

// written is what the attempts of a transaction add to the figures of all, which are
// written with them.
type written struct {
	volume volume
	tally  tally
}

func (w *written) add(endpoint int64, x exchange, outcome Outcome) {
	w.volume.add(x, outcome)
	w.tally.add(endpoint, x, outcome)
}

func (w *written) save(tx *sqldb.Tx) error {
	if err := w.volume.save(tx); err != nil {
		return err
	}
	return w.tally.save(tx)
}

// volume adds up what attempts take, for the budget.
type volume struct {
	days []volumeDay
}

// volumeDay is what the attempts of a day take that were, or were not,
// delivered.
type volumeDay struct {
	day       int64 // since 1970
	delivered bool
	bytes     int64
}

// rowOverhead is about what an attempt takes beside its texts.
const rowOverhead = 200

func (v *volume) add(x exchange, outcome Outcome) {
	d := volumeDay{day: x.Started.UnixNano() / int64(day), delivered: outcome == Delivered}
	bytes := int64(rowOverhead + len(x.sent) + len(x.answer))
	if outcome != Delivered {
		bytes += int64(len(x.Body))
	}
	for i := range v.days {
		if v.days[i].day == d.day && v.days[i].delivered == d.delivered {
			v.days[i].bytes += bytes
			return
		}
	}
	d.bytes = bytes
	v.days = append(v.days, d)
}

func (v *volume) save(tx *sqldb.Tx) error {
	for _, d := range v.days {
		if err := addVolume(tx, d); err != nil {
			return err
		}
	}
	return nil
}
