//! Every decision of the engine, carried out between a channel and real tonic servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod balancing;
mod deadlines;
mod health;
mod hedging;
mod metrics;
mod routing;
mod support;
