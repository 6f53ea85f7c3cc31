package app_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/app"
	"github.com/dockbell/dockbell/internal/config"
)

// TestTooManyConnections: the newest is turned away, and told so where that can be
// done; when another one ends there is room again.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	certFile, keyFile, _ := ownCertificate(t, t.TempDir())
	limit := func(c *config.Config) { c.MaxConnections, c.MaxConnectionsPerAddress = 100, 3 }
	for _, tt := range []struct {
		name   string
		change func(*config.Config)
		most   int
		told   bool
	}{
		{"per address", func(*config.Config) {}, 3, true},
		{"in all", func(c *config.Config) { c.MaxConnections = 2 }, 2, true},
		{"in all, from a trusted proxy", func(c *config.Config) {
			c.MaxConnections, c.TrustedProxies = 7, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		}, 7, true},
		{"with TLS", func(c *config.Config) { c.TLSCert, c.TLSKey = certFile, keyFile }, 3, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, settings(t.TempDir(), limit, tt.change))
			var held []*conn
			for range tt.most {
				c := dial(t, s.Addr().String())
				held = append(held, c)
				if tt.told { // it is in when it is answered
					c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
					if res, body := c.answer(); res.StatusCode != http.StatusOK {
						t.Fatalf("%s %s", res.Status, body)
					}
				}
			}
			over := dial(t, s.Addr().String())
			if tt.told {
				over.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
				res, body := over.answer()
				if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(message(t, []byte(body)), "too many connections") {
					t.Errorf("%s %v %s", res.Status, res.Header, body)
				}
			}
			over.ended()
			held[0].Close()
			for deadline := time.Now().Add(patience); !s.letsIn(t, tt.told); { // until the server has seen that
				if time.Now().After(deadline) {
					t.Fatal("there is no room again")
				}
			}
		})
	}
}

// letsIn reports whether a new connection is let in.
func (r *running) letsIn(t *testing.T, plain bool) bool {
	t.Helper()
	c := dial(t, r.Addr().String())
	defer c.Close()
	if plain {
		c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		res, _ := c.answer()
		return res.StatusCode == http.StatusOK
	}
	c.SetReadDeadline(time.Now().Add(short)) // who is let in hears nothing
	_, err := c.Read(make([]byte, 1))
	return isTimeout(err)
}

// TestHostileCrowd: thousands of connections that do nothing, begin and do not go
// on, or take no answers, cost little, and an honest client does not notice.
func TestHostileCrowd(t *testing.T) {
	t.Parallel()
	const each = 400
	s := startLogging(t, settings(t.TempDir(), func(c *config.Config) {
		c.MaxConnections, c.MaxConnectionsPerAddress = 5*each, 5*each
	}), quiet, func(s *app.Server) { s.SetLimits(20*time.Second, 1<<10, time.Second) })
	content, digest := noise(8 << 20)
	path := s.blob(content)
	auth := func() string {
		req := &http.Request{Header: http.Header{}}
		s.asOperator(req)
		return "Authorization: " + req.Header.Get("Authorization") + "\r\n"
	}()
	upload := s.upload()

	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var crowd sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	for _, said := range []string{
		"", // idle
		"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
		"PATCH " + upload + " HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Length: 1000000\r\n\r\nx",
		"GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + auth + "\r\n",
	} {
		for range each / 20 {
			crowd.Go(func() {
				for range 20 {
					c, err := net.Dial("tcp", s.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					c.(*net.TCPConn).SetReadBuffer(4 << 10)
					io.WriteString(c, said)
					mu.Lock()
					open = append(open, c)
					mu.Unlock()
				}
			})
		}
	}
	crowd.Wait()
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for i := range 5 {
		s.push("honest", fmt.Sprintf("v%d", i))
		if status, _, got := s.do("GET", "/v2/app/blobs/"+digest, nil, s.asOperator); status != http.StatusOK || !bytes.Equal(got, content) {
			t.Errorf("pull: %d, %d bytes", status, len(got))
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	// Stacks and buffers of both ends; and the content, once.
	const most = 4 * each * (96 << 10)
	if grown := int64(during.HeapInuse+during.StackInuse) - int64(before.HeapInuse+before.StackInuse); grown > most {
		t.Errorf("the memory in use grew by %d MiB, at most %d MiB is fine", grown>>20, most>>20)
	}
}
