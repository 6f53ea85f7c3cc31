package app

import (
	"context"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// feed is the outbox as package arm reads it.
type feed struct {
	db     *sqldb.DB
	events *outbox.Outbox
}

// Bounds on one page of the feed: how many events are looked at, of all
// registries, how many at a time, and how many bytes are in memory at the most.
const (
	maxScan      = 4000
	scanChunk    = 250
	maxFeedBytes = 1 << 20
)

// After implements arm.Feed.
func (f feed) After(ctx context.Context, registry, pos int64, n int) (page arm.FeedPage, err error) {
	err = f.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		page = arm.FeedPage{Next: pos}
		if page.Oldest, err = outbox.Oldest(tx); err != nil {
			return err
		}
		if page.Newest, err = outbox.Last(tx); err != nil {
			return err
		}
		for size, scanned := 0, 0; scanned < maxScan; scanned += scanChunk {
			heads, err := outbox.Heads(tx, page.Next, scanChunk)
			if err != nil {
				return err
			}
			for _, head := range heads {
				if head.Registry.ID == registry {
					if len(page.Entries) == n || size >= maxFeedBytes {
						return nil
					}
					entry, err := outbox.At(tx, head.Pos)
					if err != nil {
						return err
					}
					page.Entries = append(page.Entries, arm.FeedEntry{Event: entry.Event, ACRBody: entry.ACRBody})
					size += len(entry.ACRBody)
				}
				page.Next = head.Pos
			}
			if len(heads) < scanChunk {
				return nil
			}
		}
		return nil
	})
	return page, err
}

// Changed implements arm.Feed.
func (f feed) Changed() <-chan struct{} { return f.events.Changed() }
