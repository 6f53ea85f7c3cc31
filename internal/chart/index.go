package chart

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// The media types of what is read.
const (
	typeIndex      = "application/yaml" // RFC 9512
	typePackage    = "application/gzip"
	typeProvenance = "application/pgp-signature"
)

// index is all that lists tell of a registry's charts, at one moment. It is one
// text, index.yaml, in which the other lists are parts: JSON, which every reader of
// YAML takes, and which Helm reads many times faster. Nothing in it changes.
type index struct {
	changes int64 // how often the charts had changed
	text    []byte
	digest  oci.Digest
	entries span            // the object of all charts
	charts  map[string]span // the array of each chart's versions
}

// span is a part of an index.
type span struct{ from, to int }

func (x *index) part(s span) json.RawMessage { return x.text[s.from:s.to:s.to] }

// entry is a version on its way into an index.
type entry struct {
	name, version string
	parsed        *semver.Version // nil if this program cannot
	text          span
}

// makeIndex returns the index of what is in the tables, charts in order of name
// and their versions from the highest to the lowest, as Helm has it.
func makeIndex(tx *sqldb.Tx, registry int64) (*index, error) {
	row, err := readIndex(tx, registry)
	if err != nil {
		return nil, err
	}
	var all []entry
	texts := make([]byte, 0, row.entries)
	err = eachEntry(tx, registry, func(name, version string, text []byte) {
		parsed, _ := semver.NewVersion(version)
		all = append(all, entry{name, version, parsed, span{len(texts), len(texts) + len(text)}})
		texts = append(texts, text...)
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, compare)
	x := &index{changes: row.changes, charts: map[string]span{}, text: make([]byte, 0, len(texts)+80*len(all)+200)}
	x.write(`{"apiVersion":"v1","entries":`)
	x.entries.from = len(x.text)
	separator := "{"
	for rest := all; len(rest) > 0; {
		name := rest[0].name
		n := slices.IndexFunc(rest, func(e entry) bool { return e.name != name })
		if n < 0 {
			n = len(rest)
		}
		x.write(separator + "\n")
		separator = ","
		x.text = append(x.text, encodeString(name)...)
		x.write(":")
		array := span{from: len(x.text)}
		opening := "["
		for _, e := range rest[:n] {
			x.write(opening + "\n")
			opening = ","
			x.text = append(x.text, texts[e.text.from:e.text.to]...)
		}
		x.write("]")
		array.to = len(x.text)
		x.charts[name] = array
		rest = rest[n:]
	}
	if separator == "{" {
		x.write("{")
	}
	x.write("}")
	x.entries.to = len(x.text)
	x.write(`,"generated":"` + time.Unix(0, row.changedAt).UTC().Format(time.RFC3339Nano) + "\"}\n")
	x.digest = oci.FromBytes(oci.SHA256, x.text)
	return x, nil
}

func (x *index) write(text string) { x.text = append(x.text, text...) }

// compare orders by name, and then the higher version first. Versions that differ
// in their metadata alone are ordered by their text.
func compare(a, b entry) int {
	if a.name != b.name {
		return cmp.Compare(a.name, b.name)
	}
	if a.parsed != nil && b.parsed != nil {
		if c := b.parsed.Compare(a.parsed); c != 0 {
			return c
		}
	}
	return cmp.Compare(b.version, a.version)
}

// maxIndexes bounds the indexes that are remembered, in bytes of their texts. The
// newest one always is.
const maxIndexes = 64 << 20

// indexes remembers the indexes that were asked for last.
type indexes struct {
	mu   sync.Mutex
	of   map[int64]*slot // by registry
	size int64
	uses int64
}

// slot is the place of a registry's index.
type slot struct {
	making chan struct{} // holds one token while an index is made
	newest *index        // guarded by indexes.mu
	used   int64         // guarded by indexes.mu
}

// find returns the slot of a registry and what is in it.
func (all *indexes) find(registry int64) (*slot, *index) {
	all.mu.Lock()
	defer all.mu.Unlock()
	s := all.of[registry]
	if s == nil {
		s = &slot{making: make(chan struct{}, 1)}
		all.of[registry] = s
	}
	all.uses++
	s.used = all.uses
	return s, s.newest
}

// put remembers an index, and forgets others that take too much room.
func (all *indexes) put(registry int64, s *slot, x *index) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.of[registry] != s {
		return // forgotten meanwhile
	}
	if s.newest != nil {
		all.size -= int64(len(s.newest.text))
	}
	s.newest = x
	all.size += int64(len(x.text))
	for all.size > maxIndexes && len(all.of) > 1 {
		oldest := registry
		for id, other := range all.of {
			if id != registry && (oldest == registry || other.used < all.of[oldest].used) {
				oldest = id
			}
		}
		all.drop(oldest)
	}
}

