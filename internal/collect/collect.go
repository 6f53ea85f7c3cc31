// Package collect runs collections: from time to time, or when somebody asks, what
// nothing needs any more is removed while the server goes on working.
//
// It owns when a collection runs and what is on record of it, and the files of the blob
// store that nobody owns: it lists them and asks the owners. What is needed of a
// registry's contents is for package registry, which does that part of a collection.
// Invariants:
//   - One collection at a time runs, over all processes that share a database. That
//     spares work: two would do no harm.
//   - A file is removed only if it is a day old and no owner has it on record; and none
//     in a store whose files another database may name.
package collect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Owner keeps files in the blob store, and their names on record. It puts a name there
// within a day of when the file was kept, or never.
type Owner interface {
	// Named returns those of some files that are on record.
	Named(tx *sqldb.Tx, files []string) ([]string, error)
}

// Options are what a Store is made of.
type Options struct {
	DB    *sqldb.DB
	Blobs blob.Store
	Log   *slog.Logger

	// Contents collects what a registry's tables hold. It returns when that is done, or
	// with the error of ctx or of how.Step.
	Contents func(ctx context.Context, how How) error

	// Owners are all who keep files in Blobs.
	Owners []Owner

	// Foreign says that the files in Blobs may be on record in another database than
	// DB: they are left alone.
	Foreign bool

	// Every is how long after the start of one collection the next one starts by
	// itself. 0: none does.
	Every time.Duration

	// First is how long after Open a collection may begin by itself at the earliest.
	First time.Duration

	// Grace is how long what was found to be needed by nothing stays.
	Grace time.Duration
}

// How says how the contents are to be collected.
type How struct {
	Grace  time.Duration
	DryRun bool // only count

	// Foreign says that files which no row names are to be left alone.
	Foreign bool

	// Step is called after each small piece of work, with what was done so far, and
	// takes its time. Its error ends the collection.
	Step func(context.Context, Contents) error
}

// Contents is what was collected of a registry's contents. Of a dry run it is what
// would have been.
type Contents struct {
	Phase string  // what is being done
	Done  float64 // how much of it all is done, 0 to 1

	Uploads      int64 // sessions ended
	Repositories int64 // that there were at the start
	Manifests    int64 // looked at
	Links        int64 // of blobs to repositories, looked at
	Condemned    int64 // links that go in a later collection, unless somebody needs them
	Unlinked     int64 // links removed
	Blobs        int64 // contents removed
	Bytes        int64 // of these, and of uploads
}

// Figures is what a collection came to.
type Figures struct {
	Contents
	Files     int64 // that nobody owned, removed
	FileBytes int64
}

// State is what a collection is in.
type State string

// The states. All but Running are final.
const (
	Running     State = "running"
	Done        State = "done"
	Cancelled   State = "cancelled"
	Interrupted State = "interrupted" // the server stopped
	Failed      State = "failed"
)

// Who starts a collection, if it is no caller: no account has such a name.
const (
	bySchedule = "the schedule"
	bySecond   = "the second look" // at what the one before condemned
)

// Collection is one that runs, or ran.
type Collection struct {
	ID        int64
	State     State
	DryRun    bool
	StartedAt time.Time
	StartedBy string
	EndedAt   time.Time // zero while it runs
	Figures             // up to a second old while it runs
	Problem   string    // why it failed, for people
}

// Store runs collections.
type Store struct {
	Options
	opened time.Time
	ended  chan struct{} // a collection ended here

	mu      sync.Mutex
	running int64 // the collection that this process runs, or 0
	cancel  context.CancelCauseFunc
	stop    context.CancelFunc
	run     context.Context // until Stop
	work    sync.WaitGroup
}

// right is the name of the right to collect.
const right = "collection"

// Open returns a Store, and puts on record what an earlier process left in the midst.
// Nothing runs by itself before Start.
func Open(ctx context.Context, o Options) (*Store, error) {
	run, stop := context.WithCancel(context.Background())
	s := &Store{Options: o, opened: time.Now(), ended: make(chan struct{}, 1), run: run, stop: stop}
	release, ok, err := s.DB.Exclusive(ctx, right)
	if err != nil || !ok { // another process runs one, and has put it on record
		return s, err
	}
	defer release()
	return s, s.DB.Write(ctx, sqldb.Change, interruptAll)
}

