package app_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// auditLog returns the newest entries of the audit log, newest first, as lines.
func (r *running) auditLog(query string) (lines []string) {
	r.t.Helper()
	status, _, answer := r.do("GET", "/api/v1/auditLog"+query, nil, r.asOperator)
	var log struct {
		Value []struct {
			Actor, ActorKind, Client, Action, Outcome, Detail, ResourceID, Registry string
			Count                                                                   int
		}
	}
	if err := json.Unmarshal(answer, &log); err != nil || status != http.StatusOK {
		r.t.Fatalf("%d %s", status, answer)
	}
	for _, e := range log.Value {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s %q %s x%d", e.ActorKind, e.Actor, e.Client, strings.TrimPrefix(e.Action, "Microsoft.ContainerRegistry/"), e.Outcome, e.Detail, e.Registry, e.Count))
	}
	return lines
}

// TestLoginFailuresAreOnRecord: each once, with its number, and nothing that could
// be a password.
func TestLoginFailuresAreOnRecord(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s, first := startSelfSigned(t, data)
	s.push("app", "v1")
	puller := s.servicePrincipal("POST", "", `{"displayName":"puller","roleAssignments":[{"role":"AcrPull"}]}`)
	service := "dockbell.dockbell.localhost:" + strings.TrimPrefix(s.Addr().String(), "127.0.0.1:")
	_, token := s.form("/oauth2/token", "access_token", "grant_type", "password", "service", service,
		"username", puller.AppID, "password", puller.Password, "scope", "repository:app:pull")
	parts := strings.Split(token, ".")
	forged := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"dockbell"}`)) + "." + parts[2]
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	for _, x := range []struct {
		path string
		as   func(*http.Request)
	}{
		{"/v2/", basic(s.Operator(), "hunter2")},
		{"/v2/", basic(s.Operator(), "hunter3")},
		{"/v2/", basic("hunter2 in the wrong field", "")},
		{"/v2/", basic("and\nhunter3", "")},
		{"/v2/app/manifests/v1", field("Authorization", "Bearer "+forged)},
		{"/v2/app/manifests/v1", basic("00000000-0000-0000-0000-000000000000", forged)},
		{"/api/v1/registries", basic(puller.AppID, "hunter2")},
		{"/api/v1/registries", field("Authorization", "Bearer "+token)},
	} {
		if status, _, answer := s.do("GET", x.path, nil, x.as); status != http.StatusUnauthorized {
			t.Fatalf("%s: %d %s", x.path, status, answer)
		}
	}
	for path, form := range map[string][]string{
		"/oauth2/exchange":                    {"grant_type", "access_token", "access_token", forged},
		"/" + puller.Tenant + "/oauth2/token": {"grant_type", "client_credentials", "client_id", puller.AppID, "client_secret", "hunter2", "scope", s.URL() + "/.default"},
	} {
		if status, _ := s.form(path, "error", form...); status != http.StatusUnauthorized {
			t.Fatalf("%s: %d", path, status)
		}
	}
	if lines := s.auditLog("?action=login/failed"); len(lines) != 0 {
		t.Errorf("written at once: %q", lines)
	}
	s.stop()

	s, told := startSelfSigned(t, data)
	got := append(s.auditLog("?action=login/failed"), s.auditLog("?action=registries/login/failed")...)
	want := map[string]bool{
		`Application ` + puller.AppID + ` 127.0.0.1 login/failed refused "wrong password"  x2`:               true,
		`Anonymous  127.0.0.1 login/failed refused "token of this server for something else"  x1`:            true,
		`User dockbell 127.0.0.1 registries/login/failed refused "wrong password" dockbell x2`:               true,
		`Anonymous  127.0.0.1 registries/login/failed refused "wrong password" dockbell x2`:                  true,
		`Anonymous  127.0.0.1 registries/login/failed refused "token not signed by this server" dockbell x3`: true,
	}
	for _, line := range got {
		if !want[line] {
			t.Errorf("on record: %s", line)
		}
		delete(want, line)
	}
	for line := range want {
		t.Errorf("not on record: %s", line)
	}
	if text := strings.Join(append(s.auditLog(""), first.String(), told.String()), "\n"); strings.Contains(text, "hunter") || strings.Contains(text, parts[2]) {
		t.Errorf("a secret is on record:\n%s", text)
	}
}

// TestRevokedKeyEndsPulls goes from a revocation to the refusal of what was signed
// before, and to the keys that others verify by.
func TestRevokedKeyEndsPulls(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	digest := s.push("app", "v1")
	service := "dockbell.dockbell.localhost:" + strings.TrimPrefix(s.Addr().String(), "127.0.0.1:")
	get := func() string {
		t.Helper()
		_, token := s.form("/oauth2/token", "access_token", "grant_type", "password", "service", service,
			"username", s.Operator(), "password", s.Password, "scope", "repository:app:pull")
		return token
	}
	pull := func(token string) int {
		status, _, _ := s.do("GET", "/v2/app/manifests/"+digest, nil, field("Authorization", "Bearer "+token))
		return status
	}
	keys := func() int {
		t.Helper()
		_, _, answer := s.do("GET", "/adfs/discovery/keys", nil)
		var set struct{ Keys []struct{ Kid string } }
		if err := json.Unmarshal(answer, &set); err != nil {
			t.Fatalf("%v in %s", err, answer)
		}
		return len(set.Keys)
	}
	token := get()
	if status, _, answer := s.do("POST", "/api/v1/signingKeys/rotate", nil, s.asOperator); status != http.StatusCreated || keys() != 2 || pull(token) != http.StatusOK {
		t.Errorf("rotate: %d %s, %d keys, a pull comes to %d", status, answer, keys(), pull(token))
	}
	if status, _, answer := s.do("POST", "/api/v1/signingKeys/rotate", []byte(`{"revoke":true}`), s.asOperator); status != http.StatusCreated || keys() != 1 {
		t.Errorf("revoke: %d %s, %d keys", status, answer, keys())
	}
	if status := pull(token); status != http.StatusUnauthorized {
		t.Errorf("a pull with a token of a revoked key comes to %d", status)
	}
	if status := pull(get()); status != http.StatusOK {
		t.Errorf("a pull with a token of the new key comes to %d", status)
	}
}
