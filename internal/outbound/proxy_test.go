package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// egress is a proxy that knows the way to some names.
type egress struct {
	url   *url.URL
	known map[string]string // host:port that is asked for, to the address of a test server

	mu    sync.Mutex
	asked []string // the requests as they came: method, host:port and header
}

func newEgress(t *testing.T, a *authority, known map[string]string) *egress {
	e := &egress{known: known}
	raw := ""
	if a == nil {
		raw = serve(t, e.serve).URL
	} else {
		// CONNECT takes over the connection, which HTTP/2 does not let it.
		raw = serveTLSHandler(t, a, &tls.Config{NextProtos: []string{"http/1.1"}}, func(*x509.Certificate) {}, e.serve)
	}
	var err error
	if e.url, err = url.Parse(raw); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *egress) serve(w http.ResponseWriter, r *http.Request) {
	line := r.Method + " " + r.RequestURI + " " + r.Host
	for _, name := range []string{"Proxy-Authorization", "User-Agent", "X-Key", "Authorization"} {
		if v := r.Header.Get(name); v != "" {
			line += " " + name + "=" + v
		}
	}
	e.mu.Lock()
	e.asked = append(e.asked, line)
	e.mu.Unlock()
	there, err := net.Dial("tcp", e.known[r.RequestURI])
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		io.Copy(there, here)
		there.Close()
	}()
	io.Copy(here, there)
}

func (e *egress) requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.asked)
}

// through returns a client that rings through a proxy. It cannot resolve a name
// itself.
func through(t *testing.T, o Options, a *authority) *Client {
	var roots *x509.CertPool
	if a != nil {
		roots = a.pool
	}
	names := &nameServer{answers: map[string][]string{}}
	c := newClient(o, names.start(t), roots)
	t.Cleanup(c.Close)
	return c
}

// TestEgressProxy: checklist point 7. With a proxy of the operator's everything
// goes through it, and it learns host and port alone.
func TestEgressProxy(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t)
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host+r.RequestURI) })
	secure := serveTLS(t, trusted, &tls.Config{}, func(c *x509.Certificate) { c.DNSNames = []string{"secure.example"} })
	known := map[string]string{
		"plain.example:80":   strings.TrimPrefix(plain.URL, "http://"),
		"secure.example:443": strings.TrimPrefix(secure, "https://"),
		"8.8.8.8:80":         strings.TrimPrefix(plain.URL, "http://"),
	}
	for name, a := range map[string]*authority{"http": nil, "https": trusted} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEgress(t, a, known)
			e.url.User = url.UserPassword("u", "p")
			c := through(t, Options{Proxy: e.url}, trusted)
			for range 3 {
				res := c.Post(t.Context(), Request{URL: "http://user:pw@plain.example/a?b=c", Header: http.Header{"X-Key": {"s3cret"}}, Timeout: patience})
				if want(t, res, None, ""); string(res.Body) != "plain.example/a?b=c" {
					t.Errorf("answer %q", res.Body)
				}
				want(t, post(t, c, "https://secure.example/"), None, "")
			}
			want(t, post(t, c, "http://8.8.8.8/"), None, "")
			const auth = " Proxy-Authorization=Basic dTpw"
			got := e.requests()
			if !slices.Equal(got, []string{"CONNECT plain.example:80 plain.example:80" + auth, "CONNECT secure.example:443 secure.example:443" + auth, "CONNECT 8.8.8.8:80 8.8.8.8:80" + auth}) {
				t.Errorf("the proxy was asked for %q", got)
			}
		})
	}
}

// TestEgressProxyOwnsNames: addresses written as such and this server's names
// are still refused here, and the proxy is not even asked.
func TestEgressProxyOwnsNames(t *testing.T) {
	t.Parallel()
	e := newEgress(t, nil, nil)
	c := through(t, Options{Proxy: e.url, Policy: Policy{Own: Own{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.7:443")}, Names: func(name string) bool { return name == "mine.example" },
	}}}, nil)
	for raw, message := range map[string]string{
		"http://10.0.3.7/":                   "10.0.3.7 is a private address",
		"http://169.254.169.254/":            "is a cloud metadata address",
		"http://[::ffff:127.0.0.1]/":         "is a loopback address",
		"https://203.0.113.7/":               "this server itself",
		"https://mine.example/":              "this server itself",
		"http://localhost:8080/":             "a loopback address",
		"http://2130706433/":                 "is an address in another form than usual",
		"http://0x7f.1/":                     "is an address in another form than usual",
		"http://127.1/":                      "is an address in another form than usual",
		"http://0x7f000001/":                 "is an address in another form than usual",
		"http://017700000001./":              "is an address in another form than usual",
		"http://hooks.example.0x/":           "is an address in another form than usual",
		"http://8.8.8.8:6379/":               "port 6379 of 8.8.8.8 is not one this server rings",
		"http://[64:ff9b::a9fe:a9fe]:8080/x": "stands for an IPv4 address",
	} {
		res := post(t, c, raw)
		want(t, res, Refused, message)
	}
	if got := e.requests(); len(got) != 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
	if got := c.Describe(); !strings.Contains(got, "; names are resolved by the proxy "+e.url.Host+",") {
		t.Errorf("Describe() = %q", got)
	}
}

// TestEgressProxyFailures: checklist point 7. What the proxy did not do is told
// from what the receiver did not.
func TestEgressProxyFailures(t *testing.T) {
	t.Parallel()
	answers := func(text string) string {
		return serveRaw(t, func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, text)
		})
	}
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	mute := serveRaw(t, func(c net.Conn) { <-release })
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	const end = "\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		name, proxy string
		class       Class
		message     string
	}{
		{"nothing listens", "http://" + l.Addr().String(), Proxy, "the egress proxy of this server cannot be reached: connection refused"},
		{"no such name", "http://proxy.example:4750", Proxy, "the egress proxy of this server cannot be reached"},
		{"mute, TLS", strings.Replace(mute, "http:", "https:", 1), Proxy, "do not agree on TLS"},
		{"mute", mute, Timeout, "hooks.example did not answer within 150ms"}, // it took the request
		{"hangs up", answers(""), Proxy, "closed the connection"},
		{"hangs up in the head", answers("HTTP/1.1 20"), Proxy, "does not speak HTTP"},
		{"no HTTP", answers("SSH-2.0-x\r\n\r\n"), Proxy, "does not speak HTTP"},
		{"endless header", serveRaw(t, func(c net.Conn) {
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(c, "X: "+strings.Repeat("x", 1000)+"\r\n")
			}
		}), Proxy, "the egress proxy of this server"},
		{"speaks first", answers("HTTP/1.1 200 OK\r\n\r\nhello"), Proxy, "sent what nobody asked for"},
		{"bad request", answers("HTTP/1.1 400 No" + end), Proxy, "does not connect: it answered with status 400"},
		{"own trouble", answers("HTTP/1.1 500 No" + end), Proxy, "does not connect: it answered with status 500"},
		{"credentials", answers("HTTP/1.1 407 No" + end), Proxy, "does not take the user name and password in --egress-proxy"},
		{"policy", answers("HTTP/1.1 403 No" + end), Refused, "may not ring hooks.example:80: it answered with status 403"},
		{"policy of Smokescreen", answers("HTTP/1.1 407 No\r\nX-Smokescreen-Error: denied" + end), Refused, "may not ring hooks.example:80: it answered with status 407"},
		{"no connection", answers("HTTP/1.1 502 No" + end), Connect, "gets no connection to hooks.example:80: it answered with status 502"},
		{"no connection either", answers("HTTP/1.1 503 No" + end), Connect, "gets no connection to hooks.example:80: it answered with status 503"},
		{"no connection in time", answers("HTTP/1.1 504 No" + end), Timeout, "gets no connection to hooks.example:80 in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(tt.proxy)
			if err != nil {
				t.Fatal(err)
			}
			c := through(t, Options{Proxy: u}, nil)
			timeout := patience
			if strings.HasPrefix(tt.name, "mute") {
				timeout = brief
			}
			res := c.Post(t.Context(), Request{URL: "http://hooks.example/", Timeout: timeout})
			want(t, res, tt.class, tt.message)
			if res.Answer != nil {
				t.Error("the proxy's answer is taken for the receiver's")
			}
			if strings.Contains(res.Message, u.Host) {
				t.Errorf("the message tells where the proxy is: %s", res.Message)
			}
		})
	}
}

func TestEgressProxyIsLeftWhenStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	raw := serveRaw(t, func(c net.Conn) {
		http.ReadRequest(bufio.NewReader(c))
		cancel()
		io.Copy(io.Discard, c)
		close(gone)
	})
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	c := through(t, Options{Proxy: u}, nil)
	want(t, c.Post(ctx, Request{URL: "http://hooks.example/", Timeout: patience}), Cancelled, "")
	<-gone
}

// TestProxyOfTheEnvironmentIsIgnored: checklist point 7.
func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	t.Parallel()
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	raw := "http://loop.example" + s.URL[strings.LastIndex(s.URL, ":"):]
	req := httptest.NewRequest(http.MethodPost, raw, nil)
	if u, err := http.ProxyFromEnvironment(req); err != nil || u == nil {
		t.Fatalf("the environment names no proxy, so nothing is shown: %v, %v", u, err)
	}
	names := &nameServer{answers: map[string][]string{"loop.example.": {"127.0.0.1"}}}
	c := newClient(Options{Policy: loopback}, names.start(t), nil)
	t.Cleanup(c.Close)
	want(t, post(t, c, raw), None, "")
}
