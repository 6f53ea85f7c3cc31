// Package sqldbtest gives tests real databases: SQLite in a temporary file, and
// PostgreSQL in a server of its own.
//
// A package that wants PostgreSQL runs its tests through Main. The server is
// started when the first test asks for it, in a temporary folder on a loopback
// port, from the binaries of the machine; DOCKBELL_TEST_POSTGRES, an address
// with the right to create databases, names one that runs already. Where there
// is none, tests say so and are skipped, and fail if CI is set.
package sqldbtest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// Main runs a package's tests and stops what they started.
func Main(m *testing.M) {
	code := m.Run()
	if err := server.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Each runs test on every engine. open opens a database of the test's own: each
// call within one test opens the same one again, so that a test can close and
// reopen it.
func Each(t *testing.T, test func(t *testing.T, open func() *sqldb.DB)) {
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t)) })
}

// SQLite returns a function that opens a SQLite database of the test's own.
func SQLite(t *testing.T) func() *sqldb.DB {
	path := filepath.Join(t.TempDir(), "test.db")
	return func() *sqldb.DB { return open(t, sqldb.Config{Path: path}) }
}

// Postgres returns a function that opens a PostgreSQL database of the test's
// own.
func Postgres(t *testing.T) func() *sqldb.DB {
	t.Helper()
	address, err := server.newDatabase()
	if err != nil {
		message := fmt.Sprintf("NO POSTGRESQL: %v\nThis test proves nothing without it. Install it (Debian: apt-get install postgresql) or set DOCKBELL_TEST_POSTGRES.", err)
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	return func() *sqldb.DB { return open(t, sqldb.Config{PostgresURL: address}) }
}

func open(t *testing.T, cfg sqldb.Config) *sqldb.DB {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	db, err := sqldb.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// server is the PostgreSQL server of this test process.
var server postgres

type postgres struct {
	once    sync.Once
	err     error
	address *url.URL
	dir     string
	cmd     *exec.Cmd
	count   atomic.Int64
}

// newDatabase makes an empty database and returns its address.
func (p *postgres) newDatabase() (string, error) {
	p.once.Do(func() { p.err = p.start() })
	if p.err != nil {
		return "", p.err
	}
	db, err := sql.Open("pgx", p.address.String())
	if err != nil {
		return "", err
	}
	defer db.Close()
	name := fmt.Sprintf("dockbell_%d_%d", os.Getpid(), p.count.Add(1))
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		return "", err
	}
	address := *p.address
	address.Path = "/" + name
	return address.String(), nil
}

func (p *postgres) start() (err error) {
	if env := os.Getenv("DOCKBELL_TEST_POSTGRES"); env != "" {
		p.address, err = url.Parse(env)
		return err
	}
	bin, err := binaries()
	if err != nil {
		return err
	}
	if p.dir, err = os.MkdirTemp("", "dockbell-postgres-"); err != nil {
		return err
	}
	attr, err := ordinaryUser(p.dir)
	if err != nil {
		return err
	}
	data := filepath.Join(p.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "dockbell", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = p.dir, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	// fsync off: this server does not have to survive a power failure.
	p.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-h", "127.0.0.1", "-p", port, "-k", p.dir, "-c", "fsync=off", "-c", "max_connections=300")
	p.cmd.Dir, p.cmd.SysProcAttr = p.dir, attr
	var log bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &log, &log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.address = &url.URL{Scheme: "postgres", User: url.User("dockbell"), Host: "127.0.0.1:" + port, Path: "/postgres", RawQuery: "sslmode=disable"}
	return p.await(&log)
}

// await waits until the server answers.
func (p *postgres) await(log *bytes.Buffer) error {
	db, err := sql.Open("pgx", p.address.String())
	if err != nil {
		return err
	}
	defer db.Close()
	deadline := time.Now().Add(time.Minute)
	for {
		err := db.Ping()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			p.stop()
			return fmt.Errorf("the server does not answer: %w\n%s", err, log)
		}
		time.Sleep(20 * time.Millisecond) // there is nothing to wait on but the port
	}
}

func (p *postgres) stop() error {
	if p.cmd != nil && p.cmd.Process != nil {
		p.cmd.Process.Signal(syscall.SIGQUIT) // at once, without a checkpoint
		p.cmd.Wait()
	}
	if p.dir == "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}

// binaries returns the folder of PostgreSQL's server programs.
func binaries() (string, error) {
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); hasServer(dir) {
			return dir, nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for i := len(found) - 1; i >= 0; i-- {
		if hasServer(found[i]) {
			return found[i], nil
		}
	}
	return "", fmt.Errorf("no initdb and postgres on this machine")
}

func hasServer(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "initdb"))
	return err == nil
}

// ordinaryUser returns how to run as somebody else, for PostgreSQL refuses to
// run as root; nil for those who are not.
func ordinaryUser(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
