// Package blobtest holds the behaviour that every blob.Store must show, as plain
// functions that the tests of a store call.
//
// It is about what a caller can see: contents, offsets, names and kinds of
// errors. What survives a power failure only a store's own tests can look at.
package blobtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// Run runs all of the behaviour. open opens an empty store; called again in the
// same test it opens that store again, as after a restart.
func Run(t *testing.T, open func(t *testing.T) func() blob.Store) {
	for _, b := range []struct {
		name string
		test func(t *testing.T, open func() blob.Store)
	}{
		{"keep", keeps},
		{"append", appends},
		{"truncate", truncates},
		{"start over", startsOver},
		{"too little staged", knowsWhatIsStaged},
		{"absent", sayWhatIsAbsent},
		{"restage", restages},
		{"discard", discards},
		{"remove", removes},
		{"read while removed", readersGoOn},
		{"list", lists},
		{"list while it changes", listsOnWhileItChanges},
		{"same content twice", keepsTwice},
		{"digests", takesEveryDigest},
		{"seek", seeks},
		{"reopen", survivesReopening},
		{"hostile names", refusesHostileNames},
		{"concurrent", worksConcurrently},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.test(t, open(t))
		})
	}
}

// Stage stages content for an upload at an offset and makes it durable.
func Stage(t testing.TB, s blob.Store, upload string, at int64, content string) {
	t.Helper()
	staged, err := s.Stage(upload, at)
	if err != nil {
		t.Fatalf("Stage(%s, %d): %v", upload, at, err)
	}
	n, err := io.WriteString(staged, content)
	if n != len(content) {
		t.Errorf("wrote %d of %d bytes", n, len(content))
	}
	if err := errors.Join(err, staged.Sync(), staged.Close()); err != nil {
		t.Fatalf("stage %s: %v", upload, err)
	}
}

// Keep stages content and keeps it.
func Keep(t testing.TB, s blob.Store, upload, content string) (file string) {
	t.Helper()
	Stage(t, s, upload, 0, content)
	file, err := s.Keep(upload, digest(content))
	if err != nil {
		t.Fatalf("Keep(%s): %v", upload, err)
	}
	return file
}

func digest(content string) oci.Digest { return oci.FromBytes(oci.SHA256, []byte(content)) }

// holds checks that a kept file has that content.
func holds(t testing.TB, s blob.Store, file, content string) {
	t.Helper()
	f, err := s.Open(file)
	if err != nil {
		t.Errorf("Open(%s): %v", file, err)
		return
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != content {
		t.Errorf("%s holds %.40q (%d bytes), %v; want %.40q (%d bytes)", file, got, len(got), err, content, len(content))
	}
}

// holdsStaged checks that an upload has that content staged.
func holdsStaged(t testing.TB, s blob.Store, upload, content string) {
	t.Helper()
	f, err := s.OpenStaged(upload)
	if err != nil {
		t.Errorf("OpenStaged(%s): %v", upload, err)
		return
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != content {
		t.Errorf("upload %s has %.40q staged, %v; want %.40q", upload, got, err, content)
	}
}

// absent checks that an error is of the kind NotFound.
func absent(t testing.TB, what string, err error) {
	t.Helper()
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("%s: %v; want a fault of kind not found", what, err)
	}
}

func keeps(t *testing.T, open func() blob.Store) {
	s := open()
	content := strings.Repeat("layer ", 100_000)
	file := Keep(t, s, "u1", content)
	holds(t, s, file, content)
	_, err := s.OpenStaged("u1")
	absent(t, "what was kept is no longer staged", err)
	holds(t, s, Keep(t, s, "u2", ""), "")
}

func appends(t *testing.T, open func() blob.Store) {
	s := open()
	Stage(t, s, "u1", 0, "one ")
	Stage(t, s, "u1", 4, "two ")
	Stage(t, s, "u1", 8, "")
	holdsStaged(t, s, "u1", "one two ")
	staged, err := s.Stage("u1", 8)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"three", " ", "four"} {
		if _, err := io.WriteString(staged, word); err != nil {
			t.Fatal(err)
		}
	}
	if err := staged.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := s.Keep("u1", digest("one two three four"))
	if err != nil {
		t.Fatal(err)
	}
	holds(t, s, file, "one two three four")
}

func truncates(t *testing.T, open func() blob.Store) {
	s := open()
	Stage(t, s, "u1", 0, "0123456789")
	Stage(t, s, "u1", 4, "")
	holdsStaged(t, s, "u1", "0123")
	Stage(t, s, "u1", 2, "ab")
	holdsStaged(t, s, "u1", "01ab")
}

func startsOver(t *testing.T, open func() blob.Store) {
	s := open()
	Stage(t, s, "u1", 0, "a first try that was longer")
	Stage(t, s, "u1", 0, "second")
	holdsStaged(t, s, "u1", "second")
	file, err := s.Keep("u1", digest("second"))
	if err != nil {
		t.Fatal(err)
	}
	holds(t, s, file, "second")
}

