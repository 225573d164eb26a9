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

-- The last event of each type that was forgotten, so that who never read it is told so.
CREATE TABLE kit_outbox_forgotten (
    event_type TEXT NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL
);

-- How far this service has come with the events of others.
CREATE TABLE kit_cursor (
    consumer TEXT NOT NULL,
    source TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (consumer, source)
);

-- Events that could not be dealt with, for a human to look at. What is wrong with them is in `error`.
-- To have one dealt with again: UPDATE kit_parked_event SET replay = TRUE WHERE ...;
-- to give it up for good: DELETE FROM kit_parked_event WHERE ...;
CREATE TABLE kit_parked_event (
    consumer TEXT NOT NULL,
    source TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    event_key TEXT NOT NULL,
    -- The whole weft.events.v1.Event.
    event BYTEA NOT NULL,
    error TEXT NOT NULL,
    parked_at BIGINT NOT NULL,
    replay BOOLEAN NOT NULL,
    PRIMARY KEY (consumer, source, sequence)
);
