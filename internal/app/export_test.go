package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"testing"
)

// HelmPackage returns the least that is a package.
func HelmPackage(t testing.TB, name, version string) []byte {
	t.Helper()
	text := "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n"
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	w := tar.NewWriter(zip)
	if err := w.WriteHeader(&tar.Header{Name: name + "/Chart.yaml", Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	w.Close()
	zip.Close()
	return buf.Bytes()
}
