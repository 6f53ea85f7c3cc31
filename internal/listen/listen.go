// Package listen brings deliveries to clients that cannot be reached: over a
// connection that the client opened, which sends back what each came to.
//
// It owns the connections and what waits for an answer on them. That a listener
// is a webhook, and what it wants, is for package webhook; what is owed to it
// and when it is sent, for package delivery; HTTP and who may listen, for the
// faces.
//
// Invariants:
//   - A listener without a connection is paused, so that what happens meanwhile
//     waits instead of failing. One that had none for KeptFor is deleted.
//   - A delivery is handed out once. What its client reports is its outcome;
//     without a report it is on record as cut off, never as delivered.
//   - What is held in memory is what the engine has in flight.
package listen

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
)

// Scheme is that of the URL by which requests to a listener are addressed:
// listen://<name>.
const Scheme = "listen"

// KeptFor is how long a listener is kept without a connection.
const KeptFor = 10 * time.Minute

// reportGrace is how much longer than the time limit of a request its report may
// take: the client measures the same limit, from a little later on.
const reportGrace = 2 * time.Second

// Listener is a webhook that is reached over its client's connection.
type Listener struct {
	Registry int64  // row id of its registry
	Endpoint int64  // row id of its endpoint
	Name     string // of the webhook, in lower case; unique on this server
}

// Endpoints holds back what is owed to an endpoint, and lets it go. Package
// delivery does it.
type Endpoints interface {
	Pause(ctx context.Context, endpoint int64) error
	Resume(ctx context.Context, endpoint int64) error
}

// Options are what a Hub works with.
type Options struct {
	Endpoints Endpoints

	// Delete removes the webhook that a listener is.
	Delete func(context.Context, Listener) error

	Log *slog.Logger
}

// Hub knows the listeners and their connections. Its methods may be called from
// many goroutines.
type Hub struct {
	Options
	running sync.WaitGroup // deletions
	started chan struct{}  // closed by Start: all listeners that exist are known
	stopped chan struct{}  // closed by Stop

	mu        sync.Mutex
	listeners map[string]*listener
}

// New returns a hub that no one listens at yet. Post works from now on, the
// other methods from Start on.
func New() *Hub {
	return &Hub{stopped: make(chan struct{}), started: make(chan struct{}), listeners: map[string]*listener{}}
}

// listener is what the hub knows of one. The hub's lock guards it.
type listener struct {
	Listener
	deliveries chan handing        // to the stream, when there is one
	gone       chan struct{}       // closed when the listener is forgotten
	stream     *Stream             // nil: no connection
	open       map[string]*attempt // handed out, or about to be, by id
	expiry     *time.Timer         // runs while there is no connection

	// switching is held while the endpoint is paused or resumed, and guards what
	// is known of that.
	switching sync.Mutex
	state     state
}

// state is what the engine was told of a listener's endpoint last.
type state uint8

const (
	untold state = iota
	paused
	resumed
)

// handing is a delivery on its way to a stream.
type handing struct {
	Delivery
	attempt  *attempt
	deadline time.Time
}

// attempt is a delivery that waits for its result.
type attempt struct {
	id     string
	result chan outbound.Result // takes one
	taker  *Stream              // that it was handed to; the hub's lock guards it
}

// Start makes known the listeners that exist, which have no connection yet.
func (h *Hub) Start(ctx context.Context, o Options, existing []Listener) error {
	h.Options = o
	for _, l := range existing {
		if err := h.Add(ctx, l); err != nil {
			return fmt.Errorf("listener %s: %w", l.Name, err)
		}
	}
	close(h.started)
	return nil
}

// Stop ends all connections and whatever waits for a result. A second time is
// fine.
func (h *Hub) Stop() {
	h.mu.Lock()
	select {
	case <-h.stopped:
	default:
		close(h.stopped)
	}
	for _, l := range h.listeners {
		if l.expiry != nil {
			l.expiry.Stop()
		}
		if l.stream != nil {
			l.stream.end(errStopping)
		}
	}
	h.mu.Unlock()
	h.running.Wait()
}

