package auth

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// EnsureOperator makes the operator account at the first start and lets it log
// in from now on. Its password is configured, or if that is empty the stored
// one, or at the first start a new one of 160 random bits. A configured password
// replaces the stored one and ends the tokens made with that. It returns the
// password in force, and whether the account is new.
func (a *Authority) EnsureOperator(ctx context.Context, name, configured string) (password string, created bool, err error) {
	err = a.db.Read(ctx, func(tx *sqldb.Tx) error {
		password, err = a.storedPassword(tx, operatorRegistry, name)
		return err
	})
	missing := errors.Is(err, sqldb.ErrNoRow)
	if err != nil && !missing {
		return "", false, err
	}
	// Writing only where there is a change lets a server start on a full disk.
	if missing || configured != "" && configured != password {
		password, created, err = a.setOperator(ctx, name, configured)
		if err != nil {
			return "", false, err
		}
	}
	a.operator.Store(a.newOperator(name, password))
	return password, created, nil
}

func (a *Authority) setOperator(ctx context.Context, name, configured string) (password string, created bool, err error) {
	err = a.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		password = configured
		if password == "" {
			password = newPassword()
		}
		sealed := a.key.Seal([]byte(password), accountPurpose(operatorRegistry, name))
		var err error
		created, err = addAccount(tx, operatorRegistry, name, sealed)
		if err != nil || created {
			return err
		}
		if configured != "" {
			return setPassword(tx, operatorRegistry, name, sealed)
		}
		// Another node was quicker: its password counts.
		password, err = a.storedPassword(tx, operatorRegistry, name)
		return err
	})
	return password, created, err
}

func (a *Authority) storedPassword(tx *sqldb.Tx, registry int64, name string) (string, error) {
	sealed, err := findPassword(tx, registry, name)
	if err != nil {
		return "", err
	}
	plain, err := a.key.Open(sealed, accountPurpose(registry, name))
	return string(plain), err
}

func accountPurpose(registry int64, name string) string {
	return fmt.Sprintf("account %d/%s", registry, name)
}

// newPassword returns 160 random bits as 32 lower-case letters and digits from 2
// to 7: a double click selects it, and no shell or URL changes it.
func newPassword() string {
	var b [20]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}
