package acrserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// The answers of the metadata API, in the order of members that ACR has.
type (
	catalogAnswer struct {
		Repositories []oci.Repository `json:"repositories"`
	}
	repositoryAnswer struct {
		Registry       string         `json:"registry"`
		ImageName      oci.Repository `json:"imageName"`
		CreatedTime    string         `json:"createdTime"`
		LastUpdateTime string         `json:"lastUpdateTime"`
		ManifestCount  int64          `json:"manifestCount"`
		TagCount       int64          `json:"tagCount"`
		Attributes     struct {
			attributes
			TeleportEnabled bool `json:"teleportEnabled"`
		} `json:"changeableAttributes"`
	}
	tagAnswer struct {
		Registry  string         `json:"registry"`
		ImageName oci.Repository `json:"imageName"`
		Tag       tagEntry       `json:"tag"`
	}
	tagsAnswer struct {
		Registry  string         `json:"registry"`
		ImageName oci.Repository `json:"imageName"`
		Tags      []tagEntry     `json:"tags"`
	}
	manifestAnswer struct {
		Registry  string         `json:"registry"`
		ImageName oci.Repository `json:"imageName"`
		Manifest  manifestEntry  `json:"manifest"`
	}
	manifestsAnswer struct {
		Registry  string          `json:"registry"`
		ImageName oci.Repository  `json:"imageName"`
		Manifests []manifestEntry `json:"manifests"`
	}
	deletedAnswer struct {
		ManifestsDeleted []oci.Digest `json:"manifestsDeleted"`
		TagsDeleted      []oci.Tag    `json:"tagsDeleted"`
	}

	tagEntry struct {
		Name           oci.Tag    `json:"name"`
		Digest         oci.Digest `json:"digest"`
		CreatedTime    string     `json:"createdTime"`
		LastUpdateTime string     `json:"lastUpdateTime"`
		Signed         bool       `json:"signed"` // by content trust, which is not offered
		Attributes     attributes `json:"changeableAttributes"`
	}
	manifestEntry struct {
		Digest          oci.Digest  `json:"digest"`
		ImageSize       int64       `json:"imageSize"`
		CreatedTime     string      `json:"createdTime"`
		LastUpdateTime  string      `json:"lastUpdateTime"`
		Architecture    string      `json:"architecture,omitempty"`
		OS              string      `json:"os,omitempty"`
		MediaType       string      `json:"mediaType"`
		ConfigMediaType string      `json:"configMediaType,omitempty"`
		ArtifactType    string      `json:"artifactType,omitempty"` // ours
		References      []reference `json:"references,omitempty"`
		Tags            []oci.Tag   `json:"tags,omitempty"`
		Attributes      struct {
			attributes
			QuarantineState   oci.QuarantineState `json:"quarantineState,omitempty"`
			QuarantineDetails string              `json:"quarantineDetails,omitempty"` // JSON
		} `json:"changeableAttributes"`
	}
	reference struct {
		Digest       oci.Digest `json:"digest"`
		Architecture string     `json:"architecture,omitempty"`
		OS           string     `json:"os,omitempty"`
	}
	attributes struct {
		DeleteEnabled bool `json:"deleteEnabled"`
		WriteEnabled  bool `json:"writeEnabled"`
		ReadEnabled   bool `json:"readEnabled"`
		ListEnabled   bool `json:"listEnabled"`
	}
)

// timestamp writes a time as ACR does.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// list makes sure that an empty list is written [].
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func newRepositoryAnswer(service string, d oci.RepositoryDetails) repositoryAnswer {
	a := repositoryAnswer{
		Registry: service, ImageName: d.Name, CreatedTime: timestamp(d.CreatedAt), LastUpdateTime: timestamp(d.UpdatedAt),
		ManifestCount: d.ManifestCount, TagCount: d.TagCount,
	}
	a.Attributes.attributes = newAttributes(d.Attributes)
	return a
}

func newTag(d oci.TagDetails) tagEntry {
	return tagEntry{
		Name: d.Name, Digest: d.Digest, CreatedTime: timestamp(d.CreatedAt), LastUpdateTime: timestamp(d.UpdatedAt),
		Attributes: newAttributes(d.Attributes),
	}
}

