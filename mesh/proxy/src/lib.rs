//! The sidecar: inbound and outbound listeners beside one workload (`weft proxy`).
//!
//! Outbound the workload calls others by name over cleartext HTTP/2 on loopback; inbound mutual TLS
//! only is accepted, the rules are asked about every request, and what may pass goes to the workload.
//! Both are the data plane ([`plane`]), a thread that forwards HTTP/2 frames. Around it, on tokio: the
//! workload's health ([`health`]), its place in the registry (`weft_channel::registration`), the configuration, and
//! the drain ([`sidecar`], where reading should start).
//!
//! It decides nothing itself: rules, deadlines and refusals come from `weft-policy`, certificates from
//! `weft-identity`, configuration from `weft-xds`, the protocol from `weft-http2`.

mod args;
mod health;
mod metrics;
mod names;
mod outbound;
mod pages;
mod plane;
mod run;
mod sidecar;

pub use crate::{
    args::{AccessLog, Args},
    run::{run, serve},
    sidecar::{Grace, Listeners, Sidecar, Workload},
};
