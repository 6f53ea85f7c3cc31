package auth

import (
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// stampColumns are the columns of a Stamp, in the order of stampValues.
const stampColumns = "created_at, created_by, created_kind, updated_at, updated_by, updated_kind"

func stampValues(s Stamp) []any {
	return []any{s.CreatedAt.UnixNano(), s.CreatedBy.Name, s.CreatedBy.Kind, s.UpdatedAt.UnixNano(), s.UpdatedBy.Name, s.UpdatedBy.Kind}
}

// stampScan is a Stamp as it comes from the database.
type stampScan struct {
	Stamp
	created, updated int64
}

func (s *stampScan) dest() []any {
	return []any{&s.created, &s.CreatedBy.Name, &s.CreatedBy.Kind, &s.updated, &s.UpdatedBy.Name, &s.UpdatedBy.Kind}
}

func (s *stampScan) stamp() Stamp {
	s.CreatedAt, s.UpdatedAt = time.Unix(0, s.created).UTC(), time.Unix(0, s.updated).UTC()
	return s.Stamp
}

// countRows counts what a registry has in scope_map or repository_token.
func countRows(tx *sqldb.Tx, table string, registry int64) (n int, err error) {
	err = tx.Get("SELECT count(*) FROM "+table+" WHERE registry = $1", []any{registry}, &n)
	return n, err
}

const scopeMapColumns = "SELECT name, description, actions, " + stampColumns + " FROM scope_map "

func scanScopeMap(scan sqldb.Scan) (m ScopeMap, err error) {
	var actions string
	var s stampScan
	err = scan(append([]any{&m.Name, &m.Description, &actions}, s.dest()...)...)
	m.Actions, m.Stamp = splitActions(actions), s.stamp()
	return m, err
}

func splitActions(stored string) []string {
	if stored == "" {
		return []string{}
	}
	return strings.Split(stored, "\n")
}

// selectScopeMap returns a stored scope map, or sqldb.ErrNoRow.
func selectScopeMap(tx *sqldb.Tx, registry int64, key string) (ScopeMap, error) {
	found, err := sqldb.Select(tx, scanScopeMap, scopeMapColumns+"WHERE registry = $1 AND name_key = $2", registry, key)
	if err == nil && len(found) == 0 {
		err = sqldb.ErrNoRow
	}
	if err != nil {
		return ScopeMap{}, err
	}
	return found[0], nil
}

func selectScopeMaps(tx *sqldb.Tx, registry int64, after string, n int) ([]ScopeMap, error) {
	return sqldb.Select(tx, scanScopeMap, scopeMapColumns+"WHERE registry = $1 AND name_key > $2 ORDER BY name_key LIMIT $3", registry, after, n)
}

func upsertScopeMap(tx *sqldb.Tx, registry int64, m ScopeMap) error {
	args := append([]any{registry, nameKey(m.Name), m.Name, m.Description, strings.Join(m.Actions, "\n")}, stampValues(m.Stamp)...)
	_, err := tx.Exec(`INSERT INTO scope_map (registry, name_key, name, description, actions, `+stampColumns+`) VALUES (`+sqldb.In(1, len(args))+`)
		ON CONFLICT (registry, name_key) DO UPDATE SET description = excluded.description, actions = excluded.actions,
		updated_at = excluded.updated_at, updated_by = excluded.updated_by, updated_kind = excluded.updated_kind`, args...)
	return err
}

func deleteScopeMap(tx *sqldb.Tx, registry int64, key string) error {
	_, err := tx.Exec("DELETE FROM scope_map WHERE registry = $1 AND name_key = $2", registry, key)
	return err
}

func purgeScopeMaps(tx *sqldb.Tx, registry int64, n int) (int64, error) {
	return tx.Exec(`DELETE FROM scope_map WHERE registry = $1 AND name_key IN
		(SELECT name_key FROM scope_map WHERE registry = $1 ORDER BY name_key LIMIT $2)`, registry, n)
}