func knowsWhatIsStaged(t *testing.T, open func() blob.Store) {
	s := open()
	Stage(t, s, "u1", 0, "0123")
	_, err := s.Stage("u1", 5)
	absent(t, "an offset behind the end", err)
	holdsStaged(t, s, "u1", "0123")
	_, err = s.Stage("u2", 1)
	absent(t, "an offset in what was never staged", err)
	_, err = s.OpenStaged("u2")
	absent(t, "a refused Stage staged something", err)
}

func sayWhatIsAbsent(t *testing.T, open func() blob.Store) {
	s := open()
	_, err := s.OpenStaged("u1")
	absent(t, "OpenStaged", err)
	_, err = s.Keep("u1", digest("x"))
	absent(t, "Keep", err)
	file := Keep(t, s, "u1", "x")
	_, err = s.Open(file + "0")
	absent(t, "Open", err)
	_, err = s.Keep("u1", digest("x"))
	absent(t, "Keep a second time", err)
	holds(t, s, file, "x")
}

// restages: what was kept for nothing goes on as an upload.
func restages(t *testing.T, open func() blob.Store) {
	s := open()
	file := Keep(t, s, "u1", "begun")
	if err := s.Restage(file, "u1"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Open(file)
	absent(t, "what was staged again", err)
	Stage(t, s, "u1", int64(len("begun")), " and ended")
	kept, err := s.Keep("u1", digest("begun and ended"))
	if err != nil {
		t.Fatal(err)
	}
	holds(t, s, kept, "begun and ended")
	absent(t, "Restage of what is not kept", s.Restage(file, "u2"))
}

func discards(t *testing.T, open func() blob.Store) {
	s := open()
	Stage(t, s, "u1", 0, "x")
	Stage(t, s, "u2", 0, "y")
	for range 2 { // none is no error
		if err := s.Discard("u1"); err != nil {
			t.Errorf("Discard: %v", err)
		}
	}
	_, err := s.OpenStaged("u1")
	absent(t, "what was discarded", err)
	holdsStaged(t, s, "u2", "y")
}

func removes(t *testing.T, open func() blob.Store) {
	s := open()
	gone, stays := Keep(t, s, "u1", "x"), Keep(t, s, "u2", "x")
	for range 2 {
		if err := s.Remove(gone); err != nil {
			t.Errorf("Remove: %v", err)
		}
	}
	_, err := s.Open(gone)
	absent(t, "what was removed", err)
	holds(t, s, stays, "x")
}

// readersGoOn: a blob may be collected while someone pulls it.
func readersGoOn(t *testing.T, open func() blob.Store) {
	s := open()
	file := Keep(t, s, "u1", "still here")
	f, err := s.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || string(got) != "still here" {
		t.Errorf("a reader of removed content got %q, %v", got, err)
	}
}

// names returns the names and sizes of what is listed.
func names(t testing.TB, files iter.Seq2[blob.File, error], since time.Time) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	for f, err := range files {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := found[f.Name]; twice {
			t.Errorf("%s is listed twice", f.Name)
		}
		// A store's clock may be another, and may count in seconds.
		if f.Changed.Before(since.Add(-time.Minute)) || f.Changed.After(time.Now().Add(time.Minute)) {
			t.Errorf("%s changed at %v, and it was made after %v", f.Name, f.Changed, since)
		}
		found[f.Name] = f.Size
	}
	return found
}

// lists: whoever sweeps finds everything, and by the name that Remove and Discard
// take.
func lists(t *testing.T, open func() blob.Store) {
	s, began := open(), time.Now()
	if found := names(t, s.Kept(), began); len(found) != 0 {
		t.Errorf("an empty store lists %v", found)
	}
	kept, staged := map[string]int64{}, map[string]int64{}
	for i := range 600 {
		content := fmt.Sprint("content ", i%300) // half of them are there twice
		kept[Keep(t, s, fmt.Sprintf("kept%d", i), content)] = int64(len(content))
		if i < 300 {
			upload := fmt.Sprintf("staged%d", i)
			Stage(t, s, upload, 0, content)
			staged[upload] = int64(len(content))
		}
	}
	s = open()
	if found := names(t, s.Kept(), began); !maps.Equal(found, kept) {
		t.Errorf("%d kept contents are listed, want %d: %v", len(found), len(kept), found)
	}
	if found := names(t, s.Uploads(), began); !maps.Equal(found, staged) {
		t.Errorf("%d uploads are listed, want %d: %v", len(found), len(staged), found)
	}
	for range s.Kept() {
		break // whoever has seen enough may stop
	}
}

// listsOnWhileItChanges: what is there all the time is listed, whatever comes and
// goes, and by whomever.
func listsOnWhileItChanges(t *testing.T, open func() blob.Store) {
	s := open()
	stays := map[string]bool{}
	for i := range 200 {
		stays[Keep(t, s, fmt.Sprintf("stays%d", i), fmt.Sprint(i))] = true
	}
	var goes []string
	for i := range 200 {
		goes = append(goes, Keep(t, s, fmt.Sprintf("goes%d", i), fmt.Sprint(i)))
	}
	n := 0
	for f, err := range s.Kept() {
		if err != nil {
			t.Fatal(err)
		}
		delete(stays, f.Name)
		if n < len(goes) {
			if err := s.Remove(goes[n]); err != nil {
				t.Fatal(err)
			}
			Keep(t, s, fmt.Sprintf("comes%d", n), fmt.Sprint(n))
			n++
		}
	}
	if len(stays) > 0 {
		t.Errorf("not listed: %v", stays)
	}
}

