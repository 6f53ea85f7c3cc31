package registry_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// allOn are the attributes of what is new.
var allOn = oci.Attributes{Delete: true, Write: true, Read: true, List: true}

// TestDetailsOfManifests has what follows from the bytes of each kind of manifest.
func TestDetailsOfManifests(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		blobs := t.TempDir()
		r := openStore(t, open(), blobs).For(contoso, docker)
		const repo oci.Repository = "app"
		blob := func(mediaType, content string) oci.Descriptor {
			d := pushBlob(t, r, repo, content)
			d.MediaType = mediaType
			return d
		}
		push := func(document map[string]any, tags ...oci.Tag) oci.Descriptor {
			t.Helper()
			data, err := json.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			result, err := r.PutManifest(bg, repo, oci.ManifestPut{Data: data, Tags: tags})
			if err != nil {
				t.Fatal(err)
			}
			return result.Descriptor
		}
		manifest := func(mediaType string, config oci.Descriptor, layers ...oci.Descriptor) map[string]any {
			return map[string]any{"schemaVersion": 2, "mediaType": mediaType, "config": config, "layers": layers}
		}
		layer := blob("application/vnd.oci.image.layer.v1.tar", strings.Repeat("x", 1000))
		large := `{"os":"linux","architecture":"arm64","variant":"v8","history":"` + strings.Repeat("h", 100_000) + `"}` // in a file
		inline := blob(oci.MediaTypeImageConfig, `{"architecture":"amd64","os":"windows","config":{}}`)
		foreign := layer
		foreign.MediaType, foreign.Size = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 1<<40
		foreign.Digest = oci.FromBytes(oci.SHA256, []byte("elsewhere"))
		gone := blob(oci.MediaTypeImageConfig, `{"architecture":"amd64","os":"linux","gone":true}`)
		lost := blob(oci.MediaTypeImageConfig, `{"os":"linux","architecture":"arm64","lost":"`+strings.Repeat("l", 100_000)+`"}`)

		image := push(manifest(oci.MediaTypeImageManifest, inline, layer, layer), "v2", "v1", "hidden")
		if _, err := r.SetTagAttributes(bg, repo, "hidden", attribute("list", false)); err != nil {
			t.Fatal(err)
		}
		docker := push(manifest(oci.MediaTypeDockerManifest, blob(oci.MediaTypeDockerConfig, large), layer, foreign))
		withPlatform := image
		withPlatform.Platform = &oci.Platform{Architecture: "amd64", OS: "windows"}
		index := push(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex, "manifests": []oci.Descriptor{withPlatform, docker}}, "all")
		list := push(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeDockerManifestList, "manifests": []oci.Descriptor{withPlatform}})
		descriptor := push(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "artifactType": "application/spdx",
			"config": blob(oci.MediaTypeEmptyJSON, `{}`), "layers": []oci.Descriptor{layer}})
		artifact := push(map[string]any{"mediaType": oci.MediaTypeArtifactManifest, "artifactType": "application/sarif", "blobs": []oci.Descriptor{layer}})
		sizeOf := func(parts ...oci.Descriptor) (n int64) {
			for _, p := range parts {
				n += p.Size
			}
			return n
		}
		oddities := map[string]oci.Descriptor{
			"no JSON":          blob(oci.MediaTypeImageConfig, `{"architecture":`),
			"an array":         blob(oci.MediaTypeImageConfig, `[]`),
			"numbers":          blob(oci.MediaTypeImageConfig, `{"architecture":1,"os":"linux"}`),
			"too large":        blob(oci.MediaTypeImageConfig, `{"architecture":"amd64","os":"linux","x":"`+strings.Repeat("x", 4<<20)+`"}`),
			"something else":   blob("application/vnd.cncf.helm.config.v1+json", `{"architecture":"amd64","os":"linux"}`),
			"deleted since":    gone,
			"without its file": lost,
		}

		for _, tt := range []struct {
			name string
			is   oci.Descriptor
			want oci.ManifestDetails
		}{
			{"OCI image", image, oci.ManifestDetails{ConfigMediaType: oci.MediaTypeImageConfig, ArtifactType: oci.MediaTypeImageConfig, ImageSize: sizeOf(inline, layer),
				Platform: oci.Platform{Architecture: "amd64", OS: "windows"}, Tags: []oci.Tag{"v1", "v2"}}},
			{"Docker image", docker, oci.ManifestDetails{ConfigMediaType: oci.MediaTypeDockerConfig, ArtifactType: oci.MediaTypeDockerConfig, ImageSize: int64(len(large)) + layer.Size,
				Platform: oci.Platform{Architecture: "arm64", OS: "linux", Variant: "v8"}}},
			{"OCI index", index, oci.ManifestDetails{ImageSize: index.Size, References: []oci.Descriptor{withPlatform, docker}, Tags: []oci.Tag{"all"}}},
			{"Docker list", list, oci.ManifestDetails{ImageSize: list.Size, References: []oci.Descriptor{withPlatform}}},
			{"artifact with an empty config", descriptor, oci.ManifestDetails{ConfigMediaType: oci.MediaTypeEmptyJSON, ArtifactType: "application/spdx", ImageSize: 2 + layer.Size}},
			{"artifact without config", artifact, oci.ManifestDetails{ArtifactType: "application/sarif", ImageSize: layer.Size}},
		} {
			tt.want.Digest, tt.want.MediaType, tt.want.Attributes = tt.is.Digest, tt.is.MediaType, allOn
			got, err := r.DescribeManifest(bg, repo, tt.is.Digest)
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(got, "CreatedAt", "UpdatedAt")); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
			}
			if age := time.Since(got.CreatedAt); age < 0 || age > time.Minute || !got.UpdatedAt.Equal(got.CreatedAt) {
				t.Errorf("%s: created at %v, updated at %v", tt.name, got.CreatedAt, got.UpdatedAt)
			}
		}
		odd := map[oci.Digest]string{}
		for name, config := range oddities {
			odd[push(manifest(oci.MediaTypeImageManifest, config, layer)).Digest] = name
		}
		if err := r.DeleteBlob(bg, repo, gone.Digest); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(blobs, "blobs", "sha256", "*", lost.Digest.Encoded()+"*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if err := os.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		all, more, err := r.DescribeManifests(bg, repo, oci.DetailsPage{})
		if err != nil || more || len(all) != 6+len(oddities) {
			t.Fatalf("%d manifests, more %t, %v", len(all), more, err)
		}
		for _, d := range all {
			if name, ok := odd[d.Digest]; ok && d.Platform != (oci.Platform{}) {
				t.Errorf("a config that is %s: platform %+v", name, d.Platform)
			}
			one, err := r.DescribeManifest(bg, repo, d.Digest)
			if diff := cmp.Diff(one, d); diff != "" || err != nil {
				t.Errorf("alone and in the list: %v\n%s", err, diff)
			}
		}
	})
}

