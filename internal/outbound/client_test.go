package outbound

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// TestMain sets a proxy for the whole run: no test here would pass if it were
// used.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"} {
		os.Setenv(name, "http://127.0.0.1:1")
	}
	goleak.VerifyTestMain(m)
}

const (
	patience = 10 * time.Second // a deadline that no test should reach
	brief    = 150 * time.Millisecond
)

var loopback = Policy{Loopback: true}

// client returns a client that is closed at the end of the test.
func client(t testing.TB, p Policy) *Client {
	c := New(Options{Policy: p})
	t.Cleanup(c.Close)
	return c
}

// serve starts a server that is closed, with its connections, at the end of
// the test.
func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// serveRaw answers each connection with what talk does on it. They are closed at
// the end of the test: a client closes those which are idle, and over HTTP/2 one
// may not be so yet as its last answer arrives.
func serveRaw(t testing.TB, talk func(net.Conn)) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var conns []net.Conn
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
			go func() {
				defer conn.Close()
				talk(conn)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, conn := range conns {
			conn.Close()
		}
	})
	return "http://" + l.Addr().String()
}

// readRequest reads one request to its end.
func readRequest(conn net.Conn) (*http.Request, error) {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err == nil {
		_, err = io.Copy(io.Discard, req.Body)
	}
	return req, err
}

