package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// collect runs a collection to its end.
func collect(t testing.TB, s *registry.Store, how registry.Collecting) registry.Collected {
	t.Helper()
	if how.Step == nil {
		how.Step = func(context.Context, registry.Collected) error { return nil }
	}
	sum, err := s.Collect(bg, how)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// figures is what a collection came to, without how far it is.
func figures(c registry.Collected) registry.Collected {
	c.Phase, c.Done = "", 0
	return c
}

// contents returns how many contents there are, and how many files.
func contents(t testing.TB, db *sqldb.DB, blobs string) (rows, files int) {
	t.Helper()
	err := db.Read(bg, func(tx *sqldb.Tx) error { return tx.Get("SELECT count(*) FROM content", nil, &rows) })
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(blobs, "blobs", "*", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return rows, len(kept)
}

// pull fails unless a manifest and all it refers to can be read, whole.
func pull(r oci.Registry, repo oci.Repository, dgst oci.Digest) error {
	m, err := r.GetManifest(bg, repo, oci.Reference{Digest: dgst})
	if err != nil {
		return err
	}
	parsed, err := oci.ParseManifest(m.Descriptor.MediaType, m.Data)
	if err != nil {
		return err
	}
	for _, ref := range parsed.References {
		b, err := r.OpenBlob(bg, repo, ref.Descriptor.Digest)
		if err != nil {
			return err
		}
		content, err := io.ReadAll(b.Content)
		if err := errors.Join(err, b.Content.Close()); err != nil {
			return err
		}
		if got := oci.FromBytes(ref.Descriptor.Digest.Algorithm(), content); got != ref.Descriptor.Digest {
			return fmt.Errorf("blob %s holds %s", ref.Descriptor.Digest, got)
		}
	}
	return nil
}

func pulls(t testing.TB, r oci.Registry, repo oci.Repository, tag oci.Tag) {
	t.Helper()
	m, err := r.GetManifest(bg, repo, oci.Reference{Tag: tag})
	if err == nil {
		err = pull(r, repo, m.Descriptor.Digest)
	}
	if err != nil {
		t.Errorf("pull of %s:%s: %v", repo, tag, err)
	}
}

func deleteTagged(t testing.TB, r oci.Registry, repo oci.Repository, tag oci.Tag) {
	t.Helper()
	m, err := r.GetManifest(bg, repo, oci.Reference{Tag: tag})
	if err == nil {
		err = r.DeleteManifest(bg, repo, m.Descriptor.Digest)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCollect has of everything something that goes and something that stays.
func TestCollect(t *testing.T) {
	t.Parallel()
	for _, references := range []int{0, 1} { // read once, or once for almost every digest
		sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
			db, blobs := open(), t.TempDir()
			store := openStore(t, db, blobs)
			fabrikam := event.Registry{ID: 2, Name: "fabrikam"}
			mine, other := store.For(contoso, docker), store.For(fabrikam, docker)
			large := func(of string) []byte { return bytes.Repeat([]byte(of), 70_000) }
			push(t, mine, "a", "stays", large("x"))
			push(t, mine, "b", "goes", large("x")) // the link goes, the content stays
			push(t, mine, "b", "stays", []byte("small"))
			push(t, mine, "b", "goes2", large("y")) // both go
			push(t, mine, "b", "goes3", []byte("inline"))
			push(t, mine, "deleted", "v1", large("z"))
			push(t, other, "a", "v1", large("w"))
			want := whole(t, db)
			pushBlob(t, mine, "a", strings.Repeat("of no image", 10_000))
			for _, tag := range []oci.Tag{"goes", "goes2", "goes3"} {
				deleteTagged(t, mine, "b", tag)
			}
			if _, err := mine.DeleteRepository(bg, "deleted"); err != nil { // takes its links along
				t.Fatal(err)
			}
			deleted(t, db, fabrikam.ID)
			if err := store.Purge(bg, fabrikam.ID); err != nil {
				t.Fatal(err)
			}
			size, err := openStore(t, db, blobs).Size(bg, contoso.ID)
			if err != nil {
				t.Fatal(err)
			}

			how := registry.Collecting{References: references}
			before := rows(t, db)
			how.DryRun = true
			young := how
			young.Grace = time.Hour
			if got := figures(collect(t, store, young)); got != (registry.Collected{Repositories: 2, Manifests: 2, Links: 8, Blobs: 2, Bytes: 140_000}) {
				t.Errorf("a dry run while all is young: %+v", got)
			}
			dry := figures(collect(t, store, how))
			if want := (registry.Collected{Repositories: 2, Manifests: 2, Links: 8, Condemned: 4, Blobs: 5, Bytes: 140_000 + 70_000 + 6 + 110_000}); dry != want {
				t.Errorf("dry run: %+v, want %+v", dry, want)
			}
			if got := rows(t, db); got != before {
				t.Errorf("a dry run left %s, before %s", got, before)
			}
			if r, f := contents(t, db, blobs); r != 8 || f != 5 {
				t.Errorf("a dry run left %d contents and %d files", r, f)
			}

			how.DryRun = false
			first := figures(collect(t, store, how))
			if want := (registry.Collected{Repositories: 2, Manifests: 2, Links: 8, Condemned: 4, Blobs: 2, Bytes: 140_000}); first != want {
				t.Errorf("first: %+v, want %+v", first, want)
			}
			late := how
			late.Grace = time.Hour
			if got := figures(collect(t, store, late)); got.Condemned+got.Unlinked+got.Blobs != 0 {
				t.Errorf("within the grace time: %+v", got)
			}
			how.DryRun = true
			if got, want := figures(collect(t, store, how)), (registry.Collected{Repositories: 2, Manifests: 2, Links: 8, Unlinked: 4, Blobs: 3, Bytes: dry.Bytes - first.Bytes}); got != want {
				t.Errorf("a dry run in between: %+v, want %+v", got, want)
			}
			how.DryRun = false
			last := figures(collect(t, store, how))
			if want := (registry.Collected{Repositories: 2, Manifests: 2, Links: 8, Unlinked: 4, Blobs: 3, Bytes: dry.Bytes - first.Bytes}); last != want {
				t.Errorf("last: %+v, want %+v", last, want)
			}
			if got := figures(collect(t, store, how)); got != (registry.Collected{Repositories: 2, Manifests: 2, Links: 4}) {
				t.Errorf("once more: %+v", got)
			}
			if r, f := contents(t, db, blobs); r != 3 || f != 1 {
				t.Errorf("left are %d contents and %d files", r, f)
			}
			pulls(t, mine, "a", "stays")
			pulls(t, mine, "b", "stays")
			if now, err := openStore(t, db, blobs).Size(bg, contoso.ID); err != nil || now != size-6-70_000-110_000 {
				t.Errorf("size %d after %d: %v", now, size, err)
			}
			for _, tag := range []oci.Tag{"goes", "goes2", "goes3"} { // may come again
				push(t, mine, "b", tag, map[oci.Tag][]byte{"goes": large("x"), "goes2": large("y"), "goes3": []byte("inline")}[tag])
				pulls(t, mine, "b", tag)
			}
			push(t, mine, "deleted", "v1", large("z"))
			if got := whole(t, db); strings.Count(got, "manifest 6") != 1 || strings.Count(want, "manifest 7") != 1 {
				t.Errorf("pushed again there is %s, at first %s", got, want)
			}
		})
	}
}

// TestCondemnedIsSpared: whoever relies on a blob after the first look keeps it from
// the next, and nobody notices that it was condemned.
func TestCondemnedIsSpared(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		const content = "a blob"
		dgst := oci.FromBytes(oci.SHA256, []byte(content))
		for what, c := range map[string]struct {
			do     func(t *testing.T, r oci.Registry) error
			spared bool
		}{
			"nothing": {func(*testing.T, oci.Registry) error { return nil }, false},
			"asked for": {func(_ *testing.T, r oci.Registry) error {
				d, err := r.StatBlob(bg, "app", dgst)
				if err == nil && d.Size != int64(len(content)) {
					err = fmt.Errorf("%+v", d)
				}
				return err
			}, true},
			"pushed again": {func(t *testing.T, r oci.Registry) error { pushBlob(t, r, "app", content); return nil }, true},
			"mounted onto itself": {func(_ *testing.T, r oci.Registry) error {
				return second(r.MountBlob(bg, "app", dgst, "app"))
			}, true},
			"mounted to another": {func(_ *testing.T, r oci.Registry) error { // which has it, then
				return second(r.MountBlob(bg, "other", dgst, "app"))
			}, false},
			"pulled": {func(_ *testing.T, r oci.Registry) error {
				b, err := r.OpenBlob(bg, "app", dgst)
				if err == nil {
					err = b.Content.Close()
				}
				return err
			}, false},
			"referred to": {func(_ *testing.T, r oci.Registry) error {
				m, err := r.PutManifest(bg, "app", oci.ManifestPut{Data: image(oci.Descriptor{Digest: dgst, Size: int64(len(content))})})
				if err == nil {
					err = r.DeleteManifest(bg, "app", m.Descriptor.Digest) // or it is kept for that reason
				}
				return err
			}, true},
			"referred to as foreign": {func(t *testing.T, r oci.Registry) error {
				config := pushBlob(t, r, "app", "{}")
				data := bytes.Replace(image(config), []byte(`"layers":[]`), fmt.Appendf(nil, `"layers":[{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":%q,"size":%d}]`, dgst, len(content)), 1)
				return second(r.PutManifest(bg, "app", oci.ManifestPut{Data: data}))
			}, true},
		} {
			t.Run(what, func(t *testing.T) {
				store := openStore(t, open(), t.TempDir())
				defer store.DB.Close()
				r := store.For(contoso, docker)
				pushBlob(t, r, "app", content)
				if n := collect(t, store, registry.Collecting{}).Condemned; n != 1 {
					t.Fatalf("%d condemned", n)
				}
				if err := c.do(t, r); err != nil {
					t.Fatal(err)
				}
				collect(t, store, registry.Collecting{})
				_, err := r.StatBlob(bg, "app", dgst)
				if c.spared && err != nil || !c.spared && !fault.Is(err, fault.NotFound) {
					t.Errorf("after the second look: %v", err)
				}
				if what == "mounted to another" {
					if _, err := r.StatBlob(bg, "other", dgst); err != nil {
						t.Errorf("the other repository: %v", err)
					}
				}
				empty(t, store)
			})
		}
	})
}

