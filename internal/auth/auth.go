// Package auth knows who makes a request and what they may do, in a registry and
// in the control plane.
//
// It owns the accounts and their passwords, the roles and who has them, scope
// maps and the accounts that ACR calls tokens, the tokens that a registry's token
// service and the identity authority hand out, the keys that sign those, and
// Guard, the wrapper that lets through only what the caller may do. Serving the
// token endpoints is for packages acrserver and identityserver; which registry a
// request means is decided by package app; how scope maps look in the control
// plane, by package arm.
//
// There are four kinds of accounts: the operator, who is Owner of everything;
// the admin user of each registry that has it enabled, who owns what is in that
// one; service principals, who may what their roles allow; and repository-scoped
// tokens, who may in one registry what their scope map allows. Without an account
// one may pull from registries that have anonymous pull, with a token that anyone
// is given. Operator and admin users are held in memory; the others are read from
// the database with each request, so that what ends there ends at once and on
// every node.
//
// There are two kinds of tokens, signed by the same keys. A registry's are good for
// that registry's contents. A bearer token of the identity authority is good for
// an audience: the control plane, or being exchanged for a registry's token.
// Neither passes for the other.
//
// Invariants:
//   - Whoever is not known to be allowed is refused: the zero Identity and the
//     zero Principal may nothing, and Guard passes no method on that it has not
//     been taught.
//   - A registry's token is good for one registry. No token allows more than its
//     account may at that moment, or than what it was made from; none outlives
//     what it was made from, and all end with the password of their account, or,
//     where they have none, with anonymous pull.
//   - The database holds the operator's password and the keys only sealed, and the
//     passwords of service principals and repository-scoped tokens not at all.
//
// Wrong passwords. A check costs microseconds, so there is nothing to protect
// but the password itself. After ten different wrong passwords in a row for one
// user name from one address, further tries of that pair are answered at once
// with 429 and Retry-After, the right password too, for one second, which
// doubles with each further failure up to a minute. A client that repeats one
// wrong password counts as one failure, so that a forgotten robot locks nobody
// out. Tokens are not guessed, so they never count and go on being accepted. See
// backoff for what bounds the memory.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Options are what an Authority needs.
type Options struct {
	DB  *sqldb.DB
	Key *seal.Key // opens passwords and signing keys

	// Ours reports whether a host, perhaps with a port, is this installation:
	// whether a token for it is one for the control plane here. Nil: none is.
	Ours func(host string) bool

	// SigningKeyLife is after how long another key follows the one that signs
	// tokens, MinSigningKeyLife or more. 0 means 90 days.
	SigningKeyLife time.Duration

	// Failed is told of each login that is refused. It must not block. Nil: nobody
	// is.
	Failed func(Failure)

	// Log receives what an operator has to know. Nil means slog.Default().
	Log *slog.Logger
}

// Authority authenticates requests and issues tokens. Its methods may be called
// from many goroutines.
type Authority struct {
	db       *sqldb.DB
	key      *seal.Key
	macKey   []byte // of password checks
	ours     func(host string) bool
	tenant   string
	keys     *signingKeys
	tokens   tokenCache
	report   func(Failure)
	backoff  backoff
	operator atomic.Pointer[account] // nil before EnsureOperator

	// admins are the enabled admin users by registry: an account for each
	// password. The map is replaced, never changed.
	admins atomic.Pointer[map[int64][]*account]
}

// Open loads the keys that sign tokens and the tenant's id, making them at the
// first start. The operator cannot log in before EnsureOperator.
// KeepSigningKeys is to run as long as the Authority is used.
func Open(ctx context.Context, opts Options) (*Authority, error) {
	a := &Authority{db: opts.DB, key: opts.Key, macKey: opts.Key.Derive("password check"), ours: opts.Ours, report: opts.Failed}
	if a.ours == nil {
		a.ours = func(string) bool { return false }
	}
	var err error
	a.keys, err = openSigningKeys(ctx, opts)
	if err != nil {
		return nil, err
	}
	a.tenant, err = loadTenant(ctx, a.db)
	if err != nil {
		return nil, err
	}
	return a, a.loadAdmins(ctx)
}

// Tenant returns the UUID by which Azure's tools know this installation as a
// directory of accounts. It never changes.
func (a *Authority) Tenant() string { return a.tenant }

// loadTenant writes only at the first start, so that one on a full disk works.
func loadTenant(ctx context.Context, db *sqldb.DB) (tenant string, err error) {
	err = db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		tenant, err = findTenant(tx)
		return err
	})
	if errors.Is(err, sqldb.ErrNoRow) {
		err = db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) (err error) {
			tenant, err = ensureTenant(tx)
			return err
		})
	}
	return tenant, err
}

// Registry is the hosted registry that a request means.
type Registry struct {
	ID   int64
	Name string

	// ResourceID is its ARM id, by which roles in it are found.
	ResourceID string

	// Service is its login server, for example
	// contoso.dockbell.localhost:5000: the audience of its tokens.
	Service string

	// Realm is scheme and host under which this request reached it, for
	// example http://localhost:5000: where the caller finds the token endpoint.
	Realm string

	// RegistryTokensOnly: bearer tokens for the control plane are not exchanged
	// here, as Azure's policy azureADAuthenticationAsArmPolicy has it.
	RegistryTokensOnly bool

	// AnonymousPull: whoever comes is given tokens to pull from every repository,
	// to read metadata and to list repositories.
	AnonymousPull bool
}

// host is what this caller calls it, as docker login wants it.
func (r Registry) host() string {
	_, host, _ := strings.Cut(r.Realm, "://")
	return host
}

