// Package webhook is the webhooks of a registry, as ACR knows them: what each
// wants to hear of, and how a request to it looks.
//
// It owns the tables webhook and webhook_rule, the validation of definitions,
// the matching of events and the headers and signature of a request. When a
// request is sent, and what follows from the answer, is for package delivery;
// whether an address may be rung is for package outbound; who may do any of this
// is for the faces.
//
// Invariants:
//   - The rules in memory change when the transaction that changes them commits:
//     on SQLite an event that commits later is matched by the new ones, an event
//     that committed earlier by the old.
//   - The rules that an event not yet expanded was committed under are in the
//     database, so a crash does not change who it is owed to.
//   - Service URI, custom headers and signing secret are nowhere but sealed in
//     the database and in memory: no listing, log or error has them.
package webhook

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Registry is what this package has to know of the hosted registry a webhook
// belongs to.
type Registry struct {
	ID        int64
	Name      string
	SKU       string   // Basic, Standard or Premium
	Limit     int      // how many webhooks the tier allows
	Locations []string // the home region first
}

// Status says whether a webhook is owed events.
type Status string

// The statuses. A disabled webhook misses what happens; only a ping rings it.
const (
	Enabled  Status = "enabled"
	Disabled Status = "disabled"
)

// Webhook is a webhook as everyone may see it who may read webhooks.
type Webhook struct {
	ID                   int64 // of its endpoint
	RegistryID           int64
	Name                 string // as sent when it was created; names compare without case
	Location             string
	Tags                 map[string]string // never nil
	Status               Status
	Scope                string   // as sent
	Actions              []string // as sent
	CreatedAt, UpdatedAt time.Time
	CreatedBy, UpdatedBy string
}

// Config is the part of a webhook that is never shown beside it.
type Config struct {
	ServiceURI    string            `json:"serviceUri"`    // as sent
	CustomHeaders map[string]string `json:"customHeaders"` // as sent; never nil
	SigningSecret string            `json:"signingSecret"` // whsec_ and the base64 of 32 random bytes
}

// Endpoints makes and drops the endpoints that deliveries are owed to. Package
// delivery does it.
type Endpoints interface {
	// Add makes an endpoint that is owed what happens from now on.
	Add(tx *sqldb.Tx, kind string, registry int64, location string) (id int64, err error)

	// Drop removes an endpoint and what it was owed.
	Drop(tx *sqldb.Tx, id int64) error

	// Changed tells that an endpoint is reached in another way, so that it
	// starts with good health.
	Changed(tx *sqldb.Tx, id int64) error
}

// Options are what a Store is made of.
type Options struct {
	DB        *sqldb.DB
	Key       *seal.Key
	Endpoints Endpoints
	Outbox    *outbox.Outbox     // for pings
	CheckURL  func(string) error // decides whether a service URI may be saved
	Version   string             // of this program, for the User-Agent
}

// Store is the webhooks of all registries. Its methods may be called from many
// goroutines.
type Store struct {
	Options
	userAgent string

	// rules are what is in force now. They are replaced, never changed.
	rules atomic.Pointer[rules]

	// changing is held over each transaction that changes a webhook, so that
	// rules are replaced in the order of commits on PostgreSQL too.
	changing sync.Mutex
}

// Open loads all webhooks. It fails if their secrets were sealed with another
// key.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{Options: o, userAgent: "AzureContainerRegistry/1.0 (Dockbell/" + o.Version + ")"}
	registries := map[int64]map[int64]*hook{}
	err := o.DB.Read(ctx, func(tx *sqldb.Tx) error {
		rows, err := selectWebhooks(tx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			r, err := s.unseal(row)
			if err != nil {
				return err
			}
			h, err := s.newHook(r)
			if err != nil {
				return err
			}
			if registries[r.RegistryID] == nil {
				registries[r.RegistryID] = map[int64]*hook{}
			}
			registries[r.RegistryID][r.ID] = h
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	all := &rules{registries: map[int64]*registryRules{}}
	for id, hooks := range registries {
		all.registries[id] = newRegistryRules(hooks)
	}
	s.rules.Store(all)
	return s, nil
}

// record is a webhook with both its parts.
type record struct {
	Webhook
	Config
}

// Put creates the webhook, or replaces the definition of the one that has the
// name; created tells which. A replaced webhook keeps its id, its log, its
// signing secret and, if def names no service URI, its service URI and headers.
//
// Errors: fault.Invalid for what breaks a rule, fault.Denied for an address that
// may not be rung, fault.NotFound (RegistryResourceNotFound) for a location that
// is no region of the registry, fault.Conflict (InvalidResourceLocation) for
// another location than the webhook has, fault.Quota (QuotaExceeded).
func (s *Store) Put(ctx context.Context, reg Registry, name string, def Definition, by string) (w Webhook, created bool, err error) {
	if err := checkName(name); err != nil {
		return Webhook{}, false, err
	}
	change := def.asChange()
	if err := change.check(s.CheckURL); err != nil {
		return Webhook{}, false, err
	}
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		old, err := s.find(tx, reg, name)
		if created = fault.Is(err, fault.NotFound); created {
			w, err = s.create(tx, reg, name, def, by)
			return err
		}
		if err != nil {
			return err
		}
		if l := normalLocation(def.Location); l != "" && l != old.Location {
			return fault.New(fault.Conflict, "webhook %s is in %s and cannot move to %s: delete it and create it there", old.Name, old.Location, clip(l)).
				WithCode("InvalidResourceLocation")
		}
		w, err = s.update(tx, old, change, by)
		return err
	})
	return w, created, err
}

