//! What every service shares: serving, upstreams, database, events, idempotency, paging, money.
