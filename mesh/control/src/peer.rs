//! Who is at the other end of a connection.

use std::net::SocketAddr;

use tonic::{Extensions, Status};
use weft_identity::SpiffeId;

/// What the transport knows of a peer; tonic puts it into the extensions of every request.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Proven by a client certificate. `None` if it presented none.
    pub(crate) identity: Option<SpiffeId>,
    /// Where it connects from.
    pub(crate) address: SocketAddr,
}

impl Peer {
    pub(crate) fn of(extensions: &Extensions) -> Result<&Self, Status> {
        extensions
            .get()
            .ok_or_else(|| Status::internal("the transport tells nothing about the peer"))
    }

    /// The identity of a caller that must have one.
    pub(crate) fn authenticated(extensions: &Extensions) -> Result<&SpiffeId, Status> {
        let peer = Self::of(extensions)?;
        peer.identity.as_ref().ok_or_else(|| {
            tracing::warn!(peer = %peer.address, "call without a client certificate refused");
            Status::unauthenticated("this API demands a client certificate")
        })
    }
}
