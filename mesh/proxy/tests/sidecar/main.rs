//! Real sidecars around a real gRPC workload: real listeners, real TLS, no control plane. Each file is
//! one promise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attacker;
mod attacks;
mod calls;
mod channel;
mod churn;
mod cold_start;
mod crowds;
mod deadlines;
mod disorder;
mod drain;
mod echo;
mod exact;
mod identity;
mod limits;
mod logs;
mod metrics;
mod others;
mod outside;
mod overload;
mod pages;
mod policies;
mod probes;
mod quiet;
mod registration;
mod retries;
mod shedding;
mod stalls;
mod strangers;
mod support;
mod wild;
mod wire;
