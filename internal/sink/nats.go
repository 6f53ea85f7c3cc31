package sink

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dockbell/dockbell/internal/outbound"
)

// messageID is the header field by which a stream drops what it has already.
const messageID = nats.MsgIdHdr

const (
	// maxUnasked is what a server may send until the next publish, in bytes: what it
	// says of itself, and pings. For each message come maxAck.
	maxUnasked = 1 << 20
	maxAck     = 1 << 10

	pingEvery   = 20 * time.Second // finds connections that are dead without having ended
	writeWithin = 10 * time.Second // what is taken off our hands slower than that ends the connection
)

// natsBroker publishes over one connection, to whichever of its addresses it gets
// one. It makes another when that ended: the library does not, so that nothing is
// kept back and sent later.
type natsBroker struct {
	server Server
	tls    *tls.Config
	dial   func(ctx context.Context, network, address string) (net.Conn, error)

	turn chan struct{} // whose place is taken while the fields below are used
	link *natsLink
	next int // of the addresses, to begin with

	closed atomic.Bool
}

// natsLink is one connection.
type natsLink struct {
	address string
	conn    *nats.Conn
	wire    *metered
	ended   chan struct{} // closed when the connection is

	mu      sync.Mutex
	waiting map[*waiter]struct{}
}

// waiter is a publish that would want to know what it may not do: the server says
// that of subjects, and of no message.
type waiter struct {
	subjects []string // quoted
	inbox    string
	denied   chan *failure // holds one
}

func newNATS(s Server, config *tls.Config, dial func(ctx context.Context, network, address string) (net.Conn, error)) *natsBroker {
	s.Addresses = slices.Clone(s.Addresses)
	return &natsBroker{server: s, tls: config, dial: dial, turn: make(chan struct{}, 1)}
}

func (b *natsBroker) close() {
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	b.closed.Store(true)
	if b.link != nil {
		b.link.wire.Close() // else it would wait for a server that takes nothing
		b.link.conn.Close()
		<-b.link.ended
	}
}

func (b *natsBroker) publish(ctx context.Context, messages []Message) reply {
	link, used, f := b.connected(ctx)
	if f != nil {
		return reply{failure: f}
	}
	header, f := link.publish(ctx, messages)
	if f != nil && f.class == outbound.Protocol && used && link.isEnded() {
		// It had been dead for a while: the server was started anew, or something on
		// the way forgot the connection.
		if link, _, f = b.connected(ctx); f != nil {
			return reply{failure: f}
		}
		header, f = link.publish(ctx, messages)
	}
	return reply{address: link.address, header: header, failure: f}
}

// connected returns a connection, and whether there was one already.
func (b *natsBroker) connected(ctx context.Context) (link *natsLink, used bool, f *failure) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, false, silent(b.server.Addresses[0], "")
	}
	if b.link != nil && !b.link.isEnded() {
		return b.link, true, nil
	}
	n := len(b.server.Addresses)
	for i := range n {
		at := (b.next + i) % n
		address := b.server.Addresses[at]
		var failed *failure
		if link, failed = b.connect(ctx, address, n-i); failed == nil {
			b.link, b.next = link, at
			return link, false, nil
		}
		if f == nil {
			f = failed
		}
	}
	return nil, false, f
}

