package ocitest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

var listTests = []test{
	{"tags of an unknown repository", func(s *suite) {
		_, _, err := s.Tags(s.ctx, absent, "", 0)
		s.refused(err, fault.NotFound, oci.CodeNameUnknown)
	}},
	{"no tags", func(s *suite) {
		c := newContents(s, oci.SHA256)
		c.image("image")
		s.push(here, c)
		s.tagsAre(here)
	}},
	{"tags are in byte order", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c)
		for _, tag := range []oci.Tag{"b", "a", "_", "B", "10", "9", "a.b", "a-b", "a_b", "aa"} {
			s.put(here, m, tag)
		}
		s.tagsAre(here, "10", "9", "B", "_", "a", "a-b", "a.b", "a_b", "aa", "b")
	}},
	{"tags by pages", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c, "image")
		s.put(here, m, "a", "b", "c", "d", "e")
		s.push(there, c, "image")
		s.put(there, m, "aa", "z")
		list := func(last string, n int) ([]oci.Tag, bool, error) { return s.Tags(s.ctx, here, last, n) }
		checkPages(s, list, []oci.Tag{"a", "b", "c", "d", "e"})
		for last, want := range map[string][]oci.Tag{
			"A": {"a", "b", "c", "d", "e"}, "bb": {"c", "d", "e"}, "e": {}, "f": {},
		} {
			got, more, err := list(last, 10)
			s.ok(err)
			if !slices.Equal(got, want) || more {
				s.Errorf("after %q come %q (more: %v): want %q", last, got, more, want)
			}
		}
	}},
	{"no repositories", func(s *suite) {
		repos, more, err := s.Repositories(s.ctx, "", 0)
		s.ok(err)
		if len(repos) != 0 || more {
			s.Errorf("an empty registry lists %q (more: %v)", repos, more)
		}
	}},
	{"repositories by pages", func(s *suite) {
		names := []oci.Repository{"b", "a/b/c", "a", "a-b", "a0", "a/b"}
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		for _, name := range names {
			s.push(name, c)
			s.put(name, m, "v1")
		}
		slices.Sort(names)
		checkPages(s, func(last string, n int) ([]oci.Repository, bool, error) { return s.Repositories(s.ctx, last, n) }, names)
	}},
}

