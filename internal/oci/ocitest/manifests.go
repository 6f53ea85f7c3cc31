package ocitest

import (
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

var manifestTests = []test{
	{"every type", func(s *suite) {
		for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
			c := everyType(s, algorithm)
			s.push(here, c)
			for name, m := range c.manifests {
				s.in(algorithm+" "+name, func(s *suite) { s.holdsManifest(here, byDigest(m.Digest), m) })
			}
		}
	}},
	{"by tag", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c, "image")
		s.put(here, m, "v1")
		s.holdsManifest(here, byTag("v1"), m)
		s.holdsManifest(here, byDigest(m.Digest), m)
	}},
	{"by digest, without a tag", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c)
		s.holdsManifest(here, byDigest(m.Digest), m)
		s.tagsAre(here)
	}},
	{"by digest, with several tags", func(s *suite) {
		for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
			c := newContents(s, algorithm)
			m := c.image("image")
			s.push(here, c, "image")
			s.put(here, m, "1", "1.2", "1.2.3", "latest")
			for _, tag := range []oci.Tag{"1", "1.2", "1.2.3", "latest"} {
				s.holdsManifest(here, byTag(tag), m)
			}
			s.tagsAre(here, "1", "1.2", "1.2.3", "latest")
		}
	}},
	{"a tag moves", func(s *suite) {
		c := newContents(s, oci.SHA256)
		one, two := c.image("one"), c.image("two")
		s.push(here, c, "one", "two")
		s.put(here, one, "latest")
		s.put(here, one, "v1")
		s.put(here, two, "latest")
		s.holdsManifest(here, byTag("latest"), two)
		s.holdsManifest(here, byTag("v1"), one)
		s.holdsManifest(here, byDigest(one.Digest), one)
		s.put(here, one, "latest") // and back
		s.holdsManifest(here, byTag("latest"), one)
		s.tagsAre(here, "latest", "v1")
	}},
	{"pushed twice", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c)
		s.put(here, m, "v1")
		s.put(here, m, "v1")
		s.put(here, m)
		s.holdsManifest(here, byTag("v1"), m)
	}},
	{"kept byte for byte", func(s *suite) {
		c := newContents(s, oci.SHA256)
		c.blob("config", typeConfig, "{}")
		m := c.manifest("odd", oci.MediaTypeImageManifest,
			"\n{ \"layers\" : [ ] ,\t\"config\": @config, \"org.example.unknown\": {\"Config\": 1, \"config\": 1.50},\r\n"+
				`"annotations":{"a":"\u00e9","A":"é"},"schemaVersion":2,"mediaType":"`+oci.MediaTypeImageManifest+"\"}\n\n")
		s.push(here, c, "odd")
		s.put(here, m, "odd")
		s.holdsManifest(here, byTag("odd"), m)
	}},
	{"a media type with parameters, or none", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c, "image")
		for _, contentType := range []string{"", oci.MediaTypeImageManifest + "; charset=utf-8"} {
			result, err := s.PutManifest(s.ctx, here, oci.ManifestPut{MediaType: contentType, Data: m.data, Tags: []oci.Tag{"v1"}})
			s.ok(err)
			s.sameDescriptor(result.Descriptor, m.Descriptor)
			s.holdsManifest(here, byTag("v1"), m)
		}
	}},
	{"the subject is answered, and may be missing", func(s *suite) {
		c := newContents(s, oci.SHA256)
		c.elsewhere("nowhere", oci.Descriptor{MediaType: oci.MediaTypeImageManifest})
		c.image("image")
		of := map[string]oci.Digest{
			"image":     "",
			"signature": c.described["image"].Digest,
			"orphan":    c.described["nowhere"].Digest,
		}
		c.referrer("signature", "image", typeSignature)
		c.referrer("orphan", "nowhere", typeSignature)
		s.push(here, c, "image", "signature", "orphan")
		for name, want := range of {
			if got := s.put(here, c.manifests[name], "v1").Subject; got != want {
				s.Errorf("the subject of %s is %q: want %q", name, got, want)
			}
		}
	}},
	{"what it refers to must be in the repository", func(s *suite) {
		c := newContents(s, oci.SHA256)
		image := c.image("image")
		index := c.manifest("index", oci.MediaTypeImageIndex,
			`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeImageIndex+`","manifests":[@image]}`)
		s.push(there, c)
		for _, missing := range []string{"image-config", "image-layer"} {
			repo := "lacks/" + oci.Repository(missing)
			s.push(repo, c, missing, "image", "index")
			s.refusedManifest(repo, image, fault.NotFound, oci.CodeManifestBlobUnknown)
		}
		s.push("lacks/image", c, "image", "index")
		s.refusedManifest("lacks/image", index, fault.NotFound, oci.CodeManifestBlobUnknown)
		s.refusedManifest(absent, image, fault.NotFound, oci.CodeManifestBlobUnknown)

		// A blob is no manifest, though its bytes are those of one.
		s.upload("lacks/image", oci.SHA256, string(image.data))
		s.refusedManifest("lacks/image", index, fault.NotFound, oci.CodeManifestBlobUnknown)
	}},
	{"other bytes than the digest says", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c, "image")
		for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
			said := oci.FromBytes(algorithm, []byte("other"))
			_, err := s.PutManifest(s.ctx, here, oci.ManifestPut{MediaType: m.MediaType, Data: m.data, Digest: said, Tags: []oci.Tag{"v1"}})
			s.refused(err, fault.Invalid, oci.CodeDigestInvalid)
			s.lacksManifest(here, byDigest(said))
			s.lacksManifest(here, byTag("v1"))
		}
		s.lacksManifest(here, byDigest(m.Digest))
	}},
	{"not valid", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(here, c, "image")
		text := string(m.data)
		for name, put := range map[string]oci.ManifestPut{
			"empty":             {MediaType: m.MediaType},
			"cut short":         {MediaType: m.MediaType, Data: m.data[:len(m.data)-1]},
			"no object":         {MediaType: m.MediaType, Data: []byte("[]")},
			"another type":      {MediaType: oci.MediaTypeImageIndex, Data: m.data},
			"an unknown type":   {MediaType: "text/plain", Data: []byte(`{"schemaVersion":2}`)},
			"no type":           {Data: []byte(`{"schemaVersion":2,"manifests":[]}`)},
			"schema 1":          {MediaType: m.MediaType, Data: []byte(strings.Replace(text, `"schemaVersion":2`, `"schemaVersion":1`, 1))},
			"a broken digest":   {MediaType: m.MediaType, Data: []byte(strings.Replace(text, "sha256:", "sha256:0", 1))},
			"config twice":      {MediaType: m.MediaType, Data: []byte(strings.Replace(text, `"layers"`, `"config"`, 1))},
			"CONFIG for config": {MediaType: m.MediaType, Data: []byte(strings.Replace(text, `"config"`, `"CONFIG"`, 1))},
		} {
			put.Tags = []oci.Tag{"v1"}
			_, err := s.PutManifest(s.ctx, here, put)
			s.in(name, func(s *suite) { s.refused(err, fault.Invalid, oci.CodeManifestInvalid) })
		}
		s.lacksManifest(here, byTag("v1"))
	}},
	{"a refused push leaves the tag where it was", func(s *suite) {
		c := newContents(s, oci.SHA256)
		one, two := c.image("one"), c.image("two")
		s.push(here, c, "two", "two-layer")
		s.put(here, one, "latest")
		s.refusedManifest(here, two, fault.NotFound, oci.CodeManifestBlobUnknown)
		s.holdsManifest(here, byTag("latest"), one)
	}},
	{"unknown", func(s *suite) {
		nothing := oci.FromBytes(oci.SHA256, nil)
		_, err := s.GetManifest(s.ctx, absent, byTag("latest"))
		s.refused(err, fault.NotFound, oci.CodeNameUnknown)
		_, err = s.GetManifest(s.ctx, absent, byDigest(nothing))
		s.refused(err, fault.NotFound, oci.CodeNameUnknown)
		c := newContents(s, oci.SHA256)
		c.image("image")
		s.push(here, c)
		_, err = s.GetManifest(s.ctx, here, byTag("latest"))
		s.refused(err, fault.NotFound, oci.CodeManifestUnknown)
		_, err = s.GetManifest(s.ctx, here, byDigest(nothing))
		s.refused(err, fault.NotFound, oci.CodeManifestUnknown)
		_, err = s.GetManifest(s.ctx, here, byDigest(c.described["image-config"].Digest)) // a blob
		s.refused(err, fault.NotFound, oci.CodeManifestUnknown)
		_, err = s.StatBlob(s.ctx, here, c.described["image"].Digest) // a manifest
		s.refused(err, fault.NotFound, oci.CodeBlobUnknown)
	}},
	{"belongs to its repository", func(s *suite) {
		c := newContents(s, oci.SHA256)
		m := c.image("image")
		s.push(there, c)
		s.put(there, m, "v1")
		s.upload(here, oci.SHA256, "something")
		s.lacksManifest(here, byTag("v1"))
		s.lacksManifest(here, byDigest(m.Digest))
	}},
}

