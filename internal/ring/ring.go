// Package ring holds the words in which the owner of an endpoint and the engine
// that rings it speak: how hard an endpoint is tried, what one attempt needs, what
// people are to be told of, and what is known of an event that was given up.
//
// It owns the limits and defaults of a retry policy. What an endpoint is, is for
// its owner (packages webhook and subscription); when it is rung, for package delivery; over which
// wire, for package outbound. Invariant: a Policy that Check accepted keeps every
// limit written here.
package ring

import (
	"time"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
)

// Order says which deliveries to one endpoint wait for each other.
type Order string

// The orders. Whatever waits, waits for the older one of the same tag or
// repository only, and not beyond that one's end.
const (
	PerTag        Order = "tag"        // one at a time per repository and tag
	PerRepository Order = "repository" // one at a time per repository
	Unordered     Order = "none"
)

// Policy says how long and how hard an endpoint is tried. The zero value is not
// valid: begin with Default.
type Policy struct {
	Timeout     time.Duration // of one attempt: whole seconds, MinTimeout to MaxTimeout
	MaxAttempts int           // for one delivery: 1 to MaxMaxAttempts; 1 is what ACR does
	TTL         time.Duration // from the event on: whole minutes, MinTTL to MaxTTL
	Order       Order
	PerMinute   int // the most attempts in a minute, to MaxPerMinute; 0: no limit
}

// The limits of a Policy.
const (
	MinTimeout     = time.Second
	MaxTimeout     = 30 * time.Second
	MaxMaxAttempts = 30
	MinTTL         = time.Minute
	MaxTTL         = 7 * 24 * time.Hour
	MaxPerMinute   = 600_000
)

// Default returns the policy of whoever asked for none. 72 hours cover a
// weekend.
func Default() Policy {
	return Policy{Timeout: 10 * time.Second, MaxAttempts: 30, TTL: 72 * time.Hour, Order: PerTag}
}

// Check fails with fault.Invalid for a policy that breaks a limit.
func (p Policy) Check() error {
	switch {
	case p.Timeout < MinTimeout || p.Timeout > MaxTimeout || p.Timeout%time.Second != 0:
		return fault.New(fault.Invalid, "the time limit of %s for one attempt is out of range: use 1 to 30 whole seconds", p.Timeout)
	case p.MaxAttempts < 1 || p.MaxAttempts > MaxMaxAttempts:
		return fault.New(fault.Invalid, "%d attempts are out of range: use 1 to %d", p.MaxAttempts, MaxMaxAttempts)
	case p.TTL < MinTTL || p.TTL > MaxTTL || p.TTL%time.Minute != 0:
		return fault.New(fault.Invalid, "the time to live of %s is out of range: use 1 to %d whole minutes", p.TTL, MaxTTL/time.Minute)
	case p.Order != PerTag && p.Order != PerRepository && p.Order != Unordered:
		return fault.New(fault.Invalid, "order %q is none there is: use tag, repository or none", string(p.Order))
	case p.PerMinute < 0 || p.PerMinute > MaxPerMinute:
		return fault.New(fault.Invalid, "%d attempts a minute are out of range: use 1 to %d, or 0 for no limit", p.PerMinute, MaxPerMinute)
	}
	return nil
}

// Answers says what answers mean for a delivery, and when it is tried again.
type Answers int

// The tables of answers. Package delivery has them.
const (
	// OfWebhooks is ACR's receivers': any 2xx delivers, and most 4xx are about the
	// event and final.
	OfWebhooks Answers = iota

	// OfEventGrid delivers by 200 to 204. Nothing that is given up is without a dead
	// letter, and no endpoint is disabled because it fails.
	OfEventGrid

	// OfBrokers is OfEventGrid for destinations that tell of wrong credentials in
	// ways that pass.
	OfBrokers
)

// Batch is how many events one request may tell of. The zero value is one.
type Batch struct {
	Events int // at the most; 0 and 1 are one
	Bytes  int // of all of them, as a goal: one that is larger goes alone; 0 is no goal
}

// Rule tells which events an endpoint is owed.
type Rule struct {
	Takes func(*event.Event) bool

	// Whole says that it looks at more of an event than outbox.Heads gives and whom
	// it is owed to. Reading whole events takes several times as long.
	Whole bool
}

// Terms are what the engine has to know of an endpoint.
type Terms struct {
	Policy
	Answers Answers
	Batch   Batch

	// Host names whom its requests go to, as scheme://name:port. What is in
	// flight is limited per host, over all endpoints that share it.
	Host string

	// Disabled: it is owed nothing, and what it was owed is given up.
	Disabled bool

	// Held: it may not be rung for now, and what it is owed waits.
	Held bool
}

// Call is one attempt that is about to be made.
type Call struct {
	Endpoint int64
	Event    *event.Event
	ACRBody  []byte         // of the event
	Rest     []*event.Event // that go with it, as Terms.Batch allows
	Earlier  int            // attempts there were before, of the first event
	At       time.Time      // what the signature is made for
	Replay   int64          // number of the replay it belongs to; 0: none

	// Elsewhere is a sealed address to ring instead of the endpoint's own, as
	// the owner of the endpoint made it; nil for none.
	Elsewhere []byte
}

// Condition is what a Report tells.
type Condition string

// The conditions.
const (
	Failing   Condition = "failing"   // several attempts in a row failed; it is tried again and again
	Disabling Condition = "disabling" // it is on the way to being disabled
	Disabled  Condition = "disabled"  // by the server: it rings no more
	Recovered Condition = "recovered" // after one of the others was reported
)

// Report tells people how an endpoint fares.
type Report struct {
	Registry, Endpoint int64
	Condition          Condition
	Since              time.Time // of the first failure of this time
	LastStatus         int       // 0: there was no answer
	LastError          string    // a sentence; empty if the status says it all
	Progress           int       // on the way to being disabled: percent, 50, 70 or 90
}

// Event returns the event that tells people of the report. name is the endpoint's, in
// its registry as events name that.
func (r Report) Event(name string, in event.Registry) *event.Event {
	return &event.Event{
		Action: event.WebhookFailing, Registry: in, Target: event.Endpoint(r.Endpoint), Cause: "delivery",
		Webhook: &event.Webhook{
			Endpoint: r.Endpoint, Name: name, Condition: string(r.Condition), Since: r.Since.UTC(),
			LastStatus: r.LastStatus, LastError: r.LastError, Progress: r.Progress,
		},
	}
}
