package auth

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// chartNeeds says what each method of Charts asks for.
var chartNeeds = map[string][]string{
	"Index":       {Pull},
	"Open":        {Pull},
	"Charts":      {Pull},
	"Versions":    {Pull},
	"Version":     {Pull},
	"Create":      {Pull, Push},
	"Replace":     {Pull, Push},
	"Delete":      {Delete},
	"DeleteChart": {Delete},
}

// callCharts calls a method of a guard in front of nothing, so that what passes the
// guard panics. It returns errReached then, or the method's error.
func callCharts(t *testing.T, method string, id Identity) (err error) {
	t.Helper()
	m := reflect.ValueOf(GuardCharts(nil, id, contoso)).MethodByName(method)
	args := make([]reflect.Value, m.Type().NumIn())
	for i := range args {
		if args[i] = reflect.Zero(m.Type().In(i)); m.Type().In(i) == reflect.TypeFor[context.Context]() {
			args[i] = reflect.ValueOf(t.Context())
		}
	}
	defer func() {
		if recover() != nil {
			err = errReached
		}
	}()
	out := m.Call(args)
	for _, v := range out[:len(out)-1] {
		if !v.IsZero() {
			t.Errorf("%s: a refusal comes with %v", method, v)
		}
	}
	err, _ = out[len(out)-1].Interface().(error)
	return err
}

// TestGuardCharts walks all methods of Charts: one that is added later fails until
// it is in the table.
func TestGuardCharts(t *testing.T) {
	t.Parallel()
	charts := reflect.TypeFor[Charts]()
	for i := range charts.NumMethod() {
		method := charts.Method(i).Name
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			actions, ok := chartNeeds[method]
			if !ok {
				t.Fatal("not in the table of this test: say what it needs")
			}
			wanted := ToCharts(actions...)
			refused := func(who string, id Identity, problem string) {
				t.Helper()
				err := callCharts(t, method, id)
				if err == nil || err == errReached {
					t.Fatalf("%s: %v", who, err)
				}
				want := `Bearer realm="https://contoso.example/oauth2/token",service="contoso.example",scope="` + wanted.String() + `"` + problem
				if got := challengeOf(t, err); got != want {
					t.Errorf("%s:\ngot  %s\nwant %s", who, got, want)
				}
				if got := detailOf(t, err); got != detailFor([]Access{wanted}) || !fault.Is(err, fault.Unauthenticated) {
					t.Errorf("%s: %s, want %s", who, got, detailFor([]Access{wanted}))
				}
			}
			const insufficient = `,error="insufficient_scope"`
			refused("anonymous", Anonymous, "")
			refused("an account without rights", Identity{Name: "someone", account: &account{name: "someone"}}, "")
			refused("a password of another registry", Identity{Name: operatorName, account: operator.account, Registry: fabrikam.ID}, "")
			refused("an anonymous token", Identity{Registry: contoso.ID, Access: []Access{}, expires: time.Now()}, insufficient)
			elsewhere := token(wanted)
			elsewhere.Registry = fabrikam.ID
			refused("a token of another registry", elsewhere, insufficient)
			refused("a token without access", token(), insufficient)
			refused("a token for all of a repository of that name", token(ToRepository("repo", actionsOf[TypeRepository]...)), insufficient)
			refused("a token for the catalog", token(Catalog), insufficient)
			refused("another chart repository", token(Access{TypeArtifactRepository, "charts", actions}), insufficient)
			for _, action := range actions {
				rest := slices.DeleteFunc(slices.Clone(actionsOf[TypeArtifactRepository]), func(a string) bool { return a == action })
				refused("all but "+action, token(ToCharts(rest...)), insufficient)
			}
			for who, id := range map[string]Identity{
				"the operator":      operator,
				"a refresh token":   {Name: operatorName, account: operator.account, Registry: contoso.ID, expires: time.Now()},
				"a token that does": token(wanted),
			} {
				if err := callCharts(t, method, id); err != errReached {
					t.Errorf("%s: %v", who, err)
				}
			}
		})
	}
}

// What a role may do with charts is what it may do with images.
func TestChartRoles(t *testing.T) {
	t.Parallel()
	for role, want := range map[string]string{
		"Owner": "artifact-repository:repo:pull,push,delete", "Contributor": "artifact-repository:repo:pull,push,delete",
		"Reader": "artifact-repository:repo:pull", "AcrPull": "artifact-repository:repo:pull", "AcrPush": "artifact-repository:repo:pull,push",
		"AcrDelete": "artifact-repository:repo:delete", "AcrQuarantineWriter": "artifact-repository:repo:pull",
	} {
		id := Identity{Name: role, account: &account{name: role, rights: rights{roles: []Assignment{{role, "/"}}}}}
		got := ""
		for _, access := range grant(id, contoso, []Access{ToCharts(All)}) {
			got += access.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", role, got, want)
		}
		// What is asked for beyond what there is, is left out.
		if odd := grant(id, contoso, []Access{ToCharts(MetadataRead, MetadataWrite, DeletedRead)}); len(odd) > 0 {
			t.Errorf("%s: %v", role, odd)
		}
	}
}
