package collect

import (
	"context"
	"errors"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

const (
	// saveEvery is how often a collection that runs puts on record how far it is.
	saveEvery = time.Second

	// idle is how long a collection rests after a piece of work, as a multiple of
	// what the piece took: so it takes a quarter of one processor at most, and leaves
	// the disk to others.
	idle = 3

	// longestRest bounds that: a piece that took long waited for something.
	longestRest = 200 * time.Millisecond

	// again is when a collection is tried again that could not be started.
	again = time.Minute
)

// carryOut carries out a collection that is on record.
func (s *Store) carryOut(ctx context.Context, c Collection) {
	s.Log.Info("a collection begins", "collection", c.ID, "by", c.StartedBy, "dryRun", c.DryRun)
	r := &runner{Store: s, Collection: c, saved: time.Now(), stepped: time.Now()}
	err := r.work(ctx)
	switch {
	case err == nil:
		r.State, r.Done, r.Phase = Done, 1, ""
	case errors.Is(err, errCancelled), errors.Is(context.Cause(ctx), errCancelled):
		r.State = Cancelled
	case ctx.Err() != nil:
		r.State = Interrupted
	default:
		r.State, r.Problem = Failed, problem(err)
		s.Log.Error("a collection failed; what it did is done, and the next one begins anew", "collection", c.ID, "error", err)
	}
	f := r.Figures
	s.Log.Info("a collection ended", "collection", c.ID, "state", r.State, "dryRun", c.DryRun, "took", time.Since(c.StartedAt).Round(time.Millisecond),
		"uploads", f.Uploads, "repositories", f.Repositories, "manifests", f.Manifests, "links", f.Links, "condemned", f.Condemned, "unlinked", f.Unlinked,
		"blobs", f.Blobs, "bytes", f.Bytes, "files", f.Files, "fileBytes", f.FileBytes)
	err = s.DB.Write(context.WithoutCancel(ctx), sqldb.Change, func(tx *sqldb.Tx) error { return endCollection(tx, r.Collection) })
	if err != nil {
		s.Log.Error("how a collection ended cannot be put on record", "collection", c.ID, "error", err)
	}
}

// problem is what of an error is for those who may look at collections.
func problem(err error) string {
	if f := fault.As(err); f != nil && f.Kind != fault.Internal {
		return f.Message
	}
	return "something went wrong; the server's log says what"
}

// runner is a collection that runs.
type runner struct {
	*Store
	Collection
	saved   time.Time // when it was last put on record how far it is
	stepped time.Time // when the last rest ended
}

// contentsShare is how much of the whole the contents are.
const contentsShare = 0.9

func (r *runner) work(ctx context.Context) error {
	err := r.Store.Contents(ctx, How{Grace: r.Grace, DryRun: r.DryRun, Foreign: r.Foreign, Step: func(ctx context.Context, so Contents) error {
		r.Figures.Contents = so
		r.Done *= contentsShare
		return r.step(ctx)
	}})
	if err != nil {
		return err
	}
	r.Phase, r.Done = "files", contentsShare
	return r.sweep(ctx)
}

// step is what lies between two pieces of work: it puts on record how far the
// collection is, now and then, and rests.
func (r *runner) step(ctx context.Context) error {
	if time.Since(r.saved) >= saveEvery {
		var goOn bool
		err := r.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
			goOn, err = saveFigures(tx, r.Collection)
			return err
		})
		if err != nil {
			return err
		}
		if !goOn {
			return errCancelled
		}
		r.saved = time.Now()
	}
	rest := min(idle*time.Since(r.stepped), longestRest)
	select {
	case <-time.After(rest):
	case <-ctx.Done():
		return ctx.Err()
	}
	r.stepped = time.Now()
	return nil
}

// schedule starts collections by themselves.
func (s *Store) schedule() {
	for s.run.Err() == nil {
		due, by, err := s.next(s.run, time.Now())
		if err == nil && !time.Now().Before(due) {
			_, err = s.Collect(s.run, by, false)
			if err == nil {
				due = time.Now().Add(s.Every) // or its end
			}
		}
		if err != nil {
			if !fault.Is(err, fault.Conflict) && s.run.Err() == nil {
				s.Log.Warn("a collection cannot be started; it is tried again", "error", err)
			}
			due = time.Now().Add(again)
		}
		timer := time.NewTimer(time.Until(due))
		select {
		case <-timer.C:
		case <-s.ended:
		case <-s.run.Done():
		}
		timer.Stop()
	}
}

// Next returns when the next collection begins by itself; zero if none does.
func (s *Store) Next(ctx context.Context) (time.Time, error) {
	if s.Every == 0 {
		return time.Time{}, nil
	}
	due, _, err := s.next(ctx, time.Now())
	return due, err
}

// next returns when the next collection is due, and why.
func (s *Store) next(ctx context.Context, now time.Time) (due time.Time, by string, err error) {
	var last Collection
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		last, err = lastCollection(tx)
		if errors.Is(err, sqldb.ErrNoRow) {
			err = nil
		}
		return err
	})
	due, by = s.dueAfter(last, now)
	if first := s.opened.Add(s.First); due.Before(first) {
		due = first
	}
	return due, by, err
}

// dueAfter returns when a collection is due after the last one, the zero one if there
// was none, and why: what that one condemned is looked at again once its grace time is
// over. It is so only once, or collections would follow each other.
func (s *Store) dueAfter(last Collection, now time.Time) (due time.Time, by string) {
	due, by = last.StartedAt.Add(s.Every), bySchedule
	switch {
	case last.ID == 0, last.State == Interrupted:
		due = s.opened
	case last.State == Running:
		due = now.Add(s.Every) // its end will tell
	case last.State == Done && last.Condemned > 0 && last.StartedBy != bySecond:
		if second := last.EndedAt.Add(s.Grace + time.Second); second.Before(due) {
			due, by = second, bySecond
		}
	}
	return due, by
}
