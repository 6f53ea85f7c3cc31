// Package ociserver is the HTTP face of the OCI Distribution Specification 1.1,
// with the items its next version adds (tags on a push by digest, cancelling an
// upload, digest headers everywhere) and Docker's catalog, over any
// oci.Registry.
//
// It owns paths, headers, status codes and JSON bodies under /v2. It leaves what
// a registry holds, and who may touch it, to the oci.Registry that Config.Open
// returns. Every handler parses, makes its call, and writes; an error goes back
// up to the one place that turns errors into responses.
//
// Invariants: nothing under /v2 is ever redirected; a name, tag or digest
// reaches the registry only after its grammar was checked; the bytes of a blob
// go from the file to the connection without passing through this package, so
// the ResponseWriter and the file are never wrapped.
//
// Departures that are allowed by the specification and may surprise:
//
//   - The Accept header of a manifest pull is ignored. A tag names one manifest,
//     and to answer with another one, converted or picked out of an index, would
//     not hash to the digest the tag stands for. The Content-Type of the answer
//     says what it is.
//   - A tag that breaks the grammar names no manifest: reading or deleting it
//     answers 404, pushing it 400.
//   - A range of a blob is honoured when there is one. A Range header that
//     is malformed or asks for several is ignored, as RFC 9110 section 14.2
//     allows.
package ociserver

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/dockbell/dockbell/internal/oci"
)

// Config is what New needs.
type Config struct {
	// Open picks the registry (by Host) and the caller (by credentials) of a
	// request, whose path is known to be well formed. The handle is cheap and
	// used for this request only. Its error is answered like any other.
	Open func(*http.Request) (oci.Registry, error)

	// MaxManifestSize is the largest manifest taken, in bytes. Clients expect
	// at least 4 MiB.
	MaxManifestSize int64

	// Log is told the causes of internal errors, which clients are not. Nil
	// means slog.Default().
	Log *slog.Logger
}

// New returns the handler of /v2, /v2/ and everything below. It answers any
// other path with 404.
func New(c Config) http.Handler {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &server{c}
}

type server struct{ Config }

// A call is one request on its way through a handler.
type call struct {
	path
	w               http.ResponseWriter
	r               *http.Request
	registry        oci.Registry
	maxManifestSize int64
	log             *slog.Logger
}

// A route is what one method does at an endpoint.
type route struct {
	method string
	serve  func(*call) error
}

// routes is the whole face. The numbers are those of Distribution 1.1,
// "Endpoints".
var routes = [...][]route{
	atBase: {
		{http.MethodGet, (*call).ping}, // end-1
		{http.MethodHead, (*call).ping},
	},
	atCatalog: {
		{http.MethodGet, (*call).listRepositories}, // Docker Registry HTTP API V2, "Catalog"
		{http.MethodHead, (*call).listRepositories},
	},
	atTags: {
		{http.MethodGet, (*call).listTags}, // end-8a, end-8b
		{http.MethodHead, (*call).listTags},
	},
	atReferrers: {
		{http.MethodGet, (*call).listReferrers}, // end-12a, end-12b
		{http.MethodHead, (*call).listReferrers},
	},
	atManifest: {
		{http.MethodGet, (*call).getManifest},       // end-3
		{http.MethodHead, (*call).getManifest},      // end-3
		{http.MethodPut, (*call).putManifest},       // end-7a, end-7b
		{http.MethodDelete, (*call).deleteManifest}, // end-9
	},
	atBlob: {
		{http.MethodGet, (*call).getBlob},       // end-2
		{http.MethodHead, (*call).headBlob},     // end-2
		{http.MethodDelete, (*call).deleteBlob}, // end-10
	},
	atUploads: {
		{http.MethodPost, (*call).startUpload}, // end-4a, end-4b, end-4c, end-11
	},
	atUpload: {
		{http.MethodGet, (*call).uploadStatus}, // end-13
		{http.MethodHead, (*call).uploadStatus},
		{http.MethodPatch, (*call).appendUpload},  // end-5
		{http.MethodPut, (*call).commitUpload},    // end-6
		{http.MethodDelete, (*call).cancelUpload}, // end-14
	},
}

// ServeHTTP answers one request.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("X-Content-Type-Options", "nosniff") // what was pushed is never a page
	if err := s.serve(w, r); err != nil {
		s.fail(w, r, err)
	}
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) error {
	p, err := parsePath(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	offered := routes[p.endpoint]
	for _, route := range offered {
		if route.method != r.Method {
			continue
		}
		registry, err := s.Open(r)
		if err != nil {
			return err
		}
		return route.serve(&call{p, w, r, registry, s.MaxManifestSize, s.Log})
	}
	methods := make([]string, len(offered))
	for i, route := range offered {
		methods[i] = route.method
	}
	allow := strings.Join(methods, ", ")
	w.Header().Set("Allow", allow)
	return oci.Unsupported("method %.20q is not offered here: use %s", r.Method, allow)
}

// ping tells a client that this is a registry and that it may talk to it.
func (c *call) ping() error {
	if err := c.registry.Ping(c.r.Context()); err != nil {
		return err
	}
	return c.writeJSON("application/json; charset=utf-8", struct{}{})
}
