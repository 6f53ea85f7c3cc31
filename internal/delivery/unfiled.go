package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Unfiled returns up to n events of dead letters of an event subscription that
// Filed was not called for, in an order that stays: those of a range one by one.
// What is not kept any more is left out, and what was sent to try the receiver. It costs one look into an index where
// there is none. An endpoint that is not there has none.
func (e *Engine) Unfiled(ctx context.Context, endpoint int64, n int) ([]ring.Letter, error) {
	e.mu.Lock()
	ep := e.endpoints[endpoint]
	e.mu.Unlock()
	if ep == nil {
		return nil, nil
	}
	var letters []ring.Letter
	var nothing []ring.Letter // stretches in which there is nothing to file
	for after := int64(0); len(letters) < n; {
		var page []DeadLetter
		var entries []outbox.Entry // of those of a single event; the zero entry for one that is not kept
		err := e.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
			if page, err = selectUnfiled(tx, endpoint, after, min(n-len(letters), wholeChunk)); err != nil {
				return err
			}
			entries = make([]outbox.Entry, len(page))
			for i, d := range page {
				if d.PosFrom == d.PosTo {
					if entries[i], err = outbox.At(tx, d.PosFrom); err != nil && !errors.Is(err, sqldb.ErrNoRow) {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		for i, d := range page {
			after = d.ID
			switch ev := entries[i].Event; {
			case ev != nil && !urgent(ev):
				letters = append(letters, d.letter(endpoint, ev, d.PosTo))
			case d.PosFrom == d.PosTo:
				nothing = append(nothing, ring.Letter{ID: d.ID, Upto: d.PosTo})
			default:
				of, skipped, err := e.unfiledOf(ctx, ep, d, n-len(letters))
				if err != nil {
					return nil, err
				}
				letters, nothing = append(letters, of...), append(nothing, skipped...)
			}
			if len(letters) >= n {
				break
			}
		}
	}
	if len(nothing) > 0 {
		if err := e.Filed(ctx, nothing); err != nil {
			return nil, err
		}
	}
	return letters, nil
}

// unfiledOf returns up to n events of a range that are not filed, or, where the
// range ends without any, up to where there are none.
func (e *Engine) unfiledOf(ctx context.Context, ep *endpoint, d DeadLetter, n int) (letters, nothing []ring.Letter, err error) {
	cursor := max(d.filed, d.PosFrom-1)
	for len(letters) < n && cursor < d.PosTo {
		f, err := e.lookBehind(ctx, cursor, d.PosTo, n-len(letters), time.Time{}, e.ofRange(ep))
		if err != nil {
			return nil, nil, err
		}
		entries, err := e.entries(ctx, f)
		if err != nil {
			return nil, nil, err
		}
		cursor = f.cursor
		for _, entry := range entries {
			letters = append(letters, d.letter(ep.id, entry.Event, entry.Event.Pos))
		}
	}
	if len(letters) == 0 {
		return nil, []ring.Letter{{ID: d.ID, Upto: cursor}}, nil
	}
	letters[len(letters)-1].Upto = cursor
	return letters, nil, nil
}

// ofRange takes the events of a range of dead letters of ep. In its stretch there
// may also be events that were sent, and some that are dead letters by themselves.
func (e *Engine) ofRange(ep *endpoint) func(*sqldb.Tx) (want, error) {
	return func(tx *sqldb.Tx) (want, error) {
		owed, err := e.destinations.History(tx, ep.registry, ep.owner)
		var known, single map[int64]bool
		return want{
			whole: owed.Whole,
			among: func(first, last int64) (err error) {
				if known, err = triedBetween(tx, ep.id, first, last); err != nil {
					return err
				}
				single, err = singleLetters(tx, ep.id, first, last)
				return err
			},
			takes: func(ev *event.Event) (bool, error) {
				if known[ev.Pos] || single[ev.Pos] || !takes(owed, ev) {
					return false, nil
				}
				return isGivenUp(tx, ep.id, ev.Pos)
			},
		}, err
	}
}

// letter is an event of d, with which d is filed up to a position.
func (d DeadLetter) letter(endpoint int64, ev *event.Event, upTo int64) ring.Letter {
	return ring.Letter{
		Key: fmt.Sprintf("%d-%d", d.ID, ev.Pos), Endpoint: endpoint, Event: ev, Reason: d.Code, Why: d.Reason, At: d.At,
		Attempts: d.Attempts, LastOutcome: d.LastOutcome, LastStatus: d.LastStatus, LastAttempt: d.LastAttempt,
		ID: d.ID, Upto: upTo,
	}
}

// Filed takes note that letters are filed, which Unfiled returned: all of them, or
// the first ones. Those of dead letters that were purged or replayed meanwhile are
// passed over.
func (e *Engine) Filed(ctx context.Context, letters []ring.Letter) error {
	return e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
		for i, l := range letters {
			if i+1 < len(letters) && letters[i+1].ID == l.ID {
				continue // which goes further
			}
			if err := saveFiled(tx, l.ID, l.Upto); err != nil {
				return err
			}
		}
		return nil
	})
}
