package auth

import (
	"fmt"
	"slices"

	"github.com/dockbell/dockbell/internal/oci"
)

// SeesQuarantine reports whether the identity's account has a role that shows it
// what a registry holds back. What it may do with that, Guard still asks.
// Repository-scoped tokens and those who come without an account never see it.
func (id Identity) SeesQuarantine(registry Registry) bool {
	return id.rights(registry).control(quarantinedRead, registry.ResourceID)
}

// marks reports whether the identity's account has a role by which it says what is
// good. There is no action of scopes for that.
func (id Identity) marks(registry Registry) bool {
	return id.rights(registry).control(quarantinedWrite, registry.ResourceID)
}

// markScopes are the scopes of which a token must allow one, to mark with it: what
// Azure's clients ask for when they change metadata, and what ACR's documents say.
func markScopes(repo oci.Repository) []Access {
	return []Access{ToRepository(repo, MetadataWrite, MetadataRead), ToRepository(repo, Pull, Push)}
}

// requireMark returns nil if the identity may say what is good in a repository.
// Otherwise it fails as Require.
func (id Identity) requireMark(registry Registry, repo oci.Repository) error {
	scopes := markScopes(repo)
	role := id.known(registry) && id.marks(registry)
	if role && (id.Access == nil || slices.ContainsFunc(scopes, id.holds)) {
		return nil
	}
	r := id.refuse(registry, scopes[0])
	if id.account != nil && id.actsOn(registry) {
		r.fault.Message = fmt.Sprintf("authentication required: %s may not say what is good in registry %s: the roles Owner, Contributor and AcrQuarantineWriter may", id.Name, registry.Name)
		if role {
			r.fault.Message = fmt.Sprintf("authentication required: the token of %s does not allow %s: get one for that scope", id.Name, scopesText(scopes[:1]))
		}
	}
	return r
}

// holds reports whether the identity's token allows all of an access, whatever its
// account may.
func (id Identity) holds(wanted Access) bool {
	for _, action := range wanted.Actions {
		if !slices.ContainsFunc(id.Access, func(a Access) bool { return a.allows(wanted.Type, wanted.Name, action) }) {
			return false
		}
	}
	return true
}

// carries reports whether a token is to have an action although the account may not
// do it: it is one of those without which nobody can mark with a token.
func (id Identity) carries(registry Registry, kind, name, action string) bool {
	if kind != TypeRepository || action != Push && action != MetadataWrite || !id.marks(registry) {
		return false
	}
	return id.Access == nil || id.holds(Access{kind, name, []string{action}})
}
