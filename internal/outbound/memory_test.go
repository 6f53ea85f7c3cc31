package outbound

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
)

// allocated returns how many bytes were allocated while f ran, in all of the
// process: so what calls it does not run in parallel, and its receivers prepare
// what they send.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Receivers send much, and an exchange with one may allocate little. Over HTTP/2
// frames that are under way when it ends are read, and thrown away.
const (
	much        = 32 << 20
	little      = 3 << 20
	littleHTTP2 = 12 << 20
)

// flood writes head, then piece until much has been sent or nobody takes it.
func flood(head, piece string) func(net.Conn) {
	first, next := []byte(head), []byte(piece)
	return func(c net.Conn) {
		readRequest(c)
		_, err := c.Write(first)
		for sent := 0; sent < much && err == nil; sent += len(next) {
			_, err = c.Write(next)
		}
	}
}

// TestMemoryIsBounded: checklist points 13 and 14. Whatever a receiver sends,
// an exchange with it allocates little, let alone keeps it.
func TestMemoryIsBounded(t *testing.T) {
	zip := func(size int64) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.CopyN(w, zeroes{}, size)
		w.Close()
		return b.String()
	}
	bomb := zip(20 << 20)
	if len(bomb) > 30<<10 {
		t.Fatalf("the bomb has %d bytes, which is none", len(bomb))
	}
	kilobyte := strings.Repeat("x", 1000)
	receivers := map[string]func(net.Conn){
		"endless body":         flood("HTTP/1.1 200 OK\r\n\r\n", kilobyte),
		"long body, announced": flood("HTTP/1.1 500 Oh\r\nContent-Length: 9000000000000000000\r\n\r\n", kilobyte),
		"endless chunk":        flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n", kilobyte),
		"endless small chunks": flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
		"chunk extensions":     flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", kilobyte),
		"endless trailer":      flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\n", "X: "+kilobyte+"\r\n"),
		"32 MB of headers":     flood("HTTP/1.1 200 OK\r\n", "X: "+kilobyte+"\r\n"),
		"many small headers":   flood("HTTP/1.1 200 OK\r\n", "x:\r\n"),
		"one long header":      flood("HTTP/1.1 200 OK\r\nX: ", kilobyte),
		"continued header":     flood("HTTP/1.1 200 OK\r\nX: y\r\n", " "+kilobyte+"\r\n"),
		"status line":          flood("HTTP/1.1 200 ", kilobyte),
		"interim answers":      flood("", "HTTP/1.1 103 Early Hints\r\nLink: "+kilobyte+"\r\n\r\n"),
		"no HTTP":              flood(kilobyte, kilobyte),
		"gzip bomb":            flood("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"+bomb, kilobyte),
		"gzip bomb in chunks":  flood(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(bomb), bomb), "1\r\nx\r\n"),
	}
	c := client(t, loopback)
	for name, talk := range receivers {
		url := serveRaw(t, talk)
		var res Result
		if n := allocated(func() { res = post(t, c, url) }); n > little {
			t.Errorf("%s: %d KiB allocated; it came to class %q, %s", name, n>>10, res.Class, res.Message)
		}
		if len(res.Body) > MaxResponseBody || res.Class == Timeout {
			t.Errorf("%s: class %q, %d bytes kept", name, res.Class, len(res.Body))
		}
	}
}

// TestMemoryIsBoundedHTTP2 is the same for frames.
func TestMemoryIsBoundedHTTP2(t *testing.T) {
	trusted := newAuthority(t)
	kilobyte := bytes.Repeat(field("x", strings.Repeat("x", 120)), 8)
	interim := append([]byte{8, 3}, "103"...) // :status
	for name, pieces := range map[string][][]byte{
		"32 MB of headers": {
			frame(frameHeaders, 0, 1, append([]byte{0x88}, kilobyte...)...),
			frame(frameContinuation, 0, 1, kilobyte...),
		},
		"interim answers":       {nil, frame(frameHeaders, endHeaders, 1, append(interim, kilobyte...)...)},
		"small interim answers": {nil, frame(frameHeaders, endHeaders, 1, interim...)},
		"endless body":          {frame(frameHeaders, endHeaders, 1, status200...), frame(frameData, 0, 1, kilobyte...)},
	} {
		ended := make(chan struct{})
		url, _ := serveHTTP2(t, trusted, func(conn net.Conn, stream uint32, _ int64) bool {
			defer close(ended)
			_, err := conn.Write(pieces[0])
			for sent := 0; sent < much && err == nil; sent += len(pieces[1]) {
				_, err = conn.Write(pieces[1])
			}
			return false
		})
		c := newClient(Options{Policy: loopback}, nil, trusted.pool)
		var res Result
		n := allocated(func() { res = c.Post(t.Context(), Request{URL: url, Body: []byte("{}"), Timeout: patience}) })
		c.Close()
		<-ended
		if n > littleHTTP2 {
			t.Errorf("%s: %d KiB allocated; it came to class %q, %s", name, n>>10, res.Class, res.Message)
		}
		if res.Class == Timeout {
			t.Errorf("%s: it took the whole time", name)
		}
	}
}
