package chart

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/dockbell/dockbell/internal/audit"
	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbox"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// maxProvenance is the largest provenance file taken, in bytes: it repeats
// Chart.yaml and adds a signature.
const maxProvenance = 128 << 10

// maxEntries bounds the entries of one registry, in bytes, and so the index, which
// is made and sent as one piece: some 50,000 versions.
const maxEntries = 32 << 20

// Create stores a new file: a package, or the provenance file of a package that is
// there. A package raises chart_push. It fails with CodeExists, CodeInvalid or
// CodeQuota, for a provenance file without its package with CodeNotFound, or with
// NoSpace.
func (h *Handle) Create(ctx context.Context, name string, content io.Reader) error {
	return h.put(ctx, name, content, false)
}

// Replace stores a file in place of one that is there, also if it is the same. A
// package raises chart_push, and takes a provenance file with it that was of other
// bytes. It fails with CodeNotFound, CodeInvalid or CodeQuota, or with NoSpace.
func (h *Handle) Replace(ctx context.Context, name string, content io.Reader) error {
	return h.put(ctx, name, content, true)
}

func (h *Handle) put(ctx context.Context, name string, content io.Reader, replace bool) error {
	f, err := parseFile(name)
	if err != nil {
		return err
	}
	if f.provenance {
		return h.putProvenance(ctx, f, content, replace)
	}
	// All of it is taken in before anything is looked up: who is refused while
	// still sending may never hear why.
	in, err := takeIn(h.store.Blobs, content)
	if err != nil {
		return err
	}
	m, err := inspect(in)
	if is := packageFile(m.Name, m.Version); err == nil && is != f.pkg {
		err = invalid("%s is chart %s in version %s: its file name is %s", clip(name), m.Name, m.Version, is)
	}
	if err != nil {
		return errors.Join(err, in.drop())
	}
	stored, err := in.keep()
	if err != nil {
		return errors.Join(err, in.drop())
	}
	replaced, err := h.commit(ctx, m, in, stored, replace)
	switch {
	case err == nil:
		h.remove(replaced)
	case undone(err):
		err = errors.Join(err, in.drop())
	}
	return err
}

// inspect reads a package that was taken in.
func inspect(in *intake) (metadata, error) {
	r, err := in.open()
	if err != nil {
		return metadata{}, err
	}
	defer r.Close()
	return readPackage(r)
}

// commit writes a package into the tables, with its event. It returns the file that
// a package was in whose place it took.
func (h *Handle) commit(ctx context.Context, m metadata, in *intake, stored contentRow, replace bool) (replaced string, err error) {
	now := time.Now().UTC()
	v := versionRow{
		name: m.Name, version: m.Version, pkg: packageFile(m.Name, m.Version), digest: in.digest, size: in.size,
		entry: m.encode(now, in.digest), createdAt: now.UnixNano(),
	}
	pushed := h.event(event.ChartPush, v)
	err = h.change(ctx, func(tx *sqldb.Tx, entries int64) error {
		grown := growth{int64(len(v.entry)), v.size}
		if replace {
			before, err := h.overwrite(tx, v, stored)
			if err != nil {
				return err
			}
			grown = grown.less(before.growth)
			replaced = before.file
		} else if err := h.add(tx, v, stored); err != nil {
			return err
		}
		if entries+grown.entries > maxEntries {
			return fault.New(fault.Quota, "the index of registry %s would have more than %d bytes: delete versions that nobody needs", h.reg.Name, maxEntries).
				WithCode(CodeQuota)
		}
		if err := growIndex(tx, h.reg.ID, grown); err != nil {
			return err
		}
		return h.store.Outbox.Append(tx, pushed)
	})
	return replaced, err
}

// growth is by how much the charts of a registry come to more, in bytes.
type growth struct {
	entries int64 // of index.yaml
	size    int64 // packages and provenance files
}

func (g growth) less(o growth) growth { return growth{g.entries - o.entries, g.size - o.size} }

