package ociserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/oci/ocitest"
	"github.com/dockbell/dockbell/internal/ociserver"
)

// ask makes a request of a handler. Headers are given as "Name: value".
func ask(t *testing.T, h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Add(name, value)
	}
	return answer(h, req)
}

func answer(h http.Handler, req *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

// check compares the status and the headers given as "Name: value"; "Name:"
// must be absent.
func check(t *testing.T, rec *httptest.ResponseRecorder, status int, headers ...string) {
	t.Helper()
	if rec.Code != status {
		t.Errorf("status is %d: want %d; body %s", rec.Code, status, rec.Body)
	}
	if got := rec.Header().Get("Docker-Distribution-Api-Version"); got != "registry/2.0" {
		t.Errorf("Docker-Distribution-Api-Version is %q", got)
	}
	for _, header := range headers {
		name, want, _ := strings.Cut(header, ":")
		if got := strings.Join(rec.Header().Values(name), ", "); got != strings.TrimPrefix(want, " ") {
			t.Errorf("%s is %q: want%s", name, got, want)
		}
	}
}

// checkRefusal checks a refusal in the form of the specification.
func checkRefusal(t *testing.T, rec *httptest.ResponseRecorder, status int, code string, headers ...string) {
	t.Helper()
	check(t, rec, status, append(headers, "Content-Type: application/json; charset=utf-8", fmt.Sprintf("Content-Length: %d", rec.Body.Len()))...)
	var body struct {
		Errors []struct {
			Code, Message string
			Detail        json.RawMessage
		}
	}
	dec := json.NewDecoder(bytes.NewReader(rec.Body.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil || len(body.Errors) != 1 || !bytes.HasSuffix(rec.Body.Bytes(), []byte("}\n")) {
		t.Fatalf("body is no refusal: %v in %q", err, rec.Body)
	}
	if e := body.Errors[0]; e.Code != code || e.Message == "" {
		t.Errorf("refused as %s (%s): want %s", e.Code, e.Message, code)
	}
}

// pushBlob stores a blob and returns its digest.
func pushBlob(t *testing.T, registry oci.Registry, data string) oci.Digest {
	t.Helper()
	dgst := oci.FromBytes(oci.SHA256, []byte(data))
	id, err := registry.StartUpload(t.Context(), "repo")
	if err == nil {
		_, err = registry.CommitUpload(t.Context(), "repo", id, 0, strings.NewReader(data), dgst)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dgst
}

// index is a manifest that needs nothing, made different by a name.
func index(name string) string {
	return `{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageIndex + `","manifests":[],"annotations":{"name":"` + name + `"}}`
}

func pushManifest(t *testing.T, registry oci.Registry, data string, tags ...oci.Tag) oci.Digest {
	t.Helper()
	dgst := oci.FromBytes(oci.SHA256, []byte(data))
	if _, err := registry.PutManifest(t.Context(), "repo", oci.ManifestPut{Data: []byte(data), Digest: dgst, Tags: tags}); err != nil {
		t.Fatal(err)
	}
	return dgst
}

const unknownDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func TestPing(t *testing.T) {
	t.Parallel()
	h := handler(t, ocitest.Memory())
	for _, target := range []string{"/v2", "/v2/"} {
		rec := ask(t, h, "GET", target, "")
		check(t, rec, 200, "Content-Type: application/json; charset=utf-8", "Content-Length: 3", "Location:")
		if rec.Body.String() != "{}\n" {
			t.Errorf("body is %q", rec.Body)
		}
	}
}

// hostile paths are refused by the specification's error, and never redirected.
func TestHostilePaths(t *testing.T) {
	t.Parallel()
	server := serve(t, ocitest.Memory())
	for target, want := range map[string]struct {
		status int
		code   string
	}{
		"/v2/a/../b/tags/list":               {400, oci.CodeNameInvalid},
		"/v2/a/%2e%2e/b/tags/list":           {400, oci.CodeNameInvalid},
		"/v2/a%2f..%2fb/tags/list":           {400, oci.CodeNameInvalid},
		"/v2//a/tags/list":                   {400, oci.CodeNameInvalid},
		"/v2/a//tags/list":                   {400, oci.CodeNameInvalid},
		"/v2/UPPER/tags/list":                {400, oci.CodeNameInvalid},
		"/v2/a/tags/list/":                   {404, oci.CodeUnsupported},
		"/v2//":                              {404, oci.CodeUnsupported},
		"/v2/../v2/":                         {404, oci.CodeUnsupported},
		"/v2/a/manifests/..":                 {404, oci.CodeManifestUnknown},
		"/v2/a/manifests/%2e%2e":             {404, oci.CodeManifestUnknown},
		"/v2/a/manifests/b%2fc":              {404, oci.CodeManifestUnknown},
		"/v2/a/manifests/sha256:xyz":         {400, oci.CodeDigestInvalid},
		"/v2/a/manifests/md5:abc":            {400, oci.CodeDigestInvalid},
		"/v2/a/blobs/sha256%3Axyz":           {400, oci.CodeDigestInvalid},
		"/v2/a/blobs/latest":                 {400, oci.CodeDigestInvalid},
		"/v2/a/referrers/latest":             {400, oci.CodeDigestInvalid},
		"/v2/a/blobs/uploads/..":             {404, oci.CodeBlobUploadUnknown},
		"/v2/a/blobs/uploads/%2e%2e%2fx":     {404, oci.CodeBlobUploadUnknown},
		"/v2/a/blobs/uploads/a%00b":          {404, oci.CodeBlobUploadUnknown},
		"/v2/a/blobs/uploads/id?digest=junk": {404, oci.CodeBlobUploadUnknown},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := server.Client().Transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != want.status || !bytes.Contains(body, []byte(`"code":"`+want.code+`"`)) || res.Header.Get("Location") != "" {
			t.Errorf("%s answers %d %s: want %d %s", target, res.StatusCode, body, want.status, want.code)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	h := handler(t, nil) // nothing is opened for a request that is refused
	for target, allow := range map[string]string{
		"/v2/":                             "GET, HEAD",
		"/v2/_catalog":                     "GET, HEAD",
		"/v2/a/tags/list":                  "GET, HEAD",
		"/v2/a/referrers/" + unknownDigest: "GET, HEAD",
		"/v2/a/manifests/latest":           "GET, HEAD, PUT, DELETE",
		"/v2/a/blobs/" + unknownDigest:     "GET, HEAD, DELETE",
		"/v2/a/blobs/uploads":              "POST",
		"/v2/a/blobs/uploads/":             "POST",
		"/v2/a/blobs/uploads/id":           "GET, HEAD, PATCH, PUT, DELETE",
	} {
		checkRefusal(t, ask(t, h, "OPTIONS", target, ""), 405, oci.CodeUnsupported, "Allow: "+allow)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			if !slices.Contains(strings.Split(allow, ", "), method) {
				checkRefusal(t, ask(t, h, method, target, ""), 405, oci.CodeUnsupported, "Allow: "+allow)
			}
		}
	}
}

// faulty fails where it is asked first.
type faulty struct {
	oci.Registry
	err error
}

func (f faulty) Ping(context.Context) error { return f.err }

// challenged is an error as an authorizer makes it.
type challenged struct{ error }

func (c challenged) Unwrap() error { return c.error }
func (challenged) Challenge() string {
	return `Bearer realm="https://example.com/token",service="example.com"`
}

func TestErrors(t *testing.T) {
	t.Parallel()
	secret := errors.New("disk sda1 on fire")
	for _, test := range []struct {
		err    error
		status int
		code   string
		header string
		logged bool
	}{
		{fault.New(fault.Invalid, "no"), 400, oci.CodeUnsupported, "Retry-After:", false},
		{fault.New(fault.Invalid, "no").WithCode(oci.CodeSizeInvalid), 400, oci.CodeSizeInvalid, "Retry-After:", false},
		{fault.New(fault.Unauthenticated, "no"), 401, oci.CodeUnauthorized, "WWW-Authenticate:", false},
		{challenged{fault.New(fault.Unauthenticated, "no")}, 401, oci.CodeUnauthorized, "WWW-Authenticate: " + challenged{}.Challenge(), false},
		{fmt.Errorf("ping: %w", challenged{fault.New(fault.Unauthenticated, "no")}), 401, oci.CodeUnauthorized, "WWW-Authenticate: " + challenged{}.Challenge(), false},
		{fault.New(fault.Denied, "no"), 403, oci.CodeDenied, "Retry-After:", false},
		{fault.New(fault.NotFound, "no"), 404, oci.CodeNameUnknown, "Retry-After:", false},
		{fault.New(fault.Conflict, "no"), 409, oci.CodeDenied, "Retry-After:", false},
		{fault.New(fault.OutOfRange, "no"), 416, oci.CodeSizeInvalid, "Retry-After:", false},
		{fault.New(fault.TooLarge, "no"), 413, oci.CodeSizeInvalid, "Retry-After:", false},
		{fault.New(fault.Quota, "no"), 403, oci.CodeDenied, "Retry-After:", false},
		{fault.New(fault.Unsupported, "no"), 405, oci.CodeUnsupported, "Retry-After:", false},
		{fault.Wrap(secret, fault.NoSpace, "full"), 507, oci.CodeUnavailable, "Retry-After:", true},
		{fault.Wrap(secret, fault.Unavailable, "not now"), 503, oci.CodeUnavailable, "Retry-After: 5", true},
		{fault.Wrap(secret, fault.Internal, "sda1 failed"), 500, oci.CodeUnknown, "Retry-After:", true},
		{secret, 500, oci.CodeUnknown, "Retry-After:", true},
	} {
		for _, where := range []string{"open", "call"} {
			var log bytes.Buffer
			h := ociserver.New(ociserver.Config{
				Open: func(*http.Request) (oci.Registry, error) {
					if where == "open" {
						return nil, test.err
					}
					return faulty{err: test.err}, nil
				},
				Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			rec := ask(t, h, "GET", "/v2/", "")
			checkRefusal(t, rec, test.status, test.code, test.header)
			if strings.Contains(rec.Body.String(), "sda1") {
				t.Errorf("the client is told the cause: %s", rec.Body)
			}
			if strings.Contains(log.String(), "sda1") != test.logged {
				t.Errorf("%v is logged as %q", test.err, log.String())
			}
		}
	}
}

func TestErrorDetail(t *testing.T) {
	t.Parallel()
	rec := ask(t, handler(t, ocitest.Memory()), "GET", "/v2/a/tags/list", "")
	want := `{"errors":[{"code":"NAME_UNKNOWN","message":"repository a does not exist in this registry","detail":{"name":"a"}}]}` + "\n"
	if rec.Body.String() != want {
		t.Errorf("body is %s", rec.Body)
	}
}

func TestBlobPull(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	data := "0123456789"
	dgst := pushBlob(t, registry, data)
	empty := pushBlob(t, registry, "")
	h := handler(t, registry)
	url := "/v2/repo/blobs/" + string(dgst)
	described := []string{
		"Docker-Content-Digest: " + string(dgst), `ETag: "` + string(dgst) + `"`, "Cache-Control: max-age=31536000",
		"Accept-Ranges: bytes", "Content-Type: application/octet-stream", "X-Content-Type-Options: nosniff",
	}

	rec := ask(t, h, "GET", url, "")
	check(t, rec, 200, append(described, "Content-Length: 10", "Content-Range:")...)
	if rec.Body.String() != data {
		t.Errorf("body is %q", rec.Body)
	}
	rec = ask(t, h, "HEAD", url, "", "Range: bytes=0-1") // a range is for GET alone
	check(t, rec, 200, append(described, "Content-Length: 10", "Content-Range:")...)
	check(t, ask(t, h, "GET", strings.Replace(url, ":", "%3a", 1), ""), 200, described...)
	check(t, ask(t, h, "GET", "/v2/repo/blobs/"+string(empty), "", "Range: bytes=0-"), 200, "Content-Length: 0")

	checkRefusal(t, ask(t, h, "GET", "/v2/repo/blobs/"+unknownDigest, ""), 404, oci.CodeBlobUnknown, "ETag:", "Cache-Control:")
	checkRefusal(t, ask(t, h, "HEAD", "/v2/repo/blobs/"+unknownDigest, ""), 404, oci.CodeBlobUnknown, "ETag:", "Cache-Control:")
}

func TestBlobRanges(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	dgst := pushBlob(t, registry, "0123456789")
	h := handler(t, registry)
	url := "/v2/repo/blobs/" + string(dgst)
	for asked, want := range map[string]struct{ body, contentRange string }{
		"bytes=2-4":   {"234", "bytes 2-4/10"},
		"bytes=7-":    {"789", "bytes 7-9/10"},
		"bytes=-3":    {"789", "bytes 7-9/10"},
		"bytes=8-100": {"89", "bytes 8-9/10"},
		"bytes=0-":    {"0123456789", "bytes 0-9/10"},
		"bytes=-100":  {"0123456789", "bytes 0-9/10"},
	} {
		rec := ask(t, h, "GET", url, "", "Range: "+asked)
		check(t, rec, 206, "Content-Range: "+want.contentRange, fmt.Sprintf("Content-Length: %d", len(want.body)),
			"Docker-Content-Digest: "+string(dgst), `ETag: "`+string(dgst)+`"`)
		if rec.Body.String() != want.body {
			t.Errorf("%s is %q: want %q", asked, rec.Body, want.body)
		}
	}
	for _, ignored := range []string{"bytes=1-2,4-5", "bytes=x-y", "bytes", "lines=1-2"} {
		check(t, ask(t, h, "GET", url, "", "Range: "+ignored), 200, "Content-Length: 10", "Content-Range:")
	}
	for _, unsatisfiable := range []string{"bytes=10-", "bytes=10-12", "bytes=5-0", "bytes=-0"} {
		checkRefusal(t, ask(t, h, "GET", url, "", "Range: "+unsatisfiable), 416, oci.CodeSizeInvalid,
			"Content-Range: bytes */10", "ETag:", "Cache-Control:")
	}
	check(t, ask(t, h, "GET", url, "", "Range: bytes=2-4", `If-Range: "`+string(dgst)+`"`), 206)
	check(t, ask(t, h, "GET", url, "", "Range: bytes=2-4", `If-Range: "`+unknownDigest+`"`), 200)
	check(t, ask(t, h, "GET", url, "", "Range: bytes=2-4", "If-Range: Wed, 21 Oct 2015 07:28:00 GMT"), 200)
}

func TestNotModified(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	blob := pushBlob(t, registry, "data")
	manifest := pushManifest(t, registry, index("one"), "latest")
	h := handler(t, registry)
	for target, dgst := range map[string]oci.Digest{
		"/v2/repo/blobs/" + string(blob):         blob,
		"/v2/repo/manifests/" + string(manifest): manifest,
		"/v2/repo/manifests/latest":              manifest,
	} {
		etag := `"` + string(dgst) + `"`
		cache := "Cache-Control: max-age=31536000"
		if strings.HasSuffix(target, "latest") {
			cache = "Cache-Control:" // a tag moves
		}
		for _, method := range []string{"GET", "HEAD"} {
			for _, condition := range []string{etag, "W/" + etag, `"other", ` + etag, "*"} {
				rec := ask(t, h, method, target, "", "If-None-Match: "+condition, "Range: bytes=0-1")
				check(t, rec, 304, "ETag: "+etag, "Docker-Content-Digest: "+string(dgst), "Content-Range:", cache)
				if rec.Body.Len() != 0 {
					t.Errorf("304 with body %q", rec.Body)
				}
			}
			for _, condition := range []string{`"other"`, string(dgst), `""`} {
				check(t, ask(t, h, method, target, "", "If-None-Match: "+condition), 200, "ETag: "+etag, cache)
			}
		}
	}
}

// location is where an upload went on to.
func location(t *testing.T, rec *httptest.ResponseRecorder) string {
	t.Helper()
	at := rec.Header().Get("Location")
	id, ok := strings.CutPrefix(at, "/v2/repo/blobs/uploads/")
	if !ok || rec.Header().Get("Docker-Upload-UUID") != id {
		t.Fatalf("Location is %q, Docker-Upload-UUID is %q", at, rec.Header().Get("Docker-Upload-UUID"))
	}
	return at
}

func TestUpload(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	h := handler(t, registry)
	dgst := oci.FromBytes(oci.SHA512, []byte("0123456789"))

	for _, target := range []string{"/v2/repo/blobs/uploads", "/v2/repo/blobs/uploads/", "/v2/repo/blobs/uploads/?digest-algorithm=sha512"} {
		rec := ask(t, h, "POST", target, "")
		check(t, rec, 202, "Range: 0-0", "Content-Length: 0")
		location(t, rec)
	}
	at := location(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/", ""))
	check(t, ask(t, h, "GET", at, ""), 204, "Location: "+at, "Range: 0-0", "Content-Length:")
	check(t, ask(t, h, "PATCH", at, "0123", "Content-Range: 0-3"), 202, "Location: "+at, "Range: 0-3", "Content-Length: 0")
	check(t, ask(t, h, "PATCH", at, "45"), 202, "Location: "+at, "Range: 0-5")
	check(t, ask(t, h, "GET", at, ""), 204, "Location: "+at, "Range: 0-5")
	check(t, ask(t, h, "HEAD", at, ""), 204, "Location: "+at, "Range: 0-5")

	// What does not fit says where to go on, and changes nothing.
	for _, method := range []string{"PATCH", "PUT"} {
		checkRefusal(t, ask(t, h, method, at+"?digest="+string(dgst), "89", "Content-Range: 8-9"), 416, oci.CodeBlobUploadInvalid,
			"Location: "+at, "Range: 0-5")
	}
	for _, malformed := range []string{"6", "6-", "-9", "9-6", "bytes 6-9/10", "a-b", "6-99999999999999999999"} {
		checkRefusal(t, ask(t, h, "PATCH", at, "6789", "Content-Range: "+malformed), 400, oci.CodeBlobUploadInvalid)
	}
	for _, method := range []string{"PATCH", "PUT"} {
		checkRefusal(t, ask(t, h, method, at+"?digest="+string(dgst), "678", "Content-Range: 6-9"), 400, oci.CodeSizeInvalid)
	}
	checkRefusal(t, ask(t, h, "PUT", at, "6789"), 400, oci.CodeDigestInvalid)
	checkRefusal(t, ask(t, h, "PUT", at+"?digest=", "6789"), 400, oci.CodeDigestInvalid)
	checkRefusal(t, ask(t, h, "PUT", at+"?digest=md5:abc", "6789"), 400, oci.CodeDigestInvalid)
	check(t, ask(t, h, "GET", at, ""), 204, "Range: 0-5")

	check(t, ask(t, h, "PUT", at+"?digest="+string(dgst), "6789", "Content-Range: 6-9"), 201,
		"Location: /v2/repo/blobs/"+string(dgst), "Docker-Content-Digest: "+string(dgst), "Content-Length: 0")
	check(t, ask(t, h, "GET", "/v2/repo/blobs/"+string(dgst), ""), 200, "Content-Length: 10")

	cancelled := location(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/", ""))
	check(t, ask(t, h, "PATCH", cancelled, "data"), 202)
	check(t, ask(t, h, "DELETE", cancelled, ""), 204, "Content-Length:")
	for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
		checkRefusal(t, ask(t, h, method, cancelled+"?digest="+string(dgst), ""), 404, oci.CodeBlobUploadUnknown)
	}

	wrong := location(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/", ""))
	checkRefusal(t, ask(t, h, "PUT", wrong+"?digest="+unknownDigest, "data"), 400, oci.CodeDigestInvalid)
}

// A chunk without Content-Length is as long as its Content-Range says, or wrong.
func TestUploadOfUnknownLength(t *testing.T) {
	t.Parallel()
	h := handler(t, ocitest.Memory())
	patch := func(at, body, contentRange string) *httptest.ResponseRecorder {
		req := httptest.NewRequest("PATCH", at, struct{ io.Reader }{strings.NewReader(body)})
		req.ContentLength = -1
		req.Header.Set("Content-Range", contentRange)
		return answer(h, req)
	}
	for _, test := range []struct {
		body   string
		status int
		code   string
		stored string
	}{
		{"0123", 202, "", "0-3"},
		{"01234", 400, oci.CodeSizeInvalid, "0-3"},
		{"012", 400, oci.CodeBlobUploadInvalid, "0-2"},
	} {
		at := location(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/", ""))
		rec := patch(at, test.body, "0-3")
		if test.status == 202 {
			check(t, rec, 202, "Range: 0-3")
		} else {
			checkRefusal(t, rec, test.status, test.code)
		}
		check(t, ask(t, h, "GET", at, ""), 204, "Range: "+test.stored)
	}
}

// A client that leaves is not the server's failure.
func TestUploadCutShort(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	registry := ocitest.Memory()
	h := ociserver.New(ociserver.Config{
		Open:            func(*http.Request) (oci.Registry, error) { return registry, nil },
		MaxManifestSize: 100,
		Log:             slog.New(slog.NewTextHandler(&log, nil)),
	})
	cut := func() io.Reader {
		return io.MultiReader(strings.NewReader(`{"sche`), iotest.ErrReader(io.ErrUnexpectedEOF))
	}
	at := location(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/", ""))
	checkRefusal(t, answer(h, httptest.NewRequest("PATCH", at, cut())), 400, oci.CodeBlobUploadInvalid)
	check(t, ask(t, h, "GET", at, ""), 204, "Range: 0-5")
	checkRefusal(t, answer(h, httptest.NewRequest("PUT", at+"?digest="+unknownDigest, cut())), 400, oci.CodeBlobUploadInvalid)
	checkRefusal(t, answer(h, httptest.NewRequest("PUT", "/v2/repo/manifests/v1", cut())), 400, oci.CodeSizeInvalid)
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
}

func TestUploadInOneRequest(t *testing.T) {
	t.Parallel()
	h := handler(t, ocitest.Memory())
	for _, data := range []string{"", "data"} {
		dgst := string(oci.FromBytes(oci.SHA256, []byte(data)))
		check(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/?digest="+dgst, data), 201,
			"Location: /v2/repo/blobs/"+dgst, "Docker-Content-Digest: "+dgst)
		check(t, ask(t, h, "HEAD", "/v2/repo/blobs/"+dgst, ""), 200, fmt.Sprintf("Content-Length: %d", len(data)))
	}
	checkRefusal(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/?digest="+unknownDigest, "data"), 400, oci.CodeDigestInvalid)
	checkRefusal(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/?digest=junk", "data"), 400, oci.CodeDigestInvalid)
	checkRefusal(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/?digest-algorithm=md5", ""), 400, oci.CodeDigestInvalid)
}

func TestMount(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	h := handler(t, registry)
	dgst := string(pushBlob(t, registry, "data"))
	for _, query := range []string{"&from=repo", "", "&from="} {
		check(t, ask(t, h, "POST", "/v2/other/blobs/uploads/?mount="+dgst+query, ""), 201,
			"Location: /v2/other/blobs/"+dgst, "Docker-Content-Digest: "+dgst)
	}
	check(t, ask(t, h, "HEAD", "/v2/other/blobs/"+dgst, ""), 200)
	for _, query := range []string{"&from=other", "", "&from=never/seen"} {
		rec := ask(t, h, "POST", "/v2/repo/blobs/uploads/?mount="+unknownDigest+query, "")
		check(t, rec, 202, "Range: 0-0")
		location(t, rec)
	}
	checkRefusal(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/?mount=junk&from=repo", ""), 400, oci.CodeDigestInvalid)
	checkRefusal(t, ask(t, h, "POST", "/v2/repo/blobs/uploads/?mount="+dgst+"&from=../x", ""), 400, oci.CodeNameInvalid)
}

func TestManifestPush(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	h := handler(t, registry)
	data := index("one")
	dgst := string(oci.FromBytes(oci.SHA256, []byte(data)))
	contentType := "Content-Type: " + oci.MediaTypeImageIndex
	created := []string{"Location: /v2/repo/manifests/" + dgst, "Docker-Content-Digest: " + dgst, "OCI-Subject:", "Content-Length: 0"}

	check(t, ask(t, h, "PUT", "/v2/repo/manifests/v1", data, contentType), 201, append(created, "OCI-Tag:")...)
	check(t, ask(t, h, "PUT", "/v2/repo/manifests/"+dgst, data, contentType+"; charset=utf-8"), 201, append(created, "OCI-Tag:")...)
	check(t, ask(t, h, "PUT", "/v2/repo/manifests/"+dgst+"?tag=1.2.3&tag=1.2&tag=1&tag=1.2", data, contentType), 201,
		append(created, "OCI-Tag: 1.2.3, 1.2, 1")...)
	for _, tag := range []string{"v1", "1", "1.2", "1.2.3"} {
		check(t, ask(t, h, "HEAD", "/v2/repo/manifests/"+tag, ""), 200, "Docker-Content-Digest: "+dgst)
	}
	withSubject := strings.Replace(data, `"manifests"`, `"subject":{"mediaType":"`+oci.MediaTypeImageIndex+`","digest":"`+dgst+`","size":1},"manifests"`, 1)
	check(t, ask(t, h, "PUT", "/v2/repo/manifests/about", withSubject, contentType), 201, "OCI-Subject: "+dgst)

	checkRefusal(t, ask(t, h, "PUT", "/v2/repo/manifests/"+unknownDigest, data, contentType), 400, oci.CodeDigestInvalid)
	checkRefusal(t, ask(t, h, "PUT", "/v2/repo/manifests/sha256:bad", data, contentType), 400, oci.CodeDigestInvalid)
	checkRefusal(t, ask(t, h, "PUT", "/v2/repo/manifests/.bad", data, contentType), 400, oci.CodeManifestInvalid)
	checkRefusal(t, ask(t, h, "PUT", "/v2/repo/manifests/"+dgst+"?tag=good&tag=.bad", data, contentType), 400, oci.CodeManifestInvalid)
	checkRefusal(t, ask(t, h, "PUT", "/v2/repo/manifests/v1?tag=v2", data, contentType), 400, oci.CodeUnsupported)
	checkRefusal(t, ask(t, h, "PUT", "/v2/repo/manifests/"+dgst+"?tag=t"+strings.Repeat("&tag=t", 100), data, contentType), 413, oci.CodeUnsupported)
	checkRefusal(t, ask(t, h, "PUT", "/v2/repo/manifests/v1", "{}", contentType), 400, oci.CodeManifestInvalid)
	check(t, ask(t, h, "HEAD", "/v2/repo/manifests/good", ""), 404)
}

func TestManifestTooLarge(t *testing.T) {
	t.Parallel()
	h := handler(t, ocitest.Memory())
	frame := index("")
	fits := index(strings.Repeat("x", maxManifestSize-len(frame)))
	check(t, ask(t, h, "PUT", "/v2/repo/manifests/v1", fits), 201)

	// Said beforehand: the body is not read at all.
	req := httptest.NewRequest("PUT", "/v2/repo/manifests/v1", iotest.ErrReader(errors.New("the body was read")))
	req.ContentLength = maxManifestSize + 1
	checkRefusal(t, answer(h, req), 413, oci.CodeSizeInvalid)

	// Found out: no more is read than must be.
	body := strings.NewReader(strings.Repeat("x", maxManifestSize+1000))
	req = httptest.NewRequest("PUT", "/v2/repo/manifests/v1", struct{ io.Reader }{body})
	req.ContentLength = -1
	checkRefusal(t, answer(h, req), 413, oci.CodeSizeInvalid)
	if body.Len() != 999 {
		t.Errorf("%d bytes of the body were left", body.Len())
	}
}

func TestManifestPull(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	h := handler(t, registry)
	data := index("one")
	dgst := string(pushManifest(t, registry, data, "latest"))
	for _, ref := range []string{"latest", dgst, strings.Replace(dgst, ":", "%3A", 1)} {
		for _, accept := range []string{"*/*", oci.MediaTypeImageManifest, "text/html"} {
			rec := ask(t, h, "GET", "/v2/repo/manifests/"+ref, "", "Accept: "+accept)
			check(t, rec, 200, "Content-Type: "+oci.MediaTypeImageIndex, fmt.Sprintf("Content-Length: %d", len(data)),
				"Docker-Content-Digest: "+dgst, `ETag: "`+dgst+`"`)
			if rec.Body.String() != data {
				t.Errorf("body is %q", rec.Body)
			}
			check(t, ask(t, h, "HEAD", "/v2/repo/manifests/"+ref, "", "Accept: "+accept), 200, "Content-Type: "+oci.MediaTypeImageIndex,
				fmt.Sprintf("Content-Length: %d", len(data)), "Docker-Content-Digest: "+dgst)
		}
	}
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		checkRefusal(t, ask(t, h, method, "/v2/repo/manifests/missing", ""), 404, oci.CodeManifestUnknown)
		checkRefusal(t, ask(t, h, method, "/v2/repo/manifests/"+unknownDigest, ""), 404, oci.CodeManifestUnknown)
		checkRefusal(t, ask(t, h, method, "/v2/repo/manifests/.not-a-tag", ""), 404, oci.CodeManifestUnknown)
		checkRefusal(t, ask(t, h, method, "/v2/repo/manifests/sha256:bad", ""), 400, oci.CodeDigestInvalid)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	h := handler(t, registry)
	blob := string(pushBlob(t, registry, "data"))
	manifest := string(pushManifest(t, registry, index("one"), "v1", "v2"))
	for _, target := range []string{"/v2/repo/manifests/v1", "/v2/repo/manifests/" + manifest, "/v2/repo/blobs/" + blob} {
		check(t, ask(t, h, "DELETE", target, ""), 202, "Content-Length: 0")
		check(t, ask(t, h, "GET", target, ""), 404)
		check(t, ask(t, h, "DELETE", target, ""), 404)
	}
	check(t, ask(t, h, "GET", "/v2/repo/manifests/v2", ""), 404)
}

func TestLists(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	h := handler(t, registry)
	for _, tag := range []oci.Tag{"a", "b", "c"} {
		pushManifest(t, registry, index("one"), tag)
	}
	dgst := oci.FromBytes(oci.SHA256, []byte("bare"))
	if id, err := registry.StartUpload(t.Context(), "another/repo"); err != nil {
		t.Fatal(err)
	} else if _, err := registry.CommitUpload(t.Context(), "another/repo", id, 0, strings.NewReader("bare"), dgst); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]struct{ body, link string }{
		"/v2/repo/tags/list":                 {`{"name":"repo","tags":["a","b","c"]}`, ""},
		"/v2/repo/tags/list?n=3":             {`{"name":"repo","tags":["a","b","c"]}`, ""},
		"/v2/repo/tags/list?n=2":             {`{"name":"repo","tags":["a","b"]}`, `</v2/repo/tags/list?last=b&n=2>; rel="next"`},
		"/v2/repo/tags/list?n=2&last=b":      {`{"name":"repo","tags":["c"]}`, ""},
		"/v2/repo/tags/list?last=c":          {`{"name":"repo","tags":[]}`, ""},
		"/v2/repo/tags/list?n=0":             {`{"name":"repo","tags":[]}`, ""},
		"/v2/another/repo/tags/list":         {`{"name":"another/repo","tags":[]}`, ""},
		"/v2/_catalog":                       {`{"repositories":["another/repo","repo"]}`, ""},
		"/v2/_catalog?n=1":                   {`{"repositories":["another/repo"]}`, `</v2/_catalog?last=another%2Frepo&n=1>; rel="next"`},
		"/v2/_catalog?n=1&last=another/repo": {`{"repositories":["repo"]}`, ""},
		"/v2/_catalog?n=0":                   {`{"repositories":[]}`, ""},
		"/v2/_catalog?last=z":                {`{"repositories":[]}`, ""},
	} {
		rec := ask(t, h, "GET", target, "")
		check(t, rec, 200, "Content-Type: application/json; charset=utf-8", "Link: "+want.link)
		if rec.Body.String() != want.body+"\n" {
			t.Errorf("%s is %s: want %s", target, rec.Body, want.body)
		}
	}
	for _, list := range []string{"/v2/repo/tags/list", "/v2/_catalog", "/v2/repo/referrers/" + unknownDigest} {
		for _, n := range []string{"-1", "x", "", "1.5", "99999999999999999999"} {
			checkRefusal(t, ask(t, h, "GET", list+"?n="+n, ""), 400, oci.CodeUnsupported)
		}
	}
	checkRefusal(t, ask(t, h, "GET", "/v2/absent/tags/list?n=0", ""), 404, oci.CodeNameUnknown)
}

func TestReferrers(t *testing.T) {
	t.Parallel()
	registry := ocitest.Memory()
	h := handler(t, registry)
	subject := string(pushManifest(t, registry, index("subject")))
	artifactType := "application/vnd.example+json"
	var digests []string
	for _, name := range []string{"one", "two"} {
		digests = append(digests, string(pushManifest(t, registry, strings.Replace(index(name), `"manifests"`,
			`"artifactType":"`+artifactType+`","subject":{"mediaType":"`+oci.MediaTypeImageIndex+`","digest":"`+subject+`","size":1},"manifests"`, 1))))
	}
	slices.Sort(digests)
	path := "/v2/repo/referrers/" + subject
	none := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}` + "\n"
	for target, want := range map[string]struct {
		digests      []string
		filter, link string
	}{
		path: {digests, "", ""},
		path + "?artifactType=application%2Fvnd.example%2Bjson":     {digests, "artifactType", ""},
		path + "?artifactType=other":                                {nil, "artifactType", ""},
		path + "?n=1":                                               {digests[:1], "", "<" + path + "?last=" + strings.Replace(digests[0], ":", "%3A", 1) + `&n=1>; rel="next"`},
		path + "?n=1&artifactType=application%2Fvnd.example%2Bjson": {digests[:1], "artifactType", "<" + path + "?artifactType=application%2Fvnd.example%2Bjson&last=" + strings.Replace(digests[0], ":", "%3A", 1) + `&n=1>; rel="next"`},
		path + "?last=" + digests[0]:                                {digests[1:], "", ""},
		"/v2/repo/referrers/" + unknownDigest:                       {nil, "", ""},
		"/v2/absent/referrers/" + unknownDigest:                     {nil, "", ""},
	} {
		rec := ask(t, h, "GET", target, "")
		check(t, rec, 200, "Content-Type: "+oci.MediaTypeImageIndex, "OCI-Filters-Applied: "+want.filter, "Link: "+want.link)
		if len(want.digests) == 0 && rec.Body.String() != none {
			t.Errorf("%s is %s", target, rec.Body)
		}
		var got struct {
			Manifests []oci.Descriptor
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		var listed []string
		for _, d := range got.Manifests {
			listed = append(listed, string(d.Digest))
		}
		if !slices.Equal(listed, want.digests) {
			t.Errorf("%s lists %v: want %v", target, listed, want.digests)
		}
	}
}
