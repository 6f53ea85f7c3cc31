package outbound

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

// greeting starts a server that says hello to whoever connects.
func greeting(t *testing.T) string {
	return strings.TrimPrefix(serveRaw(t, func(c net.Conn) { io.WriteString(c, "hello") }), "http://")
}

// hear dials address and returns what is said there, or what ExplainDial makes of
// the failure.
func hear(t *testing.T, c *Client, address string) (said string, class Class, message string) {
	conn, err := c.DialContext(t.Context(), "tcp", address)
	if err != nil {
		class, message = ExplainDial(address, err)
		return "", class, message
	}
	defer conn.Close()
	b := make([]byte, len("hello"))
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Error(err)
	}
	return string(b), None, ""
}

// TestDialContext: a broker is dialled under the policy of requests, and a refusal
// is told apart from every other failure.
func TestDialContext(t *testing.T) {
	t.Parallel()
	address := greeting(t)
	_, port, _ := net.SplitHostPort(address)
	names := &nameServer{answers: map[string][]string{"loop.example.": {"127.0.0.1"}, "private.example.": {"10.0.0.1"}}}
	resolver := names.start(t)
	own := Policy{Loopback: true, Own: Own{Listen: []netip.AddrPort{netip.MustParseAddrPort(address)}}}
	const flag = "start it with --allow-destinations "
	for _, tt := range []struct {
		policy  Policy
		address string
		class   Class
		message string // all of it, but for port numbers
	}{
		{loopback, address, None, ""},
		{loopback, "loop.example:" + port, None, ""},
		{Policy{}, address, Refused, "127.0.0.1 is a loopback address and this server may not ring it: loopback is rung only while the server itself listens on loopback only; else " + flag + "127.0.0.0/8"},
		{Policy{}, "loop.example:" + port, Refused, "loop.example resolves to a loopback address and this server may not ring it: loopback is rung only while the server itself listens on loopback only; else " + flag + "127.0.0.0/8"},
		{loopback, "private.example:4222", Refused, "private.example resolves to a private address and this server may not ring it: " + flag + "and that network"},
		{loopback, "10.0.0.1:9092", Refused, "10.0.0.1 is a private address and this server may not ring it: " + flag + "10.0.0.0/8"},
		{loopback, "8.8.8.8:6379", Refused, "port 6379 of 8.8.8.8 is not one this server rings: use 80, 443 or one above 1023 that belongs to no other protocol, or " + flag + "8.8.8.8/32"},
		{own, address, Refused, "127.0.0.1 is, on port " + port + ", this server itself, and what it sends there would only come back: name another receiver"},
		{loopback, "none.example:9092", DNS, "none.example has no address: check the host name"},
		{loopback, "127.0.0.1:1", Connect, "127.0.0.1:1 refused the connection: nothing listens there"},
	} {
		c := newClient(Options{Policy: tt.policy}, resolver, nil)
		said, class, message := hear(t, c, tt.address)
		if class != tt.class || message != tt.message || (said == "hello") != (class == None) {
			t.Errorf("%s: %q, class %q, message %q; want %q and %q", tt.address, said, class, message, tt.class, tt.message)
		}
	}
}

// TestBrokerPorts: brokers are reached on the ports that they have everywhere, and
// no request gets there.
func TestBrokerPorts(t *testing.T) {
	t.Parallel()
	if !slices.IsSorted(brokerPorts) {
		t.Error("brokerPorts is not sorted")
	}
	p := Policy{Own: Own{Listen: []netip.AddrPort{netip.MustParseAddrPort("8.8.4.4:9092")}}}
	for address, ok := range map[string]bool{
		"8.8.8.8:4222": true, "8.8.8.8:9092": true, "8.8.8.8:9093": true, "8.8.8.8:9094": true, "8.8.8.8:443": true, "8.8.8.8:19092": true,
		"8.8.8.8:22": false, "8.8.8.8:6379": false, "10.0.0.1:9092": false, "127.0.0.1:4222": false, "169.254.169.254:9092": false,
		"8.8.4.4:9092": false, // this server itself
	} {
		addr := netip.MustParseAddrPort(address)
		if got := p.refuseBroker(addr) == nil; got != ok {
			t.Errorf("a broker at %s may be dialled: %t, want %t", address, got, ok)
		}
		if got := p.CheckBroker(address) == nil; got != ok {
			t.Errorf("a broker at %s may be saved: %t, want %t", address, got, ok)
		}
		if slices.Contains(brokerPorts, addr.Port()) && p.refuse(addr) == nil {
			t.Errorf("a request may go to %s", address)
		}
	}
}

func TestCheckBroker(t *testing.T) {
	t.Parallel()
	for address, kind := range map[string]fault.Kind{
		"": fault.Invalid, "host": fault.Invalid, ":9092": fault.Invalid, "host:0": fault.Invalid, "host:65536": fault.Invalid,
		"host:nats": fault.Invalid, "nats://host:4222": fault.Invalid, "u:p@host:4222": fault.Invalid, "u@host:4222": fault.Invalid,
		"localhost:4222": fault.Denied, "[::1]:4222": fault.Denied, "[::ffff:10.0.0.1]:4222": fault.Denied,
	} {
		if err := (Policy{}).CheckBroker(address); !fault.Is(err, kind) {
			t.Errorf("%q: %v, want %s", address, err, kind)
		}
	}
	for _, address := range []string{"broker.example:9092", "[2606:4700::1]:4222", "localhost:4222"} {
		if err := loopback.CheckBroker(address); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestDialContextThroughProxy: with a proxy of the operator's brokers are reached
// through it, and names that only it knows are no obstacle.
func TestDialContextThroughProxy(t *testing.T) {
	t.Parallel()
	e := newEgress(t, nil, map[string]string{"broker.example:4222": greeting(t)})
	c := through(t, Options{Proxy: e.url}, nil)
	if said, class, message := hear(t, c, "broker.example:4222"); said != "hello" {
		t.Errorf("%q, class %q, message %q", said, class, message)
	}
	if got := e.requests(); !slices.Equal(got, []string{"CONNECT broker.example:4222 broker.example:4222"}) {
		t.Errorf("the proxy was asked for %q", got)
	}
	_, class, message := hear(t, c, "other.example:4222")
	if class != Connect || !strings.Contains(message, "gets no connection to other.example:4222") {
		t.Errorf("class %q, message %q", class, message)
	}
	if _, class, _ := hear(t, c, "10.0.0.1:4222"); class != Refused {
		t.Errorf("class %q of a private address, want %q", class, Refused)
	}
}

// TestTLSConfig: what a TLS says is what a client of its Config trusts and shows.
func TestTLSConfig(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	address := strings.TrimPrefix(serveTLS(t, a, &tls.Config{}, func(*x509.Certificate) {}), "https://")
	for _, tt := range []struct {
		tls   *TLS
		class Class
	}{{&TLS{CA: a.pem()}, None}, {nil, TLSUntrusted}} {
		config, err := tt.tls.Config()
		if err != nil {
			t.Fatal(err)
		}
		config.ServerName = "127.0.0.1"
		conn, err := tls.Dial("tcp", address, config)
		if err == nil {
			conn.Close()
		}
		class := None
		if err != nil {
			class, _ = ExplainTLS(address, err)
		}
		if class != tt.class {
			t.Errorf("class %q, want %q: %v", class, tt.class, err)
		}
	}
	if _, err := (&TLS{CA: []byte("none")}).Config(); !fault.Is(err, fault.Invalid) {
		t.Errorf("%v, want invalid", err)
	}
}
