package auth

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

var ada = Actor{"ada", "User"}

// small is contoso with room for three scope maps and three tokens.
var small = TokenRegistry{ID: contoso.ID, Name: contoso.Name, SKU: "Basic", Limit: 3}

func TestMapActions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"repositories/team/web/content/read":          "team/web pull",
		"repositories/team/*/content/write":           "team/* push",
		"repositories/*/content/delete":               "* delete",
		"repositories/web/metadata/read":              "web metadata_read",
		"repositories/a/b/c/metadata/write":           "a/b/c metadata_write",
		"repositories/content/read/content/read":      "content/read pull",
		"repositories/metadata/read/*/content/read":   "metadata/read/* pull",
		"repositories/repositories/x/*/metadata/read": "repositories/x/* metadata_read",
	} {
		r, err := parseMapAction(text)
		if got := r.pattern + " " + r.action; err != nil || got != want || r.kind != TypeRepository {
			t.Errorf("%s: %s %s, %v", text, r.kind, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                                                           "write it like repositories/team/web/content/read",
		"web/content/read":                                           "write it like",
		"Repositories/web/content/read":                              "write it like",
		"/repositories/web/content/read":                             "write it like",
		"repositories":                                               "write it like",
		"repositories/":                                              "ends in one of content/read, content/write, content/delete, metadata/read, metadata/write",
		"repositories/web":                                           "ends in one of",
		"repositories/web/content":                                   "ends in one of",
		"repositories/web/content/list":                              "ends in one of",
		"repositories/web/content/read/":                             "ends in one of",
		"repositories/web/Content/Read":                              "ends in one of",
		"repositories/web/metadata/delete":                           "ends in one of",
		"repositories/content/read":                                  "ends in one of", // of which repository?
		"repositories//content/read":                                 `repository name "" is not valid`,
		"repositories/Web/content/read":                              "lower-case",
		"repositories/web/../x/content/read":                         "lower-case",
		"repositories/ web/content/read":                             "lower-case",
		"repositories/web\n/content/read":                            "lower-case",
		"repositories/web//content/read":                             "lower-case",
		"repositories//*/content/read":                               `repository name "" is not valid`,
		"repositories/team*/content/read":                            "a * stands alone",
		"repositories/**/content/read":                               "a * stands alone",
		"repositories/*/web/content/read":                            "a * stands alone",
		"repositories/*/*/content/read":                              "a * stands alone",
		"repositories/team/*/web/content/read":                       "a * stands alone",
		"repositories/team/*/*/content/read":                         "a * stands alone",
		"gateway/edge/config/read":                                   "connected registry",
		"gateway/edge/message/write":                                 "connected registry",
		"repositories/" + strings.Repeat("a", 300) + "/content/read": "255",
	} {
		if r, err := parseMapAction(text); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) || r != (rule{}) {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
}

func TestRuleCovers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, covers, leaves string
	}{
		{"web", "web", "we webs web/api team/web Web WEB *"},
		{"team/web", "team/web", "team team/web2 team/web/api team/we xteam/web"},
		{"team/*", "team/x team/x/y team/team", "team teamx/y teams team-x/y xteam/y x/team/y Team/x *"},
		{"team/web/*", "team/web/api", "team/web team/webs/api team/x"},
		{"*", "web team/web a/b/c", ""},
	} {
		r := rule{TypeRepository, tt.pattern, Pull}
		for _, name := range strings.Fields(tt.covers) {
			if !r.covers(name) {
				t.Errorf("%s does not cover %s", tt.pattern, name)
			}
		}
		for _, name := range strings.Fields(tt.leaves) {
			if r.covers(name) {
				t.Errorf("%s covers %s", tt.pattern, name)
			}
		}
		if r.covers("") {
			t.Errorf("%s covers nothing's name", tt.pattern)
		}
	}
}

