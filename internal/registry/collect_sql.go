package registry

import (
	"database/sql"
	"errors"

	"github.com/dockbell/dockbell/internal/blob"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// spareBlob takes the mark from a condemned blob of a repository; it reports whether
// the blob is there.
func spareBlob(tx *sqldb.Tx, registry int64, repo oci.Repository, dgst oci.Digest) (bool, error) {
	n, err := tx.Exec(`UPDATE blob_link SET condemned_at = NULL, linked_at = $4
		WHERE digest = $3 AND repository = (SELECT id FROM repository WHERE registry = $1 AND name = $2)`,
		registry, string(repo), string(dgst), tx.Now().UnixNano())
	return n > 0, err
}

// spareBlobs is spareBlob for n blobs of the repository that leads args.
func spareBlobs(tx *sqldb.Tx, n int, args []any) error {
	_, err := tx.Exec("UPDATE blob_link SET condemned_at = NULL WHERE repository = $1 AND digest IN ("+sqldb.In(2, n)+")", args...)
	return err
}

// uploadAge is when an upload session was last written to.
type uploadAge struct {
	updatedAt int64
	id        string
	size      int64
	file      bool
}

// uploadsBefore returns up to n sessions that were last written to before a moment, in
// this order from behind after.
func uploadsBefore(tx *sqldb.Tx, moment int64, after uploadAge, n int) ([]uploadAge, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (u uploadAge, err error) {
		return u, s(&u.updatedAt, &u.id, &u.size, &u.file)
	}, `SELECT updated_at, id, size, file IS NOT NULL FROM upload WHERE updated_at < $1 AND updated_at >= $2
		AND (updated_at > $2 OR id > $3) ORDER BY updated_at, id LIMIT $4`, moment, after.updatedAt, after.id, n)
}

// deleteUploadOf removes a session that was not written to since.
func deleteUploadOf(tx *sqldb.Tx, u uploadAge) error {
	_, err := tx.Exec("DELETE FROM upload WHERE id = $1 AND updated_at = $2", u.id, u.updatedAt)
	return err
}

// uploadsNamed returns which of the names of staged files are those of sessions.
func uploadsNamed(tx *sqldb.Tx, files []blob.File) (map[string]bool, error) {
	ids := make([]any, len(files))
	for i, f := range files {
		ids[i] = f.Name
	}
	named := map[string]bool{}
	err := tx.Each("SELECT id FROM upload WHERE id IN ("+sqldb.In(1, len(ids))+")", ids, func(s sqldb.Scan) error {
		var id string
		err := s(&id)
		named[id] = true
		return err
	})
	return named, err
}

func countRepositories(tx *sqldb.Tx) (n int64, err error) {
	return n, tx.Get("SELECT count(*) FROM repository", nil, &n)
}

// anyLinksAlone returns a repository that was given up and holds links alone, or
// sqldb.ErrNoRow. Those of a deleted registry that hold manifests are for Purge.
func anyLinksAlone(tx *sqldb.Tx) (id int64, err error) {
	return id, tx.Get(`SELECT id FROM repository r WHERE registry < 0 AND NOT EXISTS (SELECT 1 FROM manifest m WHERE m.repository = r.id)
		AND NOT EXISTS (SELECT 1 FROM deleted_manifest d WHERE d.repository = r.id) LIMIT 1`, nil, &id)
}

// newestOfAll returns the greatest row id in a table of manifests; 0 for none.
func newestOfAll(tx *sqldb.Tx, table string) (id int64, err error) {
	return id, tx.Get("SELECT coalesce(max(id), 0) FROM "+table, nil, &id)
}

// storedManifest is a manifest as a collection reads it.
type storedManifest struct {
	id, repository int64
	mediaType      string
	data           []byte
}

// manifestsIn returns the manifests in a table in order of row id from behind after, up
// to last: at most n, and at most so many bytes unless the first one alone has more.
func manifestsIn(tx *sqldb.Tx, table string, after, last int64, n int, bytes int64) ([]storedManifest, error) {
	var upto, total int64
	errEnough := errors.New("enough")
	err := tx.Each("SELECT id, size FROM "+table+" WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3", []any{after, last, n}, func(s sqldb.Scan) error {
		var id, size int64
		if err := s(&id, &size); err != nil {
			return err
		}
		if total += size; total > bytes && upto != 0 {
			return errEnough
		}
		upto = id
		return nil
	})
	if err != nil && err != errEnough {
		return nil, err
	}
	return sqldb.Select(tx, func(s sqldb.Scan) (m storedManifest, err error) {
		return m, s(&m.id, &m.repository, &m.mediaType, &m.data)
	}, "SELECT id, repository, media_type, data FROM "+table+" WHERE id > $1 AND id <= $2 ORDER BY id", after, upto)
}

// linksIn returns the links of blobs whose digest is behind after, up to last, in
// order of digest.
func linksIn(tx *sqldb.Tx, after, last string) ([]link, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (l link, err error) {
		return l, s(&l.digest, &l.repository, &l.linkedAt, &l.condemned)
	}, `SELECT digest, repository, linked_at, coalesce(condemned_at, 0) FROM blob_link
		WHERE digest > $1 AND digest <= $2 ORDER BY digest, repository`, after, last)
}

