package outbound

import (
	"net"
	"net/netip"
	"slices"
)

// Own says where this server is reached itself. A webhook that leads there is
// refused: each event that the server sends to itself could make the next.
type Own struct {
	// Listen is what the server listens on. An unspecified address means every
	// address of this machine.
	Listen []netip.AddrPort

	// Names reports whether clients reach this server by that name, which is
	// in lower case and has neither port nor a dot at its end. It is asked for
	// the ports of Listen, 80, 443 and Ports. Nil: there is none.
	Names func(name string) bool
	Ports []uint16
}

// at reports whether this server listens at addr.
func (o Own) at(addr netip.AddrPort) bool {
	return slices.ContainsFunc(o.Listen, func(l netip.AddrPort) bool {
		return l.Port() == addr.Port() && covers(l.Addr().Unmap().WithZone(""), addr.Addr().WithZone(""))
	})
}

// covers reports whether whoever dials ip gets to a socket that listens on l.
func covers(l, ip netip.Addr) bool {
	switch {
	case ip.IsUnspecified(): // Linux connects it to loopback
		return l.IsUnspecified() || l.IsLoopback()
	case !l.IsUnspecified():
		return l == ip
	case l.Is4() && !ip.Is4():
		return false
	}
	return ip.IsLoopback() || ofThisMachine(ip)
}

// ofThisMachine looks each time, for addresses come and go. In doubt it is.
func ofThisMachine(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		if !ok {
			return false
		}
		here, ok := netip.AddrFromSlice(network.IP)
		return ok && here.Unmap() == ip
	})
}

// named reports whether name, on that port, is this server.
func (o Own) named(name string, port uint16) bool {
	if o.Names == nil {
		return false
	}
	known := port == 80 || port == 443 || slices.Contains(o.Ports, port) ||
		slices.ContainsFunc(o.Listen, func(l netip.AddrPort) bool { return l.Port() == port })
	return known && o.Names(name)
}
