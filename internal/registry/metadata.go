package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// DescribeRepository implements oci.Metadata.
func (h *handle) DescribeRepository(ctx context.Context, repo oci.Repository) (d oci.RepositoryDetails, err error) {
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		d, err = describeRepository(tx, h.reg.ID, h.caller.Quarantine, repo)
		if errors.Is(err, sqldb.ErrNoRow) {
			err = oci.NameUnknown(repo)
		}
		return err
	})
	return d, err
}

// DescribeTag implements oci.Metadata.
func (h *handle) DescribeTag(ctx context.Context, repo oci.Repository, tag oci.Tag) (d oci.TagDetails, err error) {
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		id, err := h.find(tx, repo)
		if err != nil {
			return err
		}
		d, err = describeTag(tx, id, h.caller.Quarantine, tag)
		if errors.Is(err, sqldb.ErrNoRow) {
			err = oci.TagUnknown(repo, tag)
		}
		return err
	})
	return d, err
}

// DescribeTags implements oci.Metadata.
func (h *handle) DescribeTags(ctx context.Context, repo oci.Repository, dgst oci.Digest, p oci.DetailsPage) (tags []oci.TagDetails, more bool, err error) {
	n := limit(p.N)
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		id, err := h.find(tx, repo)
		if err != nil {
			return err
		}
		from, err := placeOf(tx, id, p, tagTime)
		if err != nil {
			return err
		}
		tags, err = describeTags(tx, id, h.caller.Quarantine, dgst, p.Order, from, n+1)
		return err
	})
	tags, more = page(tags, n)
	return tags, more, err
}

// placeOf returns where a page begins. In an order of time that takes the time of
// p.Last, which timeOf looks up unless the caller still knows it; if it is not
// known and Last is gone, the page is the first one.
func placeOf(tx *sqldb.Tx, repository int64, p oci.DetailsPage, timeOf func(*sqldb.Tx, int64, string) (int64, error)) (place, error) {
	switch {
	case p.Order == oci.ByName:
		return place{name: p.Last}, nil
	case p.Last == "":
		return start(p.Order), nil
	case !p.LastTime.IsZero():
		return place{p.LastTime.UnixNano(), p.Last}, nil
	}
	at, err := timeOf(tx, repository, p.Last)
	if errors.Is(err, sqldb.ErrNoRow) {
		return start(p.Order), nil
	}
	return place{at, p.Last}, err
}

// DescribeManifest implements oci.Metadata.
func (h *handle) DescribeManifest(ctx context.Context, repo oci.Repository, dgst oci.Digest) (oci.ManifestDetails, error) {
	var m described
	err := h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		id, err := h.find(tx, repo)
		if err != nil {
			return err
		}
		head, err := readManifestHead(tx, id, dgst)
		if errors.Is(err, sqldb.ErrNoRow) {
			return oci.ManifestUnknown(repo, oci.Reference{Digest: dgst})
		}
		if err == nil && h.caller.Quarantine.hides(head.verdict) {
			err = oci.InQuarantine(repo, dgst)
		}
		if err != nil {
			return err
		}
		m, err = describe(tx, id, h.caller.Quarantine, head)
		return err
	})
	if err != nil {
		return oci.ManifestDetails{}, err
	}
	return h.complete(m), nil
}

// pageBytes bounds what is read for one page of manifests, in bytes: a page of
// large ones is shorter.
const pageBytes = 16 << 20

