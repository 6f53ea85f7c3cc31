package auth

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

func TestParseScope(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Access{
		"repository:team/web:pull,push":            {"repository", "team/web", []string{"pull", "push"}},
		"repository:x:*":                           {"repository", "x", []string{"*"}},
		"registry:catalog:*":                       {"registry", "catalog", []string{"*"}},
		"artifact-repository:repo:push,pull":       {"artifact-repository", "repo", []string{"push", "pull"}},
		"repository(plugin):x:pull":                {"repository(plugin)", "x", []string{"pull"}},
		"other:host:5000/x:fly":                    {"other", "host:5000/x", []string{"fly"}},
		"repository:x:pull,,metadata_read,unheard": {"repository", "x", []string{"pull", "", "metadata_read", "unheard"}},
	} {
		if got, err := ParseScope(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		} else if got.String() != text {
			t.Errorf("%q written again is %q", text, got)
		}
	}
	for _, text := range []string{"", ":", "::", "repository", "repository:x", "repository:x:", "repository::pull", ":x:pull", "repository:UPPER:pull", "repository:*:pull", "repository:host:5000/x:pull", "repository:../x:pull"} {
		if got, err := ParseScope(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestParseScopes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		params []string
		want   string
	}{
		{nil, "[]"},
		{[]string{"", "  "}, "[]"},
		{[]string{"repository:x:pull", "repository:y:pull"}, "[repository:x:pull repository:y:pull]"},
		{[]string{" repository:x:pull  repository:y:pull"}, "[repository:x:pull repository:y:pull]"},
	} {
		if got, err := ParseScopes(tt.params); err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("%q: %v, %v; want %s", tt.params, got, err, tt.want)
		}
	}
	if _, err := ParseScopes(slices.Repeat([]string{"repository:x:pull"}, maxScopes)); err != nil {
		t.Errorf("%d scopes: %v", maxScopes, err)
	}
	if _, err := ParseScopes([]string{strings.Repeat("repository:x:pull ", maxScopes+1)}); !fault.Is(err, fault.Invalid) {
		t.Errorf("%d scopes: %v", maxScopes+1, err)
	}
}

// TestLongestTokenIsTaken has as many scopes with as long names as can be asked
// for.
func TestLongestTokenIsTaken(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	var scopes []string
	for i := range maxScopes {
		scopes = append(scopes, fmt.Sprintf("repository:%s%02d:*", strings.Repeat("x", 253), i))
	}
	token := issue(t, a, operator, contoso, scopes...)
	id, err := authenticate(a, contoso, "Bearer "+token)
	if err != nil || len(id.Access) != maxScopes {
		t.Errorf("%d bytes: %d scopes, %v", len(token), len(id.Access), err)
	}
}

func FuzzParseScopes(f *testing.F) {
	for _, s := range []string{"repository:x:pull", "registry:catalog:*", "a:b:c:d", "repository:x:pull repository:y:*", ":::", "repository:x:\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseScopes([]string{text})
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if n := len(strings.Fields(text)); len(got) != n {
			t.Fatalf("%q: %d scopes of %d", text, len(got), n)
		}
		// Whatever was asked, nobody gets what he may not have.
		if g := grant(Anonymous, contoso, got); len(g) != 0 {
			t.Fatalf("%q grants anonymous %v", text, g)
		}
		for _, g := range grant(operator, contoso, got) {
			for _, action := range g.Actions {
				if !slices.Contains(actionsOf[g.Type], action) {
					t.Fatalf("%q grants %v", text, g)
				}
			}
		}
	})
}
