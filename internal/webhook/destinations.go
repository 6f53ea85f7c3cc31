package webhook

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// What package delivery asks of the owner of endpoints.

// InForce returns the rules of this moment: a function that returns the ids of
// the endpoints an event is owed to. It stays as it is when webhooks change, and
// what a call costs does not grow with the webhooks that do not match.
func (s *Store) InForce() func(*event.Event) []int64 { return s.rules.Load().owedTo }

// MatchAt returns the ids of the endpoints that e was owed to when it committed,
// less those deleted since, in order. It is for events that are kept: the rules
// for older ones are not.
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
		r, err := row.rule()
		if err != nil {
			return nil, err
		}
		if r.enabled && r.wants(e, row.webhook) {
			owed = append(owed, row.webhook)
		}
	}
	if alert := s.rules.Load().alert; alert != nil && e.Action == event.WebhookFailing {
		from, err := selectStart(tx, alert.id)
		if err != nil {
			return nil, err
		}
		if e.Pos > from {
			owed = append(owed, alert.id)
			slices.Sort(owed)
		}
	}
	return owed, nil
}

// History returns the rule that tells whether an event, any that is still kept,
// was owed to an endpoint when it committed. An endpoint that is gone was owed
// nothing.
func (s *Store) History(tx *sqldb.Tx, registry, endpoint int64) (ring.Rule, error) {
	takes, err := s.history(tx, registry, endpoint)
	return ring.Rule{Takes: takes}, err
}

