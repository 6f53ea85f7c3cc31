package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const hooksYAML = `# Webhooks of registry contoso.
webhooks:
  - name: deployhook
    uri: https://hooks.example.net/acr?key=${DEPLOY_KEY}
    actions: [push, DELETE]
    scope: team/*:*
    tags: {team: web, cost: 12}
    headers:
      Authorization: Bearer ${DEPLOY_TOKEN}
      x-literal: $${DEPLOY_TOKEN} costs $5
    retryPolicy:
      maxDeliveryAttempts: 5
      order: none
      maxPerMinute: 60
    signatureHeaders: [github]
  - name: audithook
    location: West Europe
    uri: https://audit.example.net
    actions:
      - push
      - webhook_failing
    status: disabled
---
# A second document.
webhooks:
  - {name: scanhook, uri: "http://scan.example.net:8080/", actions: [push], retryPolicy: {maxDeliveryAttempts: 1}}
`

// write makes a file of webhooks, and returns a shell whose variables it can use.
func write(t *testing.T, srv *server, content string) (*shell, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hooks.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	sh := srv.shell(t)
	sh.env["DEPLOY_KEY"], sh.env["DEPLOY_TOKEN"] = "k3y", "t0ken"
	return sh, path
}

// applied runs dockbell apply and fails the test if it prints a secret.
func applied(t *testing.T, sh *shell, path string, flags ...string) result {
	t.Helper()
	got := sh.run(append([]string{"apply", "-f", path}, flags...)...)
	for _, secret := range []string{"k3y", "t0ken", "k4y", "t1ken"} {
		if strings.Contains(got.out+got.err, secret) {
			t.Errorf("a secret is printed:\n%s%s", got.err, got.out)
		}
	}
	got.err, got.out = strings.ReplaceAll(got.err, path, "hooks.yaml"), strings.ReplaceAll(got.out, path, "hooks.yaml")
	return got
}

