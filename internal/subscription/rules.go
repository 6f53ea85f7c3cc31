package subscription

import (
	"cmp"
	"maps"
	"slices"
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
	return r.inTime(e) && r.filter.Match(view) && !e.IsAbout(endpoint)
}

// inTime reports whether an event happened before the expiration.
func (r rule) inTime(e *event.Event) bool { return r.expires.IsZero() || e.At.Before(r.expires) }

// rules are the subscriptions in force at one moment, by registry. Nothing in it
// changes after it was made.
type rules map[int64]*registryRules

// registryRules are those of one registry.
type registryRules struct {
	hooks   []*hook // in order of id
	filters *filter.Set
	named   map[string]bool // types that some of them name
}

func newRegistryRules(hooks []*hook) *registryRules {
	slices.SortFunc(hooks, func(a, b *hook) int { return cmp.Compare(a.ID, b.ID) })
	of := &registryRules{hooks: hooks, named: map[string]bool{}}
	filters := make([]*filter.Filter, len(hooks))
	for i, h := range hooks {
		filters[i] = h.rule.filter
		for _, name := range h.Filter.EventTypes {
			of.named[name] = true
		}
	}
	of.filters = filter.NewSet(filters...)
	return of
}

func (r rules) hook(registry, id int64) *hook {
	of := r[registry]
	if of == nil {
		return nil
	}
	if i, found := slices.BinarySearchFunc(of.hooks, id, func(h *hook, id int64) int { return cmp.Compare(h.ID, id) }); found {
		return of.hooks[i]
	}
	return nil
}

// owedTo returns the endpoints an event is owed to, in order of id.
func (r rules) owedTo(e *event.Event) (owed []int64) {
	of := r[e.Registry.ID]
	switch {
	case of == nil:
		return nil
	case e.OwedTo != 0:
		if r.hook(e.Registry.ID, e.OwedTo) == nil {
			return nil
		}
		return []int64{e.OwedTo}
	}
	for i := range of.filters.Matching(filter.NewView(e)) {
		if h := of.hooks[i]; h.rule.inTime(e) && !e.IsAbout(h.ID) {
			owed = append(owed, h.ID)
		}
	}
	return owed
}

// with returns rules in which h is in force, in place of what was there under its
// id.
func (r rules) with(h *hook) rules {
	return r.replace(h.RegistryID, append(r.others(h.RegistryID, h.ID), h))
}

// without returns rules in which the subscription is no more.
func (r rules) without(registry, id int64) rules { return r.replace(registry, r.others(registry, id)) }

// others returns the subscriptions of a registry but one.
func (r rules) others(registry, id int64) []*hook {
	if r[registry] == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r[registry].hooks), func(h *hook) bool { return h.ID == id })
}

func (r rules) replace(registry int64, hooks []*hook) rules {
	next := maps.Clone(r)
	if next == nil {
		next = rules{}
	}
	if len(hooks) == 0 {
		delete(next, registry)
		return next
	}
	next[registry] = newRegistryRules(hooks)
	return next
}

// all returns every subscription.
func (r rules) all() (all []*hook) {
	for _, of := range r {
		all = append(all, of.hooks...)
	}
	return all
}
