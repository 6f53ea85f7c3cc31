package app_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

// faces has a path of each face.
var faces = []string{"/v2/", "/helm/v1/repo/index.yaml", "/v2", "/v2/app/manifests/v1", "/v2/_catalog", "/oauth2/token", "/oauth2/exchange", "/api/v1/registries",
	"/api/v1/registries/dockbell/webhooks", "/", "/nowhere"}

// TestMisdirected: a request for a host that is no registry here is told so on
// every face, before anything else is looked at.
func TestMisdirected(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	unknown := []string{
		"registry.example", "registry.example:5000", "other.dockbell.localhost", "dockbell.localhost", "a.dockbell.dockbell.localhost",
		"dockbell.dockbell.localhost.evil.example", "localhost.evil.example", "127.0.0.1.nip.example", "xdockbell.dockbell.localhost",
	}
	for _, path := range faces {
		for _, name := range unknown {
			status, _, body := s.do("GET", path, nil, host(name), s.asOperator)
			bare, _, _ := strings.Cut(name, ":")
			if m := message(t, body); status != http.StatusMisdirectedRequest || !strings.Contains(m, "--domain") || !strings.Contains(m, `"`+bare+`"`) {
				t.Errorf("%s for %s: %d %s; want 421 and a sentence that names the host and --domain", path, name, status, body)
			}
		}
	}
	// Clients of the data plane and of the control plane look in different places.
	_, header, body := s.do("GET", "/v2/", nil, host("registry.example"))
	var answer struct {
		Errors []struct{ Code, Message string }
		Error  struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Errors) != 1 || answer.Errors[0] != answer.Error || answer.Error.Code != "MisdirectedRequest" {
		t.Errorf("%v in %s", err, body)
	}
	if got := header.Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Errorf("Content-Type %s", got)
	}
}

func TestKnownHosts(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir(), func(c *config.Config) {
		c.Domain, c.ExternalURL, c.Aliases = "registry.example", mustURL("https://images.example:8443"), []string{"registry.svc.cluster.local"}
	}))
	for _, name := range []string{
		"dockbell.registry.example", "DOCKBELL.Registry.Example:443", "dockbell.registry.example.", "images.example", "images.example:8443",
		"registry.svc.cluster.local:5000", "localhost", "localhost:5000", "127.0.0.1", "192.0.2.1:5000", "[::1]:5000",
	} {
		if status, _, body := s.do("GET", "/v2/", nil, host(name), s.asOperator); status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _, _ := s.do("GET", "/v2/", nil, host("dockbell.dockbell.localhost"), s.asOperator); status != http.StatusMisdirectedRequest {
		t.Errorf("the domain that --domain replaced: %d, want 421", status)
	}
}

