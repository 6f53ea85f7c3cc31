package harness_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/harness"
)

// TestPeakMemory: what passes through a blob upload is never held, however it
// comes.
func TestPeakMemory(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, t.TempDir())
	const size, bound = 256 << 20, 64 << 20
	send := func(method, url string, body io.Reader, length int64) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(context.Background(), method, url, body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		req.SetBasicAuth("dockbell", harness.Password)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		res.Body.Close()
		if res.StatusCode/100 != 2 {
			t.Fatalf("%s %s: %s %s", method, url, res.Status, answer)
		}
		return res
	}
	for _, way := range []struct {
		name   string
		length int64 // of the PATCH or PUT; -1 is chunked
		patch  bool
	}{{"PATCH of unknown length", -1, true}, {"PUT", size, false}} {
		content, digest := pattern(way.name, size)
		location := send("POST", s.URL+"/v2/big/blobs/uploads/", nil, 0).Header.Get("Location")
		if way.patch {
			location = send("PATCH", s.URL+location, content, way.length).Header.Get("Location")
			send("PUT", s.URL+location+"?digest="+digest, nil, 0)
		} else {
			send("PUT", s.URL+location+"?digest="+digest, content, way.length)
		}
		if peak := s.PeakMemory(); peak > bound {
			t.Errorf("after a %s of %d MiB the server had %d MiB in RAM, want at most %d", way.name, size>>20, peak>>20, bound>>20)
		} else {
			t.Logf("after a %s of %d MiB: %d MiB", way.name, size>>20, peak>>20)
		}
	}
}

// pattern returns size bytes that depend on the seed, without holding them, and
// their digest.
func pattern(seed string, size int64) (io.Reader, string) {
	content := func() io.Reader { return io.LimitReader(&repeated{text: strings.Repeat(seed+"\n", 4096)}, size) }
	h := sha256.New()
	if _, err := io.Copy(h, content()); err != nil {
		panic(err)
	}
	return content(), fmt.Sprintf("sha256:%x", h.Sum(nil))
}

// repeated reads a text over and over.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], r.text[r.at:])
		n, r.at = n+c, (r.at+c)%len(r.text)
	}
	return n, nil
}
