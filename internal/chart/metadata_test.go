package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	yamlnode "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

func TestParseMetadata(t *testing.T) {
	t.Parallel()
	const full = `
apiVersion: v2
name: web-shop
version: 1.4.0-rc.1+build.7
appVersion: 1.10
kubeVersion: ">=1.27"
description: "A shop\twith <everything>"
type: application
keywords: [shop, web]
home: https://example.com
sources: [https://example.com/src]
maintainers:
- {name: Ada, email: ada@example.com, url: https://ada.example}
- null
icon: https://example.com/icon.png
condition: web.enabled
tags: front
deprecated: true
annotations: {category: shop, "line": "a\nb"}
dependencies:
- name: &db postgresql
  version: ~12.1
  repository: https://charts.example
  condition: postgresql.enabled
  tags: [db]
  alias: *db
  import-values: [data, {child: a, parent: b}]
unknown: {left: out}
`
	want := metadata{
		APIVersion: "v2", Name: "web-shop", Version: "1.4.0-rc.1+build.7", AppVersion: "1.1", KubeVersion: ">=1.27", Description: "A shop\twith <everything>",
		Type: "application", Keywords: []string{"shop", "web"}, Home: "https://example.com", Sources: []string{"https://example.com/src"},
		Maintainers: []*maintainer{{"Ada", "ada@example.com", "https://ada.example"}}, Icon: "https://example.com/icon.png", Condition: "web.enabled", Tags: "front",
		Deprecated: true, Annotations: map[string]string{"category": "shop", "line": "a\nb"},
		Dependencies: []*dependency{{
			Name: "postgresql", Version: "~12.1", Repository: "https://charts.example", Condition: "postgresql.enabled", Tags: []string{"db"}, Alias: "postgresql",
			ImportValues: []any{"data", map[string]any{"child": "a", "parent": "b"}},
		}},
	}
	got, err := parseMetadata([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	old, err := parseMetadata([]byte("name: old\nversion: v1.2\nengine: gotpl\ntillerVersion: '>2.0.0'\n"))
	if diff := cmp.Diff(metadata{APIVersion: "v1", Name: "old", Version: "v1.2", Engine: "gotpl", Tiller: ">2.0.0"}, old); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestBadMetadata(t *testing.T) {
	t.Parallel()
	chart := func(name, version string) string {
		return fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)
	}
	for name, test := range map[string]struct{ text, want string }{
		"nothing":                      {"", `the name ""`},
		"a list":                       {"[a]", "cannot be read"},
		"no YAML":                      {"a: [", "cannot be read"},
		"a tab":                        {"a:\n\t- b", "cannot be read"},
		"no name":                      {"apiVersion: v2\nversion: 1.0.0", `the name ""`},
		"no version":                   {"apiVersion: v2\nname: hello", `the version ""`},
		"a path":                       {chart("../hello", "1.0.0"), `the name "../hello"`},
		"two dots":                     {chart("'..'", "1.0.0"), `the name ".."`},
		"a blank":                      {chart("my chart", "1.0.0"), `the name "my chart"`},
		"a line":                       {chart(`"my\nchart"`, "1.0.0"), `the name "my\nchart"`},
		"a plus":                       {chart("a+b", "1.0.0"), `the name "a+b"`},
		"a long name":                  {chart(strings.Repeat("n", maxName+1), "1.0.0"), "the name"},
		"no number":                    {chart("hello", "latest"), `the version "latest"`},
		"a leading zero":               {chart("hello", "1.0.0-01"), `the version "1.0.0-01"`},
		"a slash":                      {chart("hello", "1.0.0/2"), `the version "1.0.0/2"`},
		"a long version":               {chart("hello", "1.0.0-"+strings.Repeat("a", maxVersion)), "the version"},
		"a later format":               {"apiVersion: v3\nname: hello\nversion: 1.0.0", `apiVersion is "v3"`},
		"a format of Helm's":           {"apiVersion: 2\nname: hello\nversion: 1.0.0", `apiVersion is "2"`},
		"another type":                 {chart("hello", "1.0.0") + "type: plugin", `type is "plugin"`},
		"a name that is a list":        {"name: [hello]", "cannot unmarshal array into name of type string"},
		"a not-a-number":               {chart("hello", "1.0.0") + "dependencies: [{name: a, import-values: [.nan]}]", "cannot be read"},
		"a long name of an annotation": {chart("hello", "1.0.0") + "annotations: {? " + strings.Repeat("k", maxKey) + " : a}", "is too long"},
		"a long name in a value":       {chart("hello", "1.0.0") + "dependencies: [{name: a, import-values: [[{? \"" + strings.Repeat("\\x01", 200) + "\" : a}]]}]", "is too long"},
		"an alias of itself":           {"a: &a [*a]", "part of what it stands for"},
		"deep lists":                   {"a: " + strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), "deep in each other"},
		"very deep lists":              {"a: " + strings.Repeat("[", 20_000), "cannot be read"},
		"a billion laughs": {"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n" +
			"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n", "comes to more than"},
		"a long text many times": {chart("hello", "1.0.0") + "annotations:\n  a: &a " + strings.Repeat("x", 30_000) + "\n" + strings.Repeat("  b: *a\n", 1000), "comes to more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := parseMetadata([]byte(test.text))
			if f := fault.As(err); err == nil || f.Code != CodeInvalid || !strings.Contains(f.Message, test.want) {
				t.Errorf("%+v, %v; want %q", m, err, test.want)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("a sentence of %d bytes: %s", len(err.Error()), err)
			}
		})
	}
}

