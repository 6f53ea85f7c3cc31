package app

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/config"
)

// behind returns a server that trusts these proxies.
func behind(prefixes ...string) *Server {
	s := &Server{cfg: config.Default()}
	for _, p := range prefixes {
		s.cfg.TrustedProxies = append(s.cfg.TrustedProxies, netip.MustParsePrefix(p))
	}
	return s
}

func TestForwardedClient(t *testing.T) {
	t.Parallel()
	s := behind("10.0.0.0/8", "fe80::/10", "2001:db8:ffff::/48")
	for _, tt := range []struct {
		name  string
		lines []string
		want  string // empty: the proxy's own
	}{
		{"one", []string{"203.0.113.9"}, "203.0.113.9"},
		{"a client's claim before it", []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		{"a claim that is a proxy's", []string{"10.0.0.7, 203.0.113.9"}, "203.0.113.9"},
		{"a claim in a line of its own", []string{"198.51.100.1", "203.0.113.9"}, "203.0.113.9"},
		{"a claim in the midst of proxies", []string{"198.51.100.1, 203.0.113.9", "10.0.0.1", "10.0.0.2"}, "203.0.113.9"},
		{"a claim that is no address", []string{"nonsense, 203.0.113.9, 10.0.0.1"}, "203.0.113.9"},
		{"no address where it counts", []string{"198.51.100.1, unknown"}, ""},
		{"no address beside a proxy", []string{"198.51.100.1, _hidden, 10.0.0.1"}, ""},
		{"nothing", nil, ""},
		{"empty", []string{""}, ""},
		{"empty ones do not count", []string{",198.51.100.1, ,203.0.113.9 ,, "}, "203.0.113.9"},
		{"tabs", []string{"198.51.100.1,\t203.0.113.9\t"}, "203.0.113.9"},
		{"proxies alone", []string{"10.0.0.2, 10.0.0.1"}, ""},
		{"a port", []string{"203.0.113.9:4711"}, "203.0.113.9"},
		{"a port that is none", []string{"198.51.100.1, 203.0.113.9:99999"}, ""},
		{"IPv6", []string{"2001:DB8::7"}, "2001:db8::7"},
		{"IPv6 with a port", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"IPv6 in brackets", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"brackets around nothing", []string{"[]"}, ""},
		{"brackets around IPv4", []string{"[203.0.113.9]"}, ""},
		{"brackets that do not close", []string{"[2001:db8::7"}, ""},
		{"a zone", []string{"2001:db8::7%evil"}, "2001:db8::7"},
		{"a zone does not hide a proxy", []string{"203.0.113.9, fe80::1%eth0"}, "203.0.113.9"},
		{"IPv4 written as IPv6", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"the same with a port", []string{"[::ffff:203.0.113.9]:1"}, "203.0.113.9"},
		{"a proxy written as IPv6", []string{"203.0.113.9, ::ffff:10.0.0.1"}, "203.0.113.9"},
		{"leading zeros", []string{"198.51.100.1, 010.0.0.1"}, ""},
		{"a number", []string{"198.51.100.1, 167772161"}, ""},
		{"a quoted one", []string{`"203.0.113.9"`}, ""},
		{"RFC 7239 in the wrong field", []string{"for=203.0.113.9"}, ""},
		{"a name", []string{"localhost"}, ""},
		{"a line break", []string{"203.0.113.9\r\nX: y"}, ""},
	} {
		h := http.Header{"X-Forwarded-For": tt.lines}
		addr, ok := forwardedClient(h, s.trusted)
		got := ""
		if ok {
			got = addr.String()
		}
		if got != tt.want {
			t.Errorf("%s: %q is of %q, want %q", tt.name, tt.lines, got, tt.want)
		}
	}
}

func TestBelieveProxies(t *testing.T) {
	t.Parallel()
	s := behind("10.0.0.0/8", "fe80::/10")
	all := http.Header{
		"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Host": {"evil.example, images.example"}, "X-Forwarded-Proto": {"http", "HTTPS"},
		"Forwarded": {"for=198.51.100.1;host=evil.example;proto=http"}, "X-Real-Ip": {"198.51.100.1"}, "Accept": {"*/*"},
	}
	for _, tt := range []struct {
		name, peer string
		header     http.Header
		tls        bool
		addr, host string
		https      bool
	}{
		{"trusted", "10.1.2.3:4711", all, false, "203.0.113.9:0", "images.example", true},
		{"trusted, by a socket for both families", "[::ffff:10.1.2.3]:4711", all, false, "203.0.113.9:0", "images.example", true},
		{"trusted, on a link", "[fe80::1%eth0]:4711", all, false, "203.0.113.9:0", "images.example", true},
		{"not trusted", "192.0.2.1:4711", all, false, "192.0.2.1:4711", "localhost", false},
		{"not trusted, by TLS", "192.0.2.1:4711", all, true, "192.0.2.1:4711", "localhost", true},
		{"trusted, by TLS, for a client in the clear", "10.1.2.3:4711", http.Header{"X-Forwarded-Proto": {"http"}}, true, "10.1.2.3:4711", "localhost", true},
		{"trusted, other schemes", "10.1.2.3:4711", http.Header{"X-Forwarded-Proto": {"https, wss"}}, false, "10.1.2.3:4711", "localhost", false},
		{"trusted, the fields that are not believed", "10.1.2.3:4711", http.Header{"Forwarded": all["Forwarded"], "X-Real-Ip": all["X-Real-Ip"]}, false, "10.1.2.3:4711", "localhost", false},
		{"trusted, empty", "10.1.2.3:4711", http.Header{"X-Forwarded-For": {""}, "X-Forwarded-Host": {" , "}, "X-Forwarded-Proto": {""}}, false, "10.1.2.3:4711", "localhost", false},
		{"no address", "@", all, false, "@", "localhost", false},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Host: "localhost", Header: tt.header.Clone(), URL: &url.URL{Path: "/"}}
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		s.believeProxies(r)
		if r.RemoteAddr != tt.addr || r.Host != tt.host || (r.TLS != nil) != tt.https {
			t.Errorf("%s: from %s for %s, https %t; want %s, %s, %t", tt.name, r.RemoteAddr, r.Host, r.TLS != nil, tt.addr, tt.host, tt.https)
		}
		for name := range r.Header {
			if name != "Accept" {
				t.Errorf("%s: %s is left", tt.name, name)
			}
		}
	}
}

