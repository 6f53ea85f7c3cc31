-- +goose Up

-- package registry: what may not be done with a thing, as bits: 1 delete, 2 write,
-- 4 read, 8 list.
ALTER TABLE repository ADD COLUMN locks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tag        ADD COLUMN locks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE manifest   ADD COLUMN locks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE manifest   ADD COLUMN updated_at INTEGER; -- null: not since it was first pushed
