package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/oci/ocitest"
)

// needs says what each method of oci.Contents asks for, called on repository
// "x"; MountBlob from repository "y".
var needs = map[string]string{
	"Ping":           "",
	"OpenBlob":       "repository:x:pull",
	"StatBlob":       "repository:x:pull",
	"GetManifest":    "repository:x:pull",
	"MountBlob":      "repository:x:pull,push repository:y:pull",
	"StartUpload":    "repository:x:pull,push",
	"UploadOffset":   "repository:x:pull,push",
	"AppendUpload":   "repository:x:pull,push",
	"CommitUpload":   "repository:x:pull,push",
	"CancelUpload":   "repository:x:pull,push",
	"PutManifest":    "repository:x:pull,push",
	"DeleteBlob":     "repository:x:delete",
	"DeleteManifest": "repository:x:delete",
	"DeleteTag":      "repository:x:delete",
	"Tags":           "repository:x:pull",
	"Referrers":      "repository:x:pull",
	"Repositories":   "registry:catalog:*",

	"DescribeRepository":      "repository:x:metadata_read",
	"DescribeTag":             "repository:x:metadata_read",
	"DescribeManifest":        "repository:x:metadata_read",
	"DescribeTags":            "repository:x:metadata_read",
	"DescribeManifests":       "repository:x:metadata_read",
	"SetRepositoryAttributes": "repository:x:metadata_write,metadata_read",
	"SetTagAttributes":        "repository:x:metadata_write,metadata_read",
	"SetManifestAttributes":   "repository:x:metadata_write,metadata_read",
	"DeleteRepository":        "repository:x:delete",
	"SetQuarantine":           "repository:x:metadata_write,metadata_read",

	"DeletedRepositories": "registry:deleted_catalog:*",
	"DeletedManifests":    "repository:x:deleted_read",
	"DeletedTags":         "repository:x:deleted_read",
	"Restore":             "repository:x:deleted_read,deleted_restore",
}

// instead says what does as well.
var instead = map[string]string{
	"Tags":          "repository:x:metadata_read",
	"SetQuarantine": "repository:x:pull,push",
}

// errReached says that a call passed the guard.
var errReached = errors.New("the registry was reached")

