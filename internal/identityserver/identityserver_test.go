package identityserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/seal"
	"github.com/dockbell/dockbell/internal/sqldb"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	operator     = "dockbell"
	password     = "correct horse"
	subscription = "/subscriptions/00000000-0000-0000-0000-000000000001"
	contoso      = subscription + "/resourceGroups/dockbell/providers/Microsoft.ContainerRegistry/registries/contoso"
	fabrikam     = subscription + "/resourceGroups/dockbell/providers/Microsoft.ContainerRegistry/registries/fabrikam"
	tenant       = "00000000-0000-0000-0000-00000000000f"
)

// service is the handler under test, and what it stands on. It is reached as
// https://localhost:5000.
type service struct {
	t         testing.TB
	handler   http.Handler
	authority *auth.Authority
	audit     *audit.Log
	db        *sqldb.DB
	log       *bytes.Buffer
}

func newService(t testing.TB) *service {
	t.Helper()
	db, err := sqldb.Open(t.Context(), sqldb.Config{Path: filepath.Join(t.TempDir(), "dockbell.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
		_, err := tx.Exec("INSERT INTO setting (name, value) VALUES ('tenant', $1)", tenant)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.New(bytes.Repeat([]byte{7}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, db: db, log: &bytes.Buffer{}}
	s.authority, err = auth.Open(t.Context(), auth.Options{DB: db, Key: key, Ours: func(host string) bool { return host == "localhost:5000" }})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.authority.EnsureOperator(t.Context(), operator, password); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.audit = audit.New(audit.Options{DB: db, Log: log})
	s.handler = New(Config{
		Authority: s.authority,
		Audit:     s.audit,
		Resolve: func(r *http.Request) (auth.Registry, error) {
			if r.Host != "localhost:5000" {
				return auth.Registry{}, errors.New("the disk is on fire")
			}
			return auth.Registry{ID: 1, Name: "contoso", ResourceID: contoso, Service: "contoso.example", Realm: "https://localhost:5000"}, nil
		},
		Scopes: func() []string { return []string{subscription, contoso, fabrikam} },
		Suffix: func() string { return ".dockbell.localhost:5000" },
		Log:    log,
	})
	return s
}

// TestChangesAreOnRecord: each once, whatever comes of it, and nobody's wish to read.
func TestChangesAreOnRecord(t *testing.T) {
	t.Parallel()
	s := newService(t)
	boss := as(operator, password)
	made := s.create("ci", "Reader", "", boss)
	reader := as(made.AppID, made.Password)
	const actions = "Microsoft.ContainerRegistry/servicePrincipals/"
	var want []string
	for _, x := range []struct {
		method, path, body string
		as                 func(*http.Request)
		entry              string // nothing: none
	}{
		{"GET", "", "", boss, ""},
		{"GET", "/ci", "", boss, ""},
		{"PUT", "/ci", "", boss, ""},
		{"POST", "", `{"displayName":"s3cret!","roleAssignments":[]}`, boss, "User dockbell write failed " + Root},
		{"POST", "", `{"displayName": s3cret`, boss, "User dockbell write failed " + Root},
		{"POST", "", `{"displayName":"other","roleAssignments":[{"role":"Owner"}]}`, reader, "Application ci write refused " + Root},
		{"POST", "/ci/reset", "", reader, "Application ci resetPassword/action refused " + Root + "/ci"},
		{"DELETE", "/ci", "", reader, "Application ci delete refused " + Root + "/ci"},
		{"DELETE", "/nosuch", "", boss, "User dockbell delete failed " + Root + "/nosuch"},
		{"POST", "/ci/reset", "", boss, "User dockbell resetPassword/action succeeded " + Root + "/" + made.AppID},
		{"DELETE", "/CI", "", boss, "User dockbell delete succeeded " + Root + "/" + made.AppID},
		{"DELETE", "/ci", "", as("hunter2", "hunter2"), "Anonymous  delete refused " + Root + "/ci"},
	} {
		s.do(x.method, Root+x.path, x.body, x.as)
		if x.entry != "" {
			want = append(want, x.entry)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	s.audit.Run(ended) // which writes what was counted
	entries, _, err := s.audit.Entries(t.Context(), audit.Filter{}, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range slices.Backward(entries[:len(entries)-1]) { // but the first, of the account made above
		got = append(got, fmt.Sprintf("%s %s %s %s %s", e.ActorKind, e.Actor, strings.TrimPrefix(e.Action, actions), e.Outcome, e.Resource))
		if text := fmt.Sprint(e); strings.Contains(text, "s3cret") || strings.Contains(text, "hunter2") || strings.Contains(text, made.Password) {
			t.Errorf("a secret is on record: %s", text)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// into decodes the body.
func (a answer) into(t testing.TB, out any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), out); err != nil {
		t.Fatalf("%v in %s", err, a)
	}
}

func (s *service) do(method, path, body string, change ...func(*http.Request)) answer {
	s.t.Helper()
	r, err := http.NewRequest(method, "https://localhost:5000", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(path, "?")
	r.RemoteAddr, r.TLS = "192.0.2.1:1", &tls.ConnectionState{}
	for _, c := range change {
		c(r)
	}
	if !Serves(r.URL.Path) {
		s.t.Fatalf("%s is not served", r.URL.Path)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func as(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func asForm(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }

// token asks for a token with a form of key=value pairs.
func (s *service) token(path string, pairs ...string) answer {
	s.t.Helper()
	form := url.Values{}
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		form.Add(key, value)
	}
	return s.do("POST", path, form.Encode(), asForm)
}

// create makes a service principal as someone, and returns it.
func (s *service) create(name, role, scope string, who func(*http.Request)) principalBody {
	s.t.Helper()
	a := s.do("POST", Root, fmt.Sprintf(`{"displayName":%q,"roleAssignments":[{"role":%q,"scope":%q}]}`, name, role, scope), who)
	var p principalBody
	if a.into(s.t, &p); a.status != http.StatusCreated || p.Password == "" {
		s.t.Fatal(a)
	}
	return p
}

// TestDocuments compares what tools read before they log in.
func TestDocuments(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for file, path := range map[string]string{
		"discovery-adfs.json":   "/adfs/.well-known/openid-configuration",
		"discovery-v2.json":     "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"discovery-tenant.json": "/" + tenant + "/.well-known/openid-configuration",
		"metadata-2015.json":    "/metadata/endpoints?api-version=2015-01-01",
		"metadata-2019.json":    "/metadata/endpoints?api-version=2019-05-01",
	} {
		got := s.do("GET", path, "")
		if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s: %s", path, got)
			continue
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(got.body), "", "  "); err != nil {
			t.Fatal(err)
		}
		file = filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(file, indented.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if indented.String() != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", path, &indented, want)
		}
	}
	// A client without TLS is told what it can reach.
	plain := s.do("GET", "/adfs/.well-known/openid-configuration", "", func(r *http.Request) { r.TLS = nil })
	if !strings.Contains(plain.body, `"token_endpoint":"http://localhost:5000/adfs/oauth2/token"`) {
		t.Error(plain)
	}
	// What the documents name exists.
	for _, path := range []string{"/adfs/discovery/keys", "/" + tenant + "/discovery/v2.0/keys"} {
		if got := s.do("GET", path, ""); got.status != http.StatusOK || !strings.HasPrefix(got.body, `{"keys":[{"use":"sig","kty":"EC"`) {
			t.Errorf("%s: %s", path, got)
		}
	}
	for _, path := range []string{"/adfs/oauth2/authorize", "/" + tenant + "/oauth2/v2.0/authorize"} {
		if got := s.do("GET", path, ""); got.status != http.StatusBadRequest || !strings.Contains(got.body, "az login --service-principal") {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	s := newService(t)
	p := s.create("ci", "Contributor", "", as(operator, password))
	good := []string{
		"client_id=" + p.AppID, "client_secret=" + p.Password, "grant_type=client_credentials", "client_info=1",
		"scope=https://localhost:5000//.default", `claims={"access_token":{"xms_cc":{"values":["CP1"]}}}`,
	}
	with := func(pairs ...string) []string { return append(append([]string{}, good[:3]...), pairs...) }
	control := func(r *http.Request) (auth.Principal, error) {
		return s.authority.AuthenticateControl(r, auth.Registry{})
	}
	for _, tt := range []struct {
		name    string
		got     answer
		aud     string
		control bool
	}{
		{"az", s.token("/adfs/oauth2/token", good...), "https://localhost:5000/", true},
		{"Go SDK", s.token("/"+tenant+"/oauth2/v2.0/token", with("scope=https://localhost:5000/.default openid offline_access profile")...), "https://localhost:5000", true},
		{"tenant in upper case", s.token("/"+strings.ToUpper(tenant)+"/oauth2/v2.0/token", with("scope=https://localhost:5000/.default")...), "https://localhost:5000", true},
		{"data plane", s.token("/adfs/oauth2/token", with("scope=https://containerregistry.azure.net/.default")...), "https://containerregistry.azure.net", false},
		{"secret in the field", s.do("POST", "/adfs/oauth2/token", "grant_type=client_credentials&scope=https://localhost:5000/.default", asForm, as(p.AppID, p.Password)), "https://localhost:5000", true},
		{"operator", s.token("/adfs/oauth2/token", "grant_type=client_credentials", "client_id="+operator, "client_secret="+password, "scope=https://localhost:5000/.default"), "https://localhost:5000", true},
		{"operator in the field", s.do("POST", "/adfs/oauth2/token", "grant_type=client_credentials&scope=https://localhost:5000/.default", asForm, as(operator, url.QueryEscape(password))), "https://localhost:5000", true},
	} {
		var body map[string]any
		tt.got.into(t, &body)
		token, _ := body["access_token"].(string)
		if tt.got.status != http.StatusOK || len(body) != 3 || body["token_type"] != "Bearer" || body["expires_in"] != 3600.0 || tt.got.header.Get("Cache-Control") != "no-store" || tt.got.header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %s %v", tt.name, tt.got, tt.got.header)
			continue
		}
		if aud := claim(t, token, "aud"); aud != tt.aud {
			t.Errorf("%s is for %v, want %s", tt.name, aud, tt.aud)
		}
		r := httptest.NewRequest("GET", "/subscriptions", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if _, err := control(r); tt.control != (err == nil) {
			t.Errorf("%s in the control plane: %v", tt.name, err)
		}
	}
}

// claim returns a claim of a token.
func claim(t *testing.T, token, name string) any {
	t.Helper()
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	plain, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(plain, &claims); err != nil {
		t.Fatal(err)
	}
	return claims[name]
}

func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	s := newService(t)
	p := s.create("ci", "Contributor", "", as(operator, password))
	const scope = "scope=https://localhost:5000/.default"
	id, secret, grant := "client_id="+p.AppID, "client_secret="+p.Password, "grant_type=client_credentials"
	ask := func(pairs ...string) answer { return s.token("/adfs/oauth2/token", pairs...) }
	for _, tt := range []struct {
		name   string
		got    answer
		status int
		code   string
		text   string
	}{
		{"wrong secret", ask(id, "client_secret=x", grant, scope), 401, "invalid_client", "the password of service principal " + p.AppID + " is wrong"},
		{"unknown client", ask("client_id=00000000-0000-0000-0000-00000000000a", secret, grant, scope), 401, "invalid_client", "or there is none of this id"},
		{"unknown user", ask("client_id=someone", secret, grant, scope), 401, "invalid_client", "the user name or the password is wrong"},
		{"no secret", ask(id, grant, scope), 401, "invalid_client", "no client_secret"},
		{"no client", ask(secret, grant, scope), 400, "invalid_request", "no client_id"},
		{"no grant", ask(id, secret, scope), 400, "invalid_request", "no grant_type"},
		{"another grant", ask(id, secret, "grant_type=device_code", scope), 400, "unsupported_grant_type", "use client_credentials"},
		{"no scope", ask(id, secret, grant), 400, "invalid_request", "no scope"},
		{"only scopes about people", ask(id, secret, grant, "scope=openid profile"), 400, "invalid_request", "no scope"},
		{"two resources", ask(id, secret, grant, scope+" https://containerregistry.azure.net/.default"), 400, "invalid_scope", "does not name one resource"},
		{"no resource", ask(id, secret, grant, "scope=/.default"), 400, "invalid_scope", "does not name one resource"},
		{"not all of a resource", ask(id, secret, grant, "scope=https://localhost:5000/user_impersonation"), 400, "invalid_scope", "write it like https://HOST/.default"},
		{"another resource", ask(id, secret, grant, "scope=https://management.azure.com//.default"), 400, "invalid_scope", "no token is given for the resource 'https://management.azure.com/'"},
		{"twice", ask(id, id, secret, grant, scope), 400, "invalid_request", "more than once"},
		{"secret twice", s.do("POST", "/adfs/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_secret": {p.Password}}.Encode(), asForm, as(p.AppID, p.Password)), 400, "invalid_request", "named twice"},
		{"two clients", s.do("POST", "/adfs/oauth2/token", "grant_type=client_credentials&client_id=x", asForm, as(p.AppID, p.Password)), 400, "invalid_request", "named twice"},
		{"no Basic", s.do("POST", "/adfs/oauth2/token", "grant_type=client_credentials", asForm, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }), 401, "invalid_client", "the Authorization field is not valid"},
		{"unknown tenant", s.token("/contoso.onmicrosoft.example/oauth2/v2.0/token", id, secret, grant, scope), 400, "invalid_request", "there is no tenant contoso.onmicrosoft.example: this server's is " + tenant},
		{"unknown tenant's document", s.do("GET", "/common/v2.0/.well-known/openid-configuration", ""), 400, "invalid_request", "there is no tenant common"},
		{"unknown tenant's keys", s.do("GET", "/common/discovery/v2.0/keys", ""), 400, "invalid_request", "there is no tenant common"},
		{"in the query", s.do("POST", "/adfs/oauth2/token?"+strings.Join([]string{id, secret, grant, scope}, "&"), "", asForm), 400, "invalid_request", "no grant_type"},
		{"JSON", s.do("POST", "/adfs/oauth2/token", "{}", func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }), 400, "invalid_request", "no grant_type"},
		{"no form", s.do("POST", "/adfs/oauth2/token", "%", asForm), 400, "invalid_request", "no form"},
		{"a large form", s.do("POST", "/adfs/oauth2/token", "x="+strings.Repeat("x", maxForm), asForm), 400, "invalid_request", "at most 64 KiB"},
		{"method", s.do("GET", "/adfs/oauth2/token", ""), 405, "invalid_request", "GET is not offered here: use POST"},
		{"hostile words", ask(id, secret, "grant_type=\"\\\n\u00e9", scope), 400, "unsupported_grant_type", "grant_type '??? is not offered"},
	} {
		var body struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		tt.got.into(t, &body)
		if tt.got.status != tt.status || body.Error != tt.code || !strings.Contains(body.Description, tt.text) || tt.got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s\nwant %d %s …%s…", tt.name, tt.got, tt.status, tt.code, tt.text)
		}
		if strings.Contains(tt.got.body, p.Password) {
			t.Errorf("%s: the secret comes back", tt.name)
		}
	}
	wrong := s.do("POST", "/adfs/oauth2/token", "grant_type=client_credentials&"+scope, asForm, as(p.AppID, "x"))
	if wrong.status != http.StatusUnauthorized || wrong.header.Get("WWW-Authenticate") != `Basic realm="https://localhost:5000"` {
		t.Errorf("wrong Basic: %s %v", wrong, wrong.header)
	}
	for i := range 12 {
		wrong = ask(id, fmt.Sprint("client_secret=wrong", i), grant, scope)
	}
	if wrong.status != http.StatusTooManyRequests || wrong.header.Get("Retry-After") == "" || !strings.Contains(wrong.body, `"temporarily_unavailable"`) {
		t.Errorf("after many: %s %v", wrong, wrong.header)
	}
}

func TestServicePrincipals(t *testing.T) {
	t.Parallel()
	s := newService(t)
	boss := as(operator, password)
	ci := s.create("ci-build", "acrpush", strings.ToUpper(contoso)+"/", boss)
	want := fmt.Sprintf(`{"appId":%q,"displayName":"ci-build","tenant":%q,"createdAt":%q,"passwordCreatedAt":%[3]q,"roleAssignments":[{"role":"AcrPush","scope":%q}]}`,
		ci.AppID, tenant, ci.CreatedAt.Format("2006-01-02T15:04:05.999999999Z07:00"), contoso)
	for _, name := range []string{"ci-build", "CI-BUILD", ci.AppID} {
		if got := s.do("GET", Root+"/"+name, "", boss); got.status != http.StatusOK || strings.TrimSpace(got.body) != want {
			t.Errorf("show %s: %s\nwant %s", name, got, want)
		}
	}
	everywhere := s.create("root", "Owner", "", boss)
	if everywhere.Roles[0].Scope != subscription {
		t.Errorf("without a scope: %+v", everywhere.Roles)
	}

	// Who may give roles in a scope manages those who have roles only there.
	owner := s.create("owner", "Owner", contoso, boss)
	byOwner := as(owner.AppID, owner.Password)
	if got := names(t, s.do("GET", Root, "", byOwner)); got != "ci-build owner" {
		t.Errorf("the owner of contoso sees %s", got)
	}
	if got := names(t, s.do("GET", strings.ToUpper(Root)+"/", "", as(everywhere.AppID, everywhere.Password))); got != "ci-build owner root" {
		t.Errorf("the owner of all sees %s", got)
	}
	made := s.create("made-by-owner", "AcrPull", contoso, byOwner)
	reset := s.do("POST", Root+"/ci-build/reset", "", byOwner)
	var again principalBody
	reset.into(t, &again)
	if reset.status != http.StatusOK || again.AppID != ci.AppID || again.Password == "" || again.Password == ci.Password {
		t.Errorf("reset: %s", reset)
	}
	for _, tt := range []struct {
		name   string
		got    answer
		status int
		code   string
		text   string
	}{
		{"no credentials", s.do("GET", Root, ""), 401, "AuthenticationFailed", "authentication required"},
		{"wrong password", s.do("POST", Root, "{}", as(operator, "x")), 401, "AuthenticationFailed", "is wrong"},
		{"roles in another scope", s.do("POST", Root, body("x", "AcrPull", fabrikam), byOwner), 403, "AuthorizationFailed", "owner may not give roles in " + fabrikam},
		{"roles everywhere", s.do("POST", Root, body("x", "AcrPull", ""), byOwner), 403, "AuthorizationFailed", "owner may not give roles in " + subscription},
		{"by one who pulls", s.do("POST", Root, body("x", "AcrPull", contoso), as(made.AppID, made.Password)), 403, "AuthorizationFailed", "may not give roles"},
		{"reset of a mightier one", s.do("POST", Root+"/root/reset", "", byOwner), 403, "AuthorizationFailed", "owner may not manage service principal root"},
		{"deletion of a mightier one", s.do("DELETE", Root+"/root", "", byOwner), 403, "AuthorizationFailed", "may not manage"},
		{"look at a mightier one", s.do("GET", Root+"/root", "", byOwner), 403, "AuthorizationFailed", "may not manage"},
		{"unknown", s.do("GET", Root+"/nobody", "", boss), 404, "ServicePrincipalNotFound", `there is no service principal "nobody"`},
		{"unknown path", s.do("GET", Root+"/root/secrets", "", boss), 404, "ResourceNotFound", "nothing is at"},
		{"name taken", s.do("POST", Root, body("CI-build", "AcrPull", ""), boss), 409, "Conflict", "exists already"},
		{"no name", s.do("POST", Root, body("", "AcrPull", ""), boss), 400, "InvalidRequest", "use 1 to 64 letters"},
		{"unknown role", s.do("POST", Root, body("x", "AcrPul", ""), boss), 400, "RoleDefinitionDoesNotExist", "did you mean AcrPull?"},
		{"no role", s.do("POST", Root, `{"displayName":"x"}`, boss), 400, "InvalidRequest", "has no role"},
		{"unknown scope", s.do("POST", Root, body("x", "AcrPull", contoso+"2"), boss), 400, "InvalidRequest", "there is no scope"},
		{"no JSON", s.do("POST", Root, "x", boss), 400, "InvalidRequestContent", "no JSON object"},
		{"too large", s.do("POST", Root, `{"displayName":"`+strings.Repeat("x", maxBody), boss), 413, "RequestContentTooLarge", "larger than 65536 bytes"},
		{"method", s.do("PUT", Root+"/root", "", boss), 405, "MethodNotAllowed", "PUT is not offered here: use GET or DELETE"},
		{"broken", s.do("GET", Root, "", boss, func(r *http.Request) { r.Host = "elsewhere" }), 500, "InternalServerError", "the server's log has the details"},
	} {
		var e struct {
			Error struct{ Code, Message string }
		}
		tt.got.into(t, &e)
		if tt.got.status != tt.status || e.Error.Code != tt.code || !strings.Contains(e.Error.Message, tt.text) {
			t.Errorf("%s: %s\nwant %d %s …%s…", tt.name, tt.got, tt.status, tt.code, tt.text)
		}
	}
	if got := s.do("DELETE", Root+"/made-by-owner", "", byOwner); got.status != http.StatusNoContent || got.body != "" {
		t.Errorf("delete: %s", got)
	}
	if got := s.do("GET", Root, "", as(made.AppID, made.Password)); got.status != http.StatusUnauthorized {
		t.Errorf("after its deletion: %s", got)
	}
	// Of a registry that is gone the roles are gone too; what is left is for the
	// Owners of everything.
	err := s.db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error { return s.authority.DropRoles(tx, strings.ToUpper(contoso)) })
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []func(*http.Request){byOwner, as(ci.AppID, again.Password)} {
		if got := names(t, s.do("GET", Root, "", who)); got != "" {
			t.Errorf("without roles one sees %s", got)
		}
	}
	if got := s.do("DELETE", Root+"/owner", "", boss); got.status != http.StatusNoContent {
		t.Errorf("the operator deletes one without roles: %s", got)
	}
	// Who did what is on record, and no secret.
	log := s.log.String()
	for _, line := range []string{"msg=audit actor=owner kind=Application client=192.0.2.1 action=Microsoft.ContainerRegistry/servicePrincipals/resetPassword/action resource=" + Root + "/" + ci.AppID, "the disk is on fire"} {
		if !strings.Contains(log, line) {
			t.Errorf("not logged: %s\n%s", line, log)
		}
	}
	for _, secret := range []string{password, ci.Password, again.Password, owner.Password, made.Password, everywhere.Password} {
		if strings.Contains(log, secret) {
			t.Errorf("a password is in the log:\n%s", log)
		}
		if list := s.do("GET", Root, "", boss); strings.Contains(list.body, secret) {
			t.Errorf("a password is in the list: %s", list)
		}
	}
}

func body(name, role, scope string) string {
	return fmt.Sprintf(`{"displayName":%q,"roleAssignments":[{"role":%q,"scope":%q}]}`, name, role, scope)
}

// names returns who is in a list.
func names(t *testing.T, a answer) string {
	t.Helper()
	var list struct{ Value []principalBody }
	a.into(t, &list)
	var names []string
	for _, p := range list.Value {
		names = append(names, p.DisplayName)
	}
	return strings.Join(names, " ")
}

func TestServes(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"/adfs": true, "/adfs/": true, "/adfs/x/y": true, "/adfs/oauth2/token": true,
		"/" + tenant + "/oauth2/v2.0/token":             true,
		"/common/v2.0/.well-known/openid-configuration": true,
		"/metadata/endpoints":                           true,
		"/Metadata/Endpoints":                           true,
		Root:                                            true,
		"/API/v1/serviceprincipals/x/reset":             true,
		"/":                                             false,
		"/adfsx":                                        false,
		"/oauth2/token":                                 false,
		"//oauth2/token":                                false,
		"/oauth2/exchange":                              false,
		"/api/v1/registries":                            false,
		"/api/v1/servicePrincipalsX":                    false,
		"/metadata":                                     false,
		"/" + tenant:                                    false,
		"/" + tenant + "/oauth2/v1.0/token":             false,
		"/subscriptions":                                false,
		"/x/" + tenant + "/v2.0/.well-known/openid-configuration": false,
	} {
		if got := Serves(path); got != want {
			t.Errorf("Serves(%q) = %t", path, got)
		}
	}
}

func FuzzServe(f *testing.F) {
	for _, seed := range [][3]string{
		{"POST", "/adfs/oauth2/token", "grant_type=client_credentials&client_id=x&client_secret=y&scope=https://localhost:5000/.default"},
		{"POST", "/adfs/oauth2/token", "grant_type=client_credentials&client_id=%&scope=;"},
		{"GET", "/x/v2.0/.well-known/openid-configuration", ""}, {"GET", "/metadata/endpoints", ""},
		{"POST", Root, `{"displayName":"x","roleAssignments":[{"role":"Owner","scope":"/"}]}`}, {"DELETE", Root + "/%2e%2e", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	s := newService(f)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if !Serves(path) {
			return
		}
		r := httptest.NewRequest("GET", "https://localhost:5000/", io.NopCloser(strings.NewReader(body)))
		r.Method, r.URL.Path, r.Host = method, path, "localhost:5000"
		asForm(r)
		as(operator, password)(r)
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if w.Code >= 500 || w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %q: %d %s", method, path, w.Code, w.Body)
		}
	})
}

func FuzzResourceOf(f *testing.F) {
	for _, s := range []string{"https://localhost:5000//.default", "https://localhost:5000/.default openid", "/.default", "a b", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, scope string) {
		resource, err := resourceOf(scope)
		if err == nil && (resource == "" || !strings.Contains(scope, resource+"/.default")) || err != nil && resource != "" {
			t.Fatalf("%q names %q, %v", scope, resource, err)
		}
	})
}
