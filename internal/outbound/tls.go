package outbound

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// TLS is what a receiver is trusted by and what it is shown, each in PEM. A
// member that is empty is not used.
type TLS struct {
	CA          []byte // certificates; the receiver's must come from one of them, the system's authorities do not count
	Certificate []byte // shown to the receiver: the certificate, then those that lead to its authority
	Key         []byte // private key of Certificate, not encrypted
}

// maxPEM is how long a member of TLS may be, in bytes: some 30 certificates.
const maxPEM = 64 << 10

// CheckTLS decides whether t may be saved. It fails with fault.Invalid, and a
// sentence that names the member and holds nothing of its content. What expired
// is refused, for no receiver would take it or pass by it: the client's
// certificate, or all of the authorities. Nil is valid.
func CheckTLS(t *TLS) error {
	_, _, err := t.parse(time.Now())
	return err
}

// Config returns the settings of a client that speaks TLS 1.2 or later with what t
// says; nil as a TLS without members. The name of the server is for the caller to
// set. It fails as CheckTLS does, but takes what expired.
func (t *TLS) Config() (*tls.Config, error) {
	authorities, certificate, err := t.parse(time.Time{})
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return config, nil
}

// parse returns the authorities that t trusts, nil for the system's, and the
// certificate that it shows, nil for none. The zero time accepts what expired:
// a certificate that was saved in time is for the receiver to refuse.
func (t *TLS) parse(now time.Time) (*x509.CertPool, *tls.Certificate, error) {
	if t == nil {
		return nil, nil, nil
	}
	for _, m := range []struct {
		name  string
		value []byte
	}{{"caCertificates", t.CA}, {"clientCertificate", t.Certificate}, {"clientKey", t.Key}} {
		if len(m.value) > maxPEM {
			return nil, nil, fault.New(fault.Invalid, "%s has %d bytes: it may have %d", m.name, len(m.value), maxPEM)
		}
	}
	var authorities *x509.CertPool
	if len(t.CA) > 0 {
		certificates, err := certificatesOf("caCertificates", t.CA)
		if err != nil {
			return nil, nil, err
		}
		latest := slices.MaxFunc(certificates, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if err := checkExpiry("caCertificates", latest, now); err != nil {
			return nil, nil, err
		}
		authorities = x509.NewCertPool()
		for _, c := range certificates {
			authorities.AddCert(c)
		}
	}
	switch {
	case len(t.Certificate) == 0 && len(t.Key) == 0:
		return authorities, nil, nil
	case len(t.Key) == 0:
		return nil, nil, fault.New(fault.Invalid, "clientCertificate has no clientKey: give both, or neither to show the receiver no certificate")
	case len(t.Certificate) == 0:
		return nil, nil, fault.New(fault.Invalid, "clientKey has no clientCertificate: give both, or neither to show the receiver no certificate")
	}
	pair, err := pairOf(t, now)
	return authorities, pair, err
}

// pairOf returns the certificate and key of t, neither of which is empty.
func pairOf(t *TLS, now time.Time) (*tls.Certificate, error) {
	certificates, err := certificatesOf("clientCertificate", t.Certificate)
	if err != nil {
		return nil, err
	}
	if err := checkKey(t.Key); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(t.Certificate, t.Key)
	if err != nil {
		if strings.Contains(err.Error(), "does not match") {
			return nil, fault.New(fault.Invalid, "clientKey does not belong to clientCertificate: the certificate comes first in its member, before those of its authority")
		}
		return nil, fault.New(fault.Invalid, "clientKey is none this server can use: give an RSA, ECDSA or Ed25519 private key in PEM")
	}
	return &pair, checkExpiry("clientCertificate", certificates[0], now)
}

// checkKey tells the mistakes apart that people make with key files.
func checkKey(text []byte) error {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "":
			return fault.New(fault.Invalid, "clientKey is encrypted with a passphrase: decrypt it first, for example with openssl pkey -in key.pem")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil
		}
	}
	return fault.New(fault.Invalid, "clientKey holds no private key in PEM: it begins with -----BEGIN PRIVATE KEY-----")
}

// checkExpiry refuses what expired before now.
func checkExpiry(member string, c *x509.Certificate, now time.Time) error {
	if now.After(c.NotAfter) {
		return fault.New(fault.Invalid, "%s expired on %s: give what is valid", member, c.NotAfter.UTC().Format(time.DateOnly))
	}
	return nil
}

// certificatesOf returns the certificates in text, at least one, for the member
// of that name.
func certificatesOf(member string, text []byte) ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	rest := text
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, fault.New(fault.Invalid, "%s holds a private key: only clientKey takes one", member)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fault.New(fault.Invalid, "certificate %d of %s is damaged: export it again", len(found)+1, member)
		}
		found = append(found, c)
	}
	switch {
	case bytes.Contains(rest, []byte("-----BEGIN CERTIFICATE-----")):
		return nil, fault.New(fault.Invalid, "certificate %d of %s is cut off: give it to its END line", len(found)+1, member)
	case len(found) == 0:
		return nil, fault.New(fault.Invalid, "%s holds no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----", member)
	}
	return found, nil
}
