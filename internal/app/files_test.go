package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWritePrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("something longer that was there before, for everyone to read\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const text = "correct horse\n"
	if err := writePrivate(path, text); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("%q, %v; want %q", got, err, text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
	if err := writePrivate(filepath.Join(dir, "nowhere", "x"), "hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

func TestMakeFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b")
	for range 2 { // a second time it is there
		if err := makeFolder(path); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