// add writes a version that is not there yet.
func (h *Handle) add(tx *sqldb.Tx, v versionRow, stored contentRow) error {
	id, added, err := addVersion(tx, h.reg.ID, v)
	if err != nil {
		return err
	}
	if !added {
		return exists(v.pkg)
	}
	return putContent(tx, id, stored)
}

// gone is what is no more, of a version that was deleted or overwritten.
type gone struct {
	file string // that its package was in; empty: in none
	growth
}

// overwrite writes v in place of what is there. A provenance file of the same bytes
// stays.
func (h *Handle) overwrite(tx *sqldb.Tx, v versionRow, stored contentRow) (gone, error) {
	old, err := findVersion(tx, h.reg.ID, v.pkg)
	if errors.Is(err, sqldb.ErrNoRow) {
		return gone{}, fileNotFound(v.pkg)
	}
	if err != nil {
		return gone{}, err
	}
	if old.name != v.name { // a-1 in version 2.0.0, or a in version 1-2.0.0
		return gone{}, fault.New(fault.Conflict, "%s is chart %s in version %s here, and would be %s in version %s: delete it first", v.pkg, old.name, old.version, v.name, v.version).
			WithCode(CodeExists)
	}
	before, err := findContent(tx, old.id)
	if err != nil {
		return gone{}, err
	}
	size := old.size
	if old.digest == v.digest {
		stored.provenance = before.provenance
	} else {
		size += int64(len(before.provenance))
	}
	v.id = old.id
	if err := changeVersion(tx, v); err != nil {
		return gone{}, err
	}
	return gone{before.file, growth{int64(len(old.entry)), size}}, putContent(tx, old.id, stored)
}

// putProvenance stores a provenance file beside its package.
func (h *Handle) putProvenance(ctx context.Context, f file, content io.Reader, replace bool) error {
	data, err := readSmall(content, maxProvenance, "the provenance file")
	if err != nil {
		return err
	}
	return h.change(ctx, func(tx *sqldb.Tx, _ int64) error {
		v, err := findVersion(tx, h.reg.ID, f.pkg)
		if errors.Is(err, sqldb.ErrNoRow) {
			return notFound("there is no package %s for the provenance file: push it first", clip(f.pkg))
		}
		if err != nil {
			return err
		}
		before, err := findProvenance(tx, v.id)
		switch {
		case err != nil:
			return err
		case replace && before == nil:
			return fileNotFound(f.String())
		case !replace && before != nil:
			return exists(f.String())
		case !bytes.Contains(data, []byte(v.digest)):
			return invalid("%s does not name %s, the digest of the package here: it was made for another, or is no provenance file (helm package --sign makes one)", f, v.digest)
		}
		if err := setProvenance(tx, v.id, data); err != nil {
			return err
		}
		return growIndex(tx, h.reg.ID, growth{size: int64(len(data) - len(before))})
	})
}

// Delete removes a file. With a package goes its provenance file, and chart_delete
// is raised; a provenance file alone raises nothing. It fails with CodeNotFound.
func (h *Handle) Delete(ctx context.Context, name string) error {
	f, err := parseFile(name)
	if err != nil {
		return fileNotFound(name) // no file has such a name
	}
	var files []string
	err = h.change(ctx, func(tx *sqldb.Tx, _ int64) error {
		v, err := findVersion(tx, h.reg.ID, f.pkg)
		if errors.Is(err, sqldb.ErrNoRow) {
			return fileNotFound(f.String())
		}
		if err != nil {
			return err
		}
		if f.provenance {
			return h.deleteProvenance(tx, v)
		}
		files, err = h.delete(tx, v)
		return err
	})
	if err == nil {
		h.remove(files...)
	}
	return err
}

func (h *Handle) deleteProvenance(tx *sqldb.Tx, v versionRow) error {
	provenance, err := findProvenance(tx, v.id)
	if err != nil {
		return err
	}
	if provenance == nil {
		return fileNotFound(file{v.pkg, true}.String())
	}
	if err := setProvenance(tx, v.id, nil); err != nil {
		return err
	}
	if err := h.recordDelete(tx, file{v.pkg, true}); err != nil {
		return err
	}
	return growIndex(tx, h.reg.ID, growth{size: -int64(len(provenance))})
}