var errStopping = fault.New(fault.Unavailable, "the server is stopping: connect again, what happens meanwhile waits")

// stopping reports whether Stop was called. Callers hold h.mu.
func (h *Hub) stopping() bool {
	select {
	case <-h.stopped:
		return true
	default:
		return false
	}
}

// Add makes a listener known that has no connection yet. What it is owed waits.
func (h *Hub) Add(ctx context.Context, who Listener) error {
	h.mu.Lock()
	l := h.known(who)
	h.mu.Unlock()
	return h.follow(ctx, l)
}

// known returns the hub's own of a listener, made if need be. Callers hold h.mu.
func (h *Hub) known(who Listener) *listener {
	l := h.listeners[who.Name]
	if l == nil || l.Endpoint != who.Endpoint {
		if l != nil {
			h.forget(l)
		}
		l = &listener{Listener: who, deliveries: make(chan handing), gone: make(chan struct{}), open: map[string]*attempt{}}
		h.listeners[who.Name] = l
		h.awaitClient(l)
	}
	return l
}

// Remove forgets a listener of a registry, whose webhook is gone. Its connection
// ends.
func (h *Hub) Remove(registry int64, name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.listeners[name]; l != nil && l.Registry == registry {
		h.forget(l)
	}
}

func (h *Hub) forget(l *listener) {
	delete(h.listeners, l.Name)
	close(l.gone)
	if l.expiry != nil {
		l.expiry.Stop()
	}
	if l.stream != nil {
		l.stream.end(fault.New(fault.NotFound, "listener %s was deleted", l.Name))
	}
}

// awaitClient has a listener deleted unless its client comes back in time.
// Callers hold h.mu.
func (h *Hub) awaitClient(l *listener) {
	if !h.stopping() {
		l.expiry = time.AfterFunc(KeptFor, func() { h.expire(l) })
	}
}

// expire deletes a listener, unless its client came back.
func (h *Hub) expire(l *listener) {
	h.mu.Lock()
	if h.stopping() || h.listeners[l.Name] != l || l.stream != nil {
		h.mu.Unlock()
		return
	}
	h.running.Add(1)
	h.mu.Unlock()
	defer h.running.Done()
	err := h.Delete(context.Background(), l.Listener)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil || fault.Is(err, fault.NotFound):
		if h.listeners[l.Name] == l {
			h.forget(l)
		}
	case l.stream == nil:
		h.Log.Error("a listener that nobody uses cannot be deleted; trying again", "listener", l.Name, "error", err)
		h.awaitClient(l)
	}
}

// follow pauses or resumes what is owed to l, as its connection is now.
func (h *Hub) follow(ctx context.Context, l *listener) error {
	l.switching.Lock()
	defer l.switching.Unlock()
	turn, want := h.Endpoints.Pause, paused
	h.mu.Lock()
	if l.stream != nil {
		turn, want = h.Endpoints.Resume, resumed
	}
	h.mu.Unlock()
	if l.state == want {
		return nil
	}
	if err := turn(ctx, l.Endpoint); err != nil {
		return err
	}
	l.state = want
	return nil
}

