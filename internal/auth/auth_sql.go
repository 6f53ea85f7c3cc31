package auth

import "github.com/dockbell/dockbell/internal/sqldb"

// operatorRegistry stands in account.registry for "all registries".
const operatorRegistry = 0

// findPassword returns the sealed password of an account, or sqldb.ErrNoRow.
func findPassword(tx *sqldb.Tx, registry int64, name string) ([]byte, error) {
	var sealed []byte
	err := tx.Get("SELECT password FROM account WHERE registry = $1 AND name = $2", []any{registry, name}, &sealed)
	return sealed, err
}

// addAccount reports whether it made the account: false if it existed.
func addAccount(tx *sqldb.Tx, registry int64, name string, sealed []byte) (bool, error) {
	n, err := tx.Exec(`INSERT INTO account (registry, name, password) VALUES ($1, $2, $3)
		ON CONFLICT (registry, name) DO NOTHING`, registry, name, sealed)
	return n == 1, err
}

func setPassword(tx *sqldb.Tx, registry int64, name string, sealed []byte) error {
	_, err := tx.Exec("UPDATE account SET password = $1 WHERE registry = $2 AND name = $3", sealed, registry, name)
	return err
}

// findSigningKey returns a sealed private key, or sqldb.ErrNoRow.
func findSigningKey(tx *sqldb.Tx, id string) ([]byte, error) {
	var sealed []byte
	err := tx.Get("SELECT private_key FROM signing_key WHERE id = $1", []any{id}, &sealed)
	return sealed, err
}

// addSigningKey keeps the key that is there already, if another node was
// quicker.
func addSigningKey(tx *sqldb.Tx, id string, sealed []byte) error {
	_, err := tx.Exec(`INSERT INTO signing_key (id, private_key, created_at) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO NOTHING`, id, sealed, tx.Now().UnixNano())
	return err
}
