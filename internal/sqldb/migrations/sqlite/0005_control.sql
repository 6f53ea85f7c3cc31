-- +goose Up

-- package tenant: registries come, change and go. A registry that was deleted
-- keeps its row, under a name that no registry can have, so that its id never
-- means another one.
ALTER TABLE registry ADD COLUMN tags          TEXT    NOT NULL DEFAULT '{}'; -- JSON
ALTER TABLE registry ADD COLUMN settings      TEXT    NOT NULL DEFAULT '{}'; -- JSON: those that are not the default
ALTER TABLE registry ADD COLUMN admin_enabled BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE registry ADD COLUMN created_by    TEXT    NOT NULL DEFAULT '';
ALTER TABLE registry ADD COLUMN created_kind  TEXT    NOT NULL DEFAULT 'User'; -- what created_by is: User or Application
ALTER TABLE registry ADD COLUMN updated_at    INTEGER NOT NULL DEFAULT 0;
ALTER TABLE registry ADD COLUMN updated_by    TEXT    NOT NULL DEFAULT '';
ALTER TABLE registry ADD COLUMN updated_kind  TEXT    NOT NULL DEFAULT 'User';
ALTER TABLE registry ADD COLUMN deleted_at    INTEGER;
ALTER TABLE registry ADD COLUMN purged        BOOLEAN NOT NULL DEFAULT FALSE; -- nothing it held is left
UPDATE registry SET created_by = name, updated_by = name, updated_at = created_at;

CREATE TABLE resource_group (
    name_key     TEXT    PRIMARY KEY, -- lower case
    name         TEXT    NOT NULL,
    location     TEXT    NOT NULL,
    tags         TEXT    NOT NULL, -- JSON
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    created_kind TEXT    NOT NULL,
    updated_at   INTEGER NOT NULL,
    updated_by   TEXT    NOT NULL,
    updated_kind TEXT    NOT NULL
) WITHOUT ROWID;

-- The home of a registry has a row only if it was given something to remember.
CREATE TABLE replication (
    registry        INTEGER NOT NULL,
    name_key        TEXT    NOT NULL, -- lower case
    name            TEXT    NOT NULL,
    location        TEXT    NOT NULL,
    tags            TEXT    NOT NULL, -- JSON
    region_endpoint BOOLEAN NOT NULL,
    zone_redundant  BOOLEAN NOT NULL,
    created_at      INTEGER NOT NULL,
    created_by      TEXT    NOT NULL,
    created_kind    TEXT    NOT NULL,
    updated_at      INTEGER NOT NULL,
    updated_by      TEXT    NOT NULL,
    updated_kind    TEXT    NOT NULL,
    PRIMARY KEY (registry, name_key),
    UNIQUE (registry, location)
) WITHOUT ROWID;

-- package auth: the admin users that are enabled.
CREATE TABLE registry_admin (
    registry  INTEGER PRIMARY KEY,
    passwords BLOB    NOT NULL -- sealed JSON: two
);

-- package webhook: who made a webhook may be a program.
ALTER TABLE webhook ADD COLUMN created_kind TEXT NOT NULL DEFAULT 'User';
ALTER TABLE webhook ADD COLUMN updated_kind TEXT NOT NULL DEFAULT 'User';
