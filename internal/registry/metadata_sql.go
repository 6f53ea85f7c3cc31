package registry

import (
	"database/sql"
	"math"
	"time"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// clock is a time as it is stored, in nanoseconds.
type clock int64

func (c clock) time() time.Time { return time.Unix(0, int64(c)).UTC() }

func setRepositoryLocks(tx *sqldb.Tx, id int64, c lockChange) error {
	_, err := tx.Exec("UPDATE repository SET locks = (locks & $2) | $3 WHERE id = $1", id, c.keep, c.set)
	return err
}

// setTagLocks reports whether there is such a tag.
func setTagLocks(tx *sqldb.Tx, repository int64, tag oci.Tag, c lockChange) (bool, error) {
	n, err := tx.Exec("UPDATE tag SET locks = (locks & $3) | $4, updated_at = $5 WHERE repository = $1 AND name = $2",
		repository, string(tag), c.keep, c.set, tx.Now().UnixNano())
	return n > 0, err
}

// setManifestLocks reports whether there is such a manifest.
func setManifestLocks(tx *sqldb.Tx, repository int64, dgst oci.Digest, c lockChange) (bool, error) {
	n, err := tx.Exec("UPDATE manifest SET locks = (locks & $3) | $4, updated_at = $5 WHERE repository = $1 AND digest = $2",
		repository, string(dgst), c.keep, c.set, tx.Now().UnixNano())
	return n > 0, err
}

// describeRepository returns what is known of a repository, or sqldb.ErrNoRow.
func describeRepository(tx *sqldb.Tx, registry int64, q Quarantine, repo oci.Repository) (d oci.RepositoryDetails, err error) {
	var created, updated clock
	var locked locks
	d.Name = repo
	err = tx.Get(`SELECT created_at, updated_at, locks,
		(SELECT count(*) FROM manifest WHERE repository = r.id), (SELECT count(*) FROM tag WHERE repository = r.id`+q.named("tag")+`)
		FROM repository r WHERE registry = $1 AND name = $2 AND locks & $3 = 0`, []any{registry, string(repo), gone},
		&created, &updated, &locked, &d.ManifestCount, &d.TagCount)
	d.CreatedAt, d.UpdatedAt, d.Attributes = created.time(), updated.time(), locked.attributes()
	return d, err
}

// place is where a page of a list begins: behind what has this time and name.
type place struct {
	at   int64
	name string
}

// start is the place before everything.
func start(order oci.Order) place {
	if order == oci.NewestFirst {
		return place{at: math.MaxInt64}
	}
	return place{at: math.MinInt64}
}

// sequence returns the condition for what is behind a place, and the order, in
// terms of the columns that have name and time; the condition's arguments have the
// numbers from $from on.
func (p place) sequence(order oci.Order, name, at string, from int) (behind, by string, args []any) {
	first, second := sqldb.In(from, 1), sqldb.In(from+1, 1)
	switch order {
	case oci.OldestFirst:
		return "(" + at + ", " + name + ") > (" + first + ", " + second + ")", at + ", " + name, []any{p.at, p.name}
	case oci.NewestFirst:
		return "(" + at + " < " + first + " OR " + at + " = " + first + " AND " + name + " > " + second + ")",
			at + " DESC, " + name, []any{p.at, p.name}
	}
	return name + " > " + first, name, []any{p.name}
}

// tagTime returns when a tag changed last, or sqldb.ErrNoRow.
func tagTime(tx *sqldb.Tx, repository int64, tag string) (at int64, err error) {
	err = tx.Get("SELECT updated_at FROM tag WHERE repository = $1 AND name = $2", []any{repository, tag}, &at)
	return at, err
}

// manifestTime returns when a manifest changed last, or sqldb.ErrNoRow.
func manifestTime(tx *sqldb.Tx, repository int64, dgst string) (at int64, err error) {
	err = tx.Get("SELECT coalesce(updated_at, pushed_at) FROM manifest WHERE repository = $1 AND digest = $2", []any{repository, dgst}, &at)
	return at, err
}

func scanTag(s sqldb.Scan) (d oci.TagDetails, err error) {
	var created, updated clock
	var locked locks
	err = s(&d.Name, &d.Digest, &created, &updated, &locked)
	d.CreatedAt, d.UpdatedAt, d.Attributes = created.time(), updated.time(), locked.attributes()
	return d, err
}

// describeTag returns what is known of a tag, or sqldb.ErrNoRow.
func describeTag(tx *sqldb.Tx, repository int64, q Quarantine, tag oci.Tag) (d oci.TagDetails, err error) {
	return scanTag(func(dest ...any) error {
		return tx.Get(`SELECT t.name, m.digest, t.created_at, t.updated_at, t.locks FROM tag t JOIN manifest m ON m.id = `+q.manifestOf("t")+`
			WHERE t.repository = $1 AND t.name = $2`, []any{repository, string(tag)}, dest...)
	})
}

// describeTags lists the tags that are to be listed, of one manifest if dgst is
// not empty.
func describeTags(tx *sqldb.Tx, repository int64, q Quarantine, dgst oci.Digest, order oci.Order, from place, n int) ([]oci.TagDetails, error) {
	args := []any{repository, lockList, n}
	of := ""
	if dgst != "" {
		args = append(args, string(dgst))
		const one = "(SELECT id FROM manifest WHERE repository = $1 AND digest = $4)"
		of = " AND manifest = " + one
		if q.on() {
			of = " AND (manifest = " + one + " OR standing = " + one + ") AND " + q.manifestOf("tag") + " = " + one
		}
	}
	behind, by, position := from.sequence(order, "name", "updated_at", len(args)+1)
	_, outer, _ := from.sequence(order, "t.name", "t.updated_at", 0)
	return sqldb.Select(tx, scanTag, `SELECT t.name, m.digest, t.created_at, t.updated_at, t.locks FROM
		(SELECT name, `+q.manifestOf("tag")+` AS manifest, created_at, updated_at, locks FROM tag
			WHERE repository = $1 AND locks & $2 = 0`+of+q.named("tag")+` AND `+behind+` ORDER BY `+by+` LIMIT $3) t
		JOIN manifest m ON m.id = t.manifest ORDER BY `+outer, append(args, position...)...)
}

// manifestHead is a manifest without its bytes.
type manifestHead struct {
	id               int64
	digest           oci.Digest
	mediaType        string
	artifactType     string
	size             int64
	created, updated clock
	locks            locks
	verdict          verdict
	details          sql.NullString // of the quarantine
}

const manifestHeadColumns = "id, digest, media_type, artifact_type, size, pushed_at, coalesce(updated_at, pushed_at) AS changed, locks, quarantine, quarantine_details"

func scanManifestHead(s sqldb.Scan) (m manifestHead, err error) {
	err = s(&m.id, &m.digest, &m.mediaType, &m.artifactType, &m.size, &m.created, &m.updated, &m.locks, &m.verdict, &m.details)
	return m, err
}

// readManifestHead returns one, or sqldb.ErrNoRow.
func readManifestHead(tx *sqldb.Tx, repository int64, dgst oci.Digest) (manifestHead, error) {
	return scanManifestHead(func(dest ...any) error {
		return tx.Get("SELECT "+manifestHeadColumns+" FROM manifest WHERE repository = $1 AND digest = $2", []any{repository, string(dgst)}, dest...)
	})
}

// listManifestHeads lists the manifests that are to be listed.
func listManifestHeads(tx *sqldb.Tx, repository int64, q Quarantine, order oci.Order, from place, n int) ([]manifestHead, error) {
	behind, by, position := from.sequence(order, "digest", "coalesce(updated_at, pushed_at)", 4)
	return sqldb.Select(tx, scanManifestHead, "SELECT "+manifestHeadColumns+` FROM manifest
		WHERE repository = $1 AND locks & $2 = 0`+q.shown("manifest")+` AND `+behind+` ORDER BY `+by+` LIMIT $3`,
		append([]any{repository, lockList, n}, position...)...)
}

func manifestData(tx *sqldb.Tx, id int64) (data []byte, err error) {
	err = tx.Get("SELECT data FROM manifest WHERE id = $1", []any{id}, &data)
	return data, err
}

// tagsOf lists the tags of a manifest that are to be listed: those that name it, or
// would if it had passed.
func tagsOf(tx *sqldb.Tx, q Quarantine, manifest int64, is verdict) ([]oci.Tag, error) {
	of := "manifest = $1"
	if q.on() && is == passed {
		of = "(manifest = $1 OR standing = $1) AND " + q.manifestOf("tag") + " = $1"
	}
	return sqldb.Select(tx, func(s sqldb.Scan) (t oci.Tag, err error) { return t, s(&t) },
		"SELECT name FROM tag WHERE "+of+" AND locks & $2 = 0 ORDER BY name", manifest, lockList)
}

// linkedContent returns the content of a blob that the repository links, or
// sqldb.ErrNoRow.
func linkedContent(tx *sqldb.Tx, repository int64, dgst oci.Digest) (c contentRow, err error) {
	err = tx.Get("SELECT c.size, c.data, c.file FROM blob_link l JOIN content c ON c.digest = l.digest WHERE l.repository = $1 AND l.digest = $2",
		[]any{repository, string(dgst)}, &c.size, &c.data, &c.file)
	return c, err
}

// lockedAgainstDelete returns a manifest or tag of a repository that may not be
// deleted, with its locks, or sqldb.ErrNoRow.
func lockedAgainstDelete(tx *sqldb.Tx, name oci.Repository, repository int64) (t thing, locked locks, err error) {
	t.repo = name
	err = tx.Get(`SELECT name, '', locks FROM tag WHERE repository = $1 AND locks & $2 <> 0
		UNION ALL SELECT '', digest, locks FROM manifest WHERE repository = $1 AND locks & $2 <> 0 LIMIT 1`,
		[]any{repository, lockAnyDelete}, &t.tag, &t.digest, &locked)
	return t, locked, err
}

// newestManifest returns the greatest row id of a repository's manifests; 0 for
// none.
func newestManifest(tx *sqldb.Tx, repository int64) (id int64, err error) {
	err = tx.Get("SELECT coalesce(max(id), 0) FROM manifest WHERE repository = $1", []any{repository}, &id)
	return id, err
}

// someManifests returns up to n manifests of a repository, up to a row id.
func someManifests(tx *sqldb.Tx, repository, last int64, n int) ([]oci.Digest, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (d oci.Digest, err error) { return d, s(&d) },
		"SELECT digest FROM manifest WHERE repository = $1 AND id <= $2 ORDER BY digest LIMIT $3", repository, last, n)
}

