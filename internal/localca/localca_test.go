package localca

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var names = []string{"localhost", "127.0.0.1", "::1", "dockbell.localhost", "*.dockbell.localhost"}

// clock is a time that the test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func openAt(t *testing.T, dir string, c *clock) *Authority {
	t.Helper()
	a, err := Open(dir, names, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func leafOf(t *testing.T, a *Authority) *x509.Certificate {
	t.Helper()
	cert, err := a.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

// trusts returns a pool that trusts the authority's file.
func trusts(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, CertificateFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in the file")
	}
	return pool
}

func TestNames(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), &clock{time.Now()}
	leaf := leafOf(t, openAt(t, dir, c))
	verify := func(name string) error {
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: trusts(t, dir), CurrentTime: c.at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		return err
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "dockbell.localhost", "contoso.dockbell.localhost"} {
		if err := verify(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"contoso.localhost", "a.b.dockbell.localhost", "127.0.0.2", "example.com"} {
		if err := verify(name); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestAuthorityIsKept(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), &clock{time.Now()}
	first := openAt(t, dir, c)
	again := openAt(t, dir, c)
	if !first.cert.Equal(again.cert) {
		t.Error("a restart made another authority")
	}
	for name, want := range map[string]os.FileMode{CertificateFile: 0o644, keyFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	c.at = c.at.Add(AuthorityLife)
	if renewed := openAt(t, dir, c); renewed.cert.Equal(first.cert) || !renewed.cert.NotAfter.After(c.at) {
		t.Error("an authority that has expired was kept")
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), &clock{time.Now()}
	a := openAt(t, dir, c)
	first := leafOf(t, a)
	c.at = first.NotAfter.Add(-RenewBefore - time.Second)
	if !leafOf(t, a).Equal(first) {
		t.Error("renewed early")
	}
	c.at = c.at.Add(time.Second)
	second := leafOf(t, a)
	if second.Equal(first) || !second.NotAfter.Equal(c.at.Add(LeafLife).UTC().Truncate(time.Second)) {
		t.Errorf("not renewed: good until %s", second.NotAfter)
	}
	if _, err := second.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: trusts(t, dir), CurrentTime: c.at}); err != nil {
		t.Error(err)
	}
	// Near the authority's own end there is one certificate, not one per handshake.
	c.at = a.cert.NotAfter.Add(-time.Hour)
	last := leafOf(t, a)
	if !last.NotAfter.Equal(a.cert.NotAfter) || !leafOf(t, a).Equal(last) {
		t.Errorf("the last certificate is good until %s", last.NotAfter)
	}
}

func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	c := &clock{time.Now()}
	other := t.TempDir()
	openAt(t, other, c)
	for name, spoil := range map[string]func(dir string) error{
		"is not the key of": func(dir string) error {
			key, err := os.ReadFile(filepath.Join(other, keyFile))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, keyFile), key, 0o600)
		},
		"holds no certificate": func(dir string) error { return os.WriteFile(filepath.Join(dir, CertificateFile), []byte("x"), 0o644) },
		"holds no private key": func(dir string) error { return os.WriteFile(filepath.Join(dir, keyFile), nil, 0o600) },
	} {
		dir := t.TempDir()
		openAt(t, dir, c)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, names, c.now); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// serve starts an HTTPS server with the authority's certificates.
func serve(t *testing.T, a *Authority) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS = &tls.Config{GetCertificate: a.GetCertificate}
	s.StartTLS()
	t.Cleanup(s.Close)
	// httptest adds a certificate of its own, which would be taken for clients
	// without a name.
	s.TLS.Certificates = nil
	return s
}

// TestOpenSSLAndPython have the checks of the clients that Azure's command line
// stands on.
func TestOpenSSLAndPython(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := openAt(t, dir, &clock{time.Now()})
	ca := filepath.Join(dir, CertificateFile)
	leaf := filepath.Join(dir, "leaf.pem")
	if err := write(leaf, 0o600, "CERTIFICATE", leafOf(t, a).Raw); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(serve(t, a).Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	const script = `
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.verify_flags |= ssl.VERIFY_X509_STRICT
for name in ("localhost", "contoso.dockbell.localhost", "127.0.0.1"):
    with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as s:
        context.wrap_socket(s, server_hostname=name).close()
`
	for _, command := range [][]string{
		{"openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "contoso.dockbell.localhost", "-CAfile", ca, leaf},
		{"python3", "-c", script, ca, port},
	} {
		if _, err := exec.LookPath(command[0]); err != nil {
			t.Logf("MISSING: %s: its checks were not made", command[0])
			if os.Getenv("CI") != "" {
				t.Fail()
			}
			continue
		}
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command[0], err, out)
		}
	}
}
