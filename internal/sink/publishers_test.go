package sink

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/dockbell/dockbell/internal/outbound"
)

// wires is a dialer that keeps count of its connections.
type wires struct {
	dial func(context.Context, string, string) (net.Conn, error)

	mu     sync.Mutex
	opened int
	ended  chan struct{} // one for each that was closed
}

func counting(t testing.TB) *wires {
	return &wires{dial: guarded(t, outbound.Policy{Loopback: true}).Dial, ended: make(chan struct{}, 1000)}
}

func (w *wires) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := w.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	return &wire{Conn: conn, ended: w.ended}, nil
}

func (w *wires) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opened
}

// awaitEnd waits until one more connection is closed.
func (w *wires) awaitEnd(t testing.TB) {
	t.Helper()
	select {
	case <-w.ended:
	case <-time.After(patience):
		t.Fatal("no connection was closed")
	}
}

type wire struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

func (w *wire) Close() error {
	defer w.once.Do(func() { w.ended <- struct{}{} })
	return w.Conn.Close()
}

// TestConnectionsAreShared: many who publish to one server as one user have one
// connection, and another user has his own.
func TestConnectionsAreShared(t *testing.T) {
	t.Parallel()
	s := startNATS(t, natsserver.Options{Users: []*natsserver.User{{Username: "a", Password: "pw"}, {Username: "b", Password: "pw"}}})
	makeStream(t, reader(t, s, nats.UserInfo("a", "pw")))
	w := counting(t)
	p := New(Options{Dial: w.Dial})
	t.Cleanup(p.Close)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			server := Server{Kind: NATS, Addresses: []string{at(s)}, Username: []string{"a", "b"}[i%2], Password: "pw"}
			stored(t, p.Publish(t.Context(), server, message(fmt.Sprint(i)), patience))
		})
	}
	all.Wait()
	if n := w.count(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	if text := fmt.Sprintf("%v", p.bySum); strings.Contains(text, "pw") {
		t.Errorf("the keys of the pool hold a password: %s", text)
	}
}

