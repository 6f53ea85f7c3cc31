package delivery

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// The states of a delivery's row.
const (
	statePending  = "pending"
	stateHeld     = "held"
	stateInFlight = "inflight"
)

// insertEndpoint writes a new endpoint, and gives it its id.
func insertEndpoint(tx *sqldb.Tx, ep *endpoint, location string) error {
	owner := sql.NullInt64{Int64: ep.owner, Valid: ep.kind == kindReplay}
	return tx.Get(`INSERT INTO endpoint (kind, registry, location, from_pos, fail_streak, owner, elsewhere)
		VALUES ($1, $2, $3, $4, 0, $5, $6) RETURNING id`,
		[]any{ep.kind, ep.registry, location, ep.from, owner, ep.elsewhere}, &ep.id)
}

func deleteEndpoint(tx *sqldb.Tx, id int64) error {
	if _, err := tx.Exec("DELETE FROM dead_letter WHERE endpoint = $1", id); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM endpoint WHERE id = $1", id)
	return err
}

// selectEndpoints returns all endpoints. Whether they have rows is not known yet.
func selectEndpoints(tx *sqldb.Tx) ([]*endpoint, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (*endpoint, error) {
		var firstFail, lastSuccess, lastAttempt, opened, next, paused, cursor, owner sql.NullInt64
		var probes int
		ep := newEndpoint(0)
		err := s(&ep.id, &ep.kind, &ep.registry, &ep.from, &ep.breaker.streak, &firstFail, &lastSuccess, &lastAttempt,
			&ep.seen.lastStatus, &ep.seen.lastError, &ep.breaker.recent, &opened, &probes, &next, &ep.announced, &paused, &cursor,
			&owner, &ep.elsewhere)
		ep.owner = ep.id
		if owner.Valid {
			ep.owner = owner.Int64
		}
		ep.breaker.firstFail, ep.breaker.openedAt, ep.breaker.probes = fromNull(firstFail), fromNull(opened), probes
		ep.seen.lastSuccess, ep.seen.lastAttempt = fromNull(lastSuccess), fromNull(lastAttempt)
		if ep.breaker.open() {
			ep.breaker.nextProbe = fromNull(next)
		} else {
			ep.notBefore = fromNull(next)
		}
		ep.pausedAt, ep.parked, ep.cursor = fromNull(paused), cursor.Valid, cursor.Int64
		ep.counted = false
		return ep, err
	}, `SELECT id, kind, registry, from_pos, fail_streak, first_fail_at, last_success_at, last_attempt_at,
			last_status, last_error, recent, opened_at, probes, next_at, announced, paused_at, cursor, owner, elsewhere
		FROM endpoint ORDER BY id`)
}

func updateState(tx *sqldb.Tx, s state) error {
	next := s.notBefore
	if s.breaker.open() {
		next = latest(next, s.breaker.nextProbe)
	}
	_, err := tx.Exec(`UPDATE endpoint SET fail_streak = $2, first_fail_at = $3, last_success_at = $4, last_attempt_at = $5,
			last_status = $6, last_error = $7, recent = $8, opened_at = $9, probes = $10, next_at = $11, announced = $12
		WHERE id = $1`,
		s.id, s.breaker.streak, toNull(s.breaker.firstFail), toNull(s.seen.lastSuccess), toNull(s.seen.lastAttempt),
		s.seen.lastStatus, s.seen.lastError, int64(max(s.breaker.recent, 1)), toNull(s.breaker.openedAt), s.breaker.probes, toNull(next), s.announced)
	return err
}

func resetHealth(tx *sqldb.Tx, id int64) error {
	_, err := tx.Exec(`UPDATE endpoint SET fail_streak = 0, first_fail_at = NULL, recent = 1, opened_at = NULL, probes = 0, next_at = NULL, announced = 0
		WHERE id = $1`, id)
	return err
}

func savePaused(tx *sqldb.Tx, id int64, at time.Time) error {
	_, err := tx.Exec("UPDATE endpoint SET paused_at = $2 WHERE id = $1", id, toNull(at))
	return err
}

// saveCursor parks an endpoint, or moves its cursor.
func saveCursor(tx *sqldb.Tx, id, cursor int64) error {
	_, err := tx.Exec("UPDATE endpoint SET cursor = $2 WHERE id = $1", id, cursor)
	return err
}

// saveFed moves the cursor of a parked endpoint, and says what of the events
// before it may be in memory alone.
func saveFed(tx *sqldb.Tx, id, cursor int64, fed span) error {
	if err := saveCursor(tx, id, cursor); err != nil {
		return err
	}
	return saveFedSpan(tx, id, fed)
}

func saveFedSpan(tx *sqldb.Tx, id int64, fed span) error {
	from, to := sql.NullInt64{Int64: fed.from, Valid: fed != span{}}, sql.NullInt64{Int64: fed.to, Valid: fed != span{}}
	_, err := tx.Exec("UPDATE endpoint SET fed_from = $2, fed_to = $3 WHERE id = $1", id, from, to)
	return err
}

// fedSpan is what an endpoint was handed from behind its cursor when the process
// ended, as far as it was not on record.
type fedSpan struct {
	endpoint int64
	span
}

