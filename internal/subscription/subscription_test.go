package subscription

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/filter"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sink"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// endpoints keeps the rows that package delivery would, and what it was told.
type endpoints struct {
	mu                     sync.Mutex
	changed, held, dropped []int64
}

func (p *endpoints) Add(tx *sqldb.Tx, kind string, registry int64, location string) (id int64, err error) {
	err = tx.Get(`INSERT INTO endpoint (kind, registry, location, from_pos, fail_streak)
		SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), coalesce(max(pos), 0), 0 FROM event RETURNING id`,
		[]any{kind, registry, location}, &id)
	return id, err
}

func (p *endpoints) tell(tx *sqldb.Tx, list *[]int64, id int64) error {
	tx.AfterCommit(func() { p.mu.Lock(); defer p.mu.Unlock(); *list = append(*list, id) })
	return nil
}

func (p *endpoints) Drop(tx *sqldb.Tx, id int64) error    { return p.tell(tx, &p.dropped, id) }
func (p *endpoints) Changed(tx *sqldb.Tx, id int64) error { return p.tell(tx, &p.changed, id) }
func (p *endpoints) Held(tx *sqldb.Tx, id int64) error    { return p.tell(tx, &p.held, id) }

// world is a store on a database of its own.
type world struct {
	*Store
	t         *testing.T
	endpoints *endpoints
	asked     []outbound.Request
	answer    func(outbound.Request) outbound.Result // to questions; nil: nobody listens
	folder    string

	published []published

	mu          sync.Mutex
	letters     []ring.Letter // unfiled
	filingFails bool
}

type published struct {
	server  sink.Server
	message sink.Message
}

func (w *world) Publish(_ context.Context, s sink.Server, m sink.Message, _ time.Duration) outbound.Result {
	w.published = append(w.published, published{s, m})
	return outbound.Result{Answer: outbound.NewAnswer(200, nil)}
}

func (w *world) Unfiled(_ context.Context, endpoint int64, n int) (found []ring.Letter, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.letters {
		if l.Endpoint == endpoint && len(found) < n {
			found = append(found, l)
		}
	}
	return found, nil
}

func (w *world) Filed(_ context.Context, letters []ring.Letter) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.filingFails {
		return errors.New("the database does not answer")
	}
	w.letters = slices.DeleteFunc(w.letters, func(l ring.Letter) bool {
		return slices.ContainsFunc(letters, func(f ring.Letter) bool { return f.Key == l.Key })
	})
	return nil
}

// rang is an event and who it was owed to when it committed.
type rang struct {
	entry outbox.Entry
	owed  []int64
}

var (
	ada     = Actor{"ada", "User"}
	contoso = Registry{ID: 1, Name: "contoso", ResourceID: idOf("contoso"), Location: "eastus"}
	fabrika = Registry{ID: 2, Name: "fabrika", ResourceID: idOf("fabrika"), Location: "eastus"}
	dataKey = bytes.Repeat([]byte{7}, seal.KeySize)
)

func idOf(registry string) string {
	return "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/build/providers/Microsoft.ContainerRegistry/registries/" + registry
}

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// onEach runs test on SQLite and on PostgreSQL.
func onEach(t *testing.T, test func(*testing.T, *world)) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) { test(t, newWorld(t, open())) })
}

func newWorld(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	w := &world{t: t, endpoints: &endpoints{}, folder: t.TempDir()}
	w.open(db)
	return w
}

