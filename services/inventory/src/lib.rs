//! Stock per variant and its reservations.
