package auth

import (
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

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

// keyRow is a row of signing_key.
type keyRow struct {
	id                   string
	private              []byte // sealed
	createdAt, signsFrom time.Time
}

// selectSigningKeys returns all keys, in the order in which they sign.
func selectSigningKeys(tx *sqldb.Tx) ([]keyRow, error) {
	return sqldb.Select(tx, func(scan sqldb.Scan) (k keyRow, err error) {
		var created, signs int64
		err = scan(&k.id, &k.private, &created, &signs)
		k.createdAt, k.signsFrom = time.Unix(0, created).UTC(), time.Unix(0, signs).UTC()
		return k, err
	}, "SELECT id, private_key, created_at, signs_from FROM signing_key ORDER BY signs_from, created_at, id")
}

func insertSigningKey(tx *sqldb.Tx, k keyRow) error {
	_, err := tx.Exec("INSERT INTO signing_key (id, private_key, created_at, signs_from) VALUES ($1, $2, $3, $4)",
		k.id, k.private, k.createdAt.UnixNano(), k.signsFrom.UnixNano())
	return err
}

func deleteSigningKey(tx *sqldb.Tx, id string) error {
	_, err := tx.Exec("DELETE FROM signing_key WHERE id = $1", id)
	return err
}