// FuzzForwardedClient: whatever is before the address that the last proxy added, it is
// that address which counts.
func FuzzForwardedClient(f *testing.F) {
	for _, claim := range []string{"", "198.51.100.1", "10.0.0.1", "[::1]:1", "::ffff:10.0.0.1", "unknown", "a,b", ",", "fe80::1%,x", "\"", "for=1.2.3.4"} {
		f.Add(claim, uint32(0xcb007109), true)
		f.Add(claim, uint32(0x0a000001), false)
	}
	s := behind("10.0.0.0/8", "fe80::/10")
	f.Fuzz(func(t *testing.T, claim string, client uint32, sameLine bool) {
		addr := netip.AddrFrom4([4]byte{byte(client >> 24), byte(client >> 16), byte(client >> 8), byte(client)})
		lines := []string{claim, addr.String()}
		if sameLine {
			lines = []string{claim + ", " + addr.String()}
		}
		h := http.Header{"X-Forwarded-For": lines}
		got, ok := forwardedClient(h, s.trusted)
		if !s.trusted(addr) && (!ok || got != addr) {
			t.Errorf("%q: %v, %t; want %v", lines, got, ok, addr)
		}
		// What else can be read out of it is an address, in its one form, and no proxy's.
		if ok && (!got.IsValid() || got.Zone() != "" || got.Is4In6() || s.trusted(got)) {
			t.Errorf("%q: %v", lines, got)
		}
		r := &http.Request{RemoteAddr: "10.9.9.9:1", Host: "localhost", Header: h, URL: &url.URL{Path: "/"}}
		s.believeProxies(r)
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if _, perr := netip.ParseAddr(host); err != nil || perr != nil || strings.Contains(host, "%") {
			t.Errorf("%q: remote address %q", lines, r.RemoteAddr)
		}
	})
}
