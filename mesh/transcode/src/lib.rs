//! REST for gRPC services, from their descriptors and without I/O: `google.api.http` routing, and JSON
//! to protobuf wire bytes and back without a message object in between.
//!
//! ```text
//! method, path ── Router::find ──> Match ── Match::request(query, body) ──> wire bytes
//! wire bytes ── Route::response ──> JSON, or raw bytes of a google.api.HttpBody
//! ```
//!
//! [`Plans`] holds the descriptors as tables; [`rules`] reads the bindings; [`Router`] chooses one.
//! Who moves the bytes, checks tokens or limits sizes is none of this crate's business: any tonic or
//! axum server can use it. Start reading at [`Match::request`].
//!
//! Choices where the sources leave one: unknown fields and parameters, duplicate keys, trailing text
//! and bodies where none is expected are refused; output is canonical proto3 JSON, so fields without
//! presence that are zero are left out; a path variable may be a wrapper; proto2 groups are skipped.

mod error;
mod json;
mod plan;
mod rest;
mod wire;
mod wkt;

pub use error::{Error, Reason, Result};
pub use plan::Plans;
pub use rest::{
    BodyRule, Bound, BuildError, Call, Match, NoRoute, Payload, Route, Router, Segment, Template,
    TemplateError, Variable, rules,
};

/// How deep objects, lists and messages may be nested.
pub const MAX_DEPTH: usize = 100;
