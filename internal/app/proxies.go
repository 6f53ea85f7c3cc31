package app

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// forwarded are the fields in which proxies tell of their client. Forwarded (RFC
// 7239) and X-Real-IP are among them only to be removed: a proxy that sets the
// X-Forwarded fields passes on what the client itself wrote into the others, and
// nobody could tell.
var forwarded = []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-Ip"}

// believeProxies replaces what the connection says by what a trusted proxy says
// of the client: address, host and scheme. Fields from anyone else are removed,
// so that nothing behind this point can be misled by them.
func (s *Server) believeProxies(r *http.Request) {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && s.trusted(peer.Addr()) {
		if client, ok := forwardedClient(r.Header, s.trusted); ok {
			r.RemoteAddr = net.JoinHostPort(client.String(), "0")
		}
		if host := lastHop(r.Header, "X-Forwarded-Host"); host != "" {
			r.Host = host
		}
		if strings.EqualFold(lastHop(r.Header, "X-Forwarded-Proto"), "https") && r.TLS == nil {
			r.TLS = &tls.ConnectionState{}
		}
	}
	for _, name := range forwarded {
		r.Header.Del(name)
	}
}

// hops returns the values of a field to which each proxy on the way adds one, the
// last proxy's last. Empty ones do not count (RFC 9110, section 5.6.1).
func hops(h http.Header, name string) (all []string) {
	for _, line := range h.Values(name) {
		for value := range strings.SplitSeq(line, ",") {
			if value = strings.Trim(value, " \t"); value != "" {
				all = append(all, value)
			}
		}
	}
	return all
}

// lastHop returns what the proxy says that this server trusts: the last value.
func lastHop(h http.Header, name string) string {
	all := hops(h, name)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// forwardedClient returns the last address in X-Forwarded-For that is no trusted
// proxy: the ones before it are the client's own claims. What stands there and is
// no address hides whatever is before it.
func forwardedClient(h http.Header, trusted func(netip.Addr) bool) (netip.Addr, bool) {
	all := hops(h, "X-Forwarded-For")
	for i := len(all) - 1; i >= 0; i-- {
		addr, ok := hopAddr(all[i])
		if !ok {
			break
		}
		if !trusted(addr) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// hopAddr reads an address that a proxy wrote; some, Azure's gateways among
// them, add the port, and some write IPv6 in brackets. One client has one address,
// however it is written.
func hopAddr(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
			addr, err = netip.ParseAddr(strings.TrimSuffix(inner, "]"))
			if !addr.Is6() {
				return netip.Addr{}, false
			}
		} else {
			var with netip.AddrPort
			with, err = netip.ParseAddrPort(text)
			addr = with.Addr()
		}
	}
	return addr.Unmap().WithZone(""), err == nil
}

func (s *Server) trusted(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
