package ociserver

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParsePath(t *testing.T) {
	t.Parallel()
	for escaped, want := range map[string]path{
		"/v2":                                {endpoint: atBase},
		"/v2/":                               {endpoint: atBase},
		"/v2/_catalog":                       {endpoint: atCatalog},
		"/v2/a/tags/list":                    {atTags, "a", ""},
		"/v2/a/b/c/tags/list":                {atTags, "a/b/c", ""},
		"/v2/a%2Fb%2fc/tags/list":            {atTags, "a/b/c", ""},
		"/v2/a/referrers/" + someDigest:      {atReferrers, "a", someDigest},
		"/v2/a/manifests/latest":             {atManifest, "a", "latest"},
		"/v2/a/manifests/" + someDigest:      {atManifest, "a", someDigest},
		"/v2/a/manifests/sha256%3Aab":        {atManifest, "a", "sha256:ab"},
		"/v2/a/blobs/" + someDigest:          {atBlob, "a", someDigest},
		"/v2/a/blobs/uploads":                {atUploads, "a", ""},
		"/v2/a/blobs/uploads/":               {atUploads, "a", ""},
		"/v2/a/blobs/uploads/some-id":        {atUpload, "a", "some-id"},
		"/v2/a/b-c__d.e/blobs/uploads/1":     {atUpload, "a/b-c__d.e", "1"},
		"/v2/tags/tags/list":                 {atTags, "tags", ""},
		"/v2/a/manifests/tags/list":          {atTags, "a/manifests", ""},
		"/v2/a/tags/manifests/list":          {atManifest, "a/tags", "list"},
		"/v2/a/blobs/uploads/tags/list":      {atTags, "a/blobs/uploads", ""},
		"/v2/a/blobs/uploads/manifests/list": {atManifest, "a/blobs/uploads", "list"},
		"/v2/a/blobs/uploads/blobs/uploads/": {atUploads, "a/blobs/uploads", ""},
		"/v2/manifests/manifests/manifests":  {atManifest, "manifests", "manifests"},
		"/v2/blobs/uploads/blobs/uploads":    {atUploads, "blobs/uploads", ""},
	} {
		if got, err := parsePath(escaped); err != nil || got != want {
			t.Errorf("%s is %+v, %v: want %+v", escaped, got, err, want)
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	t.Parallel()
	for escaped, code := range map[string]string{
		"":                         oci.CodeUnsupported,
		"/":                        oci.CodeUnsupported,
		"/v1/":                     oci.CodeUnsupported,
		"/v2x":                     oci.CodeUnsupported,
		"//v2/":                    oci.CodeUnsupported,
		"/v2//":                    oci.CodeUnsupported,
		"/v2/..":                   oci.CodeUnsupported,
		"/v2/a":                    oci.CodeUnsupported,
		"/v2/a/":                   oci.CodeUnsupported,
		"/v2/a/b/c":                oci.CodeUnsupported,
		"/v2/_catalog/":            oci.CodeUnsupported,
		"/v2/%5fcatalog":           oci.CodeUnsupported,
		"/v2/a/_catalog":           oci.CodeUnsupported,
		"/v2/a/tags/":              oci.CodeUnsupported,
		"/v2/a/tags/list/":         oci.CodeUnsupported,
		"/v2/a/tags/other":         oci.CodeUnsupported,
		"/v2/a/manifests":          oci.CodeUnsupported,
		"/v2/a/manifests/":         oci.CodeUnsupported,
		"/v2/a/blobs/":             oci.CodeUnsupported,
		"/v2/a/uploads/":           oci.CodeUnsupported,
		"/v2/a/uploads/id":         oci.CodeUnsupported,
		"/v2/a/blobs/uploads/id/":  oci.CodeUnsupported,
		"/v2/a/blobs/uploads/id/x": oci.CodeUnsupported,
		"/v2/a/manifests/%zz":      oci.CodeUnsupported,
		"/v2/tags/list":            oci.CodeNameInvalid,
		"/v2/blobs/uploads/":       oci.CodeNameInvalid,
		"/v2//tags/list":           oci.CodeNameInvalid,
		"/v2/a//tags/list":         oci.CodeNameInvalid,
		"/v2/a//b/tags/list":       oci.CodeNameInvalid,
		"/v2//a/tags/list":         oci.CodeNameInvalid,
		"/v2/a/../b/tags/list":     oci.CodeNameInvalid,
		"/v2/../tags/list":         oci.CodeNameInvalid,
		"/v2/./tags/list":          oci.CodeNameInvalid,
		"/v2/a/%2e%2e/tags/list":   oci.CodeNameInvalid,
		"/v2/a%2f/tags/list":       oci.CodeNameInvalid,
		"/v2/a%252Fb/tags/list":    oci.CodeNameInvalid,
		"/v2/a%2/tags/list":        oci.CodeNameInvalid,
		"/v2/a%252fb/tags/list":    oci.CodeNameInvalid,
		"/v2/a%00/tags/list":       oci.CodeNameInvalid,
		`/v2/a\b/tags/list`:        oci.CodeNameInvalid,
		"/v2/A/tags/list":          oci.CodeNameInvalid,
		"/v2/a_/tags/list":         oci.CodeNameInvalid,
		"/v2/a:b/tags/list":        oci.CodeNameInvalid,
		"/v2/a b/tags/list":        oci.CodeNameInvalid,
		"/v2/\u00e9/tags/list":     oci.CodeNameInvalid,
		"/v2/" + strings.Repeat("a", 256) + "/tags/list": oci.CodeNameInvalid,
	} {
		got, err := parsePath(escaped)
		want := fault.NotFound
		if code == oci.CodeNameInvalid {
			want = fault.Invalid
		}
		if f := fault.As(err); err == nil || f.Code != code || f.Kind != want {
			t.Errorf("%q is %+v, %v: want %s", escaped, got, err, code)
		}
	}
}

// The grammar of the specification, word for word.
var nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// FuzzParsePath checks that a path is read in one way only: what was made of it
// leads back to it.
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/_catalog", "/v2/a/b/tags/list", "/v2/a/manifests/sha256%3a00", "/v2/a/blobs/uploads/",
		"/v2/a/blobs/uploads/%2e%2e", "/v2/a%2fb/tags/list", "/v2/a/../b/referrers/x", "/v2/a//blobs/x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		p, err := parsePath(escaped)
		if err != nil {
			if k := fault.As(err).Kind; k != fault.NotFound && k != fault.Invalid {
				t.Fatalf("%q: kind %v", escaped, k)
			}
			return
		}
		unescaped, err := url.PathUnescape(escaped)
		if err != nil {
			t.Fatalf("%q was taken and has no meaning: %v", escaped, err)
		}
		if p.endpoint == atBase || p.endpoint == atCatalog {
			if p != (path{endpoint: p.endpoint}) {
				t.Fatalf("%q is %+v", escaped, p)
			}
			return
		}
		if !nameGrammar.MatchString(string(p.repo)) || !strings.HasPrefix(unescaped, "/v2/"+string(p.repo)+"/") {
			t.Fatalf("%q is in repository %q", escaped, p.repo)
		}
		middle := map[endpoint][]string{
			atTags: {"/tags/list"}, atReferrers: {"/referrers/"}, atManifest: {"/manifests/"}, atBlob: {"/blobs/"},
			atUploads: {"/blobs/uploads", "/blobs/uploads/"}, atUpload: {"/blobs/uploads/"},
		}[p.endpoint]
		for _, m := range middle {
			if "/v2/"+string(p.repo)+m+p.last == unescaped {
				return
			}
		}
		t.Fatalf("%q is %+v, which is not %q", escaped, p, unescaped)
	})
}

