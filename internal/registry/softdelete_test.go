package registry_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// keeping is docker, in a registry where what is deleted can be restored.
var keeping = func() registry.Caller {
	c := docker
	c.SoftDelete = true
	return c
}()

// deleted returns what the lists of what was deleted show, page by page: the manifests
// with their tags, and the tags.
func (w *ward) deleted() string {
	r := w.as(w.policy)
	var all []string
	for p, more := (oci.DetailsPage{N: 1}), true; more; {
		var found []oci.DeletedManifest
		var err error
		if found, more, err = r.DeletedManifests(bg, w.repo, p); err != nil {
			return string(fault.As(err).Code)
		}
		for _, m := range found {
			if m.DeletedBy != docker.Actor || m.DeletedAt.Before(m.CreatedAt) || m.MediaType != oci.MediaTypeImageManifest {
				w.t.Errorf("%+v", m)
			}
			text := w.names[m.Digest]
			if len(m.Tags) > 0 {
				text += fmt.Sprint(texts(m.Tags))
			}
			all = append(all, text)
			p.Last = string(m.Digest)
		}
	}
	slices.Sort(all)
	for after, more := (oci.DeletedTag{}), true; more; {
		var found []oci.DeletedTag
		var err error
		if found, more, err = r.DeletedTags(bg, w.repo, after, 1); err != nil {
			w.t.Fatal(err)
		}
		for _, tag := range found {
			all = append(all, string(tag.Name)+"="+w.names[tag.Digest])
			after = tag
		}
	}
	return strings.Join(all, " ")
}

