// Package localca is a certificate authority of this installation's own, for
// serving HTTPS where nobody has a certificate from elsewhere.
//
// It owns a folder with the authority's certificate (ca.pem, for clients to
// trust) and its key (ca-key.pem, mode 0600), and makes the server's
// certificates, which are kept in memory only. Which names they are for is
// decided by package app. Invariants: the authority stays the same as long as its
// files do and it has not expired; a certificate that is handed out has at least
// RenewBefore to live, as long as the authority has.
package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// How long certificates are good for. Clients refuse ones that live much longer
// than a year, less so for authorities.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	LeafLife      = 90 * 24 * time.Hour
	RenewBefore   = 30 * 24 * time.Hour // before the end of a server's certificate
)

// skew is how far clients' clocks may be behind.
const skew = time.Hour

// CertificateFile is the name of the authority's certificate in its folder.
const CertificateFile = "ca.pem"

const keyFile = "ca-key.pem"

// Authority makes certificates for a server. Its methods may be called from many
// goroutines.
type Authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	names []string
	now   func() time.Time

	mu   sync.Mutex
	leaf *tls.Certificate // nil before the first
}

// Open loads the authority in dir, which must exist, or makes it if there is none
// or it has expired. names are the host names, wildcards and IP addresses of the
// server; now tells the time.
func Open(dir string, names []string, now func() time.Time) (*Authority, error) {
	a := &Authority{names: names, now: now}
	err := a.load(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !now().Before(a.cert.NotAfter.Add(-RenewBefore)) {
		err = a.make(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	if _, err := a.GetCertificate(nil); err != nil {
		return nil, err
	}
	return a, nil
}

// GetCertificate returns the server's certificate, making a new one when the last
// is near its end. It is for tls.Config.GetCertificate.
func (a *Authority) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	// One that lives as long as the authority is not made again.
	if a.leaf != nil && (now.Before(a.leaf.Leaf.NotAfter.Add(-RenewBefore)) || a.leaf.Leaf.NotAfter.Equal(a.cert.NotAfter)) {
		return a.leaf, nil
	}
	leaf, err := a.issue(now)
	if err != nil {
		return nil, fmt.Errorf("make the server's certificate: %w", err)
	}
	a.leaf = leaf
	return leaf, nil
}

// issue makes a certificate for the names.
func (a *Authority) issue(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	end := now.Add(LeafLife)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "dockbell"},
		NotBefore:             now.Add(-skew),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range a.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	cert, err := create(template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// make makes a new authority and writes its files, the key first: a certificate
// without its key would be of no use.
func (a *Authority) make(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := a.now()
	template := &x509.Certificate{
		// Two installations have different names, so that who trusts both can tell
		// them apart.
		Subject:               pkix.Name{CommonName: "dockbell " + rand.Text()[:8]},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(AuthorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	cert, err := create(template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(dir, keyFile), 0o600, "PRIVATE KEY", private); err != nil {
		return err
	}
	if err := write(filepath.Join(dir, CertificateFile), 0o644, "CERTIFICATE", cert.Raw); err != nil {
		return err
	}
	a.cert, a.key = cert, key
	return nil
}

// create signs a template, with a serial number of 127 random bits.
func create(template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// load reads the authority's files. It fails with fs.ErrNotExist when one is
// missing.
func (a *Authority) load(dir string) error {
	der, err := read(filepath.Join(dir, CertificateFile), "CERTIFICATE")
	if err != nil {
		return err
	}
	private, err := read(filepath.Join(dir, keyFile), "PRIVATE KEY")
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("%s: %w", CertificateFile, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("%s: %w", keyFile, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return fmt.Errorf("%s is not the key of %s: remove both, and new ones are made, which clients then have to trust", keyFile, CertificateFile)
	}
	a.cert, a.key = cert, key
	return nil
}

// read returns the first block of a PEM file.
func read(path, kind string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s holds no %s in PEM form: put it back, or remove it and new files are made, which clients then have to trust", filepath.Base(path), strings.ToLower(kind))
	}
	return block.Bytes, nil
}

// write makes a PEM file whole or not at all.
func write(path string, mode fs.FileMode, kind string, der []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
