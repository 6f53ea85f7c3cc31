package tenant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Definition is what a registry is to be: the input of Put.
type Definition struct {
	Location     string // case and blanks do not matter
	SKU          string // in any case
	Tags         map[string]string
	AdminEnabled bool
	Settings     map[string]string // by the names of KnownSettings; one left out is the default
}

// Change is what of a registry is to be another: the input of Patch. A nil member
// is left as it is.
type Change struct {
	SKU          *string
	Tags         map[string]string // replaces all; empty clears
	AdminEnabled *bool
	Settings     map[string]string // one left out stays as it is
}

// asChange returns d as the change it makes to a registry that is there.
func (d Definition) asChange() Change {
	c := Change{SKU: &d.SKU, Tags: d.Tags, AdminEnabled: &d.AdminEnabled, Settings: map[string]string{}}
	if c.Tags == nil {
		c.Tags = map[string]string{}
	}
	for _, known := range KnownSettings {
		c.Settings[known.Name] = known.Values[0]
	}
	maps.Copy(c.Settings, d.Settings)
	return c
}

// of returns old with the change made.
func (c Change) of(old Registry) (r Registry, err error) {
	r = old
	if c.SKU != nil {
		if r.SKU, err = parseSKU(*c.SKU); err != nil {
			return r, err
		}
	}
	if c.Tags != nil {
		if err := checkTags("registry", c.Tags); err != nil {
			return r, err
		}
		r.Tags = c.Tags
	}
	if c.AdminEnabled != nil {
		r.AdminEnabled = *c.AdminEnabled
	}
	if r.Settings, err = old.Settings.with(c.Settings); err != nil {
		return r, err
	}
	if err := r.checkAnonymousPull(old); err != nil {
		return r, err
	}
	return r, r.checkRetention(old)
}

// checkAnonymousPull fails if r, which was old, has anonymous pull in a tier that
// does not.
func (r Registry) checkAnonymousPull(old Registry) error {
	if r.SKU != Basic || !r.AnonymousPull() {
		return nil
	}
	if old.AnonymousPull() {
		return fault.New(fault.Conflict, "registry %s cannot become Basic while it has anonymous pull, which Standard and Premium have: set properties.%s to false first, or with the tier", old.Name, anonymousPull).
			WithCode("AnonymousPullNotSupported")
	}
	return fault.New(fault.Invalid, "properties.%s cannot be true in a registry of tier Basic: Standard and Premium have it", anonymousPull).WithCode("InvalidParameter")
}

// Put creates a registry in a resource group, or replaces what is settled of the
// one that has the name; created tells which. An empty group is the one that a
// registry of the name is in, or the default one.
//
// Errors: fault.Invalid for what breaks a rule; fault.NotFound
// (ResourceGroupNotFound); fault.Conflict for a name that is taken in another
// group (AlreadyInUse), for another location than the registry has
// (InvalidResourceLocation), and for a tier below what the registry has
// (AnonymousPullNotSupported, RetentionPolicyNotSupported; QuotaExceeded, kind
// fault.Quota).
func (s *Store) Put(ctx context.Context, group, name string, def Definition, by Actor) (r Registry, created bool, err error) {
	name, err = ParseName(name)
	if err != nil {
		return Registry{}, false, err
	}
	location, err := parseLocation("registry", def.Location, "")
	if err != nil {
		return Registry{}, false, err
	}
	change := def.asChange()
	wanted, err := change.of(Registry{})
	if err != nil {
		return Registry{}, false, err
	}
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		old, err := selectRegistry(tx, name)
		if created = errors.Is(err, sqldb.ErrNoRow); created {
			wanted.Name, wanted.Subscription, wanted.Location = name, s.subscription, location
			r, err = s.create(tx, group, wanted, by)
			return err
		}
		switch {
		case err != nil:
			return err
		case group != "" && groupKey(group) != groupKey(old.ResourceGroup):
			return taken(name)
		case location != old.Location:
			return fault.New(fault.Conflict, "registry %s is in %s and cannot move to %s: delete it and create it there", name, old.Location, location).
				WithCode("InvalidResourceLocation")
		}
		r, err = s.update(tx, old, change, by)
		return err
	})
	return r, created && err == nil, err
}

// taken is what the second registry of a name meets, wherever the first one is.
func taken(name string) error {
	return fault.New(fault.Conflict, "registry name %s is taken, in another resource group of this server: choose another; dockbell registry check-name tells which are free", name).
		WithCode("AlreadyInUse")
}

// Patch changes members of a registry. Errors: as Put, and fault.NotFound if
// there is no such registry.
func (s *Store) Patch(ctx context.Context, name string, change Change, by Actor) (r Registry, err error) {
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		old, err := s.find(tx, name)
		if err != nil {
			return err
		}
		r, err = s.update(tx, old, change, by)
		return err
	})
	return r, err
}

// find returns the registry of a name as the database has it.
func (s *Store) find(tx *sqldb.Tx, name string) (Registry, error) {
	r, err := selectRegistry(tx, strings.ToLower(name))
	if errors.Is(err, sqldb.ErrNoRow) {
		return r, fault.New(fault.NotFound, "registry %q was deleted by someone else", clip(name)).WithCode("RegistryResourceNotFound")
	}
	return r, err
}

