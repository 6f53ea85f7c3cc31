package delivery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Outcome is what an attempt came to.
type Outcome string

// The outcomes. Interrupted means that this process ended while the attempt
// ran: the receiver may have seen it.
const (
	Delivered   Outcome = "delivered"
	Refused     Outcome = "refused" // the receiver does not want this event; not tried again
	Failed      Outcome = "failed"  // tried again later
	Interrupted Outcome = "interrupted"
)

// Attempt is one request made for a delivery, as it is on record.
type Attempt struct {
	Endpoint  int64
	Pos       int64  // of the event
	EventID   string // of the event
	ACRBody   []byte // of the event, as it was sent; nil when that is not kept any more
	Replay    int64  // number of the replay it belongs to; 0: none
	N         int    // from 1
	StartedAt time.Time
	Duration  time.Duration
	Outcome   Outcome
	Class     outbound.Class
	Message   string // why there was no answer, for people
	Sent      outbound.RequestHead
	Answer    *outbound.ResponseHead // nil: there was none
	Body      []byte                 // of the answer, when it was no success
}

// Filter narrows the log. The zero value is all of it.
type Filter struct {
	Outcome Outcome // empty: any
	Replay  int64   // attempts of this replay; 0: any

	// Attempts that began in this time; zero: at any.
	From  time.Time
	Until time.Time // not itself

	// Attempts for this event; empty: any. EventAt, if it is not zero, is when that
	// happened, by which it is found however old it is.
	EventID string
	EventAt time.Time

	// Attempts for events of this kind. What of an event is not kept any more does
	// not pass these.
	Action     event.Action // empty: any
	Repository string       // empty: any
	Tag        string       // empty: any
}

// sifts reports whether attempts have to be looked at to see which pass.
func (f Filter) sifts() bool {
	return f.Outcome != "" || f.Replay > 0 || f.Action != "" || f.Repository != "" || f.Tag != ""
}

// maxSifted is how many attempts are looked at for one page.
const maxSifted = 5000

// Attempts returns up to n attempts of an endpoint, newest first, from the one
// after the cursor on (an empty one: from the newest), and the cursor to go on
// with, empty at the end. A page may be short, or empty, and not the last one: so
// much work is done for each, however long the log is and however few of it pass
// the filter. It fails with fault.Invalid for a cursor that is none.
func (e *Engine) Attempts(ctx context.Context, endpoint int64, f Filter, after string, n int) (page []Attempt, next string, err error) {
	c := cursor{started: math.MaxInt64}
	if after != "" {
		if c, err = parseCursor(after); err != nil {
			return nil, "", err
		}
	}
	registry := e.registryOf(endpoint)
	var sifted cursor // the last attempt that was looked at, if there may be more
	err = e.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		if f.Replay > 0 { // which may have rung another address
			if endpoint, err = replayTarget(tx, endpoint, f.Replay); err != nil {
				return err
			}
		}
		if f.EventID != "" {
			found, err := findEvent(tx, registry, f.EventID, f.EventAt)
			if errors.Is(err, sqldb.ErrNoRow) {
				return nil
			}
			if err != nil {
				return err
			}
			page, err = selectAttemptsOf(tx, endpoint, found.Event.Pos, f, c, n+1)
			return err
		}
		if page, err = selectAttempts(tx, endpoint, f, c, n+1); err != nil || len(page) > n || !f.sifts() {
			return err
		}
		sifted, err = lastSifted(tx, endpoint, f, c)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(page) > n {
		page = page[:n]
		last := page[n-1]
		sifted = cursor{last.StartedAt.UnixNano(), last.Pos, last.Replay, last.N}
	}
	if sifted != (cursor{}) {
		next = sifted.String()
	}
	return page, next, nil
}

// registryOf returns the registry of an endpoint, 0 for one that is not there.
func (e *Engine) registryOf(endpoint int64) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ep := e.endpoints[endpoint]; ep != nil {
		return ep.registry
	}
	return 0
}

// findEvent returns the event of a registry that has the id, or sqldb.ErrNoRow. A
// time that is not zero is when it happened.
func findEvent(tx *sqldb.Tx, registry int64, id string, at time.Time) (outbox.Entry, error) {
	if at.IsZero() {
		return outbox.ByID(tx, registry, id)
	}
	return outbox.ByIDAt(tx, registry, id, at)
}

// cursor is the place of an attempt in the log of its endpoint.
type cursor struct {
	started, pos, replayNo int64
	n                      int
}

func (c cursor) String() string {
	return fmt.Sprintf("%d.%d.%d.%d", c.started, c.pos, c.replayNo, c.n)
}

func parseCursor(s string) (c cursor, err error) {
	if _, err := fmt.Sscanf(s, "%d.%d.%d.%d", &c.started, &c.pos, &c.replayNo, &c.n); err != nil {
		return c, fault.New(fault.Invalid, "%q is no place in the log: use the nextLink of an answer as it is", s)
	}
	return c, nil
}
