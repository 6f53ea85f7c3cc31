// Package registry is the registry itself: blobs, manifests and tags of every
// hosted registry, in the database and the blob store.
//
// It owns the transaction in which a manifest, its tags and the event of the
// change become durable together. HTTP is for package ociserver, permission for
// auth, who hears of an event for webhook and delivery. Invariants:
//   - An event is in the outbox if and only if its change is in the tables.
//   - A manifest in the tables had all it refers to in its repository when it
//     was committed.
//   - A row that names a file is written after the file is durable.
//   - What an attribute forbids that was off when a request began does not happen.
//   - What was deleted can be restored whole until it is purged, where that is the
//     policy; see deleteManifest.
//   - What is in quarantine is shown to nobody who may not see it; see Quarantine.
package registry

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// Options are what a Store is made of.
type Options struct {
	DB     *sqldb.DB
	Blobs  blob.Store
	Outbox *outbox.Outbox
	Log    *slog.Logger

	// UploadKey signs the ids of upload sessions: 32 secret bytes that stay
	// the same over restarts.
	UploadKey []byte

	// Audit has who deleted and who locked what; nil: nobody keeps it.
	Audit *audit.Log

	// Wanted reports whether anyone waits for an action in a registry. It is
	// asked only for actions that a change raises beside its own.
	Wanted func(registry int64, action event.Action) bool

	// Owed reports whether an event would ring anyone, by its scope too. It is
	// asked of pulls, which are many and no change. nil: nobody hears of them.
	Owed func(*event.Event) bool
}

// Store holds the contents of all hosted registries.
type Store struct {
	Options
	uploads openUploads
	known   knownRepositories
	sizes   sizes
	pulls   pulls
}

// New returns a Store.
func New(o Options) *Store {
	if o.Owed == nil {
		o.Owed = func(*event.Event) bool { return false }
	}
	return &Store{Options: o, pulls: pulls{queue: make(chan *event.Event, maxPulls)}, uploads: openUploads{ids: map[string]bool{}}, known: knownRepositories{ids: map[repositoryKey]int64{}}}
}

// Caller is whose request a handle serves, as events and the audit log will tell it.
type Caller struct {
	Request     event.Request
	Actor       string // user name
	Kind        audit.ActorKind
	Correlation string // X-Ms-Correlation-Request-Id of the answer

	// Quarantine is what of the registry is held back, and from this caller.
	Quarantine Quarantine

	// SoftDelete says that what is deleted can be restored, until PurgeDeleted; and
	// DeletedFor how long that is to be, also for what was deleted before.
	SoftDelete bool
	DeletedFor time.Duration

	Cause string // of the changes, as events tell it; empty: a client asked for just them
}

// For returns one hosted registry as the given caller's requests change it.
func (s *Store) For(reg event.Registry, caller Caller) oci.Contents {
	return &handle{s, reg, caller}
}

// handle is a hosted registry, and the request it is used for.
type handle struct {
	*Store
	reg    event.Registry
	caller Caller
}

var _ oci.Contents = (*handle)(nil)

// Ping implements oci.Registry: a registry that exists answers.
func (h *handle) Ping(context.Context) error { return nil }

// pageSize is how much a list returns when the caller does not say, and the
// most it returns at once.
const pageSize = 1000

func limit(n int) int {
	if n < 1 || n > pageSize {
		return pageSize
	}
	return n
}

// page cuts off the item that was read only to see whether there is more.
func page[T any](items []T, n int) ([]T, bool) {
	if len(items) > n {
		return items[:n], true
	}
	return items, false
}

// GetManifest implements oci.Reader.
func (h *handle) GetManifest(ctx context.Context, repo oci.Repository, ref oci.Reference) (*oci.Manifest, error) {
	var m *oci.Manifest
	err := h.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		m, err = readManifest(tx, h.reg.ID, h.caller.Quarantine, repo, ref)
		if errors.Is(err, sqldb.ErrNoRow) {
			return h.missing(tx, repo, oci.ManifestUnknown(repo, ref))
		}
		return err
	})
	if err == nil && ref.Tag != "" {
		h.pulled(repo, ref.Tag, m)
	}
	return m, err
}

// missing says which is the truth about something that was not found: the
// repository is unknown, or what was looked for in it is.
func (h *handle) missing(tx *sqldb.Tx, repo oci.Repository, unknown error) error {
	if _, err := h.find(tx, repo); err != nil {
		return err
	}
	return unknown
}

// find returns the id of a repository that is only looked at.
func (h *handle) find(tx *sqldb.Tx, repo oci.Repository) (int64, error) {
	id, _, err := repositoryID(tx, h.reg.ID, repo)
	if errors.Is(err, sqldb.ErrNoRow) {
		err = oci.NameUnknown(repo)
	}
	return id, err
}

