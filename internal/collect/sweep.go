package collect

import (
	"context"
	"slices"
	"time"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// leftover is the age from which on a file that is on record nowhere belongs to nobody.
const leftover = 24 * time.Hour

// filesAtOnce is how many files the owners are asked about at once.
const filesAtOnce = 100

// sweep removes files of the blob store that nobody owns: a crash left them between
// the file and its row, in either order.
func (r *runner) sweep(ctx context.Context) error {
	if r.Foreign {
		r.Log.Warn("files that no row names are left alone: the data folder was used with another database, which may name them", "collection", r.ID)
		return nil
	}
	old := make([]blob.File, 0, filesAtOnce)
	seen := 0
	for f, err := range r.Blobs.Kept() {
		if err != nil {
			return err
		}
		if r.StartedAt.Sub(f.Changed) >= leftover {
			old = append(old, f)
		}
		if seen++; len(old) == filesAtOnce || seen%(10*filesAtOnce) == 0 {
			if err := r.sweepSome(ctx, old); err != nil {
				return err
			}
			old = old[:0]
		}
	}
	return r.sweepSome(ctx, old)
}

// sweepSome removes those of some old files that nobody owns.
func (r *runner) sweepSome(ctx context.Context, old []blob.File) error {
	names := make([]string, len(old))
	for i, f := range old {
		names[i] = f.Name
	}
	err := r.DB.Read(ctx, func(tx *sqldb.Tx) error {
		for _, o := range r.Owners {
			if len(names) == 0 {
				return nil
			}
			theirs, err := o.Named(tx, names)
			if err != nil {
				return err
			}
			names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(theirs, name) })
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, f := range old {
		if !slices.Contains(names, f.Name) {
			continue
		}
		if !r.DryRun {
			if err := r.Blobs.Remove(f.Name); err != nil {
				return err
			}
		}
		r.Files++
		r.FileBytes += f.Size
	}
	return r.step(ctx)
}
