-- +goose Up

-- package delivery: endpoints have a state. An endpoint with a cursor is owed the
-- events behind it and has no rows for them: it is parked, or catching up. Kinds
-- cannot be added to a CHECK, so the table is made anew.
CREATE TABLE endpoint_new (
    id              INTEGER PRIMARY KEY AUTOINCREMENT, -- its log outlives it
    kind            TEXT    NOT NULL CHECK (kind IN ('webhook', 'subscription', 'alert', 'replay')), -- replay: to an address of its own
    registry        INTEGER NOT NULL, -- 0: of the server
    location        TEXT    NOT NULL,
    from_pos        INTEGER NOT NULL, -- owed what happened after this position
    fail_streak     INTEGER NOT NULL,
    first_fail_at   INTEGER,
    last_success_at INTEGER,
    last_attempt_at INTEGER,
    last_status     INTEGER NOT NULL DEFAULT 0, -- 0: no answer
    last_error      TEXT    NOT NULL DEFAULT '',
    recent          INTEGER NOT NULL DEFAULT 1, -- the newest outcomes, 1 for a failure, behind a leading 1
    opened_at       INTEGER,                    -- the breaker is open since
    probes          INTEGER NOT NULL DEFAULT 0, -- since then
    next_at         INTEGER,                    -- nothing is sent before: the next probe, or what the receiver asked for
    announced       INTEGER NOT NULL DEFAULT 0, -- what people were told: 0 nothing, 1 failing, else percent
    paused_at       INTEGER,                    -- by a person
    cursor          INTEGER,                    -- events up to here have their rows; null: all have
    range_id        INTEGER,                    -- the dead letter that further expired events are added to
    owner           INTEGER, -- the endpoint whose events a replay brings elsewhere
    elsewhere       BLOB     -- its sealed address
);
INSERT INTO endpoint_new (id, kind, registry, location, from_pos, fail_streak, first_fail_at, last_success_at)
    SELECT id, kind, registry, location, from_pos, fail_streak, first_fail_at, last_success_at FROM endpoint;
DELETE FROM sqlite_sequence WHERE name = 'endpoint_new';
INSERT INTO sqlite_sequence (name, seq) SELECT 'endpoint_new', seq FROM sqlite_sequence WHERE name = 'endpoint';
DROP TABLE endpoint;
ALTER TABLE endpoint_new RENAME TO endpoint;

ALTER TABLE delivery ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0; -- attempts in a row that a crash cut off
ALTER TABLE delivery ADD COLUMN uncounted   INTEGER NOT NULL DEFAULT 0; -- attempts that its policy does not count: probes, and cut off ones

-- Ids of dead letters are for people to name, and are not used twice.
CREATE TABLE dead_letter_new (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint INTEGER NOT NULL,
    pos_from INTEGER NOT NULL,
    pos_to   INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    reason   TEXT    NOT NULL,
    at       INTEGER NOT NULL
);
INSERT INTO dead_letter_new SELECT id, endpoint, pos_from, pos_to, count, reason, at FROM dead_letter;
DROP TABLE dead_letter;
ALTER TABLE dead_letter_new RENAME TO dead_letter;
CREATE INDEX dead_letter_endpoint ON dead_letter (endpoint, pos_from);

-- How much the log of attempts takes, by day and whether they were delivered.
CREATE TABLE attempt_volume (
    day       INTEGER NOT NULL, -- since 1970
    delivered BOOLEAN NOT NULL,
    bytes     INTEGER NOT NULL,
    PRIMARY KEY (day, delivered)
) WITHOUT ROWID;
INSERT INTO attempt_volume (day, delivered, bytes)
    SELECT started_at / 86400000000000, outcome = 'delivered',
        sum(200 + length(request_head) + coalesce(length(response_head), 0) + coalesce(length(response_body), 0))
    FROM attempt GROUP BY 1, 2;

-- A replay rings events once more. Its id is the replay_no of its deliveries.
CREATE TABLE replay (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint   INTEGER NOT NULL, -- whose events they are
    target     INTEGER NOT NULL, -- the endpoint that is rung: the same, or one of kind replay
    state      TEXT    NOT NULL CHECK (state IN ('running', 'done', 'cancelled')),
    selection  TEXT    NOT NULL, -- JSON: which events
    redrive    BOOLEAN NOT NULL, -- it took over dead letters: what it does not deliver is dead again
    cursor     INTEGER NOT NULL, -- events up to here were looked at
    from_pos   INTEGER NOT NULL, -- where the cursor began
    until_pos  INTEGER NOT NULL, -- the last event to look at
    per_minute INTEGER NOT NULL, -- 0: no limit of its own
    next_at    INTEGER NOT NULL, -- when the next delivery may be due
    matched    INTEGER NOT NULL, -- events that were taken
    delivered  INTEGER NOT NULL,
    refused    INTEGER NOT NULL,
    dead       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    ended_at   INTEGER
);
CREATE INDEX replay_endpoint ON replay (endpoint, id);
CREATE INDEX replay_running ON replay (id) WHERE state = 'running';

-- package webhook
ALTER TABLE webhook ADD COLUMN policy TEXT NOT NULL DEFAULT ''; -- JSON; empty: the default
ALTER TABLE webhook ADD COLUMN signature_headers TEXT NOT NULL DEFAULT '[]'; -- JSON: further formats
ALTER TABLE webhook ADD COLUMN disabled_why TEXT NOT NULL DEFAULT ''; -- set when the server did it
ALTER TABLE webhook ADD COLUMN listener BOOLEAN NOT NULL DEFAULT FALSE; -- rings over a connection that its owner opens