// open opens the store, as after a restart.
func (w *world) open(db *sqldb.DB) {
	w.t.Helper()
	key, err := seal.New(dataKey)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Store, err = Open(w.t.Context(), Options{
		DB: db, Key: key, Endpoints: w.endpoints, Outbox: outbox.New(func(outbox.Entry) {}), Version: "1.2.3", Poster: w, Folder: w.folder,
		CheckURL: outbound.Policy{Loopback: true}.CheckURL, CheckBroker: outbound.Policy{Loopback: true}.CheckBroker, Brokers: w, Letters: w,
		Source: func(id int64) event.Registry {
			name := map[int64]string{1: "contoso", 2: "fabrika"}[id]
			return event.Registry{ID: id, Name: name, LoginServer: name + ".example.net:5000", ResourceID: idOf(name), Location: "eastus"}
		},
		URL: func(int64) string { return "http://127.0.0.1:5000" },
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Post is the receiver of questions.
func (w *world) Post(_ context.Context, r outbound.Request) outbound.Result {
	w.asked = append(w.asked, r)
	if w.answer == nil {
		return outbound.Result{Class: outbound.DNS, Message: "the name hooks.example.net has no address"}
	}
	return w.answer(r)
}

func answers(status int, header map[string]string, body string) func(outbound.Request) outbound.Result {
	return func(outbound.Request) outbound.Result {
		return outbound.Result{Answer: outbound.NewAnswer(status, header), Body: []byte(body)}
	}
}

// agrees answers either question with yes.
func agrees(r outbound.Request) outbound.Result {
	if r.Method == http.MethodOptions {
		return answers(200, map[string]string{"Webhook-Allowed-Origin": "contoso.example.net", "Webhook-Allowed-Rate": "120"}, "")(r)
	}
	return answers(200, nil, fmt.Sprintf(`{"validationresponse":%q}`, asked(r).Code))(r)
}

// question is the data of the event that asks.
type question struct {
	Code string `json:"validationCode"`
	URL  string `json:"validationUrl"`
}

func asked(r outbound.Request) question {
	var events []struct{ Data question }
	if err := json.Unmarshal(r.Body, &events); err != nil || len(events) != 1 {
		panic(fmt.Sprintf("the question is %s: %v", r.Body, err))
	}
	return events[0].Data
}

// tokenOf returns what a person who opens the address of a question brings back.
func tokenOf(r outbound.Request) string {
	address := r.Header.Get("Webhook-Request-Callback")
	if r.Method != http.MethodOptions {
		address = asked(r).URL
	}
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(address, "http://127.0.0.1:5000"+ConfirmPath) {
		panic("the address is " + address)
	}
	return u.Query().Get("token")
}

const secretURL = "https://hooks.example.net/in?code=s3cret"

func definition() Definition {
	return Definition{
		Destination: &Destination{Type: WebHook, URL: secretURL, Attributes: []Attribute{
			{Name: "X-Env", Value: "prod"}, {Name: "Authorization", Value: "Bearer hunter2", Secret: true}, {Name: "X-Repo", SourceField: "data.target.repository"},
		}},
		Filter: filter.Definition{SubjectBeginsWith: "team/"},
	}
}

func cloudEvents() Definition {
	d := definition()
	d.Schema = CloudEventSchema
	return d
}

func (w *world) put(name string, def Definition) Subscription {
	w.t.Helper()
	sub, _, err := w.Put(w.t.Context(), contoso, name, def, ada)
	if err != nil {
		w.t.Fatal(err)
	}
	return sub
}

// happen appends a push and returns it with whom it was owed to by then.
func (w *world) happen(repository, tag string) rang {
	w.t.Helper()
	d := outbox.Prepare(pushed(repository, tag))
	var r rang
	err := w.DB.Write(w.t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
		last, err := outbox.Last(tx)
		if err != nil {
			return err
		}
		if err := w.Outbox.Append(tx, d); err != nil {
			return err
		}
		r.entry, err = outbox.At(tx, last+1)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	r.owed = w.InForce()(r.entry.Event)
	return r
}

func pushed(repository, tag string) *event.Event {
	return &event.Event{
		ID: "0c5a7a34-5d3f-4a43-9f2c-0b1f2d7a9e11", Action: event.Push, At: time.Date(2026, 3, 4, 9, 10, 11, 412345678, time.UTC),
		Registry: event.Registry{ID: 1, Name: "contoso", LoginServer: "contoso.example.net", ResourceID: idOf("contoso"), Location: "eastus"},
		Target:   event.Target{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 1471, Digest: "sha256:" + strings.Repeat("9f", 32), Repository: repository, Tag: tag},
		Request:  event.Request{ID: "a2a1c7de-8b0e-4a39-9a77-63b7f2f1f7d5", Host: "contoso.example.net", Method: "PUT", UserAgent: "docker/28"},
	}
}

func refused(t *testing.T, err error, kind fault.Kind, code string, parts ...string) {
	t.Helper()
	f := fault.As(err)
	if err == nil || f.Kind != kind || f.Code != code {
		t.Errorf("got %v, want %s %s", err, kind, code)
		return
	}
	for _, part := range parts {
		if !strings.Contains(f.Message, part) {
			t.Errorf("the message %q says nothing of %q", f.Message, part)
		}
	}
	for _, secret := range []string{"s3cret", "hunter2"} {
		if strings.Contains(f.Error(), secret) {
			t.Errorf("the error has a secret: %v", f)
		}
	}
}

// TestHandshake: what each answer to the question comes to, and that nothing else is
// sent before a yes.
func TestHandshake(t *testing.T) {
	cases := []struct {
		name   string
		answer func(outbound.Request) outbound.Result
		grid   string // the state with Event Grid's schema; else a part of the refusal
		cloud  string // likewise with CloudEvents
	}{
		{"yes", agrees, "Succeeded", "Succeeded"},
		{"200 without more", answers(200, nil, ""), "AwaitingManualAction", "AwaitingManualAction"},
		{"202", answers(202, nil, "later"), "AwaitingManualAction", "AwaitingManualAction"},
		{"another code", answers(200, nil, `{"validationResponse":"x"}`), "AwaitingManualAction", "AwaitingManualAction"},
		{"405", answers(405, nil, "no such method"), `answered 405 "no such method"`, `answer was 405 "no such method"`},
		{"302", answers(302, nil, ""), "answered 302", "answer was 302"},
		{"a secret in the answer", answers(401, nil, "code=s3cret Bearer hunter2"), "******", "******"},
		{"no answer", nil, "has no address", "has no address"},
	}
	for _, schema := range []Schema{EventGridSchema, CloudEventSchema} {
		for _, c := range cases {
			t.Run(string(schema)+"/"+c.name, func(t *testing.T) {
				w := newWorld(t, sqldbtest.SQLite(t)())
				w.answer = c.answer
				def, want := definition(), c.grid
				if def.Schema = schema; schema == CloudEventSchema {
					want = c.cloud
				}
				sub, created, err := w.Put(t.Context(), contoso, "on-push", def, ada)
				for _, q := range w.asked {
					if q.URL != secretURL || q.Header.Get("Authorization") != "Bearer hunter2" {
						t.Errorf("asked %s with %v", q.URL, q.Header)
					}
				}
				if !slices.Contains([]string{"Succeeded", "AwaitingManualAction"}, want) {
					refused(t, err, fault.Invalid, "Url validation", want, "https://hooks.example.net/in")
					list, err := w.List(t.Context(), contoso)
					if err != nil || len(list) > 0 {
						t.Errorf("kept %v, %v", list, err)
					}
					return
				}
				if err != nil || !created || string(sub.State) != want {
					t.Fatalf("state %s, created %v, %v; want %s", sub.State, created, err, want)
				}
				push := w.happen("team/api", "v1")
				if !slices.Equal(push.owed, []int64{sub.ID}) {
					t.Errorf("owed to %v", push.owed)
				}
				terms, _ := w.Terms(1, sub.ID)
				_, sent := w.Request(ring.Call{Endpoint: sub.ID, Event: push.entry.Event})
				if held := want != "Succeeded"; terms.Held != held || sent == held || held != (len(w.endpoints.held) == 1) || held == (sub.StateWhy == "") {
					t.Errorf("held %v, a request is made: %v, told %v, why %q", terms.Held, sent, w.endpoints.held, sub.StateWhy)
				}
				if schema == CloudEventSchema && want == "Succeeded" && terms.PerMinute != 120 {
					t.Errorf("%d requests a minute, want the 120 that were allowed", terms.PerMinute)
				}
			})
		}
	}
}

// TestAskedOnceMore: a receiver that does not answer, or is broken, gets a second
// chance five seconds later.
func TestAskedOnceMore(t *testing.T) {
	db := sqldbtest.SQLite(t)()
	w := newWorld(t, db)
	r, err := definition().apply(record{Subscription: Subscription{RegistryID: 1, Name: "on-push"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, first := range map[string]outbound.Result{
		"timeout": {Class: outbound.Timeout}, "connect": {Class: outbound.Connect}, "503": answers(503, nil, "")(outbound.Request{}),
	} {
		synctest.Test(t, func(t *testing.T) {
			w.asked = nil
			w.answer = func(r outbound.Request) outbound.Result {
				if len(w.asked) == 1 {
					return first
				}
				return agrees(r)
			}
			made, start := w.tokens.begin(), time.Now()
			defer w.tokens.end(made)
			asked, err := w.ask(t.Context(), contoso, r, made)
			if err != nil || asked.State != Succeeded || time.Since(start) != askAgainAfter {
				t.Errorf("%s: %s after %s, %v", name, asked.State, time.Since(start), err)
			}
		})
	}
}

// TestConfirm: the address of the question is good once, for ten minutes, also while
// the receiver is being asked and after a restart.
func TestConfirm(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		for _, def := range []Definition{definition(), cloudEvents()} {
			name := "later-" + strings.ToLower(string(def.Schema[:min(len(def.Schema), 5)]))
			w.asked, w.answer = nil, answers(202, nil, "")
			sub := w.put(name, def)
			token := tokenOf(w.asked[0])
			w.open(w.DB)
			for _, wrong := range []string{"", "x", token + "x", token[1:]} {
				refused(t, w.Confirm(t.Context(), wrong, 0), fault.NotFound, "ResourceNotFound")
			}
			if err := w.Confirm(t.Context(), token, 60); err != nil {
				t.Fatal(err)
			}
			terms, _ := w.Terms(1, sub.ID)
			if got, err := w.Get(t.Context(), contoso, name); err != nil || got.State != Succeeded || terms.Held || terms.PerMinute != 60 {
				t.Errorf("%+v, %v, terms %+v", got, err, terms)
			}
			if !slices.Contains(w.endpoints.changed, sub.ID) {
				t.Error("the engine was not told")
			}
			refused(t, w.Confirm(t.Context(), token, 0), fault.NotFound, "ResourceNotFound")

			// A receiver that opens it before it answers.
			w.answer = func(r outbound.Request) outbound.Result {
				if err := w.Confirm(t.Context(), tokenOf(r), 0); err != nil {
					t.Error(err)
				}
				return answers(200, nil, "")(r)
			}
			if sub := w.put(name+"-eager", def); sub.State != Succeeded {
				t.Errorf("confirmed while it was asked: %s", sub.State)
			}
		}
	})
}

// TestNobodyConfirms: after ten minutes the subscription has failed, what happens
// waits, and asking again mends it.
func TestNobodyConfirms(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.answer = answers(200, nil, "")
		sub := w.put("on-push", definition())
		token := tokenOf(w.asked[0])
		past := time.Now().Add(-time.Second).UnixNano()
		err := w.DB.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
			_, err := tx.Exec("UPDATE subscription SET token_until = $1", past)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		refused(t, w.Confirm(t.Context(), token, 0), fault.NotFound, "ResourceNotFound")
		got, err := w.Get(t.Context(), contoso, "ON-PUSH")
		if err != nil || got.State != Failed || !strings.Contains(got.StateWhy, "validate") {
			t.Errorf("%+v, %v", got, err)
		}
		if owed := w.happen("team/api", "v1").owed; !slices.Equal(owed, []int64{sub.ID}) {
			t.Errorf("owed to %v", owed)
		}
		w.answer = answers(500, nil, "broken")
		w.answer = answers(405, nil, "")
		_, err = w.Validate(t.Context(), contoso, "on-push")
		refused(t, err, fault.Invalid, "Url validation", "405")
		w.answer = agrees
		if got, err = w.Validate(t.Context(), contoso, "on-push"); err != nil || got.State != Succeeded || got.StateWhy != "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestPut: what a definition that is sent again keeps, and who is asked again.
func TestPut(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.answer = agrees
		first := w.put("On-Push", definition())
		again := definition()
		again.Destination.URL = "" // as clients do that read it before
		again.Destination.Attributes[1].Value = Hidden
		again.Labels = []string{"a"}
		sub, created, err := w.Put(t.Context(), contoso, "on-push", again, Actor{"bob", "Application"})
		if err != nil || created || sub.ID != first.ID || sub.Name != "On-Push" || len(w.asked) != 1 || !sub.CreatedAt.Equal(first.CreatedAt) {
			t.Fatalf("%+v, created %v, %v; asked %d times", sub, created, err, len(w.asked))
		}
		if full, err := w.FullURL(t.Context(), contoso, "on-push"); err != nil || full != secretURL {
			t.Errorf("%q, %v", full, err)
		}
		attributes, err := w.Attributes(t.Context(), contoso, "on-push")
		if err != nil || len(attributes) != 3 || attributes[1].Value != "Bearer hunter2" {
			t.Errorf("%+v, %v", attributes, err)
		}
		for what, seen := range map[string]any{"Put": sub, "Get": must(w.Get(t.Context(), contoso, "on-push")), "List": must(w.List(t.Context(), contoso))} {
			if text := toJSON(seen); strings.Contains(text, "s3cret") || strings.Contains(text, "hunter2") || !strings.Contains(text, "https://hooks.example.net/in") {
				t.Errorf("%s shows %s", what, text)
			}
		}

		// At another host the secrets have to be given anew, or go.
		again.Destination.URL = "https://other.example.net/"
		_, _, err = w.Put(t.Context(), contoso, "on-push", again, ada)
		refused(t, err, fault.Invalid, "InvalidRequest", "Authorization", Hidden)
		_, err = w.Patch(t.Context(), contoso, "on-push", Change{Destination: &Destination{Type: WebHook, URL: "https://other.example.net/"}}, ada)
		refused(t, err, fault.Invalid, "InvalidRequest", "deliveryAttributeMappings")
		if _, err := w.Patch(t.Context(), contoso, "on-push", Change{Destination: &Destination{Type: WebHook, URL: "https://hooks.example.net/other"}}, ada); err != nil || len(w.asked) != 2 {
			t.Errorf("%v, asked %d times", err, len(w.asked))
		}
		if attributes := must(w.Attributes(t.Context(), contoso, "on-push")); len(attributes) != 3 || attributes[1].Value != "Bearer hunter2" {
			t.Errorf("a new path lost %+v", attributes)
		}

		// A receiver that refuses leaves everything as it was.
		w.answer = answers(403, nil, "")
		_, err = w.Patch(t.Context(), contoso, "on-push", Change{Destination: &Destination{Type: WebHook, URL: "https://hooks.example.net/third"}}, ada)
		refused(t, err, fault.Invalid, "Url validation")
		if full := must(w.FullURL(t.Context(), contoso, "on-push")); full != "https://hooks.example.net/other" {
			t.Errorf("the address is %s", full)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestNames: subscriptions are by registry, and what is not there is said.
func TestNames(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.answer = agrees
		sub := w.put("on-push", definition())
		for _, reg := range []Registry{fabrika} {
			_, err := w.Get(t.Context(), reg, "on-push")
			refused(t, err, fault.NotFound, "ResourceNotFound", "fabrika", "on-push")
			refused(t, w.Delete(t.Context(), reg, "on-push"), fault.NotFound, "ResourceNotFound")
		}
		if err := w.Delete(t.Context(), contoso, "On-Push"); err != nil {
			t.Fatal(err)
		}
		if w.Has(1, sub.ID) || !slices.Equal(w.endpoints.dropped, []int64{sub.ID}) || len(w.happen("team/api", "v1").owed) > 0 {
			t.Error("it is still there")
		}
		for i := range 45 {
			w.put(fmt.Sprintf("many-%d", i), definition())
		}
		if err := w.DropAll(t.Context(), contoso.ID); err != nil {
			t.Fatal(err)
		}
		if list := must(w.List(t.Context(), contoso)); len(list) > 0 {
			t.Errorf("%d are left", len(list))
		}
	})
}

// TestRefused: what breaks a rule, by the part of the message that says which.
func TestRefused(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t)())
	w.answer = agrees
	many := make([]Attribute, 11)
	for i := range many {
		many[i] = Attribute{Name: fmt.Sprintf("X-%d", i), Value: "v"}
	}
	cases := map[string]func(*Definition){
		"has no destination":               func(d *Definition) { d.Destination = nil },
		`type "EventHub"`:                  func(d *Definition) { d.Destination.Type = "EventHub" },
		"cannot be null or empty":          func(d *Definition) { d.Destination.URL = "" },
		"scheme \"ftp\"":                   func(d *Definition) { d.Destination.URL = "ftp://h/" },
		"10.1.2.3":                         func(d *Definition) { d.Destination.URL = "https://10.1.2.3/" },
		"maxEventsPerBatch cannot be 5001": func(d *Definition) { d.Destination.MaxEvents = 5001 },
		"InKilobytes cannot be -1":         func(d *Definition) { d.Destination.PreferredKB = -1 },
		"minimumTlsVersionAllowed":         func(d *Definition) { d.Destination.MinTLS = "1.4" },
		"11 delivery attributes":           func(d *Definition) { d.Destination.Attributes = many },
		"two delivery attributes x-env":    func(d *Definition) { d.Destination.Attributes = []Attribute{{Name: "X-Env"}, {Name: "x-env"}} },
		"aeg-x cannot be set":              func(d *Definition) { d.Destination.Attributes = []Attribute{{Name: "aeg-x", Value: "1"}} },
		"no name for a delivery attribute": func(d *Definition) { d.Destination.Attributes = []Attribute{{Name: "a b", Value: "1"}} },
		"has a line break":                 func(d *Definition) { d.Destination.Attributes = []Attribute{{Name: "X-A", Value: "hunter2\r\nX-B: 1"}} },
		"4097 bytes": func(d *Definition) {
			d.Destination.Attributes = []Attribute{{Name: "X-A", Value: strings.Repeat("v", 4097)}}
		},
		"both a value and a sourceField": func(d *Definition) {
			d.Destination.Attributes = []Attribute{{Name: "X-A", Value: "1", SourceField: "id"}}
		},
		`"CustomInputSchema" is none`:       func(d *Definition) { d.Schema = "CustomInputSchema" },
		"maxDeliveryAttempts cannot be 31":  func(d *Definition) { d.MaxAttempts = 31 },
		"TimeToLiveInMinutes cannot be 24h": func(d *Definition) { d.TTL = 24*time.Hour + time.Minute },
		"Invalid expiration time":           func(d *Definition) { d.ExpiresAt = time.Now().Add(-time.Hour) },
		`"../etc" is none`:                  func(d *Definition) { d.DeadLetters = &DeadLetterStore{Container: "../etc"} },
		"no blobContainerName":              func(d *Definition) { d.DeadLetters = &DeadLetterStore{} },
		"label \"\"":                        func(d *Definition) { d.Labels = []string{""} },
		"Nonsense":                          func(d *Definition) { d.Filter.EventTypes = []string{"Nonsense"} },
		"has no subject": func(d *Definition) {
			d.Destination = &Destination{Type: NatsJetStream, Broker: &Broker{Servers: []string{"n:4222"}}}
		},
		"properties of another": func(d *Definition) { d.Destination.Type = Kafka },
	}
	for part, break_ := range cases {
		def := definition()
		break_(&def)
		_, _, err := w.Put(t.Context(), contoso, "on-push", def, ada)
		refused(t, err, fault.Invalid, "InvalidRequest", part)
	}
	for _, name := range []string{"", "ab", "a b", "ü-umlaut", strings.Repeat("x", 65), "../../x"} {
		_, _, err := w.Put(t.Context(), contoso, name, definition(), ada)
		refused(t, err, fault.Invalid, "InvalidRequest", "3 to 64")
	}
	if len(w.asked) > 0 {
		t.Errorf("%d receivers were asked", len(w.asked))
	}
}

// TestRequest: the request of Event Grid, header by header.
func TestRequest(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t)())
	w.answer = agrees
	one, more := definition(), cloudEvents()
	more.Destination.MaxEvents, more.Destination.PreferredKB = 10, 8
	cases := []struct {
		def    Definition
		header string // Content-Type, aeg-metadata-version, aeg-data-version, origin
		body   []byte
		batch  ring.Batch
	}{
		{one, "application/json; charset=utf-8 1 2.0 ", event.EventGrid(pushed("team/api", "v1")), ring.Batch{Events: 1, Bytes: 64 << 10}},
		{cloudEvents(), "application/cloudevents+json; charset=utf-8 1.0  contoso.example.net", event.CloudEvent(pushed("team/api", "v1")), ring.Batch{Events: 1, Bytes: 64 << 10}},
		{more, "application/cloudevents-batch+json; charset=utf-8 1.0  contoso.example.net", event.CloudEventBatch(pushed("team/api", "v1")), ring.Batch{Events: 10, Bytes: 8 << 10}},
	}
	for i, c := range cases {
		sub := w.put(fmt.Sprintf("on-push-%d", i), c.def)
		req, ok := w.Request(ring.Call{Endpoint: sub.ID, Event: pushed("team/api", "v1"), Earlier: 2})
		h := req.Header
		got := strings.Join([]string{h.Get("Content-Type"), h.Get("aeg-metadata-version"), h.Get("aeg-data-version"), h.Get("WebHook-Request-Origin")}, " ")
		if !ok || got != c.header || string(req.Body) != string(c.body) || req.URL != secretURL {
			t.Errorf("%d: %v, %q\n%s", i, ok, got, req.Body)
		}
		for name, want := range map[string]string{
			"aeg-event-type": "Notification", "aeg-subscription-name": fmt.Sprintf("ON-PUSH-%d", i), "aeg-delivery-count": "2", "aeg-output-event-id": pushed("", "").ID,
			"X-Env": "prod", "X-Repo": "team/api", "Authorization": "Bearer hunter2", "User-Agent": "Dockbell/1.2.3",
		} {
			if h.Get(name) != want {
				t.Errorf("%d: %s is %q, want %q", i, name, h.Get(name), want)
			}
		}
		if slices.Contains(req.Public, "Authorization") || !slices.Contains(req.Public, "X-Env") {
			t.Errorf("%d: shown are %v", i, req.Public)
		}
		terms, _ := w.Terms(1, sub.ID)
		if terms.Batch != c.batch || terms.Answers != ring.OfEventGrid || terms.Host != "https://hooks.example.net:443" || terms.MaxAttempts != 30 || terms.TTL != 24*time.Hour {
			t.Errorf("%d: terms %+v", i, terms)
		}
	}
	if _, ok := w.Request(ring.Call{Endpoint: 1, Event: pushed("team/api", "v1"), Elsewhere: []byte("x")}); ok {
		t.Error("another address is rung than the one that agreed")
	}
}

// TestRules: an event is owed to whom the filters of its moment say, whatever they
// are later, and nothing is owed that happens after the expiration.
func TestRules(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.answer = agrees
		sub := w.put("on-push", definition())
		all := []rang{w.happen("team/api", "v1"), w.happen("other", "v1")}
		if _, err := w.Patch(t.Context(), contoso, "on-push", Change{Filter: &filter.Definition{SubjectBeginsWith: "other"}}, ada); err != nil {
			t.Fatal(err)
		}
		all = append(all, w.happen("team/api", "v2"), w.happen("other", "v2"))
		inside := &filter.Definition{Conditions: []filter.Condition{{Operator: "StringContains", Key: "data.request.useragent", Strings: []string{"DOCKER"}}}}
		if _, err := w.Patch(t.Context(), contoso, "on-push", Change{Filter: inside}, ada); err != nil {
			t.Fatal(err)
		}
		all = append(all, w.happen("anything", "v3"))
		soon := time.Now().Add(time.Hour)
		if _, err := w.Patch(t.Context(), contoso, "on-push", Change{ExpiresAt: &soon}, ada); err != nil {
			t.Fatal(err)
		}
		late := pushed("anything", "v4")
		late.At, late.Pos = soon, 100
		var want, got, history []bool
		for _, r := range all {
			want = append(want, len(r.owed) == 1)
		}
		w.open(w.DB)
		err := w.DB.Read(t.Context(), func(tx *sqldb.Tx) error {
			rule, err := w.History(tx, 1, sub.ID)
			if err != nil || !rule.Whole {
				return errors.Join(err, fmt.Errorf("looks at whole events: %v", rule.Whole))
			}
			for _, r := range all {
				ids, err := w.MatchAt(tx, r.entry.Event)
				if err != nil {
					return err
				}
				got, history = append(got, len(ids) == 1), append(history, rule.Takes(r.entry.Event))
			}
			if ids, err := w.MatchAt(tx, late); err != nil || len(ids) > 0 || rule.Takes(late) || len(w.InForce()(late)) > 0 {
				return fmt.Errorf("what happens after the expiration is owed to %v, %v", ids, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff([]bool{true, false, false, true, true}, want); diff != "" {
			t.Error("when it happened:", diff)
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Error("by the rules on record:", diff)
		}
		if diff := gocmp.Diff(want, history); diff != "" {
			t.Error("by history:", diff)
		}
	})
}

// TestTwoAtOnce: of two who change a subscription at the same moment one is told.
func TestTwoAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, w *world) {
		w.answer = agrees
		w.put("on-push", definition())
		w.answer = func(r outbound.Request) outbound.Result { // while the receiver is asked for one, the other comes
			w.answer = agrees
			if _, err := w.Patch(t.Context(), contoso, "on-push", Change{Labels: &[]string{"other"}}, ada); err != nil {
				t.Error(err)
			}
			return agrees(r)
		}
		_, err := w.Patch(t.Context(), contoso, "on-push", Change{Destination: &Destination{Type: WebHook, URL: secretURL + "&x=1"}}, ada)
		refused(t, err, fault.Conflict, "", "at the same moment")
		if full := must(w.FullURL(t.Context(), contoso, "on-push")); full != secretURL {
			t.Errorf("the address is %s", full)
		}
	})
}

// TestSealed: nothing write-only is in the database file.
func TestSealed(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t)())
	w.answer = agrees
	w.put("on-push", definition())
	files := must(filepath.Glob(filepath.Join(filepath.Dir(w.path()), "*")))
	for _, name := range files {
		data := must(os.ReadFile(name))
		for _, secret := range []string{"s3cret", "hunter2"} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s has %s", filepath.Base(name), secret)
			}
		}
	}
	if len(files) == 0 {
		t.Error("no file was looked at")
	}
}

