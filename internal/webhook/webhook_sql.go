package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dockbell/dockbell/internal/consent"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/signature"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// row is a webhook as it is stored.
type row struct {
	Webhook
	sealed []byte
}

const columns = `SELECT id, registry, name, location, tags, status, scope, actions, secret, created_at, created_by, updated_at, updated_by,
	policy, signature_headers, disabled_why, listener, format, handshake, consent, created_kind, updated_kind,
	event_type_prefix, flat_data FROM webhook`

func scanWebhook(s sqldb.Scan) (row, error) {
	var r row
	var tags, actions, policy, styles, agreed string
	var created, updated int64
	err := s(&r.ID, &r.RegistryID, &r.Name, &r.Location, &tags, &r.Status, &r.Scope, &actions, &r.sealed, &created, &r.CreatedBy.Name, &updated, &r.UpdatedBy.Name,
		&policy, &styles, &r.DisabledWhy, &r.Listener, &r.Format, &r.Handshake, &agreed, &r.CreatedBy.Kind, &r.UpdatedBy.Kind,
		&r.Extras.TypePrefix, &r.Extras.FlatData)
	if err != nil {
		return row{}, err
	}
	r.CreatedAt, r.UpdatedAt = time.Unix(0, created).UTC(), time.Unix(0, updated).UTC()
	r.Tags = map[string]string{}
	return r, errors.Join(decode(tags, &r.Tags), r.decode(actions, policy, styles, agreed))
}

// scanRung reads what a request needs of a webhook.
func scanRung(s sqldb.Scan) (row, error) {
	var r row
	var actions, policy, styles, agreed string
	err := s(&r.ID, &r.RegistryID, &r.Location, &r.Status, &r.Scope, &actions, &r.sealed, &policy, &styles, &r.Format, &r.Handshake, &agreed,
		&r.Extras.TypePrefix, &r.Extras.FlatData)
	if err != nil {
		return row{}, err
	}
	return r, r.decode(actions, policy, styles, agreed)
}

func (r *row) decode(actions, policy, styles, agreed string) (err error) {
	r.Policy, err = policyOf(policy)
	err = errors.Join(err, decode(actions, &r.Actions), decode(styles, &r.SignatureHeaders), decode(agreed, &r.Consent))
	if err != nil {
		return fmt.Errorf("webhook %d: %w", r.ID, err)
	}
	return nil
}

// decode reads JSON, unless it is of what v is already: most webhooks have most
// members empty, and at a start all are read.
func decode(text string, v any) error {
	if text == "" || text == "{}" || text == "[]" {
		return nil
	}
	return json.Unmarshal([]byte(text), v)
}

// storedPolicy is a ring.Policy as it is stored, times in nanoseconds.
type storedPolicy struct {
	Timeout     time.Duration `json:"timeout"`
	MaxAttempts int           `json:"maxAttempts"`
	TTL         time.Duration `json:"ttl"`
	Order       ring.Order    `json:"order"`
	PerMinute   int           `json:"perMinute"`
}

// policyText is empty for the default, which may be another one day.
func policyText(p ring.Policy) string {
	if p == ring.Default() {
		return ""
	}
	return toJSON(storedPolicy(p))
}

func policyOf(text string) (ring.Policy, error) {
	if text == "" {
		return ring.Default(), nil
	}
	var p storedPolicy
	err := json.Unmarshal([]byte(text), &p)
	return ring.Policy(p), err
}

// selectWebhook returns sqldb.ErrNoRow if there is none.
func selectWebhook(tx *sqldb.Tx, registry int64, key string) (row, error) {
	return one(sqldb.Select(tx, scanWebhook, columns+" WHERE registry = $1 AND name_key = $2", registry, key))
}

// selectEndpoint returns the webhook that is an endpoint, or sqldb.ErrNoRow.
func selectEndpoint(tx *sqldb.Tx, registry, id int64) (row, error) {
	return one(sqldb.Select(tx, scanWebhook, columns+" WHERE id = $1 AND registry = $2", id, registry))
}

// one returns the first of what was found, or sqldb.ErrNoRow.
func one(found []row, err error) (row, error) {
	if err == nil && len(found) == 0 {
		err = sqldb.ErrNoRow
	}
	if err != nil {
		return row{}, err
	}
	return found[0], nil
}

func selectList(tx *sqldb.Tx, registry int64) ([]Webhook, error) {
	return sqldb.Select(tx, scanListed, columns+" WHERE registry = $1 ORDER BY name_key", registry)
}

func selectListeners(tx *sqldb.Tx) ([]Webhook, error) {
	return sqldb.Select(tx, scanListed, columns+" WHERE listener ORDER BY registry, name_key")
}

func scanListed(s sqldb.Scan) (Webhook, error) {
	r, err := scanWebhook(s)
	return r.Webhook, err
}

// eachRung calls fn with each webhook, with what requests need of it: a start
// reads no more.
func eachRung(tx *sqldb.Tx, fn func(row)) error {
	return tx.Each(`SELECT id, registry, location, status, scope, actions, secret, policy, signature_headers, format, handshake, consent,
			event_type_prefix, flat_data FROM webhook`, nil, func(s sqldb.Scan) error {
		r, err := scanRung(s)
		if err == nil {
			fn(r)
		}
		return err
	})
}

// countWebhooks counts those of a registry that are listeners, or those that are
// not.
func countWebhooks(tx *sqldb.Tx, registry int64, listener bool) (n int, err error) {
	err = tx.Get("SELECT count(*) FROM webhook WHERE registry = $1 AND listener = $2", []any{registry, listener}, &n)
	return n, err
}

