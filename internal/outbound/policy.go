package outbound

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"code.dny.dev/ssrf"

	"github.com/dockbell/dockbell/internal/fault"
)

// Policy says which addresses may be rung. Public ones always may, on ports
// that web servers use. All others only by the word of whoever runs this
// server; the port rule does not hold for those.
type Policy struct {
	// Loopback allows this machine itself.
	Loopback bool

	// Allow names further networks. Loopback, link-local and metadata
	// addresses stay refused inside a wider network: only a prefix that lies
	// within such a range opens it.
	Allow []netip.Prefix

	// NAT64 are the prefixes by which this network's translators reach IPv4,
	// beside 64:ff9b::/96; each of a length in RFC 6052, section 2.2. They are
	// refused, and inside Allow lead no further than the IPv4 address would.
	NAT64 []netip.Prefix

	// Own is never rung, whatever Allow says.
	Own Own
}

// class is a kind of address that is not public.
type class struct {
	prefix netip.Prefix
	name   string

	// suggest is the network to name in the way out; if not valid, the address
	// alone.
	suggest netip.Prefix

	// guarded ranges are not opened by a wider prefix in Policy.Allow.
	guarded bool
}

const loopbackName = "a loopback address"

// classes are searched in order, so the particular comes before the general.
// What is in none of them and not public is reserved.
var classes = []class{
	guarded("169.254.169.254/32", "a cloud metadata address"),
	guarded("168.63.129.16/32", "a cloud metadata address"),   // Azure's host
	guarded("100.100.100.200/32", "a cloud metadata address"), // Alibaba's
	guarded("192.0.0.192/32", "a cloud metadata address"),     // Oracle's
	guarded("fd00:ec2::254/128", "a cloud metadata address"),  // AWS's
	guarded("fd20:ce::254/128", "a cloud metadata address"),   // Google's
	guarded("127.0.0.0/8", loopbackName),
	guarded("::1/128", loopbackName),
	guarded("0.0.0.0/8", "an unspecified address"), // Linux connects it to loopback
	guarded("::/128", "an unspecified address"),
	guarded("169.254.0.0/16", "a link-local address"),
	guarded("fe80::/10", "a link-local address"),
	open("10.0.0.0/8", "a private address"),
	open("172.16.0.0/12", "a private address"),
	open("192.168.0.0/16", "a private address"),
	open("100.64.0.0/10", "a shared (carrier-grade NAT) address"),
	open("fc00::/7", "a private address"),
	open("fec0::/10", "a private address"),
	alone("224.0.0.0/4", "a multicast address"),
	alone("255.255.255.255/32", "a broadcast address"),
	alone("ff00::/8", "a multicast address"),
	alone("::/96", translatedName),
	alone("64:ff9b::/96", translatedName),
	alone("64:ff9b:1::/48", translatedName),
	alone("2001::/32", translatedName),
	alone("2002::/16", translatedName),
}

const (
	translatedName = "an IPv6 address that stands for an IPv4 address"
	reservedName   = "a reserved address"
)

func open(prefix, name string) class {
	p := netip.MustParsePrefix(prefix)
	return class{prefix: p, name: name, suggest: p}
}

func alone(prefix, name string) class {
	return class{prefix: netip.MustParsePrefix(prefix), name: name}
}

func guarded(prefix, name string) class {
	c := alone(prefix, name)
	c.guarded = true
	if name == loopbackName {
		c.suggest = c.prefix
	}
	return c
}

// public knows what IANA set aside. Its lists lack the one address below, which
// is in the public space and is the host to every virtual machine on Azure.
var public = ssrf.New(
	ssrf.WithAnyNetwork(), ssrf.WithAnyPort(),
	ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32")),
)

// Check decides whether addr may be rung. A refusal is fault.Denied and names
// the flag that would allow it.
func (p Policy) Check(addr netip.AddrPort) error {
	if r := p.refuse(addr); r != nil {
		return fault.New(fault.Denied, "%s", r.sentence(r.addr.Addr().String(), false))
	}
	return nil
}

// refuse returns why addr may not be dialled, or nil.
func (p Policy) refuse(addr netip.AddrPort) *refusal {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	inner, translated := p.embedded(addr.Addr())
	if p.Own.at(addr) || translated && p.Own.at(netip.AddrPortFrom(inner, addr.Port())) {
		return &refusal{addr: addr, own: true}
	}
	verdict, culprit := p.judge(addr.Addr())
	if verdict == refused || verdict == reachable && !webPort(addr.Port()) {
		return &refusal{addr: addr, culprit: culprit, class: p.classOf(culprit), port: verdict == reachable}
	}
	return nil
}