// Open connects a listener, and lets go what waited for it. There is one
// connection for each: a stream that is open ends. Close the stream when it is
// not used any more.
//
// Errors: fault.NotFound if the endpoint is gone, fault.Unavailable while the
// server stops.
func (h *Hub) Open(ctx context.Context, who Listener) (*Stream, error) {
	h.mu.Lock()
	if h.stopping() {
		h.mu.Unlock()
		return nil, errStopping
	}
	l := h.known(who)
	if l.stream != nil {
		l.stream.end(fault.New(fault.Conflict, "another connection listens to %s now: there can be one", l.Name))
	}
	if l.expiry != nil {
		l.expiry.Stop()
		l.expiry = nil
	}
	s := &Stream{hub: h, of: l, ended: make(chan struct{})}
	l.stream = s
	h.mu.Unlock()
	if err := h.follow(ctx, l); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Stream is a listener's connection.
type Stream struct {
	hub *Hub
	of  *listener

	ended chan struct{} // closed when it ends, for the reason why
	once  sync.Once
	why   error
}

// Name returns that of the listener.
func (s *Stream) Name() string { return s.of.Name }

// Delivery is one request, for the client to carry out.
type Delivery struct {
	Attempt string // what its result is reported by; opaque
	EventID string
	Actor   string // who made the change
	Replay  int64  // number of the replay it belongs to; 0: none
	Header  http.Header
	Body    []byte
	Timeout time.Duration // how long the client has for it
}

// Next returns the next delivery. It fails with ctx's error, or with a fault
// that says why the stream ended: fault.Conflict if another took its place,
// fault.NotFound if the listener was deleted, fault.Unavailable if the client
// should connect again.
func (s *Stream) Next(ctx context.Context) (Delivery, error) {
	select {
	case <-s.ended:
		return Delivery{}, s.why
	default:
	}
	select {
	case d := <-s.of.deliveries:
		s.hub.mu.Lock()
		d.attempt.taker = s
		s.hub.mu.Unlock()
		d.Timeout = time.Until(d.deadline)
		return d.Delivery, nil
	case <-s.ended:
		return Delivery{}, s.why
	case <-ctx.Done():
		return Delivery{}, ctx.Err()
	}
}

// end ends the stream. It counts as the listener's connection until Close.
func (s *Stream) end(why error) {
	s.once.Do(func() {
		s.why = why
		close(s.ended)
	})
}

// errClosed is what Next returns after Close.
var errClosed = errors.New("listen: the stream is closed")

// Close disconnects the listener, unless another stream took its place: what is
// owed waits from now on. A second time is fine.
func (s *Stream) Close() {
	s.end(errClosed)
	h, l := s.hub, s.of
	h.mu.Lock()
	if l.stream != s {
		h.mu.Unlock()
		return
	}
	l.stream = nil
	there := h.listeners[l.Name] == l
	if there {
		h.awaitClient(l)
	}
	h.mu.Unlock()
	if !there {
		return
	}
	// The request that brought the stream is over; this is not.
	if err := h.follow(context.Background(), l); err != nil && !fault.Is(err, fault.NotFound) {
		h.Log.Error("a listener without a connection cannot be paused", "listener", l.Name, "error", err)
	}
}

// Post hands a request to the client that listens, and returns what it reports.
// The URL of the request is listen://<name>. A client that lost its connection a
// moment ago, as all have when the server starts, is waited for within the time
// limit of the request. It is a delivery.Poster's method.
func (h *Hub) Post(ctx context.Context, r outbound.Request) outbound.Result {
	started := time.Now()
	res := h.post(ctx, &r)
	elapsed := time.Since(started)
	res.Started, res.Sent = started, r.Head()
	if res.Duration <= 0 || res.Duration > elapsed {
		res.Duration = elapsed
	}
	return res
}

func (h *Hub) post(ctx context.Context, r *outbound.Request) outbound.Result {
	const stopped = "not handed out, because the server is shutting down"
	deadline := time.Now().Add(r.Timeout)
	limit := time.NewTimer(r.Timeout)
	defer limit.Stop()
	select {
	case <-h.started:
	case <-h.stopped:
		return failed(outbound.Cancelled, stopped)
	case <-ctx.Done():
		return failed(outbound.Cancelled, stopped)
	}
	name := strings.TrimPrefix(r.URL, Scheme+"://")
	a := &attempt{id: rand.Text(), result: make(chan outbound.Result, 1)}
	l := h.begin(name, a)
	if l == nil {
		return failed(outbound.Connect, "nobody listens: there is no listener %s any more", name)
	}
	defer h.finish(l, a)
	select {
	case l.deliveries <- handing{newDelivery(r, a.id), a, deadline}:
	case <-l.gone:
		return failed(outbound.Connect, "nobody listens: listener %s was deleted", name)
	case <-limit.C:
		if s := h.streamOf(l); s != nil {
			s.drop()
			return failed(outbound.Timeout, "listener %s did not take the event within %s", name, r.Timeout)
		}
		return failed(outbound.Connect, "nobody listens: listener %s has had no connection for %s", name, r.Timeout)
	case <-h.stopped:
		return failed(outbound.Cancelled, stopped)
	case <-ctx.Done():
		return failed(outbound.Cancelled, stopped)
	}
	limit.Reset(time.Until(deadline) + reportGrace)
	var unknown outbound.Result
	select {
	case res := <-a.result:
		return res
	case <-limit.C:
		// A client that is alive reports within the limit, be it that the limit
		// passed. This one sleeps, or is gone.
		if s := h.takerOf(a); s != nil {
			s.drop()
		}
		unknown = failed(outbound.Cancelled, "listener %s did not report within %s what became of it: it may have seen it", name, r.Timeout)
	case <-l.gone:
		unknown = failed(outbound.Cancelled, "listener %s was deleted before it reported: it may have seen it", name)
	case <-h.stopped:
		unknown = failed(outbound.Cancelled, "stopped before listener %s reported, because the server is shutting down: it may have seen it", name)
	case <-ctx.Done():
		unknown = failed(outbound.Cancelled, "stopped before listener %s reported, because the server is shutting down: it may have seen it", name)
	}
	h.finish(l, a)
	select {
	case res := <-a.result: // at the last moment, and its client was told that it counts
		return res
	default:
		return unknown
	}
}

var errSilent = fault.New(fault.Unavailable, "no result came for a delivery in time: connect again")

// drop disconnects a client that shows no sign of life.
func (s *Stream) drop() {
	s.end(errSilent)
	s.Close()
}

// streamOf returns the connection of l, nil for none.
func (h *Hub) streamOf(l *listener) *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return l.stream
}

