// Package sqldb opens the database, SQLite in a file or PostgreSQL, and runs
// transactions on it.
//
// It owns everything in which the two engines differ: opening and checking,
// migrations, how writes become durable, and what a driver's error means. The
// rest of the program writes one SQL text for both, with $n placeholders and
// times as integers; each domain package keeps its own tables and queries.
//
// Invariants:
//   - Write returns nil only after its transaction is durable (SQLite:
//     synchronous=FULL, read back at open; PostgreSQL: synchronous_commit on).
//   - Functions registered with AfterCommit run once, after the commit and
//     before Write returns; on SQLite in commit order across all transactions.
//   - After a failed flush of a commit nothing is written any more until the
//     process restarts: what the operating system dropped cannot be written
//     again by asking twice. Reads go on.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// Priority orders the waiting work of the one SQLite writer. PostgreSQL groups
// by itself and takes no notice of it.
type Priority uint8

// The priorities, first served first. Bulk work (large fan-outs, collection,
// retention, replay) comes in pieces of at most 5 ms, at most one piece per
// commit.
const (
	Change Priority = iota // what a client waits for: pushes, deletes, settings
	Settle                 // what deliveries came to
	Bulk
)

// ErrNoRow is returned by Tx.Get when no row matched.
var ErrNoRow = errors.New("sqldb: no row")

// Config says which database to open.
type Config struct {
	// Path is the SQLite file; PostgresURL, if not empty, is used instead.
	Path        string
	PostgresURL string

	// Log receives what an operator has to know. Nil means slog.Default().
	Log *slog.Logger
}

// DB is an open database. Its methods may be called from many goroutines.
type DB struct {
	engine  engine
	commits atomic.Int64
}

// engine is what differs between SQLite and PostgreSQL.
type engine interface {
	read(ctx context.Context, fn func(*Tx) error) error
	write(ctx context.Context, p Priority, fn func(*Tx) error) error
	exclusive(ctx context.Context, name string) (release func(), ok bool, err error)
	dialect() string
	close() error
}

// Open opens the database, brings its schema up to date and checks that it
// keeps its promises. The errors it returns are for the operator.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	db := &DB{}
	var err error
	if cfg.PostgresURL != "" {
		db.engine, err = openPostgres(ctx, cfg, &db.commits)
	} else {
		db.engine, err = openSQLite(ctx, cfg, &db.commits)
	}
	if err != nil {
		return nil, err
	}
	return db, nil
}

// Read runs fn on one consistent snapshot. fn must not keep the transaction
// open while it waits for anything but the database.
func (db *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	return db.engine.read(ctx, fn)
}

// Write runs fn in a transaction and returns when that is durable. If fn fails,
// nothing of it is kept and its error is returned. fn may run more than once
// and must have no effect outside the transaction except through AfterCommit.
// A ctx that ends while the work waits its turn cancels it; once begun it goes
// on to its end.
//
// Beside fn's own errors: fault.NoSpace when the disk is full, fault.Unavailable
// when the database takes no writes.
func (db *DB) Write(ctx context.Context, p Priority, fn func(*Tx) error) error {
	return db.engine.write(ctx, p, fn)
}

// Exclusive takes the right to do what name stands for, which one process at a
// time has of all that use the database; ok is false if another one has it, or
// this one. It lasts until release is called, and ends with the process however
// that ends. On PostgreSQL it also ends with a connection that breaks: what is done
// under it must be safe without it, and only be spared being done twice.
func (db *DB) Exclusive(ctx context.Context, name string) (release func(), ok bool, err error) {
	return db.engine.exclusive(ctx, name)
}

// Commits returns how many transactions were made durable since Open. A group
// commit counts once.
func (db *DB) Commits() int64 { return db.commits.Load() }

// Dialect returns "sqlite" or "postgres", for logs and tests.
func (db *DB) Dialect() string { return db.engine.dialect() }

// Close waits for running transactions and closes the database. Calling it
// twice is fine.
func (db *DB) Close() error { return db.engine.close() }

// Tx is a transaction. It is valid only inside the function it was passed to,
// and for one goroutine.
type Tx struct {
	conn  runner
	now   time.Time
	after []func()
}

