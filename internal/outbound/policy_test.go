package outbound

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/dockbell/dockbell/internal/fault"
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// notPublic are addresses that no server may ring unless told so: those that
// the predicates of net/netip let through, and the plain ones.
var notPublic = []string{
	"0.0.0.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1",
	"198.18.0.1", "192.88.99.1", "240.0.0.1", "::7f00:1", "64:ff9b::a9fe:a9fe",
	"64:ff9b:1::a9fe:a9fe", "2002:7f00:1::1", "2001:0:4136:e378::1", "fec0::1", "100::1",
	"2001:db8::1", "3fff::1", "5f00::1", "2001:20::1",
	"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::",
	"10.0.3.7", "172.16.0.1", "172.31.255.255", "192.168.1.1", "::ffff:192.168.1.1", "fc00::1", "fd12::1",
	"169.254.169.254", "::ffff:169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254",
	"224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255",
	"192.0.0.1", "198.51.100.1", "203.0.113.1", "2001::1", "64:ff9b::1",
	"::ffff:0:127.0.0.1", "2001:10::1", "2001:1ff::1", "4000::1",
}

// TestOnlyPublicAddressesByDefault: checklist points 1 and 2. The decision is by
// table, on every address that a predicate would let through.
func TestOnlyPublicAddressesByDefault(t *testing.T) {
	t.Parallel()
	for _, text := range notPublic {
		for _, port := range []uint16{80, 443, 8080} {
			addr := netip.AddrPortFrom(netip.MustParseAddr(text), port)
			if err := (Policy{}).Check(addr); !fault.Is(err, fault.Denied) {
				t.Errorf("Check(%s) = %v, want a refusal", addr, err)
			}
		}
	}
	for _, text := range []string{
		"1.1.1.1:443", "8.8.8.8:80", "168.63.129.15:443", "172.15.255.255:443", "172.32.0.1:443", "100.63.0.1:443",
		"[2606:4700::1111]:443", "[2a00:1450::1]:8443", "[::ffff:8.8.8.8]:443",
	} {
		if err := (Policy{}).Check(netip.MustParseAddrPort(text)); err != nil {
			t.Errorf("Check(%s) = %v, want none: it is public", text, err)
		}
	}
}

// TestZoneIsNeverRung: checklist point 2.
func TestZoneIsNeverRung(t *testing.T) {
	t.Parallel()
	everything := Policy{Loopback: true, Allow: prefixes("::/0", "0.0.0.0/0", "fe80::/10")}
	for _, text := range []string{"[fe80::1%eth0]:80", "[::1%lo]:80", "[2606:4700::1111%eth0]:443"} {
		if err := everything.Check(netip.MustParseAddrPort(text)); err == nil || !strings.Contains(err.Error(), "zone") {
			t.Errorf("Check(%s) = %v, want a refusal that speaks of the zone", text, err)
		}
	}
}

