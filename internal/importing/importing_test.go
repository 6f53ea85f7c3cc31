package importing_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dockbell/dockbell/internal/blob/fs"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/importing"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/ociserver"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// world is a server with a registry to import into, and another that is imported
// from.
type world struct {
	t      *testing.T
	into   oci.Contents
	there  oci.Contents // as its own people push to it
	url    *url.URL     // of the other
	rang   []string     // in the first: action and image
	tamper func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	asked []string // of the other
}

func newStore(t *testing.T, committed func(outbox.Entry)) *registry.Store {
	t.Helper()
	files, err := fs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	return registry.New(registry.Options{
		DB: sqldbtest.SQLite(t)(), Blobs: files, Log: slog.New(slog.DiscardHandler), UploadKey: make([]byte, 32),
		Outbox: outbox.New(committed), Wanted: func(int64, event.Action) bool { return false },
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	here := newStore(t, func(e outbox.Entry) {
		w.rang = append(w.rang, string(e.Event.Action)+" "+e.Event.Target.Repository+":"+e.Event.Target.Tag)
	})
	w.into = here.For(event.Registry{ID: 1, Name: "contoso"}, registry.Caller{})
	w.there = newStore(t, func(outbox.Entry) {}).For(event.Registry{ID: 1, Name: "elsewhere"}, registry.Caller{})
	face := ociserver.New(ociserver.Config{
		Open: func(*http.Request) (oci.Registry, error) { return w.there, nil }, MaxManifestSize: 4 << 20, Log: slog.New(slog.DiscardHandler),
	})
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, r.Method+" "+r.URL.Path)
		w.mu.Unlock()
		if w.tamper == nil || !w.tamper(rw, r) {
			face.ServeHTTP(rw, r)
		}
	}))
	t.Cleanup(s.Close)
	w.url, _ = url.Parse(s.URL)
	return w
}

// questions returns what was asked of the other since the last time.
func (w *world) questions() (asked []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked, w.asked = w.asked, nil
	return asked
}

