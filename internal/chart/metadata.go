package chart

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	yamlnode "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/dockbell/dockbell/internal/oci"
)

// metadata is what Chart.yaml says, as far as an index tells of it: Helm's own
// members, under Helm's names and in Helm's types. Clients before Helm 3.14 take
// an index with any other member for broken, so there are no others.
type metadata struct {
	Name         string            `json:"name"`
	Home         string            `json:"home,omitempty"`
	Sources      []string          `json:"sources,omitempty"`
	Version      string            `json:"version"`
	Description  string            `json:"description,omitempty"`
	Keywords     []string          `json:"keywords,omitempty"`
	Maintainers  []*maintainer     `json:"maintainers,omitempty"`
	Engine       string            `json:"engine,omitempty"` // Helm 2
	Icon         string            `json:"icon,omitempty"`
	APIVersion   string            `json:"apiVersion"`
	Condition    string            `json:"condition,omitempty"`
	Tags         string            `json:"tags,omitempty"`
	AppVersion   string            `json:"appVersion,omitempty"`
	Deprecated   bool              `json:"deprecated,omitempty"`
	Tiller       string            `json:"tillerVersion,omitempty"` // Helm 2
	Annotations  map[string]string `json:"annotations,omitempty"`
	KubeVersion  string            `json:"kubeVersion,omitempty"`
	Dependencies []*dependency     `json:"dependencies,omitempty"`
	Type         string            `json:"type,omitempty"`
}

type maintainer struct {
	Name  string `json:"name,omitempty"`
	Email string `json:"email,omitempty"`
	URL   string `json:"url,omitempty"`
}

type dependency struct {
	Name         string   `json:"name"`
	Version      string   `json:"version,omitempty"`
	Repository   string   `json:"repository"`
	Condition    string   `json:"condition,omitempty"`
	Tags         []string `json:"tags,omitempty"`
	Enabled      bool     `json:"enabled,omitempty"`
	ImportValues []any    `json:"import-values,omitempty"`
	Alias        string   `json:"alias,omitempty"`
}

// Bounds on Chart.yaml. A program in Python that reads an index gives up at a depth
// of 1,000.
const (
	maxChartYAML = 64 << 10  // bytes in the package
	maxMetadata  = 256 << 10 // bytes and values, with each alias put in its place
	maxDepth     = 64        // lists and maps in each other
	maxKey       = 1_000     // bytes of a member's name in JSON; YAML 1.1 takes up to 1,024 characters
)

// parseMetadata reads Chart.yaml as Helm does.
func parseMetadata(text []byte) (metadata, error) {
	text = bytes.TrimPrefix(text, []byte("\uFEFF"))
	if err := checkYAML(text); err != nil {
		return metadata{}, badPackage("Chart.yaml cannot be read: %s", clip(err.Error()))
	}
	var m metadata
	if err := yaml.Unmarshal(text, &m); err != nil {
		return metadata{}, badPackage("Chart.yaml cannot be read: %s", why(err))
	}
	if m.APIVersion == "" {
		m.APIVersion = "v1" // charts of Helm 2 need not say
	}
	if m.APIVersion != "v1" && m.APIVersion != "v2" {
		return metadata{}, badPackage("apiVersion is %q in Chart.yaml: charts of v1 and v2 are taken", clip(m.APIVersion))
	}
	if m.Type != "" && m.Type != "application" && m.Type != "library" {
		return metadata{}, badPackage("type is %q in Chart.yaml: it is application or library", clip(m.Type))
	}
	if err := checkName(m.Name); err != nil {
		return metadata{}, err
	}
	if err := checkVersion(m.Version); err != nil {
		return metadata{}, err
	}
	m.Maintainers = slices.DeleteFunc(m.Maintainers, func(p *maintainer) bool { return p == nil })
	m.Dependencies = slices.DeleteFunc(m.Dependencies, func(d *dependency) bool { return d == nil })
	for key := range m.Annotations {
		if err := checkKey(key); err != nil {
			return metadata{}, err
		}
	}
	for _, d := range m.Dependencies {
		if err := checkKeys(d.ImportValues); err != nil {
			return metadata{}, err
		}
	}
	return m, nil
}

