package arm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/listen"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

const (
	subscription = "/subscriptions/00000000-0000-0000-0000-000000000001"
	group        = subscription + "/resourceGroups/dockbell"
	registry     = group + "/providers/Microsoft.ContainerRegistry/registries/contoso"
	version      = "?api-version=2023-07-01"
)

// bodies are what operations need to be sent, by method and path.
var bodies = map[string]string{
	"PUT ":                                `{"location":"westeurope","sku":{"name":"Premium"}}`,
	"PATCH ":                              `{"tags":{"a":"b"}}`,
	"POST /regenerateCredential":          `{"name":"password2"}`,
	"POST /importImage":                   `{"source":{"resourceId":"` + registry + `","sourceImage":"nosuch:1"},"targetTags":["app:1"]}`,
	"POST /generateCredentials":           `{"tokenId":"` + registry + `/tokens/ci-push"}`,
	"PUT /scopeMaps/{}":                   `{"properties":{"actions":["repositories/app/content/read"]}}`,
	"PATCH /scopeMaps/{}":                 `{"properties":{"description":"what ci may"}}`,
	"PUT /tokens/{}":                      `{"properties":{"scopeMapId":"` + registry + `/scopeMaps/_repositories_push"}}`,
	"PATCH /tokens/{}":                    `{"properties":{"status":"disabled"}}`,
	"PUT /replications/{}":                `{"location":"eastus"}`,
	"PATCH /replications/{}":              `{"tags":{"a":"b"}}`,
	"PUT /webhooks/{}":                    create,
	"PATCH /webhooks/{}":                  `{"properties":{"status":"disabled"}}`,
	"POST /webhooks/{}/test":              `{"action":"push"}`,
	"POST /webhooks/{}/redeliver":         `{"eventId":"e1"}`,
	"POST /webhooks/{}/replays":           `{}`,
	"POST /webhooks/{}/deadLetters/purge": `{"ids":"all"}`,
	"POST /providers/Microsoft.ContainerRegistry/checkNameAvailability": `{"name":"fabrikam2","type":"Microsoft.ContainerRegistry/registries"}`,
}

const (
	grid = "/providers/Microsoft.EventGrid"

	// subscribe makes an event subscription, with secrets.
	subscribe = `{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"https://receiver.example/events?code=s3cret",` +
		`"deliveryAttributeMappings":[{"name":"Authorization","type":"Static","properties":{"value":"Bearer s3cret","isSecret":true}}]}}}}`
	makeTopic = `{"location":"westeurope","properties":{"source":"` + registry + `","topicType":"microsoft.containerregistry.registries"}}`
)

func init() {
	maps.Copy(bodies, map[string]string{
		"PUT " + grid + "/systemTopics/{}":   makeTopic,
		"PATCH " + grid + "/systemTopics/{}": `{"tags":{"a":"b"}}`,
	})
	for _, at := range []string{grid + "/eventSubscriptions/{}", grid + "/systemTopics/{}/eventSubscriptions/{}"} {
		bodies["PUT "+at], bodies["PATCH "+at] = subscribe, `{"labels":["a"]}`
	}
	for _, action := range []string{"redeliver", "replays", "deadLetters/purge"} {
		bodies["POST "+grid+"/eventSubscriptions/{}/"+action] = bodies["POST /webhooks/{}/"+action]
	}
}

// reached is one way to an operation.
type reached struct {
	arm.RouteForTest
	target string
	body   string
}

