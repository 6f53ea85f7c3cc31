package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/dockbell/dockbell/internal/config"
)

// limits is how much a client may ask of the transport, and for how long.
type limits struct {
	patience time.Duration // see patience
	rate     int64         // likewise
	shutdown time.Duration // that requests in flight get when the server stops
	cut      time.Duration // that those get which were cut off then, to write down what they have
}

var usual = limits{patience: time.Minute, rate: 1 << 10, shutdown: shutdownBudget, cut: 3 * time.Second}

// Bounds on what one connection may ask for. The windows of HTTP/2 are those that
// Go has by default: 1 MiB of bodies that nobody has read yet.
const (
	headerTime     = 20 * time.Second // from the first byte of a request, and for the handshake
	idleTime       = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	maxStreams     = 100
	maxFrame       = 64 << 10 // each connection of HTTP/2 keeps a buffer of the largest it has got
)

// newHTTP makes the server of every face.
func (s *Server) newHTTP() *http.Server {
	return &http.Server{
		Handler:           s.inFlight.count(s.patient(s.handler())),
		TLSConfig:         s.tls,
		ReadHeaderTimeout: headerTime,
		WriteTimeout:      s.limits.patience, // until a request has a handler
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         protocols(),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			MaxReadFrameSize:     maxFrame,
			WriteByteTimeout:     s.limits.patience, // of the connection, when not even the end of a stream gets through
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// protocols are HTTP/1.1, and HTTP/2 with TLS.
func protocols() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	return &p
}

// newRedirect makes a server that sends clients to HTTPS. Who comes there sends
// one small request.
func (s *Server) newRedirect(samePort bool) *http.Server {
	const most = 5 * time.Second
	r := &http.Server{
		Handler:        s.redirect(samePort),
		ReadTimeout:    most,
		WriteTimeout:   most,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	r.SetKeepAlivesEnabled(false)
	return r
}

// serveAll answers on every listener until one of them fails or ctx ends, and
// then until requests in flight have ended or were cut off.
func (s *Server) serveAll(ctx context.Context) error {
	gate := &gate{most: s.maxConnections(), perAddress: s.cfg.MaxConnectionsPerAddress, exempt: s.trusted, log: s.log}
	faces, redirects := s.http, []*http.Server(nil)
	ended := make(chan error, 3)
	running := 0
	serve := func(what func() error) {
		running++
		go func() { ended <- what() }()
	}
	if s.cfg.HTTPS() {
		plain := newHanded(s.listener.Addr())
		secure := &sniffing{&gated{s.listener, gate, closeAtOnce}, plain}
		samePort := s.newRedirect(true)
		redirects = append(redirects, samePort)
		serve(func() error { return faces.ServeTLS(secure, "", "") })
		serve(func() error { return samePort.Serve(plain) })
	} else {
		serve(func() error { return faces.Serve(&gated{s.listener, gate, answerBusy()}) })
	}
	if s.redirects != nil {
		otherPort := s.newRedirect(false)
		redirects = append(redirects, otherPort)
		serve(func() error { return otherPort.Serve(&gated{s.redirects, gate, answerBusy()}) })
	}
	var errs []error
	select {
	case err := <-ended:
		running--
		errs = append(errs, err)
	case <-ctx.Done():
	}
	// Whoever waits for something to happen would wait on. The rest ends by
	// itself.
	close(s.stopping)
	s.listeners.Stop()
	budget, cancel := context.WithTimeout(context.Background(), s.limits.shutdown)
	defer cancel()
	for _, r := range redirects {
		r.Close()
	}
	if faces.Shutdown(budget) != nil {
		faces.Close() // requests that took too long are cut off; none was acknowledged
		s.inFlight.wait(s.limits.cut)
	}
	for range running {
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// maxConnections is what the settings allow, or less: every connection takes a
// file descriptor, and files, databases and webhooks need some too.
func (s *Server) maxConnections() int {
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) != nil {
		return s.cfg.MaxConnections
	}
	most, room := s.cfg.MaxConnections, roomFor(uint64(files.Cur))
	if most > room {
		s.log.Warn("fewer connections than --max-connections are taken, because this process may open few files: raise its limit (ulimit -n, LimitNOFILE)",
			"connections", room, "files", files.Cur)
		return room
	}
	return most
}

// roomFor returns how many of so many file descriptors connections may take.
func roomFor(files uint64) int { return int(min(files/4*3, config.MaxMaxConnections)) }

// inFlight counts the requests that handlers are at work on: http.Server.Close
// does not wait for them.
type inFlight struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n falls to 0; nil: nobody waits
}

// count has the requests of a handler counted.
func (f *inFlight) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.add(1)
		defer f.add(-1)
		next.ServeHTTP(w, r)
	})
}

func (f *inFlight) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n += n; f.n == 0 && f.none != nil {
		close(f.none)
		f.none = nil
	}
}

// wait returns when there are no requests, or after most.
func (f *inFlight) wait(most time.Duration) {
	f.mu.Lock()
	none := make(chan struct{})
	if f.none = none; f.n == 0 {
		close(none)
		f.none = nil
	}
	f.mu.Unlock()
	select {
	case <-none:
	case <-time.After(most):
	}
}