// selectFed returns those of all endpoints, by where they begin.
func selectFed(tx *sqldb.Tx) ([]fedSpan, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (f fedSpan, err error) {
		err = s(&f.endpoint, &f.from, &f.to)
		return f, err
	}, "SELECT id, fed_from, fed_to FROM endpoint WHERE fed_from IS NOT NULL ORDER BY fed_from, id")
}

func clearFed(tx *sqldb.Tx) error {
	_, err := tx.Exec("UPDATE endpoint SET fed_from = NULL, fed_to = NULL WHERE fed_from IS NOT NULL")
	return err
}

// saveLive ends the parking of an endpoint, for which a start need not look for
// events up to a position, but in what it was fed.
func saveLive(tx *sqldb.Tx, id, from int64, fed span) error {
	_, err := tx.Exec("UPDATE endpoint SET cursor = NULL, from_pos = $2, range_id = NULL WHERE id = $1", id, from)
	if err != nil {
		return err
	}
	return saveFedSpan(tx, id, fed)
}

// closeRange has further dead letters begin a range of their own.
func closeRange(tx *sqldb.Tx, id int64) error {
	_, err := tx.Exec("UPDATE endpoint SET range_id = NULL WHERE id = $1", id)
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
func insertDelivery(tx *sqldb.Tx, j *job, p place, due time.Time) error {
	held := p.held
	if !held && p.unsure {
		var err error
		if held, err = hasOlder(tx, j.ep.id, j.key, j.pos); err != nil {
			return err
		}
	}
	state := statePending
	if held {
		state = stateHeld
	}
	_, err := tx.Exec(`INSERT INTO delivery (endpoint, pos, replay_no, state, order_key, due_at, attempts, expires_at, interrupted, uncounted)
		SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM endpoint WHERE id = $1`,
		j.ep.id, j.pos, j.replay, state, j.key, due.UnixNano(), j.n-1, j.expires.UnixNano(), j.crashes, j.uncounted)
	return err
}

// insertRetry writes the row of a delivery whose first attempt, made from
// memory, failed.
func insertRetry(tx *sqldb.Tx, j *job, end settled) error {
	next := *j
	next.n++
	next.crashes, next.uncounted = 0, end.uncounted
	return insertDelivery(tx, &next, place{held: end.behind}, end.due)
}

// rescheduleDelivery makes a row in flight pending again, with so many attempts
// made, of which so many do not count.
func rescheduleDelivery(tx *sqldb.Tx, j *job, attempts, uncounted int, due time.Time) error {
	_, err := tx.Exec(`UPDATE delivery SET state = $4, due_at = $5, attempts = $6, interrupted = 0, uncounted = $7
		WHERE endpoint = $1 AND pos = $2 AND replay_no = $3`,
		j.ep.id, j.pos, j.replay, statePending, due.UnixNano(), attempts, uncounted)
	return err
}

func deleteDelivery(tx *sqldb.Tx, j *job) error {
	_, err := tx.Exec("DELETE FROM delivery WHERE endpoint = $1 AND pos = $2 AND replay_no = $3",
		j.ep.id, j.pos, j.replay)
	return err
}

// deleteDeliveries deletes up to n rows of an endpoint, of events up to a
// position, that are not in flight, and returns them.
func deleteDeliveries(tx *sqldb.Tx, endpoint, upTo int64, n int) ([]*job, error) {
	return sqldb.Select(tx, scanGone, `DELETE FROM delivery WHERE endpoint = $1 AND (pos, replay_no) IN
		(SELECT pos, replay_no FROM delivery WHERE endpoint = $1 AND pos <= $2 AND state <> 'inflight' ORDER BY pos, replay_no LIMIT $3)
		RETURNING pos, replay_no, order_key, attempts`, endpoint, upTo, n)
}

// deleteExpired deletes up to n rows of an endpoint whose time to live is over,
// and that are not in flight, and returns them.
func deleteExpired(tx *sqldb.Tx, endpoint int64, n int) ([]*job, error) {
	return sqldb.Select(tx, scanGone, `DELETE FROM delivery WHERE endpoint = $1 AND (pos, replay_no) IN
		(SELECT pos, replay_no FROM delivery WHERE endpoint = $1 AND expires_at <= $2 AND state <> 'inflight' ORDER BY pos, replay_no LIMIT $3)
		RETURNING pos, replay_no, order_key, attempts`, endpoint, tx.Now().UnixNano(), n)
}

// holdEndpoint parks an endpoint that is not parked behind a position.
func holdEndpoint(tx *sqldb.Tx, id, cursor int64) error {
	_, err := tx.Exec("UPDATE endpoint SET cursor = $2 WHERE id = $1 AND cursor IS NULL", id, cursor)
	return err
}

// deleteReplayRows deletes the rows of a replay that are not in flight, and
// returns them.
func deleteReplayRows(tx *sqldb.Tx, endpoint, replay int64) ([]*job, error) {
	return sqldb.Select(tx, scanGone, `DELETE FROM delivery WHERE endpoint = $1 AND replay_no = $2 AND state <> 'inflight'
		RETURNING pos, replay_no, order_key, attempts`, endpoint, replay)
}

func scanGone(s sqldb.Scan) (*job, error) {
	j := &job{row: true}
	err := s(&j.pos, &j.replay, &j.key, &j.n)
	j.n++ // attempts made so far
	return j, err
}

// deliveriesAfter returns the first endpoint with an id beyond after that has
// rows, or 0.
func deliveriesAfter(tx *sqldb.Tx, after int64) (id int64, err error) {
	var found sql.NullInt64
	err = tx.Get("SELECT min(endpoint) FROM delivery WHERE endpoint > $1", []any{after}, &found)
	return found.Int64, err
}

// hasResult reports whether it is on record what became of an event for an
// endpoint when it happened, or that it is owed.
func hasResult(tx *sqldb.Tx, endpoint, pos int64) (found bool, err error) {
	if found, err = wasTried(tx, endpoint, pos); found || err != nil {
		return found, err
	}
	err = tx.Get("SELECT EXISTS (SELECT 1 FROM dead_letter WHERE endpoint = $1 AND pos_from = $2 AND pos_to = $2)", []any{endpoint, pos}, &found)
	return found, err
}

// isInRange reports whether an event lies in a range of dead letters of an
// endpoint, of which it may be one, or not.
func isInRange(tx *sqldb.Tx, endpoint, pos int64) (is bool, err error) {
	err = tx.Get("SELECT EXISTS (SELECT 1 FROM dead_letter WHERE endpoint = $1 AND pos_from <= $2 AND pos_to >= $2)", []any{endpoint, pos}, &is)
	return is, err
}

// wasTried reports whether an event was sent to an endpoint when it happened, or
// has a row.
func wasTried(tx *sqldb.Tx, endpoint, pos int64) (found bool, err error) {
	err = tx.Get(`SELECT EXISTS (SELECT 1 FROM attempt WHERE endpoint = $1 AND pos = $2 AND replay_no = 0)
		OR EXISTS (SELECT 1 FROM delivery WHERE endpoint = $1 AND pos = $2 AND replay_no = 0)`, []any{endpoint, pos}, &found)
	return found, err
}

// triedBetween is wasTried for the events of a stretch of positions, both ends
// included.
func triedBetween(tx *sqldb.Tx, endpoint, from, to int64) (map[int64]bool, error) {
	tried := map[int64]bool{}
	err := tx.Each(`SELECT pos FROM attempt WHERE endpoint = $1 AND pos BETWEEN $2 AND $3 AND replay_no = 0
		UNION SELECT pos FROM delivery WHERE endpoint = $1 AND pos BETWEEN $2 AND $3 AND replay_no = 0`, []any{endpoint, from, to}, func(s sqldb.Scan) error {
		var pos int64
		err := s(&pos)
		tried[pos] = true
		return err
	})
	return tried, err
}

// isUndelivered reports whether an event was neither delivered to an endpoint nor
// refused by it, and is not to come either.
func isUndelivered(tx *sqldb.Tx, endpoint, pos int64) (is bool, err error) {
	err = tx.Get(`SELECT NOT EXISTS (SELECT 1 FROM attempt WHERE endpoint = $1 AND pos = $2 AND outcome IN ('delivered', 'refused'))
		AND NOT EXISTS (SELECT 1 FROM delivery WHERE endpoint = $1 AND pos = $2)`, []any{endpoint, pos}, &is)
	return is, err
}

// isGivenUp is isUndelivered for an event that was among the dead letters: other
// replays may have it in hand, but forget what they cannot deliver unless they had
// it from there too.
func isGivenUp(tx *sqldb.Tx, endpoint, pos int64) (is bool, err error) {
	err = tx.Get(`SELECT NOT EXISTS (SELECT 1 FROM attempt WHERE endpoint = $1 AND pos = $2 AND outcome IN ('delivered', 'refused'))
		AND NOT EXISTS (SELECT 1 FROM delivery WHERE endpoint = $1 AND pos = $2
			AND (replay_no = 0 OR replay_no IN (SELECT id FROM replay WHERE endpoint = $1 AND redrive)))`, []any{endpoint, pos}, &is)
	return is, err
}

// hasOutcome reports whether an attempt of an event came to that.
func hasOutcome(tx *sqldb.Tx, endpoint, pos int64, outcome Outcome) (has bool, err error) {
	err = tx.Get("SELECT EXISTS (SELECT 1 FROM attempt WHERE endpoint = $1 AND pos = $2 AND outcome = $3)", []any{endpoint, pos, string(outcome)}, &has)
	return has, err
}

// hasOlder reports whether rows of an order key exist for events before pos.
func hasOlder(tx *sqldb.Tx, endpoint int64, key string, pos int64) (found bool, err error) {
	err = tx.Get("SELECT EXISTS (SELECT 1 FROM delivery WHERE endpoint = $1 AND order_key = $2 AND pos < $3)", []any{endpoint, key, pos}, &found)
	return found, err
}

// countDeliveries returns how many rows an endpoint has, how many of them are
// replays', and how many each order key has; nil if there are more than mostKeys
// of these. Beyond most it stops counting.
func countDeliveries(tx *sqldb.Tx, endpoint int64, most, mostKeys int) (keys map[string]int, n, replays int, err error) {
	err = tx.Get(`SELECT count(*), coalesce(sum(CASE WHEN replay_no > 0 THEN 1 ELSE 0 END), 0)
		FROM (SELECT replay_no FROM delivery WHERE endpoint = $1 LIMIT $2) AS counted`, []any{endpoint, most + 1}, &n, &replays)
	if err != nil || n > most {
		return nil, n, replays, err
	}
	keys = map[string]int{}
	err = tx.Each("SELECT order_key, count(*) FROM delivery WHERE endpoint = $1 GROUP BY order_key LIMIT $2", []any{endpoint, mostKeys + 1}, func(s sqldb.Scan) error {
		var key string
		var rows int
		err := s(&key, &rows)
		keys[key] = rows
		return err
	})
	if len(keys) > mostKeys {
		keys = nil
	}
	return keys, n, replays, err
}

// countReplayRows returns how many rows a replay has.
func countReplayRows(tx *sqldb.Tx, endpoint, replay int64) (n int, err error) {
	err = tx.Get("SELECT count(*) FROM delivery WHERE endpoint = $1 AND replay_no = $2", []any{endpoint, replay}, &n)
	return n, err
}

// firstDue returns when the first pending row of an endpoint is due, of those of
// replays only if asked; zero for none.
func firstDue(tx *sqldb.Tx, endpoint int64, replays bool) (time.Time, error) {
	query := "SELECT min(due_at) FROM delivery WHERE endpoint = $1 AND state = 'pending'"
	if replays {
		query += " AND replay_no > 0"
	}
	var due sql.NullInt64
	err := tx.Get(query, []any{endpoint}, &due)
	return fromNull(due), err
}

// makeDue makes all pending rows of an endpoint due, but those of replays, which
// have a rate.
func makeDue(tx *sqldb.Tx, endpoint int64) error {
	_, err := tx.Exec("UPDATE delivery SET due_at = $2 WHERE endpoint = $1 AND state = 'pending' AND due_at > $2 AND replay_no = 0",
		endpoint, tx.Now().UnixNano())
	return err
}

// oldestOwed returns when the oldest event happened that an endpoint is owed in
// rows, or that is behind its cursor (-1: it has none); zero for none.
func oldestOwed(tx *sqldb.Tx, endpoint, cursor int64) (time.Time, error) {
	var at sql.NullInt64
	err := tx.Get(`SELECT min(at) FROM event WHERE pos IN (
			(SELECT min(pos) FROM delivery WHERE endpoint = $1),
			(SELECT min(pos) FROM event WHERE $2 >= 0 AND pos > $2))`, []any{endpoint, cursor}, &at)
	return fromNull(at), err
}

// claiming is a claim of rows on its way through the settler.
type claiming struct {
	probe    bool // the oldest row, due or not
	replays  bool // only rows of replays
	together bool // they go in one request
	n        int  // rows asked for
	slots    int  // taken for them
	limit    ring.Batch
	late     reason // why those are given up that have expired

	taken   []*job    // now in flight, in commit order
	expired []*job    // given up instead
	due     time.Time // when the next row is due; zero for none
}

// claim marks rows as in flight. Those that have expired become dead letters.
func (c *claiming) claim(tx *sqldb.Tx, e *Engine, ep *endpoint) error {
	c.taken, c.expired = nil, nil
	b, full := batch{limit: c.limit}, false
	pick := "AND due_at <= $2 ORDER BY due_at, pos"
	if c.probe {
		pick = "AND due_at >= 0 AND $2 > 0 ORDER BY pos"
	}
	if c.replays {
		pick = "AND replay_no > 0 " + pick
	}
	for rounds := 0; len(c.taken) < c.n && !full && rounds < claimRounds; rounds++ {
		rows, err := sqldb.Select(tx, scanDelivery(ep), `UPDATE delivery SET state = 'inflight'
			WHERE endpoint = $1 AND (pos, replay_no) IN (SELECT pos, replay_no FROM delivery
				WHERE endpoint = $1 AND state = 'pending' `+pick+` LIMIT $3)
			RETURNING pos, replay_no, order_key, attempts, expires_at, interrupted, uncounted`, ep.id, tx.Now().UnixNano(), min(c.n-len(c.taken), claimMost))
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		sortByPos(rows)
		for _, j := range rows {
			j.entry, err = outbox.At(tx, j.pos)
			switch {
			case errors.Is(err, sqldb.ErrNoRow):
				err = c.expire(tx, e, j, reasonRemoved)
			case err == nil && !tx.Now().Before(j.expires):
				err = c.expire(tx, e, j, c.late)
			case err == nil && c.together && !b.add(j):
				full = true
				err = unclaimDelivery(tx, j)
			case err == nil:
				c.taken = append(c.taken, j)
			}
			if err != nil {
				return err
			}
		}
	}
	sortByPos(c.taken)
	var err error
	c.due, err = firstDue(tx, ep.id, c.replays)
	return err
}

const (
	// claimRounds bounds how many expired rows one claim puts away.
	claimRounds = 32

	// claimMost is how many rows a claim looks at before it knows whether more would
	// fit in the request.
	claimMost = 32
)

// unclaimDelivery makes a row pending again that was claimed in this transaction.
func unclaimDelivery(tx *sqldb.Tx, j *job) error {
	_, err := tx.Exec("UPDATE delivery SET state = $4 WHERE endpoint = $1 AND pos = $2 AND replay_no = $3", j.ep.id, j.pos, j.replay, statePending)
	return err
}

// expire gives up a row that was claimed too late.
func (c *claiming) expire(tx *sqldb.Tx, e *Engine, j *job, why reason) error {
	c.expired = append(c.expired, j)
	if err := deleteDelivery(tx, j); err != nil {
		return err
	}
	if err := e.lapse(tx, j, why); err != nil {
		return err
	}
	_, err := releaseNext(tx, j.ep.id, j.key)
	return err
}

func scanDelivery(ep *endpoint) func(sqldb.Scan) (*job, error) {
	return func(s sqldb.Scan) (*job, error) {
		j := &job{ep: ep, row: true}
		var expires int64
		err := s(&j.pos, &j.replay, &j.key, &j.n, &expires, &j.crashes, &j.uncounted)
		j.n++ // attempts made so far
		j.expires = time.Unix(0, expires)
		return j, err
	}
}

// sortByPos sorts jobs in commit order: the order of RETURNING is no promise.
func sortByPos(jobs []*job) {
	slices.SortFunc(jobs, func(a, b *job) int { return cmp.Compare(a.pos, b.pos) })
}

// takeBackInFlight makes rows in flight due again, one attempt further, and
// returns them with the number of the attempt that was cut off, and how many in a
// row were.
func takeBackInFlight(tx *sqldb.Tx) ([]*job, error) {
	jobs, err := sqldb.Select(tx, func(s sqldb.Scan) (*job, error) {
		j := &job{ep: &endpoint{}, row: true}
		return j, s(&j.ep.id, &j.pos, &j.replay, &j.key, &j.n, &j.crashes)
	}, `UPDATE delivery SET state = 'pending', due_at = $1, attempts = attempts + 1, interrupted = interrupted + 1, uncounted = uncounted + 1 WHERE state = 'inflight'
		RETURNING endpoint, pos, replay_no, order_key, attempts, interrupted`, tx.Now().UnixNano())
	if err != nil {
		return nil, err
	}
	sortByPos(jobs)
	return jobs, err
}

// releaseNext makes the oldest held row of a key pending, if there is one.
func releaseNext(tx *sqldb.Tx, endpoint int64, key string) (bool, error) {
	n, err := tx.Exec(`UPDATE delivery SET state = 'pending', due_at = $3
		WHERE endpoint = $1 AND order_key = $2 AND state = 'held' AND pos =
		(SELECT min(pos) FROM delivery WHERE endpoint = $1 AND order_key = $2)`, endpoint, key, tx.Now().UnixNano())
	return n > 0, err
}

// releaseFirst makes held rows of an endpoint pending that wait for no older row,
// and not for an attempt either: those of active order keys do.
func releaseFirst(tx *sqldb.Tx, endpoint int64, active map[string]int) error {
	keys, err := sqldb.Select(tx, func(s sqldb.Scan) (key string, err error) { return key, s(&key) },
		`SELECT order_key FROM delivery AS waiting WHERE endpoint = $1 AND state = 'held' AND pos =
		(SELECT min(pos) FROM delivery WHERE endpoint = $1 AND order_key = waiting.order_key)`, endpoint)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if active[key] > 0 {
			continue
		}
		if _, err := releaseNext(tx, endpoint, key); err != nil {
			return err
		}
	}
	return nil
}

