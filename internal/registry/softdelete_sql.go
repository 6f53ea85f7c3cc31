package registry

import (
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// repositoryEvenGone is repositoryID for one that may be gone.
func repositoryEvenGone(tx *sqldb.Tx, registry int64, repo oci.Repository) (id int64, err error) {
	err = tx.Get("SELECT id FROM repository WHERE registry = $1 AND name = $2", []any{registry, string(repo)}, &id)
	return id, err
}

// reviveRepository is lockRepository for one that may be gone, and then is not any more.
func reviveRepository(tx *sqldb.Tx, registry int64, repo oci.Repository) (id int64, locked locks, err error) {
	err = tx.Get("UPDATE repository SET updated_at = $3, locks = locks & $4 WHERE registry = $1 AND name = $2 RETURNING id, locks",
		[]any{registry, string(repo), tx.Now().UnixNano(), ^gone}, &id, &locked)
	return id, locked, err
}

// keepManifest copies a manifest that is about to be deleted, and the tags that name it
// or stand at it, to what can be restored. It takes the place of what there is of an
// earlier time.
func keepManifest(tx *sqldb.Tx, repository int64, dgst oci.Digest, by string) error {
	args := []any{repository, string(dgst), tx.Now().UnixNano(), by}
	_, err := tx.Exec(`INSERT INTO deleted_manifest (repository, digest, media_type, artifact_type, subject, annotations, size, data, pushed_at,
			locks, quarantine, quarantine_details, deleted_at, deleted_by)
		SELECT repository, digest, media_type, artifact_type, subject, annotations, size, data, pushed_at,
			locks, quarantine, quarantine_details, CAST($3 AS BIGINT), $4 FROM manifest WHERE repository = $1 AND digest = $2
		ON CONFLICT (repository, digest) DO UPDATE SET media_type = excluded.media_type, artifact_type = excluded.artifact_type,
			pushed_at = excluded.pushed_at, locks = excluded.locks, quarantine = excluded.quarantine,
			quarantine_details = excluded.quarantine_details, deleted_at = excluded.deleted_at, deleted_by = excluded.deleted_by`, args...)
	if err != nil {
		return err
	}
	const id = "(SELECT id FROM manifest WHERE repository = $1 AND digest = $2)"
	_, err = tx.Exec(`INSERT INTO deleted_tag (repository, name, digest, locks, deleted_at, deleted_by)
		SELECT repository, name, $2, locks, CAST($3 AS BIGINT), $4 FROM tag WHERE manifest = `+id+` OR standing = `+id+onDeletedAgain, args...)
	return err
}

const onDeletedAgain = ` ON CONFLICT (repository, name, digest) DO UPDATE SET
	locks = excluded.locks, deleted_at = excluded.deleted_at, deleted_by = excluded.deleted_by`

// keepTag does the same with a tag alone. Of one that names nothing yet the manifest is
// what was pushed last, as for deleteTag.
func keepTag(tx *sqldb.Tx, repository int64, q Quarantine, tag oci.Tag, by string) error {
	_, err := tx.Exec(`INSERT INTO deleted_tag (repository, name, digest, locks, deleted_at, deleted_by)
		SELECT tag.repository, tag.name, m.digest, tag.locks, CAST($3 AS BIGINT), $4
		FROM tag JOIN manifest m ON m.id = coalesce(`+q.manifestOf("tag")+`, tag.manifest)
		WHERE tag.repository = $1 AND tag.name = $2`+onDeletedAgain,
		repository, string(tag), tx.Now().UnixNano(), by)
	return err
}

// forgetDeleted removes what there is of an earlier time of a manifest that goes for
// good now. Its tags without it are in no list, and go by their age.
func forgetDeleted(tx *sqldb.Tx, repository int64, dgst oci.Digest) error {
	_, err := tx.Exec("DELETE FROM deleted_manifest WHERE repository = $1 AND digest = $2", repository, string(dgst))
	return err
}

// deletedRepositories returns the repositories that hold no manifest that is there, and
// deleted ones, of which the caller may know, and are to be listed.
func deletedRepositories(tx *sqldb.Tx, registry int64, q Quarantine, last string, n int) ([]oci.Repository, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (r oci.Repository, err error) { return r, s(&r) },
		`SELECT name FROM repository r WHERE registry = $1 AND name > $2 AND locks & $4 = 0
		AND EXISTS (SELECT 1 FROM deleted_manifest d WHERE d.repository = r.id`+q.shown("d")+`)
		AND NOT EXISTS (SELECT 1 FROM manifest m WHERE m.repository = r.id) ORDER BY name LIMIT $3`,
		registry, last, n, lockList)
}

// notThere is the condition that a row d of deleted_manifest counts.
const notThere = " AND NOT EXISTS (SELECT 1 FROM manifest m WHERE m.repository = d.repository AND m.digest = d.digest)"

