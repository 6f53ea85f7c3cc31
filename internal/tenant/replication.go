package tenant

import (
	"context"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Replication is a registry in one location.
type Replication struct {
	Name           string // as sent when it was created; names compare without case
	Location       string
	Tags           map[string]string
	RegionEndpoint bool // Azure's regionEndpointEnabled, which is kept
	ZoneRedundant  bool // likewise
	Home           bool // where the registry was made, and where its images are
	Stamp
}

// ReplicationChange is what a replication is to be. A nil member is left as it
// is; for one that is created it is no tags, an endpoint, no redundancy.
type ReplicationChange struct {
	Tags           map[string]string // replaces all; empty clears
	RegionEndpoint *bool
	ZoneRedundant  *bool
}

func (c ReplicationChange) of(r Replication) (Replication, error) {
	if err := checkTags("replication", c.Tags); err != nil {
		return r, err
	}
	if c.Tags != nil {
		r.Tags = c.Tags
	}
	if c.RegionEndpoint != nil {
		r.RegionEndpoint = *c.RegionEndpoint
	}
	if c.ZoneRedundant != nil {
		r.ZoneRedundant = *c.ZoneRedundant
	}
	return r, nil
}

// Replications returns a registry's locations, the home first.
func (r Registry) Replications() []Replication {
	home := Replication{Name: r.Location, Location: r.Location, RegionEndpoint: true, Home: true, Stamp: r.Stamp}
	all := []Replication{home}
	for _, rep := range r.replications {
		if rep.Home = rep.Location == r.Location; rep.Home {
			all[0] = rep
		} else {
			all = append(all, rep)
		}
	}
	return all
}

// Replication returns the replication of a name, in any case. It fails with
// fault.NotFound (ResourceNotFound).
func (r Registry) Replication(name string) (Replication, error) {
	all := r.Replications()
	i := slices.IndexFunc(all, func(rep Replication) bool { return strings.EqualFold(rep.Name, name) })
	if i < 0 {
		return Replication{}, fault.New(fault.NotFound, "registry %s has no replication %q: dockbell replication list -r %s shows those it has", r.Name, clip(name), r.Name).
			WithCode("ResourceNotFound")
	}
	return all[i], nil
}

// PutReplication creates a replication of a registry, or replaces the one of the
// name; created tells which.
//
// Errors: fault.Invalid for what breaks a rule; fault.Denied for a tier other
// than Premium; fault.Conflict for a location that another replication has, or
// another one than the replication has; fault.NotFound for the registry.
func (s *Store) PutReplication(ctx context.Context, registry, name, location string, change ReplicationChange, by Actor) (rep Replication, created bool, err error) {
	location, err = parseLocation("replication", location, "")
	if err != nil {
		return rep, false, err
	}
	fresh, err := change.of(Replication{Name: name, Location: location, RegionEndpoint: true})
	if err != nil {
		return rep, false, err
	}
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		r, err := s.find(tx, registry)
		if err != nil {
			return err
		}
		if r.SKU != Premium {
			return fault.New(fault.Invalid, "registry %s is %s, and replications are only for Premium: dockbell registry update -n %s --sku Premium", r.Name, r.SKU, r.Name).
				WithCode("ReplicationNotSupported")
		}
		old, err := r.Replication(name)
		if created = fault.Is(err, fault.NotFound); created {
			rep, err = s.createReplication(tx, r, fresh, by)
			return err
		}
		if old.Location != location {
			return fault.New(fault.Conflict, "replication %s of registry %s is in %s and cannot move to %s: create another for that", old.Name, r.Name, old.Location, location).
				WithCode("InvalidResourceLocation")
		}
		fresh.Name, fresh.Stamp, fresh.Home = old.Name, old.Stamp, old.Home
		rep, err = s.storeReplication(tx, r, fresh, by)
		return err
	})
	return rep, created && err == nil, err
}

func (s *Store) createReplication(tx *sqldb.Tx, r Registry, rep Replication, by Actor) (Replication, error) {
	if !validName(rep.Name) {
		return rep, fault.New(fault.Invalid, "replication name %q is not valid: use %d to %d letters and digits, for example %s", clip(rep.Name), minName, maxName, replicationExample(rep.Location)).
			WithCode("InvalidResourceName")
	}
	for _, other := range r.Replications() {
		if other.Home && other.Location == rep.Location {
			return rep, fault.New(fault.Conflict, "registry %s is at home in %s: a replication goes to another location", r.Name, rep.Location).
				WithCode("ReplicationInHomeLocation")
		}
		if other.Location == rep.Location {
			return rep, fault.New(fault.Conflict, "registry %s has replication %s in %s already: one for each location is enough", r.Name, other.Name, rep.Location).
				WithCode("ReplicationLocationInUse")
		}
	}
	if _, err := parseLocation("replication", rep.Location, s.only()); err != nil {
		return rep, err
	}
	rep.Stamp = newStamp(tx, by)
	return s.storeReplication(tx, r, rep, by)
}

func replicationExample(location string) string {
	if validName(location) {
		return location
	}
	return "westeurope"
}

// PatchReplication changes members of a replication. Errors: as PutReplication,
// and fault.NotFound (ResourceNotFound) if there is none of the name.
func (s *Store) PatchReplication(ctx context.Context, registry, name string, change ReplicationChange, by Actor) (rep Replication, err error) {
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		r, err := s.find(tx, registry)
		if err != nil {
			return err
		}
		if rep, err = r.Replication(name); err != nil {
			return err
		}
		if rep, err = change.of(rep); err != nil {
			return err
		}
		rep, err = s.storeReplication(tx, r, rep, by)
		return err
	})
	return rep, err
}

// storeReplication writes a replication, new or changed, and shows it.
func (s *Store) storeReplication(tx *sqldb.Tx, r Registry, rep Replication, by Actor) (Replication, error) {
	rep.UpdatedAt, rep.UpdatedBy = tx.Now(), by
	if err := upsertReplication(tx, r.ID, rep); err != nil {
		return rep, err
	}
	return rep, s.reshow(tx, r)
}

// reshow makes what the database says of r's replications what everyone finds.
func (s *Store) reshow(tx *sqldb.Tx, r Registry) (err error) {
	if r.replications, err = selectReplications(tx, r.ID); err == nil {
		s.show(tx, r)
	}
	return err
}

// DeleteReplication removes a replication. It fails with fault.NotFound
// (ResourceNotFound) if there is none of the name, and with fault.Conflict for
// the home and for one that has webhooks.
func (s *Store) DeleteReplication(ctx context.Context, registry, name string) error {
	return s.change(ctx, func(tx *sqldb.Tx) error {
		r, err := s.find(tx, registry)
		if err != nil {
			return err
		}
		rep, err := r.Replication(name)
		if err != nil {
			return err
		}
		if rep.Home {
			return fault.New(fault.Conflict, "replication %s cannot be deleted: it is the home of registry %s, where its images are; delete the registry to be rid of it", rep.Name, r.Name).
				WithCode("CannotDeleteHomeReplication")
		}
		if s.Webhooks != nil {
			hooks, err := s.Webhooks(tx, r.ID, rep.Location)
			if err != nil {
				return err
			}
			if len(hooks) > 0 {
				return fault.New(fault.Conflict, "replication %s of registry %s has webhooks that would never ring again: delete %s first", rep.Name, r.Name, strings.Join(hooks, ", ")).
					WithCode("ReplicationHasWebhooks")
			}
		}
		if err := deleteReplication(tx, r.ID, rep.Name); err != nil {
			return err
		}
		return s.reshow(tx, r)
	})
}
