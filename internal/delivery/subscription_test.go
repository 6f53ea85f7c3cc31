package delivery

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbound"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/ring"
	"github.com/dockbell/dockbell/internal/sqldb"
	"github.com/dockbell/dockbell/internal/sqldb/sqldbtest"
)

// subscribe makes an event subscription, whose id is the number of endpoints then.
func (r *rig) subscribe(change func(*ring.Terms)) {
	r.t.Helper()
	r.add(kindSubscription, 1)
	terms := ring.Terms{Policy: ring.Default(), Answers: ring.OfEventGrid}
	terms.TTL, terms.Order = 24*time.Hour, ring.Unordered
	if change != nil {
		change(&terms)
	}
	r.ask(int64(r.rowCount("endpoint")), terms)
}

// pushBy commits an event of somebody's doing.
func (r *rig) pushBy(actor, tag string) int64 {
	r.t.Helper()
	e := &event.Event{Action: event.Push, Registry: event.Registry{ID: 1, Location: "local"}, Actor: actor, Target: event.Target{Repository: "app", Tag: tag}}
	r.write(func(tx *sqldb.Tx) error { return r.outbox.Append(tx, outbox.Prepare(e)) })
	return e.Pos
}

// answers says what receivers answer, and how long that takes.
func (r *rig) answers(with func() outbound.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = func(int64, *event.Event) outbound.Result { return with() }
}

// fileAll files what there is, so many at a time.
func (r *rig) fileAll(endpoint int64, n int) (letters []ring.Letter) {
	r.t.Helper()
	for {
		some, err := r.engine.Unfiled(bg, endpoint, n)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(some) == 0 {
			return letters
		}
		if len(some) > n {
			r.t.Fatalf("%d letters, asked for %d", len(some), n)
		}
		if err := r.engine.Filed(bg, some); err != nil {
			r.t.Fatal(err)
		}
		letters = append(letters, some...)
	}
}

// An answer says how soon the next attempt may be, and Retry-After may ask for
// more.
func TestPausesOfEventGrid(t *testing.T) {
	for _, test := range []struct {
		status int
		asked  time.Duration
		least  time.Duration
	}{
		{404, 0, 5 * time.Minute}, {408, 0, 2 * time.Minute}, {503, 0, 30 * time.Second}, {429, 0, 10 * time.Second},
		{500, 0, 10 * time.Second}, {301, 0, 10 * time.Second}, {205, 0, 10 * time.Second}, {410, 0, 10 * time.Second},
		{503, 20 * time.Minute, 20 * time.Minute}, {404, time.Second, 5 * time.Minute},
	} {
		t.Run(fmt.Sprint(test.status, " ", test.asked), func(t *testing.T) {
			fakeTime(t, func(t *testing.T) {
				r := newRigOn(t, inMemory(t))
				r.subscribe(nil)
				r.answers(func() outbound.Result {
					if len(r.rang) > 1 {
						return status(200)
					}
					res := status(test.status)
					if test.asked > 0 {
						res.Answer.Header["Retry-After"] = strconv.Itoa(int(test.asked / time.Second))
					}
					return res
				})
				r.push(1, "v1")
				time.Sleep(time.Hour)
				synctest.Wait()
				if len(r.rang) != 2 {
					t.Fatalf("it was sent %d times, want twice", len(r.rang))
				}
				if pause := r.rang[1].at.Sub(r.rang[0].at); pause < test.least || pause > test.least*11/10+time.Second {
					t.Errorf("the pause was %s, want %s or little more", pause, test.least)
				}
				if r.rang[0].earlier != 0 || r.rang[1].earlier != 1 {
					t.Errorf("it was said that there were %d and %d attempts before, want 0 and 1", r.rang[0].earlier, r.rang[1].earlier)
				}
			})
		})
	}
}

