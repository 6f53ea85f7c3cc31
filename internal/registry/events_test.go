package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

var bg = context.Background()

// log returns all events, oldest first.
func eventLog(t *testing.T, db *sqldb.DB) (entries []outbox.Entry) {
	t.Helper()
	err := db.Read(bg, func(tx *sqldb.Tx) (err error) {
		entries, err = outbox.After(tx, 0, 1000)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func pushBlob(t *testing.T, r oci.Registry, repo oci.Repository, content string) oci.Descriptor {
	t.Helper()
	id, err := r.StartUpload(bg, repo)
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.CommitUpload(bg, repo, id, -1, strings.NewReader(content), oci.FromBytes(oci.SHA256, []byte(content)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func image(config oci.Descriptor) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`,
		oci.MediaTypeImageManifest, config.Digest, config.Size)
}

// Every change of manifests and tags leaves exactly the events it should, in the
// order of the changes; what is refused or is no change leaves none.
func TestEventsOfChanges(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		r := openStore(t, db, t.TempDir()).For(contoso, docker)
		const app oci.Repository = "team/app"
		data := image(pushBlob(t, r, app, "{}"))
		dgst := oci.FromBytes(oci.SHA256, data)
		broken := bytes.Replace(data, []byte("sha256:"), []byte("sha256:0000"), 1)
		missing := bytes.ReplaceAll(data, []byte(oci.FromBytes(oci.SHA256, []byte("{}"))), []byte(oci.FromBytes(oci.SHA256, []byte("not pushed"))))

		steps := []struct {
			name string
			do   func() error
			want []string // action, tag
		}{
			{"push by tag", func() error {
				_, err := r.PutManifest(bg, app, oci.ManifestPut{Data: data, Tags: []oci.Tag{"v1"}})
				return err
			}, []string{"push v1"}},
			{"the same again", func() error {
				_, err := r.PutManifest(bg, app, oci.ManifestPut{Data: data, Tags: []oci.Tag{"v1"}})
				return err
			}, []string{"push v1"}},
			{"a second tag", func() error {
				_, err := r.PutManifest(bg, app, oci.ManifestPut{Data: data, Tags: []oci.Tag{"v2"}})
				return err
			}, []string{"push v2"}},
			{"push by digest", func() error {
				_, err := r.PutManifest(bg, app, oci.ManifestPut{Data: data, Digest: dgst})
				return err
			}, []string{"push "}},
			{"push by digest with tags", func() error {
				_, err := r.PutManifest(bg, app, oci.ManifestPut{Data: data, Digest: dgst, Tags: []oci.Tag{"a", "b"}})
				return err
			}, []string{"push a", "push b"}},
			{"a manifest that is not valid", func() error {
				_, err := r.PutManifest(bg, app, oci.ManifestPut{Data: broken, Tags: []oci.Tag{"x"}})
				return refusal(err)
			}, nil},
			{"a manifest without its blob", func() error {
				_, err := r.PutManifest(bg, app, oci.ManifestPut{Data: missing, Tags: []oci.Tag{"x"}})
				return refusal(err)
			}, nil},
			{"a wrong digest", func() error {
				_, err := r.PutManifest(bg, app, oci.ManifestPut{Data: data, Digest: oci.FromBytes(oci.SHA256, nil), Tags: []oci.Tag{"x"}})
				return refusal(err)
			}, nil},
			{"untag", func() error { _, err := r.DeleteTag(bg, app, "v2"); return err }, nil},
			{"mount", func() error {
				_, err := r.MountBlob(bg, "other", oci.FromBytes(oci.SHA256, []byte("{}")), app)
				return err
			}, nil},
			{"delete", func() error { return r.DeleteManifest(bg, app, dgst) }, []string{"delete "}},
			{"delete what is gone", func() error { return refusal(r.DeleteManifest(bg, app, dgst)) }, nil},
			{"delete a blob", func() error { return r.DeleteBlob(bg, app, oci.FromBytes(oci.SHA256, []byte("{}"))) }, nil},
		}
		var seen int
		for _, step := range steps {
			if err := step.do(); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			entries := eventLog(t, db)
			var got []string
			for _, e := range entries[seen:] {
				got = append(got, string(e.Event.Action)+" "+e.Event.Target.Tag)
				want := event.Target{MediaType: oci.MediaTypeImageManifest, ArtifactType: "application/vnd.oci.image.config.v1+json",
					Digest: string(dgst), Repository: string(app), Tag: e.Event.Target.Tag, Size: int64(len(data))}
				if e.Event.Action == event.Delete {
					want.Size = 0
				}
				if diff := cmp.Diff(want, e.Event.Target); diff != "" {
					t.Errorf("%s: target differs (-want +got):\n%s", step.name, diff)
				}
				if diff := cmp.Diff(docker.Request, e.Event.Request); diff != "" || e.Event.Actor != docker.Actor {
					t.Errorf("%s: actor %q, request differs (-want +got):\n%s", step.name, e.Event.Actor, diff)
				}
				if !bytes.Equal(e.ACRBody, event.ACRBody(e.Event)) {
					t.Errorf("%s: the stored body is not the body of the stored record:\n%s\n%s", step.name, e.ACRBody, event.ACRBody(e.Event))
				}
			}
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("%s: events differ (-want +got):\n%s", step.name, diff)
			}
			seen = len(entries)
		}
		for i, e := range eventLog(t, db) {
			if e.Event.Pos != int64(i+1) {
				t.Errorf("event %d has position %d: positions are dense", i+1, e.Event.Pos)
			}
		}
	})
}

// refusal turns an expected refusal into success, and anything else into an
// error.
func refusal(err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind != fault.Internal {
		return nil
	}
	return fmt.Errorf("want a refusal, got %v", err)
}

// While nothing holds images back, those who wait for quarantine hear of each
// push too.
func TestQuarantineIsRaisedForThoseWhoWait(t *testing.T) {
	db := sqldbtest.SQLite(t)()
	s := openStore(t, db, t.TempDir())
	s.Wanted = func(registry int64, a event.Action) bool { return registry == contoso.ID && a == event.Quarantine }
	r := s.For(contoso, docker)
	if _, err := r.PutManifest(bg, "app", oci.ManifestPut{Data: image(pushBlob(t, r, "app", "{}")), Tags: []oci.Tag{"v1"}}); err != nil {
		t.Fatal(err)
	}
	var got []event.Action
	for _, e := range eventLog(t, db) {
		got = append(got, e.Event.Action)
	}
	if diff := cmp.Diff([]event.Action{event.Quarantine, event.Push}, got); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

// An upload goes on after the server was restarted, also when it died between
// writing bytes and remembering them.
func TestUploadSurvivesRestart(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 20_000) // 320 kB: a staged file
	for _, test := range []struct {
		name      string
		algorithm string
		first     int
	}{
		{"in memory", oci.SHA256, 1000},
		{"in a file", oci.SHA256, 150_000},
		{"in memory, another algorithm", oci.SHA512, 1000},
		{"in a file, another algorithm", oci.SHA512, 150_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			open, dir := sqldbtest.SQLite(t), t.TempDir()
			db := open()
			r := openStore(t, db, dir).For(contoso, docker)
			id, err := r.StartUpload(bg, "app")
			if err != nil {
				t.Fatal(err)
			}
			offset, err := r.AppendUpload(bg, "app", id, 0, strings.NewReader(content[:test.first]))
			if err != nil || offset != int64(test.first) {
				t.Fatalf("offset %d, error %v", offset, err)
			}
			db.Close()
			appendToStaged(t, dir, "bytes that were never counted")

			r = openStore(t, open(), dir).For(contoso, docker)
			if offset, err = r.UploadOffset(bg, "app", id); err != nil || offset != int64(test.first) {
				t.Fatalf("after the restart: offset %d, error %v, want %d", offset, err, test.first)
			}
			dgst := oci.FromBytes(test.algorithm, []byte(content))
			if _, err := r.CommitUpload(bg, "app", id, offset, strings.NewReader(content[test.first:]), dgst); err != nil {
				t.Fatal(err)
			}
			b, err := r.OpenBlob(bg, "app", dgst)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Content.Close()
			if got, err := io.ReadAll(b.Content); err != nil || string(got) != content {
				t.Errorf("%d bytes came back, error %v: not what was pushed", len(got), err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "uploads", "*")); len(left) > 0 {
				t.Errorf("staged files left: %v", left)
			}
		})
	}
}

// appendToStaged adds to every staged file what a process wrote just before it
// died.
func appendToStaged(t *testing.T, dir, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "uploads", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// fullDisk is a blob store whose disk has room for a number of bytes.
type fullDisk struct {
	blob.Store
	room int
}

func (d *fullDisk) Stage(upload string, at int64) (blob.Staged, error) {
	s, err := d.Store.Stage(upload, at)
	return &fullFile{s, d}, err
}

type fullFile struct {
	blob.Staged
	disk *fullDisk
}

func (f *fullFile) Write(p []byte) (int, error) {
	if len(p) <= f.disk.room {
		f.disk.room -= len(p)
		return f.Staged.Write(p)
	}
	n, err := f.Staged.Write(p[:f.disk.room])
	f.disk.room = 0
	return n, errors.Join(fault.New(fault.NoSpace, "the disk is full"), err)
}

// An upload that the disk has no room for fails cleanly, and goes on where it
// was when there is room again.
func TestUploadBeyondDiskSpaceResumes(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 40_000)
	dgst := oci.FromBytes(oci.SHA256, []byte(content))
	for _, room := range []int{0, 10, 65_536, 65_537, 300_000} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			s := openStore(t, sqldbtest.SQLite(t)(), t.TempDir())
			disk := &fullDisk{s.Blobs, room}
			s.Blobs = disk
			r := s.For(contoso, docker)
			id, err := r.StartUpload(bg, "app")
			if err != nil {
				t.Fatal(err)
			}
			offset, err := r.AppendUpload(bg, "app", id, 0, strings.NewReader(content))
			if !fault.Is(err, fault.NoSpace) {
				t.Fatalf("error %v, want fault.NoSpace", err)
			}
			if stored, err := r.UploadOffset(bg, "app", id); err != nil || stored != offset {
				t.Fatalf("the append said %d, the session says %d (%v)", offset, stored, err)
			}
			disk.room = 1 << 30
			if _, err := r.CommitUpload(bg, "app", id, offset, strings.NewReader(content[offset:]), dgst); err != nil {
				t.Fatalf("with room again, from offset %d: %v", offset, err)
			}
			if d, err := r.StatBlob(bg, "app", dgst); err != nil || d.Size != int64(len(content)) {
				t.Errorf("blob %+v, error %v", d, err)
			}
		})
	}
}

// A transaction that fails at the very end of an upload leaves the session as it
// was, for the client to finish when there is room again.
func TestUploadSurvivesFailedCommit(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 20_000)
	dgst := oci.FromBytes(oci.SHA256, []byte(content))
	dir := t.TempDir()
	db := sqldbtest.SQLite(t)()
	r := openStore(t, db, dir).For(contoso, docker)
	id, err := r.StartUpload(bg, "app")
	if err != nil {
		t.Fatal(err)
	}
	const first = 150_000
	if _, err := r.AppendUpload(bg, "app", id, 0, strings.NewReader(content[:first])); err != nil {
		t.Fatal(err)
	}
	// SQLite takes the limit on pages for a full disk; the trigger makes sure
	// that the row of a content needs some.
	exec := func(statement string) {
		t.Helper()
		err := db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error { _, err := tx.Exec(statement); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TRIGGER large BEFORE INSERT ON content BEGIN INSERT INTO setting VALUES ('large', zeroblob(1000000)); END")
	exec("PRAGMA max_page_count = 1") // no less than there are
	if _, err := r.CommitUpload(bg, "app", id, first, strings.NewReader(content[first:]), dgst); !fault.Is(err, fault.NoSpace) {
		t.Fatalf("error %v, want fault.NoSpace", err)
	}
	exec("PRAGMA max_page_count = 1000000")
	if _, err := r.StatBlob(bg, "app", dgst); !fault.Is(err, fault.NotFound) {
		t.Errorf("the blob is there: %v", err)
	}
	offset, err := r.UploadOffset(bg, "app", id)
	if err != nil || offset != first {
		t.Fatalf("offset %d, %v, want %d", offset, err, first)
	}
	if _, err := r.CommitUpload(bg, "app", id, offset, strings.NewReader(content[offset:]), dgst); err != nil {
		t.Fatalf("with room again: %v", err)
	}
}

// What a repository holds is nobody else's: not another repository's, and not
// the same repository's of another hosted registry.
func TestRegistriesAreApart(t *testing.T) {
	s := openStore(t, sqldbtest.SQLite(t)(), t.TempDir())
	ours := s.For(contoso, docker)
	theirs := s.For(event.Registry{ID: 2, Name: "fabrikam", Location: "local"}, docker)
	config := pushBlob(t, ours, "app", "{}")
	data := image(config)
	if _, err := ours.PutManifest(bg, "app", oci.ManifestPut{Data: data, Tags: []oci.Tag{"v1"}}); err != nil {
		t.Fatal(err)
	}
	id, err := ours.StartUpload(bg, "app")
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"blob":            func() error { _, err := theirs.StatBlob(bg, "app", config.Digest); return err },
		"manifest":        func() error { _, err := theirs.GetManifest(bg, "app", oci.Reference{Tag: "v1"}); return err },
		"mount":           func() error { _, err := theirs.MountBlob(bg, "app", config.Digest, "app"); return err },
		"anonymous mount": func() error { _, err := theirs.MountBlob(bg, "app", config.Digest, ""); return err },
		"upload":          func() error { _, err := theirs.UploadOffset(bg, "app", id); return err },
		"upload of another repository": func() error {
			_, err := ours.UploadOffset(bg, "other", id)
			return err
		},
		"push": func() error {
			_, err := theirs.PutManifest(bg, "app", oci.ManifestPut{Data: data, Tags: []oci.Tag{"v1"}})
			return err
		},
		"delete": func() error { return theirs.DeleteManifest(bg, "app", oci.FromBytes(oci.SHA256, data)) },
	} {
		if err := do(); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: error %v, want fault.NotFound", name, err)
		}
	}
	if repos, _, err := theirs.Repositories(bg, "", 10); err != nil || len(repos) > 0 {
		t.Errorf("the other registry lists %v (%v)", repos, err)
	}
}
