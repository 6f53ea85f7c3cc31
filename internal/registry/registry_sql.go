package registry

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/oci"
	"github.com/dockbell/dockbell/internal/sqldb"
)

// repositoryID returns the row id and the locks of a repository, or
// sqldb.ErrNoRow.
func repositoryID(tx *sqldb.Tx, registry int64, repo oci.Repository) (id int64, locked locks, err error) {
	err = tx.Get("SELECT id, locks FROM repository WHERE registry = $1 AND name = $2 AND locks & $3 = 0", []any{registry, string(repo), gone}, &id, &locked)
	return id, locked, err
}

// touchKnown marks a repository as changed whose row id should be id; it reports
// whether it is, and may be written to.
func touchKnown(tx *sqldb.Tx, registry, id int64, repo oci.Repository) (bool, error) {
	n, err := tx.Exec("UPDATE repository SET updated_at = $4 WHERE id = $1 AND registry = $2 AND name = $3 AND locks & $5 = 0",
		id, registry, string(repo), tx.Now().UnixNano(), lockWrite|gone)
	return n > 0, err
}

// touchRepository makes the repository if need be and marks it as changed. Its
// row is what transactions on one repository serialise on, on engines that run
// several at once. It returns sqldb.ErrNoRow for a registry that was deleted.
func touchRepository(tx *sqldb.Tx, registry int64, repo oci.Repository) (id int64, locked locks, err error) {
	err = tx.Get(`INSERT INTO repository (registry, name, created_at, updated_at)
		SELECT CAST($1 AS BIGINT), $2, $3, CAST($3 AS BIGINT) WHERE NOT EXISTS (SELECT 1 FROM registry WHERE id = $1 AND deleted_at IS NOT NULL)
		ON CONFLICT (registry, name) DO UPDATE SET updated_at = excluded.updated_at,
		created_at = CASE WHEN repository.locks & $4 = 0 THEN repository.created_at ELSE excluded.created_at END,
		locks = CASE WHEN repository.locks & $4 = 0 THEN repository.locks ELSE 0 END RETURNING id, locks`,
		[]any{registry, string(repo), tx.Now().UnixNano(), gone}, &id, &locked)
	return id, locked, err
}

// lockRepository is touchRepository for one that must exist already; otherwise
// it returns sqldb.ErrNoRow.
func lockRepository(tx *sqldb.Tx, registry int64, repo oci.Repository) (id int64, locked locks, err error) {
	err = tx.Get("UPDATE repository SET updated_at = $3 WHERE registry = $1 AND name = $2 AND locks & $4 = 0 RETURNING id, locks",
		[]any{registry, string(repo), tx.Now().UnixNano(), gone}, &id, &locked)
	return id, locked, err
}

// listRepositories returns the repositories that hold a manifest, of which the
// caller may know, and are to be listed.
func listRepositories(tx *sqldb.Tx, registry int64, q Quarantine, last string, n int) ([]oci.Repository, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (r oci.Repository, err error) { return r, s(&r) },
		`SELECT name FROM repository r WHERE registry = $1 AND name > $2 AND locks & $4 = 0
		AND EXISTS (SELECT 1 FROM manifest m WHERE m.repository = r.id`+q.shown("m")+`) ORDER BY name LIMIT $3`,
		registry, last, n, lockList)
}

// manifestRow is a manifest as it is stored.
type manifestRow struct {
	digest       oci.Digest
	mediaType    string
	artifactType string
	subject      sql.NullString
	annotations  sql.NullString // JSON; kept where a referrers list will show them
	data         []byte
	size         int64 // of data, which is not always there
	verdict      verdict
}

// target returns the manifest as events tell of it that was just pushed.
func (m manifestRow) target(repo oci.Repository, tag oci.Tag) event.Target {
	return event.Target{
		MediaType: m.mediaType, ArtifactType: m.artifactType, Size: m.size,
		Digest: string(m.digest), Repository: string(repo), Tag: string(tag),
	}
}

func newManifestRow(m *oci.ParsedManifest, dgst oci.Digest, data []byte) manifestRow {
	row := manifestRow{digest: dgst, mediaType: m.MediaType, artifactType: m.ArtifactType, data: data, size: int64(len(data))}
	if m.Subject != nil {
		row.subject = sql.NullString{String: string(m.Subject.Digest), Valid: true}
		if len(m.Annotations) > 0 {
			text, _ := json.Marshal(m.Annotations) // strings always marshal
			row.annotations = sql.NullString{String: string(text), Valid: true}
		}
	}
	return row
}

