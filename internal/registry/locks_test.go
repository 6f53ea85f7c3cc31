package registry_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// attribute returns a change of one attribute.
func attribute(name string, on bool) (c oci.AttributesChange) {
	switch name {
	case "delete":
		c.Delete = &on
	case "write":
		c.Write = &on
	case "read":
		c.Read = &on
	case "list":
		c.List = &on
	}
	return c
}

// subject is what the image of a sample is about; it need not be there.
var subject = oci.FromBytes(oci.SHA256, []byte("something else"))

// sample is a repository with one image, which has a tag and a subject.
type sample struct {
	r      oci.Contents
	repo   oci.Repository
	config oci.Descriptor
	data   []byte
	digest oci.Digest
}

// about returns an image with a subject, and with an annotation that tells it from
// others.
func about(config oci.Descriptor, note string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[],"subject":{"mediaType":%[1]q,"digest":%[5]q,"size":1},"annotations":{"note":%[6]q}}`,
		oci.MediaTypeImageManifest, oci.MediaTypeImageConfig, config.Digest, config.Size, subject, note)
}

func newSample(t *testing.T, r oci.Contents, repo oci.Repository) *sample {
	t.Helper()
	s := &sample{r: r, repo: repo}
	s.config = pushBlob(t, r, repo, "config of "+string(repo))
	s.data = about(s.config, "first")
	s.digest = oci.FromBytes(oci.SHA256, s.data)
	if err := s.push(s.data, "v1"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sample) push(data []byte, tags ...oci.Tag) error {
	_, err := s.r.PutManifest(bg, s.repo, oci.ManifestPut{Data: data, Tags: tags})
	return err
}

// set changes an attribute of the repository, the manifest or the tag.
func (s *sample) set(of, name string, on bool) (is oci.Attributes, err error) {
	switch of {
	case "repository":
		d, err := s.r.SetRepositoryAttributes(bg, s.repo, attribute(name, on))
		return d.Attributes, err
	case "manifest":
		d, err := s.r.SetManifestAttributes(bg, s.repo, s.digest, attribute(name, on))
		return d.Attributes, err
	}
	d, err := s.r.SetTagAttributes(bg, s.repo, "v1", attribute(name, on))
	return d.Attributes, err
}

// held counts what a repository has, and the events that tell of it.
func held(t *testing.T, db *sqldb.DB, repo oci.Repository) string {
	t.Helper()
	var n [5]int
	err := db.Read(bg, func(tx *sqldb.Tx) error {
		return tx.Get(`SELECT (SELECT count(*) FROM manifest WHERE repository = r.id), (SELECT count(*) FROM tag WHERE repository = r.id),
			(SELECT count(*) FROM blob_link WHERE repository = r.id), (SELECT count(*) FROM upload WHERE repository = $1),
			(SELECT count(*) FROM event WHERE repository = $1) FROM repository r WHERE name = $1`,
			[]any{string(repo)}, &n[0], &n[1], &n[2], &n[3], &n[4])
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d manifests, %d tags, %d links, %d uploads, %d events", n[0], n[1], n[2], n[3], n[4])
}

// errHidden says that something is not in a list.
var errHidden = errors.New("it is not listed")

func listed[T comparable](items []T, want T, err error) error {
	if err == nil && !slices.Contains(items, want) {
		return errHidden
	}
	return err
}

// operations are what can be done with a sample, and what keeps it from being done:
// the thing and its attribute that is off.
var operations = []struct {
	name   string
	stops  string
	do     func(t *testing.T, s *sample) error
	wanted error // nil: a refusal with DISALLOWED
}{
	{"start an upload", "", func(t *testing.T, s *sample) error { _, err := s.r.StartUpload(bg, s.repo); return err }, nil},
	{"push a part of a blob", "repository.write", func(t *testing.T, s *sample) error {
		id, err := s.r.StartUpload(bg, s.repo)
		if err == nil {
			_, err = s.r.AppendUpload(bg, s.repo, id, 0, strings.NewReader("part"))
		}
		return err
	}, nil},
	{"push a blob", "repository.write", func(t *testing.T, s *sample) error {
		id, err := s.r.StartUpload(bg, s.repo)
		if err == nil {
			_, err = s.r.CommitUpload(bg, s.repo, id, 0, strings.NewReader("blob"), oci.FromBytes(oci.SHA256, []byte("blob")))
		}
		return err
	}, nil},
	{"mount into", "repository.write", func(t *testing.T, s *sample) error {
		_, err := s.r.MountBlob(bg, s.repo, oci.FromBytes(oci.SHA256, []byte("base")), "base")
		return err
	}, nil},
	{"mount from", "repository.read", func(t *testing.T, s *sample) error {
		_, err := s.r.MountBlob(bg, s.repo+"/other", s.config.Digest, s.repo)
		return err
	}, errors.New(oci.CodeBlobUnknown)},
	{"mount from anywhere", "repository.read", func(t *testing.T, s *sample) error {
		_, err := s.r.MountBlob(bg, s.repo+"/other", s.config.Digest, "")
		return err
	}, errors.New(oci.CodeBlobUnknown)},
	{"push an image", "repository.write", func(t *testing.T, s *sample) error { return s.push(about(s.config, "new"), "v2") }, nil},
	{"push an image by digest", "repository.write", func(t *testing.T, s *sample) error { return s.push(about(s.config, "new")) }, nil},
	{"push again by digest", "repository.write manifest.write", func(t *testing.T, s *sample) error { return s.push(s.data) }, nil},
	{"push again to another tag", "repository.write manifest.write", func(t *testing.T, s *sample) error { return s.push(s.data, "v2") }, nil},
	{"push again to its tag", "repository.write manifest.write tag.write", func(t *testing.T, s *sample) error { return s.push(s.data, "v1") }, nil},
	{"move the tag", "repository.write tag.write", func(t *testing.T, s *sample) error { return s.push(about(s.config, "new"), "v1") }, nil},
	{"move the tag among others", "repository.write tag.write", func(t *testing.T, s *sample) error { return s.push(about(s.config, "new"), "v0", "v1", "v2") }, nil},
	{"open the blob", "repository.read", func(t *testing.T, s *sample) error {
		b, err := s.r.OpenBlob(bg, s.repo, s.config.Digest)
		if err == nil {
			err = b.Content.Close()
		}
		return err
	}, nil},
	{"stat the blob", "repository.read", func(t *testing.T, s *sample) error { _, err := s.r.StatBlob(bg, s.repo, s.config.Digest); return err }, nil},
	{"read by tag", "repository.read manifest.read tag.read", func(t *testing.T, s *sample) error {
		_, err := s.r.GetManifest(bg, s.repo, oci.Reference{Tag: "v1"})
		return err
	}, nil},
	{"read by digest", "repository.read manifest.read", func(t *testing.T, s *sample) error {
		_, err := s.r.GetManifest(bg, s.repo, oci.Reference{Digest: s.digest})
		return err
	}, nil},
	{"delete the blob", "repository.delete repository.write", func(t *testing.T, s *sample) error { return s.r.DeleteBlob(bg, s.repo, s.config.Digest) }, nil},
	{"delete the tag", "repository.delete repository.write tag.delete tag.write", func(t *testing.T, s *sample) error {
		_, err := s.r.DeleteTag(bg, s.repo, "v1")
		return err
	}, nil},
	{"delete the manifest", "repository.delete repository.write manifest.delete manifest.write tag.delete tag.write",
		func(t *testing.T, s *sample) error { return s.r.DeleteManifest(bg, s.repo, s.digest) }, nil},
	{"delete the repository", "repository.delete repository.write manifest.delete manifest.write tag.delete tag.write",
		func(t *testing.T, s *sample) error { _, err := s.r.DeleteRepository(bg, s.repo); return err }, nil},

	{"list repositories", "repository.list", func(t *testing.T, s *sample) error {
		repos, _, err := s.r.Repositories(bg, "", 0)
		return listed(repos, s.repo, err)
	}, errHidden},
	{"list tags", "tag.list", func(t *testing.T, s *sample) error {
		tags, _, err := s.r.Tags(bg, s.repo, "", 0)
		return listed(tags, "v1", err)
	}, errHidden},
	{"list details of tags", "tag.list", func(t *testing.T, s *sample) error {
		details, _, err := s.r.DescribeTags(bg, s.repo, "", oci.DetailsPage{})
		var tags []oci.Tag
		for _, d := range details {
			tags = append(tags, d.Name)
		}
		return listed(tags, "v1", err)
	}, errHidden},
	{"list details of manifests", "manifest.list", func(t *testing.T, s *sample) error {
		details, _, err := s.r.DescribeManifests(bg, s.repo, oci.DetailsPage{})
		var digests []oci.Digest
		for _, d := range details {
			digests = append(digests, d.Digest)
		}
		return listed(digests, s.digest, err)
	}, errHidden},
	{"list tags of the manifest", "tag.list", func(t *testing.T, s *sample) error {
		d, err := s.r.DescribeManifest(bg, s.repo, s.digest)
		return listed(d.Tags, "v1", err)
	}, errHidden},
	{"list referrers", "manifest.list repository.read", func(t *testing.T, s *sample) error {
		refs, _, err := s.r.Referrers(bg, s.repo, subject, "", "", 0)
		var digests []oci.Digest
		for _, d := range refs {
			digests = append(digests, d.Digest)
		}
		return listed(digests, s.digest, err)
	}, errHidden},
	{"describe", "", func(t *testing.T, s *sample) error {
		_, err := s.r.DescribeRepository(bg, s.repo)
		_, ofTag := s.r.DescribeTag(bg, s.repo, "v1")
		_, ofManifest := s.r.DescribeManifest(bg, s.repo, s.digest)
		return errors.Join(err, ofTag, ofManifest)
	}, nil},
}

// TestLocks tries every operation with every attribute off of every thing. What is
// refused changes nothing and rings nothing, and goes well once the attribute is on
// again.
func TestLocks(t *testing.T) {
	if raceEnabled {
		t.Skip("thousands of requests, one after the other: the detector sees nothing in it; scripts/test.sh runs it without")
	}
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db := open()
		r := openStore(t, db, t.TempDir()).For(contoso, docker)
		pushBlob(t, r, "base", "base")
		number := 0
		for _, op := range operations {
			stops := strings.Fields(op.stops)
			for _, of := range []string{"repository", "manifest", "tag"} {
				for _, name := range []string{"delete", "write", "read", "list"} {
					cell := fmt.Sprintf("%s, %s of %s is off", op.name, name, of)
					number++
					s := newSample(t, r, oci.Repository(fmt.Sprint("sample", number)))
					counts := held(t, db, s.repo)
					if is, err := s.set(of, name, false); err != nil || is == (oci.Attributes{Delete: true, Write: true, Read: true, List: true}) {
						t.Fatalf("%s: %+v, %v", cell, is, err)
					}
					if is := held(t, db, s.repo); is != counts {
						t.Fatalf("%s: the change of an attribute left %s of %s", cell, is, counts)
					}
					err := op.do(t, s)
					if !slices.Contains(stops, of+"."+name) {
						if err != nil {
							t.Errorf("%s: %v", cell, err)
						}
						continue
					}
					switch {
					case op.wanted == errHidden:
						if err != errHidden {
							t.Errorf("%s: %v, want %v", cell, err, errHidden)
						}
					case op.wanted != nil:
						if f := fault.As(err); f == nil || f.Code != op.wanted.Error() || f.Kind != fault.NotFound {
							t.Errorf("%s: %v, want %v", cell, err, op.wanted)
						}
					default:
						named := map[string]string{"repository": "repository " + string(s.repo), "manifest": "manifest " + string(s.digest), "tag": "tag v1"}[of]
						f := fault.As(err)
						if f == nil || f.Code != oci.CodeDisallowed || f.Kind != fault.Unsupported || !strings.Contains(f.Message, named) || !strings.Contains(f.Message, name+"Enabled is off") {
							t.Errorf("%s: %v", cell, err)
						}
					}
					if after := held(t, db, s.repo); after != counts {
						t.Errorf("%s: rows before %s, after %s", cell, counts, after)
					}
					if is, err := s.set(of, name, true); err != nil || is != (oci.Attributes{Delete: true, Write: true, Read: true, List: true}) {
						t.Fatalf("%s: on again: %+v, %v", cell, is, err)
					}
					if err := op.do(t, s); err != nil {
						t.Errorf("%s: on again: %v", cell, err)
					}
				}
			}
		}
	})
}

// TestLocksAreOnesOwn sees that attributes are changed one by one, and stay with
// what they were set on.
func TestLocksAreOnesOwn(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		r := openStore(t, open(), t.TempDir()).For(contoso, docker)
		s := newSample(t, r, "app")
		other := about(s.config, "other")
		if err := s.push(other, "v2"); err != nil {
			t.Fatal(err)
		}
		off := false
		for _, step := range []struct {
			change oci.AttributesChange
			want   oci.Attributes
		}{
			{oci.AttributesChange{}, oci.Attributes{Delete: true, Write: true, Read: true, List: true}},
			{attribute("write", false), oci.Attributes{Delete: true, Read: true, List: true}},
			{attribute("list", false), oci.Attributes{Delete: true, Read: true}},
			{oci.AttributesChange{Delete: &off, Read: &off}, oci.Attributes{}},
			{attribute("read", true), oci.Attributes{Read: true}},
			{oci.AttributesChange{}, oci.Attributes{Read: true}},
		} {
			if d, err := r.SetTagAttributes(bg, "app", "v1", step.change); err != nil || d.Attributes != step.want {
				t.Errorf("%+v, %v: want %+v", d.Attributes, err, step.want)
			}
		}
		all := oci.Attributes{Delete: true, Write: true, Read: true, List: true}
		if d, err := r.DescribeTag(bg, "app", "v2"); err != nil || d.Attributes != all {
			t.Errorf("the other tag: %+v, %v", d, err)
		}
		if d, err := r.DescribeManifest(bg, "app", s.digest); err != nil || d.Attributes != all {
			t.Errorf("the manifest: %+v, %v", d, err)
		}
		if d, err := r.DescribeRepository(bg, "app"); err != nil || d.Attributes != all || d.ManifestCount != 2 || d.TagCount != 2 {
			t.Errorf("the repository: %+v, %v", d, err)
		}
		for what, err := range map[string]error{
			oci.CodeNameUnknown:     second(r.SetRepositoryAttributes(bg, "none", attribute("write", false))),
			oci.CodeTagUnknown:      second(r.SetTagAttributes(bg, "app", "none", attribute("write", false))),
			oci.CodeManifestUnknown: second(r.SetManifestAttributes(bg, "app", subject, attribute("write", false))),
		} {
			if fault.As(err) == nil || fault.As(err).Code != what {
				t.Errorf("%v, want %s", err, what)
			}
		}
		if err := second(r.SetTagAttributes(bg, "none", "v1", attribute("write", false))); fault.As(err) == nil || fault.As(err).Code != oci.CodeNameUnknown {
			t.Errorf("a tag of no repository: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// TestLockAgainstPushes locks while others push and delete, on PostgreSQL at two
// nodes: once the lock is answered, nothing that it forbids happens any more,
// whoever had begun, and whoever begins later is refused.
func TestLockAgainstPushes(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		db, blobs := open(), t.TempDir()
		nodes := []oci.Contents{openStore(t, db, blobs).For(contoso, docker)}
		if db.Dialect() == "postgres" {
			nodes = append(nodes, openStore(t, open(), blobs).For(contoso, docker))
		}
		for round, of := range []string{"repository", "tag", "manifest", "repository", "tag", "manifest"} {
			s := newSample(t, nodes[0], oci.Repository(fmt.Sprint("round", round)))
			// What the workers do, all of which the lock forbids.
			changes := []func(s *sample, data []byte) error{
				func(s *sample, _ []byte) error { return s.push(s.data, "v1") },
				func(s *sample, _ []byte) error { return s.push(s.data, "v2", "v1") },
			}
			if of != "manifest" {
				changes = append(changes, func(s *sample, data []byte) error { return s.push(data, "v1") })
			}
			if of == "repository" {
				changes = append(changes,
					func(s *sample, data []byte) error { return s.push(data, "v3") },
					func(s *sample, _ []byte) error { return second(s.r.DeleteTag(bg, s.repo, "v3")) },
					func(s *sample, data []byte) error {
						if err := s.push(data); err != nil {
							return err
						}
						return s.r.DeleteManifest(bg, s.repo, oci.FromBytes(oci.SHA256, data))
					})
			}
			var locked atomic.Bool
			var workers sync.WaitGroup
			done := make(chan struct{}, 1000)
			for w := range 6 {
				workers.Go(func() {
					random := rand.New(rand.NewPCG(uint64(round), uint64(w)))
					mine := *s
					mine.r = nodes[w%len(nodes)]
					for n, late := 0, 0; late < 5; n++ {
						was := locked.Load()
						err := changes[random.IntN(len(changes))](&mine, about(s.config, fmt.Sprint(w, n)))
						if was {
							late++
						}
						if was && !isDisallowed(err) || err != nil && !isDisallowed(err) && !fault.Is(err, fault.NotFound) {
							t.Errorf("round %d, %s: a change that began with the lock %t: %v", round, of, was, err)
						}
						select {
						case done <- struct{}{}:
						default:
						}
					}
				})
			}
			for range 20 + 5*round {
				<-done
			}
			far := *s
			far.r = nodes[len(nodes)-1]
			if _, err := far.set(of, "write", false); err != nil {
				t.Error(err)
			}
			before := s.state(t)
			locked.Store(true)
			if err := second(s.r.DeleteRepository(bg, s.repo)); !isDisallowed(err) {
				t.Errorf("round %d, %s locked: the repository is deleted: %v", round, of, err)
			}
			workers.Wait()
			if after := s.state(t); after != before {
				t.Errorf("round %d: locked:\n%s\nlater:\n%s", round, before, after)
			}
		}
	})
}

// state is all that is known of a sample's tag, manifest and repository.
func (s *sample) state(t *testing.T) string {
	t.Helper()
	repository, err := s.r.DescribeRepository(bg, s.repo)
	tag, ofTag := s.r.DescribeTag(bg, s.repo, "v1")
	manifest, ofManifest := s.r.DescribeManifest(bg, s.repo, s.digest)
	if err := errors.Join(err, ofTag, ofManifest); err != nil {
		t.Error(err)
	}
	return fmt.Sprintf("%+v\n%+v\n%+v", repository, tag, manifest)
}

func isDisallowed(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && f.Code == oci.CodeDisallowed
}
