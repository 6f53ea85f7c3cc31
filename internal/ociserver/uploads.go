package ociserver

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// startUpload begins an upload, or does without one: ?mount= links a blob of
// another repository, ?digest= brings the content along.
func (c *call) startUpload() error {
	query := c.r.URL.Query()
	switch algorithm := query.Get("digest-algorithm"); algorithm {
	case "", oci.SHA256, oci.SHA512: // which one shows when the upload is finished
	default:
		return oci.DigestInvalid(algorithm, "the algorithm is neither sha256 nor sha512")
	}
	switch {
	case query.Has("mount"):
		return c.mountBlob(query)
	case query.Has("digest"):
		return c.pushBlob(query)
	}
	return c.offerUpload()
}

// offerUpload tells the client where to send a blob.
func (c *call) offerUpload() error {
	id, err := c.registry.StartUpload(c.r.Context(), c.repo)
	if err != nil {
		return err
	}
	c.uploadAt(id, 0)
	return c.accept(http.StatusAccepted)
}

// mountBlob links a blob that another repository has. When that is not to be,
// the client gets an upload instead.
func (c *call) mountBlob(query url.Values) error {
	dgst, err := oci.ParseDigest(query.Get("mount"))
	if err != nil {
		return err
	}
	var from oci.Repository
	if name := query.Get("from"); name != "" {
		if from, err = oci.ParseRepository(name); err != nil {
			return err
		}
	}
	blob, err := c.registry.MountBlob(c.r.Context(), c.repo, dgst, from)
	if err == nil {
		return c.blobCreated(blob)
	}
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	return c.offerUpload()
}

// pushBlob takes a whole blob in one request.
func (c *call) pushBlob(query url.Values) error {
	dgst, err := oci.ParseDigest(query.Get("digest"))
	if err != nil {
		return err
	}
	id, err := c.registry.StartUpload(c.r.Context(), c.repo)
	if err != nil {
		return err
	}
	blob, err := c.registry.CommitUpload(c.r.Context(), c.repo, id, 0, &chunk{body: c.r.Body, length: c.r.ContentLength}, dgst)
	if err != nil {
		return err
	}
	return c.blobCreated(blob)
}

func (c *call) uploadStatus() error {
	id, err := c.uploadID()
	if err != nil {
		return err
	}
	offset, err := c.registry.UploadOffset(c.r.Context(), c.repo, id)
	if err != nil {
		return err
	}
	c.uploadAt(id, offset)
	return c.accept(http.StatusNoContent)
}

func (c *call) appendUpload() error {
	id, err := c.uploadID()
	if err != nil {
		return err
	}
	at, body, err := c.chunk()
	if err != nil {
		return err
	}
	offset, err := c.registry.AppendUpload(c.r.Context(), c.repo, id, at, body)
	if err != nil {
		return c.uploadRefused(id, err)
	}
	c.uploadAt(id, offset)
	return c.accept(http.StatusAccepted)
}

func (c *call) commitUpload() error {
	id, err := c.uploadID()
	if err != nil {
		return err
	}
	text := c.r.URL.Query().Get("digest")
	if text == "" {
		return oci.DigestInvalid("", "an upload is finished with ?digest=<digest of the whole blob>")
	}
	dgst, err := oci.ParseDigest(text)
	if err != nil {
		return err
	}
	at, body, err := c.chunk()
	if err != nil {
		return err
	}
	blob, err := c.registry.CommitUpload(c.r.Context(), c.repo, id, at, body, dgst)
	if err != nil {
		return c.uploadRefused(id, err)
	}
	return c.blobCreated(blob)
}

func (c *call) cancelUpload() error {
	id, err := c.uploadID()
	if err != nil {
		return err
	}
	if err := c.registry.CancelUpload(c.r.Context(), c.repo, id); err != nil {
		return err
	}
	return c.accept(http.StatusNoContent)
}

// uploadID reads the last segment. What could not have been part of a Location
// is no session.
func (c *call) uploadID() (oci.UploadID, error) {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	if strings.Trim(c.last, unreserved) != "" {
		return "", oci.UploadUnknown(c.repo)
	}
	return oci.UploadID(c.last), nil
}

// uploadAt sets the headers that tell where an upload is and how far. The range
// of no bytes cannot be written, and is 0-0 by Docker's custom.
func (c *call) uploadAt(id oci.UploadID, offset int64) {
	h := c.w.Header()
	h.Set("Location", uploadPath(c.repo, id))
	h.Set("Range", "0-"+strconv.FormatInt(max(offset-1, 0), 10))
	h.Set("Docker-Upload-UUID", string(id))
}

// uploadRefused lets a client whose chunk does not fit go on where the upload
// is.
func (c *call) uploadRefused(id oci.UploadID, err error) error {
	if fault.Is(err, fault.OutOfRange) {
		if offset, err := c.registry.UploadOffset(c.r.Context(), c.repo, id); err == nil {
			c.uploadAt(id, offset)
		}
	}
	return err
}

func (c *call) blobCreated(blob oci.Descriptor) error {
	h := c.w.Header()
	h.Set("Location", blobPath(c.repo, blob.Digest))
	h.Set("Docker-Content-Digest", string(blob.Digest))
	return c.accept(http.StatusCreated)
}

// chunk returns the body of the request and the offset it is meant for, -1 when
// the client does not say.
func (c *call) chunk() (at int64, body *chunk, err error) {
	header := c.r.Header.Get("Content-Range")
	if header == "" {
		return -1, &chunk{body: c.r.Body, length: c.r.ContentLength}, nil
	}
	start, end, ok := parseContentRange(header)
	if !ok {
		return 0, nil, oci.UploadInvalid("Content-Range %.80q is not valid: write <first byte>-<last byte>, for example 0-1023", header)
	}
	length := end - start + 1
	if n := c.r.ContentLength; n >= 0 && n != length {
		return 0, nil, oci.SizeInvalid("Content-Range %s is %d bytes but Content-Length is %d", header, length, n)
	}
	return start, &chunk{body: c.r.Body, length: length}, nil
}

// A chunk reads the body of an upload request. What can go wrong with a body is
// the client's doing, or its network's, so a failure to read is a fault that
// says so and not an internal error.
type chunk struct {
	body   io.Reader
	length int64 // announced bytes, -1 if the client did not say
	read   int64
}

func (b *chunk) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.read += int64(n)
	if b.length >= 0 && b.read > b.length {
		n -= int(b.read - b.length)
		b.read = b.length
		return n, oci.SizeInvalid("the body is longer than the %d bytes of its Content-Range", b.length)
	}
	if err != nil && (err != io.EOF || b.read < b.length) {
		return n, fault.Wrap(err, fault.Invalid, "the body ended after %d bytes: ask with GET how much is stored, and go on from there", b.read).
			WithCode(oci.CodeBlobUploadInvalid)
	}
	return n, err
}
