package webhook

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// endpoints keeps the rows that package delivery would, and what it was told.
type endpoints struct {
	mu       sync.Mutex
	changed  []int64
	held     []int64
	dropped  []int64
	disabled map[int64]string // why
}

func (p *endpoints) Add(tx *sqldb.Tx, kind string, registry int64, location string) (id int64, err error) {
	err = tx.Get(`INSERT INTO endpoint (kind, registry, location, from_pos, fail_streak)
		SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), coalesce(max(pos), 0), 0 FROM event RETURNING id`,
		[]any{kind, registry, location}, &id)
	return id, err
}

func (p *endpoints) Drop(tx *sqldb.Tx, id int64) error {
	tx.AfterCommit(func() { p.mu.Lock(); defer p.mu.Unlock(); p.dropped = append(p.dropped, id) })
	_, err := tx.Exec("DELETE FROM endpoint WHERE id = $1", id)
	return err
}

func (p *endpoints) Changed(tx *sqldb.Tx, id int64) error {
	tx.AfterCommit(func() { p.mu.Lock(); defer p.mu.Unlock(); p.changed = append(p.changed, id) })
	return nil
}

func (p *endpoints) Held(tx *sqldb.Tx, id int64) error {
	tx.AfterCommit(func() { p.mu.Lock(); defer p.mu.Unlock(); p.held = append(p.held, id) })
	return nil
}

func (p *endpoints) Disabled(tx *sqldb.Tx, id int64, why string) error {
	tx.AfterCommit(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.disabled == nil {
			p.disabled = map[int64]string{}
		}
		p.disabled[id] = why
	})
	return nil
}

// world is a store on a database of its own.
type world struct {
	*Store
	t         *testing.T
	endpoints *endpoints

	mu     sync.Mutex
	rang   []rang // in commit order
	asked  []outbound.Request
	answer func(outbound.Request) outbound.Result // to handshakes; nil: nobody listens
}

// rang is an event and who it was owed to when it committed.
type rang struct {
	entry outbox.Entry
	owed  []int64
}

var (
	ada     = Actor{"ada", "User"}
	bob     = Actor{"bob", "Application"}
	contoso = Registry{ID: 1, Name: "contoso", SKU: "Premium", Limit: 500, Locations: []string{"eastus", "westeurope"}}
	fabrika = Registry{ID: 2, Name: "fabrika", SKU: "Basic", Limit: 2, Locations: []string{"eastus"}}
	dataKey = bytes.Repeat([]byte{7}, seal.KeySize)
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// onEach runs test on SQLite and on PostgreSQL.
func onEach(t *testing.T, test func(*testing.T, *world)) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		w := &world{t: t, endpoints: &endpoints{}}
		w.open(open())
		test(t, w)
	})
}

// newWorld is for tests of what does not depend on the engine.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, endpoints: &endpoints{}}
	w.open(sqldbtest.SQLite(t)())
	return w
}

// open opens the store, as after a restart.
func (w *world) open(db *sqldb.DB) {
	w.t.Helper()
	if err := w.openWith(db, ""); err != nil {
		w.t.Fatal(err)
	}
}

// openWith is open with a place for alerts.
func (w *world) openWith(db *sqldb.DB, alerts string) error {
	w.t.Helper()
	key, err := seal.New(dataKey)
	if err != nil {
		w.t.Fatal(err)
	}
	policy := outbound.Policy{Loopback: true}
	w.Store, err = Open(w.t.Context(), Options{
		DB: db, Key: key, Endpoints: w.endpoints, Outbox: outbox.New(w.committed), CheckURL: policy.CheckURL, Version: "1.2.3",
		Source: sourceOf, Alerts: alerts, Poster: w, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
	})
	return err
}

// Post is whoever is asked for consent.
func (w *world) Post(_ context.Context, r outbound.Request) outbound.Result {
	w.mu.Lock()
	w.asked = append(w.asked, r)
	answer := w.answer
	w.mu.Unlock()
	started := time.Now()
	res := outbound.Result{Class: outbound.Connect, Message: "nothing listens there"}
	if answer != nil {
		res = answer(r)
	}
	res.Started, res.Duration = started, time.Since(started)
	return res
}

