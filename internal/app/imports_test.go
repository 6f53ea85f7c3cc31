package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/event"
)

// TestImport copies images from a registry elsewhere, which is another server that
// wants a login, and from another registry of the same server; both are pushes.
func TestImport(t *testing.T) {
	t.Parallel()
	there := start(t, settings(t.TempDir()))
	digest := there.push("team/web", "1.0")
	data := t.TempDir()
	s := start(t, settings(data))
	s.must("PUT", "/api/v1/registries/fabrikam", `{"location":"local","sku":{"name":"Premium"}}`, nil)

	host := there.Addr().String()
	source := func(password string) string {
		return fmt.Sprintf(`{"registryUri":"http://%s","sourceImage":"team/web:1.0","credentials":{"username":%q,"password":%q}}`, host, there.Operator(), password)
	}
	post := func(registry, source, rest string, changes ...func(*http.Request)) (int, string, string) {
		t.Helper()
		if changes == nil {
			changes = []func(*http.Request){s.asOperator}
		}
		status, _, body := s.do("POST", "/api/v1/registries/"+registry+"/importImage", []byte(`{"source":`+source+rest+`}`), changes...)
		var failed struct{ Error struct{ Code string } }
		json.Unmarshal(body, &failed)
		return status, failed.Error.Code, string(body)
	}
	const tags = `,"targetTags":["base/web:1.0","base/web:stable"]`
	for _, tt := range []struct {
		source, rest string
		status       int
		code         string
	}{
		{source(there.Password), tags, 200, ""},
		{source(there.Password), tags, 409, "Conflict"},
		{source(there.Password), tags + `,"mode":"noforce"`, 409, "Conflict"},
		{source(there.Password), tags + `,"mode":"Force"`, 200, ""},
		{source(there.Password), `,"untaggedTargetRepositories":["bare"]`, 200, ""},
		{source("wr0ng"), tags + `,"mode":"Force"`, 400, "ImportSourceUnauthorized"},
		{source(there.Password), `,"mode":"Always"` + tags, 400, "InvalidRequestContent"},
		{source(there.Password), ``, 400, "InvalidImportTarget"},
		{`{"registryUri":"10.1.2.3","sourceImage":"a:1"}`, tags + `,"mode":"Force"`, 403, "ImportSourceRefused"},
		{`{"registryUri":"http://127.0.0.1:1","sourceImage":"a:1"}`, tags + `,"mode":"Force"`, 400, "ImportSourceUnavailable"},
		{`{"registryUri":"http://user:pass@x.example","sourceImage":"a:1"}`, tags, 400, "InvalidRequestContent"},
		{`{"registryUri":"ftp://x.example","sourceImage":"a:1"}`, tags, 400, "InvalidRequestContent"},
		{`{"sourceImage":"a:1"}`, tags, 400, "InvalidRequestContent"},
		{`{"resourceId":"/subscriptions/x","sourceImage":"a:1"}`, tags, 400, "ImportSourceNotFound"},
		{`{"resourceId":"` + s.registryID("fabrikam") + `","sourceImage":"a:1"}`, tags + `,"mode":"Force"`, 400, "ImportSourceNotFound"},
	} {
		status, code, body := post(s.Operator(), tt.source, tt.rest)
		if status != tt.status || code != tt.code || strings.Contains(body, there.Password) || strings.Contains(body, "wr0ng") {
			t.Errorf("%s%s: %d %s, want %d %s", tt.source, tt.rest, status, body, tt.status, tt.code)
		}
	}
	for _, ref := range []string{"base/web/manifests/1.0", "base/web/manifests/stable", "bare/manifests/" + digest} {
		if status, header, _ := s.do("GET", "/v2/"+ref, nil, s.asOperator); status != http.StatusOK || header.Get("Docker-Content-Digest") != digest {
			t.Errorf("%s: %d, digest %s", ref, status, header.Get("Docker-Content-Digest"))
		}
	}

	// From a registry of this server, by its id and by its login server, for those
	// who may pull there.
	own := `{"resourceId":"` + s.registryID(s.Operator()) + `","sourceImage":"base/web:1.0"}`
	var reg struct{ Properties struct{ LoginServer string } }
	s.must("GET", "/api/v1/registries/"+s.Operator(), "", &reg)
	byName := `{"registryUri":"` + reg.Properties.LoginServer + `","sourceImage":"base/web@` + digest + `"}`
	for i, source := range []string{own, byName} {
		if status, _, body := post("fabrikam", source, fmt.Sprintf(`,"targetTags":["web:%d"]`, i)); status != http.StatusOK {
			t.Errorf("%s: %d %s", source, status, body)
		}
		if status, header, _ := s.do("GET", fmt.Sprintf("/v2/web/manifests/%d", i), nil, s.asOperator, host2(reg.Properties.LoginServer, s.Operator(), "fabrikam")); status != http.StatusOK || header.Get("Docker-Content-Digest") != digest {
			t.Errorf("in fabrikam: %d", status)
		}
	}
	var ci struct{ AppID, Password string }
	s.must("POST", "/api/v1/servicePrincipals", `{"displayName":"ci-import","roleAssignments":[{"role":"Contributor","scope":"`+s.registryID("fabrikam")+`"}]}`, &ci)
	asCI := func(r *http.Request) { r.SetBasicAuth(ci.AppID, ci.Password) }
	if status, code, body := post("fabrikam", own, `,"targetTags":["web:9"]`, asCI); status != http.StatusForbidden || code != "AuthorizationFailed" {
		t.Errorf("who may not pull there: %d %s", status, body)
	}
	s.stop()

	var got []string
	for _, e := range events(t, data) {
		if e.Registry.Name != s.Operator() {
			continue
		}
		got = append(got, e.Target.Repository+":"+e.Target.Tag)
		if e.Action != event.Push || e.Cause != "import" || e.Request != (event.Request{Host: reg.Properties.LoginServer}) || e.Actor != s.Operator() {
			t.Errorf("event %+v", e)
		}
	}
	if want := "base/web:1.0 base/web:stable base/web:1.0 base/web:stable bare:"; strings.Join(got, " ") != want {
		t.Errorf("events of %q, want %q", got, want)
	}
}

// host2 is the login server of another registry than the one whose login server is
// given.
func host2(loginServer, name, other string) func(*http.Request) {
	return host(strings.Replace(loginServer, name, other, 1))
}
