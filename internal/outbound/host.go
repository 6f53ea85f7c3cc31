package outbound

import (
	"net"
	"net/url"
	"strings"
)

// HostOf returns whom a URL names, as scheme://name:port in lower case. Several
// ways to write one host give one text.
func HostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	scheme := strings.ToLower(u.Scheme)
	name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	port := u.Port()
	switch {
	case port != "":
	case scheme == "http":
		port = "80"
	case scheme == "https":
		port = "443"
	default:
		return scheme + "://" + name
	}
	return scheme + "://" + net.JoinHostPort(name, port)
}