// answers has all who are asked answer so from now on.
func (w *world) answers(answer func(outbound.Request) outbound.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

// handshakes returns how often someone was asked.
func (w *world) handshakes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

// sourceOf names a registry as its events do.
func sourceOf(id int64) event.Registry {
	name := map[int64]string{contoso.ID: "contoso", fabrika.ID: "fabrika"}[id]
	return event.Registry{ID: id, Name: name, LoginServer: name + ".example", ResourceID: "/registries/" + name, Location: "eastus"}
}

func (w *world) committed(entry outbox.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rang = append(w.rang, rang{entry, w.InForce()(entry.Event)})
}

func definition() Definition {
	return Definition{Location: "eastus", ServiceURI: "https://hooks.example.net/acr", Actions: []string{"push"}}
}

func (w *world) put(reg Registry, name string, change func(*Definition)) Webhook {
	w.t.Helper()
	def := definition()
	if change != nil {
		change(&def)
	}
	hook, _, err := w.Put(w.t.Context(), reg, name, def, ada)
	if err != nil {
		w.t.Fatalf("put %s: %v", name, err)
	}
	return hook
}

func (w *world) patch(reg Registry, name string, change Change) Webhook {
	w.t.Helper()
	hook, err := w.Patch(w.t.Context(), reg, name, change, bob)
	if err != nil {
		w.t.Fatalf("patch %s: %v", name, err)
	}
	return hook
}

// happen appends an event to the outbox.
func (w *world) happen(action event.Action, repository, tag string) *event.Event {
	w.t.Helper()
	e := happened(action, repository, tag)
	if err := w.DB.Write(w.t.Context(), sqldb.Change, func(tx *sqldb.Tx) error { return w.Outbox.Append(tx, outbox.Prepare(e)) }); err != nil {
		w.t.Fatal(err)
	}
	return e
}

func happened(action event.Action, repository, tag string) *event.Event {
	return &event.Event{
		Action: action, Registry: event.Registry{ID: contoso.ID, Name: "contoso", Location: "eastus"},
		Target: event.Target{Repository: repository, Tag: tag, Digest: "sha256:" + strings.Repeat("a", 64)},
	}
}

func (w *world) matchAt(e *event.Event) []int64 {
	w.t.Helper()
	var owed []int64
	if err := w.DB.Read(w.t.Context(), func(tx *sqldb.Tx) (err error) {
		owed, err = w.MatchAt(tx, e)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return owed
}

func (w *world) history(registry, endpoint int64) func(*event.Event) bool {
	w.t.Helper()
	var was ring.Rule
	if err := w.DB.Read(w.t.Context(), func(tx *sqldb.Tx) (err error) {
		was, err = w.History(tx, registry, endpoint)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	if was.Whole {
		w.t.Error("it is said to look at more than heads")
	}
	return was.Takes
}

func (w *world) config(reg Registry, name string) Config {
	w.t.Helper()
	config, err := w.CallbackConfig(w.t.Context(), reg, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return config
}

func (w *world) count(query string, args ...any) (n int) {
	w.t.Helper()
	if err := w.DB.Read(w.t.Context(), func(tx *sqldb.Tx) error { return tx.Get(query, args, &n) }); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// fails checks a refusal: kind, code and the whole sentence.
func fails(t *testing.T, err error, kind fault.Kind, code, message string) {
	t.Helper()
	f := fault.As(err)
	if f == nil || f.Kind != kind || f.Code != code || f.Message != message {
		t.Errorf("got  %v %q: %v\nwant %v %q: %s", fault.As(err).Kind, fault.As(cmp.Or(err, errors.New(""))).Code, err, kind, code, message)
	}
}

func TestLifeOfAWebhook(t *testing.T) { onEach(t, testLifeOfAWebhook) }

func testLifeOfAWebhook(t *testing.T, w *world) {
	ctx := t.Context()

	made, created, err := w.Put(ctx, contoso, "DeployHook", Definition{
		Location: "East US", Tags: map[string]string{"team": "web"}, ServiceURI: "http://127.0.0.1:9000",
		CustomHeaders: map[string]string{"x-env": "prod"}, Status: "Enabled", Scope: "hello-world", Actions: []string{"Delete", "Push"},
	}, ada)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	want := Webhook{
		ID: made.ID, RegistryID: 1, Name: "DeployHook", Location: "eastus", Tags: map[string]string{"team": "web"},
		Status: Enabled, Scope: "hello-world", Actions: []string{"Delete", "Push"}, CreatedBy: ada, UpdatedBy: ada,
		CreatedAt: made.CreatedAt, UpdatedAt: made.CreatedAt, Policy: ring.Default(), Format: ACR, Handshake: NoHandshake,
	}
	got, err := w.Get(ctx, contoso, "deployhook")
	if diff := gocmp.Diff(want, made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("got %v (-want +got):\n%s", err, diff)
	}
	if age := time.Since(made.CreatedAt); made.ID == 0 || age < 0 || age > time.Minute || made.CreatedAt.Location() != time.UTC {
		t.Errorf("id %d, created at %v", made.ID, made.CreatedAt)
	}
	config, err := w.CallbackConfig(ctx, contoso, "DEPLOYHOOK")
	if err != nil || config.ServiceURI != "http://127.0.0.1:9000" || !gocmp.Equal(config.CustomHeaders, map[string]string{"x-env": "prod"}) {
		t.Errorf("config %+v, %v", config, err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(config.SigningSecret, "whsec_"))
	if err != nil || len(raw) != 32 || !strings.HasPrefix(config.SigningSecret, "whsec_") {
		t.Errorf("signing secret %q", config.SigningSecret)
	}

	// A change leaves alone what it does not name.
	disabled := "Disabled"
	patched := w.patch(contoso, "deployhook", Change{Status: &disabled})
	want.Status, want.UpdatedBy, want.UpdatedAt = Disabled, bob, patched.UpdatedAt
	if diff := gocmp.Diff(want, patched); diff != "" || patched.UpdatedAt.Before(made.UpdatedAt) {
		t.Errorf("patched (-want +got):\n%s", diff)
	}
	if now, _ := w.CallbackConfig(ctx, contoso, "deployhook"); !gocmp.Equal(now, config) {
		t.Errorf("config after a change of status: %+v, want %+v", now, config)
	}
	scope, uri := "", "https://hooks.example.net/2"
	patched = w.patch(contoso, "deployhook", Change{Tags: map[string]string{}, Scope: &scope, ServiceURI: &uri, CustomHeaders: map[string]string{}, Actions: []string{"chart_push"}})
	want.Tags, want.Scope, want.Actions, want.UpdatedAt = map[string]string{}, "", []string{"chart_push"}, patched.UpdatedAt
	if diff := gocmp.Diff(want, patched); diff != "" {
		t.Errorf("patched (-want +got):\n%s", diff)
	}
	now, _ := w.CallbackConfig(ctx, contoso, "deployhook")
	if diff := gocmp.Diff(Config{ServiceURI: uri, CustomHeaders: map[string]string{}, SigningSecret: config.SigningSecret}, now); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}

	if err := w.Delete(ctx, contoso, "deployHOOK"); err != nil {
		t.Fatal(err)
	}
	if !gocmp.Equal(w.endpoints.dropped, []int64{made.ID}) {
		t.Errorf("dropped %v", w.endpoints.dropped)
	}
	const gone = `registry contoso has no webhook "deployhook": dockbell webhook list -r contoso shows those it has`
	_, err = w.Get(ctx, contoso, "deployhook")
	fails(t, err, fault.NotFound, "ResourceNotFound", gone)
	_, err = w.CallbackConfig(ctx, contoso, "deployhook")
	fails(t, err, fault.NotFound, "ResourceNotFound", gone)
	_, err = w.Patch(ctx, contoso, "deployhook", Change{}, bob)
	fails(t, err, fault.NotFound, "ResourceNotFound", gone)
	_, err = w.Ping(ctx, contoso, event.Registry{ID: 1}, "deployhook")
	fails(t, err, fault.NotFound, "ResourceNotFound", gone)
	fails(t, w.Delete(ctx, contoso, "deployhook"), fault.NotFound, "ResourceNotFound", gone)
	for _, table := range []string{"webhook", "webhook_rule", "endpoint"} {
		if n := w.count("SELECT count(*) FROM " + table); n != 0 {
			t.Errorf("%d rows left in %s", n, table)
		}
	}
}

func TestReplaceKeeps(t *testing.T) { onEach(t, testReplaceKeeps) }

func testReplaceKeeps(t *testing.T, w *world) {
	ctx := t.Context()
	first := w.put(contoso, "DeployHook", func(d *Definition) {
		d.Tags, d.Scope, d.Status = map[string]string{"a": "b"}, "web:*", "disabled"
		d.CustomHeaders = map[string]string{"Authorization": "Bearer s3cret"}
	})
	secret, _ := w.CallbackConfig(ctx, contoso, "DeployHook")

	// What a reader can see, put back: the rest stays.
	second, created, err := w.Put(ctx, contoso, "deployhook", Definition{Location: "eastus", Actions: []string{"push"}}, bob)
	if err != nil || created {
		t.Fatalf("created %v, %v", created, err)
	}
	want := first
	want.Tags, want.Scope, want.Status, want.UpdatedBy = map[string]string{}, "", Enabled, bob
	if diff := gocmp.Diff(want, second, cmpopts.IgnoreFields(Webhook{}, "UpdatedAt")); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
	if now, _ := w.CallbackConfig(ctx, contoso, "deployhook"); !gocmp.Equal(now, secret) {
		t.Errorf("config %+v, want %+v", now, secret)
	}
	if len(w.endpoints.changed) != 0 {
		t.Errorf("told of a change of address: %v", w.endpoints.changed)
	}

	// Headers are not carried to another address; the signing secret is.
	w.put(contoso, "deployhook", func(d *Definition) { d.ServiceURI = "https://other.example.net/" })
	now, _ := w.CallbackConfig(ctx, contoso, "deployhook")
	if diff := gocmp.Diff(Config{ServiceURI: "https://other.example.net/", CustomHeaders: map[string]string{}, SigningSecret: secret.SigningSecret}, now); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if !gocmp.Equal(w.endpoints.changed, []int64{first.ID}) {
		t.Errorf("told of changes of %v, want of %d once", w.endpoints.changed, first.ID)
	}

	_, _, err = w.Put(ctx, contoso, "deployhook", Definition{Location: "West Europe", Actions: []string{"push"}}, bob)
	fails(t, err, fault.Conflict, "InvalidResourceLocation", "webhook DeployHook is in eastus and cannot move to westeurope: delete it and create it there")
	if n := w.count("SELECT count(*) FROM endpoint"); n != 1 {
		t.Errorf("%d endpoints, want 1", n)
	}
}

func TestList(t *testing.T) { onEach(t, testList) }

func testList(t *testing.T, w *world) {
	if list, err := w.List(t.Context(), contoso); err != nil || len(list) != 0 {
		t.Errorf("empty: %v, %v", list, err)
	}
	for _, name := range []string{"zebra", "Alpha1", "beta2", "alpha0"} {
		w.put(contoso, name, nil)
	}
	w.put(fabrika, "other", nil)
	list, err := w.List(t.Context(), contoso)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, hook := range list {
		names = append(names, hook.Name)
	}
	if diff := gocmp.Diff([]string{"alpha0", "Alpha1", "beta2", "zebra"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestQuota(t *testing.T) { onEach(t, testQuota) }

func testQuota(t *testing.T, w *world) {
	for _, tt := range []struct {
		reg  Registry
		want string
	}{
		{Registry{ID: 11, Name: "contoso", SKU: "Basic", Limit: 2, Locations: []string{"eastus"}},
			"registry contoso (Basic) has 2 of 2 webhooks: delete one or move to Standard with dockbell registry update -n contoso --sku Standard"},
		{Registry{ID: 12, Name: "contoso", SKU: "Standard", Limit: 3, Locations: []string{"eastus"}},
			"registry contoso (Standard) has 3 of 3 webhooks: delete one or move to Premium with dockbell registry update -n contoso --sku Premium"},
		{Registry{ID: 13, Name: "contoso", SKU: "Premium", Limit: 4, Locations: []string{"eastus"}},
			"registry contoso (Premium) has 4 of 4 webhooks: delete one"},
	} {
		for i := range tt.reg.Limit {
			w.put(tt.reg, fmt.Sprintf("hook%d", i), nil)
		}
		_, created, err := w.Put(t.Context(), tt.reg, "onemore", definition(), ada)
		fails(t, err, fault.Quota, "QuotaExceeded", tt.want)
		if created {
			t.Error("one more was created")
		}
		w.put(tt.reg, "HOOK0", nil) // replacing is no new one
		if err := w.Delete(t.Context(), tt.reg, "hook1"); err != nil {
			t.Fatal(err)
		}
		w.put(tt.reg, "onemore", nil)
	}
}

// TestQuotaUnderConcurrency has many create at once: exactly as many succeed
// as the tier allows.
func TestQuotaUnderConcurrency(t *testing.T) { onEach(t, testQuotaUnderConcurrency) }

func testQuotaUnderConcurrency(t *testing.T, w *world) {
	var done sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		done.Go(func() {
			_, _, errs[i] = w.Put(context.Background(), fabrika, fmt.Sprintf("hook%02d", i%10), definition(), ada)
		})
	}
	done.Wait()
	for i, err := range errs {
		if err != nil && !fault.Is(err, fault.Quota) {
			t.Errorf("hook%02d: %v", i%10, err)
		}
	}
	if n, m := w.count("SELECT count(*) FROM webhook"), w.count("SELECT count(*) FROM endpoint"); n != 2 || m != 2 {
		t.Errorf("%d webhooks and %d endpoints, want 2 of each", n, m)
	}
}

func TestDefinitionRules(t *testing.T) {
	t.Parallel()
	const (
		names   = "use 5 to 50 letters and digits, for example "
		actions = "use push, delete, quarantine, chart_push, chart_delete, untag, tag_moved, referrer_attached, pull or webhook_failing"
		grammar = "; use repo:tag, repo:* for every event of a repository, repo for repo:latest, a * at the end of either part as in team/*:* or repo:v1*, or leave it empty for every event of the registry"
		repo    = "before the colon there is no repository name (lower-case letters, digits, '.', '_', '-', with slashes between the parts)"
		tag     = "after the colon there is no tag (letters, digits, '_', '.', '-')"
		ctl     = "the value of header X-Env has a line break or another control character: leave it out"
	)
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("X-%03d", i)] = ""
		}
		return m
	}
	scoped := func(s string) func(*Definition) { return func(d *Definition) { d.Scope = s } }
	header := func(name, value string) func(*Definition) {
		return func(d *Definition) { d.CustomHeaders = map[string]string{name: value} }
	}
	acting := func(a ...string) func(*Definition) { return func(d *Definition) { d.Actions = a } }
	tagged := func(name, value string) func(*Definition) {
		return func(d *Definition) { d.Tags = map[string]string{name: value} }
	}
	own := func(name, example string) string {
		return "header " + name + " cannot be set: the sender uses it itself; choose another name, for example X-" + example
	}
	tests := []struct {
		name    string
		change  func(*Definition)
		kind    fault.Kind
		code    string
		message string // empty: taken
	}{
		{name: "hook1"},
		{name: strings.Repeat("a", 50)},
		{name: "prod-hook", message: `webhook name "prod-hook" has a character that is not a letter or digit: ` + names + "prodhook"},
		{name: "a-b", message: `webhook name "a-b" has a character that is not a letter or digit: ` + names + "deployhook"},
		{name: "hööks", message: `webhook name "hööks" has a character that is not a letter or digit: ` + names + "deployhook"},
		{name: "", message: `webhook name "" is too short: ` + names + "deployhook"},
		{name: "hook", message: `webhook name "hook" is too short: ` + names + "deployhook"},
		{name: strings.Repeat("a", 51), message: `webhook name "` + strings.Repeat("a", 51) + `" is too long: ` + names + "deployhook"},

		{change: func(d *Definition) { d.Location = "" }, code: "LocationRequired", message: "the webhook has no location: give a region of registry contoso (eastus, westeurope)"},
		{change: func(d *Definition) { d.Location = "West US" }, code: "LocationNotAvailableForResourceType", message: "registry contoso is not in location westus, so no webhook there could ring: use eastus, westeurope, or create a replication there first"},
		{change: func(d *Definition) { d.Location = "West Europe" }},

		{change: func(d *Definition) { d.ServiceURI = "" }, message: "the webhook has no service URI: give an http or https URL, for example https://hooks.example.net/acr"},
		{change: func(d *Definition) { d.ServiceURI = "http://10.0.3.7" }, kind: fault.Denied, message: "10.0.3.7 is a private address and this server may not ring it: start it with --allow-destinations 10.0.0.0/8"},
		{change: func(d *Definition) { d.ServiceURI = "https://$user:pass@site.example/api/registry/webhook" }},

		{change: func(d *Definition) { d.Status = "DISABLED" }},
		{change: func(d *Definition) { d.Status = "paused" }, message: `status "paused" is not one of a webhook: use enabled or disabled`},

		{change: acting("PUSH", "Delete", "quarantine", "chart_push", "Chart_Delete", "push")},
		{change: acting(), message: "the webhook has no action: " + actions},
		{change: func(d *Definition) { d.Actions = nil }, message: "the webhook has no action: " + actions},
		{change: acting("push", "pulls"), message: `action "pulls" is not one a webhook can ask for: ` + actions},
		{change: acting("ping"), message: `action "ping" is not one a webhook can ask for: ` + actions},
		{change: acting(""), message: `action "" is not one a webhook can ask for: ` + actions},

		{change: scoped("hello-world")},
		{change: scoped("team/web-frontend:*")},
		{change: scoped("team/web-frontend:V1.0_x")},
		{change: scoped("team/*:*")},
		{change: scoped("team/*:v1*")},
		{change: scoped("*:latest")},
		{change: scoped("repo:webshop-1.4.0.tgz")},
		{change: scoped("team/*"), message: `scope "team/*" is not valid: a * in the repository needs a colon and a tag after it` + grammar},
		{change: scoped("*"), message: `scope "*" is not valid: a * in the repository needs a colon and a tag after it` + grammar},
		{change: scoped("*:*"), message: `scope "*:*" is not valid: every event of the registry is the empty scope` + grammar},
		{change: scoped(":tag"), message: `scope ":tag" is not valid: ` + repo + grammar},
		{change: scoped("Team/web:*"), message: `scope "Team/web:*" is not valid: ` + repo + grammar},
		{change: scoped("te*m:*"), message: `scope "te*m:*" is not valid: ` + repo + grammar},
		{change: scoped("team**:*"), message: `scope "team**:*" is not valid: ` + repo + grammar},
		{change: scoped("/team:*"), message: `scope "/team:*" is not valid: ` + repo + grammar},
		{change: scoped("team web:*"), message: `scope "team web:*" is not valid: ` + repo + grammar},
		{change: scoped("repo:"), message: `scope "repo:" is not valid: ` + tag + grammar},
		{change: scoped("repo:a:b"), message: `scope "repo:a:b" is not valid: ` + tag + grammar},
		{change: scoped("repo:a*b"), message: `scope "repo:a*b" is not valid: ` + tag + grammar},
		{change: scoped("repo:.a"), message: `scope "repo:.a" is not valid: ` + tag + grammar},
		{change: scoped("repo@sha256:abc"), message: `scope "repo@sha256:abc" is not valid: ` + repo + grammar},
		{change: scoped("a," + strings.Repeat("x", 200)), message: `scope "a,` + strings.Repeat("x", 98) + `…" is not valid: ` + repo + grammar},

		{change: header("Authorization", "Bearer s3cret")},
		{change: header("Content-Type", "text/plain")},
		{change: header("User-Agent", "mine")},
		{change: header("Cookie", "a=b")},
		{change: header("X-Env", "tab\tand ünïcode")},
		{change: header("X!#$%&'*+-.^_`|~1", "")},
		{change: func(d *Definition) { d.CustomHeaders = many(32) }},
		{change: header("X-Env", strings.Repeat("x", 8<<10-5))},
		{change: func(d *Definition) { d.CustomHeaders = many(33) }, message: "the webhook has 33 custom headers: it may have 32"},
		{change: header("X-Env", strings.Repeat("x", 8<<10-4)), message: "the custom headers of the webhook have 8193 bytes: they may have 8192"},
		{change: header("X Env", "s3cret"), message: `"X Env" is no name for a header: use letters, digits and dashes, for example X-Env`},
		{change: header("", "s3cret"), message: `"" is no name for a header: use letters, digits and dashes, for example X-Env`},
		{change: header("X-Env:", "s3cret"), message: `"X-Env:" is no name for a header: use letters, digits and dashes, for example X-Env`},
		{change: header("X-Énv", "s3cret"), message: `"X-Énv" is no name for a header: use letters, digits and dashes, for example X-Env`},
		{change: header("X-Env", "a\r\nHost: b"), message: ctl},
		{change: header("X-Env", "a\nb"), message: ctl},
		{change: header("X-Env", "a\x00b"), message: ctl},
		{change: header("X-Env", "a\x7fb"), message: ctl},
		{change: func(d *Definition) { d.CustomHeaders = map[string]string{"x-env": "1", "X-Env": "2"} }, message: "headers X-Env and x-env are the same to HTTP: give one of them"},
		{change: header("Host", "s3cret"), message: own("Host", "Host")},
		{change: header("content-length", "1"), message: own("content-length", "Content-Length")},
		{change: header("Transfer-Encoding", "chunked"), message: own("Transfer-Encoding", "Transfer-Encoding")},
		{change: header("Connection", "close"), message: own("Connection", "Connection")},
		{change: header("Keep-Alive", "1"), message: own("Keep-Alive", "Keep-Alive")},
		{change: header("TE", "1"), message: own("TE", "Te")},
		{change: header("Trailer", "1"), message: own("Trailer", "Trailer")},
		{change: header("Upgrade", "h2c"), message: own("Upgrade", "Upgrade")},
		{change: header("Expect", "100-continue"), message: own("Expect", "Expect")},
		{change: header("Accept-Encoding", "gzip"), message: own("Accept-Encoding", "Accept-Encoding")},
		{change: header("Proxy-Authorization", "1"), message: own("Proxy-Authorization", "Proxy-Authorization")},
		{change: header("Webhook-Signature", "1"), message: own("Webhook-Signature", "Webhook-Signature")},
		{change: header("ce-id", "1"), message: own("ce-id", "Ce-Id")},
		{change: header("Dockbell-Hop", "1"), message: own("Dockbell-Hop", "Dockbell-Hop")},
		{change: header("Traceparent", "1"), message: own("Traceparent", "Traceparent")},

		{change: tagged("team", strings.Repeat("x", 256))},
		{change: tagged(strings.Repeat("x", 512), "")},
		{change: func(d *Definition) { d.Tags = many(50) }},
		{change: func(d *Definition) { d.Tags = many(51) }, message: "the webhook has 51 tags: it may have 50"},
		{change: tagged("", "x"), message: "a tag of the webhook has no name: write name=value"},
		{change: tagged("team", strings.Repeat("x", 257)), message: `the value of tag "team" has 257 bytes: it may have 256`},
		{change: tagged(strings.Repeat("x", 513), ""), message: `the name of tag "` + strings.Repeat("x", 100) + `…" has 513 bytes: it may have 512`},
	}
	w := newWorld(t)
	for i, tt := range tests {
		def := definition()
		name := tt.name
		if tt.change != nil {
			tt.change(&def)
			name = fmt.Sprintf("hook%04d", i)
		}
		hook, _, err := w.Put(t.Context(), contoso, name, def, ada)
		if tt.message != "" {
			fails(t, err, cmp.Or(tt.kind, fault.Invalid), tt.code, tt.message)
			continue
		}
		if err != nil {
			t.Errorf("%s %+v: %v", name, def, err)
			continue
		}
		if hook.Scope != def.Scope || !gocmp.Equal(hook.Actions, def.Actions) {
			t.Errorf("%s: scope %q and actions %q came back as %q and %q", name, def.Scope, def.Actions, hook.Scope, hook.Actions)
		}
		if config, err := w.CallbackConfig(t.Context(), contoso, name); err != nil || config.ServiceURI != def.ServiceURI || !gocmp.Equal(config.CustomHeaders, def.CustomHeaders, cmpopts.EquateEmpty()) {
			t.Errorf("%s: config %+v, %v; want what was sent: %+v", name, config, err, def)
		}
	}
}

// TestPatchRules checks that a change is held to the same rules, and that what
// it does not name is not looked at again.
func TestPatchRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(contoso, "deployhook", func(d *Definition) { d.ServiceURI = "http://127.0.0.1:9000" })
	before, _ := w.Get(t.Context(), contoso, "deployhook")
	empty, status, scope, uri := "", "off", "*", "ftp://x"
	for _, tt := range []struct {
		change Change
		want   string
	}{
		{Change{Actions: []string{}}, "the webhook has no action"},
		{Change{Actions: []string{"pulls"}}, `action "pulls"`},
		{Change{Status: &status}, `status "off"`},
		{Change{Status: &empty}, `status ""`},
		{Change{Scope: &scope}, `scope "*"`},
		{Change{ServiceURI: &uri}, `the service URI has the scheme "ftp"`},
		{Change{ServiceURI: &empty}, "the service URI is empty"},
		{Change{CustomHeaders: map[string]string{"Host": "x"}}, "header Host"},
		{Change{Tags: map[string]string{"": "x"}}, "a tag"},
	} {
		_, err := w.Patch(t.Context(), contoso, "deployhook", tt.change, bob)
		if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.change, err, tt.want)
		}
	}
	after, _ := w.Get(t.Context(), contoso, "deployhook")
	if diff := gocmp.Diff(before, after); diff != "" {
		t.Errorf("a refused change left a mark:\n%s", diff)
	}

	w.CheckURL = outbound.Policy{}.CheckURL // as after a restart with another policy
	disabled := "disabled"
	if hook := w.patch(contoso, "deployhook", Change{Status: &disabled}); hook.Status != Disabled {
		t.Errorf("status %s", hook.Status)
	}
}

func TestPing(t *testing.T) { onEach(t, testPing) }

func testPing(t *testing.T, w *world) {
	hook := w.put(contoso, "deployhook", func(d *Definition) {
		d.Status, d.Location, d.Scope = "disabled", "westeurope", "web:1"
	})
	other := w.put(contoso, "otherhook", nil)
	source := event.Registry{ID: contoso.ID, Name: "contoso", LoginServer: "contoso.example", ResourceID: "/r", Location: "eastus"}
	id, err := w.Ping(t.Context(), contoso, source, "DEPLOYHOOK")
	if err != nil {
		t.Fatal(err)
	}
	if len(w.rang) != 1 {
		t.Fatalf("%d events, want 1", len(w.rang))
	}
	got := w.rang[0]
	source.Location = "westeurope"
	want := &event.Event{Pos: 1, ID: id, At: got.entry.Event.At, Action: event.Ping, Registry: source, OwedTo: hook.ID}
	if diff := gocmp.Diff(want, got.entry.Event); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	for how, owed := range map[string][]int64{"in force": got.owed, "from the database": w.matchAt(got.entry.Event)} {
		if !gocmp.Equal(owed, []int64{hook.ID}) {
			t.Errorf("%s: owed to %v, want %d alone (not %d)", how, owed, hook.ID, other.ID)
		}
	}
	if err := w.Delete(t.Context(), contoso, "deployhook"); err != nil {
		t.Fatal(err)
	}
	if now, at := w.InForce()(got.entry.Event), w.matchAt(got.entry.Event); now != nil || at != nil {
		t.Errorf("after its webhook is gone the ping is owed to %v, %v", now, at)
	}
}

func TestWanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	wanted := func(want bool) {
		t.Helper()
		if got := w.Wanted(contoso.ID, event.Quarantine); got != want {
			t.Errorf("Wanted = %v, want %v", got, want)
		}
	}
	wanted(false)
	w.put(fabrika, "deployhook", func(d *Definition) { d.Actions = []string{"quarantine"} })
	wanted(false)
	w.put(contoso, "deployhook", func(d *Definition) { d.Actions, d.Status = []string{"quarantine"}, "disabled" })
	wanted(false)
	enabled := "enabled"
	w.patch(contoso, "deployhook", Change{Status: &enabled})
	wanted(true)
	w.patch(contoso, "deployhook", Change{Actions: []string{"push"}})
	wanted(false)
}

// TestBeyondACR: actions that are not ACR's ring those who ask for them, in any
// case of letters, within their scope, and no one else.
func TestBeyondACR(t *testing.T) { onEach(t, testBeyondACR) }

func testBeyondACR(t *testing.T, w *world) {
	beyond := []event.Action{event.Untag, event.TagMoved, event.ReferrerAttached, event.Pull}
	w.put(contoso, "acrhook", func(d *Definition) {
		d.Actions = []string{"push", "delete", "quarantine", "chart_push", "chart_delete"}
	})
	whole := w.put(contoso, "wholehook", func(d *Definition) { d.Actions = []string{"UNTAG", "Tag_Moved", "referrer_attached", "pull"} })
	tagged := w.put(contoso, "taggedhook", func(d *Definition) {
		d.Actions, d.Scope = []string{"untag", "tag_moved", "pull", "referrer_attached"}, "web:v*"
	})
	if want := []string{"UNTAG", "Tag_Moved", "referrer_attached", "pull"}; !gocmp.Equal(whole.Actions, want) {
		t.Errorf("actions %v, want %v", whole.Actions, want)
	}
	if listener, err := w.Listen(t.Context(), contoso, Definition{}, Actor{"ada", "User"}); err != nil || !gocmp.Equal(listener.Actions, []string{"push", "delete", "quarantine", "chart_push", "chart_delete"}) {
		t.Errorf("a listener that names no actions has %v, error %v", listener.Actions, err)
	}
	for _, action := range beyond {
		if !w.Wanted(contoso.ID, action) || w.Wanted(fabrika.ID, action) {
			t.Errorf("%s: wanted where it is asked for %v, elsewhere %v", action, w.Wanted(contoso.ID, action), w.Wanted(fabrika.ID, action))
		}
		for _, tt := range []struct {
			target event.Target
			want   []int64
		}{
			{event.Target{Repository: "web", Tag: "v1"}, []int64{whole.ID, tagged.ID}},
			{event.Target{Repository: "web", Tag: "latest"}, []int64{whole.ID}},
			{event.Target{Repository: "web"}, []int64{whole.ID}}, // an artifact pushed by digest
			{event.Target{Repository: "api", Tag: "v1"}, []int64{whole.ID}},
		} {
			e := &event.Event{Action: action, Registry: sourceOf(contoso.ID), Target: tt.target}
			if got := w.InForce()(e); !gocmp.Equal(got, tt.want) {
				t.Errorf("%s of %+v is owed to %v, want %v", action, tt.target, got, tt.want)
			}
			e.Pos = 1 << 40
			if got := w.matchAt(e); !gocmp.Equal(got, tt.want) {
				t.Errorf("%s of %+v is owed by the database to %v, want %v", action, tt.target, got, tt.want)
			}
		}
	}
}

// TestRestart opens the store again and finds all as it was, and nothing with
// another key.
func TestRestart(t *testing.T) { onEach(t, testRestart) }

func testRestart(t *testing.T, w *world) {
	hook := w.put(contoso, "deployhook", func(d *Definition) { d.Scope = "web:*" })
	w.put(contoso, "otherhook", func(d *Definition) { d.Status = "disabled" })
	e := happened(event.Push, "web", "1")
	e.ID = "id"
	at := time.Unix(1741944413, 0)
	before, _ := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: []byte("{}"), At: at})

	w.open(w.DB)
	if owed := w.InForce()(e); !gocmp.Equal(owed, []int64{hook.ID}) {
		t.Errorf("owed to %v, want %d", owed, hook.ID)
	}
	after, ok := w.Request(ring.Call{Endpoint: hook.ID, Event: e, ACRBody: []byte("{}"), At: at})
	if diff := gocmp.Diff(before, after); diff != "" || !ok {
		t.Errorf("another request after a restart:\n%s", diff)
	}

	other, _ := seal.New(bytes.Repeat([]byte{8}, seal.KeySize))
	_, err := Open(t.Context(), Options{DB: w.DB, Key: other})
	if err == nil || !strings.Contains(err.Error(), "the data key is not the one it was written with") {
		t.Errorf("with another key: %v", err)
	}
}

