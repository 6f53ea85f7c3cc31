package app

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// sniffing is a listener for TLS. A connection that turns out to begin in plain
// HTTP goes to another server, by way of plain.
type sniffing struct {
	net.Listener
	plain *handed
}

// Accept implements net.Listener.
func (l *sniffing) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffed{Conn: conn, plain: l.plain}, nil
}

// sniffed is a connection whose first byte is looked at when it is read for the
// handshake, under the time limit of that.
type sniffed struct {
	net.Conn
	plain  *handed
	looked bool
	gone   atomic.Bool // it is the other server's now
}

// Read implements net.Conn. To the handshake a connection that is given away has
// ended.
func (c *sniffed) Read(b []byte) (int, error) {
	if c.gone.Load() {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b)
	if c.looked || n == 0 {
		return n, err
	}
	c.looked = true
	if !beginsPlain(b[0]) {
		return n, err
	}
	c.gone.Store(true)
	c.plain.hand(&begun{c.Conn, bytes.NewReader(bytes.Clone(b[:n]))})
	return 0, io.EOF
}

// Write implements net.Conn.
func (c *sniffed) Write(b []byte) (int, error) {
	if c.gone.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *sniffed) Close() error {
	if c.gone.Load() {
		return nil
	}
	return c.Conn.Close()
}

// beginsPlain reports whether b begins the method of an HTTP request. TLS begins
// with 22, the type of a handshake record (RFC 8446, section 5.1).
func beginsPlain(b byte) bool { return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' }

// begun is a connection of which some bytes were read already.
type begun struct {
	net.Conn
	read *bytes.Reader
}

// Read implements net.Conn.
func (c *begun) Read(b []byte) (int, error) {
	if c.read.Len() > 0 {
		return c.read.Read(b)
	}
	return c.Conn.Read(b)
}

// CloseWrite is for net/http, which otherwise cannot end an answer to a request that
// goes on.
func (c *begun) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// handed is a listener for connections that another listener gives away.
type handed struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newHanded(addr net.Addr) *handed {
	h := &handed{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
	h.close = sync.OnceFunc(func() { close(h.closed) })
	return h
}

// hand gives a connection to whoever accepts, or closes it if nobody does any
// more.
func (h *handed) hand(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		conn.Close()
	}
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error {
	h.close()
	return nil
}

// Addr implements net.Listener.
func (h *handed) Addr() net.Addr { return h.addr }
