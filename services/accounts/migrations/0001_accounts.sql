CREATE TABLE customer (
    id TEXT NOT NULL PRIMARY KEY,
    -- In lower case.
    email TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    -- argon2id, as a PHC string.
    password_hash TEXT NOT NULL,
    -- Microseconds since 1970, UTC, as every time here.
    create_time BIGINT NOT NULL
);

-- Failed logins in a row, also for addresses that nobody registered.
CREATE TABLE login_failure (
    email TEXT NOT NULL PRIMARY KEY,
    count BIGINT NOT NULL,
    last_time BIGINT NOT NULL
);

CREATE TABLE address (
    id TEXT NOT NULL PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customer (id),
    recipient TEXT NOT NULL,
    street TEXT NOT NULL,
    city TEXT NOT NULL,
    postal_code TEXT NOT NULL,
    region_code TEXT NOT NULL
);

CREATE INDEX address_by_customer ON address (customer_id, id);

CREATE TABLE signing_key (
    id TEXT NOT NULL PRIMARY KEY,
    -- Ed25519, PKCS #8.
    private_key BYTEA NOT NULL,
    create_time BIGINT NOT NULL
);
