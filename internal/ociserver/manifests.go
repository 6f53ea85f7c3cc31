package ociserver

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// maxTagParameters is how many ?tag= one push may bring: each is an event, and
// all are one transaction.
const maxTagParameters = 100

func (c *call) getManifest() error {
	ref, err := c.existingReference()
	if err != nil {
		return err
	}
	manifest, err := c.registry.GetManifest(c.r.Context(), c.repo, ref)
	if err != nil {
		return err
	}
	d := manifest.Descriptor
	c.describe(d.Digest)
	if ref.Digest != "" {
		c.cacheForever()
	}
	if c.notModified(d.Digest) {
		return nil
	}
	return c.write(d.MediaType, manifest.Data)
}

func (c *call) putManifest() error {
	ref, err := oci.ParseReference(c.last)
	if err != nil {
		return err
	}
	put := oci.ManifestPut{MediaType: c.r.Header.Get("Content-Type"), Digest: ref.Digest}
	if put.Tags, err = c.tagParameters(ref); err != nil {
		return err
	}
	if put.Data, err = c.readManifest(); err != nil {
		return err
	}
	result, err := c.registry.PutManifest(c.r.Context(), c.repo, put)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Location", manifestPath(c.repo, result.Descriptor.Digest))
	h.Set("Docker-Content-Digest", string(result.Descriptor.Digest))
	if result.Subject != "" {
		h.Set("OCI-Subject", string(result.Subject))
	}
	if ref.Digest != "" {
		for _, tag := range put.Tags {
			h.Add("OCI-Tag", string(tag))
		}
	}
	return c.accept(http.StatusCreated)
}

// deleteManifest deletes a manifest with its tags, or one tag.
func (c *call) deleteManifest() error {
	ref, err := c.existingReference()
	if err != nil {
		return err
	}
	if ref.Digest != "" {
		err = c.registry.DeleteManifest(c.r.Context(), c.repo, ref.Digest)
	} else {
		ref.Digest, err = c.registry.DeleteTag(c.r.Context(), c.repo, ref.Tag)
	}
	if err != nil {
		return err
	}
	c.w.Header().Set("Docker-Content-Digest", string(ref.Digest))
	return c.accept(http.StatusAccepted)
}

// existingReference reads the reference of something that should be there. A
// tag that breaks the grammar cannot be.
func (c *call) existingReference() (oci.Reference, error) {
	ref, err := oci.ParseReference(c.last)
	if err != nil && !strings.Contains(c.last, ":") {
		return ref, fault.Wrap(err, fault.NotFound, "%s", fault.As(err).Message).WithCode(oci.CodeManifestUnknown)
	}
	return ref, err
}

// tagParameters returns the tags to be moved: the one in the path, or those of
// ?tag= in a push by digest.
func (c *call) tagParameters(ref oci.Reference) ([]oci.Tag, error) {
	texts := c.r.URL.Query()["tag"]
	if ref.Digest == "" {
		if len(texts) > 0 {
			return nil, fault.New(fault.Invalid, "?tag= goes with a push by digest: this one names tag %s in its path", ref.Tag).
				WithCode(oci.CodeUnsupported)
		}
		return []oci.Tag{ref.Tag}, nil
	}
	if len(texts) > maxTagParameters {
		return nil, fault.New(fault.TooLarge, "the push names %d tags: at most %d go with one push", len(texts), maxTagParameters).
			WithCode(oci.CodeUnsupported)
	}
	var tags []oci.Tag
	for _, text := range texts {
		tag, err := oci.ParseTag(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// readManifest reads the body, and no more of it than is allowed.
func (c *call) readManifest() ([]byte, error) {
	limit := c.maxManifestSize
	if c.r.ContentLength > limit {
		return nil, oci.ManifestTooLarge(limit)
	}
	data, err := io.ReadAll(io.LimitReader(c.r.Body, limit+1))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the manifest did not arrive whole: push it again").WithCode(oci.CodeSizeInvalid)
	}
	if int64(len(data)) > limit {
		return nil, oci.ManifestTooLarge(limit)
	}
	return data, nil
}