// readManifest returns a manifest that may be read, or sqldb.ErrNoRow.
func readManifest(tx *sqldb.Tx, registry int64, q Quarantine, repo oci.Repository, ref oci.Reference) (*oci.Manifest, error) {
	const columns = "SELECT m.digest, m.media_type, m.data, m.quarantine, r.locks, m.locks"
	query, arg := columns+`, t.locks FROM repository r JOIN tag t ON t.repository = r.id JOIN manifest m ON m.id = `+q.manifestOf("t")+`
		WHERE r.registry = $1 AND r.name = $2 AND t.name = $3`, string(ref.Tag)
	if ref.Digest != "" {
		query, arg = columns+`, 0 FROM repository r JOIN manifest m ON m.repository = r.id
		WHERE r.registry = $1 AND r.name = $2 AND m.digest = $3`, string(ref.Digest)
	}
	m := &oci.Manifest{}
	var judged verdict
	var inRepository, onManifest, onTag locks
	err := tx.Get(query, []any{registry, string(repo), arg}, &m.Descriptor.Digest, &m.Descriptor.MediaType, &m.Data, &judged, &inRepository, &onManifest, &onTag)
	if err == nil {
		err = inRepository.allow(lockRead, thing{repo: repo})
	}
	if err == nil && q.hides(judged) {
		err = oci.InQuarantine(repo, m.Descriptor.Digest)
	}
	if err == nil {
		err = onManifest.allow(lockRead, thing{repo: repo, digest: m.Descriptor.Digest})
	}
	if err == nil {
		err = onTag.allow(lockRead, thing{repo: repo, tag: ref.Tag})
	}
	if err != nil {
		return nil, err
	}
	m.Descriptor.Size = int64(len(m.Data))
	return m, nil
}

// checkReferences fails if something the manifest needs is not in the
// repository, or has another size than the manifest says. Blobs that it refers to
// are condemned no longer. The caller holds the repository's row.
func checkReferences(tx *sqldb.Tx, name oci.Repository, repository int64, refs []oci.ManifestReference) error {
	const chunk = 100 // keeps the number of statement texts small
	for part := range slices.Chunk(refs, chunk) {
		if err := checkSome(tx, name, repository, part); err != nil {
			return err
		}
	}
	return nil
}

func checkSome(tx *sqldb.Tx, name oci.Repository, repository int64, refs []oci.ManifestReference) error {
	blobs, manifests := []any{repository}, []any{repository}
	for _, r := range refs {
		switch {
		case r.Kind == oci.RefersChild:
			manifests = append(manifests, string(r.Descriptor.Digest))
		default:
			blobs = append(blobs, string(r.Descriptor.Digest))
		}
	}
	sizes := make(map[oci.Digest]int64, len(refs))
	spared := []any{repository}
	read := func(s sqldb.Scan) error {
		var dgst oci.Digest
		var size int64
		var condemned bool
		err := s(&dgst, &size, &condemned)
		sizes[dgst] = size
		if condemned {
			spared = append(spared, string(dgst))
		}
		return err
	}
	if n := len(blobs) - 1; n > 0 {
		err := tx.Each(`SELECT c.digest, c.size, l.condemned_at IS NOT NULL FROM blob_link l JOIN content c ON c.digest = l.digest
			WHERE l.repository = $1 AND l.digest IN (`+sqldb.In(2, n)+")", blobs, read)
		if err != nil {
			return err
		}
	}
	if n := len(manifests) - 1; n > 0 {
		err := tx.Each("SELECT digest, size, 1 = 0 FROM manifest WHERE repository = $1 AND digest IN ("+sqldb.In(2, n)+")", manifests, read)
		if err != nil {
			return err
		}
	}
	if n := len(spared) - 1; n > 0 {
		if err := spareBlobs(tx, n, spared); err != nil {
			return err
		}
	}
	for _, r := range refs {
		if !r.Distributable() {
			continue
		}
		size, ok := sizes[r.Descriptor.Digest]
		if !ok {
			return oci.ManifestBlobUnknown(name, string(r.Kind), r.Descriptor.Digest)
		}
		if size != r.Descriptor.Size {
			return oci.SizeInvalid("the manifest says that %s %s has %d bytes, but it has %d", r.Kind, r.Descriptor.Digest, r.Descriptor.Size, size)
		}
	}
	return nil
}

