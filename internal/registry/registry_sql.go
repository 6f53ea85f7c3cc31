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
	err = tx.Get("SELECT id, locks FROM repository WHERE registry = $1 AND name = $2", []any{registry, string(repo)}, &id, &locked)
	return id, locked, err
}

// touchKnown marks a repository as changed whose row id should be id; it reports
// whether it is, and may be written to.
func touchKnown(tx *sqldb.Tx, registry, id int64, repo oci.Repository) (bool, error) {
	n, err := tx.Exec("UPDATE repository SET updated_at = $4 WHERE id = $1 AND registry = $2 AND name = $3 AND locks & $5 = 0",
		id, registry, string(repo), tx.Now().UnixNano(), lockWrite)
	return n > 0, err
}

// touchRepository makes the repository if need be and marks it as changed. Its
// row is what transactions on one repository serialise on, on engines that run
// several at once. It returns sqldb.ErrNoRow for a registry that was deleted.
func touchRepository(tx *sqldb.Tx, registry int64, repo oci.Repository) (id int64, locked locks, err error) {
	err = tx.Get(`INSERT INTO repository (registry, name, created_at, updated_at)
		SELECT CAST($1 AS BIGINT), $2, $3, CAST($3 AS BIGINT) WHERE NOT EXISTS (SELECT 1 FROM registry WHERE id = $1 AND deleted_at IS NOT NULL)
		ON CONFLICT (registry, name) DO UPDATE SET updated_at = excluded.updated_at RETURNING id, locks`,
		[]any{registry, string(repo), tx.Now().UnixNano()}, &id, &locked)
	return id, locked, err
}

// lockRepository is touchRepository for one that must exist already; otherwise
// it returns sqldb.ErrNoRow.
func lockRepository(tx *sqldb.Tx, registry int64, repo oci.Repository) (id int64, locked locks, err error) {
	err = tx.Get("UPDATE repository SET updated_at = $3 WHERE registry = $1 AND name = $2 RETURNING id, locks",
		[]any{registry, string(repo), tx.Now().UnixNano()}, &id, &locked)
	return id, locked, err
}

// listRepositories returns the repositories that hold a manifest and are to be
// listed.
func listRepositories(tx *sqldb.Tx, registry int64, last string, n int) ([]oci.Repository, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (r oci.Repository, err error) { return r, s(&r) },
		`SELECT name FROM repository r WHERE registry = $1 AND name > $2 AND locks & $4 = 0
		AND EXISTS (SELECT 1 FROM manifest m WHERE m.repository = r.id) ORDER BY name LIMIT $3`,
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
}

// target returns the manifest as events tell of it that was just pushed.
func (m manifestRow) target(repo oci.Repository, tag oci.Tag) event.Target {
	return event.Target{
		MediaType: m.mediaType, ArtifactType: m.artifactType, Size: int64(len(m.data)),
		Digest: string(m.digest), Repository: string(repo), Tag: string(tag),
	}
}

