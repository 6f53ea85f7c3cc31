package subscription

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dockbell/dockbell/internal/filter"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// row is a subscription as it is stored.
type row struct {
	record
	sealed []byte
}

const columns = `SELECT id, registry, name, destination, secret, filter, labels, schema_name, expires_at, max_attempts, ttl, dead_letters, state, per_minute,
	token_hash, token_until, created_at, created_by, created_kind, updated_at, updated_by, updated_kind, version FROM subscription`

func scanRow(s sqldb.Scan) (row, error) {
	var r row
	var destination, wanted, labels, dead string
	var expires, until *int64
	var created, updated int64
	err := s(&r.ID, &r.RegistryID, &r.Name, &destination, &r.sealed, &wanted, &labels, &r.Schema, &expires, &r.MaxAttempts, &r.TTL, &dead, &r.State, &r.perMinute,
		&r.tokenHash, &until, &created, &r.CreatedBy.Name, &r.CreatedBy.Kind, &updated, &r.UpdatedBy.Name, &r.UpdatedBy.Kind, &r.version)
	if err != nil {
		return row{}, err
	}
	r.ExpiresAt, r.tokenUntil = moment(expires), moment(until)
	r.CreatedAt, r.UpdatedAt = time.Unix(0, created).UTC(), time.Unix(0, updated).UTC()
	err = errors.Join(json.Unmarshal([]byte(destination), &r.Destination), json.Unmarshal([]byte(wanted), &r.Filter), json.Unmarshal([]byte(labels), &r.Labels))
	if dead != "" {
		err = errors.Join(err, json.Unmarshal([]byte(dead), &r.DeadLetters))
	}
	if err != nil {
		return row{}, fmt.Errorf("event subscription %d: %w", r.ID, err)
	}
	return r, nil
}

// moment returns the time that a column holds, zero for null.
func moment(nanoseconds *int64) time.Time {
	if nanoseconds == nil {
		return time.Time{}
	}
	return time.Unix(0, *nanoseconds).UTC()
}

// orNull is the reverse of moment.
func orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}

func toJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("subscription: " + err.Error()) // of strings and numbers
	}
	return string(text)
}

func (r record) deadLetterText() string {
	if r.DeadLetters == nil {
		return ""
	}
	return toJSON(r.DeadLetters)
}

// one returns the first of what was found, or sqldb.ErrNoRow.
func one[T any](found []T, err error) (first T, _ error) {
	if err == nil && len(found) == 0 {
		err = sqldb.ErrNoRow
	}
	if err != nil {
		return first, err
	}
	return found[0], nil
}

// selectNamed returns sqldb.ErrNoRow if there is none.
func selectNamed(tx *sqldb.Tx, registry int64, key string) (row, error) {
	return one(sqldb.Select(tx, scanRow, columns+" WHERE registry = $1 AND name_key = $2", registry, key))
}

// selectEndpoint returns the subscription that is an endpoint, or sqldb.ErrNoRow.
func selectEndpoint(tx *sqldb.Tx, registry, id int64) (row, error) {
	return one(sqldb.Select(tx, scanRow, columns+" WHERE id = $1 AND registry = $2", id, registry))
}

// selectToken returns the subscription that a token confirms, or sqldb.ErrNoRow.
func selectToken(tx *sqldb.Tx, hash []byte) (row, error) {
	return one(sqldb.Select(tx, scanRow, columns+" WHERE token_hash = $1", hash))
}

func selectList(tx *sqldb.Tx, registry int64) ([]row, error) {
	return sqldb.Select(tx, scanRow, columns+" WHERE registry = $1 ORDER BY name_key", registry)
}

func selectAll(tx *sqldb.Tx) ([]row, error) { return sqldb.Select(tx, scanRow, columns) }

func count(tx *sqldb.Tx, registry int64) (n int, err error) {
	err = tx.Get("SELECT count(*) FROM subscription WHERE registry = $1", []any{registry}, &n)
	return n, err
}

