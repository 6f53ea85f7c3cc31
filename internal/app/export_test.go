package app

import "time"

// SetLimits changes how long a server waits for its clients, and for requests in
// flight when it stops. It comes before Serve.
func (s *Server) SetLimits(patience time.Duration, rate int64, shutdown time.Duration) {
	s.limits.patience, s.limits.rate, s.limits.shutdown = patience, rate, shutdown
	s.http = s.newHTTP()
}

// AwaitIdle waits until no handler is at work, or for most.
func (s *Server) AwaitIdle(most time.Duration) { s.inFlight.wait(most) }

// RedirectAddr returns the address of --http-redirect.
func (s *Server) RedirectAddr() string { return s.redirects.Addr().String() }
