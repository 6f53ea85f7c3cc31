-- +goose Up

-- package auth: scope maps, and the tokens that have what one of them allows. The
-- built-in maps have no rows.
CREATE TABLE scope_map (
    registry     BIGINT NOT NULL,
    name_key     TEXT COLLATE "C" NOT NULL, -- lower case
    name         TEXT   NOT NULL,
    description  TEXT   NOT NULL,
    actions      TEXT   NOT NULL, -- one on a line
    created_at   BIGINT NOT NULL,
    created_by   TEXT   NOT NULL,
    created_kind TEXT   NOT NULL,
    updated_at   BIGINT NOT NULL,
    updated_by   TEXT   NOT NULL,
    updated_kind TEXT   NOT NULL,
    PRIMARY KEY (registry, name_key)
);

CREATE TABLE repository_token (
    registry     BIGINT  NOT NULL,
    name_key     TEXT COLLATE "C" NOT NULL, -- lower case
    name         TEXT    NOT NULL,
    scope_map    TEXT COLLATE "C" NOT NULL, -- name_key of one, or the name of a built-in one
    enabled      BOOLEAN NOT NULL,
    created_at   BIGINT  NOT NULL,
    created_by   TEXT    NOT NULL,
    created_kind TEXT    NOT NULL,
    updated_at   BIGINT  NOT NULL,
    updated_by   TEXT    NOT NULL,
    updated_kind TEXT    NOT NULL,
    PRIMARY KEY (registry, name_key)
);
CREATE INDEX repository_token_scope_map ON repository_token (registry, scope_map);

CREATE TABLE repository_token_password (
    registry   BIGINT NOT NULL,
    token      TEXT COLLATE "C" NOT NULL, -- name_key of one
    name       TEXT COLLATE "C" NOT NULL, -- password1 or password2
    password   BYTEA  NOT NULL, -- keyed hash
    created_at BIGINT NOT NULL,
    expires_at BIGINT,          -- null: never
    PRIMARY KEY (registry, token, name)
);
