package delivery

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/sqldb"
)

const (
	attemptColumns = `a.pos, a.replay_no, a.n, a.started_at, a.micros, a.outcome, a.error_class, a.error_message,
		a.request_head, a.response_head, a.response_body, e.id, e.acr_body`
	newestFirst = "started_at DESC, pos DESC, replay_no DESC, n DESC"

	// stretch is the part of an endpoint's log that begins behind a cursor, with
	// the arguments that stretchOf makes. It follows an index.
	stretch = ` FROM attempt WHERE endpoint = $1 AND started_at <= $2 AND (started_at, pos, replay_no, n) < ($2, $3, $4, $5) AND started_at >= $6`
)

func stretchOf(endpoint int64, f Filter, after cursor) []any {
	from := int64(math.MinInt64)
	if !f.From.IsZero() {
		from = f.From.UnixNano()
	}
	if !f.Until.IsZero() && f.Until.UnixNano() <= after.started {
		after = cursor{started: f.Until.UnixNano()} // before all that began at that moment
	}
	return []any{endpoint, after.started, after.pos, after.replayNo, after.n, from}
}

// undelivered is what of the log is looked at for a filter: of a healthy endpoint,
// which has few failures, those have an index of their own.
func undelivered(f Filter) string {
	if f.Outcome != "" && f.Outcome != Delivered {
		return " AND outcome <> 'delivered'"
	}
	return ""
}

// selectAttempts returns up to n attempts behind a cursor that pass the filter,
// newest first, of the first maxSifted there.
func selectAttempts(tx *sqldb.Tx, endpoint int64, f Filter, after cursor, n int) ([]Attempt, error) {
	args := stretchOf(endpoint, f, after)
	if !f.sifts() {
		return sqldb.Select(tx, scanAttempt(endpoint), "SELECT "+attemptColumns+`
			FROM (SELECT *`+stretch+" ORDER BY "+newestFirst+" LIMIT $7) AS a LEFT JOIN event e ON e.pos = a.pos ORDER BY "+newestFirstOf, append(args, n)...)
	}
	// Which they are is decided by rows without their texts.
	return sqldb.Select(tx, scanAttempt(endpoint), "SELECT "+attemptColumns+`
		FROM (SELECT s.id FROM (SELECT *`+keysOf(f)+`) AS s LEFT JOIN event h ON h.pos = s.pos
			WHERE ($8 = '' OR s.outcome = $8) AND ($9 = 0 OR s.replay_no = $9)
				AND ($10 = '' OR h.action = $10) AND ($11 = '' OR h.repository = $11) AND ($12 = '' OR h.tag = $12)
			ORDER BY s.started_at DESC, s.pos DESC, s.replay_no DESC, s.n DESC LIMIT $13) AS passed
		JOIN attempt a ON a.id = passed.id LEFT JOIN event e ON e.pos = a.pos ORDER BY `+newestFirstOf,
		append(args, maxSifted, string(f.Outcome), f.Replay, string(f.Action), f.Repository, f.Tag, n)...)
}

const newestFirstOf = "a.started_at DESC, a.pos DESC, a.replay_no DESC, a.n DESC"

// keysOf is what is sifted for a page, as a part of a query.
func keysOf(f Filter) string {
	return " FROM (SELECT id, pos, replay_no, n, started_at, outcome" + stretch + undelivered(f) + " ORDER BY " + newestFirst + " LIMIT $7) AS k"
}

// lastSifted returns the last attempt that selectAttempts looked at, the zero cursor
// if it looked at all there are.
func lastSifted(tx *sqldb.Tx, endpoint int64, f Filter, after cursor) (last cursor, err error) {
	err = tx.Each("SELECT started_at, pos, replay_no, n"+stretch+undelivered(f)+" ORDER BY "+newestFirst+" LIMIT 1 OFFSET $7",
		append(stretchOf(endpoint, f, after), maxSifted-1), func(s sqldb.Scan) error {
			return s(&last.started, &last.pos, &last.replayNo, &last.n)
		})
	return last, err
}

// selectAttemptsOf returns up to n attempts for an event behind a cursor that pass
// the filter, newest first.
func selectAttemptsOf(tx *sqldb.Tx, endpoint, pos int64, f Filter, after cursor, n int) ([]Attempt, error) {
	return sqldb.Select(tx, scanAttempt(endpoint), "SELECT "+attemptColumns+`
		FROM (SELECT *`+stretch+` AND pos = $7) AS a LEFT JOIN event e ON e.pos = a.pos
		WHERE ($8 = '' OR a.outcome = $8) AND ($9 = 0 OR a.replay_no = $9)
			AND ($10 = '' OR e.action = $10) AND ($11 = '' OR e.repository = $11) AND ($12 = '' OR e.tag = $12)
		ORDER BY `+newestFirstOf+" LIMIT $13",
		append(stretchOf(endpoint, f, after), pos, string(f.Outcome), f.Replay, string(f.Action), f.Repository, f.Tag, n)...)
}

// scanAttempt reads the attemptColumns of an endpoint's attempt.
func scanAttempt(endpoint int64) func(sqldb.Scan) (Attempt, error) {
	return func(s sqldb.Scan) (Attempt, error) {
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
	}
}

// owedRow is what a delivery that waits says of itself.
type owedRow struct {
	attempts     int
	due, expires time.Time
	held         bool // behind an older one of its order key
}

// selectOwed returns the delivery of an event that is owed first: when it happened,
// or by a replay.
func selectOwed(tx *sqldb.Tx, endpoint, pos int64) (row owedRow, found bool, err error) {
	err = tx.Each("SELECT attempts, due_at, expires_at, state FROM delivery WHERE endpoint = $1 AND pos = $2 ORDER BY replay_no LIMIT 1", []any{endpoint, pos}, func(s sqldb.Scan) error {
		var due, expires int64
		var state string
		found = true
		err := s(&row.attempts, &due, &expires, &state)
		row.due, row.expires, row.held = time.Unix(0, due).UTC(), time.Unix(0, expires).UTC(), state == "held"
		return err
	})
	return row, found, err
}

// letterOf returns the newest dead letter of an endpoint that an event is among.
func letterOf(tx *sqldb.Tx, endpoint, pos int64) (d DeadLetter, found bool, err error) {
	letters, err := sqldb.Select(tx, scanDeadLetter, "SELECT "+deadLetterColumns+
		" FROM dead_letter WHERE endpoint = $1 AND pos_from <= $2 AND pos_to >= $2 ORDER BY pos_from DESC LIMIT 1", endpoint, pos)
	if err != nil || len(letters) == 0 {
		return d, false, err
	}
	return letters[0], true, nil
}
