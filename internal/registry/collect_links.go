package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"hash/maphash"
	"runtime"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// buckets is into how many parts digests are divided, by their first two digits.
const buckets = 256

// bucketOf returns the part that a digest is in.
func bucketOf(dgst string) int {
	_, hex, _ := strings.Cut(dgst, ":")
	n := 0
	for i := range 2 {
		n *= 16
		if i >= len(hex) {
			continue
		}
		if d := strings.IndexByte("0123456789abcdef", hex[i]); d >= 0 {
			n += d
		}
	}
	return n
}

// maxReferences is Collecting.References unless that says otherwise: 32 MiB, or what
// 200,000 manifests with ten layers of their own each refer to.
const maxReferences = 2 << 20

// references is what manifests refer to, for digests of the buckets from low up to
// high, which moves down when they are too many. It holds keyed hashes of repository
// and digest: if two are the same, a blob stays until the next collection.
type references struct {
	seed      maphash.Seed
	low, high int
	most      int
	n         int
	of        [buckets]map[uint64]struct{}
}

func newReferences(low, most int) *references {
	return &references{seed: maphash.MakeSeed(), low: low, high: buckets, most: most}
}

func (r *references) hash(repository int64, dgst string) uint64 {
	const odd = 0x9e3779b97f4a7c15
	return maphash.String(r.seed, dgst) + uint64(repository)*odd
}

func (r *references) add(repository int64, dgst string) {
	at := bucketOf(dgst)
	if at < r.low || at >= r.high {
		return
	}
	if r.of[at] == nil {
		r.of[at] = map[uint64]struct{}{}
	}
	r.n -= len(r.of[at])
	r.of[at][r.hash(repository, dgst)] = struct{}{}
	r.n += len(r.of[at])
	for r.n > r.most && r.high > r.low+1 {
		r.high--
		r.n -= len(r.of[r.high])
		r.of[r.high] = nil
	}
}

func (r *references) has(repository int64, dgst string) bool {
	_, ok := r.of[bucketOf(dgst)][r.hash(repository, dgst)]
	return ok
}

// lookAtLinks looks at every link of a blob, after it read what manifests refer to:
// all digests at once if there is room for that, else some after the other.
func (c *collector) lookAtLinks(ctx context.Context) error {
	from, to := c.sum.Done, 0.7
	for low := 0; low < buckets; {
		refs := newReferences(low, cmp.Or(c.References, maxReferences))
		reached := func(part float64) float64 { // of these buckets
			return from + (to-from)*(float64(low)+float64(refs.high-low)*part)/buckets
		}
		c.sum.Phase = inManifests
		if err := c.readManifests(ctx, refs, func(part float64) float64 { return reached(part * 0.7) }); err != nil {
			return err
		}
		c.sum.Phase = inLinks
		for _, algorithm := range []string{oci.SHA256, oci.SHA512} {
			if err := c.judgeLinks(ctx, algorithm, refs); err != nil {
				return err
			}
		}
		low = refs.high
		if err := c.step(ctx, reached(1)); err != nil {
			return err
		}
	}
	return nil
}

// readManifests adds what every manifest refers to, and then every deleted one that can
// be restored. A manifest that is in one of the tables when this begins, and is not
// restored before it ends, has been read: it may be deleted meanwhile, and is met where it
// went to. Whoever restores one takes the marks off its blobs, like whoever pushes it.
func (c *collector) readManifests(ctx context.Context, refs *references, done func(float64) float64) error {
	const living = 0.95 // of the time; what is deleted is as a rule little
	err := c.readTable(ctx, "manifest", refs, func(part float64) float64 { return done(part * living) })
	if err != nil {
		return err
	}
	return c.readTable(ctx, "deleted_manifest", refs, func(part float64) float64 { return done(living + part*(1-living)) })
}

// readTable adds what the manifests in a table refer to, in order of row id, up to the
// newest: or it would not end while others push faster.
func (c *collector) readTable(ctx context.Context, table string, refs *references, done func(float64) float64) error {
	var newest int64
	err := c.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		newest, err = newestOfAll(tx, table)
		return err
	})
	for after := int64(0); err == nil; {
		var found []storedManifest
		err = c.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			found, err = manifestsIn(tx, table, after, newest, manifestsRead, manifestBytes)
			return err
		})
		if err != nil || len(found) == 0 {
			break
		}
		for _, m := range found {
			for _, dgst := range blobsOf(m.mediaType, m.data) {
				refs.add(m.repository, dgst)
			}
			runtime.Gosched() // requests first
		}
		after = found[len(found)-1].id
		if refs.low == 0 {
			c.sum.Manifests += int64(len(found))
		}
		err = c.step(ctx, done(float64(after)/float64(newest)))
	}
	return err
}