// refuseHost returns why a host, as it is written in a URL, may not be rung, or
// nil. Of names it knows those of this server and those that mean loopback; all
// others are looked at when they are dialled.
func (p Policy) refuseHost(host string, port uint16) *refusal {
	if ip, err := netip.ParseAddr(host); err == nil {
		return p.refuse(netip.AddrPortFrom(ip, port))
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761, section 6.3
		if v6 := netip.AddrPortFrom(netip.IPv6Loopback(), port); p.Own.at(v6) {
			return &refusal{addr: v6, own: true}
		}
		return p.refuse(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	}
	if p.Own.named(name, port) {
		return &refusal{addr: netip.AddrPortFrom(netip.Addr{}, port), own: true}
	}
	return nil
}

// verdict is what a policy makes of an address, its port aside.
type verdict uint8

const (
	refused   verdict = iota
	named             // allowed by whoever runs this server, on any port
	reachable         // public
)

// judge returns the verdict on ip and, if that is refused, the address that is
// the reason: ip, or the one that it stands for.
func (p Policy) judge(ip netip.Addr) (verdict, netip.Addr) {
	if !ip.IsValid() || ip.Zone() != "" {
		return refused, ip
	}
	c := p.classOf(ip)
	in := func(allowed netip.Prefix) bool {
		return allowed.Contains(ip) && (!c.guarded || allowed.Bits() >= c.prefix.Bits())
	}
	switch {
	case slices.ContainsFunc(p.Allow, in):
		if inner, ok := p.embedded(ip); ok && !c.guarded {
			if v, culprit := p.judge(inner); v == refused {
				return refused, culprit // the way through a translator ends at a place that is refused itself
			}
		}
		return named, ip
	case p.Loopback && c.name == loopbackName:
		return named, ip
	case c.prefix.IsValid() || public.SafeAddr(ip) != nil:
		return refused, ip
	}
	return reachable, ip
}

// embedded returns the IPv4 address that a translator would reach for ip.
func (p Policy) embedded(ip netip.Addr) (netip.Addr, bool) {
	if !ip.Is6() {
		return netip.Addr{}, false
	}
	b := ip.As16()
	for _, prefix := range p.NAT64 {
		if prefix.Contains(ip) {
			return translated(b, prefix.Bits()/8), true
		}
	}
	switch {
	case compatible.Contains(ip), nat64.Contains(ip), nat64Local.Contains(ip):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour.Contains(ip):
		return netip.AddrFrom4([4]byte(b[2:])), true
	}
	return netip.Addr{}, false
}

// translated takes the IPv4 address out of b: it comes after a prefix of n
// bytes, less the byte at 8, which is never part of it (RFC 6052, section 2.2).
func translated(b [16]byte, n int) netip.Addr {
	const reserved = 8
	var v4 [4]byte
	for i := range v4 {
		if n == reserved {
			n++
		}
		v4[i] = b[n]
		n++
	}
	return netip.AddrFrom4(v4)
}

var (
	compatible = netip.MustParsePrefix("::/96")
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215; what Policy.NAT64 does not divide otherwise is taken for /96
	sixToFour  = netip.MustParsePrefix("2002::/16")
)

func (p Policy) classOf(ip netip.Addr) class {
	ip = ip.WithZone("")
	c := class{name: reservedName}
	if i := slices.IndexFunc(classes, func(c class) bool { return c.prefix.Contains(ip) }); i >= 0 {
		c = classes[i]
	}
	if c.guarded {
		return c
	}
	for _, prefix := range p.NAT64 {
		if prefix.Contains(ip) {
			return class{prefix: prefix, name: translatedName}
		}
	}
	return c
}

// webPort reports whether a public address is rung on this port.
func webPort(port uint16) bool {
	if port == 80 || port == 443 {
		return true
	}
	_, other := slices.BinarySearch(otherProtocols, port)
	return port > 1023 && !other
}

// otherProtocols are the ports above 1023 on which something that is no web
// server listens, and might take an HTTP request for commands. Sorted.
var otherProtocols = []uint16{
	1080, 1433, 1434, 1521, 1719, 1720, 1723, 1883, // socks, SQL Server, Oracle, H.323, PPTP, MQTT
	2049, 2181, 2375, 2376, 2379, 2380, // NFS, ZooKeeper, Docker, etcd
	3128, 3268, 3269, 3306, 3389, 3659, // Squid, LDAP, MySQL, RDP, SASL
	4045, 4190, 4222, 4369, // lockd, Sieve, NATS, epmd
	5060, 5061, 5222, 5269, 5432, 5671, 5672, 5900, 5901, 5902, 5903, 5985, 5986, // SIP, XMPP, PostgreSQL, AMQP, VNC, WinRM
	6000, 6001, 6002, 6003, 6379, 6380, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, // X11, Redis, SANE, IRC
	7000, 7001, 7687, 8883, // Cassandra, Bolt, MQTT
	9042, 9092, 9093, 9094, 9160, 9300, // Cassandra, Kafka, Elasticsearch transport
	10080, 11211, 26257, 27017, 27018, 27019, 28015, // Amanda, memcached, CockroachDB, MongoDB, RethinkDB
	61613, 61614, 61616, // STOMP, ActiveMQ
}

// describe says in one sentence what may be rung.
func (p Policy) describe() string {
	what := []string{"public addresses"}
	if p.Loopback {
		what = append(what, "loopback")
	}
	for _, allowed := range p.Allow {
		what = append(what, allowed.String())
	}
	sentence := "webhooks may ring " + what[0] + " only"
	if n := len(what); n > 1 {
		sentence = "webhooks may ring " + strings.Join(what[:n-1], ", ") + " and " + what[n-1]
	}
	if len(p.Allow) == 0 {
		sentence += "; private networks need --allow-destinations"
	}
	return sentence
}

// maxURL is the longest URL taken, in bytes.
const maxURL = 2048

// CheckURL decides whether raw may be saved as a place to ring. A URL that is
// none of http or https, has no host, or is not clean is fault.Invalid; a host
// that is refused by the policy, and is an IP address, localhost or a name of
// this server, is fault.Denied.
// Other names are looked at when they are dialled, for what they resolve to may
// change. The message never repeats more of raw than its scheme and host.
func (p Policy) CheckURL(raw string) error {
	u, err := parseURL(raw)
	if err != nil {
		return err
	}
	port, err := portOf(u)
	if err != nil {
		return err
	}
	r := p.refuseHost(u.Hostname(), port)
	if r == nil {
		return nil
	}
	subject := u.Hostname()
	if _, err := netip.ParseAddr(subject); err == nil {
		subject = r.addr.Addr().String()
	}
	return fault.New(fault.Denied, "%s", r.sentence(subject, false))
}

// parseURL checks all of a URL but its address.
func parseURL(raw string) (*url.URL, error) {
	const rule = "use an http or https URL, for example https://hooks.example.net/acr"
	switch {
	case raw == "":
		return nil, fault.New(fault.Invalid, "the service URI is empty: %s", rule)
	case len(raw) > maxURL:
		return nil, fault.New(fault.Invalid, "the service URI has %d bytes: it may have %d", len(raw), maxURL)
	case strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return nil, fault.New(fault.Invalid, "the service URI has a blank or a control character: write it as %%20 or leave it out")
	}
	u, err := url.Parse(raw)
	if err != nil { // its text repeats the URL, which may hold a secret
		return nil, fault.New(fault.Invalid, "the service URI is not a URL: %s", rule)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fault.New(fault.Invalid, "the service URI has the scheme %q: %s", u.Scheme, rule)
	}
	if u.Hostname() == "" {
		return nil, fault.New(fault.Invalid, "the service URI names no host: %s", rule)
	}
	return u, nil
}

func portOf(u *url.URL) (uint16, error) {
	text := u.Port()
	if text == "" {
		if u.Scheme == "https" {
			return 443, nil
		}
		return 80, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fault.New(fault.Invalid, "the service URI has the port %s: use 1 to 65535", text)
	}
	return uint16(port), nil
}

// refusal is why an address is not dialled. It travels through the dialer as an
// error, and becomes a sentence where it is known how the address was named.
type refusal struct {
	addr    netip.AddrPort
	own     bool       // it is this server; the fields below have no meaning
	culprit netip.Addr // addr's, or what that stands for
	class   class      // of the culprit
	port    bool       // the address is public, and its port is the matter
}

func (r *refusal) Error() string {
	return "outbound: " + r.sentence(r.addr.Addr().String(), false)
}

// sentence says what was refused and how to allow it. subject is the host as the
// caller named it. If it was resolved, the sentence holds nothing of the address
// but its class: who may write webhooks is not told what a name resolves to.
func (r *refusal) sentence(subject string, resolved bool) string {
	if r.own {
		return fmt.Sprintf("%s is, on port %d, this server itself, and what it sends there would only come back: name another receiver", subject, r.addr.Port())
	}
	c := r.class
	network := c.suggest.String()
	switch {
	case resolved && c.name != loopbackName:
		network = "and that network"
	case !c.suggest.IsValid():
		network = netip.PrefixFrom(r.culprit.WithZone(""), r.culprit.BitLen()).String()
	}
	if r.port {
		return fmt.Sprintf("port %d of %s is not one this server rings: use 80, 443 or one above 1023 that belongs to no other protocol, or start it with --allow-destinations %s",
			r.addr.Port(), subject, network)
	}
	verb := "is"
	if resolved {
		verb = "resolves to"
	}
	what := fmt.Sprintf("%s %s %s and this server may not ring it: ", subject, verb, c.name)
	switch {
	case r.culprit.Zone() != "":
		return what + "an address with a zone is never rung"
	case c.name == loopbackName:
		return what + "loopback is rung only while the server itself listens on loopback only; else start it with --allow-destinations " + network
	}
	return what + "start it with --allow-destinations " + network
}
