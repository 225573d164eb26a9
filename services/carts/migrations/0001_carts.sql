CREATE TABLE cart (
    id TEXT NOT NULL PRIMARY KEY,
    -- customers/{customer}; NULL for a guest's cart.
    owner TEXT UNIQUE,
    -- Microseconds since 1970, UTC.
    update_time BIGINT NOT NULL
);

CREATE INDEX cart_of_guests ON cart (update_time) WHERE owner IS NULL;

CREATE TABLE cart_line (
    cart_id TEXT NOT NULL REFERENCES cart (id),
    line_id TEXT NOT NULL,
    -- Orders the lines of a cart.
    position BIGINT NOT NULL,
    -- products/{product}/variants/{variant}
    variant TEXT NOT NULL,
    title TEXT NOT NULL,
    detail TEXT NOT NULL,
    quantity BIGINT NOT NULL CHECK (quantity BETWEEN 1 AND 999),
    -- Minor units.
    unit_price BIGINT NOT NULL,
    currency TEXT NOT NULL,
    PRIMARY KEY (cart_id, line_id)
);

-- Guests' carts that went into a customer's, so that a repeated merge is known.
CREATE TABLE merged_cart (
    id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    merge_time BIGINT NOT NULL
);
