-- +goose Up

-- package auth: accounts of programs. Their names differ in any case.
CREATE TABLE service_principal (
    app_id     TEXT   PRIMARY KEY, -- UUID
    name       TEXT   NOT NULL COLLATE "C",
    password   BYTEA  NOT NULL, -- keyed hash
    created_at BIGINT NOT NULL,
    reset_at   BIGINT NOT NULL  -- the password is of then
);
CREATE UNIQUE INDEX service_principal_name ON service_principal (lower(name));

CREATE TABLE role_assignment (
    principal TEXT NOT NULL,
    role      TEXT NOT NULL COLLATE "C",
    scope     TEXT NOT NULL COLLATE "C", -- ARM id of a subscription or a registry
    PRIMARY KEY (principal, role, scope)
);
