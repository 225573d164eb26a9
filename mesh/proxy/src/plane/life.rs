//! The life of a connection: handshake and HTTP/2. What time does to it, and its end, is in [`super::ending`].

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use weft_http2::{Connection, Keepalive, Limits, Settings};
use weft_identity::{Refusal, peer_id, peer_not_after};

use super::{
    arena::Key,
    core::{Core, Events, From},
    ended::Ended,
    ending::say_goodbye,
    kind::{Kind, Phase},
    link::Link,
    tls::Progress,
    window,
    wire::Wire,
};

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

    pub(crate) fn expected_caller(&self) -> String {
        let identity = self.identity.as_ref();
        let domain = identity.map(|identity| identity.bundle().trust_domain().to_string());
        format!("an identity of trust domain {}", domain.unwrap_or_default())
    }
}
