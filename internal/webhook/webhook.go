// Package webhook is the webhooks of a registry, as ACR knows them: what each
// wants to hear of, and how a request to it looks. Two more kinds of endpoint
// are treated like them: listeners, which ring over a connection that their
// makers open, and the operator's endpoint for alerts.
//
// It owns the tables webhook and webhook_rule, the validation of definitions,
// the matching of events, format and headers of a request, the signing secrets and
// their rotation, and the consent of addresses. When a request is sent, and what
// follows from the answer, is for package delivery; how a signature is computed is
// for package signature; what consent is, for package consent;
// whether an address may be rung is for package outbound; who may do any of this
// is for the faces.
//
// Invariants:
//   - The rules in memory change when the transaction that changes them commits:
//     on SQLite an event that commits later is matched by the new ones, an event
//     that committed earlier by the old.
//   - The rules that an event was committed under are in the database as long as
//     the event: neither a crash nor a later change makes another owner of it.
//   - No request but the handshake is made for an address whose consent is needed
//     and is not given: address and consent are replaced together.
//   - Service URI, custom headers, certificates and signing secrets are nowhere
//     but sealed in the database and in memory: no listing, log or error has them.
package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dockbell/dockbell/internal/consent"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/signature"
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
	Policy               ring.Policy
	SignatureHeaders     []signature.Style // beside Standard Webhooks; nil for none
	DisabledWhy          string            // a sentence, if this server disabled it
	Listener             bool              // it rings over a connection that whoever made it opens
	Format               Format
	Handshake            Handshake
	Extras               event.CloudExtras // of CloudEvents; zero with other formats
	Consent              consent.State     // of the address; zero without a handshake
	CreatedAt, UpdatedAt time.Time
	CreatedBy, UpdatedBy Actor
}

// Actor is who changes a webhook.
type Actor struct {
	Name string
	Kind string // User or Application, as ARM's systemData has it
}

// Config is the part of a webhook that is never shown beside it.
type Config struct {
	ServiceURI    string            `json:"serviceUri"`    // as sent
	CustomHeaders map[string]string `json:"customHeaders"` // as sent; never nil
	SigningSecret string            `json:"signingSecret"` // whsec_ and base64, as package signature has it

	// PreviousSecret signs too until PreviousUntil. Empty and zero when none does.
	PreviousSecret string    `json:"previousSecret,omitempty"`
	PreviousUntil  time.Time `json:"previousUntil,omitzero"`
}

// at returns c without what is over at a moment.
func (c Config) at(now time.Time) Config {
	if !now.Before(c.PreviousUntil) {
		c.PreviousSecret, c.PreviousUntil = "", time.Time{}
	}
	return c
}

// Endpoints makes and drops the endpoints that deliveries are owed to. Package
// delivery does it.
type Endpoints interface {
	// Add makes an endpoint that is owed what happens from now on.
	Add(tx *sqldb.Tx, kind string, registry int64, location string) (id int64, err error)

	// Drop removes an endpoint and what it was owed.
	Drop(tx *sqldb.Tx, id int64) error

	// Changed tells that an endpoint is reached in another way, or may be rung
	// again, so that it starts with good health.
	Changed(tx *sqldb.Tx, id int64) error

	// Held tells that an endpoint may not be rung until Changed says so. It is
	// called again and again while that lasts.
	Held(tx *sqldb.Tx, id int64) error

	// Disabled tells that an endpoint takes nothing any more: what it is still
	// owed is given up, for the reason why.
	Disabled(tx *sqldb.Tx, id int64, why string) error
}

// Options are what a Store is made of.
type Options struct {
	DB        *sqldb.DB
	Key       *seal.Key
	Endpoints Endpoints
	Outbox    *outbox.Outbox     // for events that are about webhooks
	CheckURL  func(string) error // decides whether a service URI may be saved
	Poster    Poster             // for handshakes
	Log       *slog.Logger
	Version   string // of this program, for the User-Agent

	// Source returns a hosted registry as its events name it.
	Source func(registryID int64) event.Registry

	// Alerts is a URL that hears of every failing webhook of all registries;
	// empty for none.
	Alerts string
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

	asking asking
}

