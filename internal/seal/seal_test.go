package seal

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func testKey(t *testing.T, fill byte) *Key {
	t.Helper()
	k, err := New(bytes.Repeat([]byte{fill}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	k := testKey(t, 1)
	for _, plain := range []string{"", "s3cret", strings.Repeat("x", 100_000)} {
		sealed := k.Seal([]byte(plain), "webhook 12")
		if len(sealed) != len(plain)+28 {
			t.Errorf("%d bytes became %d, want 28 more", len(plain), len(sealed))
		}
		if plain != "" && bytes.Contains(sealed, []byte(plain)) {
			t.Errorf("%q is readable in what was sealed", plain)
		}
		if again := k.Seal([]byte(plain), "webhook 12"); bytes.Equal(sealed, again) {
			t.Errorf("%.10q sealed twice gives the same bytes: whoever sees them sees that the values are equal", plain)
		}
		opened, err := k.Open(sealed, "webhook 12")
		if err != nil || string(opened) != plain {
			t.Errorf("opened %.10q, %v; want %.10q", opened, err, plain)
		}
	}
}

// TestOnlyTheSameOpens tries to open with everything a little different.
func TestOnlyTheSameOpens(t *testing.T) {
	t.Parallel()
	k := testKey(t, 1)
	sealed := k.Seal([]byte("s3cret"), "webhook 12")
	refused := func(what string, k *Key, sealed []byte, purpose string) {
		t.Helper()
		plain, err := k.Open(sealed, purpose)
		if err == nil || plain != nil {
			t.Errorf("%s: opened %q, %v", what, plain, err)
			return
		}
		want := "the stored secret of " + purpose + " cannot be read: the data key is not the one it was written with (DOCKBELL_DATA_KEY, or the key file of the data folder)"
		if err.Error() != want {
			t.Errorf("%s: %q, want %q", what, err, want)
		}
	}
	refused("another key", testKey(t, 2), sealed, "webhook 12")
	refused("another row", k, sealed, "webhook 13")
	refused("no purpose", k, sealed, "")
	refused("nothing", k, nil, "webhook 12")
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		refused("one bit changed", k, changed, "webhook 12")
		refused("cut short", k, sealed[:i], "webhook 12")
	}
	refused("longer", k, append(bytes.Clone(sealed), 0), "webhook 12")
}

func TestParse(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte{1}, KeySize)
	text := base64.StdEncoding.EncodeToString(secret)
	sealed := testKey(t, 1).Seal([]byte("s3cret"), "p")
	for _, good := range []string{text, text + "\n", "  " + text + "\r\n"} {
		k, err := Parse(good)
		if err != nil {
			t.Errorf("Parse(%q): %v", good, err)
			continue
		}
		if plain, err := k.Open(sealed, "p"); err != nil || string(plain) != "s3cret" {
			t.Errorf("the key in %q is another one: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                        "the data key has 0 bytes: it must be 32, in base64",
		text[:40]:                 "the data key has 30 bytes: it must be 32, in base64",
		text[:43]:                 "the data key is not base64",
		"%%% neither this":        "the data key is not base64",
		"c2hvcnQ=":                "the data key has 5 bytes: it must be 32, in base64",
		text[:20] + "\x00" + text: "the data key is not base64",
	} {
		k, err := Parse(bad)
		if k != nil || err == nil || err.Error() != want {
			t.Errorf("Parse(%q) = %v, want %q", bad, err, want)
		}
		if err != nil && bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}

func TestLoadFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "data-key")
	made, err := LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: mode %v, %v; want readable by its owner only", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("beside the key file there is more: %v, %v", entries, err)
	}
	loaded, err := LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := loaded.Open(made.Seal([]byte("s3cret"), "p"), "p"); err != nil || string(plain) != "s3cret" {
		t.Errorf("the key that was read is not the key that was made: %v", err)
	}
	other, err := LoadFile(filepath.Join(t.TempDir(), "data-key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(made.Seal([]byte("s3cret"), "p"), "p"); err == nil {
		t.Error("two installations made the same key")
	}
}

// TestLoadFileFails checks above all that a key file that cannot be used is
// left as it is: with a new one in its place, everything sealed would be lost.
func TestLoadFileFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "torn": "AQEB", "foreign": "-----BEGIN"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := LoadFile(path)
		if k != nil || err == nil || !strings.HasPrefix(err.Error(), path+": the data key ") {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
		if now, _ := os.ReadFile(path); string(now) != content {
			t.Errorf("%s: the file was changed to %q", name, now)
		}
	}
	if _, err := LoadFile(filepath.Join(dir, "no", "such", "folder")); err == nil || !strings.HasPrefix(err.Error(), "data key: ") {
		t.Errorf("without a folder: %v", err)
	}
	if _, err := LoadFile(dir); err == nil || !strings.HasPrefix(err.Error(), "data key: ") {
		t.Errorf("a folder for a file: %v", err)
	}
}

func TestDerive(t *testing.T) {
	t.Parallel()
	k := testKey(t, 1)
	a := k.Derive("upload ids")
	if len(a) != KeySize {
		t.Errorf("%d bytes, want %d", len(a), KeySize)
	}
	if !bytes.Equal(a, testKey(t, 1).Derive("upload ids")) {
		t.Error("the same key and purpose derive something else")
	}
	for what, other := range map[string][]byte{
		"another purpose": k.Derive("upload id"), "no purpose": k.Derive(""),
		"another key": testKey(t, 2).Derive("upload ids"), "the key itself": bytes.Repeat([]byte{1}, KeySize),
	} {
		if bytes.Equal(a, other) {
			t.Errorf("%s derives the same", what)
		}
	}
}
