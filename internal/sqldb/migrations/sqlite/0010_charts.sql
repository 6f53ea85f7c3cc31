-- +goose Up

-- package chart. A version of a chart is found by the name of its package, which
-- has both name and version in it; another chart cannot have the same.
CREATE TABLE chart (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- a greater one was pushed later
    registry   INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    package    TEXT    NOT NULL, -- file name: <name>-<version>.tgz
    digest     TEXT    NOT NULL, -- of the package
    size       INTEGER NOT NULL, -- of the package, in bytes
    entry      TEXT    NOT NULL, -- JSON, as index.yaml has it
    created_at INTEGER NOT NULL,
    UNIQUE (registry, package)
);
CREATE INDEX chart_name ON chart (registry, name, version);

-- Small packages are here, larger ones in a file of the blob store.
CREATE TABLE chart_content (
    chart      INTEGER PRIMARY KEY,
    data       BLOB,
    file       TEXT,
    provenance BLOB,
    CHECK ((data IS NULL) <> (file IS NULL))
);
CREATE UNIQUE INDEX chart_content_file ON chart_content (file) WHERE file IS NOT NULL;

-- What all charts of a registry come to. Each change of them counts up changes, so
-- whoever has an index of the same number has the newest.
CREATE TABLE chart_index (
    registry   INTEGER PRIMARY KEY,
    changes    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    entries    INTEGER NOT NULL, -- bytes of all entries
    size       INTEGER NOT NULL  -- bytes of all packages and provenance files
);
