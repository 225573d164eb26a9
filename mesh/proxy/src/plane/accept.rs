//! Listeners: who may connect, and how many.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token};
use rustls::ServerConfig;
use tracing::warn;
use weft_http2::{ErrorCode, LastStream};

use super::{
    arena::Key,
    core::Core,
    ended::Ended,
    kind::{Kind, Phase, Side},
    link::Link,
    links::Current,
    tls::Tls,
    turn,
    wire::Wire,
};

/// Connections a listener holds at once.
const CONNECTIONS: usize = 1024;
/// Of these, how many one address may hold inbound: nobody takes all places.
const CONNECTIONS_PER_ADDRESS: usize = 768;
/// Besides these, how many may be about to close.
const CLOSING: usize = 256;
/// Who has sent and got nothing for as long, and has no call open, may be asked to connect anew.
const IDLE: Duration = Duration::from_secs(10);

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

/// The connections of one listener.
#[derive(Default)]
struct Census {
    open: usize,
    of_address: usize,
    closing: usize,
    /// The first to go, for whoever comes from any address, or from this one.
    least: [Option<(Rank, Key<Link>)>; 2],
    oldest_closing: Option<(Instant, Key<Link>)>,
}

/// Who goes first: who has never called, then who has not called for long; of these the one that has been so
/// for longest, for others have only just come. Whoever else has called stays.
type Rank = (bool, Instant);

fn rank(link: &Link, now: Instant) -> Option<Rank> {
    let is_idle = now >= link.last_write + IDLE;
    match &link.h2 {
        Some(h2) if !h2.has_had_streams() => Some((false, link.opened)),
        Some(h2) if is_idle && h2.open_streams() == 0 => Some((true, link.last_write)),
        Some(_) => None,
        None => Some((false, link.opened)),
    }
}

impl Census {
    fn count(&mut self, key: Key<Link>, link: &Link, address: IpAddr, now: Instant) {
        if link.phase == Phase::Closing {
            self.closing += 1;
            let (since, _) = self.oldest_closing.get_or_insert((link.last_write, key));
            if link.last_write < *since {
                self.oldest_closing = Some((link.last_write, key));
            }
            return;
        }
        let is_same = link.peer.ip() == address;
        self.open += 1;
        self.of_address += usize::from(is_same);
        let Some(rank) = rank(link, now) else { return };
        for least in &mut self.least[..1 + usize::from(is_same)] {
            if least.is_none_or(|(other, _)| rank < other) {
                *least = Some((rank, key));
            }
        }
    }
}

impl Core {
    /// Makes room for one more connection. Where all places are taken, one that nobody needs goes. False
    /// if there is no such.
    fn make_room(&mut self, side: Side, peer: SocketAddr) -> bool {
        let mut census = Census::default();
        for key in self.links.arena.keys() {
            if let Some(link) = self.links.arena.get(key)
                && matches!(link.kind, Kind::Downstream { side: other, .. } if other == side)
            {
                census.count(key, link, peer.ip(), self.now);
            }
        }
        if census.closing >= CLOSING
            && let Some((_, oldest)) = census.oldest_closing
        {
            self.bury(oldest, Ended::Closed);
        }
        let per_address = match side {
            Side::Inbound => CONNECTIONS_PER_ADDRESS,
            Side::Outbound => CONNECTIONS,
        };
        let Census {
            open, of_address, ..
        } = census;
        let is_own_fault = of_address >= per_address;
        if open < CONNECTIONS && !is_own_fault {
            return true;
        }
        self.stats.violation("too_many_connections");
        let Some((_, key)) = census.least[usize::from(is_own_fault)] else {
            let reason = "too_many_connections";
            if let Some(left_out) = self.throttles[0].line(reason, self.now) {
                warn!(%peer, side = side.as_str(), open, of_address, left_out, "connection refused, too many are open");
            }
            return false;
        };
        self.send_away(key);
        true
    }

    /// Ends a connection that nobody needs. Who may call at any moment is told, so that calls which are
    /// on their way are known not to have arrived.
    fn send_away(&mut self, key: Key<Link>) {
        if self.links.arena.get(key).is_some_and(Link::has_not_begun) {
            return self.bury(key, Ended::Closed);
        }
        if let Some(h2) = self.links.h2(&mut Current::none(), key) {
            h2.go_away(
                ErrorCode::NO_ERROR,
                b"too_many_connections",
                LastStream::Arrived,
            );
        }
        self.close(key, Ended::Closed);
    }

    fn accepted(&mut self, key: Key<Link>, side: Side) -> Result<(), Ended> {
        let tls = match side {
            Side::Inbound => Some(self.server_tls().map_err(Ended::Io)?),
            Side::Outbound => None,
        };
        let Some(link) = self.links.arena.get_mut(key) else {
            return Ok(());
        };
        link.register(&self.registry, turn::token(key))
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