func TestParseRange(t *testing.T) {
	t.Parallel()
	const size = 1000
	for header, want := range map[string]struct {
		part   byteRange
		answer rangeAnswer
	}{
		"bytes=0-":                     {byteRange{0, 1000}, rangeOK},
		"bytes=0-0":                    {byteRange{0, 1}, rangeOK},
		"bytes=0-999":                  {byteRange{0, 1000}, rangeOK},
		"bytes=0-99999":                {byteRange{0, 1000}, rangeOK},
		"bytes=500-":                   {byteRange{500, 500}, rangeOK},
		"bytes=999-":                   {byteRange{999, 1}, rangeOK},
		"bytes=-1":                     {byteRange{999, 1}, rangeOK},
		"bytes=-1000":                  {byteRange{0, 1000}, rangeOK},
		"bytes=-99999":                 {byteRange{0, 1000}, rangeOK},
		"Bytes= 1-2 ":                  {byteRange{1, 2}, rangeOK},
		"bytes=1000-":                  {byteRange{}, rangeUnsatisfiable},
		"bytes=1000-2000":              {byteRange{}, rangeUnsatisfiable},
		"bytes=5-4":                    {byteRange{}, rangeUnsatisfiable},
		"bytes=-0":                     {byteRange{}, rangeUnsatisfiable},
		"bytes=0-1,5-6":                {byteRange{}, rangeIgnored},
		"bytes=":                       {byteRange{}, rangeIgnored},
		"bytes=-":                      {byteRange{}, rangeIgnored},
		"bytes=+1-2":                   {byteRange{}, rangeIgnored},
		"bytes=1-+2":                   {byteRange{}, rangeIgnored},
		"bytes=1_0-20":                 {byteRange{}, rangeIgnored},
		"bytes=a-b":                    {byteRange{}, rangeIgnored},
		"bytes=--1":                    {byteRange{}, rangeIgnored},
		"bytes 0-1":                    {byteRange{}, rangeIgnored},
		"items=0-1":                    {byteRange{}, rangeIgnored},
		"bytes=0-99999999999999999999": {byteRange{}, rangeIgnored},
	} {
		if part, answer := parseRange(header, size); part != want.part || answer != want.answer {
			t.Errorf("%q is %+v, %v: want %+v, %v", header, part, answer, want.part, want.answer)
		}
	}
	if part, answer := parseRange("bytes=0-", 0); answer != rangeIgnored {
		t.Errorf("a range of nothing is %+v, %v", part, answer)
	}
}

