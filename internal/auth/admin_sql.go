package auth

import "github.com/dockbell/dockbell/internal/sqldb"

// findAdmin returns the sealed passwords of a registry's admin user, or
// sqldb.ErrNoRow.
func findAdmin(tx *sqldb.Tx, registry int64) (sealed []byte, err error) {
	err = tx.Get("SELECT passwords FROM registry_admin WHERE registry = $1", []any{registry}, &sealed)
	return sealed, err
}

func eachAdmin(tx *sqldb.Tx, fn func(registry int64, sealed []byte) error) error {
	return tx.Each("SELECT registry, passwords FROM registry_admin", nil, func(scan sqldb.Scan) error {
		var registry int64
		var sealed []byte
		if err := scan(&registry, &sealed); err != nil {
			return err
		}
		return fn(registry, sealed)
	})
}

func upsertAdmin(tx *sqldb.Tx, registry int64, sealed []byte) error {
	_, err := tx.Exec(`INSERT INTO registry_admin (registry, passwords) VALUES ($1, $2)
		ON CONFLICT (registry) DO UPDATE SET passwords = excluded.passwords`, registry, sealed)
	return err
}

func deleteAdmin(tx *sqldb.Tx, registry int64) error {
	_, err := tx.Exec("DELETE FROM registry_admin WHERE registry = $1", registry)
	return err
}
