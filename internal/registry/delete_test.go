package registry_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// whole returns what is left of a registry's content, without the events.
func whole(t *testing.T, db *sqldb.DB) string {
	t.Helper()
	all := rows(t, db)
	return all[:strings.LastIndex(all, ", event")]
}

// deletions returns the delete events of a repository: digest and media type.
func deletions(t *testing.T, db *sqldb.DB, repo oci.Repository) (digests []string) {
	t.Helper()
	for _, e := range eventLog(t, db) {
		if e.Event.Action != event.Delete || e.Event.Target.Repository != string(repo) {
			continue
		}
		if e.Event.Target.MediaType != oci.MediaTypeImageManifest || e.Event.Target.Tag != "" || e.Event.Actor != docker.Actor {
			t.Errorf("event %+v", e.Event)
		}
		digests = append(digests, e.Event.Target.Digest)
	}
	slices.Sort(digests)
	return digests
}

// texts returns names as they are.
func texts[T ~string](names []T) (out []string) {
	for _, n := range names {
		out = append(out, string(n))
	}
	return out
}

// TestDeleteRepository deletes one of two, is stopped in the middle, and asked
// again.
func TestDeleteRepository(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		store := openStore(t, db, t.TempDir())
		var stop atomic.Pointer[context.CancelFunc]
		store.Outbox = outbox.New(func(e outbox.Entry) {
			if cancel := stop.Load(); cancel != nil && e.Event.Action == event.Delete {
				(*cancel)()
			}
		})
		r := store.For(contoso, docker)
		push(t, r, "other", "v1", []byte("layer 1"))
		push(t, store.For(event.Registry{ID: 2, Name: "fabrikam"}, docker), "app", "v1", []byte("layer 1"))
		before := whole(t, db)
		var digests, tags []string
		for i := range 60 {
			push(t, r, "app", oci.Tag(fmt.Sprint("v", i)), fmt.Appendf(nil, "layer %d", i))
			tags = append(tags, fmt.Sprint("v", i))
		}
		found, _, err := r.DescribeManifests(bg, "app", oci.DetailsPage{})
		if err != nil || len(found) != 60 {
			t.Fatal(len(found), err)
		}
		for _, d := range found {
			digests = append(digests, string(d.Digest))
		}
		slices.Sort(tags)

		// A lock on what would be deleted last keeps all.
		slices.Sort(digests)
		last, full := oci.Digest(digests[len(digests)-1]), rows(t, db)
		d, err := r.DescribeManifest(bg, "app", last)
		if err != nil {
			t.Fatal(err)
		}
		for what, set := range map[string]func(on bool) error{
			"manifest":   func(on bool) error { return second(r.SetManifestAttributes(bg, "app", last, attribute("delete", on))) },
			"tag":        func(on bool) error { return second(r.SetTagAttributes(bg, "app", d.Tags[0], attribute("write", on))) },
			"repository": func(on bool) error { return second(r.SetRepositoryAttributes(bg, "app", attribute("delete", on))) },
		} {
			if err := set(false); err != nil {
				t.Fatal(err)
			}
			if gone, err := r.DeleteRepository(bg, "app"); !isDisallowed(err) || gone.Manifests != nil {
				t.Errorf("a %s is locked: %v, %v", what, gone, err)
			}
			if left := rows(t, db); left != full {
				t.Errorf("a %s is locked: left %s of %s", what, left, full)
			}
			if err := set(true); err != nil {
				t.Fatal(err)
			}
		}

		ctx, cancel := context.WithCancel(bg)
		stop.Store(&cancel)
		partly, err := r.DeleteRepository(ctx, "app")
		stop.Store(nil)
		if err == nil || len(partly.Manifests) != 25 {
			t.Fatalf("stopped after the first piece: %d manifests, %v", len(partly.Manifests), err)
		}
		if got := deletions(t, db, "app"); !slices.Equal(got, texts(partly.Manifests)) {
			t.Errorf("events %v of the deletion of %v", got, partly.Manifests)
		}
		if d, err := r.DescribeRepository(bg, "app"); err != nil || d.ManifestCount != 35 || d.TagCount != 35 {
			t.Errorf("left: %+v, %v", d, err)
		}
		rest, err := r.DeleteRepository(bg, "app")
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(slices.Values(texts(append(partly.Manifests, rest.Manifests...)))); !slices.Equal(got, digests) {
			t.Errorf("both told of %d manifests: %v, want %v", len(got), got, digests)
		}
		if got := slices.Sorted(slices.Values(texts(append(partly.Tags, rest.Tags...)))); !slices.Equal(got, tags) {
			t.Errorf("both told of tags %v, want %v", got, tags)
		}
		if got := deletions(t, db, "app"); !slices.Equal(got, digests) {
			t.Errorf("events %v, want %v", got, digests)
		}
		if left := whole(t, db); left != before {
			t.Errorf("left:\n%s\nbefore:\n%s", left, before)
		}
		if _, err := r.DeleteRepository(bg, "app"); fault.As(err) == nil || fault.As(err).Code != oci.CodeNameUnknown {
			t.Errorf("once more: %v", err)
		}

		// A repository that never had an image goes too, and one that comes later under
		// the row id of a deleted one is not taken for it.
		pushBlob(t, r, "blobs", "only a blob")
		if gone, err := r.DeleteRepository(bg, "blobs"); err != nil || gone.Manifests != nil || gone.Tags != nil {
			t.Errorf("without images: %+v, %v", gone, err)
		}
		push(t, r, "new", "v1", []byte("layer"))
		push(t, r, "app", "v1", []byte("layer"))
		for _, repo := range []oci.Repository{"new", "app"} {
			if d, err := r.DescribeRepository(bg, repo); err != nil || d.ManifestCount != 1 || d.TagCount != 1 {
				t.Errorf("%s, made after deletions: %+v, %v", repo, d, err)
			}
		}
	})
}

