package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// A registry's admin user has the registry's name and two passwords, so that one
// can be changed while clients use the other. It may do everything with what is
// in that registry, and nothing else. It is there while it is enabled:
// disabling it forgets the passwords, and with them end the tokens made from
// them.

// adminSecret is what is stored of an admin user, sealed.
type adminSecret struct {
	Name      string    `json:"name"`
	Passwords [2]string `json:"passwords"`
}

func adminPurpose(registry int64) string { return fmt.Sprintf("admin user of registry %d", registry) }

// loadAdmins reads the admin users that are enabled.
func (a *Authority) loadAdmins(ctx context.Context) error {
	all := map[int64][]*account{}
	err := a.db.Read(ctx, func(tx *sqldb.Tx) error {
		return eachAdmin(tx, func(registry int64, sealed []byte) error {
			secret, err := a.openAdmin(registry, sealed)
			all[registry] = a.adminAccounts(registry, secret)
			return err
		})
	})
	a.admins.Store(&all)
	return err
}

func (a *Authority) openAdmin(registry int64, sealed []byte) (secret adminSecret, err error) {
	plain, err := a.key.Open(sealed, adminPurpose(registry))
	if err != nil {
		return secret, err
	}
	return secret, json.Unmarshal(plain, &secret)
}

func (a *Authority) adminAccounts(registry int64, secret adminSecret) (accounts []*account) {
	for _, password := range secret.Passwords {
		accounts = append(accounts, &account{
			kind: User,
			id:   secret.Name, name: secret.Name, registry: registry, mac: a.mac(secret.Name, password), rights: everywhere,
		})
	}
	return accounts
}

// EnableAdmin lets the admin user of a registry log in, with two new passwords.
// One that is enabled keeps those it has.
func (a *Authority) EnableAdmin(tx *sqldb.Tx, registry int64, name string) error {
	_, err := findAdmin(tx, registry)
	if !errors.Is(err, sqldb.ErrNoRow) {
		return err
	}
	return a.putAdmin(tx, registry, adminSecret{name, [2]string{newPassword(), newPassword()}})
}

func (a *Authority) putAdmin(tx *sqldb.Tx, registry int64, secret adminSecret) error {
	plain, err := json.Marshal(secret)
	if err != nil {
		return err
	}
	if err := upsertAdmin(tx, registry, a.key.Seal(plain, adminPurpose(registry))); err != nil {
		return err
	}
	a.setAdmin(tx, registry, a.adminAccounts(registry, secret))
	return nil
}

// DisableAdmin forgets the passwords of a registry's admin user.
func (a *Authority) DisableAdmin(tx *sqldb.Tx, registry int64) error {
	if err := deleteAdmin(tx, registry); err != nil {
		return err
	}
	a.setAdmin(tx, registry, nil)
	return nil
}

// setAdmin makes the accounts those that count once the transaction commits.
func (a *Authority) setAdmin(tx *sqldb.Tx, registry int64, accounts []*account) {
	tx.AfterCommit(func() {
		for {
			old := a.admins.Load()
			next := maps.Clone(*old)
			if accounts == nil {
				delete(next, registry)
			} else {
				next[registry] = accounts
			}
			if a.admins.CompareAndSwap(old, &next) {
				return
			}
		}
	})
}

// AdminPasswords returns the two passwords of a registry's admin user. It fails
// with fault.NotFound if that is not enabled.
func (a *Authority) AdminPasswords(ctx context.Context, registry int64) (passwords [2]string, err error) {
	err = a.db.Read(ctx, func(tx *sqldb.Tx) error {
		secret, err := a.findAdmin(tx, registry)
		passwords = secret.Passwords
		return err
	})
	return passwords, err
}

// RenewAdminPassword makes another password number n, 0 or 1, for a registry's
// admin user, and returns both. It fails with fault.NotFound if that is not
// enabled.
func (a *Authority) RenewAdminPassword(ctx context.Context, registry int64, n int) (passwords [2]string, err error) {
	err = a.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		if err := tx.Serialise(); err != nil {
			return err
		}
		secret, err := a.findAdmin(tx, registry)
		if err != nil {
			return err
		}
		secret.Passwords[n] = newPassword()
		passwords = secret.Passwords
		return a.putAdmin(tx, registry, secret)
	})
	return passwords, err
}

func (a *Authority) findAdmin(tx *sqldb.Tx, registry int64) (adminSecret, error) {
	sealed, err := findAdmin(tx, registry)
	if errors.Is(err, sqldb.ErrNoRow) {
		return adminSecret{}, fault.New(fault.NotFound, "the admin user of this registry is not enabled")
	}
	if err != nil {
		return adminSecret{}, err
	}
	return a.openAdmin(registry, sealed)
}