var referrerTests = []test{
	{"of what nobody refers to", func(s *suite) {
		nothing := oci.FromBytes(oci.SHA256, nil)
		s.referrersAre(absent, nothing, "")
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c)
		s.referrersAre(here, nothing, "")
		s.referrersAre(here, m.Digest, "")
		s.referrersAre(here, m.Digest, typeSBOM)
	}},
	{"by type", func(s *suite) {
		for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
			c := newContents(s, algorithm)
			image := c.image("image")
			other := c.image("other")
			sbom := described(c.referrer("sbom", "image", typeSBOM), typeSBOM, "sbom")
			signature := described(c.referrer("signature", "image", typeSignature), typeSignature, "signature")
			second := described(c.referrer("signature-2", "image", typeSignature), typeSignature, "signature-2")
			chained := described(c.referrer("signature-of-sbom", "sbom", typeSignature), typeSignature, "signature-of-sbom")
			s.push(here, c)

			s.referrersAre(here, image.Digest, "", sbom, signature, second)
			s.referrersAre(here, image.Digest, typeSBOM, sbom)
			s.referrersAre(here, image.Digest, typeSignature, signature, second)
			s.referrersAre(here, image.Digest, "application/vnd.example.none")
			s.referrersAre(here, sbom.Digest, "", chained)
			s.referrersAre(here, other.Digest, "")
			s.referrersAre(there, image.Digest, "")
		}
	}},
	{"where the type comes from", func(s *suite) {
		c := newContents(s, oci.SHA256)
		image := c.image("image")
		c.blob("config", typeConfig, "{}")
		fromConfig := c.manifest("from-config", oci.MediaTypeImageManifest,
			`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeImageManifest+`","config":@config,"layers":[],"subject":@image}`)
		index := c.manifest("index", oci.MediaTypeImageIndex,
			`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeImageIndex+`","manifests":[],"subject":@image}`)
		typed := c.manifest("typed-index", oci.MediaTypeImageIndex,
			`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeImageIndex+`","artifactType":"`+typeSBOM+`","manifests":[],"subject":@image}`)
		s.push(here, c)
		s.referrersAre(here, image.Digest, "",
			described(fromConfig, typeConfig, ""), described(index, "", ""), described(typed, typeSBOM, ""))
		s.referrersAre(here, image.Digest, typeConfig, described(fromConfig, typeConfig, ""))
		s.referrersAre(here, image.Digest, typeSBOM, described(typed, typeSBOM, ""))
	}},
	{"pushed before their subject, and kept after it", func(s *suite) {
		c := newContents(s, oci.SHA256)
		image := c.image("image")
		sbom := described(c.referrer("sbom", "image", typeSBOM), typeSBOM, "sbom")
		s.push(here, c, "image")
		s.referrersAre(here, image.Digest, "", sbom)
		s.put(here, image, "v1")
		s.referrersAre(here, image.Digest, "", sbom)
		s.ok(s.DeleteManifest(s.ctx, here, image.Digest))
		s.referrersAre(here, image.Digest, "", sbom)
		s.ok(s.DeleteManifest(s.ctx, here, sbom.Digest))
		s.referrersAre(here, image.Digest, "")
	}},
	{"pushed twice", func(s *suite) {
		c := newContents(s, oci.SHA256)
		image := c.image("image")
		m := c.referrer("sbom", "image", typeSBOM)
		s.push(here, c)
		s.put(here, m, "sbom")
		s.referrersAre(here, image.Digest, "", described(m, typeSBOM, "sbom"))
	}},
	{"by pages", func(s *suite) {
		c := newContents(s, oci.SHA256)
		image := c.image("image")
		var all, signatures []oci.Digest
		for i := range 7 {
			artifactType := typeSBOM
			if i%2 == 0 {
				artifactType = typeSignature
			}
			m := c.referrer(fmt.Sprintf("referrer-%d", i), "image", artifactType)
			all = append(all, m.Digest)
			if i%2 == 0 {
				signatures = append(signatures, m.Digest)
			}
		}
		s.push(here, c)
		slices.Sort(all)
		slices.Sort(signatures)
		for artifactType, want := range map[string][]oci.Digest{"": all, typeSignature: signatures} {
			checkPages(s, func(last string, n int) ([]oci.Digest, bool, error) {
				refs, more, err := s.Referrers(s.ctx, here, image.Digest, artifactType, last, n)
				var digests []oci.Digest
				for _, ref := range refs {
					digests = append(digests, ref.Digest)
				}
				return digests, more, err
			}, want)
		}
	}},
}

var deleteTests = []test{
	{"blob", func(s *suite) {
		for _, data := range []string{"small", big} {
			d := s.upload(here, oci.SHA256, data)
			s.upload(there, oci.SHA256, data)
			s.ok(s.DeleteBlob(s.ctx, here, d.Digest))
			s.lacksBlob(here, d.Digest)
			s.holdsBlob(there, d.Digest, data)
			s.refused(s.DeleteBlob(s.ctx, here, d.Digest), fault.NotFound, oci.CodeBlobUnknown, oci.CodeNameUnknown)
			s.upload(here, oci.SHA256, data)
			s.holdsBlob(here, d.Digest, data)
		}
	}},
	{"manifest, and with it its tags", func(s *suite) {
		c := newContents(s, oci.SHA256)
		one, two := c.image("one"), c.image("two")
		s.push(here, c, "one", "two")
		s.put(here, one, "v1", "latest")
		s.put(here, two, "v2")
		s.ok(s.DeleteManifest(s.ctx, here, one.Digest))
		s.lacksManifest(here, byDigest(one.Digest))
		s.lacksManifest(here, byTag("v1"))
		s.lacksManifest(here, byTag("latest"))
		s.tagsAre(here, "v2")
		s.holdsManifest(here, byTag("v2"), two)
		s.refused(s.DeleteManifest(s.ctx, here, one.Digest), fault.NotFound, oci.CodeManifestUnknown)
		s.put(here, one, "v1") // its blobs are still there
		s.holdsManifest(here, byTag("v1"), one)
		s.lacksManifest(here, byTag("latest"))
	}},
	{"tag, and not its manifest", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c, "image")
		s.put(here, m, "v1", "latest")
		s.untags(here, "v1", m.Digest)
		s.lacksManifest(here, byTag("v1"))
		s.holdsManifest(here, byTag("latest"), m)
		s.untags(here, "latest", m.Digest)
		s.holdsManifest(here, byDigest(m.Digest), m)
		s.tagsAre(here)
		_, err := s.DeleteTag(s.ctx, here, "v1")
		s.refused(err, fault.NotFound, oci.CodeManifestUnknown)
	}},
	{"everything, from the top", func(s *suite) {
		c := everyType(s, oci.SHA256)
		s.push(here, c)
		for _, name := range slices.Backward(c.order) {
			if m, ok := c.manifests[name]; ok {
				s.ok(s.DeleteManifest(s.ctx, here, m.Digest))
				s.lacksManifest(here, byDigest(m.Digest))
			} else {
				s.ok(s.DeleteBlob(s.ctx, here, c.described[name].Digest))
				s.lacksBlob(here, c.described[name].Digest)
			}
		}
	}},
	{"what is not there", func(s *suite) {
		nothing := oci.FromBytes(oci.SHA256, nil)
		s.upload(here, oci.SHA256, "something")
		for _, repo := range []oci.Repository{here, absent} {
			s.refused(s.DeleteBlob(s.ctx, repo, nothing), fault.NotFound, oci.CodeBlobUnknown, oci.CodeNameUnknown)
			s.refused(s.DeleteManifest(s.ctx, repo, nothing), fault.NotFound, oci.CodeManifestUnknown, oci.CodeNameUnknown)
			_, err := s.DeleteTag(s.ctx, repo, "latest")
			s.refused(err, fault.NotFound, oci.CodeManifestUnknown, oci.CodeNameUnknown)
		}
	}},
}

