// Package importrules keeps the packages of this program pointing one way.
//
// The table below is the one in ARCHITECTURE.md. A package that is not in it
// fails the test: whoever adds one says where it stands.
package importrules

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dockbell/dockbell/"

// groups names the packages of each group; everything below a package belongs
// to it.
var groups = map[string][]string{
	"words":       {"internal/fault", "internal/oci", "internal/event", "internal/ring", "internal/signature", "internal/consent", "internal/spell", "internal/filter"},
	"foundations": {"internal/sqldb", "internal/blob", "internal/outbound", "internal/outbox", "internal/seal", "internal/localca", "internal/audit", "internal/sink"},
	"domain":      {"internal/tenant", "internal/registry", "internal/chart", "internal/auth", "internal/webhook", "internal/subscription", "internal/delivery", "internal/listen", "internal/collect", "internal/importing"},
	"faces":       {"internal/ociserver", "internal/acrserver", "internal/arm", "internal/identityserver", "internal/portal"},
	"clients":     {"internal/controlclient", "internal/registryclient", "internal/exchange"},
	"config":      {"internal/config"},
	"cli":         {"internal/cli"},
	"app":         {"internal/app"},
	"cmd":         {"cmd/dockbell"},
	"test":        {"internal/oci/ocitest", "internal/blob/blobtest", "internal/sqldb/sqldbtest", "internal/harness", "internal/importrules"},
}

// may says what each package or group imports beside itself. A rule for a
// package counts before that for its group.
var may = map[string][]string{
	"internal/fault":     {},
	"internal/oci":       {"internal/fault"},
	"internal/event":     {"internal/fault"},
	"internal/ring":      {"internal/event", "internal/fault"},
	"internal/signature": {"internal/fault"},
	"internal/consent":   {},
	"internal/spell":     {},
	"internal/filter":    {"internal/event", "internal/fault"},
	"foundations":        {"words"},
	"internal/outbox":    {"words", "internal/sqldb"},
	"internal/audit":     {"words", "internal/sqldb"},
	"internal/sink":      {"words", "internal/outbound"},
	"domain":             {"words", "foundations"},
	"faces":              {"words", "domain"},
	"internal/ociserver": {"words"},

	// These two see what is asked for and what is answered, and so are where most
	// of the audit log is made.
	"internal/arm":            {"words", "domain", "internal/audit"},
	"internal/identityserver": {"words", "domain", "internal/audit"},

	// It asks the control plane's own API, in this process.
	"internal/portal": {"words", "internal/controlclient"},

	"clients": {"words", "internal/exchange"},
	"config":  {"words"},
	"cli":     {"words", "clients"},
	"app":     {"words", "foundations", "domain", "faces", "clients", "config"},
	"cmd":     {"app", "cli", "config"},
}

// heavy names modules that belong in one place: who may import them.
var heavy = map[string][]string{
	"modernc.org/sqlite":        {"internal/sqldb"},
	"github.com/jackc/pgx/":     {"internal/sqldb", "internal/sqldb/sqldbtest"},
	"github.com/pressly/goose/": {"internal/sqldb"},
	"code.dny.dev/ssrf":         {"internal/outbound"},
	"github.com/go-jose/":       {"internal/auth"},
	"github.com/spf13/cobra":    {"internal/cli", "cmd/dockbell"},
	"oras.land/oras-go/":        {"internal/app", "internal/importing"}, // to push the demo's image; to pull others
	"sigs.k8s.io/yaml":          {"internal/chart"},
	"github.com/Masterminds/":   {"internal/chart"},
	"github.com/nats-io/":       {"internal/sink"},
	"github.com/twmb/":          {"internal/sink"},
	"github.com/cloudevents/":   {}, // tests only
	"github.com/Azure/":         {}, // tests only
	"github.com/chromedp/":      {}, // tests only
}

func TestImports(t *testing.T) {
	packages := list(t)
	if len(packages) < 10 {
		t.Fatalf("only %d packages found: the listing is broken", len(packages))
	}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		owner, group := standing(name)
		if group == "" {
			t.Errorf("%s stands in no group: add it to the table here and in ARCHITECTURE.md", name)
			continue
		}
		if group == "test" {
			continue
		}
		rule, own := may[owner]
		if !own {
			rule = may[group]
		}
		for _, imported := range p.Imports {
			target, inside := strings.CutPrefix(imported, module)
			if !inside {
				checkHeavy(t, name, imported)
				continue
			}
			targetOwner, targetGroup := standing(target)
			if targetOwner != owner && !slices.Contains(rule, targetGroup) && !slices.Contains(rule, targetOwner) {
				t.Errorf("%s imports %s: %s may import %v", name, target, owner, rule)
			}
		}
	}
}

func checkHeavy(t *testing.T, name, imported string) {
	for prefix, allowed := range heavy {
		if strings.HasPrefix(imported+"/", prefix) && !slices.Contains(allowed, name) {
			t.Errorf("%s imports %s, which belongs to %v", name, imported, allowed)
		}
	}
}

// standing returns the package of the table that name is or lies below, and its
// group.
func standing(name string) (owner, group string) {
	for p := name; p != "."; p = path.Dir(p) {
		for g, members := range groups {
			if slices.Contains(members, p) {
				return p, g
			}
		}
	}
	return name, ""
}

type listed struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) (packages []listed) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
