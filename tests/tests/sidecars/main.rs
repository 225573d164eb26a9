//! Two sidecars and a control plane, each a process of its own, around a workload and its caller: what a
//! stream sees, and what the control plane's life and death do to calls.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod control;
mod streams;
mod workload;
mod world;
