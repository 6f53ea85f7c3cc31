package tenant

import (
	"net/netip"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// CodeMisdirected is the code of the fault for a host this server does not
// answer for. HTTP says it with status 421.
const CodeMisdirected = "MisdirectedRequest"

// Hosts says which registry a Host header means.
type Hosts struct {
	store  *Store
	domain string          // lower case, without port
	names  map[string]bool // of the default registry, beside localhost and IP addresses
}

// NewHosts answers for <registry>.<domain>, and for names as further names of
// the default registry: the host of the external URL and the aliases. Ports in
// them have no meaning.
func NewHosts(store *Store, domain string, names ...string) (*Hosts, error) {
	h := &Hosts{store: store, names: map[string]bool{"localhost": true}}
	var ok bool
	if h.domain, ok = dnsHost(domain); !ok {
		return nil, fault.New(fault.Invalid, "domain %q is not a host name: --domain needs one like registry.example.com", clip(domain))
	}
	for _, name := range names {
		host, ok := dnsHost(name)
		if !ok && !isIPLiteral(name) {
			return nil, fault.New(fault.Invalid, "%q is not a host name: --external-url and --alias need one like registry.example.com", clip(name))
		}
		if ok {
			h.names[host] = true
		}
	}
	return h, nil
}

// Resolve returns the registry that a request with this Host header is for. Case
// and port do not matter. It fails with fault.NotFound and CodeMisdirected.
func (h *Hosts) Resolve(hostHeader string) (Registry, error) {
	if isIPLiteral(hostHeader) {
		return h.store.Default(), nil
	}
	host, ok := dnsHost(hostHeader)
	if !ok {
		return Registry{}, h.misdirected(hostHeader)
	}
	if name, ok := strings.CutSuffix(host, "."+h.domain); ok {
		if r, ok := h.store.view.Load().byName[name]; ok {
			return r, nil
		}
	}
	if h.names[host] {
		return h.store.Default(), nil
	}
	return Registry{}, h.misdirected(host)
}

func (h *Hosts) misdirected(host string) error {
	return fault.New(fault.NotFound, "this server does not answer for host %q: its registries are at <registry>.%s (--domain), and --external-url or --alias adds names for registry %s",
		clip(host), h.domain, h.store.Default().Name).WithCode(CodeMisdirected)
}

// isIPLiteral reports whether s is an IP address with or without a port, IPv6 in
// brackets as RFC 3986 wants it.
func isIPLiteral(s string) bool {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		address, port, ok := strings.Cut(rest, "]")
		if !ok || port != "" && !validPort(port) {
			return false
		}
		ip, err := netip.ParseAddr(address)
		return err == nil && ip.Is6()
	}
	address, ok := cutPort(s)
	if !ok {
		return false
	}
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Is4()
}

// dnsHost returns the host name in s, in lower case, without port and without
// the dot of a fully qualified name.
func dnsHost(s string) (string, bool) {
	host, ok := cutPort(s)
	if !ok {
		return "", false
	}
	host = strings.TrimSuffix(host, ".")
	const maxHost = 253 // RFC 1035, as text
	if len(host) > maxHost {
		return "", false
	}
	for label := range strings.SplitSeq(host, ".") {
		if !validLabel(label) {
			return "", false
		}
	}
	if isIPLiteral(host) {
		return "", false
	}
	return strings.ToLower(host), true // ASCII only, so no letter becomes another
}

// validLabel takes what names in use have: letters, digits, dashes and, for
// compose services, underscores.
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// cutPort removes the port, if there is one; ok is false when it is no port.
func cutPort(s string) (host string, ok bool) {
	i := strings.IndexByte(s, ':')
	if i < 0 {
		return s, true
	}
	return s[:i], validPort(s[i:])
}

// validPort reports whether s is a colon and at most five digits. RFC 3986 lets
// the digits be missing.
func validPort(s string) bool {
	if s == "" || s[0] != ':' || len(s) > len(":65535") {
		return false
	}
	for _, c := range []byte(s[1:]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
