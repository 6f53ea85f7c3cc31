package audit

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

func insertEntry(tx *sqldb.Tx, e Entry) error {
	_, err := tx.Exec(`INSERT INTO audit_entry (at, registry, actor, actor_kind, client, action, resource, outcome, request, correlation, detail, count)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		e.Time.UnixNano(), e.Registry, e.Actor, string(e.ActorKind), e.Client, e.Action, e.Resource, string(e.Outcome),
		e.Request, e.Correlation, e.Detail, e.Count)
	return err
}

// selectEntries returns up to n entries that the filter wants, of those before
// from, newest first.
func selectEntries(tx *sqldb.Tx, f Filter, from place, n int) ([]Entry, error) {
	var where []string
	var args []any
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	args = append(args, from.at, from.id)
	where = append(where, "(at, id) < ($1, $2)")
	if f.Registry != 0 {
		add("registry = ?", f.Registry)
	}
	if !f.After.IsZero() {
		add("at >= ?", f.After.UnixNano())
	}
	if !f.Before.IsZero() {
		add("at < ?", f.Before.UnixNano())
	}
	if f.Actor != "" {
		add("lower(actor) = lower(?)", f.Actor)
	}
	if f.Action != "" {
		add(`lower(action) LIKE lower(?) ESCAPE '\'`, literal(f.Action)+"%")
	}
	if f.Resource != "" {
		add(`lower(resource) LIKE lower(?) ESCAPE '\'`, "%"+literal(f.Resource)+"%")
	}
	if f.Outcome != "" {
		add("outcome = ?", string(f.Outcome))
	}
	args = append(args, n)
	return sqldb.Select(tx, scanEntry, `SELECT id, at, registry, actor, actor_kind, client, action, resource, outcome, request, correlation, detail, count
		FROM audit_entry WHERE `+strings.Join(where, " AND ")+` ORDER BY at DESC, id DESC LIMIT $`+strconv.Itoa(len(args)), args...)
}

// literal returns a pattern of LIKE that stands for the text alone.
func literal(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}

func scanEntry(scan sqldb.Scan) (e Entry, err error) {
	var at int64
	err = scan(&e.ID, &at, &e.Registry, &e.Actor, (*string)(&e.ActorKind), &e.Client, &e.Action, &e.Resource, (*string)(&e.Outcome),
		&e.Request, &e.Correlation, &e.Detail, &e.Count)
	e.Time = time.Unix(0, at).UTC()
	return e, err
}

// selectBeyond returns the id of the newest entry of an outcome that most newer ones
// have, or 0.
func selectBeyond(tx *sqldb.Tx, o Outcome, most int64) (id int64, err error) {
	err = tx.Get("SELECT id FROM audit_entry WHERE outcome = $1 ORDER BY id DESC LIMIT 1 OFFSET $2", []any{string(o), most}, &id)
	if errors.Is(err, sqldb.ErrNoRow) {
		return 0, nil
	}
	return id, err
}

// deleteUpTo removes up to n entries of an outcome with ids up to last, and returns
// how many it removed.
func deleteUpTo(tx *sqldb.Tx, o Outcome, last int64, n int) (int64, error) {
	return tx.Exec("DELETE FROM audit_entry WHERE id IN (SELECT id FROM audit_entry WHERE outcome = $1 AND id <= $2 ORDER BY id LIMIT $3)", string(o), last, n)
}

// deleteOld removes up to n entries from before a time, and returns how many it
// removed.
func deleteOld(tx *sqldb.Tx, before time.Time, n int) (int64, error) {
	return tx.Exec("DELETE FROM audit_entry WHERE id IN (SELECT id FROM audit_entry WHERE at < $1 ORDER BY at, id LIMIT $2)", before.UnixNano(), n)
}