// putManifest stores a manifest and returns its row id, and what is decided of it.
// What it refers to is in its bytes.
func putManifest(tx *sqldb.Tx, name oci.Repository, repository int64, m manifestRow) (id int64, is verdict, err error) {
	id, inserted, err := tx.Insert("id", `INSERT INTO manifest (repository, digest, media_type, artifact_type, subject, annotations, size, data, pushed_at, quarantine)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (repository, digest) DO NOTHING`,
		repository, string(m.digest), m.mediaType, m.artifactType, m.subject, m.annotations, len(m.data), m.data, tx.Now().UnixNano(), m.verdict)
	if err != nil {
		return 0, 0, err
	}
	if !inserted {
		return pushedAgain(tx, name, repository, m)
	}
	return id, m.verdict, nil
}

// pushedAgain is putManifest for one that is there already. It gets the media type
// it was pushed with this time, where the manifest leaves that to the request.
func pushedAgain(tx *sqldb.Tx, name oci.Repository, repository int64, m manifestRow) (id int64, is verdict, err error) {
	var locked locks
	err = tx.Get(`UPDATE manifest SET media_type = $3, updated_at = $4, untagged_at = $4, quarantine = CASE quarantine WHEN 0 THEN $5 ELSE quarantine END
		WHERE repository = $1 AND digest = $2 RETURNING id, locks, quarantine`,
		[]any{repository, string(m.digest), m.mediaType, tx.Now().UnixNano(), m.verdict}, &id, &locked, &is)
	if err == nil {
		err = locked.allow(lockWrite, thing{repo: name, digest: m.digest})
	}
	return id, is, err
}

// deleteManifest removes a manifest and the tags that name it, if no lock is in
// the way. It returns sqldb.ErrNoRow if there is none.
func deleteManifest(tx *sqldb.Tx, name oci.Repository, repository int64, dgst oci.Digest) (row manifestRow, tags []oci.Tag, err error) {
	var id int64
	var locked locks
	row.digest = dgst
	err = tx.Get("DELETE FROM manifest WHERE repository = $1 AND digest = $2 RETURNING id, media_type, artifact_type, quarantine, locks",
		[]any{repository, string(dgst)}, &id, &row.mediaType, &row.artifactType, &row.verdict, &locked)
	if err == nil {
		err = locked.allow(lockAnyDelete, thing{repo: name, digest: dgst})
	}
	if err == nil {
		err = forget(tx, name, id, row.verdict)
	}
	if err != nil {
		return row, nil, err
	}
	err = tx.Each("DELETE FROM tag WHERE manifest = $1 RETURNING name, locks", []any{id}, func(s sqldb.Scan) error {
		var tag oci.Tag
		if err := s(&tag, &locked); err != nil {
			return err
		}
		tags = append(tags, tag)
		return locked.allow(lockAnyDelete, thing{repo: name, tag: tag})
	})
	for _, tag := range tags {
		if err == nil {
			err = releaseTag(tx, repository, tag)
		}
	}
	return row, tags, err
}

// moveTag points a tag at a manifest and remembers where it pointed before: not at
// what only waits in quarantine. It returns the digest of that, empty if it is the
// same manifest or the tag named none.
func moveTag(tx *sqldb.Tx, name oci.Repository, repository int64, tag oci.Tag, manifest int64) (before oci.Digest, err error) {
	const named = "(CASE WHEN tag.settled = tag.pushes THEN tag.manifest ELSE tag.standing END)"
	var from sql.NullInt64
	var previous sql.NullString
	err = tx.Get(`INSERT INTO tag (repository, name, manifest, created_at, updated_at, pushes, settled) VALUES ($1, $2, $3, $4, $4, 1, 1)
		ON CONFLICT (repository, name) DO UPDATE SET manifest = excluded.manifest, updated_at = excluded.updated_at,
		pushes = tag.pushes + 1, settled = tag.pushes + 1, standing = NULL,
		moved_from = CASE WHEN `+named+` = excluded.manifest THEN NULL ELSE `+named+` END,
		previous = CASE WHEN `+named+` IS NULL OR `+named+` = excluded.manifest THEN tag.previous
			ELSE (SELECT digest FROM manifest WHERE id = `+named+`) END
		WHERE tag.locks & $5 = 0 RETURNING moved_from, previous`,
		[]any{repository, string(tag), manifest, tx.Now().UnixNano(), lockWrite}, &from, &previous)
	switch {
	case errors.Is(err, sqldb.ErrNoRow):
		return "", lockWrite.allow(lockWrite, thing{repo: name, tag: tag})
	case err != nil || !from.Valid:
		return "", err
	}
	return oci.Digest(previous.String), lostTag(tx, from.Int64)
}

