// Package event holds the words for what happened in a registry, and the
// encodings in which the world hears of it.
//
// It owns the record of an event and the bytes of each encoding; who wants an
// event is for packages webhook and subscription, storing it for outbox, sending
// it for delivery. Invariant: an encoding is a pure function of the Event, with
// fixed member order and no clock, so every attempt to deliver it sends the same
// bytes.
package event

import (
	"strconv"
	"strings"
	"time"
)

// Action is what happened, in the words of ACR's webhooks.
type Action string

// The actions. Ping is not a change: it cannot be subscribed to, and rings one
// webhook that was asked to.
const (
	Push        Action = "push"
	Delete      Action = "delete"
	Quarantine  Action = "quarantine"
	ChartPush   Action = "chart_push"
	ChartDelete Action = "chart_delete"
	Ping        Action = "ping"

	// What follows is not ACR's: only who asked for it hears of it.

	Untag            Action = "untag"             // a tag is gone, alone or with its manifest
	TagMoved         Action = "tag_moved"         // a tag names another manifest than before
	ReferrerAttached Action = "referrer_attached" // a manifest was pushed that has a subject
	Pull             Action = "pull"              // a manifest was read by its tag; no change
	// WebhookFailing: a webhook of the registry fails, recovered, or was disabled
	// for it.
	WebhookFailing Action = "webhook_failing"
)

// Subscribable are the actions that a webhook can ask for: those of ACR first,
// then ours. A ping is none: it rings the webhook it was made for.
var Subscribable = []Action{
	Push, Delete, Quarantine, ChartPush, ChartDelete,
	Untag, TagMoved, ReferrerAttached, Pull, WebhookFailing,
}

// OfACR reports whether ACR's webhooks have the action.
func (a Action) OfACR() bool {
	switch a {
	case Push, Delete, Quarantine, ChartPush, ChartDelete:
		return true
	}
	return false
}

// SubscribableText names them for people who chose something else.
func SubscribableText() string {
	var b strings.Builder
	last := len(Subscribable) - 1
	for i, action := range Subscribable {
		switch {
		case i == last:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(action))
	}
	return b.String()
}

// Event is one change of a registry, complete: it holds everything any encoding
// needs. Its content is fixed when the change commits.
type Event struct {
	// Pos is the position in commit order, dense from 1; it is assigned by
	// package outbox and is not part of the record.
	Pos int64 `json:"-"`

	ID       string    `json:"id"` // UUID
	At       time.Time `json:"at"` // UTC, just before the change's transaction
	Action   Action    `json:"action"`
	Registry Registry  `json:"registry"`
	Target   Target    `json:"target,omitzero"`
	Request  Request   `json:"request,omitzero"`
	Actor    string    `json:"actor,omitempty"` // user name of who did it
	Cause    string    `json:"cause,omitempty"` // empty: a client's request; else retention, import, …

	// OwedTo is the one endpoint a ping or a sample is owed to; 0 means whoever
	// wants the event.
	OwedTo int64 `json:"owedTo,omitempty"`

	// Sample marks an event that stands for no change: someone tries a webhook.
	Sample bool `json:"sample,omitempty"`

	// Webhook is what a WebhookFailing is about.
	Webhook *Webhook `json:"webhook,omitempty"`
}

// Webhook tells how a webhook fares.
type Webhook struct {
	Endpoint   int64     `json:"endpoint"` // row id
	Name       string    `json:"name"`
	Condition  string    `json:"condition"`           // failing, disabling, disabled or recovered
	Since      time.Time `json:"since,omitzero"`      // UTC, of the first failure of this time
	LastStatus int       `json:"lastStatus,omitzero"` // of the newest answer, if it was one
	LastError  string    `json:"lastError,omitempty"` // why there was no answer, or no consent
	Progress   int       `json:"progress,omitzero"`   // percent of the way to being disabled
}

// Registry says where an event happened. What follows Location is not in the
// records of older versions.
type Registry struct {
	ID          int64  `json:"id"` // row id of the hosted registry
	Name        string `json:"name"`
	LoginServer string `json:"loginServer"`
	ResourceID  string `json:"resourceId"`       // ARM id
	Location    string `json:"location"`         // where it happened
	Scheme      string `json:"scheme,omitempty"` // http or https: how clients reach LoginServer
	Node        Node   `json:"node,omitzero"`

	// Connected names the connected registry that raised the event; empty for the
	// registry itself.
	Connected string `json:"connectedRegistry,omitempty"`
}

// Node is the server that made a change.
type Node struct {
	Addr string `json:"addr,omitempty"`       // host:port that it listens on
	ID   string `json:"instanceId,omitempty"` // of the server, the same after a restart
}

// Target is what was acted on.
type Target struct {
	MediaType    string `json:"mediaType,omitempty"`
	ArtifactType string `json:"artifactType,omitempty"`
	Size         int64  `json:"size,omitempty"` // bytes
	Digest       string `json:"digest,omitempty"`
	Repository   string `json:"repository,omitempty"`
	Tag          string `json:"tag,omitempty"`
	Name         string `json:"name,omitempty"`    // chart name
	Version      string `json:"version,omitempty"` // chart version

	PreviousDigest string `json:"previousDigest,omitempty"` // of a TagMoved: what the tag named before
	SubjectDigest  string `json:"subjectDigest,omitempty"`  // of a ReferrerAttached: what it refers to
}

// Endpoint is the target of an event that tells how an endpoint fares. It stands where
// rules find it that see no more of an event than outbox.Heads gives.
func Endpoint(id int64) Target {
	return Target{Digest: "endpoint:" + strconv.FormatInt(id, 10)}
}

// IsAbout reports whether e tells how an endpoint fares, which never hears of that
// itself: what cannot be delivered would call for more that cannot.
func (e *Event) IsAbout(endpoint int64) bool {
	return e.Action == WebhookFailing && e.Target == Endpoint(endpoint)
}

// Request is the request that made the change. A change without a client has
// the login server as Host and nothing else.
type Request struct {
	ID        string `json:"id,omitempty"` // UUID
	Host      string `json:"host,omitempty"`
	Method    string `json:"method,omitempty"`
	UserAgent string `json:"useragent,omitempty"`
	Addr      string `json:"addr,omitempty"` // client's IP address

	// Hops names the servers whose rings led to the request, oldest first, as
	// the Dockbell-Hops header has them; empty for most.
	Hops string `json:"hops,omitempty"`
}