// Patch changes members of a webhook. Errors: as Put, and fault.NotFound
// (ResourceNotFound) if there is no such webhook.
func (s *Store) Patch(ctx context.Context, reg Registry, name string, change Change, by string) (w Webhook, err error) {
	if err := change.check(s.CheckURL); err != nil {
		return Webhook{}, err
	}
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		old, err := s.find(tx, reg, name)
		if err != nil {
			return err
		}
		w, err = s.update(tx, old, change, by)
		return err
	})
	return w, err
}

// Delete removes a webhook and what it was still owed. It fails with
// fault.NotFound (ResourceNotFound) if there is none.
func (s *Store) Delete(ctx context.Context, reg Registry, name string) error {
	return s.change(ctx, func(tx *sqldb.Tx) error {
		row, err := selectWebhook(tx, reg.ID, nameKey(name))
		if err != nil {
			return orUnknown(err, reg, name)
		}
		if err := deleteWebhook(tx, row.ID); err != nil {
			return err
		}
		if err := s.Endpoints.Drop(tx, row.ID); err != nil {
			return err
		}
		tx.AfterCommit(func() { s.rules.Store(s.rules.Load().without(reg.ID, row.ID)) })
		return nil
	})
}

// Get returns a webhook. It fails with fault.NotFound (ResourceNotFound) if
// there is none.
func (s *Store) Get(ctx context.Context, reg Registry, name string) (w Webhook, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		row, err := selectWebhook(tx, reg.ID, nameKey(name))
		w = row.Webhook
		return orUnknown(err, reg, name)
	})
	return w, err
}

// List returns the webhooks of a registry, by name.
func (s *Store) List(ctx context.Context, reg Registry) (list []Webhook, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		list, err = selectList(tx, reg.ID)
		return err
	})
	return list, err
}

// CallbackConfig returns the part of a webhook that is never listed. It fails
// with fault.NotFound (ResourceNotFound) if there is no such webhook.
func (s *Store) CallbackConfig(ctx context.Context, reg Registry, name string) (c Config, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		r, err := s.find(tx, reg, name)
		c = r.Config
		return err
	})
	return c, err
}

// Ping rings one webhook, be it enabled or not, and returns the id of the event
// that does. source is the registry as its events name it. It fails with
// fault.NotFound (ResourceNotFound) if there is no such webhook.
func (s *Store) Ping(ctx context.Context, reg Registry, source event.Registry, name string) (eventID string, err error) {
	err = s.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		row, err := selectWebhook(tx, reg.ID, nameKey(name))
		if err != nil {
			return orUnknown(err, reg, name)
		}
		e := &event.Event{Action: event.Ping, Registry: source, OwedTo: row.ID}
		e.Registry.Location = row.Location
		err = s.Outbox.Append(tx, outbox.Prepare(e))
		eventID = e.ID
		return err
	})
	return eventID, err
}

// InForce returns the rules of this moment: a function that returns the ids of
// the endpoints an event is owed to. It stays as it is when webhooks change, and
// what a call costs does not grow with the webhooks that do not match.
func (s *Store) InForce() func(*event.Event) []int64 { return s.rules.Load().owedTo }

// MatchAt returns the ids of the endpoints that e was owed to when it committed,
// less those deleted since. It is for events that are not expanded: the rules
// for older ones are not kept.
func (s *Store) MatchAt(tx *sqldb.Tx, e *event.Event) ([]int64, error) {
	if e.OwedTo != 0 {
		return selectOwner(tx, e.OwedTo)
	}
	rows, err := selectRulesAt(tx, e.Registry.ID, e.Registry.Location, e.Pos)
	if err != nil {
		return nil, err
	}
	var owed []int64
	for _, row := range rows {
		r, err := newRule(row.status, row.scope, row.actions)
		if err != nil {
			return nil, fmt.Errorf("webhook %d: %w", row.webhook, err)
		}
		if r.wants(e) {
			owed = append(owed, row.webhook)
		}
	}
	return owed, nil
}

// Wanted reports whether any enabled webhook of the registry asks for the
// action, in whatever scope.
func (s *Store) Wanted(registry int64, action event.Action) bool {
	of := s.rules.Load().registries[registry]
	return of != nil && of.wanted[action]
}

