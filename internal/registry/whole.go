package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// What is done with a hosted registry as a whole goes over many rows, and so in
// pieces: each looks at a bounded number of them in a transaction of its own.
const (
	linksAtOnce        = 500 // links of blobs, of all registries
	manifestsAtOnce    = 100
	repositoriesAtOnce = 200
	uploadsAtOnce      = 100
)

// sizes remembers what registries were found to hold.
type sizes struct {
	mu sync.Mutex // held while one is computed: there is no haste, and one at a time is enough
	of map[int64]knownSize
}

type knownSize struct {
	bytes int64
	until time.Time
}

// sizeLife is how long a figure counts as good. Computing it looks at every link
// of a blob there is.
const sizeLife = time.Minute

// Size returns how many bytes a hosted registry holds: each blob once, however
// many of its repositories have it, and its manifests, also those that were deleted and
// can be restored. The figure is up to a minute old.
func (s *Store) Size(ctx context.Context, registry int64) (int64, error) {
	s.sizes.mu.Lock()
	defer s.sizes.mu.Unlock()
	if known, ok := s.sizes.of[registry]; ok && time.Now().Before(known.until) {
		return known.bytes, nil
	}
	total, err := s.sizeOf(ctx, registry)
	if err != nil {
		return 0, err
	}
	if s.sizes.of == nil || len(s.sizes.of) >= maxKnown {
		s.sizes.of = map[int64]knownSize{}
	}
	s.sizes.of[registry] = knownSize{total, time.Now().Add(sizeLife)}
	return total, nil
}

func (s *Store) sizeOf(ctx context.Context, registry int64) (total int64, err error) {
	for after, more := "", true; more; {
		err := s.DB.Read(ctx, func(tx *sqldb.Tx) error {
			last, err := lastOfLinks(tx, after, linksAtOnce)
			if more = last != ""; err != nil || !more {
				return err
			}
			bytes, err := sumBlobs(tx, registry, after, last)
			total += bytes
			after = last
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	for after, more := "", true; more; {
		err := s.DB.Read(ctx, func(tx *sqldb.Tx) error {
			last, err := lastOfNames(tx, registry, after, repositoriesAtOnce)
			if more = last != ""; err != nil || !more {
				return err
			}
			bytes, err := sumManifests(tx, registry, after, last)
			total += bytes
			after = last
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return total, nil
}

// doomed is the number under which a deleted registry's repositories wait for
// their end: no request finds them there, so nothing is added to them.
func doomed(registry int64) int64 { return -registry }

// Purge removes the repositories, images and uploads of a hosted registry that
// was deleted. Nothing is told of it. Contents of blobs stay until nothing links
// them, as always. What a crash leaves over another call removes.
func (s *Store) Purge(ctx context.Context, registry int64) error {
	for _, step := range []func(*sqldb.Tx) (more bool, err error){
		func(tx *sqldb.Tx) (bool, error) {
			n, err := moveRepositories(tx, registry, doomed(registry), repositoriesAtOnce)
			return n > 0, err
		},
		s.unlinker(registry),
		func(tx *sqldb.Tx) (bool, error) {
			id, err := anyRepository(tx, doomed(registry))
			if errors.Is(err, sqldb.ErrNoRow) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			n, err := deleteSome(tx, id, manifestsAtOnce)
			if err == nil && n < manifestsAtOnce {
				n, err = deleteSomeDeleted(tx, id, manifestsAtOnce)
			}
			if err == nil && n < manifestsAtOnce {
				err = deleteRepository(tx, id)
			}
			return true, err
		},
	} {
		for more := true; more; {
			err := s.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
				more, err = step(tx)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return s.purgeUploads(ctx, registry)
}

// unlinker returns the step that removes the links of a deleted registry's
// blobs, in order of digest.
func (s *Store) unlinker(registry int64) func(*sqldb.Tx) (bool, error) {
	after := ""
	return func(tx *sqldb.Tx) (bool, error) {
		last, err := lastOfLinks(tx, after, linksAtOnce)
		if err != nil || last == "" {
			return false, err
		}
		if err := unlinkBlobs(tx, doomed(registry), after, last); err != nil {
			return false, err
		}
		tx.AfterCommit(func() { after = last })
		return true, nil
	}
}

// purgeUploads ends the upload sessions of a registry. A file goes before the row
// that names it.
func (s *Store) purgeUploads(ctx context.Context, registry int64) error {
	for {
		var found []uploadRow
		err := s.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			found, err = someUploads(tx, registry, uploadsAtOnce)
			return err
		})
		if err != nil || len(found) == 0 {
			return err
		}
		for _, u := range found {
			if u.file {
				if err := s.Blobs.Discard(u.id); err != nil {
					return err
				}
			}
		}
		err = s.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
			for _, u := range found {
				if err := deleteUpload(tx, u.id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}
