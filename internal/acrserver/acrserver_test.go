package acrserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/chart"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
)

const (
	user     = "contoso"
	password = "correct horse"
)

// contoso is reached as registry.test; other hosts are not known.
var contoso = auth.Registry{ID: 1, Name: "contoso", ResourceID: "/subscriptions/s/registries/contoso", Service: "contoso.example:5000", Realm: "http://registry.test"}

// challenge is what wrong credentials are answered with.
const (
	challenge    = `Bearer realm="http://registry.test/oauth2/token",service="contoso.example:5000"`
	invalidToken = challenge + `,error="invalid_token"`
)

// service is the handler under test, and what it stands on.
type service struct {
	t          testing.TB
	handler    http.Handler
	authority  *auth.Authority
	log        *bytes.Buffer
	store      oci.Contents // what contoso holds, for whom nothing is forbidden
	chartStore *chart.Store
}

func newService(t testing.TB) *service {
	t.Helper()
	db, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(t.TempDir(), "dockbell.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	key, err := seal.New(bytes.Repeat([]byte{7}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, log: &bytes.Buffer{}}
	s.authority, err = auth.Open(t.Context(), auth.Options{DB: db, Key: key, Ours: func(host string) bool { return host == "registry.test" }})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.authority.EnsureOperator(t.Context(), user, password); err != nil {
		t.Fatal(err)
	}
	s.chartStore = openCharts(t, db)
	s.handler = New(Config{
		Charts: s.charts,
		Resolve: func(r *http.Request) (auth.Registry, error) {
			switch r.Host {
			case "registry.test":
				return contoso, nil
			case "broken.test":
				return auth.Registry{}, errors.New("the disk is on fire")
			}
			return auth.Registry{}, fault.New(fault.NotFound, "no registry is called %s", r.Host)
		},
		Authority: s.authority,
		Open:      s.contents(registry.Options{DB: db}),
		Log:       slog.New(slog.NewTextHandler(s.log, nil)),
	})
	return s
}

func (s *service) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func (s *service) get(query string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "http://registry.test/oauth2/token?"+query, nil)
	for _, c := range change {
		c(r)
	}
	return s.do(r)
}

func (s *service) post(path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "http://registry.test"+path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(r)
}

func withBasic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

// token returns the one member that a good answer has.
func (s *service) token(w *httptest.ResponseRecorder, member string) string {
	s.t.Helper()
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json; charset=utf-8" || w.Header().Get("Cache-Control") != "no-store" {
		s.t.Fatalf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	var answer map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer) != 1 || answer[member] == "" {
		s.t.Fatalf("not exactly %s: %s", member, w.Body)
	}
	return answer[member]
}

// allows returns what a token allows, as the next request would find it.
func (s *service) allows(token string) string {
	s.t.Helper()
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	id, err := s.authority.Authenticate(r, contoso)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprint(id.Name, id.Access)
}

func TestToken(t *testing.T) {
	t.Parallel()
	s := newService(t)
	refresh := s.refreshToken()
	access := s.token(s.get("scope=repository:x:pull", withBasic(user, password)), "access_token")
	const both = "contoso[repository:team/web:pull,push repository:base:pull]"
	for _, tt := range []struct {
		name string
		w    *httptest.ResponseRecorder
		want string
	}{
		{"docker login", s.get("account=contoso&client_id=docker&offline_token=true&service=contoso.example%3A5000", withBasic(user, password)), "contoso[]"},
		{"docker push", s.get("account=contoso&scope=repository%3Abase%3Apull&scope=repository%3Ateam%2Fweb%3Apush%2Cpull&service=contoso.example%3A5000", withBasic(user, password)),
			"contoso[repository:base:pull repository:team/web:pull,push]"},
		{"scopes divided by blanks", s.get("scope=repository:team/web:pull,push+repository:base:pull", withBasic(user, password)), both},
		{"service in another case", s.get("service=Contoso.Example:5000", withBasic(user, password)), "contoso[]"},
		{"skopeo after az acr login", s.get("scope=repository:x:pull", withBasic(auth.TokenUser, refresh)), "contoso[repository:x:pull]"},
		{"with an access token", s.get("scope=repository:x:pull,push", withBasic(auth.TokenUser, access)), "contoso[repository:x:pull]"},
		{"anonymous", s.get("scope=repository:x:pull"), "[]"},

		{"password grant", s.post("/oauth2/token", "grant_type=password&service=contoso.example:5000&username=contoso&password=correct+horse&scope=repository:team/web:pull,push&scope=repository:base:pull"), both},
		{"containerd", s.post("/oauth2/token", "client_id=containerd-client&grant_type=password&username=contoso&password=correct+horse&scope=repository:team/web:pull,push+repository:base:pull"), both},
		{"refresh grant", s.post("/oauth2/token", "grant_type=refresh_token&service=contoso.example:5000&scope=registry:catalog:*&refresh_token="+refresh), "contoso[registry:catalog:*]"},
		{"password grant with a token", s.post("/oauth2/token", "grant_type=password&scope=registry:catalog:*&username="+auth.TokenUser+"&password="+refresh), "contoso[registry:catalog:*]"},
		{"anonymous form", s.post("/oauth2/token", "grant_type=password&service=contoso.example:5000&scope=repository:x:pull&refresh_token="), "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := s.allows(s.token(tt.w, "access_token")); got != tt.want {
				t.Errorf("allows %s, want %s", got, tt.want)
			}
		})
	}
}