func TestApply(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh, path := write(t, srv, hooksYAML)
	sh.run(split(create + "--scope team/web:*")...)
	sh.run("webhook", "create", "-n", "oldhook", "--uri", "http://old.example.net", "--actions", "push")
	srv.sent = nil

	diff := `~ deployhook  uri: changed; scope: "team/web:*" -> "team/*:*"; tag cost: none -> "12"; tag team: none -> "web"; header Authorization: added; header X-Literal: added; ` +
		`retryPolicy.maxDeliveryAttempts: 30 -> 5; retryPolicy.order: tag -> none; retryPolicy.maxPerMinute: 0 -> 60; signatureHeaders: none -> github
+ audithook
+ scanhook
`
	if got, want := applied(t, sh, path, "--dry-run"), (result{out: diff + "2 to create, 1 to change, 0 to delete\n"}); got != want {
		t.Errorf("dry run:\n%+v\nwant\n%+v", got, want)
	}
	if srv.sent != nil {
		t.Errorf("a dry run sent %s", srv.sent)
	}
	if got, want := applied(t, sh, path), (result{out: diff + "2 created, 1 changed, 0 deleted\n"}); got != want {
		t.Errorf("apply:\n%+v\nwant\n%+v", got, want)
	}
	if got, want := strings.Join(srv.sent, "\n"), strings.Join([]string{
		`PATCH {"tags":{"cost":"12","team":"web"},"properties":{"serviceUri":"https://hooks.example.net/acr?key=k3y","customHeaders":{"Authorization":"Bearer t0ken","X-Literal":"${DEPLOY_TOKEN} costs $5"},"scope":"team/*:*","retryPolicy":{"maxDeliveryAttempts":5,"eventTimeToLiveInMinutes":4320,"timeoutInSeconds":10,"order":"none","maxPerMinute":60},"signatureHeaders":["github"]}}`,
		`PUT {"location":"West Europe","properties":{"serviceUri":"https://audit.example.net","status":"disabled","actions":["push","webhook_failing"]}}`,
		`PUT {"location":"westeurope","properties":{"serviceUri":"http://scan.example.net:8080/","status":"enabled","actions":["push"],"retryPolicy":{"maxDeliveryAttempts":1,"eventTimeToLiveInMinutes":4320,"timeoutInSeconds":10,"order":"tag","maxPerMinute":0}}}`,
	}, "\n"); got != want {
		t.Errorf("sent\n%s\nwant\n%s", got, want)
	}

	srv.sent = nil
	nothing := "nothing to change: the webhooks of registry contoso are as hooks.yaml has them\n"
	for range 2 {
		if got := applied(t, sh, path); got != (result{out: nothing}) {
			t.Errorf("a second time: %+v", got)
		}
	}
	sh.stdin = hooksYAML
	if got := applied(t, sh, "-", "-v"); got.out != "= deployhook\n= audithook\n= scanhook\nnothing to change: the webhooks of registry contoso are as standard input has them\n" {
		t.Errorf("from standard input: %+v", got)
	}
	if srv.sent != nil {
		t.Errorf("what is so already is sent: %s", srv.sent)
	}

	// Secrets are compared, and not shown.
	sh.env["DEPLOY_KEY"], sh.env["DEPLOY_TOKEN"] = "k4y", "t1ken"
	if got := applied(t, sh, path); got.out != "~ deployhook  uri: changed; header Authorization: changed\n0 created, 1 changed, 0 deleted\n" {
		t.Errorf("other secrets: %+v", got)
	}
	if got := applied(t, sh, path); got.out != nothing {
		t.Errorf("other secrets, a second time: %+v", got)
	}
	if got := sh.run("webhook", "get-config", "-n", "deployhook", "--query", "[serviceUri,customHeaders.Authorization]", "-o", "tsv"); got.out != "https://hooks.example.net/acr?key=k4y\nBearer t1ken\n" {
		t.Errorf("get-config: %+v", got)
	}

	// What the file leaves out is the default again, and what is not in it goes
	// with --prune alone.
	if err := os.WriteFile(path, []byte("webhooks:\n- name: DeployHook\n  uri: https://other.example.net/\n  actions: [push]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sh.terminal, sh.env["NO_COLOR"] = true, "1"
	got := applied(t, sh, path)
	want := result{
		out: `~ deployhook  uri: https://hooks.example.net -> https://other.example.net; actions: push, delete -> push; scope: "team/*:*" -> ""; tag cost: "12" -> none; tag team: "web" -> none; ` +
			`header Authorization: removed; header X-Literal: removed; retryPolicy.maxDeliveryAttempts: 5 -> 30; retryPolicy.order: none -> tag; retryPolicy.maxPerMinute: 60 -> 0; signatureHeaders: github -> none
0 created, 1 changed, 0 deleted
`,
		err: "not in hooks.yaml and left alone, without --prune: audithook, oldhook, scanhook\n",
	}
	if got != want {
		t.Errorf("defaults:\n%+v\nwant\n%+v", got, want)
	}
	if got := applied(t, sh, path, "--prune", "--dry-run"); got.out != "- audithook\n- oldhook\n- scanhook\n0 to create, 0 to change, 3 to delete\n" {
		t.Errorf("prune: %+v", got)
	}
	if got := applied(t, sh, path, "--prune"); got.out != "- audithook\n- oldhook\n- scanhook\n0 created, 0 changed, 3 deleted\n" {
		t.Errorf("prune: %+v", got)
	}
	if got := sh.run("webhook", "list", "--query", "[].[name,scope,retryPolicy,signatureHeaders]", "-o", "json"); strings.Join(strings.Fields(got.out), "") != `[["deployhook","",null,null]]` {
		t.Errorf("left: %+v", got)
	}
	delete(sh.env, "NO_COLOR")
	if err := os.WriteFile(path, []byte("webhooks: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := applied(t, sh, path, "--prune"); got.out != "\x1b[31m- deployhook\x1b[0m\n0 created, 0 changed, 1 deleted\n" {
		t.Errorf("all gone: %+v", got)
	}
}

func TestApplyWarnsOfScope(t *testing.T) {
	t.Parallel()
	sh, path := write(t, newServer(t), "webhooks: [{name: deployhook, uri: 'http://x.example.net', actions: [push], scope: team/web}]")
	if got := applied(t, sh, path); !strings.HasPrefix(got.err, "warning: scope team/web means team/web:latest") {
		t.Errorf("%+v", got)
	}
}

// TestApplyRefusesFiles: nothing is sent for a file that breaks a rule.
func TestApplyRefusesFiles(t *testing.T) {
	t.Parallel()
	const hook = "name: deployhook, uri: 'http://x.example.net', actions: [push]"
	unasked := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked for", r.URL) }))
	t.Cleanup(unasked.Close)
	for _, tt := range []struct{ name, file, want string }{
		{"nothing", "", "hooks.yaml has no key webhooks or eventSubscriptions: begin it with one of them and a colon, and list them below, or write webhooks: [] for none"},
		{"comments", "# none\n---\n# none\n", "hooks.yaml has no key webhooks"},
		{"a list", "- name: deployhook\n", "hooks.yaml:1: the file is written as lines of name: value"},
		{"no YAML", "webhooks:\n  - name: deployhook\n    uri: x: y\n", "hooks.yaml:3: this is no YAML: "},
		{"a tab", "webhooks:\n\t- x\n", "hooks.yaml:2: this is no YAML: "},
		{"an unknown alias", "webhooks: *x\n", "hooks.yaml is no YAML: unknown anchor 'x' referenced"},
		{"unknown at the top", "webhook:\n", `hooks.yaml:1: the file has no key "webhook", did you mean webhooks?: there are eventSubscriptions, webhooks`},
		{"unknown in a webhook", "webhooks:\n- name: deployhook\n  url: x\n", `hooks.yaml:3: a webhook has no key "url", did you mean uri?: there are actions, eventTypePrefix, flatData, format, handshake, headers, location, name, retryPolicy, scope, signatureHeaders, status, tags, uri`},
		{"unknown in a policy", "webhooks:\n- {" + hook + ", retryPolicy: {timeout: 1}}\n", `hooks.yaml:2: a retryPolicy has no key "timeout"`},
		{"twice the same key", "webhooks:\n- name: deployhook\n  name: otherhook\n", `hooks.yaml:3: a webhook: key "name" is there twice`},
		{"twice the list", "webhooks: []\nwebhooks: []\n", `hooks.yaml:2: the file: key "webhooks" is there twice`},
		{"subscriptions", "webhooks: []\nsubscriptions: []\n", `hooks.yaml:2: the file has no key "subscriptions": there are eventSubscriptions, webhooks`},
		{"merge", "webhooks:\n- {<<: {name: a}, " + hook + "}\n", `hooks.yaml:2: a webhook has no key "<<"`},
		{"no list", "webhooks:\n  deployhook: {}\n", "hooks.yaml:2: webhooks is a list"},
		{"no mapping", "webhooks: [deployhook]\n", "hooks.yaml:1: a webhook is written as lines of name: value"},
		{"a key that is no word", "webhooks:\n- [a]: b\n", "hooks.yaml:2: a webhook: a key has to be a word"},
		{"no name", "webhooks:\n- uri: http://x\n", "hooks.yaml:2: the webhook has no name"},
		{"bad name", "webhooks:\n- name: prod-hook\n", `hooks.yaml:2: webhook name "prod-hook" breaks the rule: use 5 to 50 letters and digits`},
		{"no uri", "webhooks:\n- name: deployhook\n  uri:\n", "hooks.yaml:2: webhook deployhook has no uri"},
		{"bad uri", "webhooks:\n- uri: ftp://s3cret\n", "hooks.yaml:2: uri: this is no http or https address"},
		{"no actions", "webhooks:\n- name: deployhook\n  uri: http://x\n  actions: []\n", "hooks.yaml:2: webhook deployhook has no actions"},
		{"bad action", "webhooks:\n- actions: [psuh]\n", `hooks.yaml:2: actions: "psuh" is not one of push, delete, quarantine, chart_push, chart_delete, untag, tag_moved, referrer_attached, pull, webhook_failing, did you mean push?`},
		{"one action", "webhooks:\n- actions: push\n", "hooks.yaml:2: actions is a list"},
		{"bad status", "webhooks:\n- status: true\n", `hooks.yaml:2: status: "true" is not one of enabled, disabled`},
		{"bad scope", "webhooks:\n- scope: team/*\n", `hooks.yaml:2: scope "team/*" is not valid`},
		{"scope of everything", "webhooks:\n- scope: '*:*'\n", `hooks.yaml:2: scope "*:*" is not valid`},
		{"bad signature", "webhooks:\n- signatureHeaders: [gitlab]\n", `hooks.yaml:2: signatureHeaders: "gitlab" is not one of github, flux`},
		{"no number", "webhooks:\n- retryPolicy:\n    timeoutInSeconds: soon\n", "hooks.yaml:3: timeoutInSeconds is a whole number"},
		{"out of range", "webhooks:\n- retryPolicy:\n    timeoutInSeconds: 31\n", "hooks.yaml:3: retryPolicy: the time limit of 31s for one attempt is out of range"},
		{"a huge number", "webhooks:\n- retryPolicy:\n    eventTimeToLiveInMinutes: 9223372036854775807\n", "hooks.yaml:3: retryPolicy: the time to live of "},
		{"a list for a value", "webhooks:\n- name: [a]\n", "hooks.yaml:2: name is a single value"},
		{"the same header", "webhooks:\n- headers: {x-a: 1, X-A: 2}\n", "hooks.yaml:2: header X-A is given twice"},
		{"an empty name", "webhooks:\n- headers: {'': 1}\n", "hooks.yaml:2: headers: a name is empty"},
		{"unset", "webhooks:\n- uri: http://${NOSUCH}\n", "hooks.yaml:2: uri: the variable NOSUCH is not set, or empty: set it in the environment of this command"},
		{"unset in a header", "webhooks:\n- headers:\n    Authorization: Bearer ${NOSUCH}\n", "hooks.yaml:3: header Authorization: the variable NOSUCH is not set"},
		{"no variable", "webhooks:\n- uri: http://${s3 cret}\n", "hooks.yaml:2: uri: behind ${ there is no name of a variable"},
		{"no end", "webhooks:\n- uri: http://${DEPLOY_KEY\n", "hooks.yaml:2: uri: behind ${ there is no name of a variable"},
		{"twice, without case", "webhooks:\n- {" + hook + "}\n- {" + strings.Replace(hook, "deployhook", "DeployHook", 1) + "}\n", "hooks.yaml:3: webhook DeployHook is listed already at hooks.yaml:2: names are compared without case"},
	} {
		path := filepath.Join(t.TempDir(), "hooks.yaml")
		if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
			t.Fatal(err)
		}
		sh := newShell(t)
		sh.env = map[string]string{"DOCKBELL_SERVER": unasked.URL, "DEPLOY_KEY": "k3y"}
		got := applied(t, sh, path)
		if got.code != 1 || got.out != "" || !strings.HasPrefix(got.err, "error: "+tt.want) || strings.Count(got.err, "\n") != 1 || strings.Contains(got.err, "s3cret") {
			t.Errorf("%s: exit %d\n%s%swant\n%s", tt.name, got.code, got.out, got.err, tt.want)
		}
	}
	sh := newShell(t)
	if got := sh.run("apply", "-f", "nosuch.yaml"); got.code != 1 || got.err != "error: the file cannot be read: open nosuch.yaml: no such file or directory\n" {
		t.Errorf("no file: %+v", got)
	}
	if got := sh.run("apply"); got.code != 2 || got.err != "error: dockbell apply needs --file/-f: see dockbell apply --help\n" {
		t.Errorf("no flag: %+v", got)
	}
}

// TestApplyRefusesToMove: what a registry cannot do is refused before anything is
// changed.
func TestApplyRefusesToMove(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh, path := write(t, srv, "webhooks:\n- {name: otherhook, uri: 'http://x.example.net', actions: [push]}\n- {name: deployhook, location: eastus, uri: 'http://x.example.net', actions: [push]}\n")
	sh.run(split(create)...)
	srv.sent = nil
	got := applied(t, sh, path)
	if got.code != 1 || got.err != "error: hooks.yaml:3: webhook deployhook is in location westeurope and cannot move to eastus: leave location out, or delete the webhook first\n" || srv.sent != nil {
		t.Errorf("%+v, sent %s", got, srv.sent)
	}
}

// TestApplyInPart: where the server refuses or is lost in the middle, it is said
// what was done and what was not.
func TestApplyInPart(t *testing.T) {
	t.Parallel()
	const file = `webhooks:
- {name: hook1, uri: http://x.example.net, actions: [push]}
- {name: hook2, uri: http://x.example.net, actions: [push]}
- {name: hook3, uri: http://x.example.net, actions: [push], scope: 'a:*'}
`
	for name, tt := range map[string]struct {
		fail func(w http.ResponseWriter)
		want string
	}{
		"refused": {func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":{"code":"InvalidRequest","message":"x.example.net is not to be rung"}}`)
		}, "error: webhook hook2: x.example.net is not to be rung; done: + hook1; not done: + hook2, ~ hook3, - oldhook; apply the file again when that is mended\n"},
		"lost": {func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
			"error: webhook hook2: SERVER closed the connection before it had answered: try again, or look into its log (whether + hook2 was done is not known); done: + hook1; not done: ~ hook3, - oldhook; apply the file again when that is mended\n"},
	} {
		srv := newServer(t)
		sh, path := write(t, srv, file)
		for _, n := range []string{"hook3", "oldhook"} {
			sh.run("webhook", "create", "-n", n, "--uri", "http://x.example.net", "--actions", "push")
		}
		behind, err := url.Parse(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		proxy := httputil.NewSingleHostReverseProxy(behind)
		failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "hook2") {
				tt.fail(w)
				return
			}
			proxy.ServeHTTP(w, r)
		}))
		t.Cleanup(failing.Close)
		sh.env["DOCKBELL_SERVER"] = failing.URL
		got := applied(t, sh, path, "--prune")
		if want := strings.Replace(tt.want, "SERVER", failing.URL, 1); got.code != 1 || got.err != want || got.out != "+ hook1\n+ hook2\n~ hook3  scope: \"\" -> \"a:*\"\n- oldhook\n" {
			t.Errorf("%s: %+v\nwant %s", name, got, want)
		}
		sh.env["DOCKBELL_SERVER"] = srv.URL
		if got := applied(t, sh, path, "--prune"); got.code != 0 || got.out != "+ hook2\n~ hook3  scope: \"\" -> \"a:*\"\n- oldhook\n1 created, 1 changed, 1 deleted\n" {
			t.Errorf("%s, mended: %+v", name, got)
		}
	}
}