// Request returns the request that brings an event to a webhook, signed for the
// moment of the call. It returns false if the webhook is gone, or is disabled
// and the event is no ping.
func (s *Store) Request(c ring.Call) (outbound.Request, bool) {
	of := s.rules.Load().registries[c.Event.Registry.ID]
	if of == nil {
		return outbound.Request{}, false
	}
	h := of.hooks[c.Endpoint]
	if h == nil || !h.rule.enabled && c.Event.Action != event.Ping {
		return outbound.Request{}, false
	}
	return h.request(c.Event.ID, c.ACRBody, c.At), true
}

// change runs a transaction that changes webhooks.
func (s *Store) change(ctx context.Context, fn func(*sqldb.Tx) error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.DB.Write(ctx, sqldb.Change, fn)
}

func (s *Store) create(tx *sqldb.Tx, reg Registry, name string, def Definition, by string) (Webhook, error) {
	location, err := place(reg, def.Location)
	if err != nil {
		return Webhook{}, err
	}
	if def.ServiceURI == "" {
		return Webhook{}, fault.New(fault.Invalid, "the webhook has no service URI: give an http or https URL, for example https://hooks.example.net/acr")
	}
	have, err := countWebhooks(tx, reg.ID)
	if err != nil {
		return Webhook{}, err
	}
	if have >= reg.Limit {
		return Webhook{}, overQuota(reg, have)
	}
	id, err := s.Endpoints.Add(tx, "webhook", reg.ID, location)
	if err != nil {
		return Webhook{}, err
	}
	r := record{Webhook: Webhook{
		ID: id, RegistryID: reg.ID, Name: name, Location: location,
		CreatedAt: tx.Now(), UpdatedAt: tx.Now(), CreatedBy: by, UpdatedBy: by,
	}, Config: Config{SigningSecret: newSecret()}}
	def.asChange().apply(&r)
	sealed, err := s.seal(r)
	if err != nil {
		return Webhook{}, err
	}
	if inserted, err := insertWebhook(tx, r.Webhook, sealed); err != nil {
		return Webhook{}, err
	} else if !inserted {
		return Webhook{}, fault.New(fault.Conflict, "webhook %s was created by someone else at the same moment: send it again to replace that one", name)
	}
	return r.Webhook, s.putInForce(tx, r)
}

func (s *Store) update(tx *sqldb.Tx, old record, change Change, by string) (Webhook, error) {
	r := old
	change.apply(&r)
	r.UpdatedAt, r.UpdatedBy = tx.Now(), by
	sealed, err := s.seal(r)
	if err != nil {
		return Webhook{}, err
	}
	if err := updateWebhook(tx, r.Webhook, sealed); err != nil {
		return Webhook{}, err
	}
	if r.ServiceURI != old.ServiceURI || !maps.Equal(r.CustomHeaders, old.CustomHeaders) {
		if err := s.Endpoints.Changed(tx, r.ID); err != nil {
			return Webhook{}, err
		}
	}
	return r.Webhook, s.putInForce(tx, r)
}

// putInForce makes r what its webhook wants: in the database from this position
// on, in memory once the transaction commits.
func (s *Store) putInForce(tx *sqldb.Tx, r record) error {
	h, err := s.newHook(r)
	if err != nil {
		return err
	}
	from, err := outbox.Last(tx)
	if err != nil {
		return err
	}
	expanded, err := outbox.Expanded(tx)
	if err != nil {
		return err
	}
	if err := upsertRule(tx, r.Webhook, from); err != nil {
		return err
	}
	if err := pruneRules(tx, r.ID, expanded); err != nil {
		return err
	}
	tx.AfterCommit(func() { s.rules.Store(s.rules.Load().with(h)) })
	return nil
}

// find returns a webhook with its write-only part.
func (s *Store) find(tx *sqldb.Tx, reg Registry, name string) (record, error) {
	row, err := selectWebhook(tx, reg.ID, nameKey(name))
	if err != nil {
		return record{}, orUnknown(err, reg, name)
	}
	return s.unseal(row)
}

// orUnknown gives a missing row its meaning.
func orUnknown(err error, reg Registry, name string) error {
	if errors.Is(err, sqldb.ErrNoRow) {
		return unknown(reg, name)
	}
	return err
}

func purpose(id int64) string { return fmt.Sprintf("webhook %d", id) }

func (s *Store) seal(r record) ([]byte, error) {
	plain, err := json.Marshal(r.Config)
	if err != nil {
		return nil, err
	}
	return s.Key.Seal(plain, purpose(r.ID)), nil
}

func (s *Store) unseal(row row) (record, error) {
	r := record{Webhook: row.Webhook}
	plain, err := s.Key.Open(row.sealed, purpose(r.ID))
	if err != nil {
		return record{}, err
	}
	if err := json.Unmarshal(plain, &r.Config); err != nil {
		return record{}, fmt.Errorf("the stored secret of %s is not what was written: %w", purpose(r.ID), err)
	}
	return r, nil
}

// secretPrefix marks a signing secret (Standard Webhooks, "Signature scheme").
const secretPrefix = "whsec_"

func newSecret() string {
	secret := make([]byte, 32)
	rand.Read(secret)
	return secretPrefix + base64.StdEncoding.EncodeToString(secret)
}
