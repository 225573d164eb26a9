CREATE TABLE category (
    id TEXT NOT NULL PRIMARY KEY,
    title TEXT NOT NULL
);

CREATE TABLE product (
    id TEXT NOT NULL PRIMARY KEY,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    -- Title and description in lower case.
    searched TEXT NOT NULL,
    -- How the picture is drawn, as JSON.
    pattern TEXT NOT NULL,
    currency TEXT NOT NULL,
    -- Minor units, as every price here.
    lowest_price BIGINT NOT NULL,
    -- Microseconds since 1970, UTC.
    create_time BIGINT NOT NULL
);

CREATE INDEX product_by_title ON product (title, id);
CREATE INDEX product_by_price ON product (lowest_price, id);
CREATE INDEX product_by_time ON product (create_time, id);

CREATE TABLE variant (
    product_id TEXT NOT NULL REFERENCES product (id),
    id TEXT NOT NULL,
    position BIGINT NOT NULL,
    size TEXT NOT NULL,
    color TEXT NOT NULL,
    price BIGINT NOT NULL CHECK (price > 0),
    PRIMARY KEY (product_id, id)
);

CREATE TABLE product_category (
    product_id TEXT NOT NULL REFERENCES product (id),
    category_id TEXT NOT NULL REFERENCES category (id),
    position BIGINT NOT NULL,
    PRIMARY KEY (product_id, category_id)
);

CREATE INDEX product_category_by_category ON product_category (category_id);
