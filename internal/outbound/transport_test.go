package outbound

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (a *authority) pem() []byte { return pemOf("CERTIFICATE", a.cert.Raw) }

func keyPEM(t testing.TB, key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PRIVATE KEY", der)
}

// identity returns a certificate for a client, valid until then.
func (a *authority) identity(t *testing.T, name string, until time.Time) *TLS {
	key := newKey(t)
	cert := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.cert, key, a.key)
	return &TLS{CA: a.pem(), Certificate: pemOf("CERTIFICATE", cert.Raw), Key: keyPEM(t, key)}
}

// caller tells how a request came: by which certificate and connection, and
// whether its TLS session is an old one.
func caller(w http.ResponseWriter, r *http.Request) {
	name := "nobody"
	if certs := r.TLS.PeerCertificates; len(certs) > 0 {
		name = certs[0].Subject.CommonName
	}
	fmt.Fprintf(w, "%s %s %v", name, r.RemoteAddr, r.TLS.DidResume)
}

func callOf(t *testing.T, c *Client, url string, s *TLS) (name, connection string, resumed bool) {
	t.Helper()
	res := c.Post(t.Context(), Request{URL: url, Body: []byte("{}"), Timeout: patience, TLS: s})
	want(t, res, None, "")
	if _, err := fmt.Sscan(string(res.Body), &name, &connection, &resumed); err != nil {
		t.Fatalf("%q: %v", res.Body, err)
	}
	return name, connection, resumed
}

func both(t *testing.T, test func(t *testing.T, config *tls.Config)) {
	for name, config := range map[string]*tls.Config{
		"TLS 1.2": {MaxVersion: tls.VersionTLS12}, "TLS 1.3": {MinVersion: tls.VersionTLS13},
		"HTTP 1.1": {NextProtos: []string{"http/1.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, config)
		})
	}
}

// TestAuthorityOfAReceiver: checklist point 26. A receiver's own authority is
// trusted for that receiver alone, and then no other is.
func TestAuthorityOfAReceiver(t *testing.T) {
	t.Parallel()
	system, private := newAuthority(t), newAuthority(t)
	keep := func(*x509.Certificate) {}
	known, unknown := serveTLS(t, system, &tls.Config{}, keep), serveTLS(t, private, &tls.Config{}, keep)
	c := newClient(Options{Policy: loopback}, nil, system.pool)
	t.Cleanup(c.Close)
	ring := func(url string, s *TLS) Result {
		return c.Post(t.Context(), Request{URL: url, Timeout: patience, TLS: s})
	}
	its := &TLS{CA: private.pem()}
	for range 2 { // the second time with connections that are open
		want(t, ring(known, nil), None, "")
		want(t, ring(known, &TLS{}), None, "")
		want(t, ring(unknown, nil), TLSUntrusted, "")
		want(t, ring(unknown, its), None, "")
		want(t, ring(known, its), TLSUntrusted, "")
		want(t, ring(known, system.identity(t, "only shown", time.Now().Add(time.Hour))), None, "")
		want(t, ring(known, &TLS{CA: []byte("no PEM")}), TLSFailed, "caCertificates holds no certificate in PEM")
	}
}

// TestSelfSignedReceiverCanBeNamed: checklist point 26. The way to a self-signed
// receiver is its own certificate, and there is no other.
func TestSelfSignedReceiverCanBeNamed(t *testing.T) {
	t.Parallel()
	var its []byte
	s := serveTLS(t, nil, &tls.Config{}, func(*x509.Certificate) {})
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	its = pemOf("CERTIFICATE", conn.ConnectionState().PeerCertificates[0].Raw)
	conn.Close()
	c := client(t, loopback)
	want(t, c.Post(t.Context(), Request{URL: s, Timeout: patience}), TLSUntrusted, "")
	want(t, c.Post(t.Context(), Request{URL: s, Timeout: patience, TLS: &TLS{CA: its}}), None, "")
}

