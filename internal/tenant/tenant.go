// Package tenant is the hosted registries as the control plane knows them: name,
// tier, places, settings, and the ids by which Azure's tools address them.
//
// It owns the tables registry, replication and resource_group and setting's row
// "subscription", the rules for what each of these may be, the limits of a tier,
// and the answer to which registry a Host header means. What a registry holds is
// for package registry; who may do what, and the passwords of a registry's admin
// user, are for package auth.
//
// Invariants:
//   - What is in memory is what the database has: resolving a host costs no
//     query, and a change counts for everyone once its transaction commits.
//   - A registry that was deleted is not found by any name or host from then on,
//     and its id never means another registry.
package tenant

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// TokenLimit returns how many repository-scoped tokens a registry of the tier may
// have, and how many scope maps.
func (s SKU) TokenLimit() int {
	switch s {
	case Premium:
		return 50_000
	case Standard:
		return 500
	default:
		return 100
	}
}

// IncludedStorage returns how much a registry of the tier is meant to hold, in
// bytes. As with Azure's, more is not refused.
func (s SKU) IncludedStorage() int64 {
	const gib = 1 << 30
	switch s {
	case Premium:
		return 500 * gib
	case Standard:
		return 100 * gib
	default:
		return 10 * gib
	}
}

// parseSKU reads a tier, in any case.
func parseSKU(text string) (SKU, error) {
	const rule = "use Basic, Standard or Premium"
	for _, sku := range []SKU{Basic, Standard, Premium} {
		if strings.EqualFold(text, string(sku)) {
			return sku, nil
		}
	}
	switch {
	case text == "":
		return "", fault.New(fault.Invalid, "the registry has no sku: %s", rule).WithCode("SkuRequired")
	case strings.EqualFold(text, "Classic"):
		return "", fault.New(fault.Invalid, "sku Classic is not offered: it kept images in a storage account of one's own, and Azure has retired it; %s", rule).
			WithCode("ClassicSkuNotSupported")
	}
	return "", fault.New(fault.Invalid, "sku %q is none: %s", clip(text), rule).WithCode("InvalidSku")
}

// Actor is who changes something.
type Actor struct {
	Name string
	Kind string // User or Application, as ARM's systemData has it
}

// Stamp says who made and who last changed something, and when, in UTC.
type Stamp struct {
	CreatedAt, UpdatedAt time.Time
	CreatedBy, UpdatedBy Actor
}

// Registry is one hosted registry. Its maps and lists are not to be changed.
type Registry struct {
	ID            int64
	Name          string // 5 to 50 lower-case letters and digits
	Subscription  string // UUID
	ResourceGroup string
	Location      string // home, as Azure writes it: lower case, no spaces
	SKU           SKU
	Tags          map[string]string
	AdminEnabled  bool // the admin user may log in
	Settings      Settings
	Stamp

	replications []Replication // stored ones, by name
}

// AnonymousPull reports whether whoever comes may pull from the registry.
func (r Registry) AnonymousPull() bool { return r.Settings.Get(anonymousPull) == "true" }

// Quarantine reports whether images are held back until they are marked as Passed.
func (r Registry) Quarantine() bool { return r.Settings.Get(quarantine) == "enabled" }

// ResourceID returns the ARM id.
func (r Registry) ResourceID() string {
	return GroupID(r.Subscription, r.ResourceGroup) + "/providers/Microsoft.ContainerRegistry/registries/" + r.Name
}

// GroupID returns the ARM id of a resource group.
func GroupID(subscription, group string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/" + group
}

// LoginServer returns the name clients log in to. The domain may carry a port.
func (r Registry) LoginServer(domain string) string { return r.Name + "." + domain }

// Locations returns where the registry is, the home first. Of the others, events
// tell only once a node serves them.
func (r Registry) Locations() []string {
	var all []string
	for _, rep := range r.Replications() {
		all = append(all, rep.Location)
	}
	return all
}

// NormalLocation returns a location as Azure writes it: "East US" is eastus.
func NormalLocation(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, " ", ""))
}

// What the default registry is unless Options say otherwise.
const (
	DefaultName     = "dockbell"
	DefaultLocation = "local"
	defaultGroup    = "dockbell"
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

	// OneLocation refuses any other location than DefaultLocation. Without it
	// any that is well-formed is accepted.
	OneLocation bool

	// Admins keeps the passwords of admin users. Nil keeps none.
	Admins Admins

	// Webhooks returns the names of a registry's webhooks in a location, or of
	// all for an empty one. Nil stands for no webhooks.
	Webhooks func(tx *sqldb.Tx, registry int64, location string) ([]string, error)

	// Tokens returns how many scope maps and repository-scoped tokens were made in
	// a registry. Nil stands for none.
	Tokens func(tx *sqldb.Tx, registry int64) (scopeMaps, tokens int, err error)
}

