package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

// descriptor is the JSON of a descriptor whose digest is made of a name.
func descriptor(mediaType, name string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, FromBytes(SHA256, []byte(name)), len(name))
}

// of is a manifest of a media type.
func of(mediaType, rest string) string {
	return `{"schemaVersion":2,"mediaType":"` + mediaType + `",` + rest + `}`
}

const (
	configType  = "application/vnd.oci.image.config.v1+json"
	layerType   = "application/vnd.oci.image.layer.v1.tar+gzip"
	nonDistType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	foreignType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

var (
	config = `"config":` + descriptor(configType, "config")
	layers = `"layers":[` + descriptor(layerType, "one") + "," + descriptor(layerType, "two") + "]"
	image  = of(MediaTypeImageManifest, config+","+layers)
)

func TestParseManifest(t *testing.T) {
	t.Parallel()
	subject := `"subject":` + descriptor(MediaTypeImageManifest, "subject")
	for _, test := range []struct {
		name, contentType, data string
		mediaType, artifactType string
		references              string // kind:name, in order; a name in brackets need not be held
		subject                 string
	}{
		{"image", MediaTypeImageManifest, image, MediaTypeImageManifest, configType, "config:config layer:one layer:two", ""},
		{"its own media type", "", image, MediaTypeImageManifest, configType, "config:config layer:one layer:two", ""},
		{"parameters", MediaTypeImageManifest + " ; charset=utf-8", image, MediaTypeImageManifest, configType, "config:config layer:one layer:two", ""},
		{"no mediaType", MediaTypeImageManifest, `{"schemaVersion":2,` + config + `}`, MediaTypeImageManifest, configType, "config:config", ""},
		{"space around", MediaTypeImageManifest, " \r\n\t" + image + "\n", MediaTypeImageManifest, configType, "config:config layer:one layer:two", ""},
		{"layers null", "", of(MediaTypeImageManifest, config+`,"layers":null`), MediaTypeImageManifest, configType, "config:config", ""},
		{"artifact", "", of(MediaTypeImageManifest, config+`,"layers":[],"artifactType":"a/b",`+subject), MediaTypeImageManifest, "a/b", "config:config", "subject"},
		{"non-distributable", "", of(MediaTypeImageManifest, config+`,"layers":[`+descriptor(nonDistType, "far")+`]`), MediaTypeImageManifest, configType, "config:config layer:[far]", ""},
		{"layer with URLs", "", of(MediaTypeImageManifest, config+`,"layers":[`+strings.Replace(descriptor(layerType, "far"), "{", `{"urls":["https://example.com"],`, 1)+`]`),
			MediaTypeImageManifest, configType, "config:config layer:[far]", ""},
		{"config with URLs", "", of(MediaTypeImageManifest, strings.Replace(config, "{", `{"urls":["https://example.com"],`, 1)), MediaTypeImageManifest, configType, "config:config", ""},
		{"index", "", of(MediaTypeImageIndex, `"manifests":[`+descriptor(MediaTypeImageManifest, "one")+`,`+descriptor(MediaTypeImageIndex, "two")+`]`),
			MediaTypeImageIndex, "", "manifest:one manifest:two", ""},
		{"typed index", "", of(MediaTypeImageIndex, `"manifests":[],"artifactType":"a/b",`+subject), MediaTypeImageIndex, "a/b", "", "subject"},
		{"artifact manifest", "", `{"mediaType":"` + MediaTypeArtifactManifest + `","artifactType":"a/b","blobs":[` + descriptor(layerType, "one") + `],` + subject + `}`,
			MediaTypeArtifactManifest, "a/b", "layer:one", "subject"},
		{"docker image", "", of(MediaTypeDockerManifest, config+`,"layers":[`+descriptor(foreignType, "far")+`]`), MediaTypeDockerManifest, configType, "config:config layer:[far]", ""},
		{"docker list", "", of(MediaTypeDockerManifestList, `"manifests":[`+descriptor(MediaTypeDockerManifest, "one")+`]`), MediaTypeDockerManifestList, "", "manifest:one", ""},
		{"members of others' making", "", of(MediaTypeImageManifest, config+`,"org.example":{"Config":1,"CONFIG":[{"a":1e999}]}`), MediaTypeImageManifest, configType, "config:config", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := ParseManifest(test.contentType, []byte(test.data))
			if err != nil {
				t.Fatal(err)
			}
			names := map[Digest]string{}
			for _, name := range []string{"config", "one", "two", "far", "subject"} {
				names[FromBytes(SHA256, []byte(name))] = name
			}
			var references []string
			for _, r := range p.References {
				name := names[r.Descriptor.Digest]
				if !r.Distributable() {
					name = "[" + name + "]"
				}
				references = append(references, string(r.Kind)+":"+name)
			}
			var subject string
			if p.Subject != nil {
				subject = names[p.Subject.Digest]
			}
			if p.MediaType != test.mediaType || p.ArtifactType != test.artifactType ||
				strings.Join(references, " ") != test.references || subject != test.subject {
				t.Errorf("read as %q %q %v, subject %q", p.MediaType, p.ArtifactType, references, subject)
			}
		})
	}
}