// deleteTag removes a tag that may be deleted and returns what is known of its
// manifest without its bytes, or sqldb.ErrNoRow. One that waits for its first
// manifest to pass is deleted as well; the manifest is then what was pushed last.
func deleteTag(tx *sqldb.Tx, name oci.Repository, repository int64, q Quarantine, tag oci.Tag) (row manifestRow, err error) {
	var locked locks
	var manifest int64
	err = tx.Get("DELETE FROM tag WHERE repository = $1 AND name = $2 RETURNING coalesce("+q.manifestOf("tag")+", tag.manifest), locks",
		[]any{repository, string(tag)}, &manifest, &locked)
	if err == nil {
		err = locked.allow(lockAnyDelete, thing{repo: name, tag: tag})
	}
	if err == nil {
		err = tx.Get("SELECT digest, media_type, artifact_type FROM manifest WHERE id = $1", []any{manifest}, &row.digest, &row.mediaType, &row.artifactType)
	}
	if err == nil {
		err = releaseTag(tx, repository, tag)
	}
	if err == nil {
		err = lostTag(tx, manifest)
	}
	return row, err
}

func listTags(tx *sqldb.Tx, repository int64, q Quarantine, last string, n int) ([]oci.Tag, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (t oci.Tag, err error) { return t, s(&t) },
		"SELECT name FROM tag WHERE repository = $1 AND name > $2 AND locks & $4 = 0"+q.named("tag")+" ORDER BY name LIMIT $3", repository, last, n, lockList)
}

func listReferrers(tx *sqldb.Tx, repository int64, q Quarantine, subject oci.Digest, artifactType, last string, n int) ([]oci.Descriptor, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (oci.Descriptor, error) {
		var d oci.Descriptor
		var annotations sql.NullString
		if err := s(&d.Digest, &d.MediaType, &d.ArtifactType, &d.Size, &annotations); err != nil {
			return d, err
		}
		if annotations.Valid {
			if err := json.Unmarshal([]byte(annotations.String), &d.Annotations); err != nil {
				return d, fmt.Errorf("annotations of %s: %w", d.Digest, err)
			}
		}
		return d, nil
	}, `SELECT digest, media_type, artifact_type, size, annotations FROM manifest
		WHERE repository = $1 AND subject = $2 AND digest > $3 AND ($4 = '' OR artifact_type = $4)
		AND locks & $6 = 0`+q.shown("manifest")+` ORDER BY digest LIMIT $5`, repository, string(subject), last, artifactType, n, lockList)
}

// contentRow is a blob's content as it is stored: in data, or in file.
type contentRow struct {
	size int64
	data []byte
	file sql.NullString
}

// readBlob returns a blob's content if it is linked to the repository and may be
// read there, else sqldb.ErrNoRow.
func readBlob(tx *sqldb.Tx, registry int64, repo oci.Repository, dgst oci.Digest) (c contentRow, err error) {
	var locked locks
	err = tx.Get(`SELECT c.size, c.data, c.file, r.locks FROM repository r
		JOIN blob_link l ON l.repository = r.id JOIN content c ON c.digest = l.digest
		WHERE r.registry = $1 AND r.name = $2 AND l.digest = $3 AND r.locks & $4 = 0`,
		[]any{registry, string(repo), string(dgst), gone}, &c.size, &c.data, &c.file, &locked)
	if err == nil {
		err = locked.allow(lockRead, thing{repo: repo})
	}
	return c, err
}

// statBlob returns the size of a blob that readBlob would return, and whether it is
// condemned; it fails like that.
func statBlob(tx *sqldb.Tx, registry int64, repo oci.Repository, dgst oci.Digest) (size int64, condemned bool, err error) {
	var locked locks
	err = tx.Get(`SELECT c.size, r.locks, l.condemned_at IS NOT NULL FROM repository r
		JOIN blob_link l ON l.repository = r.id JOIN content c ON c.digest = l.digest
		WHERE r.registry = $1 AND r.name = $2 AND l.digest = $3 AND r.locks & $4 = 0`,
		[]any{registry, string(repo), string(dgst), gone}, &size, &locked, &condemned)
	if err == nil {
		err = locked.allow(lockRead, thing{repo: repo})
	}
	return size, condemned, err
}