// TestConnectionsEnd: what nobody uses is closed after a while, what was not used
// for the longest time gives way, and all is closed in the end.
func TestConnectionsEnd(t *testing.T) {
	t.Parallel()
	server := func(s *natsserver.Server, name string) Server {
		return Server{Kind: NATS, Addresses: []string{at(s)}, Username: name, Password: "pw"}
	}
	users := []*natsserver.User{{Username: "a", Password: "pw"}, {Username: "b", Password: "pw"}, {Username: "c", Password: "pw"}}
	s := startNATS(t, natsserver.Options{Users: users})
	makeStream(t, reader(t, s, nats.UserInfo("a", "pw")))
	publish := func(p *Publishers, name string) {
		t.Helper()
		stored(t, p.Publish(t.Context(), server(s, name), message(""), patience))
	}

	w := counting(t)
	p := New(Options{Dial: w.Dial})
	p.idle = brief / 10
	publish(p, "a")
	w.awaitEnd(t)
	publish(p, "a")
	if n := w.count(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	w.awaitEnd(t)
	p.Close()

	w = counting(t)
	p = New(Options{Dial: w.Dial})
	p.max = 2
	publish(p, "a")
	publish(p, "b")
	publish(p, "c") // a gives way
	w.awaitEnd(t)
	publish(p, "b")
	publish(p, "c")
	if n := w.count(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
	p.Close()
	w.awaitEnd(t)
	w.awaitEnd(t)
	unanswered(t, p.Publish(t.Context(), server(s, "a"), message("9"), patience), outbound.Cancelled, "")
}

// TestClose ends what hangs, and nothing is left of it; so does the end of whoever
// publishes.
func TestClose(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{NATS, Kafka} {
		for _, whose := range []string{"Close", "the caller"} {
			t.Run(string(kind)+" "+whose, func(t *testing.T) {
				t.Parallel()
				reached := make(chan struct{}, 1)
				mute := listen(t, func(c net.Conn) {
					select {
					case reached <- struct{}{}:
					default:
					}
					silence(c)
				})
				p := publishers(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				came := make(chan outbound.Result, 1)
				m := message("1")
				go func() {
					came <- p.Publish(ctx, Server{Kind: kind, Addresses: []string{mute}}, m, patience)
				}()
				<-reached
				if whose == "Close" {
					p.Close()
				} else {
					cancel()
				}
				res := <-came
				unanswered(t, res, outbound.Cancelled, "the server is shutting down")
				if res.Duration > patience/2 {
					t.Errorf("it took %s", res.Duration)
				}
			})
		}
	}
}

// TestGuard: an address that may not be rung is not dialled, whatever the kind, and it
// is said how to allow it without telling what a name stands for.
func TestGuard(t *testing.T) {
	t.Parallel()
	mute := listen(t, func(net.Conn) { t.Error("the address was dialled") })
	here := netip.MustParseAddrPort(mute)
	for _, kind := range []Kind{NATS, Kafka} {
		for _, tt := range []struct {
			policy         outbound.Policy
			address, words string
		}{
			{outbound.Policy{}, mute, "127.0.0.1 is a loopback address and this server may not ring it"},
			{outbound.Policy{}, fmt.Sprintf("localhost:%d", here.Port()), "localhost resolves to a loopback address and this server may not ring it"},
			{outbound.Policy{Loopback: true, Own: outbound.Own{Listen: []netip.AddrPort{here}}}, mute, "this server itself"},
			{outbound.Policy{Loopback: true}, "169.254.169.254:4222", "169.254.169.254 is a cloud metadata address"},
		} {
			p := New(guarded(t, tt.policy))
			m := message("1")
			res := p.Publish(t.Context(), Server{Kind: kind, Addresses: []string{tt.address}}, m, patience)
			unanswered(t, res, outbound.Refused, tt.words)
			if res.Sent.URI != string(kind)+"://"+tt.address+"/registry.push" {
				t.Errorf("sent to %s", res.Sent.URI)
			}
			p.Close()
		}
	}
	p := publishers(t)
	res := p.Publish(t.Context(), Server{Kind: NATS, Addresses: []string{"none.invalid:4222"}}, message("1"), patience)
	unanswered(t, res, outbound.DNS, "none.invalid")
}

// TestRefusedHere: what would break the protocol is not sent.
func TestRefusedHere(t *testing.T) {
	t.Parallel()
	mute := listen(t, func(net.Conn) { t.Error("the server was dialled") })
	p := publishers(t)
	field := func(name, value string) Message {
		return Message{Topic: "a", Header: []Field{{Name: name, Value: value}}}
	}
	for _, tt := range []struct {
		kind    Kind
		message Message
		words   string
	}{
		{NATS, field("x", "1\r\nNats-Rollup: all"), `"x" has a value with a line break`},
		{NATS, field("x\r\ny", "1"), "other characters"},
		{NATS, field("x: y", "1"), "other characters"},
		{NATS, field("nats-rollup", "all"), "is an order to the NATS server"},
		{NATS, field("", "1"), "has no name"},
		{NATS, Message{Topic: "a", ID: "1\r\n\r\n"}, "line break"},
		{NATS, Message{Topic: "a b"}, "blank"},
		{NATS, Message{Topic: "a.>"}, "wildcard"},
		{Kafka, field("x\x00", "1"), "control character"},
		{Kafka, field("x", "1\n2"), "line break"},
		{Kafka, Message{Topic: "a/b"}, "other characters"},
	} {
		res := p.Publish(t.Context(), Server{Kind: tt.kind, Addresses: []string{mute}}, tt.message, patience)
		unanswered(t, res, outbound.Refused, tt.words)
	}
	long := field("x", strings.Repeat("x", MaxHeader))
	said(t, p.Publish(t.Context(), Server{Kind: NATS, Addresses: []string{mute}}, long, patience), 413, "65537 bytes")
	unanswered(t, p.PublishAll(t.Context(), Server{Kind: NATS, Addresses: []string{mute}}, nil, patience), outbound.Refused, "no message")
	unanswered(t, p.Publish(t.Context(), Server{Kind: "amqp", Addresses: []string{mute}}, Message{Topic: "a"}, patience), outbound.Refused, "amqp")
	unanswered(t, p.Publish(t.Context(), Server{Kind: NATS, Addresses: []string{mute}, TLS: &outbound.TLS{CA: []byte("x")}}, Message{Topic: "a"}, patience), outbound.TLSFailed, "caCertificates")
}

func TestRanges(t *testing.T) {
	t.Parallel()
	for want, numbers := range map[string][]int64{"": nil, "0": {0}, "4, 7-9": {4, 7, 8, 9}, "1-2, 1": {1, 2, 1}, "3, 2, 1": {3, 2, 1}} {
		if got := ranges(numbers); got != want {
			t.Errorf("%v: %q, want %q", numbers, got, want)
		}
	}
}
