package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

var bg = context.Background()

func set(tx *sqldb.Tx, name, value string) error {
	_, err := tx.Exec("INSERT INTO setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	return err
}

func get(t *testing.T, db *sqldb.DB, name string) (value string, ok bool) {
	t.Helper()
	err := db.Read(bg, func(tx *sqldb.Tx) error {
		return tx.Get("SELECT value FROM setting WHERE name = $1", []any{name}, &value)
	})
	if errors.Is(err, sqldb.ErrNoRow) {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	return value, true
}

func TestWriteIsAllOrNothing(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		refused := errors.New("refused")
		err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
			tx.AfterCommit(func() { t.Error("AfterCommit of a failed transaction ran") })
			if err := set(tx, "a", "1"); err != nil {
				return err
			}
			return refused
		})
		if !errors.Is(err, refused) {
			t.Errorf("error %v, want the function's own", err)
		}
		if v, ok := get(t, db, "a"); ok {
			t.Errorf("a failed transaction left %q", v)
		}
		ran := false
		err = db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
			tx.AfterCommit(func() { ran = true })
			return set(tx, "a", "2")
		})
		if err != nil || !ran {
			t.Errorf("error %v, AfterCommit ran: %v", err, ran)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if v, _ := get(t, open(), "a"); v != "2" {
			t.Errorf("%q after reopening, want 2", v)
		}
	})
}

// One piece of work that fails, or panics, undoes nothing of the others that
// share its commit.
func TestNeighboursOfAFailureAreKept(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		const n = 200
		var wg sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			wg.Go(func() {
				errs[i] = db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
					if err := set(tx, fmt.Sprint(i), "kept"); err != nil {
						return err
					}
					switch i % 5 {
					case 0:
						return errors.New("refused")
					case 1:
						panic("broken request")
					case 2:
						_, err := tx.Exec("INSERT INTO setting (name, value) VALUES ($1, NULL)", fmt.Sprint("null ", i))
						return err
					}
					return nil
				})
			})
		}
		wg.Wait()
		for i, err := range errs {
			_, ok := get(t, db, fmt.Sprint(i))
			if want := i%5 > 2; ok != want || (err == nil) != want {
				t.Errorf("work %d: error %v, kept %v", i, err, ok)
			}
		}
	})
}

func TestAfterCommitRunsInCommitOrder(t *testing.T) {
	db := sqldbtest.SQLite(t)()
	var order []int64 // the writer alone appends
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
				var pos int64
				err := tx.Get("UPDATE event_position SET expanded = expanded + 1 RETURNING expanded", nil, &pos)
				tx.AfterCommit(func() { order = append(order, pos) })
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, pos := range order {
		if pos != int64(i+1) {
			t.Fatalf("callback %d is for position %d", i, pos)
		}
	}
	if commits := db.Commits(); commits >= 500 {
		t.Errorf("%d commits for 500 transactions at once: nothing was grouped", commits)
	}
}

func TestCancelledWorkIsNotDone(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		ctx, cancel := context.WithCancel(bg)
		cancel()
		err := db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error { return set(tx, "a", "1") })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want context.Canceled", err)
		}
		if _, ok := get(t, db, "a"); ok {
			t.Error("cancelled work was done")
		}
	})
}

func TestClosedTakesNoWrites(t *testing.T) {
	db := sqldbtest.SQLite(t)()
	db.Close()
	err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error { return set(tx, "a", "1") })
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("error %v, want fault.Unavailable", err)
	}
}

