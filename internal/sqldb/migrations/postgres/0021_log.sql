-- +goose Up

-- package delivery: what went wrong is found in a log in which nearly all went well.
CREATE INDEX attempt_undelivered ON attempt (endpoint, started_at) WHERE outcome <> 'delivered';
