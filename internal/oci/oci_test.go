package oci

import (
	"regexp"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

// The grammars of the specifications, word for word.
var (
	nameGrammar   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestGrammar = regexp.MustCompile(`^(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$`)
)

const (
	emptySHA256 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	emptySHA512 = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

// checkFault checks code and kind of a refusal, and that its message says what
// was refused.
func checkFault(t *testing.T, err error, kind fault.Kind, code string, says ...string) {
	t.Helper()
	f := fault.As(err)
	if f == nil {
		t.Errorf("taken: want %s", code)
		return
	}
	if f.Kind != kind || f.Code != code {
		t.Errorf("refused as %s (%v): want %s (%v)", f.Code, f.Kind, code, kind)
	}
	for _, s := range says {
		if !strings.Contains(f.Message, s) {
			t.Errorf("the refusal %q does not say %q", f.Message, s)
		}
	}
}

func TestParseRepository(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"a", "0", "library/nginx", "team/web-frontend", "a.b", "a_b", "a__b", "a-b", "a---b", "a/b/c/d/e/f", "a0.b1_c2__d3-e4",
		"localhost", strings.Repeat("a", 255), strings.Repeat("a/", 127) + "a",
	} {
		if r, err := ParseRepository(s); err != nil || string(r) != s {
			t.Errorf("%q: %v", s, err)
		}
	}
	for s, says := range map[string]string{
		"":                       "empty",
		strings.Repeat("a", 256): "255",
		"/":                      "each part",
		"/a":                     "each part",
		"a/":                     "each part",
		"a//b":                   "each part",
		"A":                      "each part",
		"Team/web":               "each part",
		".a":                     "each part",
		"a.":                     "each part",
		"-a":                     "each part",
		"a-":                     "each part",
		"_a":                     "each part",
		"a_":                     "each part",
		"a..b":                   "each part",
		"a___b":                  "each part",
		"a._b":                   "each part",
		"a-_b":                   "each part",
		"a/../b":                 "each part",
		"a/./b":                  "each part",
		"..":                     "each part",
		"a b":                    "each part",
		"a:b":                    "each part",
		"a@b":                    "each part",
		"a%2fb":                  "each part",
		`a\b`:                    "each part",
		"a\x00b":                 "each part",
		"a\n":                    "each part",
		"é":                      "each part",
		"a\u0131":                "each part",
	} {
		_, err := ParseRepository(s)
		checkFault(t, err, fault.Invalid, CodeNameInvalid, says)
	}
}

func TestParseTag(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"latest", "v1.0", "_", "A", "0", "a.b-c_d", "1.2.3-rc.1", strings.Repeat("x", 128)} {
		if tag, err := ParseTag(s); err != nil || string(tag) != s {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", ".a", "-a", "..", "a/b", "a:b", "a b", "a+b", "a@b", "a\n", "é", strings.Repeat("x", 129)} {
		_, err := ParseTag(s)
		checkFault(t, err, fault.Invalid, CodeManifestInvalid, "tag")
	}
}

func TestParseDigest(t *testing.T) {
	t.Parallel()
	for _, s := range []string{emptySHA256, emptySHA512} {
		d, err := ParseDigest(s)
		if err != nil || string(d) != s || d.Algorithm()+":"+d.Encoded() != s {
			t.Errorf("%q is %q, %v", s, d, err)
		}
		if FromBytes(d.Algorithm(), nil) != d || DigestOf(d.Algorithm(), d.Hash().Sum(nil)) != d {
			t.Errorf("%s hashes nothing to something else", d.Algorithm())
		}
	}
	hex256 := strings.TrimPrefix(emptySHA256, "sha256:")
	for s, says := range map[string]string{
		"":                            "no ':'",
		"latest":                      "no ':'",
		hex256:                        "no ':'",
		":" + hex256:                  "neither sha256 nor sha512",
		"md5:" + hex256[:32]:          "neither sha256 nor sha512",
		"SHA256:" + hex256:            "neither sha256 nor sha512",
		"sha256+x:" + hex256:          "neither sha256 nor sha512",
		"sha256:":                     "wrong length",
		"sha256:" + hex256[1:]:        "wrong length",
		"sha256:" + hex256 + "0":      "wrong length",
		"sha512:" + hex256:            "wrong length",
		"sha256:" + hex256[1:] + "g":  "hexadecimal",
		"sha256:" + hex256[1:] + "A":  "hexadecimal",
		"sha256:" + hex256[1:] + "/":  "hexadecimal",
		"sha256:../" + hex256[3:]:     "hexadecimal",
		"sha256:sha256:" + hex256[7:]: "hexadecimal",
	} {
		_, err := ParseDigest(s)
		checkFault(t, err, fault.Invalid, CodeDigestInvalid, says)
	}
}

func TestParseReference(t *testing.T) {
	t.Parallel()
	if ref, err := ParseReference("v1"); err != nil || ref != (Reference{Tag: "v1"}) || ref.String() != "v1" {
		t.Errorf("v1 is %+v, %v", ref, err)
	}
	if ref, err := ParseReference(emptySHA256); err != nil || ref != (Reference{Digest: emptySHA256}) || ref.String() != emptySHA256 {
		t.Errorf("a digest is %+v, %v", ref, err)
	}
	_, err := ParseReference("v1:2")
	checkFault(t, err, fault.Invalid, CodeDigestInvalid)
	_, err = ParseReference("v1/2")
	checkFault(t, err, fault.Invalid, CodeManifestInvalid)
}

func FuzzParseRepository(f *testing.F) {
	for _, seed := range []string{"a/b-c__d.e", "a..b", "a/../b", "A", "a_-b", strings.Repeat("a", 256)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := ParseRepository(s)
		if want := nameGrammar.MatchString(s) && len(s) <= MaxRepositoryLength; (err == nil) != want {
			t.Errorf("%q: %v, the specification says %v", s, err, want)
		}
	})
}

func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{"latest", emptySHA256, emptySHA512, "-", "sha256:", "a:b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseReference(s)
		if want := tagGrammar.MatchString(s) || digestGrammar.MatchString(s); (err == nil) != want {
			t.Errorf("%q: %v, the specification says %v", s, err, want)
		}
		if err == nil && (ref.String() != s || (ref.Tag == "") == (ref.Digest == "")) {
			t.Errorf("%q is %+v", s, ref)
		}
	})
}
