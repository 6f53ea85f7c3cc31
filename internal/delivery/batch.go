package delivery

import (
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/ring"
)

// Where the terms of an endpoint allow it, one request tells of several events:
// what is ready goes together, and nothing waits for company. All of them succeed or
// fail by one answer; the log, the number of attempts, what is tried again and what
// is given up is each one's own.

// maxBatch is how many events go in one request at the most, whatever the terms
// say: they are in memory meanwhile.
const maxBatch = 256

// batchLimit returns how much goes in one request to ep at the most; Events is at
// least 1.
func (ep *endpoint) batchLimit() ring.Batch {
	return ring.Batch{Events: min(max(1, ep.terms.Batch.Events), maxBatch), Bytes: ep.terms.Batch.Bytes}
}

// batch is what goes in one request.
type batch struct {
	limit ring.Batch
	jobs  []*job // in commit order, as far as they are of one key
	bytes int
}

// add adds j unless it may not go with what is there.
func (b *batch) add(j *job) bool {
	size := 0
	if b.limit.Events > 1 && b.limit.Bytes > 0 {
		size = event.EncodedSize(j.entry.Event)
	}
	if n := len(b.jobs); n > 0 {
		first := b.jobs[0]
		if n >= b.limit.Events || j.goesAlone() || first.goesAlone() || j.replay != first.replay || b.limit.Bytes > 0 && b.bytes+size > b.limit.Bytes {
			return false
		}
	}
	b.jobs, b.bytes = append(b.jobs, j), b.bytes+size
	return true
}

// goesAlone says that j shares its request with nothing: a person waits for it, or
// it may be what this process dies of.
func (j *job) goesAlone() bool { return urgent(j.entry.Event) || j.crashes >= crashLoop-1 }

// companions takes from the queue of ep what goes in one request with j, and returns
// all of it; nil for j alone. Of one key, nothing overtakes what is before it: once
// something does not fit, nothing behind it is taken.
func (ep *endpoint) companions(j *job) []*job {
	b := batch{limit: ep.batchLimit()}
	if b.limit.Events == 1 || len(ep.queue) == 0 {
		return nil
	}
	b.add(j)
	left, full := ep.queue[:0], false
	for _, next := range ep.queue {
		free := !full && ep.active[next.key] == 0 && (next.fed || !ep.unparking)
		if !free || !b.add(next) {
			left, full = append(left, next), full || free
		}
	}
	clear(ep.queue[len(left):])
	ep.queue = left
	return b.jobs
}