// blobsOf returns the digests of the blobs that a manifest refers to, also of those
// that need not be here. Of one that cannot be read, though it was taken once, every
// digest in it counts as that of a blob.
func blobsOf(mediaType string, data []byte) (digests []string) {
	m, err := oci.ParseManifest(mediaType, data)
	if err != nil {
		return digestsIn(data)
	}
	for _, r := range m.References {
		if r.Kind != oci.RefersChild {
			digests = append(digests, string(r.Descriptor.Digest))
		}
	}
	return digests
}

// digestsIn returns the strings of a JSON text that are digests, as far as it can be
// read.
func digestsIn(data []byte) (digests []string) {
	text := json.NewDecoder(strings.NewReader(string(data)))
	for {
		token, err := text.Token()
		if err != nil {
			return digests
		}
		if s, ok := token.(string); ok {
			if _, err := oci.ParseDigest(s); err == nil {
				digests = append(digests, s)
			}
		}
	}
}

// link is a row of blob_link.
type link struct {
	digest     string
	repository int64
	linkedAt   int64
	condemned  int64 // 0: it is not
}

// judgeLinks decides about the links of digests of one algorithm, as far as the
// references go.
func (c *collector) judgeLinks(ctx context.Context, algorithm string, refs *references) error {
	after, end := bound(algorithm, refs.low), bound(algorithm, refs.high)
	for {
		var found []link
		err := c.DB.Read(ctx, func(tx *sqldb.Tx) error {
			last, err := lastOfLinks(tx, after, lookedAt)
			if err != nil {
				return err
			}
			found, err = linksIn(tx, after, min(last, end))
			return err
		})
		if err != nil || len(found) == 0 {
			return err
		}
		after = found[len(found)-1].digest
		if err := c.judge(ctx, found, refs); err != nil {
			return err
		}
		if err := c.step(ctx, c.sum.Done); err != nil {
			return err
		}
	}
}

// bound returns what every digest of a bucket is behind, and none of those before.
func bound(algorithm string, bucket int) string {
	if bucket == buckets {
		return algorithm + ":g"
	}
	const digits = "0123456789abcdef"
	return algorithm + ":" + string([]byte{digits[bucket/16], digits[bucket%16]})
}

// judge does with some links what is to be done: they are all there are of their
// digests, in order of these.
func (c *collector) judge(ctx context.Context, found []link, refs *references) error {
	old := c.began.Add(-c.Grace).UnixNano()
	var spared, condemned, removed []link
	var useless []string // digests that nothing refers to, and nobody did of late
	for i, l := range found {
		if i == 0 || found[i-1].digest != l.digest {
			useless = append(useless, l.digest)
		}
		of := len(useless) - 1
		c.sum.Links++
		switch used := refs.has(l.repository, l.digest); {
		case used && l.condemned != 0:
			spared = append(spared, l)
			useless[of] = ""
		case used || l.condemned == 0 && l.linkedAt > old:
			useless[of] = ""
		case l.condemned == 0:
			condemned = append(condemned, l)
		case l.condemned <= old:
			removed = append(removed, l)
		}
	}
	if c.DryRun {
		c.sum.Condemned += int64(len(condemned))
		c.sum.Unlinked += int64(len(removed))
		return c.countUseless(ctx, slices.DeleteFunc(useless, func(dgst string) bool { return dgst == "" }))
	}
	for _, verdict := range []struct {
		links []link
		carry func(*sqldb.Tx, link) (bool, error)
		count *int64
	}{
		{spared, spareLink, new(int64)},
		{condemned, condemnLink, &c.sum.Condemned},
		{removed, removeCondemned, &c.sum.Unlinked},
	} {
		slices.SortFunc(verdict.links, func(a, b link) int { return cmp.Compare(a.repository, b.repository) })
		for some := range slices.Chunk(verdict.links, collectedLinks) {
			n, err := c.carryOut(ctx, some, verdict.carry)
			*verdict.count += n
			if err == nil {
				err = c.step(ctx, c.sum.Done)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// carryOut changes links in one transaction, which holds their repositories as every
// change does. It returns how many were as they had been found.
func (c *collector) carryOut(ctx context.Context, links []link, carry func(*sqldb.Tx, link) (bool, error)) (n int64, err error) {
	err = c.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		n = 0
		for i, l := range links {
			if i == 0 || links[i-1].repository != l.repository {
				if err := holdRepository(tx, l.repository); err != nil {
					return err
				}
			}
			done, err := carry(tx, l)
			if err != nil {
				return err
			}
			if done {
				n++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// countUseless adds what the contents with these digests come to.
func (c *collector) countUseless(ctx context.Context, digests []string) error {
	for some := range slices.Chunk(digests, filesAtOnce) {
		err := c.DB.Read(ctx, func(tx *sqldb.Tx) error {
			n, bytes, err := sumContents(tx, some)
			c.sum.Blobs += n
			c.sum.Bytes += bytes
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
