package subscription

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/filter"
)

// rule is what decides whether a subscription wants an event.
type rule struct {
	filter  *filter.Filter
	expires time.Time // nothing that happens from then on is wanted; zero for never
}

func newRule(d filter.Definition, expires time.Time) (rule, error) {
	f, err := filter.Compile(d)
	return rule{f, expires}, err
}

// wants decides one event, of which view is a view, for the endpoint that has the
// rule.
func (r rule) wants(e *event.Event, view *filter.View, endpoint int64) bool {
	return (r.expires.IsZero() || e.At.Before(r.expires)) && r.filter.Match(view) && !isAbout(e, endpoint)
}

// isAbout reports whether e tells of the endpoint itself, which never hears of it.
func isAbout(e *event.Event, endpoint int64) bool {
	return e.Action == event.WebhookFailing && e.Target == failing(endpoint)
}

// failing is the target of an event that tells of an endpoint, as package webhook
// has it too.
func failing(endpoint int64) event.Target {
	return event.Target{Digest: "endpoint:" + strconv.FormatInt(endpoint, 10)}
}

// rules are the subscriptions in force at one moment, by registry, and there by id.
// Nothing in it changes after it was made.
type rules map[int64][]*hook

// sort puts rules that are being made in their order.
func (r rules) sort() {
	for _, of := range r {
		slices.SortFunc(of, func(a, b *hook) int { return cmp.Compare(a.ID, b.ID) })
	}
}

func (r rules) hook(registry, id int64) *hook {
	of := r[registry]
	if i, found := slices.BinarySearchFunc(of, id, func(h *hook, id int64) int { return cmp.Compare(h.ID, id) }); found {
		return of[i]
	}
	return nil
}

// owedTo returns the endpoints an event is owed to, in order of id.
func (r rules) owedTo(e *event.Event) (owed []int64) {
	of := r[e.Registry.ID]
	switch {
	case len(of) == 0:
		return nil
	case e.OwedTo != 0:
		if r.hook(e.Registry.ID, e.OwedTo) == nil {
			return nil
		}
		return []int64{e.OwedTo}
	}
	view := filter.NewView(e)
	for _, h := range of {
		if h.rule.wants(e, view, h.ID) {
			owed = append(owed, h.ID)
		}
	}
	return owed
}

// with returns rules in which h is in force, in place of what was there under its
// id.
func (r rules) with(h *hook) rules {
	next := r.without(h.RegistryID, h.ID)
	next[h.RegistryID] = append(next[h.RegistryID], h) // without made it
	next.sort()
	return next
}

// without returns rules in which the subscription is no more.
func (r rules) without(registry, id int64) rules {
	next := maps.Clone(r)
	if next == nil {
		next = rules{}
	}
	next[registry] = slices.DeleteFunc(slices.Clone(r[registry]), func(h *hook) bool { return h.ID == id })
	if len(next[registry]) == 0 {
		delete(next, registry)
	}
	return next
}

// all returns every subscription.
func (r rules) all() (all []*hook) {
	for _, of := range r {
		all = append(all, of...)
	}
	return all
}
