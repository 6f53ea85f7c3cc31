package sink

import (
	"container/list"
	"context"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dockbell/dockbell/internal/outbound"
)

// Connections that are kept.
const (
	maxServers = 256             // to so many servers
	idleFor    = 5 * time.Minute // to one that nothing is published to
)

// Publishers publish to brokers. Their methods may be called from many goroutines;
// they share connections.
type Publishers struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	max     int
	idle    time.Duration
	stopped context.Context // ends with Close
	stop    context.CancelFunc

	work sync.WaitGroup // publishes that run, and connections that are being closed

	mu     sync.Mutex
	closed bool
	bySum  map[sum]*list.Element
	recent list.List // of *entry; the last used is in front
}

// broker is the connections to one server.
type broker interface {
	// publish has the broker store all messages and waits until it said so. It ends
	// with ctx at the latest.
	publish(ctx context.Context, messages []Message) reply

	// close ends whatever runs. It may take a moment.
	close()
}

// reply is what came of a publish.
type reply struct {
	address string            // of the configured ones, that which was spoken to
	header  map[string]string // when all is stored
	failure *failure          // nil then
}

// entry is a broker that is kept. The fields below are guarded by Publishers.mu.
type entry struct {
	sum    sum
	broker broker

	users   int
	retired bool // it is not in the pool any more
	idle    *time.Timer
}

// New returns publishers without any connection.
func New(o Options) *Publishers {
	p := &Publishers{dial: o.Dial, max: maxServers, idle: idleFor, bySum: map[sum]*list.Element{}}
	p.stopped, p.stop = context.WithCancel(context.Background())
	return p
}

// Close ends what is being published, closes all connections and waits until they
// are. What is published later is Cancelled.
func (p *Publishers) Close() {
	p.mu.Lock()
	p.closed = true
	p.stop()
	for p.recent.Len() > 0 {
		p.retire(p.recent.Front().Value.(*entry))
	}
	p.mu.Unlock()
	p.work.Wait()
}

// Publish has s store m, and says what became of it in the words of an HTTP
// exchange. It never returns an error. timeout must be positive; it is over
// connecting, publishing and the acknowledgement together.
//
// The request has the method PUB (NATS) or PRODUCE (Kafka) and a URI such as
// nats://host:4222/subject. The answer has status 200 once the broker stored the
// message, with header fields that say where: Stream, Sequence, Duplicate and, if
// there is one, Domain of NATS; Partition and Offset of Kafka. A broker that refused
// it has the answer 400, 401, 404, 413 or 503, and its body is a sentence for people.
// Without an answer there is the Class of outbound and its Message.
func (p *Publishers) Publish(ctx context.Context, s Server, m Message, timeout time.Duration) outbound.Result {
	return p.PublishAll(ctx, s, []Message{m}, timeout)
}

// PublishAll is Publish for several messages, at least one, in their order. It
// succeeds when all are stored. If it does not, some of them may be. Of their header
// fields the Result has those that all of them share.
func (p *Publishers) PublishAll(parent context.Context, s Server, messages []Message, timeout time.Duration) outbound.Result {
	res := outbound.Result{Started: time.Now()}
	if len(messages) == 0 {
		res.Class, res.Message = outbound.Refused, "there is no message to publish"
		return res
	}
	r := p.publish(parent, s, messages, res.Started.Add(timeout), timeout)
	res.Sent = head(s, messages, r.address)
	r.failure.fill(&res, r.header)
	res.Duration = time.Since(res.Started)
	return res
}

func (p *Publishers) publish(parent context.Context, s Server, messages []Message, deadline time.Time, timeout time.Duration) reply {
	ctx, cancel := context.WithDeadline(parent, deadline)
	defer cancel()
	defer context.AfterFunc(p.stopped, cancel)()

	if f := checkMessages(s.Kind, messages); f != nil {
		return reply{failure: f}
	}
	e, f := p.take(s)
	if f != nil {
		return reply{failure: f}
	}
	r := e.broker.publish(ctx, messages)
	answered := r.failure == nil || r.failure.class == outbound.None
	p.give(e, answered)
	if !answered {
		switch {
		case parent.Err() != nil || p.stopped.Err() != nil:
			r.failure = cancelled()
		case r.failure.late:
			r.failure.message += " within " + timeout.String() + r.failure.hint
		}
	}
	return r
}

