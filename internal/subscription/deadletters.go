package subscription

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Letters are the dead letters that no file has yet. Package delivery has them.
type Letters interface {
	// Unfiled returns up to n of an endpoint, in an order that stays.
	Unfiled(ctx context.Context, endpoint int64, n int) ([]ring.Letter, error)

	// Filed takes note that files have letters that Unfiled returned.
	Filed(ctx context.Context, letters []ring.Letter) error
}

// perFile is how many dead letters one file has at the most.
const perFile = 100

// How often it is looked for dead letters that nobody told of, and for receivers
// that nobody confirmed, and how soon after a failure.
const (
	lookEvery = time.Hour
	lookAgain = time.Minute
)

// DeadLettered tells that a subscription may have dead letters. It does not block.
func (s *Store) DeadLettered(endpoint int64) {
	s.lettered.mu.Lock()
	s.lettered.endpoints[endpoint] = true
	s.lettered.mu.Unlock()
	select {
	case s.lettered.wake <- struct{}{}:
	default:
	}
}

// Run writes files of dead letters, and has given up what waited for too long where
// nobody confirmed, until ctx ends.
func (s *Store) Run(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		var of map[int64]bool // nil: all
		select {
		case <-ctx.Done():
			return
		case <-s.lettered.wake:
			of = s.lettered.take()
		case <-next.C:
			next.Reset(lookEvery)
		}
		for _, h := range s.rules.Load().all() {
			if of != nil && !of[h.ID] {
				continue
			}
			err := s.fileAll(ctx, h)
			if of == nil && h.terms.Held {
				err = errors.Join(err, s.remind(ctx, h))
			}
			if err != nil && ctx.Err() == nil {
				s.Log.Error("dead letters of an event subscription are not in files, or not given up; trying again", "subscription", h.Name, "registry", h.RegistryID, "error", err)
				next.Reset(lookAgain)
			}
		}
	}
}

// remind tells the endpoint of h that it is still held, so that it gives up what
// waits for too long.
func (s *Store) remind(ctx context.Context, h *hook) error {
	return s.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		row, err := selectEndpoint(tx, h.RegistryID, h.ID)
		if errors.Is(err, sqldb.ErrNoRow) {
			return nil
		}
		if err != nil {
			return err
		}
		return s.hold(tx, row.record)
	})
}

// fileAll writes the dead letters of h into files, if they are to go there.
func (s *Store) fileAll(ctx context.Context, h *hook) error {
	for h.DeadLetters != nil && ctx.Err() == nil {
		letters, err := s.Letters.Unfiled(ctx, h.ID, perFile)
		if err != nil || len(letters) == 0 {
			return err
		}
		if err := s.file(h, letters); err != nil {
			return err
		}
		if err := s.Letters.Filed(ctx, letters); err != nil {
			return err // they are filed again, under the same name
		}
	}
	return nil
}

// file writes one file of dead letters, where Event Grid has it:
// <container>/<NAME>/<year>/<month>/<day>/<hour>/<id>.json, in UTC. The id follows
// from the first of the letters.
func (s *Store) file(h *hook, letters []ring.Letter) error {
	all := make([]event.DeadLetter, len(letters))
	for i, l := range letters {
		all[i] = event.DeadLetter{
			Event: l.Event, Reason: string(l.Reason), Attempts: l.Attempts, LastOutcome: string(l.LastOutcome), LastStatus: l.LastStatus, LastAttemptAt: l.LastAttempt,
		}
	}
	at := letters[0].At.UTC()
	folder := filepath.Join(s.Folder, h.DeadLetters.Container, strings.ToUpper(h.Name), fmt.Sprintf("%d/%d/%d/%d", at.Year(), at.Month(), at.Day(), at.Hour()))
	id := uuid.NewSHA1(uuid.NameSpaceURL, []byte("dockbell:dead-letter:"+letters[0].Key))
	return s.writeDurably(folder, id.String()+".json", event.DeadLetterFile(h.Schema == CloudEventSchema, all))
}

// writeDurably writes a file as a whole or not at all, for the operator alone. Also
// the folders above it are durable then.
func (s *Store) writeDurably(folder, name string, data []byte) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(folder, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	for top := filepath.Dir(s.Folder); folder != top && err == nil; folder = filepath.Dir(folder) {
		err = flush(folder)
	}
	return err
}

// flush makes what was renamed in a folder, and made there, durable.
func flush(folder string) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
