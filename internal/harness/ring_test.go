package harness_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/harness"
)

// image returns the manifest of an image with one layer.
func image(layer []byte) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		harness.Digest([]byte("{}")), harness.Digest(layer), len(layer))
}

// TestPullFromInsideTheRing: an event is true when it arrives. A receiver that
// pulls the manifest and the layer from inside its handler always gets them.
func TestPullFromInsideTheRing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const pushes, tags, pushers = 200, 7, 200
	s := harness.Start(t, t.TempDir())
	var mu sync.Mutex
	rang := map[string]int{}
	more := make(chan struct{}, pushes*2)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e struct {
			Action string
			Target struct{ Repository, Tag, Digest string }
		}
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
			return
		}
		path := "/v2/" + e.Target.Repository
		status, manifest, err := s.Do(ctx, "GET", path+"/manifests/"+e.Target.Digest, nil, nil)
		if err != nil || status != http.StatusOK || harness.Digest(manifest) != e.Target.Digest {
			t.Errorf("%s is not there: %d %v %s", e.Target.Digest, status, err, manifest)
			return
		}
		// The tag may have moved on by now, but it is there.
		if status, _, err := s.Do(ctx, "HEAD", path+"/manifests/"+e.Target.Tag, nil, nil); err != nil || status != http.StatusOK {
			t.Errorf("tag %s is not there: %d %v", e.Target.Tag, status, err)
		}
		var m struct{ Layers []struct{ Digest string } }
		if err := json.Unmarshal(manifest, &m); err != nil {
			t.Error(err)
			return
		}
		for _, l := range m.Layers {
			if status, blob, err := s.Do(ctx, "GET", path+"/blobs/"+l.Digest, nil, nil); err != nil || status != http.StatusOK || harness.Digest(blob) != l.Digest {
				t.Errorf("layer %s is not there: %d %v, %d bytes", l.Digest, status, err, len(blob))
			}
		}
		mu.Lock()
		rang[e.Target.Digest]++
		mu.Unlock()
		more <- struct{}{}
	}))
	defer receiver.Close()
	s.Webhook("pullhook", receiver.URL, "push")
	for _, repo := range []string{"app", "team/web"} {
		if err := s.PushBlob(ctx, repo, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]int{}
	gate := make(chan int)
	var wg sync.WaitGroup
	for range pushers {
		wg.Go(func() {
			for i := range gate {
				repo := []string{"app", "team/web"}[i%2]
				layer := bytes.Repeat(fmt.Appendf(nil, "layer %d ", i), 1+i%3*5000) // in the database, and in files
				manifest := image(layer)
				err := s.PushBlob(ctx, repo, layer)
				if err == nil {
					var status int
					status, _, err = s.Do(ctx, "PUT", fmt.Sprintf("/v2/%s/manifests/v%d", repo, i%tags), harness.ManifestType, manifest)
					if err == nil && status != http.StatusCreated {
						err = fmt.Errorf("status %d", status)
					}
				}
				if err != nil {
					t.Errorf("push %d: %v", i, err)
					continue
				}
				mu.Lock()
				want[harness.Digest(manifest)] = 1
				mu.Unlock()
			}
		})
	}
	for i := range pushes {
		gate <- i
	}
	close(gate)
	wg.Wait()
	deadline := time.After(30 * time.Second)
	for range pushes {
		select {
		case <-more:
		case <-deadline:
			t.Fatal("not all rang")
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, rang); diff != "" {
		t.Errorf("-pushed +rang:\n%s", diff)
	}
}

// wire is a receiver that keeps requests byte for byte.
type wire struct {
	net.Listener
	requests chan string
}

func listenWire(t *testing.T) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l, make(chan string, 100)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(c)
		}
	}()
	return w
}

var contentLength = regexp.MustCompile(`(?mi)^content-length: (\d+)\r$`)

func (w *wire) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
		}
		m := contentLength.FindStringSubmatch(head.String())
		if m == nil {
			w.requests <- head.String() + "(no Content-Length)"
			return
		}
		n, _ := strconv.Atoi(m[1])
		body := make([]byte, n)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		w.requests <- head.String() + string(body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// next returns the next request, with what no two runs have in common replaced.
func (w *wire) next(t *testing.T, s *harness.Server) string {
	t.Helper()
	var r string
	select {
	case r = <-w.requests:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing rings")
	}
	for _, v := range []struct{ is, name string }{
		{regexp.QuoteMeta(s.Host), "REGISTRY"},
		{regexp.QuoteMeta(w.Addr().String()), "RECEIVER"},
		{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, "GUID"},
		{`"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"`, `"timestamp":"NINE DIGITS"`},
		{`"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z"`, `"timestamp":"SEVEN DIGITS"`},
		{`(?m)^Webhook-Timestamp: \d{10}\r$`, "Webhook-Timestamp: SECONDS\r"},
		{`(?m)^Dockbell-Hops: [A-Z2-7]{26}\r$`, "Dockbell-Hops: SERVER\r"},
		{`(?m)^Webhook-Signature: v1,[A-Za-z0-9+/]{43}=\r$`, "Webhook-Signature: v1,SIGNATURE\r"},
		{`(?m)^Content-Length: \d+\r$`, "Content-Length: LENGTH\r"}, // read by it, so it is right
	} {
		r = regexp.MustCompile(v.is).ReplaceAllLiteralString(r, v.name)
	}
	return strings.ReplaceAll(r, "\r\n", "\n")
}

// TestDelivered compares whole requests, headers and bodies, with the contract.
func TestDelivered(t *testing.T) {
	t.Parallel()
	s, w := harness.Start(t, t.TempDir()), listenWire(t)
	s.Must(http.StatusCreated, "PUT", "/api/v1/registries/dockbell/webhooks/deployhook", nil, fmt.Appendf(nil,
		`{"location":"local","properties":{"serviceUri":"http://user:pass%%20word@%s/hook?code=a%%26b","customHeaders":{"X-Env":"prod","x-token":"s3cret"},"actions":["push","delete"]}}`, w.Addr()))
	const head = `POST /hook?code=a%26b HTTP/1.1
Host: RECEIVER
User-Agent: AzureContainerRegistry/1.0 (Dockbell/dev)
Content-Length: LENGTH
Accept-Encoding: identity
Authorization: Basic dXNlcjpwYXNzIHdvcmQ=
Content-Type: application/json; charset=utf-8
Dockbell-Hops: SERVER
Webhook-Id: GUID
Webhook-Signature: v1,SIGNATURE
Webhook-Timestamp: SECONDS
X-Env: prod
X-Token: s3cret

`
	check := func(what, want string) {
		t.Helper()
		if diff := cmp.Diff(want, w.next(t, s)); diff != "" {
			t.Errorf("%s (-want +delivered):\n%s", what, diff)
		}
	}
	s.Must(http.StatusOK, "POST", "/api/v1/registries/dockbell/webhooks/deployhook/ping", nil, nil)
	check("ping", head+`{"id":"GUID","timestamp":"SEVEN DIGITS","action":"ping"}`)

	if err := s.PushBlob(t.Context(), "team/web", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	manifest := harness.Manifest("delivered")
	digest, size := harness.Digest(manifest), len(manifest)
	const agent = `docker/27.3.1 go/go1.22.7 kernel/6.8.0 os/linux arch/amd64 UpstreamClient(Docker-Client/27.3.1 \(linux\)) <&>`
	headers := http.Header{"Content-Type": {"application/vnd.oci.image.manifest.v1+json"}, "User-Agent": {agent}}
	s.Must(http.StatusCreated, "PUT", "/v2/team/web/manifests/2.4.1", headers, manifest)
	check("push", head+fmt.Sprintf(`{"id":"GUID","timestamp":"NINE DIGITS","action":"push","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"size":%d,"digest":%q,"length":%d,"repository":"team/web","tag":"2.4.1"},"request":{"id":"GUID","host":"REGISTRY","method":"PUT","useragent":%q}}`,
		size, digest, size, agent))

	s.Must(http.StatusAccepted, "DELETE", "/v2/team/web/manifests/"+digest, http.Header{"User-Agent": {"python-requests/2.32.3"}}, nil)
	check("delete", head+fmt.Sprintf(`{"id":"GUID","timestamp":"NINE DIGITS","action":"delete","target":{"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"digest":%q,"repository":"team/web"},"request":{"id":"GUID","host":"REGISTRY","method":"DELETE","useragent":"python-requests/2.32.3"}}`, digest))
}

// TestMultiArch pushes as docker buildx does: the children by digest, then the
// index by tag.
func TestMultiArch(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := harness.Start(t, data)
	bodies := make(chan []byte, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		bodies <- body
	}))
	defer receiver.Close()
	s.Webhook("archhook", receiver.URL, "push", "delete")
	if err := s.PushBlob(t.Context(), "app", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	const (
		imageType = "application/vnd.oci.image.manifest.v1+json"
		indexType = "application/vnd.oci.image.index.v1+json"
	)
	type member struct {
		Size, Length          int
		MediaType, Tag, Extra string
	}
	want := map[string]member{}
	var entries []string
	for _, arch := range []string{"amd64", "arm64"} {
		m := harness.Manifest(arch)
		s.Must(http.StatusCreated, "PUT", "/v2/app/manifests/"+harness.Digest(m), harness.ManifestType, m)
		want[harness.Digest(m)] = member{len(m), len(m), imageType, "", "digest length mediaType repository size"}
		entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":%q}}`, imageType, harness.Digest(m), len(m), arch))
	}
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, indexType, strings.Join(entries, ","))
	s.Must(http.StatusCreated, "PUT", "/v2/app/manifests/v1", http.Header{"Content-Type": {indexType}}, index)
	want[harness.Digest(index)] = member{len(index), len(index), indexType, "v1", "digest length mediaType repository size tag"}

	got := map[string]member{}
	for range want {
		var e struct {
			Action  string
			Target  map[string]any
			Request map[string]any
		}
		select {
		case body := <-bodies:
			if err := json.Unmarshal(body, &e); err != nil {
				t.Fatal(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d rang", len(got), len(want))
		}
		if e.Action != "push" || e.Target["repository"] != "app" || e.Request["method"] != "PUT" || e.Request["host"] != s.Host {
			t.Errorf("%+v", e)
		}
		tag, _ := e.Target["tag"].(string)
		got[e.Target["digest"].(string)] = member{int(e.Target["size"].(float64)), int(e.Target["length"].(float64)), e.Target["mediaType"].(string), tag, members(e.Target)}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +rang:\n%s", diff)
	}
	s.Stop() // after which nothing more can ring
	close(bodies)
	for body := range bodies {
		t.Errorf("one too many: %s", body)
	}
}

// members returns the names of an object's members.
func members(object map[string]any) string {
	var names []string
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
