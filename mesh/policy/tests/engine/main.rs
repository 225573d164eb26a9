//! Whole calls through the engine, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod breakers;
mod calls;
mod hedging;
mod inbound;
mod routing;
mod world;