func newManifest(d oci.ManifestDetails) manifestEntry {
	m := manifestEntry{
		Digest: d.Digest, ImageSize: d.ImageSize, CreatedTime: timestamp(d.CreatedAt), LastUpdateTime: timestamp(d.UpdatedAt),
		Architecture: d.Platform.Architecture, OS: d.Platform.OS, MediaType: d.MediaType, ConfigMediaType: d.ConfigMediaType,
		Tags: d.Tags,
	}
	m.Attributes.attributes = newAttributes(d.Attributes)
	m.Attributes.QuarantineState, m.Attributes.QuarantineDetails = d.Quarantine, d.QuarantineDetails
	if d.ArtifactType != d.ConfigMediaType {
		m.ArtifactType = d.ArtifactType
	}
	for _, child := range d.References {
		r := reference{Digest: child.Digest}
		if child.Platform != nil {
			r.Architecture, r.OS = child.Platform.Architecture, child.Platform.OS
		}
		m.References = append(m.References, r)
	}
	return m
}

func newAttributes(a oci.Attributes) attributes {
	return attributes{DeleteEnabled: a.Delete, WriteEnabled: a.Write, ReadEnabled: a.Read, ListEnabled: a.List}
}

// maxChange is the longest body of a PATCH or POST, in bytes.
const maxChange = 64 << 10

// patch is what a PATCH is to change.
type patch struct {
	oci.QuarantineChange
	quarantine bool // it is about quarantine, perhaps among others
}

// readBody reads what a request says is to be changed.
func (c *call) readBody() ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxChange))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fault.Wrap(err, fault.TooLarge, "the body is larger than %d bytes", maxChange)
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "the request ended before its body did").WithCode(oci.CodeUnsupported)
	}
	return body, nil
}

// readPatch reads the body of a PATCH; one that is bad changes nothing.
func (c *call) readPatch() (patch, error) {
	body, err := c.readBody()
	if err != nil {
		return patch{}, err
	}
	return parsePatch(body)
}

// readChange is readPatch for what has no quarantine.
func (c *call) readChange() (oci.AttributesChange, error) {
	p, err := c.readPatch()
	if err == nil && p.quarantine {
		return oci.AttributesChange{}, badChange("a quarantine state is that of a manifest: change it at /acr/v1/%s/_manifests/<digest>", c.repo)
	}
	return p.Attributes, err
}

// parsePatch reads changeable attributes and what quarantine has, each of which may
// be left out. A lock that was not understood would be found missing when it is
// needed, so what is unknown is refused. It fails with fault.Invalid.
func parsePatch(body []byte) (patch, error) {
	var p patch
	err := eachMember("the body", `{"writeEnabled":false}`, body, p.set)
	if err != nil {
		return patch{quarantine: p.quarantine}, err
	}
	return p, nil
}

// eachMember calls do for each member of a JSON object, which messages call what, and
// like which example is; numbers are json.Number. What is no JSON object, or has a
// member twice, fails with fault.Invalid.
func eachMember(what, example string, text []byte, do func(name string, value any) error) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return badChange("%s is not a JSON object: send for example %s", what, example)
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return badChange("%s is not JSON: %v", what, err)
		}
		name := token.(string) // or More would not have said so
		var value any
		if err := dec.Decode(&value); err != nil {
			return badChange("%s is not JSON: %v", what, err)
		}
		if seen[name] {
			return badChange("member %.40q of %s occurs twice", name, what)
		}
		seen[name] = true
		if err := do(name, value); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return badChange("%s is not JSON: %v", what, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return badChange("something follows the JSON object in %s", what)
	}
	return nil
}

// set takes one member of a change.
func (p *patch) set(name string, value any) error {
	var attribute **bool
	switch name {
	case "deleteEnabled":
		attribute = &p.Attributes.Delete
	case "writeEnabled":
		attribute = &p.Attributes.Write
	case "readEnabled":
		attribute = &p.Attributes.Read
	case "listEnabled":
		attribute = &p.Attributes.List
	case "teleportEnabled": // streaming of layers, which ACR gave up: taken, and stays off
		attribute = new(*bool)
	case "quarantineState", "quarantineDetails":
		p.quarantine = true
		return setQuarantine(&p.QuarantineChange, name, value)
	default:
		return badChange("there is no attribute %.40q: use deleteEnabled, writeEnabled, readEnabled or listEnabled", name)
	}
	on, ok := value.(bool)
	if !ok {
		return badChange("%s is neither true nor false", name)
	}
	*attribute = &on
	return nil
}

func badChange(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).WithCode(oci.CodeUnsupported)
}
