package app

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/blob/blobtest"
	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/oci"
)

// collect has the server run a collection to its end, and returns its figures.
func (s *opened) collect() (c struct {
	ID                                int64
	State                             string
	Condemned, Unlinked, Blobs, Files int64
}) {
	s.t.Helper()
	const path = "/api/v1/garbageCollections"
	w := s.do(s.Operator(), s.Password, "POST", "localhost", path, "")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if err := json.Unmarshal(w.Body.Bytes(), &c); err != nil || w.Code/100 != 2 {
			s.t.Fatalf("%d %s", w.Code, w.Body)
		}
		if c.State != "running" {
			return c
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("it does not end: %s", w.Body)
		}
		w = s.do(s.Operator(), s.Password, "GET", "localhost", fmt.Sprint(path, "/", c.ID), "")
	}
}

// TestCollect removes what a deleted image leaves, and a file without a row; but no
// file from a folder that was used with another database.
func TestCollect(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	start := func() *opened {
		cfg := config.Default()
		cfg.Listen, cfg.Data, cfg.CollectGrace = "127.0.0.1:0", data, 0
		s, err := Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.close() })
		return &opened{s, t}
	}
	s := start()
	layer := strings.Repeat("x", 70_000)
	digest := oci.FromBytes(oci.SHA256, []byte(layer))
	if w := s.do(s.Operator(), s.Password, "POST", "localhost", "/v2/app/blobs/uploads/?digest="+string(digest), layer); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if code := s.push(s.Operator(), s.Password, "dockbell"); code != http.StatusCreated {
		t.Fatal(code)
	}
	stray := blobtest.Keep(t, s.blobs, "u1", "stray")
	old := time.Now().Add(-25 * time.Hour)
	files := func() int {
		all, err := filepath.Glob(filepath.Join(data, "blobs", "*", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if err := os.Chtimes(f, old, old); err != nil {
				t.Fatal(err)
			}
		}
		return len(all)
	}
	if n := files(); n != 2 {
		t.Fatalf("%d files", n)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}

	if err := os.Rename(filepath.Join(data, "dockbell.db"), filepath.Join(data, "first.db")); err != nil { // another database
		t.Fatal(err)
	}
	s = start()
	if c := s.collect(); c.State != "done" || c.Files != 0 || files() != 2 {
		t.Errorf("with another database: %+v, %d files", c, files())
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(data, "first.db"), filepath.Join(data, "dockbell.db")); err != nil {
		t.Fatal(err)
	}
	s = start()
	if c := s.collect(); c.State != "done" || c.Files != 1 || c.Condemned != 1 || files() != 1 {
		t.Errorf("with its own: %+v, %d files", c, files())
	}
	if _, err := s.blobs.Open(stray); err == nil {
		t.Error("the file without a row is there")
	}
	if c := s.collect(); c.Unlinked != 1 || c.Blobs != 1 || files() != 0 {
		t.Errorf("the second look: %+v, %d files", c, files())
	}
	if w := s.do(s.Operator(), s.Password, "GET", "localhost", "/v2/app/manifests/v1", ""); w.Code != http.StatusOK {
		t.Errorf("what is needed: %d %s", w.Code, w.Body)
	}
}

// TestCollectSparesCharts has a chart in a file, as old as files are that nobody
// owns.
func TestCollectSparesCharts(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := openServer(t, data)
	filler := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{1}).Read(filler)
	chart := string(HelmPackage(t, "large", "1.0.0", filler...))
	const path = "/helm/v1/repo/_blobs/large-1.0.0.tgz"
	if w := s.do(s.Operator(), s.Password, "PUT", "localhost", path, chart); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	files, err := filepath.Glob(filepath.Join(data, "blobs", "*", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	old := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(files[0], old, old); err != nil {
		t.Fatal(err)
	}
	if c := s.collect(); c.State != "done" || c.Files != 0 {
		t.Errorf("%+v", c)
	}
	if w := s.do(s.Operator(), s.Password, "GET", "localhost", path, ""); w.Code != http.StatusOK || w.Body.String() != chart {
		t.Errorf("%d, %d bytes", w.Code, w.Body.Len())
	}
}
