package delivery

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// The states of a delivery's row.
const (
	statePending  = "pending"
	stateHeld     = "held"
	stateInFlight = "inflight"
)

func insertEndpoint(tx *sqldb.Tx, kind string, registry int64, location string) (id int64, err error) {
	from, err := outbox.Last(tx)
	if err != nil {
		return 0, err
	}
	err = tx.Get(`INSERT INTO endpoint (kind, registry, location, from_pos, fail_streak) VALUES ($1, $2, $3, $4, 0) RETURNING id`,
		[]any{kind, registry, location, from}, &id)
	return id, err
}

func deleteEndpoint(tx *sqldb.Tx, id int64) error {
	_, err := tx.Exec("DELETE FROM endpoint WHERE id = $1", id)
	return err
}

func selectEndpoints(tx *sqldb.Tx) ([]*endpoint, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (*endpoint, error) {
		var firstFail, lastSuccess sql.NullInt64
		ep := newEndpoint(0)
		err := s(&ep.id, &ep.health.failStreak, &firstFail, &lastSuccess)
		ep.health.firstFail, ep.health.lastSuccess = fromNull(firstFail), fromNull(lastSuccess)
		return ep, err
	}, "SELECT id, fail_streak, first_fail_at, last_success_at FROM endpoint ORDER BY id")
}

func updateHealth(tx *sqldb.Tx, id int64, h health) error {
	_, err := tx.Exec("UPDATE endpoint SET fail_streak = $2, first_fail_at = $3, last_success_at = $4 WHERE id = $1",
		id, h.failStreak, toNull(h.firstFail), toNull(h.lastSuccess))
	return err
}

func resetHealth(tx *sqldb.Tx, id int64) error {
	_, err := tx.Exec("UPDATE endpoint SET fail_streak = 0, first_fail_at = NULL WHERE id = $1", id)
	return err
}

func toNull(t time.Time) sql.NullInt64 {
	if t.IsZero() {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: t.UnixNano(), Valid: true}
}

func fromNull(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(0, n.Int64)
}

// insertDelivery writes the row of a job whose next attempt is j.n, due at due,
// or held until an older one of its key is done. An endpoint that was deleted
// meanwhile gets none.
func insertDelivery(tx *sqldb.Tx, j *job, held bool, due time.Time) error {
	state := statePending
	if held {
		state = stateHeld
	}
	_, err := tx.Exec(`INSERT INTO delivery (endpoint, pos, replay_no, state, order_key, due_at, attempts, expires_at)
		SELECT id, $2, $3, $4, $5, $6, $7, $8 FROM endpoint WHERE id = $1`,
		j.ep.id, j.pos, j.replayNo, state, j.key, due.UnixNano(), j.n-1, j.expires.UnixNano())
	return err
}

// insertRetry writes the row of a delivery whose first attempt, made from
// memory, failed.
func insertRetry(tx *sqldb.Tx, j *job, end settled) error {
	next := *j
	next.n++
	return insertDelivery(tx, &next, false, end.due)
}

// rescheduleDelivery makes a row in flight pending again, with so many attempts
// made.
func rescheduleDelivery(tx *sqldb.Tx, j *job, attempts int, due time.Time) error {
	_, err := tx.Exec("UPDATE delivery SET state = $4, due_at = $5, attempts = $6 WHERE endpoint = $1 AND pos = $2 AND replay_no = $3",
		j.ep.id, j.pos, j.replayNo, statePending, due.UnixNano(), attempts)
	return err
}

func deleteDelivery(tx *sqldb.Tx, j *job) error {
	_, err := tx.Exec("DELETE FROM delivery WHERE endpoint = $1 AND pos = $2 AND replay_no = $3",
		j.ep.id, j.pos, j.replayNo)
	return err
}

