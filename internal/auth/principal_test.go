package auth

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// program is a service principal and its password.
type program struct {
	ServicePrincipal
	password string
}

func newProgram(t testing.TB, a *Authority, name string, roles ...string) program {
	t.Helper()
	var assignments []Assignment
	for _, role := range roles {
		assignments = append(assignments, Assignment{role, contoso.ResourceID})
	}
	p, password, err := a.CreatePrincipal(t.Context(), name, assignments)
	if err != nil {
		t.Fatal(err)
	}
	return program{p, password}
}

func TestServicePrincipals(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		a, err := Open(t.Context(), Options{DB: db, Key: testKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		ci := newProgram(t, a, "ci-build", "acrpush", "AcrDelete", "AcrPush")
		newProgram(t, a, "Auditor", "Reader")
		if len(ci.password) != 40 || strings.Trim(ci.password, "abcdefghijklmnopqrstuvwxyz234567") != "" {
			t.Errorf("password %q", ci.password)
		}
		all, err := a.ServicePrincipals(t.Context())
		if err != nil || len(all) != 2 || all[0].DisplayName != "Auditor" || all[1].DisplayName != "ci-build" {
			t.Fatalf("the list: %+v, %v", all, err)
		}
		want := fmt.Sprintf("[{AcrDelete %s} {AcrPush %[1]s}]", contoso.ResourceID)
		for _, key := range []string{"ci-build", "CI-Build", ci.AppID, strings.ToUpper(ci.AppID)} {
			p, err := a.ServicePrincipal(t.Context(), key)
			if err != nil || p.AppID != ci.AppID || fmt.Sprint(p.Assignments) != want || !p.CreatedAt.Equal(ci.CreatedAt) {
				t.Errorf("%s: %+v, %v", key, p, err)
			}
		}
		if _, _, err := a.CreatePrincipal(t.Context(), "CI-BUILD", []Assignment{{"Reader", "/"}}); !fault.Is(err, fault.Conflict) {
			t.Errorf("a name in another case: %v", err)
		}

		login := func(user, password string) error {
			_, err := a.Login(t.Context(), contoso, "192.0.2.1:1", user, password)
			return err
		}
		if err := login(strings.ToUpper(ci.AppID), ci.password); err != nil {
			t.Errorf("login: %v", err)
		}
		for _, wrong := range [][2]string{{ci.AppID, "x"}, {ci.DisplayName, ci.password}, {all[0].AppID, ci.password}, {"{" + ci.AppID + "}", ci.password}} {
			if err := login(wrong[0], wrong[1]); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("login as %s: %v", wrong[0], err)
			}
		}
		if err := login(ci.AppID, "x"); !strings.Contains(err.Error(), "service-principal list") {
			t.Errorf("wrong password: %v", err)
		}

		fields := []string{
			basic(ci.AppID, ci.password),
			"Bearer " + issue(t, a, identityOf(t, a, ci), contoso, "repository:x:pull"),
			basic(TokenUser, issueRefresh(t, a, identityOf(t, a, ci), contoso)),
		}
		works := func() (n int) {
			for _, f := range fields {
				id, err := authenticate(a, contoso, f)
				if err == nil && id.Name == "ci-build" {
					n++
				} else if !fault.Is(err, fault.Unauthenticated) {
					t.Errorf("%.8s…: %v", f, err)
				}
			}
			return n
		}
		if n := works(); n != len(fields) {
			t.Errorf("%d of %d credentials work", n, len(fields))
		}
		p, password, err := a.ResetPassword(t.Context(), ci.AppID)
		if err != nil || password == ci.password || p.ResetAt.Before(ci.ResetAt) || p.DisplayName != "ci-build" {
			t.Fatalf("reset: %+v, %v", p, err)
		}
		if n := works(); n != 0 {
			t.Errorf("after a reset %d credentials work", n)
		}
		if err := login(ci.AppID, password); err != nil {
			t.Errorf("the new password: %v", err)
		}
		fields = []string{basic(ci.AppID, password), "Bearer " + issue(t, a, identityOf(t, a, program{p, password}), contoso, "repository:x:pull")}
		if err := a.DeletePrincipal(t.Context(), ci.AppID); err != nil {
			t.Fatal(err)
		}
		if n := works(); n != 0 {
			t.Errorf("after its deletion %d credentials work", n)
		}
		if err := a.DeletePrincipal(t.Context(), ci.AppID); !fault.Is(err, fault.NotFound) {
			t.Errorf("deleted again: %v", err)
		}
		if _, _, err := a.ResetPassword(t.Context(), ci.AppID); !fault.Is(err, fault.NotFound) {
			t.Errorf("reset after the deletion: %v", err)
		}
		if _, err := a.ServicePrincipal(t.Context(), "ci-build"); !fault.Is(err, fault.NotFound) {
			t.Errorf("found after the deletion: %v", err)
		}
		if again := newProgram(t, a, "ci-build", "Reader"); again.AppID == ci.AppID {
			t.Error("an appId is used twice")
		}
		// The database knows no password.
		err = db.Read(t.Context(), func(tx *sqldb.Tx) error {
			_, mac, err := findPrincipal(tx, "ci-build")
			if len(mac) != 32 || bytes.Contains(mac, []byte(password)) {
				t.Errorf("the database has %q", mac)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func identityOf(t testing.TB, a *Authority, p program) Identity {
	t.Helper()
	id, err := a.Login(t.Context(), contoso, "192.0.2.1:1", p.AppID, p.password)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestCreatePrincipalRefuses(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	reader := []Assignment{{"Reader", "/subscriptions/s"}}
	for _, tt := range []struct {
		name        string
		assignments []Assignment
		want        string
	}{
		{"", reader, `name "" is not valid: use 1 to 64 letters`},
		{"two words", reader, "is not valid"},
		{"größe", reader, "is not valid"},
		{"doc\u212Aer", reader, "is not valid"}, // the Kelvin sign's lower case is k
		{strings.Repeat("a", 65), reader, "is not valid"},
		{TokenUser, reader, "is not valid"}, // a UUID would be taken for an appId
		{"ci", nil, "has no role: give it one of Owner"},
		{"ci", []Assignment{{"Boss", "/"}}, `there is no role "Boss"`},
		{"ci", make([]Assignment, maxAssignments+1), "32 is the most"},
	} {
		if _, password, err := a.CreatePrincipal(t.Context(), tt.name, tt.assignments); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want) || password != "" {
			t.Errorf("%q: %v", tt.name, err)
		}
	}
	if all, err := a.ServicePrincipals(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("there are %v, %v", all, err)
	}
}

// TestTokenIsBoundToRolesOfTheMoment: a token never allows more than its account
// may now.
func TestTokenIsBoundToRolesOfTheMoment(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	p := newProgram(t, a, "ci", "AcrPush", "AcrDelete")
	field := "Bearer " + issue(t, a, identityOf(t, a, p), contoso, "repository:x:pull,push,delete")
	may := func(action string) error {
		id, err := authenticate(a, contoso, field)
		if err != nil {
			t.Fatal(err)
		}
		return id.Require(contoso, ToRepository("x", action))
	}
	if err := may(Delete); err != nil {
		t.Fatal(err)
	}
	err := a.db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
		_, err := tx.Exec("DELETE FROM role_assignment WHERE role = 'AcrDelete'")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := may(Delete); err == nil {
		t.Error("the token allows what the account may no longer")
	}
	if err := may(Push); err != nil {
		t.Errorf("and refuses what it may: %v", err)
	}
}

// TestRefusalsOfRoles has what docker shows to who has no role.
func TestRefusalsOfRoles(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	puller := identityOf(t, a, newProgram(t, a, "puller", "AcrPull"))
	for _, tt := range []struct {
		reg    Registry
		wanted []Access
		want   string
	}{
		{contoso, []Access{ToRepository("x", Push)}, "authentication required: the roles of puller do not allow repository:x:push in registry contoso"},
		{fabrikam, nil, "authentication required: puller has no role in registry fabrikam that lets it pull, push or delete"},
	} {
		if got := fault.As(puller.Require(tt.reg, tt.wanted...)).Message; got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	if err := puller.Require(contoso, ToRepository("x", Pull), Catalog); err != nil {
		t.Error(err)
	}
}
