//! Frames on the wire (RFC 9113, sections 4 and 6).

use std::fmt;

/// A stream of one connection. 0 is the connection itself.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The largest id; the last stream of a GOAWAY that announces a shutdown.
    pub const MAX: Self = Self(0x7fff_ffff);

    /// The number on the wire.
    pub fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a client sends first.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Every frame starts with this many bytes.
pub const HEAD_BYTES: usize = 9;
/// The largest frame before SETTINGS say otherwise.
pub const DEFAULT_MAX_FRAME_BYTES: u32 = 16_384;
/// Every window before SETTINGS say otherwise.
pub const DEFAULT_WINDOW_BYTES: u32 = 65_535;
/// No window may be larger.
pub const MAX_WINDOW_BYTES: u32 = 0x7fff_ffff;

/// Frame types.
pub mod kind {
    /// Payload.
    pub const DATA: u8 = 0x0;
    /// A header block begins.
    pub const HEADERS: u8 = 0x1;
    /// Obsolete.
    pub const PRIORITY: u8 = 0x2;
    /// A stream ends at once.
    pub const RST_STREAM: u8 = 0x3;
    /// Parameters.
    pub const SETTINGS: u8 = 0x4;
    /// Never accepted here.
    pub const PUSH_PROMISE: u8 = 0x5;
    /// Are you there?
    pub const PING: u8 = 0x6;
    /// The connection ends.
    pub const GOAWAY: u8 = 0x7;
    /// More may be sent.
    pub const WINDOW_UPDATE: u8 = 0x8;
    /// A header block goes on.
    pub const CONTINUATION: u8 = 0x9;
}

/// Frame flags.
pub mod flag {
    /// Of DATA and HEADERS.
    pub const END_STREAM: u8 = 0x1;
    /// Of SETTINGS and PING.
    pub const ACK: u8 = 0x1;
    /// Of HEADERS and CONTINUATION.
    pub const END_HEADERS: u8 = 0x4;
    /// Of DATA and HEADERS.
    pub const PADDED: u8 = 0x8;
    /// Of HEADERS.
    pub const PRIORITY: u8 = 0x20;
}

/// Parameters of SETTINGS.
pub mod setting {
    /// The size of the HPACK table.
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    /// Whether PUSH_PROMISE is accepted.
    pub const ENABLE_PUSH: u16 = 0x2;
    /// How many streams the receiver may open.
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    /// The window of a new stream.
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    /// The largest frame.
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    /// The largest header list.
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The payload's length.
    pub length: u32,
    /// One of [`kind`], or unknown.
    pub kind: u8,
    /// Some of [`flag`].
    pub flags: u8,
    /// The reserved bit is taken off.
    pub stream: StreamId,
}

impl Head {
    /// Reads a head.
    pub fn parse(bytes: &[u8; HEAD_BYTES]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: StreamId(u32::from_be_bytes([s0, s1, s2, s3]) & StreamId::MAX.0),
        }
    }

    /// The head in bytes. `length` must be below 2^24, as frame sizes are.
    pub fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.0.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}