// letterOwner returns whose dead letter a delivery becomes that is given up, 0 for
// nobody's: that of a replay is the replay's affair, unless that had it from the
// dead letters.
func letterOwner(tx *sqldb.Tx, j *job) (owner int64, err error) {
	if j.replay == 0 {
		return j.ep.owner, nil
	}
	err = tx.Get("SELECT CASE WHEN redrive THEN endpoint ELSE 0 END FROM replay WHERE id = $1", []any{j.replay}, &owner)
	return owner, err
}

// lastTry is what is known of the attempts for a delivery.
type lastTry struct {
	made    int
	outcome ring.LastOutcome
	status  int
	at      time.Time
}

// selectLastTry returns that for a delivery with so many attempts, as far as the
// last of them is on record.
func selectLastTry(tx *sqldb.Tx, j *job, made int) (lastTry, error) {
	t := lastTry{made: made, outcome: ring.OutcomeProbation}
	if made == 0 {
		return t, nil
	}
	t.outcome = ""
	err := tx.Each("SELECT status, error_class, started_at FROM attempt WHERE endpoint = $1 AND pos = $2 AND replay_no = $3 AND n = $4",
		[]any{j.ep.id, j.pos, j.replay, made}, func(s sqldb.Scan) error {
			var class string
			var at int64
			err := s(&t.status, &class, &at)
			t.outcome, t.at = lastOutcome(t.status, outbound.Class(class)), time.Unix(0, at)
			return err
		})
	return t, err
}