// drop forgets the index of a registry. The caller holds the lock.
func (all *indexes) drop(registry int64) {
	if s := all.of[registry]; s != nil && s.newest != nil {
		all.size -= int64(len(s.newest.text))
	}
	delete(all.of, registry)
}

// forget is drop for those who do not hold the lock.
func (all *indexes) forget(registry int64) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.drop(registry)
}

// index returns the index as it is now, or was after this was called. It is made
// anew only if a change was committed, here or by another node, and then by one
// caller for all who wait.
func (h *Handle) index(ctx context.Context) (*index, error) {
	var wanted indexRow
	err := h.store.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		wanted, err = readIndex(tx, h.reg.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	all := &h.store.indexes
	s, x := all.find(h.reg.ID)
	if x != nil && x.changes >= wanted.changes {
		return x, nil
	}
	select {
	case s.making <- struct{}{}:
		defer func() { <-s.making }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	all.mu.Lock()
	x = s.newest
	all.mu.Unlock()
	if x != nil && x.changes >= wanted.changes {
		return x, nil
	}
	err = h.store.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		x, err = makeIndex(tx, h.reg.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	all.put(h.reg.ID, s, x)
	return x, nil
}

// Index returns index.yaml. The caller closes it.
func (h *Handle) Index(ctx context.Context) (*oci.Blob, error) {
	x, err := h.index(ctx)
	if err != nil {
		return nil, err
	}
	return inMemory(typeIndex, x.digest, x.text), nil
}

// Charts returns all charts: a JSON object with an array of versions for each name.
func (h *Handle) Charts(ctx context.Context) (json.RawMessage, error) {
	x, err := h.index(ctx)
	if err != nil {
		return nil, err
	}
	return x.part(x.entries), nil
}

// Versions returns all versions of a chart as a JSON array, the highest first. It
// fails with CodeNotFound.
func (h *Handle) Versions(ctx context.Context, name string) (json.RawMessage, error) {
	x, err := h.index(ctx)
	if err != nil {
		return nil, err
	}
	array, ok := x.charts[name]
	if !ok {
		return nil, chartNotFound(name)
	}
	return x.part(array), nil
}

// Version returns one version of a chart as a JSON object. It fails with
// CodeNotFound.
func (h *Handle) Version(ctx context.Context, name, version string) (found json.RawMessage, err error) {
	err = h.store.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		found, err = findEntry(tx, h.reg.ID, name, version)
		return err
	})
	if errors.Is(err, sqldb.ErrNoRow) {
		err = notFound("there is no version %q of chart %q in this repository", clip(version), clip(name))
	}
	return found, err
}

// Open opens a file. The caller closes it. It fails with CodeNotFound.
func (h *Handle) Open(ctx context.Context, name string) (*oci.Blob, error) {
	f, err := parseFile(name)
	if err != nil {
		return nil, fileNotFound(name) // no file has such a name
	}
	for before := ""; ; {
		v, held, err := h.find(ctx, f)
		if err != nil {
			return nil, err
		}
		switch {
		case f.provenance:
			return inMemory(typeProvenance, oci.FromBytes(oci.SHA256, held.provenance), held.provenance), nil
		case held.file == "":
			return inMemory(typePackage, v.digest, held.data), nil
		}
		content, err := h.store.Blobs.Open(held.file)
		if err == nil {
			return &oci.Blob{Descriptor: oci.Descriptor{MediaType: typePackage, Digest: v.digest, Size: v.size}, Content: content}, nil
		}
		if fault.Is(err, fault.NotFound) && held.file != before {
			before = held.file
			continue // it may have been overwritten or deleted just now
		}
		h.store.Log.Error("the file of a chart cannot be opened: restore it from a backup, or push the chart again",
			"package", v.pkg, "file", held.file, "error", err)
		return nil, fault.Wrap(err, fault.Internal, "the content of %s cannot be read; the server's log says why", v.pkg)
	}
}

// find returns a version and what it holds, of which f is a part.
func (h *Handle) find(ctx context.Context, f file) (v versionRow, held contentRow, err error) {
	err = h.store.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		if v, err = findVersion(tx, h.reg.ID, f.pkg); err != nil {
			return err
		}
		held, err = findContent(tx, v.id)
		return err
	})
	if errors.Is(err, sqldb.ErrNoRow) || err == nil && f.provenance && held.provenance == nil {
		err = fileNotFound(f.String())
	}
	return v, held, err
}

// inMemory is a content in memory as a file would be.
func inMemory(mediaType string, digest oci.Digest, data []byte) *oci.Blob {
	return &oci.Blob{
		Descriptor: oci.Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(data))},
		Content:    reader{bytes.NewReader(data)},
	}
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }
