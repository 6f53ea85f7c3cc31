package delivery

import (
	"context"
	"testing"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// TestRings: what became of an event is told by what is on record of it, and of no
// other event and no other registry's endpoint.
func TestRings(t *testing.T) {
	for name, open := range map[string]func(*testing.T) func() *sqldb.DB{"SQLite": sqldbtest.SQLite, "PostgreSQL": sqldbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			db := open(t)()
			t.Cleanup(func() { db.Close() })
			at := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
			const event, registry = 7, 1
			attempt := func(tx *sqldb.Tx, endpoint, pos int64, n, after, status int, outcome Outcome, class string) error {
				_, err := tx.Exec(`INSERT INTO attempt (endpoint, pos, replay_no, n, started_at, micros, outcome, status, error_class, error_message, request_head, node)
					VALUES ($1, $2, 0, $3, $4, $5, $6, $7, $8, '', $9, '')`, endpoint, pos, n, at.Add(time.Duration(after)*time.Second).UnixNano(), 1500, string(outcome), status, class, []byte("{}"))
				return err
			}
			owed := func(tx *sqldb.Tx, endpoint, pos int64) error {
				_, err := tx.Exec("INSERT INTO delivery (endpoint, pos, replay_no, state, order_key, due_at, attempts, expires_at) VALUES ($1, $2, 0, 'pending', '', $3, 0, 0)",
					endpoint, pos, at.Add(time.Hour).UnixNano())
				return err
			}
			dead := func(tx *sqldb.Tx, endpoint, from, to int64) error {
				return insertDeadLetter(tx, endpoint, lapsed{from: from, to: to, count: to - from + 1}, reasonDisabled, lastTry{}, 0)
			}
			err := db.Write(context.Background(), sqldb.Change, func(tx *sqldb.Tx) (err error) {
				do := func(e error) {
					if err == nil {
						err = e
					}
				}
				for id := int64(1); id <= 9; id++ {
					of := int64(registry)
					if id == 9 {
						of = 2
					}
					ep := &endpoint{kind: kindWebhook, registry: of}
					do(insertEndpoint(tx, ep, "local"))
					if ep.id != id {
						t.Fatalf("endpoint %d has id %d", id, ep.id)
					}
				}
				do(attempt(tx, 1, event, 1, 0, 503, Failed, "")) // delivered at the second try
				do(attempt(tx, 1, event, 2, 60, 200, Delivered, ""))
				do(attempt(tx, 2, event, 1, 0, 410, Refused, ""))
				do(attempt(tx, 3, event, 1, 0, 0, Failed, "timeout")) // tried again later
				do(owed(tx, 3, event))
				do(owed(tx, 4, event))                              // not tried yet
				do(attempt(tx, 5, event, 1, 0, 500, Failed, ""))    // given up
				do(dead(tx, 5, event, event))                       //
				do(dead(tx, 6, 1, 100))                             // given up with others, untried
				do(attempt(tx, 7, event, 1, 0, 200, Delivered, "")) // and rung once more
				do(owed(tx, 7, event))
				do(attempt(tx, 8, event+1, 1, 0, 200, Delivered, "")) // another event
				do(owed(tx, 8, event+2))
				do(dead(tx, 8, event+3, event+4))
				do(attempt(tx, 9, event, 1, 0, 200, Delivered, "")) // another registry's
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			rings, err := (&Engine{Options: Options{DB: db}}).Rings(context.Background(), registry, event)
			if err != nil {
				t.Fatal(err)
			}
			due, tried := at.Add(time.Hour), func(r Ring) Ring {
				r.Duration = 1500 * time.Microsecond
				if r.LastAt.IsZero() {
					r.LastAt = at
				}
				return r
			}
			want := map[int64]Ring{
				1: tried(Ring{State: RingDelivered, Attempts: 2, Status: 200, LastAt: at.Add(time.Minute)}),
				2: tried(Ring{State: RingRefused, Attempts: 1, Status: 410}),
				3: tried(Ring{State: RingWaiting, Attempts: 1, Class: "timeout", Due: due}),
				4: {State: RingWaiting, Due: due},
				5: tried(Ring{State: RingDeadLettered, Attempts: 1, Status: 500}),
				6: {State: RingDeadLettered},
				7: tried(Ring{State: RingDelivered, Attempts: 1, Status: 200}),
			}
			for _, r := range rings {
				expected := want[r.Endpoint]
				expected.Endpoint = r.Endpoint
				if r != expected {
					t.Errorf("got  %+v\nwant %+v", r, expected)
				}
				delete(want, r.Endpoint)
			}
			if len(want) > 0 {
				t.Errorf("without %v", want)
			}
		})
	}
}
