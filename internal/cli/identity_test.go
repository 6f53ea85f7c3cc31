package cli_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/identityserver"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
)

const testSubscription = "/subscriptions/00000000-0000-0000-0000-000000000001"

// newSecureServer is newServer with the identity authority before it, on HTTPS. ca
// is the file of its authority; suffix what it says of its login servers.
func newSecureServer(t *testing.T, suffix string) (address, ca string) {
	t.Helper()
	control := newServer(t)
	db, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(t.TempDir(), "identity.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
		_, err := tx.Exec("INSERT INTO setting (name, value) VALUES ('tenant', '00000000-0000-0000-0000-00000000000f')")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := auth.Open(t.Context(), auth.Options{DB: db, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := authority.EnsureOperator(t.Context(), "dockbell", "s3cret"); err != nil {
		t.Fatal(err)
	}
	identity := identityserver.New(identityserver.Config{
		Authority: authority,
		Audit:     audit.New(audit.Options{DB: db, Log: slog.New(slog.DiscardHandler)}),
		Resolve:   func(*http.Request) (auth.Registry, error) { return auth.Registry{ID: 1, Name: "contoso"}, nil },
		Scopes: func() []string {
			return []string{testSubscription, testSubscription + "/resourceGroups/dockbell/providers/Microsoft.ContainerRegistry/registries/contoso"}
		},
		Suffix: func() string { return suffix },
		Log:    slog.New(slog.DiscardHandler),
	})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if identityserver.Serves(r.URL.Path) {
			identity.ServeHTTP(w, r)
			return
		}
		control.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, ca
}

func TestLoginWithCA(t *testing.T) {
	t.Parallel()
	address, ca := newSecureServer(t, ".azurecr.example")
	sh := newShell(t)
	if got := sh.run("login", address, "-u", "dockbell", "-p", "s3cret"); got.code != 1 || !strings.Contains(got.err, "dockbell login "+address+" --ca FILE, or DOCKBELL_CA=FILE") {
		t.Errorf("without the authority: %+v", got)
	}
	if got := sh.run("login", address, "-u", "dockbell", "-p", "s3cret", "--ca", filepath.Join(t.TempDir(), "none.pem")); got.code != 1 || !strings.Contains(got.err, "none.pem cannot be read") {
		t.Errorf("a file that is not there: %+v", got)
	}
	text := filepath.Join(t.TempDir(), "text.pem")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := sh.run("login", address, "-u", "dockbell", "-p", "s3cret", "--ca", text); got.code != 1 || !strings.Contains(got.err, "text.pem holds no certificate in PEM form") {
		t.Errorf("a file of another kind: %+v", got)
	}
	if got := sh.run("login", address, "-u", "dockbell", "-p", "s3cret", "--ca", ca); got != (result{}) {
		t.Fatalf("login: %+v", got)
	}
	if got := sh.run("webhook", "list"); got.code != 0 || got.out != "[]\n" {
		t.Errorf("after login: %+v", got)
	}
	// The authority that was stored is for that server only; the environment goes
	// before it.
	other, otherCA := newSecureServer(t, ".azurecr.example")
	if got := sh.run("webhook", "list", "--server", other, "-u", "dockbell", "-p", "s3cret"); got.code != 1 || !strings.Contains(got.err, "--ca FILE") {
		t.Errorf("another server: %+v", got)
	}
	sh.env = map[string]string{"DOCKBELL_CA": otherCA}
	if got := sh.run("webhook", "list", "--server", other, "-u", "dockbell", "-p", "s3cret"); got.code != 0 {
		t.Errorf("another server with its authority: %+v", got)
	}
	if got := sh.run("login", other, "-u", "dockbell", "-p", "s3cret"); got != (result{}) {
		t.Errorf("login with the environment's: %+v", got)
	}
	sh.env = nil
	if got := sh.run("webhook", "list"); got.code != 0 {
		t.Errorf("after that: %+v", got)
	}
}

func TestServicePrincipal(t *testing.T) {
	t.Parallel()
	address, ca := newSecureServer(t, ".azurecr.example")
	sh := newShell(t)
	sh.env = map[string]string{"DOCKBELL_SERVER": address, "DOCKBELL_CA": ca, "DOCKBELL_USERNAME": "dockbell", "DOCKBELL_PASSWORD": "s3cret"}
	type credential struct{ AppID, DisplayName, Password, Tenant string }
	made := func(args ...string) (c credential) {
		t.Helper()
		got := sh.run(append([]string{"service-principal"}, args...)...)
		var members map[string]any
		if json.Unmarshal([]byte(got.out), &c) != nil || json.Unmarshal([]byte(got.out), &members) != nil || got.code != 0 || len(members) != 4 || len(c.Password) != 40 {
			t.Fatalf("%v: %+v", args, got)
		}
		return c
	}
	ci := made("create", "--name", "ci-build", "--role", "acrpush", "AcrDelete", "-r", "contoso.azurecr.example")
	if ci.DisplayName != "ci-build" || ci.Tenant != "00000000-0000-0000-0000-00000000000f" {
		t.Errorf("%+v", ci)
	}
	made("create", "-n", "root", "--role", "Owner")
	for _, name := range []string{"ci-build", ci.AppID} {
		if again := made("reset", "-n", name); again.AppID != ci.AppID || again.Password == ci.Password {
			t.Errorf("reset by %s: %+v", name, again)
		}
	}
	const want = `DISPLAY NAME  APP ID  ROLES                               PASSWORD MADE
ci-build      (uuid)  AcrDelete contoso, AcrPush contoso  0s
root          (uuid)  Owner everywhere                    0s
`
	list := anyUUID.ReplaceAllString(sh.run("service-principal", "list", "-o", "table").out, "(uuid)")
	list = strings.ReplaceAll(list, "APP ID                              ", "APP ID")
	if strings.Join(strings.Fields(list), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("list:\n%swant\n%s", list, want)
	}
	if got := sh.run("service-principal", "list", "--query", "[0].roleAssignments[].role", "-o", "tsv"); got.out != "AcrDelete\nAcrPush\n" {
		t.Errorf("%+v", got)
	}
	for _, tt := range []struct {
		args string
		code int
		text string
	}{
		{"create --name x", 2, "needs --role"},
		{"create --role Owner", 2, "needs --name/-n"},
		{"create --name x --role AcrPul", 2, `"AcrPul" is not one of Owner, Contributor, Reader, AcrPull, AcrPush, AcrDelete, AcrQuarantineReader, AcrQuarantineWriter, did you mean AcrPull?`},
		{"create --name ROOT --role Owner", 1, "exists already"},
		{"create --name x --role Owner -r nosuchregistry", 1, `registry "nosuchregistry" does not exist`},
		{"reset --name nobody", 1, `no service principal "nobody": dockbell service-principal list`},
		{"delete", 2, "needs --name/-n"},
		{"remove", 2, "has no command"},
	} {
		if got := sh.run(append([]string{"service-principal"}, strings.Fields(tt.args)...)...); got.code != tt.code || !strings.Contains(got.err, tt.text) {
			t.Errorf("%s: %+v", tt.args, got)
		}
	}
	if got := sh.run("service-principal", "delete", "-n", "ci-build"); got != (result{}) {
		t.Errorf("delete: %+v", got)
	}
	if got := sh.run("service-principal", "list", "--query", "[].displayName", "-o", "tsv"); got.out != "root\n" {
		t.Errorf("after that: %+v", got)
	}
	if !slices.Equal(auth.RoleNames(), strings.Split("Owner Contributor Reader AcrPull AcrPush AcrDelete AcrQuarantineReader AcrQuarantineWriter", " ")) {
		t.Error("the roles of the server are not those that this command offers")
	}
}

// azShim stands in for az: it remembers the cloud, and writes down what it is called
// with, and what it reads where it is told to.
const azShim = `#!/bin/sh
case "$1 $2" in
"cloud show") test -e known; exit ;;
"cloud register") touch known ;;
esac
for a; do printf '[%s]' "$a"; done
case "$*" in *@-*) printf ' reads [%s]' "$(cat)" ;; esac
echo " trusts [$REQUESTS_CA_BUNDLE] direct [$NO_PROXY]"
`

// TestAzEnv has a shell carry out what is printed.
func TestAzEnv(t *testing.T) {
	t.Parallel()
	// A server could say anything of itself: nothing of it is carried out.
	const suffix = ".it's $(touch oops);`touch oops`:5000"
	address, ca := newSecureServer(t, suffix)
	sh := newShell(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(azShim), 0o700); err != nil {
		t.Fatal(err)
	}
	passwordFile := filepath.Join(dir, "pass word.txt")
	if err := os.WriteFile(passwordFile, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// calls returns what az was called with.
	calls := func(lines string, variables ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", `eval "$1"`, "sh", lines)
		cmd.Dir = dir
		cmd.Env = append([]string{"PATH=" + dir + ":" + os.Getenv("PATH"), "NO_PROXY=intranet"}, variables...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		if _, err := os.Stat(filepath.Join(dir, "oops")); err == nil {
			t.Fatal("what the server says of itself was carried out")
		}
		return out.String()
	}
	host, _, _ := strings.Cut(suffix, ":")
	trust := " trusts [" + ca + "] direct [intranet,127.0.0.1," + host + "]\n"
	cloud := func(verb string) string {
		return "[cloud][" + verb + "][--name][Dockbell][--endpoint-resource-manager][" + address + "/][--endpoint-management][" + address + "/][--endpoint-active-directory][" + address + "/adfs]" +
			"[--endpoint-active-directory-resource-id][" + address + "/][--endpoint-active-directory-graph-resource-id][" + address + "/]" +
			"[--suffix-acr-login-server-endpoint][" + suffix + "][--suffix-storage-endpoint][core.localhost]" + trust +
			"[cloud][set][--name][Dockbell]" + trust
	}
	const login = "[login][--service-principal][--username][USER][--tenant][00000000-0000-0000-0000-00000000000f][--output][none][--password]"
	as := func(user string) string { return strings.Replace(login, "USER", user, 1) }

	sh.env = map[string]string{"DOCKBELL_SERVER": address, "DOCKBELL_CA": ca}
	run := func(args ...string) string {
		t.Helper()
		got := sh.run(append([]string{"az-env"}, args...)...)
		if got.code != 0 || strings.Contains(got.out, "s3cret") {
			t.Fatalf("%v: %+v", args, got)
		}
		return got.out
	}
	if got := calls(run()); got != cloud("register") {
		t.Errorf("without a login:\n%s\nwant\n%s", got, cloud("register"))
	}
	want := cloud("update") + as("0b9f") + "[@" + passwordFile + "]" + trust
	if got := calls(run("--app-id", "0b9f", "--password-file", passwordFile)); got != want {
		t.Errorf("with a file:\n%s\nwant\n%s", got, want)
	}
	sh.env["DOCKBELL_USERNAME"], sh.env["DOCKBELL_PASSWORD"] = "0b9f", "s3cret"
	want = cloud("update") + as("0b9f") + "[@-] reads [s3cret]" + trust
	if got := calls(run(), "DOCKBELL_PASSWORD=s3cret"); got != want {
		t.Errorf("with the environment:\n%s\nwant\n%s", got, want)
	}

	// From the stored login come server, authority and user name.
	sh.env = nil
	if got := sh.run("login", address, "-u", "dockbell", "-p", "s3cret", "--ca", ca); got.code != 0 {
		t.Fatal(got)
	}
	if got, want := calls(run("--password-file", passwordFile)), cloud("update")+as("dockbell")+"[@"+passwordFile+"]"+trust; got != want {
		t.Errorf("with the stored login:\n%s\nwant\n%s", got, want)
	}
	plain := newServer(t)
	for _, tt := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"--app-id", "0b9f"}, 2, "service principal 0b9f has no password here: use --password-file, or DOCKBELL_PASSWORD"},
		{[]string{"--password-file", filepath.Join(dir, "none")}, 2, "--password-file: stat "},
		{[]string{"--server", plain.URL}, 1, "az speaks https only, and " + plain.URL + " does not: run the server with --tls self-signed"},
		{[]string{"x"}, 2, "belongs to no flag"},
	} {
		if got := sh.run(append([]string{"az-env"}, tt.args...)...); got.code != tt.code || !strings.Contains(got.err, tt.text) || got.out != "" {
			t.Errorf("%v: %+v", tt.args, got)
		}
	}
}