// FuzzMapAction has what an action allows be what it says and nothing besides.
func FuzzMapAction(f *testing.F) {
	for _, text := range []string{
		"repositories/team/*/content/read", "repositories/*/metadata/write", "repositories/web/content/delete", "gateway/x/config/read",
		"repositories/content/read/content/read", "repositories/a*/content/read", "repositories//content/read", "repositories/x/*/*/content/read",
	} {
		f.Add(text, "team/web")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		r, err := parseMapAction(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || r != (rule{}) {
				t.Fatalf("%q: %v, %v", text, r, err)
			}
			return
		}
		if stored := rulesOf(splitActions(strings.Join([]string{text, text}, "\n"))); len(stored) != 2 || stored[0] != r || stored[1] != r {
			t.Errorf("%q is stored as %v", text, stored)
		}
		i := slices.IndexFunc(mapActions, func(m struct{ words, action string }) bool { return m.action == r.action })
		if again := "repositories/" + r.pattern + "/" + mapActions[i].words; again != text {
			t.Errorf("%q is read as %q", text, again)
		}
		under, tree := strings.CutSuffix(r.pattern, "/*")
		if r.pattern != "*" {
			if _, err := oci.ParseRepository(under); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
		if _, err := oci.ParseRepository(name); err != nil {
			return
		}
		want := r.pattern == "*" || name == r.pattern || tree && strings.HasPrefix(name, under+"/")
		if got := r.covers(name); got != want {
			t.Errorf("%q covers %q: %t", text, name, got)
		}
	})
}

func TestScopeMapNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"abcde", "a-b_c", "-----", "Team_Pull-1", "repositories_admin", strings.Repeat("a", 50)} {
		if err := checkMapName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "abcd", strings.Repeat("a", 51), "team pull", "team.pull", "team/pull", "täglich", "team\x00pull", "_own_map", "_____"} {
		if err := checkMapName(name); !fault.Is(err, fault.Invalid) || fault.As(err).Code != "InvalidResourceName" {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, m := range builtInMaps {
		if err := checkMapName(strings.ToUpper(m.Name)); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", m.Name, err)
		}
		if got := rulesOf(m.Actions); len(got) != len(m.Actions) {
			t.Errorf("%s: %v of %v", m.Name, got, m.Actions)
		}
	}
}