// TestLinksOfDeletedRepositories has more links than go at once, and finds those
// that a crash left.
func TestLinksOfDeletedRepositories(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		r := openStore(t, db, t.TempDir()).For(contoso, docker)
		push(t, r, "other", "v1", []byte("layer 1"))
		before := whole(t, db)
		fill := func(repo oci.Repository) {
			push(t, r, repo, "v1", []byte("layer 1"))
			err := db.Write(bg, sqldb.Bulk, func(tx *sqldb.Tx) error {
				for i := range 1203 {
					if _, err := tx.Exec("INSERT INTO blob_link (repository, digest, linked_at) SELECT id, $1, 0 FROM repository WHERE name = $2", fmt.Sprintf("sha256:%05d", i), string(repo)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		fill("app")
		if _, err := r.DeleteRepository(bg, "app"); err != nil {
			t.Fatal(err)
		}
		if left := whole(t, db); left != before {
			t.Errorf("left:\n%s\nbefore:\n%s", left, before)
		}
		fill("purged")
		before = whole(t, db)
		fill("crashed")
		err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error { // the process died after the last piece
			for _, statement := range []string{
				"DELETE FROM tag WHERE repository = (SELECT id FROM repository WHERE name = 'crashed')",
				"DELETE FROM manifest WHERE repository = (SELECT id FROM repository WHERE name = 'crashed')",
				"UPDATE repository SET registry = -registry, name = 'crashed~7' WHERE name = 'crashed'",
				"UPDATE repository SET registry = -registry WHERE name = 'purged'", // the whole registry is on its way out
			} {
				if _, err := tx.Exec(statement); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.DeleteRepository(bg, "crashed"); !fault.Is(err, fault.NotFound) {
			t.Errorf("asked again: %v", err)
		}
		if left := whole(t, db); left != before {
			t.Errorf("after a crash there is left:\n%s\nbefore:\n%s", left, before)
		}
		if err := openStore(t, db, t.TempDir()).Purge(bg, contoso.ID); err != nil {
			t.Fatal(err)
		}
		if left, want := whole(t, db), "repository 0, manifest 0, tag 0, blob_link 0, upload 0"; left != want {
			t.Errorf("after the registry was deleted there is left:\n%s", left)
		}
	})
}

// TestDeleteRepositoryAgainstPushes deletes a repository again and again while
// others push to it. Afterwards what the events say is what is there, and what is
// there is whole.
func TestDeleteRepositoryAgainstPushes(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		r := openStore(t, db, t.TempDir()).For(contoso, docker)
		const repo oci.Repository = "app"
		var workers sync.WaitGroup
		for w := range 4 {
			workers.Go(func() {
				for n := range 25 {
					config := []byte(fmt.Sprint("config ", w, n%5))
					id, err := r.StartUpload(bg, repo)
					if err == nil {
						_, err = r.CommitUpload(bg, repo, id, 0, strings.NewReader(string(config)), oci.FromBytes(oci.SHA256, config))
					}
					if err != nil {
						t.Errorf("blob: %v", err)
					}
					data := image(oci.Descriptor{Digest: oci.FromBytes(oci.SHA256, config), Size: int64(len(config))})
					_, err = r.PutManifest(bg, repo, oci.ManifestPut{Data: data, Tags: []oci.Tag{oci.Tag(fmt.Sprint("v", w))}})
					if f := fault.As(err); err != nil && f.Code != oci.CodeManifestBlobUnknown { // the repository went in between
						t.Errorf("manifest: %v", err)
					}
				}
			})
		}
		pushing := make(chan struct{})
		go func() { workers.Wait(); close(pushing) }()
		var gone atomic.Int64
		var deleters sync.WaitGroup
		for range 2 {
			deleters.Go(func() {
				for done := false; !done; {
					select {
					case <-pushing:
						done = true
					default:
					}
					deleted, err := r.DeleteRepository(bg, repo)
					if err != nil && !fault.Is(err, fault.NotFound) {
						t.Errorf("delete: %v", err)
					}
					gone.Add(int64(len(deleted.Manifests)))
				}
			})
		}
		deleters.Wait()
		if err := second(r.DeleteRepository(bg, repo)); err != nil && !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
		if n := len(deletions(t, db, repo)); int64(n) < gone.Load() || n == 0 {
			t.Errorf("%d events of %d deletions", n, gone.Load())
		}
		there := map[string]bool{}
		for _, e := range eventLog(t, db) {
			switch digest := e.Event.Target.Digest; {
			case e.Event.Action == event.Push:
				there[digest] = true
			case !there[digest]:
				t.Errorf("%s is told to be deleted twice", digest)
			default:
				there[digest] = false
			}
		}
		for digest, is := range there {
			if is {
				t.Errorf("%s is gone and no event tells so", digest)
			}
		}
		if left := whole(t, db); left != "repository 0, manifest 0, tag 0, blob_link 0, upload 0" {
			t.Errorf("left: %s", left)
		}
	})
}
