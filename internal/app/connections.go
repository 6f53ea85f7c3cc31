package app

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// gate bounds how many connections there are at once: in all, and from one
// address. It is passed before the first byte is read.
type gate struct {
	most       int
	perAddress int
	exempt     func(netip.Addr) bool // from the bound per address: many clients are behind it
	log        *slog.Logger

	mu   sync.Mutex
	open int
	from map[netip.Prefix]int
	told time.Time // when the log was last told that connections are refused
}

// tellEvery is how often the log may say that connections are refused.
const tellEvery = time.Minute

// enter lets a connection in, or not. Whoever was let in has to leave.
func (g *gate) enter(addr netip.Addr) bool {
	client := whose(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.most {
		g.tell("connections are refused: there are as many as --max-connections allows", "connections", g.open)
		return false
	}
	if g.from[client] >= g.perAddress && !g.exempt(addr) {
		g.tell("connections are refused: one client has as many as --max-connections-per-address allows; a proxy belongs into --trusted-proxies",
			"client", client.String(), "connections", g.from[client])
		return false
	}
	if g.from == nil {
		g.from = map[netip.Prefix]int{}
	}
	g.open++
	g.from[client]++
	return true
}

// leave ends a connection that was let in.
func (g *gate) leave(addr netip.Addr) {
	client := whose(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.from[client]--; g.from[client] == 0 {
		delete(g.from, client)
	}
}

func (g *gate) tell(what string, args ...any) {
	if now := time.Now(); now.Sub(g.told) >= tellEvery {
		g.told = now
		g.log.Warn(what, args...)
	}
}

// whose returns the addresses that are one client's: in IPv6 a network of 64 bits,
// which is what a single machine is given.
func whose(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	client, _ := addr.Prefix(bits) // the zero one for no address
	return client
}

// gated is a listener behind a gate.
type gated struct {
	net.Listener
	gate   *gate
	refuse func(net.Conn) // has to close it, and not to wait
}

// Accept implements net.Listener.
func (l *gated) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return conn, nil
		}
		addr := addrOf(tcp)
		if !l.gate.enter(addr) {
			l.refuse(conn)
			continue
		}
		keepLittleUnsent(tcp)
		return &counted{TCPConn: tcp, leave: sync.OnceFunc(func() { l.gate.leave(addr) })}, nil
	}
}

func addrOf(conn *net.TCPConn) netip.Addr {
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return remote.AddrPort().Addr()
	}
	return netip.Addr{}
}

// counted is a connection that was let in. Everything but Close is that of the
// TCP connection, its way to send files too.
type counted struct {
	*net.TCPConn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.leave()
	return c.TCPConn.Close()
}

// Of connections that are too many so many are told at once, for so long.
const (
	maxFarewells = 64
	farewell     = 2 * time.Second
)

// busy is what a client of plain HTTP is told when there are too many
// connections.
var busy = func() string {
	const body = `{"errors":[{"code":"TOOMANYREQUESTS","message":"there are too many connections to this server: try again later"}]}` + "\n"
	return "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 10\r\n" +
		"Content-Type: application/json; charset=utf-8\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}()

// closeAtOnce refuses a connection where nothing can be said before a handshake.
func closeAtOnce(conn net.Conn) { conn.Close() }

// answerBusy returns what refuses connections in plain HTTP: with an answer, as
// long as there are not too many of these either.
func answerBusy() func(net.Conn) {
	places := make(chan struct{}, maxFarewells)
	return func(conn net.Conn) {
		select {
		case places <- struct{}{}:
		default:
			conn.Close()
			return
		}
		go func() {
			defer func() { <-places }()
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(farewell))
			io.WriteString(conn, busy)
			// To close it with its request unread would take the answer away again.
			if half, ok := conn.(interface{ CloseWrite() error }); ok {
				half.CloseWrite()
			}
			const most = 64 << 10
			io.CopyN(io.Discard, conn, most)
		}()
	}
}