// create makes a registry. Where it may be is decided here and not for one that
// exists: a server may have been given another location since.
func (s *Store) create(tx *sqldb.Tx, group string, r Registry, by Actor) (Registry, error) {
	if _, err := parseLocation("registry", r.Location, s.only()); err != nil {
		return Registry{}, err
	}
	if group == "" {
		group = defaultGroup
	}
	g, err := findGroup(tx, group)
	if err != nil {
		return Registry{}, err
	}
	r.ResourceGroup, r.Stamp = g.Name, newStamp(tx, by)
	id, inserted, err := insertRegistry(tx, r)
	if err != nil {
		return Registry{}, err
	}
	if !inserted {
		return Registry{}, taken(r.Name)
	}
	r.ID = id
	if err := s.setAdmin(tx, Registry{}, r); err != nil {
		return Registry{}, err
	}
	s.show(tx, r)
	return r, nil
}

// update makes a change to old.
func (s *Store) update(tx *sqldb.Tx, old Registry, change Change, by Actor) (Registry, error) {
	r, err := change.of(old)
	if err != nil {
		return Registry{}, err
	}
	if err := s.checkTier(tx, old, r.SKU); err != nil {
		return Registry{}, err
	}
	r.noteRetention(old, tx.Now())
	r.noteSoftDelete(old, tx.Now())
	r.UpdatedAt, r.UpdatedBy = tx.Now(), by
	if err := updateRegistry(tx, r); err != nil {
		return Registry{}, err
	}
	if err := s.setAdmin(tx, old, r); err != nil {
		return Registry{}, err
	}
	s.show(tx, r)
	return r, nil
}

// setAdmin makes the admin user of r be what r says, which was old.
func (s *Store) setAdmin(tx *sqldb.Tx, old, r Registry) error {
	switch {
	case s.Admins == nil || r.AdminEnabled == old.AdminEnabled:
		return nil
	case r.AdminEnabled:
		return s.Admins.EnableAdmin(tx, r.ID, r.Name)
	}
	return s.Admins.DisableAdmin(tx, r.ID)
}

// checkTier fails if the registry has more than a lower tier allows.
func (s *Store) checkTier(tx *sqldb.Tx, r Registry, sku SKU) error {
	if sku == r.SKU {
		return nil
	}
	var over []string
	if s.Webhooks != nil {
		hooks, err := s.Webhooks(tx, r.ID, "")
		if err != nil {
			return err
		}
		if n := len(hooks) - sku.WebhookLimit(); n > 0 {
			over = append(over, fmt.Sprintf("%d webhooks, %d more than that tier allows", len(hooks), n))
		}
	}
	if s.Tokens != nil {
		maps, tokens, err := s.Tokens(tx, r.ID)
		if err != nil {
			return err
		}
		for _, x := range []struct {
			have int
			what string
		}{{maps, "scope maps"}, {tokens, "tokens"}} {
			if n := x.have - sku.TokenLimit(); n > 0 {
				over = append(over, fmt.Sprintf("%d %s, %d more than that tier allows", x.have, x.what, n))
			}
		}
	}
	if n := len(r.Locations()) - 1; n > 0 && sku != Premium {
		over = append(over, fmt.Sprintf("replications beside its home (%d), which only Premium has", n))
	}
	if over == nil {
		return nil
	}
	return fault.New(fault.Quota, "registry %s cannot become %s: it has %s; delete those first", r.Name, sku, strings.Join(over, " and ")).
		WithCode("QuotaExceeded")
}

// Delete removes a registry, which no name or host means from then on. What it
// held is for those to remove who keep it; see Doomed. It fails with
// fault.NotFound if there is none, and with fault.Conflict for the default one.
func (s *Store) Delete(ctx context.Context, name string) (r Registry, err error) {
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		if r, err = s.find(tx, name); err != nil {
			return err
		}
		if r.ID == s.Default().ID {
			return fault.New(fault.Conflict, "registry %s cannot be deleted: it is the default one, which the names and addresses of the server itself mean; delete what is in it, or start the server with another --registry-name",
				r.Name).WithCode("DefaultRegistryCannotBeDeleted")
		}
		if err := markDeleted(tx, r.ID, "~"+strconv.FormatInt(r.ID, 10)); err != nil {
			return err
		}
		if err := deleteReplications(tx, r.ID); err != nil {
			return err
		}
		if s.Admins != nil {
			if err := s.Admins.DisableAdmin(tx, r.ID); err != nil {
				return err
			}
			if err := s.Admins.DropRoles(tx, r.ResourceID()); err != nil {
				return err
			}
		}
		tx.AfterCommit(func() { s.view.Store(s.view.Load().without(r)) })
		return nil
	})
	return r, err
}

// lastRequest is how long after its deletion a request may still be under way
// that found a registry.
const lastRequest = time.Hour

// Doomed returns the ids of deleted registries of which something may be left.
func (s *Store) Doomed(ctx context.Context) (ids []int64, err error) {
	err = s.db.Read(ctx, func(tx *sqldb.Tx) error {
		ids, err = selectDoomed(tx)
		return err
	})
	return ids, err
}

// Purged tells that nothing is left of a deleted registry. One that was deleted
// within the last hour stays doomed: a request that began before might have
// written since, which a later look finds.
func (s *Store) Purged(ctx context.Context, id int64) error {
	return s.db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		return markPurged(tx, id, tx.Now().Add(-lastRequest))
	})
}

// Availability says whether a name can be had for a registry.
type Availability struct {
	Available bool
	Reason    string // Invalid or AlreadyExists
	Message   string
}

// CheckName says whether a registry of the name could be made.
func (s *Store) CheckName(name string) Availability {
	name, err := ParseName(name)
	if err != nil {
		return Availability{Reason: "Invalid", Message: fault.As(err).Message}
	}
	if _, err := s.ByName(name); err == nil {
		return Availability{Reason: "AlreadyExists", Message: "the registry " + name + " is already in use: choose another name"}
	}
	return Availability{Available: true}
}
