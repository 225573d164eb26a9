//! The front over loopback, in front of real gRPC services.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backend;
mod client;
mod description;
mod grpc;
mod limits;
mod pages;
mod rest;
mod streams;
mod tokens;