// path returns the database's file.
func (w *world) path() (path string) {
	w.t.Helper()
	err := w.DB.Read(w.t.Context(), func(tx *sqldb.Tx) error {
		return tx.Get("SELECT file FROM pragma_database_list WHERE name = 'main'", nil, &path)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return path
}

// TestBrokers: what is published of an event, and what is not shown of a broker.
func TestBrokers(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t)())
	headers := func(m sink.Message) map[string]string {
		all := map[string]string{}
		for _, f := range m.Header {
			all[f.Name] = f.Value
		}
		return all
	}
	for name, c := range map[string]struct {
		to     Destination
		key    string
		header map[string]string
		body   []byte
	}{
		"nats": {
			Destination{Type: NatsJetStream, Broker: &Broker{Servers: []string{"127.0.0.1:4222"}, Topic: "registry.events", Token: "hunter2", Key: KeySubject}},
			"team/api:v1", map[string]string{"Content-Type": event.StructuredType, "X-Env": "prod"}, event.CloudEvent(pushed("team/api", "v1")),
		},
		"nats-binary": {
			Destination{Type: NatsJetStream, Broker: &Broker{Servers: []string{"127.0.0.1:4222"}, Topic: "registry.events", Binary: true, Key: KeyNone}},
			"", map[string]string{"ce-type": "Microsoft.ContainerRegistry.ImagePushed", "ce-datacontenttype": "application/json"}, nil,
		},
		"kafka": {
			Destination{Type: Kafka, Broker: &Broker{Servers: []string{"127.0.0.1:9092"}, Topic: "registry", Username: "u", Password: "hunter2", Mechanism: "PLAIN"}},
			"team/api", map[string]string{"content-type": event.StructuredType}, event.CloudEvent(pushed("team/api", "v1")),
		},
		"kafka-binary": {
			Destination{Type: Kafka, Broker: &Broker{Servers: []string{"127.0.0.1:9092"}, Topic: "registry", Binary: true}},
			"team/api", map[string]string{"ce_type": "Microsoft.ContainerRegistry.ImagePushed", "content-type": event.BinaryType}, nil,
		},
	} {
		c.to.Attributes = []Attribute{{Name: "X-Env", Value: "prod"}, {Name: "X-Secret", Value: "hunter2", Secret: true}}
		sub := w.put(name, Definition{Destination: &c.to})
		if text := toJSON(sub); strings.Contains(text, "hunter2") || sub.State != Succeeded || sub.Schema != CloudEventSchema {
			t.Errorf("%s: %s", name, text)
		}
		for _, replay := range []int64{0, 7} {
			req, ok := w.Request(ring.Call{Endpoint: sub.ID, Event: pushed("team/api", "v1"), Replay: replay})
			if !ok || req.Publish == nil {
				t.Fatalf("%s: %v, %+v", name, ok, req)
			}
			req.Publish(t.Context(), &req)
		}
		first, again := w.published[len(w.published)-2].message, w.published[len(w.published)-1].message
		if string(first.Key) != c.key || first.Topic != c.to.Broker.Topic || first.ID == again.ID || !strings.HasPrefix(again.ID, first.ID) {
			t.Errorf("%s: key %q, topic %s, ids %s and %s", name, first.Key, first.Topic, first.ID, again.ID)
		}
		if c.body != nil && !bytes.Equal(c.body, first.Body) {
			t.Errorf("%s: %s", name, first.Body)
		}
		got := headers(first)
		for field, want := range c.header {
			if got[field] != want {
				t.Errorf("%s: %s is %q, want %q", name, field, got[field], want)
			}
		}
		if terms, _ := w.Terms(1, sub.ID); terms.Answers != ring.OfBrokers || terms.Order != ring.PerTag || terms.Batch.Events > 1 {
			t.Errorf("%s: terms %+v", name, terms)
		}
	}
	if len(w.asked) > 0 {
		t.Error("a broker was asked whether it agrees")
	}

	// Who changes the topic need not know the password; who changes the server has to.
	change := Destination{Type: Kafka, Broker: &Broker{Servers: []string{"127.0.0.1:9092"}, Topic: "other", Username: "u", Password: Hidden, Mechanism: "PLAIN"}}
	if _, err := w.Patch(t.Context(), contoso, "kafka", Change{Destination: &change}, ada); err != nil {
		t.Fatal(err)
	}
	req, _ := w.Request(ring.Call{Endpoint: must(w.Get(t.Context(), contoso, "kafka")).ID, Event: pushed("team/api", "v1")})
	req.Publish(t.Context(), &req)
	if p := w.published[len(w.published)-1]; p.server.Password != "hunter2" || p.message.Topic != "other" {
		t.Errorf("published with %q to %s", p.server.Password, p.message.Topic)
	}
	// What is left out is gone.
	none := Destination{Type: Kafka, Broker: &Broker{Servers: []string{"127.0.0.1:9092"}, Topic: "other"}}
	if sub, err := w.Patch(t.Context(), contoso, "kafka", Change{Destination: &none}, ada); err != nil || sub.Destination.Broker.Password != "" {
		t.Errorf("without a user: %+v, %v", sub.Destination.Broker, err)
	}
	change.Broker.Servers, change.Attributes = []string{"127.0.0.1:9999"}, []Attribute{}
	_, err := w.Patch(t.Context(), contoso, "kafka", Change{Destination: &change}, ada)
	refused(t, err, fault.Invalid, "InvalidRequest", "Hidden")
	change.Broker.Servers, change.Broker.Password = []string{"10.0.0.1:9092"}, "new"
	_, err = w.Patch(t.Context(), contoso, "kafka", Change{Destination: &change}, ada)
	refused(t, err, fault.Invalid, "InvalidRequest", "10.0.0.1", "--allow-destinations")
}

