package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// answers says what becomes of each kind of fault in the registry's protocols;
// the code is for faults that bring none.
var answers = [...]struct {
	status int
	code   string
}{
	fault.Internal:        {http.StatusInternalServerError, CodeUnknown},
	fault.Invalid:         {http.StatusBadRequest, CodeUnsupported},
	fault.Unauthenticated: {http.StatusUnauthorized, CodeUnauthorized},
	fault.Denied:          {http.StatusForbidden, CodeDenied},
	fault.NotFound:        {http.StatusNotFound, CodeNameUnknown},
	fault.Conflict:        {http.StatusConflict, CodeDenied},
	fault.OutOfRange:      {http.StatusRequestedRangeNotSatisfiable, CodeSizeInvalid},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, CodeSizeInvalid},
	fault.Quota:           {http.StatusForbidden, CodeDenied}, // 429 would make clients try again
	fault.Unsupported:     {http.StatusMethodNotAllowed, CodeUnsupported},
	fault.NoSpace:         {http.StatusInsufficientStorage, CodeUnavailable},
	fault.Unavailable:     {http.StatusServiceUnavailable, CodeUnavailable},
}

// WriteError answers a request with err, in the form of Distribution 1.1, "Error
// Codes", and returns the status. What an internal error was is not told. An
// error may have two methods that put something beside the message:
// Challenge() string, the value of WWW-Authenticate, and RetryAfter()
// time.Duration, which makes the status 429.
func WriteError(w http.ResponseWriter, err error) (status int) {
	f := fault.As(err)
	a := answers[f.Kind]
	entry := errorEntry{Code: f.Code, Message: f.Message, Detail: f.Detail}
	if entry.Code == "" {
		entry.Code = a.code
	}
	if f.Kind == fault.Internal {
		entry = errorEntry{Code: CodeUnknown, Message: "internal error: the server's log has the details"}
	}
	h := w.Header()
	var challenger interface{ Challenge() string }
	if errors.As(err, &challenger) {
		h.Set("WWW-Authenticate", challenger.Challenge())
	}
	var throttled interface{ RetryAfter() time.Duration }
	switch {
	case errors.As(err, &throttled):
		a.status = http.StatusTooManyRequests
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(throttled.RetryAfter().Seconds()))))
	case f.Kind == fault.Unavailable:
		h.Set("Retry-After", "5")
	}
	body := EncodeJSON(errorBody{[]errorEntry{entry}})
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	w.Write(body) // whoever went away needs no answer
	return a.status
}

type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

type errorEntry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// EncodeJSON ends the document with a newline, for terminals, and writes <, >
// and & as they are: nothing here is put into a page. It panics for a document
// that has no JSON form.
func EncodeJSON(document any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		panic("oci: document without JSON form: " + err.Error()) // a fault's Detail must marshal
	}
	return b.Bytes()
}
