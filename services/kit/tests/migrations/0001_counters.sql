CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL CHECK (value >= 0),
    note TEXT,
    open BOOLEAN NOT NULL
);
