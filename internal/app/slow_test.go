package app_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/app"
	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/oci"
)

// short is the patience of servers in these tests. Bytes earn it back fast, so that a
// client which moves anything at all in time is not cut off.
const short = time.Second

func shortly(s *app.Server) { s.SetLimits(short, 1<<10, 15*time.Second) }

// transports are the ways in which clients talk to a server.
var transports = []string{"HTTP/1.1", "HTTP/1.1 with TLS", "HTTP/2"}

// startOver starts a server of little patience that is talked to in one of these
// ways.
func startOver(t *testing.T, transport string, changes ...func(*config.Config)) *running {
	t.Helper()
	data := t.TempDir()
	if transport == "HTTP/1.1" {
		return startLogging(t, settings(data, changes...), quiet, shortly)
	}
	certFile, keyFile, pool := ownCertificate(t, t.TempDir())
	changes = append(changes, func(c *config.Config) { c.TLSCert, c.TLSKey = certFile, keyFile })
	s := startLogging(t, settings(data, changes...), quiet, shortly)
	client := s.http.Transport.(*http.Transport)
	client.TLSClientConfig = &tls.Config{RootCAs: pool}
	client.ForceAttemptHTTP2 = transport == "HTTP/2"
	return s
}

// noise is content of a size that nothing can compress, and its digest.
func noise(size int) ([]byte, string) {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b, string(oci.FromBytes(oci.SHA256, b))
}

// blob pushes a content and returns its path.
func (r *running) blob(content []byte) string {
	r.t.Helper()
	digest := oci.FromBytes(oci.SHA256, content)
	status, _, answer := r.do("POST", "/v2/app/blobs/uploads/?digest="+string(digest), content, r.asOperator)
	if status != http.StatusCreated {
		r.t.Fatalf("push of a blob: %d %s", status, answer)
	}
	return "/v2/app/blobs/" + string(digest)
}

// upload begins an upload and returns its path.
func (r *running) upload() string {
	r.t.Helper()
	status, header, answer := r.do("POST", "/v2/app/blobs/uploads/", nil, r.asOperator)
	if status != http.StatusAccepted {
		r.t.Fatalf("new upload: %d %s", status, answer)
	}
	return header.Get("Location")
}

// stored returns how much of an upload the server has, as its Range field says.
func (r *running) stored(upload string) string {
	r.t.Helper()
	status, header, answer := r.do("GET", upload, nil, r.asOperator)
	if status != http.StatusNoContent {
		r.t.Fatalf("upload: %d %s", status, answer)
	}
	return header.Get("Range")
}

// pause is what a slow client does between two pieces: this is its slowness, nothing
// is waited for.
func pause() { <-time.After(short / 6) }

// TestStalledUpload: a client that stops in the midst of a body is told so and cut
// off; what arrived is kept, and it can go on.
func TestStalledUpload(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := startOver(t, transport)
			content, digest := noise(400 << 10)
			half := len(content) / 2
			upload := s.upload()
			body, feed := io.Pipe()
			defer feed.Close()
			go feed.Write(content[:half]) // and no more
			req, err := http.NewRequest("PATCH", s.URL()+upload, body)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = int64(len(content))
			s.asOperator(req)
			res, err := s.http.Do(req)
			if err == nil { // else the end of the connection was faster than the answer
				text, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "ask with GET how much is stored") {
					t.Errorf("%d %s", res.StatusCode, text)
				}
			}
			s.AwaitIdle(patience)
			if got, want := s.stored(upload), fmt.Sprintf("0-%d", half-1); got != want {
				t.Fatalf("stored %s, want %s", got, want)
			}
			status, _, answer := s.do("PUT", upload+"?digest="+digest, content[half:], s.asOperator)
			if status != http.StatusCreated {
				t.Errorf("going on: %d %s", status, answer)
			}
			if _, _, got := s.do("GET", "/v2/app/blobs/"+digest, nil, s.asOperator); !bytes.Equal(got, content) {
				t.Errorf("%d bytes are not those that were pushed", len(got))
			}
		})
	}
}

