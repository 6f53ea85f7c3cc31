package registry

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// manifestOf is the row id of the manifest that a tag names, given what the tag's
// row is called; null for none.
func (q Quarantine) manifestOf(tag string) string {
	if !q.on() {
		return tag + ".manifest"
	}
	return fmt.Sprintf(`coalesce((SELECT p.id FROM manifest p WHERE p.id = %[1]s.manifest AND p.quarantine = %[2]d),
		(SELECT p.id FROM manifest p WHERE p.id = %[1]s.standing AND p.quarantine = %[2]d))`, tag, passed)
}

// named is the condition that a tag names something.
func (q Quarantine) named(tag string) string {
	if !q.on() {
		return ""
	}
	return fmt.Sprintf(" AND EXISTS (SELECT 1 FROM manifest p WHERE p.id IN (%[1]s.manifest, %[1]s.standing) AND p.quarantine = %[2]d)", tag, passed)
}

// shown is the condition that the caller may know of a manifest.
func (q Quarantine) shown(manifest string) string {
	if q != Hidden {
		return ""
	}
	return fmt.Sprintf(" AND %s.quarantine = %d", manifest, passed)
}

// namesAny reports whether there is such a tag, and it names something.
func namesAny(tx *sqldb.Tx, repository int64, q Quarantine, tag oci.Tag) (bool, error) {
	var one int64
	err := tx.Get("SELECT 1 FROM tag WHERE repository = $1 AND name = $2"+q.named("tag"), []any{repository, string(tag)}, &one)
	if errors.Is(err, sqldb.ErrNoRow) {
		return false, nil
	}
	return err == nil, err
}

// holdTag has a tag wait for a manifest, and returns the number of the push.
func holdTag(tx *sqldb.Tx, name oci.Repository, repository int64, tag oci.Tag, manifest int64) (number int64, err error) {
	var locked locks
	err = tx.Get(`INSERT INTO tag (repository, name, manifest, created_at, updated_at, pushes, settled) VALUES ($1, $2, $3, $4, $4, 1, 0)
		ON CONFLICT (repository, name) DO UPDATE SET manifest = excluded.manifest, pushes = tag.pushes + 1,
		standing = CASE WHEN tag.settled = tag.pushes THEN tag.manifest ELSE tag.standing END
		RETURNING pushes, locks`,
		[]any{repository, string(tag), manifest, tx.Now().UnixNano()}, &number, &locked)
	if err == nil {
		err = locked.allow(lockWrite, thing{repo: name, tag: tag})
	}
	return number, err
}

// putHeldPush stores that a push waits. Of one that is repeated the last counts.
func putHeldPush(tx *sqldb.Tx, repository, manifest int64, tag oci.Tag, number int64, record []byte) error {
	_, err := tx.Exec(`INSERT INTO held_push (repository, manifest, tag, number, record) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (manifest, tag) DO UPDATE SET number = excluded.number, record = excluded.record`,
		repository, manifest, string(tag), number, record)
	return err
}

// atOnce is how many rows one statement is about: it keeps the number of statement
// texts small.
const atOnce = 100

// relatives returns the manifests in a repository of which a column is one of the
// digests.
func relatives(tx *sqldb.Tx, repository int64, column string, digests []oci.Digest) (found []relative, err error) {
	for part := range slices.Chunk(digests, atOnce) {
		args := []any{repository}
		for _, d := range part {
			args = append(args, string(d))
		}
		some, err := sqldb.Select(tx, func(s sqldb.Scan) (r relative, err error) {
			return r, s(&r.id, &r.digest, &r.mediaType)
		}, "SELECT id, digest, media_type FROM manifest WHERE repository = $1 AND "+column+" IN ("+sqldb.In(2, len(part))+") ORDER BY id", args...)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	return found, nil
}

func arguments(first []any, ids []int64) []any {
	for _, id := range ids {
		first = append(first, id)
	}
	return first
}

func setVerdicts(tx *sqldb.Tx, manifests []int64, v verdict) error {
	for part := range slices.Chunk(manifests, atOnce) {
		_, err := tx.Exec("UPDATE manifest SET quarantine = $1, updated_at = $2 WHERE quarantine <> $1 AND id IN ("+sqldb.In(3, len(part))+")",
			arguments([]any{v, tx.Now().UnixNano()}, part)...)
		if err != nil {
			return err
		}
	}
	return nil
}

func setQuarantineDetails(tx *sqldb.Tx, manifest int64, details string) error {
	_, err := tx.Exec("UPDATE manifest SET quarantine_details = $2, updated_at = $3 WHERE id = $1",
		manifest, sql.NullString{String: details, Valid: details != ""}, tx.Now().UnixNano())
	return err
}

// takeHeldPushes removes the pushes that wait for manifests, and returns them in
// their order.
func takeHeldPushes(tx *sqldb.Tx, manifests []int64) (pushes []heldPush, err error) {
	for part := range slices.Chunk(manifests, atOnce) {
		args, some := arguments(nil, part), "("+sqldb.In(1, len(part))+")"
		found, err := sqldb.Select(tx, func(s sqldb.Scan) (p heldPush, err error) {
			var record []byte
			err = s(&p.id, &p.manifest, &p.tag, &p.number, &record, &p.of.digest, &p.of.mediaType, &p.of.artifactType, &p.of.size, &p.of.subject)
			if err == nil {
				err = json.Unmarshal(record, &p.by)
			}
			return p, err
		}, `SELECT h.id, h.manifest, h.tag, h.number, h.record, m.digest, m.media_type, m.artifact_type, m.size, m.subject
			FROM held_push h JOIN manifest m ON m.id = h.manifest WHERE h.manifest IN `+some, args...)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			continue
		}
		if _, err := tx.Exec("DELETE FROM held_push WHERE manifest IN "+some, args...); err != nil {
			return nil, err
		}
		pushes = append(pushes, found...)
	}
	return inOrder(pushes), nil
}