// Identity is who makes a request to a registry. The zero Identity is Anonymous.
type Identity struct {
	// Name is the operator's, admin user's or repository-scoped token's user name,
	// or the display name of a service principal; empty for an anonymous caller.
	Name string

	// Registry is the id of the only registry it may act on; 0 for any.
	Registry int64

	// Access is what its token allows; nil for everything the account may.
	Access []Access

	account *account  // nil for an anonymous caller
	expires time.Time // of the token that was presented; zero without one
}

// Anonymous is the identity of a request without credentials.
var Anonymous = Identity{}

// actsOn reports whether the identity counts in the registry.
func (id Identity) actsOn(registry Registry) bool {
	return id.Registry == 0 || id.Registry == registry.ID
}

// rights returns what the identity's account, or without one whoever comes, may do
// in the registry now.
func (id Identity) rights(registry Registry) rights {
	switch {
	case !id.actsOn(registry):
		return rights{}
	case id.account != nil:
		return id.account.rights
	case registry.AnonymousPull:
		return anyone
	}
	return rights{}
}

// known reports whether the identity is someone who may do anything at all with
// the registry's contents. Anonymous never is: where anyone may pull, it takes a
// token for that, so that clients who have a password are asked for it.
func (id Identity) known(registry Registry) bool {
	if id.account == nil && id.Access == nil {
		return false
	}
	rights := id.rights(registry)
	return slices.ContainsFunc([]string{Pull, Push, Delete, MetadataRead, MetadataWrite}, func(action string) bool {
		return rights.someRepository(registry, action)
	})
}

// may reports whether the identity may do an action in the registry: its account
// may now, and its token allows it. Of Anonymous it says what a token may be had
// for.
func (id Identity) may(registry Registry, kind, name, action string) bool {
	if !id.rights(registry).allow(registry, kind, name, action) {
		return false
	}
	return id.Access == nil || slices.ContainsFunc(id.Access, func(a Access) bool { return a.allows(kind, name, action) })
}

// mayPullAll reports whether the identity may read every repository.
func (id Identity) mayPullAll(registry Registry) bool {
	return id.known(registry) && id.Access == nil && id.rights(registry).everyRepository(registry, Pull)
}

// Kind says what sort of account someone has, in the words of ARM's systemData,
// and of the audit log.
type Kind string

// The kinds.
const (
	User        Kind = "User"        // the operator, or an admin user
	Application Kind = "Application" // a service principal
	Token       Kind = "Token"       // a repository-scoped token
	Nobody      Kind = "Anonymous"
)

// Kind returns Nobody for an anonymous caller.
func (id Identity) Kind() Kind {
	if id.account == nil {
		return Nobody
	}
	return id.account.kind
}

// account is someone who can log in, as a request finds it.
type account struct {
	id       string // what it logs in with: the operator's or admin user's name, or an appId
	name     string // what people call it
	registry int64  // the only one it counts in; 0: any, and the control plane
	kind     Kind
	mac      [sha256.Size]byte // of id and password
	expires  time.Time         // of the password; zero: never
	rights   rights
}

func (a *Authority) newOperator(name, password string) *account {
	return &account{id: name, name: name, kind: User, mac: a.mac(name, password), rights: everywhere}
}

// mac makes of a password what is compared in its place: of one length, telling
// nothing of it, and the same on every node.
func (a *Authority) mac(id, password string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, a.macKey)
	h.Write([]byte(id))
	h.Write([]byte{0})
	h.Write([]byte(password))
	h.Sum(sum[:0])
	return sum
}

// credential names the password in tokens, so that they end with it.
func (acc *account) credential() string {
	return base64.RawURLEncoding.EncodeToString(acc.mac[:12])
}

// accounts returns those that log in with id to a registry, or with 0 to the
// control plane: the operator; the registry's admin user, once for each of its
// passwords; a service principal; a repository-scoped token, likewise.
func (a *Authority) accounts(ctx context.Context, registry int64, id string) (found []*account, err error) {
	found = a.inMemory(registry, id)
	if _, ok := parseAppID(id); !ok {
		if len(found) > 0 || registry == 0 { // these names are not tokens', and there are none in the control plane
			return found, nil
		}
		return a.tokenAccounts(ctx, registry, id)
	}
	acc := &account{kind: Application}
	err = a.db.Read(ctx, func(tx *sqldb.Tx) error {
		p, mac, err := findPrincipal(tx, id)
		if err != nil {
			return err
		}
		acc.id, acc.name, acc.rights.roles = p.AppID, p.DisplayName, p.Assignments
		if copy(acc.mac[:], mac) != len(acc.mac) {
			return fmt.Errorf("auth: the password of service principal %s has %d bytes", p.AppID, len(mac))
		}
		return nil
	})
	if errors.Is(err, sqldb.ErrNoRow) {
		return found, nil
	}
	return append(found, acc), err
}

// inMemory returns those of accounts that cost no look into the database: the
// operator and admin users.
func (a *Authority) inMemory(registry int64, id string) (found []*account) {
	if op := a.operator.Load(); op != nil && op.id == id {
		found = append(found, op)
	}
	for _, acc := range (*a.admins.Load())[registry] {
		if acc.id == id {
			found = append(found, acc)
		}
	}
	return found
}

// accountOf returns the account whose password a token was made from, nil if
// that is not its password any more.
func (a *Authority) accountOf(ctx context.Context, registry int64, id, credential string) (*account, error) {
	all, err := a.accounts(ctx, registry, id)
	if err != nil {
		return nil, err
	}
	for _, acc := range all {
		if acc.credential() == credential {
			return acc, nil
		}
	}
	return nil, nil
}
