package chart

import (
	"context"
	"errors"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// Size returns how many bytes of packages and provenance files a hosted registry
// holds.
func (s *Store) Size(ctx context.Context, registry int64) (size int64, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		size, err = sizeOf(tx, registry)
		return err
	})
	return size, err
}

// Named returns those of some files of the blob store, of which there is at least
// one, that hold packages. What it leaves out and nobody else names either is left
// over, if it is older than any request that is still at work.
func (s *Store) Named(tx *sqldb.Tx, files []string) ([]string, error) { return named(tx, files) }

// removedAtOnce is how many versions are removed in one transaction.
const removedAtOnce = 100

// Purge removes the charts of a hosted registry that was deleted. Nothing is told
// of it. What a crash leaves over another call removes.
func (s *Store) Purge(ctx context.Context, registry int64) error {
	// Changes that began before the registry was deleted end before this, and
	// later ones are refused.
	err := s.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		_, err := touchIndex(tx, registry)
		if errors.Is(err, sqldb.ErrNoRow) {
			err = nil
		}
		return err
	})
	s.indexes.forget(registry)
	for more := true; more && err == nil; {
		more, err = s.purgeSome(ctx, registry)
	}
	return err
}

// purgeSome removes some charts and reports whether there may be more. A file goes
// before the row that names it.
func (s *Store) purgeSome(ctx context.Context, registry int64) (more bool, err error) {
	var found []storedRow
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		found, err = someStored(tx, registry, removedAtOnce)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, r := range found {
		if r.file != "" {
			if err := s.Blobs.Remove(r.file); err != nil {
				return false, err
			}
		}
	}
	err = s.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		for _, r := range found {
			if _, err := deleteVersion(tx, r.id); err != nil {
				return err
			}
		}
		if len(found) < removedAtOnce {
			return deleteIndex(tx, registry)
		}
		return nil
	})
	return len(found) == removedAtOnce, err
}
