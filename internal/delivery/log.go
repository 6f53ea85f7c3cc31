package delivery

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
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
}

// Attempts returns up to n attempts of an endpoint, newest first, from the one
// after the cursor on (an empty one: from the newest), and the cursor to go on
// with, empty at the end. It fails with fault.Invalid for a cursor that is none.
func (e *Engine) Attempts(ctx context.Context, endpoint int64, f Filter, after string, n int) (page []Attempt, next string, err error) {
	c := cursor{started: math.MaxInt64}
	if after != "" {
		if c, err = parseCursor(after); err != nil {
			return nil, "", err
		}
	}
	err = e.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		if f.Replay > 0 { // which may have rung another address
			if endpoint, err = replayTarget(tx, endpoint, f.Replay); err != nil {
				return err
			}
		}
		page, err = selectAttempts(tx, endpoint, f, c, n+1)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(page) > n {
		page = page[:n]
		last := page[n-1]
		next = cursor{last.StartedAt.UnixNano(), last.Pos, last.Replay, last.N}.String()
	}
	return page, next, nil
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

func selectAttempts(tx *sqldb.Tx, endpoint int64, f Filter, after cursor, n int) ([]Attempt, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (Attempt, error) {
		a := Attempt{Endpoint: endpoint}
		var started, micros int64
		var sent, answer []byte
		var class string
		var body []byte
		var id sql.NullString
		if err := s(&a.Pos, &a.Replay, &a.N, &started, &micros, &a.Outcome, &class, &a.Message, &sent, &answer, &body, &id, &a.ACRBody); err != nil {
			return a, err
		}
		a.StartedAt, a.Duration = time.Unix(0, started).UTC(), time.Duration(micros)*time.Microsecond
		a.Class, a.Body = outbound.Class(class), body
		if err := json.Unmarshal(sent, &a.Sent); err != nil {
			return a, fmt.Errorf("attempt %d of event %d: %w", a.N, a.Pos, err)
		}
		if a.EventID = id.String; !id.Valid {
			a.EventID = a.Sent.Header["Webhook-Id"]
		}
		if answer != nil {
			var err error
			if a.Answer, err = decodeAnswer(answer); err != nil {
				return a, fmt.Errorf("attempt %d of event %d: %w", a.N, a.Pos, err)
			}
		}
		return a, nil
	}, `SELECT a.pos, a.replay_no, a.n, a.started_at, a.micros, a.outcome, a.error_class, a.error_message,
			a.request_head, a.response_head, a.response_body, e.id, e.acr_body
		FROM attempt a LEFT JOIN event e ON e.pos = a.pos
		WHERE a.endpoint = $1 AND a.started_at <= $2
			AND (a.started_at, a.pos, a.replay_no, a.n) < ($2, $3, $4, $5)
			AND ($7 = '' OR a.outcome = $7) AND ($8 = 0 OR a.replay_no = $8)
		ORDER BY a.started_at DESC, a.pos DESC, a.replay_no DESC, a.n DESC LIMIT $6`,
		endpoint, after.started, after.pos, after.replayNo, after.n, n, string(f.Outcome), f.Replay)
}
