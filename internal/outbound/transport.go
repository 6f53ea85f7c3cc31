package outbound

import (
	"container/list"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxTransports is how many TLS settings have connections that are kept.
const maxTransports = 512

// Connections that are kept, of all receivers and of one: with the system's
// authorities, and with TLS settings of its own.
const (
	idleConnections = 4096
	idlePerHost     = 128
	idleWithTLS     = 32

	idleFor = 90 * time.Second
)

// TLS sessions that are kept to be resumed.
const (
	sessions        = 1024
	sessionsWithTLS = 16
)

// transports holds, for each TLS settings in use, the connections that were made
// with them: one that trusts others, or shows another certificate, is never
// shared. Those not used for the longest time give way.
type transports struct {
	max int

	mu     sync.Mutex
	bySum  map[[sha256.Size]byte]*list.Element
	recent list.List // of *transport; the last used is in front
}

type transport struct {
	sum  [sha256.Size]byte // of the TLS settings
	http *http.Transport
}

// get returns the transport for t, made by build if there is none.
func (s *transports) get(t *TLS, build func() (*http.Transport, error)) (*http.Transport, error) {
	sum := t.sum()
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.bySum[sum]; ok {
		s.recent.MoveToFront(e)
		return e.Value.(*transport).http, nil
	}
	made, err := build()
	if err != nil {
		return nil, err
	}
	if s.bySum == nil {
		s.bySum = map[[sha256.Size]byte]*list.Element{}
	}
	s.bySum[sum] = s.recent.PushFront(&transport{sum, made})
	if s.recent.Len() > s.max {
		oldest := s.recent.Remove(s.recent.Back()).(*transport)
		delete(s.bySum, oldest.sum)
		oldest.http.CloseIdleConnections() // what is in use is closed when it comes back
	}
	return made, nil
}

func (s *transports) closeIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.recent.Front(); e != nil; e = e.Next() {
		e.Value.(*transport).http.CloseIdleConnections()
	}
}

// sum tells settings apart.
func (t *TLS) sum() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, member := range [...][]byte{t.CA, t.Certificate, t.Key} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(member)))
		h.Write(n[:])
		h.Write(member)
	}
	h.Sum(sum[:0])
	return sum
}

// transportFor returns what sends a request with these TLS settings.
func (c *Client) transportFor(t *TLS) (*http.Transport, error) {
	if t == nil || len(t.CA)+len(t.Certificate)+len(t.Key) == 0 {
		return c.plain, nil
	}
	return c.special.get(t, func() (*http.Transport, error) {
		authorities, certificate, err := t.parse(time.Time{})
		if err != nil {
			return nil, err
		}
		config := c.tlsConfig(sessionsWithTLS)
		if authorities != nil {
			config.RootCAs = authorities
		}
		if certificate != nil {
			config.Certificates = []tls.Certificate{*certificate}
		}
		return c.newTransport(config, idleWithTLS, idleWithTLS), nil
	})
}

// tlsConfig is that of receivers without TLS settings; sessions is how many of
// them are kept to be resumed.
func (c *Client) tlsConfig(sessions int) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            c.roots,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
		NextProtos:         []string{"h2", "http/1.1"},
	}
}

func (c *Client) newTransport(config *tls.Config, idle, perHost int) *http.Transport {
	return &http.Transport{
		// Proxy stays nil: whatever HTTP_PROXY says, the guard has to see the
		// receiver's own address.
		DialContext: c.dial,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return c.dialTLS(ctx, network, address, config)
		},
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    perHost,
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
	return c.connect(ctx, network, address)
}

// dialTLS is here, instead of what the transport would do by itself, to tell a
// failed handshake from every other failure.
func (c *Client) dialTLS(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	raw, err := c.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address) // as the transport joined it
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &handshakeError{err}
	}
	return conn, nil
}

// connect returns a connection to address, host:port, for a request.
func (c *Client) connect(ctx context.Context, network, address string) (net.Conn, error) {
	return c.open(ctx, &c.dialer, network, address)
}

// open returns a connection to address. What is known of the host by its name alone
// is checked here, and the address that is dialled by the guard of d.
func (c *Client) open(ctx context.Context, d *net.Dialer, network, address string) (net.Conn, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	broker := d == &c.broker
	if r := c.policy.refuseHost(host, uint16(port)); r != nil && !(broker && r.ofBrokerPort()) {
		return nil, r
	}
	if c.proxy != nil {
		return c.proxy.connect(ctx, address, broker)
	}
	return d.DialContext(ctx, network, address)
}

type handshakeError struct{ error }

func (e *handshakeError) Unwrap() error { return e.error }