// TestProxies: what a proxy says of its client counts if the proxy is trusted,
// and is as if it were not there otherwise.
func TestProxies(t *testing.T) {
	t.Parallel()
	const service = "dockbell.registry.example"
	type request struct {
		name                 string
		hop                  map[string]string
		status               int
		realm, host, address string
	}
	ours := func(c *config.Config) { c.Domain, c.Aliases = "registry.example:443", []string{"images.example"} }
	all := map[string]string{"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "images.example", "X-Forwarded-Proto": "https"}
	for _, server := range []struct {
		name     string
		trusted  string
		requests []request
	}{
		{"trusted", "127.0.0.0/8,10.0.0.0/8", []request{
			{"all", all, 201, "https://images.example", "images.example", "203.0.113.9"},
			{"none", nil, 201, "http://" + service, service, "127.0.0.1"},
			{"scheme", map[string]string{"X-Forwarded-Proto": "https"}, 201, "https://" + service, service, "127.0.0.1"},
			{"plain", map[string]string{"X-Forwarded-Proto": "http"}, 201, "http://" + service, service, "127.0.0.1"},
			{"address", map[string]string{"X-Forwarded-For": "2001:db8::7"}, 201, "http://" + service, service, "2001:db8::7"},
			{"a client's own claim", map[string]string{"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}, 201, "http://" + service, service, "203.0.113.9"},
			{"several proxies", map[string]string{"X-Forwarded-For": "198.51.100.1, 203.0.113.9, 10.0.0.1"}, 201, "http://" + service, service, "203.0.113.9"},
			{"only proxies", map[string]string{"X-Forwarded-For": "10.0.0.2, 10.0.0.1"}, 201, "http://" + service, service, "127.0.0.1"},
			{"no address", map[string]string{"X-Forwarded-For": "unknown"}, 201, "http://" + service, service, "127.0.0.1"},
			{"with a port", map[string]string{"X-Forwarded-For": "203.0.113.9:4711"}, 201, "http://" + service, service, "203.0.113.9"},
			{"IPv6 with a port", map[string]string{"X-Forwarded-For": "[2001:db8::7]:4711"}, 201, "http://" + service, service, "2001:db8::7"},
			{"with a zone", map[string]string{"X-Forwarded-For": "fe80::7%evil"}, 201, "http://" + service, service, "fe80::7"},
			{"host of the last hop", map[string]string{"X-Forwarded-Host": "evil.example, images.example"}, 201, "http://images.example", "images.example", "127.0.0.1"},
			{"scheme of the last hop", map[string]string{"X-Forwarded-Proto": "https,http"}, 201, "http://" + service, service, "127.0.0.1"},
			{"unknown host", map[string]string{"X-Forwarded-Host": "evil.example"}, 421, "", "", ""},
			{"hostile host", map[string]string{"X-Forwarded-Host": `images.example",service="evil`}, 421, "", "", ""},
		}},
		{"not trusted", "10.0.0.0/8", []request{
			{"all", all, 201, "http://" + service, service, "127.0.0.1"},
			{"unknown host", map[string]string{"X-Forwarded-Host": "evil.example"}, 201, "http://" + service, service, "127.0.0.1"},
			{"RFC 7239", map[string]string{"Forwarded": "for=203.0.113.9;host=evil.example;proto=https"}, 201, "http://" + service, service, "127.0.0.1"},
		}},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			s := start(t, settings(data, ours, func(c *config.Config) {
				for text := range strings.SplitSeq(server.trusted, ",") {
					c.TrustedProxies = append(c.TrustedProxies, netip.MustParsePrefix(text))
				}
			}))
			config := oci.FromBytes(oci.SHA256, []byte("{}"))
			s.push("app", "first", host(service))
			var pushed []request
			for i, r := range server.requests {
				forwarded := func(req *http.Request) {
					req.Host = service
					for name, value := range r.hop {
						req.Header.Set(name, value)
					}
				}
				manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
					`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`, config)
				status, _, body := s.do("PUT", fmt.Sprintf("/v2/app/manifests/v%d", i), manifest, forwarded, s.asOperator)
				if status != r.status {
					t.Errorf("%s: %d %s, want %d", r.name, status, body, r.status)
				}
				if r.status != http.StatusCreated {
					continue
				}
				pushed = append(pushed, r)
				_, header, _ := s.do("GET", "/v2/", nil, forwarded)
				want := fmt.Sprintf(`Bearer realm="%s/oauth2/token",service="%s"`, r.realm, "dockbell.registry.example:443")
				if got := header.Get("WWW-Authenticate"); got != want {
					t.Errorf("%s: challenge %s, want %s", r.name, got, want)
				}
			}
			s.stop()
			for i, e := range events(t, data)[1:] {
				r := pushed[i]
				if e.Request.Host != r.host || e.Request.Addr != r.address || e.Request.Method != "PUT" {
					t.Errorf("%s: the event has %+v, want host %s and address %s", r.name, e.Request, r.host, r.address)
				}
			}
		})
	}
}