// connect makes a connection to address. It takes its share of the time there is,
// with left addresses to try.
func (b *natsBroker) connect(ctx context.Context, address string, left int) (*natsLink, *failure) {
	deadline, _ := ctx.Deadline()
	share := time.Until(deadline) / time.Duration(left)
	if share <= 0 || b.closed.Load() {
		return nil, silent(address, "")
	}
	ctx, cancel := context.WithTimeout(ctx, share)
	defer cancel()

	link := &natsLink{address: address, ended: make(chan struct{}), waiting: map[*waiter]struct{}{}}
	d := &natsDialer{ctx: ctx, address: address, dial: b.dial, link: link}
	options := nats.GetDefaultOptions()
	options.Url = "nats://" + address
	options.Name = "dockbell"
	options.AllowReconnect = false
	options.IgnoreDiscoveredServers = true
	options.SkipHostLookup = true // the dialer does, and looks at what comes of it
	options.CustomDialer = d
	options.Timeout = share
	options.FlusherTimeout = writeWithin
	options.PingInterval = pingEvery
	options.Secure = b.server.Secure
	options.TLSConfig = b.tls
	options.User, options.Password, options.Token = b.server.Username, b.server.Password, b.server.Token
	options.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { link.deny(err) }
	options.ClosedCB = func(*nats.Conn) { close(link.ended) }
	if b.server.Creds != "" {
		if err := nats.UserCredentialBytes([]byte(b.server.Creds))(&options); err != nil {
			return nil, answered(http.StatusUnauthorized, "the credentials file is damaged: give it again")
		}
	}
	stop := context.AfterFunc(ctx, d.abort)
	conn, err := options.Connect()
	stop()
	if err != nil {
		return nil, d.explain(err)
	}
	link.conn = conn
	if ctx.Err() != nil { // aborted as it succeeded
		conn.Close()
		return nil, silent(address, "")
	}
	return link, nil
}

// natsDialer dials once, for one connection.
type natsDialer struct {
	ctx     context.Context
	address string
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	link    *natsLink

	mu  sync.Mutex
	raw net.Conn
	err error
}

// Dial is called by the library with the address that we gave it.
func (d *natsDialer) Dial(network, _ string) (net.Conn, error) {
	raw, err := d.dial(d.ctx, network, d.address)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err = err; err != nil {
		return nil, err
	}
	d.raw = raw
	if d.ctx.Err() != nil {
		raw.Close()
	}
	d.link.wire = &metered{Conn: raw}
	return d.link.wire, nil
}

func (d *natsDialer) abort() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.raw != nil {
		d.raw.Close()
	}
}

// explain gives the error of a connection that was not made its failure.
func (d *natsDialer) explain(err error) *failure {
	a := d.address
	switch {
	case d.err != nil: // the library hides some
		return undialled(a, d.err)
	case d.ctx.Err() != nil:
		return silent(a, "")
	case errors.Is(err, nats.ErrSecureConnWanted):
		return &failure{class: outbound.TLSFailed, message: a + " offers no TLS: have it do so, or publish without"}
	case errors.Is(err, nats.ErrTLS) || alerted(err):
		return unsecured(a, err)
	case slices.ContainsFunc(unauthorized, func(e error) bool { return errors.Is(err, e) }):
		return answered(http.StatusUnauthorized, a+" does not take these credentials"+wrongCredentials)
	case errors.Is(err, nats.ErrNkeysNotSupported):
		return answered(http.StatusUnauthorized, a+" takes no credentials file: give what it takes, a user name and a password or a token")
	case errors.Is(err, nats.ErrMaxConnectionsExceeded), errors.Is(err, nats.ErrMaxAccountConnectionsExceeded):
		return answered(http.StatusServiceUnavailable, a+" has as many connections as it takes")
	case errors.Is(err, errFlood), errors.Is(err, nats.ErrNoInfoReceived):
		return &failure{class: outbound.Protocol, message: a + " does not speak as a NATS server does: is it the address of one?"}
	case timedOut(err), errors.Is(err, nats.ErrTimeout):
		return silent(a, "")
	case hungUp(err):
		return &failure{class: outbound.Protocol, message: a + " closed the connection before it answered"}
	}
	return &failure{class: outbound.Protocol, message: a + " did not open the connection: it is no NATS server, or an old one"}
}

const wrongCredentials = ": check the user name and password, token, credentials file or client certificate"

var unauthorized = []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired}

func (l *natsLink) isEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return l.conn.IsClosed()
	}
}

