//! Why a stream or a connection ended.

use std::fmt;

/// An error code of RFC 9113, section 7, as it stands in RST_STREAM and GOAWAY. Unknown codes are
/// kept, so that they can be passed on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ErrorCode(pub u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*
        }

        impl fmt::Display for ErrorCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str(stringify!($name)),)*
                    Self(code) => write!(f, "{code:#x}"),
                }
            }
        }
    };
}

codes! {
    /// No error: a graceful end.
    NO_ERROR = 0x0;
    /// The peer broke the protocol.
    PROTOCOL_ERROR = 0x1;
    /// The sender failed.
    INTERNAL_ERROR = 0x2;
    /// More was sent than the window allows.
    FLOW_CONTROL_ERROR = 0x3;
    /// SETTINGS were not acknowledged in time.
    SETTINGS_TIMEOUT = 0x4;
    /// A frame for a stream that has ended.
    STREAM_CLOSED = 0x5;
    /// A frame of a wrong size.
    FRAME_SIZE_ERROR = 0x6;
    /// The stream was not processed: it may be sent again.
    REFUSED_STREAM = 0x7;
    /// The stream is not needed any more.
    CANCEL = 0x8;
    /// The header compression state is lost.
    COMPRESSION_ERROR = 0x9;
    /// The connection of a CONNECT request failed.
    CONNECT_ERROR = 0xa;
    /// The peer does things that may be an attack.
    ENHANCE_YOUR_CALM = 0xb;
    /// The transport is not safe enough.
    INADEQUATE_SECURITY = 0xc;
    /// The request must be sent over HTTP/1.1.
    HTTP_1_1_REQUIRED = 0xd;
}

/// Why a connection has to be closed. Its GOAWAY is queued already: write what is in
/// [`Connection::output`](crate::Connection::output), then close.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionError {
    /// What GOAWAY says.
    pub code: ErrorCode,
    /// The rule that was broken or the limit that was met, in words. It is the debug data of GOAWAY
    /// and fit to be a metric label.
    pub reason: &'static str,
}

impl ConnectionError {
    pub(crate) const fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for ConnectionError {}
