// Package outbox is the log of events in the database: appended to by whoever
// makes a change, in the transaction that makes it, and read in commit order.
//
// It owns the tables event and event_position. Who wants an event and what
// became of it is for package delivery. Invariants: an event exists if and only
// if its change committed; positions are dense from 1, and an event with a
// greater position was not committed before one with a smaller. The newest event is
// never removed: the next position follows from it.
package outbox

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Outbox appends events and tells a listener when they are durable.
type Outbox struct {
	committed func(Entry)

	mu      sync.Mutex
	changed chan struct{} // closed at the next commit; nil while nobody waits
}

// Entry is an event as it is in the log.
type Entry struct {
	Event *event.Event
	// ACRBody is the webhook body, byte for byte as it was fixed at commit.
	ACRBody []byte
}

// New returns an outbox. committed is called with each event once it is
// durable; on SQLite in order of position. It must not block.
func New(committed func(Entry)) *Outbox { return &Outbox{committed: committed} }

// Changed returns a channel that is closed when this process next commits an
// event. Take it before looking for events, else one may slip between.
func (o *Outbox) Changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

func (o *Outbox) tell(entry Entry) {
	o.committed(entry)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// Draft is an event that is encoded and has no position yet. It is made outside
// the transaction, which other changes wait for.
type Draft struct {
	Entry
	record []byte
}

// Prepare encodes e, giving it its id (unless it has one) and its time.
func Prepare(e *event.Event) *Draft {
	if e.ID == "" {
		e.ID = uuid.NewString()
	}
	e.At = time.Now().UTC()
	record, err := json.Marshal(e)
	if err != nil {
		panic("outbox: an event is made of strings and integers: " + err.Error())
	}
	return &Draft{Entry{e, event.ACRBody(e)}, record}
}

// Append adds an event to the log in the caller's transaction, and sets its
// position. Call it last in the transaction: on PostgreSQL it serialises the
// transactions that append, from here to their commit.
func (o *Outbox) Append(tx *sqldb.Tx, d *Draft) error {
	if err := tx.Serialise(); err != nil {
		return fmt.Errorf("outbox: append: %w", err)
	}
	e := d.Event
	action := string(e.Action)
	if e.OwedTo != 0 {
		action = "" // no rule is about it
	}
	pos, _, err := tx.Insert("pos", `INSERT INTO event (pos, id, at, registry, location, action, repository, tag, digest, record, acr_body)
		SELECT coalesce(max(pos), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM event`,
		e.ID, e.At.UnixNano(), e.Registry.ID, e.Registry.Location, action,
		e.Target.Repository, e.Target.Tag, e.Target.Digest, d.record, d.ACRBody)
	if err != nil {
		return fmt.Errorf("outbox: append: %w", err)
	}
	e.Pos = pos
	tx.AfterCommit(func() { o.tell(d.Entry) })
	return nil
}

// Last returns the position of the newest event, 0 for none.
func Last(tx *sqldb.Tx) (int64, error) {
	var last int64
	err := tx.Get("SELECT coalesce(max(pos), 0) FROM event", nil, &last)
	return last, err
}

// Oldest returns the position of the oldest event that is kept, 0 for none.
func Oldest(tx *sqldb.Tx) (int64, error) {
	var oldest int64
	err := tx.Get("SELECT coalesce(min(pos), 0) FROM event", nil, &oldest)
	return oldest, err
}

// Since returns the position of the first event that was made at t or later, or
// one beyond the newest if there is none. It takes a moment's events for ordered
// by time, which their makers' clocks agree on within milliseconds.
func Since(tx *sqldb.Tx, t time.Time) (int64, error) {
	low, err := Oldest(tx)
	if err != nil || low == 0 {
		return 1, err
	}
	last, err := Last(tx)
	if err != nil {
		return 0, err
	}
	return sqldb.Search(low, last+1, func(pos int64) (bool, error) {
		var at int64
		err := tx.Get("SELECT at FROM event WHERE pos >= $1 ORDER BY pos LIMIT 1", []any{pos}, &at)
		return at >= t.UnixNano(), err
	})
}

// Heads returns up to n events after pos, in commit order, with only what rules
// look at: position, id, time, action, registry, location, repository, tag, and
// digest. An event that is owed to one endpoint, whatever the rules, has no action
// here. Reading heads costs a fraction of After.
func Heads(tx *sqldb.Tx, pos int64, n int) ([]*event.Event, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (*event.Event, error) {
		e := &event.Event{}
		var at int64
		err := s(&e.Pos, &e.ID, &at, &e.Registry.ID, &e.Registry.Location, &e.Action, &e.Target.Repository, &e.Target.Tag, &e.Target.Digest)
		e.At = time.Unix(0, at).UTC()
		return e, err
	}, "SELECT pos, id, at, registry, location, action, repository, tag, digest FROM event WHERE pos > $1 ORDER BY pos LIMIT $2", pos, n)
}