// takerOf returns the connection over which an attempt was handed out, which may
// have ended since.
func (h *Hub) takerOf(a *attempt) *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return a.taker
}

func failed(class outbound.Class, format string, args ...any) outbound.Result {
	return outbound.Result{Class: class, Message: fmt.Sprintf(format, args...)}
}

// begin registers an attempt with a listener, nil if there is none.
func (h *Hub) begin(name string, a *attempt) *listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.listeners[name]
	if l != nil {
		l.open[a.id] = a
	}
	return l
}

func (h *Hub) finish(l *listener, a *attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(l.open, a.id)
}

// The header fields that a Delivery's members are read from, as package webhook
// sets them.
const (
	idField     = "Webhook-Id"
	replayField = "Dockbell-Replay"
)

func newDelivery(r *outbound.Request, id string) Delivery {
	replay, _ := strconv.ParseInt(r.Header.Get(replayField), 10, 64)
	return Delivery{
		Attempt: id, EventID: r.Header.Get(idField), Actor: r.Actor, Replay: replay, Header: r.Header, Body: r.Body,
	}
}

// Result takes what a client says became of an attempt. The registry has to be
// the listener's.
//
// Errors: fault.Invalid for a report that says nothing, fault.NotFound for an
// attempt that there is not, has a result, or was given up by now.
func (h *Hub) Result(registry int64, name, id string, r Report) error {
	res, err := r.result()
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.listeners[name]
	if l == nil || l.Registry != registry || l.open[id] == nil {
		return fault.New(fault.NotFound, "no delivery of listener %q waits for this result: it was reported already, or too late and is sent again", clip(name))
	}
	l.open[id].result <- res
	delete(l.open, id)
	return nil
}