// empty deletes everything, which leaves nothing.
func empty(t *testing.T, store *registry.Store) {
	t.Helper()
	r := store.For(contoso, docker)
	for _, repo := range []oci.Repository{"app", "other"} {
		if _, err := r.DeleteRepository(bg, repo); err != nil && !fault.Is(err, fault.NotFound) {
			t.Fatal(err)
		}
	}
	collect(t, store, registry.Collecting{})
	if left := whole(t, store.DB); left != "repository 0, manifest 0, tag 0, blob_link 0, upload 0" {
		t.Errorf("left: %s", left)
	}
}

// TestMissedByTheFirstLook: a manifest comes while the first look is past it. Its
// blobs are condemned, nobody notices, and the next look finds them.
func TestMissedByTheFirstLook(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		store := openStore(t, open(), t.TempDir())
		r := store.For(contoso, docker)
		config := pushBlob(t, r, "app", "{}")
		var dgst oci.Digest
		sum := collect(t, store, registry.Collecting{Step: func(_ context.Context, c registry.Collected) error {
			if c.Phase != "links" || dgst != "" {
				return nil
			}
			m, err := r.PutManifest(bg, "app", oci.ManifestPut{Data: image(config)})
			dgst = m.Descriptor.Digest
			return err
		}})
		if sum.Manifests != 0 || dgst == "" {
			t.Fatalf("the manifest was not missed: %+v", sum)
		}
		for range 3 {
			if err := pull(r, "app", dgst); err != nil {
				t.Fatal(err)
			}
			collect(t, store, registry.Collecting{})
		}
	})
}

