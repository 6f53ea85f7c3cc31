package app

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/tenant"
)

// redirect answers plain HTTP where HTTPS is served: go there. samePort is for
// requests that came to the port of HTTPS itself, whatever its number is to the
// client.
func (s *Server) redirect(samePort bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store") // or clients would keep to it when HTTPS is given up
		get := r.Method == http.MethodGet || r.Method == http.MethodHead
		if !samePort && get && r.URL.Path == "/healthz" {
			ok(w)
			return
		}
		host, err := s.secureHost(r, samePort)
		if err != nil {
			refuse(w, http.StatusMisdirectedRequest, err) // RFC 9110, section 15.5.20
			return
		}
		if !get {
			refuse(w, http.StatusBadRequest, fault.New(fault.Invalid,
				"this is plain HTTP, and the server takes %.20q by HTTPS only: use https://%s. What was sent, a password or token too, could be read on the way: replace it", r.Method, host).
				WithCode("HTTPSRequired"))
			return
		}
		to := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
		h.Set("Location", to.String())
		w.WriteHeader(http.StatusPermanentRedirect)
	})
}

// secureHost returns the host and port by which the client of a request in plain
// HTTP finds HTTPS. It fails with tenant.CodeMisdirected for a host that is none
// of this server's: it sends nobody elsewhere.
func (s *Server) secureHost(r *http.Request, samePort bool) (string, error) {
	host := r.Host
	if external := s.cfg.ExternalURL; host == "" && external != nil {
		host = external.Host // HTTP/1.0 needs no Host
	}
	if _, err := s.hosts.Resolve(host); err != nil {
		return "", err
	}
	name := (&url.URL{Host: host}).Hostname()
	if addr, err := netip.ParseAddr(name); err == nil && !s.ownAddress(r, addr) {
		return "", fault.New(fault.NotFound, "%s is not an address of this server, as far as it knows: use a name, or https", addr).
			WithCode(tenant.CodeMisdirected)
	}
	if samePort {
		return host, nil
	}
	if addr, err := netip.ParseAddr(name); err == nil && addr.Is6() {
		name = "[" + name + "]"
	}
	if port := s.securePort(); port != "443" {
		return name + ":" + port, nil
	}
	return name, nil
}

// ownAddress reports whether an address in a Host field leads back here: any
// would be taken for the default registry.
func (s *Server) ownAddress(r *http.Request, addr netip.Addr) bool {
	if addr = addr.Unmap(); addr.IsLoopback() {
		return true
	}
	if external := s.cfg.ExternalURL; external != nil && external.Hostname() == addr.String() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == addr
}

// securePort returns the port on which clients find HTTPS.
func (s *Server) securePort() string {
	if external := s.cfg.ExternalURL; external != nil && external.Scheme == "https" {
		if port := external.Port(); port != "" {
			return port
		}
		return "443"
	}
	if _, port, err := net.SplitHostPort(s.cfg.Domain); err == nil {
		return port
	}
	_, port, _ := net.SplitHostPort(s.Addr().String())
	return port
}
