package tenant

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// ensureSubscription returns the installation's subscription id, which is made
// once.
func ensureSubscription(tx *sqldb.Tx) (string, error) {
	_, err := tx.Exec("INSERT INTO setting (name, value) VALUES ('subscription', $1) ON CONFLICT (name) DO NOTHING", uuid.NewString())
	if err != nil {
		return "", fmt.Errorf("make the subscription id: %w", err)
	}
	var id string
	if err := tx.Get("SELECT value FROM setting WHERE name = 'subscription'", nil, &id); err != nil {
		return "", fmt.Errorf("read the subscription id: %w", err)
	}
	return id, nil
}

func insertIfAbsent(tx *sqldb.Tx, r Registry) error {
	_, err := tx.Exec(`INSERT INTO registry (name, subscription, resource_group, location, sku, created_at)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING`,
		r.Name, r.Subscription, r.ResourceGroup, r.Location, string(r.SKU), r.CreatedAt.UnixNano())
	return err
}

func selectAll(tx *sqldb.Tx) ([]Registry, error) {
	return sqldb.Select(tx, scanRegistry, `SELECT id, name, subscription, resource_group, location, sku, created_at
		FROM registry ORDER BY name`)
}

func scanRegistry(scan sqldb.Scan) (Registry, error) {
	var r Registry
	var createdAt int64
	err := scan(&r.ID, &r.Name, &r.Subscription, &r.ResourceGroup, &r.Location, &r.SKU, &createdAt)
	r.CreatedAt = time.Unix(0, createdAt).UTC()
	return r, err
}
