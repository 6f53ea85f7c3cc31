package registry

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// pulls are the pulls that somebody waits to hear of, on their way to the outbox.
// A pull changes nothing, so its client does not wait for them: they are written
// by Run, some at a time, and what is in memory when the process dies is lost.
type pulls struct {
	queue chan *event.Event
	lost  atomic.Int64 // for which there was no room, since that was last said
}

const (
	maxPulls    = 1024 // in memory; beyond, they are counted and forgotten
	pullsAtOnce = 32   // in one transaction

	// sayAgain is how long nothing more is said of pulls that were lost.
	sayAgain = time.Minute

	// lastPulls is how long the last of them may take to be written.
	lastPulls = 5 * time.Second
)

// pulled tells of a manifest that a client got by its tag. It looks first whether
// anybody is owed that, which costs a look into memory, and never blocks.
func (h *handle) pulled(repo oci.Repository, tag oci.Tag, m *oci.Manifest) {
	if h.caller.Request.Method != "GET" || !h.Wanted(h.reg.ID, event.Pull) {
		return // HEAD, or no client's request
	}
	e := h.happened(event.Pull, event.Target{
		MediaType: m.Descriptor.MediaType, Size: m.Descriptor.Size, Digest: string(m.Descriptor.Digest),
		Repository: string(repo), Tag: string(tag),
	})
	if !h.Owed(e) {
		return
	}
	select {
	case h.pulls.queue <- e:
	default:
		h.pulls.lost.Add(1)
	}
}

// Run writes the events of pulls until ctx ends, and then those that are left.
func (s *Store) Run(ctx context.Context) {
	var said time.Time
	for {
		select {
		case e := <-s.pulls.queue:
			s.writePulls(context.WithoutCancel(ctx), s.someOf(e))
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastPulls)
			defer cancel()
			for {
				select {
				case e := <-s.pulls.queue:
					s.writePulls(last, s.someOf(e))
				default:
					s.sayLost()
					return
				}
			}
		}
		if now := time.Now(); now.Sub(said) >= sayAgain && s.sayLost() {
			said = now
		}
	}
}

// someOf returns a pull and those that wait behind it, as many as are written at
// once.
func (s *Store) someOf(first *event.Event) []*event.Event {
	some := []*event.Event{first}
	for len(some) < pullsAtOnce {
		select {
		case e := <-s.pulls.queue:
			some = append(some, e)
		default:
			return some
		}
	}
	return some
}

func (s *Store) writePulls(ctx context.Context, events []*event.Event) {
	drafts := make([]*outbox.Draft, len(events))
	for i, e := range events {
		drafts[i] = outbox.Prepare(e)
	}
	err := s.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		for _, d := range drafts {
			if err := s.Outbox.Append(tx, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.pulls.lost.Add(int64(len(events)))
		s.Log.Error("pulls cannot be written", "error", err)
	}
}

// sayLost reports whether there was anything to say.
func (s *Store) sayLost() bool {
	n := s.pulls.lost.Swap(0)
	if n > 0 {
		s.Log.Warn("pulls rang nobody: they came faster than they can be written; narrow the scope of the webhooks that ask for them", "count", n)
	}
	return n > 0
}