// TestIdentitiesAreNotMixed: checklist point 27. Webhooks that ring one host
// with different certificates each present their own, always, and each keeps its
// connection.
func TestIdentitiesAreNotMixed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, config *tls.Config) {
		trusted := newAuthority(t)
		config.ClientAuth = tls.RequestClientCert
		url := serveTLSHandler(t, trusted, config, func(*x509.Certificate) {}, caller)
		c := newClient(Options{Policy: loopback}, nil, trusted.pool)
		t.Cleanup(c.Close)
		until := time.Now().Add(time.Hour)
		alice, bob := trusted.identity(t, "alice", until), trusted.identity(t, "bob", until)
		connections := map[string]string{}
		for range 5 {
			for want, s := range map[string]*TLS{"alice": alice, "bob": bob, "nobody": nil} {
				if s != nil { // equal settings count, wherever they are kept
					s = &TLS{CA: bytes.Clone(s.CA), Certificate: bytes.Clone(s.Certificate), Key: bytes.Clone(s.Key)}
				}
				name, connection, _ := callOf(t, c, url, s)
				if name != want {
					t.Fatalf("%s was taken for %s", want, name)
				}
				if before := connections[name]; before != "" && before != connection {
					t.Errorf("%s came by %s, then by %s: the connection was not used again", name, before, connection)
				}
				connections[name] = connection
			}
		}
		seen := map[string]bool{}
		for name, connection := range connections {
			if seen[connection] {
				t.Errorf("%s shares its connection", name)
			}
			seen[connection] = true
		}

		// The same authority, without a certificate and with none at all.
		if name, connection, _ := callOf(t, c, url, &TLS{CA: trusted.pem()}); name != "nobody" || seen[connection] {
			t.Errorf("with an authority only: %s, connection shared %v", name, seen[connection])
		}
	})
}

// TestSessionsAreNotMixed: checklist point 28. TLS sessions are resumed, and
// only by whoever began them.
func TestSessionsAreNotMixed(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, config *tls.Config) {
		trusted := newAuthority(t)
		config.ClientAuth = tls.RequestClientCert
		url := serveTLSHandler(t, trusted, config, func(*x509.Certificate) {}, caller)
		c := newClient(Options{Policy: loopback}, nil, trusted.pool)
		t.Cleanup(c.Close)
		until := time.Now().Add(time.Hour)
		for i, tt := range []struct {
			name    string
			tls     *TLS
			resumed bool
		}{
			{"alice", trusted.identity(t, "alice", until), true},
			{"bob", trusted.identity(t, "bob", until), true},
			{"nobody", nil, true},
		} {
			for n := range 2 {
				name, _, resumed := callOf(t, c, url, tt.tls)
				if name != tt.name || resumed != (n == 1) {
					t.Errorf("%d: %s on connection %d came as %s, resumed %v", i, tt.name, n, name, resumed)
				}
				c.Close()
			}
		}
	})
}

// TestTransportsAreKeptAndBounded: checklist point 27.
func TestTransportsAreKeptAndBounded(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t)
	var opened, closed atomic.Int64
	s := newTLSServer(t, trusted, &tls.Config{ClientAuth: tls.RequestClientCert}, func(*x509.Certificate) {}, caller)
	gone := make(chan struct{}, 100)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateClosed:
			closed.Add(1)
			gone <- struct{}{}
		}
	}
	s.StartTLS()
	c := newClient(Options{Policy: loopback}, nil, trusted.pool)
	t.Cleanup(c.Close)
	c.special.max = 3
	var ids []*TLS
	for i := range 4 {
		ids = append(ids, trusted.identity(t, fmt.Sprint("id", i), time.Now().Add(time.Hour)))
	}
	for range 10 {
		for _, id := range ids[:3] {
			callOf(t, c, s.URL, id)
		}
	}
	if n := opened.Load(); n != 3 || closed.Load() != 0 {
		t.Errorf("%d connections opened and %d closed for three settings", n, closed.Load())
	}
	callOf(t, c, s.URL, ids[0]) // so that ids[1] was not used for the longest time
	callOf(t, c, s.URL, ids[3])
	<-gone
	if n := closed.Load(); n != 1 || c.special.recent.Len() != 3 || len(c.special.bySum) != 3 {
		t.Errorf("after a fourth: %d connections closed, %d transports", n, c.special.recent.Len())
	}
	before := opened.Load()
	callOf(t, c, s.URL, ids[0])
	callOf(t, c, s.URL, ids[2])
	if n := opened.Load(); n != before {
		t.Error("another than the longest unused gave way")
	}
	callOf(t, c, s.URL, ids[1])
	if n := opened.Load(); n != before+1 {
		t.Error("the one that gave way was still connected")
	}
}

