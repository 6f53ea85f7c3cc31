package sink

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockbell/dockbell/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 20 * time.Second // a time limit that no test should reach
	brief    = 300 * time.Millisecond
)

// guarded returns the dialer of a server that rings loopback only.
func guarded(t testing.TB, p outbound.Policy) Options {
	c := outbound.New(outbound.Options{Policy: p})
	t.Cleanup(c.Close)
	return Options{Dial: c.DialContext}
}

// publishers returns some that are closed at the end of the test.
func publishers(t testing.TB) *Publishers {
	p := New(guarded(t, outbound.Policy{Loopback: true}))
	t.Cleanup(p.Close)
	return p
}

// stored fails the test unless the broker has acknowledged, and returns where it has
// stored what.
func stored(t testing.TB, res outbound.Result) map[string]string {
	t.Helper()
	if res.Answer == nil || res.Answer.Status != 200 || res.Class != outbound.None {
		t.Fatalf("not stored: class %q, message %q, answer %+v, body %q", res.Class, res.Message, res.Answer, res.Body)
	}
	if res.Answer.Reason != "OK" || res.Answer.Version != "" || res.Sent.Version != "" || res.Started.IsZero() || res.Duration <= 0 {
		t.Errorf("result %+v of %+v", res, res.Answer)
	}
	return res.Answer.Header
}

// said fails the test unless the broker refused, with that status and a sentence that
// has those words.
func said(t testing.TB, res outbound.Result, status int, words string) {
	t.Helper()
	if res.Answer == nil || res.Answer.Status != status || res.Answer.Reason == "" || !strings.Contains(string(res.Body), words) {
		t.Errorf("class %q, message %q, answer %+v, body %q; want status %d and %q", res.Class, res.Message, res.Answer, res.Body, status, words)
	}
}

// unanswered fails the test unless there was no answer, for that reason.
func unanswered(t testing.TB, res outbound.Result, class outbound.Class, words string) {
	t.Helper()
	if res.Answer != nil || res.Class != class || !strings.Contains(res.Message, words) {
		t.Errorf("class %q, message %q, answer %+v, body %q; want class %q and %q", res.Class, res.Message, res.Answer, res.Body, class, words)
	}
}

// listen starts a server that does talk with each connection, and ends them with the
// test.
func listen(t testing.TB, talk func(net.Conn)) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { conn.Close() })
			go talk(conn)
		}
	}()
	t.Cleanup(func() { l.Close(); cancel(); <-done })
	return l.Addr().String()
}

// silence reads and says nothing.
func silence(c net.Conn) {
	for b := make([]byte, 1024); ; {
		if _, err := c.Read(b); err != nil {
			c.Close()
			return
		}
	}
}

// nowhere returns an address on which nothing listens.
func nowhere(t testing.TB) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(t, template)
	return a
}

func (a *authority) sign(t testing.TB, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// issue returns certificate and key for name, in PEM.
func (a *authority) issue(t testing.TB, name string) (certificate, key []byte) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	c, k := a.sign(t, template)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", c.Raw), pemOf("PRIVATE KEY", der)
}

func (a *authority) pem() []byte { return pemOf("CERTIFICATE", a.cert.Raw) }

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// server returns the TLS settings of a server of that name, which wants a
// certificate of a's from its clients.
func (a *authority) server(t testing.TB, name string) *tls.Config {
	certificate, key := a.issue(t, name)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

// client returns what a client of such a server trusts and shows.
func (a *authority) client(t testing.TB) *outbound.TLS {
	certificate, key := a.issue(t, "client")
	return &outbound.TLS{CA: a.pem(), Certificate: certificate, Key: key}
}

var large = bytes.Repeat([]byte("x"), 600<<10)