// Open loads all webhooks, and makes the endpoint for alerts or drops it. It
// fails if their secrets were sealed with another key, and if alerts may not go
// where they are to.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{Options: o, userAgent: "AzureContainerRegistry/1.0 (Dockbell/" + o.Version + ")", asking: newAsking()}
	registries, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	alert, err := s.openAlerts(ctx)
	if err != nil {
		return nil, fmt.Errorf("alerts: %w", err)
	}
	s.rules.Store(newRules(registries, alert))
	return s, nil
}

// load makes all webhooks ready for use, by registry. There may be many, and the
// server takes no request before, so they are opened while others are read.
func (s *Store) load(ctx context.Context) (map[int64]map[int64]*hook, error) {
	registries := map[int64]map[int64]*hook{}
	var failed error
	var mu sync.Mutex // of these two
	rows := make(chan row, 64)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for row := range rows {
				r, err := s.unseal(row)
				var h *hook
				if err == nil {
					h, err = s.newHook(r)
				}
				mu.Lock()
				of := registries[row.RegistryID]
				if of == nil {
					of = map[int64]*hook{}
					registries[row.RegistryID] = of
				}
				of[row.ID], failed = h, cmp.Or(failed, err)
				mu.Unlock()
			}
		})
	}
	err := s.DB.Read(ctx, func(tx *sqldb.Tx) error { return eachRung(tx, func(r row) { rows <- r }) })
	close(rows)
	workers.Wait()
	return registries, cmp.Or(err, failed)
}

// record is a webhook with all its parts.
type record struct {
	Webhook
	hidden
}

// hidden is what is stored of a webhook only as sealed JSON.
type hidden struct {
	Config
	TLS *TLS `json:"tls,omitempty"` // nil for none
}

// Put creates the webhook, or replaces the definition of the one that has the
// name; created tells which. A replaced webhook keeps its id, its log, its
// signing secret and, if def names no service URI, its service URI, headers and
// certificates. An address whose consent is needed and was not asked for yet is
// asked; that it does not agree is no error.
//
// Errors: fault.Invalid for what breaks a rule and (LocationNotAvailableForResourceType)
// for a location that is no region of the registry, fault.Denied for an address that
// may not be rung, fault.Conflict (InvalidResourceLocation) for
// another location than the webhook has, fault.Conflict for a listener that is
// given a service URI, fault.Quota (QuotaExceeded).
func (s *Store) Put(ctx context.Context, reg Registry, name string, def Definition, by Actor) (w Webhook, created bool, err error) {
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
			w, err = s.createNamed(tx, reg, name, def, by)
			return err
		}
		if err != nil {
			return err
		}
		if err := change.checkFor(old); err != nil {
			return err
		}
		if err := checkMove(old, def.Location); err != nil {
			return err
		}
		w, err = s.update(tx, old, change.of(old), by)
		return err
	})
	if err != nil {
		return Webhook{}, false, err
	}
	return s.askNew(ctx, w), created, nil
}

// Patch changes members of a webhook, and asks its address as Put does. Errors: as
// Put, and fault.NotFound
// (ResourceNotFound) if there is no such webhook.
func (s *Store) Patch(ctx context.Context, reg Registry, name string, change Change, by Actor) (w Webhook, err error) {
	if err := change.check(s.CheckURL); err != nil {
		return Webhook{}, err
	}
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		old, err := s.find(tx, reg, name)
		if err != nil {
			return err
		}
		if err := change.checkFor(old); err != nil {
			return err
		}
		w, err = s.update(tx, old, change.of(old), by)
		return err
	})
	if err != nil {
		return Webhook{}, err
	}
	return s.askNew(ctx, w), nil
}

// Delete removes a webhook and what it was still owed. It fails with
// fault.NotFound (ResourceNotFound) if there is none.
func (s *Store) Delete(ctx context.Context, reg Registry, name string) error {
	return s.change(ctx, func(tx *sqldb.Tx) error {
		row, err := selectWebhook(tx, reg.ID, nameKey(name))
		if err != nil {
			return orUnknown(err, reg, name)
		}
		return s.remove(tx, row.Webhook)
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
		c = r.Config.at(tx.Now())
		return err
	})
	return c, err
}

// MaxOverlap is how long a secret that was replaced may go on to sign.
const MaxOverlap = 7 * 24 * time.Hour

