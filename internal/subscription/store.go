package subscription

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dockbell/dockbell/internal/consent"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sink"
	"github.com/dockbell/dockbell/internal/sqldb"
)

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
}

// Poster sends one request; *outbound.Client is one.
type Poster interface {
	Post(context.Context, outbound.Request) outbound.Result
}

// Brokers publish messages; *sink.Publishers do.
type Brokers interface {
	Publish(context.Context, sink.Server, sink.Message, time.Duration) outbound.Result
}

// Options are what a Store is made of.
type Options struct {
	DB        *sqldb.DB
	Key       *seal.Key
	Endpoints Endpoints
	Outbox    *outbox.Outbox     // for events that are about subscriptions
	CheckURL  func(string) error // decides whether an address may be saved
	Poster    Poster             // for handshakes
	Brokers   Brokers

	// CheckBroker is CheckURL for host:port of a broker.
	CheckBroker func(string) error

	Letters Letters
	Log     *slog.Logger
	Version string // of this program, for the User-Agent

	// Source returns a hosted registry as its events name it.
	Source func(registryID int64) event.Registry

	// URL returns where receivers reach a registry, as scheme://host:port.
	URL func(registryID int64) string

	// Folder is where the folders for dead letters are.
	Folder string
}

// Store is the event subscriptions of all registries. Its methods may be called
// from many goroutines.
type Store struct {
	Options
	userAgent string

	// rules are what is in force now. They are replaced, never changed.
	rules atomic.Pointer[rules]

	// changing is held over each transaction that changes a subscription, so that
	// rules are replaced in the order of commits on PostgreSQL too.
	changing sync.Mutex

	tokens   tokens
	lettered lettered
}

// lettered are the endpoints that may have dead letters.
type lettered struct {
	wake      chan struct{} // takes one
	mu        sync.Mutex
	endpoints map[int64]bool
}

// take returns them, and forgets them.
func (l *lettered) take() map[int64]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.endpoints
	l.endpoints = map[int64]bool{}
	return taken
}

// Open loads all subscriptions. It fails if their secrets were sealed with another
// key.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{Options: o, userAgent: "Dockbell/" + o.Version, tokens: tokens{asked: map[string]*token{}},
		lettered: lettered{wake: make(chan struct{}, 1), endpoints: map[int64]bool{}}}
	loaded := map[int64][]*hook{}
	err := s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		rows, err := selectAll(tx)
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
			loaded[r.RegistryID] = append(loaded[r.RegistryID], h)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("event subscriptions: %w", err)
	}
	inForce := rules{}
	for registry, hooks := range loaded {
		inForce[registry] = newRegistryRules(hooks)
	}
	s.enforce(inForce)
	return s, nil
}

// origin returns for whom receivers are asked.
func (s *Store) origin(registry int64) string { return consent.Origin(s.Source(registry).LoginServer) }

// Put creates the subscription, or replaces the definition of the one that has the
// name; created tells which. A receiver that was not asked yet is asked first, which
// may take a minute. Of one that neither agrees nor refuses the events wait.
//
// Errors: fault.Invalid (InvalidRequest) for what breaks a rule and for an address
// that may not be rung, fault.Invalid (Url validation) for a receiver that does not
// agree, with what it answered, fault.Conflict for what somebody else changed
// meanwhile, fault.Quota (Conflict) for one more than a registry may have. Nothing is
// changed then.
func (s *Store) Put(ctx context.Context, reg Registry, name string, def Definition, by Actor) (sub Subscription, created bool, err error) {
	if err := checkName(name); err != nil {
		return Subscription{}, false, err
	}
	old, err := s.find(ctx, reg, name)
	if created = fault.Is(err, fault.NotFound); err != nil && !created {
		return Subscription{}, false, err
	}
	if created {
		old = record{Subscription: Subscription{RegistryID: reg.ID, Name: name}}
	}
	next, err := def.apply(old)
	if err == nil {
		sub, err = s.replace(ctx, reg, old, next, by)
	}
	return sub, created, err
}

// Patch changes members of a subscription. Errors: as Put, and fault.NotFound
// (ResourceNotFound).
func (s *Store) Patch(ctx context.Context, reg Registry, name string, change Change, by Actor) (Subscription, error) {
	old, err := s.find(ctx, reg, name)
	if err != nil {
		return Subscription{}, err
	}
	next, err := change.apply(old)
	if err != nil {
		return Subscription{}, err
	}
	return s.replace(ctx, reg, old, next, by)
}