// TestAllow: checklist point 5. Private ranges are opened by the word of the
// operator, and what is dangerous inside them only by its own name.
func TestAllow(t *testing.T) {
	t.Parallel()
	tests := []struct {
		loopback bool
		allow    string
		addr     string
		ok       bool
	}{
		{true, "", "127.0.0.1:22", true},
		{true, "", "[::1]:6379", true},
		{true, "", "[::ffff:127.0.0.1]:80", true},
		{true, "", "10.0.0.1:80", false},
		{true, "", "0.0.0.0:80", false},
		{true, "", "[::]:80", false},
		{true, "", "169.254.169.254:80", false},

		{false, "10.0.0.0/8", "10.0.3.7:80", true},
		{false, "10.0.0.0/8", "10.0.3.7:22", true}, // the port rule is for public addresses
		{false, "10.0.0.0/8", "[::ffff:10.0.3.7]:80", true},
		{false, "10.0.0.0/8", "11.0.0.1:22", false},
		{false, "10.1.0.0/16", "10.0.3.7:80", false},
		{false, "10.0.0.0/8", "127.0.0.1:80", false},
		{false, "8.8.8.8/32", "8.8.8.8:22", true},
		{false, "198.18.0.0/15", "198.18.0.1:80", true},
		{false, "fd00::/8", "[fd12::1]:80", true},

		// A wide network does not open what is dangerous inside it.
		{false, "0.0.0.0/0", "192.168.1.1:80", true},
		{false, "0.0.0.0/0", "127.0.0.1:80", false},
		{false, "0.0.0.0/0", "0.0.0.0:80", false},
		{false, "0.0.0.0/0", "169.254.1.1:80", false},
		{false, "0.0.0.0/0", "169.254.169.254:80", false},
		{false, "0.0.0.0/0", "168.63.129.16:80", false},
		{false, "100.64.0.0/10", "100.100.100.200:80", false},
		{false, "100.64.0.0/10", "100.100.100.201:80", true},
		{false, "192.0.0.0/24", "192.0.0.192:80", false},
		{false, "fc00::/7", "[fd00:ec2::254]:80", false},
		{false, "::/0", "[::1]:80", false},
		{false, "::/0", "[fe80::1]:80", false},
		{false, "126.0.0.0/7", "127.0.0.1:80", false},

		// Named exactly, it is opened.
		{false, "127.0.0.0/8", "127.0.0.1:80", true},
		{false, "127.0.0.1/32", "127.0.0.1:80", true},
		{false, "127.0.0.1/32", "127.0.0.2:80", false},
		{false, "::1/128", "[::1]:80", true},
		{false, "169.254.0.0/16", "169.254.1.1:80", true},
		{false, "169.254.0.0/16", "169.254.169.254:80", false},
		{false, "169.254.169.254/32", "169.254.169.254:80", true},
		{false, "fe80::/10", "[fe80::1]:80", true},

		// A translator leads no further than its IPv4 address would.
		{false, "64:ff9b::/96", "[64:ff9b::808:808]:443", true},
		{false, "64:ff9b::/96", "[64:ff9b::7f00:1]:443", false},
		{false, "64:ff9b::/96", "[64:ff9b::a9fe:a9fe]:443", false},
		{false, "64:ff9b::/96", "[64:ff9b::a00:1]:443", false},
		{false, "64:ff9b::/96,10.0.0.0/8", "[64:ff9b::a00:1]:443", true},
		{false, "64:ff9b:1::/48", "[64:ff9b:1::808:808]:443", true},
		{false, "64:ff9b:1::/48", "[64:ff9b:1::a9fe:a9fe]:443", false},
		{false, "2002::/16", "[2002:7f00:1::1]:443", false},
		{false, "2002::/16", "[2002:808:808::1]:443", true},
		{false, "::/0", "[::7f00:1]:443", false},
	}
	for _, tt := range tests {
		p := Policy{Loopback: tt.loopback}
		if tt.allow != "" {
			p.Allow = prefixes(strings.Split(tt.allow, ",")...)
		}
		err := p.Check(netip.MustParseAddrPort(tt.addr))
		if (err == nil) != tt.ok {
			t.Errorf("loopback %v, allow %q: Check(%s) = %v", tt.loopback, tt.allow, tt.addr, err)
		}
	}
}

