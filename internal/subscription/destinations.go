package subscription

import (
	"errors"
	"slices"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/filter"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// What package delivery asks of the owner of endpoints.

// Has reports whether an endpoint is one of the registry's subscriptions.
func (s *Store) Has(registry, endpoint int64) bool { return s.hook(registry, endpoint) != nil }

func (s *Store) hook(registry, endpoint int64) *hook { return s.rules.Load().hook(registry, endpoint) }

// InForce returns the rules of this moment: a function that returns the ids of the
// endpoints an event is owed to. It stays as it is when subscriptions change.
func (s *Store) InForce() func(*event.Event) []int64 { return s.rules.Load().owedTo }

// MatchAt returns the ids of the endpoints that e was owed to when it committed,
// less those deleted since, in order. It is for events that are kept: the rules for
// older ones are not.
func (s *Store) MatchAt(tx *sqldb.Tx, e *event.Event) (owed []int64, err error) {
	if e.OwedTo != 0 {
		return nil, nil // nobody asks for a sample of a subscription
	}
	rows, err := selectRulesAt(tx, e.Registry.ID, e.Pos)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	view := filter.NewView(e)
	for _, row := range rows {
		if row.wants(e, view, row.subscription) {
			owed = append(owed, row.subscription)
		}
	}
	return owed, nil
}

// History returns the rule by which an endpoint was owed events, any that are still
// kept, when they committed. An endpoint that is gone was owed nothing.
func (s *Store) History(tx *sqldb.Tx, registry, endpoint int64) (ring.Rule, error) {
	if _, err := selectEndpoint(tx, registry, endpoint); errors.Is(err, sqldb.ErrNoRow) {
		return nothing, nil
	} else if err != nil {
		return nothing, err
	}
	rows, err := selectRules(tx, endpoint)
	if err != nil {
		return nothing, err
	}
	takes := func(e *event.Event) bool {
		// The newest rule that was there before the event.
		i, _ := slices.BinarySearchFunc(rows, e.Pos, func(r ruleRow, pos int64) int {
			if r.from < pos {
				return -1
			}
			return 1
		})
		return i > 0 && e.OwedTo == 0 && e.Registry.ID == registry && rows[i-1].wants(e, filter.NewView(e), endpoint)
	}
	return ring.Rule{Takes: takes, Whole: slices.ContainsFunc(rows, func(r ruleRow) bool { return r.filter.NeedsWhole() })}, nil
}

// nothing is the rule of an endpoint that is gone.
var nothing = ring.Rule{Takes: func(*event.Event) bool { return false }}

// Wants returns the rule by which an endpoint wants events today. An endpoint that
// is gone wants nothing.
func (s *Store) Wants(registry, endpoint int64) ring.Rule {
	h := s.hook(registry, endpoint)
	if h == nil {
		return nothing
	}
	takes := func(e *event.Event) bool {
		return e.OwedTo == 0 && e.Registry.ID == registry && h.rule.wants(e, filter.NewView(e), endpoint)
	}
	return ring.Rule{Takes: takes, Whole: h.rule.filter.NeedsWhole()}
}

// Wanted reports whether any subscription of the registry asks for the action. Those
// that ask for what there is by default are none of it: that is not asked about.
func (s *Store) Wanted(registry int64, action event.Action) bool {
	of := (*s.rules.Load())[registry]
	return of != nil && of.named[event.EventGridType(action)]
}

// Terms returns what an endpoint asks of whoever rings it, false if it is gone.
func (s *Store) Terms(registry, endpoint int64) (ring.Terms, bool) {
	h := s.hook(registry, endpoint)
	if h == nil {
		return ring.Terms{}, false
	}
	return h.terms, true
}

// Request returns the request for a call. It returns false if the subscription is
// gone, if its receiver did not agree yet, and for another address than its own.
func (s *Store) Request(c ring.Call) (outbound.Request, bool) {
	h := s.hook(c.Event.Registry.ID, c.Endpoint)
	switch {
	case h == nil, h.terms.Held, c.Elsewhere != nil:
		return outbound.Request{}, false
	case h.whole.Broker != nil:
		return h.publish(c, s.Brokers), true
	}
	return h.request(c), true
}

// Report appends an event that tells how a subscription fares, for those who asked
// for such events. Call it last in the transaction. Nothing is told of an endpoint
// that is gone.
func (s *Store) Report(tx *sqldb.Tx, r ring.Report) error {
	row, err := selectEndpoint(tx, r.Registry, r.Endpoint)
	if errors.Is(err, sqldb.ErrNoRow) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Outbox.Append(tx, outbox.Prepare(r.Event(row.Name, s.Source(r.Registry))))
}
