//! Whole calls through the engine, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod balancing;
mod breakers;
mod calls;
mod discovery;
mod hedging;
mod inbound;
mod routing;
mod traffic;
mod tree;
mod world;