func TestScopeMapsOfARegistry(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		ctx := t.Context()
		a, err := Open(ctx, Options{DB: open(), Key: testKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		tokens := a.RepositoryTokens()
		const read, write = "repositories/team/*/content/read", "repositories/team/*/content/write"
		m, created, err := tokens.PutScopeMap(ctx, small, "Team-Pull", "what the team has", []string{read, write, read}, ada)
		if err != nil || !created || fmt.Sprint(m.Actions) != fmt.Sprint([]string{read, write}) || m.CreatedBy != ada || m.BuiltIn {
			t.Fatalf("%+v, created %t, %v", m, created, err)
		}
		again, created, err := tokens.PutScopeMap(ctx, small, "team-PULL", "", nil, Actor{"bob", "Application"})
		if err != nil || created || again.Name != "Team-Pull" || again.Description != "" || len(again.Actions) != 0 || again.CreatedBy != ada || again.UpdatedBy.Name != "bob" {
			t.Errorf("replaced: %+v, created %t, %v", again, created, err)
		}
		description := "described"
		m, err = tokens.PatchScopeMap(ctx, small, "TEAM-pull", ScopeMapChange{Description: &description}, ada)
		if err != nil || m.Description != description || len(m.Actions) != 0 {
			t.Errorf("patched: %+v, %v", m, err)
		}
		m, err = tokens.PatchScopeMap(ctx, small, "team-pull", ScopeMapChange{Actions: []string{read}}, ada)
		if err != nil || m.Description != description || fmt.Sprint(m.Actions) != "["+read+"]" {
			t.Errorf("patched: %+v, %v", m, err)
		}
		if got, err := tokens.ScopeMap(ctx, small, "team-pull"); err != nil || fmt.Sprint(got) != fmt.Sprint(m) {
			t.Errorf("there is %+v, %v, not %+v", got, err, m)
		}
		elsewhere := TokenRegistry{ID: fabrikam.ID, Name: "fabrikam", SKU: "Premium", Limit: 3}
		for what, err := range map[string]error{
			"one of another registry": second(tokens.ScopeMap(ctx, elsewhere, "team-pull")),
			"a name that none has":    second(tokens.ScopeMap(ctx, small, "a\x00\xff")),
			"a patch of none":         second(tokens.PatchScopeMap(ctx, small, "nothere", ScopeMapChange{}, ada)),
			"a deletion of none":      tokens.DeleteScopeMap(ctx, small, "nothere"),
		} {
			if !fault.Is(err, fault.NotFound) || fault.As(err).Code != "ResourceNotFound" {
				t.Errorf("%s: %v", what, err)
			}
		}
		var many []string
		for i := range 501 {
			many = append(many, fmt.Sprintf("repositories/r%d/content/read", i))
		}
		long := strings.Repeat("x", 1001)
		for _, bad := range []ScopeMapChange{
			{Actions: []string{"repositories/x/content/fly"}}, {Actions: many}, {Description: &long}, {Description: new("a\x00b")},
		} {
			if _, err := tokens.PatchScopeMap(ctx, small, "team-pull", bad, ada); !fault.Is(err, fault.Invalid) {
				t.Errorf("%.80v: %v", bad, err)
			}
		}
		if m, err := tokens.PatchScopeMap(ctx, small, "team-pull", ScopeMapChange{Actions: many[:500]}, ada); err != nil || len(m.Actions) != 500 {
			t.Errorf("500 actions: %d, %v", len(m.Actions), err)
		}

		// Those that are built in are there, and stay as they are.
		pull, err := tokens.ScopeMap(ctx, small, "_Repositories_PULL")
		if err != nil || !pull.BuiltIn || pull.Name != "_repositories_pull" || fmt.Sprint(pull.Actions) != "[repositories/*/content/read]" {
			t.Errorf("%+v, %v", pull, err)
		}
		_, _, putErr := tokens.PutScopeMap(ctx, small, pull.Name, "", many[:1], ada)
		_, patchErr := tokens.PatchScopeMap(ctx, small, pull.Name, ScopeMapChange{}, ada)
		for _, err := range []error{putErr, patchErr, tokens.DeleteScopeMap(ctx, small, pull.Name)} {
			if !fault.Is(err, fault.Conflict) || fault.As(err).Code != "SystemDefinedScopeMap" {
				t.Errorf("a built-in one: %v", err)
			}
		}

		// The limit counts those that were made, and is met exactly.
		for i, name := range []string{"second", "third", "fourth"} {
			_, _, err := tokens.PutScopeMap(ctx, small, name, "", nil, ada)
			if full := i == 2; full != (err != nil) || full && (!fault.Is(err, fault.Quota) || fault.As(err).Code != "QuotaExceeded" ||
				err.Error() != "registry contoso (Basic) has 3 of 3 scope maps: delete one, or move to Standard with dockbell registry update -n contoso --sku Standard") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := tokens.PutScopeMap(ctx, small, "SECOND", "replaced", nil, ada); err != nil {
			t.Errorf("replaced at the limit: %v", err)
		}
		if maps, others, err := tokens.Usage(ctx, small.ID); maps != 3 || others != 0 || err != nil {
			t.Errorf("used %d, %d, %v", maps, others, err)
		}

		// Pages.
		var names []string
		after := ""
		for pages := 1; ; pages++ {
			page, next, err := tokens.ScopeMaps(ctx, small, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page {
				names = append(names, m.Name)
			}
			if after = next; next == "" {
				if pages != 2 {
					t.Errorf("%d pages", pages)
				}
				break
			}
		}
		if got := strings.Join(names, " "); got != "_repositories_admin _repositories_pull _repositories_pull_metadata_read _repositories_push _repositories_push_metadata_write second Team-Pull third" {
			t.Errorf("the list: %s", got)
		}

		// One that a token has stays.
		name := "Team-Pull"
		if _, _, err := tokens.PutToken(ctx, small, "ci-pull", TokenChange{ScopeMap: &name}, ada); err != nil {
			t.Fatal(err)
		}
		if err := tokens.DeleteScopeMap(ctx, small, "team-pull"); !fault.Is(err, fault.Conflict) || fault.As(err).Code != "ScopeMapInUse" || !strings.Contains(err.Error(), "ci-pull") {
			t.Errorf("in use: %v", err)
		}
		if err := tokens.DeleteToken(ctx, small, "CI-pull"); err != nil {
			t.Fatal(err)
		}
		if err := tokens.DeleteScopeMap(ctx, small, "TEAM-pull"); err != nil {
			t.Error(err)
		}
		if _, err := tokens.ScopeMap(ctx, small, "team-pull"); !fault.Is(err, fault.NotFound) {
			t.Errorf("deleted: %v", err)
		}

		// What is left of a registry that was deleted goes, and nothing else.
		if _, _, err := tokens.PutScopeMap(ctx, elsewhere, "stays", "", nil, ada); err != nil {
			t.Fatal(err)
		}
		if err := tokens.Purge(ctx, small.ID); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[int64]int{small.ID: 0, elsewhere.ID: 1} {
			if n, _, err := tokens.Usage(ctx, id); n != want || err != nil {
				t.Errorf("registry %d has %d, %v", id, n, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }
