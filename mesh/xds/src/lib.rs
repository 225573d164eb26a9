//! xDS: how the control plane tells data planes what they need to know.
//!
//! - [`proto`]: the wire types.
//! - [`encode`] turns `weft_model::dataplane` values into resources, [`decode`] turns them back and
//!   refuses what a data plane of ours would not carry out.
//! - [`resources`]: the resources of one node, with versions that are content hashes.
//! - [`server`]: aggregated discovery (ADS), state of the world.
//! - [`client`]: the other side: one stream, a [`dataplane::Snapshot`](weft_model::dataplane::Snapshot)
//!   out of it, kept on disk for a start without a control plane.
//!
//! Who a node is and what it may see is decided by the caller of the server; TLS is `weft-identity`'s.

pub mod client;
pub mod decode;
pub mod encode;
pub mod resources;
pub mod server;

pub mod proto {
    //! Wire types, generated from the vendored protos.
    #![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]
    include!(concat!(env!("OUT_DIR"), "/xds.rs"));
}
