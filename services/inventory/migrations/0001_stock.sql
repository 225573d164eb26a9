CREATE TABLE stock (
    -- products/{product}/variants/{variant}
    variant TEXT NOT NULL PRIMARY KEY,
    available BIGINT NOT NULL CHECK (available >= 0),
    reserved BIGINT NOT NULL CHECK (reserved >= 0)
);

CREATE TABLE reservation (
    id TEXT NOT NULL PRIMARY KEY,
    -- reserved, confirmed, released or expired
    state TEXT NOT NULL,
    -- Microseconds since 1970, UTC.
    expire_time BIGINT NOT NULL
);

CREATE INDEX reservation_open ON reservation (expire_time) WHERE state = 'reserved';

CREATE TABLE reservation_line (
    reservation_id TEXT NOT NULL REFERENCES reservation (id),
    position BIGINT NOT NULL,
    variant TEXT NOT NULL,
    quantity BIGINT NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (reservation_id, position)
);