// tagsAre checks the tags of a repository, which fit into a page.
func (s *suite) tagsAre(repo oci.Repository, want ...oci.Tag) {
	s.Helper()
	tags, more, err := s.Tags(s.ctx, repo, "", 0)
	s.ok(err)
	if !slices.Equal(tags, want) || more {
		s.Errorf("the tags are %q (more: %v): want %q", tags, more, want)
	}
}

// referrersAre checks the referrers of a manifest, which fit into a page.
func (s *suite) referrersAre(repo oci.Repository, subject oci.Digest, artifactType string, want ...oci.Descriptor) {
	s.Helper()
	refs, more, err := s.Referrers(s.ctx, repo, subject, artifactType, "", 0)
	s.ok(err)
	if more {
		s.Errorf("%d referrers do not fit into a page", len(refs))
	}
	slices.SortFunc(want, func(a, b oci.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	if !slices.EqualFunc(refs, want, func(a, b oci.Descriptor) bool {
		return a.MediaType == b.MediaType && a.Digest == b.Digest && a.Size == b.Size &&
			a.ArtifactType == b.ArtifactType && maps.Equal(a.Annotations, b.Annotations)
	}) {
		s.Errorf("the referrers of type %q are\n%v\nwant\n%v", artifactType, refs, want)
	}
}

// described returns the descriptor that a list of referrers has for m.
func described(m manifest, artifactType, name string) oci.Descriptor {
	d := m.Descriptor
	d.ArtifactType = artifactType
	if name != "" {
		d.Annotations = map[string]string{"org.example.name": name}
	}
	return d
}

// checkPages reads a list whole by pages of every size.
func checkPages[T ~string](s *suite, list func(last string, n int) ([]T, bool, error), want []T) {
	s.Helper()
	for n := range len(want) + 2 { // 0 is a page of the registry's size
		var got []T
		for last, more := "", true; more; {
			var page []T
			var err error
			page, more, err = list(last, n)
			s.ok(err)
			if n > 0 && (len(page) > n || more && len(page) < n) {
				s.Fatalf("a page of %d has %d items (more: %v)", n, len(page), more)
			}
			if more && len(page) == 0 {
				s.Fatal("an empty page says that there is more")
			}
			got = append(got, page...)
			if len(got) > len(want) {
				break
			}
			if more {
				last = string(page[len(page)-1])
			}
		}
		if !slices.Equal(got, want) {
			s.Errorf("by pages of %d the list is %q: want %q", n, got, want)
		}
	}
}

// untags deletes a tag of the manifest dgst.
func (s *suite) untags(repo oci.Repository, tag oci.Tag, dgst oci.Digest) {
	s.Helper()
	got, err := s.DeleteTag(s.ctx, repo, tag)
	s.ok(err)
	if got != dgst {
		s.Errorf("deleting tag %s returned %q, not its manifest %s", tag, got, dgst)
	}
}
