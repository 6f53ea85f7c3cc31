package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// subscribe makes an event subscription of the default registry.
func (r *running) subscribe(name, properties string) {
	r.t.Helper()
	status, _, answer := r.do("PUT", "/api/v1/registries/"+r.Operator()+"/eventSubscriptions/"+name, []byte(`{"properties":`+properties+`}`), r.asOperator)
	if status != http.StatusCreated {
		r.t.Fatalf("event subscription: %d %s", status, answer)
	}
}

// gridReceiver is a receiver of event subscriptions in both schemas, which agrees.
type gridReceiver struct {
	t      *testing.T
	server *httptest.Server
	heard  chan heard

	mu     sync.Mutex
	status int // of the answers to notifications; 0 means 200
}

// heard is one request.
type heard struct {
	header http.Header
	body   []byte
}

func newGridReceiver(t *testing.T) *gridReceiver {
	g := &gridReceiver{t: t, heard: make(chan heard, 1000)}
	g.server = httptest.NewServer(g)
	t.Cleanup(g.server.Close)
	return g
}

func (g *gridReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	switch {
	case r.Method == http.MethodOptions:
		w.Header().Set("WebHook-Allowed-Origin", r.Header.Get("WebHook-Request-Origin"))
	case r.Header.Get("aeg-event-type") == "SubscriptionValidation":
		var events []struct {
			Data struct{ ValidationCode string }
		}
		if err := json.Unmarshal(body, &events); err != nil || len(events) != 1 {
			g.t.Errorf("the question is %s", body)
			return
		}
		fmt.Fprintf(w, `{"validationResponse":%q}`, events[0].Data.ValidationCode)
	default:
		g.mu.Lock()
		status := g.status
		g.mu.Unlock()
		if status != 0 {
			w.WriteHeader(status)
		}
		g.heard <- heard{r.Header, body}
	}
}

func (g *gridReceiver) answers(status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status = status
}

// next returns the next notification.
func (g *gridReceiver) next() heard {
	g.t.Helper()
	select {
	case h := <-g.heard:
		return h
	case <-time.After(patience):
		g.t.Fatal("nothing was heard")
		panic("unreachable")
	}
}

// webHook is a destination.
func (g *gridReceiver) webHook(more string) string {
	return fmt.Sprintf(`{"endpointType":"WebHook","properties":{"endpointUrl":%q%s}}`, g.server.URL+"/in?code=s3cret", more)
}

