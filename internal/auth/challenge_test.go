package auth

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// parameter is one parameter of a challenge as RFC 9110, section 11.2, has it,
// with a quoted value that needs no escapes.
var parameter = regexp.MustCompile(`^(,?)([a-z_]+)="([^"\\[:cntrl:]]*)"`)

// readChallenge takes a challenge apart by the book.
func readChallenge(t *testing.T, text string) map[string]string {
	t.Helper()
	rest, ok := strings.CutPrefix(text, "Bearer ")
	if !ok {
		t.Fatalf("%q is no Bearer challenge", text)
	}
	got := map[string]string{}
	for rest != "" {
		m := parameter.FindStringSubmatch(rest)
		if m == nil || (m[1] == "") != (len(got) == 0) {
			t.Fatalf("%q: cannot be read at %q", text, rest)
		}
		if _, twice := got[m[2]]; twice {
			t.Fatalf("%q: %s stands there twice", text, m[2])
		}
		got[m[2]], rest = m[3], rest[len(m[0]):]
	}
	return got
}

// FuzzChallenge holds that a challenge for whatever may be wanted of a registry
// says it again, however a client reads it.
func FuzzChallenge(f *testing.F) {
	f.Add("repository:team/web:pull,push repository:a:pull", insufficientScope)
	f.Add("registry:catalog:*", invalidToken)
	f.Add("", noProblem)
	f.Add(`repository:x:"`, noProblem)
	f.Fuzz(func(t *testing.T, scopes, problem string) {
		if !slices.Contains([]string{noProblem, invalidToken, insufficientScope}, problem) {
			return
		}
		asked, err := ParseScopes([]string{scopes})
		if err != nil {
			return
		}
		// Only what is known is ever wanted.
		var wanted []Access
		for _, a := range asked {
			actions := slices.DeleteFunc(slices.Clone(a.Actions), func(action string) bool { return !slices.Contains(actionsOf[a.Type], action) })
			if len(actions) > 0 && (a.Type == TypeRepository || a.Name == Catalog.Name) {
				wanted = append(wanted, Access{a.Type, a.Name, actions})
			}
		}
		text := challenge(contoso, problem, wanted...)
		got := readChallenge(t, text)
		if got["realm"] != contoso.Realm+"/oauth2/token" || got["service"] != contoso.Service || got["error"] != problem {
			t.Errorf("%q is read as %v", text, got)
		}
		again, err := ParseScopes([]string{got["scope"]})
		if err != nil || scopesText(again) != scopesText(wanted) {
			t.Errorf("%q: its scope is read as %v, %v", text, again, err)
		}
		if len(wanted) > 0 {
			return
		}
		// The Azure CLI cuts the challenge of /v2/ at blanks, then at commas, then at =.
		naive := map[string]string{}
		for pair := range strings.SplitSeq(strings.Fields(text)[1], ",") {
			name, value, _ := strings.Cut(pair, "=")
			naive[name] = strings.Trim(value, `"`)
		}
		if naive["realm"] != got["realm"] || naive["service"] != got["service"] {
			t.Errorf("%q is read naively as %v", text, naive)
		}
	})
}