// take returns the broker of s for one publish, to be given back.
func (p *Publishers) take(s Server) (*entry, *failure) {
	key := s.sum()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, cancelled()
	}
	e := p.find(key)
	if e == nil {
		b, f := p.newBroker(s)
		if f != nil {
			return nil, f
		}
		e = &entry{sum: key, broker: b}
		p.bySum[key] = p.recent.PushFront(e)
		if p.recent.Len() > p.max {
			p.retire(p.recent.Back().Value.(*entry))
		}
	}
	if e.idle != nil {
		e.idle.Stop()
		e.idle = nil
	}
	e.users++
	p.work.Add(1)
	return e, nil
}

func (p *Publishers) find(key sum) *entry {
	at, ok := p.bySum[key]
	if !ok {
		return nil
	}
	p.recent.MoveToFront(at)
	return at.Value.(*entry)
}

// give takes e back. One that brought no answer is not used again: what hangs in it
// would hold up others, and what it has not sent must not be sent later.
func (p *Publishers) give(e *entry, answered bool) {
	defer p.work.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	e.users--
	switch {
	case !answered:
		p.retire(e)
	case e.retired:
		p.closeUnused(e)
	case e.users == 0:
		e.idle = time.AfterFunc(p.idle, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if e.users == 0 {
				p.retire(e)
			}
		})
	}
}

// retire takes e out of the pool, and closes it with its last user. p.mu is held.
func (p *Publishers) retire(e *entry) {
	if !e.retired {
		e.retired = true
		p.recent.Remove(p.bySum[e.sum])
		delete(p.bySum, e.sum)
	}
	p.closeUnused(e)
}

// closeUnused closes a retired broker unless it has users. p.mu is held.
func (p *Publishers) closeUnused(e *entry) {
	if e.users > 0 || e.broker == nil {
		return
	}
	if e.idle != nil {
		e.idle.Stop()
	}
	b := e.broker
	e.broker = nil
	p.work.Go(b.close)
}

func (p *Publishers) newBroker(s Server) (broker, *failure) {
	if err := s.check(); err != nil {
		return nil, &failure{class: outbound.Refused, message: err.Error()}
	}
	config, err := s.TLS.Config()
	if err != nil {
		return nil, &failure{class: outbound.TLSFailed, message: "no TLS with " + s.Addresses[0] + ": " + err.Error()}
	}
	if s.Kind == Kafka {
		return newKafka(s, config, p.dial)
	}
	return newNATS(s, config, p.dial), nil
}

// head is what is kept of the request.
func head(s Server, messages []Message, address string) outbound.RequestHead {
	h := outbound.RequestHead{Method: "PUB", Header: map[string]string{}}
	if s.Kind == Kafka {
		h.Method = "PRODUCE"
	}
	if address == "" && len(s.Addresses) > 0 {
		address = s.Addresses[0]
	}
	h.URI = (&url.URL{Scheme: string(s.Kind), Host: address, Path: "/" + messages[0].Topic}).String()
	for i, m := range messages {
		one := headerOf(s.Kind, m)
		if i == 0 {
			h.Header = one
			continue
		}
		for name, value := range h.Header {
			if other, ok := one[name]; !ok || other != value {
				delete(h.Header, name)
			}
		}
	}
	return h
}

const masked = "******"

// headerOf returns the header of m as it is shown.
func headerOf(k Kind, m Message) map[string]string {
	kept := make(map[string]string, len(m.Header)+1)
	for _, f := range m.Header {
		value := f.Value
		if f.Secret {
			value = masked
		}
		if before, ok := kept[f.Name]; ok {
			value = before + ", " + value
		}
		kept[f.Name] = value
	}
	if k == NATS && m.ID != "" {
		kept[messageID] = m.ID
	}
	return kept
}

// ranges writes numbers as 4, 7-9. Ones that follow each other are drawn together.
func ranges[N int64 | uint64](numbers []N) string {
	var b strings.Builder
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.FormatInt(int64(numbers[i]), 10))
		if j > i {
			b.WriteString("-" + strconv.FormatInt(int64(numbers[j]), 10))
		}
		i = j + 1
	}
	return b.String()
}
