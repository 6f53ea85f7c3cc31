package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The frames of HTTP/2 that the receivers here speak (RFC 9113, section 6).
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	frameGoAway       = 7
	frameContinuation = 9

	endStream  = 1
	endHeaders = 4
)

// status200 is the header of an answer (RFC 7541, appendix A).
var status200 = []byte{0x88}

func frame(kind, flags byte, stream uint32, payload ...byte) []byte {
	n := len(payload)
	f := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}
	return append(binary.BigEndian.AppendUint32(f, stream), payload...)
}

// goAway ends a connection; last is the last stream that was looked at.
func goAway(last uint32) []byte {
	return frame(frameGoAway, 0, 0, binary.BigEndian.AppendUint64(nil, uint64(last)<<32)...)
}

// serveHTTP2 answers each request, once it is complete, with what answer writes;
// n counts the requests of all connections.
func serveHTTP2(t *testing.T, a *authority, answer func(conn net.Conn, stream uint32, n int64) (more bool)) (url string, seen *atomic.Int64) {
	s := newTLSServer(t, a, &tls.Config{}, func(*x509.Certificate) {}, nil)
	config := s.TLS
	config.NextProtos = []string{"h2"}
	seen = new(atomic.Int64)
	url = serveRaw(t, func(raw net.Conn) {
		raw.SetDeadline(time.Now().Add(patience))
		conn := tls.Server(raw, config)
		preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
		if _, err := io.ReadFull(conn, preface); err != nil {
			return
		}
		conn.Write(frame(frameSettings, 0, 0))
		for {
			head := make([]byte, 9)
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			size := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
			if _, err := io.CopyN(io.Discard, conn, size); err != nil {
				return
			}
			kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
			complete := (kind == frameHeaders || kind == frameData) && flags&endStream != 0
			if complete && !answer(conn, stream, seen.Add(1)) {
				return
			}
		}
	})
	return strings.Replace(url, "http:", "https:", 1), seen
}

// TestHTTP2SendsOnce: checklist point 16. Over HTTP/2 a receiver can say that it
// did not look at a request, and net/http would send that again by itself. Here
// it is for the engine to say so, for each time is an attempt.
func TestHTTP2SendsOnce(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t)
	ok := func(conn net.Conn, stream uint32) {
		conn.Write(frame(frameHeaders, endHeaders|endStream, stream, status200...))
	}
	const protocolError, refusedStream, enhanceYourCalm = 1, 7, 11
	for _, tt := range []struct {
		name    string
		first   func(conn net.Conn, stream uint32) bool
		class   Class
		message string
	}{
		{"turned away as the connection ends", func(conn net.Conn, stream uint32) bool {
			conn.Write(goAway(0))
			return true
		}, Unread, "turned the request away before it looked at it"},
		{"turned away alone", func(conn net.Conn, stream uint32) bool {
			conn.Write(frame(frameReset, 0, stream, 0, 0, 0, refusedStream))
			return true
		}, Unread, "turned the request away before it looked at it"},
		{"ended for another reason", func(conn net.Conn, stream uint32) bool {
			conn.Write(frame(frameReset, 0, stream, 0, 0, 0, protocolError))
			return true
		}, Protocol, ""},
		{"hung up", func(net.Conn, uint32) bool { return false }, Protocol, "closed the connection before it answered"},
		{"ended for the fault of others", func(conn net.Conn, stream uint32) bool {
			conn.Write(frame(frameGoAway, 0, 0, 0, 0, 0, byte(stream), 0, 0, 0, enhanceYourCalm))
			return false
		}, Protocol, "closed the connection before it answered"},
		{"answered as the connection ends", func(conn net.Conn, stream uint32) bool {
			conn.Write(goAway(stream))
			ok(conn, stream)
			return true
		}, None, ""},
		{"answered, and ended while idle", func(conn net.Conn, stream uint32) bool {
			ok(conn, stream)
			conn.Write(goAway(stream))
			return false
		}, None, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url, seen := serveHTTP2(t, trusted, func(conn net.Conn, stream uint32, n int64) bool {
				if n == 1 {
					return tt.first(conn, stream)
				}
				ok(conn, stream)
				return true
			})
			c := newClient(Options{Policy: loopback}, nil, trusted.pool)
			t.Cleanup(c.Close)
			want(t, post(t, c, url), tt.class, tt.message)
			if n := seen.Load(); n != 1 {
				t.Errorf("the receiver saw %d requests, want 1", n)
			}
			for range 3 { // the first may meet the end of that connection
				tt.class = post(t, c, url).Class
			}
			if n := seen.Load(); tt.class != None || n < 3 || n > 4 {
				t.Errorf("the receiver saw %d of 4 requests, the last came to class %q", n, tt.class)
			}
		})
	}
}

// field encodes a header field, no part of it longer than 126 bytes (RFC 7541,
// section 6.2.2).
func field(name, value string) []byte {
	f := append([]byte{0, byte(len(name))}, name...)
	return append(append(f, byte(len(value))), value...)
}
