package auth

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// ServicePrincipal is an account for programs. Its rights are those of its
// roles.
//
// Its password is made here, of 200 random bits, and the database has a keyed
// hash of it. Hashing it slowly would add nothing, for nobody can guess it, and
// would cost every pull some 50 ms.
type ServicePrincipal struct {
	AppID       string // UUID; its user name
	DisplayName string // 1 to 64 letters, digits, and - _ . in ASCII; unique in any case
	CreatedAt   time.Time
	ResetAt     time.Time // when its password was made
	Assignments []Assignment
}

// maxAssignments bounds the roles of one principal.
const maxAssignments = 32

// CreatePrincipal makes a service principal with the roles and returns it with
// its password, which cannot be had again. Whether the scopes exist is for the
// caller to check. It fails with fault.Invalid, and fault.Conflict for a name
// that is taken.
func (a *Authority) CreatePrincipal(ctx context.Context, name string, assignments []Assignment) (p ServicePrincipal, password string, err error) {
	if err := checkDisplayName(name); err != nil {
		return ServicePrincipal{}, "", err
	}
	switch n := len(assignments); {
	case n == 0:
		return ServicePrincipal{}, "", fault.New(fault.Invalid, "service principal %s has no role: give it one of %s", name, strings.Join(RoleNames(), ", "))
	case n > maxAssignments:
		return ServicePrincipal{}, "", fault.New(fault.Invalid, "service principal %s is given %d roles: %d is the most", name, n, maxAssignments)
	}
	p = ServicePrincipal{AppID: uuid.NewString(), DisplayName: name}
	for _, as := range assignments {
		role, err := ParseRole(as.Role)
		if err != nil {
			return ServicePrincipal{}, "", err
		}
		p.Assignments = append(p.Assignments, Assignment{role.Name, as.Scope})
	}
	password = newSecret()
	mac := a.mac(p.AppID, password)
	err = a.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		p.CreatedAt, p.ResetAt = tx.Now(), tx.Now()
		added, err := insertPrincipal(tx, p, mac[:])
		if err == nil && !added {
			err = fault.New(fault.Conflict, "a service principal called %s exists already: choose another name, or reset its password", name)
		}
		return err
	})
	if err != nil {
		return ServicePrincipal{}, "", err
	}
	return p, password, nil
}

// ServicePrincipals returns all of them, by name.
func (a *Authority) ServicePrincipals(ctx context.Context) (all []ServicePrincipal, err error) {
	err = a.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = selectPrincipals(tx)
		return err
	})
	return all, err
}

// ServicePrincipal returns the one with an appId or display name, in any case.
// It fails with fault.NotFound.
func (a *Authority) ServicePrincipal(ctx context.Context, nameOrID string) (p ServicePrincipal, err error) {
	err = a.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		p, _, err = findPrincipal(tx, nameOrID)
		return err
	})
	if errors.Is(err, sqldb.ErrNoRow) {
		err = noPrincipal(nameOrID)
	}
	return p, err
}

// ResetPassword gives a service principal a new password and returns both. The
// one it had, and all tokens that were had with that, are refused from now on. It
// fails with fault.NotFound.
func (a *Authority) ResetPassword(ctx context.Context, appID string) (p ServicePrincipal, password string, err error) {
	password = newSecret()
	mac := a.mac(appID, password)
	err = a.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		if err := updatePrincipal(tx, appID, mac[:]); err != nil {
			return err
		}
		p, _, err = findPrincipal(tx, appID)
		if errors.Is(err, sqldb.ErrNoRow) {
			err = noPrincipal(appID)
		}
		return err
	})
	if err != nil {
		return ServicePrincipal{}, "", err
	}
	return p, password, nil
}

// DeletePrincipal deletes a service principal with its roles. Its tokens are
// refused from now on. It fails with fault.NotFound.
func (a *Authority) DeletePrincipal(ctx context.Context, appID string) error {
	return a.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		found, err := deletePrincipal(tx, appID)
		if err == nil && !found {
			err = noPrincipal(appID)
		}
		return err
	})
}

// DropRoles takes away all roles in a scope. Whoever had no others may nothing
// from then on, until given some by being made anew.
func (a *Authority) DropRoles(tx *sqldb.Tx, scope string) error {
	return deleteAssignments(tx, scope)
}

func noPrincipal(nameOrID string) error {
	return fault.New(fault.NotFound, "there is no service principal %.80q: dockbell service-principal list shows those there are", nameOrID).
		WithCode("ServicePrincipalNotFound")
}

// checkDisplayName keeps names apart from appIds.
func checkDisplayName(name string) error {
	_, isID := parseAppID(name)
	valid := name != "" && len(name) <= 64 && !isID && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
	if !valid || strings.ContainsFunc(name, func(r rune) bool { return r > '~' }) {
		return fault.New(fault.Invalid, "service principal name %.80q is not valid: use 1 to 64 letters, digits, dashes, underscores and dots, for example ci-build", name)
	}
	return nil
}

// parseAppID returns an appId as it is stored; ok is false for what is none.
func parseAppID(text string) (id string, ok bool) {
	if len(text) != len(TokenUser) { // other forms of UUIDs are no user names
		return "", false
	}
	parsed, err := uuid.Parse(text)
	return parsed.String(), err == nil
}

// newSecret returns 200 random bits as 40 lower-case letters and digits from 2 to
// 7.
func newSecret() string {
	var b [25]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}