// deletionTime returns when a manifest was deleted, or sqldb.ErrNoRow.
func deletionTime(tx *sqldb.Tx, repository int64, dgst string) (at int64, err error) {
	err = tx.Get("SELECT deleted_at FROM deleted_manifest WHERE repository = $1 AND digest = $2", []any{repository, dgst}, &at)
	return at, err
}

// deletedManifests lists those of which the caller may know, without their tags.
func deletedManifests(tx *sqldb.Tx, repository int64, q Quarantine, order oci.Order, from place, n int) ([]oci.DeletedManifest, error) {
	behind, by, position := from.sequence(order, "d.digest", "d.deleted_at", 4)
	return sqldb.Select(tx, func(s sqldb.Scan) (m oci.DeletedManifest, err error) {
		var created, deleted clock
		var judged verdict
		err = s(&m.Digest, &m.MediaType, &m.ArtifactType, &created, &deleted, &m.DeletedBy, &judged, &m.QuarantineDetails)
		m.CreatedAt, m.DeletedAt, m.Quarantine = created.time(), deleted.time(), q.state(judged)
		return m, err
	}, `SELECT d.digest, d.media_type, d.artifact_type, d.pushed_at, d.deleted_at, d.deleted_by, d.quarantine, coalesce(d.quarantine_details, '')
		FROM deleted_manifest d WHERE d.repository = $1 AND d.locks & $2 = 0`+notThere+q.shown("d")+" AND "+behind+" ORDER BY "+by+" LIMIT $3",
		append([]any{repository, lockList, n}, position...)...)
}

// deletedTags lists the tags whose manifest is there, or can be restored, unless they
// name it again, in order of name and deletion.
func deletedTags(tx *sqldb.Tx, repository int64, q Quarantine, after oci.DeletedTag, n int) ([]oci.DeletedTag, error) {
	judged := `coalesce((SELECT m.quarantine FROM manifest m WHERE m.repository = t.repository AND m.digest = t.digest),
		(SELECT d.quarantine FROM deleted_manifest d WHERE d.repository = t.repository AND d.digest = t.digest))`
	known := judged + " IS NOT NULL"
	args := []any{repository, string(after.Name), n, lockList}
	if q == Hidden {
		known = judged + " = $5"
		args = append(args, passed)
	}
	behind := "t.name > $2"
	if after.Digest != "" {
		at := len(args) + 1
		behind = "(t.name, t.deleted_at, t.digest) > ($2, " + sqldb.In(at, 2) + ")"
		args = append(args, after.DeletedAt.UnixNano(), string(after.Digest))
	}
	return sqldb.Select(tx, func(s sqldb.Scan) (t oci.DeletedTag, err error) {
		var deleted clock
		err = s(&t.Name, &t.Digest, &deleted, &t.DeletedBy)
		t.DeletedAt = deleted.time()
		return t, err
	}, `SELECT t.name, t.digest, t.deleted_at, t.deleted_by FROM deleted_tag t WHERE t.repository = $1 AND t.locks & $4 = 0 AND `+known+`
		AND NOT EXISTS (SELECT 1 FROM tag l JOIN manifest m ON m.id IN (l.manifest, l.standing)
			WHERE l.repository = t.repository AND l.name = t.name AND m.digest = t.digest)
		AND `+behind+` ORDER BY t.name, t.deleted_at, t.digest LIMIT $3`, args...)
}

// deletedTag is a tag that is to come back.
type deletedTag struct {
	name  oci.Tag
	locks locks
	inUse bool // by another manifest
}

// tagsThatWent returns the tags that were deleted along with a manifest.
func tagsThatWent(tx *sqldb.Tx, repository int64, dgst oci.Digest) ([]deletedTag, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (t deletedTag, err error) { return t, s(&t.name, &t.locks) },
		`SELECT t.name, t.locks FROM deleted_manifest d JOIN deleted_tag t ON t.repository = d.repository AND t.digest = d.digest
		WHERE d.repository = $1 AND d.digest = $2 AND t.deleted_at = d.deleted_at ORDER BY t.name`, repository, string(dgst))
}

// deletedTagLocks returns the locks that a tag had when it was deleted from a manifest,
// or sqldb.ErrNoRow.
func deletedTagLocks(tx *sqldb.Tx, repository int64, tag oci.Tag, dgst oci.Digest) (locked locks, err error) {
	err = tx.Get("SELECT locks FROM deleted_tag WHERE repository = $1 AND name = $2 AND digest = $3", []any{repository, string(tag), string(dgst)}, &locked)
	return locked, err
}

// manifestThere returns a manifest that is not deleted, without its bytes, and its locks,
// or sqldb.ErrNoRow.
func manifestThere(tx *sqldb.Tx, repository int64, dgst oci.Digest) (id int64, row manifestRow, locked locks, err error) {
	row.digest = dgst
	err = tx.Get("SELECT id, media_type, artifact_type, subject, size, quarantine, locks FROM manifest WHERE repository = $1 AND digest = $2",
		[]any{repository, string(dgst)}, &id, &row.mediaType, &row.artifactType, &row.subject, &row.size, &row.verdict, &locked)
	return id, row, locked, err
}

