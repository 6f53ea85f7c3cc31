// Package acrserver serves the parts of the data plane that are Azure Container
// Registry's own: the registry token service under /oauth2, the metadata of
// repositories, tags and manifests, and of those that were deleted, under /acr/v1, and
// the legacy chart repository under /helm/v1.
//
// It owns the parsing of these requests and the writing of their answers; who
// may have which token is decided by package auth, what is known of contents by
// the oci.Contents that Config.Open returns, and what a chart is by package chart.
// Invariants: every answer that
// is no success has the registry error body, {"errors":[…]}, and one to wrong
// credentials has a challenge; nothing under /acr is ever redirected.
package acrserver

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/oci"
)

// Config is what the handler needs.
type Config struct {
	// Resolve returns the registry that a request means, or a fault.
	Resolve func(*http.Request) (auth.Registry, error)

	Authority *auth.Authority

	// Open picks the registry (by Host) and the caller (by credentials) of a
	// request to the metadata API, whose path is known to be well formed. The
	// handle is used for this request only.
	Open func(*http.Request) (oci.Contents, error)
	// Charts returns the chart repository of the registry that a request means,
	// as its caller may use it, or a fault.
	Charts func(*http.Request) (auth.Charts, error)

	// Log receives the causes of internal errors. Nil means slog.Default().
	Log *slog.Logger
}

// New returns a handler for /oauth2/token, /oauth2/exchange, /helm/v1, and
// everything below /acr/.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &server{cfg}
	mux := http.NewServeMux()
	mux.Handle("GET /oauth2/token", s.handle(s.getToken))
	mux.Handle("POST /oauth2/token", s.handle(s.postToken))
	mux.Handle("POST /oauth2/exchange", s.handle(s.exchange))
	mux.Handle("/oauth2/token", s.handle(wrongMethod("GET, POST")))
	mux.Handle("/oauth2/exchange", s.handle(wrongMethod("POST")))
	s.chartRoutes(mux)
	mux.Handle("/", s.handle(notFound))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/acr/") {
			mux.ServeHTTP(w, r)
			return
		}
		// Not through the mux, which would redirect to cleaned paths.
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		if err := s.metadata(w, r); err != nil {
			s.writeError(w, r, err)
		}
	})
}

type server struct {
	Config
}

// endpoint answers a request to a registry; what it returns as an error becomes
// the answer.
type endpoint func(w http.ResponseWriter, r *http.Request, registry auth.Registry) error

func (s *server) handle(serve endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
		registry, err := s.Resolve(r)
		if err == nil {
			err = serve(w, r, registry)
		}
		if err != nil {
			s.writeError(w, r, err)
		}
	})
}