// ways returns the ways to an operation on what a filled plane has, or on what is
// not there: under ARM's root, and under the short one if it is there too.
func ways(rt arm.RouteForTest, listener string, there bool) []reached {
	name, inner := "DeployHook", "1"
	switch {
	case strings.HasPrefix(rt.Path, grid+"/systemTopics/{}"):
		name, inner = "contoso-topic", "on-push"
	case strings.HasPrefix(rt.Path, grid+"/eventSubscriptions/{}"):
		name, inner = "on-push", "2"
	case strings.HasPrefix(rt.Path, grid+"/locations/{}"):
		name, inner = "westeurope", "Microsoft.ContainerRegistry.Registries"
	case strings.HasPrefix(rt.Path, grid+"/topicTypes/{}"):
		name = "Microsoft.ContainerRegistry.Registries"
	case strings.Contains(rt.Path, "/garbageCollections"):
		name = "1"
	case strings.HasPrefix(rt.Path, "/events/"):
		name = "e1"
	case strings.HasPrefix(rt.Path, "/listeners"):
		name = listener
	case strings.HasPrefix(rt.Path, "/replications"):
		name = "eastus"
	case strings.HasPrefix(rt.Path, "/scopeMaps"):
		name = "app-pull"
	case strings.HasPrefix(rt.Path, "/tokens"):
		name = "ci-push"
	case strings.HasPrefix(rt.Path, "/providers/{}"):
		name = "Microsoft.ContainerRegistry"
	}
	if strings.Contains(rt.Path, "/{}/deliveries/{}") {
		inner = "e1"
	}
	path := strings.Replace(strings.Replace(rt.Path, "{}", name, 1), "{}", inner, 1)
	at := registry
	short := arm.Root + "/contoso"
	if !there {
		at, short = strings.Replace(at, "contoso", "nothere", 1), arm.Root+"/nothere"
	}
	found := []reached{{rt, []string{"", subscription, group, at}[rt.Level] + path + version, bodies[rt.Method+" "+rt.Path]}}
	if rt.Level == 3 {
		below := path
		if rest := strings.TrimPrefix(path, grid); strings.HasPrefix(rest, "/eventSubscriptions") {
			below = rest
		}
		found = append(found, reached{rt, short + below, bodies[rt.Method+" "+rt.Path]})
	}
	if below, ok := strings.CutPrefix(path, "/providers/Microsoft.ContainerRegistry"); ok && rt.Level == 1 && (strings.HasPrefix(below, "/auditLog") || strings.HasPrefix(below, "/signingKeys") || strings.HasPrefix(below, "/garbageCollections")) {
		found = append(found, reached{rt, "/api/v1" + below, bodies[rt.Method+" "+rt.Path]})
	}
	if rt.Level == 1 && strings.HasSuffix(path, "/registries") {
		found = append(found, reached{rt, arm.Root, ""})
	}
	return found
}

// filled returns a plane that has one of everything, and the name of a listener.
func filled(t *testing.T) (p *plane, listener string) {
	t.Helper()
	p = newHook(t)
	p.engine.standing = map[string]delivery.Standing{"e1": {Entry: outbox.Entry{Event: &event.Event{ID: "e1"}, ACRBody: []byte("{}")}}}
	hub := listen.New()
	if err := hub.Start(t.Context(), listen.Options{Endpoints: held{}, Log: slog.New(slog.DiscardHandler)}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hub.Stop)
	cfg := p.config
	cfg.Listeners, cfg.Feed = hub, emptyFeed{}
	p.Handler = arm.New(cfg)
	made := p.do("POST", arm.Root+"/contoso/listeners", "")
	_, after, _ := strings.Cut(made.Body.String(), `"name":"`)
	listener, _, _ = strings.Cut(after, `"`)
	for _, x := range []struct{ method, target, body string }{
		{"PUT", registry + "/replications/eastus" + version, `{"location":"eastus"}`},
		{"PATCH", registry + version, `{"properties":{"adminUserEnabled":true}}`},
		{"POST", registry + "/webhooks/DeployHook/replays" + version, `{}`},
		{"PUT", registry + "/scopeMaps/app-pull" + version, bodies["PUT /scopeMaps/{}"]},
		{"PUT", registry + "/tokens/ci-push" + version, bodies["PUT /tokens/{}"]},
		{"POST", registry + "/generateCredentials" + version, bodies["POST /generateCredentials"]},
		{"PUT", registry + grid + "/eventSubscriptions/on-push" + version, subscribe},
		{"POST", registry + grid + "/eventSubscriptions/on-push/replays" + version, `{}`},
		{"PUT", group + grid + "/systemTopics/contoso-topic" + version, makeTopic},
	} {
		if w := p.do(x.method, x.target, x.body); w.Code > 202 {
			t.Fatalf("%s %s: %d %s", x.method, x.target, w.Code, w.Body)
		}
	}
	p.engine.health[3] = delivery.Health{State: delivery.Live} // of the event subscription, after webhook and listener
	return p, listener
}

