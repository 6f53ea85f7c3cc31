package app_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/dockbell/dockbell/internal/app"
	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/oci"
)

// diary keeps what a server logs.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// startSelfSigned starts a server with --tls self-signed that logs everything,
// and a client that trusts its authority.
func startSelfSigned(t *testing.T, data string) (*running, *diary) {
	t.Helper()
	told := &diary{}
	cfg := settings(data, func(c *config.Config) { c.TLS = config.SelfSigned })
	s := startLogging(t, cfg, slog.New(slog.NewTextHandler(told, &slog.HandlerOptions{Level: slog.LevelDebug})))
	pem, err := os.ReadFile(filepath.Join(data, "tls", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	s.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	return s, told
}

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s, told := startSelfSigned(t, data)
	_, port, _ := strings.Cut(s.Addr().String(), ":")
	for _, name := range []string{"127.0.0.1", "localhost", "dockbell.localhost", "contoso.dockbell.localhost"} {
		conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{ServerName: name, RootCAs: s.http.Transport.(*http.Transport).TLSClientConfig.RootCAs})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conn.Close()
	}
	_, header, _ := s.do("GET", "/v2/", nil)
	want := fmt.Sprintf(`Bearer realm="https://127.0.0.1:%s/oauth2/token",service="dockbell.dockbell.localhost:%[1]s"`, port)
	if got := header.Get("WWW-Authenticate"); got != want {
		t.Errorf("challenge %s, want %s", got, want)
	}
	s.push("app", "v1")
	var out bytes.Buffer
	s.Announce(&out)
	if !strings.Contains(out.String(), " --ca "+filepath.Join(data, "tls", "ca.pem")) {
		t.Errorf("told:\n%s", &out)
	}
	if !strings.Contains(told.String(), "tls/ca.pem") {
		t.Error("the log does not name the authority's file")
	}
	if info, err := os.Stat(filepath.Join(data, "tls", "ca-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key: %v, %v", info, err)
	}
	s.stop()
	before, err := os.ReadFile(filepath.Join(data, "tls", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	again, _ := startSelfSigned(t, data)
	after, err := os.ReadFile(filepath.Join(data, "tls", "ca.pem"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("a restart made another authority: %v", err)
	}
	again.push("app", "v2")
	again.stop()
	if err := os.WriteFile(filepath.Join(data, "tls", "ca-key.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = app.Open(t.Context(), settings(data, func(c *config.Config) { c.TLS = config.SelfSigned }), quiet)
	if err == nil || !strings.Contains(err.Error(), "ca-key.pem holds no private key") {
		t.Errorf("with a damaged key: %v", err)
	}
}

// principal is what the server says of a service principal.
type principal struct{ AppID, Password, Tenant string }

func (r *running) servicePrincipal(method, path, body string) (p principal) {
	r.t.Helper()
	status, _, answer := r.do(method, "/api/v1/servicePrincipals"+path, []byte(body), r.asOperator)
	if err := json.Unmarshal(answer, &p); err != nil || status/100 != 2 {
		r.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	return p
}

// form posts a form and returns the status and the answer's one member.
func (r *running) form(path, member string, pairs ...string) (status int, value string) {
	r.t.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	status, _, answer := r.do("POST", path, []byte(values.Encode()), field("Content-Type", "application/x-www-form-urlencoded"))
	var body map[string]any
	if err := json.Unmarshal(answer, &body); err != nil {
		r.t.Fatalf("%s: %d %s", path, status, answer)
	}
	value, _ = body[member].(string)
	return status, value
}

// TestAzureIdentity has Azure's own library get tokens from the authority, in both of
// the ways in which it finds one, and uses them as its other libraries do.
func TestAzureIdentity(t *testing.T) {
	t.Parallel()
	s, told := startSelfSigned(t, t.TempDir())
	at := s.URL()
	digest := s.push("app", "v1")
	ci := s.servicePrincipal("POST", "", `{"displayName":"ci","roleAssignments":[{"role":"Contributor"}]}`)
	puller := s.servicePrincipal("POST", "", `{"displayName":"puller","roleAssignments":[{"role":"AcrPull"}]}`)

	credential := func(p principal, tenant, secret string) azcore.TokenCredential {
		t.Helper()
		c, err := azidentity.NewClientSecretCredential(tenant, p.AppID, secret, &azidentity.ClientSecretCredentialOptions{
			DisableInstanceDiscovery: true,
			ClientOptions: policy.ClientOptions{
				Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: at + "/"},
				Transport: s.http, Retry: policy.RetryOptions{MaxRetries: -1},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	bearer := func(p principal, tenant, scope string) string {
		t.Helper()
		token, err := credential(p, tenant, p.Password).GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{scope}})
		if err != nil {
			t.Fatalf("tenant %s: %v", tenant, err)
		}
		return token.Token
	}
	var secrets []string
	control := func(token string) int {
		status, _, _ := s.do("GET", "/api/v1/registries/dockbell", nil, field("Authorization", "Bearer "+token))
		return status
	}
	for _, tenant := range []string{ci.Tenant, "adfs"} {
		token := bearer(ci, tenant, at+"/.default")
		secrets = append(secrets, token)
		if status := control(token); status != http.StatusOK {
			t.Errorf("tenant %s: the control plane answers %d", tenant, status)
		}
		if token := bearer(puller, tenant, at+"/.default"); control(token) != http.StatusForbidden {
			t.Errorf("tenant %s: who may only pull gets into the control plane", tenant)
		}
		if token := bearer(ci, tenant, "https://containerregistry.azure.net/.default"); control(token) != http.StatusUnauthorized {
			t.Errorf("tenant %s: a token for registries gets into the control plane", tenant)
		}
	}
	_, err := credential(ci, ci.Tenant, "wrong").GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{at + "/.default"}})
	if err == nil || !strings.Contains(err.Error(), "the password of service principal "+ci.AppID+" is wrong") {
		t.Errorf("with a wrong secret: %v", err)
	}

	// From the token to a pull, as Azure's registry libraries do it.
	service := "dockbell.dockbell.localhost:" + strings.TrimPrefix(s.Addr().String(), "127.0.0.1:")
	_, refresh := s.form("/oauth2/exchange", "refresh_token", "grant_type", "access_token", "service", service,
		"access_token", bearer(puller, puller.Tenant, "https://containerregistry.azure.net/.default"))
	_, access := s.form("/oauth2/token", "access_token", "grant_type", "refresh_token", "service", service,
		"scope", "repository:app:pull,push", "refresh_token", refresh)
	secrets = append(secrets, refresh, access)
	pull := func(change func(*http.Request)) int {
		status, _, _ := s.do("GET", "/v2/app/manifests/"+digest, nil, change)
		return status
	}
	if status := pull(field("Authorization", "Bearer "+access)); status != http.StatusOK {
		t.Errorf("pull: %d", status)
	}
	if status, _, _ := s.do("POST", "/v2/app/blobs/uploads/", nil, field("Authorization", "Bearer "+access)); status != http.StatusUnauthorized {
		t.Errorf("who may only pull starts an upload: %d", status)
	}
	asPuller := func(r *http.Request) { r.SetBasicAuth(puller.AppID, puller.Password) }
	if status := pull(asPuller); status != http.StatusOK {
		t.Errorf("pull with the password: %d", status)
	}
	blob := oci.FromBytes(oci.SHA256, []byte("{}"))
	if status, _, _ := s.do("DELETE", "/v2/app/blobs/"+string(blob), nil, asPuller); status != http.StatusUnauthorized {
		t.Errorf("who may only pull deletes: %d", status)
	}

	// A new password ends all of it.
	old := puller
	puller = s.servicePrincipal("POST", "/puller/reset", "")
	if pull(field("Authorization", "Bearer "+access)) != http.StatusUnauthorized {
		t.Error("an access token works after the reset")
	}
	if status, _ := s.form("/oauth2/token", "access_token", "grant_type", "refresh_token", "refresh_token", refresh); status != http.StatusUnauthorized {
		t.Errorf("a refresh token after the reset: %d", status)
	}
	for _, secret := range append(secrets, ci.Password, old.Password, puller.Password, s.Password) {
		if strings.Contains(told.String(), secret) {
			t.Fatalf("a secret is in the log:\n%s", told)
		}
	}
	if !strings.Contains(told.String(), "action=Microsoft.ContainerRegistry/servicePrincipals/resetPassword/action resource=/api/v1/servicePrincipals/"+puller.AppID) {
		t.Errorf("the reset is not on record:\n%s", told)
	}
}