// softDeleteRules has what tags name, what rings, and what can be restored after each
// of a row of changes. Behind ! is the code of an error.
var softDeleteRules = map[string]string{
	"an image comes back with its tags": `
		keep | | | 
		push A v1 | v1=A | push:v1=A |
		push A v2 | v1=A v2=A | push:v2=A |
		delete A | | delete:A | A[v1 v2] v1=A v2=A
		restore A | v1=A v2=A | push:v1=A push:v2=A |
		restore A ! MANIFEST_UNKNOWN | v1=A v2=A | |
		restore B ! MANIFEST_UNKNOWN | v1=A v2=A | |`,
	"an image without tags": `
		keep | | |
		push A | | push:A |
		delete A | | delete:A | A
		restore A | | push:A |`,
	"one tag alone": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		push A v2 | v1=A v2=A | push:v2=A |
		delete A | | delete:A | A[v1 v2] v1=A v2=A
		restore A v2 | v2=A | push:v2=A | v1=A
		restore A v1 | v1=A v2=A | push:v1=A |
		restore A v1 ! MANIFEST_UNKNOWN | v1=A v2=A | |
		restore A v3 ! MANIFEST_UNKNOWN | v1=A v2=A | |`,
	"a tag that it never had": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		delete A | | delete:A | A[v1] v1=A
		restore A v2 | v2=A | push:v2=A | v1=A`,
	"a tag is deleted alone": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		untag v1 | | | v1=A
		restore A ! MANIFEST_UNKNOWN | | | v1=A
		restore A v1 | v1=A | push:v1=A |
		untag v1 | | | v1=A
		delete A | | delete:A | A v1=A
		restore A | | push:A | v1=A
		push A v1 | v1=A | push:v1=A |`,
	"a tag that moves is not deleted": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		push B v1 | v1=B | push:v1=B |
		delete A | v1=B | delete:A | A
		delete B | | delete:B | A B[v1] v1=B`,
	"a tag in use": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		delete A | | delete:A | A[v1] v1=A
		push B v1 | v1=B | push:v1=B | A[v1] v1=A
		restore A ! TAG_IN_USE | v1=B | | A[v1] v1=A
		restore A v1 ! TAG_IN_USE | v1=B | | A[v1] v1=A
		force A | v1=A | push:v1=A | v1=B
		restore B v1 ! TAG_IN_USE | v1=A | | v1=B
		force B v1 | v1=B | push:v1=B | v1=A`,
	"pushed again": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		delete A | | delete:A | A[v1] v1=A
		push A v2 | v2=A | push:v2=A | v1=A
		restore A ! MANIFEST_UNKNOWN | v2=A | | v1=A
		delete A | | delete:A | A[v2] v1=A v2=A
		restore A | v2=A | push:v2=A | v1=A`,
	"the policy is switched": `
		push A v1 | v1=A | push:v1=A |
		delete A | | delete:A |
		restore A ! MANIFEST_UNKNOWN | | |
		keep | | |
		push A v1 | v1=A | push:v1=A |
		push B v2 | v1=A v2=B | push:v2=B |
		delete A | v2=B | delete:A | A[v1] v1=A
		delete B | | delete:B | A[v1] B[v2] v1=A v2=B
		drop | | | A[v1] B[v2] v1=A v2=B
		push B v2 | v2=B | push:v2=B | A[v1] v1=A
		delete B | | delete:B | A[v1] v1=A
		restore A | v1=A | push:v1=A |`,
	"purged": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		push B v2 | v1=A v2=B | push:v2=B |
		untag v2 | v1=A | | v2=B
		delete A | | delete:A | A[v1] v1=A v2=B
		purge | | |
		restore A ! MANIFEST_UNKNOWN | | |
		restore B v2 ! MANIFEST_UNKNOWN | | |`,
	"a repository is deleted": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		push B v2 | v1=A v2=B | push:v2=B |
		clear | - | delete:B delete:A | A[v1] B[v2] v1=A v2=B
		clear ! NAME_UNKNOWN | - | | A[v1] B[v2] v1=A v2=B
		restore A | v1=A | push:v1=A | B[v2] v2=B
		clear | - | delete:A | A[v1] B[v2] v1=A v2=B
		drop | - | | A[v1] B[v2] v1=A v2=B
		upload | | | A[v1] B[v2] v1=A v2=B
		push C v1 | v1=C | push:v1=C | A[v1] B[v2] v1=A v2=B
		clear | - | delete:C | A[v1] B[v2] v1=A v2=B
		restore C ! MANIFEST_UNKNOWN | - | | A[v1] B[v2] v1=A v2=B
		restore B | v2=B | push:v2=B | A[v1] v1=A
		clear | - | delete:B | A[v1] v1=A
		purge | - | | NAME_UNKNOWN
		restore A ! NAME_UNKNOWN | - | | NAME_UNKNOWN`,
	"what is locked stays": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		lock v1 | v1=A | |
		delete A ! REGISTRY_DISALLOWED_OPERATION | v1=A | |
		untag v1 ! REGISTRY_DISALLOWED_OPERATION | v1=A | |
		push B v2 | v1=A v2=B | push:v2=B |
		delete B | v1=A | delete:B | B[v2] v2=B
		force B v1 ! REGISTRY_DISALLOWED_OPERATION | v1=A | | B[v2] v2=B
		close | v1=A | | B[v2] v2=B
		restore B ! REGISTRY_DISALLOWED_OPERATION | v1=A | | B[v2] v2=B`,

	"a locked manifest gets no tag back": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		untag v1 | | | v1=A
		seal A | | | v1=A
		restore A v1 ! REGISTRY_DISALLOWED_OPERATION | | | v1=A`,

	// With quarantine. Who asks sees nothing of what is held back.
	"quarantine: what has passed": `
		on | | |
		keep | | |
		push A v1 | | quarantine:v1=A |
		pass A | v1=A | push:v1=A |
		delete A | | delete:A | A[v1] v1=A
		restore A | v1=A | push:v1=A |`,
	"quarantine: what waits": `
		on | | |
		keep | | |
		push A v1 | | quarantine:v1=A |
		delete A | | delete:A |
		restore A | | quarantine:v1=A |
		pass A | v1=A | push:v1=A |`,
	"quarantine: what failed": `
		on | | |
		keep | | |
		push A v1 | | quarantine:v1=A |
		fail A | | |
		delete A | | delete:A |
		restore A | | quarantine:v1=A |
		restore A ! MANIFEST_UNKNOWN | | |
		off | v1=A | |`,
	"quarantine: nothing was decided": `
		keep | | |
		push A v1 | v1=A | push:v1=A |
		delete A | | delete:A | A[v1] v1=A
		on | | |
		restore A | | quarantine:v1=A |
		pass A | v1=A | push:v1=A |`,
	"quarantine: off since": `
		on | | |
		keep | | |
		push A v1 | | quarantine:v1=A |
		fail A | | |
		delete A | | delete:A |
		off | | | A[v1] v1=A
		restore A | v1=A | push:v1=A |`,
	"quarantine: what was replaced": `
		on | | |
		keep | | |
		push A v1 | | quarantine:v1=A |
		pass A | v1=A | push:v1=A |
		push B v1 | v1=A | quarantine:v1=B |
		delete A | | delete:A | A[v1] v1=A
		restore A ! TAG_IN_USE | | | A[v1] v1=A
		force A | v1=A | push:v1=A |
		pass B | v1=A | push:B | v1=B`,
	"quarantine: what waits beside another": `
		on | | |
		keep | | |
		push A v1 | | quarantine:v1=A |
		pass A | v1=A | push:v1=A |
		push B v1 | v1=A | quarantine:v1=B |
		delete B | v1=A | delete:B |
		restore B | v1=A | quarantine:B |
		delete B | v1=A | delete:B |
		restore B v1 ! TAG_IN_USE | v1=A | |
		force B v1 | v1=A | quarantine:v1=B |
		pass B | v1=B | push:v1=B |`,
	"quarantine: pushed again after it passed": `
		on | | |
		keep | | |
		push A v1 | | quarantine:v1=A |
		pass A | v1=A | push:v1=A |
		delete A | | delete:A | A[v1] v1=A
		push A v1 | | quarantine:v1=A |
		fail A | | |
		delete A | | delete:A |
		restore A | | quarantine:v1=A |`,
}

