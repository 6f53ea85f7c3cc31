// Package auth knows who makes a request and what they may do with a registry.
//
// It owns the accounts and their passwords, the tokens that a registry's token
// service hands out and the key that signs them, and Guard, the wrapper that
// lets through only what the caller may do. Serving the token endpoints is for
// package acrserver; which registry a request means is decided by package app.
//
// There are the operator's account, which owns every registry, and for each
// registry that has it enabled its admin user, who owns what is in that one.
// Nothing is anonymous.
//
// Invariants:
//   - Whoever is not known to be allowed is refused: the zero Identity may
//     nothing, and Guard passes no method on that it has not been taught.
//   - A token is good for one registry, never allows more than the identity it
//     was made from, never outlives the token it was made from, and ends with
//     the password of its account.
//   - The database holds passwords and keys only sealed.
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
}

// Authority authenticates requests and issues tokens. Its methods may be called
// from many goroutines.
type Authority struct {
	db       *sqldb.DB
	key      *seal.Key
	macKey   []byte // of password checks
	signing  signingKey
	tokens   tokenCache
	backoff  backoff
	operator atomic.Pointer[account] // nil before EnsureOperator

	// admins are the enabled admin users by registry: an account for each
	// password. The map is replaced, never changed.
	admins atomic.Pointer[map[int64][]*account]
}

// Open loads the key that signs tokens, making it at the first start. Nobody can
// log in before EnsureOperator.
func Open(ctx context.Context, opts Options) (*Authority, error) {
	a := &Authority{db: opts.DB, key: opts.Key, macKey: opts.Key.Derive("password check")}
	var err error
	a.signing, err = loadSigningKey(ctx, a.db, a.key)
	if err != nil {
		return nil, err
	}
	return a, a.loadAdmins(ctx)
}

// Registry is the hosted registry that a request means.
type Registry struct {
	ID   int64
	Name string

	// Service is its login server, for example
	// contoso.dockbell.localhost:5000: the audience of its tokens.
	Service string

	// Realm is scheme and host under which this request reached it, for
	// example http://localhost:5000: where the caller finds the token endpoint.
	Realm string
}

// host is what this caller calls it, as docker login wants it.
func (r Registry) host() string {
	_, host, _ := strings.Cut(r.Realm, "://")
	return host
}

// Identity is who makes a request. The zero Identity is Anonymous.
type Identity struct {
	// Name is the user name; empty for an anonymous caller.
	Name string

	// Operator is set when the operator came with its own password: it may do
	// everything, in every registry. It is never set for a token.
	Operator bool

	// Registry is the id of the only registry it may act on; 0 for any.
	Registry int64

	// Access is what its token allows; nil for everything the account may.
	Access []Access

	owner      bool      // of Registry: its admin user, or a refresh token of that or the operator
	credential string    // of the account it logged in to; empty: the operator's
	expires    time.Time // of the token that was presented; zero without one
}

// Anonymous is the identity of a request without credentials.
var Anonymous = Identity{}

// actsOn reports whether the identity counts in the registry.
func (id Identity) actsOn(registry Registry) bool {
	return id.Registry == 0 || id.Registry == registry.ID
}

// owns reports whether the identity may do everything where it counts.
func (id Identity) owns() bool {
	return id.Access == nil && (id.Operator || id.owner)
}

// may reports whether the identity may do an action in the registry.
func (id Identity) may(registry Registry, kind, name, action string) bool {
	if !id.actsOn(registry) {
		return false
	}
	return id.owns() || slices.ContainsFunc(id.Access, func(a Access) bool { return a.allows(kind, name, action) })
}

// account is someone who can log in, as it is held in memory.
type account struct {
	name string
	mac  [sha256.Size]byte // of name and password
}

func (a *Authority) newAccount(name, password string) *account {
	return &account{name, a.mac(name, password)}
}

// mac makes of a password what is compared in its place: of one length, telling
// nothing of it, and the same on every node.
func (a *Authority) mac(name, password string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, a.macKey)
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write([]byte(password))
	h.Sum(sum[:0])
	return sum
}

// credential names the password in tokens, so that they end with it.
func (acc *account) credential() string {
	return base64.RawURLEncoding.EncodeToString(acc.mac[:12])
}

// accounts returns those of that name which can log in to a registry, the
// operator's first.
func (a *Authority) accounts(registry int64, name string) (found []*account) {
	if op := a.operator.Load(); op != nil && op.name == name {
		found = append(found, op)
	}
	for _, acc := range (*a.admins.Load())[registry] {
		if acc.name == name {
			found = append(found, acc)
		}
	}
	return found
}
