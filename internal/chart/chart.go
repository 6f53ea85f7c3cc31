// Package chart is the legacy chart repository of each hosted registry: packages
// of Helm charts with their provenance files, and the index that clients read.
//
// It owns what a package has to be, the tables in which packages are, the index
// made of them, and the transaction in which a change of a package and its event
// become durable together. HTTP is for package acrserver, permission for auth, who
// hears of an event for webhook and delivery. Charts that are pushed as OCI
// artifacts are images like any other, and not its affair. Invariants:
//   - An event is in the outbox if and only if its change is in the tables.
//   - Whoever asks for the index after a change was answered finds it there.
//   - A row that names a file is written after the file is durable.
//   - A package in the tables can be read by Helm, and is named after what is in
//     it; a provenance file names the digest of its package.
package chart

import (
	"log/slog"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Repository is the name of the chart repository of every registry, in paths,
// scopes and events.
const Repository = "repo"

// MediaType is what events call a package.
const MediaType = "application/vnd.acr.helm.chart"

// Options are what a Store is made of.
type Options struct {
	DB     *sqldb.DB
	Blobs  blob.Store
	Outbox *outbox.Outbox
	Audit  *audit.Log // has who deleted what; nil: nobody keeps it
	Log    *slog.Logger
}

// Store holds the charts of all hosted registries. Its methods may be called from
// many goroutines.
type Store struct {
	Options
	indexes indexes
}

// New returns a Store.
func New(o Options) *Store {
	return &Store{Options: o, indexes: indexes{of: map[int64]*slot{}}}
}

// Caller is whose request a handle serves, as events and the audit log will tell it.
type Caller struct {
	Request     event.Request
	Actor       string // user name
	Kind        audit.ActorKind
	Correlation string // X-Ms-Correlation-Request-Id of the answer
}

// For returns the charts of one hosted registry as the given caller's requests
// change them.
func (s *Store) For(reg event.Registry, caller Caller) *Handle {
	return &Handle{s, reg, caller}
}

// Handle is the chart repository of a hosted registry, and the request it is used
// for.
type Handle struct {
	store  *Store
	reg    event.Registry
	caller Caller
}