// ByID returns the event of a registry that has the id, or sqldb.ErrNoRow. It
// reads the registry's newest events first, so it is for an id that a person was
// shown not long ago.
func ByID(tx *sqldb.Tx, registry int64, id string) (Entry, error) {
	found, err := sqldb.Select(tx, scan, columns+" WHERE id = $1 AND registry = $2 ORDER BY pos DESC LIMIT 1", id, registry)
	if err != nil {
		return Entry{}, err
	}
	if len(found) == 0 {
		return Entry{}, sqldb.ErrNoRow
	}
	return found[0], nil
}

// ByIDAt is ByID for an event that happened at a time, give or take what clocks
// differ by: it looks there alone.
func ByIDAt(tx *sqldb.Tx, registry int64, id string, at time.Time) (Entry, error) {
	const around = 2 * time.Second
	first, err := Since(tx, at.Add(-around))
	if err != nil {
		return Entry{}, err
	}
	beyond, err := Since(tx, at.Add(around))
	if err != nil {
		return Entry{}, err
	}
	found, err := sqldb.Select(tx, scan, columns+" WHERE pos >= $1 AND pos < $2 AND id = $3 AND registry = $4 LIMIT 1", first, beyond, id, registry)
	if err != nil {
		return Entry{}, err
	}
	if len(found) == 0 {
		return Entry{}, sqldb.ErrNoRow
	}
	return found[0], nil
}

// Expanded returns the position up to which every event has its deliveries on
// record.
func Expanded(tx *sqldb.Tx) (int64, error) {
	var pos int64
	err := tx.Get("SELECT expanded FROM event_position WHERE only_row = 1", nil, &pos)
	return pos, err
}

// SetExpanded moves that position forward.
func SetExpanded(tx *sqldb.Tx, pos int64) error {
	_, err := tx.Exec("UPDATE event_position SET expanded = $1 WHERE only_row = 1 AND expanded < $1", pos)
	return err
}

// Remove removes up to n events before a position, oldest first, and returns how
// many. The newest stays.
func Remove(tx *sqldb.Tx, before int64, n int) (int64, error) {
	return tx.Exec(`DELETE FROM event WHERE pos IN
		(SELECT pos FROM event WHERE pos < $1 AND pos < (SELECT max(pos) FROM event) ORDER BY pos LIMIT $2)`, before, n)
}

const columns = "SELECT pos, record, acr_body FROM event"

// After returns up to n events after pos, in commit order.
func After(tx *sqldb.Tx, pos int64, n int) ([]Entry, error) {
	return sqldb.Select(tx, scan, columns+" WHERE pos > $1 ORDER BY pos LIMIT $2", pos, n)
}

// At returns the event at pos, or sqldb.ErrNoRow.
func At(tx *sqldb.Tx, pos int64) (Entry, error) {
	found, err := sqldb.Select(tx, scan, columns+" WHERE pos = $1", pos)
	if err != nil {
		return Entry{}, err
	}
	if len(found) == 0 {
		return Entry{}, sqldb.ErrNoRow
	}
	return found[0], nil
}

func scan(s sqldb.Scan) (Entry, error) {
	var record []byte
	entry := Entry{Event: &event.Event{}}
	var pos int64
	if err := s(&pos, &record, &entry.ACRBody); err != nil {
		return Entry{}, err
	}
	if err := json.Unmarshal(record, entry.Event); err != nil {
		return Entry{}, fmt.Errorf("outbox: event %d: %w", pos, err)
	}
	entry.Event.Pos = pos
	return entry, nil
}
