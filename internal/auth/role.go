package auth

import (
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/spell"
)

// Role is what whoever has it may do, as Azure's built-in roles have it: lists
// of actions such as Microsoft.ContainerRegistry/registries/webhooks/read, in
// which * stands for any text.
type Role struct {
	Name        string
	Actions     []string
	NotActions  []string // taken out of Actions
	DataActions []string // what Azure keeps apart, as being about contents
}

// The actions that rights in a registry are decided by.
const (
	pullRead         = "Microsoft.ContainerRegistry/registries/pull/read"
	pushWrite        = "Microsoft.ContainerRegistry/registries/push/write"
	artifactsDelete  = "Microsoft.ContainerRegistry/registries/artifacts/delete"
	metadataWrite    = "Microsoft.ContainerRegistry/registries/metadata/write"
	deletedRead      = "Microsoft.ContainerRegistry/registries/deleted/read"
	deletedRestore   = "Microsoft.ContainerRegistry/registries/deleted/restore/action"
	quarantineRead   = "Microsoft.ContainerRegistry/registries/quarantine/read"
	quarantineWrite  = "Microsoft.ContainerRegistry/registries/quarantine/write"
	quarantinedRead  = "Microsoft.ContainerRegistry/registries/quarantinedArtifacts/read"
	quarantinedWrite = "Microsoft.ContainerRegistry/registries/quarantinedArtifacts/write"
)

// owner is the role that may everything.
const owner = "Owner"

// roles are all there are.
var roles = []Role{
	{Name: owner, Actions: []string{"*"}},
	{
		Name: "Contributor", Actions: []string{"*"},
		NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
			"Microsoft.ContainerRegistry/signingKeys/*/action"}, // not Azure's: whoever rotates keys can end every login
	},
	{Name: "Reader", Actions: []string{"*/read"}, NotActions: []string{quarantinedRead}}, // in Azure one of DataActions, where */read does not reach
	{Name: "AcrPull", Actions: []string{pullRead}},
	{Name: "AcrPush", Actions: []string{pullRead, pushWrite}},
	{Name: "AcrDelete", Actions: []string{artifactsDelete}},
	{Name: "AcrQuarantineReader", Actions: []string{quarantineRead}, DataActions: []string{quarantinedRead}},
	{
		Name: "AcrQuarantineWriter", Actions: []string{quarantineRead, quarantineWrite},
		DataActions: []string{quarantinedRead, quarantinedWrite},
	},
}

// RoleNames returns the names of all roles.
func RoleNames() []string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = r.Name
	}
	return names
}

// ParseRole returns the role of a name, in any case. It fails with
// fault.Invalid.
func ParseRole(name string) (Role, error) {
	if r, ok := findRole(name); ok {
		return r, nil
	}
	near := ""
	best := len(name)/3 + 2
	for _, r := range roles {
		if d := spell.Distance(strings.ToLower(name), strings.ToLower(r.Name)); d < best {
			best, near = d, ", did you mean "+r.Name+"?"
		}
	}
	return Role{}, fault.New(fault.Invalid, "there is no role %.80q: use one of %s%s", name, strings.Join(RoleNames(), ", "), near).
		WithCode("RoleDefinitionDoesNotExist")
}

func findRole(name string) (Role, bool) {
	for _, r := range roles {
		if strings.EqualFold(r.Name, name) {
			return r, true
		}
	}
	return Role{}, false
}

// Allows reports whether the role may do an action, in any case. Callers need
// not know whether Azure counts it among those about contents.
func (r Role) Allows(action string) bool {
	if matchAny(r.DataActions, action) {
		return true
	}
	return matchAny(r.Actions, action) && !matchAny(r.NotActions, action)
}

func matchAny(patterns []string, action string) bool {
	for _, p := range patterns {
		if p == "*" || match(strings.ToLower(p), strings.ToLower(action)) { // the first costs the operator nothing
			return true
		}
	}
	return false
}

// match reports whether text is of the pattern, in which * stands for any text,
// slashes included.
func match(pattern, text string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	for ok {
		first, rest, wild = strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(text, first)
		}
		_, text, ok = strings.Cut(text, first)
	}
	return false
}

// Assignment is a role that someone has in a scope: an ARM id, and everything
// below it.
type Assignment struct {
	Role  string // a name of RoleNames
	Scope string // /subscriptions/…, or a registry's id; / is everything
}

// allows reports whether the assignment lets its holder do an action at a
// scope. A role that this version does not know allows nothing.
func (as Assignment) allows(action, scope string) bool {
	r, ok := findRole(as.Role)
	return ok && within(as.Scope, scope) && r.Allows(action)
}

// within reports whether an ARM id is outer, or below it. Case does not matter.
func within(outer, id string) bool {
	outer = strings.TrimSuffix(outer, "/")
	if len(id) < len(outer) || !strings.EqualFold(id[:len(outer)], outer) {
		return false
	}
	return len(id) == len(outer) || id[len(outer)] == '/'
}

// permission returns the action that a scope's action in a registry is decided
// by; empty for what is unknown. ACR lets those who may pull list repositories and
// read what is known of them, and so do we.
func permission(kind, name, action string) string {
	if kind == TypeRegistry {
		switch {
		case action == All && name == "catalog":
			return pullRead
		case action == All && name == DeletedCatalog.Name:
			return deletedRead
		}
		return ""
	}
	switch action {
	case Pull, MetadataRead:
		return pullRead
	case Push:
		return pushWrite
	case Delete:
		return artifactsDelete
	case MetadataWrite:
		return metadataWrite
	case DeletedRead:
		return deletedRead
	case DeletedRestore:
		return deletedRestore
	}
	return ""
}
