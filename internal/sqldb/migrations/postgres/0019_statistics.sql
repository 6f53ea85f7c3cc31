-- +goose Up

-- package delivery: what attempts came to, by the minute or hour in which they began.
-- Their durations are counted by where they lie between fixed bounds.
CREATE TABLE attempt_count (
    endpoint    BIGINT NOT NULL,
    seconds     BIGINT NOT NULL, -- how long the span is: 60 or 3600
    at          BIGINT NOT NULL, -- where it begins, in seconds since 1970
    delivered   BIGINT NOT NULL,
    refused     BIGINT NOT NULL,
    failed      BIGINT NOT NULL,
    interrupted BIGINT NOT NULL,
    took_0      BIGINT NOT NULL, -- answered, in less than 0.5 ms
    took_1      BIGINT NOT NULL, -- answered, from 0.5 ms
    took_2      BIGINT NOT NULL, -- from 1 ms
    took_3      BIGINT NOT NULL, -- from 2 ms
    took_4      BIGINT NOT NULL, -- from 5 ms
    took_5      BIGINT NOT NULL, -- from 10 ms
    took_6      BIGINT NOT NULL, -- from 20 ms
    took_7      BIGINT NOT NULL, -- from 50 ms
    took_8      BIGINT NOT NULL, -- from 100 ms
    took_9      BIGINT NOT NULL, -- from 200 ms
    took_10     BIGINT NOT NULL, -- from 500 ms
    took_11     BIGINT NOT NULL, -- from 1 s
    took_12     BIGINT NOT NULL, -- from 2 s
    took_13     BIGINT NOT NULL, -- from 5 s
    took_14     BIGINT NOT NULL, -- from 10 s
    took_15     BIGINT NOT NULL, -- answered, from 20 s
    PRIMARY KEY (endpoint, seconds, at)
);

-- What the log has from before counts by the hour.
INSERT INTO attempt_count (endpoint, seconds, at, delivered, refused, failed, interrupted,
        took_0, took_1, took_2, took_3, took_4, took_5, took_6, took_7,
        took_8, took_9, took_10, took_11, took_12, took_13, took_14, took_15)
    SELECT endpoint, 3600, started_at / 3600000000000 * 3600,
        sum(CASE WHEN outcome = 'delivered' THEN 1 ELSE 0 END),
        sum(CASE WHEN outcome = 'refused' THEN 1 ELSE 0 END),
        sum(CASE WHEN outcome = 'failed' THEN 1 ELSE 0 END),
        sum(CASE WHEN outcome = 'interrupted' THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros < 500 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 500 AND micros < 1000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 1000 AND micros < 2000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 2000 AND micros < 5000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 5000 AND micros < 10000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 10000 AND micros < 20000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 20000 AND micros < 50000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 50000 AND micros < 100000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 100000 AND micros < 200000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 200000 AND micros < 500000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 500000 AND micros < 1000000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 1000000 AND micros < 2000000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 2000000 AND micros < 5000000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 5000000 AND micros < 10000000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 10000000 AND micros < 20000000 THEN 1 ELSE 0 END),
        sum(CASE WHEN status > 0 AND micros >= 20000000 THEN 1 ELSE 0 END)
    FROM attempt GROUP BY 1, 3;
