package app_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockbell/dockbell/internal/app"
	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/localca"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// TestMain also checks that servers which stopped have left nothing running.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings returns the settings of a server in data.
func settings(data string, changes ...func(*config.Config)) *config.Config {
	cfg := config.Default()
	cfg.Listen, cfg.Data = "127.0.0.1:0", data
	for _, change := range changes {
		change(cfg)
	}
	return cfg
}

var quiet = slog.New(slog.DiscardHandler)

// running is a server that answers.
type running struct {
	*app.Server
	t    testing.TB
	http *http.Client
	stop func() // and wait until it has stopped; a second time is fine
}

func start(t testing.TB, cfg *config.Config) *running {
	t.Helper()
	return startLogging(t, cfg, quiet)
}

// startLogging starts a server that the caller may change first.
func startLogging(t testing.TB, cfg *config.Config, log *slog.Logger, changes ...func(*app.Server)) *running {
	t.Helper()
	s, err := app.Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	r := &running{Server: s, t: t, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		transport.CloseIdleConnections()
	})
	t.Cleanup(r.stop)
	return r
}

// asOperator gives a request the operator's name and password.
func (r *running) asOperator(req *http.Request) { req.SetBasicAuth(r.Operator(), r.Password) }

// do sends a request that the caller may change first.
func (r *running) do(method, path string, body []byte, changes ...func(*http.Request)) (status int, header http.Header, answer []byte) {
	r.t.Helper()
	req, err := http.NewRequest(method, r.URL()+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, change := range changes {
		change(req)
	}
	res, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	if answer, err = io.ReadAll(res.Body); err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, res.Header, answer
}

// push pushes an image with a config of two bytes.
func (r *running) push(repo, tag string, changes ...func(*http.Request)) (digest string) {
	r.t.Helper()
	changes = append([]func(*http.Request){r.asOperator}, changes...)
	config := oci.FromBytes(oci.SHA256, []byte("{}"))
	status, _, answer := r.do("POST", fmt.Sprintf("/v2/%s/blobs/uploads/?digest=%s", repo, config), []byte("{}"), changes...)
	if status != http.StatusCreated {
		r.t.Fatalf("push of a blob: %d %s", status, answer)
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[],"annotations":{"tag":%q}}`, config, tag)
	status, _, answer = r.do("PUT", "/v2/"+repo+"/manifests/"+tag, manifest, changes...)
	if status != http.StatusCreated {
		r.t.Fatalf("push of %s:%s: %d %s", repo, tag, status, answer)
	}
	return string(oci.FromBytes(oci.SHA256, manifest))
}

// webhook makes a webhook for pushes of the default registry.
func (r *running) webhook(name, uri string) {
	r.t.Helper()
	body := fmt.Appendf(nil, `{"location":"local","properties":{"serviceUri":%q,"actions":["push"],"customHeaders":{"X-Secret":"s3cret"}}}`, uri)
	if status, _, answer := r.do("PUT", "/api/v1/registries/"+r.Operator()+"/webhooks/"+name, body, r.asOperator); status/100 != 2 {
		r.t.Fatalf("webhook: %d %s", status, answer)
	}
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func field(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// message returns the sentence in an error of any face.
func message(t *testing.T, body []byte) string {
	t.Helper()
	var e struct {
		Errors []struct{ Code, Message string }
		Error  struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if len(e.Errors) > 0 {
		return e.Errors[0].Message
	}
	return e.Error.Message
}

// read runs fn on the database of a server.
func read(t *testing.T, data string, fn func(*sqldb.Tx) error) {
	t.Helper()
	db, err := sqldb.Open(context.Background(), sqldb.Config{Path: filepath.Join(data, "dockbell.db"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Read(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// events returns what a server that has stopped has in its outbox.
func events(t *testing.T, data string) (all []*event.Event) {
	t.Helper()
	read(t, data, func(tx *sqldb.Tx) error {
		entries, err := outbox.After(tx, 0, 1<<20)
		for _, e := range entries {
			all = append(all, e.Event)
		}
		return err
	})
	return all
}

func TestProbes(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	for _, path := range []string{"/healthz", "/readyz"} {
		for _, name := range []string{"", "10.1.2.3:5000", "kubernetes.default.svc"} {
			status, header, body := s.do("GET", path, nil, host(name))
			if status != http.StatusOK || string(body) != "{\"status\":\"ok\"}\n" || header.Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("%s with host %q: %d %v %s", path, name, status, header, body)
			}
		}
	}
}

// TestRestart: the operator's password is made once and stays; whoever may read
// the data folder may read it.
func TestRestart(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "new", "folder")
	cfg := settings(data)
	first := start(t, cfg)
	var told bytes.Buffer
	first.Announce(&told)
	if !first.FirstStart || len(first.Password) != 32 || !strings.Contains(told.String(), first.Password) {
		t.Errorf("first start %v, password %q, told:\n%s", first.FirstStart, first.Password, &told)
	}
	first.push("app", "v1")
	first.stop()
	credentials := filepath.Join(data, "admin-credentials")
	if text, err := os.ReadFile(credentials); err != nil || string(text) != "username: dockbell\npassword: "+first.Password+"\n" {
		t.Errorf("credentials: %q, %v", text, err)
	}
	if err := os.Chmod(credentials, 0o644); err != nil { // a restored backup, say
		t.Fatal(err)
	}

	second := start(t, cfg)
	told.Reset()
	second.Announce(&told)
	if second.FirstStart || second.Password != first.Password || strings.Contains(told.String(), first.Password) {
		t.Errorf("second start %v, password %q after %q, told:\n%s", second.FirstStart, second.Password, first.Password, &told)
	}
	if status, _, body := second.do("GET", "/v2/app/manifests/v1", nil, second.asOperator); status != http.StatusOK {
		t.Errorf("pull after the restart: %d %s", status, body)
	}
	for _, name := range []string{"", "admin-credentials", "data-key", "dockbell.db", "dockbell.db-wal", "lock", "blobs", "uploads"} {
		info, err := os.Stat(filepath.Join(data, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v; want it for its owner only", filepath.Join(data, name), info.Mode(), err)
		}
	}
	second.stop()

	third := start(t, settings(data, func(c *config.Config) { c.AdminPassword = config.NewSecret("a new password") }))
	told.Reset()
	third.Announce(&told)
	if third.Password != "a new password" || strings.Contains(told.String(), "a new password") {
		t.Errorf("password %q, told:\n%s", third.Password, &told)
	}
	status, _, _ := third.do("GET", "/v2/", nil, func(r *http.Request) { r.SetBasicAuth("dockbell", first.Password) })
	if status != http.StatusUnauthorized {
		t.Errorf("the password before last: %d", status)
	}
}

// TestRefusedStart: each is a sentence that says what to do.
func TestRefusedStart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	cfg := settings(data)
	s := start(t, cfg)
	s.webhook("deployhook", "http://127.0.0.1:1/")

	refused := func(what string, cfg *config.Config, want string) {
		t.Helper()
		second, err := app.Open(t.Context(), cfg, quiet)
		if err == nil {
			t.Errorf("%s: the server starts", what)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			second.Serve(ctx)
			return
		}
		if !regexp.MustCompile(want).MatchString(err.Error()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, want %s", what, err, want)
		}
	}
	folder := regexp.QuoteMeta(data)
	refused("a second server", cfg, `^another dockbell uses the data folder `+folder+`: stop it, or choose another folder with --data$`)
	_, port, _ := net.SplitHostPort(s.Addr().String())
	refused("a port that is taken", settings(t.TempDir(), func(c *config.Config) { c.Listen = s.Addr().String() }),
		`^port `+port+` is taken: try --listen 127\.0\.0\.1:\d+$`)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a file for a folder", settings(file), `^data folder: .*`+regexp.QuoteMeta(file))
	s.stop()

	otherKey := func(c *config.Config) { c.DataKey = config.NewSecret("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=") }
	refused("another key", settings(data, otherKey), `the data key is not the one it was written with \(DOCKBELL_DATA_KEY, or the key file of the data folder\)`)
	refused("no key", settings(data, func(c *config.Config) { c.DataKey = config.NewSecret("short") }), `data key`)
	// None of these did any harm.
	start(t, cfg).push("app", "v1")
}

// TestPortProposal takes the advice.
func TestPortProposal(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = app.Open(t.Context(), settings(t.TempDir(), func(c *config.Config) { c.Listen = taken.Addr().String() }), quiet)
	if err == nil {
		t.Fatal("two listen on one port")
	}
	_, proposal, _ := strings.Cut(err.Error(), "--listen ")
	if proposal == taken.Addr().String() {
		t.Errorf("%v: proposes what is taken", err)
	}
	start(t, settings(t.TempDir(), func(c *config.Config) { c.Listen = proposal }))
}

// TestLoginServer: the name that clients are told to log in to, in the control
// plane, in challenges and in events.
func TestLoginServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		set  func(*config.Config)
		want string // PORT is the one listened on
	}{
		{"as it comes", func(*config.Config) {}, "dockbell.dockbell.localhost:PORT"},
		{"own domain", func(c *config.Config) { c.Domain = "registry.example" }, "dockbell.registry.example:PORT"},
		{"domain with a port", func(c *config.Config) { c.Domain = "registry.example:8443" }, "dockbell.registry.example:8443"},
		{"own name", func(c *config.Config) { c.RegistryName = "contoso" }, "contoso.dockbell.localhost:PORT"},
		{"external URL", func(c *config.Config) { c.ExternalURL = mustURL("https://images.example") }, "images.example"},
		{"external URL with a port", func(c *config.Config) { c.ExternalURL = mustURL("https://images.example:8443") }, "images.example:8443"},
		{"alias", func(c *config.Config) { c.Aliases = []string{"images.svc"} }, "dockbell.dockbell.localhost:PORT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			s := start(t, settings(data, test.set))
			_, port, _ := net.SplitHostPort(s.Addr().String())
			want := strings.ReplaceAll(test.want, "PORT", port)

			_, header, _ := s.do("GET", "/v2/", nil)
			if service := `service="` + want + `"`; !strings.Contains(header.Get("WWW-Authenticate"), service) {
				t.Errorf("challenge %s, want %s", header.Get("WWW-Authenticate"), service)
			}
			var registry struct{ Properties struct{ LoginServer string } }
			_, _, body := s.do("GET", "/api/v1/registries/"+s.Operator(), nil, s.asOperator)
			if err := json.Unmarshal(body, &registry); err != nil || registry.Properties.LoginServer != want {
				t.Errorf("control plane: %v %s, want %s", err, body, want)
			}
			// Whoever uses that name is answered.
			s.push("app", "v1", host(want))
			s.stop()
			e := events(t, data)[0]
			if e.Registry.LoginServer != want || e.Request.Host != want {
				t.Errorf("event: login server %s, host %s; want %s", e.Registry.LoginServer, e.Request.Host, want)
			}
			scheme := "http"
			if strings.HasPrefix(want, "images.example") {
				scheme = "https" // the external URL's
			}
			if r := e.Registry; r.Scheme != scheme || r.Node.Addr != "127.0.0.1:"+port || r.Node.ID == "" {
				t.Errorf("event: scheme %s, node %+v; want %s, 127.0.0.1:%s", r.Scheme, r.Node, scheme, port)
			}
		})
	}
}

// TestSecondRegistry: an external URL is the name of the default registry only.
func TestSecondRegistry(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	start(t, settings(data, func(c *config.Config) { c.RegistryName = "fabrikam" })).stop()
	s := start(t, settings(data, func(c *config.Config) {
		c.RegistryName, c.Domain, c.ExternalURL = "contoso", "registry.example", mustURL("https://images.example")
	}))
	for name, want := range map[string]string{
		"images.example":            "images.example",
		"contoso.registry.example":  "images.example",
		"127.0.0.1":                 "images.example",
		"fabrikam.registry.example": "fabrikam.registry.example",
	} {
		_, header, _ := s.do("GET", "/v2/", nil, host(name))
		if got := header.Get("WWW-Authenticate"); !strings.Contains(got, `realm="http://`+name+`/oauth2/token",service="`+want+`"`) {
			t.Errorf("%s: %s, want service %s", name, got, want)
		}
	}
	// What is pushed to one is not in the other.
	s.push("app", "v1", host("fabrikam.registry.example"))
	for name, want := range map[string]int{"fabrikam.registry.example": http.StatusOK, "contoso.registry.example": http.StatusNotFound} {
		if status, _, body := s.do("GET", "/v2/app/manifests/v1", nil, s.asOperator, host(name)); status != want {
			t.Errorf("%s: %d %s, want %d", name, status, body, want)
		}
	}
}

// counter is a receiver that counts how often each event rang.
type counter struct {
	mu   sync.Mutex
	rang map[string]int
	more chan struct{}
	gate <-chan struct{} // nil, or closed when answers may go out
	came chan struct{}   // a request is at the gate
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ ID string }
	text, err := io.ReadAll(r.Body)
	if err := errors.Join(err, json.Unmarshal(text, &body)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if c.gate != nil {
		select {
		case c.came <- struct{}{}:
		default:
		}
		<-c.gate
	}
	c.mu.Lock()
	c.rang[body.ID]++
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func newCounter() *counter {
	return &counter{rang: map[string]int{}, more: make(chan struct{}, 1), came: make(chan struct{}, 1)}
}

// await waits until n events rang.
func (c *counter) await(t *testing.T, n int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		c.mu.Lock()
		have := len(c.rang)
		c.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-c.more:
		case <-deadline:
			t.Fatalf("%d of %d events rang", have, n)
		}
	}
}

// once checks that each event rang once.
func (c *counter) once(t *testing.T, all []*event.Event) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range all {
		if c.rang[e.ID] != 1 {
			t.Errorf("event %d (%s:%s) rang %d times", e.Pos, e.Target.Repository, e.Target.Tag, c.rang[e.ID])
		}
	}
	if len(c.rang) != len(all) {
		t.Errorf("%d events, %d of them rang", len(all), len(c.rang))
	}
}

// TestStopAfterPushes: a server that is stopped right after its answers has
// delivered or keeps what it owes, and nothing rings twice.
func TestStopAfterPushes(t *testing.T) {
	t.Parallel()
	bell := newCounter()
	receiver := httptest.NewServer(bell)
	defer receiver.Close()
	data := t.TempDir()
	const rounds, pushes = 5, 20
	for round := range rounds {
		s := start(t, settings(data))
		if round == 0 {
			s.webhook("deployhook", receiver.URL)
		}
		var wg sync.WaitGroup
		for i := range pushes {
			wg.Go(func() { s.push("app", fmt.Sprintf("v%d.%d", round, i)) })
		}
		wg.Wait()
		s.stop()
	}
	s := start(t, settings(data))
	bell.await(t, rounds*pushes)
	s.stop()
	all := events(t, data)
	if len(all) != rounds*pushes {
		t.Errorf("%d events for %d pushes", len(all), rounds*pushes)
	}
	bell.once(t, all)
}

// TestStopWaitsForAnswers: a request that is under way when the server is asked
// to stop may end, and counts.
func TestStopWaitsForAnswers(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	bell := newCounter()
	bell.gate = gate
	receiver := httptest.NewServer(bell)
	defer receiver.Close()
	data := t.TempDir()
	s := start(t, settings(data))
	s.webhook("deployhook", receiver.URL)
	s.push("app", "v1")
	<-bell.came
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	for { // until it takes no more connections
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			break
		}
		c.Close()
	}
	select {
	case <-stopped:
		t.Error("the server did not wait for the answer")
	default:
	}
	close(gate)
	<-stopped
	bell.once(t, events(t, data))
	read(t, data, func(tx *sqldb.Tx) error {
		var outcome string
		var owed int
		if err := tx.Get("SELECT count(*) FROM delivery", nil, &owed); err != nil || owed != 0 {
			t.Errorf("%d deliveries are owed, %v", owed, err)
		}
		err := tx.Get("SELECT outcome FROM attempt", nil, &outcome)
		if outcome != "delivered" {
			t.Errorf("the log says %q", outcome)
		}
		return err
	})
}

// ownCertificate writes a certificate for this machine, as an operator has one, and
// returns its files and who trusts it.
func ownCertificate(t *testing.T, dir string) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	ca, err := localca.Open(dir, []string{"localhost", "127.0.0.1", "dockbell.localhost", "*.dockbell.localhost"}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authority, err := os.ReadFile(filepath.Join(dir, localca.CertificateFile))
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	return certFile, keyFile, pool
}

// TestTLS: with a certificate everything the server says of itself is https.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, pool := ownCertificate(t, dir)
	with := func(cert, key string) *config.Config {
		return settings(t.TempDir(), func(c *config.Config) { c.TLSCert, c.TLSKey = cert, key })
	}
	s := start(t, with(certFile, keyFile))
	s.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	_, header, _ := s.do("GET", "/v2/", nil)
	if want := `Bearer realm="https://` + s.Addr().String() + `/oauth2/token"`; !strings.HasPrefix(header.Get("WWW-Authenticate"), want) {
		t.Errorf("challenge %s, want %s", header.Get("WWW-Authenticate"), want)
	}
	s.push("app", "v1")
	var told bytes.Buffer
	s.Announce(&told)
	if !strings.Contains(told.String(), "dockbell login https://"+s.Addr().String()) {
		t.Errorf("told:\n%s", &told)
	}
	for _, pair := range [][2]string{{filepath.Join(dir, "none.pem"), keyFile}, {certFile, certFile}, {keyFile, keyFile}} {
		if _, err := app.Open(t.Context(), with(pair[0], pair[1]), quiet); err == nil || !strings.Contains(err.Error(), "--tls-cert "+pair[0]) {
			t.Errorf("with %v: %v", pair, err)
		}
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	var told bytes.Buffer
	if err := app.Demo(t.Context(), &told, true); err != nil {
		t.Fatalf("%v\n%s", err, &told)
	}
	want := regexp.MustCompile(`^server    http://127\.0\.0\.1:\d+  \(registry dockbell, data in a temporary folder\)
receiver  http://127\.0\.0\.1:\d+/
webhook   demohook rings http://127\.0\.0\.1:\d+/ on push and delete
(?s:.*)push      127\.0\.0\.1:\d+/hello/world:v1  sha256:[0-9a-f]{12}  4\.0 MiB in [0-9.]+ ms
`)
	if !want.Match(told.Bytes()) {
		t.Errorf("the demo tells:\n%s\nwant %s", &told, want)
	}
	for _, line := range []string{
		`(?m)^ring      POST /  push hello/world:v1  sha256:[0-9a-f]{12}  rang [0-9.]+ ms after the transaction began, pulled it from inside the handler: 200$`,
		`(?m)^log       [0-9a-f-]{36}  push hello/world:v1  200 OK$`,
	} {
		if n := len(regexp.MustCompile(line).FindAll(told.Bytes(), -1)); n != 1 {
			t.Errorf("%d lines are %s, want 1:\n%s", n, line, &told)
		}
	}
}
