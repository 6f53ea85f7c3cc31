// Package sink publishes messages to brokers: NATS JetStream and Kafka.
//
// It owns the connections to them, and what their errors mean. What a message says,
// and when it is published again, is for others. Invariants: a message counts as
// published only when the broker has stored it and said so; no address is dialled
// but through the dialer that it is given.
package sink

import (
	"context"
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
type Server struct {
	Kind      Kind
	Addresses []string // host:port, at least one

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
	ID     string // by which NATS drops what it has already
	Key    []byte // Kafka; nil for none
	Header []Field
	Body   []byte
}

// Field is a header field of a message, name and value as they are sent.
type Field struct{ Name, Value string }

// Options are what Publishers are made of.
type Options struct {
	// Dial opens every connection. It refuses addresses that may not be rung.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}
