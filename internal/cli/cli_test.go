package cli_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/cli"
)

// shell runs commands as a person or a script would, each in a process of its
// own.
type shell struct {
	t        *testing.T
	env      map[string]string
	dir      string // of the stored login
	stdin    string
	terminal bool
	ask      func() (string, error)

	// transport stands in for the network, where that must not be used.
	transport roundTripper
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newShell(t *testing.T) *shell {
	return &shell{t: t, env: map[string]string{}, dir: t.TempDir()}
}

type result struct {
	out, err string
	code     int
}

func (s *shell) run(args ...string) result {
	var out, errs bytes.Buffer
	client := &http.Client{}
	if s.transport != nil {
		client.Transport = s.transport
	}
	root := cli.Root(cli.Env{
		Stdin:          strings.NewReader(s.stdin),
		Stdout:         &out,
		Stderr:         &errs,
		StdoutTerminal: s.terminal,
		StderrTerminal: s.terminal,
		ReadPassword:   s.ask,
		Getenv:         func(name string) string { return s.env[name] },
		ConfigDir:      s.dir,
		HTTP:           client,
		Version:        "1.2.3",
	})
	code := cli.Execute(s.t.Context(), root, args)
	return result{out.String(), errs.String(), code}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	create := "webhook create -r contoso -n deployhook --uri http://x "
	for _, tt := range []struct{ line, want string }{
		{"webhok", `error: dockbell has no command "webhok", did you mean webhook?: see dockbell --help`},
		{"webhook lst", `error: dockbell webhook has no command "lst", did you mean list?: see dockbell webhook --help`},
		{"webhook list extra", `error: "extra" belongs to no flag of dockbell webhook list: see dockbell webhook list --help`},
		{"webhook list --regsitry x", `error: dockbell webhook list has no flag --regsitry, did you mean --registry?: see dockbell webhook list --help`},
		{"webhook list -z", `error: dockbell webhook list has no flag -z: see dockbell webhook list --help`},
		{"webhook list -o jsn", `error: --output: "jsn" is not one of json, none, table, tsv, wide, yaml, did you mean json?`},
		{"webhook list -r", `error: --registry needs a value: see dockbell webhook list --help`},
		{"webhook create -r contoso", `error: dockbell webhook create needs --name/-n, --uri, --actions: see dockbell webhook create --help`},
		{"webhook show -r contoso", `error: dockbell webhook show needs --name/-n: see dockbell webhook show --help`},
		{"webhook show -r contoso --name=", `error: dockbell webhook show needs --name/-n: see dockbell webhook show --help`},
		{create + "--actions --scope x", `error: --actions needs at least one value: see dockbell webhook create --help`},
		{create + "--actions psuh", `error: --actions: "psuh" is not one of push, delete, quarantine, chart_push, chart_delete, did you mean push?`},
		{create + "--actions=", `error: --actions: choose at least one of push, delete, quarantine, chart_push, chart_delete`},
		{create + "--actions push --status on", `error: --status: "on" is not one of enabled, disabled`},
		{create + "--actions push --headers =x", `error: --headers: a value has no name before its '=': write name=value`},
		{"webhook update -r contoso -n deployhook --set status", `error: --set status has no value: write name=value`},
		{"webhook update -r contoso -n deployhook --set stauts=enabled", `error: a webhook has no property stauts that can be changed, did you mean status?: there are status, scope, serviceUri, customHeaders, actions, tags`},
		{"webhook update -r contoso -n deployhook --set customHeaders=s3cret", `error: --set customHeaders needs a JSON object of strings like '{"name":"value"}', or one member like customHeaders.name=value`},
		{"webhook update -r contoso -n deployhook --remove status", `error: --remove status: a webhook cannot be without it`},
		{"webhook update -r contoso -n deployhook --add scope x", `error: --add scope x: only actions is a list, for example --add actions delete`},
		{"login", `error: login needs one address: dockbell login http://localhost:5000 -u dockbell`},
		{"login localhost:5000", `error: login needs a user name: dockbell login http://localhost:5000 -u dockbell`},
		{"login localhost:5000 -u dockbell", `error: login needs a password: with --password-stdin, -p or DOCKBELL_PASSWORD`},
		{"login nowhere:x:y -u dockbell", `error: "nowhere:x:y" is no address of a server: give one like http://localhost:5000`},
		{"registry list --server http://127.0.0.1:1 -u dockbell", `error: there is no password for user dockbell at http://127.0.0.1:1: use DOCKBELL_PASSWORD, --password, or dockbell login`},
	} {
		s := newShell(t)
		if strings.Contains(tt.line, "contoso") {
			s.env["DOCKBELL_SERVER"] = "http://127.0.0.1:1"
		}
		got := s.run(strings.Fields(tt.line)...)
		if got.code != 2 || got.out != "" || got.err != tt.want+"\n" {
			t.Errorf("dockbell %s: exit %d\n%s%swant\n%s", tt.line, got.code, got.out, got.err, tt.want)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for _, line := range []string{"--help", "", "webhook", "webhook --help", "webhook create --help", "webhook update --help", "webhook list-events -h", "registry list --help", "login --help", "help webhook ping"} {
		got := s.run(strings.Fields(line)...)
		t.Logf("$ dockbell %s\n%s", line, got.out)
		if got.code != 0 || got.err != "" || !strings.Contains(got.out, "\nExample:\n  dockbell ") {
			t.Errorf("dockbell %s: exit %d\n%s%s", line, got.code, got.out, got.err)
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	got := newShell(t).run("__complete", "webhook", "list-")
	if got.code != 0 || !strings.HasPrefix(got.out, "list-events\t") {
		t.Errorf("%+v", got)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if got := newShell(t).run("version"); got != (result{out: "dockbell 1.2.3\n"}) {
		t.Errorf("%+v", got)
	}
}
