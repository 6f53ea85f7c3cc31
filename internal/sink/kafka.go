package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/dockbell/dockbell/internal/outbound"
)

// Limits on what one Kafka client holds and does by itself.
const (
	maxBuffered    = 16 << 20  // bytes of records that wait to be sent
	maxKafkaAnswer = 4 << 20   // bytes: what is known of one topic with thousands of partitions
	maxKafkaBatch  = 1_000_012 // bytes; below what brokers take by default

	tries       = 3 // of a record, beyond the first, while the broker says that it may pass
	dialWithin  = 10 * time.Second
	replyWithin = 5 * time.Second  // beyond what the request asks the broker to take
	storeWithin = 10 * time.Second // by all replicas
	maxProven   = 1024             // topics
)

// kafkaBroker publishes with one client, which finds the brokers of the cluster by
// itself and has a connection to each that it needs.
type kafkaBroker struct {
	server Server
	tls    *tls.Config // nil without TLS
	open   func(ctx context.Context, network, address string) (net.Conn, error)
	client *kgo.Client

	mu      sync.Mutex
	trouble *failure        // of the last connection that was not made, nil for none
	named   bool            // it was to be to a broker that the cluster names
	at      time.Time       // that it was not made
	proven  map[string]bool // topics that took the last records
}

func newKafka(s Server, config *tls.Config, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*kafkaBroker, *failure) {
	s.Addresses = slices.Clone(s.Addresses)
	b := &kafkaBroker{server: s, open: dial, proven: map[string]bool{}}
	if s.Secure {
		b.tls = config
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(s.Addresses...),
		kgo.ClientID("dockbell"),
		kgo.Dialer(b.dial),
		kgo.DisableClientMetrics(),
		kgo.RequestTimeoutOverhead(replyWithin),
		kgo.RequestRetries(tries + len(s.Addresses)), // which it takes as it likes, one perhaps twice
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(50*time.Millisecond<<min(n, 5), time.Second) }),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.FetchMaxBytes(1 << 20), // nothing is fetched; it has to be below the next
		kgo.BrokerMaxReadBytes(maxKafkaAnswer),

		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProduceRequestTimeout(storeWithin),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(maxKafkaBatch),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedBytes(maxBuffered),
		kgo.RecordRetries(tries),
		kgo.UnknownTopicRetries(1),
		kgo.AllowIdempotentProduceCancellation(),
	}
	switch s.Mechanism {
	case "PLAIN":
		options = append(options, kgo.SASL(plain.Auth{User: s.Username, Pass: s.Password}.AsMechanism()))
	case "SCRAM-SHA-256":
		options = append(options, kgo.SASL(scram.Auth{User: s.Username, Pass: s.Password}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		options = append(options, kgo.SASL(scram.Auth{User: s.Username, Pass: s.Password}.AsSha512Mechanism()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil { // its text may hold what it was given
		return nil, &failure{class: outbound.Refused, message: "the settings of the broker at " + s.Addresses[0] + " are none that can be used"}
	}
	b.client = client
	return b, nil
}

func (b *kafkaBroker) close() { b.client.Close() }

// dial opens a connection to one of the addresses that we were given, or that the
// cluster names.
func (b *kafkaBroker) dial(ctx context.Context, network, address string) (net.Conn, error) {
	within := dialWithin
	if deadline, ok := ctx.Deadline(); ok && len(b.server.Addresses) > 1 {
		within = min(within, time.Until(deadline)/2) // the next address has its turn, too
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := b.open(ctx, network, address)
	if err != nil {
		b.note(ctx, address, undialled(address, err))
		return nil, err
	}
	if b.tls == nil {
		b.connected()
		return conn, nil
	}
	config := b.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address)
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		b.note(ctx, address, unsecured(address, err))
		return nil, err
	}
	b.connected()
	return secure, nil
}

// connected forgets that another of the configured addresses was of no use.
func (b *kafkaBroker) connected() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.named {
		b.trouble = nil
	}
}

// note keeps why there is no connection: the client knows of it only that it should
// try again.
func (b *kafkaBroker) note(ctx context.Context, address string, f *failure) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	named := !slices.Contains(b.server.Addresses, address)
	if named {
		f.message += " (" + b.server.Addresses[0] + " gives that address for a broker of its cluster)"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble, b.named, b.at = f, named, time.Now()
}

// since returns a copy of the trouble there was since start, or nil.
func (b *kafkaBroker) since(start time.Time) *failure {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trouble == nil || b.at.Before(start) {
		return nil
	}
	f := *b.trouble
	return &f
}

func (b *kafkaBroker) publish(ctx context.Context, messages []Message) reply {
	start := time.Now()
	r := reply{address: b.server.Addresses[0]}
	var topics []string
	for _, m := range messages {
		if !slices.Contains(topics, m.Topic) {
			topics = append(topics, m.Topic)
		}
	}
	for _, topic := range topics {
		if r.failure = b.prove(ctx, topic, start); r.failure != nil {
			return r
		}
	}
	records, topic, err := b.produce(ctx, messages)
	b.judge(topics, err == nil)
	if err != nil {
		r.failure = b.explain(ctx, topic, start, err)
		return r
	}
	r.header = place(records)
	return r
}

// prove asks about a topic unless it took the last records. The client would try
// a topic that does not exist, and a server that cannot be reached, until the time is
// over, and could not say why.
func (b *kafkaBroker) prove(ctx context.Context, topic string, start time.Time) *failure {
	b.mu.Lock()
	known := b.proven[topic]
	b.mu.Unlock()
	if known {
		return nil
	}
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	req.Topics = append(req.Topics, asked)
	resp, err := req.RequestWith(ctx, b.client)
	if err != nil {
		return b.explain(ctx, topic, start, err)
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return b.explain(ctx, topic, start, err)
		}
		led := func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader >= 0 }
		if !slices.ContainsFunc(t.Partitions, led) {
			return b.explain(ctx, topic, start, kerr.LeaderNotAvailable)
		}
	}
	return nil
}