// deleteDeliveries deletes up to n rows of an endpoint.
func deleteDeliveries(tx *sqldb.Tx, endpoint int64, n int) (int64, error) {
	return tx.Exec(`DELETE FROM delivery WHERE endpoint = $1 AND (pos, replay_no) IN
		(SELECT pos, replay_no FROM delivery WHERE endpoint = $1 ORDER BY pos, replay_no LIMIT $2)`, endpoint, n)
}

// deliveriesAfter returns the first endpoint with an id beyond after that has
// rows, or 0.
func deliveriesAfter(tx *sqldb.Tx, after int64) (id int64, err error) {
	var found sql.NullInt64
	err = tx.Get("SELECT min(endpoint) FROM delivery WHERE endpoint > $1", []any{after}, &found)
	return found.Int64, err
}

// hasResult reports whether it is on record what became of an event for an
// endpoint, or that it is owed.
func hasResult(tx *sqldb.Tx, endpoint, pos int64) (found bool, err error) {
	err = tx.Get(`SELECT EXISTS (SELECT 1 FROM attempt WHERE endpoint = $1 AND pos = $2)
		OR EXISTS (SELECT 1 FROM delivery WHERE endpoint = $1 AND pos = $2)
		OR EXISTS (SELECT 1 FROM dead_letter WHERE endpoint = $1 AND pos_from <= $2 AND pos_to >= $2)`, []any{endpoint, pos}, &found)
	return found, err
}

// hasDeliveries reports whether rows of an order key exist.
func hasDeliveries(tx *sqldb.Tx, endpoint int64, key string) (found bool, err error) {
	err = tx.Get("SELECT EXISTS (SELECT 1 FROM delivery WHERE endpoint = $1 AND order_key = $2)", []any{endpoint, key}, &found)
	return found, err
}

// countDeliveries returns how many rows an endpoint has, and when the first
// pending one is due.
func countDeliveries(tx *sqldb.Tx, endpoint int64) (n int, due time.Time, err error) {
	if err = tx.Get("SELECT count(*) FROM delivery WHERE endpoint = $1", []any{endpoint}, &n); err != nil {
		return 0, due, err
	}
	due, err = firstDue(tx, endpoint)
	return n, due, err
}

func firstDue(tx *sqldb.Tx, endpoint int64) (time.Time, error) {
	var due sql.NullInt64
	err := tx.Get("SELECT min(due_at) FROM delivery WHERE endpoint = $1 AND state = 'pending'", []any{endpoint}, &due)
	return fromNull(due), err
}

// selectOrderKeys returns how many rows each order key of an endpoint has.
func selectOrderKeys(tx *sqldb.Tx, endpoint int64) (map[string]int, error) {
	keys := map[string]int{}
	err := tx.Each("SELECT order_key, count(*) FROM delivery WHERE endpoint = $1 GROUP BY order_key", []any{endpoint}, func(s sqldb.Scan) error {
		var key string
		var n int
		err := s(&key, &n)
		keys[key] = n
		return err
	})
	return keys, err
}

// claimDeliveries marks up to n due rows of an endpoint as in flight and returns
// them with their events, and when the next pending one is due.
func claimDeliveries(tx *sqldb.Tx, ep *endpoint, n int) (claimed []*job, due time.Time, err error) {
	claimed, err = sqldb.Select(tx, scanDelivery(ep), `UPDATE delivery SET state = 'inflight'
		WHERE endpoint = $1 AND (pos, replay_no) IN (SELECT pos, replay_no FROM delivery
			WHERE endpoint = $1 AND state = 'pending' AND due_at <= $2 ORDER BY due_at, pos LIMIT $3)
		RETURNING pos, replay_no, order_key, attempts, expires_at`, ep.id, tx.Now().UnixNano(), n)
	if err != nil {
		return nil, due, err
	}
	if err := loadEvents(tx, claimed); err != nil {
		return nil, due, err
	}
	due, err = firstDue(tx, ep.id)
	return claimed, due, err
}

