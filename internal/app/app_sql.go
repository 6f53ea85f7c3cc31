package app

import (
	"crypto/rand"

	"github.com/google/uuid"

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

// ensureDirectoryID returns the id, a UUID, of what ARM calls the tenant, which
// is made once.
func ensureDirectoryID(tx *sqldb.Tx) (id string, err error) {
	_, err = tx.Exec("INSERT INTO setting (name, value) VALUES ('tenant', $1) ON CONFLICT (name) DO NOTHING", uuid.NewString())
	if err != nil {
		return "", err
	}
	err = tx.Get("SELECT value FROM setting WHERE name = 'tenant'", nil, &id)
	return id, err
}
