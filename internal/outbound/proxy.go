package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// proxy is what all requests go through, by CONNECT (RFC 9110, section 9.3.6):
// it sees of them no more than host and port.
type proxy struct {
	address       string // host:port
	tls           *tls.Config
	authorization string // empty: none
	dialer        net.Dialer
}

// newProxy takes an http or https URL.
func newProxy(u *url.URL, dialer net.Dialer, config *tls.Config) *proxy {
	p := &proxy{dialer: dialer}
	port := u.Port()
	if u.Scheme == "https" {
		p.tls = config
		p.tls.ServerName = u.Hostname()
	}
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	p.address = net.JoinHostPort(u.Hostname(), port)
	if u.User != nil {
		p.authorization = basic(u.User)
	}
	return p
}

func basic(user *url.Userinfo) string {
	password, _ := user.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))
}

// proxyError is an end that came at the proxy.
type proxyError struct {
	class    Class
	sentence string
}

func (e *proxyError) Error() string { return "outbound: " + e.sentence }

func proxyFailed(format string, args ...any) error {
	return &proxyError{Proxy, "the egress proxy of this server " + fmt.Sprintf(format, args...)}
}

// connect returns a connection to address, host:port. Literals have been checked
// already; a number that some system might take for an address was not. What speaks
// before it is spoken to, as brokers may, fails unless greets is set.
func (p *proxy) connect(ctx context.Context, address string, greets bool) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	if isNumber(host) {
		return nil, &proxyError{Refused, host + " is an address in another form than usual: write four numbers from 0 to 255, divided by dots"}
	}
	conn, err := p.reach(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	early, err := p.ask(conn, address)
	if err == nil && len(early) > 0 && !greets {
		err = proxyFailed("sent what nobody asked for")
	}
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	if len(early) > 0 {
		return &greeted{conn, early}, nil
	}
	return conn, nil
}

// greeted is a connection of which the first bytes have been read.
type greeted struct {
	net.Conn
	early []byte
}

func (c *greeted) Read(b []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.early)
	c.early = c.early[n:]
	return n, nil
}

// isNumber reports whether the last label of host is a number, as in 127.1,
// 2130706433 and 0x7f.1, and host is no address as we know it.
func isNumber(host string) bool {
	label := strings.TrimSuffix(host, ".")
	label = label[strings.LastIndexByte(label, '.')+1:]
	if strings.Contains(label, ":") || net.ParseIP(host) != nil {
		return false
	}
	digits, hex := strings.CutPrefix(strings.ToLower(label), "0x")
	if hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// proxyPatience is how long the proxy may take to accept a connection: it is
// near. What comes after is the receiver's time.
const proxyPatience = 5 * time.Second

// reach returns a connection to the proxy itself. It takes no more than half of
// the time there is, so that its failure is never taken for the receiver's.
func (p *proxy) reach(ctx context.Context) (net.Conn, error) {
	patience := proxyPatience
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := p.dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, proxyFailed("cannot be reached%s", systemReason(err))
	}
	if p.tls == nil {
		return conn, nil
	}
	secure := tls.Client(conn, p.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, proxyFailed("and this server do not agree on TLS, or its certificate is not trusted")
	}
	return secure, nil
}

// ask has the proxy connect to address, and returns what came behind its answer.
func (p *proxy) ask(conn net.Conn, address string) (early []byte, err error) {
	req := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Opaque: address},
		Host:   address,
		Header: http.Header{"User-Agent": {""}}, // none
	}
	if p.authorization != "" {
		req.Header.Set("Proxy-Authorization", p.authorization)
	}
	if err := req.Write(conn); err != nil {
		return nil, proxyFailed("closed the connection")
	}
	in := bufio.NewReader(io.LimitReader(conn, maxResponseHeader))
	answer, err := http.ReadResponse(in, req)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return nil, proxyFailed("closed the connection")
	case err != nil:
		return nil, proxyFailed("does not speak HTTP")
	}
	answer.Body.Close()
	switch code := answer.StatusCode; {
	case code/100 == 2:
		return in.Peek(in.Buffered())
	case code == http.StatusForbidden,
		code == http.StatusProxyAuthRequired && answer.Header.Get("X-Smokescreen-Error") != "":
		return nil, &proxyError{Refused, fmt.Sprintf("the egress proxy of this server may not ring %s: it answered with status %d", address, code)}
	case code == http.StatusProxyAuthRequired:
		return nil, proxyFailed("does not take the user name and password in --egress-proxy (status 407)")
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable:
		return nil, &proxyError{Connect, fmt.Sprintf("the egress proxy of this server gets no connection to %s: it answered with status %d", address, code)}
	case code == http.StatusGatewayTimeout:
		return nil, &proxyError{Timeout, fmt.Sprintf("the egress proxy of this server gets no connection to %s in time: it answered with status %d", address, code)}
	default:
		return nil, proxyFailed("does not connect: it answered with status %d", code)
	}
}