// What is final is a dead letter at once, and says why.
func TestFinalAnswersOfEventGrid(t *testing.T) {
	for code, want := range map[int]DeadLetter{
		400: {Code: "UndeliverableDueToHttpBadRequest", LastOutcome: "BadRequest"},
		401: {Code: "UndeliverableDueToClientError", LastOutcome: "Unauthorized"},
		403: {Code: "UndeliverableDueToClientError", LastOutcome: "Forbidden"},
		413: {Code: "UndeliverableDueToClientError", LastOutcome: "PayloadTooLarge"},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			fakeTime(t, func(t *testing.T) {
				r := newRigOn(t, inMemory(t))
				r.subscribe(nil)
				r.answers(func() outbound.Result { return status(code) })
				pos := r.push(1, "v1")
				time.Sleep(time.Second)
				synctest.Wait()
				letters := r.deadLetters(1)
				if len(letters) != 1 || len(r.rang) != 1 || r.rowCount("delivery") != 0 {
					t.Fatalf("dead letters %+v after %d attempts, want one after one", letters, len(r.rang))
				}
				got := letters[0]
				if got.PosFrom != pos || got.Code != want.Code || got.LastOutcome != want.LastOutcome || got.LastStatus != code || got.Attempts != 1 ||
					!got.LastAttempt.Equal(r.rang[0].at) {
					t.Errorf("the dead letter is %+v", got)
				}
			})
		})
	}
}

// Wrong credentials are final for the events that are tried, and so they are tried
// with few: the others wait until they are right.
func TestWrongCredentialsCostFewEvents(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.subscribe(nil)
		r.answers(func() outbound.Result { return status(401) })
		for i := range 200 {
			r.push(1, fmt.Sprint("v", i))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		r.down(nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		delivered, dead := len(r.delivered(1)), len(r.deadLetters(1))
		if delivered+dead != 200 || dead > 15 {
			t.Errorf("%d events were delivered and %d given up, want 200, and few of them given up", delivered, dead)
		}
	})
}

// A subscription is never disabled, whatever its receiver does; people are told that
// it fails, and that it does not any more.
func TestSubscriptionIsNeverDisabled(t *testing.T) {
	for name, answer := range map[string]outbound.Result{"unreachable": unreachable(), "gone": status(410)} {
		t.Run(name, func(t *testing.T) {
			fakeTime(t, func(t *testing.T) {
				r := newRigOn(t, inMemory(t))
				r.subscribe(nil)
				r.answers(func() outbound.Result { return answer })
				for range 6 * 24 {
					r.push(1, "v1")
					time.Sleep(time.Hour)
				}
				r.down(nil)
				time.Sleep(time.Hour)
				synctest.Wait()
				var told []ring.Condition
				for _, report := range r.reports {
					told = append(told, report.Condition)
				}
				if want := []ring.Condition{ring.Failing, ring.Recovered}; !slices.Equal(told, want) || r.disabled {
					t.Errorf("people were told %v, want %v; disabled: %t", told, want, r.disabled)
				}
				if h := r.health(1); h.State != Live || len(r.delivered(1)) < 20 {
					t.Errorf("%+v, %d events delivered: want the last day's", h, len(r.delivered(1)))
				}
			})
		})
	}
}