// emptyFeed is the feed of a server on which nothing has happened.
type emptyFeed struct{}

func (emptyFeed) After(context.Context, int64, int64, int) (arm.FeedPage, error) {
	return arm.FeedPage{}, nil
}
func (emptyFeed) Last(context.Context, int64, int) (arm.FeedPage, error) { return arm.FeedPage{}, nil }
func (emptyFeed) Changed() <-chan struct{}                               { return nil }
func (emptyFeed) Before(context.Context, int64, int64, int, arm.FeedFilter) (arm.FeedPage, error) {
	return arm.FeedPage{}, nil
}
func (emptyFeed) Find(context.Context, int64, string) (arm.FeedEntry, error) {
	e := &event.Event{Pos: 1, Action: event.Push}
	return arm.FeedEntry{Event: e, ACRBody: event.ACRBody(e)}, nil
}

// as has a request made by someone who may what may says.
func (p *plane) as(may func(action, scope string) bool, method, target, body string) *httptest.ResponseRecorder {
	old := p.auth
	defer func() { p.auth = old }()
	p.auth = func(*http.Request) (arm.Caller, error) { return caller{"someone", may}, nil }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, "http://contoso.azurecr.example"+target, strings.NewReader(body))
	w := &hasty{httptest.NewRecorder(), cancel}
	p.ServeHTTP(w, r)
	return w.ResponseRecorder
}

// hasty is a client that leaves a stream when it begins.
type hasty struct {
	*httptest.ResponseRecorder
	leave func()
}

func (h *hasty) WriteHeader(status int) {
	if strings.HasPrefix(h.Header().Get("Content-Type"), "text/event-stream") {
		h.leave()
	}
	h.ResponseRecorder.WriteHeader(status)
}

