package delivery

import (
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// miscounted says of each endpoint and hour, of the last 28 days, whose figures are
// others than the log's.
func miscounted(tx *sqldb.Tx) (wrong []string, err error) {
	type hour struct{ endpoint, at int64 }
	since := ByHour.begin(tx.Now().Add(-28 * day))
	logged, said := map[hour]Counts{}, map[hour]Counts{}
	err = tx.Each("SELECT endpoint, started_at, outcome, status > 0, micros FROM attempt WHERE started_at >= $1", []any{since.UnixNano()}, func(s sqldb.Scan) error {
		var h hour
		var started, micros int64
		var outcome Outcome
		var answered bool
		if err := s(&h.endpoint, &started, &outcome, &answered, &micros); err != nil {
			return err
		}
		h.at = ByHour.begin(time.Unix(0, started)).Unix()
		c := logged[h]
		c.Count(outcome, answered, time.Duration(micros)*time.Microsecond)
		logged[h] = c
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = tx.Each("SELECT endpoint, at / 3600 * 3600, "+strings.Join(countColumns, ", ")+" FROM attempt_count WHERE at >= $1", []any{since.Unix()}, func(s sqldb.Scan) error {
		var h hour
		var c Counts
		err := s(append([]any{&h.endpoint, &h.at}, c.fields()...)...)
		sum := said[h]
		sum.Add(c)
		said[h] = sum
		return err
	})
	for h, c := range logged {
		if said[h] != c {
			wrong = append(wrong, fmt.Sprintf("endpoint %d in the hour %d: counted are %+v, and %+v are on record", h.endpoint, h.at, said[h], c))
		}
	}
	for h, c := range said {
		if _, ok := logged[h]; !ok {
			wrong = append(wrong, fmt.Sprintf("endpoint %d in the hour %d: counted are %+v, and none are on record", h.endpoint, h.at, c))
		}
	}
	return wrong, err
}

// checkCounts compares the figures with the log.
func (r *rig) checkCounts() {
	r.t.Helper()
	var wrong []string
	err := r.db.Read(bg, func(tx *sqldb.Tx) (err error) {
		wrong, err = miscounted(tx)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, hour := range wrong {
		r.t.Error(hour)
	}
}

// statistics returns the figures of all endpoints of the rig.
func (r *rig) statistics(step Step, since time.Time) map[int64]Statistics {
	r.t.Helper()
	all, err := r.engine.Statistics(bg, 1, 0, step, since)
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// What the log has from before there were figures is counted when they come.
func TestStatisticsOfAnOlderLog(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		text, err := os.ReadFile(filepath.Join("../sqldb/migrations", path.Base(t.Name()), "0019_statistics.sql"))
		if err != nil {
			t.Fatal(err)
		}
		_, insert, found := strings.Cut(string(text), "INSERT INTO attempt_count")
		if !found {
			t.Fatal("the migration inserts nothing")
		}
		r := newRigOn(t, open)
		r.endpoints(2)
		err = r.db.Write(bg, sqldb.Change, func(tx *sqldb.Tx) error {
			for i, took := range append([]time.Duration{0, 30 * time.Second}, bounds[:]...) {
				for k, outcome := range []Outcome{Delivered, Refused, Failed, Interrupted} {
					x := encode(status(200))
					if outcome == Interrupted {
						x = encode(outbound.Result{Class: outbound.Cancelled})
					}
					x.Started, x.Duration = time.Now().Add(-time.Duration(i)*time.Hour), took
					if err := insertAttempt(tx, &job{ep: &endpoint{id: int64(1 + i%2)}, pos: int64(i), n: k + 1}, x, outcome, "test"); err != nil {
						return err
					}
				}
			}
			_, err := tx.Exec("INSERT INTO attempt_count" + insert)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		r.checkCounts()
		if all := r.statistics(ByHour, time.Now().Add(-30*time.Hour)); len(all[1].Points) != 9 || len(all[2].Points) != 8 {
			t.Errorf("%d and %d hours, want 9 and 8", len(all[1].Points), len(all[2].Points))
		}
	})
}

func TestReadCounts(t *testing.T) {
	t.Parallel()
	var c Counts
	if !c.read("1 2 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 900719925474099") || c.Delivered != 1 || c.Refused != 2 || c.Failed != 3 || c.Interrupted != 4 || c.took[len(c.took)-1] != 900719925474099 {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"", "1", "1 2 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0", "1 2 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 ", "1 2 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1", "-1 2 3 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1"} {
		if c.read(bad) {
			t.Errorf("%q is read as %+v", bad, c)
		}
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	took := func(all ...time.Duration) (c Counts) {
		for _, d := range all {
			c.Count(Delivered, true, d)
		}
		return c
	}
	for _, test := range []struct {
		name     string
		counts   Counts
		p        int
		from, to time.Duration // both included
	}{
		{"none", Counts{}, 50, 0, 0},
		{"unanswered only", Counts{Failed: 7}, 99, 0, 0},
		{"one", took(3 * time.Millisecond), 50, 2 * time.Millisecond, 5 * time.Millisecond},
		{"the fastest", took(0), 99, 0, 500 * time.Microsecond},
		{"on a bound", took(time.Millisecond), 1, time.Millisecond, 2 * time.Millisecond},
		{"just below a bound", took(time.Millisecond - time.Nanosecond), 99, 500 * time.Microsecond, time.Millisecond},
		{"the slowest", took(time.Minute), 99, 20 * time.Second, 30 * time.Second},
		{"median of two sides", took(time.Millisecond, time.Millisecond, time.Millisecond, time.Second), 50, time.Millisecond, 2 * time.Millisecond},
		{"the slow quarter", took(time.Millisecond, time.Millisecond, time.Millisecond, time.Second), 99, time.Second, 2 * time.Second},
	} {
		if got := test.counts.Percentile(test.p); got < test.from || got > test.to {
			t.Errorf("%s: p%d is %v, want %v to %v", test.name, test.p, got, test.from, test.to)
		}
	}
	last := time.Duration(0)
	many := took(1, time.Millisecond, 8*time.Millisecond, 40*time.Millisecond, 40*time.Millisecond, 700*time.Millisecond, 25*time.Second)
	for p := range 101 {
		if got := many.Percentile(p); got < last {
			t.Errorf("p%d is %v, and p%d is %v", p-1, last, p, got)
		} else {
			last = got
		}
	}
}

// Figures are by the minute for some hours, then by the hour, and go with the log.
func TestStatistics(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(2)
		r.answer = func(endpoint int64, e *event.Event) outbound.Result {
			res := status(200)
			if e.Pos%4 == 0 {
				res = status(400)
			}
			res.Duration = time.Duration(endpoint) * 30 * time.Millisecond
			return res
		}
		begin := time.Now()
		for i := range 90 { // a minute apart
			r.push(2, fmt.Sprint("v", i))
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		r.checkCounts()
		all := r.statistics(ByMinute, begin.Add(30*time.Minute))
		if s := all[1]; len(all) != 2 || len(s.Points) != 60 || s.Waiting != 0 || s.Total().Delivered != 45 || s.Total().Refused != 15 {
			t.Errorf("of the last hour: %d endpoints, %d minutes, %+v", len(all), len(s.Points), s.Total())
		}
		if p := all[2].Total().Percentile(50); p < 50*time.Millisecond || p > 100*time.Millisecond {
			t.Errorf("the median of answers is %v, want about 60 ms", p)
		}
		hours := r.statistics(ByHour, begin)
		if s := hours[1]; len(s.Points) != 2 || s.Points[0].Delivered != 45 || s.Points[1].Delivered != 23 || !s.Points[1].At.Equal(ByHour.begin(begin).Add(time.Hour)) {
			t.Errorf("by the hour: %+v", s.Points)
		}
		if one, err := r.engine.Statistics(bg, 1, 2, ByHour, begin); err != nil || len(one) != 1 || one[2].Total() != hours[2].Total() {
			t.Errorf("of one endpoint: %+v, %v", one, err)
		}
		if other, err := r.engine.Statistics(bg, 7, 1, ByHour, begin); err != nil || len(other) != 0 {
			t.Errorf("of another registry: %+v, %v", other, err)
		}

		time.Sleep(5 * time.Hour)
		synctest.Wait()
		r.checkCounts()
		if s := r.statistics(ByMinute, begin)[1]; len(s.Points) != 0 {
			t.Errorf("%d minutes are kept after 5 hours", len(s.Points))
		}
		if later := r.statistics(ByHour, begin); later[1].Total() != hours[1].Total() || len(later[1].Points) != 2 || r.rowCount("attempt_count") != 4 {
			t.Errorf("by the hour, later: %+v in %d rows, want what it was: %+v", later[1].Points, r.rowCount("attempt_count"), hours[1].Points)
		}
		time.Sleep(32 * 24 * time.Hour)
		synctest.Wait()
		if n := r.rowCount("attempt_count"); n != 0 {
			t.Errorf("%d rows are kept after a month", n)
		}
	})
}

// What waits is said beside what was tried, and what never got an answer has no
// duration.
func TestStatisticsOfTheDead(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRig(t)
		r.endpoints(2)
		begin := time.Now()
		r.answer = func(endpoint int64, _ *event.Event) outbound.Result {
			if endpoint == 1 {
				return outbound.Result{Class: outbound.Connect}
			}
			return status(200)
		}
		r.pushMany(2, 20)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		r.checkCounts()
		s := r.statistics(ByMinute, begin)[1]
		if total := s.Total(); total.Failed == 0 || total.Delivered != 0 || total.Percentile(99) != 0 || int64(s.Waiting)+s.Behind != 20 {
			t.Errorf("%+v, %d waiting, %d behind", total, s.Waiting, s.Behind)
		}
	})
}

// A crash takes no figure away, on either database, and neither does putting minutes
// together.
func TestStatisticsAfterACrash(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, open func() *sqldb.DB) {
		r := newRigOn(t, open)
		r.endpoints(3)
		r.mu.Lock()
		r.answer = func(int64, *event.Event) outbound.Result {
			res := status(200)
			res.Duration = time.Hour
			return res
		}
		r.mu.Unlock()
		for i := range 20 {
			r.push(3, fmt.Sprint("tag", i))
		}
		r.crash()
		r.mu.Lock()
		r.answer = func(int64, *event.Event) outbound.Result { return status(200) }
		r.mu.Unlock()
		r.start()
		for deadline := time.Now().Add(time.Minute); r.rowCount("delivery") > 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d deliveries are still owed", r.rowCount("delivery"))
			}
		}
		r.checkCounts()
		begin := time.Now().Add(-time.Hour)
		before := r.statistics(ByHour, begin)
		if total := before[3].Total(); total.Delivered != 20 || total.Interrupted == 0 {
			t.Errorf("%+v, want 20 delivered and some interrupted", total)
		}
		for range 2 { // the second time there is nothing to do
			if err := r.engine.sweepCounts(bg, time.Now().Add(5*time.Hour), begin.Add(-day)); err != nil {
				t.Fatal(err)
			}
		}
		r.checkCounts()
		if after := r.statistics(ByHour, begin); after[3].Total() != before[3].Total() || len(r.statistics(ByMinute, begin)[3].Points) != 0 {
			t.Errorf("put together: %+v, was %+v", after[3].Points, before[3].Points)
		}
		if err := r.engine.sweepCounts(bg, time.Now(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if n := r.rowCount("attempt_count"); n != 0 {
			t.Errorf("%d rows are left of what is kept no longer", n)
		}
	})
}

// BenchmarkCounting compares a transaction of the settler with its figures and
// without, in one run: the metric ratio is the first by the second.
func BenchmarkCounting(b *testing.B) {
	for _, endpoints := range []int{1, 16, maxOps} {
		b.Run(fmt.Sprint("endpoints=", endpoints), func(b *testing.B) {
			db, err := sqldb.Open(bg, sqldb.Config{Path: filepath.Join(b.TempDir(), "test.db"), Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			x := encode(status(200))
			x.Started, x.Duration = time.Now(), 3*time.Millisecond
			var spent [2]time.Duration
			pos := int64(0)
			for round := 0; b.Loop(); round++ {
				for turn := range spent {
					with := (turn + round) % 2 // each goes first as often
					began := time.Now()
					err := db.Write(bg, sqldb.Settle, func(tx *sqldb.Tx) error {
						var made written
						for i := range maxOps {
							j := &job{ep: &endpoint{id: int64(i%endpoints) + 1}, pos: pos, n: 1}
							pos++
							if err := insertAttempt(tx, j, x, Delivered, "test"); err != nil {
								return err
							}
							made.add(j.ep.id, x, Delivered)
						}
						if with == 0 {
							made.tally = nil
						}
						return made.save(tx)
					})
					if err != nil {
						b.Fatal(err)
					}
					spent[with] += time.Since(began)
				}
			}
			b.ReportMetric(float64(spent[1])/float64(spent[0]), "ratio")
		})
	}
}

// BenchmarkStatistics reads the figures of a registry with 500 endpoints, each of
// which was rung in every minute of the last two hours and every hour of a month, nine
// times a minute: a log of 194 million attempts.
func BenchmarkStatistics(b *testing.B) {
	db, err := sqldb.Open(bg, sqldb.Config{Path: filepath.Join(b.TempDir(), "test.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	engine := New(Options{DB: db, Log: slog.New(slog.DiscardHandler)})
	now := ByHour.begin(time.Now())
	for range 500 {
		err := db.Write(bg, sqldb.Bulk, func(tx *sqldb.Tx) error {
			id, err := engine.Add(tx, kindWebhook, 1, "local")
			if err != nil {
				return err
			}
			rung := tally{}
			for i := range int64(120) {
				rung[counted{id, ByMinute, now.Unix() - 60*i}] = Counts{Delivered: 9}
			}
			for i := range int64(720) {
				rung[counted{id, ByHour, now.Unix() - 3600*i}] = Counts{Delivered: 540}
			}
			return rung.save(tx)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, x := range []struct {
		name  string
		step  Step
		since time.Duration
	}{{"hour", ByMinute, time.Hour}, {"day", ByHour, day}, {"week", ByHour, 7 * day}} {
		b.Run(x.name, func(b *testing.B) {
			for b.Loop() {
				if all, err := engine.Statistics(bg, 1, 0, x.step, now.Add(-x.since)); err != nil || len(all) != 500 {
					b.Fatalf("%d, %v", len(all), err)
				}
			}
		})
		b.Run(x.name+" of one", func(b *testing.B) {
			for b.Loop() {
				if all, err := engine.Statistics(bg, 1, 7, x.step, now.Add(-x.since)); err != nil || len(all[7].Points) == 0 {
					b.Fatalf("%d, %v", len(all), err)
				}
			}
		})
	}
}
