package fs_test

import (
	"bufio"
	"bytes"
	"errors"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/blob/blobtest"
	"github.com/dockbell/dockbell/internal/blob/fs"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

func open(t testing.TB, dir string) *fs.Store {
	t.Helper()
	s, err := fs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) func() blob.Store {
		dir := filepath.Join(t.TempDir(), "new", "data")
		return func() blob.Store { return open(t, dir) }
	})
}

// TestLayout is about what operators see, and other programs on the machine do
// not.
func TestLayout(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir)
	file := blobtest.Keep(t, s, "u1", "kept")
	blobtest.Stage(t, s, "u2", 0, "staged")
	hex := oci.FromBytes(oci.SHA256, []byte("kept")).Encoded()
	if want := "blobs/sha256/" + hex[:2] + "/" + hex + ".u1"; file != want {
		t.Errorf("kept as %s, want %s", file, want)
	}
	want := []string{".", "blobs", "blobs/sha256", "blobs/sha256/" + hex[:2], file, "uploads", "uploads/u2"}
	var got []string
	err := iofs.WalkDir(os.DirFS(dir), ".", func(path string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		got = append(got, path)
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others can reach it", path, info.Mode())
		}
		return err
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("the folder holds %q, %v; want %q", got, err, want)
	}
}

// TestNeighbours: the folder is the server's whole data folder, and the store
// must touch nothing in it but its own.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	key := filepath.Join(dir, "data-key")
	if err := os.WriteFile(key, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"data-key", "blobs/../data-key", "uploads/../data-key", "./data-key", "uploads", "blobs"} {
		if f, err := s.Open(name); !fault.Is(err, fault.NotFound) {
			t.Errorf("Open(%q): %v; want a fault of kind not found", name, err)
			if err == nil {
				f.Close()
			}
		}
		if err := s.Remove(name); err == nil {
			t.Errorf("Remove(%q) succeeds", name)
		}
	}
	if err := s.Discard("../data-key"); err == nil {
		t.Error("Discard leaves the folder of uploads")
	}
	if text, err := os.ReadFile(key); err != nil || string(text) != "secret" {
		t.Errorf("the neighbour holds %q, %v", text, err)
	}
}

