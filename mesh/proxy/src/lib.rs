//! The sidecar: inbound and outbound listeners beside one workload (`weft proxy`).
//!
//! Outbound ([`outbound`]) the workload calls others by name over cleartext HTTP/2 on loopback; the
//! sidecar carries the calls out through `weft-channel`. Inbound ([`inbound`]) it accepts mutual TLS only,
//! asks the caller rules about every request, and hands what may pass to the workload. Around both:
//! the workload's health ([`health`]), its place in the registry ([`registration`]) and the drain
//! ([`sidecar`], where reading should start).
//!
//! It decides nothing itself: rules, deadlines and refusals come from `weft-policy`, certificates from
//! `weft-identity`, configuration from `weft-xds`.

mod args;
mod call;
mod connection;
mod health;
mod inbound;
mod metrics;
mod outbound;
mod registration;
mod run;
mod sidecar;

pub use crate::{
    args::Args,
    run::{run, serve},
    sidecar::{Grace, Listeners, Sidecar, Workload},
};
