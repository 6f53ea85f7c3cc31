// Package identityserver is the face of the identity authority: how Azure's tools
// find it and log in to it, and how service principals are managed.
//
// It owns three kinds of paths: those of the OAuth authority, below /adfs and
// below the tenant's id; /metadata/endpoints, by which tools learn where all that
// is; and Root, the service principals, for people with curl and the command line.
// Who has which password, role and token is decided by package auth. Invariants:
// a password is in no answer but that to who made it; whoever gives someone a
// role in a scope, or a new password, may give roles there; every refusal of the
// token endpoint has the body of RFC 6749, section 5.2.
//
// URLs in answers have scheme and host of the request, so that they are right for
// whoever asks, behind a proxy too.
package identityserver

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
)

// Root is the path under which people with curl find the service principals.
const Root = "/api/v1/servicePrincipals"

// adfs stands in a path for the tenant. Azure's command line asks an authority of
// that name alone without looking it up in the public cloud first.
const adfs = "adfs"

// Config is what the handler needs. All fields but Log are required.
type Config struct {
	Authority *auth.Authority

	// Resolve returns the registry that a request's host means, or a fault.
	Resolve func(*http.Request) (auth.Registry, error)

	// Scopes returns the ARM ids at which one can have a role: the subscription's
	// first, then each registry's.
	Scopes func() []string

	// Suffix returns what follows a registry's name in its login server, for
	// example .dockbell.localhost:5000.
	Suffix func() string

	// Audit is where is put who did or tried what with service principals.
	Audit *audit.Log

	// Log receives the causes of internal errors. Nil means slog.Default().
	Log *slog.Logger
}

// New returns a handler for the paths that Serves knows. Scheme and host of a
// request must be those the client sees.
func New(cfg Config) http.Handler {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &server{cfg}
}

// Serves reports whether a path is the identity authority's.
func Serves(path string) bool {
	_, _, ok := findRoute(path)
	return ok
}

type server struct{ Config }

// endpoint answers a request; name is the part of the path that differs: the
// authority's name, or the service principal's.
type endpoint func(s *server, w http.ResponseWriter, r *http.Request, name string) error

// route is what is offered at a path.
type route struct {
	methods map[string]endpoint
	oauth   bool // errors have OAuth's body
}

// authority is what is at /adfs/… and /{tenant}/….
var authority = map[string]route{
	".well-known/openid-configuration":      {oauth: true, methods: map[string]endpoint{http.MethodGet: (*server).discovery}},
	"v2.0/.well-known/openid-configuration": {oauth: true, methods: map[string]endpoint{http.MethodGet: (*server).discovery}},
	"oauth2/token":                          {oauth: true, methods: map[string]endpoint{http.MethodPost: (*server).token}},
	"oauth2/v2.0/token":                     {oauth: true, methods: map[string]endpoint{http.MethodPost: (*server).token}},
	"oauth2/authorize":                      {oauth: true, methods: map[string]endpoint{http.MethodGet: (*server).authorize}},
	"oauth2/v2.0/authorize":                 {oauth: true, methods: map[string]endpoint{http.MethodGet: (*server).authorize}},
	"discovery/keys":                        {oauth: true, methods: map[string]endpoint{http.MethodGet: (*server).keys}},
	"discovery/v2.0/keys":                   {oauth: true, methods: map[string]endpoint{http.MethodGet: (*server).keys}},
}

var (
	metadata   = route{methods: map[string]endpoint{http.MethodGet: (*server).metadata}}
	principals = route{methods: map[string]endpoint{http.MethodGet: (*server).list, http.MethodPost: changing("write", (*server).create)}}
	principal  = route{methods: map[string]endpoint{http.MethodGet: (*server).show, http.MethodDelete: changing("delete", (*server).delete)}}
	reset      = route{methods: map[string]endpoint{http.MethodPost: changing("resetPassword/action", (*server).reset)}}
)

// findRoute returns what is at a path, and the part of it that differs. Paths of
// ours match in any case, as ARM's do.
func findRoute(path string) (found route, name string, ok bool) {
	if strings.EqualFold(path, "/metadata/endpoints") {
		return metadata, "", true
	}
	if len(path) >= len(Root) && strings.EqualFold(path[:len(Root)], Root) {
		name, action, deep := strings.Cut(strings.TrimPrefix(path[len(Root):], "/"), "/")
		switch {
		case len(path) > len(Root) && path[len(Root)] != '/':
			return route{}, "", false
		case name == "" && !deep:
			return principals, "", true
		case !deep:
			return principal, name, true
		case strings.EqualFold(action, "reset"):
			return reset, name, true
		}
		return route{}, "", true
	}
	name, tail, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	found, ok = authority[tail]
	return found, name, ok && name != "" || name == adfs
}

// ServeHTTP answers a request for a path that Serves knows.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	found, name, _ := findRoute(r.URL.Path)
	if err := s.serve(w, r, found, name); err != nil {
		if found.oauth {
			s.refuseOAuth(w, r, err)
		} else {
			s.refuse(w, r, err)
		}
	}
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, found route, name string) error {
	if found.methods == nil {
		return fault.New(fault.NotFound, "nothing is at %.200q: service principals are at %s, the authority at /%s", r.URL.Path, Root, adfs)
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	run := found.methods[method]
	if run == nil {
		var allowed []string
		for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if found.methods[m] != nil {
				allowed = append(allowed, m)
			}
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return fault.New(fault.Unsupported, "%.20s is not offered here: use %s", r.Method, strings.Join(allowed, " or "))
	}
	return run(s, w, r, name)
}

// base returns scheme and host under which the client sees this server.
func base(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
