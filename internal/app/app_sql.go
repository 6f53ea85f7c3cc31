package app

import (
	"crypto/rand"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// ensureServerID returns the id that this server was given at its first start,
// by which it knows its own requests again.
func ensureServerID(tx *sqldb.Tx) (id string, err error) {
	_, err = tx.Exec("INSERT INTO setting (name, value) VALUES ('server_id', $1) ON CONFLICT (name) DO NOTHING", rand.Text())
	if err != nil {
		return "", err
	}
	err = tx.Get("SELECT value FROM setting WHERE name = 'server_id'", nil, &id)
	return id, err
}
