-- Orders with the durable log of their saga: the columns from `step` on say what is to be done next
-- and what is known of the steps before. Plural, as no other table: `order` is a word of SQL.
CREATE TABLE orders (
    id TEXT NOT NULL PRIMARY KEY,
    customer TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    -- Lines, address and history as JSON: they are always read and written as a whole.
    lines TEXT NOT NULL,
    shipping_address TEXT NOT NULL,
    email TEXT NOT NULL,
    card_token TEXT NOT NULL,
    currency TEXT NOT NULL,
    minor_units BIGINT NOT NULL,
    state TEXT NOT NULL,
    history TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    step TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    step_since BIGINT NOT NULL,
    reservation TEXT,
    payment TEXT,
    rejection TEXT,
    -- When the next step is due; null when none is left.
    due_time BIGINT,
    -- Who does it, until when: nobody else may before.
    lease_owner TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    -- The trace of the call that placed the order, for the steps that come later.
    traceparent TEXT NOT NULL,
    UNIQUE (customer, request_id)
);

CREATE INDEX orders_by_customer ON orders (customer, create_time, id);
CREATE INDEX orders_due ON orders (due_time) WHERE due_time IS NOT NULL;
