// Package ocitest is the contract of oci.Registry as a test: Run holds for every
// stack of implementations, from the one on a database to an HTTP client in front
// of an HTTP server. It also has Memory, the model of the contract, and Client,
// the way through HTTP.
//
// It leaves to package ociserver's own tests what the interface cannot show:
// headers, ranges, status codes.
package ocitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// Run checks a registry. open returns an empty registry whose caller may do
// everything; it is called once for each test, and the tests run in parallel.
func Run(t *testing.T, open func(t *testing.T) oci.Registry) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"blobs", blobTests},
		{"uploads", uploadTests},
		{"manifests", manifestTests},
		{"referrers", referrerTests},
		{"lists", listTests},
		{"deletes", deleteTests},
		{"concurrency", concurrencyTests},
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(&suite{t, t.Context(), open(t)})
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*suite)
}

// suite is one test on its registry.
type suite struct {
	*testing.T
	ctx context.Context
	oci.Registry
}

// Repositories of the tests. A name with every separator is as good as any.
const (
	here   oci.Repository = "team/web-frontend_2.x"
	there  oci.Repository = "other"
	absent oci.Repository = "never/pushed"
)

// in runs a part of the test under a name of its own.
func (s *suite) in(name string, f func(*suite)) {
	s.Run(name, func(t *testing.T) { f(&suite{t, s.ctx, s.Registry}) })
}

// ok fails the test at once on an error that was not expected.
func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("unexpected error: %v", err)
	}
}

// refused checks that err is a fault of a kind with one of the codes, and says
// something.
func (s *suite) refused(err error, kind fault.Kind, codes ...string) {
	s.Helper()
	var f *fault.Error
	switch {
	case err == nil:
		s.Errorf("succeeded: want refusal %v", codes)
	case !errors.As(err, &f):
		s.Errorf("error %v is no fault: want %v", err, codes)
	case f.Kind != kind || !slices.Contains(codes, f.Code):
		s.Errorf("refused as %v (%v): %s; want one of %v (%v)", f.Code, f.Kind, f.Message, codes, kind)
	case f.Message == "":
		s.Errorf("refused as %s without a word", f.Code)
	}
}

// upload pushes content by one commit.
func (s *suite) upload(repo oci.Repository, algorithm, data string) oci.Descriptor {
	s.Helper()
	dgst := oci.FromBytes(algorithm, []byte(data))
	id, err := s.StartUpload(s.ctx, repo)
	s.ok(err)
	d, err := s.CommitUpload(s.ctx, repo, id, 0, strings.NewReader(data), dgst)
	s.ok(err)
	s.sameDescriptor(d, blobDescriptor(dgst, int64(len(data))))
	return d
}

// append adds a chunk that must be taken.
func (s *suite) append(repo oci.Repository, id oci.UploadID, at int64, data string, want int64) {
	s.Helper()
	offset, err := s.AppendUpload(s.ctx, repo, id, at, strings.NewReader(data))
	s.ok(err)
	if offset != want {
		s.Fatalf("offset is %d after the chunk: want %d", offset, want)
	}
}

// holdsBlob checks that a blob can be described and read whole.
func (s *suite) holdsBlob(repo oci.Repository, dgst oci.Digest, data string) {
	s.Helper()
	want := blobDescriptor(dgst, int64(len(data)))
	d, err := s.StatBlob(s.ctx, repo, dgst)
	s.ok(err)
	s.sameDescriptor(d, want)
	blob, err := s.OpenBlob(s.ctx, repo, dgst)
	s.ok(err)
	defer blob.Content.Close()
	s.sameDescriptor(blob.Descriptor, want)
	got, err := io.ReadAll(blob.Content)
	s.ok(err)
	if string(got) != data {
		s.Errorf("blob %s reads as %d other bytes", dgst, len(got))
	}
}

// lacksBlob checks that a blob can be had in no way.
func (s *suite) lacksBlob(repo oci.Repository, dgst oci.Digest) {
	s.Helper()
	_, err := s.StatBlob(s.ctx, repo, dgst)
	s.refused(err, fault.NotFound, oci.CodeBlobUnknown, oci.CodeNameUnknown)
	blob, err := s.OpenBlob(s.ctx, repo, dgst)
	s.refused(err, fault.NotFound, oci.CodeBlobUnknown, oci.CodeNameUnknown)
	if err == nil {
		blob.Content.Close()
	}
}

// put pushes a manifest by tag that must be taken.
func (s *suite) put(repo oci.Repository, m manifest, tags ...oci.Tag) oci.ManifestResult {
	s.Helper()
	put := oci.ManifestPut{MediaType: m.MediaType, Data: m.data, Tags: tags}
	if len(tags) != 1 {
		put.Digest = m.Digest
	}
	result, err := s.PutManifest(s.ctx, repo, put)
	s.ok(err)
	s.sameDescriptor(result.Descriptor, m.Descriptor)
	return result
}

