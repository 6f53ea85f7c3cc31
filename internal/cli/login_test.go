package cli_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPasswordIsAskedFor: a password on the command line can be seen by others.
func TestPasswordIsAskedFor(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := newShell(t)
	sh.ask = func() (string, error) { return "s3cret", nil }
	if got := sh.run("registry", "list", "--server", srv.URL, "-u", "dockbell", "-o", "none"); got != (result{}) {
		t.Errorf("%+v", got)
	}
	sh.ask = func() (string, error) { return "", errors.New("no more input") }
	if got := sh.run("registry", "list", "--server", srv.URL, "-u", "dockbell"); got.code != 1 || got.err != "error: the password cannot be read: no more input\n" {
		t.Errorf("%+v", got)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := newShell(t)

	if got := sh.run("webhook", "list"); got.code != 1 || got.err != "error: no server is named: dockbell login http://localhost:5000 -u dockbell, or use --server or DOCKBELL_SERVER\n" {
		t.Errorf("before login: %+v", got)
	}
	if got := sh.run("login", srv.URL, "-u", "dockbell", "-p", "wrong"); got.code != 1 || !strings.Contains(got.err, "does not know user dockbell with this password") {
		t.Errorf("wrong password: %+v", got)
	}
	file := filepath.Join(sh.dir, "login.json")
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused login is kept: %v", err)
	}
	sh.stdin = "s3cret\n"
	if got := sh.run("login", srv.URL, "-u", "dockbell", "--password-stdin"); got != (result{}) {
		t.Errorf("login: %+v", got)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("stored login: %v, %v", info.Mode(), err)
	}
	if got := sh.run("webhook", "list"); got.code != 0 || got.out != "[]\n" {
		t.Errorf("after login: %+v", got)
	}
	if got := sh.run("webhook", "list", "-p", "wrong"); got.code != 1 || !strings.Contains(got.err, "does not know user dockbell with this password: dockbell login "+srv.URL) {
		t.Errorf("another password: %+v", got)
	}
	if got := sh.run("logout"); got != (result{}) {
		t.Errorf("logout: %+v", got)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after logout: %v", err)
	}
	if got := sh.run("logout"); got != (result{}) {
		t.Errorf("logout again: %+v", got)
	}
	if got := sh.run("webhook", "list", "--server", srv.URL); got.code != 1 || got.err != "error: no credentials: dockbell login "+srv.URL+" -u dockbell (the password is in dockbell-data/admin-credentials)\n" {
		t.Errorf("without credentials: %+v", got)
	}
}

func TestLoginOnATerminal(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := newShell(t)
	sh.terminal = true
	sh.ask = func() (string, error) { return "s3cret", nil }
	got := sh.run("login", strings.TrimPrefix(srv.URL, "http://"), "-u", "dockbell")
	want := "logged in to " + srv.URL + " as dockbell: contoso\nnext: dockbell webhook list -r contoso\n"
	if got != (result{err: want}) {
		t.Errorf("got %+v, want %s", got, want)
	}
}

// TestPasswordStaysWithItsServer: a stored password goes to no other server and
// for no other user.
func TestPasswordStaysWithItsServer(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, ok := r.BasicAuth(); ok {
			t.Errorf("the other server got the password %s", password)
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(other.Close)
	sh := newShell(t)
	if got := sh.run("login", srv.URL, "-u", "dockbell", "-p", "s3cret"); got.code != 0 {
		t.Fatalf("login: %+v", got)
	}
	if got := sh.run("webhook", "list", "--server", other.URL); got.code != 1 {
		t.Errorf("other server: %+v", got)
	}
	if got := sh.run("webhook", "list", "-u", "someone"); got.code != 2 || !strings.Contains(got.err, "there is no password for user someone") {
		t.Errorf("other user: %+v", got)
	}
	if got := sh.run("webhook", "list", "--server", srv.URL+"/"); got.code != 0 {
		t.Errorf("the same server: %+v", got)
	}
}

func TestDamagedLogin(t *testing.T) {
	t.Parallel()
	sh := newShell(t)
	if err := os.WriteFile(filepath.Join(sh.dir, "login.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := sh.run("webhook", "list"); got.code != 1 || !strings.Contains(got.err, "is damaged") || strings.Count(got.err, "\n") != 1 {
		t.Errorf("%+v", got)
	}
}

// TestLoginWarnsOfPlainHTTP uses an address that is never called: the warning
// comes first.
func TestLoginWarnsOfPlainHTTP(t *testing.T) {
	t.Parallel()
	sh := newShell(t)
	sh.transport = func(*http.Request) (*http.Response, error) { return nil, errors.New("no network in this test") }
	got := sh.run("login", "http://registry.example:5000", "-u", "dockbell", "-p", "s3cret")
	if got.code != 1 || !strings.HasPrefix(got.err, "warning: http://registry.example:5000 is not encrypted") || strings.Contains(got.err, "s3cret") {
		t.Errorf("%+v", got)
	}
	got = sh.run("login", "registry.example:5000", "-u", "dockbell", "-p", "s3cret")
	if strings.Contains(got.err, "not encrypted") || !strings.Contains(got.err, "https://registry.example:5000 cannot be reached: no network in this test") {
		t.Errorf("%+v", got)
	}
}