// insertDeadLetter writes a dead letter, of which the events up to a position are
// filed. An endpoint that was deleted gets none.
func insertDeadLetter(tx *sqldb.Tx, endpoint int64, l lapsed, r reason, t lastTry, filed int64) error {
	_, err := tx.Exec(`INSERT INTO dead_letter (endpoint, pos_from, pos_to, count, reason, at, code, attempts, last_outcome, last_status, last_at, filed_to)
		SELECT id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM endpoint WHERE id = $1`, endpoint, l.from, l.to, l.count, r.why, tx.Now().UnixNano(),
		string(r.code), t.made, string(t.outcome), t.status, toNull(t.at), filed)
	return err
}

// growDeadLetter adds to the range of dead letters that an endpoint has open for
// the same reason, or opens one.
func growDeadLetter(tx *sqldb.Tx, endpoint int64, l lapsed, r reason) error {
	n, err := tx.Exec(`UPDATE dead_letter SET at = $6, count = count + $4,
			pos_from = CASE WHEN pos_from < $2 THEN pos_from ELSE $2 END,
			pos_to = CASE WHEN pos_to > $3 THEN pos_to ELSE $3 END
		WHERE reason = $5 AND code = $7 AND id = (SELECT range_id FROM endpoint WHERE id = $1)`,
		endpoint, l.from, l.to, l.count, r.why, tx.Now().UnixNano(), string(r.code))
	if err != nil || n > 0 {
		return err
	}
	if err := insertDeadLetter(tx, endpoint, l, r, lastTry{outcome: ring.OutcomeProbation}, 0); err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE endpoint SET range_id = (SELECT max(id) FROM dead_letter WHERE endpoint = $1) WHERE id = $1", endpoint)
	return err
}

