package audit

import (
	"context"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

const (
	sweepEvery = time.Hour
	sweepChunk = 1000 // entries that one transaction removes

	// stopTime is how long the last counts may take to be written.
	stopTime = 10 * time.Second
)

// Run writes what was counted, every minute and when ctx ends, and removes what is
// kept no longer: every hour, and after a tenth of what is kept at the most was
// added, so that a flood stays within that tenth and a minute's worth.
func (l *Log) Run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var swept time.Time
	for ctx.Err() == nil {
		if now := time.Now(); now.Sub(swept) >= sweepEvery || l.added.Load() > l.most/10 {
			swept = now
			if err := l.sweep(ctx, now); err != nil && ctx.Err() == nil {
				l.log.Error("old entries of the audit log cannot be removed; trying again in an hour", "error", err)
			}
		}
		select {
		case <-tick.C:
			if err := l.flush(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("failed logins cannot be written to the audit log; trying again in a minute", "error", err)
			}
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if err := l.flush(last); err != nil {
		l.log.Error("failed logins of the last minute are not in the audit log", "error", err)
	}
}

// budgets say which part of the most that is kept may be of each outcome, in
// quarters. What was done has the larger part, and of its own: neither who is
// refused nor who makes mistakes can crowd it out.
var budgets = map[Outcome]int64{Succeeded: 2, Refused: 1, Failed: 1}

// sweep removes what is too old at the moment now, or too much.
func (l *Log) sweep(ctx context.Context, now time.Time) error {
	l.added.Store(0)
	err := l.remove(ctx, func(tx *sqldb.Tx) (int64, error) { return deleteOld(tx, now.Add(-l.keep), sweepChunk) })
	if err != nil {
		return err
	}
	for outcome, quarters := range budgets {
		var last int64
		err := l.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
			last, err = selectBeyond(tx, outcome, l.most*quarters/4)
			return err
		})
		if err == nil && last > 0 {
			err = l.remove(ctx, func(tx *sqldb.Tx) (int64, error) { return deleteUpTo(tx, outcome, last, sweepChunk) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove has a chunk removed in a transaction each, until there is no whole one.
func (l *Log) remove(ctx context.Context, chunk func(*sqldb.Tx) (int64, error)) error {
	for n := int64(sweepChunk); n == sweepChunk; {
		err := l.db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
			n, err = chunk(tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
