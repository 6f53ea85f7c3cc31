package app_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/app"
)

// uploading is a PATCH under way: the server has its first half.
func (r *running) uploading(t *testing.T, upload string, first []byte, length int) *conn {
	t.Helper()
	c := dial(t, r.Addr().String())
	req := &http.Request{Header: http.Header{}}
	r.asOperator(req)
	c.send("PATCH %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		upload, req.Header.Get("Authorization"), length)
	// The handler reads: its request is one in flight.
	if line, err := c.in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	c.in.ReadString('\n')
	if _, err := c.Write(first); err != nil {
		t.Fatal(err)
	}
	return c
}

// stopping asks a server to stop, and returns when it takes no more connections.
func (r *running) stopping() (stopped chan struct{}) {
	stopped = make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	for {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			return stopped
		}
		c.Close()
	}
}

// TestStopWaitsForUploads: an upload that is under way when the server is asked to
// stop may end.
func TestStopWaitsForUploads(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := start(t, settings(data))
	content, digest := noise(300 << 10)
	upload := s.upload()
	c := s.uploading(t, upload, content[:1000], len(content))
	stopped := s.stopping()
	if _, err := c.Write(content[1000:]); err != nil {
		t.Fatal(err)
	}
	if res, body := c.answer(); res.StatusCode != http.StatusAccepted {
		t.Errorf("%s %s", res.Status, body)
	}
	<-stopped
	again := start(t, settings(data))
	if status, _, answer := again.do("PUT", upload+"?digest="+digest, nil, again.asOperator); status != http.StatusCreated {
		t.Errorf("finished after the restart: %d %s", status, answer)
	}
}

// TestStopCutsUploads: one that takes longer than the server waits is cut off, and
// goes on after the restart where it was.
func TestStopCutsUploads(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := startLogging(t, settings(data), quiet, func(s *app.Server) { s.SetLimits(time.Minute, 1<<10, 100*time.Millisecond) })
	content, digest := noise(300 << 10)
	upload := s.upload()
	half := len(content) / 2
	c := s.uploading(t, upload, content[:half], len(content))
	<-s.stopping()
	io.Copy(io.Discard, c.in)
	again := start(t, settings(data))
	// How much of it the server had read by then is its own affair.
	var last int
	if _, err := fmt.Sscanf(again.stored(upload), "0-%d", &last); err != nil || last == 0 || last >= half {
		t.Fatalf("the server has bytes up to %d of %d, %v", last, half, err)
	}
	if status, _, answer := again.do("PUT", upload+"?digest="+digest, content[last+1:], again.asOperator); status != http.StatusCreated {
		t.Errorf("going on after the restart: %d %s", status, answer)
	}
	if _, _, got := again.do("GET", "/v2/app/blobs/"+digest, nil, again.asOperator); !bytes.Equal(got, content) {
		t.Errorf("%d bytes are not those that were pushed", len(got))
	}
}

// endless is a body of a JSON string, or a form, that does not end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// counting counts what is read.
type counting struct {
	io.Reader
	n atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestBodiesAreBounded: no face takes a body of any size into memory.
func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	s.webhook("deployhook", "http://127.0.0.1:1/hook")
	const length = 64 << 20
	for _, tt := range []struct{ method, path, contentType, begin string }{
		{"PUT", "/v2/app/manifests/v1", "application/vnd.oci.image.manifest.v1+json", `{"a":"`},
		{"POST", "/oauth2/token", "application/x-www-form-urlencoded", "grant_type="},
		{"POST", "/oauth2/exchange", "application/x-www-form-urlencoded", "grant_type="},
		{"POST", "/adfs/oauth2/token", "application/x-www-form-urlencoded", "grant_type="},
		{"POST", "/api/v1/servicePrincipals", "application/json", `{"location":"`},
		{"PUT", plane + "webhooks/otherhook", "application/json", `{"location":"`},
		{"PATCH", plane + "webhooks/deployhook", "application/json", `{"location":"`},
		{"POST", plane + "webhooks/deployhook/replays", "application/json", `{"location":"`},
		{"POST", plane + "listeners", "application/json", `{"location":"`},
		{"PUT", "/api/v1/registries/otherone", "application/json", `{"location":"`},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			t.Parallel()
			body := &counting{Reader: io.MultiReader(strings.NewReader(tt.begin), io.LimitReader(endless{}, length))}
			req, err := http.NewRequest(tt.method, s.URL()+tt.path, body)
			if err != nil {
				t.Fatal(err)
			}
			s.asOperator(req)
			req.Header.Set("Content-Type", tt.contentType)
			res, err := s.http.Do(req)
			if err == nil { // else the connection was closed before the answer could be read
				res.Body.Close()
				if res.StatusCode/100 != 4 {
					t.Errorf("%s", res.Status)
				}
			}
			// The largest manifest, what net/http reads after it, and buffers.
			if most := int64(12 << 20); body.n.Load() > most {
				t.Errorf("%d bytes were taken, at most %d is fine", body.n.Load(), most)
			}
		})
	}
}