// A receiver that is down for three days, of events that live for one: what is given
// up says why, each of it is filed once though its owner dies now and then, and a
// replay delivers it all.
func TestSubscriptionDownForThreeDays(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.subscribe(nil)
		r.subscribe(func(terms *ring.Terms) { terms.MaxAttempts = 3 })
		r.answer = func(endpoint int64, _ *event.Event) outbound.Result {
			if endpoint == 2 {
				return status(500)
			}
			return unreachable()
		}
		filed := map[int64]map[string]ring.Letter{1: {}, 2: {}}
		note := func(endpoint int64, letters []ring.Letter) {
			for _, l := range letters {
				filed[endpoint][l.Key] = l
			}
		}
		start := time.Now()
		const events = 3 * 24 * 20
		for i := range events {
			r.push(2, fmt.Sprint("v", i))
			time.Sleep(3 * time.Minute)
			switch i % 150 {
			case 50:
				for endpoint := range filed {
					note(endpoint, r.fileAll(endpoint, 7))
				}
			case 100: // the same again, for nobody said that these are filed
				for endpoint := range filed {
					letters, err := r.engine.Unfiled(bg, endpoint, 10)
					if err != nil {
						t.Fatal(err)
					}
					note(endpoint, letters)
				}
				r.crash()
				r.start()
			}
		}
		r.down(nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		for endpoint := int64(1); endpoint <= 2; endpoint++ {
			note(endpoint, r.fileAll(endpoint, 100))
			tries, newest := map[int64]int{}, map[int64]Attempt{}
			for _, a := range reversed(r.attempts(endpoint)) {
				tries[a.Pos]++
				newest[a.Pos] = a
			}
			reasons := map[ring.Reason]int{}
			ranges := 0
			byPos := map[int64]bool{}
			for _, l := range filed[endpoint] {
				if byPos[l.Event.Pos] {
					t.Errorf("endpoint %d: event %d is filed twice", endpoint, l.Event.Pos)
				}
				byPos[l.Event.Pos] = true
				reasons[l.Reason]++
				log, last := tries[l.Event.Pos], newest[l.Event.Pos]
				want := ring.OutcomeSocketError
				if endpoint == 2 {
					want = ring.OutcomeBusy
				}
				switch {
				case log == 0:
					want = ring.OutcomeProbation
					ranges++
				case last.Outcome == Interrupted:
					want = ring.OutcomeCanceled
				}
				if l.Attempts != log || l.LastOutcome != want || !l.LastAttempt.Equal(last.StartedAt) || (l.LastStatus == 500) != (want == ring.OutcomeBusy) {
					t.Errorf("endpoint %d: %+v, though %d attempts are on record and the last is %+v", endpoint, l, log, last)
				}
				if age := l.At.Sub(l.Event.At); l.Reason == ring.TimeToLiveExceeded && age < 18*time.Hour {
					t.Errorf("endpoint %d: %+v was given up as too old after %s", endpoint, l, age)
				}
			}
			delivered := len(r.delivered(endpoint))
			if len(byPos)+delivered != events || delivered < 20*20 || ranges < events/4 {
				t.Errorf("endpoint %d: of %d events %d were delivered and %d filed, of which %d never tried", endpoint, events, delivered, len(byPos), ranges)
			}
			if reasons[ring.TimeToLiveExceeded] == 0 || (reasons[ring.AttemptsExceeded] > 0) != (endpoint == 2) || len(reasons) > 2 {
				t.Errorf("endpoint %d: the reasons are %v", endpoint, reasons)
			}
			if r.lettered[endpoint] == 0 {
				t.Errorf("endpoint %d: nobody was told that there are dead letters", endpoint)
			}
			if n := len(r.deadLetters(endpoint)); n > int(time.Since(start)/(4*time.Minute)) {
				t.Errorf("endpoint %d has %d dead letters, want no more than probes", endpoint, n)
			}
			replay, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: endpoint, Selection: Selection{AllDeadLetters: true}, By: "test"})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			replay, err = r.engine.ReplayByID(bg, endpoint, replay.ID)
			if err != nil || replay.State != ReplayDone || replay.Delivered != int64(len(byPos)) {
				t.Errorf("endpoint %d: %+v, %v: want %d delivered", endpoint, replay, err, len(byPos))
			}
			got := r.delivered(endpoint)
			slices.Sort(got)
			if len(slices.Compact(got)) != events || len(got) != events || len(r.deadLetters(endpoint)) != 0 {
				t.Errorf("endpoint %d: %d of %d events are delivered after the replay, %d dead letters are left", endpoint, len(got), events, len(r.deadLetters(endpoint)))
			}
		}
	})
}

// An endpoint that is slower than its events get old: between what it was handed is
// what was given up. A crash does not mix them up.
func TestGivenUpBetweenWhatWasHandedOver(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.subscribe(func(terms *ring.Terms) { terms.TTL, terms.PerMinute = 10*time.Minute, 1 })
		if err := r.engine.Pause(bg, 1); err != nil {
			t.Fatal(err)
		}
		const events = 300
		var letters []ring.Letter
		for i := range events {
			r.push(1, fmt.Sprint("v", i))
			time.Sleep(10 * time.Second)
			switch {
			case i == 60:
				if err := r.engine.Resume(bg, 1); err != nil {
					t.Fatal(err)
				}
			case i > 60 && i%37 == 0:
				r.crash()
				r.start()
			case i%90 == 0:
				letters = append(letters, r.fileAll(1, 10)...)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		letters = append(letters, r.fileAll(1, 1000)...)
		filed := map[int64]int{}
		for _, l := range letters {
			filed[l.Event.Pos]++
		}
		tries := map[int64]int{}
		for _, a := range r.attempts(1) {
			tries[a.Pos]++
		}
		delivered := r.delivered(1)
		for pos := int64(1); pos <= events; pos++ {
			if n := filed[pos]; n > 1 || (n == 1) == slices.Contains(delivered, pos) {
				t.Errorf("event %d was filed %d times; delivered: %t, %d attempts", pos, n, slices.Contains(delivered, pos), tries[pos])
			}
		}
		if len(letters) < events/2 || len(delivered) < 30 {
			t.Errorf("%d events were filed and %d delivered", len(letters), len(delivered))
		}
	})
}