// judge remembers whether topics took records.
func (b *kafkaBroker) judge(topics []string, took bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, topic := range topics {
		if !took {
			delete(b.proven, topic)
		} else if len(b.proven) < maxProven {
			b.proven[topic] = true
		}
	}
}

// produce has the client send all messages, and waits for the acknowledgement of
// each. If it fails, it returns the topic of the one that did.
func (b *kafkaBroker) produce(ctx context.Context, messages []Message) (records []*kgo.Record, topic string, err error) {
	type outcome struct {
		record *kgo.Record
		err    error
	}
	outcomes := make(chan outcome, len(messages))
	for _, m := range messages {
		r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Body}
		for _, f := range m.Header {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: f.Name, Value: []byte(f.Value)})
		}
		records = append(records, r)
		b.client.Produce(ctx, r, func(r *kgo.Record, err error) { outcomes <- outcome{r, err} })
	}
	for range messages { // also after one failed: none is to be under way when this returns
		select {
		case o := <-outcomes:
			if o.err != nil && err == nil {
				topic, err = o.record.Topic, o.err
			}
		case <-ctx.Done():
			return nil, messages[0].Topic, ctx.Err()
		}
	}
	return records, topic, err
}

// place says where records are stored.
func place(records []*kgo.Record) map[string]string {
	offsets := map[int32][]int64{}
	var partitions []int32
	for _, r := range records {
		if offsets[r.Partition] == nil {
			partitions = append(partitions, r.Partition)
		}
		offsets[r.Partition] = append(offsets[r.Partition], r.Offset)
	}
	slices.Sort(partitions)
	header := map[string]string{"Partition": "", "Offset": ""}
	for i, p := range partitions {
		number, offset := strconv.Itoa(int(p)), ranges(offsets[p])
		if len(partitions) > 1 {
			offset = number + ":" + offset
		}
		if i > 0 {
			number, offset = ", "+number, ", "+offset
		}
		header["Partition"] += number
		header["Offset"] += offset
	}
	return header
}

