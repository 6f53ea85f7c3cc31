package sink

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dockbell/dockbell/internal/outbound"
)

const topic = "registry-events"

// startKafka starts a cluster of one broker with a topic of one partition, unless o
// says otherwise. It ends with the test.
func startKafka(t testing.TB, o ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, topic)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func kafkaAt(c *kfake.Cluster) Server { return Server{Kind: Kafka, Addresses: c.ListenAddrs()[:1]} }

// consume reads n records of the topic with a client of the test's own.
func consume(t testing.TB, c *kfake.Cluster, n int, o ...kgo.Opt) (records []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(records) < n {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetched.Records()...)
	}
	return records
}

func record(id string) Message {
	return Message{
		Topic: topic, ID: id, Key: []byte("team/app"), Body: []byte(`{"repository":"team/app"}`),
		Header: []Field{{Name: "ce_specversion", Value: "1.0"}, {Name: "ce_id", Value: id}, {Name: "content-type", Value: "application/json"}, {Name: "x", Value: "s3cret", Secret: true}},
	}
}

// TestKafka: what was acknowledged is in the topic, byte for byte and in order.
func TestKafka(t *testing.T) {
	t.Parallel()
	c := startKafka(t)
	p := publishers(t)
	server := kafkaAt(c)
	res := p.Publish(t.Context(), server, record("1"), patience)
	if diff := cmp.Diff(map[string]string{"Partition": "0", "Offset": "0"}, stored(t, res)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(outbound.RequestHead{Method: "PRODUCE", URI: "kafka://" + server.Addresses[0] + "/" + topic, Header: map[string]string{
		"ce_specversion": "1.0", "ce_id": "1", "content-type": "application/json", "x": "******",
	}}, res.Sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	all := p.PublishAll(t.Context(), server, []Message{record("2"), record("3"), record("4"), {Topic: topic}}, patience)
	if diff := cmp.Diff(map[string]string{"Partition": "0", "Offset": "1-4"}, stored(t, all)); diff != "" {
		t.Errorf("answer to four (-want +got):\n%s", diff)
	}
	if len(all.Sent.Header) != 0 { // the last has none, and so they share none
		t.Errorf("sent %v", all.Sent.Header)
	}
	got := consume(t, c, 5)
	for i, r := range got[:4] {
		want := record(fmt.Sprint(i + 1))
		if string(r.Key) != "team/app" || string(r.Value) != string(want.Body) || len(r.Headers) != len(want.Header) {
			t.Fatalf("record %d: %q with key %q and header %v", i, r.Value, r.Key, r.Headers)
		}
		for j, h := range r.Headers {
			if h.Key != want.Header[j].Name || string(h.Value) != want.Header[j].Value {
				t.Errorf("record %d has the header field %s: %s, want %v", i, h.Key, h.Value, want.Header[j])
			}
		}
	}
	if r := got[4]; r.Key != nil || r.Value != nil {
		t.Errorf("the record without key and value has %q and %q", r.Key, r.Value)
	}
}

// TestKafkaPartitions: records with one key are in one partition, and it is told
// which.
func TestKafkaPartitions(t *testing.T) {
	t.Parallel()
	c := startKafka(t, kfake.SeedTopics(8, "wide"), kfake.NumBrokers(3))
	p := publishers(t)
	var all []Message
	for i := range 40 {
		all = append(all, Message{Topic: "wide", Key: fmt.Append(nil, "k", i%10), Body: []byte("x")})
	}
	got := stored(t, p.PublishAll(t.Context(), kafkaAt(c), all, patience))
	for _, i := range strings.Split(got["Partition"], ", ") {
		if !strings.Contains(", "+got["Offset"], ", "+i+":0-") {
			t.Errorf("answer %v lacks the offsets of partition %s", got, i)
		}
	}
	first := stored(t, p.Publish(t.Context(), kafkaAt(c), all[0], patience))
	second := stored(t, p.Publish(t.Context(), kafkaAt(c), all[10], patience))
	if first["Partition"] != second["Partition"] {
		t.Errorf("two records with one key are in the partitions %s and %s", first["Partition"], second["Partition"])
	}
}

// TestKafkaSASL: each mechanism, right and wrong.
func TestKafkaSASL(t *testing.T) {
	t.Parallel()
	c := startKafka(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "p", "pw"), kfake.Superuser("SCRAM-SHA-256", "s256", "pw"), kfake.Superuser("SCRAM-SHA-512", "s512", "pw"))
	p := publishers(t)
	for mechanism, user := range map[string]string{"PLAIN": "p", "SCRAM-SHA-256": "s256", "SCRAM-SHA-512": "s512"} {
		t.Run(mechanism, func(t *testing.T) {
			server := kafkaAt(c)
			server.Mechanism, server.Username, server.Password = mechanism, user, "pw"
			if err := server.Check(); err != nil {
				t.Fatal(err)
			}
			stored(t, p.Publish(t.Context(), server, record("1"), patience))
			server.Password = "s3cret" // the stand-in hangs up, as old brokers do
			res := p.Publish(t.Context(), server, record("1"), patience)
			unanswered(t, res, outbound.Protocol, server.Addresses[0]+" closed the connection before it answered: check user name and password")
			fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.SASLAuthenticate}, TopLevel: true, Err: kerr.SaslAuthenticationFailed, Count: -1})
			res = p.Publish(t.Context(), server, record("1"), patience)
			fault.Remove()
			said(t, res, http.StatusUnauthorized, server.Addresses[0]+" does not take this user name and password with SASL "+mechanism)
			if strings.Contains(fmt.Sprintf("%+v %s", res, res.Body), "s3cret") {
				t.Errorf("the result tells a secret: %s", res.Body)
			}
		})
	}
	res := p.Publish(t.Context(), kafkaAt(c), record("1"), 5*time.Second)
	unanswered(t, res, outbound.Protocol, kafkaAt(c).Addresses[0]+" closed the connection as soon as it was spoken to: check whether it takes connections without TLS and without a user name")
}

