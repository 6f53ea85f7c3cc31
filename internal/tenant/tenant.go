// Package tenant is the hosted registries as the control plane knows them:
// name, tier, place, and the ids by which Azure's tools address them.
//
// It owns the tables registry and setting's row "subscription", the rules for a
// registry's name, the limits of a tier, and the answer to which registry a Host
// header means. What a registry holds is for package registry; who may do what
// is for package auth. Invariant: the registries in memory are those in the
// database, so resolving a host costs no query.
package tenant

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// SKU is a registry's tier.
type SKU string

// The tiers.
const (
	Basic    SKU = "Basic"
	Standard SKU = "Standard"
	Premium  SKU = "Premium"
)

// WebhookLimit returns how many webhooks a registry of the tier may have, over
// all its locations.
func (s SKU) WebhookLimit() int {
	switch s {
	case Premium:
		return 500
	case Standard:
		return 10
	default:
		return 2
	}
}

// Registry is one hosted registry.
type Registry struct {
	ID            int64
	Name          string // 5 to 50 lower-case letters and digits
	Subscription  string // UUID
	ResourceGroup string
	Location      string // home, as Azure writes it: lower case, no spaces
	SKU           SKU
	CreatedAt     time.Time // UTC
}

// ResourceID returns the ARM id.
func (r Registry) ResourceID() string {
	return "/subscriptions/" + r.Subscription + "/resourceGroups/" + r.ResourceGroup +
		"/providers/Microsoft.ContainerRegistry/registries/" + r.Name
}

// LoginServer returns the name clients log in to. The domain may carry a port.
func (r Registry) LoginServer(domain string) string { return r.Name + "." + domain }

// The rule for registry names, as Azure has it.
const (
	minName = 5
	maxName = 50
)

// ParseName checks the name of a registry and returns it as it is stored, in
// lower case.
func ParseName(s string) (string, error) {
	if !validName(s) {
		return "", fault.New(fault.Invalid, "registry name %q is not valid: use %d to %d letters and digits, for example contoso", clip(s), minName, maxName).
			WithCode("InvalidResourceName")
	}
	return strings.ToLower(s), nil
}

func validName(s string) bool {
	if len(s) < minName || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		default:
			return false
		}
	}
	return true
}

// NormalLocation returns a location as Azure writes it: "East US" is eastus.
func NormalLocation(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, " ", ""))
}

// What the default registry is unless Options say otherwise.
const (
	DefaultName          = "dockbell"
	DefaultLocation      = "local"
	defaultResourceGroup = "dockbell"
)

// Options configure Open.
type Options struct {
	// DefaultName names the registry that unnamed hosts mean; empty is
	// DefaultName.
	DefaultName string

	// DefaultLocation is where the default registry is made; empty is
	// DefaultLocation. A registry never moves: for one that exists already this
	// has no effect.
	DefaultLocation string
}

// Store is the hosted registries. Its methods may be called from many
// goroutines.
type Store struct {
	byName map[string]Registry
	list   []Registry // by name
	def    Registry
}

// Open loads the registries, making the default one if it does not exist.
func Open(ctx context.Context, db *sqldb.DB, opts Options) (*Store, error) {
	if opts.DefaultName == "" {
		opts.DefaultName = DefaultName
	}
	if opts.DefaultLocation == "" {
		opts.DefaultLocation = DefaultLocation
	}
	name, err := ParseName(opts.DefaultName)
	if err != nil {
		return nil, err
	}
	var found []Registry
	err = db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		subscription, err := ensureSubscription(tx)
		if err != nil {
			return err
		}
		err = insertIfAbsent(tx, Registry{
			Name:          name,
			Subscription:  subscription,
			ResourceGroup: defaultResourceGroup,
			Location:      NormalLocation(opts.DefaultLocation),
			SKU:           Premium,
			CreatedAt:     tx.Now(),
		})
		if err != nil {
			return err
		}
		found, err = selectAll(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the registries: %w", err)
	}
	s := &Store{byName: make(map[string]Registry, len(found)), list: found}
	for _, r := range found {
		s.byName[r.Name] = r
	}
	s.def = s.byName[name]
	return s, nil
}

// ByName returns the registry called name, in any case. It fails with
// fault.NotFound.
func (s *Store) ByName(name string) (Registry, error) {
	r, ok := s.byName[strings.ToLower(name)]
	if !ok {
		return Registry{}, fault.New(fault.NotFound, "registry %q does not exist on this server: dockbell registry list shows those that do", clip(name)).
			WithCode("RegistryResourceNotFound")
	}
	return r, nil
}

// List returns all registries, by name.
func (s *Store) List() []Registry { return append([]Registry(nil), s.list...) }

// Default returns the registry that hosts without a registry's name mean.
func (s *Store) Default() Registry { return s.def }

// clip shortens hostile input for a message.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