const deadLetterColumns = "id, pos_from, pos_to, count, reason, at, code, attempts, last_outcome, last_status, last_at, filed_to"

func scanDeadLetter(s sqldb.Scan) (DeadLetter, error) {
	var d DeadLetter
	var at int64
	var last sql.NullInt64
	err := s(&d.ID, &d.PosFrom, &d.PosTo, &d.Count, &d.Reason, &at, &d.Code, &d.Attempts, &d.LastOutcome, &d.LastStatus, &last, &d.filed)
	d.At = time.Unix(0, at).UTC()
	if last.Valid {
		d.LastAttempt = time.Unix(0, last.Int64).UTC()
	}
	return d, err
}

// selectUnfiled returns up to n dead letters of an endpoint with an id beyond
// after of which not all is filed, oldest first.
func selectUnfiled(tx *sqldb.Tx, endpoint, after int64, n int) ([]DeadLetter, error) {
	return sqldb.Select(tx, scanDeadLetter, "SELECT "+deadLetterColumns+
		" FROM dead_letter WHERE endpoint = $1 AND id > $2 AND filed_to < pos_to ORDER BY id LIMIT $3", endpoint, after, n)
}

// saveFiled writes that the events of a dead letter up to a position are filed.
func saveFiled(tx *sqldb.Tx, id, upTo int64) error {
	_, err := tx.Exec("UPDATE dead_letter SET filed_to = $2 WHERE id = $1 AND filed_to < $2", id, upTo)
	return err
}

