package registry

import (
	"context"
	"errors"
	"time"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// What nothing needs any more goes in a collection, while pushes and pulls go on.
// Nothing is locked for longer than a small transaction takes, and nobody is
// refused: instead a blob goes in two looks.
//
//  1. The first look reads all manifests, and then condemns each link of a blob, old
//     enough, that no manifest of its repository refers to: a time in the link's row.
//     A condemned blob is there for everyone. But whoever relies on it takes the mark
//     off: a push or mount of the blob (linkBlob), a manifest that refers to it
//     (checkReferences), a client that asks whether it is there (StatBlob).
//  2. A later look, the grace time or more after that, reads all manifests again. A
//     link goes that was condemned before the look began, that no manifest refers to
//     now, and that still has the same mark in the transaction that removes it.
//
// Why a blob is not lost. Say that a manifest is committed and stays. Condemning,
// removing and pushing a manifest hold the repository's row, so they come one after
// the other. A manifest that came before the mark was there when the second look
// began to read, and its row keeps its id, by which the look goes: so it was seen. A
// manifest that came after the mark took it off. In both cases the link stays. And a
// client that was told that a blob is there has the grace time, from that moment on,
// to push the manifest: the mark was not there, or was taken off, when it was told.
//
// With soft delete a manifest may stay in another table. A look reads that after the
// manifests that are there: so what is deleted while it reads is met here or there. Only
// what is restored meanwhile may be met nowhere, and that took the marks off (restorer).
//
// A manifest that comes while the first look reads may be missed, and its blobs
// condemned. That harms nobody, and the next look takes the mark off.
//
// Contents go when no repository links them, in a transaction of their own. A link is
// made in the transaction that stored the content, or that holds its row
// (holdContent). The file goes after the row; what a crash leaves between is a file
// without a row, and an older one of those goes too. A power failure can bring back
// a removed file, never the row: that was flushed before. A reader keeps what it has
// open.
//
// A collection may stop anywhere: what it has done is done, and the next one begins
// anew. Two at once do no harm if the grace time is longer than a transaction takes.

// Collecting says how a collection runs.
type Collecting struct {
	// Grace is how long a blob stays after it was found to be referred to by
	// nothing; so long may a client take from asking for a blob, or pushing it, to
	// pushing the manifest.
	Grace time.Duration

	// DryRun counts what would go, and changes nothing.
	DryRun bool

	// Foreign says that sessions of another database may name files of uploads: those
	// that no session of this one names are left alone.
	Foreign bool

	// References bounds the memory: how many references of manifests are held at
	// once, at about 16 bytes each, beside those of one digest in 256. Where there are
	// more, the manifests are read several times. 0 means two million.
	References int

	// Step is called after each piece of the work, with all that was done so far. It
	// may take its time. The collection ends with its error.
	Step func(context.Context, Collected) error
}

// Collected is what a collection came to. A dry run says what would have been.
type Collected struct {
	Phase string  // uploads, repositories, manifests, links or contents
	Done  float64 // how much of the work is done, 0 to 1

	Uploads      int64 // sessions ended, and files of none
	Repositories int64 // there were at the start, deleted ones included
	Manifests    int64 // looked at
	Links        int64 // of blobs, looked at
	Condemned    int64 // links that nothing refers to and that go in a later collection
	Unlinked     int64 // links removed
	Blobs        int64 // contents removed; of a dry run those that would go in the end
	Bytes        int64 // of these, and of the uploads
}

// The phases of a collection, in this order.
const (
	inUploads      = "uploads"
	inRepositories = "repositories"
	inManifests    = "manifests"
	inLinks        = "links"
	inContents     = "contents"
)

// How much is done at once in a collection: a millisecond's worth or so. Whoever
// pushes may have to wait for one such piece, in the writer or for a processor, and on
// two processors with larger ones that was in every hundredth push to see.
const (
	collectedLinks    = 25  // marked or removed
	collectedContents = 8   // removed, of up to inlineLimit bytes each
	lookedAt          = 100 // links or contents read
	manifestsRead     = 20
	manifestBytes     = 1 << 20
	filesAtOnce       = 100
)

// leftover is the age at which a file that no row names belongs to nobody: whoever
// made it would have written the row by then.
const leftover = 24 * time.Hour

// collector is one collection.
type collector struct {
	*Store
	Collecting
	sum   Collected
	began time.Time
}

// Collect removes what no manifest, upload or reader needs any more, in all hosted
// registries. What it returns holds also when it fails.
func (s *Store) Collect(ctx context.Context, how Collecting) (Collected, error) {
	c := &collector{Store: s, Collecting: how, began: time.Now()}
	for _, phase := range []struct {
		name string
		till float64 // of the whole
		run  func(context.Context) error
	}{
		{inUploads, 0.02, c.endUploads},
		{inRepositories, 0.05, c.removeGivenUp},
		{inManifests, 0.7, c.lookAtLinks},
		{inContents, 1, c.removeContents},
	} {
		c.sum.Phase = phase.name
		if err := phase.run(ctx); err != nil {
			return c.sum, err
		}
		if err := c.step(ctx, phase.till); err != nil {
			return c.sum, err
		}
	}
	return c.sum, nil
}

// step is what lies between two pieces of the work.
func (c *collector) step(ctx context.Context, done float64) error {
	c.sum.Done = max(c.sum.Done, done)
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.Step(ctx, c.sum)
}

// endUploads ends upload sessions whose ids are good no longer. A session that was
// last written to so long ago was issued before. The file goes before the row that
// names it.
func (c *collector) endUploads(ctx context.Context) error {
	before := c.began.Add(-uploadLifetime)
	for after := (uploadAge{}); ; {
		var found []uploadAge
		err := c.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			found, err = uploadsBefore(tx, before.UnixNano(), after, uploadsAtOnce)
			return err
		})
		if err != nil {
			return err
		}
		if len(found) == 0 && c.Foreign {
			return nil
		}
		if len(found) == 0 {
			return c.endFiles(ctx)
		}
		after = found[len(found)-1]
		if err := c.endSome(ctx, found); err != nil {
			return err
		}
		if err := c.step(ctx, 0); err != nil {
			return err
		}
	}
}