// RotateSecret gives a webhook another signing secret, which signs from now on:
// text, or a new one if that is empty. The one it had signs too until overlap,
// 0 to MaxOverlap, has passed; one that was replaced earlier does not any more.
//
// Errors: fault.Invalid for a text that package signature does not take or that
// is the secret already, and for an overlap out of range; fault.NotFound
// (ResourceNotFound) if there is no such webhook.
func (s *Store) RotateSecret(ctx context.Context, reg Registry, name, text string, overlap time.Duration, by Actor) (c Config, err error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Config{}, fault.New(fault.Invalid, "an overlap of %s is out of range: use 0 to %s (%d minutes)", overlap, MaxOverlap, MaxOverlap/time.Minute)
	}
	secret := signature.New()
	if text != "" {
		if secret, err = signature.Parse(text); err != nil {
			return Config{}, err
		}
	}
	err = s.change(ctx, func(tx *sqldb.Tx) error {
		old, err := s.find(tx, reg, name)
		if err != nil {
			return err
		}
		if old.SigningSecret == secret.Reveal() {
			return fault.New(fault.Invalid, "the signing secret is the one webhook %s has: give another, or none to have one made", old.Name)
		}
		r := old
		r.SigningSecret, r.PreviousSecret, r.PreviousUntil = secret.Reveal(), old.SigningSecret, tx.Now().Add(overlap)
		c = r.Config.at(tx.Now())
		_, err = s.update(tx, old, r, by)
		return err
	})
	return c, err
}

// createNamed makes a webhook that someone described and named.
func (s *Store) createNamed(tx *sqldb.Tx, reg Registry, name string, def Definition, by Actor) (Webhook, error) {
	location, err := place(reg, def.Location)
	if err != nil {
		return Webhook{}, err
	}
	if err := checkAddressed(def); err != nil {
		return Webhook{}, err
	}
	have, err := countWebhooks(tx, reg.ID, false)
	if err != nil {
		return Webhook{}, err
	}
	if err := checkQuota(reg, have); err != nil {
		return Webhook{}, err
	}
	return s.create(tx, reg, Webhook{Name: name, Location: location}, def, by)
}

// change runs a transaction that changes webhooks.
func (s *Store) change(ctx context.Context, fn func(*sqldb.Tx) error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.DB.Write(ctx, sqldb.Change, fn)
}

// create makes a webhook that def, which was checked, describes.
func (s *Store) create(tx *sqldb.Tx, reg Registry, w Webhook, def Definition, by Actor) (Webhook, error) {
	id, err := s.Endpoints.Add(tx, "webhook", reg.ID, w.Location)
	if err != nil {
		return Webhook{}, err
	}
	r := record{Webhook: w}
	r.ID, r.RegistryID = id, reg.ID
	r.CreatedAt, r.UpdatedAt, r.CreatedBy, r.UpdatedBy = tx.Now(), tx.Now(), by, by
	r.SigningSecret = signature.New().Reveal()
	def.asChange().apply(&r)
	if err := r.check(); err != nil {
		return Webhook{}, err
	}
	r.Consent = consentAfter(record{}, r)
	sealed, err := s.seal(r)
	if err != nil {
		return Webhook{}, err
	}
	if inserted, err := insertWebhook(tx, r.Webhook, sealed); err != nil {
		return Webhook{}, err
	} else if !inserted {
		return Webhook{}, fault.New(fault.Conflict, "webhook %s was created by someone else at the same moment: send it again to replace that one", r.Name)
	}
	if err := s.recordRule(tx, r.Webhook); err != nil {
		return Webhook{}, err
	}
	if err := s.putInForce(tx, r); err != nil {
		return Webhook{}, err
	}
	if r.AwaitsConsent(tx.Now()) {
		err = s.Endpoints.Held(tx, id)
	}
	return r.Webhook, err
}

// update stores r, which was old and has been changed by someone.
func (s *Store) update(tx *sqldb.Tx, old, r record, by Actor) (Webhook, error) {
	return s.updateFor(tx, old, r, by, "the webhook was disabled by "+by.Name)
}

