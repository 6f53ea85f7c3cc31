package arm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/dockbell/dockbell/internal/app"
	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// real is a whole server, with the registries contoso, its default, and fabrikam.
type real struct {
	*app.Server
	t            *testing.T
	client       *http.Client
	subscription string // path of the one there is
	receiver     string // where contoso's webhook leads
	listener     string // name of contoso's
	replay       string // number of its webhook's
	replay2      string // number of its event subscription's
	event        string // id of its push

	mu     sync.Mutex
	logged bytes.Buffer
}

func (s *real) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logged.Write(p)
}

func (s *real) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logged.String()
}

// startReal starts a server that logs everything on a data folder.
func startReal(t *testing.T, data string) *real {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var question []struct {
			Data struct{ ValidationCode string }
		}
		if json.NewDecoder(r.Body).Decode(&question) == nil && len(question) == 1 {
			fmt.Fprintf(w, `{"validationResponse":%q}`, question[0].Data.ValidationCode)
		}
	}))
	t.Cleanup(receiver.Close)
	cfg := config.Default()
	cfg.Listen, cfg.Data, cfg.RegistryName = "127.0.0.1:0", data, "contoso"
	s := &real{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}, receiver: receiver.URL}
	var err error
	if s.Server, err = app.Open(t.Context(), cfg, slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		s.client.CloseIdleConnections()
	})
	var all struct{ Value []struct{ ID string } }
	s.must("GET", "/subscriptions"+version, "", &all)
	s.subscription = all.Value[0].ID
	s.push()
	s.must("PUT", s.here(strings.Replace(registry, "contoso", "fabrikam", 1))+version, `{"location":"local","sku":{"name":"Premium"}}`, nil)
	return s
}

// here has a path or a body of the tests of a plane mean this server.
func (s *real) here(text string) string {
	return strings.NewReplacer(subscription, s.subscription, "https://receiver.example", s.receiver, "West Europe", "local", "westeurope", "local",
		"/replays/1", "/replays/"+s.replay, "/replays/2", "/replays/"+s.replay2, "/deliveries/e1", "/deliveries/"+s.event, "/events/e1", "/events/"+s.event, `"e1"`, `"`+s.event+`"`).Replace(text)
}

// credentials puts something into a request.
type credentials func(*http.Request)

