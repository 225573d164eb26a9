//! Cards, authorizations, captures, and the ledger.
