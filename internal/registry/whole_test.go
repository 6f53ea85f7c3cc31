package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/registry"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// push pushes an image of one layer and returns how large its parts are.
func push(t *testing.T, r oci.Registry, repo oci.Repository, tag oci.Tag, layer []byte) (blobs, manifest int64) {
	t.Helper()
	config := []byte("{}")
	for _, content := range [][]byte{layer, config} {
		put(t, r, repo, content)
	}
	descriptor := func(mediaType string, content []byte) oci.Descriptor {
		return oci.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(oci.SHA256, content), Size: int64(len(content))}
	}
	data, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptor("application/vnd.oci.image.config.v1+json", config),
		"layers": []oci.Descriptor{descriptor("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutManifest(t.Context(), repo, oci.ManifestPut{MediaType: "application/vnd.oci.image.manifest.v1+json", Data: data, Tags: []oci.Tag{tag}}); err != nil {
		t.Fatal(err)
	}
	return int64(len(layer) + len(config)), int64(len(data))
}

func put(t *testing.T, r oci.Registry, repo oci.Repository, content []byte) {
	t.Helper()
	id, err := r.StartUpload(t.Context(), repo)
	if err == nil {
		_, err = r.AppendUpload(t.Context(), repo, id, 0, bytes.NewReader(content))
	}
	if err == nil {
		_, err = r.CommitUpload(t.Context(), repo, id, int64(len(content)), strings.NewReader(""), oci.FromBytes(oci.SHA256, content))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// rows counts the rows of each table that a registry's content is in.
func rows(t *testing.T, db *sqldb.DB) string {
	t.Helper()
	var counts []string
	err := db.Read(t.Context(), func(tx *sqldb.Tx) error {
		for _, table := range []string{"repository", "manifest", "tag", "blob_link", "upload", "event", "held_push"} {
			var n int
			if err := tx.Get("SELECT count(*) FROM "+table, nil, &n); err != nil {
				return err
			}
			counts = append(counts, fmt.Sprint(table, " ", n))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(counts, ", ")
}

func TestSize(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db, blobs := open(), t.TempDir()
		store := openStore(t, db, blobs)
		fabrikam := event.Registry{ID: 2, Name: "fabrikam"}
		if n, err := store.Size(t.Context(), contoso.ID); err != nil || n != 0 {
			t.Errorf("empty: %d, %v", n, err)
		}
		layer := bytes.Repeat([]byte("x"), 5000)
		mine, other := store.For(contoso, docker), store.For(fabrikam, docker)
		shared, first := push(t, mine, "a", "v1", layer)
		_, second := push(t, mine, "b", "v1", layer) // the same blobs
		push(t, other, "a", "v1", bytes.Repeat([]byte("y"), 70_000))
		if n, err := store.Size(t.Context(), contoso.ID); err != nil || n != 0 {
			t.Errorf("within a minute: %d, %v", n, err)
		}
		want := shared + first + second // a manifest is each repository's own
		if n, err := openStore(t, db, t.TempDir()).Size(t.Context(), contoso.ID); err != nil || n != want {
			t.Errorf("%d bytes, %v; want %d", n, err, want)
		}
	})
}

// TestPurge deletes a registry beside another, which keeps all it has.
func TestPurge(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		ctx := t.Context()
		db, blobs := open(), t.TempDir()
		store := openStore(t, db, blobs)
		fabrikam := event.Registry{ID: 2, Name: "fabrikam"}
		mine, other := store.For(contoso, docker), store.For(fabrikam, docker)
		layer := bytes.Repeat([]byte("x"), 5000)
		push(t, other, "a", "v1", layer)
		before := rows(t, db)
		for i := range 130 { // more than go at once
			push(t, mine, "a", oci.Tag(fmt.Sprint("v", i)), fmt.Appendf(nil, "layer %d", i))
		}
		for i := range 5 {
			push(t, store.For(contoso, as(registry.Hidden)), oci.Repository(fmt.Sprint("repo", i)), "v1", layer)
		}
		id, err := mine.StartUpload(ctx, "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mine.AppendUpload(ctx, "a", id, 0, bytes.NewReader(make([]byte, 100_000))); err != nil { // in a file
			t.Fatal(err)
		}
		deleted(t, db, contoso.ID)

		// A request that began before finds nothing to change, from the first step on.
		stop, cancel := context.WithCancel(ctx)
		cancel()
		if err := store.Purge(stop, contoso.ID); err == nil {
			t.Fatal("a purge that is stopped tells so")
		}
		if err := openStore(t, db, blobs).Purge(ctx, contoso.ID); err != nil { // after a restart
			t.Fatal(err)
		}
		got := rows(t, db)
		if cut := strings.LastIndex(got, ", event"); got[:cut] != before[:strings.LastIndex(before, ", event")] {
			t.Errorf("left:\n%s\nbefore it was filled:\n%s", got, before)
		}
		if files, err := filepath.Glob(filepath.Join(blobs, "uploads", "*")); err != nil || len(files) != 0 {
			t.Errorf("files of uploads: %v, %v", files, err)
		}
		if _, err := os.Stat(filepath.Join(blobs, "uploads")); err != nil {
			t.Errorf("the folder that was looked into: %v", err)
		}
		if m, err := other.GetManifest(ctx, "a", oci.Reference{Tag: "v1"}); err != nil || len(m.Data) == 0 {
			t.Errorf("the other registry: %v", err)
		}
		for _, repo := range []oci.Repository{"a", "new"} {
			_, err := mine.MountBlob(ctx, repo, oci.FromBytes(oci.SHA256, layer), "")
			if !fault.Is(err, fault.NotFound) {
				t.Errorf("mount to %s: %v", repo, err)
			}
			if _, err := mine.PutManifest(ctx, repo, oci.ManifestPut{MediaType: "application/vnd.oci.image.index.v1+json", Data: []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)}); !fault.Is(err, fault.NotFound) {
				t.Errorf("push to %s: %v", repo, err)
			}
		}
		if again := rows(t, db); again != got {
			t.Errorf("late requests left %s, before %s", again, got)
		}
	})
}

