package ociserver

import (
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/oci"
)

// fail turns an error into a response. It is the only place that does.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	h := w.Header()
	h.Del("ETag") // what a handler said of the content does not go with a refusal
	h.Del("Cache-Control")
	status := oci.WriteError(w, err)
	if status < http.StatusInternalServerError {
		return
	}
	level := slog.LevelError
	if r.Context().Err() != nil {
		level = slog.LevelDebug // the client left, and whatever ran for it was stopped
	}
	s.Log.Log(r.Context(), level, "request failed", "method", r.Method, "path", r.URL.EscapedPath(), "status", status, "error", err)
}

// writeJSON answers 200 with a document.
func (c *call) writeJSON(contentType string, document any) error {
	return c.write(contentType, oci.EncodeJSON(document))
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