// delete removes versions from the tables and tells of it. It returns the file that
// the package of each is in.
func (h *Handle) delete(tx *sqldb.Tx, versions ...versionRow) (files []string, err error) {
	var shrunk growth
	for _, v := range versions {
		held, err := deleteVersion(tx, v.id)
		if err != nil {
			return nil, err
		}
		if err := h.recordDelete(tx, file{pkg: v.pkg}); err != nil {
			return nil, err
		}
		files = append(files, held.file)
		shrunk = shrunk.less(growth{int64(len(v.entry)), v.size + int64(len(held.provenance))})
	}
	if err := growIndex(tx, h.reg.ID, shrunk); err != nil {
		return nil, err
	}
	for _, v := range versions {
		if err := h.store.Outbox.Append(tx, h.event(event.ChartDelete, v)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// contentDelete is what deleting is on record as, in the words of Azure's roles.
const contentDelete = "Microsoft.ContainerRegistry/registries/artifacts/delete"

// recordDelete puts on record who deletes a file, in the transaction that does it.
func (h *Handle) recordDelete(tx *sqldb.Tx, f file) error {
	if h.store.Audit == nil {
		return nil
	}
	e := audit.ByRequest(h.caller.Request, h.caller.Actor, h.caller.Kind, h.caller.Correlation)
	e.Registry, e.Action, e.Resource = h.reg.ID, contentDelete, "helm/v1/repo/_blobs/"+f.String()
	return h.store.Audit.Append(tx, e)
}

// versionsAtOnce is how many versions of a chart are deleted in one transaction.
const versionsAtOnce = 50

// DeleteChart removes all versions of a chart that are there when it is called,
// and raises chart_delete for each, the oldest first. It goes in pieces, so a
// failure may leave some. It fails with CodeNotFound.
func (h *Handle) DeleteChart(ctx context.Context, name string) error {
	var last int64
	err := h.store.DB.Read(ctx, func(tx *sqldb.Tx) (err error) {
		last, err = lastVersion(tx, h.reg.ID, name)
		return err
	})
	if err == nil && last == 0 {
		err = chartNotFound(name)
	}
	for more := true; more && err == nil; {
		var files []string
		err = h.change(ctx, func(tx *sqldb.Tx, _ int64) error {
			some, err := someVersions(tx, h.reg.ID, name, last, versionsAtOnce)
			if err != nil {
				return err
			}
			more = len(some) == versionsAtOnce
			files, err = h.delete(tx, some...)
			return err
		})
		if err == nil {
			h.remove(files...)
		}
	}
	return err
}

// change runs fn in a transaction that changes the registry's charts. entries is how
// large all entries are, in bytes.
func (h *Handle) change(ctx context.Context, fn func(tx *sqldb.Tx, entries int64) error) error {
	return h.store.DB.Write(ctx, sqldb.Change, func(tx *sqldb.Tx) error {
		entries, err := touchIndex(tx, h.reg.ID)
		if errors.Is(err, sqldb.ErrNoRow) {
			return notFound("registry %s was deleted", h.reg.Name)
		}
		if err != nil {
			return err
		}
		return fn(tx, entries)
	})
}

// event makes an event of this handle's caller.
func (h *Handle) event(action event.Action, v versionRow) *outbox.Draft {
	return outbox.Prepare(&event.Event{
		Action: action, Registry: h.reg, Request: h.caller.Request, Actor: h.caller.Actor,
		Target: event.Target{
			MediaType: MediaType, Size: v.size, Digest: string(v.digest), Repository: Repository, Tag: v.pkg, Name: v.name, Version: v.version,
		},
	})
}

// remove removes files of the blob store that no row names any more. One that
// stays takes room and nothing else.
func (h *Handle) remove(files ...string) {
	for _, file := range files {
		if file == "" {
			continue
		}
		if err := h.store.Blobs.Remove(file); err != nil {
			h.store.Log.Warn("the file of a chart that is gone cannot be removed", "file", file, "error", err)
		}
	}
}
