// Package sink publishes messages to brokers: NATS JetStream and Kafka.
//
// It owns the connections to them, and what their errors mean. What a message says,
// and when it is published again, is for others. Invariants: a message counts as
// published only when the broker has stored it and said so; no address is dialled
// but through the dialer that it is given, those included that a broker names; a
// publish ends with its time limit, and leaves nothing behind that would be sent
// later; what is shown of it holds no credential and no address that a name stands
// for.
//
// A message that was not acknowledged may have been stored all the same. NATS drops
// what comes again with the same Message.ID, within the duplicate window of its
// stream (two minutes unless it says otherwise). Kafka has nothing to tell it by:
// there it is in the topic twice, and readers tell by the id of the event.
package sink

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net"

	"github.com/dockbell/dockbell/internal/outbound"
)

// Kind is a kind of broker.
type Kind string

// The kinds.
const (
	NATS  Kind = "nats"
	Kafka Kind = "kafka"
)

// Server is a broker, and who we are to it. Two of the same value share connections.
//
// Credentials go over a connection without TLS if Secure is not set: of SASL, PLAIN
// sends the password as it is. A NATS server may demand TLS by itself, and gets it.
type Server struct {
	Kind      Kind
	Addresses []string // host:port, 1 to 16; of NATS the only ones, of Kafka those that name the others

	Username, Password string
	Mechanism          string // of SASL, Kafka: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty without Username
	Token              string // NATS
	Creds              string // NATS: the text of a credentials file

	Secure bool          // TLS
	TLS    *outbound.TLS // nil: the system's authorities, and no certificate is shown
}

// Message is what is published.
type Message struct {
	Topic  string // of Kafka; of NATS the subject
	ID     string // by which NATS drops what it has already; empty: it does not
	Key    []byte // Kafka; nil for none
	Header []Field
	Body   []byte // at most MaxMessage bytes; Kafka: nil is a record without value
}

// Field is a header field of a message, name and value as they are sent.
type Field struct {
	Name, Value string
	Secret      bool // the value is kept as ******
}

// MaxMessage is how long the body of a message may be, in bytes, and MaxHeader all
// names and values of its header with the key. Brokers may take less.
const (
	MaxMessage = 1 << 20
	MaxHeader  = 64 << 10
)

// Options are what Publishers are made of.
type Options struct {
	// Dial opens every connection. It refuses addresses that may not be rung, with
	// errors that outbound.ExplainDial explains.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// sum tells servers apart, without holding what is secret.
type sum [sha256.Size]byte

func (s Server) sum() (out sum) {
	h := sha256.New()
	add := func(member string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(member)))
		h.Write(n[:])
		h.Write([]byte(member))
	}
	for _, member := range [...]string{string(s.Kind), s.Username, s.Password, s.Mechanism, s.Token, s.Creds} {
		add(member)
	}
	add(map[bool]string{true: "secure"}[s.Secure])
	trust := s.TLS
	if trust == nil {
		trust = &outbound.TLS{}
	}
	for _, member := range [...][]byte{trust.CA, trust.Certificate, trust.Key} {
		add(string(member))
	}
	for _, address := range s.Addresses {
		add(address)
	}
	h.Sum(out[:0])
	return out
}