// TestKafkaTLS: TLS with certificates of both sides, and what is said when it fails.
func TestKafkaTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	secure, misnamed, plain := startKafka(t, kfake.TLS(a.server(t, "127.0.0.1"))), startKafka(t, kfake.TLS(a.server(t, "other.example"))), startKafka(t)
	p := publishers(t)
	publish := func(c *kfake.Cluster, secure bool, trust *outbound.TLS, timeout time.Duration) outbound.Result {
		server := kafkaAt(c)
		server.Secure, server.TLS = secure, trust
		return p.Publish(t.Context(), server, record("1"), timeout)
	}
	address := kafkaAt(secure).Addresses[0]
	stored(t, publish(secure, true, a.client(t), patience))
	unanswered(t, publish(secure, true, nil, patience), outbound.TLSUntrusted, "the certificate of "+address+" is signed by no authority")
	unanswered(t, publish(misnamed, true, a.client(t), patience), outbound.TLSName, " is for another name")
	if res := publish(secure, true, &outbound.TLS{CA: a.pem()}, patience); res.Class == outbound.None || !strings.Contains(res.Message, address) {
		t.Errorf("without a certificate: class %q, message %q", res.Class, res.Message)
	}
	if res := publish(secure, false, nil, patience); res.Class != outbound.Protocol || !strings.Contains(res.Message, "without TLS") {
		t.Errorf("without TLS: class %q, message %q", res.Class, res.Message)
	}
	if res := publish(plain, true, a.client(t), 2*time.Second); res.Answer != nil || !strings.Contains(res.Message, kafkaAt(plain).Addresses[0]) {
		t.Errorf("with TLS where there is none: class %q, message %q", res.Class, res.Message)
	}
}