// An entry reads the same as JSON and as YAML, by both libraries, whatever texts
// are in it.
func TestEntryIsJSONAndYAML(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for r := rune(1); r < 0x3000; r++ {
		all.WriteRune(r)
	}
	all.WriteString("\uFEFF\uFFFE\uFFFF\uFFFD𝄞😀\xff")
	m := metadata{APIVersion: "v2", Name: "hello", Version: "0.1.0", Description: all.String(), Annotations: map[string]string{"\x01\u0080: -": "- a: {b\n" + all.String()}}
	text := m.encode(time.Unix(0, 1).UTC(), oci.FromBytes(oci.SHA256, []byte("x")))
	var want, got, strict versionObject
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if want.Description != strings.ToValidUTF8(all.String(), "\uFFFD") {
		t.Error("the description is another one")
	}
	if err := yaml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &strict); err != nil {
		t.Fatal(err)
	}
	var node map[string]any
	if err := yamlnode.Unmarshal(text, &node); err != nil || node["description"] != want.Description {
		t.Error(err, "the description is another one to the other library")
	}
	for _, v := range []versionObject{got, strict} {
		if diff := cmp.Diff(want.metadata, v.metadata) + cmp.Diff(want.URLs, v.URLs); diff != "" || v.Created != want.Created || v.Digest != want.Digest {
			t.Error(diff)
		}
	}
	if bytes.ContainsAny(text, "\n\r\u0085\u2028") {
		t.Error("the entry has more than one line")
	}
}

// Whatever Chart.yaml is taken, its entry does not break the index for anyone.
func FuzzParseMetadata(f *testing.F) {
	for _, s := range []string{hello, hello + "annotations: {a: &x b, ? c : *x}\n", hello + "dependencies: [{name: a, import-values: [a, {b: c}, 1.5, null]}]\nmaintainers: [null, {name: x}]\n",
		"{name: a, version: v1, description: \"\\x7f\\u2028\\0\"}", "name: !!str 1\nversion: !!float 1\n<<: {apiVersion: v1}\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseMetadata(text)
		if err != nil {
			if fault.As(err).Code != CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		entry := m.encode(time.Unix(0, 0), oci.FromBytes(oci.SHA256, text))
		var read versionObject
		if !json.Valid(entry) || bytes.ContainsAny(entry, "\n\r") || len(entry) > 7*maxMetadata {
			t.Fatalf("%d bytes: %.200q", len(entry), entry)
		}
		if err := yaml.UnmarshalStrict(entry, &read); err != nil || read.Name != m.Name || read.Version != m.Version {
			t.Fatalf("%v in %.200q", err, entry)
		}
	})
}