func TestParseManifestAnnotations(t *testing.T) {
	t.Parallel()
	p, err := ParseManifest("", []byte(of(MediaTypeImageManifest, config+`,"annotations":{"a":"1","A":"2"}`)))
	if err != nil || !maps.Equal(p.Annotations, map[string]string{"a": "1", "A": "2"}) {
		t.Errorf("%v, %v", p, err)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	t.Parallel()
	many := `"manifests":[` + strings.Repeat(descriptor(MediaTypeImageManifest, "x")+",", maxManifestReferences) + descriptor(MediaTypeImageManifest, "x") + `]`
	for _, test := range []struct{ name, contentType, data, says string }{
		{"nothing", MediaTypeImageManifest, "", "not a JSON object"},
		{"array", MediaTypeImageManifest, "[]", "not a JSON object"},
		{"null", MediaTypeImageManifest, "null", "not a JSON object"},
		{"byte order mark", MediaTypeImageManifest, "\ufeff" + image, "not a JSON object"},
		{"cut short", MediaTypeImageManifest, image[:len(image)-1], "at byte"},
		{"something behind", MediaTypeImageManifest, image + "{}", "at byte"},
		{"wrong JSON type", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"layers":{}`), "layers"},
		{"size in words", MediaTypeImageManifest, strings.Replace(image, `"size":6`, `"size":"6"`, 1), "config.size"},
		{"size beyond counting", MediaTypeImageManifest, strings.Replace(image, `"size":6`, `"size":9223372036854775808`, 1), "config.size"},
		{"nested too deep", MediaTypeImageManifest, of(MediaTypeImageManifest, `"x":`+strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)), "not JSON"},
		{"no type at all", "", `{"schemaVersion":2}`, "Content-Type"},
		{"two types", MediaTypeImageIndex, image, MediaTypeImageIndex},
		{"unknown type", "text/plain", `{"schemaVersion":2}`, "text/plain"},
		{"docker schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, "v1+prettyjws"},
		{"no schemaVersion", MediaTypeImageManifest, `{` + config + `}`, "schemaVersion is missing"},
		{"schemaVersion 1", MediaTypeImageManifest, `{"schemaVersion":1,` + config + `}`, "schemaVersion is 1"},
		{"no schemaVersion in an index", MediaTypeImageIndex, `{"manifests":[]}`, "schemaVersion is missing"},
		{"no config", MediaTypeImageManifest, of(MediaTypeImageManifest, layers), "config is missing"},
		{"config null", MediaTypeImageManifest, of(MediaTypeImageManifest, `"config":null`), "config is missing"},
		{"config with a bad digest", MediaTypeImageManifest, of(MediaTypeImageManifest, `"config":{"digest":"sha256:abc"}`), "config"},
		{"config without a digest", MediaTypeImageManifest, of(MediaTypeImageManifest, `"config":{}`), "config"},
		{"layer with a bad digest", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"layers":[{"digest":"md5:abc"}]`), "layer"},
		{"layer with a negative size", MediaTypeImageManifest, strings.Replace(image, `"size":3`, `"size":-3`, 1), "negative"},
		{"subject with a bad digest", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"subject":{"digest":"latest"}`), "subject"},
		{"subject with a negative size", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"subject":{"size":-1,"digest":"`+emptySHA256+`"}`), "negative"},
		{"child with a bad digest", MediaTypeImageIndex, of(MediaTypeImageIndex, `"manifests":[{"digest":"../x"}]`), "manifest"},
		{"image that is an index too", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"manifests":[]`), "manifests"},
		{"index that is an image too", MediaTypeImageIndex, of(MediaTypeImageIndex, `"manifests":[],`+config), "config"},
		{"index with layers", MediaTypeImageIndex, of(MediaTypeImageIndex, `"manifests":[],`+layers), "layers"},
		{"image that is schema 1 too", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"fsLayers":[]`), "fsLayers"},
		{"artifact that is an image too", MediaTypeArtifactManifest, of(MediaTypeArtifactManifest, `"blobs":[],`+config), "config"},
		{"more than a manifest can be meant to hold", MediaTypeImageIndex, of(MediaTypeImageIndex, many), "10000"},

		{"config twice", MediaTypeImageManifest, of(MediaTypeImageManifest, config+","+config), `"config" occurs twice`},
		{"config twice, once with an escape", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"\u0063onfig":null`), `"config" occurs twice`},
		{"Config beside config", MediaTypeImageManifest, of(MediaTypeImageManifest, config+","+strings.Replace(config, "c", "C", 1)), `"Config" must be written "config"`},
		{"Config alone", MediaTypeImageManifest, of(MediaTypeImageManifest, strings.Replace(config, "c", "C", 1)), `"Config" must be written "config"`},
		{"letters that fold", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"layer\u017f":[]`), `must be written "layers"`},
		{"MediaType", MediaTypeImageManifest, `{"schemaVersion":2,"MediaType":"` + MediaTypeImageManifest + `",` + config + `}`, `must be written "mediaType"`},
		{"digest twice in a layer", MediaTypeImageManifest, strings.Replace(image, `"size":3`, `"digest":"`+emptySHA256+`"`, 1), `"digest" occurs twice`},
		{"Digest in a layer", MediaTypeImageManifest, strings.Replace(image, `"size":3`, `"Digest":"`+emptySHA256+`"`, 1), `"Digest" must be written "digest"`},
		{"Digest in the subject", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"subject":{"digest":"`+emptySHA256+`","DIGEST":"`+emptySHA256+`"}`), `"DIGEST" must be written "digest"`},
		{"OS in a platform", MediaTypeImageIndex, of(MediaTypeImageIndex, `"manifests":[{"digest":"`+emptySHA256+`","platform":{"os":"linux","OS":"x"}}]`), `"OS" must be written "os"`},
		{"an annotation twice", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"annotations":{"a":"1","a":"2"}`), `"a" occurs twice`},
		{"twice, deep in a member of others' making", MediaTypeImageManifest, of(MediaTypeImageManifest, config+`,"x":[[{"y":[{"a":1,"a":2}]}]]`), `"a" occurs twice`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseManifest(test.contentType, []byte(test.data))
			checkFault(t, err, fault.Invalid, CodeManifestInvalid, test.says)
		})
	}
}

