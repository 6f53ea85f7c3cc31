package outbound

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// brokerPorts are ports of otherProtocols that a broker listens on, and that
// DialContext may reach on public addresses. Sorted.
var brokerPorts = []uint16{4222, 9092, 9093, 9094} // NATS, Kafka

// DialContext opens a connection to a broker at address, host:port, under the
// policy that holds for requests, and through the proxy of the operator's if there
// is one. network is tcp. On public addresses it reaches the ports of brokers
// beside those of web servers. It fails with what ExplainDial explains. The
// connection belongs to the caller, and Close leaves it alone.
func (c *Client) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return c.open(ctx, &c.broker, network, address)
}

// CheckBroker decides whether address, host:port, may be saved as one that
// DialContext is to dial, as CheckURL does for a URL: with fault.Invalid for what is
// no such address, and fault.Denied for one that the policy refuses by its looks.
func (p Policy) CheckBroker(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsAny(host, "/@ ") {
		return fault.New(fault.Invalid, "a server's address is host:port, for example broker.example.net:9092")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return fault.New(fault.Invalid, "the server's address has the port %.20q: use 1 to 65535", port)
	}
	r := p.refuseHost(host, uint16(n))
	if r == nil || r.ofBrokerPort() {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		host = r.addr.Addr().String()
	}
	return fault.New(fault.Denied, "%s", r.sentence(host, false))
}

// refuseBroker is refuse for DialContext.
func (p Policy) refuseBroker(addr netip.AddrPort) *refusal {
	if r := p.refuse(addr); r != nil && !r.ofBrokerPort() {
		return r
	}
	return nil
}

// ofBrokerPort reports whether nothing but the port is the matter, and that is one
// of brokers.
func (r *refusal) ofBrokerPort() bool {
	return r.port && slices.Contains(brokerPorts, r.addr.Port())
}
