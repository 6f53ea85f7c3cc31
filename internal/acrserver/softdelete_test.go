package acrserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// TestSoftDelete deletes, lists and restores: each answer byte for byte but for times.
func TestSoftDelete(t *testing.T) {
	t.Parallel()
	s := newService(t)
	image, index := s.push("team/web", "v1", "all")
	s.push("app", "v1", "")
	for _, dgst := range []oci.Digest{index.Digest, image.Digest} {
		if err := s.store.DeleteManifest(t.Context(), "team/web", dgst); err != nil {
			t.Fatal(err)
		}
	}
	const start, entry = `{"registry":"contoso.example:5000","imageName":"team/web",`, `"createdTime":"T","deletedAt":"T","deletedBy":"contoso","expiresAfter":"T"`
	ofImage := fmt.Sprintf(`{"digest":%q,"mediaType":%q,`+entry+`,"tags":["v1"]}`, image.Digest, image.MediaType)
	ofIndex := fmt.Sprintf(`{"digest":%q,"mediaType":%q,`+entry+`,"tags":["all"]}`, index.Digest, index.MediaType)
	ofTags := fmt.Sprintf(`{"tag":"all","digest":%q,"deletedAt":"T","deletedBy":"contoso","expiresAfter":"T"},{"tag":"v1","digest":%q,"deletedAt":"T","deletedBy":"contoso","expiresAfter":"T"}`, index.Digest, image.Digest)
	const root = "/acr/v1/_deleted/"
	for path, want := range map[string]string{
		"_catalog":             `{"repositories":["team/web"]}`,
		"_catalog?last=team/y": `{"repositories":[]}`,
		"team%2Fweb/_manifests?n=100&orderby=timeasc": start + `"manifests":[` + ofIndex + "," + ofImage + "]}",
		"team/web/_manifests?orderby=timedesc":        start + `"manifests":[` + ofImage + "," + ofIndex + "]}",
		"team/web/_tags":                              start + `"tags":[` + ofTags + "]}",
		"team/web/_tags?last=v1":                      start + `"tags":[]}`,
		"app/_manifests":                              `{"registry":"contoso.example:5000","imageName":"app","manifests":[]}`,
	} {
		w := s.call("GET", root+path, "")
		if diff := cmp.Diff(want, answer(t, w, http.StatusOK)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		if head := s.call("HEAD", root+path, ""); head.Code != w.Code || head.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
			t.Errorf("HEAD %s: %d %v", path, head.Code, head.Header())
		}
	}

	// A second deletion of the tag is the last of its name, as Azure's client wants it.
	_, second := s.push("team/web", "x", "v1")
	if err := s.store.DeleteManifest(t.Context(), "team/web", second.Digest); err != nil {
		t.Fatal(err)
	}
	if got, want := s.follow(t, root+"team/web/_tags?n=1"), []string{"all " + string(index.Digest), "v1 " + string(image.Digest), "v1 " + string(second.Digest)}; !cmp.Equal(got, want) {
		t.Errorf("page by page: %v, want %v", got, want)
	}
	for path, want := range map[string]int{"team/web/_manifests?n=1": 3, "team/web/_manifests?n=1&orderby=timedesc": 3} {
		if all := s.follow(t, root+path); len(all) != want {
			t.Errorf("%s page by page: %v", path, all)
		}
	}

	restore := root + "team%2Fweb/_manifests/" + strings.Replace(string(index.Digest), ":", "%3A", 1)
	want := start + fmt.Sprintf(`"manifestsRestored":[%q,%q],"tagsRestored":["new"]}`, image.Digest, index.Digest)
	if got := answer(t, s.call("POST", restore+"?force=False", `{"tag":"new"}`), http.StatusOK); got != want {
		t.Errorf("restored: %s, want %s", got, want)
	}
	s.push("team/web", "y", "all")
	ofIndexTag := root + "team/web/_manifests/" + string(index.Digest)
	got := answer(t, s.call("POST", ofIndexTag, `{"tag":"all"}`), http.StatusConflict)
	if !strings.Contains(got, `"TAG_IN_USE"`) || !strings.Contains(got, "restore with force") || !strings.Contains(got, "tag all of team/web is in use by sha256:") {
		t.Errorf("in use: %s", got)
	}
	got = answer(t, s.call("POST", ofIndexTag+"?force=True", `{"tag":"all"}`), http.StatusOK)
	if want := start + `"manifestsRestored":[],"tagsRestored":["all"]}`; got != want {
		t.Errorf("by force: %s, want %s", got, want)
	}
	if err := s.store.DeleteManifest(t.Context(), "team/web", index.Digest); err != nil {
		t.Fatal(err)
	}
	got = answer(t, s.call("POST", ofIndexTag, `{"tag":null}`), http.StatusOK)
	if want := start + fmt.Sprintf(`"manifestsRestored":[%q],"tagsRestored":["all","new"]}`, index.Digest); got != want {
		t.Errorf("with its tags: %s, want %s", got, want)
	}
}