// holdsManifest checks that a manifest can be read under a reference, byte for
// byte.
func (s *suite) holdsManifest(repo oci.Repository, ref oci.Reference, m manifest) {
	s.Helper()
	got, err := s.GetManifest(s.ctx, repo, ref)
	s.ok(err)
	s.sameDescriptor(got.Descriptor, m.Descriptor)
	if !bytes.Equal(got.Data, m.data) {
		s.Errorf("manifest %s reads as\n%s\nwant\n%s", ref, got.Data, m.data)
	}
}

// lacksManifest checks that a reference names nothing.
func (s *suite) lacksManifest(repo oci.Repository, ref oci.Reference) {
	s.Helper()
	_, err := s.GetManifest(s.ctx, repo, ref)
	s.refused(err, fault.NotFound, oci.CodeManifestUnknown, oci.CodeNameUnknown)
}

// sameDescriptor compares what every way of describing content knows.
func (s *suite) sameDescriptor(got, want oci.Descriptor) {
	s.Helper()
	if got.MediaType != want.MediaType || got.Digest != want.Digest || got.Size != want.Size {
		s.Errorf("described as %s %s of %d bytes: want %s %s of %d bytes",
			got.MediaType, got.Digest, got.Size, want.MediaType, want.Digest, want.Size)
	}
}

func byTag(tag oci.Tag) oci.Reference { return oci.Reference{Tag: tag} }

func byDigest(dgst oci.Digest) oci.Reference { return oci.Reference{Digest: dgst} }

// contents is blobs and manifests under names. A manifest refers to what was
// defined before it as @name, in whose place the descriptor is put.
type contents struct {
	t         testing.TB
	algorithm string
	order     []string
	blobs     map[string]string
	manifests map[string]manifest
	described map[string]oci.Descriptor
}

// manifest is a manifest as it is pushed.
type manifest struct {
	oci.Descriptor
	data []byte
}

func newContents(t testing.TB, algorithm string) *contents {
	return &contents{
		t: t, algorithm: algorithm,
		blobs: map[string]string{}, manifests: map[string]manifest{}, described: map[string]oci.Descriptor{},
	}
}

// blob defines a blob.
func (c *contents) blob(name, mediaType, data string) {
	c.blobs[name] = data
	c.define(name, oci.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(c.algorithm, []byte(data)), Size: int64(len(data))})
}

// elsewhere defines content that is referred to and never pushed.
func (c *contents) elsewhere(name string, d oci.Descriptor) {
	d.Digest, d.Size = oci.FromBytes(c.algorithm, []byte(name)), 4096
	c.described[name] = d
}

var symbol = regexp.MustCompile(`@[a-z0-9-]+`)

// manifest defines a manifest.
func (c *contents) manifest(name, mediaType, template string) manifest {
	c.t.Helper()
	data := symbol.ReplaceAllFunc([]byte(template), func(symbol []byte) []byte {
		d, ok := c.described[string(symbol[1:])]
		if !ok {
			c.t.Fatalf("%s is not defined before %s", symbol, name)
		}
		text, err := json.Marshal(d)
		if err != nil {
			c.t.Fatal(err)
		}
		return text
	})
	m := manifest{oci.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(c.algorithm, data), Size: int64(len(data))}, data}
	c.manifests[name] = m
	c.define(name, m.Descriptor)
	return m
}

func (c *contents) define(name string, d oci.Descriptor) {
	c.order = append(c.order, name)
	c.described[name] = d
}

// push pushes everything in the order of definition, except what is named.
func (s *suite) push(repo oci.Repository, c *contents, except ...string) {
	s.Helper()
	for _, name := range c.order {
		if slices.Contains(except, name) {
			continue
		}
		if m, ok := c.manifests[name]; ok {
			s.put(repo, m)
		} else {
			s.upload(repo, c.algorithm, c.blobs[name])
		}
	}
}

// Media types that are only content here.
const (
	typeConfig       = "application/vnd.oci.image.config.v1+json"
	typeLayer        = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeNonDist      = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	typeDockerConfig = "application/vnd.docker.container.image.v1+json"
	typeDockerLayer  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	typeForeign      = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	typeSBOM         = "application/vnd.example.sbom"
	typeSignature    = "application/vnd.example.signature"
)

// image defines a small image, made different by its name, and what it is made
// of.
func (c *contents) image(name string) manifest {
	c.t.Helper()
	c.blob(name+"-config", typeConfig, `{"architecture":"amd64","os":"linux","for":"`+name+`"}`)
	c.blob(name+"-layer", typeLayer, "the layer of "+name)
	return c.manifest(name, oci.MediaTypeImageManifest,
		`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeImageManifest+`","config":@`+name+`-config,"layers":[@`+name+`-layer]}`)
}

// referrer defines an artifact that refers to subject.
func (c *contents) referrer(name, subject, artifactType string) manifest {
	c.t.Helper()
	if _, ok := c.described["empty"]; !ok {
		c.blob("empty", oci.MediaTypeEmptyJSON, "{}")
	}
	return c.manifest(name, oci.MediaTypeImageManifest,
		`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeImageManifest+`","artifactType":"`+artifactType+
			`","config":@empty,"layers":[@empty],"subject":@`+subject+`,"annotations":{"org.example.name":"`+name+`"}}`)
}