// insert reports false if the name is taken.
func insert(tx *sqldb.Tx, r record, sealed []byte) (bool, error) {
	n, err := tx.Exec(`INSERT INTO subscription (id, registry, name, name_key, destination, secret, filter, labels, schema_name, expires_at, max_attempts, ttl,
			dead_letters, state, per_minute, token_hash, token_until, created_at, created_by, created_kind, updated_at, updated_by, updated_kind)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
		ON CONFLICT (registry, name_key) DO NOTHING`,
		r.ID, r.RegistryID, r.Name, nameKey(r.Name), toJSON(r.Destination), sealed, toJSON(r.Filter), toJSON(r.Labels), string(r.Schema), orNull(r.ExpiresAt),
		r.MaxAttempts, int64(r.TTL), r.deadLetterText(), string(r.State), r.perMinute, r.tokenHash, orNull(r.tokenUntil),
		r.CreatedAt.UnixNano(), r.CreatedBy.Name, r.CreatedBy.Kind, r.UpdatedAt.UnixNano(), r.UpdatedBy.Name, r.UpdatedBy.Kind)
	return n == 1, err
}

// update stores r over the version it was made from, and reports false if that is
// not the one there is.
func update(tx *sqldb.Tx, r record, sealed []byte) (bool, error) {
	n, err := tx.Exec(`UPDATE subscription SET destination = $3, secret = $4, filter = $5, labels = $6, schema_name = $7, expires_at = $8, max_attempts = $9, ttl = $10,
			dead_letters = $11, state = $12, per_minute = $13, token_hash = $14, token_until = $15, updated_at = $16, updated_by = $17, updated_kind = $18, version = version + 1
		WHERE id = $1 AND version = $2`,
		r.ID, r.version, toJSON(r.Destination), sealed, toJSON(r.Filter), toJSON(r.Labels), string(r.Schema), orNull(r.ExpiresAt), r.MaxAttempts, int64(r.TTL),
		r.deadLetterText(), string(r.State), r.perMinute, r.tokenHash, orNull(r.tokenUntil), r.UpdatedAt.UnixNano(), r.UpdatedBy.Name, r.UpdatedBy.Kind)
	return n == 1, err
}

// deleteSubscription removes a subscription and its rules.
func deleteSubscription(tx *sqldb.Tx, id int64) error {
	if _, err := tx.Exec("DELETE FROM subscription_rule WHERE subscription = $1", id); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM subscription WHERE id = $1", id)
	return err
}

// upsertRule records what r wants of the events after position from.
func upsertRule(tx *sqldb.Tx, r record, from int64) error {
	_, err := tx.Exec(`INSERT INTO subscription_rule (subscription, from_pos, filter, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (subscription, from_pos) DO UPDATE SET filter = excluded.filter, expires_at = excluded.expires_at`,
		r.ID, from, toJSON(r.Filter), orNull(r.ExpiresAt))
	return err
}

// pruneRules removes the rules that only events before position oldest were
// matched by.
func pruneRules(tx *sqldb.Tx, id, oldest int64) error {
	_, err := tx.Exec(`DELETE FROM subscription_rule WHERE subscription = $1 AND from_pos <
		(SELECT max(from_pos) FROM subscription_rule WHERE subscription = $1 AND from_pos < $2)`, id, oldest)
	return err
}

// ruleRow is a rule as it is stored.
type ruleRow struct {
	subscription int64
	from         int64 // in force for positions after this one
	rule
}

func scanRule(s sqldb.Scan) (ruleRow, error) {
	var r ruleRow
	var wanted string
	var expires *int64
	if err := s(&r.subscription, &r.from, &wanted, &expires); err != nil {
		return ruleRow{}, err
	}
	var d filter.Definition
	err := json.Unmarshal([]byte(wanted), &d)
	if err == nil {
		r.rule, err = newRule(d, moment(expires))
	}
	if err != nil {
		return ruleRow{}, fmt.Errorf("event subscription %d: %w", r.subscription, err)
	}
	return r, nil
}

// selectRulesAt returns the rules that an event at pos was matched by.
func selectRulesAt(tx *sqldb.Tx, registry, pos int64) ([]ruleRow, error) {
	return sqldb.Select(tx, scanRule, `SELECT r.subscription, r.from_pos, r.filter, r.expires_at FROM subscription s JOIN subscription_rule r ON r.subscription = s.id
		WHERE s.registry = $1
		AND r.from_pos = (SELECT max(from_pos) FROM subscription_rule o WHERE o.subscription = s.id AND o.from_pos < $2)
		ORDER BY r.subscription`, registry, pos)
}

// selectRules returns all rules of a subscription that are kept, oldest first.
func selectRules(tx *sqldb.Tx, id int64) ([]ruleRow, error) {
	return sqldb.Select(tx, scanRule, "SELECT subscription, from_pos, filter, expires_at FROM subscription_rule WHERE subscription = $1 ORDER BY from_pos", id)
}
