package arm_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	subscribing "github.com/dockbell/dockbell/internal/subscription"
	"github.com/dockbell/dockbell/internal/tenant"
	"github.com/dockbell/dockbell/internal/webhook"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plane is a control plane over real stores, with an engine made up by the test.
// It has the registries contoso, the default one, and fabrikam, of
// tier Basic.
type plane struct {
	http.Handler
	engine
	db          *sqldb.DB
	events      *outbox.Outbox
	tenants     *tenant.Store
	hooks       *webhook.Store
	receivers   agreeing // of event subscriptions
	auth        func(*http.Request) (arm.Caller, error)
	logged      strings.Builder
	purges      int
	imports     []arm.Import
	importFails error
	audit       *audit.Log

	collections collections
	config      arm.Config // what Handler is made of
}

func newPlane(t testing.TB) *plane {
	t.Helper()
	return newPlaneWith(t, outbound.Policy{}, nil, nil)
}

// newPlaneOver returns a plane whose webhooks may ring what the policy allows,
// over a real engine if poster is not nil.
func newPlaneOver(t testing.TB, policy outbound.Policy, poster delivery.Poster) *plane {
	t.Helper()
	return newPlaneWith(t, policy, poster, poster)
}

// newPlaneWith is newPlaneOver with who is asked for consent.
func newPlaneWith(t testing.TB, policy outbound.Policy, poster delivery.Poster, asked webhook.Poster) *plane {
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
	var registries *tenant.Store
	var hooks *webhook.Store
	for _, name := range []string{"fabrikam", "contoso"} {
		registries, err = tenant.Open(ctx, db, tenant.Options{
			DefaultName: name, DefaultLocation: "westeurope",
			Webhooks: func(tx *sqldb.Tx, registry int64, location string) ([]string, error) {
				return hooks.NamesIn(tx, registry, location)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
			_, err := tx.Exec("UPDATE registry SET sku = 'Basic' WHERE name = 'fabrikam'")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	options := webhook.Options{
		DB: db, Key: key, Endpoints: new(endpoints), Outbox: outbox.New(func(outbox.Entry) {}), CheckURL: policy.CheckURL, Version: "1.2.3",
		Source: func(id int64) event.Registry { return event.Registry{ID: id, LoginServer: "contoso.azurecr.example"} },
		Poster: asked, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	var real *delivery.Engine
	if poster != nil {
		real = delivery.New(delivery.Options{DB: db, Poster: poster, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Node: "test"})
		options.Endpoints, options.Outbox = real, outbox.New(real.Committed)
	}
	hooks, err = webhook.Open(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	var subscriptions *subscribing.Store
	p := &plane{db: db, events: options.Outbox, tenants: registries, hooks: hooks, auth: func(*http.Request) (arm.Caller, error) { return caller{name: "dockbell"}, nil }}
	log := slog.New(slog.NewTextHandler(&p.logged, nil))
	subscriptions, err = subscribing.Open(ctx, subscribing.Options{
		DB: db, Key: key, Endpoints: options.Endpoints, Outbox: options.Outbox, CheckURL: policy.CheckURL, CheckBroker: policy.CheckBroker, Poster: &p.receivers, Version: "1.2.3",
		Source: options.Source, URL: func(int64) string { return "https://contoso.azurecr.example" }, Folder: t.TempDir(), Log: options.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.audit = audit.New(audit.Options{DB: db, Log: log})
	authority, err := auth.Open(ctx, auth.Options{DB: db, Key: key, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	p.config = arm.Config{
		Audit:         p.audit,
		SigningKeys:   authority,
		Tenants:       registries,
		Webhooks:      hooks,
		Subscriptions: subscriptions,
		Deliveries:    &p.engine,
		Authenticate:  func(r *http.Request) (arm.Caller, error) { return p.auth(r) },
		Admins:        admins{},
		Tokens:        authority.RepositoryTokens(),
		Size:          func(context.Context, int64) (int64, error) { return 12345, nil },
		Purge:         func() { p.purges++ },
		Collections:   &p.collections,
		Import: func(_ context.Context, job arm.Import) error {
			p.imports = append(p.imports, job)
			return p.importFails
		},
		Directory: "00000000-0000-0000-0000-000000000002",
		Source: func(r tenant.Registry) event.Registry {
			return event.Registry{ID: r.ID, Name: r.Name, LoginServer: r.LoginServer("azurecr.example"), ResourceID: r.ResourceID(), Location: r.Location}
		},
		Log: log,
	}
	if real != nil {
		if err := real.Start(ctx, hooks); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { real.Stop(context.Background()) })
		p.config.Deliveries = real
	}
	p.Handler = arm.New(p.config)
	return p
}

// agreeing is the receivers of event subscriptions: they agree to be told, as each
// schema has it, unless status is set.
type agreeing struct {
	status int    // of the answer, which has no consent then
	asked  string // the address of the newest question by which one agrees later
}

func (g *agreeing) Post(_ context.Context, r outbound.Request) outbound.Result {
	res := outbound.Result{Answer: &outbound.ResponseHead{Status: 200, Header: map[string]string{"Webhook-Allowed-Origin": "*"}}}
	var question []struct {
		Data struct{ ValidationCode, ValidationURL string }
	}
	if json.Unmarshal(r.Body, &question) == nil && len(question) == 1 {
		res.Body, g.asked = fmt.Appendf(nil, `{"validationResponse":%q}`, question[0].Data.ValidationCode), question[0].Data.ValidationURL
	} else {
		g.asked = r.Header.Get("WebHook-Request-Callback")
	}
	if g.status != 0 {
		res = outbound.Result{Answer: &outbound.ResponseHead{Status: g.status}}
	}
	return res
}

// caller is someone who may do what may says, or everything.
type caller struct {
	name string
	may  func(action, scope string) bool
}

func (c caller) Name() string { return c.name }
func (caller) Kind() string   { return "Application" }
func (c caller) May(action, scope string) bool {
	return c.may == nil || c.may(action, scope)
}

// owner returns someone who may do everything with what is named so.
func owner(name, scope string) caller {
	return caller{name, func(_, s string) bool { return strings.HasSuffix(s, "/"+scope) }}
}

// admins are admin users whose passwords do not change.
type admins struct{}

func (admins) AdminPasswords(context.Context, int64) ([2]string, error) {
	return [2]string{"s3cret-one", "s3cret-two"}, nil
}

func (admins) RenewAdminPassword(_ context.Context, _ int64, n int) ([2]string, error) {
	passwords := [2]string{"s3cret-one", "s3cret-two"}
	passwords[n] = "s3cret-new"
	return passwords, nil
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

func (p *plane) do(method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://contoso.azurecr.example"+target, strings.NewReader(body))
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

var (
	anyTime   = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z`)
	anyUUID   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anySecret = regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`)
)

// transcript is requests and answers as text, with times and ids made equal.
type transcript struct {
	*plane
	strings.Builder
}

func (tr *transcript) exchange(method, target, body string) {
	w := tr.do(method, target, body)
	fmt.Fprintf(tr, "> %s %s\n", method, target)
	if body != "" {
		fmt.Fprintf(tr, "%s\n", body)
	}
	fmt.Fprintf(tr, "< %d\n", w.Code)
	for _, name := range slices.Sorted(maps.Keys(w.Header())) {
		if name == "Allow" || name == "Content-Type" {
			fmt.Fprintf(tr, "< %s: %s\n", name, w.Header().Get(name))
		}
	}
	answer := anySecret.ReplaceAllString(anyUUID.ReplaceAllString(anyTime.ReplaceAllString(w.Body.String(), "(time)"), "(uuid)"), "(secret)")
	fmt.Fprintf(tr, "%s\n", answer)
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

const hook = "/api/v1/registries/contoso/webhooks/DeployHook"

const create = `{"location":"West Europe","tags":{"team":"platform"},"properties":{"serviceUri":"https://receiver.example/acr?code=s3cret","customHeaders":{"Authorization":"Bearer s3cret"},"status":"Enabled","scope":"team/web:*","actions":["Push","delete"]}}`

func TestWebhookLife(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	for _, x := range []struct{ method, target, body string }{
		{"GET", "/api/v1/registries/contoso/webhooks", ""},
		{"GET", hook, ""},
		{"PUT", hook, create},
		{"PUT", hook + "?api-version=2023-07-01", strings.ReplaceAll(create, "team/web:*", "")},
		{"GET", "/API/v1/registries/CONTOSO/webHooks/deployhook?api-version=2022-02-01-preview", ""},
		{"HEAD", hook, ""},
		{"PATCH", hook, `{"properties":{"status":"disabled"}}`},
		{"PATCH", hook, `{}`},
		{"PATCH", hook, `{"tags":null,"properties":{"customHeaders":{},"scope":"hello-world","actions":["chart_push"]}}`},
		{"GET", "/api/v1/registries/contoso/webhooks/", ""},
		{"GET", "/api/v1/registries/fabrikam/webhooks", ""},
		{"POST", hook + "/ping", ""},
		{"POST", hook + "/getCallbackConfig", ""},
		{"POST", hook + "/listEvents", ""},
		{"DELETE", hook, ""},
		{"DELETE", hook, ""},
		{"POST", hook + "/ping", ""},
		{"POST", hook + "/getCallbackConfig", ""},
		{"POST", hook + "/listEvents", ""},
		{"PATCH", hook, `{}`},
	} {
		tr.exchange(x.method, x.target, x.body)
	}
	golden(t, "webhook.txt", tr.String())
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	for _, x := range []struct{ method, target, body string }{
		{"PUT", hook, ""},
		{"PUT", hook, `{"location": westeurope}`},
		{"PUT", hook, `{}`},
		{"PUT", hook, `{"properties":{"serviceUri":"https://hooks.example.net","actions":["push"]}}`},
		{"PUT", hook, `{"location":"westeurope","properties":{"actions":["push"]}}`},
		{"PUT", hook, `{"location":"westeurope","properties":{"serviceUri":"https://hooks.example.net"}}`},
		{"PUT", hook, `{"location":"westeurope","properties":{"serviceUri":"https://hooks.example.net","actions":"push"}}`},
		{"PUT", hook, `{"location":"mars","properties":{"serviceUri":"https://hooks.example.net","actions":["push"]}}`},
		{"PUT", "/api/v1/registries/contoso/webhooks/prod-hook", create},
		{"PUT", "/api/v1/registries/contoso/webhooks/a%2Fb", create},
		{"GET", "/api/v1/registries/nosuch/webhooks", ""},
		{"GET", "/api/v1/registries/contoso/replications", ""},
		{"PUT", "/api/v1/registries/contoso", `{}`},
		{"POST", "/api/v1/registries", `{}`},
		{"GET", "/api/v1/registrys", ""},
		{"GET", hook + "/ping", ""},
		{"GET", hook + "?api-version=latest", ""},
		{"GET", hook + "?api-version=2023-13-01", ""},
		{"PUT", hook, `{"location":"` + strings.Repeat("x", 1<<20) + `"}`},
	} {
		before := tr.Len()
		tr.exchange(x.method, x.target, x.body)
		if len(x.body) > 1<<20 { // not a megabyte into the golden file
			text := strings.Replace(tr.String()[before:], x.body, "(1 MiB and more)", 1)
			kept := tr.String()[:before]
			tr.Builder = strings.Builder{}
			tr.WriteString(kept + text)
		}
	}
	golden(t, "refusals.txt", tr.String())
}

func TestRegistries(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	tr.exchange("GET", "/api/v1/registries/contoso", "")
	tr.exchange("GET", "/api/v1/registries", "")
	golden(t, "registries.txt", tr.String())
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	if w := p.do("PUT", hook, create); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	sent := outbound.RequestHead{
		Method: "POST", URI: "https://hooks.example.net/acr?code=******", Version: "1.1",
		Header: map[string]string{"Content-Type": "application/json; charset=utf-8", "Content-Length": "465", "Authorization": "******"},
	}
	body := []byte(`{"id":"831e1650-001e-001b-66ab-eeb76e069631","timestamp":"2025-03-14T09:26:53.589793200Z","action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":524,"digest":"sha256:3b0e5d3c2f0f6f5a9c1d7e8b4a2c6d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8","length":524,"repository":"team/web","tag":"v1"},"request":{"id":"a1","host":"contoso.azurecr.example","method":"PUT","useragent":"docker/27 <a&b>"}}`)
	p.attempts = []delivery.Attempt{
		{Endpoint: 1, EventID: "e2", ACRBody: body, Outcome: delivery.Failed, Class: outbound.Timeout, Message: "no answer in 10 s", Sent: sent},
		{Endpoint: 1, EventID: "e1", ACRBody: body, Outcome: delivery.Delivered, Sent: sent,
			Answer: &outbound.ResponseHead{Status: 200, Reason: "OK", Version: "1.1", Header: map[string]string{"Content-Length": "2"}}},
		{Endpoint: 2, EventID: "another webhook's"},
	}
	tr := &transcript{plane: p}
	tr.exchange("POST", hook+"/listEvents", "")
	golden(t, "events.txt", tr.String())
}

// TestListEventsPages follows the links with GET and expects the newest thousand
// in pages of a hundred.
func TestListEventsPages(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	if w := p.do("PUT", hook, create); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	for i := range 1234 {
		p.attempts = append(p.attempts, delivery.Attempt{Endpoint: 1, EventID: fmt.Sprint("e", i), ACRBody: []byte("{}")})
	}
	method, target := http.MethodPost, hook+"/listEvents?api-version=2023-07-01"
	var pages, entries int
	for target != "" {
		w := p.do(method, target, "")
		var page struct {
			Value    []struct{ ID string }
			NextLink string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
		if len(page.Value) != 100 || page.Value[0].ID != fmt.Sprint("e", entries) {
			t.Fatalf("page %d has %d entries from %s", pages, len(page.Value), page.Value[0].ID)
		}
		pages, entries = pages+1, entries+len(page.Value)
		rest, ok := strings.CutPrefix(page.NextLink, "http://contoso.azurecr.example")
		if page.NextLink != "" && (!ok || !strings.Contains(rest, "api-version=2023-07-01")) {
			t.Fatalf("next link %s", page.NextLink)
		}
		method, target = http.MethodGet, rest
	}
	if entries != 1000 {
		t.Errorf("%d entries in %d pages", entries, pages)
	}
	for _, token := range []string{"x", "5", "-1-x", "1000-"} {
		if w := p.do("GET", hook+"/listEvents?$skiptoken="+token, ""); w.Code != http.StatusBadRequest {
			t.Errorf("token %s: %d", token, w.Code)
		}
	}
	if w := p.do("GET", hook+"/listEvents?$skiptoken=1000-5", ""); w.Body.String() != "{\"value\":[]}\n" {
		t.Errorf("beyond the limit: %d %s", w.Code, w.Body)
	}
}

// TestNoSecrets reads every operation but the one that is there for the secrets.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	for _, x := range []struct{ method, target, body string }{
		{"PUT", hook, create},
		{"PUT", hook, create},
		{"PATCH", hook, `{"properties":{"serviceUri":"https://receiver.example/s3cret","customHeaders":{"X":"s3cret"}}}`},
		{"GET", hook, ""},
		{"GET", "/api/v1/registries/contoso/webhooks", ""},
		{"PATCH", hook, `{"properties":{"customHeaders":{"X":"s3cret\n"}}}`},
		{"PATCH", hook, `{"properties":{"serviceUri":"https://user:s3cret@/"}}`},
		{"POST", hook + "/ping", ""},
	} {
		if w := p.do(x.method, x.target, x.body); strings.Contains(w.Body.String(), "s3cret") || strings.Contains(w.Body.String(), "receiver.example") {
			t.Errorf("%s %s %s: %s", x.method, x.target, x.body, w.Body)
		}
	}
	if w := p.do("POST", hook+"/getCallbackConfig", ""); !strings.Contains(w.Body.String(), "s3cret") {
		t.Errorf("getCallbackConfig: %s", w.Body)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	uuid := regexp.MustCompile(`^` + anyUUID.String() + `$`)
	for _, target := range []string{"/api/v1/registries/contoso", "/api/v1/registries/nosuch"} {
		h := p.do("GET", target, "").Header()
		for name, want := range map[string]string{
			"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "-1", "X-Content-Type-Options": "nosniff",
			"Content-Type": "application/json; charset=utf-8",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s: %q", target, name, h.Get(name))
			}
		}
		if id := h.Get("x-ms-request-id"); !uuid.MatchString(id) || h.Get("x-ms-correlation-request-id") != id {
			t.Errorf("%s: ids %q and %q", target, id, h.Get("x-ms-correlation-request-id"))
		}
		for name := range h {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: consents to other origins with %s", target, name)
			}
		}
	}
	r := httptest.NewRequest("GET", "/api/v1/registries", nil)
	const theirs = "11111111-2222-4333-8444-555555555555"
	r.Header.Set("x-ms-correlation-request-id", theirs)
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if got := w.Header().Get("x-ms-correlation-request-id"); got != theirs {
		t.Errorf("correlation id %q", got)
	}
}

// refusal is an error with what faces look for.
type refusal struct {
	error
	challenge string
}

func (r refusal) Challenge() string { return r.challenge }
func (r refusal) Unwrap() error     { return r.error }

type throttled struct{ error }

func (throttled) RetryAfter() time.Duration { return 1500 * time.Millisecond }
func (t throttled) Unwrap() error           { return t.error }

func TestAuthentication(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	unknown := refusal{fault.New(fault.Unauthenticated, "who are you?").WithCode("UNAUTHORIZED"), `Bearer realm="x"`}
	p.auth = func(r *http.Request) (arm.Caller, error) {
		user, _, _ := r.BasicAuth()
		switch {
		case user == "" || r.Header.Get("Cookie") != "":
			return nil, unknown
		case user == "guesser":
			return nil, throttled{fault.New(fault.Unavailable, "too many wrong passwords").WithCode("TOOMANYREQUESTS")}
		case user == "broken":
			return nil, errors.New("disk on fire at /var/secret")
		}
		return owner(user, user), nil
	}
	for _, tt := range []struct {
		user, target string
		status       int
		code         string
	}{
		{"", "/api/v1/registries", 401, "AuthenticationFailed"},
		{"", "/api/v1/registries/contoso", 401, "AuthenticationFailed"},
		{"", "/api/v1/registries/contoso/nothing", 401, "AuthenticationFailed"},
		{"", "/api/v1/registries/nosuch", 401, "AuthenticationFailed"},       // does not tell that it is not there
		{"contoso", "/api/v1/registries/nosuch", 403, "AuthorizationFailed"}, // likewise
		{"nosuch", "/api/v1/registries/nosuch", 404, "RegistryResourceNotFound"},
		{"contoso", "/api/v1/registries/contoso", 200, ""},
		{"contoso", "/api/v1/registries/fabrikam", 403, "AuthorizationFailed"},
		{"fabrikam", "/api/v1/registries/fabrikam", 200, ""},
		{"fabrikam", "/api/v1/registries", 200, ""},
		{"stranger", "/api/v1/registries", 200, ""},
		{"guesser", "/api/v1/registries/contoso", 429, "TooManyRequests"},
		{"broken", "/api/v1/registries/contoso", 500, "InternalServerError"},
	} {
		r := httptest.NewRequest("GET", tt.target, nil)
		if tt.user != "" {
			r.SetBasicAuth(tt.user, "x")
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		var body struct {
			Error struct{ Code, Message string }
			Value []struct{ Name string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if w.Code != tt.status || body.Error.Code != tt.code {
			t.Errorf("%s %s: %d %s", tt.user, tt.target, w.Code, w.Body)
		}
		if challenge := w.Header().Get("WWW-Authenticate"); (challenge == unknown.challenge) != (tt.status == 401) {
			t.Errorf("%s %s: challenge %q", tt.user, tt.target, challenge)
		}
		if after := w.Header().Get("Retry-After"); (after == "2") != (tt.status == 429) {
			t.Errorf("%s %s: retry after %q", tt.user, tt.target, after)
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s %s: %s", tt.user, tt.target, w.Body)
		}
		if tt.user == "stranger" && len(body.Value) != 0 {
			t.Errorf("a stranger sees %v", body.Value)
		}
		if tt.user == "fabrikam" && tt.target == "/api/v1/registries" && (len(body.Value) != 1 || body.Value[0].Name != "fabrikam") {
			t.Errorf("fabrikam sees %v", body.Value)
		}
	}
	if !strings.Contains(p.logged.String(), "disk on fire") {
		t.Error("the internal error is not in the log")
	}
}

// TestQuotaIsForbidden fills a registry of tier Basic.
func TestQuotaIsForbidden(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	for i, want := range []int{201, 201, 403} {
		w := p.do("PUT", fmt.Sprintf("/api/v1/registries/fabrikam/webhooks/hook%d", i+1), create)
		if w.Code != want || strings.Contains(w.Body.String(), `"code":"QuotaExceeded"`) != (want == 403) {
			t.Errorf("webhook %d: %d %s", i+1, w.Code, w.Body)
		}
	}
}
