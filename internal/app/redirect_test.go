package app_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/config"
)

// ask sends one request in plain HTTP and returns the answer. A connection is for
// one.
func ask(t *testing.T, addr, request string) (*http.Response, string) {
	t.Helper()
	c := dial(t, addr)
	c.send("%s", request)
	res, body := c.answer()
	if !res.Close {
		t.Error("the connection is kept")
	}
	c.ended()
	return res, body
}

// TestPlainToTLS: plain HTTP to the port of HTTPS is sent there, or told to go
// there, and TLS notices nothing of that.
func TestPlainToTLS(t *testing.T) {
	t.Parallel()
	certFile, keyFile, pool := ownCertificate(t, t.TempDir())
	s := start(t, settings(t.TempDir(), func(c *config.Config) { c.TLSCert, c.TLSKey = certFile, keyFile }))
	addr := s.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	for _, tt := range []struct{ request, host, location string }{
		{"GET /v2/", "localhost:" + port, "https://localhost:" + port + "/v2/"},
		{"HEAD /v2/app/manifests/v1?ns=x%2Fy&a=b", "dockbell.dockbell.localhost:" + port, "https://dockbell.dockbell.localhost:" + port + "/v2/app/manifests/v1?ns=x%2Fy&a=b"},
		{"GET /a%2Fb/..//c", addr, "https://" + addr + "/a%2Fb/..//c"},
		{"GET //evil.example/", addr, "https://" + addr + "//evil.example/"},
		{"GET http://localhost:1/x", "evil.example", "https://localhost:1/x"}, // RFC 9112, section 3.2.2
		{"GET /healthz", "localhost", "https://localhost/healthz"},
	} {
		res, body := ask(t, addr, tt.request+" HTTP/1.1\r\nHost: "+tt.host+"\r\n\r\n")
		if got := res.Header.Get("Location"); res.StatusCode != http.StatusPermanentRedirect || got != tt.location {
			t.Errorf("%s at %s: %s to %q, want %s\n%s", tt.request, tt.host, res.Status, got, tt.location, body)
		}
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", tt.request, got)
		}
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "CONNECT"} {
		target := "/v2/app/blobs/uploads/"
		if method == "CONNECT" {
			target = "localhost:" + port
		}
		res, body := ask(t, addr, method+" "+target+" HTTP/1.1\r\nHost: localhost:"+port+"\r\nContent-Length: 5\r\n\r\nhello")
		if m := message(t, []byte(body)); res.StatusCode != http.StatusBadRequest || !strings.Contains(m, "https://localhost:"+port) || res.Header.Get("Location") != "" {
			t.Errorf("%s: %s %v %s", method, res.Status, res.Header, body)
		}
	}
	for _, name := range []string{"evil.example", "localhost.evil.example", "203.0.113.9", "203.0.113.9:" + port, "[2001:db8::1]", "127.0.0.1@evil.example", "dockbell.localhost"} {
		res, body := ask(t, addr, "GET / HTTP/1.1\r\nHost: "+name+"\r\n\r\n")
		if res.StatusCode != http.StatusMisdirectedRequest && res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" {
			t.Errorf("%s: %s %v %s", name, res.Status, res.Header, body)
		}
	}
	// A header that never ends is bounded here too.
	c := dial(t, addr)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 64<<10))
	if res, _ := c.answer(); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 64 KiB: %s", res.Status)
	}
	// What is neither is closed.
	c = dial(t, addr)
	c.send("\x00\x01\x02\x03\x04\x05\x06")
	c.ended()

	for _, protocol := range []string{"http/1.1", "h2"} {
		tlsConn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{protocol}})
		if err != nil {
			t.Fatal(err)
		}
		if got := tlsConn.ConnectionState(); got.NegotiatedProtocol != protocol || got.Version != tls.VersionTLS13 {
			t.Errorf("%s: %q, version %x", protocol, got.NegotiatedProtocol, got.Version)
		}
		tlsConn.Close()
	}
	if old, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		old.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

// TestNoTLSInPlain: a server without TLS takes plain HTTP alone, HTTP/2 not either.
func TestNoTLSInPlain(t *testing.T) {
	t.Parallel()
	s := start(t, settings(t.TempDir()))
	c := dial(t, s.Addr().String())
	c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	if res, body := c.answer(); res.StatusCode/100 != 4 && res.StatusCode/100 != 5 {
		t.Errorf("%s %s", res.Status, body)
	}
}

// TestHTTPRedirect: the address of --http-redirect sends clients to where HTTPS is,
// as they know it.
func TestHTTPRedirect(t *testing.T) {
	t.Parallel()
	certFile, keyFile, _ := ownCertificate(t, t.TempDir())
	for _, tt := range []struct {
		name   string
		change func(*config.Config)
		to     map[string]string // host to what it is sent to; PORT is the one of HTTPS; empty: 421
	}{
		{"as it comes", func(*config.Config) {}, map[string]string{
			"localhost": "localhost:PORT", "dockbell.dockbell.localhost:80": "dockbell.dockbell.localhost:PORT", "127.0.0.1": "127.0.0.1:PORT",
			"[::1]:80": "[::1]:PORT", "evil.example": "", "203.0.113.9": "", "": "",
		}},
		{"behind a forwarded port", func(c *config.Config) {
			c.Domain, c.ExternalURL = "registry.example", mustURL("https://images.example")
		}, map[string]string{
			"images.example": "images.example", "images.example:80": "images.example", "dockbell.registry.example:8080": "dockbell.registry.example",
			"": "images.example", "images.example.evil.example": "", "203.0.113.9": "",
		}},
		{"with a port in the external URL", func(c *config.Config) { c.ExternalURL = mustURL("https://203.0.113.9:8443") }, map[string]string{
			"203.0.113.9": "203.0.113.9:8443", "localhost:80": "localhost:8443", "203.0.113.8": "",
		}},
		{"with a port in the domain", func(c *config.Config) { c.Domain = "registry.example:9443" }, map[string]string{
			"dockbell.registry.example": "dockbell.registry.example:9443", "registry.example": "",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, settings(t.TempDir(), func(c *config.Config) {
				c.TLSCert, c.TLSKey, c.HTTPRedirect = certFile, keyFile, "127.0.0.1:0"
			}, tt.change))
			addr := s.RedirectAddr()
			_, port, _ := net.SplitHostPort(s.Addr().String())
			for name, want := range tt.to {
				request := "GET /v2/?n=1 HTTP/1.1\r\nHost: " + name + "\r\n\r\n"
				if name == "" {
					request = "GET /v2/?n=1 HTTP/1.0\r\n\r\n"
				}
				res, body := ask(t, addr, request)
				got := res.Header.Get("Location")
				if want == "" && (res.StatusCode != http.StatusMisdirectedRequest || got != "") {
					t.Errorf("%q: %s to %q, want 421\n%s", name, res.Status, got, body)
				}
				want = "https://" + strings.ReplaceAll(want, "PORT", port) + "/v2/?n=1"
				if tt.to[name] != "" && (res.StatusCode != http.StatusPermanentRedirect || got != want) {
					t.Errorf("%q: %s to %q, want %s\n%s", name, res.Status, got, want, body)
				}
			}
			if res, body := ask(t, addr, "GET /healthz HTTP/1.1\r\nHost: 10.1.2.3\r\n\r\n"); res.StatusCode != http.StatusOK || body != "{\"status\":\"ok\"}\n" {
				t.Errorf("healthz: %s %s", res.Status, body)
			}
			var host string
			for name, to := range tt.to {
				if to != "" && name != "" {
					host = name
				}
			}
			if res, body := ask(t, addr, "POST /oauth2/token HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 8\r\n\r\npassword"); res.StatusCode != http.StatusBadRequest {
				t.Errorf("POST: %s %s", res.Status, body)
			}
			s.stop()
			if c, err := net.Dial("tcp", addr); err == nil {
				c.Close()
				t.Error("it is listened to after the server stopped")
			}
		})
	}
}

// TestSecurityHeaders: each face has them, whatever it answers.
func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	certFile, keyFile, pool := ownCertificate(t, t.TempDir())
	own := start(t, settings(t.TempDir(), func(c *config.Config) { c.TLSCert, c.TLSKey = certFile, keyFile }))
	own.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	made, _ := startSelfSigned(t, t.TempDir())
	plain := start(t, settings(t.TempDir()))
	for _, server := range []struct {
		*running
		pinned string
	}{{own, "max-age=31536000"}, {made, ""}, {plain, ""}} {
		for _, path := range append(faces, "/healthz", "/subscriptions", "/adfs/oauth2/token", "/adfs/.well-known/openid-configuration", "/metadata/endpoints?api-version=2015-01-01") {
			for _, method := range []string{"GET", "OPTIONS"} {
				for _, credentials := range []func(*http.Request){func(*http.Request) {}, server.asOperator} {
					_, h, _ := server.do(method, path, nil, credentials, field("Origin", "https://evil.example"),
						field("Access-Control-Request-Method", "PUT"), field("Access-Control-Request-Headers", "authorization"))
					if got := strings.Join(h.Values("Strict-Transport-Security"), "; "); got != server.pinned {
						t.Errorf("%s %s%s: Strict-Transport-Security %q", method, server.URL(), path, got)
					}
					if got := h.Get("X-Content-Type-Options"); got != "nosniff" {
						t.Errorf("%s %s%s: X-Content-Type-Options %q", method, server.URL(), path, got)
					}
					for name := range h {
						if strings.HasPrefix(name, "Access-Control-") || name == "Server" || name == "X-Powered-By" {
							t.Errorf("%s %s%s: %s %q", method, server.URL(), path, name, h.Get(name))
						}
					}
				}
			}
		}
		_, h, answer := server.do("GET", "/oauth2/token?scope=registry:catalog:*", nil, server.asOperator)
		if !bytes.Contains(answer, []byte("access_token")) || h.Get("Cache-Control") != "no-store" {
			t.Errorf("a token: Cache-Control %q, %s", h.Get("Cache-Control"), answer)
		}
	}
}