func (s *Store) history(tx *sqldb.Tx, registry, endpoint int64) (func(*event.Event) bool, error) {
	nothing := func(*event.Event) bool { return false }
	if h := s.rules.Load().hook(registry, endpoint); h != nil && h.isAlert() {
		from, err := selectStart(tx, endpoint)
		return func(e *event.Event) bool { return e.Pos > from && h.wants(e) }, err
	}
	w, err := selectEndpoint(tx, registry, endpoint)
	if errors.Is(err, sqldb.ErrNoRow) {
		return nothing, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := selectRules(tx, endpoint)
	if err != nil {
		return nil, err
	}
	rules := make([]rule, len(rows))
	for i, row := range rows {
		if rules[i], err = row.rule(); err != nil {
			return nil, err
		}
	}
	return func(e *event.Event) bool {
		if e.OwedTo != 0 {
			return e.OwedTo == endpoint
		}
		// The newest rule that was there before the event.
		i, _ := slices.BinarySearchFunc(rows, e.Pos, func(r ruleRow, pos int64) int {
			if r.from < pos {
				return -1
			}
			return 1
		})
		return i > 0 && e.Registry.ID == registry && e.Registry.Location == w.Location &&
			rules[i-1].enabled && rules[i-1].wants(e, endpoint)
	}, nil
}

// Wants returns the rule that tells whether an endpoint wants an event by what it
// asks for today, enabled or not. An endpoint that is gone wants nothing.
func (s *Store) Wants(registry, endpoint int64) ring.Rule {
	h := s.rules.Load().hook(registry, endpoint)
	return ring.Rule{Takes: func(e *event.Event) bool { return h != nil && h.wants(e) }}
}

// wants decides one event by today's rule, enabled or not.
func (h *hook) wants(e *event.Event) bool {
	switch {
	case e.OwedTo != 0:
		return e.OwedTo == h.id
	case h.isAlert():
		return e.Action == event.WebhookFailing
	}
	return e.Registry.ID == h.registry && e.Registry.Location == h.location && h.rule.wants(e, h.id)
}

// isAlert tells the endpoint for alerts, which is of no registry, from webhooks.
func (h *hook) isAlert() bool { return h.registry == 0 }

// Wanted reports whether any enabled webhook of the registry asks for the
// action, in whatever scope.
func (s *Store) Wanted(registry int64, action event.Action) bool {
	of := s.rules.Load().of(registry)
	return of != nil && of.wanted[action]
}

// Terms returns what an endpoint asks of whoever rings it, false if it is gone.
func (s *Store) Terms(registry, endpoint int64) (ring.Terms, bool) {
	h := s.rules.Load().hook(registry, endpoint)
	if h == nil {
		return ring.Terms{}, false
	}
	terms := h.terms
	terms.Held = h.held(time.Now())
	return terms, true
}

// Request returns the request for a call, signed for its moment. It returns
// false if the webhook is gone, if it is disabled and the event is not owed to it
// alone, as pings and samples are, and if the address has to agree and does not.
// An address of its own is rung with the signatures of the webhook but without its
// headers and certificates, which were not made for it, and be the webhook disabled
// or not; if addresses have to agree, none of those does.
func (s *Store) Request(c ring.Call) (outbound.Request, bool) {
	h := s.rules.Load().hook(c.Event.Registry.ID, c.Endpoint)
	if h == nil || !h.rule.enabled && c.Event.OwedTo == 0 && c.Elsewhere == nil {
		return outbound.Request{}, false
	}
	if h.held(c.At) || h.origin != "" && c.Elsewhere != nil {
		return outbound.Request{}, false
	}
	if c.Elsewhere == nil {
		return h.request(c), true
	}
	uri, err := s.Key.Open(c.Elsewhere, elsewhere)
	if err != nil {
		return outbound.Request{}, false
	}
	there := *h
	there.url, there.header, there.tls = string(uri), s.header(h.format, nil), nil
	return there.request(c), true
}

// elsewhere is what addresses of replays are sealed for.
const elsewhere = "the address of a replay"

// SealElsewhere returns an address for ring.Call.Elsewhere. Errors: those of
// Options.CheckURL for one that may not be rung.
func (s *Store) SealElsewhere(uri string) ([]byte, error) {
	if err := s.CheckURL(uri); err != nil {
		return nil, err
	}
	return s.Key.Seal([]byte(uri), elsewhere), nil
}

// ElsewhereHost returns whom a sealed address names, as ring.Terms has it; empty
// if it was sealed with another key.
func (s *Store) ElsewhereHost(sealed []byte) string {
	uri, err := s.Key.Open(sealed, elsewhere)
	if err != nil {
		return ""
	}
	return outbound.HostOf(string(uri))
}

// Disable disables a webhook because of how it fares. why is a sentence that is
// shown with it until someone enables it. A webhook that is gone or disabled
// stays so, and the endpoint for alerts is never disabled: it is there because
// the operator's settings say so.
func (s *Store) Disable(ctx context.Context, registry, endpoint int64, why string) error {
	return s.change(ctx, func(tx *sqldb.Tx) error {
		row, err := selectEndpoint(tx, registry, endpoint)
		if errors.Is(err, sqldb.ErrNoRow) || err == nil && row.Status == Disabled {
			return nil
		}
		if err != nil {
			return err
		}
		old, err := s.unseal(row)
		if err != nil {
			return err
		}
		r := old
		r.Status, r.DisabledWhy = Disabled, why
		_, err = s.updateFor(tx, old, r, Actor{"dockbell", "Application"}, why)
		return err
	})
}

// Report appends an event that tells how a webhook fares, for those who asked
// for such events. Call it last in the transaction. Nothing is told of an
// endpoint that is gone, of a listener, whose maker sees for themselves, and of
// the endpoint for alerts, because that is where it would be told.
func (s *Store) Report(tx *sqldb.Tx, r ring.Report) error {
	row, err := selectEndpoint(tx, r.Registry, r.Endpoint)
	if errors.Is(err, sqldb.ErrNoRow) || err == nil && row.Listener {
		return nil
	}
	if err != nil {
		return err
	}
	e := r.Event(row.Name, s.Source(r.Registry))
	e.Registry.Location = row.Location
	return s.Outbox.Append(tx, outbox.Prepare(e))
}
