package acrserver

import (
	"log/slog"
	"net/http"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// writeError answers with err, and logs what only the operator may know.
func (s *server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Cache-Control", "no-store")
	if oci.WriteError(w, err) < http.StatusInternalServerError {
		return
	}
	level := slog.LevelError
	if r.Context().Err() != nil {
		level = slog.LevelDebug // the client left, and whatever ran for it was stopped
	}
	s.Log.Log(r.Context(), level, "a request could not be answered", "method", r.Method, "path", r.URL.Path, "error", err)
}

// writeJSON answers 200 with a document that nobody may keep: it has a token.
func writeJSON(w http.ResponseWriter, document any) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.Write(oci.EncodeJSON(document)) // whoever went away needs no answer
}

func wrongMethod(allowed string) endpoint {
	return func(w http.ResponseWriter, r *http.Request, _ auth.Registry) error {
		w.Header().Set("Allow", allowed)
		return fault.New(fault.Unsupported, "%s is not offered here: use %s", r.Method, allowed)
	}
}

func notFound(_ http.ResponseWriter, r *http.Request, _ auth.Registry) error {
	return fault.New(fault.NotFound, "there is nothing at %.200q", r.URL.Path)
}
