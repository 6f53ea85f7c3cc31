package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/webhook"
)

// opened is a server that is asked without a network.
type opened struct {
	*Server
	t *testing.T
}

func openServer(t *testing.T, data string) *opened {
	t.Helper()
	cfg := config.Default()
	cfg.Listen, cfg.Data = "127.0.0.1:0", data
	s, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return &opened{s, t}
}

// do asks as user at a host, which may be a registry's name.
func (s *opened) do(user, password, method, host, path, body string) *httptest.ResponseRecorder {
	s.t.Helper()
	if host != "localhost" {
		host += ".dockbell.localhost"
	}
	r := httptest.NewRequest(method, "http://"+host+path, strings.NewReader(body))
	r.SetBasicAuth(user, password)
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}

func (s *opened) operate(method, path, body string) []byte {
	s.t.Helper()
	w := s.do(s.Operator(), s.Password, method, "localhost", "/api/v1/registries"+path, body)
	if w.Code/100 != 2 {
		s.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// push pushes an image to a registry and returns the status of the manifest.
func (s *opened) push(user, password, registry string) int {
	s.t.Helper()
	digest := oci.FromBytes(oci.SHA256, []byte("{}"))
	if w := s.do(user, password, "POST", registry, "/v2/app/blobs/uploads/?digest="+string(digest), "{}"); w.Code != http.StatusCreated {
		return w.Code
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`, digest)
	return s.do(user, password, "PUT", registry, "/v2/app/manifests/v1", manifest).Code
}

// left counts what a registry has in the tables.
func (s *opened) left(registry int64) string {
	s.t.Helper()
	var found []string
	err := s.db.Read(s.t.Context(), func(tx *sqldb.Tx) error {
		for _, query := range []string{
			"SELECT count(*) FROM repository WHERE registry IN ($1, -$1)",
			"SELECT count(*) FROM webhook WHERE registry = $1",
			"SELECT count(*) FROM endpoint WHERE registry = $1",
			"SELECT count(*) FROM replication WHERE registry = $1",
			"SELECT count(*) FROM registry_admin WHERE registry = $1",
			"SELECT count(*) FROM scope_map WHERE registry = $1",
			"SELECT count(*) FROM repository_token_password WHERE registry = $1",
		} {
			var n int
			if err := tx.Get(query, []any{registry}, &n); err != nil {
				return err
			}
			found = append(found, fmt.Sprint(n))
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(found, " ")
}

// TestRegistryComesAndGoes makes a registry beside the default one, lets its
// admin user work in it, and deletes it with a restart in between.
func TestRegistryComesAndGoes(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := openServer(t, data)
	if w := s.do(s.Operator(), s.Password, "GET", "contoso", "/v2/", ""); w.Code != http.StatusMisdirectedRequest {
		t.Fatalf("before: %d", w.Code)
	}
	s.operate("PUT", "/contoso", `{"location":"eastus","sku":{"name":"Premium"},"properties":{"adminUserEnabled":true}}`)
	id := s.tenants.List()[0].ID
	var credentials struct {
		Username  string
		Passwords []struct{ Value string }
	}
	if err := json.Unmarshal(s.operate("POST", "/contoso/listCredentials", ""), &credentials); err != nil || credentials.Username != "contoso" || len(credentials.Passwords) != 2 {
		t.Fatalf("%+v, %v", credentials, err)
	}
	admin := credentials.Passwords[1].Value
	if code := s.push("contoso", admin, "contoso"); code != http.StatusCreated {
		t.Errorf("push by the admin user: %d", code)
	}
	if code := s.push("contoso", admin, "dockbell"); code != http.StatusUnauthorized {
		t.Errorf("push to another registry: %d", code)
	}
	if w := s.do("contoso", admin, "GET", "contoso", "/api/v1/registries/contoso", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("the control plane for the admin user: %d %s", w.Code, w.Body)
	}
	s.operate("PUT", "/contoso/replications/westus", `{"location":"westus"}`)
	for name, location := range map[string]string{"homehook": "eastus", "awayhook": "westus"} {
		s.operate("PUT", "/contoso/webhooks/"+name, fmt.Sprintf(`{"location":%q,"properties":{"serviceUri":"http://127.0.0.1:9/x","actions":["push"],"status":"enabled"}}`, location))
	}
	s.operate("POST", "/contoso/listeners", "")
	s.operate("PUT", "/contoso/scopeMaps/app-push", `{"properties":{"actions":["repositories/app/content/read","repositories/app/content/write"]}}`)
	s.operate("PUT", "/contoso/tokens/ci-push", `{"properties":{"scopeMapId":"/api/v1/registries/contoso/scopeMaps/app-push"}}`)
	var generated struct{ Passwords []struct{ Value string } }
	if err := json.Unmarshal(s.operate("POST", "/contoso/generateCredentials", `{"tokenId":"/api/v1/registries/contoso/tokens/ci-push"}`), &generated); err != nil || len(generated.Passwords) != 2 {
		t.Fatalf("%+v, %v", generated, err)
	}
	ci := generated.Passwords[0].Value
	if code := s.push("ci-push", ci, "contoso"); code != http.StatusCreated {
		t.Errorf("push with a token: %d", code)
	}
	if got := s.left(id); got != "1 3 3 1 1 1 2" {
		t.Errorf("there is %s", got)
	}
	// What is pushed here happens at home alone.
	owed := s.webhooks.InForce()
	if code := s.push("contoso", admin, "contoso"); code != http.StatusCreated {
		t.Errorf("push: %d", code)
	}
	home, err := s.webhooks.List(t.Context(), webhook.Registry{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range home {
		e := &event.Event{Action: event.Push, Registry: s.source(s.tenants.ByID(id)), Target: event.Target{Repository: "app", Tag: "v1"}}
		if got := slices.Contains(owed(e), w.ID); got != (w.Location == "eastus") {
			t.Errorf("webhook %s in %s is owed a push: %t", w.Name, w.Location, got)
		}
	}

	stopped, cancel := context.WithCancel(t.Context())
	s.stopPurging() // as a crash would
	if w := s.do(s.Operator(), s.Password, "DELETE", "localhost", "/api/v1/registries/contoso", ""); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	cancel()
	if err := s.purgeDoomed(stopped); err == nil {
		t.Error("a purge that is stopped tells so")
	}
	if got := s.left(id); got != "1 3 3 0 0 1 2" {
		t.Errorf("right after it was deleted there is %s", got)
	}
	for _, path := range []string{"/v2/", "/v2/app/tags/list"} {
		if w := s.do("contoso", admin, "GET", "contoso", path, ""); w.Code != http.StatusMisdirectedRequest {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	// The name is free at once, for a registry that has nothing of the old one.
	s.operate("PUT", "/contoso", `{"location":"eastus","sku":{"name":"Basic"}}`)
	if code := s.push("contoso", admin, "contoso"); code != http.StatusUnauthorized {
		t.Errorf("the old password: %d", code)
	}
	if code := s.push("ci-push", ci, "contoso"); code != http.StatusUnauthorized {
		t.Errorf("the old token: %d", code)
	}
	if w := s.do(s.Operator(), s.Password, "GET", "contoso", "/v2/_catalog", ""); !bytes.Contains(w.Body.Bytes(), []byte(`"repositories":[]`)) {
		t.Errorf("the new registry has %s", w.Body)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}

	s = openServer(t, data)
	if err := s.purgeDoomed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.left(id); got != "0 0 0 0 0 0 0" {
		t.Errorf("after a restart there is %s", got)
	}
	if r, err := s.tenants.ByName("contoso"); err != nil || r.ID == id {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestPurgeTakesCharts deletes a registry that has a chart.
func TestPurgeTakesCharts(t *testing.T) {
	t.Parallel()
	s := openServer(t, t.TempDir())
	s.operate("PUT", "/contoso", `{"location":"eastus","sku":{"name":"Basic"}}`)
	for _, registry := range []string{"contoso", "dockbell"} {
		w := s.do(s.Operator(), s.Password, "PUT", registry, "/helm/v1/repo/_blobs/hello-0.1.0.tgz", string(HelmPackage(t, "hello", "0.1.0")))
		if w.Code != http.StatusCreated {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	id := s.tenants.List()[0].ID
	s.stopPurging()
	if w := s.do(s.Operator(), s.Password, "DELETE", "localhost", "/api/v1/registries/contoso", ""); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := s.do(s.Operator(), s.Password, "GET", "contoso", "/helm/v1/repo/index.yaml", ""); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("the charts of a deleted registry: %d", w.Code)
	}
	if n, err := s.charts.Size(t.Context(), id); err != nil || n == 0 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if err := s.purgeDoomed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.charts.Size(t.Context(), id); err != nil || n != 0 {
		t.Errorf("%d bytes are left, %v", n, err)
	}
	if n, err := s.charts.Size(t.Context(), s.tenants.Default().ID); err != nil || n == 0 {
		t.Errorf("the other registry has %d bytes, %v", n, err)
	}
}
