-- +goose Up

-- package delivery: what is known of a dead letter, for those who file it.
ALTER TABLE dead_letter ADD COLUMN code         TEXT    NOT NULL DEFAULT ''; -- the reason as a word; empty for those from before
ALTER TABLE dead_letter ADD COLUMN attempts     INTEGER NOT NULL DEFAULT 0;  -- of a single one
ALTER TABLE dead_letter ADD COLUMN last_outcome TEXT    NOT NULL DEFAULT ''; -- of the last attempt, in Event Grid's words
ALTER TABLE dead_letter ADD COLUMN last_status  INTEGER NOT NULL DEFAULT 0;  -- 0: no answer
ALTER TABLE dead_letter ADD COLUMN last_at      INTEGER;
ALTER TABLE dead_letter ADD COLUMN filed_to     INTEGER NOT NULL DEFAULT 0;  -- its events up to this position are filed

CREATE INDEX dead_letter_unfiled ON dead_letter (endpoint, id) WHERE filed_to < pos_to;
