-- +goose Up

-- package delivery: what an endpoint is handed from behind its cursor has no rows.
-- Of the events after fed_from, up to fed_to, some may be in memory alone; null:
-- none.
ALTER TABLE endpoint ADD COLUMN fed_from INTEGER;
ALTER TABLE endpoint ADD COLUMN fed_to   INTEGER;

-- package webhook: a start looks for listeners, which are few.
CREATE INDEX webhook_listener ON webhook (registry, name_key) WHERE listener;
