package sink

import (
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	creds := credsOf(t, newKey(t, nkeys.CreateAccount))
	a := newAuthority(t)
	one := []string{"broker.example:9092"}
	for _, s := range []Server{
		{Kind: NATS, Addresses: one},
		{Kind: NATS, Addresses: []string{"[2606:4700::1]:4222", "10.0.0.1:4222", "localhost:4222", "nats_1:4222"}},
		{Kind: NATS, Addresses: one, Username: "u", Password: "pw"},
		{Kind: NATS, Addresses: one, Token: "t"},
		{Kind: NATS, Addresses: one, Creds: creds},
		{Kind: NATS, Addresses: one, Creds: strings.ReplaceAll(creds, "\n", "\r\n")},
		{Kind: NATS, Addresses: one, Secure: true, TLS: a.client(t)},
		{Kind: Kafka, Addresses: one},
		{Kind: Kafka, Addresses: one, Username: "u", Password: "pw", Mechanism: "PLAIN"},
		{Kind: Kafka, Addresses: one, Username: "u", Password: "pw", Mechanism: "SCRAM-SHA-512", Secure: true},
	} {
		if err := s.Check(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	const secret = "s3cret"
	for words, s := range map[string]Server{
		`kind "amqp"`:                     {Kind: "amqp", Addresses: one},
		"no address":                      {Kind: NATS},
		"17 addresses":                    {Kind: NATS, Addresses: strings.Split(strings.Repeat("a:1 ", 17), " ")[:17]},
		"written as a URL":                {Kind: NATS, Addresses: []string{"nats://u:" + secret + "@host:4222"}},
		`"host" of the broker`:            {Kind: NATS, Addresses: []string{"host"}},
		`":4222" of the broker`:           {Kind: NATS, Addresses: []string{":4222"}},
		`"a b:4222" of the broker`:        {Kind: NATS, Addresses: []string{"a b:4222"}},
		`"a,b:4222" of the broker`:        {Kind: NATS, Addresses: []string{"a,b:4222"}},
		"no port from 1 to 65535":         {Kind: NATS, Addresses: []string{"host:0"}},
		`"host:nats" of the broker`:       {Kind: NATS, Addresses: []string{"host:nats"}},
		"an address of the broker has 30": {Kind: NATS, Addresses: []string{strings.Repeat("x", 300) + ":1"}},
		"go together":                     {Kind: NATS, Addresses: one, Password: secret},
		"give both or neither":            {Kind: Kafka, Addresses: one, Username: "u", Mechanism: "PLAIN"},
		"no SASL mechanism":               {Kind: NATS, Addresses: one, Username: "u", Password: secret, Mechanism: "PLAIN"},
		"give one of them":                {Kind: NATS, Addresses: one, Username: "u", Password: secret, Token: secret},
		"no user JWT":                     {Kind: NATS, Addresses: one, Creds: secret},
		"no seed of a user's key":         {Kind: NATS, Addresses: one, Creds: strings.Replace(creds, "\nSU", "\nS"+secret, 1)},
		"neither a token nor":             {Kind: Kafka, Addresses: one, Token: secret},
		`mechanism "" is none`:            {Kind: Kafka, Addresses: one, Username: "u", Password: secret},
		`mechanism "GSSAPI" is none`:      {Kind: Kafka, Addresses: one, Username: "u", Password: secret, Mechanism: "GSSAPI"},
		`"PLAIN" has no user name`:        {Kind: Kafka, Addresses: one, Mechanism: "PLAIN"},
		"zero byte":                       {Kind: Kafka, Addresses: one, Username: "u\x00v", Password: secret, Mechanism: "PLAIN"},
		"the password has 5000 bytes":     {Kind: Kafka, Addresses: one, Username: "u", Password: strings.Repeat("x", 5000), Mechanism: "PLAIN"},
		"clientKey has no":                {Kind: Kafka, Addresses: one, Secure: true, TLS: &outbound.TLS{Key: []byte(secret)}},
	} {
		err := s.Check()
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), secret) {
			t.Errorf("%v, want an invalid with %q", err, words)
		}
	}
}

func TestCheckTopic(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind  Kind
		topic string
		ok    bool
	}{
		{NATS, "registry.events", true},
		{NATS, "a", true},
		{NATS, "a.ü-_/x", true},
		{NATS, strings.Repeat("x", 255), true},
		{NATS, strings.Repeat("x", 256), false},
		{NATS, "", false},
		{NATS, "a b", false},
		{NATS, "a\r\nPUB b 0", false},
		{NATS, "a\xff", false},
		{NATS, "a.*", false},
		{NATS, "a.>", false},
		{NATS, ".a", false},
		{NATS, "a.", false},
		{NATS, "a..b", false},
		{NATS, "$JS.API.STREAM.DELETE.X", false},
		{Kafka, "Registry_events-1.x", true},
		{Kafka, strings.Repeat("x", 249), true},
		{Kafka, strings.Repeat("x", 250), false},
		{Kafka, "", false},
		{Kafka, ".", false},
		{Kafka, "..", false},
		{Kafka, "a b", false},
		{Kafka, "ü", false},
		{Kafka, "__consumer_offsets", false},
	} {
		err := CheckTopic(tt.kind, tt.topic)
		if tt.ok != (err == nil) || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s %q: %v, valid is %t", tt.kind, tt.topic, err, tt.ok)
		}
	}
}

// TestSum: servers share connections if all that they say is the same.
func TestSum(t *testing.T) {
	t.Parallel()
	base := func() Server { return Server{Kind: NATS, Addresses: []string{"a:1", "b:2"}} }
	if x, y := base(), base(); x.sum() != y.sum() {
		t.Error("two of the same value differ")
	}
	if x, y := base(), base(); true {
		if y.TLS = (&outbound.TLS{}); x.sum() != y.sum() {
			t.Error("no TLS settings and empty ones differ")
		}
	}
	seen := map[sum]int{base().sum(): -1}
	for i, change := range []func(*Server){
		func(s *Server) { s.Kind = Kafka },
		func(s *Server) { s.Addresses = []string{"b:2", "a:1"} },
		func(s *Server) { s.Addresses = []string{"a:1"} },
		func(s *Server) { s.Username = "x" },
		func(s *Server) { s.Password = "x" },
		func(s *Server) { s.Mechanism = "x" },
		func(s *Server) { s.Token = "x" },
		func(s *Server) { s.Creds = "x" },
		func(s *Server) { s.Secure = true },
		func(s *Server) { s.TLS = &outbound.TLS{CA: []byte("x")} },
		func(s *Server) { s.TLS = &outbound.TLS{Certificate: []byte("x")} },
		func(s *Server) { s.TLS = &outbound.TLS{Key: []byte("x")} },
		func(s *Server) { s.TLS = &outbound.TLS{Key: []byte("y")} },
	} {
		s := base()
		change(&s)
		if j, there := seen[s.sum()]; there {
			t.Errorf("change %d gives the sum of %d", i, j)
		}
		seen[s.sum()] = i
	}
}

func FuzzCheckTopic(f *testing.F) {
	f.Add("registry.events")
	f.Add("a\r\nPUB b 0\r\n\r\n")
	f.Fuzz(func(t *testing.T, topic string) {
		for _, k := range []Kind{NATS, Kafka} {
			if CheckTopic(k, topic) == nil && (topic == "" || strings.ContainsAny(topic, " \t\r\n*>\x00")) {
				t.Errorf("%s takes %q", k, topic)
			}
		}
	})
}
