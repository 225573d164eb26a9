//! The life of a connection: handshake, HTTP/2, what time does to it, and its end.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracing::{debug, warn};
use weft_http2::{Connection, ErrorCode, Keepalive, LastStream, Limits, Settings};
use weft_identity::{Refusal, peer_id, peer_not_after};

use super::{
    arena::Key,
    core::{Core, Events, From},
    exchange::Exchange,
    link::{Ended, Kind, Link, Phase, Side, Token, Wire},
    links::Current,
    pools::Pool,
    tls::Progress,
    window,
};

/// TCP, TLS and HTTP/2 together, upstream. Inside a cluster they take milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A caller's TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may take to read the last word. Envoy's `delayed_close_timeout`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long after the first GOAWAY the second follows at the latest, where a PING gets no answer.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Callers are asked to connect anew after this, plus up to a tenth, and before a certificate ends that
/// their connection was made with.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(30 * 60);

impl Core {
    /// A link has become writable: if it was connecting, it is connected, or has failed to.
    pub(crate) fn connected(&mut self, key: Key<Link>) {
        let Some(link) = self.links.arena.get_mut(key) else {
            return;
        };
        if !link.is_half_made() {
            return;
        }
        match link.is_connected() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return self.doomed.push((key, Ended::Connect(error))),
        }
        let Kind::Upstream { pool, .. } = link.kind else {
            return;
        };
        let tls = match self.client_tls(pool) {
            Ok(tls) => tls,
            Err(reason) => {
                let refusal = Refusal::Broken { reason };
                return self.doomed.push((key, Ended::Refused(refusal)));
            }
        };
        match tls {
            None => self.begin_http2(key),
            Some(tls) => {
                if let Some(link) = self.links.arena.get_mut(key) {
                    link.wire = Some(Box::new(Wire::new(tls)));
                }
                // Nothing has come, but the first step is ours.
                if let Err(ended) = self.feed(key, &mut []) {
                    self.doomed.push((key, ended));
                }
            }
        }
    }

    /// Starts HTTP/2 on a link whose way is free.
    pub(crate) fn begin_http2(&mut self, key: Key<Link>) {
        let now = self.now;
        let Some(link) = self.links.arena.get_mut(key) else {
            return;
        };
        let settings = Settings {
            max_concurrent_streams: window::STREAMS,
            initial_window_bytes: window::FIRST_BYTES,
            ..Settings::default()
        };
        let keepalive = |interval, timeout, without_streams| Limits {
            keepalive: Some(Keepalive {
                interval: Duration::from_secs(interval),
                timeout: Duration::from_secs(timeout),
                without_streams,
            }),
            ..Limits::default()
        };
        link.h2 = Some(Box::new(match link.kind {
            Kind::Downstream { .. } => {
                link.phase = Phase::Open;
                link.was_open = true;
                let mut h2 = Connection::server(&settings, &keepalive(20, 10, true), now);
                if let Some(since) = &mut link.leaving_since {
                    *since = now;
                    say_goodbye(&mut h2);
                }
                h2
            }
            // It is open when the peer's SETTINGS have come. A workload gets no PING: gRPC servers take those
            // that come more often than every 5 minutes for an attack, and it is next to us. Nor does a server
            // outside the mesh.
            Kind::Upstream { pool, .. } => match self.pools.identity(pool) {
                None => Connection::client(&settings, &Limits::default(), now),
                Some(_) => Connection::client(&settings, &keepalive(5, 3, true), now),
            },
        }));
        self.links.mark(key);
    }

    /// Takes bytes from a link's socket.
    ///
    /// # Errors
    /// If the link is over.
    pub(crate) fn feed(&mut self, key: Key<Link>, bytes: &mut [u8]) -> Result<(), Ended> {
        let Some(link) = self.links.arena.get_mut(key) else {
            return Ok(());
        };
        let from = match &link.kind {
            Kind::Downstream { side, caller } => Some(From {
                side: *side,
                caller: caller.clone(),
            }),
            Kind::Upstream { .. } => None,
        };
        let (mut h2, mut wire) = (link.h2.take(), link.wire.take());
        let now = self.now;
        let mut events = Events {
            core: self,
            link: key,
            from,
        };
        let mut broke = None;
        let mut early = Vec::new();
        let mut deliver = |plain: &[u8]| match &mut h2 {
            Some(h2) if broke.is_none() => broke = h2.receive(plain, now, &mut events).err(),
            Some(_) => {}
            // The last step of the handshake and the first bytes came together.
            None => early.extend_from_slice(plain),
        };
        let progress = match &mut wire {
            Some(wire) => wire.receive(bytes, &mut deliver),
            None => {
                deliver(bytes);
                Ok(Progress::Open)
            }
        };
        let begun = h2.is_some();
        let Some(link) = self.links.arena.get_mut(key) else {
            return Ok(());
        };
        (link.h2, link.wire) = (h2, wire);
        self.links.mark(key);
        if let Some(error) = broke {
            self.stats.violation(error.reason);
            self.close(key, Ended::Http2(error));
            return Ok(());
        }
        match progress {
            Err(error) => {
                let refusal = Refusal::from_tls(&error, &self.expected(key));
                self.close(key, Ended::Refused(refusal));
                return Ok(());
            }
            Ok(Progress::Open) if !begun => {
                if let Err(refusal) = self.handshaken(key) {
                    self.close(key, Ended::Refused(refusal));
                    return Ok(());
                }
                self.begin_http2(key);
                if !early.is_empty() {
                    self.feed_plain(key, &early)?;
                }
            }
            Ok(Progress::Closed) => return Err(Ended::Closed),
            Ok(_) => {}
        }
        self.close_if_done(key);
        Ok(())
    }

    /// Plaintext that came with the end of the handshake.
    fn feed_plain(&mut self, key: Key<Link>, plain: &[u8]) -> Result<(), Ended> {
        let wire = self
            .links
            .arena
            .get_mut(key)
            .and_then(|link| link.wire.take());
        let mut bytes = plain.to_vec();
        let fed = self.feed(key, &mut bytes);
        if let Some(link) = self.links.arena.get_mut(key) {
            link.wire = wire;
        }
        fed
    }

    /// Who is there, now that it has been proven.
    fn handshaken(&mut self, key: Key<Link>) -> Result<(), Refusal> {
        let Some(link) = self.links.arena.get_mut(key) else {
            return Ok(());
        };
        let Some(wire) = &link.wire else {
            return Ok(());
        };
        let facts = wire.tls.facts();
        if let Kind::Downstream { caller, .. } = &mut link.kind {
            *caller = Some(Arc::from(peer_id(facts)?.as_str()));
            let own = self.identity.as_ref().map(|own| own.svid().not_after());
            let end = [peer_not_after(facts), own].into_iter().flatten().min();
            let left = end.and_then(|end| end.duration_since(SystemTime::now()).ok());
            link.max_age = MAX_AGE.min(left.unwrap_or_default() * 4 / 5);
        }
        // rustls refuses another protocol, but lets a peer that names none pass.
        match facts.alpn_protocol() {
            Some(b"h2") => Ok(()),
            _ => Err(Refusal::Alpn),
        }
    }

    /// Whom a link's peer must prove to be, in words.
    fn expected(&self, key: Key<Link>) -> String {
        if let Some(link) = self.links.arena.get(key)
            && let Kind::Upstream { pool, .. } = link.kind
            && let Some(identity) = self.pools.identity(pool)
        {
            return identity.to_string();
        }
        self.expected_caller()
    }

    fn expected_caller(&self) -> String {
        let identity = self.identity.as_ref();
        let domain = identity.map(|identity| identity.bundle().trust_domain().to_string());
        format!("an identity of trust domain {}", domain.unwrap_or_default())
    }

    /// Closes a link once what is queued is written.
    pub(crate) fn close(&mut self, key: Key<Link>, why: Ended) {
        if let Some(link) = self.links.arena.get_mut(key)
            && link.phase != Phase::Closing
        {
            link.phase = Phase::Closing;
            link.verdict = Some((why, self.now));
            self.links.mark(key);
        }
    }

    /// Asks the peer of a link to go: what is under way goes on.
    pub(crate) fn leave(&mut self, key: Key<Link>) {
        let now = self.now;
        let Some(link) = self.links.arena.get_mut(key) else {
            return;
        };
        if link.leaving_since.is_some() {
            return;
        }
        link.leaving_since = Some(now);
        let is_downstream = link.is_downstream();
        match &mut link.h2 {
            Some(h2) if is_downstream => say_goodbye(h2),
            Some(h2) => h2.go_away(ErrorCode::NO_ERROR, b"", LastStream::Arrived),
            // For the caller the handshake may be over, and a call on its way: it is told once HTTP/2 begins.
            None if is_downstream => return,
            None => return self.doomed.push((key, Ended::Closed)),
        }
        self.links.mark(key);
        self.close_if_done(key);
    }

    /// The peer has seen the first GOAWAY: from here on its new streams are ignored.
    pub(crate) fn leave_for_good(&mut self, current: &mut Current<'_>) {
        let Some(link) = self.links.arena.get_mut(current.link) else {
            return;
        };
        if link.leaving_since.is_some() && !std::mem::replace(&mut link.has_left, true) {
            let key = current.link;
            if let Some(h2) = self.links.h2(current, key) {
                h2.go_away(ErrorCode::NO_ERROR, b"", LastStream::Arrived);
            }
        }
    }

    /// Closes a link that is about to go and carries no call any more.
    pub(crate) fn close_if_done(&mut self, key: Key<Link>) {
        let Some(link) = self.links.arena.get(key) else {
            return;
        };
        let Some(h2) = &link.h2 else { return };
        let is_leaving = match link.kind {
            Kind::Downstream { .. } => link.has_left,
            Kind::Upstream { .. } => {
                link.leaving_since.is_some() || h2.is_peer_going_away() || h2.is_worn_out()
            }
        };
        if is_leaving && h2.open_streams() == 0 {
            self.close(key, Ended::Closed);
        }
    }

    /// Looks at what time has done to connections.
    pub(crate) fn tick(&mut self) {
        self.probe();
        self.exchanges.each_free(Exchange::shrink);
        for key in self.links.arena.keys() {
            if let Some(ended) = self.age(key) {
                self.doomed.push((key, ended));
            }
        }
    }

    fn age(&mut self, key: Key<Link>) -> Option<Ended> {
        let now = self.now;
        let link = self.links.arena.get_mut(key)?;
        let age = now.saturating_duration_since(link.opened);
        match (link.phase, link.is_downstream()) {
            (Phase::Closing, _) => {
                let since = link
                    .verdict
                    .as_ref()
                    .map_or(link.opened, |(_, since)| *since);
                return (now >= since + CLOSE_TIMEOUT).then_some(Ended::Closed);
            }
            (Phase::Connecting, false) if age >= CONNECT_TIMEOUT => {
                let message = format!("no connection within {CONNECT_TIMEOUT:?}");
                let error = io::Error::new(io::ErrorKind::TimedOut, message);
                return Some(Ended::Connect(error));
            }
            (Phase::Connecting, true) if age >= HANDSHAKE_TIMEOUT => {
                let reason = format!("it was not finished within {HANDSHAKE_TIMEOUT:?}");
                return Some(Ended::Refused(Refusal::Broken { reason }));
            }
            _ => {}
        }
        if self.is_stalled(key) {
            self.stats.violation("no_progress");
            self.close(key, Ended::Stalled);
            return None;
        }
        let link = self.links.arena.get_mut(key)?;
        if let Some(h2) = &mut link.h2
            && h2.deadline().is_some_and(|deadline| deadline <= now)
        {
            let checked = h2.on_deadline(now);
            self.links.mark(key);
            if let Err(error) = checked {
                self.stats.violation(error.reason);
                self.close(key, Ended::Http2(error));
                return None;
            }
        }
        let link = self.links.arena.get_mut(key)?;
        link.shrink();
        // Connections made together should not all go together.
        let spread = link.max_age / 1000 * (key.index() as u32 % 100);
        match link.leaving_since {
            None if link.is_downstream() && age >= link.max_age + spread => self.leave(key),
            Some(since) if link.h2.is_some() && !link.has_left && now >= since + LEAVE_TIMEOUT => {
                self.leave_for_good(&mut Current {
                    link: key,
                    h2: None,
                });
            }
            _ => {}
        }
        None
    }

    /// Logs how a connection to an endpoint ended: whoever is there has not proven the name that was
    /// dialled, or does not accept ours.
    pub(crate) fn tell_upstream_end(&self, pool: Key<Pool>, address: SocketAddr, ended: &Ended) {
        let Ended::Refused(refusal) = ended else {
            return debug!(%address, error = %ended, "upstream connection ended");
        };
        let expected = self.pools.identity(pool).map(|identity| &**identity);
        let own = self.identity.as_ref().map(|own| own.id().to_string());
        let reason = refusal.reason();
        warn!(%address, reason, expected, own, error = %refusal, "outbound connection refused");
    }

    /// Logs how a caller's connection ended.
    pub(crate) fn tell_end(&mut self, side: Side, peer: SocketAddr, ended: &Ended) {
        match ended {
            Ended::Refused(refusal) => {
                let reason = refusal.reason();
                self.stats.refused(reason);
                let expected = self.expected_caller();
                // Peers that connect and go away are port checks more often than attacks.
                if matches!(refusal, Refusal::Broken { .. }) {
                    debug!(%peer, reason, error = %refusal, "inbound connection ended");
                } else {
                    warn!(%peer, reason, expected, error = %refusal, "inbound connection refused");
                }
            }
            Ended::Http2(_) | Ended::Stalled => {
                warn!(%peer, side = side.as_str(), error = %ended, "connection closed");
            }
            _ => debug!(%peer, side = side.as_str(), error = %ended, "connection ended"),
        }
    }
}

/// The first of two GOAWAYs (RFC 9113, 6.8): no more streams, please.
fn say_goodbye(h2: &mut Connection<Token>) {
    h2.go_away(ErrorCode::NO_ERROR, b"", LastStream::All);
    // Its answer tells that no stream is on its way any more that was begun unaware.
    h2.ping(*b"goodbye!");
}
