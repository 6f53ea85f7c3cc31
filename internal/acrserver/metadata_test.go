package acrserver

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/blob/fs"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/registry"
)

// contents returns what contoso holds, to everyone who knows the operator's
// password.
func (s *service) contents(o registry.Options) func(*http.Request) (oci.Contents, error) {
	files, err := fs.Open(s.t.TempDir())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { files.Close() })
	o.Blobs, o.Log, o.UploadKey = files, slog.New(slog.DiscardHandler), make([]byte, 32)
	o.Outbox, o.Wanted = outbox.New(func(outbox.Entry) {}), func(int64, event.Action) bool { return false }
	store := registry.New(o)
	s.store = store.For(event.Registry{ID: contoso.ID, Name: contoso.Name, LoginServer: contoso.Service}, registry.Caller{Actor: user, SoftDelete: true})
	return func(r *http.Request) (oci.Contents, error) {
		id, err := s.authority.Authenticate(r, contoso)
		return auth.Guard(s.store, id, contoso), err
	}
}

// call sends a request to the metadata API as the operator.
func (s *service) call(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://registry.test"+path, strings.NewReader(body))
	r.SetBasicAuth(user, password)
	return s.do(r)
}

// push pushes an image for a platform, in an index if there is a tag for one.
func (s *service) push(repo oci.Repository, tag, indexTag oci.Tag) (image, index oci.Descriptor) {
	s.t.Helper()
	ctx := s.t.Context()
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Labels":{"tag":"` + string(tag) + `"}}}`)
	id, err := s.store.StartUpload(ctx, repo)
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := s.store.CommitUpload(ctx, repo, id, 0, strings.NewReader(string(config)), oci.FromBytes(oci.SHA256, config))
	if err != nil {
		s.t.Fatal(err)
	}
	put := func(tag oci.Tag, format string, args ...any) oci.Descriptor {
		s.t.Helper()
		data := fmt.Appendf(nil, format, args...)
		result, err := s.store.PutManifest(ctx, repo, oci.ManifestPut{Data: data, Tags: []oci.Tag{tag}})
		if err != nil {
			s.t.Fatal(err)
		}
		return result.Descriptor
	}
	image = put(tag, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		oci.MediaTypeDockerManifest, oci.MediaTypeDockerConfig, d.Digest, d.Size)
	if indexTag != "" {
		index = put(indexTag, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"architecture":"amd64","os":"linux"}}]}`,
			oci.MediaTypeDockerManifestList, image.MediaType, image.Digest, image.Size)
	}
	return image, index
}

var someTime = regexp.MustCompile(`"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z"`)

// answer checks status and form of an answer and returns its body, in which every
// time is T.
func answer(t *testing.T, w *httptest.ResponseRecorder, status int) string {
	t.Helper()
	h := w.Header()
	if w.Code != status || h.Get("Content-Type") != "application/json; charset=utf-8" || h.Get("Docker-Distribution-Api-Version") != "registry/2.0" ||
		!strings.HasSuffix(w.Body.String(), "}\n") {
		t.Fatalf("%d, want %d: %v %s", w.Code, status, h, w.Body)
	}
	return someTime.ReplaceAllString(strings.TrimSuffix(w.Body.String(), "\n"), `"T"`)
}

const allEnabled = `"deleteEnabled":true,"writeEnabled":true,"readEnabled":true,"listEnabled":true`

// TestMetadata has every answer, byte for byte but for times.
func TestMetadata(t *testing.T) {
	t.Parallel()
	s := newService(t)
	image, index := s.push("team/web", "v1", "all")
	s.push("app", "v1", "")
	const start = `{"registry":"contoso.example:5000","imageName":"team/web"`
	tag := func(name string, d oci.Descriptor) string {
		return fmt.Sprintf(`{"name":%q,"digest":%q,"createdTime":"T","lastUpdateTime":"T","signed":false,"changeableAttributes":{`+allEnabled+`}}`, name, d.Digest)
	}
	ofImage := fmt.Sprintf(`{"digest":%q,"imageSize":70,"createdTime":"T","lastUpdateTime":"T","architecture":"amd64","os":"linux","mediaType":%q,"configMediaType":%q,"tags":["v1"],"changeableAttributes":{`+allEnabled+`}}`,
		image.Digest, image.MediaType, oci.MediaTypeDockerConfig)
	ofIndex := fmt.Sprintf(`{"digest":%q,"imageSize":%d,"createdTime":"T","lastUpdateTime":"T","mediaType":%q,"references":[{"digest":%q,"architecture":"amd64","os":"linux"}],"tags":["all"],"changeableAttributes":{`+allEnabled+`}}`,
		index.Digest, index.Size, index.MediaType, image.Digest)
	inOrder := ofImage + "," + ofIndex
	if index.Digest < image.Digest {
		inOrder = ofIndex + "," + ofImage
	}
	repository := start + `,"createdTime":"T","lastUpdateTime":"T","manifestCount":2,"tagCount":2,"changeableAttributes":{` + allEnabled + `,"teleportEnabled":false}}`
	for path, want := range map[string]string{
		"_catalog":                                          `{"repositories":["app","team/web"]}`,
		"_catalog?last=team%2Fweb":                          `{"repositories":[]}`,
		"team/web":                                          repository,
		"team%2Fweb":                                        repository,
		"team%2fweb?api-version=2021-07-01":                 repository,
		"team/web/_tags/v1":                                 start + `,"tag":` + tag("v1", image) + "}",
		"team%2Fweb/_tags/all":                              start + `,"tag":` + tag("all", index) + "}",
		"team/web/_tags":                                    start + `,"tags":[` + tag("all", index) + "," + tag("v1", image) + "]}",
		"team/web/_tags?n=100&orderby=":                     start + `,"tags":[` + tag("all", index) + "," + tag("v1", image) + "]}",
		"team/web/_tags?orderby=timeasc":                    start + `,"tags":[` + tag("v1", image) + "," + tag("all", index) + "]}",
		"team/web/_tags?orderby=timedesc":                   start + `,"tags":[` + tag("all", index) + "," + tag("v1", image) + "]}",
		"team/web/_tags?last=all":                           start + `,"tags":[` + tag("v1", image) + "]}",
		"team/web/_tags?last=v1":                            start + `,"tags":[]}`,
		"team/web/_tags?digest=" + string(image.Digest):     start + `,"tags":[` + tag("v1", image) + "]}",
		"team/web/_manifests":                               start + `,"manifests":[` + inOrder + "]}",
		"team/web/_manifests?orderby=timedesc":              start + `,"manifests":[` + ofIndex + "," + ofImage + "]}",
		"team/web/_manifests?orderby=none&last=sha256%3Aff": start + `,"manifests":[]}`,
		"team/web/_manifests/" + string(image.Digest):       start + `,"manifest":` + ofImage + "}",
		"team%2Fweb/_manifests/" + strings.Replace(string(index.Digest), ":", "%3A", 1): start + `,"manifest":` + ofIndex + "}",
	} {
		w := s.call("GET", "/acr/v1/"+path, "")
		if diff := cmp.Diff(want, answer(t, w, http.StatusOK)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		head := s.call("HEAD", "/acr/v1/"+path, "")
		if got := head.Header(); head.Code != w.Code || got.Get("Content-Length") != fmt.Sprint(w.Body.Len()) || got.Get("Link") != w.Header().Get("Link") {
			t.Errorf("HEAD %s: %d %v", path, head.Code, got)
		}
	}
}

// TestLinks follows the links of each list.
func TestLinks(t *testing.T) {
	t.Parallel()
	s := newService(t)
	first, _ := s.push("team/web", "v1", "")
	s.push("team/web", "v2", "")
	s.push("app", "v1", "")
	lasttime := regexp.MustCompile(`lasttime=\d+`)
	for path, want := range map[string]string{
		"/acr/v1/_catalog?n=1":                          `</acr/v1/_catalog?last=app&n=1&orderby=>; rel="next"`,
		"/acr/v1/team/web/_tags?n=1":                    `</acr/v1/team%2Fweb/_tags?last=v1&n=1&orderby=>; rel="next"`,
		"/acr/v1/team%2Fweb/_tags?n=1&orderby=none":     `</acr/v1/team%2Fweb/_tags?last=v1&n=1&orderby=none>; rel="next"`,
		"/acr/v1/team%2Fweb/_tags?n=1&orderby=timedesc": `</acr/v1/team%2Fweb/_tags?lasttime=N&last=v2&n=1&orderby=timedesc>; rel="next"`,
		"/acr/v1/team%2Fweb/_manifests?n=1&orderby=timeasc": `</acr/v1/team%2Fweb/_manifests?lasttime=N&last=` +
			strings.Replace(string(first.Digest), ":", "%3A", 1) + `&n=1&orderby=timeasc>; rel="next"`,
		"/acr/v1/team/web/_tags?n=2":                                "",
		"/acr/v1/team/web/_manifests?n=5000":                        "",
		"/acr/v1/team/web/_tags?n=1&digest=" + string(first.Digest): "",
	} {
		link := s.call("GET", path, "").Header().Get("Link")
		if got := lasttime.ReplaceAllString(link, "lasttime=N"); !sameQuery(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		if link == "" {
			continue
		}
		next := s.call("GET", link[1:strings.Index(link, ">")], "")
		if body := answer(t, next, http.StatusOK); next.Header().Get("Link") != "" || strings.Contains(body, "[]") {
			t.Errorf("after %s: %v %s", path, next.Header(), body)
		}
	}
}

// sameQuery compares links in which the order of parameters does not matter.
func sameQuery(a, b string) bool {
	cut := func(s string) (string, map[string]bool) {
		path, query, _ := strings.Cut(s, "?")
		query, end, _ := strings.Cut(query, ">")
		params := map[string]bool{}
		for p := range strings.SplitSeq(query, "&") {
			params[p] = true
		}
		return path + end, params
	}
	pathA, paramsA := cut(a)
	pathB, paramsB := cut(b)
	return pathA == pathB && cmp.Equal(paramsA, paramsB)
}

// TestChanges locks, untags and deletes.
func TestChanges(t *testing.T) {
	t.Parallel()
	s := newService(t)
	image, _ := s.push("team/web", "v1", "")
	manifest := "/acr/v1/team/web/_manifests/" + string(image.Digest)
	for _, path := range []string{"/acr/v1/team/web", "/acr/v1/team/web/_tags/v1", manifest} {
		for _, step := range []struct{ body, want string }{
			{`{"writeEnabled":false}`, `"deleteEnabled":true,"writeEnabled":false,"readEnabled":true,"listEnabled":true`},
			{` { "deleteEnabled" : false, "teleportEnabled": true } `, `"deleteEnabled":false,"writeEnabled":false,"readEnabled":true,"listEnabled":true`},
			{`{}`, `"deleteEnabled":false,"writeEnabled":false,"readEnabled":true,"listEnabled":true`},
			{`{"writeEnabled":true,"deleteEnabled":true,"readEnabled":false,"listEnabled":false}`, `"deleteEnabled":true,"writeEnabled":true,"readEnabled":false,"listEnabled":false`},
			{`{"readEnabled":true,"listEnabled":true}`, allEnabled},
		} {
			got := answer(t, s.call("PATCH", path, step.body), http.StatusOK)
			if !strings.Contains(got, step.want) {
				t.Errorf("%s %s: %s", path, step.body, got)
			}
			if shown := answer(t, s.call("GET", path, ""), http.StatusOK); shown != got {
				t.Errorf("%s %s: answered with %s, then shown as %s", path, step.body, got, shown)
			}
		}
	}
	answer(t, s.call("PATCH", manifest, `{"deleteEnabled":false}`), http.StatusOK)
	refused := s.call("DELETE", "/acr/v1/team/web", "")
	if got := answer(t, refused, http.StatusMethodNotAllowed); !strings.Contains(got, `"REGISTRY_DISALLOWED_OPERATION"`) {
		t.Errorf("%v %s", refused.Header(), got)
	}
	answer(t, s.call("PATCH", manifest, `{"deleteEnabled":true}`), http.StatusOK)

	untagged := s.call("DELETE", "/acr/v1/team/web/_tags/v1", "")
	if h := untagged.Header(); untagged.Code != http.StatusAccepted || untagged.Body.Len() != 0 || h.Get("X-Ms-Int-Docker-Content-Digest") != string(image.Digest) || h.Get("Content-Length") != "0" {
		t.Errorf("untag: %d %v %s", untagged.Code, h, untagged.Body)
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		if got := answer(t, s.call(method, "/acr/v1/team/web/_tags/v1", "{}"), http.StatusNotFound); !strings.Contains(got, `"TAG_UNKNOWN"`) {
			t.Errorf("%s: %s", method, got)
		}
	}
	if got := answer(t, s.call("GET", manifest, ""), http.StatusOK); strings.Contains(got, `"tags"`) {
		t.Errorf("without a tag: %s", got)
	}
	s.push("team/web", "v2", "")
	deleted := answer(t, s.call("DELETE", "/acr/v1/team/web", ""), http.StatusAccepted)
	var gone struct{ ManifestsDeleted, TagsDeleted []string }
	if err := json.Unmarshal([]byte(deleted), &gone); err != nil || len(gone.ManifestsDeleted) != 2 || len(gone.TagsDeleted) != 1 || gone.TagsDeleted[0] != "v2" {
		t.Errorf("%s", deleted)
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		if got := answer(t, s.call(method, "/acr/v1/team/web", "{}"), http.StatusNotFound); !strings.Contains(got, `"NAME_UNKNOWN"`) {
			t.Errorf("%s: %s", method, got)
		}
	}
	s.push("team/web", "v3", "")
	if err := s.store.DeleteManifest(t.Context(), "team/web", image.Digest); err == nil {
		t.Error("the deleted image is in the new repository")
	}
	if d, err := s.store.DescribeTag(t.Context(), "team/web", "v3"); err != nil || s.store.DeleteManifest(t.Context(), "team/web", d.Digest) != nil {
		t.Fatal(err)
	}
	if got := answer(t, s.call("DELETE", "/acr/v1/team/web", ""), http.StatusAccepted); got != `{"manifestsDeleted":[],"tagsDeleted":[]}` {
		t.Errorf("an empty repository: %s", got)
	}
}

// TestMetadataRefusals has what is refused, and how.
func TestMetadataRefusals(t *testing.T) {
	t.Parallel()
	s := newService(t)
	image, _ := s.push("team/web", "v1", "")
	manifest := "/acr/v1/team/web/_manifests/" + string(image.Digest)
	restore := "/acr/v1/_deleted/team/web/_manifests/" + string(image.Digest)
	const repo, tag = "/acr/v1/team/web", "/acr/v1/team/web/_tags/v1"
	for _, tt := range []struct {
		method, path, body string
		status             int
		code, message      string
	}{
		{"GET", "/acr/", "", 404, oci.CodeUnsupported, `"/acr/" is no path of the metadata API`},
		{"GET", "/acr/v1", "", 404, oci.CodeUnsupported, "there are /acr/v1/_catalog, /acr/v1/<name>"},
		{"GET", "/acr/v1/", "", 404, oci.CodeUnsupported, ""},
		{"GET", "/acr/v2/x", "", 404, oci.CodeUnsupported, ""},
		{"GET", "/acr/v1/_deleted", "", 404, oci.CodeUnsupported, "there are /acr/v1/_catalog"},
		{"GET", "/acr/v1/_deleted/", "", 404, oci.CodeUnsupported, ""},
		{"GET", "/acr/v1/_deleted/_deleted/_catalog", "", 404, oci.CodeUnsupported, ""},
		{"GET", "/acr/v1/_deleted/team/web", "", 404, oci.CodeUnsupported, "/acr/v1/_deleted/<name> _tags"},
		{"GET", "/acr/v1/_deleted/team/web/_tags/v1", "", 404, oci.CodeUnsupported, ""},
		{"GET", "/acr/v1/_deleted/none/_tags", "", 404, oci.CodeNameUnknown, ""},
		{"GET", "/acr/v1/_deleted/none/_manifests", "", 404, oci.CodeNameUnknown, ""},
		{"GET", "/acr/v1/_deleted/team/web/_tags?orderby=timeasc", "", 400, oci.CodeUnsupported, "deleted tags are listed by name"},
		{"GET", "/acr/v1/_deleted/team/web/_tags?last=v1@sha256:x", "", 400, oci.CodeDigestInvalid, ""},
		{"GET", "/acr/v1/_deleted/team/web/_tags?last=v1@" + string(image.Digest), "", 400, oci.CodeUnsupported, "needs lasttime"},
		{"GET", "/acr/v1/_deleted/_catalog?orderby=timeasc", "", 400, oci.CodeUnsupported, "listed by name"},
		{"POST", "/acr/v1/_deleted/_catalog", "", 405, oci.CodeUnsupported, "use GET, HEAD"},
		{"GET", restore, "", 405, oci.CodeUnsupported, "use POST"},
		{"POST", restore, "", 404, oci.CodeManifestUnknown, "has no deleted manifest"},
		{"POST", restore + "?force=perhaps", "", 400, oci.CodeUnsupported, `force="perhaps"`},
		{"POST", restore, `{"tag":"v2"}`, 404, oci.CodeManifestUnknown, "tag v2 of team/web was not deleted from " + string(image.Digest)},
		{"POST", restore, `{"tag":".."}`, 400, oci.CodeManifestInvalid, `tag ".." is not valid`},
		{"POST", restore, `{"tag":1}`, 400, oci.CodeUnsupported, "tag is neither a string nor null"},
		{"POST", restore, `{"tags":["v1"]}`, 400, oci.CodeUnsupported, `no member "tags"`},
		{"POST", restore, `"v1"`, 400, oci.CodeUnsupported, "not a JSON object"},
		{"POST", "/acr/v1/_deleted/team/web/_manifests/v1", "", 400, oci.CodeDigestInvalid, ""},
		{"POST", "/acr/v1/_deleted/none/_manifests/" + string(image.Digest), "", 404, oci.CodeNameUnknown, ""},
		{"GET", repo + "/", "", 404, oci.CodeUnsupported, ""},
		{"GET", repo + "/_layers", "", 404, oci.CodeUnsupported, ""},
		{"GET", "/acr/v1//team/web", "", 400, oci.CodeNameInvalid, ""},
		{"GET", "/acr/v1/team/../web", "", 400, oci.CodeNameInvalid, ""},
		{"GET", "/acr/v1/Team", "", 400, oci.CodeNameInvalid, ""},
		{"GET", "/acr/v1/none", "", 404, oci.CodeNameUnknown, "none does not exist"},
		{"GET", "/acr/v1/none/_tags", "", 404, oci.CodeNameUnknown, ""},
		{"GET", "/acr/v1/none/_tags/v1", "", 404, oci.CodeNameUnknown, ""},
		{"GET", "/acr/v1/none/_manifests", "", 404, oci.CodeNameUnknown, ""},
		{"DELETE", "/acr/v1/none", "", 404, oci.CodeNameUnknown, ""},
		{"DELETE", "/acr/v1/none/_tags/v1", "", 404, oci.CodeNameUnknown, ""},
		{"GET", repo + "/_tags/none", "", 404, oci.CodeTagUnknown, "team/web has no tag none"},
		{"GET", repo + "/_tags/.", "", 404, oci.CodeTagUnknown, `"." is not valid`},
		{"DELETE", repo + "/_tags/none", "", 404, oci.CodeTagUnknown, ""},
		{"GET", repo + "/_manifests/v1", "", 400, oci.CodeDigestInvalid, ""},
		{"GET", repo + "/_manifests/" + string(oci.FromBytes(oci.SHA256, nil)), "", 404, oci.CodeManifestUnknown, ""},
		{"GET", repo + "/_tags?digest=x", "", 400, oci.CodeDigestInvalid, ""},
		{"GET", repo + "/_tags?n=0", "", 400, oci.CodeUnsupported, `n="0"`},
		{"GET", repo + "/_tags?n=-1", "", 400, oci.CodeUnsupported, "use 1 to 1000"},
		{"GET", repo + "/_tags?n=x", "", 400, oci.CodeUnsupported, ""},
		{"GET", repo + "/_tags?n=", "", 400, oci.CodeUnsupported, ""},
		{"GET", repo + "/_tags?orderby=time_asc", "", 400, oci.CodeUnsupported, "use timeasc, timedesc or none"},
		{"GET", repo + "/_tags?orderby=timeasc&last=v1&lasttime=now", "", 400, oci.CodeUnsupported, "lasttime"},
		{"GET", "/acr/v1/_catalog?orderby=timeasc", "", 400, oci.CodeUnsupported, "listed by name"},

		{"POST", "/acr/v1/_catalog", "", 405, oci.CodeUnsupported, "use GET, HEAD"},
		{"PUT", repo, "", 405, oci.CodeUnsupported, "use GET, HEAD, PATCH, DELETE"},
		{"PATCH", repo + "/_tags", "", 405, oci.CodeUnsupported, "use GET, HEAD"},
		{"PUT", tag, "", 405, oci.CodeUnsupported, "use GET, HEAD, PATCH, DELETE"},
		{"DELETE", repo + "/_manifests", "", 405, oci.CodeUnsupported, "use GET, HEAD"},
		{"DELETE", manifest, "", 405, oci.CodeUnsupported, "DELETE of /v2/team/web/manifests/<digest>"},

		{"PATCH", repo, "", 400, oci.CodeUnsupported, `send for example {"writeEnabled":false}`},
		{"PATCH", repo, "null", 400, oci.CodeUnsupported, "not a JSON object"},
		{"PATCH", repo, "[]", 400, oci.CodeUnsupported, "not a JSON object"},
		{"PATCH", repo, "{", 400, oci.CodeUnsupported, "not JSON"},
		{"PATCH", repo, `{"writeEnabled"}`, 400, oci.CodeUnsupported, "not JSON"},
		{"PATCH", repo, `{"writeEnabled":false`, 400, oci.CodeUnsupported, "not JSON"},
		{"PATCH", repo, `{"writeEnabled":false}{}`, 400, oci.CodeUnsupported, "something follows"},
		{"PATCH", repo, `{"writeEnabled":false,"writeEnabled":true}`, 400, oci.CodeUnsupported, "occurs twice"},
		{"PATCH", repo, `{"writeEnabled":"false"}`, 400, oci.CodeUnsupported, "writeEnabled is neither true nor false"},
		{"PATCH", repo, `{"writeEnabled":null}`, 400, oci.CodeUnsupported, "writeEnabled is neither"},
		{"PATCH", repo, `{"teleportEnabled":1}`, 400, oci.CodeUnsupported, "teleportEnabled is neither"},
		{"PATCH", repo, `{"WriteEnabled":false}`, 400, oci.CodeUnsupported, `no attribute "WriteEnabled"`},
		{"PATCH", tag, `{"signed":true}`, 400, oci.CodeUnsupported, "use deleteEnabled, writeEnabled, readEnabled or listEnabled"},
		{"PATCH", manifest, `{"readEnabled":false,"quarantineState":"Good"}`, 400, oci.CodeUnsupported, `quarantineState "Good" is none: use Passed, Failed or Quarantined`},
		{"PATCH", manifest, `{"quarantineState":true}`, 400, oci.CodeUnsupported, "quarantineState is not a string"},
		{"PATCH", manifest, `{"quarantineState":"Passed","quarantineDetails":{"state":"good"}}`, 400, oci.CodeUnsupported, "quarantineDetails is not a string"},
		{"PATCH", manifest, `{"quarantineDetails":"good"}`, 400, oci.CodeUnsupported, "quarantineDetails is not a JSON object"},
		{"PATCH", tag, `{"quarantineState":"Passed"}`, 400, oci.CodeUnsupported, "that of a manifest: change it at /acr/v1/team/web/_manifests/"},
		{"PATCH", repo, `{"quarantineDetails":"{}"}`, 400, oci.CodeUnsupported, "that of a manifest"},
		{"PATCH", repo, `{"x":"` + strings.Repeat("x", maxChange) + `"}`, 413, oci.CodeSizeInvalid, "larger than 65536 bytes"},
	} {
		w := s.call(tt.method, tt.path, tt.body)
		got := answer(t, w, tt.status)
		var body struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(got), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Code != tt.code || !strings.Contains(body.Errors[0].Message, tt.message) {
			t.Errorf("%s %s %.40s: %s, want %s …%s…", tt.method, tt.path, tt.body, got, tt.code, tt.message)
		}
		if tt.status == http.StatusMethodNotAllowed && !strings.HasPrefix(w.Header().Get("Allow"), "GET, HEAD") && tt.path != restore {
			t.Errorf("%s %s: Allow: %s", tt.method, tt.path, w.Header().Get("Allow"))
		}
	}
	for _, path := range []string{repo, tag, manifest} {
		if got := answer(t, s.call("GET", path, ""), http.StatusOK); !strings.Contains(got, allEnabled) {
			t.Errorf("after refusals: %s", got)
		}
	}

	// Nothing is told or done without credentials.
	for _, tt := range []struct{ method, path, scope string }{
		{"GET", "/acr/v1/_catalog", "registry:catalog:*"},
		{"GET", repo, "repository:team/web:metadata_read"},
		{"GET", "/acr/v1/none", "repository:none:metadata_read"},
		{"GET", repo + "/_tags", "repository:team/web:metadata_read"},
		{"GET", tag, "repository:team/web:metadata_read"},
		{"GET", repo + "/_manifests", "repository:team/web:metadata_read"},
		{"GET", manifest, "repository:team/web:metadata_read"},
		{"PATCH", repo, "repository:team/web:metadata_write,metadata_read"},
		{"PATCH", tag, "repository:team/web:metadata_write,metadata_read"},
		{"PATCH", manifest, "repository:team/web:metadata_write,metadata_read"},
		{"DELETE", repo, "repository:team/web:delete"},
		{"DELETE", tag, "repository:team/web:delete"},
		{"GET", "/acr/v1/_deleted/_catalog", "registry:deleted_catalog:*"},
		{"GET", "/acr/v1/_deleted/team/web/_tags", "repository:team/web:deleted_read"},
		{"GET", "/acr/v1/_deleted/team/web/_manifests", "repository:team/web:deleted_read"},
	} {
		for _, body := range []string{`{"writeEnabled":false}`, ""} { // Azure's clients ask without a body
			w := s.do(httptest.NewRequest(tt.method, "http://registry.test"+tt.path, strings.NewReader(body)))
			answer(t, w, http.StatusUnauthorized)
			if got, want := w.Header().Get("WWW-Authenticate"), challenge+`,scope="`+tt.scope+`"`; got != want {
				t.Errorf("%s %s: challenge %s, want %s", tt.method, tt.path, got, want)
			}
		}
	}
	if w := s.do(httptest.NewRequest("GET", "http://elsewhere.test/acr/v1/_catalog", nil)); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "no registry is called elsewhere.test") {
		t.Errorf("another host: %d %s", w.Code, w.Body)
	}
}

func TestParsePath(t *testing.T) {
	t.Parallel()
	for escaped, want := range map[string]path{
		"/acr/v1/_catalog":                 {catalog, "", ""},
		"/acr/v1/a":                        {repository, "a", ""},
		"/acr/v1/a/b-c__d.e":               {repository, "a/b-c__d.e", ""},
		"/acr/v1/a%2Fb%2fc":                {repository, "a/b/c", ""},
		"/acr/v1/catalog":                  {repository, "catalog", ""},
		"/acr/v1/tags/tags":                {repository, "tags/tags", ""},
		"/acr/v1/a/b/_tags":                {tags, "a/b", ""},
		"/acr/v1/a%2Fb/_tags/v1":           {oneTag, "a/b", "v1"},
		"/acr/v1/a/_tags/_v1":              {oneTag, "a", "_v1"},
		"/acr/v1/a/_tags/_tags":            {oneTag, "a", "_tags"},
		"/acr/v1/a/_tags/_manifests":       {oneTag, "a", "_manifests"},
		"/acr/v1/a/_manifests":             {manifests, "a", ""},
		"/acr/v1/a/_manifests/sha256%3Aab": {oneManifest, "a", "sha256:ab"},
		"/acr/v1/a/_manifests/x%2Fy":       {oneManifest, "a", "x/y"},

		"/acr/v1/_deleted/_catalog":                   {deletedCatalog, "", ""},
		"/acr/v1/_deleted/a/b/_tags":                  {deletedTags, "a/b", ""},
		"/acr/v1/_deleted/a%2Fb/_manifests":           {deletedManifests, "a/b", ""},
		"/acr/v1/_deleted/a/b/_manifests/sha256%3Aab": {oneDeletedManifest, "a/b", "sha256:ab"},
	} {
		if got, err := parsePath(escaped); err != nil || got != want {
			t.Errorf("%s is %+v, %v: want %+v", escaped, got, err, want)
		}
	}
}

// FuzzParsePath checks that a path is read in one way only: what was made of it
// leads back to it.
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{
		"/acr/v1/_catalog", "/acr/v1/a%2Fb/_tags/v1", "/acr/v1/a/b/_manifests/sha256%3a00", "/acr/v1/_deleted/_catalog",
		"/acr/v1/_deleted/a%2fb/_tags", "/acr/v1/_deleted/a/_manifests", "/acr/v1/_deleted/a/b/_manifests/sha256:00", "/acr/v1/_deleted/_deleted/a/_tags",
		"/acr/v1/a/_tags/_manifests/_tags", "/acr/v1//_tags", "/acr/v1/a/../b", "/acr/v1/a/_tags/%2e%2e%2f", "/acr/v1/%5ftags/_tags", "/acr/v1/a%25/_tags/%zz",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		p, err := parsePath(escaped)
		if err != nil {
			if k := fault.As(err); k.Kind != fault.NotFound && k.Kind != fault.Invalid || k.Code == "" {
				t.Fatalf("%q: %v", escaped, err)
			}
			return
		}
		if p.resource != catalog && p.resource != deletedCatalog {
			if again, err := oci.ParseRepository(string(p.repo)); err != nil || again != p.repo {
				t.Fatalf("%q names repository %q", escaped, p.repo)
			}
		}
		if hasLast := p.resource == oneTag || p.resource == oneManifest || p.resource == oneDeletedManifest; hasLast != (p.last != "") {
			t.Fatalf("%q is %+v", escaped, p)
		}
		if again, err := parsePath(p.String()); err != nil || again != p {
			t.Fatalf("%q is %+v, whose path %s is %+v, %v", escaped, p, p, again, err)
		}
	})
}

// FuzzParsePatch checks that a body which is taken says what encoding/json makes of
// it, and nothing else.
func FuzzParsePatch(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"writeEnabled":false}`, `{"deleteEnabled":true,"readEnabled":false,"listEnabled":false,"teleportEnabled":false}`,
		`{"writeEnabled":false,"writeEnabled":true}`, `{"writeEnabled":null}`, `{"quarantineState":"Passed"}`, `{"writeEnabled":false}x`, `{"write\u0045nabled":true}`,
		`{"quarantineState":"FAILED","quarantineDetails":"{\"state\":\"scan passed\"}"}`, `{"quarantineDetails":""}`, `{"quarantineState":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parsePatch(body)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || p.QuarantineChange != (oci.QuarantineChange{}) {
				t.Fatalf("%q: %+v, %v", body, p, err)
			}
			return
		}
		var members map[string]any
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("%q is taken, but %v", body, err)
		}
		taken := map[string]*bool{"deleteEnabled": p.Attributes.Delete, "writeEnabled": p.Attributes.Write, "readEnabled": p.Attributes.Read, "listEnabled": p.Attributes.List}
		for name, value := range members {
			is, attribute := taken[name]
			switch {
			case attribute && (is == nil || *is != value):
				t.Fatalf("%q: %s is %v", body, name, is)
			case name == "quarantineState" && !strings.EqualFold(string(p.State), value.(string)):
				t.Fatalf("%q: state %q", body, p.State)
			case name == "quarantineDetails" && *p.Details != value:
				t.Fatalf("%q: details %q", body, *p.Details)
			case !attribute && name != "teleportEnabled" && name != "quarantineState" && name != "quarantineDetails":
				t.Fatalf("%q: %s is unknown", body, name)
			}
		}
		for name, is := range taken {
			if _, there := members[name]; !there && is != nil {
				t.Fatalf("%q: %s was made up", body, name)
			}
		}
		if _, there := members["quarantineState"]; !there && p.State != "" {
			t.Fatalf("%q: a state was made up", body)
		}
		if _, there := members["quarantineDetails"]; there != (p.Details != nil) {
			t.Fatalf("%q: details %v", body, p.Details)
		}
	})
}
