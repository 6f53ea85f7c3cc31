package tenant

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// insertRegistry reports false if the name is taken.
func insertRegistry(tx *sqldb.Tx, r Registry) (id int64, inserted bool, err error) {
	args := append([]any{r.Name, r.Subscription, r.ResourceGroup, r.Location, string(r.SKU), toJSON(r.Tags), toJSON(r.Settings), r.AdminEnabled}, stampValues(r.Stamp)...)
	return tx.Insert("id", `INSERT INTO registry (name, subscription, resource_group, location, sku, tags, settings, admin_enabled, `+stampColumns+`)
		VALUES (`+sqldb.In(1, len(args))+`) ON CONFLICT (name) DO NOTHING`, args...)
}

func updateRegistry(tx *sqldb.Tx, r Registry) error {
	_, err := tx.Exec(`UPDATE registry SET sku = $2, tags = $3, settings = $4, admin_enabled = $5, updated_at = $6, updated_by = $7, updated_kind = $8
		WHERE id = $1`, r.ID, string(r.SKU), toJSON(r.Tags), toJSON(r.Settings), r.AdminEnabled, r.UpdatedAt.UnixNano(), r.UpdatedBy.Name, r.UpdatedBy.Kind)
	return err
}

const registryColumns = "SELECT id, name, subscription, resource_group, location, sku, tags, settings, admin_enabled, " + stampColumns + " FROM registry "

// selectRegistries returns all registries with their replications, by name.
func selectRegistries(tx *sqldb.Tx) ([]Registry, error) {
	all, err := sqldb.Select(tx, scanRegistry, registryColumns+"WHERE deleted_at IS NULL ORDER BY name")
	if err != nil {
		return nil, err
	}
	places := map[int64]int{}
	for i, r := range all {
		places[r.ID] = i
	}
	err = tx.Each("SELECT registry, "+replicationColumns+" FROM replication ORDER BY registry, name_key", nil, func(scan sqldb.Scan) error {
		var registry int64
		rep, err := scanReplication(func(dest ...any) error { return scan(append([]any{&registry}, dest...)...) })
		if i, ok := places[registry]; ok {
			all[i].replications = append(all[i].replications, rep)
		}
		return err
	})
	return all, err
}

// selectRegistry returns the registry of a name, or sqldb.ErrNoRow.
func selectRegistry(tx *sqldb.Tx, name string) (Registry, error) {
	r, err := first(sqldb.Select(tx, scanRegistry, registryColumns+"WHERE name = $1 AND deleted_at IS NULL", name))
	if err == nil {
		r.replications, err = selectReplications(tx, r.ID)
	}
	return r, err
}

func scanRegistry(scan sqldb.Scan) (Registry, error) {
	var r Registry
	var tags, settings string
	var s stampScan
	err := scan(append([]any{&r.ID, &r.Name, &r.Subscription, &r.ResourceGroup, &r.Location, &r.SKU, &tags, &settings, &r.AdminEnabled}, s.dest()...)...)
	if err != nil {
		return r, err
	}
	r.Stamp = s.stamp()
	return r, errors.Join(json.Unmarshal([]byte(tags), &r.Tags), json.Unmarshal([]byte(settings), &r.Settings))
}

// markDeleted gives a registry a name that none can have.
func markDeleted(tx *sqldb.Tx, id int64, name string) error {
	_, err := tx.Exec("UPDATE registry SET name = $2, deleted_at = $3, admin_enabled = FALSE WHERE id = $1", id, name, tx.Now().UnixNano())
	return err
}

func selectDoomed(tx *sqldb.Tx) ([]int64, error) {
	return sqldb.Select(tx, func(scan sqldb.Scan) (id int64, err error) { return id, scan(&id) },
		"SELECT id FROM registry WHERE deleted_at IS NOT NULL AND NOT purged ORDER BY id")
}

// markPurged marks a registry that was deleted before a moment.
func markPurged(tx *sqldb.Tx, id int64, before time.Time) error {
	_, err := tx.Exec("UPDATE registry SET purged = TRUE WHERE id = $1 AND deleted_at <= $2", id, before.UnixNano())
	return err
}

const replicationColumns = "name, location, tags, region_endpoint, zone_redundant, " + stampColumns

func selectReplications(tx *sqldb.Tx, registry int64) ([]Replication, error) {
	return sqldb.Select(tx, scanReplication, "SELECT "+replicationColumns+" FROM replication WHERE registry = $1 ORDER BY name_key", registry)
}

