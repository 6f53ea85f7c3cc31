-- +goose Up

-- package registry: the moment at which nothing in the repository was found to refer
-- to the blob; null: something does, or nobody looked.
ALTER TABLE blob_link ADD COLUMN condemned_at INTEGER;

-- package registry: which content has a file.
CREATE UNIQUE INDEX content_file ON content (file) WHERE file IS NOT NULL;

-- package collect
CREATE TABLE collection (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    state      TEXT    NOT NULL CHECK (state IN ('running', 'done', 'cancelled', 'interrupted', 'failed')),
    dry_run    BOOLEAN NOT NULL,
    cancelled  BOOLEAN NOT NULL, -- somebody asked for its end
    started_at INTEGER NOT NULL,
    started_by TEXT    NOT NULL, -- empty: the schedule
    ended_at   INTEGER,
    figures    TEXT    NOT NULL  -- JSON
);
