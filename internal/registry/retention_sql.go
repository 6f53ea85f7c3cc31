package registry

import (
	"slices"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// The time since when a manifest counts as untagged is when it lost its last tag,
// was last pushed, or was last listed by an index that was pushed, whichever is
// latest. It means nothing while the manifest has a tag.

// lostTag notes that a manifest may have lost its last tag.
func lostTag(tx *sqldb.Tx, manifest int64) error {
	_, err := tx.Exec("UPDATE manifest SET untagged_at = $2 WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM tag WHERE manifest = $1)",
		manifest, tx.Now().UnixNano())
	return err
}

// renewChildren has the manifests that a pushed index lists count as new, so that
// whoever is about to remove one sees that in its row.
func renewChildren(tx *sqldb.Tx, repository int64, refs []oci.ManifestReference) error {
	var children []any
	for _, r := range refs {
		if r.Kind == oci.RefersChild {
			children = append(children, string(r.Descriptor.Digest))
		}
	}
	const chunk = 100
	for part := range slices.Chunk(children, chunk) {
		_, err := tx.Exec("UPDATE manifest SET untagged_at = $2 WHERE repository = $1 AND digest IN ("+sqldb.In(3, len(part))+")",
			append([]any{repository, tx.Now().UnixNano()}, part...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// isUntagged is the condition for a manifest m that the policy may remove as far
// as its own row and its tags tell: no tag since before $3, nor one that waits for it
// or would fall back on it, no lock of $4 on it, and no subject that is there.
const isUntagged = `((m.locks & $4) = 0 AND coalesce(m.untagged_at, m.pushed_at) < $3
	AND NOT EXISTS (SELECT 1 FROM tag t WHERE t.manifest = m.id OR t.standing = m.id)
	AND NOT EXISTS (SELECT 1 FROM held_push h WHERE h.manifest = m.id)
	AND (m.subject IS NULL OR NOT EXISTS (SELECT 1 FROM manifest s WHERE s.repository = m.repository AND s.digest = m.subject)))`

// lookAtManifests looks at up to n manifests of a repository behind after, in the
// order of their digests. It returns the last one, empty if there is none, and
// those that are untagged since before a time.
func lookAtManifests(tx *sqldb.Tx, repository int64, after oci.Digest, before int64, n int) (last oci.Digest, untagged []oci.Digest, err error) {
	err = tx.Each("SELECT m.digest, "+isUntagged+" FROM manifest m WHERE m.repository = $1 AND m.digest > $2 ORDER BY m.digest LIMIT $5",
		[]any{repository, string(after), before, lockAnyDelete, n}, func(s sqldb.Scan) error {
			var is bool
			if err := s(&last, &is); err != nil {
				return err
			}
			if is {
				untagged = append(untagged, last)
			}
			return nil
		})
	return last, untagged, err
}

// lookAtIndexes calls fn with those indexes that are among up to n manifests of a
// repository behind after, and returns the last manifest, empty if there is none.
func lookAtIndexes(tx *sqldb.Tx, repository int64, after oci.Digest, n int, fn func(mediaType string, data []byte) error) (last oci.Digest, err error) {
	err = tx.Get("SELECT coalesce(max(digest), '') FROM (SELECT digest FROM manifest WHERE repository = $1 AND digest > $2 ORDER BY digest LIMIT $3) AS page",
		[]any{repository, string(after), n}, &last)
	if err != nil || last == "" {
		return last, err
	}
	return last, tx.Each(`SELECT media_type, data FROM manifest
		WHERE repository = $1 AND digest > $2 AND digest <= $3 AND media_type IN ($4, $5)`,
		[]any{repository, string(after), string(last), oci.MediaTypeImageIndex, oci.MediaTypeDockerManifestList}, func(s sqldb.Scan) error {
			var mediaType string
			var data []byte
			if err := s(&mediaType, &data); err != nil {
				return err
			}
			return fn(mediaType, data)
		})
}

// isStillUntagged reports whether a manifest is there and untagged since before a
// time.
func isStillUntagged(tx *sqldb.Tx, repository int64, dgst oci.Digest, before int64) (is bool, err error) {
	err = tx.Get("SELECT count(*) > 0 FROM manifest m WHERE m.repository = $1 AND m.digest = $2 AND "+isUntagged,
		[]any{repository, string(dgst), before, lockAnyDelete}, &is)
	return is, err
}

// allRepositories returns up to n repositories of a registry behind after, whatever
// they hold.
func allRepositories(tx *sqldb.Tx, registry int64, after oci.Repository, n int) ([]oci.Repository, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (r oci.Repository, err error) { return r, s(&r) },
		"SELECT name FROM repository WHERE registry = $1 AND name > $2 ORDER BY name LIMIT $3", registry, string(after), n)
}