// TestKafkaRefusals: what the broker says no to is an answer, with a status.
func TestKafkaRefusals(t *testing.T) {
	t.Parallel()
	c := startKafka(t, kfake.AllowAutoTopicCreation())
	address := kafkaAt(c).Addresses[0]
	p := publishers(t)
	said(t, p.Publish(t.Context(), kafkaAt(c), Message{Topic: "none"}, patience), http.StatusNotFound, address+" has no topic none: create it")
	if c.TopicInfo("none") != nil {
		t.Error("a topic was made by publishing to it")
	}
	if err := c.CreateTopic("none", 1, nil); err != nil {
		t.Fatal(err)
	}
	stored(t, p.Publish(t.Context(), kafkaAt(c), Message{Topic: "none"}, patience))

	said(t, p.Publish(t.Context(), kafkaAt(c), Message{Topic: topic, Body: make([]byte, MaxMessage)}, patience), http.StatusRequestEntityTooLarge, "max.message.bytes")
	said(t, p.Publish(t.Context(), kafkaAt(c), Message{Topic: topic, Body: make([]byte, MaxMessage+1)}, patience), http.StatusRequestEntityTooLarge, "1048577 bytes")
	for _, tt := range []struct {
		err    *kerr.Error
		status int
		words  string
	}{
		{kerr.MessageTooLarge, http.StatusRequestEntityTooLarge, "max.message.bytes"},
		{kerr.NotEnoughReplicas, http.StatusServiceUnavailable, "min.insync.replicas"},
		{kerr.TopicAuthorizationFailed, http.StatusUnauthorized, address + " does not let this user write to the topic " + topic},
		{kerr.InvalidRecord, http.StatusBadRequest, "compacted"},
		{kerr.PolicyViolation, http.StatusServiceUnavailable, address + " answers POLICY_VIOLATION: "},
	} {
		fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: tt.err, Count: -1})
		said(t, p.Publish(t.Context(), kafkaAt(c), record("1"), patience), tt.status, tt.words)
		fault.Remove()
	}
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 1})
	stored(t, p.Publish(t.Context(), kafkaAt(c), record("1"), patience)) // it passes, and so it is tried again
	fault.Remove()
}

// TestKafkaRestart: a broker that was away is connected to again.
func TestKafkaRestart(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		t.Fatal(err)
	}
	server := kafkaAt(c)
	address := server.Addresses[0]
	p := publishers(t)
	stored(t, p.Publish(t.Context(), server, record("1"), patience))
	c.Close()
	unanswered(t, p.Publish(t.Context(), server, record("2"), patience), outbound.Connect, address+" refused the connection: nothing listens there")
	unanswered(t, p.Publish(t.Context(), server, record("2"), patience), outbound.Connect, address+" refused the connection: nothing listens there")
	startKafka(t, kfake.Ports(portOf(t, address)))
	stored(t, p.Publish(t.Context(), server, record("2"), patience))
}

// TestKafkaUnderWay: a record that the broker takes without a word is told to have
// failed, in time, and is not sent again behind the caller's back. That one of the
// addresses is of no use is not what it is told.
func TestKafkaUnderWay(t *testing.T) {
	t.Parallel()
	c := startKafka(t)
	p := publishers(t)
	server := Server{Kind: Kafka, Addresses: []string{kafkaAt(c).Addresses[0], nowhere(t)}}
	stored(t, p.Publish(t.Context(), kafkaAt(c), record("1"), patience)) // with a client of its own
	asked := make(chan struct{}, 8)
	release := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		asked <- struct{}{}
		c.SleepControl(func() { <-release })
		return nil, io.EOF, true // neither stored nor answered
	})
	res := p.Publish(t.Context(), server, record("2"), time.Second)
	unanswered(t, res, outbound.Timeout, kafkaAt(c).Addresses[0]+" did not answer within 1s")
	if res.Duration > patience/2 {
		t.Errorf("it took %s", res.Duration)
	}
	close(release)
	<-asked
	if got := stored(t, p.Publish(t.Context(), server, record("3"), patience)); got["Offset"] != "1" {
		t.Errorf("answer %v: the record that timed out was sent again", got)
	}
	p.Close()
	if got := consume(t, c, 2); string(got[1].Headers[1].Value) != "3" {
		t.Errorf("the topic has the record %s as its second", got[1].Headers[1].Value)
	}
}