// Start has collections run by themselves, if Options.Every says so.
func (s *Store) Start() {
	if s.Every > 0 {
		s.work.Go(s.schedule)
	}
}

// Stop ends what runs and returns when it has ended.
func (s *Store) Stop() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.work.Wait()
}

// Collect starts a collection, which goes on by itself. It fails with fault.Conflict
// while another one runs, here or elsewhere.
func (s *Store) Collect(ctx context.Context, by string, dryRun bool) (Collection, error) {
	release, err := s.take(ctx)
	if err != nil {
		return Collection{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run.Err() != nil {
		release()
		return Collection{}, fault.New(fault.Unavailable, "the server is shutting down")
	}
	c := Collection{State: Running, DryRun: dryRun, StartedBy: by}
	err = s.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) (err error) {
		if err := interruptAll(tx); err != nil { // none runs
			return err
		}
		c.StartedAt = tx.Now()
		c.ID, err = insertCollection(tx, c)
		return err
	})
	if err != nil {
		release()
		return Collection{}, err
	}
	run, cancel := context.WithCancelCause(s.run)
	s.running, s.cancel = c.ID, cancel
	s.work.Go(func() {
		s.carryOut(run, c)
		s.mu.Lock()
		s.running, s.cancel = 0, nil
		s.mu.Unlock()
		cancel(nil)
		release()
		select {
		case s.ended <- struct{}{}:
		default:
		}
	})
	return c, nil
}

// take takes the right to collect. A collection that has just ended lets go of it a
// moment after that is on record.
func (s *Store) take(ctx context.Context) (release func(), err error) {
	const moments = 50
	for range moments {
		release, ok, err := s.DB.Exclusive(ctx, right)
		if ok || err != nil {
			return release, err
		}
		all, err := s.Collections(ctx)
		if err != nil {
			return nil, err
		}
		if len(all) > 0 && all[0].State == Running {
			return nil, inProgress()
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, inProgress()
}

func inProgress() error {
	return fault.New(fault.Conflict, "a collection runs already: wait for its end, or cancel it").WithCode("CollectionInProgress")
}

// errCancelled is why a collection ends that somebody cancelled.
var errCancelled = errors.New("collect: cancelled")

// Cancel ends a collection, here or in another process, which may take a moment: what
// it has done is done. It fails with fault.NotFound, and with fault.Conflict for one
// that is over.
func (s *Store) Cancel(ctx context.Context, id int64) (c Collection, err error) {
	err = s.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		if c, err = collectionByID(tx, id); err != nil {
			return unknown(err, id)
		}
		if c.State != Running {
			return fault.New(fault.Conflict, "collection %d is over: it was %s at %s", id, c.State, c.EndedAt.Format(time.RFC3339)).WithCode("CollectionNotRunning")
		}
		return cancelCollection(tx, id)
	})
	if err != nil {
		return Collection{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == id {
		s.cancel(errCancelled)
	}
	return c, nil
}

// kept is how many collections are on record.
const kept = 100

// Collections returns the newest collections, newest first: a hundred at most.
func (s *Store) Collections(ctx context.Context) (all []Collection, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		all, err = newestCollections(tx, kept)
		return err
	})
	return all, err
}

// Collection returns one. It fails with fault.NotFound.
func (s *Store) Collection(ctx context.Context, id int64) (c Collection, err error) {
	err = s.DB.Read(ctx, func(tx *sqldb.Tx) error {
		c, err = collectionByID(tx, id)
		return unknown(err, id)
	})
	return c, err
}

func unknown(err error, id int64) error {
	if errors.Is(err, sqldb.ErrNoRow) {
		return fault.New(fault.NotFound, "there is no collection %d on record: the newest %d are kept", id, kept)
	}
	return err
}
