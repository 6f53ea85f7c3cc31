package outbound

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	a.cert = sign(t, template, template, key, key)
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// serveTLS starts a server with a certificate that change may have spoilt. It
// answers with the protocol it was asked in.
func serveTLS(t *testing.T, a *authority, config *tls.Config, change func(*x509.Certificate)) string {
	return serveTLSHandler(t, a, config, change, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
}

func serveTLSHandler(t *testing.T, a *authority, config *tls.Config, change func(*x509.Certificate), h http.HandlerFunc) string {
	s := newTLSServer(t, a, config, change, h)
	s.StartTLS()
	return s.URL
}

// newTLSServer returns a server that is to be started.
func newTLSServer(t *testing.T, a *authority, config *tls.Config, change func(*x509.Certificate), h http.HandlerFunc) *httptest.Server {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "receiver"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(template)
	key := newKey(t)
	parent, parentKey := template, key // self-signed
	if a != nil {
		parent, parentKey = a.cert, a.key
	}
	cert := sign(t, template, parent, key, parentKey)
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = config
	s.TLS.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	s.EnableHTTP2 = true
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// TestTLS: checklist point 26. Certificates are always verified, and it can be
// told why one was not taken.
func TestTLS(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t)
	keep := func(*x509.Certificate) {}
	plain := serve(t, func(http.ResponseWriter, *http.Request) {}).URL
	hangsUp := serveRaw(t, func(c net.Conn) { c.Read(make([]byte, 1)) })
	for _, tt := range []struct {
		name, url string
		class     Class
		message   string
	}{
		{"good", serveTLS(t, trusted, &tls.Config{}, keep), None, ""},
		{"expired", serveTLS(t, trusted, &tls.Config{}, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2021, 2, 3, 0, 0, 0, 0, time.UTC)
		}), TLSExpired, " expired on 2021-02-03"},
		{"not yet valid", serveTLS(t, trusted, &tls.Config{}, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2121, 1, 1, 0, 0, 0, 0, time.UTC)
		}), TLSExpired, " is valid only from 2120-01-01"},
		{"another name", serveTLS(t, trusted, &tls.Config{}, func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"other.example"}
		}), TLSName, " is for another name"},
		{"self-signed", serveTLS(t, nil, &tls.Config{}, keep), TLSUntrusted, " is signed by no authority that this server trusts"},
		{"unknown authority", serveTLS(t, newAuthority(t), &tls.Config{}, keep), TLSUntrusted, " is signed by no authority that this server trusts"},
		{"for clients only", serveTLS(t, trusted, &tls.Config{}, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), TLSFailed, " is not valid for a web server"},
		{"TLS 1.1", serveTLS(t, trusted, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, keep), TLSFailed, "protocol version not supported"},
		{"plain HTTP", strings.Replace(plain, "http:", "https:", 1), TLSFailed, "does not speak TLS on this port: is it an http address?"},
		{"hangs up", strings.Replace(hangsUp, "http:", "https:", 1), TLSFailed, "closed the connection during the TLS handshake"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(Options{Policy: loopback}, nil, trusted.pool)
			t.Cleanup(c.Close)
			want(t, post(t, c, tt.url), tt.class, tt.message)
		})
	}
}

// TestHTTP2: checklist point 16.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t)
	url := serveTLS(t, trusted, &tls.Config{}, func(*x509.Certificate) {})
	c := newClient(Options{Policy: loopback}, nil, trusted.pool)
	t.Cleanup(c.Close)
	for range 3 {
		res := post(t, c, url)
		want(t, res, None, "")
		if string(res.Body) != "HTTP/2.0" || res.Answer.Version != "2.0" || res.Sent.Version != "2.0" || res.Answer.Reason != "OK" {
			t.Errorf("got %s, %+v, sent as %s", res.Body, res.Answer, res.Sent.Version)
		}
	}
}

// TestHTTP2EndlessBody has a receiver that sends for ever as fast as it can. How
// much of it this process takes unread does not depend on that.
func TestHTTP2EndlessBody(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t)
	sent := make(chan int, 2)
	url := serveTLSHandler(t, trusted, &tls.Config{}, func(*x509.Certificate) {}, func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(brief))
		total := 0
		for {
			n, err := w.Write(make([]byte, 1000))
			if total += n; err != nil {
				break
			}
		}
		sent <- total
	})
	c := newClient(Options{Policy: loopback}, nil, trusted.pool)
	t.Cleanup(c.Close)
	res := post(t, c, url)
	want(t, res, None, "")
	if !res.Cut || len(res.Body) != MaxResponseBody {
		t.Errorf("kept %d bytes, cut %v", len(res.Body), res.Cut)
	}
	<-sent

	// The same with nobody reading.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.plain.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if n := <-sent; n > 4*maxStreamBuffer {
		t.Errorf("the receiver could send %d bytes that nobody read", n)
	}
}
