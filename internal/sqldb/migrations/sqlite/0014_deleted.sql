-- +goose Up

-- package registry: manifests that were deleted and can be restored for a while. A
-- row counts for nothing while the manifest is there again.
CREATE TABLE deleted_manifest (
    id                 INTEGER PRIMARY KEY,
    repository         INTEGER NOT NULL,
    digest             TEXT    NOT NULL,
    media_type         TEXT    NOT NULL,
    artifact_type      TEXT    NOT NULL,
    subject            TEXT,
    annotations        TEXT,
    size               INTEGER NOT NULL,
    data               BLOB    NOT NULL,
    pushed_at          INTEGER NOT NULL,
    locks              INTEGER NOT NULL,
    quarantine         INTEGER NOT NULL,
    quarantine_details TEXT,
    deleted_at         INTEGER NOT NULL,
    deleted_by         TEXT    NOT NULL, -- user name, or the policy
    UNIQUE (repository, digest)
);
CREATE INDEX deleted_manifest_age ON deleted_manifest (repository, deleted_at);

-- Tags that were deleted, and what they named. Those that went with their manifest
-- have its deleted_at.
CREATE TABLE deleted_tag (
    repository INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    locks      INTEGER NOT NULL,
    deleted_at INTEGER NOT NULL,
    deleted_by TEXT    NOT NULL,
    PRIMARY KEY (repository, name, digest)
) WITHOUT ROWID;
CREATE INDEX deleted_tag_digest ON deleted_tag (repository, digest);
CREATE INDEX deleted_tag_age ON deleted_tag (repository, deleted_at);
