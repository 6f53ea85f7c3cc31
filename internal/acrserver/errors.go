package acrserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/auth"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// answers says what becomes of each kind of fault: the status, and the code of
// one that has none.
var answers = [...]struct {
	status int
	code   string
}{
	fault.Internal:        {http.StatusInternalServerError, oci.CodeUnknown},
	fault.Invalid:         {http.StatusBadRequest, oci.CodeUnsupported},
	fault.Unauthenticated: {http.StatusUnauthorized, oci.CodeUnauthorized},
	fault.Denied:          {http.StatusForbidden, oci.CodeDenied},
	fault.NotFound:        {http.StatusNotFound, oci.CodeNameUnknown},
	fault.Conflict:        {http.StatusConflict, oci.CodeDenied},
	fault.OutOfRange:      {http.StatusRequestedRangeNotSatisfiable, oci.CodeUnsupported},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, oci.CodeSizeInvalid},
	fault.Quota:           {http.StatusForbidden, oci.CodeDenied},
	fault.Unsupported:     {http.StatusMethodNotAllowed, oci.CodeUnsupported},
	fault.NoSpace:         {http.StatusInsufficientStorage, oci.CodeUnavailable},
	fault.Unavailable:     {http.StatusServiceUnavailable, oci.CodeUnavailable},
}

type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

type errorEntry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

func (s *server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.As(err)
	if f.Kind == fault.Internal {
		s.Log.ErrorContext(r.Context(), "a request could not be answered", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	answer := answers[f.Kind]
	if f.Code != "" {
		answer.code = f.Code
	}
	var challenged interface{ Challenge() string }
	if errors.As(err, &challenged) {
		w.Header().Set("Www-Authenticate", challenged.Challenge())
	}
	var throttled interface{ RetryAfter() time.Duration }
	if errors.As(err, &throttled) {
		answer.status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", strconv.Itoa(int(throttled.RetryAfter()/time.Second)))
	}
	s.writeJSON(w, r, answer.status, errorBody{[]errorEntry{{answer.code, f.Message, f.Detail}}})
}

func (s *server) writeJSON(w http.ResponseWriter, r *http.Request, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		s.Log.ErrorContext(r.Context(), "an answer could not be encoded", "path", r.URL.Path, "error", err)
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b) // whoever went away needs no answer
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
