package harness_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/harness"
)

// BenchmarkAuthenticatedHead measures how many HEAD requests for a manifest are
// answered per second with user name and password on each, and with an access
// token; for each kind of account, best of three, in turns. It prints the ratio.
func BenchmarkAuthenticatedHead(b *testing.B) {
	s := harness.Start(b, b.TempDir())
	if err := s.PushBlob(context.Background(), "bench/app", []byte("{}")); err != nil {
		b.Fatal(err)
	}
	s.Must(http.StatusCreated, "PUT", "/v2/bench/app/manifests/v1", harness.ManifestType, harness.Manifest("head"))
	for _, account := range append(accounts(b, s), repositoryToken(b, s)...) {
		b.Run(account.kind, func(b *testing.B) {
			token := accessTokenFor(b, s, account, "repository:bench/app:pull")
			var basic, bearer float64
			for range 3 {
				basic = max(basic, headsPerSecond(b, s, func(r *http.Request) { r.SetBasicAuth(account.user, account.password) }))
				bearer = max(bearer, headsPerSecond(b, s, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(basic, "basic/s")
			b.ReportMetric(bearer, "token/s")
			b.ReportMetric(basic/bearer, "times-token")
		})
	}
}

// credentials are someone's who may pull.
type credentials struct{ kind, user, password string }

// accounts makes one of each kind in the default registry.
func accounts(t testing.TB, s *harness.Server) []credentials {
	t.Helper()
	const registry = "/api/v1/registries/dockbell"
	s.Must(http.StatusOK, "PATCH", registry, nil, []byte(`{"properties":{"adminUserEnabled":true}}`))
	var admin struct {
		Username  string
		Passwords []struct{ Value string }
	}
	decode(t, s.Must(http.StatusOK, "POST", registry+"/listCredentials", nil, nil), &admin)
	var program struct{ AppID, Password string }
	decode(t, s.Must(http.StatusCreated, "POST", "/api/v1/servicePrincipals", nil, []byte(`{"displayName":"puller","roleAssignments":[{"role":"AcrPull"}]}`)), &program)
	return []credentials{
		{"operator", "dockbell", harness.Password},
		{"admin-user", admin.Username, admin.Passwords[0].Value},
		{"service-principal", program.AppID, program.Password},
	}
}

// accessTokenFor has the token service give an access token, as docker does.
func accessTokenFor(t testing.TB, s *harness.Server, c credentials, scope string) string {
	t.Helper()
	req, err := http.NewRequest("GET", s.URL+"/oauth2/token?scope="+url.QueryEscape(scope), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(c.user, c.password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("a token for %s: status %d, error %v\n%s", c.kind, res.StatusCode, err, body)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	decode(t, body, &answer)
	return answer.AccessToken
}

func decode(t testing.TB, body []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
}

// headsPerSecond asks for a manifest with eight clients at once.
func headsPerSecond(b *testing.B, s *harness.Server, sign func(*http.Request)) float64 {
	const clients, takes = 8, 2 * time.Second
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var answered atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range clients {
		wg.Go(func() {
			for time.Since(began) < takes {
				if err := head(client, s.URL+"/v2/bench/app/manifests/v1", sign); err != nil {
					b.Error(err)
					return
				}
				answered.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(answered.Load()) / time.Since(began).Seconds()
}

func head(client *http.Client, url string, sign func(*http.Request)) error {
	req, err := http.NewRequest("HEAD", url, nil)
	if err != nil {
		return err
	}
	sign(req)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("HEAD %s: status %d", url, res.StatusCode)
	}
	return nil
}