// TestLinks plants symbolic links that lead out of the folder where the store
// expects files and folders.
func TestLinks(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := func(target, name string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.Symlink(target, name)); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	s := open(t, dir)
	link(secret, filepath.Join(dir, "uploads", "u1"))
	link(secret, filepath.Join(dir, "blobs", "sha256", "ab", "cd.u1"))
	link(outside, filepath.Join(dir, "blobs", "sha512"))
	if f, err := s.OpenStaged("u1"); err == nil {
		t.Error("OpenStaged follows a link out of the folder")
		f.Close()
	}
	if f, err := s.Stage("u1", 0); err == nil {
		t.Error("Stage follows a link out of the folder")
		f.Close()
	}
	if f, err := s.Open("blobs/sha256/ab/cd.u1"); err == nil {
		t.Error("Open follows a link out of the folder")
		f.Close()
	}
	blobtest.Stage(t, s, "u2", 0, "x")
	if file, err := s.Keep("u2", oci.FromBytes(oci.SHA512, []byte("x"))); err == nil {
		t.Errorf("Keep follows a link out of the folder, as %s", file)
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != "secret" {
		t.Errorf("what is outside now holds %q, %v", text, err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside there are %v, %v", entries, err)
	}
}

// TestOpenFails: an operator reads these.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	taken := filepath.Join(dir, "taken")
	if err := errors.Join(os.Mkdir(taken, 0o700), os.WriteFile(filepath.Join(taken, "blobs"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{file, filepath.Join(file, "below")} {
		if _, err := fs.Open(at); err == nil || !strings.Contains(err.Error(), "blob folder: ") || !strings.Contains(err.Error(), at[:len(file)]) {
			t.Errorf("Open(%s): %v", at, err)
		}
	}
	s, err := fs.Open(taken)
	if err == nil {
		defer s.Close()
		blobtest.Stage(t, s, "u1", 0, "x")
		if file, err := s.Keep("u1", oci.FromBytes(oci.SHA256, []byte("x"))); err == nil {
			t.Errorf("kept %s below a file", file)
		}
	}
}

// inTrace is set in the process that TestDurable watches.
const inTrace = "DOCKBELL_TEST_TRACED_STORE"

// TestTraced is what TestDurable watches: two contents that share a folder.
func TestTraced(t *testing.T) {
	dir := os.Getenv(inTrace)
	if dir == "" {
		t.Skip("only for TestDurable")
	}
	s := open(t, dir)
	blobtest.Keep(t, s, "first", "same folder")
	blobtest.Keep(t, s, "second", "same folder")
}

// TestDurable looks at the system calls of a store: what has to be flushed is
// flushed, and in the order that makes it count.
func TestDurable(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		message := "NO STRACE: nothing shows in which order the store flushes. Install it (Debian: apt-get install strace)"
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	dir := t.TempDir()
	log := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-y", "-o", log, "-e", "trace=fsync,fdatasync,rename,renameat,renameat2,mkdirat", os.Args[0], "-test.run=^TestTraced$")
	cmd.Env = append(os.Environ(), inTrace+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("ptrace")) {
			t.Skipf("NO TRACING: this machine does not let strace work:\n%s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	hex := oci.FromBytes(oci.SHA256, []byte("same folder")).Encoded()
	folder := "blobs/sha256/" + hex[:2]
	want := []string{
		"mkdir uploads", "fsync .",
		"mkdir blobs", "fsync .",
		// The first: staged, flushed, and flushed as an entry of its folder.
		"fsync uploads/first", "fsync uploads",
		// Kept: flushed again, in case nobody did before; the way to it; the
		// rename; and its folder.
		"fsync uploads/first",
		"mkdir blobs/sha256", "fsync blobs",
		"mkdir " + folder, "fsync blobs/sha256",
		"rename uploads/first " + folder + "/" + hex + ".first", "fsync " + folder,
		// The second finds its way made.
		"fsync uploads/second", "fsync uploads",
		"fsync uploads/second",
		"rename uploads/second " + folder + "/" + hex + ".second", "fsync " + folder,
	}
	if got := calls(t, log, dir); !slices.Equal(got, want) {
		t.Errorf("system calls:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// call is a line of the trace. A call during which another thread made one is
// split in two: its beginning has the operands.
var call = regexp.MustCompile(`(fsync|mkdir|rename)[a-z0-9]*\((.*?)(?:\) += 0| <unfinished)`)

// operand is a descriptor with the path that strace adds, or such a descriptor
// and a name below it.
var operand = regexp.MustCompile(`\d+<([^>]*)>(?:, "([^"]*)")?`)

// calls returns what a trace says of dir, with paths relative to it.
func calls(t *testing.T, log, dir string) (all []string) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		m := call.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		words := []string{m[1]}
		for _, o := range operand.FindAllStringSubmatch(m[2], -1) {
			rel, err := filepath.Rel(dir, filepath.Join(o[1], o[2]))
			if err != nil {
				t.Fatal(err)
			}
			words = append(words, rel)
		}
		if len(words) > 1 && !strings.HasPrefix(words[1], "..") {
			all = append(all, strings.Join(words, " "))
		}
	}
	return all
}

// TestAgeOfWhatIsKept: an upload may take days, and its file is young from the
// moment it is kept. Names that no one of us made are not listed.
func TestAgeOfWhatIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	blobtest.Stage(t, s, "u1", 0, "slow")
	old := time.Now().Add(-72 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "uploads", "u1"), old, old); err != nil {
		t.Fatal(err)
	}
	for f, err := range s.Uploads() {
		if err != nil || f.Name != "u1" || !f.Changed.Before(time.Now().Add(-71*time.Hour)) {
			t.Errorf("staged: %+v, %v", f, err)
		}
	}
	file, err := s.Keep("u1", oci.FromBytes(oci.SHA256, []byte("slow")))
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, filepath.Dir(file))
	for _, foreign := range []string{filepath.Join(folder, "README"), filepath.Join(folder, ".hidden.x"), filepath.Join(dir, "blobs", "x.y"), filepath.Join(dir, "uploads", "my file")} {
		if err := os.WriteFile(foreign, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, file), filepath.Join(folder, "aa.link")); err != nil {
		t.Fatal(err)
	}
	var found []string
	for f, err := range s.Kept() {
		if err != nil || f.Changed.Before(time.Now().Add(-time.Hour)) {
			t.Errorf("kept: %+v, %v", f, err)
		}
		found = append(found, f.Name)
	}
	for f := range s.Uploads() {
		found = append(found, f.Name)
	}
	if !slices.Equal(found, []string{file}) {
		t.Errorf("listed: %q, want %q", found, file)
	}
}
