//! Header compression (RFC 7541).
//!
//! Both tables have the default size of 4,096 bytes at most, which no call we forward needs more of.

mod decoder;
mod encoder;
mod error;
mod fields;
mod paths;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use decoder::WAY_TOO_LARGE;
pub use decoder::{Decoder, Outcome};
pub use encoder::Encoder;
pub use error::Error;

/// The size of a dynamic table before SETTINGS say otherwise, and the largest here.
pub const TABLE_BYTES: usize = 4_096;
/// What an entry counts beside its bytes.
const ENTRY_OVERHEAD: usize = 32;
