package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// RepositoryTokens are the repository-scoped tokens of all registries and their
// scope maps, as the control plane has them. Its methods may be called from many
// goroutines. What they change counts from the next request on, on every node.
type RepositoryTokens struct{ a *Authority }

// RepositoryTokens returns those who log in with repository-scoped tokens.
func (a *Authority) RepositoryTokens() *RepositoryTokens { return &RepositoryTokens{a} }

// TokenRegistry is what this package has to know of a registry whose scope maps
// and tokens are changed.
type TokenRegistry struct {
	ID    int64
	Name  string
	SKU   string // Basic, Standard or Premium
	Limit int    // how many tokens the tier allows, and how many scope maps
}

// Actor is who changes a scope map or a token.
type Actor struct {
	Name string
	Kind string // User or Application, as ARM's systemData has it
}

// Stamp says who made and who last changed something, and when, in UTC.
type Stamp struct {
	CreatedAt, UpdatedAt time.Time
	CreatedBy, UpdatedBy Actor
}

func newStamp(tx *sqldb.Tx, by Actor) Stamp {
	return Stamp{CreatedAt: tx.Now(), UpdatedAt: tx.Now(), CreatedBy: by, UpdatedBy: by}
}

// ScopeMap says what whoever has a token with it may do. Its rules add up.
type ScopeMap struct {
	Name        string // as sent when it was created; names compare without case
	Description string
	Actions     []string // such as repositories/team/*/content/read; see parseMapAction
	BuiltIn     bool     // every registry has it; it cannot be changed
	Stamp                // zero for a built-in one
}

// ScopeMapChange is what of a scope map is to be another. A nil member is left as
// it is.
type ScopeMapChange struct {
	Description *string
	Actions     []string // replaces all; empty takes all away
}

// builtInMaps are the scope maps that ACR's registries come with.
var builtInMaps = []ScopeMap{
	builtIn("_repositories_admin", "Everything with every repository", "metadata/read", "metadata/write", "content/read", "content/write", "content/delete"),
	builtIn("_repositories_pull", "Pull from every repository", "content/read"),
	builtIn("_repositories_pull_metadata_read", "Pull from every repository, and read its metadata", "content/read", "metadata/read"),
	builtIn("_repositories_push", "Pull from and push to every repository", "content/read", "content/write"),
	builtIn("_repositories_push_metadata_write", "Pull from and push to every repository, and change its metadata",
		"metadata/read", "metadata/write", "content/read", "content/write"),
}

func builtIn(name, description string, words ...string) ScopeMap {
	m := ScopeMap{Name: name, Description: description, BuiltIn: true}
	for _, w := range words {
		m.Actions = append(m.Actions, "repositories/*/"+w)
	}
	return m
}

// findBuiltIn returns the built-in map of a name in any case.
func findBuiltIn(name string) (ScopeMap, bool) {
	i := slices.IndexFunc(builtInMaps, func(m ScopeMap) bool { return strings.EqualFold(m.Name, name) })
	if i < 0 {
		return ScopeMap{}, false
	}
	m := builtInMaps[i]
	m.Actions = slices.Clone(m.Actions)
	return m, true
}

// ScopeMap returns a scope map, a built-in one too. It fails with fault.NotFound.
func (t *RepositoryTokens) ScopeMap(ctx context.Context, reg TokenRegistry, name string) (m ScopeMap, err error) {
	err = t.a.db.Read(ctx, func(tx *sqldb.Tx) error {
		m, err = findScopeMap(tx, reg, name)
		return err
	})
	return m, err
}