// rows returns every row of every table, as text, by table.
func rows(t *testing.T, db *sqldb.DB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	text := func(s sqldb.Scan) (line string, err error) { return line, s(&line) }
	err := db.Read(t.Context(), func(tx *sqldb.Tx) error {
		tables, err := sqldb.Select(tx, text, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'goose%'")
		if err != nil {
			return err
		}
		for _, table := range tables {
			if table == "audit_entry" {
				continue // of which TestAuditOfEveryRoute tells
			}
			columns, err := sqldb.Select(tx, text, "SELECT 'quote(' || name || ')' FROM pragma_table_info('"+table+"')")
			if err != nil {
				return err
			}
			if all[table], err = sqldb.Select(tx, text, "SELECT "+strings.Join(columns, " || ' ' || ")+" FROM "+table); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// changes tells which tables have other rows: how many went and came.
func changes(before, after map[string][]string) string {
	var told []string
	for _, table := range slices.Sorted(maps.Keys(after)) {
		came, went := 0, 0
		for _, row := range after[table] {
			if !slices.Contains(before[table], row) {
				came++
			}
		}
		for _, row := range before[table] {
			if !slices.Contains(after[table], row) {
				went++
			}
		}
		if came+went > 0 {
			told = append(told, fmt.Sprintf("%s -%d +%d", table, went, came))
		}
	}
	return strings.Join(told, ", ")
}

// TestReaderWalksEveryRoute has someone who may read, and no more, try every
// operation under both roots: what is not reading is refused, and what is shows
// no secret and changes no row.
func TestReaderWalksEveryRoute(t *testing.T) {
	t.Parallel()
	p, listener := filled(t)
	reader := func(action, _ string) bool { return strings.HasSuffix(action, "/read") }
	before := rows(t, p.db)
	for _, rt := range arm.RoutesForTest() {
		for _, way := range ways(rt, listener, true) {
			w := p.as(reader, way.Method, way.target, way.body)
			want := http.StatusForbidden
			if strings.HasSuffix(way.Action, "/read") {
				want = http.StatusOK
			}
			if way.Method == http.MethodHead {
				want = http.StatusNoContent
			}
			if w.Code != want {
				t.Errorf("%s %s: %d %s", way.Method, way.target, w.Code, w.Body)
			}
			if want == http.StatusForbidden {
				for _, words := range []string{"AuthorizationFailed", "'someone'", "'" + way.Action + "'", "over scope '"} {
					if !strings.Contains(w.Body.String(), words) {
						t.Errorf("%s %s does not say %s: %s", way.Method, way.target, words, w.Body)
					}
				}
			}
			for _, secret := range []string{"s3cret", "whsec_", "receiver.example"} {
				if secret == "receiver.example" && strings.Contains(way.Path, "/eventSubscriptions") {
					continue // they show it, without its query
				}
				if strings.Contains(w.Body.String(), secret) {
					t.Errorf("%s %s shows %s: %s", way.Method, way.target, secret, w.Body)
				}
			}
		}
		if got := changes(before, rows(t, p.db)); got != "" {
			t.Fatalf("%s %s changes %s", rt.Method, rt.Path, got)
		}
	}
	if p.purges != 0 {
		t.Error("something was purged")
	}
}

// TestOwnerWalksEveryRoute has someone who may everything try every operation
// under both roots: each finds what it is for.
func TestOwnerWalksEveryRoute(t *testing.T) {
	t.Parallel()
	var p *plane
	var listener string
	for _, rt := range arm.RoutesForTest() {
		if p == nil {
			p, listener = filled(t)
		}
		for _, way := range ways(rt, listener, true) {
			w := p.as(nil, way.Method, way.target, way.body)
			refused := w.Code >= 300
			switch way.Method + " " + way.Path {
			case "DELETE " + grid + "/systemTopics/{}": // it has a subscription
				refused = w.Code != http.StatusConflict
			case "DELETE ": // the default registry, and the group that it is in
				refused = w.Code != http.StatusConflict
			case "POST /listeners/{}/results": // there is nothing to report
				refused = w.Code != http.StatusBadRequest
			case "POST /webhooks/{}/handshake": // it rings without one
				refused = w.Code != http.StatusConflict
			case "POST /providers/Microsoft.ContainerRegistry/garbageCollections/{}/cancel": // it is over
				refused = w.Code != http.StatusConflict
			case "DELETE /webhooks/{}/replays/{}", "DELETE " + grid + "/eventSubscriptions/{}/replays/{}", "POST /listeners":
				refused = w.Code >= 400
			}
			if refused {
				t.Errorf("%s %s: %d %s", way.Method, way.target, w.Code, w.Body)
			}
		}
		if rt.Method == http.MethodDelete {
			p = nil // something it had is gone
		}
	}
}

// TestStrangerLearnsNothing has someone who may nothing try every operation on a
// registry that is there and on one that is not: the answers differ in the name
// they were sent, and in nothing else.
func TestStrangerLearnsNothing(t *testing.T) {
	t.Parallel()
	p, listener := filled(t)
	may := map[string]func(action, scope string) bool{
		"nothing":          func(string, string) bool { return false },
		"another registry": func(_, scope string) bool { return strings.HasSuffix(scope, "/fabrikam") },
		"another group":    func(_, scope string) bool { return strings.Contains(scope, "/resourceGroups/team") },
		"the subscription's": func(action, scope string) bool {
			return scope == subscription && !strings.Contains(action, "/auditLog/") && !strings.Contains(action, "/signingKeys/") // which tell of everything, and change something
		},
	}
	before := rows(t, p.db)
	for who, may := range may {
		for _, rt := range arm.RoutesForTest() {
			there, gone := ways(rt, listener, true), ways(rt, listener, false)
			for i, way := range there {
				got := p.as(may, way.Method, way.target, way.body)
				if got.Code != http.StatusForbidden && !way.Each && (way.Level > 1 || who == "nothing") && way.Level != 0 {
					t.Errorf("%s: %s %s: %d %s", who, way.Method, way.target, got.Code, got.Body)
				}
				if strings.Contains(got.Body.String(), `"name":"contoso"`) {
					t.Errorf("%s: %s %s shows the registry: %s", who, way.Method, way.target, got.Body)
				}
				other := p.as(may, gone[i].Method, gone[i].target, gone[i].body)
				if same := strings.ReplaceAll(other.Body.String(), "nothere", "contoso"); other.Code != got.Code || same != got.Body.String() {
					t.Errorf("%s: %s %s: %d %s\nif it is not there: %d %s", who, way.Method, way.target, got.Code, got.Body, other.Code, other.Body)
				}
			}
		}
	}
	if got := changes(before, rows(t, p.db)); got != "" {
		t.Errorf("changed: %s", got)
	}
}

// TestHiddenGroupUnderTheShortRoot has the owner of the default group meet a name
// that another group has: it looks free, and cannot be taken or changed.
func TestHiddenGroupUnderTheShortRoot(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	const hidden = subscription + "/resourceGroups/team/providers/Microsoft.ContainerRegistry/registries/hidden1"
	for _, x := range []struct{ target, body string }{
		{subscription + "/resourceGroups/team" + version, `{"location":"eastus"}`},
		{hidden + version, `{"location":"eastus","sku":{"name":"Premium"},"tags":{"keep":"me"}}`},
	} {
		if w := p.do("PUT", x.target, x.body); w.Code != http.StatusCreated {
			t.Fatal(w.Body)
		}
	}
	ofDefault := func(_, scope string) bool { return strings.Contains(scope, "/resourceGroups/dockbell") }
	before := rows(t, p.db)
	for _, x := range []struct {
		method, target, body string
		status               int
	}{
		{"GET", arm.Root + "/hidden1", "", 404},
		{"PATCH", arm.Root + "/hidden1", `{"tags":{}}`, 404},
		{"PUT", arm.Root + "/hidden1", `{"location":"eastus","sku":{"name":"Premium"}}`, 409}, // names are unique, which checkNameAvailability tells anyway
		{"DELETE", arm.Root + "/hidden1", "", 204},
		{"GET", strings.Replace(hidden, "/team/", "/dockbell/", 1) + version, "", 404},
		{"GET", hidden + version, "", 403},
	} {
		if w := p.as(ofDefault, x.method, x.target, x.body); w.Code != x.status {
			t.Errorf("%s %s: %d %s", x.method, x.target, w.Code, w.Body)
		}
	}
	// Who may read it is told that it is there, and not to be deleted.
	reads := func(action, scope string) bool { return ofDefault(action, scope) || strings.HasSuffix(action, "/read") }
	if w := p.as(reads, "DELETE", arm.Root+"/hidden1", ""); w.Code != http.StatusForbidden {
		t.Errorf("by a reader: %d %s", w.Code, w.Body)
	}
	if got := changes(before, rows(t, p.db)); got != "" {
		t.Errorf("changed: %s", got)
	}
}

// TestRowsOfARequest names the tables of which each request changes rows.
func TestRowsOfARequest(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	const (
		team   = subscription + "/resourcegroups/team"
		newReg = subscription + "/resourceGroups/TEAM/providers/microsoft.containerregistry/registries/NewReg1"
		hook   = newReg + "/webHooks/deployhook"
	)
	for _, x := range []struct{ method, target, body, want string }{
		{"PUT", team, `{"location":"eastus"}`, "resource_group -0 +1"},
		{"PUT", team, `{"location":"eastus","tags":{"a":"b"}}`, "resource_group -1 +1"},
		{"HEAD", team, "", ""},
		{"PUT", newReg, `{"location":"eastus","sku":{"name":"Premium"},"properties":{"adminUserEnabled":true}}`, "registry -0 +1"},
		{"GET", newReg, "", ""},
		{"PATCH", newReg, `{"properties":{"policies":{"retentionPolicy":{"days":30}}}}`, "registry -1 +1"},
		{"PATCH", newReg, `{"properties":{"publicNetworkAccess":"Disabled"}}`, ""},
		{"PUT", newReg + "/replications/westus", `{"location":"westus"}`, "replication -0 +1"},
		{"PUT", hook, strings.Replace(create, "West Europe", "westus", 1), "webhook -0 +1, webhook_rule -0 +1"},
		{"PATCH", hook, `{"properties":{"status":"disabled"}}`, "webhook -1 +1, webhook_rule -1 +1"},
		{"POST", hook + "/getCallbackConfig", "", ""},
		{"GET", newReg + "/listUsages", "", ""},
		{"POST", newReg + "/listCredentials", "", ""},
		{"DELETE", hook, "", "webhook -1 +0, webhook_rule -1 +0"},
		{"DELETE", newReg + "/replications/westus", "", "replication -1 +0"},
		{"DELETE", team, "", ""},
		{"DELETE", newReg, "", "registry -1 +1"},
		{"DELETE", newReg, "", ""},
		{"DELETE", team, "", "resource_group -1 +0"},
	} {
		before := rows(t, p.db)
		w := p.do(x.method, x.target+version, x.body)
		if got := changes(before, rows(t, p.db)); got != x.want {
			t.Errorf("%s %s: %d changes %q, want %q: %s", x.method, x.target, w.Code, got, x.want, w.Body)
		}
	}
	if p.purges != 1 {
		t.Errorf("purged %d times", p.purges)
	}
	if strings.Contains(p.logged.String(), "s3cret") {
		t.Error("the log has a secret")
	}
}

// TestEnvelopes shows what clients of ARM's root see.
func TestEnvelopes(t *testing.T) {
	t.Parallel()
	tr := &transcript{plane: newPlane(t)}
	const team = subscription + "/resourcegroups/Team1"
	inTeam := subscription + "/resourceGroups/team1/providers/Microsoft.ContainerRegistry/registries"
	for _, x := range []struct{ method, target, body string }{
		{"GET", "/subscriptions", ""},
		{"GET", "/subscriptions?api-version=", ""},
		{"GET", "/subscriptions?api-version=soon", ""},
		{"GET", "/subscriptions" + version, ""},
		{"GET", "/Tenants?api-version=2019-11-01", ""},
		{"GET", subscription + version, ""},
		{"GET", "/subscriptions/00000000-0000-0000-0000-00000000dead" + version, ""},
		{"GET", subscription + "/locations" + version, ""},
		{"GET", subscription + "/resourcegroups/Team1" + version, ""},
		{"HEAD", team + version, ""},
		{"PUT", team + version, `{"location":"East US","tags":{"a":"b"}}`},
		{"HEAD", team + version, ""},
		{"GET", subscription + "/resourceGroups" + version, ""},
		{"PUT", strings.Replace(inTeam, "team1", "nosuch", 1) + "/acrtest01" + version, `{"location":"eastus","sku":{"name":"Basic"}}`},
		{"PUT", inTeam + "/ACRtest01" + version, `{"location":"eastus","sku":{"name":"premium"},"properties":{"adminUserEnabled":true,"anonymousPullEnabled":false,"zoneRedundancy":"Enabled"}}`},
		{"PUT", inTeam + "/ACRtest01" + version, `{"location":"eastus","sku":{"name":"Premium"},"properties":{"adminUserEnabled":true}}`},
		{"PUT", strings.Replace(inTeam, "team1", "dockbell", 1) + "/acrtest01" + version, `{"location":"eastus","sku":{"name":"Basic"}}`},
		{"PUT", inTeam + "/acrtest02" + version, `{"location":"eastus","sku":{"name":"Classic"}}`},
		{"PUT", inTeam + "/acr-dash1" + version, `{"location":"eastus","sku":{"name":"Basic"}}`},
		{"PATCH", inTeam + "/acrtest01" + version, `{"properties":{"anonymousPullEnabled":true}}`},
		{"PATCH", inTeam + "/acrtest01" + version, `{"sku":{"name":"Basic"}}`},
		{"PATCH", arm.Root + "/fabrikam", `{"properties":{"anonymousPullEnabled":true}}`},
		{"PATCH", inTeam + "/acrtest01" + version, `{"properties":{"policies":{"trustPolicy":{"status":"enabled"}}}}`},
		{"PATCH", inTeam + "/acrtest01" + version, `{"properties":{"policies":[]}}`},
		{"PATCH", inTeam + "/acrtest01" + version, `{"properties":{"networkRuleSet":{"defaultAction":"Allow","ipRules":[{"value":"10.0.0.0/8"}]}}}`},
		{"PATCH", inTeam + "/acrtest01" + version, `{"identity":{"type":"SystemAssigned"}}`},
		{"PATCH", inTeam + "/acrtest01" + version, `{"tags":{"t":"1"},"properties":{"policies":{"exportPolicy":{"status":"disabled"},"softDeletePolicy":{"retentionDays":30}}}}`},
		{"GET", inTeam + version, ""},
		{"GET", strings.Replace(inTeam, "team1", "nosuch", 1) + version, ""},
		{"GET", inTeam + "/nosuch" + version, ""},
		{"GET", strings.Replace(inTeam, "team1", "dockbell", 1) + "/acrtest01" + version, ""},
		{"GET", subscription + "/resources?$filter=resourceType%20eq%20%27Microsoft.ContainerRegistry/registries%27&api-version=2021-04-01", ""},
		{"GET", subscription + "/resources?$filter=resourceGroup%20eq%20'Team1'&$expand=createdTime,changedTime,provisioningState&api-version=2021-04-01", ""},
		{"GET", subscription + "/resources?$filter=substringof('x',name)&api-version=2021-04-01", ""},
		{"GET", subscription + "/providers/microsoft.containerregistry" + version, ""},
		{"GET", subscription + "/providers/Microsoft.Storage" + version, ""},
		{"POST", subscription + "/providers/Microsoft.ContainerRegistry/checkNameAvailability" + version, `{"name":"acrtest01","type":"Microsoft.ContainerRegistry/registries"}`},
		{"POST", subscription + "/providers/Microsoft.ContainerRegistry/checkNameAvailability" + version, `{"name":"acrtest02","type":"Microsoft.ContainerRegistry/registries"}`},
		{"POST", subscription + "/providers/Microsoft.ContainerRegistry/checkNameAvailability" + version, `{"name":"a-b","type":"Microsoft.ContainerRegistry/registries"}`},
		{"POST", inTeam + "/acrtest01/listCredentials" + version, ""},
		{"POST", inTeam + "/acrtest01/regenerateCredential" + version, `{"name":"password2"}`},
		{"POST", inTeam + "/acrtest01/regenerateCredential" + version, `{"name":"password3"}`},
		{"POST", registry + "/listCredentials" + version, ""},
		{"GET", inTeam + "/acrtest01/listUsages" + version, ""},
		{"GET", arm.Root + "/fabrikam/listUsages", ""},
		{"PUT", inTeam + "/acrtest01/replications/westus" + version, `{"location":"West US","properties":{"regionEndpointEnabled":true,"zoneRedundancy":"Disabled"}}`},
		{"PUT", inTeam + "/acrtest01/webhooks/DeployHook" + version, strings.Replace(create, "West Europe", "westus", 1)},
		{"PUT", inTeam + "/acrtest01/webhooks/other1" + version, create},
		{"GET", inTeam + "/acrtest01/replications" + version, ""},
		{"DELETE", inTeam + "/acrtest01/replications/westus" + version, ""},
		{"DELETE", inTeam + "/acrtest01/replications/eastus" + version, ""},
		{"PUT", arm.Root + "/fabrikam/replications/westus", `{"location":"westus"}`},
		{"PATCH", inTeam + "/acrtest01/replications/westus" + version, `{"properties":{"zoneRedundancy":"Perhaps"}}`},
		{"DELETE", strings.ToLower(inTeam) + "/acrtest01" + version, ""},
		{"DELETE", inTeam + "/acrtest01" + version, ""},
		{"DELETE", registry + version, ""},
		{"DELETE", group + version, ""},
		{"GET", group + "/nothing" + version, ""},
	} {
		tr.exchange(x.method, x.target, x.body)
	}
	golden(t, "arm.txt", tr.String())
}

func TestOperationsAreThoseOfTheRoutes(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	for _, provider := range []string{"Microsoft.ContainerRegistry", "Microsoft.EventGrid"} {
		body := p.do("GET", "/providers/"+provider+"/operations"+version, "").Body.String()
		for _, rt := range arm.RoutesForTest() {
			its := strings.HasPrefix(rt.Action, provider+"/")
			if strings.Count(body, `"name":"`+rt.Action+`"`) != map[bool]int{true: 1}[its] {
				t.Errorf("%s: %s is listed %d times", provider, rt.Action, strings.Count(body, `"`+rt.Action+`"`))
			}
		}
	}
}

// TestHeadersOfARM looks at what every answer of ARM's has.
func TestHeadersOfARM(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	for _, x := range []struct{ method, target, left string }{
		{"GET", registry + version, "Reads"},
		{"GET", registry, "Reads"}, // a refusal
		{"PATCH", registry + version, "Writes"},
		{"DELETE", registry + "/webhooks/nosuch" + version, "Deletes"},
	} {
		for _, scheme := range []string{"http", "https"} {
			r := httptest.NewRequest(x.method, scheme+"://contoso.azurecr.example"+x.target, strings.NewReader("{}"))
			const mine = "8c3b5a6e-3c51-4f4c-9a53-0e8b6b2b3b11"
			r.Header.Set("X-Ms-Correlation-Request-Id", mine)
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			h := w.Header()
			if h.Get("Cache-Control") != "no-cache" || h.Get("Pragma") != "no-cache" || h.Get("Expires") != "-1" || h.Get("X-Content-Type-Options") != "nosniff" ||
				!strings.Contains(h.Get("Api-Supported-Versions"), "2023-07-01") || !anyUUID.MatchString(h.Get("X-Ms-Request-Id")) ||
				h.Get("X-Ms-Correlation-Request-Id") != mine || !strings.HasPrefix(h.Get("X-Ms-Routing-Request-Id"), "WESTEUROPE:") {
				t.Errorf("%s %s: %v", x.method, x.target, h)
			}
			if h.Get("X-Ms-Ratelimit-Remaining-Subscription-"+x.left) == "" {
				t.Errorf("%s: no %s left: %v", x.method, x.left, h)
			}
		}
	}
}

// TestNextLinkKeepsTheRoot follows a log under the root and the scheme that the
// client began with.
func TestNextLinkKeepsTheRoot(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	if w := p.do("PUT", hook, create); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	for i := range 150 {
		p.attempts = append(p.attempts, delivery.Attempt{Endpoint: 1, EventID: fmt.Sprint("e", i), ACRBody: []byte("{}")})
	}
	for _, target := range []string{registry + "/webhooks/DeployHook/listEvents" + version, hook + "/listEvents"} {
		const host = "https://contoso.azurecr.example"
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("POST", host+target, nil))
		var page struct {
			Value    []struct{ ID string }
			NextLink string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || !strings.HasPrefix(page.NextLink, host+strings.TrimSuffix(target, version)+"?") {
			t.Fatalf("%s: next link %q, %v", target, page.NextLink, err)
		}
		w = httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest("GET", page.NextLink, nil))
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Value) != 50 || page.Value[0].ID != "e100" {
			t.Errorf("%s: %d %s", page.NextLink, w.Code, w.Body)
		}
	}
}
