package acrserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/blob/fs"
	"github.com/dockbell/dockbell/internal/chart"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

func openCharts(t testing.TB, db *sqldb.DB) *chart.Store {
	t.Helper()
	files, err := fs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { files.Close() })
	return chart.New(chart.Options{DB: db, Blobs: files, Outbox: outbox.New(func(outbox.Entry) {}), Log: slog.New(slog.DiscardHandler)})
}

// charts is Config.Charts.
func (s *service) charts(r *http.Request) (auth.Charts, error) {
	id, err := s.authority.Authenticate(r, contoso)
	if err != nil {
		return nil, err
	}
	if r.Header.Get("Broken") != "" {
		return nil, errors.New("the disk is on fire")
	}
	return auth.GuardCharts(s.chartStore.For(event.Registry{ID: contoso.ID, Name: contoso.Name}, chart.Caller{}), id, contoso), nil
}

// ask sends a request as the operator, unless a change says otherwise.
func (s *service) ask(method, path string, body []byte, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://registry.test"+path, bytes.NewReader(body))
	r.SetBasicAuth(user, password)
	for _, c := range change {
		c(r)
	}
	return s.do(r)
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func anonymous(r *http.Request) { r.Header.Del("Authorization") }

// helmPackage returns a package with a filler that no compression makes smaller.
func helmPackage(name, version string, filler int) []byte {
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	w := tar.NewWriter(zip)
	noise := make([]byte, filler)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for _, file := range [][2]string{
		{"Chart.yaml", "apiVersion: v2\nname: " + name + "\nversion: " + version + "\nappVersion: \"1.16\"\ndescription: says <hello> & more\n"},
		{"filler", string(noise)},
	} {
		w.WriteHeader(&tar.Header{Name: name + "/" + file[0], Mode: 0o644, Size: int64(len(file[1]))})
		io.WriteString(w, file[1])
	}
	w.Close()
	zip.Close()
	return buf.Bytes()
}

const repo = "/helm/v1/repo"

// TestCharts goes through the life of a chart as its clients see it.
func TestCharts(t *testing.T) {
	t.Parallel()
	s := newService(t)
	small, large := helmPackage("hello", "0.1.0", 10), helmPackage("hello", "0.2.0+b.7", 200_000)
	digest := oci.FromBytes(oci.SHA256, large)
	provenance := []byte("signed: " + string(digest))
	const saved, deleted = "{\"saved\":true}\n", "{\"deleted\":true}\n"
	for i, step := range []struct {
		method, path string
		body         []byte
		status       int
		want         string // the body, or the code in it
	}{
		{"GET", "/_charts", nil, 200, "{}\n"},
		{"GET", "/_charts/hello", nil, 404, chart.CodeNotFound},
		{"PATCH", "/_blobs/hello-0.1.0.tgz", small, 404, chart.CodeNotFound},
		{"PUT", "/_blobs/hello-0.1.0.tgz", small, 201, saved},
		{"PUT", "/_blobs/hello-0.1.0.tgz", small, 409, chart.CodeExists},
		{"PATCH", "/_blobs/hello-0.1.0.tgz", small, 200, saved},
		{"PUT", "/_blobs/hello-0.2.0%2Bb.7.tgz", large, 201, saved},
		{"PUT", "/_blobs/hello-0.3.0.tgz", large, 400, chart.CodeInvalid},
		{"PUT", "/_blobs/..%2Fhello-0.1.0.tgz", small, 400, chart.CodeInvalid},
		{"PUT", "/_blobs/hello-0.3.0.tgz", []byte("<html>"), 400, chart.CodeInvalid},
		{"PUT", "/_blobs/hello-0.2.0+b.7.tgz.prov", provenance, 201, saved},
		{"GET", "/_blobs/hello-0.1.0.tgz", nil, 200, string(small)},
		{"GET", "/_blobs/hello-0.2.0+b.7.tgz", nil, 200, string(large)},
		{"GET", "/_blobs/hello-0.2.0%2Bb.7.tgz", nil, 200, string(large)},
		{"GET", "/_blobs/hello-0.2.0+b.7.tgz.prov", nil, 200, string(provenance)},
		{"GET", "/_blobs/hello-0.1.0.tgz.prov", nil, 404, chart.CodeNotFound},
		{"GET", "/_blobs/..%2F..%2Fdockbell.db", nil, 404, chart.CodeNotFound},
		{"DELETE", "/_blobs/hello-0.2.0+b.7.tgz.prov", nil, 200, deleted},
		{"DELETE", "/_blobs/hello-0.1.0.tgz", nil, 200, deleted},
		{"DELETE", "/_blobs/hello-0.1.0.tgz", nil, 404, chart.CodeNotFound},
		{"GET", "/_charts/hello/0.1.0", nil, 404, chart.CodeNotFound},
		{"DELETE", "/_charts/hello", nil, 200, deleted},
		{"DELETE", "/_charts/hello", nil, 404, chart.CodeNotFound},
		{"GET", "/_charts", nil, 200, "{}\n"},
	} {
		w := s.ask(step.method, repo+step.path, step.body)
		if got := w.Body.String(); w.Code != step.status || got != step.want && (w.Code < 400 || codeOf(t, w) != step.want) {
			t.Errorf("%d. %s %s: %d %.300q; want %d %.100q", i, step.method, step.path, w.Code, got, step.status, step.want)
		}
		if h := w.Header(); h.Get("Docker-Distribution-Api-Version") != "registry/2.0" || h.Get("Cache-Control") == "" && step.method == "GET" {
			t.Errorf("%d. %s %s: %v", i, step.method, step.path, h)
		}
	}
}

// codeOf returns the code of the one error in an answer.
func codeOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Message == "" {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return body.Errors[0].Code
}

// TestChartLists has the answers of lists, member by member.
func TestChartLists(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, version := range []string{"0.9.0", "0.10.0"} {
		if w := s.ask("PUT", repo+"/_blobs/hello-"+version+".tgz", helmPackage("hello", version, 10)); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	get := func(path string, into any) *httptest.ResponseRecorder {
		t.Helper()
		w := s.ask("GET", repo+path, nil)
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil || w.Code != 200 || !strings.HasSuffix(w.Body.String(), "\n") {
			t.Fatalf("%s: %d %v %s", path, w.Code, err, w.Body)
		}
		return w
	}
	var index struct {
		APIVersion string
		Entries    map[string][]map[string]any
		Generated  string
	}
	var all map[string][]map[string]any
	var versions []map[string]any
	var one map[string]any
	w := get("/index.yaml", &index)
	if got := w.Header().Get("Content-Type"); got != "application/yaml" {
		t.Error(got)
	}
	if got := get("/_charts", &all).Header().Get("Content-Type"); got != "application/json; charset=utf-8" {
		t.Error(got)
	}
	get("/_charts/hello", &versions)
	get("/_charts/hello/0.9.0", &one)
	want := oci.FromBytes(oci.SHA256, helmPackage("hello", "0.9.0", 10)).Encoded()
	created, _ := one["created"].(string)
	for what, v := range map[string]map[string]any{"index": index.Entries["hello"][1], "all": all["hello"][1], "versions": versions[1], "one": one} {
		if diff := cmp.Diff(map[string]any{
			"apiVersion": "v2", "name": "hello", "version": "0.9.0", "appVersion": "1.16", "description": "says <hello> & more",
			"created": created, "digest": want, "urls": []any{"_blobs/hello-0.9.0.tgz"},
		}, v); diff != "" || created == "" {
			t.Errorf("%s differs (-want +got):\n%s", what, diff)
		}
	}
	if versions[0]["version"] != "0.10.0" || index.APIVersion != "v1" || index.Generated == "" {
		t.Errorf("%+v", index)
	}
}

// TestChartDownloads: ranges, conditions and HEAD, of packages and of the index.
func TestChartDownloads(t *testing.T) {
	t.Parallel()
	s := newService(t)
	for _, filler := range []int{10, 200_000} { // in the database, and in a file
		name := fmt.Sprintf("hello-0.0.%d.tgz", filler)
		data := helmPackage("hello", fmt.Sprintf("0.0.%d", filler), filler)
		if w := s.ask("PUT", repo+"/_blobs/"+name, data, with("Content-Type", "application/x-www-form-urlencoded")); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		digest := string(oci.FromBytes(oci.SHA256, data))
		for what, test := range map[string]struct {
			w      *httptest.ResponseRecorder
			status int
			length int
			body   []byte
		}{
			"whole":               {s.ask("GET", repo+"/_blobs/"+name, nil), 200, len(data), data},
			"head":                {s.ask("HEAD", repo+"/_blobs/"+name, nil), 200, len(data), nil},
			"a part":              {s.ask("GET", repo+"/_blobs/"+name, nil, with("Range", "bytes=3-9")), 206, 7, data[3:10]},
			"the end":             {s.ask("GET", repo+"/_blobs/"+name, nil, with("Range", "bytes=-5")), 206, 5, data[len(data)-5:]},
			"a part of the same":  {s.ask("GET", repo+"/_blobs/"+name, nil, with("Range", "bytes=3-9"), with("If-Range", `"`+digest+`"`)), 206, 7, data[3:10]},
			"a part of an older":  {s.ask("GET", repo+"/_blobs/"+name, nil, with("Range", "bytes=3-9"), with("If-Range", `"sha256:0"`)), 200, len(data), data},
			"what the client has": {s.ask("GET", repo+"/_blobs/"+name, nil, with("If-None-Match", `"`+digest+`"`)), 304, 0, nil},
			"what it has not":     {s.ask("GET", repo+"/_blobs/"+name, nil, with("If-None-Match", `"x"`)), 200, len(data), data},
		} {
			h := test.w.Header()
			if test.w.Code != test.status || !bytes.Equal(test.w.Body.Bytes(), test.body) || test.status != 304 && h.Get("Content-Length") != fmt.Sprint(test.length) {
				t.Errorf("%s %s: %d, %d bytes, %v", name, what, test.w.Code, test.w.Body.Len(), h)
			}
			if h.Get("Docker-Content-Digest") != digest || h.Get("Etag") != `"`+digest+`"` || test.status != 304 && h.Get("Content-Type") != "application/gzip" {
				t.Errorf("%s %s: %v", name, what, h)
			}
		}
	}
	first := s.ask("GET", repo+"/index.yaml", nil)
	tag := first.Header().Get("Etag")
	if w := s.ask("GET", repo+"/index.yaml", nil, with("If-None-Match", tag)); w.Code != 304 || w.Body.Len() > 0 {
		t.Errorf("the same index: %d", w.Code)
	}
	if w := s.ask("HEAD", repo+"/index.yaml", nil); w.Code != 200 || w.Header().Get("Content-Length") != fmt.Sprint(first.Body.Len()) || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	s.ask("DELETE", repo+"/_blobs/hello-0.0.10.tgz", nil)
	if w := s.ask("GET", repo+"/index.yaml", nil, with("If-None-Match", tag)); w.Code != 200 || w.Header().Get("Etag") == tag {
		t.Errorf("another index: %d %v", w.Code, w.Header())
	}
}

// TestChartRefusals has who is let in, and what is not offered.
func TestChartRefusals(t *testing.T) {
	t.Parallel()
	s := newService(t)
	data := helmPackage("hello", "0.1.0", 10)
	if w := s.ask("PUT", repo+"/_blobs/hello-0.1.0.tgz", data); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	token := func(scope string) string {
		return s.token(s.get("scope="+scope, withBasic(user, password)), "access_token")
	}
	pull, push, remove := token("artifact-repository:repo:pull"), token("artifact-repository:repo:push,pull"), token("artifact-repository:repo:delete")
	all := token("artifact-repository:repo:*")
	image := token("repository:repo:pull,push,delete,metadata_read,metadata_write")
	const insufficient = `,error="insufficient_scope"`
	scope := func(actions string) string {
		return challenge + `,scope="artifact-repository:repo:` + actions + `"`
	}
	type call struct{ method, path, actions string }
	for _, c := range []call{
		{"GET", "/index.yaml", "pull"}, {"HEAD", "/index.yaml", "pull"}, {"GET", "/_charts", "pull"}, {"GET", "/_charts/hello", "pull"}, {"GET", "/_charts/hello/0.1.0", "pull"},
		{"GET", "/_blobs/hello-0.1.0.tgz", "pull"}, {"GET", "/_blobs/none-0.1.0.tgz", "pull"}, {"PUT", "/_blobs/hello-0.1.0.tgz", "pull,push"},
		{"PATCH", "/_blobs/hello-0.1.0.tgz", "pull,push"}, {"DELETE", "/_blobs/hello-0.1.0.tgz", "delete"}, {"DELETE", "/_charts/hello", "delete"},
	} {
		for who, test := range map[string]struct {
			as        func(*http.Request)
			challenge string // empty: let in
		}{
			"anonymous":                   {anonymous, scope(c.actions)},
			"a wrong password":            {withBasic(user, "wrong"), challenge},
			"no token":                    {with("Authorization", "Bearer x"), invalidToken},
			"a token for an image":        {with("Authorization", "Bearer "+image), scope(c.actions) + insufficient},
			"a token to pull":             {with("Authorization", "Bearer "+pull), map[string]string{"pull,push": scope("pull,push") + insufficient, "delete": scope("delete") + insufficient}[c.actions]},
			"a token to pull as password": {withBasic(auth.TokenUser, pull), map[string]string{"pull,push": scope("pull,push") + insufficient, "delete": scope("delete") + insufficient}[c.actions]},
			"a token to push":             {with("Authorization", "Bearer "+push), map[string]string{"delete": scope("delete") + insufficient}[c.actions]},
			"a token to delete":           {with("Authorization", "Bearer "+remove), map[string]string{"pull": scope("pull") + insufficient, "pull,push": scope("pull,push") + insufficient}[c.actions]},
			"a token for everything":      {with("Authorization", "Bearer "+all), ""},
		} {
			if test.challenge == "" && c.method == "DELETE" {
				continue // TestCharts deletes
			}
			w := s.ask(c.method, repo+c.path, data, test.as)
			if got := w.Header().Get("Www-Authenticate"); got != test.challenge || (w.Code == http.StatusUnauthorized) != (test.challenge != "") {
				t.Errorf("%s %s as %s: %d\ngot  %s\nwant %s", c.method, c.path, who, w.Code, got, test.challenge)
			}
			if test.challenge == "" || c.method == "HEAD" || !strings.Contains(test.challenge, "scope=") {
				continue
			}
			var detail []string
			for action := range strings.SplitSeq(c.actions, ",") {
				detail = append(detail, fmt.Sprintf(`{"Type":"artifact-repository","Name":"repo","Action":%q}`, action))
			}
			if want := `"detail":[` + strings.Join(detail, ",") + "]"; codeOf(t, w) != oci.CodeUnauthorized || !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s %s as %s: %s, want %s", c.method, c.path, who, w.Body, want)
			}
		}
	}
	for _, tt := range []struct {
		w      *httptest.ResponseRecorder
		status int
		allow  string
	}{
		{s.ask("POST", repo+"/_blobs/hello-0.1.0.tgz", data), 405, "GET, HEAD, PUT, PATCH, DELETE"},
		{s.ask("PUT", repo+"/_charts/hello", data), 405, "GET, HEAD, DELETE"},
		{s.ask("DELETE", repo+"/_charts/hello/0.1.0", data), 405, "GET, HEAD"},
		{s.ask("POST", repo+"/_charts", data), 405, "GET, HEAD"},
		{s.ask("DELETE", repo+"/index.yaml", data), 405, "GET, HEAD"},
		{s.ask("GET", "/helm/v1/charts/index.yaml", nil), 404, ""},
		{s.ask("GET", repo+"/", nil), 404, ""},
		{s.ask("GET", "/helm/v2/repo/index.yaml", nil), 404, ""},
		{s.ask("GET", repo+"/_charts", nil, with("Broken", "yes")), 500, ""},
	} {
		if codeOf(t, tt.w); tt.w.Code != tt.status || tt.w.Header().Get("Allow") != tt.allow {
			t.Errorf("%d %v %s; want %d, allow %s", tt.w.Code, tt.w.Header(), tt.w.Body, tt.status, tt.allow)
		}
	}
}
