-- What stands for a card. The number and the verification code are not here, nor anything made of them.
CREATE TABLE card_token (
    id TEXT NOT NULL PRIMARY KEY,
    customer TEXT NOT NULL,
    provider_token TEXT NOT NULL,
    brand TEXT NOT NULL,
    last_four TEXT NOT NULL,
    expiry_month BIGINT NOT NULL,
    expiry_year BIGINT NOT NULL,
    create_time BIGINT NOT NULL,
    expire_time BIGINT NOT NULL
);

-- One row per authorization that was asked for, whatever became of it. A row in stage `closed` with
-- empty texts keeps the request id of an authorization that was given up before it arrived.
CREATE TABLE payment (
    id TEXT NOT NULL PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    order_name TEXT NOT NULL,
    customer TEXT NOT NULL,
    card_token TEXT NOT NULL,
    provider_token TEXT NOT NULL,
    currency TEXT NOT NULL,
    minor_units BIGINT NOT NULL,
    card_brand TEXT NOT NULL,
    card_last_four TEXT NOT NULL,
    stage TEXT NOT NULL CHECK (
        stage IN ('asked', 'declined', 'closed', 'authorized', 'captured', 'voided', 'refunded')
    ),
    refund_request_id TEXT UNIQUE,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL
);

-- Double entry, append-only: the store adds triggers that refuse changes.
CREATE TABLE ledger_entry (
    sequence BIGINT NOT NULL PRIMARY KEY,
    movement TEXT NOT NULL,
    payment TEXT NOT NULL,
    account TEXT NOT NULL CHECK (
        account IN ('customer-holds', 'merchant-holds', 'customer-cards', 'merchant')
    ),
    currency TEXT NOT NULL,
    minor_units BIGINT NOT NULL CHECK (minor_units <> 0),
    create_time BIGINT NOT NULL
);

-- The books of the local payment provider, which the service reads only through the provider.
CREATE TABLE local_provider_hold (
    key TEXT NOT NULL PRIMARY KEY,
    currency TEXT NOT NULL,
    minor_units BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('held', 'declined', 'closed', 'captured', 'voided', 'refunded')
    ),
    update_time BIGINT NOT NULL
);
