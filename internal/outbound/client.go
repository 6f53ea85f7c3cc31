package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Client calls strangers. Its methods may be called from many goroutines; they
// share connections.
type Client struct {
	policy    Policy
	dialer    net.Dialer
	tls       *tls.Config
	transport *http.Transport
}

// Limits on what a receiver can make this process hold.
const (
	maxResponseHeader = 64 << 10 // all header bytes of an answer, interim answers included
	maxDrain          = 32 << 10 // of a body nobody reads, so that the connection can be used again
	maxStreamBuffer   = 64 << 10 // HTTP/2: unread bytes of one answer
	maxConnBuffer     = 1 << 20  // HTTP/2: of all answers on one connection
	idlePerHost       = 128
	idleConnections   = 4096
	idleFor           = 90 * time.Second
)

// New returns a client that rings only what p allows. A client with another
// policy is another Client: connections are never shared between two, for one
// that is open is not checked again.
func New(p Policy) *Client { return newClient(p, nil, nil) }

// newClient lets tests name a resolver and certificate authorities.
func newClient(p Policy, resolver *net.Resolver, roots *x509.CertPool) *Client {
	c := &Client{policy: p}
	c.dialer = net.Dialer{Resolver: resolver, ControlContext: c.guard}
	c.tls = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            roots,
		ClientSessionCache: tls.NewLRUClientSessionCache(1024),
		NextProtos:         []string{"h2", "http/1.1"},
	}
	c.transport = &http.Transport{
		// Proxy stays nil: whatever HTTP_PROXY says, the guard has to see the
		// receiver's own address.
		DialContext:            c.dial,
		DialTLSContext:         c.dialTLS,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
		MaxIdleConns:           idleConnections,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleFor,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream:     maxStreamBuffer,
			MaxReceiveBufferPerConnection: maxConnBuffer,
			// A connection that became a black hole is found out before it
			// costs more than a few attempts.
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     5 * time.Second,
		},
	}
	return c
}

// Close closes the connections that nobody uses at the moment.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// guard looks at every address right before it is dialled.
func (c *Client) guard(_ context.Context, _, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("outbound: %w", err)
	}
	if r := c.policy.refuse(addr); r != nil {
		return r
	}
	return nil
}

// deadlineKey is where a request's context keeps its deadline for the dialer:
// the transport lets a dial outlive its request, and then so would the sockets
// of receivers that never answer.
type deadlineKey struct{}

func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if d, ok := ctx.Value(deadlineKey{}).(time.Time); ok {
		return context.WithDeadline(ctx, d)
	}
	return ctx, func() {}
}

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	return c.dialer.DialContext(ctx, network, address)
}

// dialTLS is here, instead of what the transport would do by itself, to tell a
// failed handshake from every other failure.
func (c *Client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	raw, err := c.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := c.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address) // as the transport joined it
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &handshakeError{err}
	}
	return conn, nil
}

type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }

// Post sends r and says what became of it. It never returns an error: the
// failure, by class and in words, is in the Result. The request goes on the
// wire at most once.
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
	res.Sent = RequestHead{Method: http.MethodPost, Version: "1.1"}

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil || req.URL.Hostname() == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		res.Class, res.Message = Refused, "the service URI is no http or https URL with a host"
		return
	}
	req.Header = wireHeader(r.Header, req.URL)
	req.URL.User = nil
	res.Sent.URI = redactURI(req.URL)
	res.Sent.Header = redactHeader(req.Header, len(r.Body), r.Public)

	// The transport sends a request again, by itself, when a kept-alive
	// connection turns out to be dead before anything was written to it: for
	// that it needs GetBody, which NewRequest sets. Beyond that it would also
	// repeat what it takes for idempotent, and a receiver could see twice what
	// the log has once.
	if idempotent(req.Header) {
		req.GetBody = nil
	}
	answer, err := c.transport.RoundTrip(req)
	if err != nil && closedWhileIdle(err) {
		req.Body = io.NopCloser(bytes.NewReader(r.Body))
		answer, err = c.transport.RoundTrip(req)
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
