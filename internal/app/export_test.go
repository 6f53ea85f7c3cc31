package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"testing"
	"time"
)

// HelmPackage returns the least that is a package, and filler.
func HelmPackage(t testing.TB, name, version string, filler ...byte) []byte {
	t.Helper()
	text := "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n"
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	w := tar.NewWriter(zip)
	if err := w.WriteHeader(&tar.Header{Name: name + "/Chart.yaml", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	if len(filler) > 0 {
		if err := w.WriteHeader(&tar.Header{Name: name + "/filler", Mode: 0o644, Size: int64(len(filler))}); err != nil {
			t.Fatal(err)
		}
		w.Write(filler)
	}
	w.Close()
	zip.Close()
	return buf.Bytes()
}

// SetLimits changes how long a server waits for its clients, and for requests in
// flight when it stops. It comes before Serve.
func (s *Server) SetLimits(patience time.Duration, rate int64, shutdown time.Duration) {
	s.limits.patience, s.limits.rate, s.limits.shutdown = patience, rate, shutdown
	s.http = s.newHTTP()
}

// PurgeDeletedAt removes for good what was deleted, as the server would at a moment.
func (s *Server) PurgeDeletedAt(now time.Time) {
	s.purgeDeleted(context.Background(), now, policiesDue{})
}

// RetainAt removes untagged manifests, as the server would at a moment.
func (s *Server) RetainAt(now time.Time) { s.retain(context.Background(), now, policiesDue{}) }

// AwaitIdle waits until no handler is at work, or for most.
func (s *Server) AwaitIdle(most time.Duration) { s.inFlight.wait(most) }

// RedirectAddr returns the address of --http-redirect.
func (s *Server) RedirectAddr() string { return s.redirects.Addr().String() }
