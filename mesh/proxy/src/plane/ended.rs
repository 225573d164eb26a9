//! How connections end, in words.

use std::io;

use weft_http2::ConnectionError;
use weft_identity::Refusal;

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The peer closed it.
    Closed,
    /// The system says so.
    Io(io::Error),
    /// The peer broke HTTP/2 or a limit.
    Http2(ConnectionError),
    /// The TLS handshake failed.
    Refused(Refusal),
    /// There never was one.
    Connect(io::Error),
    /// The peer took nothing of what waited for it.
    Stalled,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed the connection"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Http2(error) => write!(f, "{error}"),
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Connect(error) => write!(f, "cannot connect: {error}"),
            Self::Stalled => f.write_str("the peer took nothing for 30 s of what waited for it"),
        }
    }
}