// publish sends all messages and waits for the acknowledgement of each.
func (l *natsLink) publish(ctx context.Context, messages []Message) (map[string]string, *failure) {
	l.wire.refill(len(messages))
	inbox := nats.NewInbox()
	w := l.wait(inbox, messages)
	defer l.unwait(w)
	acks := make(chan *nats.Msg, len(messages))
	sub, f := l.send(ctx, inbox, messages, acks)
	if f != nil {
		return nil, f
	}
	defer sub.Unsubscribe()
	stored := make([]*natsAck, len(messages))
	for missing := len(messages); missing > 0; {
		select {
		case msg := <-acks:
			i, err := strconv.Atoi(strings.TrimPrefix(msg.Subject, inbox+"."))
			if err != nil || i < 0 || i >= len(stored) || stored[i] != nil {
				continue // not ours, or twice
			}
			ack, f := l.read(msg, messages[i].Topic)
			if f != nil {
				return nil, f
			}
			stored[i] = ack
			missing--
		case f := <-w.denied:
			return nil, f
		case <-l.ended:
			return nil, l.hungUp()
		case <-ctx.Done():
			return nil, &failure{class: outbound.Timeout, late: true,
				message: l.address + " did not acknowledge the message",
				hint:    ": check that a stream takes the subject " + messages[0].Topic + ", and that most of its replicas run"}
		}
	}
	return describe(stored), nil
}

// send sends all messages, each to be acknowledged below inbox. The library writes
// while it holds the connection: one that takes nothing is ended with ctx.
func (l *natsLink) send(ctx context.Context, inbox string, messages []Message, acks chan *nats.Msg) (*nats.Subscription, *failure) {
	stop := context.AfterFunc(ctx, func() { l.wire.Close() })
	defer stop()
	sub, err := l.conn.ChanSubscribe(inbox+".*", acks)
	if err != nil {
		return nil, l.unsent(ctx, err, "")
	}
	for i, m := range messages {
		msg := &nats.Msg{Subject: m.Topic, Reply: inbox + "." + strconv.Itoa(i), Data: m.Body, Header: nats.Header{}}
		for _, f := range m.Header {
			msg.Header[f.Name] = append(msg.Header[f.Name], f.Value)
		}
		if m.ID != "" {
			msg.Header[messageID] = []string{m.ID}
		}
		if err := l.conn.PublishMsg(msg); err != nil {
			sub.Unsubscribe()
			return nil, l.unsent(ctx, err, m.Topic)
		}
	}
	return sub, nil
}

func (l *natsLink) hungUp() *failure {
	return &failure{class: outbound.Protocol, message: l.address + " closed the connection before it acknowledged the message"}
}

// unsent explains why the library did not take a message.
func (l *natsLink) unsent(ctx context.Context, err error, subject string) *failure {
	switch {
	case ctx.Err() != nil:
		return silent(l.address, "")
	case errors.Is(err, nats.ErrMaxPayload):
		return answered(http.StatusRequestEntityTooLarge, l.address+" takes messages of "+strconv.FormatInt(l.conn.MaxPayload(), 10)+" bytes at the most, header included: raise max_payload there")
	case errors.Is(err, nats.ErrHeadersNotSupported):
		return &failure{class: outbound.Protocol, message: l.address + " takes no message headers: it has to be NATS 2.2 or later"}
	case l.isEnded() || hungUp(err):
		return l.hungUp()
	case timedOut(err):
		return silent(l.address, "")
	}
	return &failure{class: outbound.Protocol, message: "the message could not be sent to " + strings.TrimSuffix(l.address+"/"+subject, "/")}
}