// runner runs statements on the transaction's connection.
type runner interface {
	exec(query string, args []any) (sql.Result, error)
	query(query string, args []any) (*sql.Rows, error)
	insert(key, query string, args []any) (id int64, inserted bool, err error)
	serialise() error
	hold(alone bool) string
	fault(err error) error
}

// Now returns the moment the transaction began, in UTC. All rows that a
// transaction stamps carry this time.
func (tx *Tx) Now() time.Time { return tx.now }

// Exec runs a statement and returns how many rows it touched.
func (tx *Tx) Exec(query string, args ...any) (int64, error) {
	res, err := tx.conn.exec(query, args)
	if err != nil {
		return 0, tx.wrap(err, query)
	}
	n, err := res.RowsAffected()
	return n, tx.wrap(err, query)
}

// Insert runs an INSERT of at most one row and returns the value of its integer
// primary key, column key; inserted is false when ON CONFLICT DO NOTHING left
// the table as it was. On SQLite it costs a third of a RETURNING clause.
func (tx *Tx) Insert(key, query string, args ...any) (id int64, inserted bool, err error) {
	id, inserted, err = tx.conn.insert(key, query, args)
	return id, inserted, tx.wrap(err, query)
}

// Serialise makes transactions that call it run one after the other, from here
// to their commit. On SQLite all of them do.
func (tx *Tx) Serialise() error { return tx.wrap(tx.conn.serialise(), "serialise") }

// Get scans the first row into dest. It returns ErrNoRow if there is none.
func (tx *Tx) Get(query string, args []any, dest ...any) error {
	rows, err := tx.conn.query(query, args)
	if err != nil {
		return tx.wrap(err, query)
	}
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return tx.wrap(err, query)
		}
		return ErrNoRow
	}
	if err := rows.Scan(dest...); err != nil {
		return tx.wrap(err, query)
	}
	return tx.wrap(rows.Close(), query)
}

// Hold is Get for a row of one table that is to be there until the transaction
// ends: nobody deletes it before. Several transactions can hold a row. It returns
// ErrNoRow also if another transaction has just deleted it.
func (tx *Tx) Hold(query string, args []any, dest ...any) error {
	return tx.Get(query+tx.conn.hold(false), args, dest...)
}

// HoldAlone is Hold for a row that no other transaction may change either, or hold
// alone. Whoever has changed it already is waited for, and the next statement sees
// what they did.
func (tx *Tx) HoldAlone(query string, args []any, dest ...any) error {
	return tx.Get(query+tx.conn.hold(true), args, dest...)
}

// Scan reads the columns of the current row.
type Scan func(dest ...any) error

// Each calls fn for every row.
func (tx *Tx) Each(query string, args []any, fn func(Scan) error) error {
	rows, err := tx.conn.query(query, args)
	if err != nil {
		return tx.wrap(err, query)
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return tx.wrap(rows.Err(), query)
}

// Select returns what scan makes of every row.
func Select[T any](tx *Tx, scan func(Scan) (T, error), query string, args ...any) ([]T, error) {
	var out []T
	err := tx.Each(query, args, func(s Scan) error {
		v, err := scan(s)
		out = append(out, v)
		return err
	})
	return out, err
}

// AfterCommit registers fn to run once the transaction is durable. It must be
// quick and must not block: on SQLite the writer itself runs it.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

// wrap adds the statement to an error and gives it its meaning.
func (tx *Tx) wrap(err error, query string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w (in %q)", tx.conn.fault(err), firstLine(query))
}

// In returns the placeholders for n values starting at $from: "$2, $3, $4".
func In(from, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", from+i)
	}
	return b.String()
}

// Search returns the first number from low on, below high, for which late holds,
// or high. Once late holds, it must hold for all greater ones.
func Search(low, high int64, late func(int64) (bool, error)) (int64, error) {
	for low < high {
		middle := low + (high-low)/2
		is, err := late(middle)
		if err != nil {
			return 0, err
		}
		if is {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, nil
}

func firstLine(query string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(query), "\n")
	return line
}

// noSpace is what a full disk is to a caller.
func noSpace(err error) error {
	return fault.Wrap(err, fault.NoSpace, "the server's disk is full: nothing was changed; free space in its data folder and try again")
}

// unavailable is what a database that takes no writes is to a caller.
func unavailable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "the registry takes no changes at the moment; the server's log says why")
}
