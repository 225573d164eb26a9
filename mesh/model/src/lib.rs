//! The mesh file as checked types, every problem with its place. `README.md` beside this crate lists all keys.
//!
//! [`Mesh::load`] reads a mesh file, [`check`] compares it with the contracts, [`dataplane`](fn@dataplane) and
//! [`inbound`] turn it into what proxies need. Problems are collected, never reported one by one:
//! start reading at [`Problems`], then `read.rs` for the file's keys and `check.rs` for what the
//! contracts say about them. Watching the file and sending it anywhere is left to `weft-control`.

pub mod dataplane;

mod check;
mod contract;
mod decode;
mod mesh;
mod problem;
mod read;
mod resolve;
mod span;
mod tree;

/// What the mesh file is read with, for files that hold parts of one, such as policy tests.
pub mod yaml {
    pub use crate::{
        decode::{Decoder, Fields},
        problem::nearest,
        tree::{Node, Value, parse},
    };
}

pub use check::check;
pub use mesh::{
    Authz, BackendRef, CONTROL_ACCOUNT, Database, EDGE_ACCOUNT, Edge, EndpointSource, Example,
    HeaderRule, JwtRule, Mesh, MethodConfig, MethodName, MirrorRef, Program, RateLimitRule, Route,
    RouteEntry, RouteMatchEntry, Rule, Run, Service,
};
pub use problem::{Problem, Problems};
pub use resolve::{dataplane, edge_routes, inbound, placed};
pub use span::{Source, Span, Spanned};
