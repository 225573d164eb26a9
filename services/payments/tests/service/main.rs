//! The payments service through its generated clients, on every database.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cards;
mod payments;
mod world;