// TestKafkaAddresses: of several addresses those that do not answer are passed by.
func TestKafkaAddresses(t *testing.T) {
	t.Parallel()
	c := startKafka(t)
	guard := guarded(t, outbound.Policy{Loopback: true})
	const hole = "192.0.2.1:9092"
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == hole {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
		}
		return guard.Dial(ctx, network, address)
	}
	for name, first := range map[string]string{"refuses": nowhere(t), "is a hole": hole} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := Server{Kind: Kafka, Addresses: []string{first, kafkaAt(c).Addresses[0]}}
			for range 2 { // the client takes them in any order
				p := New(Options{Dial: dial})
				stored(t, p.Publish(t.Context(), server, record("1"), 4*time.Second))
				p.Close()
			}
		})
	}
}

// TestKafkaAdvertised: the brokers that a cluster names are dialled under the policy,
// too, and it is told when one of them is the matter.
func TestKafkaAdvertised(t *testing.T) {
	t.Parallel()
	c := startKafka(t)
	address := kafkaAt(c).Addresses[0]
	guard := guarded(t, outbound.Policy{Loopback: true})
	var mu sync.Mutex
	var dialled []string
	p := New(Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		dialled = append(dialled, address)
		mu.Unlock()
		return guard.Dial(ctx, network, address)
	}})
	t.Cleanup(p.Close)
	c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = 0, "10.1.2.3", 9092
		resp.Brokers = append(resp.Brokers, b)
		topics := kmsg.NewMetadataResponseTopic()
		topics.Topic = kmsg.StringPtr(topic)
		topics.TopicID = c.TopicInfo(topic).TopicID
		partition := kmsg.NewMetadataResponseTopicPartition()
		partition.Leader, partition.Replicas, partition.ISR = 0, []int32{0}, []int32{0}
		topics.Partitions = append(topics.Partitions, partition)
		resp.Topics = append(resp.Topics, topics)
		return resp, nil, true
	})
	res := p.Publish(t.Context(), kafkaAt(c), record("1"), 5*time.Second)
	unanswered(t, res, outbound.Refused, "10.1.2.3 is a private address and this server may not ring it: start it with --allow-destinations 10.0.0.0/8 ("+address+" gives that address for a broker of its cluster)")
	mu.Lock()
	defer mu.Unlock()
	if len(dialled) < 2 || dialled[0] != address {
		t.Errorf("dialled %q", dialled)
	}
}

// TestKafkaStrangers: what is no Kafka broker holds nobody up, and can be told.
func TestKafkaStrangers(t *testing.T) {
	t.Parallel()
	p := publishers(t)
	publish := func(address string, secure bool, timeout time.Duration) outbound.Result {
		return p.Publish(t.Context(), Server{Kind: Kafka, Addresses: []string{address}, Secure: secure}, record("1"), timeout)
	}
	mute := listen(t, silence)
	for _, secure := range []bool{false, true} {
		res := publish(mute, secure, brief)
		unanswered(t, res, outbound.Timeout, mute+" did not answer within 300ms")
		if res.Duration > patience/2 {
			t.Errorf("it took %s", res.Duration)
		}
	}
	web := listen(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); silence(c) })
	unanswered(t, publish(web, false, patience), outbound.Protocol, "what "+web+" answers is not understood: check that it is a Kafka broker")
	unanswered(t, publish(web, true, patience), outbound.TLSFailed, web+" does not speak TLS on this port")
	shut := listen(t, func(c net.Conn) { c.Close() })
	unanswered(t, publish(shut, false, patience), outbound.Protocol, shut+" closed the connection")
	none := nowhere(t)
	unanswered(t, publish(none, false, patience), outbound.Connect, none+" refused the connection: nothing listens there")
}
