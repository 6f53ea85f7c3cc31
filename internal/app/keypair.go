package app

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// When a certificate's files are looked at again, and when the log is told that it
// ends.
const (
	lookEvery   = 5 * time.Second
	warnBefore  = 14 * 24 * time.Hour // before the end of a certificate, once a day
	warnEvery   = 24 * time.Hour
	warnExpired = time.Hour
)

// keyPair is a certificate with its key in files of the operator's, who may replace
// them at any time. What is in force is the last pair that was whole.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	cert atomic.Pointer[tls.Certificate] // in force

	mu       sync.Mutex
	read     [2]stamp  // of the files, when they were last read
	looked   time.Time // when they were last looked at
	warned   time.Time // when the log was last told of the end of the certificate
	trouble  string    // why the files cannot be used; empty: they can
	unstated bool      // trouble is that they cannot even be looked at
}

// stamp tells one content of a file from another, also where a link in its path
// has been turned, as Kubernetes does it.
type stamp struct {
	modified     time.Time
	size         int64
	device, node uint64
}

// openKeyPair reads the files. The error is for the operator.
func openKeyPair(certFile, keyFile string, log *slog.Logger, now func() time.Time) (*keyPair, error) {
	p := &keyPair{certFile: certFile, keyFile: keyFile, log: log, now: now}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked = now()
	seen, err := p.stamps()
	if err == nil {
		err = p.load(seen)
	}
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s with --tls-key %s cannot be used: %w", certFile, keyFile, err)
	}
	p.warn()
	return p, nil
}

// GetCertificate is for tls.Config. No handshake waits while another one looks at
// the files.
func (p *keyPair) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p.mu.TryLock() {
		if now := p.now(); now.Sub(p.looked) >= lookEvery {
			p.looked = now
			p.look()
		}
		p.mu.Unlock()
	}
	return p.cert.Load(), nil
}

// look reads the files again if they have changed since they were read, whatever
// came of that.
func (p *keyPair) look() {
	seen, err := p.stamps()
	switch {
	case err != nil:
		p.complain(err)
		p.unstated = true
	case seen != p.read || p.unstated:
		p.unstated = false
		before := p.cert.Load()
		if err := p.load(seen); err != nil {
			p.complain(err)
			break
		}
		p.warned = time.Time{}
		if after := p.cert.Load(); p.trouble != "" || !before.Leaf.Equal(after.Leaf) {
			p.log.Info("the certificate was read again", "cert", p.certFile, "key", p.keyFile, "good_until", after.Leaf.NotAfter)
		}
		p.trouble = ""
	}
	p.warn()
}

// complain says what is wrong with the files, and does not repeat itself.
func (p *keyPair) complain(err error) {
	if text := err.Error(); text != p.trouble {
		p.trouble = text
		p.log.Error("the changed certificate cannot be used, and the last one stays in force: mend the files, no restart is needed",
			"cert", p.certFile, "key", p.keyFile, "error", text)
	}
}

// load reads the files, which were seen as they are before: if one changes
// meanwhile, it will be read again.
func (p *keyPair) load(seen [2]stamp) error {
	p.read = seen
	cert, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err == nil {
		p.cert.Store(&cert)
	}
	return err
}

// warn tells the log of a certificate that ends soon, or has ended.
func (p *keyPair) warn() {
	now, end := p.now(), p.cert.Load().Leaf.NotAfter
	since := now.Sub(p.warned)
	switch {
	case !now.Before(end) && since >= warnExpired:
		p.log.Error("the certificate has expired, and clients refuse it: replace the files, no restart is needed", "cert", p.certFile, "ended", end)
	case now.Before(end) && now.After(end.Add(-warnBefore)) && since >= warnEvery:
		p.log.Warn("the certificate expires soon: replace the files, no restart is needed", "cert", p.certFile, "good_until", end)
	default:
		return
	}
	p.warned = now
}

func (p *keyPair) stamps() (seen [2]stamp, err error) {
	for i, path := range []string{p.certFile, p.keyFile} {
		info, err := os.Stat(path)
		if err != nil {
			return seen, err
		}
		seen[i] = stamp{modified: info.ModTime(), size: info.Size()}
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			seen[i].device, seen[i].node = uint64(sys.Dev), uint64(sys.Ino)
		}
	}
	return seen, nil
}