// call calls a method of a guard in front of nothing, so that what passes the
// guard panics. It returns errReached then, or the method's error.
func call(t *testing.T, method string, id Identity, registry Registry) (err error) {
	t.Helper()
	g := reflect.ValueOf(Guard(nil, id, registry))
	m := g.MethodByName(method)
	repos := []oci.Repository{"x", "y"}
	args := make([]reflect.Value, m.Type().NumIn())
	for i := range args {
		in := m.Type().In(i)
		switch {
		case in == reflect.TypeFor[context.Context]():
			args[i] = reflect.ValueOf(t.Context())
		case in == reflect.TypeFor[oci.Repository]():
			args[i] = reflect.ValueOf(repos[0])
			repos = repos[1:]
		default:
			args[i] = reflect.Zero(in)
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

func token(access ...Access) Identity {
	return Identity{Name: operatorName, account: operator.account, Registry: contoso.ID, Access: append([]Access{}, access...), expires: time.Now()}
}

// TestGuard walks all methods of oci.Contents: one that is added later fails
// until it is in the table.
func TestGuard(t *testing.T) {
	t.Parallel()
	contents := reflect.TypeFor[oci.Contents]()
	for i := range contents.NumMethod() {
		method := contents.Method(i).Name
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			scopes, ok := needs[method]
			if !ok {
				t.Fatal("not in the table of this test: say what it needs")
			}
			wanted, err := ParseScopes([]string{scopes})
			if err != nil {
				t.Fatal(err)
			}

			refused := func(who string, id Identity, problem string) {
				t.Helper()
				want := `Bearer realm="https://contoso.example/oauth2/token",service="contoso.example"`
				if scopes != "" {
					want += `,scope="` + scopes + `"`
				}
				want += problem
				err := call(t, method, id, contoso)
				if err == nil || err == errReached {
					t.Fatalf("%s: %v", who, err)
				}
				if got := challengeOf(t, err); got != want {
					t.Errorf("%s:\ngot  %s\nwant %s", who, got, want)
				}
				if got := detailOf(t, err); got != detailFor(wanted) {
					t.Errorf("%s:\ngot  %s\nwant %s", who, got, detailFor(wanted))
				}
			}
			const insufficient = `,error="insufficient_scope"`
			refused("anonymous", Anonymous, "")
			refused("a password of another registry", Identity{Name: operatorName, account: operator.account, Registry: fabrikam.ID}, "")
			elsewhere := token(wanted...)
			elsewhere.Registry = fabrikam.ID
			if scopes == "" {
				refused("an anonymous token", Identity{Registry: contoso.ID, Access: []Access{}, expires: time.Now()}, "")
				refused("a token of another registry", elsewhere, "")
			} else {
				refused("an account without rights", Identity{Name: "someone", account: &account{name: "someone"}}, "")
				refused("an anonymous token", Identity{Registry: contoso.ID, Access: []Access{}, expires: time.Now()}, insufficient)
				refused("a token of another registry", elsewhere, insufficient)
				refused("a token without access", token(), insufficient)
			}
			alternative, err := ParseScopes([]string{instead[method]})
			if err != nil {
				t.Fatal(err)
			}
			// All rights there are, except one of those needed.
			for i, w := range wanted {
				for _, action := range w.Actions {
					var rest []Access
					for j, o := range wanted {
						o.Actions = slices.Clone(actionsOf[o.Type])
						if j == i {
							o.Actions = slices.DeleteFunc(o.Actions, func(a string) bool {
								return a == action || len(alternative) > 0 && slices.Contains(alternative[0].Actions, a)
							})
						}
						rest = append(rest, o)
					}
					refused("all but "+action, token(rest...), insufficient)
				}
				other := w
				other.Name += "x"
				refused("another "+w.Type, token(slices.Concat(wanted[:i], []Access{other}, wanted[i+1:])...), insufficient)
			}

			if len(alternative) > 0 {
				if err := call(t, method, token(alternative...), contoso); err != errReached {
					t.Errorf("a token for %s: %v", instead[method], err)
				}
			}
			for who, id := range map[string]Identity{
				"the operator":      operator,
				"a refresh token":   {Name: operatorName, account: operator.account, Registry: contoso.ID, expires: time.Now()},
				"a token that does": token(wanted...),
			} {
				if err := call(t, method, id, contoso); err != errReached {
					t.Errorf("%s: %v", who, err)
				}
			}
		})
	}
}

func TestRequireOfNothingInParticular(t *testing.T) {
	t.Parallel()
	if err := operator.Require(contoso, ToRepository("x")); err == nil {
		t.Error("access without an action is given")
	}
}

// TestRefusalMessages has what docker shows.
func TestRefusalMessages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		id   Identity
		want string
	}{
		{Anonymous, "authentication required: docker login contoso.example"},
		{Identity{Registry: contoso.ID, Access: []Access{}, expires: time.Now()}, "authentication required: docker login contoso.example"},
		{token(), "authentication required: the token of dockbell does not allow repository:x:pull,push: get one for that scope"},
	} {
		if got := fault.As(tt.id.Require(contoso, ToRepository("x", Pull, Push))).Message; got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// detailOf returns the detail of a refusal as JSON.
func detailOf(t *testing.T, err error) string {
	t.Helper()
	b, jsonErr := json.Marshal(fault.As(err).Detail)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	return string(b)
}

func detailFor(wanted []Access) string {
	var entries []string
	for _, w := range wanted {
		for _, action := range w.Actions {
			entries = append(entries, fmt.Sprintf(`{"Type":%q,"Name":%q,"Action":%q}`, w.Type, w.Name, action))
		}
	}
	if entries == nil {
		return "null"
	}
	return "[" + strings.Join(entries, ",") + "]"
}

func TestAnonymousMount(t *testing.T) {
	t.Parallel()
	mount := func(id Identity) (err error) {
		defer func() {
			if recover() != nil {
				err = errReached
			}
		}()
		_, err = Guard(nil, id, contoso).MountBlob(t.Context(), "x", "sha256:abc", "")
		return err
	}
	if err := mount(operator); err != errReached {
		t.Errorf("the operator: %v", err)
	}
	if err := mount(token(ToRepository("x", Pull, Push))); fault.As(err).Code != oci.CodeBlobUnknown {
		t.Errorf("a token for one repository: %v", err)
	}
	if err := mount(token(ToRepository("x", Pull))); fault.As(err).Code != oci.CodeUnauthorized {
		t.Errorf("a token that may not push: %v", err)
	}
}

// TestGuardIsTransparent holds the whole contract of a registry against one
// behind a guard.
func TestGuardIsTransparent(t *testing.T) {
	t.Parallel()
	ocitest.Run(t, func(*testing.T) oci.Registry {
		return Guard(struct {
			oci.Registry
			oci.Metadata
			oci.Quarantine
			oci.SoftDelete
		}{Registry: ocitest.Memory()}, operator, contoso)
	})
}