func (w *world) source(repo oci.Repository, change ...func(*importing.Login)) importing.Source {
	w.t.Helper()
	client := outbound.New(outbound.Options{Policy: outbound.Policy{Loopback: true}})
	w.t.Cleanup(client.Close)
	transport := client.Transport()
	w.t.Cleanup(transport.CloseIdleConnections)
	login := importing.Login{Host: w.url.Host, PlainHTTP: true}
	for _, c := range change {
		c(&login)
	}
	from, err := importing.Remote(transport, login, repo, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	return from
}

func (w *world) blob(repo oci.Repository, content string) string {
	w.t.Helper()
	id, err := w.there.StartUpload(w.t.Context(), repo)
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := w.there.CommitUpload(w.t.Context(), repo, id, -1, strings.NewReader(content), oci.FromBytes(oci.SHA256, []byte(content)))
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}`, d.Digest, d.Size)
}

func (w *world) push(repo oci.Repository, data string, tags ...oci.Tag) oci.Descriptor {
	w.t.Helper()
	put, err := w.there.PutManifest(w.t.Context(), repo, oci.ManifestPut{Data: []byte(data), Digest: oci.FromBytes(oci.SHA256, []byte(data)), Tags: tags})
	if err != nil {
		w.t.Fatal(err)
	}
	return put.Descriptor
}

// image pushes an image of two blobs that no other has.
func (w *world) image(repo oci.Repository, name string, tags ...oci.Tag) oci.Descriptor {
	w.t.Helper()
	return w.push(repo, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		oci.MediaTypeImageManifest, w.blob(repo, `{"name":"`+name+`"}`), w.blob(repo, strings.Repeat(name, 50_000))), tags...)
}

func index(children ...oci.Descriptor) string {
	var list []string
	for _, d := range children {
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size))
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, oci.MediaTypeImageIndex, strings.Join(list, ","))
}

func (w *world) copy(from importing.Source, reference string, force bool, targets ...string) error {
	w.t.Helper()
	_, ref, err := importing.ParseSource("app" + reference)
	if err != nil {
		w.t.Fatal(err)
	}
	into, err := importing.ParseTargets(targets, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return importing.Copy(w.t.Context(), from, w.into, importing.Image{Reference: ref, Targets: into, Force: force})
}

// same fails unless a registry has what the other one has.
func (w *world) same(repo oci.Repository, ref oci.Reference, want oci.Digest) {
	w.t.Helper()
	got, err := w.into.GetManifest(w.t.Context(), repo, ref)
	if err != nil || got.Descriptor.Digest != want {
		w.t.Fatalf("%s %s: %+v, error %v; want %s", repo, ref, got, err, want)
	}
	parsed, err := oci.ParseManifest(got.Descriptor.MediaType, got.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range parsed.References {
		if r.Kind == oci.RefersChild {
			w.same(repo, oci.Reference{Digest: r.Descriptor.Digest}, r.Descriptor.Digest)
			continue
		}
		b, err := w.into.OpenBlob(w.t.Context(), repo, r.Descriptor.Digest)
		if err != nil {
			w.t.Fatal(err)
		}
		content, err := io.ReadAll(b.Content)
		b.Content.Close()
		if err != nil || oci.FromBytes(oci.SHA256, content) != r.Descriptor.Digest {
			w.t.Errorf("blob %s: %d bytes, error %v", r.Descriptor.Digest, len(content), err)
		}
	}
}

// TestCopy copies an image, and an index with all it lists, under the names that
// were asked for; and a second time only what is missing.
func TestCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	amd := w.image("src", "amd64")
	arm := w.image("src", "arm64")
	inner := w.push("src", index(w.image("src", "riscv")))
	top := w.push("src", index(amd, arm, inner), "v1")
	from := w.source("src")
	w.questions()
	if err := w.copy(from, ":v1", false, "team/app:v1", "team/app:latest", "other"); err != nil {
		t.Fatal(err)
	}
	w.same("team/app", oci.Reference{Tag: "v1"}, top.Digest)
	w.same("other", oci.Reference{Tag: "latest"}, top.Digest)
	asked := w.questions()
	blobs := 0
	for _, q := range asked {
		if strings.Contains(q, "/blobs/") {
			blobs++
		}
		if !strings.HasPrefix(q, "GET ") {
			t.Errorf("it is asked %s", q)
		}
	}
	if blobs != 6 {
		t.Errorf("%d blobs were asked for, want each of the 6 once: %q", blobs, asked)
	}
	if want := "push team/app:v1"; !slices.Contains(w.rang, want) || w.rang[len(w.rang)-1] != "push other:latest" || strings.Count(strings.Join(w.rang, " "), "push team/app: ") != 4 {
		t.Errorf("it rang %q", w.rang)
	}

	// A tag that is there stays, unless it may move.
	other := w.image("src", "newer", "v2")
	before := len(w.rang)
	err := w.copy(from, ":v2", false, "team/app:new", "team/app:v1")
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "team/app:v1 exists already") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("error %v", err)
	}
	if len(w.rang) != before {
		t.Errorf("a refused import rang %q", w.rang[before:])
	}
	if err := w.copy(from, ":v2", true, "team/app:v1"); err != nil {
		t.Fatal(err)
	}
	w.same("team/app", oci.Reference{Tag: "v1"}, other.Digest)

	// By digest, and what is there is not asked for.
	w.questions()
	if err := w.copy(from, "@"+string(amd.Digest), false, "team/app:amd64"); err != nil {
		t.Fatal(err)
	}
	w.same("team/app", oci.Reference{Tag: "amd64"}, amd.Digest)
	if asked := w.questions(); len(asked) != 1 {
		t.Errorf("it is asked %q, want for the manifest alone", asked)
	}
}

// TestLocal copies from another registry of the same server.
func TestLocal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	top := w.push("src", index(w.image("src", "amd64")), "v1")
	if err := w.copy(importing.Local(w.there, "src"), ":v1", false, "app:v1"); err != nil {
		t.Fatal(err)
	}
	w.same("app", oci.Reference{Tag: "v1"}, top.Digest)
	if asked := w.questions(); len(asked) != 0 {
		t.Errorf("it was asked over the network: %q", asked)
	}
	err := w.copy(importing.Local(w.there, "src"), ":v2", false, "app:v2")
	if !fault.Is(err, fault.Invalid) || fault.As(err).Code != "ImportSourceNotFound" {
		t.Errorf("error %v", err)
	}
}

// TestCredentials: a registry that wants a token is answered as it says, and
// credentials are in no error.
func TestCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.image("src", "amd64", "v1")
	w.tamper = func(rw http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token":
			if user, password, _ := r.BasicAuth(); user != "ada" || password != "s3cret" {
				rw.WriteHeader(http.StatusUnauthorized)
				return true
			}
			if scope := r.URL.Query().Get("scope"); scope != "repository:src:pull" {
				t.Errorf("scope %q", scope)
			}
			io.WriteString(rw, `{"token":"t0k3n"}`)
			return true
		case r.Header.Get("Authorization") != "Bearer t0k3n":
			rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="elsewhere",scope="repository:src:pull"`, r.Host))
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	for _, wrong := range []string{"", "wr0ng"} {
		err := w.copy(w.source("src", func(l *importing.Login) {
			if wrong != "" {
				l.Username, l.Password = "ada", wrong
			}
		}), ":v1", false, "app:v1")
		if fault.As(err).Code != "ImportSourceUnauthorized" || !strings.Contains(err.Error(), "--username") || wrong != "" && strings.Contains(fmt.Sprintf("%+v %v", err, errors.Unwrap(err)), wrong) {
			t.Errorf("password %q: error %v", wrong, err)
		}
	}
	if err := w.copy(w.source("src", func(l *importing.Login) { l.Username, l.Password = "ada", "s3cret" }), ":v1", false, "app:v1"); err != nil {
		t.Fatal(err)
	}
	w.same("app", oci.Reference{Tag: "v1"}, d.Digest)
}

