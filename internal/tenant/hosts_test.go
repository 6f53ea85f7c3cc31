package tenant

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

// testHosts knows the registries dockbell (default) and contoso.
func testHosts(t testing.TB) *Hosts {
	t.Helper()
	db := openDB(t, filepath.Join(t.TempDir(), "dockbell.db"))
	if _, err := Open(t.Context(), db, Options{DefaultName: "contoso"}); err != nil {
		t.Fatal(err)
	}
	store, err := Open(t.Context(), db, Options{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHosts(store, "Azurecr.Example", "Registry.corp.example:8443", "dockbell_web", "10.1.2.3:5000")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestResolve(t *testing.T) {
	t.Parallel()
	h := testHosts(t)
	const misdirected = ""
	for host, want := range map[string]string{
		"contoso.azurecr.example":          "contoso",
		"contoso.azurecr.example:5000":     "contoso",
		"CONTOSO.AzureCR.example":          "contoso",
		"contoso.azurecr.example.":         "contoso",
		"contoso.azurecr.example.:443":     "contoso",
		"contoso.azurecr.example:":         "contoso", // RFC 3986: the port may be empty
		"dockbell.azurecr.example":         "dockbell",
		"registry.corp.example":            "dockbell",
		"REGISTRY.corp.example:1":          "dockbell",
		"dockbell_web:5000":                "dockbell",
		"localhost":                        "dockbell",
		"localhost:5000":                   "dockbell",
		"LocalHost.":                       "dockbell",
		"127.0.0.1":                        "dockbell",
		"127.0.0.1:5000":                   "dockbell",
		"192.168.7.9:80":                   "dockbell",
		"[::1]":                            "dockbell",
		"[::1]:5000":                       "dockbell",
		"[2001:DB8::7]:5000":               "dockbell",
		"[fe80::1%25eth0]:5000":            "dockbell",
		"":                                 misdirected,
		".":                                misdirected,
		":5000":                            misdirected,
		"azurecr.example":                  misdirected,
		".azurecr.example":                 misdirected,
		"nosuch.azurecr.example":           misdirected,
		"a.contoso.azurecr.example":        misdirected,
		"contosoazurecr.example":           misdirected,
		"contoso.azurecr.example.evil":     misdirected,
		"contoso.azurecr.example..":        misdirected,
		"contoso.azurecr.example:5x":       misdirected,
		"contoso.azurecr.example:1:2":      misdirected,
		"contoso.azurecr.example:99999999": misdirected,
		"contoso.azurecr.example/x":        misdirected,
		"user@contoso.azurecr.example":     misdirected,
		"contoso.azurecr.example\x00":      misdirected,
		"contoso .azurecr.example":         misdirected,
		"evil.example":                     misdirected,
		"localhost.evil.example":           misdirected,
		"::1":                              misdirected,
		"[::1":                             misdirected,
		"[::1]5000":                        misdirected,
		"[127.0.0.1]":                      misdirected,
		"[localhost]":                      misdirected,
		"127.1":                            misdirected,
		"0x7f000001":                       misdirected,
		"2130706433":                       misdirected,
		"127.0.0.1.":                       misdirected,
		"127.0.0.1.evil.example":           misdirected,
		"doc\u212Abell.azurecr.example":    misdirected, // the Kelvin sign's lower case is k
		strings.Repeat("a.", 200) + "azurecr.example": misdirected,
	} {
		r, err := h.Resolve(host)
		if r.Name != want {
			t.Errorf("Resolve(%q) = %q, %v; want %q", host, r.Name, err, want)
		}
		if want == misdirected {
			if f := fault.As(err); f == nil || f.Kind != fault.NotFound || f.Code != CodeMisdirected || !strings.Contains(f.Message, "--domain") {
				t.Errorf("Resolve(%q) fails with %v", host, err)
			}
		}
	}
}

func TestRegistryNameWinsOverAlias(t *testing.T) {
	t.Parallel()
	h := testHosts(t)
	h, err := NewHosts(h.store, "azurecr.example", "contoso.azurecr.example")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := h.Resolve("contoso.azurecr.example"); err != nil || r.Name != "contoso" {
		t.Errorf("%s, %v", r.Name, err)
	}
}

func TestNewHostsRefusesWhatIsNoName(t *testing.T) {
	t.Parallel()
	store := testHosts(t).store
	for _, domain := range []string{"", "https://x.example", "a b", "127.0.0.1", "-x.example"} {
		if _, err := NewHosts(store, domain); !fault.Is(err, fault.Invalid) {
			t.Errorf("domain %q: %v", domain, err)
		}
	}
	if _, err := NewHosts(store, "azurecr.example", "http://alias.example"); !fault.Is(err, fault.Invalid) {
		t.Errorf("alias with a scheme: %v", err)
	}
}

// FuzzResolve checks that whatever is resolved names the registry it got, or one
// of the default registry's names, and nothing beside it.
func FuzzResolve(f *testing.F) {
	for _, seed := range []string{
		"contoso.azurecr.example:5000", "localhost", "[::1]:5000", "127.0.0.1", "evil.example",
		"registry.corp.example.", "[fe80::1%eth0]", "dockbell_web", "contoso.azurecr.example:5000:1", "\u212A",
	} {
		f.Add(seed)
	}
	h := testHosts(f)
	f.Fuzz(func(t *testing.T, host string) {
		r, err := h.Resolve(host)
		if err != nil {
			if fault.As(err).Code != CodeMisdirected || len(fault.As(err).Message) > 1000 {
				t.Fatalf("Resolve(%q) fails with %v", host, err)
			}
			return
		}
		lower := strings.ToLower(host)
		if r.Name == "contoso" {
			if !strings.HasPrefix(lower, "contoso.azurecr.example") {
				t.Fatalf("Resolve(%q) = contoso", host)
			}
			return
		}
		for _, name := range []string{"dockbell.azurecr.example", "registry.corp.example", "dockbell_web", "localhost"} {
			if strings.HasPrefix(lower, name) {
				return
			}
		}
		if !isIPLiteral(host) {
			t.Fatalf("Resolve(%q) = %s", host, r.Name)
		}
	})
}
