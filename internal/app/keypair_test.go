package app

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/localca"
)

// issuer makes certificates as an operator gets them: each time another one.
type issuer struct {
	t    *testing.T
	dir  string // of the authority
	at   time.Time
	told bytes.Buffer
}

func newIssuer(t *testing.T) *issuer { return &issuer{t: t, dir: t.TempDir(), at: time.Now()} }

func (i *issuer) now() time.Time { return i.at }

// issue returns a certificate of the present and its key, as files hold them.
func (i *issuer) issue() (cert, key []byte, leaf *x509.Certificate) {
	i.t.Helper()
	ca, err := localca.Open(i.dir, []string{"127.0.0.1"}, i.now)
	if err != nil {
		i.t.Fatal(err)
	}
	pair, err := ca.GetCertificate(nil)
	if err != nil {
		i.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		i.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pair.Leaf
}

func (i *issuer) write(path string, text []byte) {
	i.t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", text, 0o600), os.Rename(path+".new", path)); err != nil {
		i.t.Fatal(err)
	}
}

// pair writes a certificate and opens it.
func (i *issuer) pair(certFile, keyFile string) (*keyPair, *x509.Certificate) {
	i.t.Helper()
	cert, key, leaf := i.issue()
	i.write(certFile, cert)
	i.write(keyFile, key)
	p, err := openKeyPair(certFile, keyFile, slog.New(slog.NewTextHandler(&i.told, nil)), i.now)
	if err != nil {
		i.t.Fatal(err)
	}
	return p, leaf
}

// later lets time go by, and checks which certificate is in force then and how many
// lines of each level the log got.
func (i *issuer) later(what string, p *keyPair, by time.Duration, want *x509.Certificate, infos, warnings, errs int) {
	i.t.Helper()
	i.at = i.at.Add(by)
	i.told.Reset()
	for range 3 { // however often it is asked for
		got, err := p.GetCertificate(nil)
		if err != nil || !got.Leaf.Equal(want) {
			i.t.Fatalf("%s: the wrong certificate is in force (%v); the log:\n%s", what, err, &i.told)
		}
	}
	for level, want := range map[string]int{"INFO": infos, "WARN": warnings, "ERROR": errs} {
		if n := strings.Count(i.told.String(), "level="+level); n != want {
			i.t.Errorf("%s: %d lines of level %s, want %d:\n%s", what, n, level, want, &i.told)
		}
	}
	if errs > 0 && !strings.Contains(i.told.String(), p.certFile) {
		i.t.Errorf("%s: the log does not name the file:\n%s", what, &i.told)
	}
}