// What a cancelled replay had taken over is not filed again where it was filed.
func TestCancelledReplayIsNotFiledAgain(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.subscribe(nil)
		if err := r.engine.Pause(bg, 1); err != nil {
			t.Fatal(err)
		}
		r.pushMany(1, 200)
		r.write(func(tx *sqldb.Tx) error { return r.engine.Disabled(tx, 1, "a person did it") })
		synctest.Wait()
		first, err := r.engine.Unfiled(bg, 1, 120)
		if err != nil || len(first) != 120 {
			t.Fatalf("%d letters, %v", len(first), err)
		}
		if err := r.engine.Filed(bg, first); err != nil {
			t.Fatal(err)
		}
		replay, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{AllDeadLetters: true}, PerMinute: 1})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if letters, err := r.engine.Unfiled(bg, 1, 1); err != nil || len(letters) != 0 {
			t.Errorf("%+v, %v: want none while the replay has them", letters, err)
		}
		if _, err := r.engine.CancelReplay(bg, 1, replay.ID); err != nil {
			t.Fatal(err)
		}
		rang := len(r.rang)
		rest := r.fileAll(1, 33)
		if len(rest) != 80 {
			t.Errorf("%d letters were filed after the cancel, want the 80 that were not before; %d were sent", len(rest), rang)
		}
		for i, l := range rest {
			if want := int64(121 + i); l.Event.Pos != want || l.Reason != ring.Cancelled {
				t.Errorf("letter %d is of event %d, for %s; want event %d", i, l.Event.Pos, l.Reason, want)
			}
		}
	})
}

// While events are ready, they go together, as many as the terms allow; and no event
// is told of twice, or not at all.
func TestBatches(t *testing.T) {
	const events = 2000
	for _, order := range []ring.Order{ring.Unordered, ring.PerTag, ring.PerRepository} {
		for _, limit := range []ring.Batch{{Events: 10}, {Events: 5000, Bytes: 20_000}, {Events: 3, Bytes: 1}} {
			t.Run(fmt.Sprint(order, " ", limit), func(t *testing.T) {
				fakeTime(t, func(t *testing.T) {
					r := newRigOn(t, inMemory(t))
					r.subscribe(func(terms *ring.Terms) { terms.Order, terms.Batch = order, limit })
					r.answers(func() outbound.Result {
						res := status(200)
						res.Duration = 100 * time.Millisecond
						return res
					})
					for i := range events {
						r.push(1, fmt.Sprint("v", i%7))
						if i%50 == 0 {
							time.Sleep(time.Millisecond)
						}
						if i == events/2 { // what is behind the cursor goes together too
							if err := r.engine.Pause(bg, 1); err != nil {
								t.Fatal(err)
							}
						}
					}
					if err := r.engine.Resume(bg, 1); err != nil {
						t.Fatal(err)
					}
					time.Sleep(10 * time.Minute)
					synctest.Wait()
					told := map[int64]int{}
					last := map[int64]int64{}
					for _, g := range r.rang {
						all := append([]int64{g.pos}, g.rest...)
						for _, pos := range all {
							told[pos]++
							key := map[ring.Order]int64{ring.Unordered: pos, ring.PerTag: pos % 7}[order]
							if pos < last[key] {
								t.Errorf("event %d is told of after event %d", pos, last[key])
							}
							last[key] = pos
						}
						if most := map[int]int{10: 10, 5000: 20_000 / event.EncodedSize(&event.Event{}), 3: 1}[limit.Events]; len(all) > most {
							t.Errorf("%d events in a request, want at most %d", len(all), most)
						}
					}
					for pos := int64(1); pos <= events; pos++ {
						if told[pos] != 1 {
							t.Errorf("event %d was told of %d times", pos, told[pos])
						}
					}
					// Rows of one key go one by one.
					if n := len(r.rang); limit.Bytes != 1 && order != ring.PerRepository && n > events/3 {
						t.Errorf("%d events took %d requests", events, n)
					}
					if got := len(r.delivered(1)); got != events {
						t.Errorf("%d events are on record as delivered, want %d", got, events)
					}
				})
			})
		}
	}
}