// TestLastUpdate sees when what is said to have changed.
func TestLastUpdate(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		r := openStore(t, open(), t.TempDir()).For(contoso, docker)
		s := newSample(t, r, "app")
		other := about(s.config, "other")
		if err := s.push(other, "v2"); err != nil {
			t.Fatal(err)
		}
		type times struct{ repository, v1, v2, first, other time.Time }
		now := func() (is times) {
			t.Helper()
			repository, err := r.DescribeRepository(bg, "app")
			if err != nil {
				t.Fatal(err)
			}
			is.repository = repository.UpdatedAt
			tags, _, err := r.DescribeTags(bg, "app", "", oci.DetailsPage{})
			if err != nil {
				t.Fatal(err)
			}
			is.v1, is.v2 = tags[0].UpdatedAt, tags[1].UpdatedAt
			for dgst, at := range map[oci.Digest]*time.Time{s.digest: &is.first, oci.FromBytes(oci.SHA256, other): &is.other} {
				d, err := r.DescribeManifest(bg, "app", dgst)
				if err != nil {
					t.Fatal(err)
				}
				*at = d.UpdatedAt
			}
			return is
		}
		before := now()
		for _, step := range []struct {
			name    string
			do      func() error
			changed string
		}{
			{"nothing", func() error { return second(r.SetTagAttributes(bg, "app", "v1", oci.AttributesChange{})) }, ""},
			{"push again", func() error { return s.push(s.data) }, "repository first"},
			{"push again to its tag", func() error { return s.push(s.data, "v1") }, "repository first v1"},
			{"lock the tag", func() error { return second(r.SetTagAttributes(bg, "app", "v2", attribute("delete", false))) }, "repository v2"},
			{"lock the manifest", func() error {
				return second(r.SetManifestAttributes(bg, "app", s.digest, attribute("delete", false)))
			}, "repository first"},
			{"lock the repository", func() error { return second(r.SetRepositoryAttributes(bg, "app", attribute("delete", false))) }, "repository"},
			{"move the tag", func() error { return s.push(other, "v1") }, "repository v1 other"},
		} {
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			after := now()
			for name, at := range map[string][2]time.Time{
				"repository": {before.repository, after.repository}, "v1": {before.v1, after.v1}, "v2": {before.v2, after.v2},
				"first": {before.first, after.first}, "other": {before.other, after.other},
			} {
				if want := slices.Contains(strings.Fields(step.changed), name); at[1].After(at[0]) != want || !want && !at[1].Equal(at[0]) {
					t.Errorf("%s: the time of %s was %v, and is %v", step.name, name, at[0], at[1])
				}
			}
			before = after
		}
	})
}