// ScopeMaps returns scope maps by name, at most n of those that were made in the
// registry, starting behind after: empty, or what an earlier call returned as
// next. The built-in ones come first. next is empty when there are no more.
func (t *RepositoryTokens) ScopeMaps(ctx context.Context, reg TokenRegistry, after string, n int) (page []ScopeMap, next string, err error) {
	err = t.a.db.Read(ctx, func(tx *sqldb.Tx) error {
		page, err = selectScopeMaps(tx, reg.ID, after, n+1)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(page) > n {
		page = page[:n]
		next = nameKey(page[n-1].Name)
	}
	if after == "" {
		page = slices.Concat(builtInMaps, page)
	}
	return page, next, nil
}

// PutScopeMap creates a scope map, or replaces what the one of that name allows;
// created tells which.
//
// Errors: fault.Invalid for what breaks a rule, fault.Conflict for a built-in one,
// fault.Quota (QuotaExceeded).
func (t *RepositoryTokens) PutScopeMap(ctx context.Context, reg TokenRegistry, name, description string, actions []string, by Actor) (m ScopeMap, created bool, err error) {
	if err := checkMapName(name); err != nil {
		return ScopeMap{}, false, err
	}
	change, err := ScopeMapChange{&description, append([]string{}, actions...)}.checked()
	if err != nil {
		return ScopeMap{}, false, err
	}
	err = t.change(ctx, func(tx *sqldb.Tx) error {
		m, err = findScopeMap(tx, reg, name)
		if created = fault.Is(err, fault.NotFound); created {
			m = ScopeMap{Name: name, Stamp: newStamp(tx, by)}
			err = withinQuota(tx, reg, "scope_map", "scope maps")
		}
		if err != nil {
			return err
		}
		m, err = storeScopeMap(tx, reg, m, change, by)
		return err
	})
	if err != nil {
		return ScopeMap{}, false, err
	}
	return m, created, nil
}

// PatchScopeMap changes members of a scope map. Errors: as PutScopeMap, and
// fault.NotFound.
func (t *RepositoryTokens) PatchScopeMap(ctx context.Context, reg TokenRegistry, name string, change ScopeMapChange, by Actor) (m ScopeMap, err error) {
	if change, err = change.checked(); err != nil {
		return ScopeMap{}, err
	}
	err = t.change(ctx, func(tx *sqldb.Tx) error {
		if m, err = findScopeMap(tx, reg, name); err != nil {
			return err
		}
		if m.BuiltIn {
			return errBuiltIn(m.Name)
		}
		m, err = storeScopeMap(tx, reg, m, change, by)
		return err
	})
	if err != nil {
		return ScopeMap{}, err
	}
	return m, nil
}

// DeleteScopeMap deletes a scope map that no token has. It fails with
// fault.NotFound, and with fault.Conflict for a built-in one and while tokens have
// it.
func (t *RepositoryTokens) DeleteScopeMap(ctx context.Context, reg TokenRegistry, name string) error {
	return t.change(ctx, func(tx *sqldb.Tx) error {
		m, err := findScopeMap(tx, reg, name)
		if err != nil {
			return err
		}
		if m.BuiltIn {
			return errBuiltIn(m.Name)
		}
		const told = 5
		users, err := selectTokensWith(tx, reg.ID, nameKey(name), told+1)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			more := ""
			if len(users) > told {
				users, more = users[:told], " and others"
			}
			return fault.New(fault.Conflict, "scope map %s cannot be deleted: tokens have it (%s%s); delete those, or give them another one, first", m.Name, strings.Join(users, ", "), more).
				WithCode("ScopeMapInUse")
		}
		return deleteScopeMap(tx, reg.ID, nameKey(name))
	})
}

// change runs a transaction that changes scope maps or tokens. They run one after
// the other, so that a limit is kept and a token has a map that is there.
func (t *RepositoryTokens) change(ctx context.Context, fn func(*sqldb.Tx) error) error {
	return t.a.db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		if err := tx.Serialise(); err != nil {
			return err
		}
		return fn(tx)
	})
}

// storeScopeMap stores m with a change made to it.
func storeScopeMap(tx *sqldb.Tx, reg TokenRegistry, m ScopeMap, change ScopeMapChange, by Actor) (ScopeMap, error) {
	if change.Description != nil {
		m.Description = *change.Description
	}
	if change.Actions != nil {
		m.Actions = change.Actions
	}
	m.UpdatedAt, m.UpdatedBy = tx.Now(), by
	return m, upsertScopeMap(tx, reg.ID, m)
}

// findScopeMap returns the scope map of a name, a built-in one too.
func findScopeMap(tx *sqldb.Tx, reg TokenRegistry, name string) (ScopeMap, error) {
	if m, ok := findBuiltIn(name); ok {
		return m, nil
	}
	m, err := ScopeMap{}, error(sqldb.ErrNoRow)
	if validName(name, "-_") {
		m, err = selectScopeMap(tx, reg.ID, nameKey(name))
	}
	if errors.Is(err, sqldb.ErrNoRow) {
		err = fault.New(fault.NotFound, "registry %s has no scope map %.80q: dockbell scope-map list -r %[1]s shows those it has", reg.Name, name).WithCode("ResourceNotFound")
	}
	return m, err
}