// TestNAT64: checklist point 2. The prefixes of the operator's translators are
// refused like the well-known one. The addresses are those of RFC 6052, section
// 2.4, for 192.0.2.33 and the same with others inside.
func TestNAT64(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ prefix, addr, inner string }{
		{"2001:db8::/32", "2001:db8:c000:221::", "192.0.2.33"},
		{"2001:db8:100::/40", "2001:db8:1c0:2:21::", "192.0.2.33"},
		{"2001:db8:122::/48", "2001:db8:122:c000:2:2100::", "192.0.2.33"},
		{"2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::", "192.0.2.33"},
		{"2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::", "192.0.2.33"},
		{"2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33", "192.0.2.33"},
		{"2a00:64::/32", "2a00:64:a9fe:a9fe::", "169.254.169.254"},
		{"2a00:64::/96", "2a00:64::7f00:1", "127.0.0.1"},
		{"64:ff9b:1::/48", "64:ff9b:1:a9fe:a9:fe00::", "169.254.169.254"},
	} {
		p := Policy{NAT64: prefixes("2a00:99::/96", tt.prefix)}
		ip := netip.MustParseAddr(tt.addr)
		if inner, ok := p.embedded(ip); !ok || inner.String() != tt.inner {
			t.Errorf("%s in %s stands for %v, %v; want %s", tt.addr, tt.prefix, inner, ok, tt.inner)
		}
		addr := netip.AddrPortFrom(ip, 443)
		if err := p.Check(addr); err == nil || !strings.Contains(err.Error(), "stands for an IPv4 address") {
			t.Errorf("Check(%s) = %v, want a refusal: it is in %s", addr, err, tt.prefix)
		}
		// Allowed, it leads no further than its IPv4 address would.
		p.Allow = prefixes(tt.prefix)
		if err := p.Check(addr); err == nil {
			t.Errorf("Check(%s) took what leads to %s", addr, tt.inner)
		}
	}
	p := Policy{NAT64: prefixes("2a00:64::/96", "fe80::/32")}
	for addr, want := range map[string]bool{
		"[2a00:64::808:808]:443": false, // public, and still not: what is behind a translator is not known
		"[2a00:65::1]:443":       true,
		"[fe80::1]:443":          false,
	} {
		if err := p.Check(netip.MustParseAddrPort(addr)); want != (err == nil) {
			t.Errorf("Check(%s) = %v", addr, err)
		}
	}
	p.Allow = prefixes("::/0")
	for addr, want := range map[string]bool{"[2a00:64::808:808]:443": true, "[2a00:64::a00:1]:443": false, "[fe80::808:808]:443": false} {
		if err := p.Check(netip.MustParseAddrPort(addr)); want != (err == nil) {
			t.Errorf("allowing ::/0, Check(%s) = %v", addr, err)
		}
	}
}

// TestPorts: checklist point 9.
func TestPorts(t *testing.T) {
	t.Parallel()
	if !slices.IsSorted(otherProtocols) {
		t.Fatal("otherProtocols is not sorted: it is searched by halves")
	}
	allowed := map[uint16]bool{
		80: true, 443: true, 1024: true, 3000: true, 8080: true, 8443: true, 65535: true,
		0: false, 21: false, 22: false, 25: false, 53: false, 81: false, 444: false, 587: false, 1023: false,
		1433: false, 2379: false, 3306: false, 5432: false, 5672: false, 6379: false, 9092: false, 11211: false, 27017: false,
	}
	for port, want := range allowed {
		err := (Policy{}).Check(netip.AddrPortFrom(netip.MustParseAddr("8.8.8.8"), port))
		if (err == nil) != want {
			t.Errorf("port %d: %v, want allowed %v", port, err, want)
		}
	}
}

func TestRefusalMessages(t *testing.T) {
	t.Parallel()
	tests := []struct{ addr, want string }{
		{"10.0.3.7:80", "10.0.3.7 is a private address and this server may not ring it: start it with --allow-destinations 10.0.0.0/8"},
		{"[::ffff:10.0.3.7]:80", "10.0.3.7 is a private address and this server may not ring it: start it with --allow-destinations 10.0.0.0/8"},
		{"192.168.1.1:80", "192.168.1.1 is a private address and this server may not ring it: start it with --allow-destinations 192.168.0.0/16"},
		{"[fd12::1]:80", "fd12::1 is a private address and this server may not ring it: start it with --allow-destinations fc00::/7"},
		{"127.0.0.1:80", "127.0.0.1 is a loopback address and this server may not ring it: loopback is rung only while the server itself listens on loopback only; else start it with --allow-destinations 127.0.0.0/8"},
		{"[::1]:80", "::1 is a loopback address and this server may not ring it: loopback is rung only while the server itself listens on loopback only; else start it with --allow-destinations ::1/128"},
		{"169.254.169.254:80", "169.254.169.254 is a cloud metadata address and this server may not ring it: start it with --allow-destinations 169.254.169.254/32"},
		{"169.254.1.1:80", "169.254.1.1 is a link-local address and this server may not ring it: start it with --allow-destinations 169.254.1.1/32"},
		{"[64:ff9b::1]:80", "64:ff9b::1 is an IPv6 address that stands for an IPv4 address and this server may not ring it: start it with --allow-destinations 64:ff9b::1/128"},
		{"203.0.113.9:80", "203.0.113.9 is a reserved address and this server may not ring it: start it with --allow-destinations 203.0.113.9/32"},
		{"8.8.8.8:22", "port 22 of 8.8.8.8 is not one this server rings: use 80, 443 or one above 1023 that belongs to no other protocol, or start it with --allow-destinations 8.8.8.8/32"},
		{"[fe80::1%eth0]:80", "fe80::1%eth0 is a link-local address and this server may not ring it: an address with a zone is never rung"},
	}
	for _, tt := range tests {
		if err := (Policy{}).Check(netip.MustParseAddrPort(tt.addr)); err == nil || err.Error() != tt.want {
			t.Errorf("Check(%s)\n got %v\nwant %s", tt.addr, err, tt.want)
		}
	}
}