// A batch fails as a whole. Each of its events has its own attempts on record, with
// the answer's body once, and they are tried again together.
func TestBatchFailsAsAWhole(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.subscribe(func(terms *ring.Terms) { terms.Batch.Events = 5; terms.MaxAttempts = 2 })
		r.answers(func() outbound.Result {
			res := status(500)
			res.Body, res.Duration = []byte("not now"), time.Second
			return res
		})
		r.pushMany(1, startWindow+4) // as many as the window go alone, the others wait for them
		time.Sleep(time.Minute)
		synctest.Wait()
		var batches []rung
		for _, g := range r.rang {
			if len(g.rest) > 0 {
				batches = append(batches, g)
			}
		}
		if len(batches) == 0 {
			t.Fatalf("no batch was sent: %+v", r.rang)
		}
		first := batches[0]
		bodies := 0
		for _, pos := range append(first.rest, first.pos) {
			for _, a := range r.attempts(1) {
				if a.Pos != pos || !a.StartedAt.Equal(first.at) {
					continue
				}
				if a.Outcome != Failed || a.Answer.Status != 500 || a.N != 1 {
					t.Errorf("attempt %+v", a)
				}
				if a.Body != nil {
					bodies++
				}
			}
		}
		if bodies != 1 {
			t.Errorf("the body of the answer is on record %d times, want once", bodies)
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		tries, dead := map[int64]int{}, map[int64]int{}
		for _, a := range r.attempts(1) {
			tries[a.Pos]++
		}
		for _, d := range r.deadLetters(1) {
			dead[d.PosFrom]++
			if d.Attempts != tries[d.PosFrom] || d.Count != 1 {
				t.Errorf("%+v, with %d attempts on record", d, tries[d.PosFrom])
			}
		}
		if len(dead) != startWindow+4 || r.rowCount("delivery") != 0 {
			t.Errorf("dead letters of %v, %d rows left", dead, r.rowCount("delivery"))
		}
	})
}

// After a batch failed that told of two events of one tag, the older one goes first
// again.
func TestBatchKeepsTheOrder(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.subscribe(func(terms *ring.Terms) { terms.Order, terms.Batch.Events = ring.PerTag, 10 })
		r.answers(func() outbound.Result {
			res := status(500)
			res.Duration = time.Second
			return res
		})
		for range 4 {
			r.push(1, "latest")
		}
		time.Sleep(2500 * time.Millisecond) // the first alone; then it has a row, and the others wait for that
		r.down(nil)
		r.push(1, "latest")
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := r.delivered(1); !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
			t.Errorf("delivered %v, want all in order", got)
		}
		// Now with what goes together at once: while one is on its way, three gather.
		slow := func() outbound.Result {
			res := status(200)
			res.Duration = time.Second
			return res
		}
		r.answers(slow)
		r.push(1, "latest")
		for range 3 {
			r.push(1, "latest")
		}
		time.Sleep(500 * time.Millisecond)
		r.answers(func() outbound.Result {
			res := slow()
			res.Answer.Status = 500
			return res
		})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if last := r.rang[len(r.rang)-1]; last.pos != 7 || !slices.Equal(last.rest, []int64{8, 9}) {
			t.Fatalf("the last request tells of %d and %v, want 7, 8 and 9", last.pos, last.rest)
		}
		var states []string
		r.write(func(tx *sqldb.Tx) (err error) {
			states, err = sqldb.Select(tx, func(s sqldb.Scan) (state string, err error) { return state, s(&state) }, "SELECT state FROM delivery ORDER BY pos")
			return err
		})
		if want := []string{statePending, stateHeld, stateHeld}; !slices.Equal(states, want) {
			t.Errorf("their rows are %v, want %v", states, want)
		}
		r.down(nil)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := r.delivered(1); !slices.Equal(got, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("delivered %v, want all in order", got)
		}
	})
}

