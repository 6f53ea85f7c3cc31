package auth

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// selectLogins returns the accounts of an enabled token, one for each password
// that is good at a moment.
func selectLogins(tx *sqldb.Tx, registry int64, name string, now time.Time) ([]*account, error) {
	var rules []rule // the same in all rows
	return sqldb.Select(tx, func(scan sqldb.Scan) (*account, error) {
		acc := &account{id: name, name: name, registry: registry, kind: Token}
		var scopeMap string
		var actions sql.NullString // none for a built-in map
		var mac []byte
		var expires sql.NullInt64
		if err := scan(&scopeMap, &actions, &mac, &expires); err != nil {
			return nil, err
		}
		if copy(acc.mac[:], mac) != len(acc.mac) {
			return nil, fmt.Errorf("auth: a password of token %s has %d bytes", name, len(mac))
		}
		if rules == nil {
			m, _ := findBuiltIn(scopeMap)
			if actions.Valid {
				m.Actions = splitActions(actions.String)
			}
			rules = rulesOf(m.Actions)
		}
		acc.expires, acc.rights.rules = fromNull(expires), rules
		return acc, nil
	}, `SELECT t.scope_map, m.actions, p.password, p.expires_at FROM repository_token t
		JOIN repository_token_password p ON p.registry = t.registry AND p.token = t.name_key
		LEFT JOIN scope_map m ON m.registry = t.registry AND m.name_key = t.scope_map
		WHERE t.registry = $1 AND t.name_key = $2 AND t.name = $3 AND t.enabled AND (p.expires_at IS NULL OR p.expires_at > $4)`,
		registry, nameKey(name), name, now.UnixNano())
}

const tokenColumns = `SELECT t.name, COALESCE(m.name, t.scope_map), t.enabled, t.created_at, t.created_by, t.created_kind, t.updated_at, t.updated_by, t.updated_kind
	FROM repository_token t LEFT JOIN scope_map m ON m.registry = t.registry AND m.name_key = t.scope_map `

func scanToken(scan sqldb.Scan) (t RepositoryToken, err error) {
	var s stampScan
	err = scan(append([]any{&t.Name, &t.ScopeMap, &t.Enabled}, s.dest()...)...)
	t.Stamp = s.stamp()
	return t, err
}

// selectToken returns a token with its passwords, or sqldb.ErrNoRow.
func selectToken(tx *sqldb.Tx, registry int64, key string) (RepositoryToken, error) {
	found, err := sqldb.Select(tx, scanToken, tokenColumns+"WHERE t.registry = $1 AND t.name_key = $2", registry, key)
	if err == nil && len(found) == 0 {
		err = sqldb.ErrNoRow
	}
	if err == nil {
		err = addPasswords(tx, registry, found)
	}
	if err != nil {
		return RepositoryToken{}, err
	}
	return found[0], nil
}

// selectTokens returns n tokens with their passwords, by name.
func selectTokens(tx *sqldb.Tx, registry int64, after string, n int) ([]RepositoryToken, error) {
	found, err := sqldb.Select(tx, scanToken, tokenColumns+"WHERE t.registry = $1 AND t.name_key > $2 ORDER BY t.name_key LIMIT $3", registry, after, n)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found, addPasswords(tx, registry, found)
}

// addPasswords adds their passwords to tokens, which are those of a registry from
// the first to the last by name.
func addPasswords(tx *sqldb.Tx, registry int64, tokens []RepositoryToken) error {
	places := map[string]int{}
	for i, t := range tokens {
		places[nameKey(t.Name)] = i
	}
	first, last := nameKey(tokens[0].Name), nameKey(tokens[len(tokens)-1].Name)
	return tx.Each(`SELECT token, name, created_at, expires_at FROM repository_token_password
		WHERE registry = $1 AND token >= $2 AND token <= $3 ORDER BY token, name`, []any{registry, first, last}, func(scan sqldb.Scan) error {
		var key string
		var p TokenPassword
		var created int64
		var expires sql.NullInt64
		if err := scan(&key, &p.Name, &created, &expires); err != nil {
			return err
		}
		p.CreatedAt, p.ExpiresAt = time.Unix(0, created).UTC(), fromNull(expires)
		if i, ok := places[key]; ok {
			tokens[i].Passwords = append(tokens[i].Passwords, p)
		}
		return nil
	})
}

// selectTokensWith returns the names of at most n tokens that have a scope map.
func selectTokensWith(tx *sqldb.Tx, registry int64, scopeMap string, n int) ([]string, error) {
	return sqldb.Select(tx, func(scan sqldb.Scan) (name string, err error) { return name, scan(&name) },
		"SELECT name FROM repository_token WHERE registry = $1 AND scope_map = $2 ORDER BY name_key LIMIT $3", registry, scopeMap, n)
}

func upsertToken(tx *sqldb.Tx, registry int64, t RepositoryToken) error {
	args := append([]any{registry, nameKey(t.Name), t.Name, nameKey(t.ScopeMap), t.Enabled}, stampValues(t.Stamp)...)
	_, err := tx.Exec(`INSERT INTO repository_token (registry, name_key, name, scope_map, enabled, `+stampColumns+`) VALUES (`+sqldb.In(1, len(args))+`)
		ON CONFLICT (registry, name_key) DO UPDATE SET scope_map = excluded.scope_map, enabled = excluded.enabled,
		updated_at = excluded.updated_at, updated_by = excluded.updated_by, updated_kind = excluded.updated_kind`, args...)
	return err
}

func upsertPassword(tx *sqldb.Tx, registry int64, token string, p TokenPassword, mac []byte) error {
	_, err := tx.Exec(`INSERT INTO repository_token_password (registry, token, name, password, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (registry, token, name) DO UPDATE SET password = excluded.password, created_at = excluded.created_at, expires_at = excluded.expires_at`,
		registry, token, p.Name, mac, p.CreatedAt.UnixNano(), toNull(p.ExpiresAt))
	return err
}

func deletePassword(tx *sqldb.Tx, registry int64, token, name string) error {
	_, err := tx.Exec("DELETE FROM repository_token_password WHERE registry = $1 AND token = $2 AND name = $3", registry, token, name)
	return err
}

func deleteToken(tx *sqldb.Tx, registry int64, key string) error {
	if _, err := tx.Exec("DELETE FROM repository_token_password WHERE registry = $1 AND token = $2", registry, key); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM repository_token WHERE registry = $1 AND name_key = $2", registry, key)
	return err
}

// purgePasswords removes the passwords of n tokens that have any, and returns how
// many went.
func purgePasswords(tx *sqldb.Tx, registry int64, n int) (int64, error) {
	return tx.Exec(`DELETE FROM repository_token_password WHERE registry = $1 AND token IN
		(SELECT token FROM repository_token_password WHERE registry = $1 ORDER BY token LIMIT $2)`, registry, n)
}

func purgeTokens(tx *sqldb.Tx, registry int64, n int) (int64, error) {
	return tx.Exec(`DELETE FROM repository_token WHERE registry = $1 AND name_key IN
		(SELECT name_key FROM repository_token WHERE registry = $1 ORDER BY name_key LIMIT $2)`, registry, n)
}

func toNull(t time.Time) sql.NullInt64 {
	if t.IsZero() {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: t.UnixNano(), Valid: true}
}

func fromNull(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(0, n.Int64).UTC()
}