// findBlob returns the size of a blob that any repository of the registry
// links that may be read, or sqldb.ErrNoRow.
func findBlob(tx *sqldb.Tx, registry int64, dgst oci.Digest) (size int64, err error) {
	err = tx.Get(`SELECT c.size FROM blob_link l JOIN repository r ON r.id = l.repository JOIN content c ON c.digest = l.digest
		WHERE l.digest = $1 AND r.registry = $2 AND r.locks & $3 = 0 LIMIT 1`, []any{string(dgst), registry, lockRead | gone}, &size)
	return size, err
}

// putContent stores content under its digest, or holds what is there: isNew is
// false then. So it can be linked.
func putContent(tx *sqldb.Tx, dgst oci.Digest, c contentRow) (isNew bool, err error) {
	for {
		n, err := tx.Exec(`INSERT INTO content (digest, size, data, file, created_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (digest) DO NOTHING`, string(dgst), c.size, c.data, c.file, tx.Now().UnixNano())
		if err != nil || n > 0 {
			return n > 0, err
		}
		if err := holdContent(tx, dgst); !errors.Is(err, sqldb.ErrNoRow) {
			return false, err
		}
		// It was collected in between.
	}
}

// holdContent keeps a content that is there from being collected until the end of
// the transaction, which links it. It returns sqldb.ErrNoRow if there is none.
func holdContent(tx *sqldb.Tx, dgst oci.Digest) error {
	var one int
	return tx.Hold("SELECT 1 FROM content WHERE digest = $1", []any{string(dgst)}, &one)
}

// linkBlob links a content that putContent stored or holdContent holds. A link that
// is there is condemned no longer.
func linkBlob(tx *sqldb.Tx, repository int64, dgst oci.Digest) error {
	_, err := tx.Exec(`INSERT INTO blob_link (repository, digest, linked_at) VALUES ($1, $2, $3)
		ON CONFLICT (digest, repository) DO UPDATE SET linked_at = excluded.linked_at, condemned_at = NULL WHERE blob_link.condemned_at IS NOT NULL`,
		repository, string(dgst), tx.Now().UnixNano())
	return err
}

func unlinkBlob(tx *sqldb.Tx, repository int64, dgst oci.Digest) (int64, error) {
	return tx.Exec("DELETE FROM blob_link WHERE repository = $1 AND digest = $2", repository, string(dgst))
}

// uploadRow is an upload session that has bytes, or was cancelled.
type uploadRow struct {
	id         string
	registry   int64
	repository oci.Repository
	size       int64
	hashState  []byte
	data       []byte
	file       bool // the bytes are staged in the blob store, under id
	cancelled  bool
}

// readUpload returns a session of the repository, and the locks of that; stored
// is false if there is no row for it yet.
func readUpload(tx *sqldb.Tx, registry int64, repo oci.Repository, id string) (u uploadRow, stored bool, locked locks, err error) {
	var size sql.NullInt64
	var file sql.NullString
	var cancelled sql.NullBool
	u = uploadRow{id: id, registry: registry, repository: repo}
	err = tx.Get(`SELECT u.size, u.hash_state, u.data, u.file, u.cancelled,
		coalesce((SELECT locks FROM repository WHERE registry = $2 AND name = $3), 0)
		FROM (SELECT 1) AS one LEFT JOIN upload u ON u.id = $1`, []any{id, registry, string(repo)},
		&size, &u.hashState, &u.data, &file, &cancelled, &locked)
	u.size, u.file, u.cancelled = size.Int64, file.Valid, cancelled.Bool
	return u, size.Valid, locked, err
}

func putUpload(tx *sqldb.Tx, u uploadRow) error {
	file := sql.NullString{String: u.id, Valid: u.file}
	_, err := tx.Exec(`INSERT INTO upload (id, registry, repository, size, hash_state, data, file, cancelled, started_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
		ON CONFLICT (id) DO UPDATE SET size = excluded.size, hash_state = excluded.hash_state, data = excluded.data,
		file = excluded.file, cancelled = excluded.cancelled, updated_at = excluded.updated_at`,
		u.id, u.registry, string(u.repository), u.size, u.hashState, u.data, file, u.cancelled, tx.Now().UnixNano())
	return err
}

func deleteUpload(tx *sqldb.Tx, id string) error {
	_, err := tx.Exec("DELETE FROM upload WHERE id = $1", id)
	return err
}