// TestTransportsManyAtOnce has more settings than are kept, all in use.
func TestTransportsManyAtOnce(t *testing.T) {
	t.Parallel()
	trusted := newAuthority(t)
	url := serveTLSHandler(t, trusted, &tls.Config{ClientAuth: tls.RequestClientCert}, func(*x509.Certificate) {}, caller)
	c := newClient(Options{Policy: loopback}, nil, trusted.pool)
	t.Cleanup(c.Close)
	c.special.max = 2
	var wg sync.WaitGroup
	for i := range 6 {
		name := fmt.Sprint("id", i)
		id := trusted.identity(t, name, time.Now().Add(time.Hour))
		wg.Go(func() {
			for range 10 {
				res := c.Post(t.Context(), Request{URL: url, Timeout: patience, TLS: id})
				if res.Class != None || !strings.HasPrefix(string(res.Body), name+" ") {
					t.Errorf("%s: %q %s", name, res.Body, res.Message)
				}
			}
		})
	}
	wg.Wait()
}

// TestReceiverRefusesTheCertificate: since TLS 1.3 that comes after the
// handshake, and what is sent then may cross the alert, which is lost.
func TestReceiverRefusesTheCertificate(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, config *tls.Config) {
		trusted := newAuthority(t)
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, trusted.pool
		url := serveTLSHandler(t, trusted, config, func(*x509.Certificate) {}, caller)
		c := newClient(Options{Policy: loopback}, nil, trusted.pool)
		t.Cleanup(c.Close)
		stranger := newAuthority(t).identity(t, "stranger", time.Now().Add(time.Hour))
		stranger.CA = trusted.pem()
		for name, s := range map[string]*TLS{
			"none": nil, "stranger": stranger, "expired": trusted.identity(t, "late", time.Now().Add(-time.Hour)),
		} {
			res := c.Post(t.Context(), Request{URL: url, Timeout: patience, TLS: s})
			told := res.Class == TLSFailed && strings.Contains(res.Message, "it says ")
			crossed := config.MaxVersion != tls.VersionTLS12 && res.Class == Protocol && strings.Contains(res.Message, "closed the connection before it answered")
			if !told && !crossed {
				t.Errorf("%s: class %q, %s", name, res.Class, res.Message)
			}
		}
		callOf(t, c, url, trusted.identity(t, "alice", time.Now().Add(time.Hour)))
	})
}