// TestEventSubscriptions: a push reaches receivers in each schema, alone and in
// batches, and brokers in each mode; CloudEvents are what the SDK's readers take.
func TestEventSubscriptions(t *testing.T) {
	t.Parallel()
	r := start(t, settings(t.TempDir()))
	grid, cloud, batch := newGridReceiver(t), newGridReceiver(t), newGridReceiver(t)
	r.subscribe("grid", `{"destination":`+grid.webHook(`,"deliveryAttributeMappings":[{"name":"X-Repo","type":"Dynamic","properties":{"sourceField":"data.target.repository"}}]`)+`}`)
	r.subscribe("cloud", `{"eventDeliverySchema":"CloudEventSchemaV1_0","destination":`+cloud.webHook("")+`}`)
	r.subscribe("batch", `{"eventDeliverySchema":"CloudEventSchemaV1_0","filter":{"subjectBeginsWith":"team/"},"destination":`+batch.webHook(`,"maxEventsPerBatch":100`)+`}`)

	stream := startJetStream(t)
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "registry"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	for _, mode := range []string{"structured", "binary"} {
		r.subscribe("nats-"+mode, fmt.Sprintf(`{"destination":{"endpointType":"NatsJetStream","properties":{"servers":[%q],"subject":"registry.%s","mode":%q}}}`, stream.address, mode, mode))
		r.subscribe("kafka-"+mode, fmt.Sprintf(`{"destination":{"endpointType":"Kafka","properties":{"servers":[%q],"topic":"registry","mode":%q}}}`, kafka.ListenAddrs()[0], mode))
	}

	dgst := r.push("team/api", "v1")
	check := func(from string, e *cloudevents.Event, err error) {
		t.Helper()
		if err == nil {
			err = e.Validate()
		}
		if err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		var data struct {
			Action, Location string
			Target           struct{ Digest, Repository, Tag, URL string }
			Request          struct{ Addr, Host, Method string }
			Actor            struct{ Name string }
			Source           struct{ InstanceID string }
		}
		if err := json.Unmarshal(e.Data(), &data); err != nil {
			t.Fatalf("%s: %v in %s", from, err, e.Data())
		}
		if e.Type() != "Microsoft.ContainerRegistry.ImagePushed" || e.Subject() != "team/api:v1" || data.Target.Digest != dgst || data.Action != "push" ||
			data.Request.Addr != "127.0.0.1" || data.Actor.Name != r.Operator() || data.Source.InstanceID == "" || !strings.HasSuffix(data.Target.URL, "/v2/team/api/manifests/"+dgst) {
			t.Errorf("%s: %s", from, e)
		}
	}

	got := grid.next()
	var events []struct {
		Subject, EventType, DataVersion string
		Data                            struct {
			Target struct{ Digest string }
		}
	}
	if err := json.Unmarshal(got.body, &events); err != nil || len(events) != 1 || events[0].Data.Target.Digest != dgst || events[0].Subject != "team/api:v1" || events[0].DataVersion != "2.0" {
		t.Errorf("Event Grid's schema: %v, %s", err, got.body)
	}
	if got.header.Get("X-Repo") != "team/api" || got.header.Get("aeg-event-type") != "Notification" || got.header.Get("aeg-delivery-count") != "0" {
		t.Errorf("header %v", got.header)
	}
	got = cloud.next()
	e, err := binding.ToEvent(t.Context(), cehttp.NewMessage(got.header, io.NopCloser(bytes.NewReader(got.body))))
	check("structured", e, err)
	got = batch.next()
	var all []cloudevents.Event
	if err := json.Unmarshal(got.body, &all); err != nil || len(all) != 1 || !strings.HasPrefix(got.header.Get("Content-Type"), "application/cloudevents-batch+json") {
		t.Fatalf("batch: %v, %s", err, got.body)
	}
	check("batch", &all[0], nil)

	for _, m := range stream.read(t, 2) {
		fields := map[string]string{}
		for name, values := range m.Header {
			fields[strings.ToLower(name)] = values[0]
		}
		e, err := binding.ToEvent(t.Context(), brokerMessage{fields, m.Data, "ce-", "content-type", url.PathUnescape})
		check("NATS "+m.Subject, e, err)
	}
	for _, record := range consumeKafka(t, kafka, 2) {
		fields := map[string]string{}
		for _, h := range record.Headers {
			fields[h.Key] = string(h.Value)
		}
		e, err := binding.ToEvent(t.Context(), brokerMessage{fields, record.Value, "ce_", "content-type", func(s string) (string, error) { return s, nil }})
		check("Kafka", e, err)
		if string(record.Key) != "team/api" {
			t.Errorf("the key of the record is %q", record.Key)
		}
	}

	// The log shows brokers as it shows receivers.
	for _, name := range []string{"grid", "nats-structured", "kafka-binary"} {
		r.logged(name, `"statusCode":"200"`)
	}
}

// logged waits until the log of a subscription has an attempt with that text.
func (r *running) logged(name, text string) {
	r.t.Helper()
	path := "/api/v1/registries/" + r.Operator() + "/eventSubscriptions/" + name + "/listEvents"
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		status, _, answer := r.do("POST", path, nil, r.asOperator)
		if status != http.StatusOK || bytes.Contains(answer, []byte("s3cret")) {
			r.t.Fatalf("%d %s", status, answer)
		}
		if bytes.Contains(answer, []byte(text)) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the log of %s has no %s: %s", name, text, answer)
		}
	}
}

// TestDeadLettersAreFiled: what a receiver refuses for good is a dead letter at
// once, in a file of Event Grid's shape, and rung again it is delivered.
func TestDeadLettersAreFiled(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	r := start(t, settings(data))
	g := newGridReceiver(t)
	r.subscribe("on-push", `{"destination":`+g.webHook("")+`,"deadLetterDestination":{"endpointType":"StorageBlob","properties":{"resourceId":"/x","blobContainerName":"dead"}}}`)
	g.answers(http.StatusBadRequest)
	dgst := r.push("team/api", "v1")
	g.next()
	var files []string
	for deadline := time.Now().Add(patience); len(files) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("there is no file of dead letters")
		}
		files, _ = filepath.Glob(filepath.Join(data, "dead-letters/dead/ON-PUSH/*/*/*/*/*.json"))
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var letters []struct {
		DeadLetterReason, LastDeliveryOutcome, EventType string
		DeliveryAttempts, LastHttpStatusCode             int
		Data                                             struct{ Target struct{ Digest string } }
	}
	if err := json.Unmarshal(text, &letters); err != nil || len(letters) != 1 {
		t.Fatalf("%v in %s", err, text)
	}
	if l := letters[0]; l.DeadLetterReason != "UndeliverableDueToHttpBadRequest" || l.LastDeliveryOutcome != "BadRequest" || l.DeliveryAttempts != 1 || l.LastHttpStatusCode != 400 || l.Data.Target.Digest != dgst {
		t.Errorf("%+v", l)
	}

	g.answers(0)
	status, _, answer := r.do("POST", "/api/v1/registries/"+r.Operator()+"/eventSubscriptions/on-push/replays", []byte(`{"deadLetters":"all"}`), r.asOperator)
	if status/100 != 2 {
		t.Fatalf("replay: %d %s", status, answer)
	}
	if got := g.next(); !bytes.Contains(got.body, []byte(dgst)) {
		t.Errorf("rung again: %s", got.body)
	}
	r.logged("on-push", `"statusCode":"200"`)
}

