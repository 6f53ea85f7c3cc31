package collect

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// result is column figures, as JSON.
type result struct {
	Figures
	Problem string `json:",omitempty"`
}

const collectionColumns = "SELECT id, state, dry_run, started_at, started_by, ended_at, figures FROM collection "

func scanCollection(s sqldb.Scan) (c Collection, err error) {
	var started int64
	var ended sql.NullInt64
	var figures []byte
	if err := s(&c.ID, &c.State, &c.DryRun, &started, &c.StartedBy, &ended, &figures); err != nil {
		return c, err
	}
	c.StartedAt = time.Unix(0, started).UTC()
	if ended.Valid {
		c.EndedAt = time.Unix(0, ended.Int64).UTC()
	}
	var r result
	if err := json.Unmarshal(figures, &r); err != nil {
		return c, fmt.Errorf("figures of collection %d: %w", c.ID, err)
	}
	c.Figures, c.Problem = r.Figures, r.Problem
	return c, nil
}

// insertCollection writes a collection that begins, and forgets the oldest.
func insertCollection(tx *sqldb.Tx, c Collection) (id int64, err error) {
	id, _, err = tx.Insert("id", `INSERT INTO collection (state, dry_run, cancelled, started_at, started_by, figures)
		VALUES ($1, $2, $3, $4, $5, '{}')`, string(c.State), c.DryRun, false, c.StartedAt.UnixNano(), c.StartedBy)
	if err == nil {
		_, err = tx.Exec("DELETE FROM collection WHERE id <= $1", id-kept)
	}
	return id, err
}

// interruptAll ends, on record, collections whose process is gone.
func interruptAll(tx *sqldb.Tx) error {
	_, err := tx.Exec("UPDATE collection SET state = $1, ended_at = $2 WHERE state = $3", string(Interrupted), tx.Now().UnixNano(), string(Running))
	return err
}

// collectionByID returns a collection, or sqldb.ErrNoRow.
func collectionByID(tx *sqldb.Tx, id int64) (Collection, error) {
	return scanCollection(func(dest ...any) error { return tx.Get(collectionColumns+"WHERE id = $1", []any{id}, dest...) })
}

func newestCollections(tx *sqldb.Tx, n int) ([]Collection, error) {
	return sqldb.Select(tx, scanCollection, collectionColumns+"ORDER BY id DESC LIMIT $1", n)
}

// lastCollection returns the newest collection that was no dry run, or
// sqldb.ErrNoRow.
func lastCollection(tx *sqldb.Tx) (Collection, error) {
	return scanCollection(func(dest ...any) error {
		return tx.Get(collectionColumns+"WHERE dry_run = $1 ORDER BY id DESC LIMIT 1", []any{false}, dest...)
	})
}

func cancelCollection(tx *sqldb.Tx, id int64) error {
	_, err := tx.Exec("UPDATE collection SET cancelled = $2 WHERE id = $1", id, true)
	return err
}

// saveFigures writes how far a collection is, and reports whether it is to go on.
func saveFigures(tx *sqldb.Tx, c Collection) (goOn bool, err error) {
	figures, err := json.Marshal(result{c.Figures, c.Problem})
	if err != nil {
		return false, err
	}
	var cancelled bool
	err = tx.Get("UPDATE collection SET figures = $2 WHERE id = $1 AND state = $3 RETURNING cancelled", []any{c.ID, string(figures), string(Running)}, &cancelled)
	if errors.Is(err, sqldb.ErrNoRow) {
		return false, nil // another process took it for dead
	}
	return !cancelled, err
}

// endCollection writes how a collection ended, unless that was done.
func endCollection(tx *sqldb.Tx, c Collection) error {
	if _, err := saveFigures(tx, c); err != nil {
		return err
	}
	_, err := tx.Exec("UPDATE collection SET state = $2, ended_at = $3 WHERE id = $1 AND state = $4", c.ID, string(c.State), tx.Now().UnixNano(), string(Running))
	return err
}