// TestHostileSources: whatever a source answers, nothing wrong is stored and the
// error says what is the matter, and no address that a name leads to.
func TestHostileSources(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		tamper func(w *world, rw http.ResponseWriter, r *http.Request) bool
		code   string
		says   string
	}{
		{"nothing there", func(_ *world, rw http.ResponseWriter, r *http.Request) bool { http.NotFound(rw, r); return true }, "ImportSourceNotFound", "there is no image"},
		{"broken", func(_ *world, rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(500); return true }, "ImportSourceUnavailable", "answered with status 500"},
		{"busy", func(_ *world, rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(429); return true }, "ImportSourceUnavailable", "asked too often"},
		{"another blob", func(_ *world, rw http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				io.WriteString(rw, strings.Repeat("x", 16))
				return true
			}
			return false
		}, "", ""},
		{"a manifest without end", func(_ *world, rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			for range 5 << 10 {
				rw.Write(make([]byte, 1<<10))
			}
			return true
		}, "", ""},
		{"blobs beyond all bounds", func(_ *world, rw http.ResponseWriter, r *http.Request) bool {
			blob := `{"mediaType":"application/octet-stream","digest":"sha256:` + strings.Repeat("a", 64) + `","size":9223372036854775807}`
			rw.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			fmt.Fprintf(rw, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%[2]s,%[2]s]}`, oci.MediaTypeImageManifest, blob)
			return true
		}, "", "200 GiB"},
		{"to the metadata of the cloud", func(_ *world, rw http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(rw, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
				return true
			}
			return false
		}, "ImportSourceRefused", "169.254.169.254 is "},
		{"to a private address for tokens", func(_ *world, rw http.ResponseWriter, _ *http.Request) bool {
			rw.Header().Set("WWW-Authenticate", `Bearer realm="http://10.1.2.3/token",service="x"`)
			rw.WriteHeader(401)
			return true
		}, "ImportSourceUnavailable", "its answer is not one of a registry"},
		{"round and round", func(_ *world, rw http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(rw, r, r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
			return false
		}, "ImportSourceUnavailable", "redirects too often"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.image("src", "amd64", "v1")
			w.tamper = func(rw http.ResponseWriter, r *http.Request) bool { return tt.tamper(w, rw, r) }
			err := w.copy(w.source("src", func(l *importing.Login) { l.Username, l.Password = "ada", "s3cret" }), ":v1", false, "app:v1")
			f := fault.As(err)
			if err == nil || f.Kind == fault.Internal || tt.code != "" && f.Code != tt.code || !strings.Contains(f.Message, tt.says) || strings.Contains(f.Message, "s3cret") {
				t.Errorf("error %v (%s), want code %s and %q", err, f.Kind, tt.code, tt.says)
			}
			if len(w.rang) != 0 {
				t.Errorf("it rang %q", w.rang)
			}
			if _, err := w.into.GetManifest(t.Context(), "app", oci.Reference{Tag: "v1"}); err == nil {
				t.Error("the tag is there")
			}
		})
	}
}

// TestPolicy: a registry at an address that may not be rung is not asked, and the
// error says which flag would have it.
func TestPolicy(t *testing.T) {
	t.Parallel()
	client := outbound.New(outbound.Options{})
	defer client.Close()
	for host, flag := range map[string]string{"10.0.0.7:5000": "--allow-destinations 10.0.0.0/8", "127.0.0.1:5000": "--allow-destinations 127.0.0.0/8"} {
		from, err := importing.Remote(client.Transport(), importing.Login{Host: host}, "app", "test")
		if err != nil {
			t.Fatal(err)
		}
		_, err = from.Manifest(t.Context(), oci.Reference{Tag: "v1"})
		if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v, want %s", host, err, flag)
		}
	}
}

func TestCancelledCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.image("src", "amd64", "v1")
	ctx, cancel := context.WithCancel(t.Context())
	w.tamper = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			cancel()
			<-r.Context().Done()
		}
		return false
	}
	targets, _ := importing.ParseTargets([]string{"app:v1"}, nil)
	err := importing.Copy(ctx, w.source("src"), w.into, importing.Image{Reference: oci.Reference{Tag: "v1"}, Targets: targets})
	if err == nil || ctx.Err() == nil || len(w.rang) != 0 {
		t.Errorf("error %v, rang %q", err, w.rang)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	dgst := "sha256:" + strings.Repeat("a", 64)
	for text, want := range map[string]string{
		"library/alpine:3":      "library/alpine 3",
		"alpine":                "alpine latest",
		"alpine@" + dgst:        "alpine " + dgst,
		"alpine:3@" + dgst:      "alpine " + dgst,
		"":                      "",
		"Alpine:3":              "",
		"alpine:":               "",
		"alpine@sha256:1":       "",
		"host.example:80/a:1":   "",
		"alpine:3:4":            "",
		"alpine@" + dgst + "@x": "",
	} {
		repo, ref, err := importing.ParseSource(text)
		got := string(repo) + " " + ref.String()
		if want == "" && !fault.Is(err, fault.Invalid) || want != "" && (err != nil || got != want) {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	targets, err := importing.ParseTargets([]string{"a:1", "b", "a:2", "a:1"}, []string{"c", "a"})
	if got := fmt.Sprint(targets); err != nil || got != "[{a [1 2]} {b [latest]} {c []}]" {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range [][2][]string{{nil, nil}, {{"A:1"}, nil}, {{"a:-"}, nil}, {nil, {"a:1"}}, {slices.Repeat([]string{"a"}, 101), nil}} {
		if targets, err := importing.ParseTargets(bad[0], bad[1]); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, %v", bad, targets, err)
		}
	}
}

// FuzzParse: whatever is sent is refused or is names of images.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"alpine:3", "a@sha256:" + strings.Repeat("a", 64), "::", "@", "a:b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if repo, ref, err := importing.ParseSource(s); err == nil && (repo == "" || (ref.Tag == "") == (ref.Digest == "")) {
			t.Errorf("%q: %q %+v", s, repo, ref)
		}
		if targets, err := importing.ParseTargets([]string{s}, []string{s}); err == nil && len(targets) != 1 {
			t.Errorf("%q: %v", s, targets)
		}
	})
}