// TestSubscriptionsOutliveTheServer: what was owed before a restart arrives after
// it.
func TestSubscriptionsOutliveTheServer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	r := start(t, settings(data))
	g := newGridReceiver(t)
	r.subscribe("on-push", `{"destination":`+g.webHook("")+`}`)
	path := "/api/v1/registries/" + r.Operator() + "/eventSubscriptions/on-push/"
	if status, _, answer := r.do("POST", path+"pause", nil, r.asOperator); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	dgst := r.push("team/api", "v1")
	r.stop()
	r = start(t, settings(data))
	if status, _, answer := r.do("POST", path+"resume", nil, r.asOperator); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if got := g.next(); !bytes.Contains(got.body, []byte(dgst)) || got.header.Get("aeg-subscription-name") != "ON-PUSH" {
		t.Errorf("%v %s", got.header, got.body)
	}
}

// jetStream is a NATS server with a stream of registry.>.
type jetStream struct {
	address string
	stream  jetstream.Stream
}

func startJetStream(t *testing.T) jetStream {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the NATS server is not ready")
	}
	nc, err := nats.Connect("nats://" + s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"registry.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return jetStream{s.Addr().String(), stream}
}

// read returns the first n messages, when they are there.
func (s jetStream) read(t *testing.T, n int) (all []*jetstream.RawStreamMsg) {
	t.Helper()
	for deadline := time.Now().Add(patience); len(all) < n; {
		m, err := s.stream.GetMsg(t.Context(), uint64(len(all)+1))
		if err == nil {
			all = append(all, m)
			continue
		}
		if time.Now().After(deadline) {
			t.Fatalf("message %d: %v", len(all)+1, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return all
}

func consumeKafka(t *testing.T, c *kfake.Cluster, n int) (records []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("registry"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
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

// brokerMessage is a broker's message as the SDK reads one: the reading of attributes and
// of events is the SDK's own.
type brokerMessage struct {
	fields      map[string]string // names in lower case
	body        []byte
	prefix      string
	contentType string // name of the field
	decode      func(string) (string, error)
}

func (m brokerMessage) ReadEncoding() binding.Encoding {
	switch {
	case strings.HasPrefix(m.fields[m.contentType], "application/cloudevents"):
		return binding.EncodingStructured
	case m.fields[m.prefix+"specversion"] != "":
		return binding.EncodingBinary
	}
	return binding.EncodingUnknown
}

// GetAttribute and GetExtension are for transformers, of which there are none.
func (m brokerMessage) GetAttribute(k spec.Kind) (spec.Attribute, any) { return nil, nil }
func (m brokerMessage) GetExtension(string) any                        { return nil }

func (m brokerMessage) ReadStructured(ctx context.Context, w binding.StructuredWriter) error {
	if m.ReadEncoding() != binding.EncodingStructured {
		return binding.ErrNotStructured
	}
	return w.SetStructuredEvent(ctx, format.JSON, bytes.NewReader(m.body))
}

func (m brokerMessage) ReadBinary(ctx context.Context, w binding.BinaryWriter) error {
	version := spec.WithPrefix(m.prefix).Version(m.fields[m.prefix+"specversion"])
	for name, value := range m.fields {
		value, err := m.decode(value)
		if err != nil {
			return err
		}
		attribute := version.Attribute(name)
		if name == m.contentType {
			attribute = version.AttributeFromKind(spec.DataContentType)
		}
		if attribute == nil {
			continue // of the transport
		}
		if err := w.SetAttribute(attribute, value); err != nil {
			return err
		}
	}
	return w.SetData(bytes.NewReader(m.body))
}

func (brokerMessage) Finish(error) error { return nil }
