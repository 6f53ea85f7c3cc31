package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	sqlitedriver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/dockbell/dockbell/internal/fault"
)

// minSQLite is the first version without the WAL-reset race, which can corrupt
// a database that is written and checkpointed by two connections.
const minSQLite = "3.51.3"

// readers is how many reads can run at once.
const readers = 8

// sqliteDB is the SQLite engine: one writer connection behind a group commit, a
// pool of readers, and a connection that checkpoints.
type sqliteDB struct {
	pool    *sql.DB
	log     *slog.Logger
	writer  *writer
	readers chan *sqliteConn
	taken   sync.Map // what Exclusive was called for, by name: no other process has the database
	stop    context.CancelFunc
	done    sync.WaitGroup
	once    sync.Once
}

func openSQLite(ctx context.Context, cfg Config, commits *atomic.Int64) (_ *sqliteDB, err error) {
	if err := touch(cfg.Path); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: cfg.Path}).EscapedPath()}
	q := url.Values{}
	for _, pragma := range []string{
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(0)",
		"foreign_keys(OFF)", "temp_store(MEMORY)", "trusted_schema(OFF)", "cache_size(-8000)",
	} {
		q.Add("_pragma", pragma)
	}
	dsn.RawQuery = q.Encode()
	pool, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", cfg.Path, err)
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	pool.SetMaxIdleConns(readers + 2)

	if err := migrate(ctx, pool, "sqlite"); err != nil {
		if noRoomToOpen(err) {
			return nil, fault.Wrap(err, fault.NoSpace, "the database %s cannot be opened: its disk is full; free some space there and start again", cfg.Path)
		}
		return nil, fmt.Errorf("database %s: %w", cfg.Path, err)
	}
	db := &sqliteDB{pool: pool, log: cfg.Log, readers: make(chan *sqliteConn, readers)}
	for range readers {
		c, err := db.connect(ctx)
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", cfg.Path, err)
		}
		db.readers <- c
	}
	writerConn, err := db.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", cfg.Path, err)
	}
	checkpointConn, err := db.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", cfg.Path, err)
	}
	run, stop := context.WithCancel(context.Background())
	db.stop = stop
	cp := &checkpointer{conn: checkpointConn, log: cfg.Log, committed: make(chan struct{}, 1)}
	db.writer = newWriter(writerConn, cfg.Log, commits, cp.committed)
	cp.truncate = db.writer.truncateWAL
	db.done.Go(func() { db.writer.run(run) })
	db.done.Go(func() { cp.run(run) })
	return db, nil
}

// touch makes the database file readable by its owner only, before SQLite makes
// it with the process's default mode.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open database %s: %w: the server needs to read and write its data folder %s", path, err, filepath.Dir(path))
	}
	return f.Close()
}

// connect opens a connection and checks that it keeps the promises this
// package makes.
func (db *sqliteDB) connect(ctx context.Context) (*sqliteConn, error) {
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var version, journal string
	var synchronous int
	if err := errors.Join(
		conn.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version),
		conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal),
		conn.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous),
	); err != nil {
		return nil, err
	}
	if older(version, minSQLite) {
		return nil, fmt.Errorf("SQLite %s can corrupt a database in WAL mode: build with %s or later", version, minSQLite)
	}
	const full = 2
	if journal != "wal" || synchronous != full {
		return nil, fmt.Errorf("SQLite runs with journal_mode=%s and synchronous=%d: a push answered with 201 would not be safe", journal, synchronous)
	}
	return &sqliteConn{conn: conn, stmts: map[string]*sql.Stmt{}}, nil
}