// follow returns what the pages of a list name.
func (s *service) follow(t *testing.T, path string) (all []string) {
	t.Helper()
	for path != "" {
		w := s.call("GET", path, "")
		var page struct {
			Tags      []struct{ Tag, Digest string }
			Manifests []struct{ Digest string }
		}
		if err := json.Unmarshal([]byte(answer(t, w, http.StatusOK)), &page); err != nil {
			t.Fatal(err)
		}
		for _, tag := range page.Tags {
			all = append(all, tag.Tag+" "+tag.Digest)
		}
		for _, m := range page.Manifests {
			all = append(all, m.Digest)
		}
		path, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
	}
	return all
}

// FuzzParseRestore checks that a body which is taken says what encoding/json makes of
// it.
func FuzzParseRestore(f *testing.F) {
	for _, seed := range []string{``, `{}`, `{"tag":null}`, `{"tag":"v1"}`, `{"tag":"v1","tag":"v2"}`, `{"Tag":"v1"}`, `{"tag":["v1"]}`, `{"tag":"v1"}x`, `{"tag":".."}`, `{"t\u0061g":"v1"}`, `null`} {
		f.Add("False", []byte(seed))
	}
	f.Add("maybe", []byte(`{}`))
	f.Fuzz(func(t *testing.T, force string, body []byte) {
		how, err := parseRestore(force, body)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || how != (oci.Restoring{}) {
				t.Fatalf("%q %q: %+v, %v", force, body, how, err)
			}
			return
		}
		if len(body) == 0 {
			if how.Tag != "" {
				t.Fatalf("%+v of nothing", how)
			}
			return
		}
		var said map[string]*string
		if err := json.Unmarshal(body, &said); err != nil {
			t.Fatalf("%q is taken, but %v", body, err)
		}
		for name, value := range said {
			if name != "tag" || value == nil && how.Tag != "" || value != nil && *value != string(how.Tag) {
				t.Fatalf("%q is %+v", body, how)
			}
		}
	})
}

// FuzzDeletedPlace checks that a place is taken only whole.
func FuzzDeletedPlace(f *testing.F) {
	for _, seed := range []string{"", "v1", "v1@", "v1@sha256:00", "@", "v1@@", "v1@" + string(oci.FromBytes(oci.SHA256, nil))} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, last string, timed bool) {
		q := listQuery{DetailsPage: oci.DetailsPage{Last: last}}
		if timed {
			q.LastTime = q.LastTime.AddDate(2026, 0, 0)
		}
		after, err := parseDeletedPlace(q)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || after != (oci.DeletedTag{}) {
				t.Fatalf("%q: %+v, %v", last, after, err)
			}
			return
		}
		again := string(after.Name)
		if after.Digest != "" {
			again += "@" + string(after.Digest)
		}
		if again != last || (after.Digest != "") != !after.DeletedAt.IsZero() {
			t.Fatalf("%q is %+v", last, after)
		}
	})
}
