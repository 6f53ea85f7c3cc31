package ociserver

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

func (c *call) headBlob() error {
	dgst, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	blob, err := c.registry.StatBlob(c.r.Context(), c.repo, dgst)
	if err != nil {
		return err
	}
	c.describe(blob.Digest)
	c.cacheForever()
	if c.notModified(blob.Digest) {
		return nil
	}
	h := c.w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", oci.MediaTypeOctetStream)
	h.Set("Content-Length", strconv.FormatInt(blob.Size, 10))
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) getBlob() error {
	dgst, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	blob, err := c.registry.OpenBlob(c.r.Context(), c.repo, dgst)
	if err != nil {
		return err
	}
	defer blob.Content.Close()

	d := blob.Descriptor
	c.describe(d.Digest)
	c.cacheForever()
	if c.notModified(d.Digest) {
		return nil
	}
	h := c.w.Header()
	h.Set("Accept-Ranges", "bytes")
	part := byteRange{0, d.Size}
	status := http.StatusOK
	if text := c.r.Header.Get("Range"); text != "" && c.rangeStillMeant(d.Digest) {
		asked, found := parseRange(text, d.Size)
		switch found {
		case rangeOK:
			part, status = asked, http.StatusPartialContent
			h.Set("Content-Range", part.of(d.Size))
		case rangeUnsatisfiable:
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", d.Size))
			return fault.New(fault.OutOfRange, "range %.80q does not lie within the %d bytes of blob %s", text, d.Size, d.Digest).
				WithCode(oci.CodeSizeInvalid)
		}
	}
	if part.start > 0 {
		if _, err := blob.Content.Seek(part.start, io.SeekStart); err != nil {
			return fmt.Errorf("seek in blob %s: %w", d.Digest, err)
		}
	}
	h.Set("Content-Type", oci.MediaTypeOctetStream)
	h.Set("Content-Length", strconv.FormatInt(part.length, 10))
	c.w.WriteHeader(status)
	if part.length == 0 {
		return nil
	}
	// net/http hands a LimitedReader of an *os.File to the kernel (sendfile):
	// neither the writer nor the file may be wrapped.
	if _, err := io.CopyN(c.w, blob.Content, part.length); err != nil {
		// The headers are out, so the missing bytes are all the client can
		// learn. Mostly it was the client who left.
		level := slog.LevelWarn
		if c.r.Context().Err() != nil {
			level = slog.LevelDebug
		}
		c.log.Log(c.r.Context(), level, "blob not sent whole", "repository", c.repo, "digest", d.Digest, "error", err)
	}
	return nil
}

func (c *call) deleteBlob() error {
	dgst, err := oci.ParseDigest(c.last)
	if err != nil {
		return err
	}
	if err := c.registry.DeleteBlob(c.r.Context(), c.repo, dgst); err != nil {
		return err
	}
	return c.accept(http.StatusAccepted)
}

// rangeStillMeant reports whether a Range header counts: an If-Range header
// makes it depend on the content being what the client saw before (RFC 9110
// section 13.1.5).
func (c *call) rangeStillMeant(dgst oci.Digest) bool {
	condition := c.r.Header.Get("If-Range")
	return condition == "" || condition == entityTag(dgst)
}
