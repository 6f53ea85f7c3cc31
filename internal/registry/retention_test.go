package registry_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// indexOf lists manifests of the sizes given by their bytes.
func indexOf(manifests ...[]byte) []byte {
	var list []string
	for _, m := range manifests {
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, oci.MediaTypeImageManifest, oci.FromBytes(oci.SHA256, m), len(m)))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, oci.MediaTypeImageIndex, strings.Join(list, ","))
}

// TestRetention has a repository with all that keeps a manifest and all that does
// not, and looks at what is left of it.
func TestRetention(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		s := openStore(t, db, t.TempDir())
		log := audit.New(audit.Options{DB: db, Log: slog.New(slog.DiscardHandler)})
		s.Audit = log
		r := s.For(contoso, docker)
		const app oci.Repository = "team/app"
		config := pushBlob(t, r, app, "{}")
		names := map[oci.Digest]string{}
		put := func(name string, data []byte, tags ...oci.Tag) []byte {
			t.Helper()
			dgst := oci.FromBytes(oci.SHA256, data)
			names[dgst] = name
			if _, err := r.PutManifest(bg, app, oci.ManifestPut{Data: data, Digest: dgst, Tags: tags}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return data
		}
		pic := func(name string, tags ...oci.Tag) []byte { // an image like no other
			return put(name, append(image(config), strings.Repeat("\n", len(names)+1)...), tags...)
		}
		about := func(name string, subject []byte) []byte {
			return put(name, append(referrer(config, oci.FromBytes(oci.SHA256, subject), len(subject)), strings.Repeat("\n", len(names)+1)...))
		}
		lock := func(data []byte) {
			t.Helper()
			off := false
			if _, err := r.SetManifestAttributes(bg, app, oci.FromBytes(oci.SHA256, data), oci.AttributesChange{Delete: &off}); err != nil {
				t.Fatal(err)
			}
		}
		left := func() (left []string) {
			t.Helper()
			for dgst, name := range names {
				if _, err := r.GetManifest(bg, app, oci.Reference{Digest: dgst}); err == nil {
					left = append(left, name)
				} else if err := refusal(err); err != nil {
					t.Fatal(err)
				}
			}
			slices.Sort(left)
			return left
		}
		remove := func(before time.Time) int {
			t.Helper()
			n, err := s.RemoveUntagged(bg, contoso, before, false)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}

		about("stays: about a tagged one", pic("stays: tagged", "v1"))
		goes := pic("goes: never tagged")
		about("goes: about one about it", about("goes: about it", goes))
		put("stays: tagged index", indexOf(pic("stays: listed by it"), put("stays: index in it", indexOf(pic("stays: listed in there")))), "multi")
		put("goes: untagged index", indexOf(pic("goes: listed by it"), put("goes: index in it", indexOf(pic("goes: listed in there")))))
		locked := put("stays: locked index", indexOf(pic("stays: listed by the locked")))
		about("stays: about a locked one", locked)
		lock(locked)
		about("goes: about nothing that is there", []byte("{}"))
		pic("moved", "latest")
		pic("untagged", "old")
		again := pic("pushed again")
		listed := pic("listed again")
		pic("goes: lost both tags", "a", "b")
		for _, tag := range []oci.Tag{"a", "b"} {
			if _, err := r.DeleteTag(bg, app, tag); err != nil {
				t.Fatal(err)
			}
		}

		cutoff := time.Now()
		pic("stays: tagged since", "latest") // takes the tag from moved
		if _, err := r.DeleteTag(bg, app, "old"); err != nil {
			t.Fatal(err)
		}
		put("pushed again", again)
		put("young index", indexOf(listed))
		pic("young")

		if n := remove(cutoff.Add(-time.Hour)); n != 0 {
			t.Errorf("%d manifests are gone that are younger than the policy says", n)
		}
		before := len(eventLog(t, db))
		var want, gone []string
		young := []string{"listed again", "moved", "pushed again", "untagged", "young", "young index"}
		for _, name := range names {
			if strings.HasPrefix(name, "stays: ") || slices.Contains(young, name) {
				want = append(want, name)
			} else {
				gone = append(gone, name)
			}
		}
		slices.Sort(want)
		slices.Sort(gone)
		if n := remove(cutoff); n != len(gone) {
			t.Errorf("%d were removed, want %d", n, len(gone))
		}
		if diff := cmp.Diff(want, left()); diff != "" {
			t.Errorf("what is left differs (-want +got):\n%s", diff)
		}

		var rang []string
		for _, e := range eventLog(t, db)[before:] {
			rang = append(rang, names[oci.Digest(e.Event.Target.Digest)])
			if e.Event.Action != event.Delete || e.Event.Cause != "retention" || e.Event.Request != (event.Request{Host: contoso.LoginServer}) || e.Event.Actor != "retention policy" {
				t.Errorf("event %+v", e.Event)
			}
		}
		if i, j := slices.Index(rang, "goes: untagged index"), slices.Index(rang, "goes: listed by it"); i > j {
			t.Error("what an index listed went before the index")
		}
		slices.Sort(rang)
		if diff := cmp.Diff(gone, rang); diff != "" {
			t.Errorf("what rang differs (-want +got):\n%s", diff)
		}
		entries, _, err := log.Entries(bg, audit.Filter{}, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for _, e := range entries {
			if e.Actor == "retention policy" {
				told++
				if e.ActorKind != audit.Application || !strings.Contains(e.Detail, "untagged since before "+cutoff.UTC().Format(time.RFC3339)) || !strings.HasPrefix(e.Resource, "team/app") {
					t.Errorf("on record: %+v", e)
				}
			}
		}
		if told == 0 {
			t.Error("nothing is on record of it")
		}
		if n := remove(cutoff); n != 0 {
			t.Errorf("a second time %d more are gone", n)
		}

		// Time passes; a locked repository keeps all it has.
		off, on := false, true
		if _, err := r.SetRepositoryAttributes(bg, app, oci.AttributesChange{Write: &off}); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Hour)
		if n := remove(later); n != 0 {
			t.Errorf("%d are gone from a locked repository", n)
		}
		if _, err := r.SetRepositoryAttributes(bg, app, oci.AttributesChange{Write: &on}); err != nil {
			t.Fatal(err)
		}
		want = slices.DeleteFunc(want, func(name string) bool { return slices.Contains(young, name) })
		if n := remove(later); n != len(young) {
			t.Errorf("%d were removed, want %d", n, len(young))
		}
		if diff := cmp.Diff(want, left()); diff != "" {
			t.Errorf("later, what is left differs (-want +got):\n%s", diff)
		}
	})
}

// TestRetentionOfMany goes through more manifests than are looked at at once, in
// more than one repository, and leaves other registries alone.
func TestRetentionOfMany(t *testing.T) {
	t.Parallel()
	db := sqldbtest.SQLite(t)()
	s := openStore(t, db, t.TempDir())
	r := s.For(contoso, docker)
	other := contoso
	other.ID, other.Name = 2, "fabrikam"
	elsewhere := s.For(other, docker)
	push := func(r oci.Registry, repo oci.Repository, n int, tags ...oci.Tag) {
		t.Helper()
		data := append(image(pushBlob(t, r, repo, "{}")), strings.Repeat("\n", n)...)
		if _, err := r.PutManifest(bg, repo, oci.ManifestPut{Data: data, Tags: tags}); err != nil {
			t.Fatal(err)
		}
	}
	const many = 1203
	for i := range many {
		push(r, "a", i)
	}
	for i := range 30 {
		push(r, "b", i)
	}
	push(r, "b", 31, "kept")
	push(elsewhere, "a", 0)
	n, err := s.RemoveUntagged(bg, contoso, time.Now().Add(time.Minute), false)
	if err != nil || n != many+30 {
		t.Errorf("%d removed, error %v; want %d", n, err, many+30)
	}
	if tags, _, err := r.Tags(bg, "b", "", 10); err != nil || !slices.Equal(tags, []oci.Tag{"kept"}) {
		t.Errorf("tags %v, error %v", tags, err)
	}
	if repos, _, err := elsewhere.Repositories(bg, "", 10); err != nil || len(repos) != 1 {
		t.Errorf("the other registry has %v, error %v", repos, err)
	}
}
