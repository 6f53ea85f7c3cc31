package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// postgresDB is the PostgreSQL engine: one transaction per piece of work, which
// the server groups by itself.
type postgresDB struct {
	pool    *sql.DB
	log     *slog.Logger
	commits *atomic.Int64
}

func openPostgres(ctx context.Context, cfg Config, commits *atomic.Int64) (*postgresDB, error) {
	pool, err := sql.Open("pgx", cfg.PostgresURL)
	if err != nil {
		return nil, errors.New("the PostgreSQL address is not valid: use postgres://user:password@host:5432/name") // the driver's text may hold the password
	}
	pool.SetMaxOpenConns(32)
	pool.SetMaxIdleConns(32)
	if err := pool.PingContext(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("PostgreSQL does not answer: %w", err)
	}
	var synchronous string
	if err := pool.QueryRowContext(ctx, "SHOW synchronous_commit").Scan(&synchronous); err != nil || synchronous == "off" {
		pool.Close()
		return nil, fmt.Errorf("PostgreSQL runs with synchronous_commit=%s: a push answered with 201 would not be safe (%w)", synchronous, err)
	}
	if err := migrate(ctx, pool, "postgres"); err != nil {
		pool.Close()
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	return &postgresDB{pool: pool, log: cfg.Log, commits: commits}, nil
}

func (db *postgresDB) dialect() string { return "postgres" }
func (db *postgresDB) close() error    { return db.pool.Close() }

func (db *postgresDB) read(ctx context.Context, fn func(*Tx) error) error {
	return db.run(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead}, fn, nil)
}

// maxTries bounds how often a transaction that lost a race is run again.
const maxTries = 20

func (db *postgresDB) write(ctx context.Context, _ Priority, fn func(*Tx) error) error {
	for try := 1; ; try++ {
		var after []func()
		err := db.run(ctx, nil, fn, &after)
		if lostRace(err) && try < maxTries {
			pause := time.Duration(rand.Int64N(int64(try) * int64(5*time.Millisecond)))
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
		db.commits.Add(1)
		for _, fn := range after {
			fn()
		}
		return nil
	}
}

// run runs fn in one transaction; after receives what to do once it is durable.
func (db *postgresDB) run(ctx context.Context, opts *sql.TxOptions, fn func(*Tx) error, after *[]func()) error {
	// A client that goes away must not leave the outcome of a begun
	// transaction open, so only waiting for a connection can be cancelled.
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return postgresFault(err)
	}
	defer conn.Close()
	background := context.WithoutCancel(ctx)
	sqltx, err := conn.BeginTx(background, opts)
	if err != nil {
		return postgresFault(err)
	}
	defer sqltx.Rollback() // nothing after a commit
	tx := &Tx{conn: postgresTx{background, sqltx}, now: time.Now().UTC()}
	if err := call(fn, tx); err != nil {
		return err
	}
	if err := sqltx.Commit(); err != nil {
		return postgresFault(err)
	}
	if after != nil {
		*after = tx.after
	}
	return nil
}

// exclusive takes an advisory lock of a session, on a connection that does nothing
// else meanwhile.
func (db *postgresDB) exclusive(ctx context.Context, name string) (release func(), ok bool, err error) {
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return nil, false, postgresFault(err)
	}
	err = conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", "dockbell "+name).Scan(&ok)
	if err != nil || !ok {
		conn.Close()
		return nil, false, postgresFault(err)
	}
	return func() {
		defer conn.Close()
		unlocking, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if _, err := conn.ExecContext(unlocking, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", "dockbell "+name); err != nil {
			conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool must not get it back with the lock
		}
	}, true, nil
}

// postgresTx runs statements; the driver keeps prepared ones by text.
type postgresTx struct {
	ctx context.Context
	tx  *sql.Tx
}

func (t postgresTx) exec(query string, args []any) (sql.Result, error) {
	return t.tx.ExecContext(t.ctx, query, args...)
}

func (t postgresTx) query(query string, args []any) (*sql.Rows, error) {
	return t.tx.QueryContext(t.ctx, query, args...)
}

func (t postgresTx) insert(key, query string, args []any) (id int64, inserted bool, err error) {
	err = t.tx.QueryRowContext(t.ctx, query+" RETURNING "+key, args...).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return id, err == nil, err
}

// serialise takes a lock that its holder keeps until the end of the transaction.
func (t postgresTx) serialise() error {
	const lock = 0x646f636b62656c6c // "dockbell"
	_, err := t.tx.ExecContext(t.ctx, "SELECT pg_advisory_xact_lock($1)", int64(lock))
	return err
}

// hold takes the lock of a foreign key, which DELETE waits for and no UPDATE of other
// columns; or the one that such an UPDATE takes.
func (t postgresTx) hold(alone bool) string {
	if alone {
		return " FOR NO KEY UPDATE"
	}
	return " FOR KEY SHARE"
}

func (t postgresTx) fault(err error) error { return postgresFault(err) }

// SQLSTATE codes (PostgreSQL documentation, appendix A).
const (
	pgSerializationFailure = "40001"
	pgDeadlockDetected     = "40P01"
	pgReadOnlyTransaction  = "25006"
	pgDiskFull             = "53100"
)

func postgresFault(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		var c *pgconn.ConnectError
		if errors.As(err, &c) || pgconn.SafeToRetry(err) {
			return unavailable(err)
		}
		return err
	}
	switch e.Code {
	case pgDiskFull:
		return noSpace(err)
	case pgReadOnlyTransaction:
		return unavailable(err)
	}
	if e.Code[:2] == "57" || e.Code[:2] == "08" { // shutdown, connection trouble
		return unavailable(err)
	}
	return err
}

// lostRace reports whether running the transaction again may succeed.
func lostRace(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == pgSerializationFailure || e.Code == pgDeadlockDetected)
}
