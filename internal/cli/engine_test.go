package cli_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dockbell/dockbell/internal/delivery"
	"github.com/dockbell/dockbell/internal/fault"
)

// engine is a delivery engine that sends nothing: what became of events is made
// up by the test. Pages hold one entry, so that commands have links to follow.
type engine struct {
	attempts []delivery.Attempt
	health   map[int64]delivery.Health
	dead     []delivery.DeadLetter

	statistics map[int64]delivery.Statistics

	mu      sync.Mutex
	replays []delivery.Replay // their ids count from 1
	asked   []delivery.ReplayRequest

	// look is called before a replay is returned by its id.
	look func(*delivery.Replay)
}

// page returns the entry at the cursor, which is an index.
func page[T any](all []T, after string) ([]T, string, error) {
	i, _ := strconv.Atoi(after)
	if i >= len(all) {
		return nil, "", nil
	}
	next := ""
	if i+1 < len(all) {
		next = strconv.Itoa(i + 1)
	}
	return all[i : i+1], next, nil
}

func (e *engine) Standing(context.Context, int64, string, time.Time) (delivery.Standing, error) {
	return delivery.Standing{}, fault.New(fault.NotFound, "no command asks for it")
}

func (e *engine) Rings(context.Context, int64, int64) ([]delivery.Ring, error) { return nil, nil }

func (e *engine) Attempts(_ context.Context, _ int64, f delivery.Filter, after string, _ int) ([]delivery.Attempt, string, error) {
	return page(slices.DeleteFunc(slices.Clone(e.attempts), func(a delivery.Attempt) bool {
		return f.Outcome != "" && a.Outcome != f.Outcome || f.Replay != 0 && a.Replay != f.Replay
	}), after)
}

func (e *engine) Health(_ context.Context, endpoints ...int64) (map[int64]delivery.Health, error) {
	found := map[int64]delivery.Health{}
	for _, id := range endpoints {
		h, ok := e.health[id]
		if !ok {
			h.State = delivery.Live
		}
		found[id] = h
	}
	return found, nil
}

func (e *engine) Statistics(context.Context, int64, int64, delivery.Step, time.Time) (map[int64]delivery.Statistics, error) {
	return e.statistics, nil
}

func (e *engine) Pause(_ context.Context, endpoint int64) error {
	e.setHealth(endpoint, delivery.Health{State: delivery.Paused, PausedAt: time.Now()})
	return nil
}

func (e *engine) Resume(_ context.Context, endpoint int64) error {
	e.setHealth(endpoint, delivery.Health{State: delivery.Live})
	return nil
}

func (e *engine) setHealth(endpoint int64, h delivery.Health) {
	if e.health == nil {
		e.health = map[int64]delivery.Health{}
	}
	e.health[endpoint] = h
}

func (e *engine) DeadLetters(_ context.Context, _ int64, after string, _ int) ([]delivery.DeadLetter, string, error) {
	return page(e.dead, after)
}

func (e *engine) PurgeDeadLetters(_ context.Context, _ int64, ids []int64) (events int64, err error) {
	e.dead = slices.DeleteFunc(e.dead, func(d delivery.DeadLetter) bool {
		gone := ids == nil || slices.Contains(ids, d.ID)
		if gone {
			events += d.Count
		}
		return gone
	})
	return events, nil
}

func (e *engine) Replay(_ context.Context, r delivery.ReplayRequest) (delivery.Replay, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = append(e.asked, r)
	e.replays = append(e.replays, delivery.Replay{
		ID: int64(len(e.replays) + 1), Endpoint: r.Endpoint, State: delivery.ReplayRunning, Selection: r.Selection,
		Elsewhere: r.Elsewhere != nil, PerMinute: r.PerMinute, ToLook: 40, CreatedAt: time.Now().Add(-150 * time.Minute), CreatedBy: r.By,
	})
	return e.replays[len(e.replays)-1], nil
}

func (e *engine) Replays(_ context.Context, _, before int64, n int) ([]delivery.Replay, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []delivery.Replay
	for _, r := range slices.Backward(e.replays) {
		if before == 0 || r.ID < before {
			found = append(found, r)
		}
	}
	return found[:min(n, len(found))], nil
}

func (e *engine) ReplayByID(_ context.Context, _, id int64) (delivery.Replay, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if id > int64(len(e.replays)) {
		return delivery.Replay{}, fault.New(fault.NotFound, "there is no replay %d", id)
	}
	r := &e.replays[id-1]
	if e.look != nil {
		e.look(r)
	}
	return *r, nil
}

func (e *engine) CancelReplay(ctx context.Context, endpoint, id int64) (delivery.Replay, error) {
	r, err := e.ReplayByID(ctx, endpoint, id)
	if err != nil {
		return r, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.replays[id-1].State = delivery.ReplayCancelled
	return e.replays[id-1], nil
}
