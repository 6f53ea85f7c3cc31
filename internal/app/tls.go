package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/config"
	"github.com/dockbell/dockbell/internal/localca"
)

// certificates returns how the server proves who it is; nil for plain HTTP. TLS 1.2
// and 1.3 are spoken, with the cipher suites and key exchanges that Go takes by
// default.
func (s *Server) certificates() (*tls.Config, error) {
	switch {
	case s.cfg.TLS == config.SelfSigned:
		if err := makeFolder(s.tlsFolder()); err != nil {
			return nil, fmt.Errorf("folder of certificates: %w", err)
		}
		names := certificateNames(s.cfg)
		ca, err := localca.Open(s.tlsFolder(), names, time.Now)
		if err != nil {
			return nil, err
		}
		s.log.Info("the server's certificate is of an authority of its own", "ca", s.authorityFile(), "names", strings.Join(names, " "))
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: ca.GetCertificate}, nil
	case s.cfg.TLSCert != "":
		pair, err := openKeyPair(s.cfg.TLSCert, s.cfg.TLSKey, s.log, time.Now)
		if err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.GetCertificate}, nil
	}
	return nil, nil
}

func (s *Server) tlsFolder() string     { return filepath.Join(s.cfg.Data, "tls") }
func (s *Server) authorityFile() string { return filepath.Join(s.tlsFolder(), localca.CertificateFile) }

// trustFlag is what dockbell login needs to trust this server.
func (s *Server) trustFlag() string {
	if s.cfg.TLS == config.SelfSigned {
		return " --ca " + s.authorityFile()
	}
	return ""
}

// certificateNames returns what a certificate of the server's own is for: this
// machine, and every name that settings give it.
func certificateNames(cfg *config.Config) []string {
	domain, _, _ := strings.Cut(cfg.Domain, ":")
	names := []string{"localhost", "127.0.0.1", "::1", domain, cfg.RegistryName + "." + domain}
	// OpenSSL takes no wildcard directly below a single label.
	if strings.Contains(domain, ".") {
		names = append(names, "*."+domain)
	}
	names = append(names, cfg.Aliases...)
	if cfg.ExternalURL != nil {
		names = append(names, cfg.ExternalURL.Hostname())
	}
	host, _, _ := net.SplitHostPort(cfg.Listen)
	if addr, err := netip.ParseAddr(host); err == nil && !addr.IsUnspecified() && addr.Zone() == "" {
		names = append(names, addr.String())
	}
	var each []string
	for _, name := range names {
		if !slices.Contains(each, name) {
			each = append(each, name)
		}
	}
	return each
}