func scanDelivery(ep *endpoint) func(sqldb.Scan) (*job, error) {
	return func(s sqldb.Scan) (*job, error) {
		j := &job{ep: ep, row: true}
		var expires int64
		err := s(&j.pos, &j.replayNo, &j.key, &j.n, &expires)
		j.n++ // attempts made so far
		j.expires = time.Unix(0, expires)
		return j, err
	}
}

// loadEvents gives each job its event, and sorts them in commit order: the
// order of RETURNING is no promise.
func loadEvents(tx *sqldb.Tx, jobs []*job) error {
	for _, j := range jobs {
		entry, err := outbox.At(tx, j.pos)
		if err != nil {
			return fmt.Errorf("event %d of a delivery: %w", j.pos, err)
		}
		j.entry = entry
	}
	slices.SortFunc(jobs, func(a, b *job) int { return cmp.Compare(a.pos, b.pos) })
	return nil
}

// takeBackInFlight makes rows in flight due again, one attempt further, and
// returns them with the number of the attempt that was cut off.
func takeBackInFlight(tx *sqldb.Tx) ([]*job, error) {
	jobs, err := sqldb.Select(tx, func(s sqldb.Scan) (*job, error) {
		j := &job{ep: &endpoint{}, row: true}
		return j, s(&j.ep.id, &j.pos, &j.replayNo, &j.n)
	}, `UPDATE delivery SET state = 'pending', due_at = $1, attempts = attempts + 1 WHERE state = 'inflight'
		RETURNING endpoint, pos, replay_no, attempts`, tx.Now().UnixNano())
	if err != nil {
		return nil, err
	}
	return jobs, loadEvents(tx, jobs)
}

// releaseNext makes the oldest held row of a key pending, if there is one.
func releaseNext(tx *sqldb.Tx, endpoint int64, key string) (bool, error) {
	n, err := tx.Exec(`UPDATE delivery SET state = 'pending', due_at = $3
		WHERE endpoint = $1 AND order_key = $2 AND state = 'held' AND pos =
		(SELECT min(pos) FROM delivery WHERE endpoint = $1 AND order_key = $2)`, endpoint, key, tx.Now().UnixNano())
	return n > 0, err
}

func insertDeadLetter(tx *sqldb.Tx, j *job, reason string) error {
	_, err := tx.Exec("INSERT INTO dead_letter (endpoint, pos_from, pos_to, count, reason, at) VALUES ($1, $2, $2, 1, $3, $4)",
		j.ep.id, j.pos, reason, tx.Now().UnixNano())
	return err
}

// exchange is what is kept of a request and its answer, encoded ahead of the
// transaction that writes it.
type exchange struct {
	outbound.Result
	sent, answer []byte // JSON
}

func encode(res outbound.Result) exchange {
	x := exchange{Result: res, sent: mustJSON(res.Sent)}
	if res.Answer != nil {
		x.answer = mustJSON(res.Answer)
	}
	return x
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("delivery: heads are made of strings and integers: " + err.Error())
	}
	return text
}

// insertAttempt writes what an attempt came to.
func insertAttempt(tx *sqldb.Tx, j *job, x exchange, outcome Outcome, node string) error {
	var body []byte
	status := 0
	if x.Answer != nil {
		status = x.Answer.Status
		if outcome != Delivered {
			body = x.Body
		}
	}
	_, err := tx.Exec(`INSERT INTO attempt (endpoint, pos, replay_no, n, started_at, micros, outcome, status, error_class, error_message,
			request_head, response_head, response_body, node)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		j.ep.id, j.pos, j.replayNo, j.n, x.Started.UnixNano(), x.Duration.Microseconds(), string(outcome), status,
		string(x.Class), x.Message, x.sent, x.answer, body, node)
	return err
}

// insertInterrupted writes an attempt that nobody knows the end of.
func insertInterrupted(tx *sqldb.Tx, j *job, at time.Time, node string) error {
	return insertAttempt(tx, j, encode(outbound.Result{
		Started: at, Class: outbound.Cancelled,
		Message: "the server stopped during this attempt; the receiver may have seen it",
	}), Interrupted, node)
}
