-- +goose Up

-- package subscription: registries as sources of events, where somebody gave them a
-- name as such.
CREATE TABLE system_topic (
    registry       BIGINT  PRIMARY KEY,
    resource_group TEXT    NOT NULL, -- name in lower case
    name_key       TEXT    NOT NULL, -- name in lower case
    name           TEXT    NOT NULL,
    tags           TEXT    NOT NULL, -- JSON; null for none
    UNIQUE (resource_group, name_key)
);