// refreshToken returns one as the identity authority's exchange would.
func (s *service) refreshToken() string {
	s.t.Helper()
	id, err := s.authority.Login(s.t.Context(), contoso, "192.0.2.1:1", user, password)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := s.authority.IssueRefresh(id, contoso)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func TestExchange(t *testing.T) {
	t.Parallel()
	s := newService(t)
	refresh := s.refreshToken()
	for _, grant := range []string{"refresh_token", "access_token_refresh_token"} {
		w := s.post("/oauth2/exchange", "grant_type="+grant+"&service=contoso.example:5000&tenant=t&access_token=x&refresh_token="+refresh)
		again := s.token(w, "refresh_token")
		w = s.post("/oauth2/token", "grant_type=refresh_token&scope=repository:x:pull&refresh_token="+again)
		if got := s.allows(s.token(w, "access_token")); got != "contoso[repository:x:pull]" {
			t.Errorf("%s: the new refresh token buys %s", grant, got)
		}
	}
}

// TestExchangeOfTheAuthoritysTokens is the way of az acr login: what a token of the
// identity authority buys depends on the role.
func TestExchangeOfTheAuthoritysTokens(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for role, want := range map[string]string{
		"AcrPull":   "[repository:x:pull,metadata_read registry:catalog:*]",
		"AcrPush":   "[repository:x:pull,push,metadata_read registry:catalog:*]",
		"AcrDelete": "[repository:x:delete]",
		"Reader":    "[repository:x:pull,metadata_read registry:catalog:*]",
		"Owner":     "[repository:x:pull,push,delete,metadata_read,metadata_write registry:catalog:*]",
	} {
		p, password, err := s.authority.CreatePrincipal(t.Context(), role, []auth.Assignment{{Role: role, Scope: contoso.ResourceID}})
		if err != nil {
			t.Fatal(err)
		}
		who, err := s.authority.LoginClient(t.Context(), "192.0.2.1:1", p.AppID, password)
		if err != nil {
			t.Fatal(err)
		}
		const scopes = "scope=repository:x:pull,push,delete,metadata_read,metadata_write&scope=registry:catalog:*"
		for _, resource := range []string{"https://registry.test/", "https://containerregistry.azure.net"} {
			token, err := s.authority.IssueBearer(who, "https://registry.test/adfs", resource)
			if err != nil {
				t.Fatal(err)
			}
			refresh := s.token(s.post("/oauth2/exchange", "grant_type=access_token&service=contoso.example:5000&tenant=t&access_token="+token), "refresh_token")
			access := s.token(s.post("/oauth2/token", "grant_type=refresh_token&service=contoso.example:5000&"+scopes+"&refresh_token="+refresh), "access_token")
			if got := s.allows(access); got != role+want {
				t.Errorf("%s for %s: %s, want %s", role, resource, got, want)
			}
			if w := s.post("/oauth2/token", "grant_type=refresh_token&"+scopes+"&refresh_token="+token); w.Code != http.StatusUnauthorized {
				t.Errorf("%s: the token passes for a refresh token: %d %s", role, w.Code, w.Body)
			}
		}
		// docker login -u appId -p password.
		for _, w := range []*httptest.ResponseRecorder{
			s.get(scopes, withBasic(p.AppID, password)),
			s.post("/oauth2/token", "grant_type=password&"+scopes+"&username="+p.AppID+"&password="+password),
		} {
			if got := s.allows(s.token(w, "access_token")); got != role+want {
				t.Errorf("%s with the password: %s, want %s", role, got, want)
			}
		}
	}
	p, password, err := s.authority.CreatePrincipal(t.Context(), "elsewhere", []auth.Assignment{{Role: "Owner", Scope: "/subscriptions/s/registries/fabrikam"}})
	if err != nil {
		t.Fatal(err)
	}
	who, err := s.authority.LoginClient(t.Context(), "192.0.2.1:1", p.AppID, password)
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.authority.IssueBearer(who, "https://registry.test/adfs", "https://registry.test")
	if err != nil {
		t.Fatal(err)
	}
	w := s.post("/oauth2/exchange", "grant_type=access_token&access_token="+token)
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "elsewhere has no role in registry contoso") {
		t.Errorf("a role in another registry: %d %s", w.Code, w.Body)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newService(t)
	access := s.token(s.get("", withBasic(user, password)), "access_token")
	refresh := s.refreshToken()
	at := func(method, target string) *httptest.ResponseRecorder {
		return s.do(httptest.NewRequest(method, target, nil))
	}
	for _, tt := range []struct {
		name      string
		w         *httptest.ResponseRecorder
		status    int
		code      string
		challenge string
		message   string // part of it
	}{
		{"wrong password", s.get("", withBasic(user, "wrong")), 401, oci.CodeUnauthorized, challenge, "admin-credentials"},
		{"wrong user", s.get("", withBasic("someone", password)), 401, oci.CodeUnauthorized, challenge, "password is wrong"},
		{"wrong token as password", s.get("", withBasic(auth.TokenUser, "x")), 401, oci.CodeUnauthorized, invalidToken, "token is not valid"},
		{"wrong password in a form", s.post("/oauth2/token", "grant_type=password&username=contoso&password=x"), 401, oci.CodeUnauthorized, challenge, "password is wrong"},
		{"no password in a form", s.post("/oauth2/token", "grant_type=password&username=contoso"), 401, oci.CodeUnauthorized, challenge, "password is wrong"},
		{"wrong refresh token", s.post("/oauth2/token", "grant_type=refresh_token&refresh_token=x"), 401, oci.CodeUnauthorized, invalidToken, "token is not valid"},
		{"no refresh token", s.post("/oauth2/token", "grant_type=refresh_token"), 401, oci.CodeUnauthorized, invalidToken, "token is not valid"},
		{"access token for a refresh token", s.post("/oauth2/token", "grant_type=refresh_token&refresh_token="+access), 401, oci.CodeUnauthorized, invalidToken, "token is not valid"},
		{"another authority's token", s.post("/oauth2/exchange", "grant_type=access_token&service=contoso.example:5000&access_token=eyJ.eyJ.x"), 401, oci.CodeUnauthorized, invalidToken, "token is not valid"},
		{"a refresh token for an authority's", s.post("/oauth2/exchange", "grant_type=access_token&access_token="+refresh), 401, oci.CodeUnauthorized, invalidToken, "token is not valid"},
		{"exchange of an access token", s.post("/oauth2/exchange", "grant_type=refresh_token&refresh_token="+access), 401, oci.CodeUnauthorized, invalidToken, "token is not valid"},
		{"credentials in the query", s.post("/oauth2/token?grant_type=password&username=contoso&password=correct+horse", ""), 400, oci.CodeUnsupported, "", "no grant_type"},

		{"no grant", s.post("/oauth2/token", "username=contoso"), 400, oci.CodeUnsupported, "", "send password or refresh_token"},
		{"unknown grant", s.post("/oauth2/token", "grant_type=authorization_code"), 400, oci.CodeUnsupported, "", `"authorization_code" is not offered here: use password or refresh_token`},
		{"unknown exchange", s.post("/oauth2/exchange", "grant_type=password"), 400, oci.CodeUnsupported, "", "use access_token or refresh_token"},
		{"another service", s.get("service=fabrikam.example", withBasic(user, password)), 400, oci.CodeUnsupported, "", `"fabrikam.example" is not the registry asked, which is contoso.example:5000`},
		{"another service in a form", s.post("/oauth2/token", "grant_type=password&service=fabrikam.example"), 400, oci.CodeUnsupported, "", "is not the registry asked"},
		{"another service to exchange", s.post("/oauth2/exchange", "grant_type=refresh_token&service=fabrikam.example&refresh_token="+refresh), 400, oci.CodeUnsupported, "", "is not the registry asked"},
		{"no scope", s.get("scope=x", withBasic(user, password)), 400, oci.CodeUnsupported, "", `scope "x" is not valid`},
		{"no repository", s.get("scope=repository:X:pull", withBasic(user, password)), 400, oci.CodeNameInvalid, "", `"X" is not valid`},
		{"no form", s.post("/oauth2/token", "%"), 400, oci.CodeUnsupported, "", "not a form"},
		{"a large form", s.post("/oauth2/token", "x="+strings.Repeat("x", maxForm)), 413, oci.CodeSizeInvalid, "", "larger than 262144 bytes"},

		{"method", at("DELETE", "http://registry.test/oauth2/token"), 405, oci.CodeUnsupported, "", "DELETE is not offered here: use GET, POST"},
		{"exchange by GET", at("GET", "http://registry.test/oauth2/exchange"), 405, oci.CodeUnsupported, "", "use POST"},
		{"path", at("GET", "http://registry.test/oauth2/authorize"), 404, oci.CodeNameUnknown, "", `nothing at "/oauth2/authorize"`},
		{"host", at("GET", "http://elsewhere.test/oauth2/token"), 404, oci.CodeNameUnknown, "", "no registry is called elsewhere.test"},
		{"broken", at("GET", "http://broken.test/oauth2/token"), 500, oci.CodeUnknown, "", "the server's log has the details"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body struct {
				Errors []struct{ Code, Message string }
			}
			if err := json.Unmarshal(tt.w.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 {
				t.Fatalf("%d %s: %v", tt.w.Code, tt.w.Body, err)
			}
			got := body.Errors[0]
			if tt.w.Code != tt.status || got.Code != tt.code || !strings.Contains(got.Message, tt.message) {
				t.Errorf("got  %d %s %s\nwant %d %s …%s…", tt.w.Code, got.Code, got.Message, tt.status, tt.code, tt.message)
			}
			if got := tt.w.Header().Get("Www-Authenticate"); got != tt.challenge {
				t.Errorf("challenge %s, want %s", got, tt.challenge)
			}
			if h := tt.w.Header(); h.Get("Content-Type") != "application/json; charset=utf-8" || h.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
				t.Errorf("header %v", h)
			}
		})
	}
	if w := at("PUT", "http://registry.test/oauth2/exchange"); w.Header().Get("Allow") != "POST" {
		t.Errorf("Allow: %q", w.Header().Get("Allow"))
	}
	if !strings.Contains(s.log.String(), "the disk is on fire") || strings.Contains(s.log.String(), password) {
		t.Errorf("logged: %s", s.log)
	}
}

