// Package subscription is the event subscriptions of a registry, as Event Grid
// knows them: what each wants to hear of, where it is told, and how a request
// looks.
//
// It owns the tables subscription and subscription_rule, the validation of
// definitions, the handshakes with receivers, headers and bodies of requests, and
// the files of dead letters. Which events a filter takes is for package filter, how
// an event is encoded for package event; when a request is sent, and what follows
// from the answer, is for package delivery; publishing to a broker is for package
// sink; whether an address may be rung is for package outbound; who may do any of
// this is for the faces.
//
// Invariants:
//   - Nothing but the handshake is sent to a receiver that has not agreed. One that
//     says no leaves everything as it was.
//   - The filter that an event was committed under is in the database as long as
//     the event.
//   - Addresses with their queries, attributes marked as secret and the credentials
//     of brokers are nowhere but sealed in the database and in memory.
package subscription

import (
	"time"

	"github.com/dockbell/dockbell/internal/filter"
	"github.com/dockbell/dockbell/internal/outbound"
)

// Registry is what this package has to know of the hosted registry a subscription
// belongs to.
type Registry struct {
	ID         int64
	Name       string
	ResourceID string // ARM id
	Location   string // where the subscription listens
}

// Schema is how events are written.
type Schema string

// The schemas, with Event Grid's names.
const (
	EventGridSchema  Schema = "EventGridSchema"
	CloudEventSchema Schema = "CloudEventSchemaV1_0"
)

// State is how far a subscription is, with ARM's words of a provisioning state.
type State string

// The states. Events are owed in all of them, and sent in the first.
const (
	Succeeded            State = "Succeeded"
	AwaitingManualAction State = "AwaitingManualAction" // until a person opens the address that the receiver was sent
	Failed               State = "Failed"               // nobody did in time
)

// Type is a kind of destination.
type Type string

// The types. Those after the first are not Azure's.
const (
	WebHook       Type = "WebHook"
	NatsJetStream Type = "NatsJetStream"
	Kafka         Type = "Kafka"
)

// Hidden stands for a value that is not shown. Sent back, it means the one there
// is.
const Hidden = "Hidden"

// Destination is where a subscription is told of events.
type Destination struct {
	Type Type `json:"type"`

	// URL of a WebHook, with its query: write-only, empty in what Get returns. Empty
	// in a change it means the one there is.
	URL     string `json:"url,omitempty"`
	BaseURL string `json:"baseUrl,omitempty"` // the same without query; read-only

	MaxEvents   int    `json:"maxEvents,omitempty"`   // in one request: 1 to 5,000; 0 means 1
	PreferredKB int    `json:"preferredKb,omitempty"` // of one request, in 1,024 bytes: 1 to 1,024; 0 means 64
	MinTLS      string `json:"minTls,omitempty"`      // 1.0, 1.1 or 1.2, or empty; 1.2 holds for all

	Broker     *Broker     `json:"broker,omitempty"`     // of NatsJetStream and Kafka, else nil
	Attributes []Attribute `json:"attributes,omitempty"` // header fields, or properties of messages; at most 10
}

// Attribute is a delivery attribute: Static with a value, or Dynamic with the member
// of an event that has it.
type Attribute struct {
	Name        string `json:"name"`
	Value       string `json:"value,omitempty"`
	Secret      bool   `json:"secret,omitempty"`      // the value is shown as Hidden
	SourceField string `json:"sourceField,omitempty"` // such as data.target.repository; empty for a static one
}

// Broker is how messages are published, and where.
type Broker struct {
	Servers []string `json:"servers"`          // host:port each, at least one
	Topic   string   `json:"topic"`            // of Kafka; of NATS the subject, which a stream has to take
	Binary  bool     `json:"binary,omitempty"` // attributes in headers; else the whole event is in the body
	Key     string   `json:"key,omitempty"`    // of a Kafka record: none, repository or subject; empty means repository

	Username  string `json:"username,omitempty"`
	Password  string `json:"password,omitempty"`  // write-only
	Mechanism string `json:"mechanism,omitempty"` // of SASL: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; Kafka
	Token     string `json:"token,omitempty"`     // write-only; NATS
	Creds     string `json:"creds,omitempty"`     // the text of a credentials file, write-only; NATS

	Secure bool          `json:"secure,omitempty"` // TLS
	TLS    *outbound.TLS `json:"tls,omitempty"`    // write-only; nil: the system's authorities, and no certificate is shown
}

// DeadLetterStore is where files of dead letters go: a folder of that name below the
// server's.
type DeadLetterStore struct {
	ResourceID string `json:"resourceId,omitempty"` // as sent: of a storage account, in Azure
	Container  string `json:"container"`
}

// Subscription is an event subscription as everyone may see it who may read them.
type Subscription struct {
	ID         int64 // of its endpoint
	RegistryID int64
	Name       string // as sent when it was created; names compare without case

	Destination Destination // without what is write-only
	Filter      filter.Definition
	Labels      []string
	Schema      Schema
	ExpiresAt   time.Time // UTC; nothing that happens later is owed; zero for never
	MaxAttempts int
	TTL         time.Duration
	DeadLetters *DeadLetterStore // nil: they are kept in the database alone

	State    State
	StateWhy string // a sentence for people, unless State is Succeeded

	CreatedAt, UpdatedAt time.Time
	CreatedBy, UpdatedBy Actor
}

// Actor is who changes a subscription.
type Actor struct {
	Name string
	Kind string // User or Application, as ARM's systemData has it
}

// Definition is what a subscription is to be: the input of Put.
type Definition struct {
	Destination *Destination // nil, for one that exists: the one there is
	Filter      filter.Definition
	Labels      []string
	Schema      Schema // empty means EventGridSchema; of a broker CloudEventSchema
	ExpiresAt   time.Time
	MaxAttempts int           // 1 to 30; 0 means 30
	TTL         time.Duration // whole minutes, 1 to 1,440; 0 means 1,440
	DeadLetters *DeadLetterStore
}

// Change is what of a subscription is to be another: the input of Patch. A nil
// member is left as it is.
type Change struct {
	// Destination is taken as a whole, but for what is Hidden, an empty URL, zero
	// numbers and nil Attributes, which mean what there is.
	Destination *Destination

	Filter      *filter.Definition
	Labels      *[]string
	Schema      *Schema
	ExpiresAt   *time.Time // zero for never
	MaxAttempts *int
	TTL         *time.Duration
	DeadLetters **DeadLetterStore // nil within: none
}