// TestDrippingUpload: a byte now and then is not enough.
func TestDrippingUpload(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := startOver(t, transport)
			upload := s.upload()
			body, feed := io.Pipe()
			dripped := make(chan struct{})
			go func() {
				defer close(dripped)
				for {
					if _, err := feed.Write([]byte{0}); err != nil {
						return
					}
					pause()
				}
			}()
			req, err := http.NewRequest("PATCH", s.URL()+upload, body)
			if err != nil {
				t.Fatal(err)
			}
			s.asOperator(req)
			if res, err := s.http.Do(req); err == nil {
				res.Body.Close()
				if res.StatusCode != http.StatusBadRequest {
					t.Errorf("%s", res.Status)
				}
			}
			s.AwaitIdle(patience)
			body.Close()
			<-dripped
			if got := s.stored(upload); got == "0-0" {
				t.Errorf("stored %s; want the bytes that came", got)
			}
		})
	}
}

// TestSlowUpload: a client that is slow and moves on is let finish, however many
// times the limit it takes.
func TestSlowUpload(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := startOver(t, transport)
			content, digest := noise(300 << 10)
			upload := s.upload()
			body, feed := io.Pipe()
			go func() {
				const pieces = 30
				for piece := range pieces {
					pause()
					at := len(content) / pieces * piece
					feed.Write(content[at : at+len(content)/pieces])
				}
				feed.Close()
			}()
			req, err := http.NewRequest("PUT", s.URL()+upload+"?digest="+digest, body)
			if err != nil {
				t.Fatal(err)
			}
			s.asOperator(req)
			began := time.Now()
			res, err := s.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusCreated {
				text, _ := io.ReadAll(res.Body)
				t.Errorf("%s: %s", res.Status, text)
			}
			if took := time.Since(began); took < 3*short {
				t.Fatalf("took %v, which proves nothing", took)
			}
		})
	}
}

// narrow has a client take little before it reads, in bytes.
func narrow(s *running, bytes int) {
	dial := &net.Dialer{}
	s.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial.DialContext(ctx, network, addr)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(bytes)
		}
		return conn, err
	}
}

// TestSlowPull: likewise for an answer, each byte of which is there in the end.
func TestSlowPull(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := startOver(t, transport)
			narrow(s, 128<<10)
			content, _ := noise(9 << 20)
			path := s.blob(content)
			res, err := s.get(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			began, sum := time.Now(), sha256.New()
			for err == nil {
				pause()
				_, err = io.CopyN(sum, res.Body, 300<<10)
			}
			if err != io.EOF || !same(sum, content) {
				t.Errorf("%v, digest %x", err, sum.Sum(nil))
			}
			if took := time.Since(began); took < 3*short {
				t.Fatalf("took %v, which proves nothing", took)
			}
		})
	}
}

func same(sum hash.Hash, content []byte) bool {
	want := sha256.Sum256(content)
	return hex.EncodeToString(sum.Sum(nil)) == hex.EncodeToString(want[:])
}

// get asks for a path as the operator and returns the answer with its body unread.
func (r *running) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", r.URL()+path, nil)
	if err != nil {
		return nil, err
	}
	r.asOperator(req)
	return r.http.Do(req)
}

// TestUnreadPull: a client that asks and does not read is cut off.
func TestUnreadPull(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := startOver(t, transport)
			narrow(s, 16<<10)
			content, _ := noise(24 << 20) // more than buffers on the way take
			path := s.blob(content)
			res, err := s.get(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			s.AwaitIdle(patience)
			if n, err := io.Copy(io.Discard, res.Body); err == nil {
				t.Errorf("all %d bytes came", n)
			}
		})
	}
}

