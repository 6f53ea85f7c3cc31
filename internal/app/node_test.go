package app

import (
	"net"
	"net/netip"
	"testing"
)

// Whoever reads of a node in an event learns where it is, not what it listens on.
func TestNodeAddr(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"127.0.0.1:5000": "127.0.0.1:5000", "[2001:db8::1]:5000": "[2001:db8::1]:5000", "[::]:5000": nodeName() + ":5000", "0.0.0.0:443": nodeName() + ":443",
	} {
		if got := nodeAddr(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(listen))); got != want {
			t.Errorf("on %s the node is %s, want %s", listen, got, want)
		}
	}
}
