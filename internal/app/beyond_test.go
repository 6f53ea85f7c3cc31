package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestBeyondACR has a webhook ask for what ACR tells nobody of, and another for
// what ACR tells: each hears of its own, within its scope.
func TestBeyondACR(t *testing.T) {
	t.Parallel()
	type ring struct {
		Hook   string `json:"-"`
		Action string
		Target struct{ Repository, Tag, Digest, PreviousDigest, SubjectDigest string }
	}
	rang := make(chan ring, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := ring{Hook: r.URL.Path}
		json.Unmarshal(body, &got)
		rang <- got
	}))
	defer receiver.Close()
	s := start(t, settings(t.TempDir()))
	s.must("PUT", plane+"webhooks/acrhook", fmt.Sprintf(`{"location":"local","properties":{"serviceUri":%q,"actions":["push","delete"]}}`, receiver.URL+"/acr"), nil)
	s.must("PUT", plane+"webhooks/wholehook", fmt.Sprintf(`{"location":"local","properties":{"serviceUri":%q,"scope":"team/*:*","actions":["Untag","TAG_MOVED","pull","referrer_attached"]}}`, receiver.URL+"/beyond"), nil)

	expect := func(want ...ring) {
		t.Helper()
		left := map[ring]int{}
		for _, r := range want {
			left[r]++
		}
		for range want {
			select {
			case got := <-rang:
				left[got]--
			case <-time.After(patience):
				t.Fatalf("still waiting: %+v", left)
			}
		}
		for r, n := range left {
			if n != 0 {
				t.Errorf("%+v: %d too few", r, n)
			}
		}
	}
	of := func(hook, action, repo, tag, digest string) (r ring) {
		r.Hook, r.Action = hook, action
		r.Target.Repository, r.Target.Tag, r.Target.Digest = repo, tag, digest
		return r
	}

	first := s.push("team/web", "v1")
	expect(of("/acr", "push", "team/web", "v1", first))
	// The same tag, another image: what a push of v2 has, put as v1.
	second := s.push("team/web", "v2")
	expect(of("/acr", "push", "team/web", "v2", second))
	status, _, manifest := s.do("GET", "/v2/team/web/manifests/v2", nil, s.asOperator)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, manifest)
	}
	expect(of("/beyond", "pull", "team/web", "v2", second))
	for _, quiet := range []struct{ method, path string }{
		{"HEAD", "/v2/team/web/manifests/v2"}, {"GET", "/v2/team/web/manifests/" + second}, {"GET", "/v2/team/web/tags/list"},
		{"GET", "/acr/v1/team/web/_tags/v2"},
	} {
		if status, _, answer := s.do(quiet.method, quiet.path, nil, s.asOperator); status != http.StatusOK {
			t.Fatalf("%s %s: %d %s", quiet.method, quiet.path, status, answer)
		}
	}
	if status, _, answer := s.do("PUT", "/v2/team/web/manifests/v1", manifest, s.asOperator); status != http.StatusCreated {
		t.Fatalf("%d %s", status, answer)
	}
	moved := of("/beyond", "tag_moved", "team/web", "v1", second)
	moved.Target.PreviousDigest = first
	expect(of("/acr", "push", "team/web", "v1", second), moved)

	artifact := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x",`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[],`+
		`"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}}`, second, len(manifest))
	status, header, answer := s.do("PUT", "/v2/team/web/manifests/sbom", artifact, s.asOperator)
	if status != http.StatusCreated || header.Get("OCI-Subject") != second {
		t.Fatalf("%d %s", status, answer)
	}
	attached := of("/beyond", "referrer_attached", "team/web", "sbom", header.Get("Docker-Content-Digest"))
	attached.Target.SubjectDigest = second
	expect(of("/acr", "push", "team/web", "sbom", attached.Target.Digest), attached)

	if status, _, answer := s.do("DELETE", "/acr/v1/team/web/_tags/v1", nil, s.asOperator); status/100 != 2 {
		t.Fatalf("%d %s", status, answer)
	}
	expect(of("/beyond", "untag", "team/web", "v1", second))

	// Outside its scope nothing is told, nor kept for nobody.
	other := s.push("other", "v1")
	expect(of("/acr", "push", "other", "v1", other))
	if status, _, answer := s.do("GET", "/v2/other/manifests/v1", nil, s.asOperator); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	s.push("team/last", "v1")
	expect(of("/acr", "push", "team/last", "v1", s.digestOf("team/last", "v1")))
	s.stop()
	select {
	case r := <-rang:
		t.Errorf("%+v rang, and nobody asked for it", r)
	default:
	}
}

// digestOf returns the digest of a tag, without a pull.
func (r *running) digestOf(repo, tag string) string {
	r.t.Helper()
	status, header, _ := r.do("HEAD", "/v2/"+repo+"/manifests/"+tag, nil, r.asOperator)
	if status != http.StatusOK {
		r.t.Fatalf("HEAD of %s:%s: %d", repo, tag, status)
	}
	return header.Get("Docker-Content-Digest")
}