// natsAck is what JetStream answers to a message that is published.
type natsAck struct {
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Domain    string `json:"domain"`
	Error     *struct {
		Code        int    `json:"code"` // as HTTP's
		ErrorCode   int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// Error codes of JetStream for a message that is larger than its stream takes.
const streamMessageTooLarge = 10054

// read takes an acknowledgement apart.
func (l *natsLink) read(msg *nats.Msg, subject string) (*natsAck, *failure) {
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" { // nobody listens
		return nil, answered(http.StatusNotFound, "no stream of "+l.address+" takes the subject "+subject+": make one that does, or name another subject")
	}
	var ack natsAck
	if err := json.Unmarshal(msg.Data, &ack); err != nil || ack.Error == nil && (ack.Stream == "" || ack.Sequence == 0) {
		return nil, &failure{class: outbound.Protocol, message: "what answers at " + l.address + " to the subject " + subject + " is no stream: nothing is known to be stored"}
	}
	e := ack.Error
	if e == nil {
		return &ack, nil
	}
	said := l.address + " refuses the message: " + clean(e.Description)
	switch {
	case e.ErrorCode == streamMessageTooLarge:
		return nil, answered(http.StatusRequestEntityTooLarge, said)
	case e.Code == http.StatusNotFound:
		return nil, answered(http.StatusNotFound, said)
	case e.Code == http.StatusUnauthorized, e.Code == http.StatusForbidden:
		return nil, answered(http.StatusUnauthorized, said)
	}
	return nil, answered(http.StatusServiceUnavailable, said) // a stream that is full, replicas that are missing: it may pass
}

// describe says where messages are stored.
func describe(stored []*natsAck) map[string]string {
	var streams, domains []string
	var sequences []uint64
	duplicates := 0
	for _, ack := range stored {
		if !slices.Contains(streams, ack.Stream) {
			streams = append(streams, ack.Stream)
		}
		if ack.Domain != "" && !slices.Contains(domains, ack.Domain) {
			domains = append(domains, ack.Domain)
		}
		if ack.Duplicate {
			duplicates++
		}
		sequences = append(sequences, ack.Sequence)
	}
	header := map[string]string{
		"Stream":    clean(strings.Join(streams, ", ")),
		"Sequence":  ranges(sequences),
		"Duplicate": "false",
	}
	switch {
	case duplicates == len(stored):
		header["Duplicate"] = "true"
	case duplicates > 0:
		header["Duplicate"] = strconv.Itoa(duplicates) + " of " + strconv.Itoa(len(stored))
	}
	if len(domains) > 0 {
		header["Domain"] = clean(strings.Join(domains, ", "))
	}
	return header
}

func (l *natsLink) wait(inbox string, messages []Message) *waiter {
	w := &waiter{inbox: inbox, denied: make(chan *failure, 1)}
	for _, m := range messages {
		if q := `"` + m.Topic + `"`; !slices.Contains(w.subjects, q) {
			w.subjects = append(w.subjects, q)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[w] = struct{}{}
	return w
}

func (l *natsLink) unwait(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, w)
}

// deny tells the publishes that err concerns.
func (l *natsLink) deny(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	text := err.Error()
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.waiting {
		message := ""
		if strings.Contains(text, w.inbox) {
			message = l.address + " does not let this user hear its acknowledgement: allow it to subscribe to _INBOX.>"
		} else if i := slices.IndexFunc(w.subjects, func(s string) bool { return strings.Contains(text, s) }); i >= 0 {
			message = l.address + " does not let this user publish to " + strings.Trim(w.subjects[i], `"`) + ": allow it, or name another subject"
		} else {
			continue
		}
		select {
		case w.denied <- answered(http.StatusUnauthorized, message):
		default:
		}
	}
}

// errFlood ends a connection over which more came than anyone asked for.
var errFlood = errors.New("sink: the server sent too much")

// metered is a connection over which not more than maxUnasked bytes come before it
// is refilled: the library keeps what the server sends.
type metered struct {
	net.Conn
	read atomic.Int64
}

// refill is called before messages are sent that are to be acknowledged.
func (m *metered) refill(messages int) { m.read.Store(-int64(messages) * maxAck) }

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	if m.read.Add(int64(n)) > maxUnasked {
		return 0, errFlood
	}
	return n, err
}
