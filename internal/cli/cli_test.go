package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
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
	ctx      context.Context // nil: that of the test
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
	ctx := s.ctx
	if ctx == nil {
		ctx = s.t.Context()
	}
	var out, errs bytes.Buffer
	code := s.execute(ctx, &out, &errs, args)
	return result{out.String(), errs.String(), code}
}

// lookup knows the names of servers that are where the test is.
func lookup(_ context.Context, name string) ([]string, error) {
	if name == "localhost" || name == "127.0.0.1" || name == "resolved.azurecr.example" {
		return []string{"127.0.0.1"}, nil
	}
	return nil, fmt.Errorf("no such host %s", name)
}

func (s *shell) execute(ctx context.Context, out, errs io.Writer, args []string) int {
	client := &http.Client{}
	if s.transport != nil {
		client.Transport = s.transport
	}
	root := cli.Root(cli.Env{
		Stdin:          strings.NewReader(s.stdin),
		Stdout:         out,
		Stderr:         errs,
		StdoutTerminal: s.terminal,
		StderrTerminal: s.terminal,
		ReadPassword:   s.ask,
		Getenv:         func(name string) string { return s.env[name] },
		ConfigDir:      s.dir,
		HTTP:           client,
		LookupHost:     lookup,
		Version:        "1.2.3",
	})
	return cli.Execute(ctx, root, args)
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
		{create + "--actions psuh", `error: --actions: "psuh" is not one of push, delete, quarantine, chart_push, chart_delete, untag, tag_moved, referrer_attached, pull, webhook_failing, did you mean push?`},
		{create + "--actions=", `error: --actions: choose at least one of push, delete, quarantine, chart_push, chart_delete, untag, tag_moved, referrer_attached, pull, webhook_failing`},
		{create + "--actions push --status on", `error: --status: "on" is not one of enabled, disabled`},
		{create + "--actions push --headers =x", `error: --headers: a value has no name before its '=': write name=value`},
		{"webhook update -r contoso -n deployhook --set status", `error: --set status has no value: write name=value`},
		{"webhook update -r contoso -n deployhook --set stauts=enabled", `error: a webhook has no property stauts that can be changed, did you mean status?: there are status, scope, serviceUri, customHeaders, actions, tags`},
		{"webhook update -r contoso -n deployhook --set customHeaders=s3cret", `error: --set customHeaders needs a JSON object of strings like '{"name":"value"}', or one member like customHeaders.name=value`},
		{"webhook update -r contoso -n deployhook --remove status", `error: --remove status: a webhook cannot be without it`},
		{"webhook update -r contoso -n deployhook --add scope x", `error: --add scope x: only actions is a list, for example --add actions delete`},
		{create + "--actions push --timeout 5s", `error: --timeout: "5s" is no whole number from 0 on`},
		{create + "--actions push --max-per-minute -1", `error: --max-per-minute: "-1" is no whole number from 0 on`},
		{create + "--actions push --order tags", `error: --order: "tags" is not one of tag, repository, none, did you mean tag?`},
		{create + "--actions push --signature-headers gitlab", `error: --signature-headers: "gitlab" is not one of github, flux, did you mean github?`},
		{"webhook list-events -r contoso -n deployhook --outcome fail", `error: --outcome: "fail" is not one of delivered, refused, failed, interrupted, did you mean failed?`},
		{"webhook test -r contoso -n deployhook", `error: dockbell webhook test needs --action: see dockbell webhook test --help`},
		{"webhook test -r contoso -n deployhook --action pulls", `error: --action: "pulls" is not one of push, delete, quarantine, chart_push, chart_delete, untag, tag_moved, referrer_attached, pull, webhook_failing, did you mean pull?`},
		{"webhook rotate-secret -r contoso -n deployhook --overlap tomorrow", `error: --overlap: "tomorrow" is no length of time: use one like 90s, 5m, 24h or 7d`},
		{"webhook rotate-secret -r contoso -n deployhook --overlap 90s", `error: --overlap 1m30s is not in whole minutes`},
		{"webhook redeliver -r contoso -n deployhook", `error: dockbell webhook redeliver needs --event: see dockbell webhook redeliver --help`},
		{"webhook replay -r contoso -n deployhook", `error: say which events are to ring once more: with --since, --until, --after, --upto, --failed or --refused; --after 0 is all that are kept`},
		{"webhook replay -r contoso -n deployhook --failed --refused", `error: an event failed or was refused, never both: give one of --failed and --refused`},
		{"webhook replay -r contoso -n deployhook --since yesterday", `error: --since: "yesterday" is no time: use an age like 2h or 3d, a date like 2026-11-20, or 2026-11-20T15:04:05Z`},
		{"webhook replays show -r contoso -n deployhook", `error: dockbell webhook replays show needs --id: see dockbell webhook replays show --help`},
		{"webhook replays stop", `error: dockbell webhook replays has no command "stop", did you mean show?: see dockbell webhook replays --help`},
		{"webhook dead-letters purge -r contoso -n deployhook", `error: say which dead letters: either --ids, as dead-letters list shows them, or --all`},
		{"webhook dead-letters redrive -r contoso -n deployhook --ids 4 --all", `error: say which dead letters: either --ids, as dead-letters list shows them, or --all`},
		{"webhook dead-letters redrive -r contoso -n deployhook --ids four", `error: --ids: "four" is no number from 1 on`},
		{"webhook dead-letters redrive -r contoso -n deployhook --ids=", `error: --ids: name at least one`},
		{"repository show -n contoso", `error: say either which image, with --image, or which repository, with --repository`},
		{"repository show -n contoso --image a --repository a", `error: say either which image, with --image, or which repository, with --repository`},
		{"repository show -n contoso --image Team/Web", `error: repository name "Team/Web" is not valid: each part between slashes needs lower-case letters and digits, with single '.', '_', '__' or dashes between them`},
		{"repository show -n contoso --image web:a:b", `error: tag "a:b" is not valid: use 1 to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'`},
		{"repository show -n contoso --image web@sha256:abc123", `error: digest "sha256:abc123" is not valid: its value has the wrong length for sha256`},
		{"repository show -n contoso --image web:1@" + webDigest, `error: "web:1@` + webDigest + `" has both a tag and a digest: write name:tag or name@sha256:…`},
		{"repository show -n contoso --repository web:1", `error: "web:1" is no repository: leave out the tag or digest`},
		{"repository show-tags -n contoso", `error: dockbell repository show-tags needs --repository: see dockbell repository show-tags --help`},
		{"repository show-tags -n contoso --repository web --orderby name", `error: --orderby: "name" is not one of time_asc, time_desc`},
		{"repository show-tags -n contoso --repository web --top 0", `error: --top: "0" is no whole number from 1 on`},
		{"repository update -n contoso --image web", `error: say what is to change: --delete-enabled, --list-enabled, --read-enabled or --write-enabled, each true or false`},
		{"repository update -n contoso --image web --write-enabled=no", `error: --write-enabled: "no" is not one of true, false`},
		{"repository update -n contoso --image web --write-enabled no", `error: "no" belongs to no flag of dockbell repository update: see dockbell repository update --help`},
		{"repository untag -n contoso", `error: dockbell repository untag needs --image/-t: see dockbell repository untag --help`},
		{"repository untag -n contoso -t web@" + webDigest, `error: web@` + webDigest + ` has no tag to remove: write name:tag, or delete the manifest with dockbell repository delete`},
		{"manifest show -r contoso", `error: say what the command is for once: as an argument like contoso.azurecr.io/hello-world, or with -r contoso -n hello-world`},
		{"manifest show contoso.azurecr.io/web -n web", `error: say what the command is for once: as an argument like contoso.azurecr.io/hello-world, or with -r contoso -n hello-world`},
		{"manifest show web:contoso", `error: "web:contoso" does not begin with a login server: write it like contoso.azurecr.io/hello-world:latest, or use -r and -n`},
		{"manifest show contoso/web", `error: "contoso/web" does not begin with a login server: write it like contoso.azurecr.io/hello-world:latest, or use -r and -n`},
		{"manifest show contoso.azurecr.io/", `error: "contoso.azurecr.io/" does not begin with a login server: write it like contoso.azurecr.io/hello-world:latest, or use -r and -n`},
		{"manifest show contoso.azurecr.io/a contoso.azurecr.io/b", `error: dockbell manifest show takes one argument, and "contoso.azurecr.io/b" is the second`},
		{"manifest list -r contoso -n web:1.0", `error: "web:1.0" is no repository: leave out the tag or digest`},
		{"manifest update-metadata -r contoso -n web", `error: say what is to change: --delete-enabled, --list-enabled, --read-enabled or --write-enabled, each true or false`},
		{"manifest quarantine -r contoso -n web@sha256:50b8560ad574c779908da71f7ce370c0a2471c098d44d1c8f6b513c5a55eeeb1", `error: say what was found: --state Passed, Failed or Quarantined, or --details`},
		{"manifest quarantine -r contoso -n web:1.0 --state Passed", `error: web:1.0 is a tag, and a tag leads to nothing that is in quarantine: write name@sha256:…, the digest that the ring or the push told`},
		{"manifest quarantine -r contoso -n web@sha256:50b8560ad574c779908da71f7ce370c0a2471c098d44d1c8f6b513c5a55eeeb1 --state Pased", `error: --state: "Pased" is not one of Passed, Failed, Quarantined, did you mean Passed?`},
		{"manifest restore -r contoso -n web", `error: say what to restore: a tag, as in web:1.0, or a manifest, with --digest`},
		{"manifest restore -r contoso -n web:1 -d sha256:abc", `error: digest "sha256:abc" is not valid: its value has the wrong length for sha256`},
		{"manifest restore -r contoso -n web@sha256:abc", `error: "web@sha256:abc" has a digest: write name, or name:tag`},
		{"manifest list-deleted -r contoso -n web:1", `error: "web:1" is no repository: leave out the tag or digest`},
		{"scope-map create -r contoso -n web", `error: dockbell scope-map create needs --repository: see dockbell scope-map create --help`},
		{"scope-map create -r contoso -n web --repository hello", `error: --repository: name a repository and then what is allowed with it: hello-world content/read, of content/delete, content/read, content/write, metadata/read, metadata/write`},
		{"scope-map create -r contoso -n web --repository hello content/pull", `error: --repository: "content/pull" is not one of content/delete, content/read, content/write, metadata/read, metadata/write, did you mean content/read?`},
		{"scope-map create -r contoso -n web --repository a content/read --gateway edge config/read", `error: --gateway: gateway actions are for connected registries, which this server does not have: leave it out`},
		{"scope-map update -r contoso -n web", `error: say what is to change: --add-repository, --remove-repository or --description`},
		{"token create -r contoso -n ci", `error: say what the token may do: either with --scope-map, or with --repository`},
		{"token create -r contoso -n ci --scope-map web --repository a content/read", `error: say what the token may do: either with --scope-map, or with --repository`},
		{"token create -r contoso -n ci --scope-map web --no-passwords --expiration-in-days 3", `error: --no-passwords leaves nothing to expire: leave out the expiration`},
		{"token create -r contoso -n ci --scope-map web --expiration 2030-12-31 --expiration-in-days 3", `error: give the end of the passwords once: with --expiration or with --expiration-in-days`},
		{"token create -r contoso -n ci --scope-map web --expiration tomorrow", `error: --expiration: "tomorrow" is no time: use a date like 2030-12-31, or 2030-12-31T12:59:59Z`},
		{"token create -r contoso -n ci --scope-map web --expiration-in-days 0", `error: --expiration-in-days: "0" is no whole number from 1 on`},
		{"token create -r contoso -n ci --scope-map web --expiration-in-days 4000000", `error: --expiration-in-days 4000000 is too far away: leave it out for passwords without an end`},
		{"token update -r contoso -n ci", `error: say what is to change: --scope-map or --status`},
		{"token update -r contoso -n ci --status on", `error: --status: "on" is not one of enabled, disabled`},
		{"token credential delete -r contoso -n ci", `error: say which password is to go: --password1, --password2, or both`},
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
	for _, line := range []string{"--help", "", "webhook", "webhook --help", "webhook create --help", "webhook update --help", "webhook list-events -h", "events", "events list --help", "events tail --help", "listen --help", "apply --help", "webhook rotate-secret -h", "webhook verify -h", "webhook test -h", "webhook pause -h", "webhook resume -h",
		"webhook redeliver -h", "webhook replay -h", "webhook replays", "webhook replays list -h", "webhook replays show -h", "webhook replays cancel -h",
		"webhook dead-letters -h", "webhook dead-letters list -h", "webhook dead-letters redrive -h", "webhook dead-letters purge -h", "registry list --help", "login --help", "help webhook ping",
		"repository", "repository list -h", "repository show -h", "repository show-tags -h", "repository show-manifests -h", "repository update -h", "repository untag -h", "repository delete -h",
		"manifest", "manifest show -h", "manifest list -h", "manifest delete -h", "manifest list-referrers -h", "manifest show-metadata -h", "manifest list-metadata -h", "manifest update-metadata -h", "manifest quarantine -h", "manifest metadata -h",
		"repository list-deleted -h", "manifest list-deleted -h", "manifest list-deleted-tags -h", "manifest restore -h", "config soft-delete", "config soft-delete show -h", "config soft-delete update -h",
		"scope-map", "scope-map create -h", "scope-map list -h", "scope-map show -h", "scope-map update -h", "scope-map delete -h",
		"token", "token create -h", "token list -h", "token show -h", "token update -h", "token delete -h", "token credential", "token credential generate -h", "token credential delete -h"} {
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