// Small values that the engines could treat differently.
func TestValuesRoundTrip(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
			_, err := tx.Exec("INSERT INTO content (digest, size, data, created_at) VALUES ($1, $2, $3, $4)", "sha256:empty", 0, []byte{}, int64(1)<<62)
			return err
		})
		if err != nil {
			t.Fatalf("an empty content is content: %v", err)
		}
		err = db.Read(bg, func(tx *sqldb.Tx) error {
			var data []byte
			var isNull, yes bool
			var at int64
			if err := tx.Get("SELECT data, data IS NULL, created_at, 1 = 1 FROM content", nil, &data, &isNull, &at, &yes); err != nil {
				return err
			}
			if isNull || len(data) != 0 || at != int64(1)<<62 || !yes {
				t.Errorf("data %v, null %v, at %d, yes %v", data, isNull, at, yes)
			}
			names := []string{"b", "B", "a-b", "a.b", "a_b", "ab"}
			for _, n := range names {
				if err := tx.Get("SELECT 1 WHERE $1 IN ("+sqldb.In(2, 2)+")", []any{n, n, "x"}, &at); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestHoldAlone: what is added up by several, who each hold the row alone first, is
// the sum of it all.
func TestHoldAlone(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		if err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error { return set(tx, "sum", "") }); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		const each = 25
		for range 4 {
			all.Go(func() {
				for range each {
					err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
						var value string
						if err := tx.HoldAlone("SELECT value FROM setting WHERE name = $1", []any{"sum"}, &value); err != nil {
							return err
						}
						return set(tx, "sum", value+"x")
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if sum, _ := get(t, db, "sum"); len(sum) != 4*each {
			t.Errorf("%d, want %d", len(sum), 4*each)
		}
		err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
			return tx.HoldAlone("SELECT value FROM setting WHERE name = $1", []any{"none"}, new(string))
		})
		if !errors.Is(err, sqldb.ErrNoRow) {
			t.Errorf("none: %v", err)
		}
	})
}

// TestExclusive: one at a time has a right, and it comes back when its holder lets
// it go.
func TestExclusive(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		release, ok, err := db.Exclusive(bg, "one")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		other, ok, err := db.Exclusive(bg, "another")
		if err != nil || !ok {
			t.Fatalf("another right: %v, %v", ok, err)
		}
		other()
		asked := []*sqldb.DB{db}
		if db.Dialect() == "postgres" { // of SQLite's file there is one user
			asked = append(asked, open())
		}
		for _, who := range asked {
			if _, ok, err := who.Exclusive(bg, "one"); ok || err != nil {
				t.Errorf("a second time: %v, %v", ok, err)
			}
		}
		release()
		again, ok, err := asked[len(asked)-1].Exclusive(bg, "one")
		if err != nil || !ok {
			t.Fatalf("after its release: %v, %v", ok, err)
		}
		again()
	})
}

// TestHold: a row that is held is not deleted before the holder's commit, and a
// row that is just being deleted is not held.
func TestHold(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		const rounds = 200
		for range rounds {
			if err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error { return set(tx, "parent", "") }); err != nil {
				t.Fatal(err)
			}
			var both sync.WaitGroup
			both.Go(func() {
				err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
					var value string
					err := tx.Hold("SELECT value FROM setting WHERE name = $1", []any{"parent"}, &value)
					if errors.Is(err, sqldb.ErrNoRow) {
						return nil
					}
					if err != nil {
						return err
					}
					return set(tx, "child", "")
				})
				if err != nil {
					t.Error(err)
				}
			})
			both.Go(func() {
				errChild := errors.New("there is a child")
				err := db.Write(bg, sqldb.Bulk, func(tx *sqldb.Tx) error {
					if _, err := tx.Exec("DELETE FROM setting WHERE name = 'parent'"); err != nil {
						return err
					}
					var n int
					if err := tx.Get("SELECT count(*) FROM setting WHERE name = 'child'", nil, &n); err != nil || n == 0 {
						return err
					}
					return errChild
				})
				if err != nil && !errors.Is(err, errChild) {
					t.Error(err)
				}
			})
			both.Wait()
			_, parent := get(t, db, "parent")
			_, child := get(t, db, "child")
			if parent != child {
				t.Fatalf("parent %v, child %v", parent, child)
			}
			err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
				_, err := tx.Exec("DELETE FROM setting WHERE name IN ('parent', 'child')")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
