package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/app"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/oci"
)

// pushChart pushes a package to the registry of a host.
func (r *running) pushChart(name, version string, changes ...func(*http.Request)) []byte {
	r.t.Helper()
	data := app.HelmPackage(r.t, name, version)
	changes = append([]func(*http.Request){r.asOperator}, changes...)
	status, header, answer := r.do("PUT", fmt.Sprintf("/helm/v1/repo/_blobs/%s-%s.tgz", name, version), data, changes...)
	if status != http.StatusCreated || header.Get("X-Ms-Correlation-Request-Id") == "" {
		r.t.Fatalf("push of %s %s: %d %v %s", name, version, status, header, answer)
	}
	return data
}

// rings is a receiver that writes down what rings where.
type rings struct {
	mu    sync.Mutex
	lines []string // path of the URL, action or type, and tag
	body  map[string][]byte
	more  chan struct{}
}

func (d *rings) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var e struct {
		Action  string
		Type    string
		Subject string
		Target  struct{ Tag string }
	}
	json.Unmarshal(body, &e) // an empty line then
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, strings.Join([]string{r.URL.Path, e.Action + e.Type, e.Target.Tag + e.Subject}, " "))
	d.body[r.URL.Path] = body
	select {
	case d.more <- struct{}{}:
	default:
	}
}

// await waits for n rings and returns them, sorted.
func (d *rings) await(t *testing.T, n int) []string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		d.mu.Lock()
		lines := slices.Sorted(slices.Values(d.lines))
		d.mu.Unlock()
		if len(lines) >= n {
			return lines
		}
		select {
		case <-d.more:
		case <-deadline:
			t.Fatalf("%d of %d rings: %q", len(lines), n, lines)
		}
	}
}

