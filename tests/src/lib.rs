//! The whole system, run for real: one file per promise.
