//! HTTP/2 (RFC 9113) and HPACK (RFC 7541) for a proxy that forwards frames from connection to
//! connection on one thread.
//!
//! Everything here is a state machine: bytes and the time go in, events and bytes come out. There is
//! no I/O, no clock, no task, no lock and no policy. Those belong to the caller, who reads a socket
//! into a buffer, gives it to [`Connection::receive`], acts on each [`Event`] by calling methods of
//! this or another connection, and once per turn of its loop writes [`Connection::output`].
//!
//! Start reading at [`Connection`]; what is sent and received is a [`HeaderBlock`], what a peer may
//! do is in [`Limits`].
//!
//! # Why no other crate
//!
//! `h2` buffers every frame, wakes tasks and keeps its HPACK private. The HPACK crates on crates.io are
//! unmaintained since 2015 to 2022 (`hpack`, `hpack_codec`), forks of those (`fluke-hpack`) or too new to
//! judge, and all of them return owned `Vec`s per field: two allocations for each header field of
//! each call. Here a call costs none once the buffers have grown, and a field the peer has sent
//! before is copied from table to block without being looked at.

pub mod block;
pub mod connection;
pub mod error;
pub mod event;
pub mod frame;
pub mod hpack;
pub mod huffman;
pub mod limits;
pub mod name;
mod validate;
mod words;

pub use block::{Field, HeaderBlock};
pub use connection::{Connection, LastStream};
pub use error::{ConnectionError, ErrorCode};
pub use event::{Event, Handler};
pub use frame::StreamId;
pub use limits::{Keepalive, Limits, Settings};
pub use name::{Name, Names};
