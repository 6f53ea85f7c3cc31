package identityserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// kinds says which status a fault becomes, and which code when it brings none of
// its own.
var kinds = map[fault.Kind]struct {
	status int
	code   string
}{
	fault.Internal:        {http.StatusInternalServerError, "InternalServerError"},
	fault.Invalid:         {http.StatusBadRequest, "InvalidRequest"},
	fault.Unauthenticated: {http.StatusUnauthorized, "AuthenticationFailed"},
	fault.Denied:          {http.StatusForbidden, "AuthorizationFailed"},
	fault.NotFound:        {http.StatusNotFound, "ResourceNotFound"},
	fault.Conflict:        {http.StatusConflict, "Conflict"},
	fault.OutOfRange:      {http.StatusBadRequest, "InvalidRequest"},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, "RequestContentTooLarge"},
	fault.Quota:           {http.StatusForbidden, "QuotaExceeded"},
	fault.Unsupported:     {http.StatusMethodNotAllowed, "MethodNotAllowed"},
	fault.NoSpace:         {http.StatusInsufficientStorage, "InsufficientStorage"},
	fault.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailable"},
}

// statusOf returns the status that an error becomes. It sets the fields that go
// with it, and logs what only the operator may know.
func (s *server) statusOf(w http.ResponseWriter, r *http.Request, err error) int {
	f := fault.As(err)
	if f.Kind == fault.Internal && !errors.Is(err, context.Canceled) {
		s.Log.ErrorContext(r.Context(), "a request could not be answered", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	var challenger interface{ Challenge() string }
	if errors.As(err, &challenger) {
		w.Header().Set("WWW-Authenticate", challenger.Challenge())
	}
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) {
		w.Header().Set("Retry-After", strconv.FormatInt(int64(later.RetryAfter()/time.Second), 10))
		return http.StatusTooManyRequests
	}
	return kinds[f.Kind].status
}

// refuse answers with ARM's error body.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.As(err)
	status, code := s.statusOf(w, r, err), f.Code
	if code == "" || f.Kind == fault.Unauthenticated || f.Kind == fault.Unavailable {
		code = kinds[f.Kind].code
	}
	if status == http.StatusTooManyRequests {
		code = "TooManyRequests"
	}
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	writeJSON(w, status, struct {
		Error detail `json:"error"`
	}{detail{code, f.Message}})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	if status < http.StatusBadRequest {
		w.Header().Del("WWW-Authenticate")
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(body) // fails only if the client is gone
}