// Count returns how many scope maps and tokens were made in a registry.
func (t *RepositoryTokens) Count(tx *sqldb.Tx, registry int64) (scopeMaps, tokens int, err error) {
	if scopeMaps, err = countRows(tx, "scope_map", registry); err != nil {
		return 0, 0, err
	}
	tokens, err = countRows(tx, "repository_token", registry)
	return scopeMaps, tokens, err
}

// Usage is Count for who has no transaction.
func (t *RepositoryTokens) Usage(ctx context.Context, registry int64) (scopeMaps, tokens int, err error) {
	err = t.a.db.Read(ctx, func(tx *sqldb.Tx) error {
		scopeMaps, tokens, err = t.Count(tx, registry)
		return err
	})
	return scopeMaps, tokens, err
}

// purgedAtOnce is how many rows go in one transaction of Purge. A scope map is
// up to some 150 kB.
const purgedAtOnce = 100

// Purge removes the tokens and scope maps of a registry that was deleted, a few at
// a time.
func (t *RepositoryTokens) Purge(ctx context.Context, registry int64) error {
	for _, purge := range []func(*sqldb.Tx, int64, int) (int64, error){purgePasswords, purgeTokens, purgeScopeMaps} {
		for {
			var n int64
			err := t.a.db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
				n, err = purge(tx, registry, purgedAtOnce)
				return err
			})
			if err != nil {
				return err
			}
			if n < purgedAtOnce {
				break
			}
		}
	}
	return nil
}

// nameKey is what names are compared by in the control plane.
func nameKey(name string) string { return strings.ToLower(name) }

// The rule for the names of scope maps and tokens, as Azure has it.
const (
	minName = 5
	maxName = 50
)

// validName reports whether a name is of ASCII letters, digits and others, and of
// a length that is allowed.
func validName(name, others string) bool {
	wrong := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(others, r)
	}
	return len(name) >= minName && len(name) <= maxName && !strings.ContainsFunc(name, wrong)
}

func checkMapName(name string) error {
	if m, ok := findBuiltIn(name); ok {
		return errBuiltIn(m.Name)
	}
	why := ""
	switch {
	case strings.HasPrefix(name, "_"):
		why = "names that begin with _ are those of the built-in ones"
	case !validName(name, "-_"):
		why = "use 5 to 50 letters, digits, dashes and underscores"
	default:
		return nil
	}
	return fault.New(fault.Invalid, "scope map name %.80q is not valid: %s; team-pull would be one", name, why).WithCode("InvalidResourceName")
}

func errBuiltIn(name string) error {
	return fault.New(fault.Conflict, "scope map %s is built in and cannot be changed or deleted: make one of your own", name).
		WithCode("SystemDefinedScopeMap")
}

// maxDescription bounds the description of a scope map, in characters.
const maxDescription = 1000

// checked returns the change as it is stored.
func (c ScopeMapChange) checked() (ScopeMapChange, error) {
	if c.Description != nil {
		if n := utf8.RuneCountInString(*c.Description); n > maxDescription {
			return c, fault.New(fault.Invalid, "the description has %d characters: it may have %d", n, maxDescription).WithCode("InvalidParameter")
		}
		if strings.ContainsFunc(*c.Description, unicode.IsControl) {
			return c, fault.New(fault.Invalid, "the description has a control character, such as a line break: leave it out").WithCode("InvalidParameter")
		}
	}
	if c.Actions == nil {
		return c, nil
	}
	actions, err := parseMapActions(c.Actions)
	c.Actions = append([]string{}, actions...)
	return c, err
}

// withinQuota fails unless the registry may have one row more in a table, of what
// is called so.
func withinQuota(tx *sqldb.Tx, reg TokenRegistry, table, what string) error {
	have, err := countRows(tx, table, reg.ID)
	if err != nil || have < reg.Limit {
		return err
	}
	way := "delete one"
	if higher := map[string]string{"Basic": "Standard", "Standard": "Premium"}[reg.SKU]; higher != "" {
		way = "delete one, or move to " + higher + " with dockbell registry update -n " + reg.Name + " --sku " + higher
	}
	return fault.New(fault.Quota, "registry %s (%s) has %d of %d %s: %s", reg.Name, reg.SKU, have, reg.Limit, what, way).WithCode("QuotaExceeded")
}