// Of two events of one tag in a batch that fails, the older one is too old to be
// tried again: what came later still waits for the other.
func TestBatchEndsInParts(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.subscribe(func(terms *ring.Terms) {
			terms.Order, terms.Batch.Events, terms.TTL = ring.PerTag, 10, time.Minute
		})
		r.mu.Lock()
		r.answer = func(_ int64, e *event.Event) outbound.Result {
			res := status(500)
			switch e.Pos {
			case 1:
				res.Answer.Status, res.Duration = 200, 55*time.Second
			case 2:
				res.Duration = time.Second
			}
			return res
		}
		r.mu.Unlock()
		r.push(1, "latest")
		r.push(1, "latest")
		time.Sleep(50 * time.Second)
		r.push(1, "latest")
		time.Sleep(5*time.Second + 100*time.Millisecond)
		for i := range openAfter - 1 { // so that the batch's failure opens the breaker, which puts the queue into rows
			r.push(1, fmt.Sprint("v", i))
		}
		time.Sleep(300 * time.Millisecond)
		last := r.push(1, "latest")
		time.Sleep(time.Second)
		synctest.Wait()
		rows := map[int64]string{}
		r.write(func(tx *sqldb.Tx) error {
			return tx.Each("SELECT pos, state FROM delivery WHERE order_key = 'app:latest'", nil, func(s sqldb.Scan) error {
				var pos int64
				var state string
				err := s(&pos, &state)
				rows[pos] = state
				return err
			})
		})
		if letters := r.deadLetters(1); len(letters) != 1 || letters[0].PosFrom != 2 || letters[0].Code != ring.TimeToLiveExceeded {
			t.Errorf("dead letters are %+v, want event 2, which is too old", letters)
		}
		if want := map[int64]string{3: statePending, last: stateHeld}; !maps.Equal(rows, want) || r.health(1).State != Failing {
			t.Errorf("rows of the tag are %v, want %v; %+v", rows, want, r.health(1))
		}
	})
}

// Rows that are due go in one request, but a probe is one event, and what a person
// waits for goes alone.
func TestBatchesOfRows(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.subscribe(func(terms *ring.Terms) { terms.Batch.Events = 100 })
		r.down(all)
		last := r.pushMany(1, 60)
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, g := range r.rang {
			if len(g.rest) > 0 && g.at.Sub(r.rang[0].at) > time.Second {
				t.Errorf("a probe tells of %d events", len(g.rest)+1)
			}
		}
		r.down(nil)
		healed, before := time.Now(), len(r.rang)
		ping := &event.Event{Action: event.Ping, Registry: event.Registry{ID: 1}, OwedTo: 1}
		r.write(func(tx *sqldb.Tx) error { return r.outbox.Append(tx, outbox.Prepare(ping)) })
		time.Sleep(time.Hour)
		synctest.Wait()
		most := 0
		for _, g := range r.rang[before:] {
			most = max(most, len(g.rest)+1)
			if (g.pos == ping.Pos || slices.Contains(g.rest, ping.Pos)) && len(g.rest) > 0 {
				t.Errorf("a ping is sent with %d others", len(g.rest))
			}
		}
		if most < 20 || len(r.rang)-before > 10 {
			t.Errorf("%d events took %d requests since %s, with %d at most", last, len(r.rang)-before, healed, most)
		}
		if got := len(r.delivered(1)); got != int(last)+1 {
			t.Errorf("%d events delivered, want %d and the ping", got, last)
		}
	})
}