// TestFlagInMessageOpens follows the advice of each refusal and finds it good.
func TestFlagInMessageOpens(t *testing.T) {
	t.Parallel()
	for _, text := range append(slices.Clone(notPublic), "64:ff9b::a00:1") {
		addr := netip.AddrPortFrom(netip.MustParseAddr(text), 80)
		var p Policy
		for try := 0; ; try++ {
			err := p.Check(addr)
			if err == nil {
				break
			}
			_, flag, ok := strings.Cut(err.Error(), "--allow-destinations ")
			prefix, parse := netip.ParsePrefix(flag)
			if !ok || parse != nil || try == 2 {
				t.Errorf("%s, allowing %v: the message %q does not lead out", text, p.Allow, err)
				break
			}
			p.Allow = append(p.Allow, prefix)
		}
	}
}

// TestCheckURL: checklist point 9.
func TestCheckURL(t *testing.T) {
	t.Parallel()
	const rule = "use an http or https URL, for example https://hooks.example.net/acr"
	tests := []struct {
		raw  string
		kind fault.Kind
		want string // empty: taken
	}{
		{raw: "https://hooks.example.net/acr"},
		{raw: "http://webhookuri.com"},
		{raw: "HTTPS://hooks.example.net:8443/acr?code=s3cret#part"},
		{raw: "https://$user:pa%20ss@site.example/api/registry/webhook"},
		{raw: "http://8.8.8.8:8080/"},
		{raw: "http://[2606:4700::1111]/"},
		{raw: "http://2130706433/"},               // a name, as far as this goes; its dial is refused
		{raw: "http://host.example:22/"},          // likewise
		{raw: "http://127.0.0.1.nip.example:80/"}, // likewise
		{raw: "https://hooks.example.net/" + strings.Repeat("a", 2048-len("https://hooks.example.net/"))},

		{"", fault.Invalid, "the service URI is empty: " + rule},
		{"https://hooks.example.net/" + strings.Repeat("a", 2023), fault.Invalid, "the service URI has 2049 bytes: it may have 2048"},
		{"ftp://s3cret@host/", fault.Invalid, `the service URI has the scheme "ftp": ` + rule},
		{"hooks.example.net/acr", fault.Invalid, `the service URI has the scheme "": ` + rule},
		{"//hooks.example.net", fault.Invalid, `the service URI has the scheme "": ` + rule},
		{"https:", fault.Invalid, "the service URI names no host: " + rule},
		{"https:opaque", fault.Invalid, "the service URI names no host: " + rule},
		{"https://:443/", fault.Invalid, "the service URI names no host: " + rule},
		{"https://host name/", fault.Invalid, "the service URI has a blank or a control character: write it as %20 or leave it out"},
		{"https://host/\r\nX: y", fault.Invalid, "the service URI has a blank or a control character: write it as %20 or leave it out"},
		{"https://host/\x00", fault.Invalid, "the service URI has a blank or a control character: write it as %20 or leave it out"},
		{"https://host/\x7f", fault.Invalid, "the service URI has a blank or a control character: write it as %20 or leave it out"},
		{"https://s3cret:%zz@host/", fault.Invalid, "the service URI is not a URL: " + rule},
		{"https://[::1/", fault.Invalid, "the service URI is not a URL: " + rule},
		{"https://host:99999/", fault.Invalid, "the service URI has the port 99999: use 1 to 65535"},
		{"https://host:0/", fault.Invalid, "the service URI has the port 0: use 1 to 65535"},

		{"http://10.0.3.7:8080", fault.Denied, "10.0.3.7 is a private address and this server may not ring it: start it with --allow-destinations 10.0.0.0/8"},
		{"http://user:pw@[::ffff:a00:307]/", fault.Denied, "10.0.3.7 is a private address and this server may not ring it: start it with --allow-destinations 10.0.0.0/8"},
		{"http://[fe80::1%25eth0]/", fault.Denied, "fe80::1%eth0 is a link-local address and this server may not ring it: an address with a zone is never rung"},
		{"http://LocalHost.:5000/x", fault.Denied, "LocalHost. is a loopback address and this server may not ring it: loopback is rung only while the server itself listens on loopback only; else start it with --allow-destinations 127.0.0.0/8"},
		{"http://8.8.8.8:25", fault.Denied, "port 25 of 8.8.8.8 is not one this server rings: use 80, 443 or one above 1023 that belongs to no other protocol, or start it with --allow-destinations 8.8.8.8/32"},
	}
	for _, tt := range tests {
		err := (Policy{}).CheckURL(tt.raw)
		if tt.want == "" {
			if err != nil {
				t.Errorf("CheckURL(%.80q) = %v, want none", tt.raw, err)
			}
			continue
		}
		if err == nil || err.Error() != tt.want || fault.As(err).Kind != tt.kind {
			t.Errorf("CheckURL(%.80q)\n got %v (%v)\nwant %s (%v)", tt.raw, err, fault.As(err).Kind, tt.want, tt.kind)
		}
	}
	if err := (Policy{Loopback: true}).CheckURL("http://localhost:5000/"); err != nil {
		t.Errorf("localhost where loopback is allowed: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	tests := []struct {
		policy Policy
		want   string
	}{
		{Policy{}, "webhooks may ring public addresses only; private networks need --allow-destinations"},
		{Policy{Loopback: true}, "webhooks may ring public addresses and loopback; private networks need --allow-destinations"},
		{Policy{Loopback: true, Allow: prefixes("10.0.0.0/8", "fd00::/8")}, "webhooks may ring public addresses, loopback, 10.0.0.0/8 and fd00::/8"},
		{Policy{Allow: prefixes("10.0.0.0/8")}, "webhooks may ring public addresses and 10.0.0.0/8"},
	}
	for _, tt := range tests {
		if got := tt.policy.describe(); got != tt.want {
			t.Errorf("describe() = %q, want %q", got, tt.want)
		}
	}
}

// FuzzCheckURL holds the messages to their promise: whatever is refused, no
// userinfo and no query is repeated.
func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{"a.example", "127.0.0.1", "[::1]:80", "0x7f.1", "", "%zz", "host:99999", "a b"} {
		f.Add("http", seed, "/path")
	}
	f.Fuzz(func(t *testing.T, scheme, host, path string) {
		const secret = "s3cr3tw0rd"
		if strings.Contains(scheme+host+path, "s3cr") {
			t.Skip()
		}
		raw := scheme + "://user:" + secret + "@" + host + path + "?code=" + secret
		err := (Policy{}).CheckURL(raw)
		if err == nil {
			return
		}
		if k := fault.As(err).Kind; k != fault.Invalid && k != fault.Denied {
			t.Fatalf("CheckURL(%q): kind %v", raw, k)
		}
		if strings.Contains(err.Error(), secret) {
			t.Fatalf("CheckURL(%q) repeats a secret: %v", raw, err)
		}
	})
}
