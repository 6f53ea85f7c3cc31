-- +goose Up

-- package webhook: in which format a webhook is told of events, whether its
-- address is asked first, and what is known of that.
ALTER TABLE webhook ADD COLUMN format    TEXT NOT NULL DEFAULT 'acr';  -- or cloudevents, cloudevents-binary
ALTER TABLE webhook ADD COLUMN handshake TEXT NOT NULL DEFAULT 'none'; -- or cloudevents
ALTER TABLE webhook ADD COLUMN consent   TEXT NOT NULL DEFAULT ''; -- JSON; empty without a handshake