// TestUnreadableManifest: what was taken once and cannot be read any more keeps all
// the digests in it.
func TestUnreadableManifest(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		store := openStore(t, open(), t.TempDir())
		r := store.For(contoso, docker)
		kept, goes := pushBlob(t, r, "app", "kept"), pushBlob(t, r, "app", "goes")
		err := store.DB.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
			data := fmt.Appendf(nil, `{"schemaVersion":7,"things":[{"\u0064igest":"\u0073%s"}]`, kept.Digest[1:])
			_, err := tx.Exec(`INSERT INTO manifest (repository, digest, media_type, artifact_type, size, data, pushed_at)
				SELECT id, 'sha256:m', 'application/vnd.example.future', '', $1, $2, 0 FROM repository`, len(data), data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			collect(t, store, registry.Collecting{})
		}
		if _, err := r.StatBlob(bg, "app", kept.Digest); err != nil {
			t.Error(err)
		}
		if _, err := r.StatBlob(bg, "app", goes.Digest); !fault.Is(err, fault.NotFound) {
			t.Errorf("what nothing refers to: %v", err)
		}
	})
}

// TestUploadsExpire has sessions of every kind: old ones, young ones, one that a
// request works on, and files that crashes left.
func TestUploadsExpire(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db, blobs := open(), t.TempDir()
		store := openStore(t, db, blobs)
		r := store.For(contoso, docker)
		start := func(size int) oci.UploadID {
			id, err := r.StartUpload(bg, "app")
			if err == nil && size > 0 {
				_, err = r.AppendUpload(bg, "app", id, 0, bytes.NewReader(make([]byte, size)))
			}
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		inline, file, cancelled, busy := start(10), start(100_000), start(100_000), start(100_000)
		if err := r.CancelUpload(bg, "app", cancelled); err != nil {
			t.Fatal(err)
		}
		age := func(by time.Duration) {
			t.Helper()
			err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
				_, err := tx.Exec("UPDATE upload SET updated_at = updated_at - $1", int64(by))
				return err
			})
			files, gerr := filepath.Glob(filepath.Join(blobs, "uploads", "*"))
			if err = errors.Join(err, gerr); err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				info, err := os.Stat(f)
				if err == nil {
					err = os.Chtimes(f, info.ModTime().Add(-by), info.ModTime().Add(-by))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		age(7*24*time.Hour - time.Minute)
		if sum := collect(t, store, registry.Collecting{}); sum.Uploads != 0 {
			t.Errorf("within seven days: %+v", sum)
		}
		age(2 * time.Minute)
		young := start(100_000)
		for name, old := range map[string]time.Duration{"0000": 23 * time.Hour, "1111": 25 * time.Hour} { // left by crashes
			blobStage(t, store, name)
			at := time.Now().Add(-old)
			if err := os.Chtimes(filepath.Join(blobs, "uploads", name), at, at); err != nil {
				t.Fatal(err)
			}
		}
		dry := collect(t, store, registry.Collecting{DryRun: true})
		if foreign := collect(t, store, registry.Collecting{DryRun: true, Foreign: true}); foreign.Uploads != dry.Uploads-1 {
			t.Errorf("files that may be another's: %+v, else %+v", foreign, dry)
		}

		reading, more := io.Pipe()
		appended := make(chan error)
		go func() { appended <- second(r.AppendUpload(bg, "app", busy, 100_000, reading)) }()
		if _, err := more.Write([]byte("x")); err != nil { // from now on the request works on it
			t.Fatal(err)
		}
		sum := collect(t, store, registry.Collecting{})
		more.Close()
		if err := <-appended; err != nil {
			t.Errorf("the request that ran: %v", err)
		}
		if sum.Uploads != 4 || sum.Bytes != 10+100_000+1 || dry.Uploads != 5 || dry.Bytes != sum.Bytes+100_000 {
			t.Errorf("ended: %+v, a dry run before: %+v", sum, dry)
		}
		if left := whole(t, db); !strings.Contains(left, "upload 2") {
			t.Errorf("left: %s", left)
		}
		if files, _ := filepath.Glob(filepath.Join(blobs, "uploads", "*")); len(files) != 3 {
			t.Errorf("files: %q", files)
		}
		for name, id := range map[string]oci.UploadID{"busy": busy, "young": young} {
			if n, err := r.UploadOffset(bg, "app", id); err != nil || n < 100_000 {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
		for name, id := range map[string]oci.UploadID{"inline": inline, "file": file} { // its id is good here, for its age is made up
			if n, err := r.UploadOffset(bg, "app", id); err != nil || n != 0 {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
	})
}

func blobStage(t *testing.T, s *registry.Store, name string) {
	t.Helper()
	staged, err := s.Blobs.Stage(name, 0)
	if err == nil {
		_, err = staged.Write([]byte("x"))
		err = errors.Join(err, staged.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// crashing is a blob store that a crash keeps from removing files.
type crashing struct {
	blob.Store
	room int // removals before it
}

var errCrash = errors.New("the process is gone")

func (s *crashing) Remove(file string) error {
	if s.room--; s.room < 0 {
		return errCrash
	}
	return s.Store.Remove(file)
}

func (s *crashing) Discard(upload string) error {
	if s.room--; s.room < 0 {
		return errCrash
	}
	return s.Store.Discard(upload)
}

// TestCollectionsThatStop ends each collection after one step more than the one
// before, or in the midst of its files, until one comes to its end. What is needed is
// there all the time; in the end nothing else is, but the files that a crash left
// without their rows: those Named does not know.
func TestCollectionsThatStop(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db, blobs := open(), t.TempDir()
		store := openStore(t, db, blobs)
		r := store.For(contoso, docker)
		push(t, r, "app", "stays", bytes.Repeat([]byte("x"), 70_000))
		for i := range 8 {
			push(t, r, "app", oci.Tag(fmt.Sprint("goes", i)), bytes.Repeat([]byte{byte(i)}, 65_537+i))
			deleteTagged(t, r, "app", oci.Tag(fmt.Sprint("goes", i)))
		}
		errStop := errors.New("stop")
		stopped := 0
		for steps, done := 1, false; !done; steps++ {
			files := store.Blobs
			store.Blobs = &crashing{files, steps % 3}
			left := steps
			_, err := store.Collect(bg, registry.Collecting{References: 1, Step: func(_ context.Context, c registry.Collected) error {
				if left--; left == 0 {
					return errStop
				}
				return nil
			}})
			store.Blobs = files
			switch {
			case err == nil:
				done = true
			case errors.Is(err, errStop), errors.Is(err, errCrash):
				stopped++
			default:
				t.Fatal(err)
			}
			pulls(t, r, "app", "stays")
		}
		if stopped < 5 {
			t.Errorf("stopped %d times", stopped)
		}
		collect(t, store, registry.Collecting{})
		if n, _ := contents(t, db, blobs); n != 2 {
			t.Errorf("%d contents", n)
		}
		var all, ours []string
		for f, err := range store.Blobs.Kept() {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f.Name)
		}
		err := db.Read(bg, func(tx *sqldb.Tx) (err error) {
			ours, err = store.Named(tx, all)
			return err
		})
		if err != nil || len(ours) != 1 || len(all) < 2 {
			t.Errorf("of %d files %q are known, %v", len(all), ours, err)
		}
	})
}

// TestPushAgainstCollection has one content pushed and mounted by several, on
// PostgreSQL at two nodes, each of whom then deletes their link, while collections
// run: a link never outlives its content.
func TestPushAgainstCollection(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db, blobs := open(), t.TempDir()
		store := openStore(t, db, blobs)
		nodes := []*registry.Store{store, store}
		if db.Dialect() == "postgres" {
			nodes[1] = openStore(t, open(), blobs)
		}
		const rounds, enough = 60, 3 // collections that removed something
		for _, size := range []int{10, 65_537} {
			content := bytes.Repeat([]byte("x"), size)
			dgst := oci.FromBytes(oci.SHA256, content)
			var workers sync.WaitGroup
			var mounted, pushed, collected atomic.Int64
			for w := range 4 {
				workers.Go(func() {
					r := nodes[w%2].For(contoso, docker)
					repo := oci.Repository(fmt.Sprint("r", w))
					for round := 0; round < rounds || collected.Load() < enough && round < 50*rounds; round++ {
						there := false
						if round%2 == 0 {
							_, err := r.MountBlob(bg, repo, dgst, "")
							if err != nil && !fault.Is(err, fault.NotFound) {
								t.Error(err)
								return
							}
							there = err == nil
						}
						if there {
							mounted.Add(1)
						} else {
							id, err := r.StartUpload(bg, repo)
							if err == nil {
								_, err = r.CommitUpload(bg, repo, id, -1, bytes.NewReader(content), dgst)
							}
							if err != nil {
								t.Error(err)
								return
							}
							pushed.Add(1)
						}
						b, err := r.OpenBlob(bg, repo, dgst)
						if err != nil {
							t.Errorf("what was acknowledged is gone: %v", err)
							return
						}
						got, err := io.ReadAll(b.Content)
						if b.Content.Close(); err != nil || !bytes.Equal(got, content) {
							t.Errorf("%d bytes, %v", len(got), err)
						}
						if err := r.DeleteBlob(bg, repo, dgst); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			done := make(chan struct{})
			go func() { workers.Wait(); close(done) }()
			var collecting sync.WaitGroup
			for _, node := range nodes {
				collecting.Go(func() {
					for running := true; running; {
						select {
						case <-done:
							running = false
						default:
						}
						// The links are young: contents alone are collected.
						collected.Add(collect(t, node, registry.Collecting{Grace: time.Hour}).Blobs)
					}
				})
			}
			collecting.Wait()
			t.Logf("%d bytes: %d pushed, %d mounted, collected %d times", size, pushed.Load(), mounted.Load(), collected.Load())
			if n := collected.Load(); n < enough {
				t.Errorf("collected %d times: nobody met", n)
			}
		}
		collect(t, store, registry.Collecting{})
		if n, f := contents(t, db, blobs); n != 0 || f != 0 {
			t.Errorf("left are %d contents and %d files", n, f)
		}
	})
}

// TestCollectionAgainstEverything has people push, mount, delete and pull images made
// of the same few layers while collections run one after the other, with no grace
// time at all. What was acknowledged and not deleted can be pulled at every moment;
// in the end everything else is gone.
func TestCollectionAgainstEverything(t *testing.T) {
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
		layers := make([][]byte, 6)
		for i := range layers {
			layers[i] = bytes.Repeat([]byte{byte('a' + i)}, 10+i%2*70_000)
		}
		const pushers, rounds = 6, 60
		people := make([]*pusher, pushers)
		var workers sync.WaitGroup
		for w := range people {
			p := &pusher{
				t: t, name: fmt.Sprint(w), rnd: rand.New(rand.NewPCG(seed, uint64(w))), layers: layers,
				r: nodes[w%len(nodes)].For(contoso, docker), repo: oci.Repository(fmt.Sprint("r", w/2)), live: map[oci.Digest]bool{},
			}
			people[w] = p
			workers.Go(func() {
				for n := range rounds {
					p.round(n)
				}
			})
		}
		done := make(chan struct{})
		go func() { workers.Wait(); close(done) }()
		var total registry.Collected
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			sum := collect(t, store, registry.Collecting{References: 1 + int(seed%3)*1000})
			total.Condemned += sum.Condemned
			total.Unlinked += sum.Unlinked
			total.Blobs += sum.Blobs
		}
		var live, late int
		for range 2 {
			collect(t, store, registry.Collecting{})
			live, late = 0, 0
			for _, p := range people {
				live += len(p.live)
				late += p.late
				p.pullAll()
			}
		}
		t.Logf("%d images live; condemned %d, unlinked %d, removed %d; %d manifests came too late for a blob", live, total.Condemned, total.Unlinked, total.Blobs, late)
		if total.Unlinked == 0 {
			t.Error("nothing was collected meanwhile: nobody met")
		}
		for _, p := range people {
			for dgst := range p.live {
				if err := p.r.DeleteManifest(bg, p.repo, dgst); err != nil {
					t.Error(err)
				}
			}
		}
		for range 2 {
			collect(t, store, registry.Collecting{})
		}
		if left := whole(t, db); left != "repository 3, manifest 0, tag 0, blob_link 0, upload 0" {
			t.Errorf("left: %s", left)
		}
		if n, f := contents(t, db, blobs); n != 0 || f != 0 {
			t.Errorf("left are %d contents and %d files", n, f)
		}
	})
}

// pusher is someone who pushes to a repository that another one pushes to as well.
type pusher struct {
	t      *testing.T
	name   string
	rnd    *rand.Rand
	layers [][]byte
	r      oci.Contents
	repo   oci.Repository
	live   map[oci.Digest]bool
	shared bool // others delete whole repositories
	late   int
}

// digests returns what is live, in order.
func (p *pusher) digests() []oci.Digest {
	all := make([]oci.Digest, 0, len(p.live))
	for dgst := range p.live {
		all = append(all, dgst)
	}
	slices.Sort(all)
	return all
}

func (p *pusher) round(n int) {
	if len(p.live) > 0 && p.rnd.IntN(3) > 0 { // more go than come, so that layers are unused at times
		all := p.digests()
		dgst := all[p.rnd.IntN(len(all))]
		if err := p.pull(dgst); err != nil {
			p.t.Errorf("pull of what was acknowledged: %v", err)
		}
		if err := p.r.DeleteManifest(bg, p.repo, dgst); err != nil && !p.elsewhere(err) {
			p.t.Error(err)
		}
		delete(p.live, dgst)
		return
	}
	var descriptors []string
	mine := [][]byte{p.layers[p.rnd.IntN(len(p.layers))], p.layers[p.rnd.IntN(len(p.layers))]}
	for _, l := range mine {
		descriptors = append(descriptors, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}`, oci.FromBytes(oci.SHA256, l), len(l)))
	}
	data := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s],"annotations":{"note":"%s.%d"}}`,
		oci.MediaTypeImageManifest, descriptors[0], descriptors[1], p.name, n)
	for {
		for _, l := range mine {
			if err := p.have(l); err != nil {
				p.t.Error(err)
				return
			}
		}
		m, err := p.r.PutManifest(bg, p.repo, oci.ManifestPut{Data: data, Tags: []oci.Tag{oci.Tag("t" + p.name)}})
		if err == nil {
			p.live[m.Descriptor.Digest] = true
			return
		}
		if fault.As(err).Code != oci.CodeManifestBlobUnknown { // two collections since it was there
			p.t.Error(err)
			return
		}
		p.late++
	}
}

// pull pulls an image, unless somebody else deletes it.
func (p *pusher) pull(dgst oci.Digest) error {
	err := pull(p.r, p.repo, dgst)
	if err != nil && p.elsewhere(second(p.r.GetManifest(bg, p.repo, oci.Reference{Digest: dgst}))) {
		return nil
	}
	return err
}

// elsewhere reports whether an error says that somebody else deleted the image.
func (p *pusher) elsewhere(err error) bool {
	if err == nil || !p.shared {
		return false
	}
	code := fault.As(err).Code
	return code == oci.CodeManifestUnknown || code == oci.CodeNameUnknown
}

// have sees to it that a blob is in the repository, as clients do.
func (p *pusher) have(content []byte) error {
	dgst := oci.FromBytes(oci.SHA256, content)
	if p.rnd.IntN(4) > 0 {
		if _, err := p.r.StatBlob(bg, p.repo, dgst); err == nil || !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	if p.rnd.IntN(2) == 0 {
		if _, err := p.r.MountBlob(bg, p.repo, dgst, oci.Repository(fmt.Sprint("r", p.rnd.IntN(3)))); err == nil || !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	id, err := p.r.StartUpload(bg, p.repo)
	if err == nil {
		_, err = p.r.CommitUpload(bg, p.repo, id, -1, bytes.NewReader(content), dgst)
	}
	return err
}

func (p *pusher) pullAll() {
	for dgst := range p.live {
		if err := pull(p.r, p.repo, dgst); err != nil {
			p.t.Errorf("in the end: %v", err)
		}
	}
}

// TestLinksThatACrashLeft: a collection ends the deletion of a repository, and leaves
// alone what Purge is about to remove.
func TestLinksThatACrashLeft(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		store := openStore(t, open(), t.TempDir())
		r := store.For(contoso, docker)
		push(t, r, "stays", "v1", []byte("layer 1"))
		before := whole(t, store.DB)
		push(t, r, "crashed", "v1", []byte("layer 1"))
		push(t, r, "crashed", "v1", []byte("layer 2"))
		push(t, store.For(event.Registry{ID: 2, Name: "fabrikam"}, docker), "doomed", "v1", []byte("layer 3"))
		err := store.DB.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
			for _, statement := range []string{
				"DELETE FROM tag WHERE repository = (SELECT id FROM repository WHERE name = 'crashed')",
				"DELETE FROM manifest WHERE repository = (SELECT id FROM repository WHERE name = 'crashed')",
				"UPDATE repository SET registry = -registry, name = 'crashed~7' WHERE name = 'crashed'",
				"UPDATE repository SET registry = -registry WHERE name = 'doomed'",
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
		if sum := collect(t, store, registry.Collecting{Grace: time.Hour}); sum.Blobs != 1 || sum.Bytes != 7 { // of layer 2; the others are linked
			t.Errorf("%+v", sum)
		}
		deleted(t, store.DB, 2)
		if err := store.Purge(bg, 2); err != nil {
			t.Fatal(err)
		}
		if sum := collect(t, store, registry.Collecting{Grace: time.Hour}); sum.Blobs != 1 || sum.Bytes != 7 {
			t.Errorf("after the purge: %+v", sum)
		}
		if left := whole(t, store.DB); left != before {
			t.Errorf("left %s, before %s", left, before)
		}
		pulls(t, r, "stays", "v1")
	})
}