// deleted marks a registry as package tenant does.
func deleted(t *testing.T, db *sqldb.DB, id int64) {
	t.Helper()
	err := db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(`INSERT INTO registry (id, name, subscription, resource_group, location, sku, created_at, deleted_at)
			VALUES ($1, '~', '', '', '', 'Basic', 0, 1)`, id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestManyAreCountedAndRemoved has more of everything than is looked at at once.
func TestManyAreCountedAndRemoved(t *testing.T) {
	if raceEnabled {
		t.Skip("thousands of rows, one after the other: the detector sees nothing in it; scripts/test.sh runs it without")
	}
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		const repositories, blobs = 403, 1203
		db := open()
		store := openStore(t, db, t.TempDir())
		before := rows(t, db)
		err := db.Write(t.Context(), sqldb.Change, func(tx *sqldb.Tx) error {
			for i := range repositories {
				id, _, err := tx.Insert("id", "INSERT INTO repository (registry, name, created_at, updated_at) VALUES ($1, $2, 0, 0)", contoso.ID, fmt.Sprint("repo", i))
				if err != nil {
					return err
				}
				if _, err := tx.Exec(`INSERT INTO manifest (repository, digest, media_type, artifact_type, size, data, pushed_at) VALUES ($1, 'sha256:m', '', '', 100, $2, 0)`, id, []byte("{}")); err != nil {
					return err
				}
				for b := range blobs {
					if b%repositories != i {
						continue
					}
					digest := fmt.Sprintf("sha256:%05d", b)
					if _, err := tx.Exec("INSERT INTO content (digest, size, data, created_at) VALUES ($1, 1, $2, 0)", digest, []byte("x")); err != nil {
						return err
					}
					if _, err := tx.Exec("INSERT INTO blob_link (repository, digest, linked_at) VALUES ($1, $2, 0)", id, digest); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := store.Size(t.Context(), contoso.ID); err != nil || n != repositories*100+blobs {
			t.Errorf("%d bytes, %v; want %d", n, err, repositories*100+blobs)
		}
		deleted(t, db, contoso.ID)
		if err := store.Purge(t.Context(), contoso.ID); err != nil {
			t.Fatal(err)
		}
		if got := rows(t, db); got != before {
			t.Errorf("left %s, before %s", got, before)
		}
	})
}
