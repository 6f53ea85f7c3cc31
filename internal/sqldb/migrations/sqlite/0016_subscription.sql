-- +goose Up

-- package subscription
CREATE TABLE subscription (
    id           INTEGER PRIMARY KEY, -- of its endpoint
    registry     INTEGER NOT NULL,
    name         TEXT    NOT NULL,    -- as sent
    name_key     TEXT    NOT NULL,    -- lower case
    destination  TEXT    NOT NULL,    -- JSON, without what is write-only
    secret       BLOB    NOT NULL,    -- sealed JSON: the destination with all of it
    filter       TEXT    NOT NULL,    -- JSON
    labels       TEXT    NOT NULL,    -- JSON
    schema_name  TEXT    NOT NULL,
    expires_at   INTEGER,             -- nothing that happens from then on is owed; null: never
    max_attempts INTEGER NOT NULL,
    ttl          INTEGER NOT NULL,    -- nanoseconds
    dead_letters TEXT    NOT NULL DEFAULT '', -- JSON: where files of them go; empty: nowhere
    state        TEXT    NOT NULL CHECK (state IN ('Succeeded', 'AwaitingManualAction')),
    per_minute   INTEGER NOT NULL DEFAULT 0, -- requests that the receiver allows; 0: any number
    token_hash   BLOB,                -- of what a person confirms the handshake with
    token_until  INTEGER,             -- which is good until then
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    created_kind TEXT    NOT NULL,
    updated_at   INTEGER NOT NULL,
    updated_by   TEXT    NOT NULL,
    updated_kind TEXT    NOT NULL,
    version      INTEGER NOT NULL DEFAULT 1, -- counts changes
    UNIQUE (registry, name_key)
);
CREATE UNIQUE INDEX subscription_token ON subscription (token_hash) WHERE token_hash IS NOT NULL;

-- Filters as they were: which one an event was committed under.
CREATE TABLE subscription_rule (
    subscription INTEGER NOT NULL,
    from_pos     INTEGER NOT NULL, -- in force for positions after this one
    filter       TEXT    NOT NULL,
    expires_at   INTEGER,
    PRIMARY KEY (subscription, from_pos)
) WITHOUT ROWID;
