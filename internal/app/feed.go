package app

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/dockbell/dockbell/internal/arm"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
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
		if page, err = bounds(tx); err != nil {
			return err
		}
		page.Next = pos
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
					entry, err := read(tx, head.Pos)
					if err != nil {
						return err
					}
					page.Entries = append(page.Entries, entry)
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

// Last implements arm.Feed.
func (f feed) Last(ctx context.Context, registry int64, n int) (page arm.FeedPage, err error) {
	err = f.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		if page, err = bounds(tx); err != nil {
			return err
		}
		page.Next = page.Newest
		size := 0
		for end := page.Newest; end >= page.Oldest && end > page.Newest-maxScan; end -= scanChunk {
			from := max(end-scanChunk, page.Oldest-1)
			heads, err := outbox.Heads(tx, from, int(end-from)) // positions are dense
			if err != nil {
				return err
			}
			for _, head := range slices.Backward(heads) {
				if head.Registry.ID != registry {
					continue
				}
				if len(page.Entries) == n || size >= maxFeedBytes {
					return nil
				}
				entry, err := read(tx, head.Pos)
				if err != nil {
					return err
				}
				page.Entries = append(page.Entries, entry)
				size += len(entry.ACRBody)
			}
		}
		return nil
	})
	slices.Reverse(page.Entries)
	return page, err
}

// Before implements arm.Feed.
func (f feed) Before(ctx context.Context, registry, pos int64, n int, want arm.FeedFilter) (page arm.FeedPage, err error) {
	err = f.db.Read(ctx, func(tx *sqldb.Tx) (err error) {
		if page, err = bounds(tx); err != nil {
			return err
		}
		first := page.Newest + 1
		if pos > 0 {
			first = min(first, pos)
		}
		page.Next = first
		size := 0
		for end := first - 1; end >= page.Oldest && end > 0; end -= scanChunk {
			if end <= first-1-maxScan {
				return nil
			}
			from := max(end-scanChunk, page.Oldest-1)
			heads, err := outbox.Heads(tx, from, int(end-from)) // positions are dense
			if err != nil {
				return err
			}
			for _, head := range slices.Backward(heads) {
				if head.Registry.ID == registry && mayPass(want, head) {
					if len(page.Entries) == n || size >= maxFeedBytes {
						return nil
					}
					entry, err := read(tx, head.Pos)
					if err != nil {
						return err
					}
					if want.Passes(entry.Event) {
						page.Entries = append(page.Entries, entry)
						size += len(entry.ACRBody)
					}
				}
				page.Next = head.Pos
			}
		}
		page.Next = 0
		return nil
	})
	return page, err
}

// mayPass is whether a filter may let an event pass of which the head is known: that
// of one owed to a single endpoint has no action.
func mayPass(want arm.FeedFilter, head *event.Event) bool {
	if head.Action == "" {
		want.Action = ""
	}
	return want.Passes(head)
}

// Find implements arm.Feed.
func (f feed) Find(ctx context.Context, registry int64, id string) (found arm.FeedEntry, err error) {
	err = f.db.Read(ctx, func(tx *sqldb.Tx) error {
		var entry outbox.Entry
		pos, err := strconv.ParseInt(id, 10, 64)
		if err == nil {
			entry, err = outbox.At(tx, pos)
		} else {
			entry, err = outbox.ByID(tx, registry, id)
		}
		if errors.Is(err, sqldb.ErrNoRow) || err == nil && entry.Event.Registry.ID != registry {
			return fault.New(fault.NotFound, "there is no event %.80q in the registry, or it is not kept any more", id)
		}
		found = arm.FeedEntry{Event: entry.Event, ACRBody: entry.ACRBody}
		return err
	})
	return found, err
}

// bounds returns a page without entries.
func bounds(tx *sqldb.Tx) (page arm.FeedPage, err error) {
	if page.Oldest, err = outbox.Oldest(tx); err != nil {
		return page, err
	}
	page.Newest, err = outbox.Last(tx)
	return page, err
}

func read(tx *sqldb.Tx, pos int64) (arm.FeedEntry, error) {
	entry, err := outbox.At(tx, pos)
	return arm.FeedEntry{Event: entry.Event, ACRBody: entry.ACRBody}, err
}

// Changed implements arm.Feed.
func (f feed) Changed() <-chan struct{} { return f.events.Changed() }
