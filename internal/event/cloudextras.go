package event

import (
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// CloudExtras is what a receiver may want otherwise in a CloudEvent. With the
// zero value nothing is, and events are as CloudEvent and BinaryCloudEvent have
// them.
type CloudExtras struct {
	// TypePrefix stands in the place of Microsoft.ContainerRegistry and
	// Dockbell.Registry, so that types are TypePrefix.ImagePushed and so on. Empty
	// for those. CheckTypePrefix took it.
	TypePrefix string

	// FlatData: the data of an event about an image name it once more, in
	// members of their own: repositoryName, imageTag, imageDigest, registryUrl.
	FlatData bool
}

// flatImage is what FlatData adds.
type flatImage struct {
	RepositoryName string `json:"repositoryName"`
	ImageTag       string `json:"imageTag,omitempty"`
	ImageDigest    string `json:"imageDigest,omitempty"`
	RegistryURL    string `json:"registryUrl"` // the login server, without a scheme
}

// Structured is CloudEvent with the extras.
func (x CloudExtras) Structured(e *Event) []byte {
	c := newCloudEvent(e)
	c.Type = x.typeOf(c.Type)
	whole := compact(c)
	return append(x.addTo(whole[:len(whole)-1], e), '}') // the data are the last member
}

// Binary is BinaryCloudEvent with the extras.
func (x CloudExtras) Binary(e *Event) (attributes []Attribute, data []byte) {
	attributes, data = BinaryCloudEvent(e)
	for i, a := range attributes {
		if a.Field == "Ce-Type" {
			attributes[i].Value = x.typeOf(a.Value)
		}
	}
	return attributes, x.addTo(data, e)
}

func (x CloudExtras) typeOf(ours string) string {
	if x.TypePrefix == "" {
		return ours
	}
	return x.TypePrefix + "." + ours[strings.LastIndexByte(ours, '.')+1:]
}

// addTo returns text, which ends with the data of e, with the flat members behind
// the others.
func (x CloudExtras) addTo(text []byte, e *Event) []byte {
	image := imageOf(e)
	if !x.FlatData || !image.isThere() {
		return text
	}
	flat := compact(flatImage{image.repository, image.tag, image.digest, image.registry})
	return append(append(text[:len(text)-1], ','), flat[1:]...)
}

// maxTypePrefix bounds a CloudExtras.TypePrefix, in bytes.
const maxTypePrefix = 128

// CheckTypePrefix fails with fault.Invalid for what cannot be the beginning of a
// CloudEvent's type: which is a name in reverse DNS order (CloudEvents, section
// "type"), here of letters, digits, dashes and underscores between the dots, up to
// 128 bytes. The empty prefix is taken.
func CheckTypePrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if len(prefix) > maxTypePrefix {
		return fault.New(fault.Invalid, "the prefix of event types has %d bytes: it may have %d", len(prefix), maxTypePrefix)
	}
	for part := range strings.SplitSeq(prefix, ".") {
		if part == "" || strings.ContainsFunc(part, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return fault.New(fault.Invalid, "%q cannot begin the types of events: use letters, digits, '-' and '_' with single dots between them and none at the end, for example com.example.registry", prefix)
		}
	}
	return nil
}