// singleLetters returns which events of a stretch of positions, both ends included,
// are dead letters by themselves.
func singleLetters(tx *sqldb.Tx, endpoint, from, to int64) (map[int64]bool, error) {
	single := map[int64]bool{}
	err := tx.Each("SELECT pos_from FROM dead_letter WHERE endpoint = $1 AND pos_from BETWEEN $2 AND $3 AND pos_to = pos_from", []any{endpoint, from, to}, func(s sqldb.Scan) error {
		var pos int64
		err := s(&pos)
		single[pos] = true
		return err
	})
	return single, err
}

// selectDeadLetters returns up to n dead letters with an id below before, newest
// first.
func selectDeadLetters(tx *sqldb.Tx, endpoint, before int64, n int) ([]DeadLetter, error) {
	oldest, err := outbox.Oldest(tx)
	if err != nil {
		return nil, err
	}
	page, err := sqldb.Select(tx, scanDeadLetter, "SELECT "+deadLetterColumns+
		" FROM dead_letter WHERE endpoint = $1 AND id < $2 ORDER BY id DESC LIMIT $3", endpoint, before, n)
	if err != nil {
		return nil, err
	}
	for i := range page {
		d := &page[i]
		d.Expired = d.PosFrom < oldest
		first, err := outbox.At(tx, d.PosFrom)
		switch {
		case err == nil:
			d.EventID, d.EventAt = first.Event.ID, first.Event.At
		case !errors.Is(err, sqldb.ErrNoRow):
			return nil, err
		}
	}
	return page, nil
}

func deleteDeadLetters(tx *sqldb.Tx, endpoint int64) ([]DeadLetter, error) {
	return sqldb.Select(tx, scanDeadLetter, "DELETE FROM dead_letter WHERE endpoint = $1 RETURNING "+deadLetterColumns, endpoint)
}

func deleteDeadLetter(tx *sqldb.Tx, endpoint, id int64) (d DeadLetter, found bool, err error) {
	list, err := sqldb.Select(tx, scanDeadLetter, "DELETE FROM dead_letter WHERE endpoint = $1 AND id = $2 RETURNING "+deadLetterColumns, endpoint, id)
	if err != nil || len(list) == 0 {
		return d, false, err
	}
	return list[0], true, nil
}

func countDeadLetters(tx *sqldb.Tx, endpoint int64) (n int64, err error) {
	err = tx.Get("SELECT coalesce(sum(count), 0) FROM dead_letter WHERE endpoint = $1", []any{endpoint}, &n)
	return n, err
}