// insertWebhook reports false if the name is taken.
func insertWebhook(tx *sqldb.Tx, w Webhook, sealed []byte) (bool, error) {
	n, err := tx.Exec(`INSERT INTO webhook (id, registry, name, name_key, location, tags, status, scope, actions, secret, created_at, created_by, updated_at, updated_by,
			policy, signature_headers, disabled_why, listener, format, handshake, consent, created_kind, updated_kind,
			event_type_prefix, flat_data)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)
		ON CONFLICT (registry, name_key) DO NOTHING`,
		w.ID, w.RegistryID, w.Name, nameKey(w.Name), w.Location, toJSON(w.Tags), string(w.Status), w.Scope, toJSON(w.Actions), sealed,
		w.CreatedAt.UnixNano(), w.CreatedBy.Name, w.UpdatedAt.UnixNano(), w.UpdatedBy.Name,
		policyText(w.Policy), stylesText(w.SignatureHeaders), w.DisabledWhy, w.Listener, string(w.Format), string(w.Handshake), consentText(w.Consent),
		w.CreatedBy.Kind, w.UpdatedBy.Kind, w.Extras.TypePrefix, w.Extras.FlatData)
	return n == 1, err
}

func updateWebhook(tx *sqldb.Tx, w Webhook, sealed []byte) error {
	_, err := tx.Exec(`UPDATE webhook SET tags = $2, status = $3, scope = $4, actions = $5, secret = $6, updated_at = $7, updated_by = $8,
			policy = $9, signature_headers = $10, disabled_why = $11, format = $12, handshake = $13, consent = $14, updated_kind = $15,
			event_type_prefix = $16, flat_data = $17 WHERE id = $1`,
		w.ID, toJSON(w.Tags), string(w.Status), w.Scope, toJSON(w.Actions), sealed, w.UpdatedAt.UnixNano(), w.UpdatedBy.Name,
		policyText(w.Policy), stylesText(w.SignatureHeaders), w.DisabledWhy, string(w.Format), string(w.Handshake), consentText(w.Consent), w.UpdatedBy.Kind,
		w.Extras.TypePrefix, w.Extras.FlatData)
	return err
}

// updateConsent keeps what came of asking, which is no change of the webhook.
func updateConsent(tx *sqldb.Tx, id int64, c consent.State) error {
	_, err := tx.Exec("UPDATE webhook SET consent = $2 WHERE id = $1", id, consentText(c))
	return err
}

// consentText is empty for a webhook without a handshake.
func consentText(c consent.State) string {
	if c == (consent.State{}) {
		return ""
	}
	return toJSON(c)
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

// pruneRules removes the rules that only events before position oldest were
// matched by.
func pruneRules(tx *sqldb.Tx, id, oldest int64) error {
	_, err := tx.Exec(`DELETE FROM webhook_rule WHERE webhook = $1 AND from_pos <
		(SELECT max(from_pos) FROM webhook_rule WHERE webhook = $1 AND from_pos < $2)`, id, oldest)
	return err
}

// ruleRow is a rule as it is stored.
type ruleRow struct {
	webhook int64
	from    int64 // in force for positions after this one
	status  Status
	scope   string
	actions []string
}

func scanRule(s sqldb.Scan) (ruleRow, error) {
	var r ruleRow
	var actions string
	if err := s(&r.webhook, &r.from, &r.status, &r.scope, &actions); err != nil {
		return ruleRow{}, err
	}
	return r, json.Unmarshal([]byte(actions), &r.actions)
}

func (r ruleRow) rule() (rule, error) {
	parsed, err := newRule(r.status, r.scope, r.actions)
	if err != nil {
		return rule{}, fmt.Errorf("webhook %d: %w", r.webhook, err)
	}
	return parsed, nil
}

// selectRulesAt returns the rules that an event at pos was matched by.
func selectRulesAt(tx *sqldb.Tx, registry int64, location string, pos int64) ([]ruleRow, error) {
	return sqldb.Select(tx, scanRule, `SELECT r.webhook, r.from_pos, r.status, r.scope, r.actions FROM webhook w JOIN webhook_rule r ON r.webhook = w.id
		WHERE w.registry = $1 AND w.location = $2
		AND r.from_pos = (SELECT max(from_pos) FROM webhook_rule o WHERE o.webhook = w.id AND o.from_pos < $3)
		ORDER BY r.webhook`, registry, location, pos)
}

// selectRules returns all rules of a webhook that are kept, oldest first.
func selectRules(tx *sqldb.Tx, webhook int64) ([]ruleRow, error) {
	return sqldb.Select(tx, scanRule, "SELECT webhook, from_pos, status, scope, actions FROM webhook_rule WHERE webhook = $1 ORDER BY from_pos", webhook)
}

// selectAlert returns the id of the endpoint for alerts, 0 if there is none.
func selectAlert(tx *sqldb.Tx) (id int64, err error) {
	err = tx.Get("SELECT coalesce(max(id), 0) FROM endpoint WHERE kind = 'alert'", nil, &id)
	return id, err
}

// selectStart returns the position after which an endpoint is owed events, or
// sqldb.ErrNoRow.
func selectStart(tx *sqldb.Tx, endpoint int64) (from int64, err error) {
	err = tx.Get("SELECT from_pos FROM endpoint WHERE id = $1", []any{endpoint}, &from)
	return from, err
}

// selectOwner returns id if there is such a webhook.
func selectOwner(tx *sqldb.Tx, id int64) ([]int64, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (id int64, err error) {
		err = s(&id)
		return id, err
	}, "SELECT id FROM webhook WHERE id = $1", id)
}

// stylesText writes a list also for none.
func stylesText(styles []signature.Style) string {
	if styles == nil {
		return "[]"
	}
	return toJSON(styles)
}

// toJSON encodes strings and integers, which always works.
func toJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("webhook: " + err.Error())
	}
	return string(text)
}
