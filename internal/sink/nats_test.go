package sink

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/dockbell/dockbell/internal/outbound"
)

// startNATS starts a server with JetStream that ends with the test.
func startNATS(t testing.TB, o natsserver.Options) *natsserver.Server {
	t.Helper()
	o.Host, o.NoLog, o.NoSigs, o.JetStream = "127.0.0.1", true, true, true
	if o.Port == 0 {
		o.Port = natsserver.RANDOM_PORT
	}
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	s, err := natsserver.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server is not ready")
	}
	return s
}

func at(s *natsserver.Server) string { return s.Addr().String() }

// reader is a client of the test's own.
func reader(t testing.TB, s *natsserver.Server, o ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("nats://"+at(s), o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// makeStream makes one that takes registry.>.
func makeStream(t testing.TB, js jetstream.JetStream, change ...func(*jetstream.StreamConfig)) jetstream.Stream {
	t.Helper()
	config := jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"registry.>"}}
	for _, c := range change {
		c(&config)
	}
	stream, err := js.CreateStream(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// get returns a message as the stream has it.
func get(t testing.TB, s jetstream.Stream, sequence uint64) *jetstream.RawStreamMsg {
	t.Helper()
	msg, err := s.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func message(id string) Message {
	return Message{
		Topic: "registry.push", ID: id, Body: []byte(`{"repository":"team/app"}`),
		Header: []Field{{Name: "ce-specversion", Value: "1.0"}, {Name: "ce-type", Value: "example.push"}, {Name: "ce-source", Value: "/r"},
			{Name: "ce-id", Value: id}, {Name: "ce-datacontenttype", Value: "application/json"}, {Name: "X-Key", Value: "s3cret", Secret: true}},
	}
}

// TestNATS: what was acknowledged is in the stream, byte for byte, and once however
// often it is sent.
func TestNATS(t *testing.T) {
	t.Parallel()
	s := startNATS(t, natsserver.Options{})
	stream := makeStream(t, reader(t, s))
	p := publishers(t)
	server := Server{Kind: NATS, Addresses: []string{at(s)}}
	res := p.Publish(t.Context(), server, message("1"), patience)
	if diff := cmp.Diff(map[string]string{"Stream": "EVENTS", "Sequence": "1", "Duplicate": "false"}, stored(t, res)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(outbound.RequestHead{Method: "PUB", URI: "nats://" + at(s) + "/registry.push", Header: map[string]string{
		"ce-specversion": "1.0", "ce-type": "example.push", "ce-source": "/r", "ce-id": "1", "ce-datacontenttype": "application/json",
		"X-Key": "******", "Nats-Msg-Id": "1",
	}}, res.Sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	msg := get(t, stream, 1)
	if msg.Subject != "registry.push" || msg.Header.Get("X-Key") != "s3cret" || string(msg.Data) != string(message("1").Body) {
		t.Errorf("the stream has %q on %s with %v", msg.Data, msg.Subject, msg.Header)
	}
	if e := cloudEvent(t, msg); e.ID() != "1" || e.Type() != "example.push" || string(e.Data()) != string(message("1").Body) {
		t.Errorf("the CloudEvents SDK reads %v", e)
	}

	again := stored(t, p.Publish(t.Context(), server, message("1"), patience))
	if again["Duplicate"] != "true" || again["Sequence"] != "1" {
		t.Errorf("answer %v to what comes again", again)
	}
	all := stored(t, p.PublishAll(t.Context(), server, []Message{message("1"), message("2"), message("3"), message("4")}, patience))
	if diff := cmp.Diff(map[string]string{"Stream": "EVENTS", "Sequence": "1-4", "Duplicate": "1 of 4"}, all); diff != "" {
		t.Errorf("answer to four (-want +got):\n%s", diff)
	}
	for i := range 4 {
		if id := get(t, stream, uint64(i+1)).Header.Get("ce-id"); id != fmt.Sprint(i+1) {
			t.Errorf("message %d of the stream has the id %s", i+1, id)
		}
	}
}

// cloudEvent reads a message as the SDK for Go does over HTTP: binary, with the same
// header fields.
func cloudEvent(t testing.TB, msg *jetstream.RawStreamMsg) *cloudevents.Event {
	h := http.Header{}
	for name, values := range msg.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	h.Set("Content-Type", msg.Header.Get("ce-datacontenttype"))
	h.Del("Ce-Datacontenttype")
	e, err := cloudevents.NewEventFromHTTPRequest(&http.Request{Header: h, Body: io.NopCloser(strings.NewReader(string(msg.Data)))})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestNATSCredentials: each way to say who we are, right and wrong.
func TestNATSCredentials(t *testing.T) {
	t.Parallel()
	withUser := startNATS(t, natsserver.Options{Username: "u", Password: "pw"})
	makeStream(t, reader(t, withUser, nats.UserInfo("u", "pw")))
	withToken := startNATS(t, natsserver.Options{Authorization: "t0ken"})
	makeStream(t, reader(t, withToken, nats.Token("t0ken")))
	withCreds, creds, stranger := startWithCreds(t)
	makeStream(t, reader(t, withCreds, nats.UserCredentialBytes([]byte(creds))))

	for _, tt := range []struct {
		name   string
		server Server
		ok     bool
	}{
		{"user", Server{Addresses: []string{at(withUser)}, Username: "u", Password: "pw"}, true},
		{"wrong password", Server{Addresses: []string{at(withUser)}, Username: "u", Password: "s3cret"}, false},
		{"no user", Server{Addresses: []string{at(withUser)}}, false},
		{"token", Server{Addresses: []string{at(withToken)}, Token: "t0ken"}, true},
		{"wrong token", Server{Addresses: []string{at(withToken)}, Token: "s3cret"}, false},
		{"creds", Server{Addresses: []string{at(withCreds)}, Creds: creds}, true},
		{"wrong creds", Server{Addresses: []string{at(withCreds)}, Creds: stranger}, false},
		{"creds where none are taken", Server{Addresses: []string{at(withUser)}, Creds: creds}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.server.Kind = NATS
			if err := tt.server.Check(); err != nil {
				t.Fatal(err)
			}
			res := publishers(t).Publish(t.Context(), tt.server, message("1"), patience)
			if tt.ok {
				stored(t, res)
				return
			}
			said(t, res, http.StatusUnauthorized, tt.server.Addresses[0]+" ")
			if strings.Contains(fmt.Sprintf("%+v %s", res, res.Body), "s3cret") {
				t.Errorf("the result tells a secret: %s", res.Body)
			}
		})
	}
}

// startWithCreds starts a server that takes users of one account by their JWT, and
// returns a credentials file of one and of a user that it does not know.
func startWithCreds(t *testing.T) (s *natsserver.Server, creds, stranger string) {
	operator, account, other := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount)
	sys := newKey(t, nkeys.CreateAccount)
	claims := jwt.NewAccountClaims(public(t, account))
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	accountJWT, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	sysJWT, err := jwt.NewAccountClaims(public(t, sys)).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &natsserver.MemAccResolver{}
	if err := resolver.Store(public(t, account), accountJWT); err != nil {
		t.Fatal(err)
	}
	if err := resolver.Store(public(t, sys), sysJWT); err != nil {
		t.Fatal(err)
	}
	s = startNATS(t, natsserver.Options{TrustedKeys: []string{public(t, operator)}, AccountResolver: resolver, SystemAccount: public(t, sys)})
	return s, credsOf(t, account), credsOf(t, other)
}

func credsOf(t *testing.T, account nkeys.KeyPair) string {
	user := newKey(t, nkeys.CreateUser)
	token, err := jwt.NewUserClaims(public(t, user)).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	key, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(t *testing.T, key nkeys.KeyPair) string {
	p, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestNATSTLS: TLS with certificates of both sides, and what is said when it fails. A
// server that demands TLS gets it, asked for or not.
func TestNATSTLS(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	start := func(name string) *natsserver.Server {
		return startNATS(t, natsserver.Options{TLSConfig: a.server(t, name), TLSVerify: true, TLS: true, TLSTimeout: patience.Seconds()})
	}
	secure, misnamed, plain := start("127.0.0.1"), start("other.example"), startNATS(t, natsserver.Options{})
	config, err := a.client(t).Config()
	if err != nil {
		t.Fatal(err)
	}
	makeStream(t, reader(t, secure, nats.Secure(config)))
	p := publishers(t)
	publish := func(s *natsserver.Server, secure bool, trust *outbound.TLS) outbound.Result {
		return p.Publish(t.Context(), Server{Kind: NATS, Addresses: []string{at(s)}, Secure: secure, TLS: trust}, message("1"), patience)
	}
	stored(t, publish(secure, true, a.client(t)))
	stored(t, publish(secure, false, a.client(t)))
	unanswered(t, publish(secure, true, nil), outbound.TLSUntrusted, "the certificate of "+at(secure)+" is signed by no authority")
	unanswered(t, publish(secure, true, other.client(t)), outbound.TLSUntrusted, "")
	unanswered(t, publish(misnamed, true, a.client(t)), outbound.TLSName, "the certificate of "+at(misnamed)+" is for another name")
	unanswered(t, publish(plain, true, a.client(t)), outbound.TLSFailed, at(plain)+" offers no TLS")
	unanswered(t, publish(secure, true, &outbound.TLS{CA: a.pem()}), outbound.TLSFailed, at(secure))
}

// TestNATSRefusals: what the server says no to is an answer, with a status.
func TestNATSRefusals(t *testing.T) {
	t.Parallel()
	s := startNATS(t, natsserver.Options{MaxPayload: 512 << 10, Users: []*natsserver.User{
		{Username: "all", Password: "pw"},
		{Username: "few", Password: "pw", Permissions: &natsserver.Permissions{Publish: &natsserver.SubjectPermission{Allow: []string{"registry.pull"}}}},
		{Username: "deaf", Password: "pw", Permissions: &natsserver.Permissions{Subscribe: &natsserver.SubjectPermission{Deny: []string{"_INBOX.>"}}}},
	}})
	js := reader(t, s, nats.UserInfo("all", "pw"))
	makeStream(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 })
	makeStream(t, js, func(c *jetstream.StreamConfig) {
		c.Name, c.Subjects, c.MaxMsgs, c.Discard = "FULL", []string{"full"}, 1, jetstream.DiscardNew
	})
	p := publishers(t)
	publish := func(user string, m Message) outbound.Result {
		return p.Publish(t.Context(), Server{Kind: NATS, Addresses: []string{at(s)}, Username: user, Password: "pw"}, m, patience)
	}
	stored(t, publish("all", message("1")))
	said(t, publish("all", Message{Topic: "elsewhere"}), http.StatusNotFound, "no stream of "+at(s)+" takes the subject elsewhere")
	said(t, publish("all", Message{Topic: "registry.push", Body: large}), http.StatusRequestEntityTooLarge, at(s)+" takes messages of 524288 bytes at the most")
	said(t, publish("all", Message{Topic: "registry.push", Body: large[:2000]}), http.StatusRequestEntityTooLarge, at(s)+" refuses the message: message size exceeds maximum allowed")
	said(t, publish("all", Message{Topic: "registry.push", Body: make([]byte, MaxMessage+1)}), http.StatusRequestEntityTooLarge, "the message has 1048577 bytes")
	said(t, publish("few", message("2")), http.StatusUnauthorized, at(s)+" does not let this user publish to registry.push")
	stored(t, publish("few", Message{Topic: "registry.pull"}))
	said(t, publish("deaf", message("2")), http.StatusUnauthorized, at(s)+" does not let this user hear its acknowledgement")
	stored(t, publish("all", Message{Topic: "full"}))
	said(t, publish("all", Message{Topic: "full"}), http.StatusServiceUnavailable, "maximum messages exceeded")

	// What is no broker's fault: of several messages one has no place.
	said(t, p.PublishAll(t.Context(), Server{Kind: NATS, Addresses: []string{at(s)}, Username: "all", Password: "pw"},
		[]Message{message("7"), {Topic: "elsewhere"}, message("8")}, patience), http.StatusNotFound, "elsewhere")
}

// TestNATSNoStream: a plain subscriber that answers is no stream.
func TestNATSNoStream(t *testing.T) {
	t.Parallel()
	s := startNATS(t, natsserver.Options{})
	nc, err := nats.Connect("nats://" + at(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for subject, answer := range map[string]string{"echo": "{}", "words": "thanks"} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { m.Respond([]byte(answer)) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nc.Subscribe("mute", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	p := publishers(t)
	server := Server{Kind: NATS, Addresses: []string{at(s)}}
	for _, subject := range []string{"echo", "words"} {
		unanswered(t, p.Publish(t.Context(), server, Message{Topic: subject}, patience), outbound.Protocol, "to the subject "+subject+" is no stream")
	}
	unanswered(t, p.Publish(t.Context(), server, Message{Topic: "mute"}, brief), outbound.Timeout,
		at(s)+" did not acknowledge the message within 300ms: check that a stream takes the subject mute")
}

// TestNATSRestart: a server that was started anew is connected to anew, and a
// message that is published meanwhile is told to have failed.
func TestNATSRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startNATS(t, natsserver.Options{StoreDir: dir})
	address := at(s)
	makeStream(t, reader(t, s))
	p := publishers(t)
	server := Server{Kind: NATS, Addresses: []string{address}}
	stored(t, p.Publish(t.Context(), server, message("1"), patience))
	s.Shutdown()
	s.WaitForShutdown()
	unanswered(t, p.Publish(t.Context(), server, message("2"), patience), outbound.Connect, address+" refused the connection: nothing listens there")
	startNATS(t, natsserver.Options{StoreDir: dir, Port: portOf(t, address)})
	if got := stored(t, p.Publish(t.Context(), server, message("2"), patience)); got["Sequence"] != "2" {
		t.Errorf("answer %v", got)
	}
}

// TestNATSRestartUnnoticed: there is no failure if it comes to light only as a
// message is sent that the connection is dead.
func TestNATSRestartUnnoticed(t *testing.T) {
	t.Parallel()
	s := startNATS(t, natsserver.Options{})
	makeStream(t, reader(t, s))
	var mu sync.Mutex
	var wires []net.Conn
	dialer := guarded(t, outbound.Policy{Loopback: true})
	p := New(Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.Dial(ctx, network, address)
		mu.Lock()
		defer mu.Unlock()
		broken := &breakable{Conn: conn}
		wires = append(wires, broken)
		return broken, err
	}})
	t.Cleanup(p.Close)
	server := Server{Kind: NATS, Addresses: []string{at(s)}}
	stored(t, p.Publish(t.Context(), server, message("1"), patience))
	mu.Lock()
	wires[0].(*breakable).breakOnWrite()
	mu.Unlock()
	if got := stored(t, p.Publish(t.Context(), server, message("2"), patience)); got["Sequence"] != "2" {
		t.Errorf("answer %v", got)
	}
	if len(wires) != 2 {
		t.Errorf("%d connections, want 2", len(wires))
	}
}

// breakable is a connection that may end as something is written to it.
type breakable struct {
	net.Conn
	mu     sync.Mutex
	broken bool
}

func (b *breakable) breakOnWrite() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = true
}

func (b *breakable) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken {
		b.Conn.Close()
	}
	return b.Conn.Write(p)
}

func portOf(t testing.TB, address string) int {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

// TestNATSAddresses: of several addresses those that do not answer are passed by, and
// none but those is used, whatever the server tells of its cluster.
func TestNATSAddresses(t *testing.T) {
	t.Parallel()
	s := startNATS(t, natsserver.Options{ClientAdvertise: nowhere(t)})
	makeStream(t, reader(t, s))
	p := publishers(t)
	server := Server{Kind: NATS, Addresses: []string{nowhere(t), listen(t, silence), at(s)}}
	res := p.Publish(t.Context(), server, message("1"), 3*time.Second)
	stored(t, res)
	if res.Sent.URI != "nats://"+at(s)+"/registry.push" {
		t.Errorf("sent to %s", res.Sent.URI)
	}
}

// TestNATSStrangers: what is no NATS server holds nobody up, and can be told.
func TestNATSStrangers(t *testing.T) {
	t.Parallel()
	p := publishers(t)
	publish := func(address string, timeout time.Duration) outbound.Result {
		return p.Publish(t.Context(), Server{Kind: NATS, Addresses: []string{address}, Secure: true}, message("1"), timeout)
	}
	mute := listen(t, silence)
	res := publish(mute, brief)
	unanswered(t, res, outbound.Timeout, mute+" did not answer within 300ms")
	if res.Duration > patience/2 {
		t.Errorf("it took %s", res.Duration)
	}
	web := listen(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); silence(c) })
	unanswered(t, publish(web, patience), outbound.Protocol, web+" does not speak as a NATS server does")
	shut := listen(t, func(c net.Conn) { c.Close() })
	unanswered(t, publish(shut, patience), outbound.Protocol, shut+" closed the connection before it answered")
	flood := listen(t, func(c net.Conn) {
		for b := []byte(strings.Repeat("INFO ", 1000)); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	unanswered(t, publish(flood, patience), outbound.Protocol, flood+" does not speak as a NATS server does")
	half := listen(t, func(c net.Conn) {
		io.WriteString(c, `INFO {"server_id":"x","max_payload":1048576,"headers":true,"tls_required":true}`+"\r\n")
		silence(c)
	})
	unanswered(t, publish(half, brief), outbound.Timeout, half+" did not answer within 300ms")

	none := nowhere(t)
	unanswered(t, publish(none, patience), outbound.Connect, none+" refused the connection: nothing listens there")
}

// TestNATSStalled: a server that takes nothing any more ends a publish in its time.
func TestNATSStalled(t *testing.T) {
	t.Parallel()
	stalled := listen(t, func(c net.Conn) {
		io.WriteString(c, `INFO {"server_id":"x","max_payload":8388608,"headers":true}`+"\r\n")
		got := ""
		for b := make([]byte, 1024); !strings.Contains(got, "PING\r\n"); {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			got += string(b[:n])
		}
		io.WriteString(c, "PONG\r\n")
	})
	p := publishers(t)
	messages := make([]Message, 32)
	for i := range messages {
		messages[i] = Message{Topic: "registry.push", Body: large}
	}
	res := p.PublishAll(t.Context(), Server{Kind: NATS, Addresses: []string{stalled}}, messages, time.Second)
	unanswered(t, res, outbound.Timeout, stalled+" did not answer within 1s")
	if res.Duration > patience/2 {
		t.Errorf("it took %s", res.Duration)
	}
}