// insertReplay writes a new replay and gives it its id.
func insertReplay(tx *sqldb.Tx, r *replayRun, perMinute int, by string) error {
	return tx.Get(`INSERT INTO replay (endpoint, target, state, selection, redrive, cursor, from_pos, until_pos, per_minute, next_at,
			matched, delivered, refused, dead, created_at, created_by)
		VALUES ($1, $2, 'running', $3, $4, $5, $5, $6, $7, $8, 0, 0, 0, 0, $8, $9) RETURNING id`,
		[]any{r.endpoint, r.target.id, r.selection.marshal(), r.selection.Taken != nil, r.cursor, r.until, perMinute, tx.Now().UnixNano(), by}, &r.id)
}

func moveReplay(tx *sqldb.Tx, id, cursor int64, matched int, next time.Time) error {
	_, err := tx.Exec("UPDATE replay SET cursor = $2, matched = matched + $3, next_at = $4 WHERE id = $1", id, cursor, matched, next.UnixNano())
	return err
}

func finishReplay(tx *sqldb.Tx, id int64, state ReplayState) error {
	_, err := tx.Exec("UPDATE replay SET state = $2, ended_at = $3 WHERE id = $1 AND state = 'running'", id, string(state), tx.Now().UnixNano())
	return err
}

func replayCursor(tx *sqldb.Tx, id int64) (cursor int64, err error) {
	err = tx.Get("SELECT cursor FROM replay WHERE id = $1", []any{id}, &cursor)
	return cursor, err
}

// replayTarget returns the endpoint that a replay of endpoint's events rings, 0
// for one that is not there.
func replayTarget(tx *sqldb.Tx, endpoint, replay int64) (target int64, err error) {
	err = tx.Get("SELECT coalesce(min(target), 0) FROM replay WHERE id = $1 AND endpoint = $2", []any{replay, endpoint}, &target)
	return target, err
}

// concludeReplay counts a delivery of a replay that has ended; the outcome is empty
// for one that was given up without an attempt.
func concludeReplay(tx *sqldb.Tx, j *job, outcome Outcome) error {
	if j.replay == 0 {
		return nil
	}
	column := "dead"
	switch outcome {
	case Delivered:
		column = "delivered"
	case Refused:
		column = "refused"
	}
	_, err := tx.Exec("UPDATE replay SET "+column+" = "+column+" + 1 WHERE id = $1", j.replay)
	return err
}

func countRunning(tx *sqldb.Tx, endpoint int64) (n int, err error) {
	err = tx.Get("SELECT count(*) FROM replay WHERE endpoint = $1 AND state = 'running'", []any{endpoint}, &n)
	return n, err
}

// selectRunning returns the replays that run. Of their targets only the id is
// set.
func selectRunning(tx *sqldb.Tx) ([]*replayRun, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (*replayRun, error) {
		r := &replayRun{target: &endpoint{}}
		var selection string
		var perMinute int
		var next int64
		if err := s(&r.id, &r.endpoint, &r.target.id, &selection, &r.cursor, &r.until, &perMinute, &next); err != nil {
			return nil, err
		}
		if perMinute > 0 {
			r.spacing = time.Minute / time.Duration(perMinute)
		}
		r.nextAt = time.Unix(0, next)
		var err error
		r.selection, err = parseStored(selection)
		return r, err
	}, "SELECT id, endpoint, target, selection, cursor, until_pos, per_minute, next_at FROM replay WHERE state = 'running' ORDER BY id")
}

// selectReplays returns up to n replays of an endpoint with an id below before,
// newest first.
func selectReplays(tx *sqldb.Tx, endpoint, before int64, n int) ([]Replay, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (Replay, error) {
		r := Replay{Endpoint: endpoint}
		var target, cursor, from, until, created int64
		var ended sql.NullInt64
		var selection string
		err := s(&r.ID, &target, &r.State, &selection, &cursor, &from, &until, &r.PerMinute,
			&r.Matched, &r.Delivered, &r.Refused, &r.Dead, &created, &r.CreatedBy, &ended)
		if err != nil {
			return r, err
		}
		r.Elsewhere = target != endpoint
		r.Looked, r.ToLook = cursor-from, until-from
		r.CreatedAt = time.Unix(0, created).UTC()
		if ended.Valid {
			r.EndedAt = time.Unix(0, ended.Int64).UTC()
		}
		kept, err := parseStored(selection)
		r.Selection = kept.Selection
		return r, err
	}, `SELECT id, target, state, selection, cursor, from_pos, until_pos, per_minute, matched, delivered, refused, dead, created_at, created_by, ended_at
		FROM replay WHERE endpoint = $1 AND id < $2 ORDER BY id DESC LIMIT $3`, endpoint, before, n)
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
		x.answer = encodeAnswer(*res.Answer)
	}
	return x
}

// keptAnswer is the head of an answer as it is stored. Receivers may send bytes
// that are no UTF-8, which JSON has no place for: such fields are apart.
type keptAnswer struct {
	outbound.ResponseHead
	Raw map[string][]byte `json:"raw,omitempty"`
}