// TestSilenceIsNoSlowness: what waits for something to happen goes on, however
// long nothing is sent.
func TestSilenceIsNoSlowness(t *testing.T) {
	t.Parallel()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := startOver(t, transport)
			events := s.open(t, "events")
			name := s.listener(t, `{}`)
			deliveries := s.open(t, "listeners/"+name+"/deliveries")
			began := time.Now()
			if status, _, body := s.do("GET", plane+"events?wait=4", nil, s.asOperator); status != http.StatusOK {
				t.Errorf("long poll: %d %s", status, body)
			}
			if took := time.Since(began); took < 3*short {
				t.Fatalf("the long poll took %v, which proves nothing", took)
			}
			s.push("app", "v1")
			events.next("quarantine")
			deliveries.delivery()
		})
	}
}

// conn is a connection that a test writes bytes to.
type conn struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

// dial connects to a server in plain TCP. Nothing in a test waits for longer than
// patience.
func dial(t *testing.T, addr string) *conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &conn{c, t, bufio.NewReader(c)}
}

func (c *conn) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads one answer.
func (c *conn) answer() (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, string(body)
}

// ended checks that the server closes the connection and sends nothing more.
func (c *conn) ended() {
	c.t.Helper()
	rest, err := io.ReadAll(c.in)
	if len(rest) > 0 || isTimeout(err) {
		c.t.Errorf("the connection is not closed: %q, %v", rest, err)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// TestBodyNobodyReads: an answer that needs no body is not held up for long by a
// client that announces one, and no more than a little of it is read.
func TestBodyNobodyReads(t *testing.T) {
	t.Parallel()
	s := startOver(t, "HTTP/1.1")
	for _, tt := range []struct{ what, header, body string }{
		{"a body that does not come", "Content-Length: 1000", ""},
		{"a chunk that does not end", "Transfer-Encoding: chunked", "5\r\nabc"},
		{"a body without an end", "Transfer-Encoding: chunked", strings.Repeat("4000\r\n"+strings.Repeat("x", 0x4000)+"\r\n", 17)},
		{"a body that is too long", "Content-Length: 10000000000", ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			c := dial(t, s.Addr().String())
			c.send("POST /v2/app/blobs/uploads/?digest=sha256:%064d HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n%s", 0, tt.header, tt.body)
			if res, body := c.answer(); res.StatusCode != http.StatusUnauthorized || !res.Close {
				t.Errorf("%s, close %t: %s", res.Status, res.Close, body)
			}
			c.ended()
		})
	}
}

// TestPipelineNobodyReads: a client that sends requests and reads no answers is
// cut off.
func TestPipelineNobodyReads(t *testing.T) {
	t.Parallel()
	s := startOver(t, "HTTP/1.1")
	c := dial(t, s.Addr().String())
	c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	requests := strings.Repeat("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 1000)
	for {
		_, err := io.WriteString(c, requests)
		if isTimeout(err) {
			t.Fatal("the server does not give up")
		}
		if err != nil {
			return
		}
	}
}

// TestReuse: no deadline of one request is left to the next.
func TestReuse(t *testing.T) {
	t.Parallel()
	s := startOver(t, "HTTP/1.1")
	c := dial(t, s.Addr().String())
	// A short body that nobody reads, one that is read, and none: the connection is
	// good for another request after each.
	for range 3 {
		c.send("POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
		if res, body := c.answer(); res.StatusCode != http.StatusUnauthorized || res.Close {
			t.Errorf("%s, close %t: %s", res.Status, res.Close, body)
		}
		form := "grant_type=refresh_token&service=x"
		c.send("POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form)
		if res, body := c.answer(); res.StatusCode/100 != 4 || res.Close {
			t.Errorf("%s, close %t: %s", res.Status, res.Close, body)
		}
		<-time.After(2 * short) // an idle connection is not a slow one
		c.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if res, body := c.answer(); res.StatusCode != http.StatusOK || res.Close {
			t.Errorf("%s, close %t: %s", res.Status, res.Close, body)
		}
	}
}
