package cli_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/subscription"
	"github.com/dockbell/dockbell/internal/tenant"
	"github.com/dockbell/dockbell/internal/webhook"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// server is the real control plane with registry contoso, an engine whose doings
// are made up by the test, and one user: dockbell, password s3cret.
type server struct {
	*httptest.Server
	engine
	sent []string // method and body of the requests that had one

	collections collections

	agrees  bool // what the receivers of webhooks say that are asked
	unready bool // its database does not answer
}

// Post is a receiver that is asked whether it agrees to be rung.
func (s *server) Post(_ context.Context, r outbound.Request) outbound.Result {
	if r.Header.Get("Aeg-Subscription-Name") != "" {
		return subscriber(r)
	}
	res := outbound.Result{Started: time.Now(), Answer: outbound.NewAnswer(http.StatusMethodNotAllowed, nil), Body: []byte("no OPTIONS here")}
	if s.agrees {
		res.Answer = outbound.NewAnswer(http.StatusOK, map[string]string{"Webhook-Allowed-Origin": r.Header.Get("WebHook-Request-Origin"), "Webhook-Allowed-Rate": "120"})
	}
	return res
}

func newServer(t *testing.T, registries ...string) *server {
	t.Helper()
	ctx := t.Context()
	db, err := sqldb.Open(ctx, sqldb.Config{Path: filepath.Join(t.TempDir(), "dockbell.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		_, err := tx.Exec("INSERT INTO setting (name, value) VALUES ('subscription', '00000000-0000-0000-0000-000000000001')")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var tenants *tenant.Store
	for _, name := range append(registries, "contoso") {
		if tenants, err = tenant.Open(ctx, db, tenant.Options{DefaultName: name, DefaultLocation: "westeurope"}); err != nil {
			t.Fatal(err)
		}
	}
	key, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{}
	made, events, log := new(endpoints), outbox.New(func(outbox.Entry) {}), slog.New(slog.DiscardHandler)
	source := func(id int64) event.Registry { return event.Registry{ID: id, LoginServer: "contoso.azurecr.example"} }
	hooks, err := webhook.Open(ctx, webhook.Options{
		DB: db, Key: key, Endpoints: made, Outbox: events, CheckURL: outbound.Policy{}.CheckURL, Version: "1.2.3", Source: source, Poster: s, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	subscriptions, err := subscription.Open(ctx, subscription.Options{
		DB: db, Key: key, Endpoints: made, Outbox: events, CheckURL: outbound.Policy{}.CheckURL, Version: "1.2.3", Source: source, Poster: s, Log: log,
		CheckBroker: func(string) error { return nil }, URL: func(int64) string { return "https://contoso.azurecr.example" }, Folder: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	authority, err := auth.Open(ctx, auth.Options{DB: db, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	control := arm.New(arm.Config{
		Audit:         audit.New(audit.Options{DB: db, Log: log}),
		SigningKeys:   authority,
		Tokens:        authority.RepositoryTokens(),
		Tenants:       tenants,
		Webhooks:      hooks,
		Subscriptions: subscriptions,
		Deliveries:    s,
		Log:           log,
		Authenticate: func(r *http.Request) (arm.Caller, error) {
			if user, password, _ := r.BasicAuth(); user != "dockbell" || password != "s3cret" {
				return nil, fault.New(fault.Unauthenticated, "authentication required")
			}
			return operator{}, nil
		},
		Admins: admins{}, Directory: "00000000-0000-0000-0000-000000000002",
		Size:  func(context.Context, int64) (int64, error) { return 3 << 20, nil },
		Purge: func() {}, Collections: &s.collections,
		Import: func(context.Context, arm.Import) error { return nil },
		Source: func(r tenant.Registry) event.Registry {
			return event.Registry{ID: r.ID, Name: r.Name, LoginServer: r.LoginServer("azurecr.example"), ResourceID: r.ResourceID(), Location: r.Location}
		},
	})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/":
			io.WriteString(w, "dockbell 1.2.3: images at /v2/, webhooks at /api/v1/registries\n")
			return
		case r.URL.Path == "/readyz" && s.unready:
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"status":"the database does not answer"}`)
			return
		case r.URL.Path == "/readyz":
			return
		case s.unready:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if body, err := io.ReadAll(r.Body); err == nil && len(body) > 0 {
			s.sent = append(s.sent, r.Method+" "+string(body))
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		control.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// operator may do everything.
type operator struct{}

func (operator) Name() string         { return "dockbell" }
func (operator) Kind() string         { return "User" }
func (operator) May(_, _ string) bool { return true }

// admins are admin users whose passwords do not change.
type admins struct{}

func (admins) AdminPasswords(context.Context, int64) ([2]string, error) {
	return [2]string{"first-password", "second-password"}, nil
}

func (admins) RenewAdminPassword(context.Context, int64, int) ([2]string, error) {
	return [2]string{"first-password", "new-password"}, nil
}

// endpoints gives ids and forgets them.
type endpoints struct{ last int64 }

func (e *endpoints) Add(*sqldb.Tx, string, int64, string) (int64, error) {
	e.last++
	return e.last, nil
}
func (e *endpoints) Drop(*sqldb.Tx, int64) error             { return nil }
func (e *endpoints) Changed(*sqldb.Tx, int64) error          { return nil }
func (e *endpoints) Held(*sqldb.Tx, int64) error             { return nil }
func (e *endpoints) Disabled(*sqldb.Tx, int64, string) error { return nil }

// shell returns a shell whose commands find the server and log in to it.
func (s *server) shell(t *testing.T) *shell {
	sh := newShell(t)
	sh.env = map[string]string{"DOCKBELL_SERVER": s.URL, "DOCKBELL_USERNAME": "dockbell", "DOCKBELL_PASSWORD": "s3cret"}
	return sh
}

var (
	anyTime   = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{7})?Z`)
	anyUUID   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyKey    = regexp.MustCompile(`[A-Za-z0-9_-]{43}`)
	anyAge    = regexp.MustCompile(`(?m)^\d+[smhd] +`)
	anySecret = regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`)
)

// transcript runs commands, whose arguments are separated by blanks or quoted as
// in a shell, and returns what a terminal would show.
func transcript(s *shell, lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		got := s.run(split(line)...)
		fmt.Fprintf(&b, "$ dockbell %s\n%s%s", line, got.err, got.out)
		if got.code != 0 {
			fmt.Fprintf(&b, "(exit %d)\n", got.code)
		}
		b.WriteString("\n")
	}
	return anySecret.ReplaceAllString(anyUUID.ReplaceAllString(anyTime.ReplaceAllString(b.String(), "(time)"), "(uuid)"), "(secret)")
}

var word = regexp.MustCompile(`(?:[^\s"']|"[^"]*"|'[^']*')+`)

func split(line string) []string {
	var args []string
	for _, w := range word.FindAllString(line, -1) {
		args = append(args, strings.NewReplacer(`"`, "", `'`, "").Replace(w))
	}
	return args
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update rewrites it); got\n%s", path, got)
	}
}

const create = `webhook create --registry contoso --name deployhook --uri https://hooks.example.net/acr --actions push delete `

// TestWebhookJSON runs the commands of a script.
func TestWebhookJSON(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	golden(t, "json.txt", transcript(srv.shell(t),
		"webhook list -r contoso",
		create+`--headers "Authorization=Bearer a=b" X-Empty --tags team=web --scope 'team/web:*' -g rg1`,
		"webhook show -r contoso -n DEPLOYHOOK",
		"webhook list -r contoso",
		"webhook list -r contoso -o none",
		"webhook get-config -r contoso -n deployhook",
		"webhook ping -r contoso -n deployhook",
		"webhook update -r contoso -n deployhook --status disabled",
		"webhook update -r contoso -n deployhook --timeout 5 --max-per-minute 60 --signature-headers flux",
		"webhook list-events -r contoso -n deployhook",
		"webhook delete -r contoso -n deployhook",
		"webhook delete -r contoso -n deployhook",
		"webhook show -r contoso -n deployhook",
		"registry show -n contoso --query '{name:name,sku:sku.name,loginServer:loginServer,resourceGroup:resourceGroup,properties:properties}'",
	))
}

// TestWebhookTerminal runs the commands of a person.
func TestWebhookTerminal(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.terminal = true
	sh.env["NO_COLOR"] = "1"
	golden(t, "terminal.txt", transcript(sh,
		"registry list",
		"webhook list",
		create+`--headers X-Env=prod A="b c" --scope 'team/web:*'`,
		"webhook create -n allhooks -r contoso.azurecr.io --uri http://hooks.example.net --actions push,quarantine --status disabled --scope team/web",
		"webhook list",
		"webhook get-config -n deployhook",
		"webhook ping -n deployhook",
		"webhook list-events -n deployhook",
		"webhook update -n deployhook --scope hello-world",
		"webhook list --query '[].{name:name,state:status}'",
		"webhook delete -n deployhook",
		"webhook delete -n deployhook",
		"webhook show -n deployhook",
		"webhook create -n prod-hook --uri http://hooks.example.net --actions push",
	))
}

func TestFormats(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.run(split(create + "--tags team=web")...)
	golden(t, "formats.txt", transcript(sh,
		"webhook list -o yaml --query '[].{name:name,actions:actions,tags:tags,systemData:null,n:length(actions)}'",
		"webhook list -o tsv --query '[].[name,actions,tags,nosuch]'",
		"webhook list -o tsv --query '[].{b:status,a:name}'",
		"webhook list -o tsv --query [0].name",
		"webhook list -o tsv --query '[].[length(actions) > `1`]'",
		"webhook show -n deployhook -o tsv --query 'length(actions) > `1`'",
		"webhook list -o table --query '[].[name,status]'",
		"webhook show -n deployhook --query nosuch",
		"webhook show -n deployhook --query scope",
		"webhook show -n deployhook --query '[broken'",
		"webhook show -n deployhook -o JSON --query status",
	))
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	sh.run(split(create)...)
	sent := outbound.RequestHead{Method: "POST", URI: "https://hooks.example.net/acr", Version: "1.1", Header: map[string]string{"Authorization": "******"}}
	body := func(action, target string) []byte {
		return fmt.Appendf(nil, `{"id":"x","timestamp":"2025-03-14T09:26:53.5897932Z","action":"%s"%s}`, action, target)
	}
	ok := &outbound.ResponseHead{Status: 200, Reason: "OK", Version: "1.1", Header: map[string]string{"Content-Length": "0"}}
	srv.attempts = []delivery.Attempt{
		{EventID: "e5", N: 1, Outcome: delivery.Interrupted, Sent: sent, ACRBody: body("push", `,"target":{"repository":"evil","tag":"\u001b[31m"}`)},
		{EventID: "e4", N: 12, Duration: 1234 * time.Microsecond, Outcome: delivery.Failed, Class: outbound.DNS, Message: "hooks.example.net has no address", Sent: sent, ACRBody: body("delete", `,"target":{"digest":"sha256:1f","repository":"hello-world"}`)},
		{EventID: "e3", N: 1, Duration: 10 * time.Second, Replay: 7, Outcome: delivery.Failed, Class: outbound.Timeout, Sent: sent, ACRBody: body("push", `,"target":{"size":1048576000,"repository":"hello-world","tag":"v1"},"request":{"id":"r1","host":"contoso.azurecr.example","method":"PUT","useragent":"docker"}`)},
		{EventID: "e2", N: 2, Duration: 900 * time.Microsecond, Outcome: delivery.Delivered, Answer: ok, Sent: sent, ACRBody: body("push", `,"target":{"size":524,"repository":"hello-world","tag":"v1"}`)},
		{EventID: "e1", N: 1, Duration: 38600 * time.Microsecond, Outcome: delivery.Delivered, Answer: ok, Sent: sent, ACRBody: body("ping", "")},
	}
	for i := range srv.attempts {
		srv.attempts[i].StartedAt = time.Unix(1741944413, 0)
	}
	got := strings.ReplaceAll(transcript(sh,
		"webhook list-events -n deployhook -o table",
		"webhook list-events -n deployhook --query '[2:4]'",
		"webhook list-events -n deployhook --query '[2].eventRequestMessage.content.target' -o yaml",
		"webhook list-events -n deployhook --outcome failed -o table",
		"webhook list-events -n deployhook --replay 7 -o table",
		"webhook list-events -n deployhook --replay 8 -o table",
	), srv.URL, "http://server")
	golden(t, "events.txt", got)

	sh.terminal = true
	if got := sh.run("webhook", "list-events", "-n", "deployhook"); !strings.Contains(got.out, "\x1b[32m200 OK\x1b[0m") || !strings.Contains(got.out, "\x1b[31m504 GatewayTimeout\x1b[0m") {
		t.Errorf("colours: %q", got.out)
	}
	sh.env["NO_COLOR"] = "1"
	if got := sh.run("webhook", "list-events", "-n", "deployhook"); strings.Contains(got.out, "\x1b") {
		t.Errorf("colours, with NO_COLOR: %q", got.out)
	}
}

// TestSent shows the bodies that command lines make.
func TestSent(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	sh := srv.shell(t)
	for _, tt := range []struct{ line, want string }{
		{create, `PUT {"location":"westeurope","properties":{"serviceUri":"https://hooks.example.net/acr","status":"enabled","actions":["push","delete"]}}`},
		{create + `--headers Authorization="Bearer abc=def" X-Empty --scope 'hello-world:*' --status Disabled --tags t=1 -l "West Europe"`,
			`PUT {"location":"West Europe","tags":{"t":"1"},"properties":{"serviceUri":"https://hooks.example.net/acr","customHeaders":{"Authorization":"Bearer abc=def","X-Empty":""},"status":"disabled","scope":"hello-world:*","actions":["push","delete"]}}`},
		{create + `--max-delivery-attempts 1 --event-ttl 60 --timeout 5 --order Repository --max-per-minute 120 --signature-headers github flux`,
			`PUT {"location":"westeurope","properties":{"serviceUri":"https://hooks.example.net/acr","status":"enabled","actions":["push","delete"],` +
				`"retryPolicy":{"maxDeliveryAttempts":1,"eventTimeToLiveInMinutes":60,"timeoutInSeconds":5,"order":"repository","maxPerMinute":120},"signatureHeaders":["github","flux"]}}`},
		{"webhook update -n deployhook", `PATCH {}`},
		{"webhook update -n deployhook --max-per-minute 0 --order none", `PATCH {"properties":{"retryPolicy":{"order":"none","maxPerMinute":0}}}`},
		{"webhook update -n deployhook --signature-headers ''", `PATCH {"properties":{"signatureHeaders":[]}}`},
		{"webhook update -n deployhook --signature-headers FLUX", `PATCH {"properties":{"signatureHeaders":["flux"]}}`},
		{"webhook update -n deployhook --ca-file '' --client-cert '' --client-key ''", `PATCH {"properties":{"tls":null}}`},
		{"webhook test -n deployhook --action delete", `POST {"action":"delete"}`},
		{"webhook rotate-secret -n deployhook", `POST {"overlapInMinutes":1440}`},
		{"webhook rotate-secret -n deployhook --overlap 0", `POST {"overlapInMinutes":0}`},
		{"webhook rotate-secret -n deployhook --overlap 7d", `POST {"overlapInMinutes":10080}`},
		{"webhook redeliver -n deployhook --event e1", `POST {"eventId":"e1"}`},
		{"webhook replay -n deployhook --after 0 --no-wait", `POST {}`},
		{"webhook replay -n deployhook --failed --no-wait", `POST {"only":"undelivered"}`},
		{"webhook replay -n deployhook --refused --since 2026-03-14 --until 2026-03-14T09:26:53+01:00 --actions push delete --repository 'team/*' --uri http://audit.example.net --max-per-minute 60 --no-wait",
			`POST {"from":"2026-03-14T00:00:00Z","until":"2026-03-14T09:26:53+01:00","only":"refused","actions":["push","delete"],"repository":"team/*","serviceUri":"http://audit.example.net","maxPerMinute":60}`},
		{"webhook replay -n deployhook --after 7 --upto 9 --no-wait", `POST {"after":7,"upto":9}`},
		{"webhook dead-letters redrive -n deployhook --ids 4,7 9 --no-wait", `POST {"deadLetters":[4,7,9]}`},
		{"webhook dead-letters redrive -n deployhook --all --max-per-minute 60 --no-wait", `POST {"deadLetters":"all","maxPerMinute":60}`},
		{"webhook dead-letters purge -n deployhook --ids 4", `POST {"ids":[4]}`},
		{"webhook dead-letters purge -n deployhook --all", `POST {"ids":"all"}`},
		{"webhook update -n deployhook --status enabled", `PATCH {"properties":{"status":"enabled"}}`},
		{"webhook update -n deployhook --set status=enabled", `PATCH {"properties":{"status":"enabled"}}`},
		{"webhook update -n deployhook --set properties.status=ENABLED scope=x:y", `PATCH {"properties":{"status":"enabled","scope":"x:y"}}`},
		{"webhook update -n deployhook --headers ''", `PATCH {"properties":{"customHeaders":{}}}`},
		{"webhook update -n deployhook --headers A=1 B=2", `PATCH {"properties":{"customHeaders":{"A":"1","B":"2"}}}`},
		{"webhook update -n deployhook --scope ''", `PATCH {"properties":{"scope":""}}`},
		{"webhook update -n deployhook --tags ''", `PATCH {"tags":{}}`},
		{"webhook update -n deployhook --tags a=1 b", `PATCH {"tags":{"a":"1","b":""}}`},
		{"webhook update -n deployhook --actions 'PUSH quarantine'", `PATCH {"properties":{"actions":["push","quarantine"]}}`},
		{"webhook update -n deployhook --uri http://hooks.example.net", `PATCH {"properties":{"serviceUri":"http://hooks.example.net"}}`},
		// What is changed in part keeps the rest.
		{"webhook update -n deployhook --set tags.c=3", `PATCH {"tags":{"a":"1","b":"","c":"3"}}`},
		{"webhook update -n deployhook --remove tags a --set tags.d=4", `PATCH {"tags":{"b":"","c":"3","d":"4"}}`},
		{"webhook update -n deployhook --remove tags.b", `PATCH {"tags":{"c":"3","d":"4"}}`},
		{"webhook update -n deployhook --set custom_headers.C=3", `PATCH {"properties":{"customHeaders":{"A":"1","B":"2","C":"3"}}}`},
		{"webhook update -n deployhook --add actions delete chart_push", `PATCH {"properties":{"actions":["push","quarantine","delete","chart_push"]}}`},
		{"webhook update -n deployhook --remove actions 0", `PATCH {"properties":{"actions":["quarantine","delete","chart_push"]}}`},
		{"webhook update -n deployhook --remove actions delete", `PATCH {"properties":{"actions":["quarantine","chart_push"]}}`},
		{"webhook update -n deployhook --actions push --add actions delete", `PATCH {"properties":{"actions":["push","delete"]}}`},
		{"webhook update -n deployhook --remove scope --remove tags --remove customHeaders", `PATCH {"tags":{},"properties":{"customHeaders":{},"scope":""}}`},
	} {
		srv.sent = nil
		if got := sh.run(split(tt.line)...); got.code != 0 {
			t.Errorf("%s: exit %d: %s", tt.line, got.code, got.err)
		}
		if got := strings.Join(srv.sent, "; "); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.line, got, tt.want)
		}
	}
	// JSON values, which the splitting above cannot quote.
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--set", `tags={"a":"b"}`, `actions=["push"]`, `scope="x:y"`}, `PATCH {"tags":{"a":"b"},"properties":{"scope":"x:y","actions":["push"]}}`},
		{[]string{"--set", `tags.q="x"`, "--force-string"}, `PATCH {"tags":{"a":"b","q":"\"x\""}}`},
	} {
		srv.sent = nil
		if got := sh.run(append([]string{"webhook", "update", "-n", "deployhook"}, tt.args...)...); got.code != 0 {
			t.Errorf("%s: exit %d: %s", tt.args, got.code, got.err)
		}
		if got := strings.Join(srv.sent, "; "); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.args, got, tt.want)
		}
	}
}

func TestRegistryIsFound(t *testing.T) {
	t.Parallel()
	two := newServer(t, "fabrikam")
	sh := two.shell(t)
	if got := sh.run("webhook", "list"); got.code != 2 || !strings.Contains(got.err, "choose one of contoso, fabrikam with --registry or DOCKBELL_REGISTRY") {
		t.Errorf("two registries: %+v", got)
	}
	sh.env["DOCKBELL_REGISTRY"] = "fabrikam"
	if got := sh.run("webhook", "list"); got.code != 0 || got.out != "[]\n" {
		t.Errorf("DOCKBELL_REGISTRY: %+v", got)
	}
	if got := sh.run("webhook", "list", "-r", "Contoso.azurecr.io"); got.code != 0 || !strings.HasPrefix(got.err, "warning: the login server suffix .azurecr.io is not part of the registry's name: using Contoso") {
		t.Errorf("login server: %+v", got)
	}
	if got := sh.run("webhook", "list", "-r", "nosuch"); got.code != 1 || got.err != "error: registry \"nosuch\" does not exist on this server: dockbell registry list shows those that do\n" {
		t.Errorf("unknown registry: %+v", got)
	}
}
