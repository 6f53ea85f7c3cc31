package webhook

import (
	"maps"
	"slices"

	"github.com/dockbell/dockbell/internal/event"
)

// rule is what decides whether a webhook wants an event.
type rule struct {
	enabled bool
	scope   scope
	actions []event.Action
}

func newRule(status Status, scope string, actions []string) (rule, error) {
	s, err := parseScope(scope)
	if err != nil {
		return rule{}, err
	}
	a, err := parseActions(actions)
	if err != nil {
		return rule{}, err
	}
	return rule{enabled: status == Enabled, scope: s, actions: a}, nil
}

// wants decides one event for the endpoint that has the rule, be it enabled or
// not. The index below decides the same for many that are.
func (r rule) wants(e *event.Event, endpoint int64) bool {
	return slices.Contains(r.actions, e.Action) && r.scopeFor(e.Action).matches(e.Target) && !e.IsAbout(endpoint)
}

// scopeFor returns the scope that holds for an action. A webhook that fails is in
// no repository, so a scope leaves nothing out of that.
func (r rule) scopeFor(action event.Action) scope {
	if action == event.WebhookFailing {
		return scope{everything: true}
	}
	return r.scope
}

// rules are the webhooks in force at one moment, of all registries. Nothing in
// it changes after it was made: a change of a webhook makes new rules, which
// share all but one shard with the old. So a change costs little however many
// registries there are.
type rules struct {
	alert  *hook                                // hears of failing webhooks everywhere; nil for none
	shards [shardCount]map[int64]*registryRules // by registry, of which number i is in shard i % shardCount
}

const shardCount = 256

func shardOf(registry int64) int { return int(uint64(registry) % shardCount) }

// of returns the rules of a registry, nil if it has no webhooks.
func (r *rules) of(registry int64) *registryRules { return r.shards[shardOf(registry)][registry] }

// hook returns what an endpoint is that a registry's events are owed to, nil if
// it is gone.
func (r *rules) hook(registry, endpoint int64) *hook {
	if r.alert != nil && r.alert.id == endpoint {
		return r.alert
	}
	if of := r.of(registry); of != nil {
		return of.hooks[endpoint]
	}
	return nil
}

// registryRules are those of one registry.
type registryRules struct {
	hooks  map[int64]*hook
	index  map[happening]*repositories
	wanted map[event.Action]bool // by any of them, wherever
}

// happening is what is looked up first: an action in a place.
type happening struct {
	location string
	action   event.Action
}

// owedTo returns the endpoints an event is owed to, in order of id. What it
// costs grows with the number of those, not with the number of webhooks.
func (r *rules) owedTo(e *event.Event) []int64 {
	if e.OwedTo != 0 {
		if r.hook(e.Registry.ID, e.OwedTo) == nil {
			return nil
		}
		return []int64{e.OwedTo}
	}
	var found []int64
	if of := r.of(e.Registry.ID); of != nil {
		if index := of.index[happening{e.Registry.Location, e.Action}]; index != nil {
			found = index.find(e.Target)
		}
	}
	if e.Action == event.WebhookFailing {
		found = slices.DeleteFunc(found, func(id int64) bool { return e.IsAbout(id) })
		if r.alert != nil {
			found = append(found, r.alert.id)
		}
	}
	slices.Sort(found)
	return found
}

// with returns rules in which h is in force, in place of what was there under
// its id.
func (r *rules) with(h *hook) *rules {
	hooks := map[int64]*hook{}
	if of := r.of(h.registry); of != nil {
		hooks = maps.Clone(of.hooks)
	}
	hooks[h.id] = h
	return r.replace(h.registry, hooks)
}

// without returns rules in which the webhook is no more.
func (r *rules) without(registry, id int64) *rules {
	of := r.of(registry)
	if of == nil {
		return r
	}
	hooks := maps.Clone(of.hooks)
	delete(hooks, id)
	return r.replace(registry, hooks)
}

func (r *rules) replace(registry int64, hooks map[int64]*hook) *rules {
	next := *r
	shard := maps.Clone(next.shards[shardOf(registry)])
	if shard == nil {
		shard = map[int64]*registryRules{}
	}
	if len(hooks) > 0 {
		shard[registry] = newRegistryRules(hooks)
	} else {
		delete(shard, registry)
	}
	next.shards[shardOf(registry)] = shard
	return &next
}

// newRules puts the webhooks of all registries in force.
func newRules(registries map[int64]map[int64]*hook, alert *hook) *rules {
	r := &rules{alert: alert}
	for registry, hooks := range registries {
		shard := &r.shards[shardOf(registry)]
		if *shard == nil {
			*shard = map[int64]*registryRules{}
		}
		(*shard)[registry] = newRegistryRules(hooks)
	}
	return r
}

func newRegistryRules(hooks map[int64]*hook) *registryRules {
	of := &registryRules{hooks: hooks, index: map[happening]*repositories{}, wanted: map[event.Action]bool{}}
	for id, h := range hooks {
		if !h.rule.enabled {
			continue
		}
		for _, action := range h.rule.actions {
			key := happening{h.location, action}
			if of.index[key] == nil {
				of.index[key] = &repositories{}
			}
			of.index[key].add(h.rule.scopeFor(action), id)
			of.wanted[action] = true
		}
	}
	return of
}

// repositories finds endpoints by an event's repository, tags by its tag.
type (
	repositories struct {
		everything []int64
		named      byText[*tags]
	}
	tags struct {
		all   []int64 // whether the event names a tag or not
		named byText[[]int64]
	}
)

func (r *repositories) add(s scope, id int64) {
	if s.everything {
		r.everything = append(r.everything, id)
		return
	}
	t := r.named.at(s.repository)
	if *t == nil {
		*t = &tags{}
	}
	if s.anyTag {
		(*t).all = append((*t).all, id)
		return
	}
	ids := (*t).named.at(s.tag)
	*ids = append(*ids, id)
}

func (r *repositories) find(target event.Target) []int64 {
	found := slices.Clone(r.everything)
	for t := range r.named.matching(target.Repository) {
		found = append(found, t.all...)
		if target.Tag != "" {
			for ids := range t.named.matching(target.Tag) {
				found = append(found, ids...)
			}
		}
	}
	return found
}

// byText holds a value for each of many patterns, and finds those whose pattern
// matches a text by one look for each length that prefixes have.
type byText[V any] struct {
	exact    map[string]*V
	prefixes map[string]*V
	lengths  []int // of the prefixes, ascending
}

// at returns the place of p's value.
func (b *byText[V]) at(p pattern) *V {
	m := &b.exact
	if p.prefix {
		m = &b.prefixes
		if i, found := slices.BinarySearch(b.lengths, len(p.text)); !found {
			b.lengths = slices.Insert(b.lengths, i, len(p.text))
		}
	}
	if *m == nil {
		*m = map[string]*V{}
	}
	v := (*m)[p.text]
	if v == nil {
		v = new(V)
		(*m)[p.text] = v
	}
	return v
}

// matching yields the values whose pattern matches s.
func (b *byText[V]) matching(s string) func(yield func(V) bool) {
	return func(yield func(V) bool) {
		if v := b.exact[s]; v != nil && !yield(*v) {
			return
		}
		for _, n := range b.lengths {
			if n > len(s) {
				return
			}
			if v := b.prefixes[s[:n]]; v != nil && !yield(*v) {
				return
			}
		}
	}
}