// A rule may look at what the head of an event does not tell, also of what waited.
func TestRulesOverWholeEvents(t *testing.T) {
	fakeTime(t, func(t *testing.T) {
		r := newRigOn(t, inMemory(t))
		r.actor = "ann"
		r.subscribe(nil)
		if err := r.engine.Pause(bg, 1); err != nil {
			t.Fatal(err)
		}
		var want []int64
		for i := range 500 {
			if i%5 == 0 {
				want = append(want, r.pushBy("ann", fmt.Sprint("v", i)))
			} else {
				r.pushBy("ben", fmt.Sprint("v", i))
			}
		}
		ping := &event.Event{Action: event.Ping, Registry: event.Registry{ID: 1}, Actor: "ann", OwedTo: 1}
		r.write(func(tx *sqldb.Tx) error { return r.outbox.Append(tx, outbox.Prepare(ping)) })
		time.Sleep(time.Second)
		synctest.Wait()
		if got := r.delivered(1); !slices.Equal(got, []int64{ping.Pos}) {
			t.Fatalf("delivered %v while paused, want the ping %d", got, ping.Pos)
		}
		// What it is handed is cut off: the start looks for it again.
		r.answers(func() outbound.Result {
			res := status(200)
			res.Duration = time.Hour
			return res
		})
		if err := r.engine.Resume(bg, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.crash()
		r.down(nil)
		r.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		got := r.delivered(1)[1:]
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
		replay, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{Repository: "app"}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if replay, err = r.engine.ReplayByID(bg, 1, replay.ID); err != nil || replay.Matched != int64(len(want)) || replay.State != ReplayDone {
			t.Errorf("%+v, %v: want %d events", replay, err, len(want))
		}
	})
}

// The statements of batches and of dead letters, on PostgreSQL.
func TestSubscriptionsOnPostgres(t *testing.T) {
	r := newRigOn(t, sqldbtest.Postgres(t))
	r.actor = "ann"
	r.subscribe(func(terms *ring.Terms) { terms.Batch.Events = 20 })
	await := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within a minute; health %+v, delivered %d", what, r.health(1), len(r.delivered(1)))
			}
		}
	}
	r.answers(func() outbound.Result { return status(400) })
	for i := range 10 {
		r.pushBy("ann", fmt.Sprint("v", i))
		r.pushBy("ben", fmt.Sprint("v", i))
	}
	await("what is refused is given up", func() bool { return r.health(1).DeadLetters == 10 })
	if err := r.engine.Pause(bg, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		r.pushBy("ann", fmt.Sprint("w", i))
		r.pushBy("ben", fmt.Sprint("w", i))
	}
	r.write(func(tx *sqldb.Tx) error { return r.engine.Disabled(tx, 1, "a person did it") })
	await("what waited is given up", func() bool { return r.health(1).DeadLetters == 20 })
	letters := r.fileAll(1, 7)
	if len(letters) != 20 {
		t.Fatalf("%d letters, want 20", len(letters))
	}
	for i, l := range letters {
		want := ring.Letter{Reason: ring.BadRequest, LastOutcome: ring.OutcomeBadRequest, Attempts: 1, LastStatus: 400}
		if i >= 10 {
			want = ring.Letter{Reason: ring.WasDisabled, LastOutcome: ring.OutcomeProbation}
		}
		if l.Reason != want.Reason || l.LastOutcome != want.LastOutcome || l.Attempts != want.Attempts || l.LastStatus != want.LastStatus || l.Event.Actor != "ann" {
			t.Errorf("letter %d is %+v", i, l)
		}
	}
	if err := r.engine.Resume(bg, 1); err != nil {
		t.Fatal(err)
	}
	r.down(nil)
	replay, err := r.engine.Replay(bg, ReplayRequest{Registry: 1, Endpoint: 1, Selection: Selection{AllDeadLetters: true}})
	if err != nil {
		t.Fatal(err)
	}
	await("dead letters are rung", func() bool {
		replay, err = r.engine.ReplayByID(bg, 1, replay.ID)
		return err != nil || replay.State != ReplayRunning
	})
	if err != nil || replay.Delivered != 20 || len(r.deadLetters(1)) != 0 {
		t.Errorf("%+v, %v: want 20 delivered", replay, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.ContainsFunc(r.rang, func(g rung) bool { return g.replay == replay.ID && len(g.rest) > 0 }) {
		t.Error("nothing of the replay went together")
	}
}