// Admins are the admin users of registries, and those who have roles in them.
type Admins interface {
	// EnableAdmin lets the admin user of a registry, who has the registry's
	// name, log in with two new passwords. One that is enabled keeps those it has.
	EnableAdmin(tx *sqldb.Tx, registry int64, name string) error

	// DisableAdmin forgets the passwords.
	DisableAdmin(tx *sqldb.Tx, registry int64) error

	// DropRoles takes away all roles in a registry, given by its ARM id: another
	// one may be made under the same.
	DropRoles(tx *sqldb.Tx, scope string) error
}

// Store is the hosted registries. Its methods may be called from many
// goroutines.
type Store struct {
	Options
	db           *sqldb.DB
	subscription string
	view         atomic.Pointer[view]

	// changing is held over each transaction that changes something, so that
	// what is in memory is replaced in the order of commits on PostgreSQL too.
	changing sync.Mutex
}

// view is all registries and groups at one moment. It is replaced, never
// changed.
type view struct {
	byName map[string]Registry
	byID   map[int64]Registry
	groups map[string]Group // by key
	def    int64
}

// with returns a view in which a registry is r.
func (v *view) with(r Registry) *view {
	next := *v
	next.byName, next.byID = maps.Clone(v.byName), maps.Clone(v.byID)
	next.byName[r.Name], next.byID[r.ID] = r, r
	return &next
}

// without returns a view in which the registry is no more.
func (v *view) without(r Registry) *view {
	next := *v
	next.byName, next.byID = maps.Clone(v.byName), maps.Clone(v.byID)
	delete(next.byName, r.Name)
	delete(next.byID, r.ID)
	return &next
}

// Open loads the registries, making the default one if it does not exist.
func Open(ctx context.Context, db *sqldb.DB, opts Options) (*Store, error) {
	if opts.DefaultName == "" {
		opts.DefaultName = DefaultName
	}
	name, err := ParseName(opts.DefaultName)
	if err != nil {
		return nil, err
	}
	if opts.DefaultLocation = NormalLocation(opts.DefaultLocation); opts.DefaultLocation == "" {
		opts.DefaultLocation = DefaultLocation
	}
	s := &Store{Options: opts, db: db}
	v := &view{byName: map[string]Registry{}, byID: map[int64]Registry{}, groups: map[string]Group{}}
	var found []Registry
	var groups []Group
	err = db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		var err error
		if s.subscription, err = ensureSubscription(tx); err != nil {
			return err
		}
		home := opts.DefaultLocation
		stamp := newStamp(tx, Actor{name, "User"}) // the operator has this name
		if _, err := insertGroup(tx, Group{Name: defaultGroup, Location: home, Stamp: stamp}); err != nil {
			return err
		}
		_, _, err = insertRegistry(tx, Registry{
			Name: name, Subscription: s.subscription, ResourceGroup: defaultGroup, Location: home, SKU: Premium, Stamp: stamp,
		})
		if err != nil {
			return err
		}
		if groups, err = selectGroups(tx); err != nil {
			return err
		}
		found, err = selectRegistries(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the registries: %w", err)
	}
	for _, r := range found {
		v.byName[r.Name], v.byID[r.ID] = r, r
	}
	for _, g := range groups {
		v.groups[groupKey(g.Name)] = g
	}
	v.def = v.byName[name].ID
	s.view.Store(v)
	return s, nil
}

func newStamp(tx *sqldb.Tx, by Actor) Stamp {
	return Stamp{CreatedAt: tx.Now(), UpdatedAt: tx.Now(), CreatedBy: by, UpdatedBy: by}
}

// ByName returns the registry called name, in any case. It fails with
// fault.NotFound.
func (s *Store) ByName(name string) (Registry, error) {
	r, ok := s.view.Load().byName[strings.ToLower(name)]
	if !ok {
		return Registry{}, Unknown(name)
	}
	return r, nil
}

// Unknown returns the error for a name that is no registry's, or is to look so.
func Unknown(name string) error {
	return fault.New(fault.NotFound, "registry %q does not exist on this server: dockbell registry list shows those that do", clip(name)).
		WithCode("RegistryResourceNotFound")
}

// ByID returns a registry, the zero one if there is none of the id.
func (s *Store) ByID(id int64) Registry { return s.view.Load().byID[id] }

// List returns all registries, by name.
func (s *Store) List() []Registry {
	v := s.view.Load()
	list := make([]Registry, 0, len(v.byName))
	for _, name := range slices.Sorted(maps.Keys(v.byName)) {
		list = append(list, v.byName[name])
	}
	return list
}

// Default returns the registry that hosts without a registry's name mean.
func (s *Store) Default() Registry {
	v := s.view.Load()
	return v.byID[v.def]
}

// Subscription returns the id, a UUID, of the one subscription there is.
func (s *Store) Subscription() string { return s.subscription }

// change runs a transaction that changes something.
func (s *Store) change(ctx context.Context, fn func(*sqldb.Tx) error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.db.Write(ctx, sqldb.Change, fn)
}

// show makes r what everyone finds once the transaction commits.
func (s *Store) show(tx *sqldb.Tx, r Registry) {
	tx.AfterCommit(func() { s.view.Store(s.view.Load().with(r)) })
}

// clip shortens hostile input for a message.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
