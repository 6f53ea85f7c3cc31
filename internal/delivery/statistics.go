package delivery

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// bounds are where the durations of attempts are divided. The first are faster than
// bounds[0], the last slower than the last bound, up to the longest time limit.
var bounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second,
}

// Counts is what attempts came to.
type Counts struct {
	Delivered, Refused, Failed, Interrupted int64

	took [len(bounds) + 1]int64 // those that were answered, by how long that took
}

// Add adds what others came to.
func (c *Counts) Add(o Counts) {
	c.Delivered += o.Delivered
	c.Refused += o.Refused
	c.Failed += o.Failed
	c.Interrupted += o.Interrupted
	for i, n := range o.took {
		c.took[i] += n
	}
}

// Count adds one attempt. answered says that took is how long the answer took.
func (c *Counts) Count(outcome Outcome, answered bool, took time.Duration) {
	switch outcome {
	case Delivered:
		c.Delivered++
	case Refused:
		c.Refused++
	case Failed:
		c.Failed++
	case Interrupted:
		c.Interrupted++
	}
	if answered {
		took = took.Truncate(time.Microsecond) // as the log has it
		i, at := slices.BinarySearch(bounds[:], took)
		if at {
			i++
		}
		c.took[i]++
	}
}

// Percentile returns in which time p of 100 answers came, as exactly as a count
// between fixed bounds tells: within a half of it. It is zero if there were none.
func (c Counts) Percentile(p int) time.Duration {
	var answered int64
	for _, n := range c.took {
		answered += n
	}
	if answered == 0 {
		return 0
	}
	rank := float64(answered) * float64(p) / 100
	var before float64
	for i, n := range c.took {
		if after := before + float64(n); n == 0 || after < rank {
			before = after
			continue
		}
		from, to := time.Duration(0), max(ring.MaxTimeout, bounds[len(bounds)-1])
		if i > 0 {
			from = bounds[i-1]
		}
		if i < len(bounds) {
			to = bounds[i]
		}
		return from + time.Duration((rank-before)/float64(n)*float64(to-from))
	}
	return ring.MaxTimeout // not reached: rank is at most answered
}

// Step is how long a span is of which there are figures.
type Step time.Duration

// The steps.
const (
	ByMinute = Step(time.Minute)
	ByHour   = Step(time.Hour)
)

// MinutesKept is for how long there are figures by the minute. Those by the hour are
// kept for as long as attempts.
const MinutesKept = time.Hour

// begin returns where the span begins that t lies in.
func (s Step) begin(t time.Time) time.Time { return t.UTC().Truncate(time.Duration(s)) }

// Point is what the attempts came to that began in a span of time.
type Point struct {
	At time.Time // where it begins
	Counts
}

// Statistics are the figures of an endpoint.
type Statistics struct {
	Waiting int     // as Health has it
	Behind  int64   // as Health has it
	Points  []Point // oldest first; a span in which nothing was tried is left out
}

// Total returns what all attempts came to.
func (s Statistics) Total() (c Counts) {
	for _, p := range s.Points {
		c.Add(p.Counts)
	}
	return c
}

// Statistics returns the figures of a registry's endpoints by id, or of one, unless
// endpoint is 0: those of every step since the one that since lies in. What replays
// brought to other addresses is in none of them.
func (e *Engine) Statistics(ctx context.Context, registry, endpoint int64, step Step, since time.Time) (map[int64]Statistics, error) {
	all := map[int64]Statistics{}
	e.mu.Lock()
	for id, ep := range e.endpoints {
		if ep.registry != registry || !ep.reported() || endpoint != 0 && id != endpoint {
			continue
		}
		s := Statistics{Waiting: max(0, ep.rows) + len(ep.queue) + len(ep.now)}
		if ep.parked {
			s.Behind = max(0, e.next-1-ep.cursor)
		}
		all[id] = s
	}
	e.mu.Unlock()
	points := map[int64][]Point{}
	err := e.DB.Read(ctx, func(tx *sqldb.Tx) error {
		clear(points)
		return eachCount(tx, registry, endpoint, step, step.begin(since), func(id int64, p Point) { points[id] = join(points[id], p) })
	})
	if err != nil {
		return nil, err
	}
	for id, s := range all {
		s.Points = together(points[id])
		all[id] = s
	}
	return all, nil
}

// together returns points in order of time, with one for each moment.
func together(points []Point) (sums []Point) {
	slices.SortStableFunc(points, func(a, b Point) int { return a.At.Compare(b.At) })
	for _, p := range points {
		sums = join(sums, p)
	}
	return sums
}

// join adds a point: to the last one, if that is of the same moment.
func join(points []Point, p Point) []Point {
	if n := len(points); n > 0 && points[n-1].At.Equal(p.At) {
		points[n-1].Add(p.Counts)
		return points
	}
	return append(points, p)
}

// counted is where an attempt counts.
type counted struct {
	endpoint int64
	step     Step
	at       int64 // seconds since 1970
}

// tally adds up attempts, to be written once for each endpoint and span.
type tally map[counted]Counts

func (t *tally) add(endpoint int64, x exchange, outcome Outcome) {
	if *t == nil {
		*t = tally{}
	}
	key := counted{endpoint, ByMinute, ByMinute.begin(x.Started).Unix()}
	c := (*t)[key]
	c.Count(outcome, x.Answer != nil, x.Duration)
	(*t)[key] = c
}

// save writes in a fixed order, so that no two transactions wait for each other.
func (t tally) save(tx *sqldb.Tx) error {
	for _, key := range slices.SortedFunc(maps.Keys(t), func(a, b counted) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.at, b.at))
	}) {
		if err := addCounts(tx, key, t[key]); err != nil {
			return err
		}
	}
	return nil
}

// sweepCounts puts the minutes that are kept no longer together to hours, and
// removes the hours that attempts are not kept of either: those before the moment
// before.
func (e *Engine) sweepCounts(ctx context.Context, now, before time.Time) error {
	minutes := ByHour.begin(now.Add(-MinutesKept - time.Minute)).Unix() // of whom asks for all of it, some time passes until that is read
	for last, more := int64(0), true; more; {
		err := e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) error {
			hours := tally{}
			n, end := 0, last
			err := takeMinutes(tx, last, minutes, sweepChunk, func(endpoint, at int64, c Counts) {
				key := counted{endpoint, ByHour, ByHour.begin(time.Unix(at, 0)).Unix()}
				sum := hours[key]
				sum.Add(c)
				hours[key] = sum
				n, end = n+1, max(end, endpoint)
			})
			if err != nil {
				return err
			}
			last, more = end, n == sweepChunk
			return hours.save(tx)
		})
		if err != nil {
			return err
		}
	}
	for n := int64(sweepChunk); n == sweepChunk; {
		err := e.DB.Write(ctx, sqldb.Bulk, func(tx *sqldb.Tx) (err error) {
			n, err = deleteCounts(tx, before.Unix(), sweepChunk)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