func post(t testing.TB, c *Client, url string) Result {
	t.Helper()
	return c.Post(t.Context(), Request{URL: url, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"id":"1"}`), Timeout: patience})
}

func want(t *testing.T, res Result, class Class, message string) {
	t.Helper()
	if res.Class != class || !strings.Contains(res.Message, message) {
		t.Errorf("class %q, message %q; want %q and a message with %q", res.Class, res.Message, class, message)
	}
}

func TestPost(t *testing.T) {
	t.Parallel()
	type seen struct {
		Method, URI, Host, Body string
		Header                  http.Header
		Length                  int64
	}
	got := make(chan seen, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, r.Host, string(body), r.Header, r.ContentLength}
		w.Header().Set("X-Two", "a")
		w.Header().Add("X-Two", "b")
		w.Header().Set("Date", "Fri, 14 Mar 2025 09:26:54 GMT")
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, "OK")
	})
	host := strings.TrimPrefix(s.URL, "http://")
	given := http.Header{"Content-Type": {"application/json"}, "X-Key": {"s3cret"}, "User-Agent": {"AzureContainerRegistry/1.0"}}
	before := given.Clone()
	start := time.Now()
	res := client(t, loopback).Post(t.Context(), Request{
		URL: s.URL + "/a%2Fb?code=s3cret&x=1&bare&=#part", Header: given, Body: []byte(`{"id":"1"}`),
		Timeout: patience, Public: []string{"content-type", "Content-Length", "User-Agent"},
	})

	if diff := cmp.Diff(seen{
		"POST", "/a%2Fb?code=s3cret&x=1&bare&=", host, `{"id":"1"}`,
		http.Header{"Content-Type": {"application/json"}, "Content-Length": {"10"}, "X-Key": {"s3cret"}, "User-Agent": {"AzureContainerRegistry/1.0"}, "Accept-Encoding": {"identity"}},
		10,
	}, <-got); diff != "" {
		t.Errorf("the receiver saw something else (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, given); diff != "" {
		t.Errorf("Post changed the header it was given:\n%s", diff)
	}
	if res.Started.Before(start) || res.Duration <= 0 || res.Duration > patience {
		t.Errorf("started %v, took %v", res.Started, res.Duration)
	}
	res.Started, res.Duration = time.Time{}, 0
	if diff := cmp.Diff(Result{
		Sent: RequestHead{
			Method: "POST", Version: "1.1", URI: s.URL + "/a%2Fb?code=******&x=******&******&=******",
			Header: map[string]string{"Content-Type": "application/json", "Content-Length": "10", "X-Key": "******"},
		},
		Answer: &ResponseHead{
			Status: 202, Reason: "Accepted", Version: "1.1",
			Header: map[string]string{"Content-Length": "2", "Content-Type": "text/plain; charset=utf-8", "Date": "Fri, 14 Mar 2025 09:26:54 GMT", "X-Two": "a, b"},
		},
		Body: []byte("OK"),
	}, res); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

// TestSecretPath: a path that is a secret is sent, and not kept.
func TestSecretPath(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.RequestURI })
	for sent, kept := range map[string]string{"/services/T0/s3%2Fcret": "/******", "/s3cret?code=s3cret": "/******?code=******", "/?bare": "/?******", "": "/"} {
		r := Request{URL: s.URL + sent, Body: []byte("{}"), Timeout: patience, SecretPath: true}
		res := client(t, loopback).Post(t.Context(), r)
		if path := <-got; path != sent && sent != "" || res.Sent.URI != s.URL+kept || r.Head().URI != s.URL+kept {
			t.Errorf("%q: sent to %s, and kept as %s and %s", sent, path, res.Sent.URI, r.Head().URI)
		}
	}
}

// TestUserinfoBecomesBasic: checklist point 9.
// TestOtherMethod: a request without a body goes by the method it names, under
// the same rules: nothing is followed, and addresses are guarded.
func TestOtherMethod(t *testing.T) {
	t.Parallel()
	var second atomic.Int64
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { second.Add(1) })
	asked := make(chan *http.Request, 2)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		w.Header().Set("WebHook-Allowed-Origin", "*")
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	r := Request{Method: http.MethodOptions, URL: s.URL + "/hook?code=s3cret", Header: http.Header{"X-Env": {"prod"}}, Timeout: patience}
	res := client(t, loopback).Post(t.Context(), r)
	if want(t, res, None, ""); res.Answer.Status != http.StatusTemporaryRedirect || res.Answer.Header["Webhook-Allowed-Origin"] != "*" || second.Load() != 0 {
		t.Errorf("answer %+v, %d requests to where it points", res.Answer, second.Load())
	}
	got := <-asked
	if got.Method != http.MethodOptions || got.URL.RequestURI() != "/hook?code=s3cret" || got.ContentLength != 0 || len(got.TransferEncoding) != 0 || got.Header.Get("X-Env") != "prod" {
		t.Errorf("asked %s %s, %d bytes, %v", got.Method, got.URL, got.ContentLength, got.Header)
	}
	if res.Sent.Method != http.MethodOptions || strings.Contains(res.Sent.URI, "s3cret") {
		t.Errorf("kept %+v", res.Sent)
	}
	want(t, client(t, Policy{}).Post(t.Context(), r), Refused, "--allow-destinations")
	if len(asked) != 0 {
		t.Error("an address that may not be rung was asked")
	}
}

func TestUserinfoBecomesBasic(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Authorization") })
	c := client(t, loopback)
	for _, tt := range []struct{ userinfo, header, want string }{
		{"$user:pa%20ss@", "", "Basic JHVzZXI6cGEgc3M="},
		{"only@", "", "Basic b25seTo="},
		{"$user:pass@", "Bearer s3cret", "Bearer s3cret"},
		{"", "", ""},
	} {
		r := Request{URL: strings.Replace(s.URL, "http://", "http://"+tt.userinfo, 1), Header: http.Header{}, Timeout: patience, Public: []string{"Authorization2"}}
		if tt.header != "" {
			r.Header.Set("Authorization", tt.header)
		}
		res := c.Post(t.Context(), r)
		want(t, res, None, "")
		if auth := <-got; auth != tt.want {
			t.Errorf("%q and header %q: Authorization %q, want %q", tt.userinfo, tt.header, auth, tt.want)
		}
		kept, err := json.Marshal(res)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"pa%20ss", "pa ss", "$user", "JHVz", "b25s", "only", "s3cret"} {
			if bytes.Contains(kept, []byte(secret)) {
				t.Errorf("the record of the request has %q: %s", secret, kept)
			}
		}
		if tt.want != "" && res.Sent.Header["Authorization"] != "******" {
			t.Errorf("Authorization is kept as %q", res.Sent.Header["Authorization"])
		}
	}
}

func TestURLsThatCannotBeRung(t *testing.T) {
	t.Parallel()
	c := client(t, loopback)
	for _, url := range []string{"", "/path", "ftp://127.0.0.1/", "http://", "http:opaque", "https://%zz/", "http://127.0.0.1:port/", "http://a b/"} {
		want(t, post(t, c, url), Refused, "the service URI is no http or https URL with a host")
	}
}

// TestRedirectsAreAnswers: checklist point 11.
func TestRedirectsAreAnswers(t *testing.T) {
	t.Parallel()
	var rung atomic.Int64
	second := serve(t, func(http.ResponseWriter, *http.Request) { rung.Add(1) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		first := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, second.URL, status) })
		res := post(t, client(t, loopback), first.URL)
		if res.Class != None || res.Answer == nil || res.Answer.Status != status {
			t.Errorf("%d: %+v", status, res)
		}
	}
	if n := rung.Load(); n != 0 {
		t.Errorf("the place redirected to was rung %d times", n)
	}
}

// TestAddressIsRefusedAtDial: checklist points 1, 2 and 5, where it counts.
func TestAddressIsRefusedAtDial(t *testing.T) {
	t.Parallel()
	var rung atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { rung.Add(1) })
	c := client(t, Policy{Allow: prefixes("0.0.0.0/0", "::/0")})
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	for url, message := range map[string]string{
		s.URL:                              "127.0.0.1 is a loopback address and this server may not ring it",
		"http://[::ffff:127.0.0.1]" + port: "::ffff:127.0.0.1 is a loopback address and this server may not ring it",
		"http://0.0.0.0" + port:            "0.0.0.0 is an unspecified address and this server may not ring it",
		"http://[::]" + port:               ":: is an unspecified address and this server may not ring it",
		"https://169.254.169.254/":         "169.254.169.254 is a cloud metadata address and this server may not ring it: start it with --allow-destinations 169.254.169.254/32",
		"http://[::127.0.0.1]" + port:      "::127.0.0.1 is",
	} {
		res := post(t, c, url)
		want(t, res, Refused, message)
		if res.Answer != nil {
			t.Errorf("%s has an answer", url)
		}
	}
	if n := rung.Load(); n != 0 {
		t.Errorf("the server was rung %d times", n)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	var rung atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { rung.Add(1) })
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	names := &nameServer{answers: map[string][]string{
		"loop.example.":    {"127.0.0.1"},
		"private.example.": {"10.0.0.1"},
	}}
	closed := newClient(Options{Policy: Policy{}}, names.start(t), nil)
	t.Cleanup(closed.Close)
	opened := newClient(Options{Policy: loopback}, names.start(t), nil)
	t.Cleanup(opened.Close)

	res := post(t, opened, "http://loop.example"+port)
	want(t, res, None, "")

	want(t, post(t, opened, "http://none.example"+port), DNS, "none.example has no address: check the host name")

	const way = " and this server may not ring it: start it with --allow-destinations and that network"
	res = post(t, opened, "http://private.example"+port)
	want(t, res, Refused, "private.example resolves to a private address"+way)
	if strings.Contains(res.Message, "10.0.0") {
		t.Errorf("the message tells the resolved address: %s", res.Message)
	}
	want(t, post(t, closed, "http://loop.example"+port), Refused, "loop.example resolves to a loopback address and this server may not ring it: loopback is rung only while")

}

// TestMixedAnswers: checklist point 4. Of several addresses the refused ones are
// never dialled, in whichever order they come and whichever of two families is
// tried first.
func TestMixedAnswers(t *testing.T) {
	t.Parallel()
	var rung atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { rung.Add(1) })
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	for name, addrs := range map[string][]string{
		"first":     {"10.0.0.1", "127.0.0.1"},
		"last":      {"127.0.0.1", "10.0.0.1"},
		"many":      {"10.0.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "10.0.0.2"},
		"family":    {"127.0.0.1", "fd12::1"},
		"families":  {"::1", "fd12::1", "fe80::1", "10.0.0.1", "127.0.0.1"},
		"forbidden": {"10.0.0.1", "fd12::1", "::1", "64:ff9b::7f00:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names := &nameServer{answers: map[string][]string{"mixed.example.": addrs}}
			c := newClient(Options{Policy: Policy{Allow: prefixes("127.0.0.1/32")}}, names.start(t), nil)
			t.Cleanup(c.Close)
			var mu sync.Mutex
			var dialled []string
			c.dialer.ControlContext = func(ctx context.Context, network, address string, conn syscall.RawConn) error {
				err := guard(c.policy.refuse)(ctx, network, address, conn)
				if err == nil {
					mu.Lock()
					dialled = append(dialled, address)
					mu.Unlock()
				}
				return err
			}
			res := post(t, c, "http://mixed.example"+port)
			mu.Lock()
			defer mu.Unlock()
			if name == "forbidden" {
				if want(t, res, Refused, "mixed.example resolves to"); len(dialled) != 0 {
					t.Errorf("dialled %v", dialled)
				}
				return
			}
			if want(t, res, None, ""); !slices.Equal(dialled, []string{"127.0.0.1" + port}) {
				t.Errorf("dialled %v", dialled)
			}
		})
	}
}

// TestNumbersForHosts: checklist point 9. Whether a resolver takes a number for
// an address or for a name, the address is checked.
func TestNumbersForHosts(t *testing.T) {
	t.Parallel()
	var rung atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { rung.Add(1) })
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	lenient := &nameServer{answers: map[string][]string{"0x7f.1.": {"127.0.0.1"}, "0x7f000001.": {"127.0.0.1"}}}
	for host, class := range map[string]Class{
		"2130706433": DNS, "127.1": DNS, "0177.0.0.1": DNS, // no names to package net
		"0x7f.1": Refused, "0x7f000001": Refused,
	} {
		for names, class := range map[*nameServer]Class{lenient: class, {}: DNS} {
			c := newClient(Options{}, names.start(t), nil)
			t.Cleanup(c.Close)
			want(t, post(t, c, "http://"+host+port), class, host)
		}
	}
	if n := rung.Load(); n != 0 {
		t.Errorf("rung %d times", n)
	}
}

// TestRebinding: checklist point 3. It rings a name that resolves to an allowed address when it is
// first asked for and to another one later: the check is made on each dial, not
// on the name.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var rung atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		rung.Add(1)
		w.Header().Set("Connection", "close")
	})
	port := s.URL[strings.LastIndex(s.URL, ":"):]
	names := &nameServer{answers: map[string][]string{"turn.example.": {"127.0.0.1"}}}
	c := newClient(Options{Policy: Policy{Allow: prefixes("127.0.0.1/32")}}, names.start(t), nil)
	t.Cleanup(c.Close)
	want(t, post(t, c, "http://turn.example"+port), None, "")
	names.set("turn.example.", "127.0.0.2")
	want(t, post(t, c, "http://turn.example"+port), Refused, "turn.example resolves to a loopback address")
	if n := rung.Load(); n != 1 {
		t.Errorf("rung %d times, want once", n)
	}
}

// TestDeadline: checklist point 12. One deadline covers everything to the last
// byte of the body.
func TestDeadline(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	silent := serveRaw(t, func(net.Conn) { <-release })
	hang := serveRaw(t, func(c net.Conn) { readRequest(c); <-release })
	drip := func(head string) func(net.Conn) {
		return func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, head)
			for {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
				select {
				case <-time.After(10 * time.Millisecond):
				case <-release:
					return
				}
			}
		}
	}
	headDrip := serveRaw(t, drip("HTTP/1.1 200 OK\r\nX-Slow: "))
	bodyDrip := serveRaw(t, drip("HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"))
	trusted := newAuthority(t)
	http2Drip := serveTLSHandler(t, trusted, &tls.Config{}, func(*x509.Certificate) {}, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			io.WriteString(w, "x")
			http.NewResponseController(w).Flush()
			select {
			case <-time.After(10 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	})
	c := newClient(Options{Policy: loopback}, nil, trusted.pool)
	t.Cleanup(c.Close)
	for _, tt := range []struct{ url, message string }{
		{http2Drip, "answered with status 200, but did not finish within 150ms"},
		{silent, "did not answer within 150ms"},
		{strings.Replace(silent, "http:", "https:", 1), "did not answer within 150ms"},
		{hang, "did not answer within 150ms"},
		{headDrip, "did not answer within 150ms"},
		{bodyDrip, "answered with status 200, but did not finish within 150ms"},
	} {
		res := c.Post(t.Context(), Request{URL: tt.url, Timeout: brief})
		want(t, res, Timeout, tt.message)
		if res.Duration < brief || res.Duration > brief+5*time.Second {
			t.Errorf("%s: took %v", tt.message, res.Duration)
		}
		if res.Answer != nil {
			t.Errorf("%s: it counts as an answer", tt.message)
		}
	}
}

// TestDeadlineOverNames has a name server that never answers.
func TestDeadlineOverNames(t *testing.T) {
	t.Parallel()
	names := &nameServer{mute: true}
	c := newClient(Options{Policy: loopback}, names.start(t), nil)
	t.Cleanup(c.Close)
	res := c.Post(t.Context(), Request{URL: "http://mute.example/", Timeout: brief})
	want(t, res, Timeout, "mute.example did not answer within 150ms")
}

func statusOf(res Result) int {
	if res.Answer == nil {
		return 0
	}
	return res.Answer.Status
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := serveRaw(t, func(c net.Conn) {
		readRequest(c)
		cancel()
		io.Copy(io.Discard, c)
	})
	res := client(t, loopback).Post(ctx, Request{URL: url, Timeout: patience})
	want(t, res, Cancelled, "the receiver may have seen it")
}

// TestHostileAnswers: checklist points 14, 15 and 16. It has receivers that answer with what would cost a careless
// client its memory, its time or its nerve.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", MaxResponseBody)
	answer := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			readRequest(c)
			io.WriteString(c, text)
		}
	}
	endless := func(head, piece string) func(net.Conn) {
		return func(c net.Conn) {
			readRequest(c)
			_, err := io.WriteString(c, head)
			for err == nil {
				_, err = io.WriteString(c, piece)
			}
		}
	}
	for _, tt := range []struct {
		name    string
		talk    func(net.Conn)
		class   Class
		message string
		status  int
		body    string
		cut     bool
	}{
		{name: "body at the limit", talk: answer("HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n" + long), status: 200, body: long},
		{name: "body beyond the limit", talk: answer("HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n" + long + "y"), status: 200, body: long, cut: true},
		{name: "endless body", talk: endless("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 1000)), status: 200, body: long, cut: true},
		{name: "endless chunks", talk: endless("HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n", "3e8\r\n"+strings.Repeat("x", 1000)+"\r\n"), status: 500, body: long, cut: true},
		{name: "long body that ends early", talk: answer("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + long + "y"), status: 200, body: long, cut: true},
		{name: "endless header", talk: endless("HTTP/1.1 200 OK\r\n", "X-Y: "+strings.Repeat("x", 1000)+"\r\n"), class: Protocol, message: "is no valid HTTP, or has more than 64 KiB of headers"},
		{name: "endless header line", talk: endless("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", 1000)), class: Protocol, message: "64 KiB of headers"},
		{name: "endless status line", talk: endless("HTTP/1.1 200 ", strings.Repeat("x", 1000)), class: Protocol, message: "64 KiB of headers"},
		{name: "flood of interim answers", talk: endless("", "HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("x", 100)+"\r\n\r\n"), class: Protocol, message: "64 KiB of headers"},
		{name: "flood of the smallest interim answers", talk: endless("", "HTTP/1.1 100 Continue\r\n\r\n"), class: Protocol, message: "64 KiB of headers"},
		{name: "interim answer", talk: answer("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), status: 204},
		{name: "switch of protocols", talk: answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello"), class: Protocol, message: "switched to another protocol"},
		{name: "closed without an answer", talk: answer(""), class: Protocol, message: "closed the connection before it answered"},
		{name: "closed in the head", talk: answer("HTTP/1.1 200 OK\r\nX: y"), class: Protocol, message: "closed the connection before it answered"},
		{name: "reset", talk: func(c net.Conn) { readRequest(c); c.(*net.TCPConn).SetLinger(0) }, class: Protocol, message: "closed the connection before it answered"},
		{name: "body ends early", talk: answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"), class: Protocol, message: "answered with status 200, but ended before its body was complete"},
		{name: "chunk ends early", talk: answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"), class: Protocol, message: "ended before its body was complete"},
		{name: "two lengths", talk: answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"), class: Protocol, message: "no valid HTTP"},
		{name: "no length at all", talk: answer("HTTP/1.1 200 OK\r\n\r\nto the end"), status: 200, body: "to the end"},
		{name: "no HTTP", talk: answer("220 smtp.example ESMTP\r\n"), class: Protocol, message: "no valid HTTP"},
		{name: "no reason", talk: answer("HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n"), status: 299},
		{name: "bytes that are no text", talk: answer("HTTP/1.1 200 OK\r\nX: \xff\r\nContent-Length: 2\r\n\r\n\xff\x00"), status: 200, body: "\xff\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res := post(t, client(t, loopback), serveRaw(t, tt.talk))
			want(t, res, tt.class, tt.message)
			if statusOf(res) != tt.status || string(res.Body) != tt.body || res.Cut != tt.cut {
				t.Errorf("status %d, body of %d bytes, cut %v; want %d, %d, %v", statusOf(res), len(res.Body), res.Cut, tt.status, len(tt.body), tt.cut)
			}
		})
	}
}

// TestBytesAreKept: checklist point 15. What is no UTF-8 is kept as it came; to
// escape it is for whoever shows it.
func TestBytesAreKept(t *testing.T) {
	t.Parallel()
	const odd = "\xff<script>\x80\xc3("
	url := serveRaw(t, func(c net.Conn) {
		readRequest(c)
		fmt.Fprintf(c, "HTTP/1.1 500 %s\r\nX-Odd: %s\r\nContent-Length: %d\r\n\r\n%s\x00", odd, odd, len(odd)+1, odd)
	})
	res := post(t, client(t, loopback), url)
	want(t, res, None, "")
	if string(res.Body) != odd+"\x00" || res.Answer.Header["X-Odd"] != odd || res.Answer.Reason != odd {
		t.Errorf("body %q, header %q, reason %q", res.Body, res.Answer.Header["X-Odd"], res.Answer.Reason)
	}
}

// TestNothingIsKeptForTheNextRequest: checklist point 16. There are no cookies,
// no alternative services and no stricter transport from one exchange to the
// next, and no wish for another protocol.
func TestNothingIsKeptForTheNextRequest(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		w.Header().Set("Alt-Svc", `h2="127.0.0.1:1"; ma=3600`)
		w.Header().Set("Upgrade", "h2c")
	})
	c := client(t, loopback)
	for range 2 {
		want(t, post(t, c, s.URL), None, "")
		h := <-got
		for _, name := range []string{"Cookie", "Upgrade", "Http2-Settings", "Connection", "Upgrade-Insecure-Requests", "Expect", "Referer"} {
			if v, ok := h[name]; ok {
				t.Errorf("sent %s: %s", name, v)
			}
		}
	}
}

// TestMessagesKeepSecrets: checklist points 10 and 35. Why something failed is
// told without the address that a name resolved to and without anything of the
// request that may be secret.
func TestMessagesKeepSecrets(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t)
	names := &nameServer{answers: map[string][]string{"hooks.example.": {"127.0.0.1"}, "private.example.": {"10.9.8.7", "fd12::9"}}}
	c := newClient(Options{Policy: loopback}, names.start(t), nil)
	t.Cleanup(c.Close)
	at := func(scheme, raw string) string {
		return scheme + "://us3r:s3cret@hooks.example" + raw[strings.LastIndex(raw, ":"):] + "/p/?code=s3cret"
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	hangsUp := serveRaw(t, func(c net.Conn) { readRequest(c) })
	short := serveRaw(t, func(c net.Conn) {
		readRequest(c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
	})
	noHTTP := serveRaw(t, func(c net.Conn) {
		c.Read(make([]byte, 1))
		io.WriteString(c, "220 x\r\n\r\n")
	})
	hangs := serveRaw(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for url, class := range map[string]Class{
		at("http", "x:"+l.Addr().String()): Connect,
		at("http", hangsUp):                Protocol,
		at("http", short):                  Protocol,
		at("http", noHTTP):                 Protocol,
		at("http", hangs):                  Timeout,
		at("https", noHTTP):                TLSFailed,
		at("https", serveTLS(t, trusted, &tls.Config{}, func(*x509.Certificate) {})): TLSName,
		"http://us3r:s3cret@private.example/p/?code=s3cret":                          Refused,
		"http://us3r:s3cret@none.example/p/?code=s3cret":                             DNS,
	} {
		timeout := patience
		if class == Timeout {
			timeout = brief
		}
		res := c.Post(t.Context(), Request{URL: url, Header: http.Header{"X-Key": {"s3cret"}}, Body: []byte("s3cret"), Timeout: timeout})
		if want(t, res, class, "example"); res.Message == "" {
			t.Errorf("%s: no message", class)
		}
		for _, secret := range []string{"127.0.0.1", "10.9.8", "fd12", "us3r", "s3cret", "X-Key", "/p/"} {
			if strings.Contains(res.Message, secret) {
				t.Errorf("%s: the message has %q: %s", class, secret, res.Message)
			}
		}
	}
}

// TestAnotherPolicyHasConnectionsOfItsOwn: checklist point 8. A connection that
// is open is not checked again, so a tighter policy must not inherit it.
func TestAnotherPolicyHasConnectionsOfItsOwn(t *testing.T) {
	t.Parallel()
	from := make(chan string, 1)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { from <- r.RemoteAddr })
	wide := client(t, loopback)
	want(t, post(t, wide, s.URL), None, "")
	first := <-from

	want(t, post(t, client(t, Policy{}), s.URL), Refused, "")
	want(t, post(t, client(t, loopback), s.URL), None, "")
	if another := <-from; another == first {
		t.Error("another client uses the connection of the first")
	}
	want(t, post(t, wide, s.URL), None, "")
	if again := <-from; again != first {
		t.Error("the first client lost its connection, so nothing was shown")
	}
}

// TestGzipStaysPacked: checklist point 13.
func TestGzipStaysPacked(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	io.CopyN(zip, zeroes{}, 5<<20)
	zip.Close()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	})
	res := post(t, client(t, loopback), s.URL)
	want(t, res, None, "")
	if !bytes.Equal(res.Body, bomb.Bytes()[:MaxResponseBody]) || !res.Cut {
		t.Errorf("kept %d bytes, cut %v: want the first %d as they were sent", len(res.Body), res.Cut, MaxResponseBody)
	}
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestKeptHeaderIsBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 50 {
			w.Header().Set(fmt.Sprintf("X-%02d", i), strings.Repeat("x", 1000))
		}
	})
	res := post(t, client(t, loopback), s.URL)
	want(t, res, None, "")
	size := 0
	for name, value := range res.Answer.Header {
		size += len(name) + len(value)
	}
	if size > maxKeptHeader || size < maxKeptHeader/2 || res.Answer.Header["X-00"] == "" || res.Answer.Header["X-49"] != "" {
		t.Errorf("kept %d bytes of header: %d fields", size, len(res.Answer.Header))
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	want(t, post(t, client(t, loopback), "http://"+addr), Connect, addr+" refused the connection: nothing listens there")
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		w.Write(make([]byte, size))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := client(t, loopback)
	for _, size := range []int{0, 2, MaxResponseBody, MaxResponseBody + 1, 32 << 10, 10} {
		for range 3 {
			want(t, post(t, c, s.URL+"/?size="+strconv.Itoa(size)), None, "")
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for requests that came one after the other, want 1", n)
	}
	want(t, post(t, c, s.URL+"/?size=1000000"), None, "")
	want(t, post(t, c, s.URL), None, "")
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2: a long body is left unread with its connection", n)
	}
}

// TestAtMostOnce: checklist point 16. It has a receiver that reads a request on a kept-alive connection
// and hangs up. Whatever the header says, it sees the request once.
func TestAtMostOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"X-Any", "Idempotency-Key", "X-Idempotency-Key"} {
		var seen atomic.Int64
		url := serveRaw(t, func(c net.Conn) {
			r := bufio.NewReader(c)
			for n := 0; ; n++ {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				io.Copy(io.Discard, req.Body)
				if seen.Add(1); n == 1 {
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		c := client(t, loopback)
		r := Request{URL: url, Header: http.Header{name: {"1"}}, Body: []byte("{}"), Timeout: patience}
		want(t, c.Post(t.Context(), r), None, "")
		want(t, c.Post(t.Context(), r), Protocol, "closed the connection before it answered")
		if n := seen.Load(); n != 2 {
			t.Errorf("%s: the receiver saw %d requests, want 2", name, n)
		}
	}
}

// TestStaleConnections: checklist point 16. It has a receiver that answers one request per connection
// and then hangs up without a word. Requests that were never begun on such a
// connection are sent on another; no request is seen twice.
func TestStaleConnections(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	url := serveRaw(t, func(c net.Conn) {
		if _, err := readRequest(c); err == nil {
			seen.Add(1)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	c := client(t, loopback)
	var ok, failed int64
	for range 300 {
		switch res := post(t, c, url); res.Class {
		case None:
			ok++
		case Protocol:
			failed++ // it was begun as the receiver hung up: nobody can know
		default:
			t.Fatalf("class %q: %s", res.Class, res.Message)
		}
	}
	if n := seen.Load(); n != ok {
		t.Errorf("%d answers for %d requests that the receiver saw (%d failed)", ok, n, failed)
	}
	if ok < 100 {
		t.Errorf("only %d of 300 requests got through", ok)
	}
}

// TestClosedWhileIdle: checklist point 16. It has a receiver that hangs up in the instant in which the
// kept-alive connection is chosen for the next request, before that is begun.
func TestClosedWhileIdle(t *testing.T) {
	t.Parallel()
	hangUp, gone := make(chan struct{}), make(chan struct{})
	var seen atomic.Int64
	url := serveRaw(t, func(c net.Conn) {
		if _, err := readRequest(c); err != nil {
			return
		}
		n := seen.Add(1)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		if n == 1 {
			<-hangUp
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c) // until the client has noticed
			close(gone)
		}
	})
	c := client(t, loopback)
	want(t, post(t, c, url), None, "")
	var once sync.Once
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if info.Reused {
			once.Do(func() { close(hangUp); <-gone })
		}
	}})
	want(t, c.Post(ctx, Request{URL: url, Body: []byte("{}"), Timeout: patience}), None, "")
	select {
	case <-gone:
	default:
		t.Error("the connection was not used again, so nothing was shown")
	}
	if n := seen.Load(); n != 2 {
		t.Errorf("the receiver saw %d requests, want 2", n)
	}
}

func TestPostNeverPanics(t *testing.T) {
	t.Parallel()
	c := client(t, loopback)
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	want(t, c.Post(t.Context(), Request{}), Refused, "no http or https URL")
	want(t, c.Post(t.Context(), Request{URL: s.URL}), Timeout, "within 0s")
	want(t, c.Post(t.Context(), Request{URL: s.URL, Timeout: patience}), None, "")
	want(t, c.Post(t.Context(), Request{URL: s.URL, Timeout: patience, Header: http.Header{"A b": {"x"}}}), Protocol, "")
	want(t, c.Post(t.Context(), Request{URL: s.URL, Timeout: patience, Header: http.Header{"A": {"x\r\ny: z"}}}), Protocol, "")
}
