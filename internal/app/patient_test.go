package app

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

const brief = time.Second

// work is what a handler does that takes longer than a client has patience for: its
// own affair, for nobody waits for the client meanwhile.
func work() { <-time.After(3 * brief) }

// servePatiently serves a handler by HTTP/1.1, or by HTTP/2.
func servePatiently(t *testing.T, http2 bool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := &Server{limits: limits{patience: brief, rate: 1 << 10}}
	server := httptest.NewUnstartedServer(s.patient(h))
	server.Config.WriteTimeout = brief
	if server.EnableHTTP2 = http2; http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}

// TestHandlersAreNotHurried: deadlines are for clients that are waited for.
func TestHandlersAreNotHurried(t *testing.T) {
	t.Parallel()
	const size = 100 << 10
	for name, h := range map[string]http.HandlerFunc{
		"before anything": func(w http.ResponseWriter, r *http.Request) {
			work()
			body, _ := io.ReadAll(r.Body)
			w.Write(body)
		},
		"between two parts of the answer": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Write(body[:size/2])
			w.(http.Flusher).Flush()
			work()
			w.Write(body[size/2:])
		},
		"after the end of the body": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body.Read(make([]byte, 1)) // as decoders do that want to be sure
			work()
			if err := r.Context().Err(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Write(body)
		},
	} {
		for protocol, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
			t.Run(name+" "+protocol, func(t *testing.T) {
				t.Parallel()
				server := servePatiently(t, http2, h)
				sent := strings.Repeat("0123456789", size/10)
				res, err := server.Client().Post(server.URL, "text/plain", strings.NewReader(sent))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				got, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != http.StatusOK || string(got) != sent || res.Proto[:6] != protocol[:6] {
					t.Errorf("%s %s, %d bytes, %v: %.100s", res.Proto, res.Status, len(got), err, got)
				}
			})
		}
	}
}

// TestBodyInTwoParts: likewise between two parts of a body, the second of which has
// not been sent yet.
func TestBodyInTwoParts(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		goOn := make(chan struct{})
		server := servePatiently(t, http2, func(w http.ResponseWriter, r *http.Request) {
			first := make([]byte, len("first"))
			_, err := io.ReadFull(r.Body, first)
			work()
			close(goOn)
			rest, err2 := io.ReadAll(r.Body)
			if err := errors.Join(err, err2); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Write(append(first, rest...))
		})
		body, feed := io.Pipe()
		go func() {
			io.WriteString(feed, "first")
			<-goOn
			io.WriteString(feed, "second")
			feed.Close()
		}()
		res, err := server.Client().Post(server.URL, "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(got) != "firstsecond" {
			t.Errorf("%s %s %q, %v", res.Proto, res.Status, got, err)
		}
	}
}

// TestOwnDeadline: the deadline that a handler sets counts, and when it has taken it
// back the client's patience again.
func TestOwnDeadline(t *testing.T) {
	t.Parallel()
	failed := make(chan error, 1)
	server := servePatiently(t, false, func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		control.SetWriteDeadline(time.Now().Add(time.Minute))
		control.SetWriteDeadline(time.Time{})
		_, err := w.Write(make([]byte, 64<<10))
		control.SetWriteDeadline(time.Unix(1, 0))
		_, err2 := w.Write(make([]byte, 64<<10))
		if err != nil || !errors.Is(err2, os.ErrDeadlineExceeded) {
			failed <- errors.Join(errors.New("the first write should succeed, the second not"), err, err2)
		}
		close(failed)
	})
	res, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

// TestLateAnswerWithoutBody: a header alone gets out too.
func TestLateAnswerWithoutBody(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		server := servePatiently(t, http2, func(w http.ResponseWriter, _ *http.Request) {
			work()
			w.WriteHeader(http.StatusNoContent)
		})
		res, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusNoContent {
			t.Errorf("%s", res.Status)
		}
	}
}

// TestLongAnswerToShortBody: an answer that does not fit into buffers, to a request
// whose body nobody reads and which does not come, is held up and not lost.
func TestLongAnswerToShortBody(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	server := servePatiently(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Write(make([]byte, size))
	})
	res := post(t, server, "Content-Length: 1000\r\n\r\n")
	body, err := io.ReadAll(res.Body)
	if err != nil || len(body) != size || !res.Close {
		t.Errorf("%s, %d bytes, close %t, %v", res.Status, len(body), res.Close, err)
	}
}

// TestBodyGivenUp: a connection on which the rest of a body may follow takes no other
// request, for that rest could look like one.
func TestBodyGivenUp(t *testing.T) {
	t.Parallel()
	server := servePatiently(t, false, func(_ http.ResponseWriter, r *http.Request) { r.Body.Close() })
	if res := post(t, server, "Content-Length: 1000000\r\n\r\nGET / HTTP/1.1"); !res.Close {
		t.Errorf("%s, and the connection is kept", res.Status)
	}
}

// post sends a request whose last header field and body are the test's.
func post(t *testing.T, server *httptest.Server, rest string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\n"+rest)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestEndNobodyTakes: what is left of an answer when its handler has returned has to
// be taken in time as well, by a client of HTTP/2 that lets nothing through.
func TestEndNobodyTakes(t *testing.T) {
	t.Parallel()
	server := servePatiently(t, true, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("hello")) // into a buffer
	})
	c := dialHTTP2(t, server)
	// SETTINGS with an INITIAL_WINDOW_SIZE of 0, then HEADERS of GET / (RFC 7541,
	// appendix A: 2, 4, 7, and an authority).
	io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+
		"\x00\x00\x06\x04\x00\x00\x00\x00\x00"+"\x00\x04\x00\x00\x00\x00"+
		"\x00\x00\x06\x01\x05\x00\x00\x00\x01"+"\x82\x84\x87\x41\x01x")
	const resetStream = 3
	for {
		var header [9]byte // RFC 9113, section 4.1
		if _, err := io.ReadFull(c, header[:]); err != nil {
			t.Fatalf("the request has no end: %v", err)
		}
		if header[3] == resetStream {
			return
		}
		io.CopyN(io.Discard, c, int64(header[0])<<16|int64(header[1])<<8|int64(header[2]))
	}
}

func dialHTTP2(t *testing.T, server *httptest.Server) net.Conn {
	t.Helper()
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", server.Listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}