// TestNothingIsAnonymous tries every path with every method and no credentials,
// wrong ones, and the token that an anonymous client can have. None gets data,
// learns whether something exists, or changes anything.
func TestNothingIsAnonymous(t *testing.T) {
	if raceEnabled {
		t.Skip("thousands of requests, one after the other: the detector learns nothing from them; scripts/test.sh runs them without")
	}
	t.Parallel()
	data := t.TempDir()
	s := start(t, settings(data))
	s.webhook("deployhook", "http://127.0.0.1:1/hook")
	waiting := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // which a person has to agree for
	defer waiting.Close()
	if status, _, answer := s.do("PUT", "/api/v1/registries/dockbell/eventSubscriptions/on-push",
		[]byte(`{"properties":{"destination":{"endpointType":"WebHook","properties":{"endpointUrl":"`+waiting.URL+`/?code=s3cret"}}}}`), s.asOperator); status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	digest := s.push("secret/app", "v1")
	blob := string(oci.FromBytes(oci.SHA256, []byte("{}")))
	_, upload, _ := s.do("POST", "/v2/secret/app/blobs/uploads/", nil, s.asOperator)

	var paths []string
	for _, repo := range []string{"secret/app", "no/such"} {
		for _, rest := range []string{
			"tags/list", "manifests/v1", "manifests/v2", "manifests/" + digest, "blobs/" + blob, "referrers/" + digest,
			"blobs/uploads/", "blobs/uploads/?mount=" + blob + "&from=secret/app", "blobs/uploads/?digest=" + blob,
			"blobs/uploads/" + strings.TrimPrefix(upload.Get("Location"), "/v2/secret/app/blobs/uploads/") + "?digest=" + blob,
		} {
			paths = append(paths, "/v2/"+repo+"/"+rest)
		}
		for _, rest := range []string{"", "/_tags", "/_tags?digest=" + digest, "/_tags/v1", "/_tags/v2", "/_manifests", "/_manifests/" + digest} {
			paths = append(paths, "/acr/v1/"+repo+rest, "/acr/v1/"+strings.ReplaceAll(repo, "/", "%2F")+rest)
		}
	}
	paths = append(paths, "/v2/", "/v2", "/v2/_catalog", "/v2/_catalog?n=1", "/api/", "/api/v1", "/nowhere", "/acr/v1/_catalog", "/acr/v1/_deleted/_catalog", "/acr/", "/metrics", "/debug/pprof/")
	for _, registry := range []string{"dockbell", "other", "DOCKBELL"} {
		for _, hook := range []string{"deployhook", "otherhook"} {
			for _, rest := range []string{"", "/ping", "/getCallbackConfig", "/listEvents", "/listEvents?$skiptoken=1", "/operationStatuses/1",
				"?expand=health", "/test", "/pause", "/resume", "/rotateSecret", "/redeliver", "/replays", "/replays/1", "/deadLetters", "/deadLetters/purge", "/statistics"} {
				paths = append(paths, "/api/v1/registries/"+registry+"/webhooks/"+hook+rest)
			}
		}
		for _, rest := range []string{"", "/", "/webhooks", "/replications", "/listCredentials", "/listUsages", "/statistics",
			"/events", "/events?last=10", "/events?wait=60", "/listeners", "/listeners/deployhook", "/listeners/deployhook/deliveries", "/listeners/deployhook/results"} {
			paths = append(paths, "/api/v1/registries/"+registry+rest)
		}
	}
	for _, name := range []string{"on-push", "nosuch"} {
		for _, rest := range []string{"", "/getFullUrl", "/getDeliveryAttributes", "/validate", "/listEvents", "/replays", "/deadLetters"} {
			paths = append(paths, "/api/v1/registries/dockbell/eventSubscriptions/"+name+rest)
		}
		paths = append(paths, "/eventsubscriptions/"+name+"/validate?id=1&token=x", "/eventsubscriptions/"+name+"/validate", "/eventsubscriptions/"+name)
	}
	paths = append(paths, "/eventsubscriptions/", "/providers/Microsoft.EventGrid/topicTypes?api-version=2022-06-15")
	paths = append(paths, "/api/v1/registries", "/api/v1/registries/", "/API/V1/Registries/dockbell/webHooks")
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"}

	_, _, answer := s.do("GET", "/oauth2/token?scope=repository:secret/app:pull,push,delete&scope=registry:catalog:*", nil)
	var anonymous struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(answer, &anonymous); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	credentials := map[string]string{
		"nothing":               "",
		"an anonymous token":    "Bearer " + anonymous.Token,
		"no token":              "Bearer x",
		"a forged token":        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJkb2NrYmVsbCJ9.",
		"another scheme":        "Negotiate " + s.Password,
		"half":                  "Basic",
		"a password as a token": "Bearer " + s.Password,
		"no password":           basic("00000000-0000-0000-0000-000000000000", ""),
	}
	before := rows(t, data)
	for what, credential := range credentials {
		for _, path := range paths {
			for _, method := range methods {
				if path == "/v2" && method == "GET" || what != "nothing" && method != "GET" && method != "PUT" && method != "POST" {
					continue
				}
				body := []byte(`{"location":"local","properties":{"serviceUri":"http://127.0.0.1:1/","actions":["push"]}}`)
				if method == "GET" || method == "HEAD" {
					body = nil
				}
				status, header, answer := s.do(method, path, body, func(r *http.Request) {
					if credential != "" {
						r.Header.Set("Authorization", credential)
					}
				})
				switch status {
				case http.StatusUnauthorized:
					if !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer realm=") {
						t.Errorf("%s %s with %s: 401 with challenge %q", method, path, what, header.Get("WWW-Authenticate"))
					}
				case http.StatusNotFound, http.StatusMethodNotAllowed:
				default:
					t.Errorf("%s %s with %s: %d %s", method, path, what, status, answer)
				}
				for _, secret := range []string{s.Password, "127.0.0.1:1/hook", "s3cret", `"repositories"`, `"tags"`, `"imageName"`, `"layers"`, `"value"`} {
					if strings.Contains(string(answer), secret) {
						t.Errorf("%s %s with %s tells %q: %s", method, path, what, secret, answer)
					}
				}
			}
		}
	}
	// What exists and what does not answer alike.
	for _, method := range methods {
		for is, isNot := range map[string]string{
			"/v2/secret/app/manifests/v1":                              "/v2/secret/app/manifests/v2",
			"/v2/secret/app/tags/list":                                 "/v2/secret/abc/tags/list",
			"/acr/v1/secret/app":                                       "/acr/v1/secret/abc",
			"/acr/v1/secret/app/_tags/v1":                              "/acr/v1/secret/app/_tags/v2",
			"/acr/v1/secret/app/_manifests/" + digest:                  "/acr/v1/secret/abc/_manifests/" + digest,
			"/v2/secret/app/blobs/" + blob:                             "/v2/secret/abc/blobs/" + blob,
			"/api/v1/registries/dockbell/webhooks/deployhook":          "/api/v1/registries/contoso/webhooks/otherhook",
			"/api/v1/registries/dockbell/webhooks/deployhook/ping":     "/api/v1/registries/dockbell/webhooks/otherhook/ping",
			"/api/v1/registries/dockbell/webhooks/deployhook/nonsense": "/api/v1/registries/contoso/webhooks/deployhook/nonsense",
			"/api/v1/registries/dockbell/eventSubscriptions/on-push":   "/api/v1/registries/contoso/eventSubscriptions/on-push",
			"/eventsubscriptions/on-push/validate?token=x":             "/eventsubscriptions/nosuch/validate?token=x",
		} {
			a, _, _ := s.do(method, is, nil)
			b, _, _ := s.do(method, isNot, nil)
			if a != b {
				t.Errorf("%s %s is answered with %d, %s with %d: that tells which exists", method, is, a, isNot, b)
			}
		}
	}
	s.stop()
	if after := rows(t, data); after != before {
		t.Errorf("rows before:\n%s\nafter:\n%s", before, after)
	}
}