// endSome ends sessions that no request works on.
func (c *collector) endSome(ctx context.Context, found []uploadAge) error {
	var ended []uploadAge
	for _, u := range found {
		if !c.uploads.enter(u.id) {
			continue
		}
		defer c.uploads.leave(u.id)
		ended = append(ended, u)
		c.sum.Uploads++
		c.sum.Bytes += u.size
	}
	if c.DryRun {
		return nil
	}
	for _, u := range ended {
		if u.file {
			if err := c.Blobs.Discard(u.id); err != nil {
				return err
			}
		}
	}
	return c.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		for _, u := range ended {
			if err := deleteUploadOf(tx, u); err != nil {
				return err
			}
		}
		return nil
	})
}

// endFiles removes staged files that no session names: a crash left them, after the
// first byte and before the row.
func (c *collector) endFiles(ctx context.Context) error {
	old := make([]blob.File, 0, filesAtOnce)
	for f, err := range c.Blobs.Uploads() {
		if err != nil {
			return err
		}
		if c.began.Sub(f.Changed) < leftover {
			continue
		}
		if old = append(old, f); len(old) == filesAtOnce {
			if err := c.discard(ctx, old); err != nil {
				return err
			}
			old = old[:0]
		}
	}
	return c.discard(ctx, old)
}

// discard removes those of some old staged files that no session names, and that no
// request works on: a session may begin at its first byte again at any time.
func (c *collector) discard(ctx context.Context, old []blob.File) error {
	var free []blob.File
	for _, f := range old {
		if c.uploads.enter(f.Name) {
			defer c.uploads.leave(f.Name)
			free = append(free, f)
		}
	}
	if len(free) == 0 {
		return nil
	}
	var named map[string]bool
	err := c.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		named, err = uploadsNamed(tx, free)
		return err
	})
	if err != nil {
		return err
	}
	for _, f := range free {
		if named[f.Name] {
			continue
		}
		if !c.DryRun {
			if err := c.Blobs.Discard(f.Name); err != nil {
				return err
			}
		}
		c.sum.Uploads++
		c.sum.Bytes += f.Size
	}
	return c.step(ctx, 0)
}

// removeGivenUp removes the repositories that a deletion gave up and did not come to
// remove.
func (c *collector) removeGivenUp(ctx context.Context) error {
	err := c.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		c.sum.Repositories, err = countRepositories(tx)
		return err
	})
	for err == nil && !c.DryRun {
		var id int64
		err = c.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			id, err = anyLinksAlone(tx)
			return err
		})
		if errors.Is(err, sqldb.ErrNoRow) {
			return nil
		}
		if err == nil {
			err = c.remove(ctx, id)
		}
		if err == nil {
			err = c.step(ctx, 0)
		}
	}
	return err
}

// removeContents removes the contents that nothing links.
func (c *collector) removeContents(ctx context.Context) error {
	from := c.sum.Done
	for after := ""; ; {
		var last string
		var found []contentHead
		err := c.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			if last, err = lastOfContents(tx, after, lookedAt); err != nil || last == "" {
				return err
			}
			found, err = unlinkedContents(tx, after, last)
			return err
		})
		if err != nil || last == "" {
			return err
		}
		after = last
		for len(found) > 0 && !c.DryRun {
			n := min(len(found), collectedContents)
			if err := c.removeSome(ctx, found[:n]); err != nil {
				return err
			}
			if err := c.step(ctx, from); err != nil {
				return err
			}
			found = found[n:]
		}
		for _, f := range found { // of a dry run
			c.sum.Blobs++
			c.sum.Bytes += f.size
		}
		if err := c.step(ctx, from+(1-from)*placeOfDigest(after)); err != nil {
			return err
		}
	}
}

// removeSome removes contents that nothing links, and their files.
func (c *collector) removeSome(ctx context.Context, found []contentHead) error {
	var gone []contentHead
	err := c.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
		gone, err = deleteContents(tx, found)
		return err
	})
	if errors.Is(err, errLinked) && len(found) > 1 {
		for i := range found {
			if err := c.removeSome(ctx, found[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	if errors.Is(err, errLinked) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, g := range gone {
		c.sum.Blobs++
		c.sum.Bytes += g.size
		if g.file.Valid {
			if err := c.Blobs.Remove(g.file.String); err != nil {
				return err
			}
		}
	}
	return nil
}

// Named returns those of some files of the blob store that contents are in, whichever
// registries have them.
func (s *Store) Named(tx *sqldb.Tx, files []string) ([]string, error) { return named(tx, files) }

// placeOfDigest returns how far a list in order of digest has come, 0 to 1.
func placeOfDigest(dgst string) float64 {
	at := float64(bucketOf(dgst)) / buckets
	if len(dgst) > len(oci.SHA512) && dgst[:len(oci.SHA512)] == oci.SHA512 {
		return 0.9 + 0.1*at // there are few of these
	}
	return 0.9 * at
}