// touch returns the id of a repository that is to be written to, making it if need
// be, and marks it as changed.
func (h *handle) touch(tx *sqldb.Tx, repo oci.Repository) (int64, error) {
	key := repositoryKey{h.reg.ID, repo}
	if id, ok := h.known.get(key); ok {
		if there, err := touchKnown(tx, h.reg.ID, id, repo); there || err != nil {
			return id, err
		}
	}
	id, locked, err := touchRepository(tx, h.reg.ID, repo)
	if errors.Is(err, sqldb.ErrNoRow) {
		return 0, oci.NameUnknown(repo) // the registry was deleted meanwhile
	}
	if err == nil {
		err = locked.allow(lockWrite, thing{repo: repo})
	}
	if err == nil {
		tx.AfterCommit(func() { h.known.put(key, id) })
	}
	return id, err
}

// lock returns the id of a repository that something is to be deleted from.
func (h *handle) lock(tx *sqldb.Tx, repo oci.Repository) (int64, error) {
	id, locked, err := lockRepository(tx, h.reg.ID, repo)
	if errors.Is(err, sqldb.ErrNoRow) {
		return 0, oci.NameUnknown(repo)
	}
	if err == nil {
		err = locked.allow(lockAnyDelete, thing{repo: repo})
	}
	return id, err
}

// PutManifest implements oci.Writer.
func (h *handle) PutManifest(ctx context.Context, repo oci.Repository, put oci.ManifestPut) (oci.ManifestResult, error) {
	algorithm := oci.SHA256
	if put.Digest != "" {
		algorithm = put.Digest.Algorithm()
	}
	dgst := oci.FromBytes(algorithm, put.Data)
	if put.Digest != "" && dgst != put.Digest {
		return oci.ManifestResult{}, oci.DigestMismatch(put.Digest, dgst)
	}
	m, err := oci.ParseManifest(put.MediaType, put.Data)
	if err != nil {
		return oci.ManifestResult{}, err
	}
	row := newManifestRow(m, dgst, put.Data)
	row.verdict = h.caller.Quarantine.arrival()
	events := h.pushEvents(repo, row, put.Tags, h.pushed())
	arrivals := h.pushEvents(repo, row, put.Tags, h.arrived())
	err = h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		id, err := h.touch(tx, repo)
		if err != nil {
			return err
		}
		if err := checkReferences(tx, repo, id, m.References); err != nil {
			return err
		}
		manifest, is, err := putManifest(tx, repo, id, row)
		if err != nil {
			return err
		}
		if err := renewChildren(tx, id, m.References); err != nil {
			return err
		}
		if h.caller.Quarantine.holds(is) {
			if err := h.hold(tx, repo, id, manifest, put.Tags); err != nil {
				return err
			}
			return h.append(tx, arrivals)
		}
		all := events
		for _, tag := range put.Tags {
			before, err := moveTag(tx, repo, id, tag, manifest)
			if err != nil {
				return err
			}
			all = append(all[:len(all):len(all)], h.moved(repo, row, tag, before)...)
		}
		return h.append(tx, all)
	})
	if err != nil {
		return oci.ManifestResult{}, err
	}
	result := oci.ManifestResult{Descriptor: oci.Descriptor{MediaType: row.mediaType, Digest: dgst, Size: int64(len(put.Data))}}
	if m.Subject != nil {
		result.Subject = m.Subject.Digest
	}
	return result, nil
}

// append adds events to the outbox, with which a transaction ends.
func (h *handle) append(tx *sqldb.Tx, events []*outbox.Draft) error {
	for _, e := range events {
		if err := h.Outbox.Append(tx, e); err != nil {
			return err
		}
	}
	return nil
}

// pushed are the actions that a push raises that can be pulled. With nothing to hold
// images back, those who wait for quarantine hear of them as well.
func (h *handle) pushed() []event.Action {
	if !h.caller.Quarantine.on() && h.Wanted(h.reg.ID, event.Quarantine) {
		return []event.Action{event.Quarantine, event.Push}
	}
	return []event.Action{event.Push}
}

// arrived are those of a push that comes into quarantine.
func (h *handle) arrived() []event.Action {
	if h.caller.Quarantine.on() {
		return []event.Action{event.Quarantine}
	}
	return nil
}

// pushEvents returns one event per action and tag, or per action without a tag.
func (h *handle) pushEvents(repo oci.Repository, m manifestRow, tags []oci.Tag, actions []event.Action) (events []*outbox.Draft) {
	if len(tags) == 0 {
		tags = []oci.Tag{""}
	}
	for _, tag := range tags {
		for _, action := range actions {
			events = append(events, h.event(action, m.target(repo, tag)))
		}
		if slices.Contains(actions, event.Push) {
			events = append(events, h.attached(repo, m, tag)...)
		}
	}
	return events
}

// event makes an event of this handle's caller.
func (h *handle) event(action event.Action, target event.Target) *outbox.Draft {
	return outbox.Prepare(h.happened(action, target))
}