// explain gives an error of the client its failure.
func (b *kafkaBroker) explain(ctx context.Context, topic string, start time.Time, err error) *failure {
	a := b.server.Addresses[0]
	var said *kerr.Error
	if errors.As(err, &said) {
		return b.said(topic, said)
	}
	trouble := b.since(start)
	var first *kgo.ErrFirstReadEOF
	switch {
	case trouble != nil:
		return trouble
	case ctx.Err() != nil, timedOut(err):
		return silent(a, ": check that it is a Kafka broker, that it takes connections "+b.manner()+", and that the topic "+topic+" has a leader")
	case errors.As(err, &first):
		return &failure{class: outbound.Protocol, message: a + " closed the connection as soon as it was spoken to: check whether it takes connections " + b.manner()}
	case errors.Is(err, kgo.ErrRecordRetries), errors.Is(err, kgo.ErrRecordTimeout):
		return answered(http.StatusServiceUnavailable, a+" did not take the record for topic "+topic+", however often it was tried")
	case hungUp(err) && b.server.Mechanism != "": // old brokers say so that they know nobody of that name
		return &failure{class: outbound.Protocol, message: a + " closed the connection before it answered: check user name and password, and whether it takes connections " + b.manner()}
	case hungUp(err):
		return &failure{class: outbound.Protocol, message: a + " closed the connection before it answered"}
	}
	return &failure{class: outbound.Protocol, message: "what " + a + " answers is not understood: check that it is a Kafka broker, and that it takes connections " + b.manner()}
}

// manner says how the broker is spoken to.
func (b *kafkaBroker) manner() string {
	manner := "without TLS"
	if b.tls != nil {
		manner = "with TLS"
	}
	if b.server.Mechanism == "" {
		return manner + " and without a user name"
	}
	return manner + " and with SASL " + b.server.Mechanism
}

// said gives what the broker said its failure: a status of HTTP and a sentence.
func (b *kafkaBroker) said(topic string, e *kerr.Error) *failure {
	a := b.server.Addresses[0]
	switch e {
	case kerr.SaslAuthenticationFailed:
		return answered(http.StatusUnauthorized, a+" does not take this user name and password with SASL "+b.server.Mechanism+": check them, and that the user has credentials for that mechanism")
	case kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState:
		return answered(http.StatusUnauthorized, a+" does not take SASL "+b.server.Mechanism+": name a mechanism that it offers")
	case kerr.TopicAuthorizationFailed:
		return answered(http.StatusUnauthorized, a+" does not let this user write to the topic "+topic+": allow it Describe and Write")
	case kerr.ClusterAuthorizationFailed:
		return answered(http.StatusUnauthorized, a+" does not let this user write without duplicates: allow it IdempotentWrite on the cluster")
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
		return answered(http.StatusNotFound, a+" has no topic "+topic+": create it, for publishing does not, or name another")
	case kerr.InvalidTopicException:
		return answered(http.StatusNotFound, a+" takes no records for the topic "+topic+": name another")
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		return answered(http.StatusRequestEntityTooLarge, "the record is larger than "+a+" or its topic "+topic+" takes (max.message.bytes), or has more than "+strconv.Itoa(maxKafkaBatch)+" bytes")
	case kerr.InvalidRecord:
		return answered(http.StatusBadRequest, a+" does not take the record: the topic "+topic+" may be compacted, and then each record needs a key")
	case kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend:
		return answered(http.StatusServiceUnavailable, "fewer replicas of the topic "+topic+" are in sync at "+a+" than it asks for (min.insync.replicas)")
	case kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.ReplicaNotAvailable:
		return answered(http.StatusServiceUnavailable, "the topic "+topic+" has no leader at "+a+" for now")
	}
	return answered(http.StatusServiceUnavailable, a+" answers "+e.Message+": "+strings.TrimSuffix(e.Description, "."))
}
