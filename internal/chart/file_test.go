package chart

import (
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

func TestParseFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]file{
		"hello-0.1.0.tgz":                {"hello-0.1.0.tgz", false},
		"hello-0.1.0.tgz.prov":           {"hello-0.1.0.tgz", true},
		"web-shop-1.4.0-rc.1+build7.tgz": {"web-shop-1.4.0-rc.1+build7.tgz", false},
		"A_b.c-v1.tgz":                   {"A_b.c-v1.tgz", false},
		"a-1.tgz.tgz":                    {"a-1.tgz.tgz", false}, // a version may not be so, but no chart will be
	} {
		if got, err := parseFile(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", ".", "..", ".tgz", "-.tgz", "hello.tgz", "hello-.tgz", "-0.1.0.tgz", "hello-0.1.0", "hello-0.1.0.zip", "hello-0.1.0.tgz.sig", "hello-0.1.0.TGZ",
		"hello-0.1.0.prov", "hello-0.1.0.tgz.prov.prov", "a/b-1.tgz", "../a-1.tgz", `a\b-1.tgz`, "a b-1.tgz", "a-1\n.tgz", "a-1%2f.tgz", "ä-1.tgz", "a-1\x00.tgz",
		strings.Repeat("n", maxName+maxVersion) + "-1.tgz",
	} {
		if got, err := parseFile(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	for _, s := range []string{"hello-0.1.0.tgz", "hello-0.1.0.tgz.prov", "web-shop-1.4.0-rc.1+build.7.tgz", "../a-1.tgz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseFile(text)
		switch {
		case err != nil:
			if fault.As(err).Code != CodeInvalid {
				t.Fatal(err)
			}
		case got.String() != text, len(text) > 255, strings.ContainsAny(text, "/\\\x00 \n%"), text[0] == '-':
			t.Fatalf("%q is taken for %+v", text, got)
		}
	})
}
