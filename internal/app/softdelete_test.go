package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// TestSoftDelete has the policy switched on by a request. Deletions ring, what was
// deleted outlives collections, restorations ring as pushes, and when the days of the
// policy are over the blobs go.
func TestSoftDelete(t *testing.T) {
	t.Parallel()
	rang := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var ring struct {
			Action  string
			Target  struct{ Repository, Tag, Digest string }
			Request struct{ Method string }
		}
		body, _ := io.ReadAll(r.Body)
		json.Unmarshal(body, &ring)
		rang <- fmt.Sprint(ring.Action, " ", ring.Target.Repository, ":", ring.Target.Tag, "@", ring.Target.Digest, " by ", ring.Request.Method)
	}))
	defer receiver.Close()
	data := t.TempDir()
	s := start(t, settings(data, func(cfg *config.Config) { cfg.CollectGrace = 0 }))
	s.must("PUT", plane+"webhooks/hook01", fmt.Sprintf(`{"location":"local","properties":{"serviceUri":%q,"actions":["push","delete"]}}`, receiver.URL), nil)
	expect := func(want ...string) { // in any order: tags do not wait for each other
		t.Helper()
		for range want {
			select {
			case got := <-rang:
				if !slices.Contains(want, got) {
					t.Errorf("%s rang, want one of %v", got, want)
				}
				want = slices.DeleteFunc(slices.Clone(want), func(w string) bool { return w == got })
			case <-time.After(patience):
				t.Fatalf("still waiting for %v", want)
			}
		}
	}
	collect := func() (blobs int64) {
		t.Helper()
		for range 2 {
			var c struct {
				ID, Blobs int64
				State     string
			}
			s.must("POST", "/api/v1/garbageCollections", "", &c)
			for deadline := time.Now().Add(patience); c.State == "running"; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the collection does not end")
				}
				s.must("GET", fmt.Sprint("/api/v1/garbageCollections/", c.ID), "", &c)
			}
			blobs += c.Blobs
		}
		return blobs
	}
	policy := func(body string) (status string, days int, updated time.Time) {
		t.Helper()
		var answer struct {
			Properties struct {
				Policies struct {
					SoftDeletePolicy struct {
						Status          string
						RetentionDays   int
						LastUpdatedTime time.Time
					}
				}
			}
		}
		s.must("PATCH", "/api/v1/registries/dockbell", `{"properties":{"policies":{"softDeletePolicy":`+body+`}}}`, &answer)
		p := answer.Properties.Policies.SoftDeletePolicy
		return p.Status, p.RetentionDays, p.LastUpdatedTime
	}
	status, days, first := policy(`{}`)
	if status != "disabled" || days != 7 {
		t.Errorf("at first %s, %d days", status, days)
	}
	status, days, updated := policy(`{"status":"enabled","retentionDays":10,"lastUpdatedTime":"2020-01-01T00:00:00Z"}`)
	if status != "enabled" || days != 10 || !updated.After(first) {
		t.Errorf("then %s, %d days, changed at %v, made at %v", status, days, updated, first)
	}

	// The layer is for the repository alone.
	layer := strings.Repeat("x", 70_000)
	content := oci.FromBytes(oci.SHA256, []byte(layer))
	if status, _, body := s.do("POST", "/v2/team/web/blobs/uploads/?digest="+string(content), []byte(layer), s.asOperator); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/x","digest":%q,"size":70000},"layers":[]}`, oci.MediaTypeImageManifest, content)
	digest := string(oci.FromBytes(oci.SHA256, []byte(manifest)))
	for _, tag := range []string{"v1", "v2"} {
		s.must("PUT", "/v2/team/web/manifests/"+tag, manifest, nil)
		expect("push team/web:" + tag + "@" + digest + " by PUT")
	}
	there := func(path string) bool {
		t.Helper()
		status, _, _ := s.do("GET", path, nil, s.asOperator)
		return status == http.StatusOK
	}
	s.must("DELETE", "/v2/team/web/manifests/"+digest, "", nil)
	expect("delete team/web:@" + digest + " by DELETE")
	if there("/v2/team/web/manifests/v1") || there("/v2/team/web/manifests/"+digest) {
		t.Error("what was deleted can be pulled")
	}
	if n := collect(); n != 0 {
		t.Errorf("%d blobs were collected", n)
	}
	var found struct {
		Manifests []struct {
			Digest, DeletedBy       string
			DeletedAt, ExpiresAfter time.Time
		}
	}
	s.must("GET", "/acr/v1/_deleted/team/web/_manifests", "", &found)
	if m := found.Manifests; len(m) != 1 || m[0].Digest != digest || m[0].DeletedBy != s.Operator() || m[0].ExpiresAfter.Sub(m[0].DeletedAt) != 240*time.Hour {
		t.Errorf("listed: %+v", found)
	}
	s.must("POST", "/acr/v1/_deleted/team/web/_manifests/"+digest+"?force=False", `{"tag":null}`, nil)
	expect("push team/web:v1@"+digest+" by POST", "push team/web:v2@"+digest+" by POST")
	if !there("/v2/team/web/manifests/v2") || !there("/v2/team/web/blobs/"+string(content)) {
		t.Error("what was restored cannot be pulled")
	}

	// What retention removes can be restored as well.
	s.must("PATCH", "/api/v1/registries/dockbell", `{"properties":{"policies":{"retentionPolicy":{"status":"enabled","days":1}}}}`, nil)
	for _, tag := range []string{"v1", "v2"} {
		s.must("DELETE", "/acr/v1/team/web/_tags/"+tag, "", nil)
	}
	s.RetainAt(time.Now().Add(25 * time.Hour))
	expect("delete team/web:@" + digest + " by ")
	s.must("POST", "/acr/v1/_deleted/team/web/_manifests/"+digest, `{"tag":"v1"}`, nil)
	expect("push team/web:v1@" + digest + " by POST")

	// A repository comes back too.
	s.must("DELETE", "/acr/v1/team/web", "", nil)
	expect("delete team/web:@" + digest + " by DELETE")
	var deleted struct{ Repositories []string }
	if s.must("GET", "/acr/v1/_deleted/_catalog", "", &deleted); len(deleted.Repositories) != 1 || there("/acr/v1/team/web") {
		t.Errorf("deleted repositories: %v", deleted.Repositories)
	}
	s.must("POST", "/acr/v1/_deleted/team/web/_manifests/"+digest, ``, nil)
	expect("push team/web:v1@" + digest + " by POST")
	s.must("DELETE", "/acr/v1/team/web", "", nil)
	expect("delete team/web:@" + digest + " by DELETE")

	// Also of what was deleted before the policy was switched off.
	if status, _, again := policy(`{"status":"disabled"}`); status != "disabled" || !again.After(updated) {
		t.Errorf("in the end %s, changed at %v and %v", status, updated, again)
	}
	const day = 24 * time.Hour
	s.PurgeDeletedAt(time.Now().Add(10*day - time.Hour))
	if n := collect(); n != 0 {
		t.Errorf("%d blobs were collected an hour early", n)
	}
	s.PurgeDeletedAt(time.Now().Add(10*day + time.Minute))
	if status, _, body := s.do("POST", "/acr/v1/_deleted/team/web/_manifests/"+digest, nil, s.asOperator); status != http.StatusNotFound {
		t.Errorf("restored after it was purged: %d %s", status, body)
	}
	if n := collect(); n != 1 {
		t.Errorf("%d blobs were collected", n)
	}
	s.stop()
	select {
	case r := <-rang:
		t.Errorf("%s rang as well", r)
	default:
	}
	read(t, data, func(tx *sqldb.Tx) error {
		var left int
		err := tx.Get("SELECT (SELECT count(*) FROM repository) + (SELECT count(*) FROM content) + (SELECT count(*) FROM deleted_manifest) + (SELECT count(*) FROM deleted_tag)", nil, &left)
		if left != 0 {
			t.Errorf("%d rows are left", left)
		}
		return err
	})
}
