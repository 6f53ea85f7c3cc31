package outbound

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

func addrPorts(texts ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, t := range texts {
		out = append(out, netip.MustParseAddrPort(t))
	}
	return out
}

// TestOwnListenersAreRefused: checklist point 6. The addresses that this server
// listens on are refused whatever else is allowed, and nothing beside them is.
func TestOwnListenersAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		listen, addr string
		own          bool
	}{
		{"127.0.0.1:5000", "127.0.0.1:5000", true},
		{"127.0.0.1:5000", "[::ffff:127.0.0.1]:5000", true},
		{"[::ffff:127.0.0.1]:5000", "127.0.0.1:5000", true},
		{"127.0.0.1:5000", "0.0.0.0:5000", true},
		{"127.0.0.1:5000", "[64:ff9b::7f00:1]:5000", true},
		{"127.0.0.1:5000", "127.0.0.1:5001", false},
		{"127.0.0.1:5000", "127.0.0.2:5000", false},
		{"127.0.0.1:5000", "[::1]:5000", false},
		{"10.1.2.3:5000", "10.1.2.3:5000", true},
		{"10.1.2.3:5000", "10.1.2.4:5000", false},
		{"10.1.2.3:5000", "127.0.0.1:5000", false},
		{"[::]:5000", "127.0.0.1:5000", true},
		{"[::]:5000", "127.1.2.3:5000", true},
		{"[::]:5000", "[::1]:5000", true},
		{"[::]:5000", "[::]:5000", true},
		{"[::]:5000", "8.8.8.8:5000", false},
		{"[::]:5000", "127.0.0.1:5001", false},
		{"0.0.0.0:5000", "127.0.0.1:5000", true},
		{"0.0.0.0:5000", "[::1]:5000", false},
	} {
		p := Policy{
			Loopback: true, Allow: prefixes("0.0.0.0/0", "::/0", "0.0.0.0/8", "127.0.0.0/8", "::1/128", "::/128", "64:ff9b::/96"),
			Own: Own{Listen: addrPorts("127.0.0.1:9", tt.listen)},
		}
		err := p.Check(netip.MustParseAddrPort(tt.addr))
		if tt.own != (err != nil) {
			t.Errorf("listening on %s: Check(%s) = %v", tt.listen, tt.addr, err)
		}
		if err != nil && (!fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "this server itself")) {
			t.Errorf("listening on %s: Check(%s) = %v, want a refusal that says why", tt.listen, tt.addr, err)
		}
	}
}

func TestWildcardIsEveryAddressOfTheMachine(t *testing.T) {
	t.Parallel()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	p := Policy{Loopback: true, Allow: prefixes("0.0.0.0/0", "::/0"), Own: Own{Listen: addrPorts("[::]:5000")}}
	for _, a := range addrs {
		ip := netip.MustParsePrefix(a.String()).Addr()
		if err := p.Check(netip.AddrPortFrom(ip, 5000)); err == nil || !strings.Contains(err.Error(), "this server itself") {
			t.Errorf("Check(%s) = %v, want a refusal: it is of this machine", ip, err)
		}
	}
}

// TestOwnNamesAreRefused: checklist point 6, for the names that clients use.
func TestOwnNamesAreRefused(t *testing.T) {
	t.Parallel()
	own := Own{
		Listen: addrPorts("127.0.0.1:5000"), Ports: []uint16{8443},
		Names: func(name string) bool { return name == "registry.example.com" || name == "localhost" },
	}
	p := Policy{Loopback: true, Own: own}
	for raw, refused := range map[string]bool{
		"https://registry.example.com/":      true,
		"https://Registry.Example.COM./":     true,
		"http://registry.example.com/":       true,
		"http://registry.example.com:5000/":  true,
		"https://registry.example.com:8443/": true,
		"https://registry.example.com:9443/": false,
		"https://hooks.example.com/":         false,
		"http://localhost:5000/":             true,
		"http://a.b.localhost:5000/":         true,
		"http://localhost/":                  false, // somebody else's port of this machine
		"http://localhost:8080/":             false,
		"http://127.0.0.1:5000/":             true,
		"http://127.0.0.1:8080/":             false,
	} {
		err := p.CheckURL(raw)
		if refused != (err != nil) || err != nil && !strings.Contains(err.Error(), "this server itself") {
			t.Errorf("CheckURL(%s) = %v, want a refusal: %v", raw, err, refused)
		}
	}
	p.Own.Listen = addrPorts("[::1]:5000")
	if err := p.CheckURL("http://localhost:5000/"); err == nil {
		t.Error("localhost is not known for [::1]")
	}
	const want = "registry.example.com is, on port 443, this server itself, and what it sends there would only come back: name another receiver"
	if err := p.CheckURL("https://registry.example.com/x?code=s3cret"); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestOwnAddressIsRefusedAtDial: checklist point 6. A name of somebody else's
// that resolves to this server is found out when it is dialled.
func TestOwnAddressIsRefusedAtDial(t *testing.T) {
	t.Parallel()
	var rung atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { rung.Add(1) })
	own := netip.MustParseAddrPort(strings.TrimPrefix(s.URL, "http://"))
	names := &nameServer{answers: map[string][]string{"hooks.example.": {"127.0.0.1"}, "mine.example.": {"127.0.0.1"}}}
	c := newClient(Options{Policy: Policy{Loopback: true, Own: Own{
		Listen: []netip.AddrPort{own}, Names: func(name string) bool { return name == "mine.example" },
	}}}, names.start(t), nil)
	t.Cleanup(c.Close)
	for _, host := range []string{"hooks.example", "mine.example", "127.0.0.1", "localhost"} {
		res := post(t, c, "http://"+host+s.URL[strings.LastIndex(s.URL, ":"):])
		want(t, res, Refused, host+" is, on port ")
		if strings.Contains(strings.TrimPrefix(res.Message, host), "127.0.0.1") {
			t.Errorf("the message tells the resolved address: %s", res.Message)
		}
	}
	if n := rung.Load(); n != 0 {
		t.Errorf("the server rang itself %d times", n)
	}
}
