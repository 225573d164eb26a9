//! The orders service through its generated client, on every database, with peers over real gRPC that
//! do what a test tells them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crashes;
mod peers;
mod placing;
mod reading;
mod replicas;
mod shop;
mod world;
