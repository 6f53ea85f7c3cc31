package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// StandingState says in a word how an event stands for an endpoint.
type StandingState string

// The states. An event that is rung once more waits again.
const (
	StandsWaiting   StandingState = "waiting" // it is sent, now or later
	StandsDelivered StandingState = "delivered"
	StandsRefused   StandingState = "refused" // the receiver does not want it
	StandsDead      StandingState = "dead"    // given up
	StandsNowhere   StandingState = "none"    // never owed, or forgotten
)

// Standing is how one event stands for one endpoint.
type Standing struct {
	outbox.Entry
	State StandingState

	// Of one that waits:
	Attempts    int       // made so far
	MaxAttempts int       // of its policy; 0 where that is not known
	Next        time.Time // of the next attempt; zero: it waits for something that has no time
	Expires     time.Time // when it is given up; zero: not known
	Behind      bool      // it is behind others that wait, and may have no attempt of its own yet
	Paused      bool      // nothing is sent until somebody resumes the endpoint
	Probing     bool      // the receiver fails: one event is tried now and then, not necessarily this

	DeadLetter *DeadLetter // it is among; nil: among none
}

// Standing returns how an event stands for an endpoint. A time that is not zero is
// when the event happened, by which it is found however old it is. It fails with
// fault.NotFound for an event of another registry, or one that is not kept any more.
func (e *Engine) Standing(ctx context.Context, endpoint int64, eventID string, at time.Time) (s Standing, err error) {
	registry := e.registryOf(endpoint)
	err = e.DB.Read(ctx, func(tx *sqldb.Tx) error {
		s.Entry, err = findEvent(tx, registry, eventID, at)
		if errors.Is(err, sqldb.ErrNoRow) {
			return fault.New(fault.NotFound, "there is no event %.100q that is still kept: the log of deliveries has the ids of those that are", eventID)
		}
		return err
	})
	if err != nil {
		return Standing{}, err
	}
	// What is in memory is looked at first: it goes from there to the database.
	held := e.standingInMemory(endpoint, &s)
	err = e.DB.Read(ctx, func(tx *sqldb.Tx) error { return s.read(tx, endpoint, held) })
	return s, err
}

// standingInMemory fills in what the engine knows of s without the database, and
// reports whether the event is there, or may be among what is not looked at yet.
func (e *Engine) standingInMemory(endpoint int64, s *Standing) (waits bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ep := e.endpoints[endpoint]
	if ep == nil {
		return false
	}
	s.MaxAttempts = ep.terms.Policy.MaxAttempts
	s.Paused, s.Probing = !ep.pausedAt.IsZero(), ep.breaker.open()
	if s.Paused {
		s.Probing = false
	} else if s.Probing {
		s.Next = ep.breaker.nextProbe
	}
	for _, jobs := range [][]*job{ep.queue, ep.now} {
		for _, j := range jobs {
			if j.pos == s.Event.Pos {
				s.Expires = j.expires
				return true
			}
		}
	}
	wanted := s.Event.OwedTo == endpoint
	if s.Event.OwedTo == 0 && s.Event.Pos > ep.from && ep.terms.Policy.MaxAttempts > 0 {
		rule := e.destinations.Wants(ep.registry, ep.owner)
		wanted = rule.Takes != nil && rule.Takes(s.Event)
	}
	switch {
	case wanted && ep.parked && s.Event.Pos > ep.cursor:
		s.Behind = true
		s.Expires = s.Event.At.Add(ep.terms.Policy.TTL)
		return true
	case wanted && time.Since(s.Event.At) < time.Minute: // a first attempt runs without a row, and is on record later
		return true
	}
	return false
}

// read fills in what the database knows. held says that the event waits, unless
// something came of it.
func (s *Standing) read(tx *sqldb.Tx, endpoint int64, held bool) error {
	pos := s.Event.Pos
	row, waits, err := selectOwed(tx, endpoint, pos)
	if err != nil {
		return err
	}
	letter, dead, err := letterOf(tx, endpoint, pos)
	if err != nil {
		return err
	}
	if dead {
		s.DeadLetter = &letter
	}
	delivered, err := hasOutcome(tx, endpoint, pos, Delivered)
	if err != nil {
		return err
	}
	refused, err := hasOutcome(tx, endpoint, pos, Refused)
	if err != nil {
		return err
	}
	switch {
	case waits:
		s.State, s.Attempts, s.Expires, s.Behind = StandsWaiting, row.attempts, row.expires, row.held
		if !s.Paused && !row.held && (!s.Probing || row.due.After(s.Next)) {
			s.Next = row.due
		}
		if s.Paused {
			s.Next = time.Time{}
		}
		return nil
	case delivered:
		s.State = StandsDelivered
	case refused:
		s.State = StandsRefused
	case dead:
		s.State = StandsDead
	case held:
		s.State = StandsWaiting
		return nil
	default:
		s.State = StandsNowhere
	}
	s.Next, s.Expires, s.MaxAttempts, s.Behind, s.Paused, s.Probing = time.Time{}, time.Time{}, 0, false, false, false
	return nil
}