func TestCheckTLS(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	soon, ago := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	id := a.identity(t, "alice", soon)
	expired := a.identity(t, "late", ago)
	key := newKey(t)
	old := sign(t, &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: ago.Add(-time.Hour), NotAfter: time.Date(2021, 2, 3, 0, 0, 0, 0, time.UTC)}, a.cert, key, a.key)
	ec, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, []byte("\n")) }
	for _, tt := range []struct {
		name string
		tls  *TLS
		want string
	}{
		{"none", nil, ""},
		{"empty", &TLS{}, ""},
		{"authority", &TLS{CA: a.pem()}, ""},
		{"authorities, with words between", &TLS{CA: join([]byte("Issuer: x"), a.pem(), []byte("# next"), other.pem())}, ""},
		{"one of the authorities expired", &TLS{CA: join(pemOf("CERTIFICATE", old.Raw), a.pem())}, ""},
		{"all members", id, ""},
		{"certificate and chain", &TLS{Certificate: join(id.Certificate, a.pem()), Key: id.Key}, ""},
		{"parameters before the key", &TLS{Certificate: id.Certificate, Key: join(pemOf("EC PARAMETERS", []byte{6, 0}), id.Key)}, ""},

		{"authority as text", &TLS{CA: []byte("hunter2")}, "caCertificates holds no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----"},
		{"authority in DER", &TLS{CA: a.cert.Raw}, "caCertificates holds no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----"},
		{"key for authority", &TLS{CA: id.Key}, "caCertificates holds a private key: only clientKey takes one"},
		{"damaged", &TLS{CA: join(a.pem(), pemOf("CERTIFICATE", []byte("hunter2")))}, "certificate 2 of caCertificates is damaged: export it again"},
		{"cut off", &TLS{CA: join(a.pem(), other.pem()[:200])}, "certificate 2 of caCertificates is cut off: give it to its END line"},
		{"all authorities expired", &TLS{CA: pemOf("CERTIFICATE", old.Raw)}, "caCertificates expired on 2021-02-03: give what is valid"},
		{"too long", &TLS{CA: bytes.Repeat([]byte("\n"), 65537)}, "caCertificates has 65537 bytes: it may have 65536"},
		{"no key", &TLS{Certificate: id.Certificate}, "clientCertificate has no clientKey: give both, or neither to show the receiver no certificate"},
		{"no certificate", &TLS{Key: id.Key}, "clientKey has no clientCertificate: give both, or neither to show the receiver no certificate"},
		{"another key", &TLS{Certificate: id.Certificate, Key: keyPEM(t, newKey(t))}, "clientKey does not belong to clientCertificate: the certificate comes first in its member, before those of its authority"},
		{"chain the wrong way round", &TLS{Certificate: join(a.pem(), id.Certificate), Key: id.Key}, "clientKey does not belong to clientCertificate: the certificate comes first in its member, before those of its authority"},
		{"key as text", &TLS{Certificate: id.Certificate, Key: []byte("hunter2")}, "clientKey holds no private key in PEM: it begins with -----BEGIN PRIVATE KEY-----"},
		{"certificate for key", &TLS{Certificate: id.Certificate, Key: id.Certificate}, "clientKey holds no private key in PEM: it begins with -----BEGIN PRIVATE KEY-----"},
		{"encrypted key", &TLS{Certificate: id.Certificate, Key: pemOf("ENCRYPTED PRIVATE KEY", ec)}, "clientKey is encrypted with a passphrase: decrypt it first, for example with openssl pkey -in key.pem"},
		{"key encrypted the old way", &TLS{Certificate: id.Certificate, Key: []byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\naHVudGVyMg==\n-----END EC PRIVATE KEY-----\n")},
			"clientKey is encrypted with a passphrase: decrypt it first, for example with openssl pkey -in key.pem"},
		{"damaged key", &TLS{Certificate: id.Certificate, Key: pemOf("PRIVATE KEY", []byte("hunter2"))}, "clientKey is none this server can use: give an RSA, ECDSA or Ed25519 private key in PEM"},
		{"expired", expired, "clientCertificate expired on " + ago.UTC().Format(time.DateOnly) + ": give what is valid"},
	} {
		err := CheckTLS(tt.tls)
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || err.Error() != tt.want || !fault.Is(err, fault.Invalid)):
			t.Errorf("%s:\n got %v\nwant %s", tt.name, err, tt.want)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%s: the message repeats what was given: %v", tt.name, err)
		}
	}
}

// FuzzCheckTLS holds that what is taken can be used.
func FuzzCheckTLS(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		f.Fatal(err)
	}
	cert := pemOf("CERTIFICATE", der)
	f.Add(cert, cert, keyPEM(f, key))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, ca, certificate, key []byte) {
		s := &TLS{ca, certificate, key}
		if err := CheckTLS(s); err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		c := New(Options{})
		if _, err := c.transportFor(s); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTLSSettingsAreToldApart: no two settings have one sum because a member
// ends where the next begins.
func TestTLSSettingsAreToldApart(t *testing.T) {
	t.Parallel()
	sums := map[[32]byte]bool{}
	all := []TLS{
		{}, {CA: []byte("ab")}, {Certificate: []byte("ab")}, {Key: []byte("ab")},
		{CA: []byte("a"), Certificate: []byte("b")}, {CA: []byte("a"), Key: []byte("b")}, {Certificate: []byte("a"), Key: []byte("b")},
	}
	for _, s := range all {
		sums[s.sum()] = true
	}
	if len(sums) != len(all) {
		t.Errorf("%d settings have %d sums", len(all), len(sums))
	}
}