// DescribeManifests implements oci.Metadata.
func (h *handle) DescribeManifests(ctx context.Context, repo oci.Repository, p oci.DetailsPage) ([]oci.ManifestDetails, bool, error) {
	n := limit(p.N)
	var found []described
	var more bool
	err := h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		id, err := h.find(tx, repo)
		if err != nil {
			return err
		}
		from, err := placeOf(tx, id, p, manifestTime)
		if err != nil {
			return err
		}
		heads, err := listManifestHeads(tx, id, h.caller.Quarantine, p.Order, from, n+1)
		if err != nil {
			return err
		}
		heads, more = page(heads, n)
		var bytes int64
		for i, head := range heads {
			if i > 0 && bytes+head.size > pageBytes {
				more = true
				return nil
			}
			m, err := describe(tx, id, h.caller.Quarantine, head)
			if err != nil {
				return err
			}
			found = append(found, m)
			bytes += head.size + m.configSize
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	details := make([]oci.ManifestDetails, len(found))
	for i, m := range found {
		details[i] = h.complete(m)
	}
	return details, more, nil
}

// described is what the database knows of a manifest.
type described struct {
	oci.ManifestDetails
	configSize int64
	configFile string // where its config is not in the database
}

// describe works out what follows from a manifest's bytes.
func describe(tx *sqldb.Tx, repository int64, q Quarantine, head manifestHead) (m described, err error) {
	m.ManifestDetails = oci.ManifestDetails{
		Digest: head.digest, MediaType: head.mediaType, ArtifactType: head.artifactType, ImageSize: head.size,
		CreatedAt: head.created.time(), UpdatedAt: head.updated.time(), Attributes: head.locks.attributes(),
		Quarantine: q.state(head.verdict), QuarantineDetails: head.details.String,
	}
	if m.Tags, err = tagsOf(tx, q, head.id, head.verdict); err != nil {
		return m, err
	}
	data, err := manifestData(tx, head.id)
	if err != nil {
		return m, err
	}
	parsed, err := oci.ParseManifest(head.mediaType, data)
	if err != nil {
		return m, nil // it was taken once: its descriptor is what is left to say
	}
	var config oci.Descriptor
	seen := make(map[oci.Digest]bool, len(parsed.References))
	var size int64
	for _, r := range parsed.References {
		switch {
		case r.Kind == oci.RefersChild:
			m.References = append(m.References, r.Descriptor)
			continue
		case r.Kind == oci.RefersConfig:
			config = r.Descriptor
			m.ConfigMediaType = config.MediaType
		}
		if r.Distributable() && !seen[r.Descriptor.Digest] {
			seen[r.Descriptor.Digest] = true
			size += r.Descriptor.Size
		}
	}
	if !isIndex(parsed.MediaType) {
		m.ImageSize = size
	}
	if !isImageConfig(config) {
		return m, nil
	}
	content, err := linkedContent(tx, repository, config.Digest)
	switch {
	case errors.Is(err, sqldb.ErrNoRow): // it was deleted since
		return m, nil
	case err != nil:
		return m, err
	}
	m.configSize = content.size
	if content.file.Valid {
		m.configFile = content.file.String
	} else {
		m.Platform = platformOf(content.data)
	}
	return m, nil
}

func isIndex(mediaType string) bool {
	return mediaType == oci.MediaTypeImageIndex || mediaType == oci.MediaTypeDockerManifestList
}

// maxImageConfig is the largest config that is looked into, in bytes.
const maxImageConfig = 4 << 20

// isImageConfig reports whether a config says for which platform its image is.
func isImageConfig(config oci.Descriptor) bool {
	return (config.MediaType == oci.MediaTypeImageConfig || config.MediaType == oci.MediaTypeDockerConfig) && config.Size <= maxImageConfig
}

// platformOf reads an image's config (Image 1.1, "Image Configuration"). One that
// is none has the zero Platform.
func platformOf(config []byte) (p oci.Platform) {
	if json.Unmarshal(config, &p) != nil {
		return oci.Platform{}
	}
	return p
}

// complete adds what is in a file. It is not looked for in a transaction, which
// must not wait for files; one that is gone by now says nothing.
func (h *handle) complete(m described) oci.ManifestDetails {
	if m.configFile == "" {
		return m.ManifestDetails
	}
	content, err := h.Blobs.Open(m.configFile)
	if err != nil {
		return m.ManifestDetails
	}
	defer content.Close()
	if config, err := io.ReadAll(io.LimitReader(content, maxImageConfig)); err == nil {
		m.Platform = platformOf(config)
	}
	return m.ManifestDetails
}
