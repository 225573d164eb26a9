CREATE TABLE mail (
    id TEXT NOT NULL PRIMARY KEY,
    -- customers/{customer}
    customer TEXT NOT NULL,
    -- orders/{order}: one mail about each.
    order_name TEXT NOT NULL UNIQUE,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    -- Microseconds since 1970, UTC, as every time here.
    queue_time BIGINT NOT NULL,
    -- NULL while it waits.
    send_time BIGINT,
    attempts BIGINT NOT NULL,
    next_attempt_time BIGINT NOT NULL
);

CREATE INDEX mail_by_customer ON mail (customer, queue_time, id);
CREATE INDEX mail_waiting ON mail (next_attempt_time) WHERE send_time IS NULL;
