package auth

import (
	"bytes"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

func change(t *testing.T, a *Authority, fn func(*sqldb.Tx) error) {
	t.Helper()
	if err := a.db.Write(t.Context(), sqldb.Change, fn); err != nil {
		t.Fatal(err)
	}
}

// TestAdminUser follows the admin user of one registry: where it may log in, what
// it may do, and that its tokens end with the password that made them.
func TestAdminUser(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, openDB func() *sqldb.DB) {
		a := open(t, openDB())
		ensure(t, a, operatorPassword)
		fabrikam := Registry{ID: 7, Name: "fabrikam", Service: "fabrikam.example", Realm: "http://fabrikam.example"}
		const client = "192.0.2.7:1"
		repo := ToRepository("team/web", Pull, Push)

		if _, err := a.AdminPasswords(t.Context(), fabrikam.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("before it is enabled: %v", err)
		}
		enable := func(tx *sqldb.Tx) error { return a.EnableAdmin(tx, fabrikam.ID, "fabrikam") }
		change(t, a, enable)
		passwords, err := a.AdminPasswords(t.Context(), fabrikam.ID)
		if err != nil || len(passwords[0]) != 32 || passwords[0] == passwords[1] {
			t.Fatal(passwords, err)
		}
		change(t, a, enable)
		if again, err := a.AdminPasswords(t.Context(), fabrikam.ID); err != nil || again != passwords {
			t.Errorf("enabled twice it has %v, %v", again, err)
		}

		// After a restart, too.
		a = open(t, a.db)
		ensure(t, a, operatorPassword)
		tokens := map[string]string{}
		for _, password := range passwords {
			id, err := a.Login(t.Context(), fabrikam, client, "fabrikam", password)
			if err != nil || id.account == a.operator.Load() || id.Registry != fabrikam.ID {
				t.Fatalf("%+v, %v", id, err)
			}
			if err := id.Require(fabrikam, repo, Catalog); err != nil {
				t.Errorf("in its registry: %v", err)
			}
			if err := id.Require(contoso, repo); err == nil {
				t.Error("it may push to another registry")
			}
			if tokens[password], err = a.IssueRefresh(id, fabrikam); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Login(t.Context(), contoso, client, "fabrikam", password); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("at another registry: %v", err)
			}
		}
		refreshed, err := a.Refresh(t.Context(), fabrikam, client, tokens[passwords[1]])
		if err != nil || refreshed.Require(fabrikam, repo) != nil || refreshed.Require(contoso, repo) == nil {
			t.Errorf("refreshed: %+v, %v", refreshed, err)
		}
		access, err := a.Issue(refreshed, fabrikam, []Access{repo})
		if err != nil {
			t.Fatal(err)
		}
		if id, err := a.Login(t.Context(), fabrikam, client, TokenUser, access); err != nil || id.Require(fabrikam, repo) != nil {
			t.Errorf("with an access token: %+v, %v", id, err)
		}

		renewed, err := a.RenewAdminPassword(t.Context(), fabrikam.ID, 1)
		if err != nil || renewed[0] != passwords[0] || renewed[1] == passwords[1] {
			t.Fatal(renewed, err)
		}
		for password, works := range map[string]bool{passwords[0]: true, passwords[1]: false, renewed[1]: true, "": false} {
			if _, err := a.Login(t.Context(), fabrikam, client, "fabrikam", password); (err == nil) != works {
				t.Errorf("password %q: %v", password, err)
			}
		}
		if _, err := a.Refresh(t.Context(), fabrikam, client, tokens[passwords[0]]); err != nil {
			t.Errorf("the other password's token: %v", err)
		}
		for _, token := range []string{tokens[passwords[1]]} {
			if _, err := a.Refresh(t.Context(), fabrikam, client, token); err == nil {
				t.Error("a token outlives the password it was made from")
			}
		}
		if _, err := a.Login(t.Context(), fabrikam, client, TokenUser, access); err == nil {
			t.Error("an access token outlives the password it was made from")
		}

		change(t, a, func(tx *sqldb.Tx) error { return a.DisableAdmin(tx, fabrikam.ID) })
		if _, err := a.Login(t.Context(), fabrikam, client, "fabrikam", passwords[0]); err == nil {
			t.Error("it logs in after it was disabled")
		}
		if _, err := a.Refresh(t.Context(), fabrikam, client, tokens[passwords[0]]); err == nil {
			t.Error("a token is good after it was disabled")
		}
		change(t, a, enable)
		if fresh, err := a.AdminPasswords(t.Context(), fabrikam.ID); err != nil || fresh == renewed || fresh[0] == passwords[0] {
			t.Errorf("enabled again it has %v, %v", fresh, err)
		}
	})
}

// TestAdminUserBesideTheOperator gives the default registry's admin user, who has
// the operator's name, what is in that registry and no more.
func TestAdminUserBesideTheOperator(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	own := Registry{ID: 1, Name: operatorName, Service: "own.example", Realm: "http://own.example"}
	change(t, a, func(tx *sqldb.Tx) error { return a.EnableAdmin(tx, own.ID, operatorName) })
	passwords, err := a.AdminPasswords(t.Context(), own.ID)
	if err != nil {
		t.Fatal(err)
	}
	const client = "192.0.2.7:1"
	op, err := a.Login(t.Context(), own, client, operatorName, operatorPassword)
	if err != nil || op.account != a.operator.Load() {
		t.Errorf("the operator: %+v, %v", op, err)
	}
	admin, err := a.Login(t.Context(), own, client, operatorName, passwords[0])
	if err != nil || admin.account == a.operator.Load() || admin.Require(own, ToRepository("x", Pull)) != nil {
		t.Errorf("the admin user: %+v, %v", admin, err)
	}
	token, err := a.IssueRefresh(admin, own)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.RenewAdminPassword(t.Context(), own.ID, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Refresh(t.Context(), own, client, token); err == nil {
		t.Error("the admin user's token counts as the operator's")
	}
	ofOperator, err := a.IssueRefresh(op, own)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Refresh(t.Context(), own, client, ofOperator); err != nil {
		t.Errorf("the operator's token: %v", err)
	}
}

func TestAdminPasswordsAreSealed(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	change(t, a, func(tx *sqldb.Tx) error { return a.EnableAdmin(tx, 7, "fabrikam") })
	passwords, err := a.AdminPasswords(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	err = a.db.Read(t.Context(), func(tx *sqldb.Tx) error {
		sealed, err := findAdmin(tx, 7)
		if bytes.Contains(sealed, []byte(passwords[0])) || bytes.Contains(sealed, []byte("fabrikam")) {
			t.Error("the row shows what is in it")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
