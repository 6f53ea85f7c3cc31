package sqldb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// maxGroup is how many changes share one commit at the most. One piece of each
// lower priority may ride along, so that none starves.
const maxGroup = 64

// writer is the only one who writes to a SQLite database. It takes what queued
// while the last commit ran, runs each piece of work inside a savepoint, and
// makes all of them durable with one flush. It never waits for more work to
// come: a collection timer costs more than it gains.
type writer struct {
	conn      *sqliteConn
	log       *slog.Logger
	commits   *atomic.Int64
	committed chan<- struct{}

	queues  [3]chan *work // by Priority
	emptyit chan struct{} // asks for a WAL truncation
	stopped chan struct{}

	broken atomic.Pointer[error] // why no more writes are taken
}

// work is one transaction on its way through the writer.
type work struct {
	ctx   context.Context
	fn    func(*Tx) error
	after []func()
	err   error
	done  chan struct{}
}

func newWriter(conn *sqliteConn, log *slog.Logger, commits *atomic.Int64, committed chan<- struct{}) *writer {
	w := &writer{conn: conn, log: log, commits: commits, committed: committed, emptyit: make(chan struct{}, 1), stopped: make(chan struct{})}
	for i := range w.queues {
		w.queues[i] = make(chan *work, maxGroup)
	}
	return w
}

// do runs fn in a group commit and returns when that is durable.
func (w *writer) do(ctx context.Context, p Priority, fn func(*Tx) error) error {
	if err := w.broken.Load(); err != nil {
		return *err
	}
	job := &work{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case w.queues[p] <- job:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stopped:
		return errStopped
	}
	select {
	case <-job.done:
		return job.err
	case <-w.stopped:
		// The writer ended; it may have finished this work before.
		select {
		case <-job.done:
			return job.err
		default:
			return errStopped
		}
	}
}

var errStopped error = fault.New(fault.Unavailable, "the server is shutting down")

// truncateWAL asks for the log file to be emptied between two groups.
func (w *writer) truncateWAL() {
	select {
	case w.emptyit <- struct{}{}:
	default:
	}
}

func (w *writer) run(ctx context.Context) {
	defer close(w.stopped)
	group := make([]*work, 0, maxGroup)
	for {
		group = group[:0]
		select {
		case job := <-w.queues[Change]:
			group = append(group, job)
		case job := <-w.queues[Settle]:
			group = append(group, job)
		case job := <-w.queues[Bulk]:
			group = append(group, job)
		case <-w.emptyit:
			// Not an error if readers keep it busy: the next time will do.
			w.conn.exec("PRAGMA wal_checkpoint(TRUNCATE)", nil)
			continue
		case <-ctx.Done():
			return
		}
		group = w.drain(group)
		w.commitGroup(group)
	}
}

// drain adds what is waiting: changes up to the limit, and one piece of each
// lower priority, which its owner has batched already.
func (w *writer) drain(group []*work) []*work {
	for len(group) < maxGroup {
		select {
		case job := <-w.queues[Change]:
			group = append(group, job)
			continue
		default:
		}
		break
	}
	for _, p := range []Priority{Settle, Bulk} {
		select {
		case job := <-w.queues[p]:
			group = append(group, job)
		default:
		}
	}
	return group
}

// commitGroup makes the group durable and answers everyone in it.
func (w *writer) commitGroup(group []*work) {
	err := w.try(group)
	if errors.Is(err, errRolledBack) && len(group) > 1 {
		// One piece of work made SQLite drop the whole transaction. Alone,
		// each gets its own answer.
		for i := range group {
			w.commitGroup(group[i : i+1])
		}
		return
	}
	if err != nil {
		err = w.conn.fault(err)
	}
	for _, job := range group {
		if err != nil && job.err == nil {
			job.err = err
		}
		if job.err == nil {
			for _, fn := range job.after {
				fn()
			}
		}
		close(job.done)
	}
}

var errRolledBack = errors.New("sqldb: SQLite rolled the transaction back")

// try runs the group in one transaction. It returns an error if nothing of the
// group is kept; the errors of single pieces are in the pieces.
func (w *writer) try(group []*work) error {
	if err := w.broken.Load(); err != nil {
		return *err
	}
	if _, err := w.conn.exec("BEGIN IMMEDIATE", nil); err != nil {
		return err
	}
	now := time.Now().UTC()
	run := w.runOne
	if len(group) == 1 {
		run = w.runAlone
	}
	var kept int
	for _, job := range group {
		job.err, job.after = nil, nil
		if err := job.ctx.Err(); err != nil {
			job.err = err // nobody waits for it any more, and nothing was done
			continue
		}
		if err := run(job, now); err != nil {
			w.conn.exec("ROLLBACK", nil) // fails if SQLite already did
			return err
		}
		if job.err == nil {
			kept++
		}
	}
	if kept == 0 {
		w.conn.exec("ROLLBACK", nil) // fails if SQLite already did
		return nil
	}
	if _, err := w.conn.exec("COMMIT", nil); err != nil {
		w.conn.exec("ROLLBACK", nil)
		if brokenFlush(err) {
			why := unavailable(err)
			w.broken.Store(&why)
			w.log.Error("a commit could not be made durable: no more changes are taken, pulls go on. Check the disk of the data folder, then restart the server", "error", err)
		} else {
			w.log.Error("a commit failed and was undone; the clients were told", "error", err)
		}
		return err
	}
	w.commits.Add(1)
	select {
	case w.committed <- struct{}{}:
	default:
	}
	return nil
}

// runOne runs one piece of work in a savepoint, so that its failure undoes
// nothing of its neighbours.
func (w *writer) runOne(job *work, now time.Time) error {
	if _, err := w.conn.exec("SAVEPOINT work", nil); err != nil {
		return err
	}
	tx := &Tx{conn: w.conn, now: now}
	job.err = call(job.fn, tx)
	if job.err != nil {
		if _, err := w.conn.exec("ROLLBACK TO work", nil); err != nil {
			return fmt.Errorf("%w after: %w", errRolledBack, job.err)
		}
	}
	if _, err := w.conn.exec("RELEASE work", nil); err != nil {
		return err
	}
	if job.err == nil {
		job.after = tx.after
	}
	return nil
}

// runAlone runs the only piece of work of its transaction.
func (w *writer) runAlone(job *work, now time.Time) error {
	tx := &Tx{conn: w.conn, now: now}
	job.err, job.after = call(job.fn, tx), tx.after
	return nil
}

// call runs fn and turns a panic into an error: one broken request must not
// take the writer with it.
func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("sqldb: panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(tx)
}
