//! How a connection ends: asked to go, too old, too slow, or broken; and what the log says then.

use std::{io, net::SocketAddr, time::Duration};

use tracing::{debug, warn};
use weft_http2::{Connection, ErrorCode, LastStream};
use weft_identity::Refusal;

use super::{
    arena::Key,
    core::Core,
    ended::Ended,
    exchange::Exchange,
    kind::{Kind, Phase, Side, Token},
    link::Link,
    links::Current,
    pools::Pool,
};

/// TCP, TLS and HTTP/2 together, upstream. Inside a cluster they take milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A caller's TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may take to read the last word. Envoy's `delayed_close_timeout`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long after the first GOAWAY the second follows at the latest, where a PING gets no answer.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

impl Core {
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

    /// Takes a link out of everything.
    pub(crate) fn bury(&mut self, key: Key<Link>, ended: Ended) {
        let Some(link) = self.links.arena.get_mut(key) else {
            return;
        };
        let ended = link.verdict.take().map_or(ended, |(verdict, _)| verdict);
        let was_open = link.phase == Phase::Open || link.was_open;
        let peer = link.peer;
        let kind = std::mem::replace(
            &mut link.kind,
            Kind::Downstream {
                side: Side::Inbound,
                caller: None,
            },
        );
        let why = ended.to_string();
        let unsent = std::mem::take(&mut link.unsent);
        let abandoned = std::mem::take(&mut link.abandoned);
        // HTTP/2 forgets a stream when nothing is left to be done about it: these are all calls there are.
        let mut tokens: Vec<Token> = link.h2.iter().flat_map(|h2| h2.tokens()).collect();
        tokens.sort_by_key(|token| (token.exchange.index(), token.attempt));
        if let Some(link) = self.links.arena.free(key) {
            link.empty(&self.registry);
        }
        for abandoned in abandoned {
            self.let_go(&mut Current::none(), abandoned);
        }
        match kind {
            Kind::Upstream { pool, slot } => {
                if let Some(slot) = slot {
                    self.engine.free(slot);
                }
                self.tell_upstream_end(pool, peer, &ended);
                self.upstream_gone(key, pool, was_open, (&tokens, &unsent), &why);
            }
            Kind::Downstream { side, .. } => {
                self.tell_end(side, peer, &ended);
                for Token { exchange, .. } in tokens {
                    self.cancel(&mut Current::none(), exchange);
                }
                self.left(side);
            }
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
    pub(crate) fn tell_upstream_end(
        &mut self,
        pool: Key<Pool>,
        address: SocketAddr,
        ended: &Ended,
    ) {
        let Ended::Refused(refusal) = ended else {
            return debug!(%address, error = %ended, "upstream connection ended");
        };
        let reason = refusal.reason();
        let Some(left_out) = self.throttles[1].line(reason, self.now) else {
            return;
        };
        let expected = self.pools.identity(pool).map(|identity| &**identity);
        let own = self.identity.as_ref().map(|own| own.id().to_string());
        warn!(%address, reason, expected, own, left_out, error = %refusal, "outbound connection refused");
    }

    /// Logs how a caller's connection ended.
    pub(crate) fn tell_end(&mut self, side: Side, peer: SocketAddr, ended: &Ended) {
        match ended {
            Ended::Refused(refusal) => {
                let reason = refusal.reason();
                self.stats.refused(reason);
                // Peers that connect and go away are port checks more often than attacks.
                if matches!(refusal, Refusal::Broken { .. }) {
                    debug!(%peer, reason, error = %refusal, "inbound connection ended");
                } else if let Some(left_out) = self.throttles[0].line(reason, self.now) {
                    let expected = self.expected_caller();
                    warn!(%peer, reason, expected, left_out, error = %refusal, "inbound connection refused");
                }
            }
            Ended::Http2(_) | Ended::Stalled => {
                let about = match ended {
                    Ended::Http2(error) => error.reason,
                    _ => "no_progress",
                };
                if let Some(left_out) = self.throttles[0].line(about, self.now) {
                    warn!(%peer, side = side.as_str(), left_out, error = %ended, "connection closed");
                }
            }
            _ => debug!(%peer, side = side.as_str(), error = %ended, "connection ended"),
        }
    }
}

/// The first of two GOAWAYs (RFC 9113, 6.8): no more streams, please.
pub(crate) fn say_goodbye(h2: &mut Connection<Token>) {
    h2.go_away(ErrorCode::NO_ERROR, b"", LastStream::All);
    // Its answer tells that no stream is on its way any more that was begun unaware.
    h2.ping(*b"goodbye!");
}