func TestKeyPairIsReadAgain(t *testing.T) {
	t.Parallel()
	i, dir := newIssuer(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	p, first := i.pair(certFile, keyFile)
	i.later("unchanged", p, lookEvery, first, 0, 0, 0)

	cert, key, second := i.issue()
	i.write(certFile, cert)
	i.write(keyFile, key)
	i.later("too soon to look", p, lookEvery-1, first, 0, 0, 0)
	i.later("replaced", p, 1, second, 1, 0, 0)

	// One file after the other, and between them nobody knows that another comes.
	cert, key, third := i.issue()
	i.write(certFile, cert)
	i.later("a key that is not its own", p, lookEvery, second, 0, 0, 1)
	if !strings.Contains(i.told.String(), "private key does not match public key") || !strings.Contains(i.told.String(), keyFile) {
		t.Errorf("the log does not say what is wrong:\n%s", &i.told)
	}
	i.later("still", p, lookEvery, second, 0, 0, 0)
	i.write(keyFile, key)
	i.later("whole again", p, lookEvery, third, 1, 0, 0)

	cert, key, fourth := i.issue()
	i.write(keyFile, key)
	i.write(certFile, cert[:len(cert)/2])
	i.later("half", p, lookEvery, third, 0, 0, 1)
	i.write(certFile, cert[:len(cert)/3])
	i.later("another half, and no more to say", p, lookEvery, third, 0, 0, 0)
	i.write(certFile, cert)
	i.later("whole after a half", p, lookEvery, fourth, 1, 0, 0)

	if err := os.Rename(certFile, certFile+".away"); err != nil {
		t.Fatal(err)
	}
	i.later("gone", p, lookEvery, fourth, 0, 0, 1)
	i.later("still gone", p, lookEvery, fourth, 0, 0, 0)
	if err := os.Rename(certFile+".away", certFile); err != nil {
		t.Fatal(err)
	}
	i.later("the same is back", p, lookEvery, fourth, 1, 0, 0)

	// In place, as cp does it, and with the old time, as cp -p does.
	cert, key, fifth := i.issue()
	info, err := os.Stat(certFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(certFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600), os.Chtimes(certFile, time.Time{}, info.ModTime().Add(-time.Hour))); err != nil {
		t.Fatal(err)
	}
	i.later("in place", p, lookEvery, fifth, 1, 0, 0)
}

// TestKeyPairInVolume: Kubernetes turns a link to a folder when a secret changes.
func TestKeyPairInVolume(t *testing.T) {
	t.Parallel()
	i, dir := newIssuer(t), t.TempDir()
	fill := func(folder string) (leaf *x509.Certificate) {
		t.Helper()
		cert, key, leaf := i.issue()
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string][]byte{"tls.crt": cert, "tls.key": key} {
			i.write(filepath.Join(dir, folder, name), text)
			// All in one second, as file systems may count.
			if err := os.Chtimes(filepath.Join(dir, folder, name), time.Time{}, i.at.Truncate(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.Symlink(folder, filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	first := fill("..1")
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := openKeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), slog.New(slog.NewTextHandler(&i.told, nil)), i.now)
	if err != nil {
		t.Fatal(err)
	}
	i.later("mounted", p, lookEvery, first, 0, 0, 0)
	second := fill("..2")
	i.later("turned", p, lookEvery, second, 1, 0, 0)
}

func TestKeyPairExpires(t *testing.T) {
	t.Parallel()
	i, dir := newIssuer(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	p, leaf := i.pair(certFile, keyFile)
	if i.told.Len() > 0 {
		t.Errorf("told at the start:\n%s", &i.told)
	}
	i.later("long before", p, leaf.NotAfter.Sub(i.at)-warnBefore-time.Hour, leaf, 0, 0, 0)
	i.later("soon", p, 2*time.Hour, leaf, 0, 1, 0)
	i.later("the same day", p, 23*time.Hour, leaf, 0, 0, 0)
	i.later("the next day", p, time.Hour, leaf, 0, 1, 0)
	i.later("over", p, warnBefore, leaf, 0, 0, 1)
	i.later("minutes later", p, 10*time.Minute, leaf, 0, 0, 0)
	i.later("an hour later", p, 50*time.Minute, leaf, 0, 0, 1)
	cert, key, next := i.issue()
	i.write(certFile, cert)
	i.write(keyFile, key)
	i.later("renewed", p, lookEvery, next, 1, 0, 0)

	i.at = next.NotAfter
	i.told.Reset()
	if _, err := openKeyPair(certFile, keyFile, slog.New(slog.NewTextHandler(&i.told, nil)), i.now); err != nil || !strings.Contains(i.told.String(), "has expired") {
		t.Errorf("started with one that has expired: %v\n%s", err, &i.told)
	}
}

// TestReadAgainKeepsConnections: a connection stays as it was made, the next one has
// the new certificate.
func TestReadAgainKeepsConnections(t *testing.T) {
	t.Parallel()
	i, dir := newIssuer(t), t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	p, first := i.pair(certFile, keyFile)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	server.TLS = &tls.Config{GetCertificate: p.GetCertificate}
	server.StartTLS()
	defer server.Close()
	server.TLS.Certificates = nil // httptest's own
	authority, err := os.ReadFile(filepath.Join(i.dir, localca.CertificateFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	client := func() *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	shown := func(c *http.Client) *x509.Certificate {
		t.Helper()
		res, err := c.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.TLS.PeerCertificates[0]
	}
	old := client()
	if !shown(old).Equal(first) {
		t.Fatal("the wrong certificate")
	}
	cert, key, second := i.issue()
	i.write(certFile, cert)
	i.write(keyFile, key)
	i.at = i.at.Add(lookEvery)
	if !shown(client()).Equal(second) {
		t.Error("a new connection has the old certificate")
	}
	if !shown(old).Equal(first) {
		t.Error("the old connection was given up")
	}
}
