package auth

import (
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// The types of things that a scope can name.
const (
	TypeRepository         = "repository"          // name: the repository's
	TypeRegistry           = "registry"            // name: catalog or deleted_catalog
	TypeArtifactRepository = "artifact-repository" // name: repo, the legacy chart repository
)

// The actions of a scope. All means every action its type has.
const (
	Pull           = "pull"
	Push           = "push"
	Delete         = "delete"
	MetadataRead   = "metadata_read"
	MetadataWrite  = "metadata_write"
	DeletedRead    = "deleted_read"
	DeletedRestore = "deleted_restore"
	All            = "*"
)

// actionsOf lists the actions a token can allow, by type.
var actionsOf = map[string][]string{
	TypeRepository:         {Pull, Push, Delete, MetadataRead, MetadataWrite, DeletedRead, DeletedRestore},
	TypeRegistry:           {All},
	TypeArtifactRepository: {Pull, Push, Delete},
}

// Access is what a scope means: actions on one named thing. In a token it is
// what the token allows.
type Access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// Catalog is access to the list of repositories.
var Catalog = Access{TypeRegistry, "catalog", []string{All}}

// DeletedCatalog is access to the list of repositories that were deleted.
var DeletedCatalog = Access{TypeRegistry, "deleted_catalog", []string{All}}

// ToRepository is access to a repository.
func ToRepository(repo oci.Repository, actions ...string) Access {
	return Access{TypeRepository, string(repo), actions}
}

// String returns the scope, for example repository:team/web:pull,push.
func (a Access) String() string {
	return a.Type + ":" + a.Name + ":" + strings.Join(a.Actions, ",")
}

func (a Access) allows(kind, name, action string) bool {
	return a.Type == kind && a.Name == name && slices.Contains(a.Actions, action)
}

// maxScopes bounds how many scopes one token is asked for.
const maxScopes = 64

// ParseScopes reads scope parameters: each is one or several scopes divided by
// blanks, as docker and OAuth clients send them. It fails with fault.Invalid.
func ParseScopes(params []string) ([]Access, error) {
	var scopes []Access
	for _, param := range params {
		for text := range strings.FieldsSeq(param) {
			if len(scopes) == maxScopes {
				return nil, fault.New(fault.Invalid, "the request has more than %d scopes: ask for several tokens", maxScopes)
			}
			a, err := ParseScope(text)
			if err != nil {
				return nil, err
			}
			scopes = append(scopes, a)
		}
	}
	return scopes, nil
}

// ParseScope reads type:name:action,action…. Types and actions that are unknown
// pass, for a client may ask for more than there is; Issue leaves them out. It
// fails with fault.Invalid.
func ParseScope(text string) (Access, error) {
	kind, rest, _ := strings.Cut(text, ":")
	i := strings.LastIndexByte(rest, ':')
	if kind == "" || i < 1 || i == len(rest)-1 {
		return Access{}, fault.New(fault.Invalid, "scope %.80q is not valid: write it like repository:team/web:pull,push", text)
	}
	a := Access{kind, rest[:i], strings.Split(rest[i+1:], ",")}
	if kind == TypeRepository {
		if _, err := oci.ParseRepository(a.Name); err != nil {
			return Access{}, err
		}
	}
	return a, nil
}

// grant returns what of the wanted access the identity may have. For those who mark
// images in quarantine that is more than they may do; see carries.
func grant(id Identity, registry Registry, wanted []Access) []Access {
	granted := []Access{}
	for _, w := range wanted {
		g := Access{Type: w.Type, Name: w.Name}
		for _, action := range actionsOf[w.Type] {
			asked := slices.Contains(w.Actions, action) || slices.Contains(w.Actions, All)
			if asked && (id.may(registry, w.Type, w.Name, action) || id.carries(registry, w.Type, w.Name, action)) {
				g.Actions = append(g.Actions, action)
			}
		}
		if g.Actions != nil {
			granted = append(granted, g)
		}
	}
	return granted
}