// holdRepository makes the transaction the only one that changes the repository, if
// there is one.
func holdRepository(tx *sqldb.Tx, id int64) error {
	err := tx.HoldAlone("SELECT id FROM repository WHERE id = $1", []any{id}, &id)
	if errors.Is(err, sqldb.ErrNoRow) {
		return nil
	}
	return err
}

// spareLink, condemnLink and removeCondemned change a link that is as it was found, and
// report whether it is.

func spareLink(tx *sqldb.Tx, l link) (bool, error) {
	n, err := tx.Exec("UPDATE blob_link SET condemned_at = NULL WHERE digest = $1 AND repository = $2 AND condemned_at = $3", l.digest, l.repository, l.condemned)
	return n > 0, err
}

func condemnLink(tx *sqldb.Tx, l link) (bool, error) {
	n, err := tx.Exec("UPDATE blob_link SET condemned_at = $4 WHERE digest = $1 AND repository = $2 AND condemned_at IS NULL AND linked_at = $3",
		l.digest, l.repository, l.linkedAt, tx.Now().UnixNano())
	return n > 0, err
}

func removeCondemned(tx *sqldb.Tx, l link) (bool, error) {
	n, err := tx.Exec("DELETE FROM blob_link WHERE digest = $1 AND repository = $2 AND condemned_at = $3", l.digest, l.repository, l.condemned)
	return n > 0, err
}

// sumContents returns number and size of the contents that there are of some digests.
func sumContents(tx *sqldb.Tx, digests []string) (n, bytes int64, err error) {
	args := make([]any, len(digests))
	for i, d := range digests {
		args[i] = d
	}
	err = tx.Get("SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT) FROM content WHERE digest IN ("+sqldb.In(1, len(args))+")", args, &n, &bytes)
	return n, bytes, err
}

// lastOfContents returns the digest that the next n contents lead up to, in order of
// digest from behind after; empty if there are no more.
func lastOfContents(tx *sqldb.Tx, after string, n int) (last string, err error) {
	err = tx.Get("SELECT digest FROM content WHERE digest > $1 ORDER BY digest LIMIT 1 OFFSET $2", []any{after, n - 1}, &last)
	if errors.Is(err, sqldb.ErrNoRow) {
		err = tx.Get("SELECT coalesce(max(digest), '') FROM content WHERE digest > $1", []any{after}, &last)
	}
	return last, err
}

// contentHead is a content without its bytes.
type contentHead struct {
	digest string
	size   int64
	file   sql.NullString
}

// unlinkedContents returns the contents whose digest is behind after, up to last, and
// that nothing links.
func unlinkedContents(tx *sqldb.Tx, after, last string) ([]contentHead, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (c contentHead, err error) { return c, s(&c.digest, &c.size, &c.file) },
		`SELECT digest, size, file FROM content c WHERE digest > $1 AND digest <= $2
		AND NOT EXISTS (SELECT 1 FROM blob_link l WHERE l.digest = c.digest) ORDER BY digest`, after, last)
}

// errLinked says that somebody links a content that was to go.
var errLinked = errors.New("registry: a content that was unlinked is linked again")

// deleteContents deletes those of some contents that nothing links. It fails with
// errLinked, and must then be undone, if somebody linked one at the same moment: on
// PostgreSQL a DELETE waits for the transaction that holds the row, and then still goes
// by what it saw before. Only the statement after it sees that transaction's link, and
// until the end of this one no other can hold the row.
func deleteContents(tx *sqldb.Tx, found []contentHead) (gone []contentHead, err error) {
	args := make([]any, len(found))
	for i, f := range found {
		args[i] = f.digest
	}
	in := "(" + sqldb.In(1, len(args)) + ")"
	err = tx.Each(`DELETE FROM content WHERE digest IN `+in+` AND NOT EXISTS (SELECT 1 FROM blob_link l WHERE l.digest = content.digest)
		RETURNING digest, size, file`, args, func(s sqldb.Scan) error {
		var c contentHead
		err := s(&c.digest, &c.size, &c.file)
		gone = append(gone, c)
		return err
	})
	if err != nil || len(gone) == 0 {
		return gone, err
	}
	args = args[:0]
	for _, g := range gone {
		args = append(args, g.digest)
	}
	var one int
	err = tx.Get("SELECT 1 FROM blob_link WHERE digest IN ("+sqldb.In(1, len(args))+") LIMIT 1", args, &one)
	switch {
	case errors.Is(err, sqldb.ErrNoRow):
		return gone, nil
	case err != nil:
		return nil, err
	}
	return nil, errLinked
}

// named returns those of some files of the blob store that contents are in.
func named(tx *sqldb.Tx, files []string) ([]string, error) {
	args := make([]any, len(files))
	for i, file := range files {
		args[i] = file
	}
	return sqldb.Select(tx, func(s sqldb.Scan) (file string, err error) { return file, s(&file) },
		"SELECT file FROM content WHERE file IN ("+sqldb.In(1, len(args))+")", args...)
}