// deletedData returns a deleted manifest's bytes, or sqldb.ErrNoRow.
func deletedData(tx *sqldb.Tx, repository int64, dgst oci.Digest) (mediaType string, data []byte, err error) {
	err = tx.Get("SELECT media_type, data FROM deleted_manifest WHERE repository = $1 AND digest = $2", []any{repository, string(dgst)}, &mediaType, &data)
	return mediaType, data, err
}

// reviveManifest moves a deleted manifest back to those that are there. One that nothing
// was decided of gets the verdict of one that is new.
func reviveManifest(tx *sqldb.Tx, repository int64, dgst oci.Digest, v verdict) error {
	_, err := tx.Exec(`INSERT INTO manifest (repository, digest, media_type, artifact_type, subject, annotations, size, data, pushed_at,
			locks, updated_at, untagged_at, quarantine, quarantine_details)
		SELECT repository, digest, media_type, artifact_type, subject, annotations, size, data, pushed_at,
			locks, CAST($3 AS BIGINT), $3, CASE quarantine WHEN 0 THEN $4 ELSE quarantine END, quarantine_details
		FROM deleted_manifest WHERE repository = $1 AND digest = $2`, repository, string(dgst), tx.Now().UnixNano(), v)
	if err != nil {
		return err
	}
	return forgetDeleted(tx, repository, dgst)
}

// namedBy returns the digest of what a tag names, or of what it waits for if it names
// nothing; sqldb.ErrNoRow if there is no such tag.
func namedBy(tx *sqldb.Tx, repository int64, q Quarantine, tag oci.Tag) (dgst oci.Digest, err error) {
	err = tx.Get("SELECT m.digest FROM tag JOIN manifest m ON m.id = coalesce("+q.manifestOf("tag")+", tag.manifest) WHERE tag.repository = $1 AND tag.name = $2",
		[]any{repository, string(tag)}, &dgst)
	return dgst, err
}

// bringTag completes a tag that was made again: it has the locks that it had, and is
// not deleted any more.
func bringTag(tx *sqldb.Tx, repository int64, t deletedTag, dgst oci.Digest) error {
	if t.locks != 0 && !t.inUse {
		if _, err := setTagLocks(tx, repository, t.name, lockChange{set: t.locks}); err != nil {
			return err
		}
	}
	_, err := tx.Exec("DELETE FROM deleted_tag WHERE repository = $1 AND name = $2 AND digest = $3", repository, string(t.name), string(dgst))
	return err
}

// repositoryDue is a repository, and whether anything is to be purged in it.
type repositoryDue struct {
	name oci.Repository
	due  bool
}

// lookForDeleted looks at up to n repositories of a registry behind after for what was
// deleted before a time.
func lookForDeleted(tx *sqldb.Tx, registry int64, after oci.Repository, before int64, n int) ([]repositoryDue, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (r repositoryDue, err error) { return r, s(&r.name, &r.due) },
		`SELECT name, EXISTS (SELECT 1 FROM deleted_manifest d WHERE d.repository = r.id AND d.deleted_at < $3)
			OR EXISTS (SELECT 1 FROM deleted_tag t WHERE t.repository = r.id AND t.deleted_at < $3)
		FROM repository r WHERE registry = $1 AND name > $2 ORDER BY name LIMIT $4`, registry, string(after), before, n)
}

// holdEvenGone makes the transaction the only one that changes a repository, which may
// be gone. It returns sqldb.ErrNoRow if there is none.
func holdEvenGone(tx *sqldb.Tx, registry int64, repo oci.Repository) (id int64, locked locks, err error) {
	err = tx.HoldAlone("SELECT id, locks FROM repository WHERE registry = $1 AND name = $2", []any{registry, string(repo)}, &id, &locked)
	return id, locked, err
}

// purgeManifests removes up to n manifests of a repository that were deleted before a
// time, and returns which.
func purgeManifests(tx *sqldb.Tx, repository, before int64, n int) (digests []oci.Digest, err error) {
	err = tx.Each(`DELETE FROM deleted_manifest WHERE id IN
		(SELECT id FROM deleted_manifest WHERE repository = $1 AND deleted_at < $2 ORDER BY deleted_at LIMIT $3) RETURNING digest`,
		[]any{repository, before, n}, func(s sqldb.Scan) error {
			var dgst oci.Digest
			err := s(&dgst)
			digests = append(digests, dgst)
			return err
		})
	return digests, err
}

// purgeTags removes up to n tags of a repository that were deleted before a time.
func purgeTags(tx *sqldb.Tx, repository, before int64, n int) (int64, error) {
	return tx.Exec(`DELETE FROM deleted_tag WHERE repository = $1 AND (name, digest) IN
		(SELECT name, digest FROM deleted_tag WHERE repository = $1 AND deleted_at < $2 ORDER BY deleted_at LIMIT $3)`, repository, before, n)
}