// updateFor is update with the reason that is given for what a webhook is not
// owed any more, should it be disabled.
func (s *Store) updateFor(tx *sqldb.Tx, old, r record, by Actor, why string) (Webhook, error) {
	if err := r.check(); err != nil {
		return Webhook{}, err
	}
	r.UpdatedAt, r.UpdatedBy = tx.Now(), by
	r.Config = r.Config.at(tx.Now())
	r.Consent = consentAfter(old, r)
	sealed, err := s.seal(r)
	if err != nil {
		return Webhook{}, err
	}
	if err := updateWebhook(tx, r.Webhook, sealed); err != nil {
		return Webhook{}, err
	}
	// Before the endpoint is told, which then looks at what is in force.
	if err := s.putInForce(tx, r); err != nil {
		return Webhook{}, err
	}
	held := r.AwaitsConsent(tx.Now())
	if r.ServiceURI != old.ServiceURI || !maps.Equal(r.CustomHeaders, old.CustomHeaders) || !sameTLS(r.TLS, old.TLS) ||
		old.AwaitsConsent(tx.Now()) && !held {
		if err := s.Endpoints.Changed(tx, r.ID); err != nil {
			return Webhook{}, err
		}
	}
	if held {
		if err := s.Endpoints.Held(tx, r.ID); err != nil {
			return Webhook{}, err
		}
	}
	if r.Status == Disabled && old.Status == Enabled {
		if err := s.Endpoints.Disabled(tx, r.ID, why); err != nil {
			return Webhook{}, err
		}
	}
	if r.Status != old.Status || r.Scope != old.Scope || !slices.Equal(r.Actions, old.Actions) {
		if err := s.recordRule(tx, r.Webhook); err != nil {
			return Webhook{}, err
		}
	}
	oldest, err := outbox.Oldest(tx)
	if err != nil {
		return Webhook{}, err
	}
	return r.Webhook, pruneRules(tx, r.ID, oldest)
}

// recordRule makes what w wants count for the events from this position on.
func (s *Store) recordRule(tx *sqldb.Tx, w Webhook) error {
	from, err := outbox.Last(tx)
	if err != nil {
		return err
	}
	return upsertRule(tx, w, from)
}

// putInForce makes r count in memory once the transaction commits.
func (s *Store) putInForce(tx *sqldb.Tx, r record) error {
	h, err := s.newHook(r)
	if err != nil {
		return err
	}
	tx.AfterCommit(func() {
		s.rules.Store(s.rules.Load().with(h))
		if h.origin != "" {
			s.asking.look()
		}
	})
	return nil
}

// NamesIn returns the names of a registry's webhooks in a location, listeners
// left out, or of all for an empty location.
func (s *Store) NamesIn(tx *sqldb.Tx, registry int64, location string) (names []string, err error) {
	list, err := selectList(tx, registry)
	for _, w := range list {
		if !w.Listener && (location == "" || w.Location == location) {
			names = append(names, w.Name)
		}
	}
	return names, err
}

// dropAtOnce is how many webhooks of a registry go in one transaction.
const dropAtOnce = 20

// DropAll removes all webhooks of a registry, listeners among them, which it
// returns.
func (s *Store) DropAll(ctx context.Context, registry int64) (listeners []Webhook, err error) {
	for {
		var some []Webhook
		err := s.change(ctx, func(tx *sqldb.Tx) (err error) {
			if some, err = selectList(tx, registry); err != nil {
				return err
			}
			some = some[:min(len(some), dropAtOnce)]
			for _, w := range some {
				if err := s.remove(tx, w); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(some) == 0 {
			return listeners, err
		}
		for _, w := range some {
			if w.Listener {
				listeners = append(listeners, w)
			}
		}
	}
}

// remove deletes a webhook and what it was still owed.
func (s *Store) remove(tx *sqldb.Tx, w Webhook) error {
	if err := deleteWebhook(tx, w.ID); err != nil {
		return err
	}
	if err := s.Endpoints.Drop(tx, w.ID); err != nil {
		return err
	}
	tx.AfterCommit(func() { s.rules.Store(s.rules.Load().without(w.RegistryID, w.ID)) })
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
	plain, err := json.Marshal(r.hidden)
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
	if err := json.Unmarshal(plain, &r.hidden); err != nil {
		return record{}, fmt.Errorf("the stored secret of %s is not what was written: %w", purpose(r.ID), err)
	}
	return r, nil
}
