-- +goose Up

-- Times are unix nanoseconds, made by the program. There are no foreign keys:
-- each row is written by the one package that owns its table, in a transaction
-- that checks what it refers to.

-- package app: facts about this installation, for example its subscription id.
CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- package tenant
CREATE TABLE registry (
    id             INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE, -- lower case
    subscription   TEXT    NOT NULL,
    resource_group TEXT    NOT NULL,
    location       TEXT    NOT NULL,
    sku            TEXT    NOT NULL CHECK (sku IN ('Basic', 'Standard', 'Premium')),
    created_at     INTEGER NOT NULL
);

-- package auth
CREATE TABLE account (
    registry INTEGER NOT NULL, -- 0: the operator, owner of all registries
    name     TEXT    NOT NULL,
    password BLOB    NOT NULL, -- sealed
    PRIMARY KEY (registry, name)
) WITHOUT ROWID;

CREATE TABLE signing_key (
    id          TEXT    PRIMARY KEY,
    private_key BLOB    NOT NULL, -- sealed
    created_at  INTEGER NOT NULL
) WITHOUT ROWID;

-- package registry
CREATE TABLE repository (
    id         INTEGER PRIMARY KEY,
    registry   INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (registry, name)
);

-- Contents of blobs, once each. Small ones are here, larger ones in a file of
-- the blob store.
CREATE TABLE content (
    digest     TEXT    PRIMARY KEY,
    size       INTEGER NOT NULL,
    data       BLOB,
    file       TEXT,
    created_at INTEGER NOT NULL,
    CHECK ((data IS NULL) <> (file IS NULL))
);

CREATE TABLE blob_link (
    repository INTEGER NOT NULL,
    digest     TEXT    NOT NULL,
    linked_at  INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)
) WITHOUT ROWID;

CREATE TABLE manifest (
    id            INTEGER PRIMARY KEY,
    repository    INTEGER NOT NULL,
    digest        TEXT    NOT NULL,
    media_type    TEXT    NOT NULL,
    artifact_type TEXT    NOT NULL,
    subject       TEXT,
    annotations   TEXT, -- JSON; only where there is a subject
    size          INTEGER NOT NULL,
    data          BLOB    NOT NULL,
    pushed_at     INTEGER NOT NULL,
    UNIQUE (repository, digest)
);
CREATE INDEX manifest_subject ON manifest (repository, subject, digest) WHERE subject IS NOT NULL;

-- A tag names its manifest by row id: new tags mostly name new manifests, so
-- their index grows at its end.
CREATE TABLE tag (
    repository INTEGER NOT NULL,
    name       TEXT NOT NULL,
    manifest   INTEGER NOT NULL,
    previous   TEXT, -- the digest before the last move
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE INDEX tag_manifest ON tag (manifest);

CREATE TABLE upload (
    id         TEXT    PRIMARY KEY,
    registry   INTEGER NOT NULL,
    repository TEXT    NOT NULL, -- a name: the repository may not exist yet
    size       INTEGER NOT NULL, -- bytes stored
    hash_state BLOB,             -- of sha256 over those bytes
    data       BLOB,             -- the bytes while they are few
    file       TEXT,             -- else the file of the blob store
    cancelled  BOOLEAN NOT NULL,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX upload_updated ON upload (updated_at);

-- package outbox. Positions are dense and in commit order: an event takes the
-- one after the newest, which therefore is never removed.
CREATE TABLE event_position (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    expanded INTEGER NOT NULL -- every event up to here has its deliveries on record
);
INSERT INTO event_position (only_row, expanded) VALUES (1, 0);

CREATE TABLE event (
    pos        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    registry   INTEGER NOT NULL,
    location   TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    repository TEXT    NOT NULL,
    tag        TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    record     BLOB    NOT NULL, -- JSON: all that any encoding needs
    acr_body   BLOB    NOT NULL  -- the webhook body, byte for byte
);

-- package delivery. An endpoint is any destination of deliveries.
CREATE TABLE endpoint (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- its log outlives it
    kind            TEXT    NOT NULL CHECK (kind IN ('webhook', 'subscription')),
    registry        INTEGER NOT NULL,
    location        TEXT    NOT NULL,
    from_pos        INTEGER NOT NULL, -- owed what happened after this position
    fail_streak     INTEGER NOT NULL,
    first_fail_at   INTEGER,
    last_success_at INTEGER
);

-- What is owed and was not delivered at the first try. A row leaves when it is
-- delivered, refused, or dead.
CREATE TABLE delivery (
    endpoint   INTEGER NOT NULL,
    pos        INTEGER NOT NULL,
    replay_no  INTEGER NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('pending', 'held', 'inflight')), -- held: behind an older one of its order key
    order_key  TEXT    NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (endpoint, pos, replay_no)
) WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery (endpoint, due_at) WHERE state = 'pending';
CREATE INDEX delivery_order ON delivery (endpoint, order_key, pos);
CREATE INDEX delivery_inflight ON delivery (endpoint) WHERE state = 'inflight';

-- Rows are large and come in order of time, so they are kept in that order.
CREATE TABLE attempt (
    id              INTEGER PRIMARY KEY,
    endpoint        INTEGER NOT NULL,
    pos             INTEGER NOT NULL,
    replay_no       INTEGER NOT NULL,
    n               INTEGER NOT NULL, -- from 1
    started_at      INTEGER NOT NULL,
    micros          INTEGER NOT NULL, -- duration
    outcome         TEXT    NOT NULL CHECK (outcome IN ('delivered', 'refused', 'failed', 'interrupted')),
    status          INTEGER NOT NULL, -- 0: no answer
    error_class     TEXT    NOT NULL,
    error_message   TEXT    NOT NULL,
    request_head    BLOB    NOT NULL, -- JSON, redacted
    response_head   BLOB,             -- JSON
    response_body   BLOB,             -- only of failures, at most 4 KiB
    node            TEXT    NOT NULL,
    UNIQUE (endpoint, pos, replay_no, n)
);
CREATE INDEX attempt_started ON attempt (endpoint, started_at);

CREATE TABLE dead_letter (
    id       INTEGER PRIMARY KEY,
    endpoint INTEGER NOT NULL,
    pos_from INTEGER NOT NULL,
    pos_to   INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    reason   TEXT    NOT NULL,
    at       INTEGER NOT NULL
);
CREATE INDEX dead_letter_endpoint ON dead_letter (endpoint, pos_from);

-- package webhook
CREATE TABLE webhook (
    id         INTEGER PRIMARY KEY, -- of its endpoint
    registry   INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    name_key   TEXT    NOT NULL, -- lower case
    location   TEXT    NOT NULL,
    tags       TEXT    NOT NULL, -- JSON
    status     TEXT    NOT NULL CHECK (status IN ('enabled', 'disabled')),
    scope      TEXT    NOT NULL,
    actions    TEXT    NOT NULL, -- JSON, as sent
    secret     BLOB    NOT NULL, -- sealed JSON: service URI, custom headers, signing secret
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT    NOT NULL,
    UNIQUE (registry, name_key)
);

-- What a webhook wanted from which position on: an event is matched against
-- the rule in force when it committed, also after a crash.
CREATE TABLE webhook_rule (
    webhook  INTEGER NOT NULL,
    from_pos INTEGER NOT NULL, -- in force for positions after this one
    status   TEXT    NOT NULL,
    scope    TEXT    NOT NULL,
    actions  TEXT    NOT NULL, -- JSON
    PRIMARY KEY (webhook, from_pos)
) WITHOUT ROWID;
