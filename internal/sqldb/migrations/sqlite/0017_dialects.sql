-- +goose Up

-- package webhook: what the receiver of CloudEvents wants otherwise in them. The
-- format may be github, gitlab and slack now.
ALTER TABLE webhook ADD COLUMN event_type_prefix TEXT NOT NULL DEFAULT ''; -- empty: the types are those of Event Grid
ALTER TABLE webhook ADD COLUMN flat_data BOOLEAN NOT NULL DEFAULT FALSE; -- whether an image is named by members of its own
