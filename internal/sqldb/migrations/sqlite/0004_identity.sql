-- +goose Up

-- package auth: accounts of programs. Their names differ in any case.
CREATE TABLE service_principal (
    app_id     TEXT    PRIMARY KEY, -- UUID
    name       TEXT    NOT NULL,
    password   BLOB    NOT NULL, -- keyed hash
    created_at INTEGER NOT NULL,
    reset_at   INTEGER NOT NULL  -- the password is of then
) WITHOUT ROWID;
CREATE UNIQUE INDEX service_principal_name ON service_principal (lower(name));

CREATE TABLE role_assignment (
    principal TEXT NOT NULL,
    role      TEXT NOT NULL,
    scope     TEXT NOT NULL, -- ARM id of a subscription or a registry
    PRIMARY KEY (principal, role, scope)
) WITHOUT ROWID;
