package ociserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// answers says what becomes of each kind of fault; the code is for faults that
// bring none.
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
	fault.OutOfRange:      {http.StatusRequestedRangeNotSatisfiable, oci.CodeSizeInvalid},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, oci.CodeSizeInvalid},
	fault.Quota:           {http.StatusForbidden, oci.CodeDenied}, // 429 would make clients try again
	fault.Unsupported:     {http.StatusMethodNotAllowed, oci.CodeUnsupported},
	fault.NoSpace:         {http.StatusInsufficientStorage, oci.CodeUnavailable},
	fault.Unavailable:     {http.StatusServiceUnavailable, oci.CodeUnavailable},
}

// fail turns an error into a response. It is the only place that does.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.As(err)
	a := answers[f.Kind]
	h := w.Header()
	h.Del("ETag") // what a handler said of the content does not go with a refusal
	h.Del("Cache-Control")
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
	e := specError{Code: f.Code, Message: f.Message, Detail: f.Detail}
	if e.Code == "" {
		e.Code = a.code
	}
	if a.status >= http.StatusInternalServerError {
		level := slog.LevelError
		if r.Context().Err() != nil {
			level = slog.LevelDebug // the client left, and whatever ran for it was stopped
		}
		s.Log.Log(r.Context(), level, "request failed",
			"method", r.Method, "path", r.URL.EscapedPath(), "status", a.status, "error", err)
	}
	if f.Kind == fault.Internal {
		e = specError{Code: oci.CodeUnknown, Message: "internal error: the server's log has the details"}
	}
	body := encodeJSON(specErrors{[]specError{e}})
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	w.Write(body)
}

// specErrors is the body of a refusal (Distribution 1.1, "Error Codes").
type specErrors struct {
	Errors []specError `json:"errors"`
}

type specError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// writeJSON answers 200 with a document.
func (c *call) writeJSON(contentType string, document any) error {
	return c.write(contentType, encodeJSON(document))
}

// write answers 200 with a body, which a HEAD request does not get.
func (c *call) write(contentType string, body []byte) error {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(http.StatusOK)
	c.w.Write(body) // net/http drops it for HEAD; if the client has left, there is nobody to tell
	return nil
}

// accept answers with a status and no body.
func (c *call) accept(status int) error {
	if status != http.StatusNoContent {
		c.w.Header().Set("Content-Length", "0")
	}
	c.w.WriteHeader(status)
	return nil
}

// encodeJSON ends the document with a newline, for terminals, and writes <, >
// and & as they are: nothing here is put into a page.
func encodeJSON(document any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		panic("ociserver: document without JSON form: " + err.Error()) // a fault's Detail must marshal
	}
	return b.Bytes()
}

// describe sets the headers that go with content: its digest, also as entity
// tag, since the digest changes exactly when the bytes do.
func (c *call) describe(dgst oci.Digest) {
	h := c.w.Header()
	h.Set("Docker-Content-Digest", string(dgst))
	h.Set("ETag", entityTag(dgst))
}

// cacheForever says that what the URL names can never change, because the URL
// has its digest.
func (c *call) cacheForever() {
	c.w.Header().Set("Cache-Control", "max-age=31536000")
}

func entityTag(dgst oci.Digest) string { return `"` + string(dgst) + `"` }

// notModified answers 304 if the client says it has the content already
// (RFC 9110 section 13.1.2).
func (c *call) notModified(dgst oci.Digest) bool {
	for _, line := range c.r.Header.Values("If-None-Match") {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == entityTag(dgst) || tag == "*" {
				c.w.WriteHeader(http.StatusNotModified)
				return true
			}
		}
	}
	return false
}