// refusedManifest pushes a manifest under the tag "latest" and by digest, which
// must not be taken.
func (s *suite) refusedManifest(repo oci.Repository, m manifest, kind fault.Kind, code string) {
	s.Helper()
	_, err := s.PutManifest(s.ctx, repo, oci.ManifestPut{MediaType: m.MediaType, Data: m.data, Tags: []oci.Tag{"latest"}})
	s.refused(err, kind, code)
	_, err = s.PutManifest(s.ctx, repo, oci.ManifestPut{MediaType: m.MediaType, Data: m.data, Digest: m.Digest})
	s.refused(err, kind, code)
	s.lacksManifest(repo, byDigest(m.Digest))
}

// everyType defines a manifest of every kind there is.
func everyType(s *suite, algorithm string) *contents {
	s.Helper()
	c := newContents(s, algorithm)
	c.blob("config", typeConfig, `{"architecture":"arm64","os":"linux"}`)
	c.blob("layer", typeLayer, "a layer")
	c.blob("none", oci.MediaTypeOctetStream, "")
	c.blob("docker-config", typeDockerConfig, `{"architecture":"amd64","os":"linux"}`)
	c.blob("docker-layer", typeDockerLayer, "a layer of docker's")
	c.blob("empty", oci.MediaTypeEmptyJSON, "{}")
	c.elsewhere("foreign", oci.Descriptor{MediaType: typeForeign, URLs: []string{"https://example.com/layer"}})
	c.elsewhere("non-distributable", oci.Descriptor{MediaType: typeNonDist})

	image := func(name, rest string) {
		c.manifest(name, oci.MediaTypeImageManifest,
			`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeImageManifest+`",`+rest+`}`)
	}
	image("image", `"config":@config,"layers":[@layer]`)
	image("image-same-layer-twice", `"config":@config,"layers":[@layer,@layer]`)
	image("image-with-empty-layer", `"config":@config,"layers":[@none]`)
	image("image-without-layers", `"config":@config,"layers":[]`)
	image("image-with-data", `"config":{"mediaType":"`+typeConfig+`","digest":"`+string(c.described["config"].Digest)+
		`","size":37,"data":"eyJhcmNoaXRlY3R1cmUiOiJhcm02NCIsIm9zIjoibGludXgifQ=="},"layers":[@layer]`)
	image("image-with-layers-elsewhere", `"config":@config,"layers":[@layer,@non-distributable]`)
	c.manifest("image-without-media-type", oci.MediaTypeImageManifest, `{"schemaVersion":2,"config":@config,"layers":[@layer]}`)
	image("artifact", `"artifactType":"`+typeSBOM+`","config":@empty,"layers":[@layer]`)
	image("artifact-without-layers", `"artifactType":"`+typeSBOM+`","config":@empty,"layers":[@empty]`)
	image("artifact-with-subject", `"artifactType":"`+typeSBOM+`","config":@empty,"layers":[@empty],"subject":@image`)
	c.manifest("artifact-manifest", oci.MediaTypeArtifactManifest,
		`{"mediaType":"`+oci.MediaTypeArtifactManifest+`","artifactType":"`+typeSBOM+`","blobs":[@layer],"subject":@image}`)

	c.manifest("docker-image", oci.MediaTypeDockerManifest,
		`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeDockerManifest+`","config":@docker-config,"layers":[@docker-layer]}`)
	c.manifest("docker-image-with-foreign-layer", oci.MediaTypeDockerManifest,
		`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeDockerManifest+`","config":@docker-config,"layers":[@foreign,@docker-layer]}`)
	c.manifest("docker-list", oci.MediaTypeDockerManifestList,
		`{"schemaVersion":2,"mediaType":"`+oci.MediaTypeDockerManifestList+`","manifests":[@docker-image,@docker-image-with-foreign-layer]}`)

	index := func(name, rest string) {
		c.manifest(name, oci.MediaTypeImageIndex, `{"schemaVersion":2,"mediaType":"`+oci.MediaTypeImageIndex+`",`+rest+`}`)
	}
	index("index", `"manifests":[@image,@docker-image,@artifact]`)
	index("index-without-manifests", `"manifests":[]`)
	index("nested-index", `"manifests":[@index,@docker-list,@index-without-manifests]`)
	index("index-with-subject", `"artifactType":"`+typeSBOM+`","manifests":[@artifact],"subject":@index`)
	return c
}