// checkKeys does checkKey for whatever is in a value.
func checkKeys(value any) error {
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			if err := checkKeys(v); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, v := range value {
			if err := errors.Join(checkKey(key), checkKeys(v)); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkKey refuses a name with which no reader of YAML could read the index.
func checkKey(key string) error {
	if len(encodeString(key)) > maxKey {
		return badPackage("the name %q in Chart.yaml is too long: up to %d bytes", clip(key), maxKey)
	}
	return nil
}

// why returns what a decoder says in its last words, which name the member.
func why(err error) string {
	text := err.Error()
	for _, prefix := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: while decoding JSON: json: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return clip(strings.ReplaceAll(text, "Go struct field metadata.", ""))
}

// checkYAML refuses what grows when it is decoded: an alias stands for all that its
// anchor holds, and that may hold aliases.
func checkYAML(text []byte) error {
	var document yamlnode.Node
	if err := yamlnode.Unmarshal(text, &document); err != nil {
		return err
	}
	w := weigher{known: map[*yamlnode.Node]weight{}}
	_, err := w.weigh(&document)
	return err
}

// weigher finds out how large nodes are, each once.
type weigher struct{ known map[*yamlnode.Node]weight }

// weight is what a node comes to, with what its aliases stand for.
type weight struct {
	bytes int // and one for each value
	depth int
	open  bool // is being weighed
}

var errAliases = errors.New("an alias is part of what it stands for")

func (w weigher) weigh(n *yamlnode.Node) (weight, error) {
	if known, ok := w.known[n]; ok {
		if known.open {
			return weight{}, errAliases
		}
		return known, nil
	}
	w.known[n] = weight{open: true}
	total := weight{bytes: len(n.Value) + 1}
	parts := n.Content
	if n.Alias != nil {
		parts = []*yamlnode.Node{n.Alias}
	}
	for _, part := range parts {
		p, err := w.weigh(part)
		if err != nil {
			return weight{}, err
		}
		total.bytes += p.bytes
		total.depth = max(total.depth, p.depth+1)
		if total.bytes > maxMetadata {
			return weight{}, fmt.Errorf("it comes to more than %d bytes", maxMetadata)
		}
		if total.depth > maxDepth {
			return weight{}, fmt.Errorf("its parts are more than %d deep in each other", maxDepth)
		}
	}
	w.known[n] = total
	return total, nil
}

// versionObject is a version in the index and in the answers to lists.
type versionObject struct {
	metadata
	Created string   `json:"created"`
	Digest  string   `json:"digest"` // hex, as Helm has it
	URLs    []string `json:"urls"`   // below the repository's
}

// encode returns a version as JSON that is also YAML 1.1, for clients that read an
// index as that.
func (m metadata) encode(created time.Time, digest oci.Digest) []byte {
	text := oci.EncodeJSON(versionObject{
		m, created.UTC().Format(time.RFC3339Nano), digest.Encoded(), []string{"_blobs/" + packageFile(m.Name, m.Version)},
	})
	return escapeUnprintable(bytes.TrimSuffix(text, []byte("\n")))
}

// escapeUnprintable writes as \uXXXX what JSON takes in a string and YAML does not
// (YAML 1.1, section 4.1), and what YAML takes for the end of a line.
func escapeUnprintable(text []byte) []byte {
	unprintable := func(r rune) bool { return r >= 0x7f && r <= 0x9f || r == 0xfeff || r == 0xfffe || r == 0xffff }
	if !bytes.ContainsFunc(text, unprintable) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if unprintable(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.Bytes()
}

// encodeString returns a text as a string of JSON that is also one of YAML.
func encodeString(text string) []byte {
	return escapeUnprintable(bytes.TrimSuffix(oci.EncodeJSON(text), []byte("\n")))
}
