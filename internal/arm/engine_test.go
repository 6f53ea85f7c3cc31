package arm_test

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/fault"
)

// engine is a delivery engine that sends nothing: its state is what a test puts
// there and what the control plane asks for. Its cursors are indexes, its clock
// stands.
type engine struct {
	attempts []delivery.Attempt
	dead     []deadLetter
	health   map[int64]delivery.Health
	replays  []delivery.Replay // oldest first; their ids count from 1
	asked    []delivery.ReplayRequest
	standing map[string]delivery.Standing
	filters  []delivery.Filter // that were asked for
	calls    int               // of any method
	rings    []delivery.Ring

	statistics map[int64]delivery.Statistics
	step       delivery.Step // asked for last
	since      time.Time     // asked for last
}

type deadLetter struct {
	endpoint int64
	delivery.DeadLetter
}

// moment is the time in which everything of an engine happens.
var moment = time.Date(2026, 3, 14, 9, 26, 53, 589793200, time.UTC)

func (e *engine) Attempts(_ context.Context, endpoint int64, f delivery.Filter, after string, n int) ([]delivery.Attempt, string, error) {
	e.calls++
	e.filters = append(e.filters, f)
	var all []delivery.Attempt
	for _, a := range e.attempts {
		if a.Endpoint == endpoint && (f.Outcome == "" || a.Outcome == f.Outcome) && (f.Replay == 0 || a.Replay == f.Replay) {
			all = append(all, a)
		}
	}
	return page(all, after, n)
}

func (e *engine) Standing(_ context.Context, endpoint int64, eventID string, at time.Time) (delivery.Standing, error) {
	e.calls++
	s, ok := e.standing[eventID]
	if !ok {
		return delivery.Standing{}, fault.New(fault.NotFound, "there is no event %q", eventID)
	}
	return s, nil
}

func (e *engine) Rings(context.Context, int64, int64) ([]delivery.Ring, error) {
	e.calls++
	return e.rings, nil
}

func (e *engine) Health(_ context.Context, endpoints ...int64) (map[int64]delivery.Health, error) {
	e.calls++
	found := map[int64]delivery.Health{}
	for _, id := range endpoints {
		if h, ok := e.health[id]; ok {
			found[id] = h
		}
	}
	return found, nil
}

func (e *engine) Statistics(_ context.Context, _, endpoint int64, step delivery.Step, since time.Time) (map[int64]delivery.Statistics, error) {
	e.calls++
	e.step, e.since = step, since
	found := map[int64]delivery.Statistics{}
	for id, s := range e.statistics {
		if endpoint == 0 || id == endpoint {
			found[id] = s
		}
	}
	return found, nil
}

func (e *engine) Pause(_ context.Context, endpoint int64) error {
	return e.hold(endpoint, delivery.Paused, moment)
}

func (e *engine) Resume(_ context.Context, endpoint int64) error {
	return e.hold(endpoint, delivery.CatchingUp, time.Time{})
}

func (e *engine) hold(endpoint int64, state delivery.State, since time.Time) error {
	e.calls++
	h, ok := e.health[endpoint]
	if !ok {
		return fault.New(fault.NotFound, "endpoint %d is gone", endpoint)
	}
	h.State, h.PausedAt = state, since
	e.health[endpoint] = h
	return nil
}

func (e *engine) DeadLetters(_ context.Context, endpoint int64, after string, n int) ([]delivery.DeadLetter, string, error) {
	e.calls++
	var all []delivery.DeadLetter
	for _, d := range e.dead {
		if d.endpoint == endpoint {
			all = append(all, d.DeadLetter)
		}
	}
	return page(all, after, n)
}

func (e *engine) PurgeDeadLetters(_ context.Context, endpoint int64, ids []int64) (events int64, err error) {
	e.calls++
	for _, id := range ids {
		if !slices.ContainsFunc(e.dead, func(d deadLetter) bool { return d.endpoint == endpoint && d.ID == id }) {
			return 0, fault.New(fault.NotFound, "there is no dead letter %d", id)
		}
	}
	e.dead = slices.DeleteFunc(e.dead, func(d deadLetter) bool {
		gone := d.endpoint == endpoint && (ids == nil || slices.Contains(ids, d.ID))
		if gone {
			events += d.Count
		}
		return gone
	})
	return events, nil
}

func (e *engine) Replay(_ context.Context, r delivery.ReplayRequest) (delivery.Replay, error) {
	e.calls++
	if r.Selection.EventID == "nosuch" {
		return delivery.Replay{}, fault.New(fault.NotFound, "event %q is not kept here", r.Selection.EventID)
	}
	if len(e.replays) == 250 {
		return delivery.Replay{}, fault.New(fault.Conflict, "the webhook has 10 replays running: cancel one")
	}
	e.asked = append(e.asked, r)
	e.replays = append(e.replays, delivery.Replay{
		ID: int64(len(e.replays) + 1), Endpoint: r.Endpoint, State: delivery.ReplayRunning, Selection: r.Selection,
		Elsewhere: r.Elsewhere != nil, PerMinute: r.PerMinute, ToLook: 12, CreatedAt: moment, CreatedBy: r.By,
	})
	return e.replays[len(e.replays)-1], nil
}

func (e *engine) Replays(_ context.Context, endpoint, before int64, n int) ([]delivery.Replay, error) {
	e.calls++
	var found []delivery.Replay
	for _, r := range slices.Backward(e.replays) {
		if r.Endpoint == endpoint && (before == 0 || r.ID < before) && len(found) < n {
			found = append(found, r)
		}
	}
	return found, nil
}

func (e *engine) ReplayByID(_ context.Context, endpoint, id int64) (delivery.Replay, error) {
	r, err := e.find(endpoint, id)
	if err != nil {
		return delivery.Replay{}, err
	}
	return *r, nil
}

func (e *engine) CancelReplay(_ context.Context, endpoint, id int64) (delivery.Replay, error) {
	r, err := e.find(endpoint, id)
	if err != nil {
		return delivery.Replay{}, err
	}
	r.State, r.EndedAt = delivery.ReplayCancelled, moment.Add(time.Minute)
	return *r, nil
}

func (e *engine) find(endpoint, id int64) (*delivery.Replay, error) {
	e.calls++
	for i, r := range e.replays {
		if r.Endpoint == endpoint && r.ID == id {
			return &e.replays[i], nil
		}
	}
	return nil, fault.New(fault.NotFound, "the webhook has no replay %d", id)
}

// page returns the part of all that begins at the index after.
func page[T any](all []T, after string, n int) (page []T, next string, err error) {
	start := 0
	if after != "" {
		if start, err = strconv.Atoi(after); err != nil || start > len(all) {
			return nil, "", fault.New(fault.Invalid, "%q is no place in the list: use the nextLink of an answer as it is", after)
		}
	}
	end := min(start+n, len(all))
	if end < len(all) {
		next = strconv.Itoa(end)
	}
	return all[start:end], next, nil
}