// rows returns how many rows each table has, but for those of deliveries and
// of the audit log, where strangers are on record.
func rows(t *testing.T, data string) string {
	t.Helper()
	var b strings.Builder
	read(t, data, func(tx *sqldb.Tx) error {
		names, err := sqldb.Select(tx, func(scan sqldb.Scan) (name string, err error) { return name, scan(&name) },
			"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('attempt', 'attempt_volume', 'delivery', 'dead_letter', 'audit_entry') AND name NOT LIKE 'sqlite_%' ORDER BY name")
		if err != nil {
			return err
		}
		for _, name := range names {
			var n int
			if err := tx.Get("SELECT count(*) FROM "+name, nil, &n); err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s %d\n", name, n)
		}
		return nil
	})
	return b.String()
}

// TestEcho: ids of clients come back, within bounds.
func TestEcho(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	const id = "5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11"
	for _, path := range faces {
		_, header, _ := s.do("GET", path, nil, field("X-Ms-Client-Request-Id", "mine"), field("X-Ms-Correlation-Request-Id", id))
		if header.Get("X-Ms-Client-Request-Id") != "mine" || header.Get("X-Ms-Correlation-Request-Id") != id || header.Get("X-Ms-Request-Id") == "" {
			t.Errorf("%s: %v", path, header)
		}
		long := strings.Repeat("x", 129)
		_, header, _ = s.do("GET", path, nil, field("X-Ms-Client-Request-Id", long), field("X-Ms-Correlation-Request-Id", long))
		if header.Get("X-Ms-Client-Request-Id") != "" || header.Get("X-Ms-Correlation-Request-Id") != header.Get("X-Ms-Request-Id") {
			t.Errorf("%s: %v", path, header)
		}
		if got := header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: X-Content-Type-Options %q", path, got)
		}
	}
}
