//! What connections and streams are, as the proxy sees them.

use std::sync::Arc;

use weft_policy::Slot;

use super::{arena::Key, exchange::Exchange, pools::Pool};

/// Which side of the workload something belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// Calls to the workload.
    #[default]
    Inbound,
    /// Calls of the workload.
    Outbound,
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What HTTP/2 keeps for a stream: the call it carries, and which of its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) exchange: Key<Exchange>,
    pub(crate) attempt: u8,
}

/// Who is at the other end.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A caller.
    Downstream {
        side: Side,
        /// The SPIFFE ID it has proven; inbound only.
        caller: Option<Arc<str>>,
    },
    /// An endpoint, or the workload.
    Upstream {
        /// The pool it belongs to.
        pool: Key<Pool>,
        /// Its place among the connections that a circuit breaker counts.
        slot: Option<Slot>,
    },
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// TCP or TLS is not finished; HTTP/2 has not begun.
    Connecting,
    /// HTTP/2 runs.
    Open,
    /// What is queued is written, then it is closed.
    Closing,
}
