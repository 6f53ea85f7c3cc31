-- +goose Up

-- package registry: what was decided of a manifest: 0 nothing, 1 Passed, 2 Failed,
-- 3 Quarantined. It counts where the registry's quarantine policy is on.
ALTER TABLE manifest ADD COLUMN quarantine INTEGER NOT NULL DEFAULT 0;
ALTER TABLE manifest ADD COLUMN quarantine_details TEXT; -- JSON, as it was sent
CREATE INDEX manifest_passed ON manifest (repository, digest) WHERE quarantine = 1;

-- The pushes to a tag are counted. Its manifest is that of the newest; settled is the
-- number of the push that the tag was moved by, and while a newer one waits in
-- quarantine, standing is the manifest of that push.
ALTER TABLE tag ADD COLUMN pushes   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tag ADD COLUMN settled  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tag ADD COLUMN standing INTEGER;
CREATE INDEX tag_standing ON tag (standing) WHERE standing IS NOT NULL;

-- Pushes that wait for their manifest to pass, in their order.
CREATE TABLE held_push (
    id         INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL,
    manifest   INTEGER NOT NULL,
    tag        TEXT    NOT NULL, -- empty: by digest
    number     INTEGER NOT NULL, -- among the pushes to the tag; 0: it can move none
    record     BLOB    NOT NULL, -- JSON: the request, and who made it
    UNIQUE (manifest, tag)
);
CREATE INDEX held_push_tag ON held_push (repository, tag) WHERE tag <> '';
