//! Listeners: who may connect, and how many.

use std::{io, net::SocketAddr, sync::Arc};

use mio::{Interest, Registry, Token};
use rustls::ServerConfig;
use tracing::warn;

use super::{
    arena::Key,
    core::Core,
    link::{Ended, Kind, Link, Side, Wire},
    tls::Tls,
    turn,
};

/// Connections a listener holds at once.
const CONNECTIONS: usize = 1024;
/// Of these, how many one address may hold inbound: nobody takes all places.
const CONNECTIONS_PER_ADDRESS: usize = 768;

/// A listening socket.
pub(crate) struct Listener(mio::net::TcpListener);

impl Listener {
    pub(crate) fn register(
        listener: std::net::TcpListener,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self(listener))
    }

    /// Accepts whoever waits. Returns connections that ended at once.
    pub(crate) fn accept(&mut self, side: Side, core: &mut Core) -> Vec<(Key<Link>, Ended)> {
        let mut ended = Vec::new();
        loop {
            match self.0.accept() {
                Ok((socket, peer)) => {
                    if !core.make_room(side, peer) {
                        continue;
                    }
                    let kind = Kind::Downstream { side, caller: None };
                    let link = Link::new(socket, peer, kind, core.now);
                    let key = core.links.arena.insert(link);
                    if let Err(error) = core.accepted(key, side) {
                        ended.push((key, error));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ended,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Out of file descriptors, mostly. Those who wait are accepted when the next comes.
                    warn!(%error, side = side.as_str(), "cannot accept a connection");
                    return ended;
                }
            }
        }
    }
}

impl Core {
    /// Makes room for one more connection: where all places are taken, whoever has been longest
    /// without a finished handshake goes. False if there is no such.
    fn make_room(&mut self, side: Side, peer: SocketAddr) -> bool {
        let mut open = 0;
        let mut of_address = 0;
        let mut oldest: Option<Key<Link>> = None;
        for key in self.links.arena.keys() {
            let Some(link) = self.links.arena.get(key) else {
                continue;
            };
            if !matches!(link.kind, Kind::Downstream { side: other, .. } if other == side) {
                continue;
            }
            open += 1;
            of_address += usize::from(link.peer.ip() == peer.ip());
            let older = |other: Key<Link>| {
                let other = self.links.arena.get(other);
                other.is_none_or(|other| link.opened < other.opened)
            };
            if link.has_not_begun() && oldest.is_none_or(older) {
                oldest = Some(key);
            }
        }
        let per_address = match side {
            Side::Inbound => CONNECTIONS_PER_ADDRESS,
            Side::Outbound => CONNECTIONS,
        };
        if open < CONNECTIONS && of_address < per_address {
            return true;
        }
        self.stats.violation("too_many_connections");
        let Some(oldest) = oldest else {
            warn!(%peer, side = side.as_str(), open, of_address, "connection refused, too many are open");
            return false;
        };
        self.doomed.push((oldest, Ended::Closed));
        true
    }

    fn accepted(&mut self, key: Key<Link>, side: Side) -> Result<(), Ended> {
        let tls = match side {
            Side::Inbound => Some(self.server_tls().map_err(Ended::Io)?),
            Side::Outbound => None,
        };
        let Some(link) = self.links.arena.get_mut(key) else {
            return Ok(());
        };
        let _ = link.socket.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = turn::token(key);
        self.registry
            .register(&mut link.socket, token, interest)
            .map_err(Ended::Io)?;
        match tls {
            Some(tls) => link.wire = Some(Box::new(Wire::new(tls))),
            None => self.begin_http2(key),
        }
        Ok(())
    }

    fn server_tls(&mut self) -> io::Result<Tls> {
        let config = match &self.server_config {
            Some(config) => Arc::clone(config),
            None => {
                let identity = self.identity.as_ref().ok_or(io::ErrorKind::NotFound)?;
                let config: Arc<ServerConfig> =
                    weft_identity::server_config(identity).map_err(io::Error::other)?;
                Arc::clone(self.server_config.insert(config))
            }
        };
        Tls::server(config).map_err(io::Error::other)
    }
}
