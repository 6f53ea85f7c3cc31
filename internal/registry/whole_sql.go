package registry

import (
	"database/sql"
	"errors"

	"github.com/dockbell/dockbell/internal/sqldb"
)

// lastOfLinks returns the digest that at most n links of blobs, and the others of
// the same digest, lead up to from behind after; empty if there are no more.
func lastOfLinks(tx *sqldb.Tx, after string, n int) (last string, err error) {
	err = tx.Get("SELECT digest FROM blob_link WHERE digest > $1 ORDER BY digest LIMIT 1 OFFSET $2", []any{after, n - 1}, &last)
	if errors.Is(err, sqldb.ErrNoRow) {
		err = tx.Get("SELECT coalesce(max(digest), '') FROM blob_link WHERE digest > $1", []any{after}, &last)
	}
	return last, err
}

// sumBlobs returns the size of the blobs of a registry whose digest is behind
// after, up to last.
func sumBlobs(tx *sqldb.Tx, registry int64, after, last string) (bytes int64, err error) {
	err = tx.Get(`SELECT CAST(coalesce(sum(c.size), 0) AS BIGINT) FROM content c WHERE c.digest IN
		(SELECT l.digest FROM blob_link l JOIN repository r ON r.id = l.repository WHERE l.digest > $2 AND l.digest <= $3 AND r.registry = $1)`,
		[]any{registry, after, last}, &bytes)
	return bytes, err
}

// lastOfNames returns the name that the next n repositories of a registry lead up
// to, in order of name from behind after; empty if there are no more.
func lastOfNames(tx *sqldb.Tx, registry int64, after string, n int) (last string, err error) {
	err = tx.Get("SELECT name FROM repository WHERE registry = $1 AND name > $2 ORDER BY name LIMIT 1 OFFSET $3", []any{registry, after, n - 1}, &last)
	if errors.Is(err, sqldb.ErrNoRow) {
		err = tx.Get("SELECT coalesce(max(name), '') FROM repository WHERE registry = $1 AND name > $2", []any{registry, after}, &last)
	}
	return last, err
}

// sumManifests returns the size of the manifests, deleted ones included, in the
// repositories of a registry whose name is behind after, up to last.
func sumManifests(tx *sqldb.Tx, registry int64, after, last string) (bytes int64, err error) {
	const sum = "(SELECT CAST(coalesce(sum(m.size), 0) AS BIGINT) FROM repository r JOIN "
	const these = " m ON m.repository = r.id WHERE r.registry = $1 AND r.name > $2 AND r.name <= $3)"
	err = tx.Get("SELECT "+sum+"manifest"+these+" + "+sum+"deleted_manifest"+these, []any{registry, after, last}, &bytes)
	return bytes, err
}

// moveRepositories gives up to n repositories of one registry to another.
func moveRepositories(tx *sqldb.Tx, from, to int64, n int) (int64, error) {
	return tx.Exec("UPDATE repository SET registry = $2 WHERE id IN (SELECT id FROM repository WHERE registry = $1 LIMIT $3)", from, to, n)
}

// anyRepository returns the id of a repository of a registry, or sqldb.ErrNoRow.
func anyRepository(tx *sqldb.Tx, registry int64) (id int64, err error) {
	err = tx.Get("SELECT id FROM repository WHERE registry = $1 LIMIT 1", []any{registry}, &id)
	return id, err
}

func unlinkBlobs(tx *sqldb.Tx, registry int64, after, last string) error {
	_, err := tx.Exec(`DELETE FROM blob_link WHERE digest > $2 AND digest <= $3
		AND EXISTS (SELECT 1 FROM repository r WHERE r.id = blob_link.repository AND r.registry = $1)`, registry, after, last)
	return err
}

// deleteSome deletes up to n manifests of a repository, with their tags and what
// waits for them.
func deleteSome(tx *sqldb.Tx, repository int64, n int) (int64, error) {
	const some = "(SELECT id FROM manifest WHERE repository = $1 ORDER BY digest LIMIT $2)"
	if _, err := tx.Exec("DELETE FROM held_push WHERE manifest IN "+some, repository, n); err != nil {
		return 0, err
	}
	if _, err := tx.Exec("DELETE FROM tag WHERE manifest IN "+some, repository, n); err != nil {
		return 0, err
	}
	return tx.Exec("DELETE FROM manifest WHERE id IN "+some, repository, n)
}

// deleteSomeDeleted removes up to n deleted manifests of a repository.
func deleteSomeDeleted(tx *sqldb.Tx, repository int64, n int) (int64, error) {
	return tx.Exec("DELETE FROM deleted_manifest WHERE id IN (SELECT id FROM deleted_manifest WHERE repository = $1 LIMIT $2)", repository, n)
}

// deleteRepository removes a repository that holds no manifest, with the names of tags
// that were deleted in it.
func deleteRepository(tx *sqldb.Tx, id int64) error {
	if _, err := tx.Exec("DELETE FROM deleted_tag WHERE repository = $1", id); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM repository WHERE id = $1", id)
	return err
}

// someUploads returns up to n upload sessions of a registry.
func someUploads(tx *sqldb.Tx, registry int64, n int) ([]uploadRow, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (u uploadRow, err error) {
		var file sql.NullString
		err = s(&u.id, &file)
		u.file = file.Valid
		return u, err
	}, "SELECT id, file FROM upload WHERE registry = $1 LIMIT $2", registry, n)
}
