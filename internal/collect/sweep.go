package collect

import (
	"context"
	"slices"
	"time"

	"github.com/dockbell/dockbell/internal/blob"
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
	rest := slices.Clone(old)
	for _, o := range r.Owners {
		if len(rest) == 0 {
			break
		}
		theirs, err := o.Owned(ctx, rest)
		if err != nil {
			return err
		}
		rest = slices.DeleteFunc(rest, func(f blob.File) bool { return slices.Contains(theirs, f.Name) })
	}
	for _, f := range rest {
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
