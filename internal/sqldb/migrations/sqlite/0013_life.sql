-- +goose Up

-- package registry: how tags leave manifests, for those who hear of it and for
-- the policy that removes what has none.
ALTER TABLE tag      ADD COLUMN moved_from  INTEGER; -- row id of the manifest before the last push, if that moved the tag
ALTER TABLE manifest ADD COLUMN untagged_at INTEGER; -- when it lost its last tag, or was pushed again or listed by an index since; null: when it was first pushed

-- When what has no tag now lost it is not known: it counts from here.
UPDATE manifest SET untagged_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000000
	WHERE NOT EXISTS (SELECT 1 FROM tag WHERE tag.manifest = manifest.id);
