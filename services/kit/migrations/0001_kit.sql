-- First results of commands, by request id.
CREATE TABLE kit_idempotency (
    scope TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    response BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (scope, request_id)
);
CREATE INDEX kit_idempotency_by_age ON kit_idempotency (created_at);

-- The last sequence that was given to an event. Its row lock orders appends by commit.
CREATE TABLE kit_outbox_head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence BIGINT NOT NULL
);
INSERT INTO kit_outbox_head (id, sequence) VALUES (1, 0);

-- What this service tells others.
CREATE TABLE kit_outbox (
    sequence BIGINT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    event_type TEXT NOT NULL,
    event_key TEXT NOT NULL,
    payload BYTEA NOT NULL,
    traceparent TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- How far this service has come with the events of others.
CREATE TABLE kit_cursors (
    consumer TEXT NOT NULL,
    source TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (consumer, source)
);

-- Events that could not be dealt with, for a human to look at.
CREATE TABLE kit_parked (
    consumer TEXT NOT NULL,
    source TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event_key TEXT NOT NULL,
    payload BYTEA NOT NULL,
    error TEXT NOT NULL,
    parked_at BIGINT NOT NULL,
    PRIMARY KEY (consumer, source, sequence)
);
