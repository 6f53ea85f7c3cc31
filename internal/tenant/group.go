package tenant

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Group is a resource group: a folder for registries.
type Group struct {
	Name     string // as sent when it was created; names compare without case
	Location string // says nothing of where its registries are
	Tags     map[string]string
	Stamp
}

// Groups returns all resource groups, by name.
func (s *Store) Groups() []Group {
	v := s.view.Load()
	list := make([]Group, 0, len(v.groups))
	for _, key := range slices.Sorted(maps.Keys(v.groups)) {
		list = append(list, v.groups[key])
	}
	return list
}

// Group returns the resource group of a name, in any case. It fails with
// fault.NotFound (ResourceGroupNotFound).
func (s *Store) Group(name string) (Group, error) {
	if g, ok := s.view.Load().groups[groupKey(name)]; ok {
		return g, nil
	}
	return Group{}, unknownGroup(name)
}

func unknownGroup(name string) error {
	return fault.New(fault.NotFound, "resource group %q could not be found: create it first (az group create), or use that of the default registry", clip(name)).
		WithCode("ResourceGroupNotFound")
}

// findGroup is Group, as the database has it.
func findGroup(tx *sqldb.Tx, name string) (Group, error) {
	g, err := selectGroup(tx, groupKey(name))
	if errors.Is(err, sqldb.ErrNoRow) {
		return g, unknownGroup(name)
	}
	return g, err
}

// PutGroup creates a resource group, or replaces the tags of the one that has
// the name; created tells which. Errors: fault.Invalid for what breaks a rule,
// fault.Conflict (InvalidResourceGroupLocation) for another location than the
// group has.
func (s *Store) PutGroup(ctx context.Context, name, location string, tags map[string]string, by Actor) (g Group, created bool, err error) {
	if err := checkGroupName(name); err != nil {
		return g, false, err
	}
	if location, err = parseLocation("resource group", location, ""); err != nil {
		return g, false, err
	}
	if err := checkTags("resource group", tags); err != nil {
		return g, false, err
	}
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		g = Group{Name: name, Location: location, Tags: tags, Stamp: newStamp(tx, by)}
		if created, err = insertGroup(tx, g); err != nil {
			return err
		}
		if !created {
			old, err := findGroup(tx, name)
			if err != nil {
				return err
			}
			if old.Location != location {
				return fault.New(fault.Conflict, "resource group %s is in %s and cannot move to %s: use another name for a group there", old.Name, old.Location, location).
					WithCode("InvalidResourceGroupLocation")
			}
			g = old
			g.Tags, g.UpdatedAt, g.UpdatedBy = tags, tx.Now(), by
			if err := updateGroup(tx, g); err != nil {
				return err
			}
		}
		return s.showGroups(tx)
	})
	return g, created && err == nil, err
}

// DeleteGroup removes a resource group that holds nothing. It fails with
// fault.NotFound (ResourceGroupNotFound), and with fault.Conflict
// (ResourceGroupNotEmpty) for one that holds registries.
func (s *Store) DeleteGroup(ctx context.Context, name string) error {
	return s.change(ctx, func(tx *sqldb.Tx) error {
		g, err := findGroup(tx, name)
		if err != nil {
			return err
		}
		held, err := selectHeld(tx, g.Name)
		if err != nil {
			return err
		}
		if len(held) > 0 {
			return fault.New(fault.Conflict, "resource group %s is not empty: it holds %s, which a group here never takes along; delete that first", g.Name, strings.Join(held, ", ")).
				WithCode("ResourceGroupNotEmpty")
		}
		if err := deleteGroup(tx, groupKey(name)); err != nil {
			return err
		}
		return s.showGroups(tx)
	})
}

// showGroups makes what the database says of groups what everyone finds.
func (s *Store) showGroups(tx *sqldb.Tx) error {
	all, err := selectGroups(tx)
	if err != nil {
		return err
	}
	groups := make(map[string]Group, len(all))
	for _, g := range all {
		groups[groupKey(g.Name)] = g
	}
	tx.AfterCommit(func() {
		next := *s.view.Load()
		next.groups = groups
		s.view.Store(&next)
	})
	return nil
}
