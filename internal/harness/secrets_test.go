package harness_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/harness"
)

// TestNoSecretsOnRecord has every kind of password and token made, used, mistyped,
// put into the wrong place and replaced, on a server that logs everything. None
// is in its log, in the audit log, in an answer that is not meant to have it, or
// in the clear in its database.
func TestNoSecretsOnRecord(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := harness.Start(t, data, "--log-level", "debug", "--allow-destinations", "127.0.0.0/8")
	const registry = "/api/v1/registries/dockbell"
	secrets := map[string]string{"the operator's password": harness.Password}
	var answers bytes.Buffer // those that show no secret

	send := func(method, path string, body string, as func(*http.Request)) (int, []byte) {
		t.Helper()
		req, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		as(req)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, answer
	}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	field := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", value) }
	}
	operator := basic("dockbell", harness.Password)
	form := func(path, member string, values url.Values) string {
		t.Helper()
		status, body := send("POST", path, values.Encode(), func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") })
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		var answer map[string]any
		decode(t, body, &answer)
		return answer[member].(string)
	}
	// quiet sends a request whose answer must not show anything, whatever it is.
	quiet := func(method, path, body string, as func(*http.Request)) {
		t.Helper()
		_, answer := send(method, path, body, as)
		answers.Write(answer)
	}

	// Everything there is, made and used.
	people := append(accounts(t, s), repositoryToken(t, s)...)
	for _, c := range people {
		secrets["the password of "+c.kind] = c.password
		secrets["the access token of "+c.kind] = accessTokenFor(t, s, c, "repository:team/app:*")
	}
	program := people[2]
	var tenants struct{ Value []struct{ TenantID string } }
	decode(t, s.Must(http.StatusOK, "GET", "/tenants?api-version=2022-12-01", nil, nil), &tenants)
	bearer := form("/"+tenants.Value[0].TenantID+"/oauth2/v2.0/token", "access_token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {program.user}, "client_secret": {program.password}, "scope": {s.URL + "/.default"}})
	refresh := form("/oauth2/exchange", "refresh_token", url.Values{"grant_type": {"access_token"}, "access_token": {bearer}})
	secrets["a bearer token"], secrets["a refresh token"] = bearer, refresh
	secrets["an access token of a refresh token"] = form("/oauth2/token", "access_token", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "scope": {"repository:team/app:pull"}})
	secrets["a custom header"], secrets["a token in an address"] = "header-s3cret", "address-s3cret"
	s.Must(http.StatusCreated, "PUT", registry+"/webhooks/secrethook", nil, fmt.Appendf(nil,
		`{"location":"local","properties":{"serviceUri":"http://127.0.0.1:1/hook?key=%s","customHeaders":{"Authorization":"Bearer %s"},"actions":["push","delete"]}}`,
		secrets["a token in an address"], secrets["a custom header"]))
	var rotated struct{ SigningSecret string }
	decode(t, s.Must(http.StatusOK, "POST", registry+"/webhooks/secrethook/rotateSecret", nil, nil), &rotated)
	secrets["a signing secret"] = rotated.SigningSecret
	send("POST", registry+"/webhooks/secrethook/getCallbackConfig", "", operator)
	if err := s.PushBlob(t.Context(), "team/app", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	s.Must(http.StatusCreated, "PUT", "/v2/team/app/manifests/v1", harness.ManifestType, harness.Manifest("secret"))
	s.Must(http.StatusAccepted, "DELETE", "/v2/team/app/manifests/"+harness.Digest(harness.Manifest("secret")), nil, nil)

	s.Must(http.StatusOK, "POST", registry+"/regenerateCredential", nil, []byte(`{"name":"password"}`))
	var owner struct{ AppID, Password string }
	decode(t, s.Must(http.StatusCreated, "POST", "/api/v1/servicePrincipals", nil, []byte(`{"displayName":"owner","roleAssignments":[{"role":"Owner"}]}`)), &owner)
	secrets["the password of an owner"] = owner.Password

	// Used where they count, mistyped, and put where they do not belong.
	for what, secret := range secrets {
		for _, path := range []string{"/v2/", "/v2/team/app/manifests/v1", registry + "/webhooks", "/acr/v1/_catalog", "/oauth2/token?scope=repository:team/app:pull"} {
			for _, as := range []func(*http.Request){
				basic("dockbell", secret), basic("dockbell", secret+"x"), basic(secret, "x"), basic("00000000-0000-0000-0000-000000000000", secret),
				basic(program.user, secret), field("Bearer " + secret), field("Basic " + secret), field(secret), field("Negotiate " + secret),
				field("Basic " + base64.StdEncoding.EncodeToString([]byte(secret))),
			} {
				if what == "the operator's password" && strings.Contains(path, "token?") {
					continue // it is answered with a token of its own
				}
				status, answer := send("GET", path, "", as)
				if !strings.Contains(string(answer), "access_token") || status != http.StatusOK {
					answers.Write(answer)
				}
			}
		}
		quiet("GET", "/v2/?access_token="+url.QueryEscape(secret)+"&password="+url.QueryEscape(secret), "", func(*http.Request) {})
		quiet("POST", "/oauth2/token", url.Values{"grant_type": {"password"}, "username": {"dockbell"}, "password": {secret + "x"}}.Encode(), func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		})
		quiet("PATCH", registry+"/webhooks/secrethook", fmt.Sprintf(`{"properties":{"customHeaders":%q}}`, secret), operator)
	}
	for _, path := range []string{registry, registry + "/webhooks/secrethook", registry + "/tokens", registry + "/scopeMaps", registry + "/auditLog", "/api/v1/auditLog", "/api/v1/servicePrincipals"} {
		quiet("GET", path, "", basic(owner.AppID, owner.Password)) // the operator has mistyped too often
	}
	s.Stop()

	log := s.Log()
	if !strings.Contains(log, "msg=audit") {
		t.Fatalf("the log says little:\n%.2000s", log)
	}
	places := map[string]string{"the log": log, "an answer": answers.String()}
	files, err := filepath.Glob(filepath.Join(data, "dockbell.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no database: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		places[filepath.Base(file)] = string(content)
	}
	for what, secret := range secrets {
		if len(secret) < 10 {
			t.Fatalf("%s is %q", what, secret)
		}
		for place, text := range places {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s is in %s: …%.200q", what, place, text[max(0, i-100):])
			}
		}
	}
}

// repositoryToken makes a repository-scoped token of the default registry.
func repositoryToken(t testing.TB, s *harness.Server) []credentials {
	t.Helper()
	const registry = "/api/v1/registries/dockbell"
	s.Must(http.StatusCreated, "PUT", registry+"/tokens/ci-pull", nil, []byte(`{"properties":{"scopeMapId":"`+registry+`/scopeMaps/_repositories_pull"}}`))
	var made struct{ Passwords []struct{ Value string } }
	decode(t, s.Must(http.StatusOK, "POST", registry+"/generateCredentials", nil, []byte(`{"tokenId":"`+registry+`/tokens/ci-pull","name":"password1"}`)), &made)
	return []credentials{{"repository-token", "ci-pull", made.Passwords[0].Value}}
}
