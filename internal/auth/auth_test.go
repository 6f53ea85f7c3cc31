package auth

import (
	"bytes"
	"encoding/base64"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
)

const (
	operatorName     = "dockbell"
	operatorPassword = "correct horse"
)

var contoso = Registry{ID: 1, Name: "contoso", ResourceID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/contoso",
	Service: "contoso.example", Realm: "https://contoso.example"}

var fabrikam = Registry{ID: 2, Name: "fabrikam", ResourceID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerRegistry/registries/fabrikam",
	Service: "fabrikam.example", Realm: "https://fabrikam.example"}

func openDB(t testing.TB) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(t.TempDir(), "dockbell.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func testKey(t testing.TB) *seal.Key {
	t.Helper()
	key, err := seal.New(bytes.Repeat([]byte{7}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func open(t testing.TB, db *sqldb.DB) *Authority {
	t.Helper()
	a, err := Open(t.Context(), Options{DB: db, Key: testKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newAuthority returns an Authority with the operator, on a database of its own.
func newAuthority(t testing.TB) *Authority {
	t.Helper()
	a := open(t, openDB(t))
	ensure(t, a, operatorPassword)
	return a
}

// client is an address that nobody else has.
const client = "192.0.2.1:1"

// signing returns the key that signs tokens now.
func signing(a *Authority) *signingKey { return a.keys.set().signing(time.Now()) }

func ensure(t testing.TB, a *Authority, configured string) (password string, created bool) {
	t.Helper()
	password, created, err := a.EnsureOperator(t.Context(), operatorName, configured)
	if err != nil {
		t.Fatal(err)
	}
	return password, created
}

// operator is what the operator's password gives.
var operator = func() Identity {
	key, err := seal.New(bytes.Repeat([]byte{7}, seal.KeySize))
	if err != nil {
		panic(err)
	}
	a := &Authority{macKey: key.Derive("password check")}
	return Identity{Name: operatorName, account: a.newOperator(operatorName, operatorPassword)}
}()

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// authenticate sends a request with the given Authorization fields.
func authenticate(a *Authority, registry Registry, fields ...string) (Identity, error) {
	r := httptest.NewRequest("GET", "/v2/", nil)
	for _, f := range fields {
		r.Header.Add("Authorization", f)
	}
	return a.Authenticate(r, registry)
}

func issue(t testing.TB, a *Authority, id Identity, registry Registry, scopes ...string) string {
	t.Helper()
	wanted, err := ParseScopes(scopes)
	if err != nil {
		t.Fatal(err)
	}
	token, err := a.Issue(id, registry, wanted)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func issueRefresh(t testing.TB, a *Authority, id Identity, registry Registry) string {
	t.Helper()
	token, err := a.IssueRefresh(id, registry)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// challengeOf returns the challenge of a refusal, and fails if err is none.
func challengeOf(t testing.TB, err error) string {
	t.Helper()
	c, ok := err.(interface{ Challenge() string })
	f := fault.As(err)
	if !ok || f.Kind != fault.Unauthenticated || f.Code != oci.CodeUnauthorized || f.Message == "" {
		t.Fatalf("not a refusal with a challenge: %#v", err)
	}
	return c.Challenge()
}

func TestEnsureOperator(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	a := open(t, db)
	if _, err := authenticate(a, contoso, basic(operatorName, "")); err == nil {
		t.Error("there is an operator before there is one")
	}

	made, created := ensure(t, a, "")
	if !created || len(made) != 32 || strings.Trim(made, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		t.Errorf("first start: %q, created %t", made, created)
	}
	if id, err := authenticate(a, contoso, basic(operatorName, made)); err != nil || describe(id) != "dockbell everywhere" {
		t.Errorf("login: %+v, %v", id, err)
	}
	commits := db.Commits()
	again := open(t, db)
	if got, created := ensure(t, again, ""); got != made || created {
		t.Errorf("second start: %q, created %t; want %q", got, created, made)
	}
	if n := db.Commits() - commits; n != 0 {
		t.Errorf("a start without a change wrote %d times", n)
	}

	if got, created := ensure(t, again, operatorPassword); got != operatorPassword || created {
		t.Errorf("configured: %q, created %t", got, created)
	}
	if _, err := authenticate(again, contoso, basic(operatorName, made)); err == nil {
		t.Error("the password that was replaced still works")
	}
	if got, _ := ensure(t, open(t, db), ""); got != operatorPassword {
		t.Errorf("the start after: %q", got)
	}
}

func TestEnsureOperatorConfiguredAtFirstStart(t *testing.T) {
	t.Parallel()
	a := open(t, openDB(t))
	if got, created := ensure(t, a, operatorPassword); got != operatorPassword || !created {
		t.Errorf("%q, created %t", got, created)
	}
}

// TestNodesStartTogether has two nodes between the look and the write.
func TestNodesStartTogether(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	a, b := open(t, db), open(t, db)
	first, created, err := a.setOperator(t.Context(), operatorName, "")
	if err != nil || !created {
		t.Fatal(created, err)
	}
	second, created, err := b.setOperator(t.Context(), operatorName, "")
	if err != nil || created || second != first {
		t.Errorf("second node: %q, created %t, %v; want %q", second, created, err, first)
	}
	if signing(a).id != signing(b).id {
		t.Error("the nodes sign with different keys")
	}
}

func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	db := openDB(t)
	ensure(t, open(t, db), operatorPassword)
	var password, private []byte
	err := db.Read(t.Context(), func(tx *sqldb.Tx) (err error) {
		if password, err = findPassword(tx, operatorRegistry, operatorName); err != nil {
			return err
		}
		keys, err := selectSigningKeys(tx)
		if len(keys) != 1 {
			t.Fatalf("%d signing keys", len(keys))
		}
		private = keys[0].private
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(password, []byte(operatorPassword)) {
		t.Error("the password is readable in the database")
	}
	if _, err := parseSigningKey(private); err == nil {
		t.Error("the signing key is readable in the database")
	}
	plain, err := testKey(t).Open(password, "account 0/dockbell")
	if err != nil || string(plain) != operatorPassword {
		t.Errorf("unsealed: %q, %v", plain, err)
	}
	other, err := seal.New(bytes.Repeat([]byte{8}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{DB: db, Key: other}); err == nil || !strings.Contains(err.Error(), "DOCKBELL_DATA_KEY") {
		t.Errorf("with another data key: %v", err)
	}
}