func newManifestRow(m *oci.ParsedManifest, dgst oci.Digest, data []byte) manifestRow {
	row := manifestRow{digest: dgst, mediaType: m.MediaType, artifactType: m.ArtifactType, data: data}
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
func readManifest(tx *sqldb.Tx, registry int64, repo oci.Repository, ref oci.Reference) (*oci.Manifest, error) {
	const columns = "SELECT m.digest, m.media_type, m.data, r.locks, m.locks"
	query, arg := columns+`, t.locks FROM repository r JOIN tag t ON t.repository = r.id JOIN manifest m ON m.id = t.manifest
		WHERE r.registry = $1 AND r.name = $2 AND t.name = $3`, string(ref.Tag)
	if ref.Digest != "" {
		query, arg = columns+`, 0 FROM repository r JOIN manifest m ON m.repository = r.id
		WHERE r.registry = $1 AND r.name = $2 AND m.digest = $3`, string(ref.Digest)
	}
	m := &oci.Manifest{}
	var inRepository, onManifest, onTag locks
	err := tx.Get(query, []any{registry, string(repo), arg}, &m.Descriptor.Digest, &m.Descriptor.MediaType, &m.Data, &inRepository, &onManifest, &onTag)
	if err == nil {
		err = inRepository.allow(lockRead, thing{repo: repo})
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
// repository, or has another size than the manifest says.
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
		case r.Distributable():
			blobs = append(blobs, string(r.Descriptor.Digest))
		}
	}
	sizes := make(map[oci.Digest]int64, len(refs))
	read := func(s sqldb.Scan) error {
		var dgst oci.Digest
		var size int64
		err := s(&dgst, &size)
		sizes[dgst] = size
		return err
	}
	if n := len(blobs) - 1; n > 0 {
		err := tx.Each(`SELECT c.digest, c.size FROM blob_link l JOIN content c ON c.digest = l.digest
			WHERE l.repository = $1 AND l.digest IN (`+sqldb.In(2, n)+")", blobs, read)
		if err != nil {
			return err
		}
	}
	if n := len(manifests) - 1; n > 0 {
		err := tx.Each("SELECT digest, size FROM manifest WHERE repository = $1 AND digest IN ("+sqldb.In(2, n)+")", manifests, read)
		if err != nil {
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

// putManifest stores a manifest and returns its row id. What it refers to is in
// its bytes.
func putManifest(tx *sqldb.Tx, name oci.Repository, repository int64, m manifestRow) (id int64, err error) {
	id, inserted, err := tx.Insert("id", `INSERT INTO manifest (repository, digest, media_type, artifact_type, subject, annotations, size, data, pushed_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (repository, digest) DO NOTHING`,
		repository, string(m.digest), m.mediaType, m.artifactType, m.subject, m.annotations, len(m.data), m.data, tx.Now().UnixNano())
	if err != nil {
		return 0, err
	}
	if !inserted {
		return pushedAgain(tx, name, repository, m)
	}
	return id, nil
}

// pushedAgain returns the row id of a manifest that is there already, and gives
// it the media type it was pushed with this time, where the manifest leaves that
// to the request.
func pushedAgain(tx *sqldb.Tx, name oci.Repository, repository int64, m manifestRow) (id int64, err error) {
	var locked locks
	err = tx.Get("UPDATE manifest SET media_type = $3, updated_at = $4, untagged_at = $4 WHERE repository = $1 AND digest = $2 RETURNING id, locks",
		[]any{repository, string(m.digest), m.mediaType, tx.Now().UnixNano()}, &id, &locked)
	if err == nil {
		err = locked.allow(lockWrite, thing{repo: name, digest: m.digest})
	}
	return id, err
}

// deleteManifest removes a manifest and the tags that name it, if no lock is in
// the way. It returns sqldb.ErrNoRow if there is none.
func deleteManifest(tx *sqldb.Tx, name oci.Repository, repository int64, dgst oci.Digest) (row manifestRow, tags []oci.Tag, err error) {
	var id int64
	var locked locks
	row.digest = dgst
	err = tx.Get("DELETE FROM manifest WHERE repository = $1 AND digest = $2 RETURNING id, media_type, artifact_type, locks",
		[]any{repository, string(dgst)}, &id, &row.mediaType, &row.artifactType, &locked)
	if err == nil {
		err = locked.allow(lockAnyDelete, thing{repo: name, digest: dgst})
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
	return row, tags, err
}

// moveTag points a tag at a manifest and remembers where it pointed before. It
// returns the digest of that, empty if it is the same manifest or the tag is new.
func moveTag(tx *sqldb.Tx, name oci.Repository, repository int64, tag oci.Tag, manifest int64) (before oci.Digest, err error) {
	var from sql.NullInt64
	var previous sql.NullString
	err = tx.Get(`INSERT INTO tag (repository, name, manifest, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (repository, name) DO UPDATE SET manifest = excluded.manifest, updated_at = excluded.updated_at,
		moved_from = CASE WHEN tag.manifest = excluded.manifest THEN NULL ELSE tag.manifest END,
		previous = CASE WHEN tag.manifest = excluded.manifest THEN tag.previous
			ELSE (SELECT digest FROM manifest WHERE id = tag.manifest) END
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
// manifest without its bytes, or sqldb.ErrNoRow.
func deleteTag(tx *sqldb.Tx, name oci.Repository, repository int64, tag oci.Tag) (row manifestRow, err error) {
	var locked locks
	var manifest int64
	err = tx.Get("DELETE FROM tag WHERE repository = $1 AND name = $2 RETURNING manifest, locks", []any{repository, string(tag)}, &manifest, &locked)
	if err == nil {
		err = locked.allow(lockAnyDelete, thing{repo: name, tag: tag})
	}
	if err == nil {
		err = tx.Get("SELECT digest, media_type, artifact_type FROM manifest WHERE id = $1", []any{manifest}, &row.digest, &row.mediaType, &row.artifactType)
	}
	if err == nil {
		err = lostTag(tx, manifest)
	}
	return row, err
}

func listTags(tx *sqldb.Tx, repository int64, last string, n int) ([]oci.Tag, error) {
	return sqldb.Select(tx, func(s sqldb.Scan) (t oci.Tag, err error) { return t, s(&t) },
		"SELECT name FROM tag WHERE repository = $1 AND name > $2 AND locks & $4 = 0 ORDER BY name LIMIT $3", repository, last, n, lockList)
}

func listReferrers(tx *sqldb.Tx, repository int64, subject oci.Digest, artifactType, last string, n int) ([]oci.Descriptor, error) {
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
		AND locks & $6 = 0 ORDER BY digest LIMIT $5`, repository, string(subject), last, artifactType, n, lockList)
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
		WHERE r.registry = $1 AND r.name = $2 AND l.digest = $3`,
		[]any{registry, string(repo), string(dgst)}, &c.size, &c.data, &c.file, &locked)
	if err == nil {
		err = locked.allow(lockRead, thing{repo: repo})
	}
	return c, err
}

// statBlob returns the size of a blob that readBlob would return, and fails like
// it.
func statBlob(tx *sqldb.Tx, registry int64, repo oci.Repository, dgst oci.Digest) (size int64, err error) {
	var locked locks
	err = tx.Get(`SELECT c.size, r.locks FROM repository r
		JOIN blob_link l ON l.repository = r.id JOIN content c ON c.digest = l.digest
		WHERE r.registry = $1 AND r.name = $2 AND l.digest = $3`,
		[]any{registry, string(repo), string(dgst)}, &size, &locked)
	if err == nil {
		err = locked.allow(lockRead, thing{repo: repo})
	}
	return size, err
}

// findBlob returns the size of a blob that any repository of the registry
// links that may be read, or sqldb.ErrNoRow.
func findBlob(tx *sqldb.Tx, registry int64, dgst oci.Digest) (size int64, err error) {
	err = tx.Get(`SELECT c.size FROM blob_link l JOIN repository r ON r.id = l.repository JOIN content c ON c.digest = l.digest
		WHERE l.digest = $1 AND r.registry = $2 AND r.locks & $3 = 0 LIMIT 1`, []any{string(dgst), registry, lockRead}, &size)
	return size, err
}

// putContent stores content under its digest; isNew is false if it was there.
func putContent(tx *sqldb.Tx, dgst oci.Digest, c contentRow) (isNew bool, err error) {
	n, err := tx.Exec(`INSERT INTO content (digest, size, data, file, created_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (digest) DO NOTHING`, string(dgst), c.size, c.data, c.file, tx.Now().UnixNano())
	return n > 0, err
}

func linkBlob(tx *sqldb.Tx, repository int64, dgst oci.Digest) error {
	_, err := tx.Exec("INSERT INTO blob_link (repository, digest, linked_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
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