func encodeAnswer(head outbound.ResponseHead) []byte {
	kept := keptAnswer{ResponseHead: head}
	for name, value := range head.Header {
		if utf8.ValidString(value) {
			continue
		}
		if kept.Raw == nil {
			kept.Raw, kept.Header = map[string][]byte{}, maps.Clone(head.Header)
		}
		kept.Raw[name] = []byte(value)
		delete(kept.Header, name)
	}
	return mustJSON(kept)
}

func decodeAnswer(text []byte) (*outbound.ResponseHead, error) {
	var kept keptAnswer
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, err
	}
	for name, value := range kept.Raw {
		kept.Header[name] = string(value)
	}
	return &kept.ResponseHead, nil
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
		j.ep.id, j.pos, j.replay, j.n, x.Started.UnixNano(), x.Duration.Microseconds(), string(outcome), status,
		string(x.Class), x.Message, x.sent, x.answer, body, node)
	return err
}

// insertInterrupted writes an attempt that nobody knows the end of.
func insertInterrupted(tx *sqldb.Tx, j *job, node string, made *written) error {
	x := encode(outbound.Result{
		Started: tx.Now(), Class: outbound.Cancelled,
		Message: "the server stopped during this attempt; the receiver may have seen it",
	})
	made.add(j.ep.id, x, Interrupted)
	return insertAttempt(tx, j, x, Interrupted, node)
}

// attemptPick says which attempts are removed: those of a span of time, all or
// by whether they were delivered.
type attemptPick struct {
	from, before int64 // unix nanoseconds
	only         bool
	delivered    bool
}

func attemptsBefore(t time.Time) attemptPick {
	return attemptPick{before: t.UnixNano() - t.UnixNano()%int64(day)} // whole days, as volumes are
}

func attemptsOf(d volumeDay) attemptPick {
	return attemptPick{from: d.day * int64(day), before: (d.day + 1) * int64(day), only: true, delivered: d.delivered}
}

// deleteAttempts removes up to n attempts. Their ids are in order of time but for
// what ran at the same moment, so the span is found by them.
func deleteAttempts(tx *sqldb.Tx, p attemptPick, n int) (int64, error) {
	from, err := attemptSince(tx, p.from)
	if err != nil {
		return 0, err
	}
	before, err := attemptSince(tx, p.before)
	if err != nil {
		return 0, err
	}
	query := "DELETE FROM attempt WHERE id IN (SELECT id FROM attempt WHERE id >= $1 AND id < $2"
	switch {
	case p.only && p.delivered:
		query += " AND outcome = 'delivered'"
	case p.only:
		query += " AND outcome <> 'delivered'"
	}
	removed, err := tx.Exec(query+" ORDER BY id LIMIT $3)", from, before, n)
	if err != nil || p.only || removed == int64(n) {
		return removed, err
	}
	_, err = tx.Exec("DELETE FROM attempt_volume WHERE day < $1", p.before/int64(day))
	return removed, err
}

// attemptSince returns the id of the first attempt that began at t or later, or
// one beyond the newest.
func attemptSince(tx *sqldb.Tx, t int64) (int64, error) {
	var low, last int64
	if err := tx.Get("SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM attempt", nil, &low, &last); err != nil {
		return 0, err
	}
	return sqldb.Search(low, last+1, func(id int64) (bool, error) {
		var at int64
		err := tx.Get("SELECT started_at FROM attempt WHERE id >= $1 ORDER BY id LIMIT 1", []any{id}, &at)
		return at >= t, err
	})
}

func addVolume(tx *sqldb.Tx, d volumeDay) error {
	_, err := tx.Exec(`INSERT INTO attempt_volume (day, delivered, bytes) VALUES ($1, $2, $3)
		ON CONFLICT (day, delivered) DO UPDATE SET bytes = attempt_volume.bytes + excluded.bytes`, d.day, d.delivered, d.bytes)
	return err
}

func deleteVolume(tx *sqldb.Tx, d volumeDay) error {
	_, err := tx.Exec("DELETE FROM attempt_volume WHERE day = $1 AND delivered = $2", d.day, d.delivered)
	return err
}

// selectVolume returns what the log takes, in the order in which it may go.
func selectVolume(tx *sqldb.Tx) ([]volumeDay, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (d volumeDay, err error) {
		err = s(&d.day, &d.delivered, &d.bytes)
		return d, err
	}, "SELECT day, delivered, bytes FROM attempt_volume ORDER BY delivered DESC, day")
}

// selectNeeded returns the position of the first event that is still to be sent,
// or may be asked for.
func selectNeeded(tx *sqldb.Tx) (int64, error) {
	const none = math.MaxInt64
	var first int64
	err := tx.Get(`SELECT min(pos) FROM (
			SELECT coalesce(min((SELECT min(pos) FROM delivery WHERE endpoint = endpoint.id)), $1) AS pos FROM endpoint
			UNION ALL SELECT coalesce(min((SELECT min(pos_from) FROM dead_letter WHERE endpoint = endpoint.id)), $1) FROM endpoint
			UNION ALL SELECT coalesce(min(cursor) + 1, $1) FROM endpoint
			UNION ALL SELECT coalesce(min(fed_from) + 1, $1) FROM endpoint
			UNION ALL SELECT coalesce(min(cursor) + 1, $1) FROM replay WHERE state = 'running') AS needed`, []any{int64(none)}, &first)
	return first, err
}
