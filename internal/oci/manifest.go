package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// The manifest media types taken (Image 1.1 and Docker schema 2), and those of
// contents that have a meaning here.
const (
	MediaTypeImageManifest      = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeImageIndex         = "application/vnd.oci.image.index.v1+json"
	MediaTypeArtifactManifest   = "application/vnd.oci.artifact.manifest.v1+json"
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeImageConfig        = "application/vnd.oci.image.config.v1+json"
	MediaTypeDockerConfig       = "application/vnd.docker.container.image.v1+json"
	MediaTypeOctetStream        = "application/octet-stream"
	MediaTypeEmptyJSON          = "application/vnd.oci.empty.v1+json"
)

// Descriptor describes content (Image 1.1, "Content Descriptors"), with the
// members a registry reads and writes.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       Digest            `json:"digest"`
	Size         int64             `json:"size"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// Platform is the part of a descriptor's platform that listings show.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

// ReferenceKind says what a manifest refers to with a descriptor.
type ReferenceKind string

// The kinds of reference. Config and layers are blobs; children are manifests.
// A subject is neither required nor kept from being deleted, so it is no
// ManifestReference.
const (
	RefersConfig ReferenceKind = "config"
	RefersLayer  ReferenceKind = "layer"
	RefersChild  ReferenceKind = "manifest"
)

// ManifestReference is one thing a manifest needs in its repository.
type ManifestReference struct {
	Kind       ReferenceKind
	Descriptor Descriptor
}

// ParsedManifest is what a registry has to know about a manifest.
type ParsedManifest struct {
	MediaType    string
	ArtifactType string // artifactType, or the config's media type (Distribution 1.1, "Listing Referrers")
	Annotations  map[string]string
	Subject      *Descriptor
	References   []ManifestReference
}

// Limits on what one manifest may hold: far above real use, low enough that a
// hostile one costs little.
const (
	maxManifestReferences = 10_000
)

type wireManifest struct {
	SchemaVersion json.RawMessage   `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *Descriptor       `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Blobs         []Descriptor      `json:"blobs"`
	Manifests     []Descriptor      `json:"manifests"`
	FSLayers      json.RawMessage   `json:"fsLayers"`
	Subject       *Descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// ParseManifest reads a manifest of the given media type; contentType empty
// means that the manifest's own mediaType counts. It fails with
// MANIFEST_INVALID, naming the member that is wrong.
func ParseManifest(contentType string, data []byte) (*ParsedManifest, error) {
	contentType, _, _ = strings.Cut(contentType, ";")
	contentType = strings.TrimSpace(contentType)
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return nil, ManifestInvalid("it is not a JSON object")
	}
	var w wireManifest
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, ManifestInvalid("%s", jsonProblem(err))
	}
	if err := checkMembers(data); err != nil {
		return nil, err
	}
	mediaType := contentType
	if mediaType == "" {
		mediaType = w.MediaType
	}
	if mediaType == "" {
		return nil, ManifestInvalid("neither Content-Type nor mediaType says what it is")
	}
	if w.MediaType != "" && w.MediaType != mediaType {
		return nil, ManifestInvalid("its mediaType is %q but Content-Type is %q", clip(w.MediaType), clip(mediaType))
	}
	p := &ParsedManifest{MediaType: mediaType, ArtifactType: w.ArtifactType, Annotations: w.Annotations}

	switch mediaType {
	case MediaTypeImageManifest, MediaTypeDockerManifest:
		if err := requireSchema2(w.SchemaVersion); err != nil {
			return nil, err
		}
		if w.Manifests != nil || w.FSLayers != nil {
			return nil, ManifestInvalid("an image manifest has no member manifests or fsLayers")
		}
		if w.Config == nil {
			return nil, ManifestInvalid("config is missing")
		}
		if p.ArtifactType == "" {
			p.ArtifactType = w.Config.MediaType
		}
		p.add(RefersConfig, *w.Config)
		for _, l := range w.Layers {
			p.add(RefersLayer, l)
		}
	case MediaTypeImageIndex, MediaTypeDockerManifestList:
		if err := requireSchema2(w.SchemaVersion); err != nil {
			return nil, err
		}
		if w.Config != nil || w.Layers != nil || w.FSLayers != nil {
			return nil, ManifestInvalid("an index has no member config, layers or fsLayers")
		}
		for _, m := range w.Manifests {
			p.add(RefersChild, m)
		}
	case MediaTypeArtifactManifest:
		if w.Config != nil || w.Layers != nil || w.Manifests != nil || w.FSLayers != nil {
			return nil, ManifestInvalid("an artifact manifest has no member config, layers, manifests or fsLayers")
		}
		for _, b := range w.Blobs {
			p.add(RefersLayer, b)
		}
	default:
		return nil, ManifestInvalid("media type %q is not one this registry takes: use an OCI image manifest or index, an OCI artifact manifest, or Docker schema 2", clip(mediaType))
	}
	if len(p.References) > maxManifestReferences {
		return nil, ManifestInvalid("it refers to %d things, more than %d", len(p.References), maxManifestReferences)
	}
	for _, r := range p.References {
		if err := checkDescriptor(string(r.Kind), r.Descriptor); err != nil {
			return nil, err
		}
	}
	if w.Subject != nil {
		if err := checkDescriptor("subject", *w.Subject); err != nil {
			return nil, err
		}
		p.Subject = w.Subject
	}
	return p, nil
}

func (p *ParsedManifest) add(kind ReferenceKind, d Descriptor) {
	p.References = append(p.References, ManifestReference{kind, d})
}

// Distributable reports whether a registry has to hold the content of the
// reference. Layers that live elsewhere (Image 1.1, "Non-Distributable
// Layers"; Docker's foreign layers) need not be pushed.
func (r ManifestReference) Distributable() bool {
	mt := r.Descriptor.MediaType
	return !(r.Kind == RefersLayer &&
		(strings.Contains(mt, ".nondistributable.") || strings.Contains(mt, ".foreign.") || len(r.Descriptor.URLs) > 0))
}

func requireSchema2(v json.RawMessage) error {
	if string(v) != "2" {
		if len(v) == 0 {
			return ManifestInvalid("schemaVersion is missing: it must be 2")
		}
		return ManifestInvalid("schemaVersion is %s: it must be 2", clip(string(v)))
	}
	return nil
}

func checkDescriptor(what string, d Descriptor) error {
	if _, err := ParseDigest(string(d.Digest)); err != nil {
		return ManifestInvalid("%s has digest %q, which is no sha256 or sha512 digest", what, clip(string(d.Digest)))
	}
	if d.Size < 0 {
		return ManifestInvalid("%s %s has a negative size", what, d.Digest)
	}
	return nil
}

func jsonProblem(err error) string {
	switch e := err.(type) {
	case *json.SyntaxError:
		return fmt.Sprintf("it is not JSON: %v at byte %d", e, e.Offset)
	case *json.UnmarshalTypeError:
		return fmt.Sprintf("member %q is a %s where it should not be", e.Field, e.Value)
	default:
		return "it is not JSON"
	}
}
