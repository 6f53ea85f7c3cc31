package chart

import (
	"database/sql"
	"errors"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// touchIndex counts up the changes of a registry's charts, which whoever changes one
// does first: on engines that run several transactions at once, those on one
// registry wait here for each other. It returns sqldb.ErrNoRow for a registry that
// was deleted. entries is how large its entries are, in bytes.
func touchIndex(tx *sqldb.Tx, registry int64) (entries int64, err error) {
	err = tx.Get(`INSERT INTO chart_index (registry, changes, changed_at, entries, size) VALUES ($1, 1, $2, 0, 0)
		ON CONFLICT (registry) DO UPDATE SET changes = chart_index.changes + 1, changed_at = excluded.changed_at RETURNING entries`,
		[]any{registry, tx.Now().UnixNano()}, &entries)
	if err != nil {
		return 0, err
	}
	// Only now, for the registry may have been deleted while this waited.
	var deleted int
	err = tx.Get("SELECT count(*) FROM registry WHERE id = $1 AND deleted_at IS NOT NULL", []any{registry}, &deleted)
	if err == nil && deleted > 0 {
		err = sqldb.ErrNoRow
	}
	return entries, err
}

// growIndex adds to what a registry's charts come to.
func growIndex(tx *sqldb.Tx, registry int64, g growth) error {
	_, err := tx.Exec("UPDATE chart_index SET entries = entries + $2, size = size + $3 WHERE registry = $1", registry, g.entries, g.size)
	return err
}

// indexRow says which index of a registry is the newest.
type indexRow struct {
	changes   int64 // how often the charts changed; 0: never
	changedAt int64 // Unix nanoseconds, of the last time
	entries   int64 // bytes of all entries
}

func readIndex(tx *sqldb.Tx, registry int64) (row indexRow, err error) {
	err = tx.Get("SELECT changes, changed_at, entries FROM chart_index WHERE registry = $1", []any{registry}, &row.changes, &row.changedAt, &row.entries)
	if errors.Is(err, sqldb.ErrNoRow) {
		err = nil
	}
	return row, err
}

// sizeOf returns the bytes of a registry's packages and provenance files.
func sizeOf(tx *sqldb.Tx, registry int64) (size int64, err error) {
	err = tx.Get("SELECT coalesce(sum(size), 0) FROM chart_index WHERE registry = $1", []any{registry}, &size)
	return size, err
}

// versionRow is a version of a chart as it is stored.
type versionRow struct {
	id        int64
	name      string
	version   string
	pkg       string // file name of the package
	digest    oci.Digest
	size      int64 // of the package, in bytes
	entry     []byte
	createdAt int64 // Unix nanoseconds
}

const versionColumns = "SELECT id, name, version, package, digest, size, entry, created_at FROM chart "

func scanVersion(s sqldb.Scan) (v versionRow, err error) {
	err = s(&v.id, &v.name, &v.version, &v.pkg, &v.digest, &v.size, &v.entry, &v.createdAt)
	return v, err
}

// findVersion returns the version whose package has that file name, or
// sqldb.ErrNoRow.
func findVersion(tx *sqldb.Tx, registry int64, pkg string) (versionRow, error) {
	return first(sqldb.Select(tx, scanVersion, versionColumns+"WHERE registry = $1 AND package = $2", registry, pkg))
}

func first(found []versionRow, err error) (versionRow, error) {
	if err == nil && len(found) == 0 {
		err = sqldb.ErrNoRow
	}
	if err != nil {
		return versionRow{}, err
	}
	return found[0], nil
}

// findEntry returns the entry of a version, or sqldb.ErrNoRow.
func findEntry(tx *sqldb.Tx, registry int64, name, version string) (entry []byte, err error) {
	err = tx.Get("SELECT entry FROM chart WHERE registry = $1 AND name = $2 AND version = $3", []any{registry, name, version}, &entry)
	return entry, err
}

// someVersions returns up to n versions of a chart with ids up to last, the oldest
// first.
func someVersions(tx *sqldb.Tx, registry int64, name string, last int64, n int) ([]versionRow, error) {
	return sqldb.Select(tx, scanVersion, versionColumns+"WHERE registry = $1 AND name = $2 AND id <= $3 ORDER BY id LIMIT $4", registry, name, last, n)
}

// lastVersion returns the id of the version of a chart that was pushed last, 0 for
// none.
func lastVersion(tx *sqldb.Tx, registry int64, name string) (id int64, err error) {
	err = tx.Get("SELECT coalesce(max(id), 0) FROM chart WHERE registry = $1 AND name = $2", []any{registry, name}, &id)
	return id, err
}

// eachEntry calls fn with the versions of a registry, ordered by name. fn must not
// keep entry.
func eachEntry(tx *sqldb.Tx, registry int64, fn func(name, version string, entry []byte)) error {
	var name, version string
	var entry sql.RawBytes
	return tx.Each("SELECT name, version, entry FROM chart WHERE registry = $1 ORDER BY name", []any{registry}, func(s sqldb.Scan) error {
		if err := s(&name, &version, &entry); err != nil {
			return err
		}
		fn(name, version, entry)
		return nil
	})
}

// addVersion adds a version and returns its id; added is false if there is one
// whose package has its file name.
func addVersion(tx *sqldb.Tx, registry int64, v versionRow) (id int64, added bool, err error) {
	return tx.Insert("id", `INSERT INTO chart (registry, name, version, package, digest, size, entry, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (registry, package) DO NOTHING`,
		registry, v.name, v.version, v.pkg, string(v.digest), v.size, string(v.entry), v.createdAt)
}

// changeVersion writes a version that is there anew.
func changeVersion(tx *sqldb.Tx, v versionRow) error {
	_, err := tx.Exec("UPDATE chart SET digest = $2, size = $3, entry = $4, created_at = $5 WHERE id = $1",
		v.id, string(v.digest), v.size, string(v.entry), v.createdAt)
	return err
}

// contentRow is what a package and its provenance file hold: the package in data,
// or in a file of the blob store.
type contentRow struct {
	data       []byte
	file       string // empty: it is in data
	provenance []byte // nil: there is none
}

func putContent(tx *sqldb.Tx, id int64, c contentRow) error {
	file := sql.NullString{String: c.file, Valid: c.file != ""}
	_, err := tx.Exec(`INSERT INTO chart_content (chart, data, file, provenance) VALUES ($1, $2, $3, $4)
		ON CONFLICT (chart) DO UPDATE SET data = excluded.data, file = excluded.file, provenance = excluded.provenance`,
		id, c.data, file, c.provenance)
	return err
}

// findContent returns what a version holds.
func findContent(tx *sqldb.Tx, id int64) (c contentRow, err error) {
	var file sql.NullString
	err = tx.Get("SELECT data, file, provenance FROM chart_content WHERE chart = $1", []any{id}, &c.data, &file, &c.provenance)
	c.file = file.String
	return c, err
}

// findProvenance returns the provenance file of a version, nil for none.
func findProvenance(tx *sqldb.Tx, id int64) (provenance []byte, err error) {
	err = tx.Get("SELECT provenance FROM chart_content WHERE chart = $1", []any{id}, &provenance)
	return provenance, err
}

// setProvenance writes or, with nil, removes the provenance file of a version.
func setProvenance(tx *sqldb.Tx, id int64, provenance []byte) error {
	_, err := tx.Exec("UPDATE chart_content SET provenance = $2 WHERE chart = $1", id, provenance)
	return err
}

// deleteVersion deletes a version and returns what it held, but for data.
func deleteVersion(tx *sqldb.Tx, id int64) (c contentRow, err error) {
	var file sql.NullString
	if err := tx.Get("DELETE FROM chart_content WHERE chart = $1 RETURNING file, provenance", []any{id}, &file, &c.provenance); err != nil {
		return contentRow{}, err
	}
	c.file = file.String
	_, err = tx.Exec("DELETE FROM chart WHERE id = $1", id)
	return c, err
}

// storedRow is where the package of a version is.
type storedRow struct {
	id   int64
	file string // empty: in its row
}

// someStored returns up to n versions of a registry.
func someStored(tx *sqldb.Tx, registry int64, n int) ([]storedRow, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (r storedRow, err error) {
		var file sql.NullString
		err = s(&r.id, &file)
		r.file = file.String
		return r, err
	}, "SELECT c.id, k.file FROM chart c JOIN chart_content k ON k.chart = c.id WHERE c.registry = $1 LIMIT $2", registry, n)
}

func deleteIndex(tx *sqldb.Tx, registry int64) error {
	_, err := tx.Exec("DELETE FROM chart_index WHERE registry = $1", registry)
	return err
}

// named returns those of some files of the blob store that packages are in.
func named(tx *sqldb.Tx, files []string) ([]string, error) {
	args := make([]any, len(files))
	for i, file := range files {
		args[i] = file
	}
	return sqldb.Select(tx, func(s sqldb.Scan) (file string, err error) { return file, s(&file) },
		"SELECT file FROM chart_content WHERE file IN ("+sqldb.In(1, len(files))+")", args...)
}
