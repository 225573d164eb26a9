//! A connection as its peer and its user see it: bytes in, events and bytes out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conformance;
mod flow;
mod interop;
mod limits;
mod messages;
mod random;
mod resets;
mod rules;
#[allow(dead_code)] // Its `main`.
#[path = "../../examples/serve.rs"]
mod serve;
mod wire;