// TestSecretsAreSealed looks for what was given in the bytes of the database.
func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dockbell.db")
	db, err := sqldb.Open(t.Context(), sqldb.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := &world{t: t, endpoints: &endpoints{}}
	w.open(db)
	w.put(contoso, "deployhook", func(d *Definition) {
		d.ServiceURI = "https://us3r:p4ssw0rd@hooks.example.net/p4th?code=qu3ry"
		d.CustomHeaders = map[string]string{"Authorization": "Bearer t0k3n"}
		d.Tags, d.TLS = map[string]string{"plain": "vis1ble"}, newTLS(t)
	})
	if _, err := w.RotateSecret(t.Context(), contoso, "deployhook", "", time.Hour, ada); err != nil {
		t.Fatal(err)
	}
	config := w.config(contoso, "deployhook")
	if _, err := w.Ping(t.Context(), contoso, event.Registry{ID: 1}, "deployhook"); err != nil {
		t.Fatal(err)
	}
	var stored []byte
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, content...)
	}
	if !bytes.Contains(stored, []byte("vis1ble")) {
		t.Fatal("the database does not have what is not secret either: this test looks in the wrong place")
	}
	for _, secret := range []string{"us3r", "p4ssw0rd", "hooks.example", "p4th", "qu3ry", "t0k3n", "Bearer", "PRIVATE KEY", "LS0t", "whsec_",
		strings.TrimPrefix(config.SigningSecret, "whsec_"), strings.TrimPrefix(config.PreviousSecret, "whsec_")} {
		if bytes.Contains(stored, []byte(secret)) {
			t.Errorf("the database has %q in clear", secret)
		}
	}
}
