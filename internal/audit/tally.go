package audit

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// tally counts what has happened since it was last written. Its zero value is
// ready.
type tally struct {
	mu    sync.Mutex
	kinds map[Entry]*occurrences // by what they have in common
}

// occurrences are things that happened which differ in nothing but the time and
// the request.
type occurrences struct {
	n                    int64
	last                 time.Time
	request, correlation string // of the last
}

const (
	// flushEvery is how often counts are written.
	flushEvery = time.Minute

	// maxKinds is how many different things are told apart between two flushes.
	// What is beyond is counted by its action alone.
	maxKinds = 250

	// flushChunk is how many counts one transaction writes.
	flushChunk = 100
)

// Count notes something that whoever is not known can make happen as often as
// they like, such as a failed login. It writes nothing: things that differ in time
// and request alone become one entry a minute, with how many there were, and those
// from one IPv6 network of 64 bits count as from one address. What was not written
// yet is lost if the process is killed, and only then.
func (l *Log) Count(e Entry) {
	e = e.clean()
	e.Client = networkOf(e.Client)
	o := occurrences{n: e.Count, last: time.Now(), request: e.Request, correlation: e.Correlation}
	e.Count, e.Request, e.Correlation, e.Time = 0, "", "", time.Time{}
	l.tally.add(e, o)
}

func (t *tally) add(kind Entry, o occurrences) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kinds == nil {
		t.kinds = make(map[Entry]*occurrences)
	}
	if t.kinds[kind] == nil && len(t.kinds) >= maxKinds {
		kind = Entry{ActorKind: Anonymous, Action: kind.Action, Outcome: kind.Outcome, Detail: "many different ones"}
	}
	old := t.kinds[kind]
	if old == nil {
		t.kinds[kind] = &o
		return
	}
	old.n += o.n
	if o.last.After(old.last) {
		old.last, old.request, old.correlation = o.last, o.request, o.correlation
	}
}

// take returns what was counted, and begins anew.
func (t *tally) take() map[Entry]*occurrences {
	t.mu.Lock()
	defer t.mu.Unlock()
	kinds := t.kinds
	t.kinds = nil
	return kinds
}

// flush writes what was counted. What it cannot write counts on.
func (l *Log) flush(ctx context.Context) error {
	kinds := l.tally.take()
	var chunk []Entry
	for kind, o := range kinds {
		e := kind
		e.Time, e.Count, e.Request, e.Correlation = o.last.UTC(), o.n, o.request, o.correlation
		if chunk = append(chunk, e); len(chunk) < flushChunk && len(chunk) < len(kinds) {
			continue
		}
		err := l.db.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
			for _, e := range chunk {
				if err := insertEntry(tx, e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			for kind, o := range kinds {
				l.tally.add(kind, *o)
			}
			return err
		}
		l.added.Add(int64(len(chunk)))
		for _, e := range chunk {
			l.log.Info("audit", e.attrs()...)
			e.Time, e.Count, e.Request, e.Correlation = time.Time{}, 0, "", ""
			delete(kinds, e)
		}
		chunk = chunk[:0]
	}
	return nil
}

// networkOf returns the network of an address: whoever has one IPv6 address has
// all of its /64. What is no address stays as it is.
func networkOf(client string) string {
	addr, err := netip.ParseAddr(client)
	if err != nil {
		return client
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	network, _ := addr.Prefix(64) // in range
	return network.String()
}

// Host returns the address of a client without its port, of what
// http.Request.RemoteAddr holds.
func Host(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}
