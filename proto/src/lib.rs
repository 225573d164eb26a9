//! Everything that follows from the Protobuf files beside this crate.
//!
//! Modules nest as packages do: `contracts::sockshop::orders::v1::order_service_client`. Each message
//! with `buf.validate` rules implements [`Validate`]. Nothing generated is committed: `build.rs`
//! compiles the protos without `protoc`.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

pub use validate::{Validate, Violation};

mod validate;

mod generated {
    #![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]
    include!(concat!(env!("OUT_DIR"), "/contracts.rs"));
    include!(concat!(env!("OUT_DIR"), "/validators.rs"));
}

pub use generated::*;

/// A `google.protobuf.FileDescriptorSet` of all contracts and their imports, with comments and
/// custom options, for reflection, the edge and the mesh's checks.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contracts.binpb"));

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the set was compiled and checked by build.rs"
    )]
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the embedded descriptor set is valid")
});

/// The descriptors of all contracts, decoded once.
pub fn pool() -> &'static DescriptorPool {
    &POOL
}