// TestPagesOfDetails pages through tags and manifests of which many have changed
// at once, in every order and in pages of every size.
func TestPagesOfDetails(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		r := openStore(t, db, t.TempDir()).For(contoso, docker)
		const repo oci.Repository = "app"
		config := pushBlob(t, r, repo, "{}")
		type item struct {
			name string
			at   int64
		}
		var tags, manifests []item
		for i := range 9 {
			data := about(config, fmt.Sprint(i))
			tag := oci.Tag(fmt.Sprintf("v%d", i*7%9))
			if _, err := r.PutManifest(bg, repo, oci.ManifestPut{Data: data, Tags: []oci.Tag{tag}}); err != nil {
				t.Fatal(err)
			}
			tags = append(tags, item{string(tag), int64(1000 + i/4)})
			manifests = append(manifests, item{string(oci.FromBytes(oci.SHA256, data)), int64(1000 + i/4)})
		}
		err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
			for i := range tags {
				if _, err := tx.Exec("UPDATE tag SET updated_at = $1 WHERE name = $2", tags[i].at, tags[i].name); err != nil {
					return err
				}
				column := []string{"pushed_at", "updated_at"}[i%2] // whichever says when
				if _, err := tx.Exec("UPDATE manifest SET "+column+" = $1 WHERE digest = $2", manifests[i].at, manifests[i].name); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.SetTagAttributes(bg, repo, oci.Tag(tags[4].name), attribute("list", false)); err != nil {
			t.Fatal(err)
		}
		tags = slices.Delete(tags, 4, 5)

		lists := map[string]struct {
			items []item
			page  func(p oci.DetailsPage) (found []item, more bool, err error)
		}{
			"tags": {tags, func(p oci.DetailsPage) (found []item, more bool, err error) {
				details, more, err := r.DescribeTags(bg, repo, "", p)
				for _, d := range details {
					found = append(found, item{string(d.Name), d.UpdatedAt.UnixNano()})
				}
				return found, more, err
			}},
			"manifests": {manifests, func(p oci.DetailsPage) (found []item, more bool, err error) {
				details, more, err := r.DescribeManifests(bg, repo, p)
				for _, d := range details {
					found = append(found, item{string(d.Digest), d.UpdatedAt.UnixNano()})
				}
				return found, more, err
			}},
		}
		for what, list := range lists {
			for order, less := range map[oci.Order]func(a, b item) int{
				oci.ByName:      func(a, b item) int { return strings.Compare(a.name, b.name) },
				oci.OldestFirst: func(a, b item) int { return int(a.at-b.at)*10 + strings.Compare(a.name, b.name) },
				oci.NewestFirst: func(a, b item) int { return int(b.at-a.at)*10 + strings.Compare(a.name, b.name) },
			} {
				want := slices.SortedFunc(slices.Values(list.items), less)
				for n := 1; n <= len(want)+1; n++ {
					for _, withTime := range []bool{true, false} {
						var got []item
						p := oci.DetailsPage{N: n, Order: order}
						for more := true; more; {
							var found []item
							var err error
							found, more, err = list.page(p)
							if err != nil || len(found) > n || more && len(found) < n {
								t.Fatalf("%s, order %d: %d of %d, more %t, %v", what, order, len(found), n, more, err)
							}
							got = append(got, found...)
							if len(found) > 0 {
								last := found[len(found)-1]
								p.Last = last.name
								if withTime {
									p.LastTime = time.Unix(0, last.at)
								}
							}
						}
						if !slices.Equal(got, want) {
							t.Errorf("%s, order %d, pages of %d, with time %t:\ngot  %v\nwant %v", what, order, n, withTime, got, want)
						}
					}
				}
			}
		}

		// The tag that a page ended with is deleted, or pushed again.
		names := func(p oci.DetailsPage) (names []string) {
			t.Helper()
			details, _, err := r.DescribeTags(bg, repo, "", p)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range details {
				names = append(names, string(d.Name))
			}
			return names
		}
		all := names(oci.DetailsPage{Order: oci.OldestFirst})
		next := oci.DetailsPage{Order: oci.OldestFirst, Last: all[2], LastTime: time.Unix(0, 1000)}
		untag := func() error { return second(r.DeleteTag(bg, repo, oci.Tag(all[2]))) }
		if err := untag(); err != nil {
			t.Fatal(err)
		}
		if got := names(next); !slices.Equal(got, all[3:]) {
			t.Errorf("after the last one is gone: %v, want %v", got, all[3:])
		}
		if _, err := r.PutManifest(bg, repo, oci.ManifestPut{Data: about(config, "again"), Tags: []oci.Tag{oci.Tag(all[2])}}); err != nil {
			t.Fatal(err)
		}
		if got, want := names(next), append(slices.Clone(all[3:]), all[2]); !slices.Equal(got, want) {
			t.Errorf("after the last one was pushed again: %v, want %v", got, want)
		}
		if err := untag(); err != nil {
			t.Fatal(err)
		}
		next.LastTime = time.Time{}
		if got, want := names(next), slices.Delete(slices.Clone(all), 2, 3); !slices.Equal(got, want) {
			t.Errorf("without a time, after the last one is gone: %v, want the first page %v", got, want)
		}
		// Those of one manifest.
		details, more, err := r.DescribeTags(bg, repo, oci.Digest(manifests[0].name), oci.DetailsPage{})
		if err != nil || more || len(details) > 1 || len(details) == 1 && string(details[0].Name) != tags[0].name {
			t.Errorf("tags of a manifest: %v, %v", details, err)
		}
		if details, _, err := r.DescribeTags(bg, repo, subject, oci.DetailsPage{}); err != nil || len(details) != 0 {
			t.Errorf("tags of a manifest that is not there: %v, %v", details, err)
		}
	})
}

