package tenant

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

func openDB(t testing.TB, path string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.Open(t.Context(), sqldb.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func openStore(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), openDB(t, filepath.Join(t.TempDir(), "dockbell.db")), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpenMakesTheDefaultRegistry(t *testing.T) {
	t.Parallel()
	r := openStore(t, Options{}).Default()
	if r.Name != "dockbell" || r.Location != "local" || r.ResourceGroup != "dockbell" || r.SKU != Premium {
		t.Errorf("default registry is %+v", r)
	}
	if r.ID == 0 || r.CreatedAt.IsZero() {
		t.Errorf("default registry has id %d and was made at %v", r.ID, r.CreatedAt)
	}
	if _, err := uuid.Parse(r.Subscription); err != nil {
		t.Errorf("subscription %q: %v", r.Subscription, err)
	}
	if got, want := r.ResourceID(), "/subscriptions/"+r.Subscription+"/resourceGroups/dockbell/providers/Microsoft.ContainerRegistry/registries/dockbell"; got != want {
		t.Errorf("resource id %s, want %s", got, want)
	}
	if got := r.LoginServer("azurecr.example:5000"); got != "dockbell.azurecr.example:5000" {
		t.Errorf("login server %s", got)
	}
}

func TestOpenAgainKeepsWhatWasMade(t *testing.T) {
	t.Parallel()
	db := openDB(t, filepath.Join(t.TempDir(), "dockbell.db"))
	first, err := Open(t.Context(), db, Options{DefaultName: "Contoso", DefaultLocation: "West Europe"})
	if err != nil {
		t.Fatal(err)
	}
	if r := first.Default(); r.Name != "contoso" || r.Location != "westeurope" {
		t.Fatalf("default registry is %+v", r)
	}
	again, err := Open(t.Context(), db, Options{DefaultName: "contoso", DefaultLocation: "eastus"})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Default(), first.Default()) {
		t.Errorf("after a restart the default registry is %+v, was %+v", again.Default(), first.Default())
	}
	other, err := Open(t.Context(), db, Options{DefaultName: "another"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range other.List() {
		names = append(names, r.Name)
		if r.Subscription != first.Default().Subscription {
			t.Errorf("registry %s is in another subscription", r.Name)
		}
	}
	if got := strings.Join(names, " "); got != "another contoso" {
		t.Errorf("registries are %s", got)
	}
	if other.Default().Name != "another" {
		t.Errorf("default registry is %s", other.Default().Name)
	}
}

func TestByName(t *testing.T) {
	t.Parallel()
	s := openStore(t, Options{DefaultName: "contoso"})
	if r, err := s.ByName("ConToso"); err != nil || !reflect.DeepEqual(r, s.Default()) {
		t.Errorf("ConToso: %+v, %v", r, err)
	}
	if _, err := s.ByName("nosuch"); !fault.Is(err, fault.NotFound) || fault.As(err).Code != "RegistryResourceNotFound" {
		t.Errorf("nosuch: %v", err)
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, want string
	}{
		{"contoso", "contoso"},
		{"Contoso01", "contoso01"},
		{"abcde", "abcde"},
		{strings.Repeat("a", 50), strings.Repeat("a", 50)},
		{"", ""},
		{"abcd", ""},
		{strings.Repeat("a", 51), ""},
		{"con-toso", ""},
		{"con.toso", ""},
		{"contosö", ""},
		{"con\u212Atoso", ""}, // the Kelvin sign's lower case is k
	} {
		got, err := ParseName(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ParseName(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("ParseName(%q) fails with kind %v", tt.in, fault.As(err).Kind)
		}
	}
}

func TestOpenRefusesAnInvalidName(t *testing.T) {
	t.Parallel()
	db := openDB(t, filepath.Join(t.TempDir(), "dockbell.db"))
	if _, err := Open(t.Context(), db, Options{DefaultName: "my-reg"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("error is %v", err)
	}
}

func TestWebhookLimit(t *testing.T) {
	t.Parallel()
	for sku, want := range map[SKU]int{Basic: 2, Standard: 10, Premium: 500} {
		if got := sku.WebhookLimit(); got != want {
			t.Errorf("%s: %d, want %d", sku, got, want)
		}
	}
}
