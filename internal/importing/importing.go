// Package importing copies an image of another registry into one of this server.
//
// It owns what is copied, in which order and how much of it; which addresses may be
// asked is for package outbound, what is stored and who hears of it for the registry
// that it is given, who may have it done for whoever calls. Invariants: blobs are
// there before the manifest that needs them, what an index lists before the index,
// and the tags move last; nothing is taken whose digest or size is another than was
// said; credentials are in no error.
package importing

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// Source is a repository that images are copied from. The faults of its methods
// are for people and name it.
type Source interface {
	// Manifest returns a manifest of at most MaxManifest bytes.
	Manifest(ctx context.Context, ref oci.Reference) (*oci.Manifest, error)

	// Blob opens a blob, which the caller closes.
	Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error)
}

// Bounds on one import.
const (
	MaxManifest  = 4 << 20   // bytes of a manifest
	maxManifests = 1000      // in an index and all it lists
	maxDepth     = 4         // of indexes in indexes
	maxBytes     = 200 << 30 // of blobs

	// stalled is how long a source may send nothing of a blob.
	stalled = time.Minute
)

// Target is a repository that an image is copied into, and its tags there; none
// leave the manifest untagged.
type Target struct {
	Repository oci.Repository
	Tags       []oci.Tag
}

// Image is what is copied, and to where.
type Image struct {
	Reference oci.Reference // in the source
	Targets   []Target      // at least one
	Force     bool          // tags that are there may move
}

// Copy copies an image, with all that an index lists, into a registry. What the
// registry has is not copied again, so an import that failed goes on when it is
// repeated. Each manifest that is stored is a push there.
//
// Errors: those of the source and of the registry; fault.Conflict for a tag that is
// there, unless the image says that it may move; fault.TooLarge for what is beyond
// the bounds.
func Copy(ctx context.Context, from Source, into oci.Contents, image Image) error {
	if !image.Force {
		if err := free(ctx, into, image.Targets); err != nil {
			return err
		}
	}
	top, err := from.Manifest(ctx, image.Reference)
	if err != nil {
		return err
	}
	for _, t := range image.Targets {
		c := copying{from: from, into: into, repo: t.Repository}
		if err := c.parts(ctx, top, 0); err != nil {
			return err
		}
		if !image.Force { // once more: the copying may have taken a while
			if err := free(ctx, into, []Target{t}); err != nil {
				return err
			}
		}
		if err := c.put(ctx, top, t.Tags); err != nil {
			return err
		}
	}
	return nil
}

// free fails if one of the tags is there.
func free(ctx context.Context, into oci.Contents, targets []Target) error {
	for _, t := range targets {
		for _, tag := range t.Tags {
			_, err := into.DescribeTag(ctx, t.Repository, tag)
			if err == nil {
				return fault.New(fault.Conflict, "tag %s:%s exists already: import with --force (mode Force) to have it name the image that is imported", t.Repository, tag).WithCode("Conflict")
			}
			if !fault.Is(err, fault.NotFound) {
				return err
			}
		}
	}
	return nil
}

// copying is the copying of one image into one repository.
type copying struct {
	from      Source
	into      oci.Contents
	repo      oci.Repository
	manifests int
	bytes     int64
}

// parts copies what a manifest needs.
func (c *copying) parts(ctx context.Context, m *oci.Manifest, depth int) error {
	if c.manifests++; c.manifests > maxManifests || depth > maxDepth {
		return fault.New(fault.TooLarge, "the image lists more than %d manifests, or indexes more than %d deep: import its parts one by one", maxManifests, maxDepth)
	}
	parsed, err := oci.ParseManifest(m.Descriptor.MediaType, m.Data)
	if err != nil {
		return err
	}
	for _, r := range parsed.References {
		switch {
		case !r.Distributable():
		case r.Kind == oci.RefersChild:
			err = c.child(ctx, r.Descriptor, depth)
		default:
			err = c.blob(ctx, r.Descriptor)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// child copies a manifest that an index lists, unless it is there: then so is all
// it needs.
func (c *copying) child(ctx context.Context, d oci.Descriptor, depth int) error {
	_, err := c.into.GetManifest(ctx, c.repo, oci.Reference{Digest: d.Digest})
	if err == nil || !fault.Is(err, fault.NotFound) {
		return err
	}
	m, err := c.from.Manifest(ctx, oci.Reference{Digest: d.Digest})
	if err != nil {
		return err
	}
	if err := c.parts(ctx, m, depth+1); err != nil {
		return err
	}
	return c.put(ctx, m, nil)
}

func (c *copying) put(ctx context.Context, m *oci.Manifest, tags []oci.Tag) error {
	_, err := c.into.PutManifest(ctx, c.repo, oci.ManifestPut{MediaType: m.Descriptor.MediaType, Data: m.Data, Digest: m.Descriptor.Digest, Tags: tags})
	return err
}

// blob copies a blob, unless the registry has it.
func (c *copying) blob(ctx context.Context, d oci.Descriptor) error {
	if _, err := c.into.StatBlob(ctx, c.repo, d.Digest); err == nil || !fault.Is(err, fault.NotFound) {
		return err
	}
	if _, err := c.into.MountBlob(ctx, c.repo, d.Digest, ""); err == nil || !fault.Is(err, fault.NotFound) {
		return err
	}
	if d.Size < 0 || d.Size > maxBytes-c.bytes {
		return fault.New(fault.TooLarge, "the image has more than %d GiB: push it with another client", maxBytes>>30)
	}
	c.bytes += d.Size
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	content, err := c.from.Blob(ctx, d)
	if err != nil {
		return err
	}
	defer content.Close()
	patient := newPatient(content, func() { stop(errStalled) })
	defer patient.stop()
	id, err := c.into.StartUpload(ctx, c.repo)
	if err != nil {
		return err
	}
	_, err = c.into.CommitUpload(ctx, c.repo, id, -1, io.LimitReader(patient, d.Size+1), d.Digest)
	if err == nil {
		return nil
	}
	// What came is of no use to anyone: nobody knows the id.
	c.into.CancelUpload(context.WithoutCancel(ctx), c.repo, id)
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return fault.Wrap(err, fault.Invalid, "the source sent nothing of blob %s for %s: import the image again, which goes on with what is missing", d.Digest, stalled).WithCode("ImportSourceUnavailable")
	}
	if patient.failed != nil {
		return fault.Wrap(err, fault.Invalid, "the source ended within blob %s: import the image again, which goes on with what is missing", d.Digest).WithCode("ImportSourceUnavailable")
	}
	return err
}

var errStalled = errors.New("the source stalled")

// patient is a reader whose source may be silent for only so long.
type patient struct {
	io.Reader
	timer  *time.Timer
	failed error // what ended it, if not its end
}

func newPatient(r io.Reader, give func()) *patient {
	return &patient{Reader: r, timer: time.AfterFunc(stalled, give)}
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.timer.Reset(stalled)
	}
	if err != nil && err != io.EOF {
		p.failed = err
	}
	return n, err
}

func (p *patient) stop() { p.timer.Stop() }