func TestSoftDeleteRules(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		store := openStore(t, db, t.TempDir())
		n := 0
		for name, rows := range softDeleteRules {
			n++
			w := newWard(t, db, store, oci.Repository(fmt.Sprint("ward", n)))
			w.policy = registry.NoQuarantine
			for line := range strings.Lines(strings.TrimSpace(rows)) {
				cells := strings.Split(strings.TrimSpace(line), "|")
				op, want, _ := strings.Cut(strings.TrimSpace(cells[0]), " ! ")
				code := ""
				if err := w.do(op); err != nil {
					code = fault.As(err).Code
				}
				if code != want {
					t.Errorf("%s: %s: code %q, want %q", name, op, code, want)
				}
				named := "-"
				if err := second(w.as(w.policy).DescribeRepository(bg, w.repo)); err == nil {
					named = w.named()
				} else if !fault.Is(err, fault.NotFound) {
					t.Error(err)
				}
				if want := strings.TrimSpace(cells[1]); named != want {
					t.Errorf("%s: after %s: %q, want %q", name, op, named, want)
				}
				if got, want := w.rings(), strings.TrimSpace(cells[2]); got != want {
					t.Errorf("%s: %s rings %q, want %q", name, op, got, want)
				}
				if got, want := w.deleted(), strings.TrimSpace(cells[3]); got != want {
					t.Errorf("%s: after %s can be restored %q, want %q", name, op, got, want)
				}
			}
		}
	})
}