func older(version, than string) bool {
	var a, b [3]int
	fmt.Sscanf(version, "%d.%d.%d", &a[0], &a[1], &a[2])
	fmt.Sscanf(than, "%d.%d.%d", &b[0], &b[1], &b[2])
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

func (db *sqliteDB) dialect() string { return "sqlite" }

func (db *sqliteDB) read(ctx context.Context, fn func(*Tx) error) error {
	var c *sqliteConn
	select {
	case c = <-db.readers:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { db.readers <- c }()
	if _, err := c.exec("BEGIN", nil); err != nil {
		return c.fault(err)
	}
	defer c.exec("ROLLBACK", nil) // nothing was written
	return fn(&Tx{conn: c, now: time.Now().UTC()})
}

func (db *sqliteDB) write(ctx context.Context, p Priority, fn func(*Tx) error) error {
	return db.writer.do(ctx, p, fn)
}

func (db *sqliteDB) exclusive(_ context.Context, name string) (release func(), ok bool, err error) {
	if _, taken := db.taken.LoadOrStore(name, true); taken {
		return nil, false, nil
	}
	return func() { db.taken.Delete(name) }, true, nil
}

func (db *sqliteDB) close() error {
	var err error
	db.once.Do(func() {
		db.stop()
		db.done.Wait()
		for range readers {
			c := <-db.readers
			err = errors.Join(err, c.close())
		}
		err = errors.Join(err, db.writer.conn.close(), db.pool.Close())
	})
	return err
}

// sqliteConn is a connection with its prepared statements. The program's
// statements are constants, or differ in the length of an IN list, so the map
// stays small.
//
// It uses the background context throughout: the driver would start a goroutine
// for each statement to watch any other, and no statement here runs long.
type sqliteConn struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// maxStatements bounds the cache; reaching it means that query texts are built
// from values, which none should be.
const maxStatements = 1000

func (c *sqliteConn) prepare(query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	if len(c.stmts) >= maxStatements {
		for q, s := range c.stmts {
			s.Close()
			delete(c.stmts, q)
		}
	}
	s, err := c.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

func (c *sqliteConn) exec(query string, args []any) (sql.Result, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(context.Background(), args...)
}

func (c *sqliteConn) query(query string, args []any) (*sql.Rows, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), args...)
}

// insert relies on the key being the row id, which an INTEGER PRIMARY KEY is.
func (c *sqliteConn) insert(_, query string, args []any) (id int64, inserted bool, err error) {
	res, err := c.exec(query, args)
	if err != nil {
		return 0, false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return 0, false, err
	}
	id, err = res.LastInsertId()
	return id, true, err
}

func (c *sqliteConn) serialise() error { return nil }

// hold needs nothing: there is one writer.
func (c *sqliteConn) hold(bool) string { return "" }

func (c *sqliteConn) close() error {
	for _, s := range c.stmts {
		s.Close()
	}
	return c.conn.Close()
}

// fault gives a driver's error its meaning.
func (c *sqliteConn) fault(err error) error {
	var e *sqlitedriver.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlitelib.SQLITE_FULL:
		return noSpace(err)
	case sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_IOERR,
		sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB, sqlitelib.SQLITE_BUSY:
		return unavailable(err)
	}
	return err
}

// noRoomToOpen reports whether err means that there was no room for the files
// that SQLite makes beside a database when it opens it.
func noRoomToOpen(err error) bool {
	var e *sqlitedriver.Error
	return errors.As(err, &e) && (e.Code() == sqlitelib.SQLITE_IOERR_SHMSIZE || e.Code()&0xff == sqlitelib.SQLITE_FULL)
}

// brokenFlush reports whether err means that SQLite could not make a commit
// durable, as opposed to having no room for it.
func brokenFlush(err error) bool {
	var e *sqlitedriver.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB:
		return true
	}
	return false
}

// checkpointer copies the write-ahead log into the database while writes go on.
type checkpointer struct {
	conn      *sqliteConn
	log       *slog.Logger
	committed chan struct{} // the writer committed; never blocks it
	truncate  func()        // asks the writer to empty the log file
}

// When to checkpoint: often enough that reads and restarts stay quick, rarely
// enough that the pages every commit changes are not copied again and again.
const (
	checkpointPages = 4000                  // 16 MiB
	checkpointLook  = 20 * time.Millisecond // at most one look per this time
	idleAfter       = 5 * time.Second
	maxWALPages     = 64 << 20 / 4096
)

func (cp *checkpointer) run(ctx context.Context) {
	defer cp.conn.close()
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	var pending bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-idle.C:
			if pending {
				pending = false
				cp.truncate()
			}
			continue
		case <-cp.committed:
		}
		pending = true
		idle.Reset(idleAfter)
		logged, copied, err := cp.checkpoint("NOOP")
		if err != nil {
			cp.log.Warn("the write-ahead log could not be looked at", "error", err)
		} else if logged-copied >= checkpointPages {
			if _, _, err := cp.checkpoint("PASSIVE"); err != nil {
				cp.log.Warn("the write-ahead log could not be copied into the database; it grows until that succeeds", "error", err)
			}
			if logged > maxWALPages {
				cp.truncate()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkpointLook):
		}
	}
}

// checkpoint returns the pages in the log and how many of them are copied.
func (cp *checkpointer) checkpoint(mode string) (logged, copied int, err error) {
	var busy int
	rows, err := cp.conn.query("PRAGMA wal_checkpoint("+mode+")", nil)
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	if rows.Next() {
		err = rows.Scan(&busy, &logged, &copied)
	}
	return logged, copied, errors.Join(err, rows.Err())
}
