package auth

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// insertPrincipal reports whether it added the principal: false if another has
// the name.
func insertPrincipal(tx *sqldb.Tx, p ServicePrincipal, mac []byte) (bool, error) {
	n, err := tx.Exec(`INSERT INTO service_principal (app_id, name, password, created_at, reset_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`, p.AppID, p.DisplayName, mac, p.CreatedAt.UnixNano(), p.ResetAt.UnixNano())
	if err != nil || n == 0 {
		return false, err
	}
	for _, as := range p.Assignments {
		_, err := tx.Exec(`INSERT INTO role_assignment (principal, role, scope) VALUES ($1, $2, $3)
			ON CONFLICT (principal, role, scope) DO NOTHING`, p.AppID, as.Role, as.Scope)
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

const selectPrincipal = "SELECT app_id, name, password, created_at, reset_at FROM service_principal"

// findPrincipal returns a principal and the hash of its password, or
// sqldb.ErrNoRow.
func findPrincipal(tx *sqldb.Tx, nameOrID string) (p ServicePrincipal, mac []byte, err error) {
	query, key := selectPrincipal+" WHERE lower(name) = $1", strings.ToLower(nameOrID)
	if id, ok := parseAppID(nameOrID); ok {
		query, key = selectPrincipal+" WHERE app_id = $1", id
	}
	var created, reset int64
	if err := tx.Get(query, []any{key}, &p.AppID, &p.DisplayName, &mac, &created, &reset); err != nil {
		return ServicePrincipal{}, nil, err
	}
	p.CreatedAt, p.ResetAt = time.Unix(0, created).UTC(), time.Unix(0, reset).UTC()
	p.Assignments, err = selectAssignments(tx, p.AppID)
	return p, mac, err
}

func selectPrincipals(tx *sqldb.Tx) ([]ServicePrincipal, error) {
	all, err := sqldb.Select(tx, func(scan sqldb.Scan) (p ServicePrincipal, err error) {
		var mac []byte
		var created, reset int64
		err = scan(&p.AppID, &p.DisplayName, &mac, &created, &reset)
		p.CreatedAt, p.ResetAt = time.Unix(0, created).UTC(), time.Unix(0, reset).UTC()
		return p, err
	}, selectPrincipal+" ORDER BY lower(name)")
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Assignments, err = selectAssignments(tx, all[i].AppID); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func selectAssignments(tx *sqldb.Tx, appID string) ([]Assignment, error) {
	return sqldb.Select(tx, func(scan sqldb.Scan) (as Assignment, err error) {
		err = scan(&as.Role, &as.Scope)
		return as, err
	}, "SELECT role, scope FROM role_assignment WHERE principal = $1 ORDER BY role, scope", appID)
}

// updatePrincipal replaces the hash of a password.
func updatePrincipal(tx *sqldb.Tx, appID string, mac []byte) error {
	_, err := tx.Exec("UPDATE service_principal SET password = $1, reset_at = $2 WHERE app_id = $3", mac, tx.Now().UnixNano(), appID)
	return err
}

func deletePrincipal(tx *sqldb.Tx, appID string) (bool, error) {
	if _, err := tx.Exec("DELETE FROM role_assignment WHERE principal = $1", appID); err != nil {
		return false, err
	}
	n, err := tx.Exec("DELETE FROM service_principal WHERE app_id = $1", appID)
	return n == 1, err
}

// deleteAssignments compares in lower case, as ARM ids are.
func deleteAssignments(tx *sqldb.Tx, scope string) error {
	_, err := tx.Exec("DELETE FROM role_assignment WHERE lower(scope) = $1", strings.ToLower(scope))
	return err
}

// ensureTenant returns the UUID of the installation as a directory, which is made
// once.
func ensureTenant(tx *sqldb.Tx) (tenant string, err error) {
	_, err = tx.Exec("INSERT INTO setting (name, value) VALUES ('tenant', $1) ON CONFLICT (name) DO NOTHING", uuid.NewString())
	if err != nil {
		return "", err
	}
	return findTenant(tx)
}

// findTenant returns the UUID, or sqldb.ErrNoRow before there is one.
func findTenant(tx *sqldb.Tx) (tenant string, err error) {
	err = tx.Get("SELECT value FROM setting WHERE name = 'tenant'", nil, &tenant)
	return tenant, err
}
