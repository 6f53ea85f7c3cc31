package ocitest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// crowd is how many do the same thing at the same time.
const crowd = 16

var concurrencyTests = []test{
	{"the same blob", func(s *suite) {
		for _, data := range []string{"small", big} {
			dgst := oci.FromBytes(oci.SHA256, []byte(data))
			s.together(func(int) error {
				id, err := s.StartUpload(s.ctx, here)
				if err != nil {
					return err
				}
				half := int64(len(data) / 2)
				if _, err = s.AppendUpload(s.ctx, here, id, 0, strings.NewReader(data[:half])); err != nil {
					return err
				}
				_, err = s.CommitUpload(s.ctx, here, id, half, strings.NewReader(data[half:]), dgst)
				return err
			})
			s.holdsBlob(here, dgst, data)
		}
	}},
	{"the same blob into many repositories", func(s *suite) {
		d := s.upload(there, oci.SHA256, big)
		repo := func(i int) oci.Repository { return oci.Repository(fmt.Sprintf("many/%d", i)) }
		s.together(func(i int) error {
			_, err := s.MountBlob(s.ctx, repo(i), d.Digest, there)
			return err
		})
		for i := range crowd {
			s.holdsBlob(repo(i), d.Digest, big)
		}
	}},
	{"the same manifest under the same tag", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c, "image")
		s.together(func(int) error {
			_, err := s.PutManifest(s.ctx, here, oci.ManifestPut{MediaType: m.MediaType, Data: m.data, Tags: []oci.Tag{"latest"}})
			return err
		})
		s.holdsManifest(here, byTag("latest"), m)
		s.tagsAre(here, "latest")
	}},
	{"many manifests under the same tag", func(s *suite) {
		c := newContents(s, oci.SHA256)
		var images []manifest
		var names []string
		for i := range crowd {
			name := fmt.Sprintf("image-%d", i)
			images, names = append(images, c.image(name)), append(names, name)
		}
		s.push(here, c, names...)
		s.together(func(i int) error {
			_, err := s.PutManifest(s.ctx, here, oci.ManifestPut{MediaType: images[i].MediaType, Data: images[i].data, Tags: []oci.Tag{"latest"}})
			return err
		})
		for _, m := range images {
			s.holdsManifest(here, byDigest(m.Digest), m)
		}
		got, err := s.GetManifest(s.ctx, here, byTag("latest"))
		s.ok(err)
		if !slices.ContainsFunc(images, func(m manifest) bool { return m.Digest == got.Descriptor.Digest }) {
			s.Errorf("the tag names %s, which nobody pushed", got.Descriptor.Digest)
		}
		s.tagsAre(here, "latest")
	}},
	{"whole images into a new repository", func(s *suite) {
		c := newContents(s, oci.SHA256)
		for i := range crowd {
			c.image(fmt.Sprintf("image-%d", i))
		}
		s.together(func(i int) error {
			name := fmt.Sprintf("image-%d", i)
			for _, blob := range []string{name + "-config", name + "-layer"} {
				id, err := s.StartUpload(s.ctx, here)
				if err != nil {
					return err
				}
				if _, err := s.CommitUpload(s.ctx, here, id, 0, strings.NewReader(c.blobs[blob]), c.described[blob].Digest); err != nil {
					return err
				}
			}
			m := c.manifests[name]
			_, err := s.PutManifest(s.ctx, here, oci.ManifestPut{MediaType: m.MediaType, Data: m.data, Tags: []oci.Tag{oci.Tag(name)}})
			return err
		})
		for i := range crowd {
			name := fmt.Sprintf("image-%d", i)
			s.holdsManifest(here, byTag(oci.Tag(name)), c.manifests[name])
		}
	}},
	{"the same chunk of one upload", func(s *suite) {
		id := s.start(here)
		first := big[:200_000]
		var mu sync.Mutex
		taken := 0
		s.together(func(int) error {
			_, err := s.AppendUpload(s.ctx, here, id, 0, strings.NewReader(first))
			if fault.Is(err, fault.Conflict) || fault.Is(err, fault.OutOfRange) {
				return nil // another was first
			}
			mu.Lock()
			defer mu.Unlock()
			taken++
			return err
		})
		if taken != 1 {
			s.Errorf("%d of %d chunks for the same place were taken", taken, crowd)
		}
		dgst := oci.FromBytes(oci.SHA256, []byte(big))
		s.commit(here, id, int64(len(first)), big[len(first):], dgst)
		s.holdsBlob(here, dgst, big)
	}},
}

// together calls f crowd times at once; every call must succeed.
func (s *suite) together(f func(i int) error) {
	s.Helper()
	start := make(chan struct{})
	errs := make([]error, crowd)
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			s.Errorf("number %d of %d: %v", i, crowd, err)
		}
	}
}