// TestLargeManifestsMakeShortPages bounds what one page reads.
func TestLargeManifestsMakeShortPages(t *testing.T) {
	t.Parallel()
	r := openStore(t, sqldbtest.SQLite(t)(), t.TempDir()).For(contoso, docker)
	config := pushBlob(t, r, "app", "{}")
	want := map[oci.Digest]bool{}
	for i := range 10 {
		data := about(config, fmt.Sprint(i, strings.Repeat("x", 3<<20)))
		want[oci.FromBytes(oci.SHA256, data)] = true
		if _, err := r.PutManifest(bg, "app", oci.ManifestPut{Data: data}); err != nil {
			t.Fatal(err)
		}
	}
	pages := 0
	for p, more := (oci.DetailsPage{Order: oci.NewestFirst}), true; more; pages++ {
		var found []oci.ManifestDetails
		var err error
		found, more, err = r.DescribeManifests(bg, "app", p)
		if err != nil || len(found) == 0 || len(found) > 5 {
			t.Fatalf("a page of %d, %v", len(found), err)
		}
		for _, d := range found {
			delete(want, d.Digest)
		}
		p.Last = string(found[len(found)-1].Digest)
	}
	if len(want) > 0 || pages < 2 {
		t.Errorf("%d pages, %d are missing", pages, len(want))
	}
}