// TestChartsRing has charts pushed, overwritten and deleted on a real server, and
// looks at who hears of it: by action, and by scope.
func TestChartsRing(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := start(t, settings(data))
	heard := &rings{body: map[string][]byte{}, more: make(chan struct{}, 1)}
	receiver := httptest.NewServer(heard)
	t.Cleanup(receiver.Close)
	const both = `"chart_push","chart_delete"`
	for name, hook := range map[string]struct{ scope, actions, format string }{
		"everything": {"", both, ""},
		"repository": {"repo:*", both, ""},
		"onechart":   {"repo:hello-*", both, ""},
		"oneversion": {"repo:hello-0.1.0.tgz", both, ""},
		"deletes":    {"", `"chart_delete"`, ""},
		"structured": {"repo:hello-0.1.0.tgz", `"chart_push"`, `,"format":"cloudevents","handshake":"none"`},
		"otherrepo":  {"charts:*", both, ""},
		"latestonly": {"repo", both, ""},
		"imagesonly": {"", `"push","delete"`, ""},
	} {
		body := fmt.Appendf(nil, `{"location":"local","properties":{"serviceUri":"%s/%s","scope":%q,"actions":[%s]%s}}`, receiver.URL, name, hook.scope, hook.actions, hook.format)
		if status, _, answer := s.do("PUT", "/api/v1/registries/"+s.Operator()+"/webhooks/"+name, body, s.asOperator); status/100 != 2 {
			t.Fatalf("webhook %s: %d %s", name, status, answer)
		}
	}
	pushed := s.pushChart("hello", "0.1.0")
	s.pushChart("hello", "0.2.0")
	s.pushChart("world", "0.1.0")
	for _, call := range []struct{ method, path string }{
		{"PATCH", "_blobs/hello-0.1.0.tgz"}, {"PUT", "_blobs/hello-0.1.0.tgz"}, {"DELETE", "_blobs/hello-0.2.0.tgz"}, {"DELETE", "_charts/hello"}, {"DELETE", "_charts/none"},
	} {
		s.do(call.method, "/helm/v1/repo/"+call.path, pushed, s.asOperator)
	}
	s.push("repo", "hello-0.1.0.tgz") // an image of the same name is none of theirs

	var want []string
	for _, change := range []string{
		"chart_push hello-0.1.0.tgz", "chart_push hello-0.1.0.tgz", "chart_push hello-0.2.0.tgz", "chart_push world-0.1.0.tgz", // the second overwrites
		"chart_delete hello-0.1.0.tgz", "chart_delete hello-0.2.0.tgz",
	} {
		want = append(want, "/everything "+change, "/repository "+change)
		if strings.Contains(change, "hello") {
			want = append(want, "/onechart "+change)
		}
		if strings.Contains(change, "hello-0.1.0") {
			want = append(want, "/oneversion "+change)
		}
		if strings.Contains(change, "delete") {
			want = append(want, "/deletes "+change)
		}
	}
	want = append(want, "/imagesonly push hello-0.1.0.tgz",
		"/structured Microsoft.ContainerRegistry.ChartPushed hello:0.1.0", "/structured Microsoft.ContainerRegistry.ChartPushed hello:0.1.0")
	slices.Sort(want)
	if got := heard.await(t, len(want)); !slices.Equal(got, want) {
		t.Errorf("rang:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	s.stop()
	if got := heard.await(t, len(want)); len(got) != len(want) {
		t.Errorf("and %d more", len(got)-len(want))
	}
	digest := oci.FromBytes(oci.SHA256, pushed)
	target := fmt.Sprintf(`"target":{"mediaType":"application/vnd.acr.helm.chart","size":%d,"digest":%q,"repository":"repo","tag":"hello-0.1.0.tgz","name":"hello","version":"0.1.0"}}`, len(pushed), digest)
	if got := heard.body["/oneversion"]; !bytes.HasSuffix(got, []byte(`"action":"chart_delete",`+target)) {
		t.Errorf("the body is %s", got)
	}
	for _, e := range events(t, data) {
		if e.Target.Name != "" && (e.Request.ID == "" || e.Request.Addr != "127.0.0.1" || e.Actor != "dockbell") {
			t.Errorf("%+v", e)
		}
	}
}

// TestChartsOfARegistry: another registry has charts of its own, which count in its
// usage.
func TestChartsOfARegistry(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	contoso := host("contoso.dockbell.localhost")
	if status, _, answer := s.do("PUT", "/api/v1/registries/contoso", []byte(`{"location":"local","sku":{"name":"Basic"}}`), s.asOperator); status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	s.pushChart("hello", "0.1.0")
	size := len(s.pushChart("world", "0.1.0", contoso)) + len(s.pushChart("world", "0.2.0", contoso))
	list := func(changes ...func(*http.Request)) string {
		status, _, answer := s.do("GET", "/helm/v1/repo/_charts", nil, append(changes, s.asOperator)...)
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		return string(answer)
	}
	if own, other := list(), list(contoso); strings.Contains(own, "world") || strings.Contains(other, "hello") || !strings.Contains(other, "world") {
		t.Errorf("one lists %s, the other %s", own, other)
	}
	_, _, answer := s.do("GET", "/api/v1/registries/contoso/listUsages", nil, s.asOperator)
	var usages struct {
		Value []struct {
			Name         string
			CurrentValue int
		}
	}
	if err := json.Unmarshal(answer, &usages); err != nil || len(usages.Value) == 0 || usages.Value[0].Name != "Size" || usages.Value[0].CurrentValue != size {
		t.Errorf("%v in %s; want %d bytes", err, answer, size)
	}
}

// TestChartTokens goes the way of az acr helm: a token of the token service, in a
// Bearer field, or as the password that helm repo add was given.
func TestChartTokens(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.pushChart("hello", "0.1.0")
	_, _, answer := s.do("GET", "/oauth2/token?service="+s.loginServer()+"&scope=artifact-repository:repo:pull", nil, s.asOperator)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(answer, &token); err != nil || token.AccessToken == "" {
		t.Fatalf("%v in %s", err, answer)
	}
	for what, as := range map[string]func(*http.Request){
		"bearer": field("Authorization", "Bearer "+token.AccessToken),
		"basic":  func(r *http.Request) { r.SetBasicAuth(auth.TokenUser, token.AccessToken) },
	} {
		for path, want := range map[string]int{"index.yaml": 200, "_blobs/hello-0.1.0.tgz": 200, "_charts/hello": 200} {
			if status, _, answer := s.do("GET", "/helm/v1/repo/"+path, nil, as); status != want {
				t.Errorf("%s: %s: %d %s", what, path, status, answer)
			}
		}
		if status, header, answer := s.do("DELETE", "/helm/v1/repo/_charts/hello", nil, as); status != 401 || !strings.Contains(header.Get("Www-Authenticate"), "insufficient_scope") {
			t.Errorf("%s: delete: %d %s", what, status, answer)
		}
		if status, _, answer := s.do("GET", "/v2/repo/tags/list", nil, as); status != 401 {
			t.Errorf("%s: an image of that name: %d %s", what, status, answer)
		}
	}
}

// loginServer returns what the challenge of the server calls it.
func (r *running) loginServer() string {
	_, header, _ := r.do("GET", "/v2/", nil)
	_, rest, _ := strings.Cut(header.Get("Www-Authenticate"), `service="`)
	service, _, _ := strings.Cut(rest, `"`)
	return service
}