func scanReplication(scan sqldb.Scan) (Replication, error) {
	var rep Replication
	var tags string
	var s stampScan
	err := scan(append([]any{&rep.Name, &rep.Location, &tags, &rep.RegionEndpoint, &rep.ZoneRedundant}, s.dest()...)...)
	if err != nil {
		return rep, err
	}
	rep.Stamp = s.stamp()
	return rep, json.Unmarshal([]byte(tags), &rep.Tags)
}

func upsertReplication(tx *sqldb.Tx, registry int64, rep Replication) error {
	args := append([]any{registry, strings.ToLower(rep.Name), rep.Name, rep.Location, toJSON(rep.Tags), rep.RegionEndpoint, rep.ZoneRedundant}, stampValues(rep.Stamp)...)
	_, err := tx.Exec(`INSERT INTO replication (registry, name_key, `+replicationColumns+`) VALUES (`+sqldb.In(1, len(args))+`)
		ON CONFLICT (registry, name_key) DO UPDATE SET tags = excluded.tags, region_endpoint = excluded.region_endpoint, zone_redundant = excluded.zone_redundant,
		updated_at = excluded.updated_at, updated_by = excluded.updated_by, updated_kind = excluded.updated_kind`, args...)
	return err
}

func deleteReplication(tx *sqldb.Tx, registry int64, name string) error {
	_, err := tx.Exec("DELETE FROM replication WHERE registry = $1 AND name_key = $2", registry, strings.ToLower(name))
	return err
}

func deleteReplications(tx *sqldb.Tx, registry int64) error {
	_, err := tx.Exec("DELETE FROM replication WHERE registry = $1", registry)
	return err
}

// insertGroup reports false if the name is taken.
func insertGroup(tx *sqldb.Tx, g Group) (bool, error) {
	args := append([]any{groupKey(g.Name), g.Name, g.Location, toJSON(g.Tags)}, stampValues(g.Stamp)...)
	n, err := tx.Exec(`INSERT INTO resource_group (name_key, name, location, tags, `+stampColumns+`) VALUES (`+sqldb.In(1, len(args))+`)
		ON CONFLICT (name_key) DO NOTHING`, args...)
	return n == 1, err
}

func updateGroup(tx *sqldb.Tx, g Group) error {
	_, err := tx.Exec("UPDATE resource_group SET tags = $2, updated_at = $3, updated_by = $4, updated_kind = $5 WHERE name_key = $1",
		groupKey(g.Name), toJSON(g.Tags), g.UpdatedAt.UnixNano(), g.UpdatedBy.Name, g.UpdatedBy.Kind)
	return err
}

const groupColumns = "SELECT name, location, tags, " + stampColumns + " FROM resource_group "

func selectGroups(tx *sqldb.Tx) ([]Group, error) {
	return sqldb.Select(tx, scanGroup, groupColumns+"ORDER BY name_key")
}

// selectGroup returns sqldb.ErrNoRow if there is none.
func selectGroup(tx *sqldb.Tx, key string) (Group, error) {
	return first(sqldb.Select(tx, scanGroup, groupColumns+"WHERE name_key = $1", key))
}

func scanGroup(scan sqldb.Scan) (Group, error) {
	var g Group
	var tags string
	var s stampScan
	if err := scan(append([]any{&g.Name, &g.Location, &tags}, s.dest()...)...); err != nil {
		return g, err
	}
	g.Stamp = s.stamp()
	return g, json.Unmarshal([]byte(tags), &g.Tags)
}

// selectHeld returns the names of the registries in a group.
func selectHeld(tx *sqldb.Tx, group string) ([]string, error) {
	return sqldb.Select(tx, func(scan sqldb.Scan) (name string, err error) { return name, scan(&name) },
		"SELECT name FROM registry WHERE resource_group = $1 AND deleted_at IS NULL ORDER BY name", group)
}

func deleteGroup(tx *sqldb.Tx, key string) error {
	_, err := tx.Exec("DELETE FROM resource_group WHERE name_key = $1", key)
	return err
}

// first returns the first of what was found, or sqldb.ErrNoRow.
func first[T any](found []T, err error) (none T, _ error) {
	if err == nil && len(found) == 0 {
		err = sqldb.ErrNoRow
	}
	if err != nil {
		return none, err
	}
	return found[0], nil
}

// toJSON encodes a map of strings, which always works.
func toJSON[M ~map[string]string](m M) string {
	if m == nil {
		return "{}"
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic("tenant: " + err.Error())
	}
	return string(text)
}