func basic(user, password string) credentials {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func bearer(token string) credentials {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// do has a request made, and leaves a stream when it begins.
func (s *real) do(with credentials, method, target, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.URL()+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	with(req)
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return res.StatusCode, ""
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// must has the operator do something, and reads the answer.
func (s *real) must(method, target, body string, answer any) {
	s.t.Helper()
	status, text := s.do(basic(s.Operator(), s.Password), method, target, body)
	if status/100 != 2 {
		s.t.Fatalf("%s %s: %d %s", method, target, status, text)
	}
	if answer != nil {
		if err := json.Unmarshal([]byte(text), answer); err != nil {
			s.t.Fatal(err)
		}
	}
}

// push gives contoso an image, and an event.
func (s *real) push() {
	s.t.Helper()
	config := oci.FromBytes(oci.SHA256, []byte("{}"))
	s.must("POST", "/v2/app/blobs/uploads/?digest="+string(config), "{}", nil)
	s.must("PUT", "/v2/app/manifests/v1", fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`, config), nil)
	var feed struct {
		Value []struct{ Event struct{ ID string } }
	}
	s.must("GET", arm.Root+"/contoso/events", "", &feed)
	s.event = feed.Value[0].Event.ID
}

// fill gives contoso one of everything that routes are about.
func (s *real) fill() {
	s.t.Helper()
	at := s.here(registry)
	s.must("PATCH", at+version, `{"properties":{"adminUserEnabled":true}}`, nil)
	s.must("PUT", at+"/replications/eastus"+version, bodies["PUT /replications/{}"], nil)
	s.must("PUT", at+"/scopeMaps/app-pull"+version, bodies["PUT /scopeMaps/{}"], nil)
	s.must("PUT", at+"/tokens/ci-push"+version, s.here(bodies["PUT /tokens/{}"]), nil)
	s.must("PUT", at+"/webhooks/DeployHook"+version, s.here(create), nil)
	s.must("PUT", at+grid+"/eventSubscriptions/on-push"+version, s.here(subscribe), nil)
	s.must("PUT", s.here(group+grid)+"/systemTopics/contoso-topic"+version, s.here(makeTopic), nil)
	var replay, replay2 struct{ ID json.Number }
	s.must("POST", at+"/webhooks/DeployHook/replays"+version, `{}`, &replay)
	s.must("POST", at+grid+"/eventSubscriptions/on-push/replays"+version, `{}`, &replay2)
	if s.listener != "" { // there may be a hundred
		s.must("DELETE", at+"/listeners/"+s.listener+version, "", nil)
	}
	var listener struct{ Name string }
	s.must("POST", at+"/listeners"+version, "", &listener)
	s.replay, s.replay2, s.listener = replay.ID.String(), replay2.ID.String(), listener.Name
}

// account is a service principal.
type account struct{ AppID, Password, Tenant string }

// create makes a service principal that has a role in a scope, or in all.
func (s *real) create(name, role, scope string) (a account) {
	s.t.Helper()
	s.must("POST", "/api/v1/servicePrincipals", fmt.Sprintf(`{"displayName":%q,"roleAssignments":[{"role":%q,"scope":%q}]}`, name, role, scope), &a)
	return a
}

// token returns what the identity authority gives an account for a resource.
func (s *real) token(a account, resource string) string {
	s.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {a.AppID}, "client_secret": {a.Password}, "scope": {resource + "/.default"}}
	status, text := s.do(func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		"POST", "/"+a.Tenant+"/oauth2/v2.0/token", form.Encode())
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != http.StatusOK {
		s.t.Fatalf("token: %d %s", status, text)
	}
	return answer.Token
}

// expiredToken returns a token that an Owner of everything got in the year 2000
// from the server with that data folder, which is not running yet.
func expiredToken(t *testing.T, data string) (token string) {
	t.Helper()
	key, err := seal.LoadFile(filepath.Join(data, "data-key"))
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(data, "dockbell.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	a, err := auth.Open(t.Context(), auth.Options{DB: db, Key: key, Ours: func(string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	p, password, err := a.CreatePrincipal(t.Context(), "sleeper", []auth.Assignment{{Role: "Owner", Scope: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	who, err := a.LoginClient(t.Context(), "127.0.0.1:1", p.AppID, password)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) { // where it is the first hour of that year
		if token, err = a.IssueBearer(who, "http://127.0.0.1/adfs", "http://127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	})
	return token
}

// What a caller may, route by route.
var (
	mayAll     = func(arm.RouteForTest) bool { return true }
	mayAlmost  = func(rt arm.RouteForTest) bool { return !strings.Contains(rt.Action, "/signingKeys/rotate/") } // what ends all logins is the Owner's
	mayNothing = func(arm.RouteForTest) bool { return false }
	mayRead    = func(rt arm.RouteForTest) bool { return strings.HasSuffix(rt.Action, "/read") }
	mayHere    = func(rt arm.RouteForTest) bool { return rt.Level == 3 }
)

// oneSubscription reports whether a route shows the subscription, which is open to
// those alone who see something in it.
func oneSubscription(rt arm.RouteForTest) bool { return rt.Level == 1 && rt.Path == "" }

// shortLived is a registry that is deleted before anyone uses a role there.
const shortLived = "shortlived"

// accountsOfEveryRole is the table of TestRoles: who has which role where, and
// what that is worth in the control plane.
var accountsOfEveryRole = []struct {
	name, role, registry string // the registry is empty for all
	may                  func(arm.RouteForTest) bool
	sees                 []string // which registries, in lists
}{
	{"reader", "Reader", "", mayRead, []string{"contoso", "fabrikam"}},
	{"pull", "AcrPull", "", mayNothing, nil},
	{"push", "AcrPush", "", mayNothing, nil},
	{"delete", "AcrDelete", "", mayNothing, nil},
	{"quarantine-reader", "AcrQuarantineReader", "", mayNothing, nil},
	{"quarantine-writer", "AcrQuarantineWriter", "", mayNothing, nil},
	{"reader-here", "Reader", "contoso", func(rt arm.RouteForTest) bool { return mayHere(rt) && mayRead(rt) }, []string{"contoso"}},
	{"pull-here", "AcrPull", "contoso", mayNothing, nil},
	{"owner-elsewhere", "Owner", "fabrikam", mayNothing, []string{"fabrikam"}},
	{"contributor-elsewhere", "Contributor", "fabrikam", mayNothing, []string{"fabrikam"}},
	{"roleless", "Owner", shortLived, mayNothing, nil},
	{"contributor", "Contributor", "", mayAlmost, []string{"contoso", "fabrikam"}},
	{"contributor-here", "Contributor", "contoso", mayHere, []string{"contoso"}},
	{"owner", "Owner", "", mayAll, []string{"contoso", "fabrikam"}},
	{"owner-here", "Owner", "contoso", mayHere, []string{"contoso"}},
}

// handsOutSecrets are the actions whose answers have secrets in them.
var handsOutSecrets = []string{
	"Microsoft.ContainerRegistry/registries/webhooks/getCallbackConfig/action", "Microsoft.ContainerRegistry/registries/webhooks/rotateSecret/action",
	"Microsoft.ContainerRegistry/registries/listCredentials/action", "Microsoft.ContainerRegistry/registries/regenerateCredential/action",
	"Microsoft.ContainerRegistry/registries/generateCredentials/action",
	"Microsoft.EventGrid/eventSubscriptions/getFullUrl/action", "Microsoft.EventGrid/eventSubscriptions/getDeliveryAttributes/action",
	"Microsoft.EventGrid/systemTopics/eventSubscriptions/getFullUrl/action", "Microsoft.EventGrid/systemTopics/eventSubscriptions/getDeliveryAttributes/action",
}

var valueOfPassword = regexp.MustCompile(`"value":"([^"]+)"`)

// TestRoles has a service principal of each role, and some that have none any
// more, try every operation of a whole server under both roots, with a token of
// its authority and with its password. Each gets what its role allows, a refusal
// for the rest, and no secret unless it asks for one that it may have.
func TestRoles(t *testing.T) {
	if raceEnabled {
		t.Skip("some 4,000 requests, one after the other: under the detector they take minutes and show it nothing; scripts/test.sh runs them without")
	}
	t.Parallel()
	data := t.TempDir()
	expired := expiredToken(t, data)
	s := startReal(t, data)
	other := startReal(t, t.TempDir())
	s.fill()
	s.must("POST", arm.CollectionsRoot, `{"dryRun":true}`, nil) // the first, which has the number 1

	// What must be in no answer and no line of the log. It grows with what is made.
	secrets := []string{"s3cret", "whsec_", s.Password, expired}
	hidden := []string{s.receiver} // unless the caller may see where webhooks lead
	leaks := func(text string, words []string) string {
		for _, word := range words {
			if strings.Contains(text, word) {
				return word
			}
		}
		return ""
	}
	learn := func(text string) {
		for _, m := range valueOfPassword.FindAllStringSubmatch(text, -1) {
			secrets = append(secrets, m[1])
		}
	}
	adminPassword := func() string {
		_, answer := s.do(basic(s.Operator(), s.Password), "POST", s.here(registry)+"/listCredentials"+version, "")
		known := len(secrets)
		if learn(answer); len(secrets) != known+2 {
			t.Fatalf("no passwords of the admin user: %s", answer)
		}
		return secrets[known]
	}
	adminPassword()

	type caller struct {
		name string
		with credentials
	}
	for _, x := range accountsOfEveryRole {
		scope := ""
		if x.registry != "" {
			scope = s.here(strings.Replace(registry, "contoso", x.registry, 1))
		}
		if x.registry == shortLived {
			s.must("PUT", scope+version, s.here(bodies["PUT "]), nil)
		}
		a := s.create(x.name, x.role, scope)
		if x.registry == shortLived {
			s.must("DELETE", scope+version, "", nil)
		}
		token := s.token(a, s.URL())
		secrets = append(secrets, a.Password, token)
		allowed, refused := 0, 0
		for _, who := range []caller{{x.name + " with a token", bearer(token)}, {x.name + " with its password", basic(a.AppID, a.Password)}} {
			for _, rt := range arm.RoutesForTest() {
				for _, way := range ways(rt, s.listener, true) {
					target, body := s.here(way.target), s.here(way.body)
					status, answer := s.do(who.with, way.Method, target, body)
					what := fmt.Sprintf("%s: %s %s: %d %s", who.name, way.Method, target, status, answer)
					may := x.may(rt) || rt.Each && (len(x.sees) > 0 || !oneSubscription(rt))
					switch {
					case !may && (status != http.StatusForbidden || way.Method != http.MethodHead && !strings.Contains(answer, "AuthorizationFailed")):
						t.Error("not refused: " + what)
					case may && (status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound || status >= 500):
						t.Error("refused: " + what)
					case may && mayRead(rt) && status/100 != 2:
						t.Error("not shown: " + what)
					}
					if may {
						allowed++
					} else {
						refused++
					}
					for _, name := range []string{"contoso", "fabrikam"} {
						shown := strings.Contains(answer, `"name":"`+name+`"`)
						if shown && !slices.Contains(x.sees, name) {
							t.Errorf("shows registry %s, which is hidden: %s", name, what)
						}
						if !shown && slices.Contains(x.sees, name) && rt.Level == 1 && strings.HasSuffix(rt.Path, "/registries") {
							t.Errorf("hides registry %s: %s", name, what)
						}
					}
					if may && slices.Contains(handsOutSecrets, rt.Action) {
						learn(answer)
						if status != http.StatusOK || leaks(answer, secrets) == "" {
							t.Error("withholds the secret: " + what)
						}
					} else if secret := leaks(answer, secrets); secret != "" {
						t.Errorf("shows the secret %s: %s", secret, what)
					}
					if (!may || mayRead(rt) && !strings.Contains(rt.Path, "/eventSubscriptions")) && leaks(answer, hidden) != "" {
						t.Error("shows where a webhook leads: " + what)
					}
					if may && way.Method == http.MethodDelete {
						s.fill()
					}
				}
			}
		}
		if allowed == 0 || x.role != "Owner" && x.role != "Contributor" && refused == 0 {
			t.Errorf("%s: %d allowed, %d refused: nothing is told apart", x.name, allowed, refused)
		}
	}

	// Who cannot say who they are gets nowhere, and learns nothing.
	gone, renewed := s.create("gone", "Owner", ""), s.create("renewed", "Owner", "")
	tokenOfGone, tokenOfRenewed := s.token(gone, s.URL()), s.token(renewed, s.URL())
	s.must("DELETE", "/api/v1/servicePrincipals/gone", "", nil)
	s.must("POST", "/api/v1/servicePrincipals/renewed/reset", "", nil)
	foreign := other.create("foreign", "Owner", "")
	owner := s.create("another-owner", "Owner", "")
	forRegistries := s.token(owner, "https://containerregistry.azure.net")
	reader := s.token(s.create("another-reader", "Reader", ""), s.URL())
	_, answer := s.do(basic(s.Operator(), s.Password), "POST", s.here(registry)+"/generateCredentials"+version, s.here(bodies["POST /generateCredentials"]))
	known := len(secrets)
	if learn(answer); len(secrets) != known+2 {
		t.Fatalf("no passwords of the repository-scoped token: %s", answer)
	}
	ofToken := secrets[known]
	parts, ofOwner := strings.Split(reader, "."), strings.Split(s.token(owner, s.URL()), ".")
	secrets = append(secrets, gone.Password, renewed.Password, owner.Password, foreign.Password, tokenOfGone, tokenOfRenewed, forRegistries, reader)
	for _, who := range []caller{
		{"anonymous", func(*http.Request) {}},
		{"an expired token", bearer(expired)},
		{"another server's token", bearer(other.token(foreign, other.URL()))},
		{"another server's account", basic(foreign.AppID, foreign.Password)},
		{"a token for registries", bearer(forRegistries)},
		{"a token of a deleted account", bearer(tokenOfGone)},
		{"a deleted account", basic(gone.AppID, gone.Password)},
		{"a token of an old password", bearer(tokenOfRenewed)},
		{"an old password", basic(renewed.AppID, renewed.Password)},
		{"another's claims under one's signature", bearer(parts[0] + "." + ofOwner[1] + "." + parts[2])},
		{"a wrong password", basic(owner.AppID, foreign.Password)},
		{"the operator's name with a wrong password", basic(s.Operator(), foreign.Password)},
		{"no account", basic("somebody", "something")},
		{"the admin user", basic("contoso", adminPassword())},
		{"a repository-scoped token", basic("ci-push", ofToken)},
	} {
		var first string
		for _, rt := range arm.RoutesForTest() {
			for _, there := range []bool{true, false} {
				for _, way := range ways(rt, s.listener, there) {
					status, answer := s.do(who.with, way.Method, s.here(way.target), s.here(way.body))
					if status != http.StatusUnauthorized || leaks(answer, append(hidden, secrets...)) != "" {
						t.Errorf("%s: %s %s: %d %s", who.name, way.Method, way.target, status, answer)
					}
					if way.Method == http.MethodHead {
						continue
					}
					if first == "" {
						first = answer
					}
					if answer != first {
						t.Errorf("%s: %s %s is told apart: %s\nelsewhere: %s", who.name, way.Method, way.target, answer, first)
					}
				}
			}
		}
	}

	text := s.log()
	if !strings.Contains(text, "action=Microsoft.ContainerRegistry/registries/listCredentials/action") {
		t.Errorf("the log says nothing of who read passwords:\n%s", text)
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}
