package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// row is a webhook as it is stored.
type row struct {
	Webhook
	sealed []byte
}

const columns = `SELECT id, registry, name, location, tags, status, scope, actions, secret, created_at, created_by, updated_at, updated_by FROM webhook`

func scanWebhook(s sqldb.Scan) (row, error) {
	var r row
	var tags, actions string
	var created, updated int64
	err := s(&r.ID, &r.RegistryID, &r.Name, &r.Location, &tags, &r.Status, &r.Scope, &actions, &r.sealed, &created, &r.CreatedBy, &updated, &r.UpdatedBy)
	if err != nil {
		return row{}, err
	}
	r.CreatedAt, r.UpdatedAt = time.Unix(0, created).UTC(), time.Unix(0, updated).UTC()
	if err := errors.Join(json.Unmarshal([]byte(tags), &r.Tags), json.Unmarshal([]byte(actions), &r.Actions)); err != nil {
		return row{}, fmt.Errorf("webhook %d: %w", r.ID, err)
	}
	return r, nil
}

// selectWebhook returns sqldb.ErrNoRow if there is none.
func selectWebhook(tx *sqldb.Tx, registry int64, key string) (row, error) {
	found, err := sqldb.Select(tx, scanWebhook, columns+" WHERE registry = $1 AND name_key = $2", registry, key)
	if err != nil {
		return row{}, err
	}
	if len(found) == 0 {
		return row{}, sqldb.ErrNoRow
	}
	return found[0], nil
}

func selectList(tx *sqldb.Tx, registry int64) ([]Webhook, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (Webhook, error) {
		r, err := scanWebhook(s)
		return r.Webhook, err
	}, columns+" WHERE registry = $1 ORDER BY name_key", registry)
}

func selectWebhooks(tx *sqldb.Tx) ([]row, error) {
	return sqldb.Select(tx, scanWebhook, columns)
}

func countWebhooks(tx *sqldb.Tx, registry int64) (n int, err error) {
	err = tx.Get("SELECT count(*) FROM webhook WHERE registry = $1", []any{registry}, &n)
	return n, err
}

// insertWebhook reports false if the name is taken.
func insertWebhook(tx *sqldb.Tx, w Webhook, sealed []byte) (bool, error) {
	n, err := tx.Exec(`INSERT INTO webhook (id, registry, name, name_key, location, tags, status, scope, actions, secret, created_at, created_by, updated_at, updated_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (registry, name_key) DO NOTHING`,
		w.ID, w.RegistryID, w.Name, nameKey(w.Name), w.Location, toJSON(w.Tags), string(w.Status), w.Scope, toJSON(w.Actions), sealed,
		w.CreatedAt.UnixNano(), w.CreatedBy, w.UpdatedAt.UnixNano(), w.UpdatedBy)
	return n == 1, err
}

func updateWebhook(tx *sqldb.Tx, w Webhook, sealed []byte) error {
	_, err := tx.Exec(`UPDATE webhook SET tags = $2, status = $3, scope = $4, actions = $5, secret = $6, updated_at = $7, updated_by = $8 WHERE id = $1`,
		w.ID, toJSON(w.Tags), string(w.Status), w.Scope, toJSON(w.Actions), sealed, w.UpdatedAt.UnixNano(), w.UpdatedBy)
	return err
}

// deleteWebhook removes a webhook and its rules.
func deleteWebhook(tx *sqldb.Tx, id int64) error {
	_, err := tx.Exec("DELETE FROM webhook_rule WHERE webhook = $1", id)
	if err != nil {
		return err
	}
	_, err = tx.Exec("DELETE FROM webhook WHERE id = $1", id)
	return err
}

// upsertRule records what w wants of the events after position from.
func upsertRule(tx *sqldb.Tx, w Webhook, from int64) error {
	_, err := tx.Exec(`INSERT INTO webhook_rule (webhook, from_pos, status, scope, actions) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (webhook, from_pos) DO UPDATE SET status = excluded.status, scope = excluded.scope, actions = excluded.actions`,
		w.ID, from, string(w.Status), w.Scope, toJSON(w.Actions))
	return err
}

// pruneRules removes the rules that only events up to position expanded were
// matched by.
func pruneRules(tx *sqldb.Tx, id, expanded int64) error {
	_, err := tx.Exec(`DELETE FROM webhook_rule WHERE webhook = $1 AND from_pos <
		(SELECT max(from_pos) FROM webhook_rule WHERE webhook = $1 AND from_pos <= $2)`, id, expanded)
	return err
}

// ruleRow is a rule as it is stored.
type ruleRow struct {
	webhook int64
	status  Status
	scope   string
	actions []string
}

// selectRulesAt returns the rules that an event at pos was matched by.
func selectRulesAt(tx *sqldb.Tx, registry int64, location string, pos int64) ([]ruleRow, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (ruleRow, error) {
		var r ruleRow
		var actions string
		if err := s(&r.webhook, &r.status, &r.scope, &actions); err != nil {
			return ruleRow{}, err
		}
		return r, json.Unmarshal([]byte(actions), &r.actions)
	}, `SELECT r.webhook, r.status, r.scope, r.actions FROM webhook w JOIN webhook_rule r ON r.webhook = w.id
		WHERE w.registry = $1 AND w.location = $2
		AND r.from_pos = (SELECT max(from_pos) FROM webhook_rule o WHERE o.webhook = w.id AND o.from_pos < $3)
		ORDER BY r.webhook`, registry, location, pos)
}

// selectOwner returns id if there is such a webhook.
func selectOwner(tx *sqldb.Tx, id int64) ([]int64, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (id int64, err error) {
		err = s(&id)
		return id, err
	}, "SELECT id FROM webhook WHERE id = $1", id)
}

// toJSON encodes strings, which always works.
func toJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("webhook: " + err.Error())
	}
	return string(text)
}
