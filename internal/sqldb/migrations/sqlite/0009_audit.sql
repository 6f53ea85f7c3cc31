-- +goose Up

-- package audit. An entry is written once and never changed. Times are Unix
-- nanoseconds.
CREATE TABLE audit_entry (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    registry    INTEGER NOT NULL, -- 0: of the server
    actor       TEXT    NOT NULL,
    actor_kind  TEXT    NOT NULL,
    client      TEXT    NOT NULL, -- address, or network
    action      TEXT    NOT NULL,
    resource    TEXT    NOT NULL,
    outcome     TEXT    NOT NULL,
    request     TEXT    NOT NULL,
    correlation TEXT    NOT NULL,
    detail      TEXT    NOT NULL,
    count       INTEGER NOT NULL -- how often it happened, from 1
);
CREATE INDEX audit_entry_time ON audit_entry (at, id);
CREATE INDEX audit_entry_outcome ON audit_entry (outcome, id);
CREATE INDEX audit_entry_registry ON audit_entry (registry, at, id);

-- package auth: keys follow each other. Each signs from here on, until the next
-- one does.
ALTER TABLE signing_key ADD COLUMN signs_from INTEGER NOT NULL DEFAULT 0;
UPDATE signing_key SET signs_from = created_at;