// FuzzParseManifest checks that whatever is taken holds nothing unchecked, and
// means the same to a reader who takes the letters of a member as they are.
func FuzzParseManifest(f *testing.F) {
	f.Add(MediaTypeImageManifest, []byte(image))
	f.Add("", []byte(of(MediaTypeImageIndex, `"manifests":[`+descriptor(MediaTypeImageManifest, "x")+`],"subject":`+descriptor(MediaTypeImageManifest, "y"))))
	f.Add(MediaTypeArtifactManifest, []byte(`{"blobs":[`+descriptor(layerType, "x")+`]}`))
	f.Add(MediaTypeImageManifest, []byte(of(MediaTypeImageManifest, config+`,"layer\u017f":[]`)))
	f.Add(MediaTypeImageManifest, []byte(of(MediaTypeImageManifest, config+`,"Config":{},"x":[1,"\"}",{"a":null}]`)))
	f.Fuzz(func(t *testing.T, contentType string, data []byte) {
		p, err := ParseManifest(contentType, data)
		if err != nil {
			if f := fault.As(err); f.Code != CodeManifestInvalid || f.Kind != fault.Invalid {
				t.Fatalf("refused as %s (%v)", f.Code, f.Kind)
			}
			return
		}
		var digests []Digest
		for _, r := range p.References {
			digests = append(digests, r.Descriptor.Digest)
		}
		if p.Subject != nil {
			digests = append(digests, p.Subject.Digest)
		}
		for _, d := range digests {
			if !digestGrammar.MatchString(string(d)) {
				t.Fatalf("taken with digest %q", d)
			}
		}

		// A map keeps the letters of its keys, unlike a struct.
		var members map[string]json.RawMessage
		if err := json.Unmarshal(data, &members); err != nil {
			t.Fatal(err)
		}
		var exact []Digest
		for _, name := range []string{"config", "layers", "blobs", "manifests", "subject"} {
			raw := members[name]
			if name == "blobs" && p.MediaType != MediaTypeArtifactManifest {
				continue // means nothing there
			}
			if !bytes.HasPrefix(raw, []byte("[")) {
				raw = slices.Concat([]byte("["), raw, []byte("]"))
			}
			var descriptors []map[string]json.RawMessage
			if err := json.Unmarshal(raw, &descriptors); err != nil {
				t.Fatal(err)
			}
			for _, d := range descriptors {
				if d == nil {
					continue
				}
				var digest Digest
				if err := json.Unmarshal(d["digest"], &digest); err != nil {
					t.Fatalf("%s without digest: %v", name, err)
				}
				exact = append(exact, digest)
			}
		}
		if !slices.Equal(digests, exact) {
			t.Fatalf("refers to %v, to a reader of exact names to %v", digests, exact)
		}
	})
}