// keepsTwice: a name is never used for two contents, so each upload of one
// content has its own, and removing one does not touch the other.
func keepsTwice(t *testing.T, open func() blob.Store) {
	s := open()
	a, b := Keep(t, s, "u1", "same"), Keep(t, s, "u2", "same")
	if a == b {
		t.Errorf("two uploads were kept under one name, %s", a)
	}
	holds(t, s, a, "same")
	holds(t, s, b, "same")
}

func takesEveryDigest(t *testing.T, open func() blob.Store) {
	s := open()
	for i, algorithm := range []string{oci.SHA256, oci.SHA512} {
		upload := fmt.Sprintf("u%d", i)
		Stage(t, s, upload, 0, algorithm)
		file, err := s.Keep(upload, oci.FromBytes(algorithm, []byte(algorithm)))
		if err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		holds(t, s, file, algorithm)
	}
}

func seeks(t *testing.T, open func() blob.Store) {
	s := open()
	f, err := s.Open(Keep(t, s, "u1", "0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, step := range []struct {
		offset int64
		whence int
		at     int64
		rest   string
	}{{4, io.SeekStart, 4, "456789"}, {-3, io.SeekEnd, 7, "789"}, {0, io.SeekStart, 0, "0123456789"}, {0, io.SeekEnd, 10, ""}} {
		at, err := f.Seek(step.offset, step.whence)
		if err != nil || at != step.at {
			t.Errorf("Seek(%d, %d) = %d, %v; want %d", step.offset, step.whence, at, err, step.at)
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != step.rest {
			t.Errorf("after Seek(%d, %d): %q, %v; want %q", step.offset, step.whence, got, err, step.rest)
		}
	}
}

func survivesReopening(t *testing.T, open func() blob.Store) {
	s := open()
	file := Keep(t, s, "u1", "kept")
	Stage(t, s, "u2", 0, "stag")
	s = open()
	holds(t, s, file, "kept")
	Stage(t, s, "u2", 4, "ed")
	holdsStaged(t, s, "u2", "staged")
	holds(t, s, Keep(t, s, "u3", "kept later"), "kept later")
}

// HostileNames are names that a store must not follow to where they point.
var HostileNames = []string{
	"", ".", "..", "../u1", "../../u1", "/u1", "/etc/passwd", "a/../../u1", "u1/", "./u1", "u1/.", "u1/../u1",
	"u\x00", "u\n1", `..\u1`, "uploads/u1", "%2e%2e/u1", "ü", strings.Repeat("../", 40) + "etc/passwd",
}

// refusesHostileNames tries them everywhere. What is asked for by such a name is
// not there; what is to be written under it is refused.
func refusesHostileNames(t *testing.T, open func() blob.Store) {
	s := open()
	file := Keep(t, s, "kept", "kept")
	Stage(t, s, "u1", 0, "staged")
	for _, name := range HostileNames {
		if staged, err := s.Stage(name, 0); err == nil {
			t.Errorf("Stage(%q) succeeds", name)
			staged.Close()
		}
		if f, err := s.OpenStaged(name); err == nil {
			t.Errorf("OpenStaged(%q) succeeds", name)
			f.Close()
		}
		if kept, err := s.Keep(name, digest("staged")); err == nil {
			t.Errorf("Keep(%q) succeeds, as %s", name, kept)
		}
		if f, err := s.Open(name); !fault.Is(err, fault.NotFound) {
			t.Errorf("Open(%q): %v; want a fault of kind not found", name, err)
			if err == nil {
				f.Close()
			}
		}
		for what, err := range map[string]error{"Discard": s.Discard(name), "Remove": s.Remove(name)} {
			if err == nil {
				t.Errorf("%s(%q) succeeds", what, name)
			}
		}
		for _, near := range []string{file + "/../../../../" + name, file + "/" + name} {
			if f, err := s.Open(near); err == nil {
				t.Errorf("Open(%q) succeeds", near)
				f.Close()
			}
		}
	}
	holds(t, s, file, "kept")
	holdsStaged(t, s, "u1", "staged")
}

func worksConcurrently(t *testing.T, open func() blob.Store) {
	s := open()
	const uploads = 16
	files := make([]string, uploads)
	var wg sync.WaitGroup
	for i := range uploads {
		wg.Go(func() {
			upload := fmt.Sprintf("u%d", i)
			content := bytes.Repeat([]byte{byte(i)}, 10_000)
			for at := 0; at < len(content); at += 2500 {
				staged, err := s.Stage(upload, int64(at))
				if err == nil {
					_, err = staged.Write(content[at : at+2500])
					err = errors.Join(err, staged.Close())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			var err error
			if files[i], err = s.Keep(upload, oci.FromBytes(oci.SHA256, content)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, file := range files {
		holds(t, s, file, string(bytes.Repeat([]byte{byte(i)}, 10_000)))
	}
}