// endRepository ends a repository of a registry, unless it holds a manifest. One with
// something in it that can be restored is marked as gone. Any other is given up: it
// goes to the number of a deleted registry, under a name that no request can ask for.
func endRepository(tx *sqldb.Tx, id, registry int64) error {
	n, err := tx.Exec(`UPDATE repository SET locks = locks | $2 WHERE id = $1
		AND NOT EXISTS (SELECT 1 FROM manifest WHERE repository = $1) AND EXISTS (SELECT 1 FROM deleted_manifest WHERE repository = $1)`, id, gone)
	if err != nil || n > 0 {
		return err
	}
	_, err = tx.Exec(`UPDATE repository SET registry = $2, name = name || '~' || CAST(id AS TEXT)
		WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM manifest WHERE repository = $1)`, id, doomed(registry))
	return err
}

// anyGivenUp returns the id of a repository that was given up to a registry, or
// sqldb.ErrNoRow. Others may be there that have manifests: those of a registry that
// was deleted as a whole.
func anyGivenUp(tx *sqldb.Tx, registry int64) (id int64, err error) {
	err = tx.Get("SELECT id FROM repository WHERE registry = $1 AND name LIKE '%~%' LIMIT 1", []any{registry}, &id)
	return id, err
}

// linksOf returns up to n digests of blobs that a repository links, from behind
// after. It looks at every link there is.
func linksOf(tx *sqldb.Tx, repository int64, after string, n int) ([]string, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (d string, err error) { return d, s(&d) },
		"SELECT digest FROM blob_link WHERE digest > $2 AND repository = $1 ORDER BY digest LIMIT $3", repository, after, n)
}