// replace puts next, which was checked, in the place of old, which may be none, once
// its receiver agrees.
func (s *Store) replace(ctx context.Context, reg Registry, old, next record, by Actor) (Subscription, error) {
	if next.whole.URL != old.whole.URL || next.whole.Broker != nil {
		if err := s.mayRing(next.whole); err != nil {
			return Subscription{}, err
		}
	}
	next.UpdatedBy = by
	if !asks(old, next) {
		next.State = Succeeded
		return s.keep(ctx, reg, old, next, nil)
	}
	made := s.tokens.begin()
	defer s.tokens.end(made)
	next, err := s.ask(ctx, reg, next, made)
	if err != nil {
		return Subscription{}, err
	}
	return s.keep(ctx, reg, old, next, made)
}

// keep stores next in the place of old, and returns it as it is seen. made is the
// token of a question, nil for none.
func (s *Store) keep(ctx context.Context, reg Registry, old, next record, made *token) (Subscription, error) {
	err := s.change(ctx, func(tx *sqldb.Tx) error {
		next.UpdatedAt = tx.Now()
		if made != nil {
			if confirmed, perMinute := s.tokens.end(made); confirmed && next.State == AwaitingManualAction { // while it was asked
				next.State, next.perMinute, next.tokenHash, next.tokenUntil = Succeeded, perMinute, nil, time.Time{}
			}
		}
		if old.ID != 0 {
			return s.store(tx, old, next, outOfReach(old, next))
		}
		var err error
		next, err = s.create(tx, reg, next)
		return err
	})
	return next.seen(time.Now()), err
}

// outOfReach reports whether next is reached in another way than old, so that what
// is known of the old receiver's health does not count.
func outOfReach(old, next record) bool {
	return toJSON(old.whole) != toJSON(next.whole) || old.Schema != next.Schema
}

// create makes a subscription.
func (s *Store) create(tx *sqldb.Tx, reg Registry, r record) (record, error) {
	have, err := count(tx, reg.ID)
	if err != nil {
		return record{}, err
	}
	if have >= maxSubscriptions {
		return record{}, fault.New(fault.Quota, "registry %s has %d event subscriptions, as many as it may: delete one", reg.Name, have).WithCode("Conflict")
	}
	if r.ID, err = s.Endpoints.Add(tx, "subscription", reg.ID, reg.Location); err != nil {
		return record{}, err
	}
	r.CreatedAt, r.CreatedBy = tx.Now(), r.UpdatedBy
	if inserted, err := insert(tx, r, s.seal(r)); err != nil {
		return record{}, err
	} else if !inserted {
		return record{}, fault.New(fault.Conflict, "event subscription %s was created by someone else at the same moment: send it again to replace that one", r.Name)
	}
	if err := s.recordRule(tx, r); err != nil {
		return record{}, err
	}
	if err := s.putInForce(tx, r); err != nil {
		return record{}, err
	}
	return r, s.hold(tx, r)
}

// store keeps r in the place of old. moved says that it is reached in another way.
func (s *Store) store(tx *sqldb.Tx, old, r record, moved bool) error {
	r.version = old.version
	if stored, err := update(tx, r, s.seal(r)); err != nil {
		return err
	} else if !stored {
		return fault.New(fault.Conflict, "event subscription %s was changed by someone else at the same moment: look at it and send the change again", r.Name)
	}
	// Before the endpoint is told, which then looks at what is in force.
	if err := s.putInForce(tx, r); err != nil {
		return err
	}
	if moved || old.State != Succeeded && r.State == Succeeded {
		if err := s.Endpoints.Changed(tx, r.ID); err != nil {
			return err
		}
	}
	if err := s.hold(tx, r); err != nil {
		return err
	}
	if toJSON(old.Filter) != toJSON(r.Filter) || !old.ExpiresAt.Equal(r.ExpiresAt) {
		if err := s.recordRule(tx, r); err != nil {
			return err
		}
	}
	oldest, err := outbox.Oldest(tx)
	if err != nil {
		return err
	}
	return pruneRules(tx, r.ID, oldest)
}

// hold tells the endpoint of r that it may not be rung yet, if so it is.
func (s *Store) hold(tx *sqldb.Tx, r record) error {
	if r.State == Succeeded {
		return nil
	}
	return s.Endpoints.Held(tx, r.ID)
}

// recordRule makes what r wants count for the events from this position on.
func (s *Store) recordRule(tx *sqldb.Tx, r record) error {
	from, err := outbox.Last(tx)
	if err != nil {
		return err
	}
	return upsertRule(tx, r, from)
}

// putInForce makes r count in memory once the transaction commits.
func (s *Store) putInForce(tx *sqldb.Tx, r record) error {
	h, err := s.newHook(r)
	if err != nil {
		return err
	}
	tx.AfterCommit(func() { s.enforce(s.rules.Load().with(h)) })
	return nil
}

func (s *Store) enforce(r rules) { s.rules.Store(&r) }

// change runs a transaction that changes subscriptions.
func (s *Store) change(ctx context.Context, fn func(*sqldb.Tx) error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.DB.Write(ctx, sqldb.Change, fn)
}

// Delete removes a subscription and what it was still owed. It fails with
// fault.NotFound (ResourceNotFound) if there is none.
func (s *Store) Delete(ctx context.Context, reg Registry, name string) error {
	return s.change(ctx, func(tx *sqldb.Tx) error {
		row, err := selectNamed(tx, reg.ID, nameKey(name))
		if err != nil {
			return orUnknown(err, reg, name)
		}
		return s.remove(tx, row.record)
	})
}

func (s *Store) remove(tx *sqldb.Tx, r record) error {
	if err := deleteSubscription(tx, r.ID); err != nil {
		return err
	}
	if err := s.Endpoints.Drop(tx, r.ID); err != nil {
		return err
	}
	tx.AfterCommit(func() { s.enforce(s.rules.Load().without(r.RegistryID, r.ID)) })
	return nil
}

// dropAtOnce is how many subscriptions of a registry go in one transaction.
const dropAtOnce = 20

// DropAll removes all subscriptions of a registry, and its system topic.
func (s *Store) DropAll(ctx context.Context, registry int64) error {
	for left := dropAtOnce; left == dropAtOnce; {
		err := s.change(ctx, func(tx *sqldb.Tx) error {
			rows, err := selectList(tx, registry)
			if err != nil {
				return err
			}
			left = min(len(rows), dropAtOnce)
			for _, row := range rows[:left] {
				if err := s.remove(tx, row.record); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.DeleteSystemTopic(ctx, registry)
}

// Get returns a subscription. It fails with fault.NotFound (ResourceNotFound).
func (s *Store) Get(ctx context.Context, reg Registry, name string) (sub Subscription, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		row, err := selectNamed(tx, reg.ID, nameKey(name))
		sub = row.seen(tx.Now())
		return orUnknown(err, reg, name)
	})
	return sub, err
}

// List returns the subscriptions of a registry, by name.
func (s *Store) List(ctx context.Context, reg Registry) (list []Subscription, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		rows, err := selectList(tx, reg.ID)
		list = make([]Subscription, len(rows))
		for i, row := range rows {
			list[i] = row.seen(tx.Now())
		}
		return err
	})
	return list, err
}

// FullURL returns the address of a webhook with its query. Errors: fault.Invalid
// (InvalidRequest) for another destination, fault.NotFound (ResourceNotFound).
func (s *Store) FullURL(ctx context.Context, reg Registry, name string) (string, error) {
	r, err := s.find(ctx, reg, name)
	if err != nil {
		return "", err
	}
	if r.whole.Type != WebHook {
		return "", invalid("event subscription %s has a destination of type %s: only a WebHook has a full URL", r.Name, r.whole.Type)
	}
	return r.whole.URL, nil
}

// Attributes returns the delivery attributes with their secrets. It fails with
// fault.NotFound (ResourceNotFound).
func (s *Store) Attributes(ctx context.Context, reg Registry, name string) ([]Attribute, error) {
	r, err := s.find(ctx, reg, name)
	return r.whole.Attributes, err
}

// seen returns r as people see it at a moment.
func (r record) seen(now time.Time) Subscription {
	sub := r.Subscription
	if sub.State != AwaitingManualAction {
		return sub
	}
	sub.StateWhy = awaits(r)
	if !now.Before(r.tokenUntil) {
		sub.State, sub.StateWhy = Failed, failedWhy
	}
	return sub
}

// find returns a subscription with its write-only part.
func (s *Store) find(ctx context.Context, reg Registry, name string) (r record, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		row, err := selectNamed(tx, reg.ID, nameKey(name))
		if err != nil {
			return orUnknown(err, reg, name)
		}
		r, err = s.unseal(row)
		return err
	})
	return r, err
}

// orUnknown gives a missing row its meaning.
func orUnknown(err error, reg Registry, name string) error {
	if errors.Is(err, sqldb.ErrNoRow) {
		return fault.New(fault.NotFound, "registry %s has no event subscription %q: dockbell event-subscription list -r %s shows those it has", reg.Name, clip(name), reg.Name).
			WithCode("ResourceNotFound")
	}
	return err
}

func purpose(id int64) string { return fmt.Sprintf("event subscription %d", id) }

func (s *Store) seal(r record) []byte { return s.Key.Seal([]byte(toJSON(r.whole)), purpose(r.ID)) }

func (s *Store) unseal(row row) (record, error) {
	r := row.record
	plain, err := s.Key.Open(row.sealed, purpose(r.ID))
	if err != nil {
		return record{}, err
	}
	if err := json.Unmarshal(plain, &r.whole); err != nil {
		return record{}, fmt.Errorf("the stored secret of %s is not what was written: %w", purpose(r.ID), err)
	}
	return r, nil
}
