//! Customers, log-in, address books; signs the tokens the edge checks.
