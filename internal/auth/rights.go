package auth

import (
	"slices"
	"strings"
)

// rights are what an account may do: by its roles, in the control plane and with
// what registries hold; by rules, with the things in one registry that they name.
// They add up; the zero rights allow nothing.
type rights struct {
	roles []Assignment
	rules []rule
}

// everywhere are the rights of the operator and, as they count in one registry
// alone, of admin users.
var everywhere = rights{roles: []Assignment{{owner, "/"}}}

// anyone are the rights in a registry with anonymous pull of whoever comes.
var anyone = rights{rules: []rule{
	{TypeRepository, "*", Pull},
	{TypeRepository, "*", MetadataRead},
	{TypeRegistry, Catalog.Name, All},
}}

// control reports whether they allow an action of the control plane at a scope.
func (rs rights) control(action, scope string) bool {
	return slices.ContainsFunc(rs.roles, func(as Assignment) bool { return as.allows(action, scope) })
}

// allow reports whether they allow an action in the registry, both as scopes
// name them.
func (rs rights) allow(registry Registry, kind, name, action string) bool {
	return rs.byRole(registry, kind, name, action) ||
		slices.ContainsFunc(rs.rules, func(r rule) bool { return r.kind == kind && r.action == action && r.covers(name) })
}

// everyRepository reports whether they allow an action on all repositories of the
// registry, those to come included.
func (rs rights) everyRepository(registry Registry, action string) bool {
	return rs.byRole(registry, TypeRepository, "", action) || slices.Contains(rs.rules, rule{TypeRepository, "*", action})
}

// someRepository reports whether they allow an action on any repository that the
// registry might have.
func (rs rights) someRepository(registry Registry, action string) bool {
	return rs.byRole(registry, TypeRepository, "", action) ||
		slices.ContainsFunc(rs.rules, func(r rule) bool { return r.kind == TypeRepository && r.action == action })
}

// byRole leaves the name of a repository out of account, as roles do. Whoever may
// read what is in quarantine may read everything: to judge it takes both.
func (rs rights) byRole(registry Registry, kind, name, action string) bool {
	permission := permission(kind, name, action)
	return permission != "" && (rs.control(permission, registry.ResourceID) ||
		permission == pullRead && rs.control(quarantinedRead, registry.ResourceID))
}

// words are what ACR's refresh tokens say of the rights in a registry.
func (rs rights) words(registry Registry) (words []string) {
	for _, w := range []struct{ action, word string }{{Pull, "read"}, {Push, "write"}, {Delete, "delete"}} {
		if rs.someRepository(registry, w.action) {
			words = append(words, w.word)
		}
	}
	return words
}

// rule allows one action on what it names: a thing, all things whose names begin
// with what comes before a * at its end, or with * alone all of the kind.
type rule struct {
	kind, pattern, action string
}

// covers reports whether the rule is about the name. team/* is about team/web and
// team/web/api, and about neither team nor teams/web.
func (r rule) covers(name string) bool {
	before, wild := strings.CutSuffix(r.pattern, "*")
	if !wild {
		return name == r.pattern
	}
	return len(name) > len(before) && strings.HasPrefix(name, before)
}