func (h *handle) happened(action event.Action, target event.Target) *event.Event {
	return &event.Event{
		Action: action, Registry: h.reg, Target: target,
		Request: h.caller.Request, Actor: h.caller.Actor, Cause: h.caller.Cause,
	}
}

// DeleteManifest implements oci.Deleter.
func (h *handle) DeleteManifest(ctx context.Context, repo oci.Repository, dgst oci.Digest) error {
	return h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		id, err := h.lock(tx, repo)
		if err != nil {
			return err
		}
		if h.caller.Quarantine.on() {
			if err := keepTags(tx, id, dgst); err != nil {
				return err
			}
		}
		row, tags, err := h.deleteManifest(tx, repo, id, dgst)
		if errors.Is(err, sqldb.ErrNoRow) {
			return oci.ManifestUnknown(repo, oci.Reference{Digest: dgst})
		}
		if err != nil {
			return err
		}
		if err := h.record(tx, contentDelete, thing{repo: repo, digest: dgst}, ""); err != nil {
			return err
		}
		return h.append(tx, h.deleteEvents(repo, row, tags))
	})
}

// deleteEvents returns the events of a manifest that is gone with its tags.
func (h *handle) deleteEvents(repo oci.Repository, m manifestRow, tags []oci.Tag) []*outbox.Draft {
	return append(h.untagged(repo, m, tags...), h.event(event.Delete, event.Target{
		MediaType: m.mediaType, ArtifactType: m.artifactType, Digest: string(m.digest), Repository: string(repo),
	}))
}

// DeleteTag implements oci.Deleter.
func (h *handle) DeleteTag(ctx context.Context, repo oci.Repository, tag oci.Tag) (oci.Digest, error) {
	var row manifestRow
	err := h.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		id, err := h.lock(tx, repo)
		if err != nil {
			return err
		}
		if err := h.keepTag(tx, id, tag); err != nil {
			return err
		}
		row, err = deleteTag(tx, repo, id, h.caller.Quarantine, tag)
		if errors.Is(err, sqldb.ErrNoRow) {
			err = oci.ManifestUnknown(repo, oci.Reference{Tag: tag})
		}
		if err != nil {
			return err
		}
		if err := h.record(tx, contentDelete, thing{repo: repo, tag: tag}, "untagged "+string(row.digest)); err != nil {
			return err
		}
		return h.append(tx, h.untagged(repo, row, tag))
	})
	return row.digest, err
}

// Tags implements oci.Lister.
func (h *handle) Tags(ctx context.Context, repo oci.Repository, last string, n int) (tags []oci.Tag, more bool, err error) {
	n = limit(n)
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		id, err := h.find(tx, repo)
		if err != nil {
			return err
		}
		tags, err = listTags(tx, id, h.caller.Quarantine, last, n+1)
		return err
	})
	tags, more = page(tags, n)
	return tags, more, err
}

// Repositories implements oci.Lister.
func (h *handle) Repositories(ctx context.Context, last string, n int) (repos []oci.Repository, more bool, err error) {
	n = limit(n)
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		repos, err = listRepositories(tx, h.reg.ID, h.caller.Quarantine, last, n+1)
		return err
	})
	repos, more = page(repos, n)
	return repos, more, err
}

// Referrers implements oci.Lister.
func (h *handle) Referrers(ctx context.Context, repo oci.Repository, dgst oci.Digest, artifactType, last string, n int) (refs []oci.Descriptor, more bool, err error) {
	n = limit(n)
	err = h.DB.Read(ctx, func(tx *sqldb.Tx) error {
		id, locked, err := repositoryID(tx, h.reg.ID, repo)
		if errors.Is(err, sqldb.ErrNoRow) || locked&lockRead != 0 {
			return nil // nothing refers to it here
		}
		if err != nil {
			return err
		}
		refs, err = listReferrers(tx, id, h.caller.Quarantine, dgst, artifactType, last, n+1)
		return err
	})
	refs, more = page(refs, n)
	return refs, more, err
}

// openUploads keeps two requests from writing to one session at once.
type openUploads struct {
	mu  sync.Mutex
	ids map[string]bool
}

// enter reports whether the caller may work on the session; if so it must call
// leave afterwards.
func (o *openUploads) enter(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ids[id] {
		return false
	}
	o.ids[id] = true
	return true
}

func (o *openUploads) leave(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.ids, id)
}

// knownRepositories remembers row ids, which saves the writer a look-up. An id
// that is wrong by now touches no row, and is then looked up.
type knownRepositories struct {
	mu  sync.Mutex
	ids map[repositoryKey]int64
}

type repositoryKey struct {
	registry int64
	name     oci.Repository
}

// maxKnown bounds the memory; beyond it the map starts anew.
const maxKnown = 10_000

func (k *knownRepositories) get(key repositoryKey) (int64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id, ok := k.ids[key]
	return id, ok
}

func (k *knownRepositories) put(key repositoryKey, id int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.ids) >= maxKnown {
		clear(k.ids)
	}
	k.ids[key] = id
}