// TestDeadLetterFiles: where Event Grid has them, with what it adds, each once also
// when nobody could take note of it.
func TestDeadLetterFiles(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t)())
	w.answer = agrees
	def := definition()
	def.DeadLetters = &DeadLetterStore{Container: "dead"}
	sub, other := w.put("on-push", def), w.put("no-store", definition())
	at := time.Date(2026, 3, 4, 9, 30, 0, 0, time.UTC)
	for i := range 250 {
		l := ring.Letter{
			Key: fmt.Sprintf("1-%d", i), Endpoint: sub.ID, Event: pushed("team/api", fmt.Sprint(i)), Reason: "MaxDeliveryAttemptsExceeded", At: at,
			Attempts: 6, LastOutcome: "NotFound", LastStatus: 404, LastAttempt: at,
		}
		w.letters = append(w.letters, l)
		l.Key, l.Endpoint = "2-"+l.Key, other.ID
		w.letters = append(w.letters, l)
	}
	h := w.hook(1, sub.ID)
	w.filingFails = true
	if err := w.fileAll(t.Context(), h); err == nil {
		t.Fatal("that nobody takes note is no error")
	}
	w.filingFails = false
	if err := w.fileAll(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if err := w.fileAll(t.Context(), w.hook(1, other.ID)); err != nil || len(w.letters) != 250 {
		t.Errorf("%v; %d letters are left, want the 250 of the one without a store", err, len(w.letters))
	}
	files := must(filepath.Glob(filepath.Join(w.folder, "dead/ON-PUSH/2026/3/4/9/*")))
	var tags []string
	for _, name := range files {
		var events []struct {
			Reason   string `json:"deadLetterReason"`
			Attempts int    `json:"deliveryAttempts"`
			Outcome  string `json:"lastDeliveryOutcome"`
			Status   int    `json:"lastHttpStatusCode"`
			Data     struct {
				Target struct{ Tag string }
			}
		}
		if err := json.Unmarshal(must(os.ReadFile(name)), &events); err != nil || filepath.Ext(name) != ".json" {
			t.Fatal(name, err)
		}
		for _, e := range events {
			if e.Reason != "MaxDeliveryAttemptsExceeded" || e.Attempts != 6 || e.Outcome != "NotFound" || e.Status != 404 {
				t.Errorf("%+v", e)
			}
			tags = append(tags, e.Data.Target.Tag)
		}
	}
	slices.Sort(tags)
	if len(files) != 3 || len(tags) != 250 || len(slices.Compact(tags)) != 250 {
		t.Errorf("%d files have %d letters", len(files), len(tags))
	}
}

// TestTold: files are written when the engine tells of letters, and at the start.
func TestTold(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t)())
	w.answer = agrees
	def := definition()
	def.DeadLetters = &DeadLetterStore{Container: "dead"}
	sub := w.put("on-push", def)
	letter := ring.Letter{Key: "1-1", Endpoint: sub.ID, Event: pushed("team/api", "v1"), Reason: "Gone", At: time.Now()}
	w.letters = []ring.Letter{letter}
	done := make(chan struct{})
	w.Store.Letters = notingLetters{w, func() { done <- struct{}{} }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { w.Run(ctx); close(ended) }()
	<-done
	w.mu.Lock()
	w.letters = []ring.Letter{{Key: "1-2", Endpoint: sub.ID, Event: pushed("team/api", "v2"), Reason: "Gone", At: time.Now()}}
	w.mu.Unlock()
	w.DeadLettered(sub.ID)
	<-done
	cancel()
	<-ended
}

// notingLetters tells when letters were filed.
type notingLetters struct {
	*world
	filed func()
}

func (n notingLetters) Filed(ctx context.Context, letters []ring.Letter) error {
	err := n.world.Filed(ctx, letters)
	n.filed()
	return err
}
