package app

import (
	"context"
	"slices"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/subscription"
	"github.com/dockbell/dockbell/internal/webhook"
)

// owners are those of all endpoints, as the engine asks them. An endpoint is a
// subscription, or else a webhook's or gone.
type owners struct {
	webhooks      *webhook.Store
	subscriptions *subscription.Store
}

// InForce implements delivery.Destinations, and so does what follows.
func (o owners) InForce() func(*event.Event) []int64 {
	webhooks, subscriptions := o.webhooks.InForce(), o.subscriptions.InForce()
	return func(e *event.Event) []int64 { return inOrder(webhooks(e), subscriptions(e)) }
}

// inOrder returns the ids of both lists, each of which is in order.
func inOrder(a, b []int64) []int64 {
	if len(b) == 0 {
		return a
	}
	all := append(a, b...)
	slices.Sort(all)
	return all
}

func (o owners) MatchAt(tx *sqldb.Tx, e *event.Event) ([]int64, error) {
	webhooks, err := o.webhooks.MatchAt(tx, e)
	if err != nil {
		return nil, err
	}
	subscriptions, err := o.subscriptions.MatchAt(tx, e)
	return inOrder(webhooks, subscriptions), err
}

func (o owners) History(tx *sqldb.Tx, registry, endpoint int64) (ring.Rule, error) {
	if o.subscriptions.Has(registry, endpoint) {
		return o.subscriptions.History(tx, registry, endpoint)
	}
	return o.webhooks.History(tx, registry, endpoint)
}

func (o owners) Wants(registry, endpoint int64) ring.Rule {
	if o.subscriptions.Has(registry, endpoint) {
		return o.subscriptions.Wants(registry, endpoint)
	}
	return o.webhooks.Wants(registry, endpoint)
}

func (o owners) Terms(registry, endpoint int64) (ring.Terms, bool) {
	if terms, ok := o.subscriptions.Terms(registry, endpoint); ok {
		return terms, true
	}
	return o.webhooks.Terms(registry, endpoint)
}

func (o owners) Request(c ring.Call) (outbound.Request, bool) {
	if o.subscriptions.Has(c.Event.Registry.ID, c.Endpoint) {
		return o.subscriptions.Request(c)
	}
	return o.webhooks.Request(c)
}

// Wanted reports whether anyone asks for an action that is told of only then.
func (o owners) Wanted(registry int64, action event.Action) bool {
	return o.webhooks.Wanted(registry, action) || o.subscriptions.Wanted(registry, action)
}

func (o owners) ElsewhereHost(sealed []byte) string { return o.webhooks.ElsewhereHost(sealed) }

func (o owners) Report(tx *sqldb.Tx, r ring.Report) error {
	if o.subscriptions.Has(r.Registry, r.Endpoint) {
		return o.subscriptions.Report(tx, r)
	}
	return o.webhooks.Report(tx, r)
}

// Disable ends what a webhook is owed. Subscriptions are not disabled: the engine
// knows that by their terms.
func (o owners) Disable(ctx context.Context, registry, endpoint int64, why string) error {
	return o.webhooks.Disable(ctx, registry, endpoint, why)
}
