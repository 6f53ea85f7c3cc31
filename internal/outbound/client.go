package outbound

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// Options are what a Client is made of.
type Options struct {
	Policy Policy

	// Proxy, an http or https URL perhaps with a user name and password, is what
	// every request goes through. It resolves the names of receivers, and so
	// decides which addresses these may lead to; the Policy holds for addresses
	// written as such and for Policy.Own.Names. Nil: receivers are dialled
	// directly.
	Proxy *url.URL

	ID string // of this server, for HopsHeader; empty: the header is not sent
}

// Client calls strangers. Its methods may be called from many goroutines; they
// share connections.
type Client struct {
	policy Policy
	id     string
	first  []string       // HopsHeader of what no request led to
	dialer net.Dialer     // of requests
	broker net.Dialer     // of DialContext
	roots  *x509.CertPool // nil: the system's
	proxy  *proxy         // nil: none

	plain   *http.Transport // for requests without TLS settings
	special transports      // for those with
}

// Limits on what a receiver can make this process hold.
const (
	maxResponseHeader = 64 << 10 // all header bytes of an answer, interim answers included
	maxDrain          = 32 << 10 // of a body nobody reads, so that the connection can be used again
	maxStreamBuffer   = 64 << 10 // HTTP/2: unread bytes of one answer
	maxConnBuffer     = 1 << 20  // HTTP/2: of all answers on one connection
)

// New returns a client that rings only what o.Policy allows. The policy of a
// client never changes: one with another policy is another Client, and
// connections are never shared between two, for one that is open is not checked
// again.
func New(o Options) *Client { return newClient(o, nil, nil) }

// newClient lets tests name a resolver and certificate authorities.
func newClient(o Options, resolver *net.Resolver, roots *x509.CertPool) *Client {
	c := &Client{policy: o.Policy, id: o.ID, first: []string{o.ID}, roots: roots}
	c.dialer = net.Dialer{Resolver: resolver, ControlContext: guard(c.policy.refuse)}
	c.broker = net.Dialer{Resolver: resolver, ControlContext: guard(c.policy.refuseBroker)}
	if o.Proxy != nil {
		c.proxy = newProxy(o.Proxy, net.Dialer{Resolver: resolver}, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots})
	}
	c.plain = c.newTransport(c.tlsConfig(sessions), idleConnections, idlePerHost)
	c.special.max = maxTransports
	return c
}

// Close closes the connections that nobody uses at the moment.
func (c *Client) Close() {
	c.plain.CloseIdleConnections()
	c.special.closeIdle()
}

// Describe says in one sentence what may be rung, for the log at start.
func (c *Client) Describe() string {
	sentence := c.policy.describe()
	if c.proxy != nil {
		sentence += "; names are resolved by the proxy " + c.proxy.address + ", which decides where they may lead"
	}
	return sentence
}

// guard looks at every address right before it is dialled.
func guard(refuse func(netip.AddrPort) *refusal) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("outbound: %w", err)
		}
		if r := refuse(addr); r != nil {
			return r
		}
		return nil
	}
}

// hops returns the HopsHeader of a request, nil for none.
func (c *Client) hops(r *Request) []string {
	switch {
	case c.id == "":
		return nil
	case r.Hops == "":
		return c.first
	}
	return []string{appendHop(r.Hops, c.id)}
}

// Post sends r and says what became of it. It never returns an error: the
// failure, by class and in words, is in the Result. A request with a body goes on
// the wire at most once.
func (c *Client) Post(ctx context.Context, r Request) Result {
	res := Result{Started: time.Now()}
	c.post(ctx, &r, &res)
	res.Duration = time.Since(res.Started)
	return res
}

func (c *Client) post(parent context.Context, r *Request, res *Result) {
	deadline := res.Started.Add(r.Timeout)
	ctx, cancel := context.WithDeadline(context.WithValue(parent, deadlineKey{}, deadline), deadline)
	defer cancel()
	res.Sent = RequestHead{Method: r.method(), Version: "1.1"}

	req, err := http.NewRequestWithContext(ctx, r.method(), r.URL, bytes.NewReader(r.Body))
	if err != nil || req.URL.Hostname() == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		res.Class, res.Message = Refused, "the service URI is no http or https URL with a host"
		return
	}
	req.Header = wireHeader(r.Header, req.URL)
	if hops := c.hops(r); hops != nil {
		req.Header[HopsHeader] = hops
	}
	req.URL.User = nil
	res.Sent.URI = redactURI(req.URL, r.SecretPath)
	res.Sent.Header = redactHeader(req.Header, len(r.Body), r.Public)

	transport, err := c.transportFor(r.TLS)
	if err != nil {
		res.Class, res.Message = TLSFailed, "no TLS with "+req.URL.Host+": "+err.Error()
		return
	}

	// The transport sends a request again, by itself, when a kept-alive
	// connection turns out to be dead before anything was written to it: for
	// that it needs GetBody, which NewRequest sets. Beyond that it would also
	// repeat what it takes for idempotent, and over HTTP/2 what the receiver
	// turned away, and a receiver could see twice what the log has once.
	if req.URL.Scheme == "https" || idempotent(req.Header) {
		req.GetBody = nil
	}
	answer, err := transport.RoundTrip(req)
	if err != nil && len(r.Body) > 0 && closedWhileIdle(err) {
		req.Body = io.NopCloser(bytes.NewReader(r.Body))
		answer, err = transport.RoundTrip(req)
	}
	if err != nil {
		res.Class, res.Message = explain(parent, deadline, r, req.URL, err)
		return
	}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		answer.Body.Close()
		res.Class, res.Message = Protocol, req.URL.Host+" switched to another protocol, which nobody asked for"
		return
	}
	body, cut, err := readBody(answer.Body)
	if err != nil {
		res.Class, res.Message = explainBody(parent, deadline, r, req.URL, answer.StatusCode)
		return
	}
	res.Answer, res.Body, res.Cut = keepAnswer(answer), body, cut
	if answer.ProtoMajor == 2 {
		res.Sent.Version = res.Answer.Version
	}
}

func (r *Request) method() string { return cmp.Or(r.Method, http.MethodPost) }

// idempotent reports whether net/http takes a POST for one that may be repeated.
func idempotent(h http.Header) bool {
	_, a := h["Idempotency-Key"]
	_, b := h["X-Idempotency-Key"]
	return a || b
}

// closedWhileIdle reports whether the receiver closed a kept-alive connection
// before the request was begun. net/http has no exported name for that error,
// and repeats only requests that it takes for idempotent. It closes the
// connection itself before the first byte could have been written, so nothing
// was sent.
func closedWhileIdle(err error) bool {
	return err.Error() == "http: server closed idle connection"
}

var bodies = sync.Pool{New: func() any { return new([MaxResponseBody + 1]byte) }}

// readBody returns the first MaxResponseBody bytes of body and whether there
// were more. It reads on for a little, so that the connection can be used
// again, and closes body.
func readBody(body io.ReadCloser) (kept []byte, cut bool, err error) {
	defer body.Close()
	buf := bodies.Get().(*[MaxResponseBody + 1]byte)
	defer bodies.Put(buf)
	n := 0
	for n < len(buf) && err == nil {
		var m int
		m, err = body.Read(buf[n:])
		n += m
	}
	if n > MaxResponseBody {
		io.CopyN(io.Discard, body, maxDrain) // what is kept is complete; how the rest ends is of no matter
		return bytes.Clone(buf[:MaxResponseBody]), true, nil
	}
	if err == io.EOF {
		err = nil
	}
	if n > 0 {
		kept = bytes.Clone(buf[:n])
	}
	return kept, false, err
}