// FuzzParseRange holds parseRange against net/http's reading.
func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-", "bytes=-5", "bytes=1-3", "bytes=9-2", "bytes=1-2,4-5", "bytes=99-"} {
		f.Add(seed, 10)
	}
	f.Fuzz(func(t *testing.T, header string, size int) {
		if size < 0 || size > 1<<10 {
			return
		}
		part, answer := parseRange(header, int64(size))
		if answer == rangeIgnored {
			return
		}
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		_, spec, _ := strings.Cut(header, "=")
		req.Header.Set("Range", "bytes="+spec) // net/http is strict about the unit
		http.ServeContent(rec, req, "", time.Time{}, strings.NewReader(strings.Repeat("x", size)))
		if answer == rangeUnsatisfiable {
			if rec.Code == http.StatusPartialContent && rec.Body.Len() > 0 {
				t.Fatalf("%q of %d is unsatisfiable, net/http answers %q", header, size, rec.Header().Get("Content-Range"))
			}
			return
		}
		if rec.Code != http.StatusPartialContent || rec.Header().Get("Content-Range") != part.of(int64(size)) {
			t.Fatalf("%q of %d is %+v, for net/http it is %d %q", header, size, part, rec.Code, rec.Header().Get("Content-Range"))
		}
	})
}

var contentRangeGrammar = regexp.MustCompile(`^[0-9]+-[0-9]+$`)

func FuzzParseContentRange(f *testing.F) {
	for _, seed := range []string{"0-0", "5-4", "0-99999999999999999999", "bytes 0-1/2", "-", "1--1", "+1-2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		start, end, ok := parseContentRange(header)
		if !ok {
			return
		}
		if !contentRangeGrammar.MatchString(header) || start < 0 || end < start || end-start+1 <= 0 {
			t.Fatalf("%q is %d to %d", header, start, end)
		}
	})
}