// TestRestoredWaits: the push that a mark lets go tells of the restoration.
func TestRestoredWaits(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		w := newWard(t, db, openStore(t, db, t.TempDir()), "app")
		w.keep = true
		for _, op := range []string{"push A v1", "pass A", "delete A", "restore A", "hold A", "delete A", "restore A", "pass A"} {
			if err := w.do(op); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
		}
		var got []string
		for _, e := range eventLog(t, db) {
			got = append(got, fmt.Sprint(e.Event.Action, e.Event.Cause))
		}
		if want := "quarantine push delete pushrestore delete quarantinerestore pushrestore"; strings.Join(got, " ") != want {
			t.Errorf("rang %v, want %s", got, want)
		}
		// Its details are its own again.
		details := `{"state":"scan passed"}`
		if _, err := w.as(registry.Seen).SetQuarantine(bg, "app", w.digest("A"), oci.QuarantineChange{Details: &details}); err != nil {
			t.Fatal(err)
		}
		for _, op := range []string{"delete A", "restore A"} {
			if err := w.do(op); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
		}
		if d, err := w.as(registry.Hidden).DescribeManifest(bg, "app", w.digest("A")); err != nil || d.Quarantine != oci.Passed || d.QuarantineDetails != details {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

// TestDeletedIsUnreachable deletes an image with all there is beside it, one by one and
// with its repository, and looks for it on every path.
func TestDeletedIsUnreachable(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		r := openStore(t, open(), t.TempDir()).For(contoso, keeping)
		for _, whole := range []bool{false, true} {
			repo := oci.Repository(fmt.Sprint("app-", whole))
			config := pushBlob(t, r, repo, "{}")
			data := image(config)
			dgst := oci.FromBytes(oci.SHA256, data)
			signature := referrer(config, dgst, len(data))
			for tag, m := range map[oci.Tag][]byte{"v1": data, "sig": signature} {
				if _, err := r.PutManifest(bg, repo, oci.ManifestPut{Data: m, Tags: []oci.Tag{tag}}); err != nil {
					t.Fatal(err)
				}
			}
			if whole {
				if _, err := r.DeleteRepository(bg, repo); err != nil {
					t.Fatal(err)
				}
			} else {
				deleteTagged(t, r, repo, "v1")
				deleteTagged(t, r, repo, "sig")
			}
			for _, ref := range []oci.Reference{{Tag: "v1"}, {Digest: dgst}, {Tag: "sig"}, {Digest: oci.FromBytes(oci.SHA256, signature)}} {
				if m, err := r.GetManifest(bg, repo, ref); !fault.Is(err, fault.NotFound) {
					t.Errorf("%s %s: %v, %v", repo, ref, m, err)
				}
			}
			if refs, _, err := r.Referrers(bg, repo, dgst, "", "", 0); err != nil || len(refs) > 0 {
				t.Errorf("%s: referrers %v, %v", repo, refs, err)
			}
			if repos, _, err := r.Repositories(bg, "", 0); err != nil || len(repos) > 0 {
				t.Errorf("%s: catalog %v, %v", repo, repos, err)
			}
			if repos, _, err := r.DeletedRepositories(bg, "app", 1); err != nil || len(repos) != 1 || repos[0] != "app-false" {
				t.Errorf("%s: deleted catalog %v, %v", repo, repos, err)
			}
			for what, err := range map[string]error{
				"manifest":         second(r.DescribeManifest(bg, repo, dgst)),
				"tag":              second(r.DescribeTag(bg, repo, "v1")),
				"attributes":       second(r.SetManifestAttributes(bg, repo, dgst, attribute("read", false))),
				"quarantine":       second(r.SetQuarantine(bg, repo, dgst, state(oci.Passed))),
				"deletion":         r.DeleteManifest(bg, repo, dgst),
				"deletion of tag":  second(r.DeleteTag(bg, repo, "v1")),
				"index that lists": second(r.PutManifest(bg, "app-false", oci.ManifestPut{Data: indexOf(data)})),
			} {
				if !fault.Is(err, fault.NotFound) {
					t.Errorf("%s: %s: %v", repo, what, err)
				}
			}
			d, err := r.DescribeRepository(bg, repo)
			if whole {
				for what, err := range map[string]error{
					"described": err, "blob": second(r.OpenBlob(bg, repo, config.Digest)), "blob asked for": second(r.StatBlob(bg, repo, config.Digest)),
					"mounted from": second(r.MountBlob(bg, "other", config.Digest, repo)), "blob deleted": r.DeleteBlob(bg, repo, config.Digest),
					"locked": second(r.SetRepositoryAttributes(bg, repo, attribute("read", false))),
				} {
					if !fault.Is(err, fault.NotFound) {
						t.Errorf("%s: %v", what, err)
					}
				}
				if _, _, err := r.Tags(bg, repo, "", 0); !fault.Is(err, fault.NotFound) {
					t.Errorf("tags: %v", err)
				}
				continue
			}
			if err != nil || d.ManifestCount != 0 || d.TagCount != 0 {
				t.Errorf("%+v, %v", d, err)
			}
			if tags, _, err := r.Tags(bg, repo, "", 0); err != nil || len(tags) > 0 {
				t.Errorf("tags %v, %v", tags, err)
			}
		}
		// A mount from anywhere finds nothing in a repository that is gone.
		only := pushBlob(t, r, "gone", "only here")
		if _, err := r.PutManifest(bg, "gone", oci.ManifestPut{Data: image(only)}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.DeleteRepository(bg, "gone"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.MountBlob(bg, "other", only.Digest, ""); !fault.Is(err, fault.NotFound) {
			t.Errorf("mount from anywhere: %v", err)
		}
		if repos, more, err := r.DeletedRepositories(bg, "app-false", 1); err != nil || len(repos) != 1 || repos[0] != "app-true" || !more {
			t.Errorf("deleted catalog, second page: %v, %v, %v", repos, more, err)
		}
	})
}

// TestRestoreIndex brings back an index with what it lists, deep down, and not at all
// where something of it is gone for good.
func TestRestoreIndex(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := openStore(t, db, t.TempDir())
		r := s.For(contoso, keeping)
		config := pushBlob(t, r, "app", "{}")
		layer := pushBlob(t, r, "app", "a blob of one child")
		a, b, c := noted(config, "a"), noted(config, "b"), noted(layer, "c")
		inner := indexOf(b, c)
		outer := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d},{"mediaType":%[1]q,"digest":%[5]q,"size":%d}]}`,
			oci.MediaTypeImageIndex, oci.MediaTypeImageManifest, oci.FromBytes(oci.SHA256, a), len(a), oci.FromBytes(oci.SHA256, inner), len(inner))
		all := [][]byte{a, b, c, inner, outer}
		names := map[oci.Digest]string{}
		digest := func(data []byte) oci.Digest { return oci.FromBytes(oci.SHA256, data) }
		for i, data := range all {
			names[digest(data)] = []string{"a", "b", "c", "inner", "outer"}[i]
			put := oci.ManifestPut{Data: data}
			if i == 4 {
				put.Tags = []oci.Tag{"multi"}
			}
			if _, err := r.PutManifest(bg, "app", put); err != nil {
				t.Fatal(err)
			}
		}
		there := func() (there []string) {
			for _, data := range all {
				if _, err := r.GetManifest(bg, "app", oci.Reference{Digest: digest(data)}); err == nil {
					there = append(there, names[digest(data)])
				}
			}
			return there
		}
		for _, data := range [][]byte{outer, inner, a, c} { // b stays
			if err := r.DeleteManifest(bg, "app", digest(data)); err != nil {
				t.Fatal(err)
			}
		}
		before := len(eventLog(t, db))
		done, err := r.Restore(bg, "app", digest(outer), oci.Restoring{})
		if err != nil || len(done.Manifests) != 4 || done.Manifests[3] != digest(outer) || !slices.Equal(done.Tags, []oci.Tag{"multi"}) {
			t.Fatalf("%+v, %v", done, err)
		}
		var rang []string
		for _, e := range eventLog(t, db)[before:] {
			rang = append(rang, fmt.Sprint(e.Event.Action, " ", names[oci.Digest(e.Event.Target.Digest)], e.Event.Target.Tag))
			if e.Event.Cause != "restore" || e.Event.Request != docker.Request || e.Event.Actor != docker.Actor || e.Event.Target.Size == 0 {
				t.Errorf("%+v", e.Event)
			}
		}
		if got, want := strings.Join(rang, ", "), "push a, push c, push inner, push outermulti"; got != want {
			t.Errorf("rang %s, want %s", got, want)
		}
		if got := fmt.Sprint(there()); got != "[a b c inner outer]" {
			t.Errorf("there are %s", got)
		}

		// Without a blob of a child, or the child, nothing comes back.
		for _, data := range all {
			if err := r.DeleteManifest(bg, "app", digest(data)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.DeleteBlob(bg, "app", layer.Digest); err != nil {
			t.Fatal(err)
		}
		before = len(eventLog(t, db))
		fails := func(missing oci.Digest) {
			t.Helper()
			_, err := r.Restore(bg, "app", digest(outer), oci.Restoring{})
			f := fault.As(err)
			if err == nil || f.Kind != fault.NotFound || f.Code != oci.CodeManifestBlobUnknown || !strings.Contains(f.Message, string(missing)) || !strings.Contains(f.Message, "gone for good") {
				t.Errorf("%v", err)
			}
			if got := there(); len(got) > 0 || len(eventLog(t, db)) != before {
				t.Errorf("half restored: %v", got)
			}
		}
		fails(layer.Digest)
		pushBlob(t, r, "app", "a blob of one child")
		err = db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error { // c was deleted long ago
			_, err := tx.Exec("UPDATE deleted_manifest SET deleted_at = 1 WHERE digest = $1", string(digest(c)))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.PurgeDeleted(bg, contoso, time.Now().Add(-time.Hour)); n != 1 || err != nil {
			t.Fatalf("%d purged, %v", n, err)
		}
		fails(digest(c))
		if _, err := r.Restore(bg, "app", digest(a), oci.Restoring{Tag: "only"}); err != nil {
			t.Error(err)
		}
		pulls(t, r, "app", "only")

		// Pushing what is missing helps.
		before++
		if _, err := r.PutManifest(bg, "app", oci.ManifestPut{Data: c}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Restore(bg, "app", digest(outer), oci.Restoring{}); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(there()); got != "[a b c inner outer]" {
			t.Errorf("there are %s", got)
		}
	})
}

// TestRestoredAttributes: what was off is off again, also of the repository, unless a
// push made that anew.
func TestRestoredAttributes(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		r := openStore(t, open(), t.TempDir()).For(contoso, keeping)
		s := newSample(t, r, "app")
		for _, of := range []string{"repository", "tag", "manifest"} {
			if _, err := s.set(of, "read", false); err != nil {
				t.Fatal(err)
			}
		}
		created := func() time.Time {
			t.Helper()
			d, err := r.DescribeRepository(bg, "app")
			if err != nil {
				t.Fatal(err)
			}
			return d.CreatedAt
		}
		off := func(of string, want bool) {
			t.Helper()
			if is, err := s.set(of, "list", true); err != nil || is.Read == want {
				t.Errorf("%s: %+v, %v", of, is, err)
			}
		}
		first := created()
		for _, delete := range []func() error{
			func() error { return r.DeleteManifest(bg, "app", s.digest) },
			func() error { return second(r.DeleteTag(bg, "app", "v1")) },
			func() error { return second(r.DeleteRepository(bg, "app")) },
		} {
			if err := delete(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Restore(bg, "app", s.digest, oci.Restoring{Tag: "v1"}); err != nil {
				t.Fatal(err)
			}
			off("repository", true)
			off("tag", true)
			off("manifest", true)
			if at := created(); !at.Equal(first) {
				t.Errorf("made at %v, then at %v", first, at)
			}
		}
		if _, err := r.DeleteRepository(bg, "app"); err != nil {
			t.Fatal(err)
		}
		pushBlob(t, r, "app", "{}")
		off("repository", false)
		if at := created(); !at.After(first) {
			t.Errorf("made anew at %v, before at %v", at, first)
		}
		if _, err := r.Restore(bg, "app", s.digest, oci.Restoring{}); err != nil {
			t.Fatal(err)
		}
		off("manifest", true)
	})
}

// TestDeletedIsKept follows the blobs and the size of what is deleted, until it is
// purged and collected.
func TestDeletedIsKept(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db, blobs := open(), t.TempDir()
		store := openStore(t, db, blobs)
		log := audit.New(audit.Options{DB: db, Log: slog.New(slog.DiscardHandler)})
		store.Audit = log
		r := store.For(contoso, keeping)
		size := func() int64 {
			t.Helper()
			n, err := openStore(t, db, blobs).Size(bg, contoso.ID)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		for i := range 30 { // more than one piece
			push(t, r, "gone", oci.Tag(fmt.Sprint("v", i)), bytes.Repeat([]byte{byte(i)}, 70_000))
		}
		push(t, r, "app", "v1", []byte("small"))
		push(t, r, "app", "stays", []byte("stays"))
		full := size()
		digests := map[oci.Tag]oci.Digest{}
		for _, tag := range []oci.Tag{"v1", "v7"} {
			repo := map[oci.Tag]oci.Repository{"v1": "app", "v7": "gone"}[tag]
			d, err := r.DescribeTag(bg, repo, tag)
			if err != nil {
				t.Fatal(err)
			}
			digests[tag] = d.Digest
		}
		deleteTagged(t, r, "app", "v1")
		if _, err := r.DeleteRepository(bg, "gone"); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if sum := collect(t, store, registry.Collecting{References: 1}); sum.Condemned+sum.Unlinked+sum.Blobs != 0 {
				t.Fatalf("collected: %+v", sum)
			}
		}
		if n := size(); n != full {
			t.Errorf("%d bytes, before %d", n, full)
		}
		for tag, repo := range map[oci.Tag]oci.Repository{"v1": "app", "v7": "gone"} {
			if _, err := r.Restore(bg, repo, digests[tag], oci.Restoring{}); err != nil {
				t.Fatal(err)
			}
			pulls(t, r, repo, tag)
			if err := r.DeleteManifest(bg, repo, digests[tag]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.DeleteRepository(bg, "gone"); err != nil { // it came back with v7
			t.Fatal(err)
		}
		if n, err := store.PurgeDeleted(bg, contoso, time.Now().Add(-time.Hour)); n != 0 || err != nil {
			t.Fatalf("%d purged an hour early, %v", n, err)
		}
		if n, err := store.PurgeDeleted(bg, event.Registry{ID: 2}, time.Now().Add(time.Hour)); n != 0 || err != nil {
			t.Fatalf("%d purged of another registry, %v", n, err)
		}
		before := len(eventLog(t, db))
		if n, err := store.PurgeDeleted(bg, contoso, time.Now().Add(time.Hour)); n != 31 || err != nil {
			t.Fatalf("%d purged, %v", n, err)
		}
		if n := len(eventLog(t, db)); n != before {
			t.Errorf("a purge rang %d times", n-before)
		}
		if left := whole(t, db); left != "repository 1, manifest 1, tag 1, blob_link 3, upload 0" {
			t.Errorf("left: %s", left)
		}
		if n := count(t, db, "SELECT (SELECT count(*) FROM deleted_manifest) + (SELECT count(*) FROM deleted_tag)"); n != 0 {
			t.Errorf("%d rows of what is purged", n)
		}
		for range 2 {
			collect(t, store, registry.Collecting{})
		}
		if n, files := contents(t, db, blobs); n != 2 || files != 0 {
			t.Errorf("%d contents and %d files are left", n, files)
		}
		pulls(t, r, "app", "stays")
		var restored, purged int
		for _, e := range entries(t, log) {
			if strings.Contains(e, "deleted/restore/action") {
				restored++
			}
			if strings.Contains(e, "purged, deleted before") || strings.Contains(e, "deleted manifests purged") {
				purged++
			}
		}
		if restored != 2 || purged != 3 {
			t.Errorf("%d restorations and %d purges on record:\n%s", restored, purged, strings.Join(entries(t, log), "\n"))
		}
	})
}

// TestRegistryGoesWithWhatWasDeleted: nothing of a registry is kept when it is deleted
// itself.
func TestRegistryGoesWithWhatWasDeleted(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		store := openStore(t, db, t.TempDir())
		r := store.For(contoso, keeping)
		push(t, r, "app", "v1", []byte("layer"))
		push(t, r, "app", "v2", []byte("layer 2"))
		for i := range 120 { // more than one piece
			push(t, r, "gone", oci.Tag(fmt.Sprint("v", i)), fmt.Append(nil, i))
		}
		deleteTagged(t, r, "app", "v1")
		if _, err := r.DeleteRepository(bg, "gone"); err != nil {
			t.Fatal(err)
		}
		deleted(t, db, contoso.ID)
		collect(t, store, registry.Collecting{})
		if err := store.Purge(bg, contoso.ID); err != nil {
			t.Fatal(err)
		}
		if left := whole(t, db); left != "repository 0, manifest 0, tag 0, blob_link 0, upload 0" {
			t.Errorf("left: %s", left)
		}
		if n := count(t, db, "SELECT (SELECT count(*) FROM deleted_manifest) + (SELECT count(*) FROM deleted_tag)"); n != 0 {
			t.Errorf("%d rows of what was deleted", n)
		}
	})
}

// TestDeletedByTime lists what was deleted in the order of that, page by page.
func TestDeletedByTime(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		r := openStore(t, open(), t.TempDir()).For(contoso, keeping)
		config := pushBlob(t, r, "app", "{}")
		var want []oci.Digest
		for i := range 5 {
			data := noted(config, fmt.Sprint(i))
			if _, err := r.PutManifest(bg, "app", oci.ManifestPut{Data: data}); err != nil {
				t.Fatal(err)
			}
			want = append(want, oci.FromBytes(oci.SHA256, data))
		}
		for _, dgst := range want {
			if err := r.DeleteManifest(bg, "app", dgst); err != nil {
				t.Fatal(err)
			}
		}
		for order, want := range map[oci.Order][]oci.Digest{
			oci.OldestFirst: want, oci.NewestFirst: backward(want), oci.ByName: slices.Sorted(slices.Values(want)),
		} {
			var got []oci.Digest
			for p, more := (oci.DetailsPage{N: 2, Order: order}), true; more; {
				var found []oci.DeletedManifest
				var err error
				if found, more, err = r.DeletedManifests(bg, "app", p); err != nil {
					t.Fatal(err)
				}
				for _, m := range found {
					got = append(got, m.Digest)
					p.Last, p.LastTime = string(m.Digest), m.DeletedAt
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("order %v: %v, want %v", order, got, want)
			}
		}
		if _, _, err := r.DeletedManifests(bg, "none", oci.DetailsPage{}); fault.As(err) == nil || fault.As(err).Code != oci.CodeNameUnknown {
			t.Errorf("no such repository: %v", err)
		}
	})
}

func backward[T any](items []T) []T {
	items = slices.Clone(items)
	slices.Reverse(items)
	return items
}

// TestSoftDeleteAgainstEverything has several push images of the same few layers, delete
// them and restore them, at times whole repositories, on PostgreSQL at two nodes, while
// old deletions are purged and collections run with no grace time at all. Each has
// images of its own. What can be pulled can be pulled whole, what was deleted and was not
// purged can be restored whole, and the events of an image lead to what became of it.
func TestSoftDeleteAgainstEverything(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		db, blobs := open(), t.TempDir()
		store := openStore(t, db, blobs)
		nodes := []*registry.Store{store}
		if db.Dialect() == "postgres" {
			nodes = append(nodes, openStore(t, open(), blobs))
		}
		layers := make([][]byte, 4)
		for i := range layers {
			layers[i] = bytes.Repeat([]byte{byte('a' + i)}, 10+i%2*70_000)
		}
		const people, rounds = 4, 50
		var workers sync.WaitGroup
		var restored, purged atomic.Int64
		all := make([]*pusher, people)
		for w := range all {
			p := &pusher{
				t: t, name: fmt.Sprint(w), rnd: rand.New(rand.NewPCG(seed, uint64(w))), layers: layers,
				r: nodes[w%len(nodes)].For(contoso, keeping), repo: oci.Repository(fmt.Sprint("r", w/2)), live: map[oci.Digest]bool{}, shared: true,
			}
			all[w] = p
			workers.Go(func() {
				var gone []oci.Digest
				for n := range rounds {
					before := p.digests()
					p.round(n)
					for _, dgst := range before {
						if !p.live[dgst] {
							gone = append(gone, dgst)
						}
					}
					if p.rnd.IntN(20) == 0 {
						if _, err := p.r.DeleteRepository(bg, p.repo); err != nil && !fault.Is(err, fault.NotFound) {
							t.Error(err)
						}
					}
					for _, dgst := range gone {
						if p.rnd.IntN(2) == 0 {
							continue
						}
						_, err := p.r.Restore(bg, p.repo, dgst, oci.Restoring{Force: true})
						switch {
						case err == nil:
							p.live[dgst] = true
							restored.Add(1)
							if err := p.pull(dgst); err != nil {
								t.Errorf("pull of what was restored: %v", err)
							}
						case !p.elsewhere(err): // it was purged
							t.Errorf("restore: %v", err)
						}
					}
					gone = gone[:0]
				}
			})
		}
		done := make(chan struct{})
		go func() { workers.Wait(); close(done) }()
		for n, running := 0, true; running; n++ {
			select {
			case <-done:
				running = false
			default:
			}
			collect(t, store, registry.Collecting{References: 1 + int(seed%3)*1000})
			if n%3 == 0 {
				count, err := store.PurgeDeleted(bg, contoso, time.Now().Add(-20*time.Millisecond))
				if err != nil {
					t.Error(err)
				}
				purged.Add(int64(count))
			}
		}
		t.Logf("%d restored, %d purged", restored.Load(), purged.Load())
		if restored.Load() == 0 || purged.Load() == 0 {
			t.Error("nobody met")
		}

		// The last event of an image says whether it is there.
		last := map[string]event.Action{}
		for after := int64(0); ; {
			var page []outbox.Entry
			err := db.Read(bg, func(tx *sqldb.Tx) (err error) {
				page, err = outbox.After(tx, after, 1000)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page {
				last[e.Event.Target.Repository+"@"+e.Event.Target.Digest] = e.Event.Action
				after = e.Event.Pos
			}
			if len(page) == 0 {
				break
			}
		}
		for range 2 {
			collect(t, store, registry.Collecting{})
		}
		r := store.For(contoso, keeping)
		for image, action := range last {
			repo, dgst, _ := strings.Cut(image, "@")
			err := pull(r, oci.Repository(repo), oci.Digest(dgst))
			if (action == event.Push) != (err == nil) {
				t.Errorf("%s: its last event is %s: %v", image, action, err)
			}
			if action == event.Push {
				continue
			}
			_, err = r.Restore(bg, oci.Repository(repo), oci.Digest(dgst), oci.Restoring{Force: true})
			if err == nil {
				err = pull(r, oci.Repository(repo), oci.Digest(dgst))
			} else if code := fault.As(err).Code; code == oci.CodeManifestUnknown || code == oci.CodeNameUnknown {
				continue // purged
			}
			if err != nil {
				t.Errorf("%s in the end: %v", image, err)
			}
		}

		for _, repo := range []oci.Repository{"r0", "r1"} {
			if _, err := r.DeleteRepository(bg, repo); err != nil && !fault.Is(err, fault.NotFound) {
				t.Error(err)
			}
		}
		if _, err := store.PurgeDeleted(bg, contoso, time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
		for range 2 {
			collect(t, store, registry.Collecting{})
		}
		if n, f := contents(t, db, blobs); n != 0 || f != 0 || count(t, db, "SELECT count(*) FROM repository") != 0 {
			t.Errorf("left are %d contents and %d files, and %s", n, f, whole(t, db))
		}
	})
}