// settleTag moves a tag to a manifest that has passed, of the push with that
// number, and returns the tag's locks, and the digest that it named before, empty if
// it named none. It returns sqldb.ErrNoRow if there is no such tag, or a newer push
// has moved it.
func settleTag(tx *sqldb.Tx, repository int64, tag oci.Tag, manifest, number int64) (locked locks, before oci.Digest, err error) {
	var from sql.NullInt64
	var previous sql.NullString
	err = tx.Get(`UPDATE tag SET
		moved_from = CASE WHEN standing = $3 THEN NULL ELSE standing END,
		previous = CASE WHEN standing IS NULL THEN previous ELSE (SELECT digest FROM manifest WHERE id = tag.standing) END,
		standing = CASE WHEN manifest = $3 THEN NULL ELSE CAST($3 AS BIGINT) END,
		settled = CASE WHEN manifest = $3 THEN pushes ELSE CAST($4 AS BIGINT) END,
		updated_at = $5
		WHERE repository = $1 AND name = $2 AND settled < $4 RETURNING locks, moved_from, previous`,
		[]any{repository, string(tag), manifest, number, tx.Now().UnixNano()}, &locked, &from, &previous)
	if err != nil || !from.Valid {
		return locked, "", err
	}
	return locked, oci.Digest(previous.String), lostTag(tx, from.Int64)
}

// keepTags has the tags that wait for a manifest wait for what they would wait for
// without it, or stay what they are: it is to be deleted.
func keepTags(tx *sqldb.Tx, repository int64, dgst oci.Digest) error {
	const next = `FROM held_push h WHERE h.repository = tag.repository AND h.tag = tag.name AND h.tag <> '' AND h.manifest <> tag.manifest AND h.number > tag.settled`
	_, err := tx.Exec(`UPDATE tag SET
		manifest = coalesce((SELECT h.manifest `+next+` ORDER BY h.number DESC LIMIT 1), standing),
		settled = CASE WHEN EXISTS (SELECT 1 `+next+`) THEN settled ELSE pushes END,
		standing = CASE WHEN EXISTS (SELECT 1 `+next+`) THEN standing END
		WHERE manifest = (SELECT id FROM manifest WHERE repository = $1 AND digest = $2) AND settled <> pushes
		AND (standing IS NOT NULL AND standing <> manifest OR EXISTS (SELECT 1 `+next+`))`, repository, string(dgst))
	return err
}

// forget removes what quarantine knows of a manifest that was deleted: tags stand at
// it no more, unless a lock forbids that, and nothing waits for it.
func forget(tx *sqldb.Tx, name oci.Repository, manifest int64, v verdict) error {
	err := tx.Each("UPDATE tag SET standing = NULL WHERE standing = $1 RETURNING name, locks", []any{manifest}, func(s sqldb.Scan) error {
		var tag oci.Tag
		var locked locks
		if err := s(&tag, &locked); err != nil {
			return err
		}
		return locked.allow(lockAnyDelete, thing{repo: name, tag: tag})
	})
	if err == nil && v != undecided { // nothing ever waited for what is
		_, err = tx.Exec("DELETE FROM held_push WHERE manifest = $1", manifest)
	}
	return err
}

// releaseTag keeps pushes that wait for a tag that was deleted from moving it, should
// it be made again.
func releaseTag(tx *sqldb.Tx, repository int64, tag oci.Tag) error {
	_, err := tx.Exec("UPDATE held_push SET number = 0 WHERE repository = $1 AND tag = $2 AND tag <> ''", repository, string(tag))
	return err
}