func TestTooManyFailures(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for i := range 10 {
		if w := s.get("", withBasic(user, fmt.Sprint("wrong", i))); w.Code != http.StatusUnauthorized {
			t.Fatalf("failure %d: %d", i, w.Code)
		}
	}
	form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}}
	for _, w := range []*httptest.ResponseRecorder{s.get("", withBasic(user, password)), s.post("/oauth2/token", form.Encode())} {
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), oci.CodeTooManyRequests) {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
	}
}

func FuzzTokenForm(f *testing.F) {
	for _, s := range []string{"grant_type=password&scope=repository:x:pull", "grant_type=refresh_token&refresh_token=a.b.c", "scope=%", ";"} {
		f.Add(s, s)
	}
	s := newService(f)
	f.Fuzz(func(t *testing.T, query, form string) {
		if r, err := http.NewRequest("GET", "http://registry.test/oauth2/token", nil); err == nil {
			r.URL.RawQuery = query
			if w := s.do(r); w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Fatalf("GET %q: %d %s", query, w.Code, w.Body)
			}
		}
		for _, path := range []string{"/oauth2/token", "/oauth2/exchange"} {
			if w := s.post(path, form); w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Fatalf("POST %s %q: %d %s", path, form, w.Code, w.Body)
			}
		}
	})
}
