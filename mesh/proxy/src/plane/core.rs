//! What the thread of the data plane owns, and the events that change it.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use mio::Registry;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::oneshot;
use weft_channel::access::AccessLog;
use weft_http2::{Connection, ErrorCode, Event, Handler};
use weft_identity::Identity;
use weft_model::dataplane::Snapshot;
use weft_policy::{Engine, Failure, InboundEngine, Options, retry::RetryMarks};
use weft_runtime::throttle::Throttle;

use super::{
    arena::{Arena, Key},
    ended::Ended,
    exchange::Exchange,
    kind::{Side, Token},
    link::Link,
    links::{Current, Links},
    pools::Pools,
    probe::Probes,
    stats::Stats,
    wheel::Wheel,
};

/// How many lines a second there may be about one thing that peers do.
const LINES: u32 = 20;

/// What a timer of a call is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    /// The call ends.
    Deadline(Key<Exchange>),
    /// The next attempt begins.
    Pause(Key<Exchange>),
    /// Another attempt begins besides.
    Hedge(Key<Exchange>),
    /// An attempt was delayed long enough, or has taken too long.
    Attempt(Key<Exchange>, u8),
}

/// Everything but the sockets' readiness. One thread owns it: nothing is shared, nothing is locked.
pub(crate) struct Core {
    /// Read from the clock once a turn.
    pub(crate) now: Instant,
    /// When what is being handled was read.
    pub(crate) read_at: Instant,
    pub(crate) rng: StdRng,
    pub(crate) registry: Registry,
    pub(crate) links: Links,
    pub(crate) exchanges: Arena<Exchange>,
    pub(crate) wheel: Wheel<Timer>,
    pub(crate) engine: Engine,
    pub(crate) inbound: InboundEngine,
    /// What both decide by.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// What both sides tell each other about retries of one trace.
    pub(crate) marks: RetryMarks,
    pub(crate) pools: Pools,
    pub(crate) probes: Probes,
    /// Copies of requests that are under way.
    pub(crate) copies: usize,
    pub(crate) stats: Stats,
    /// Of lines about callers, and about endpoints.
    pub(crate) throttles: [Throttle; 2],
    /// Of calls.
    pub(crate) access_log: AccessLog,
    /// `None` until the control plane has given one.
    pub(crate) identity: Option<Arc<Identity>>,
    /// Made from the identity when the first connection comes.
    pub(crate) server_config: Option<Arc<rustls::ServerConfig>>,
    /// The workload.
    pub(crate) app: SocketAddr,
    /// Links that end with this turn.
    pub(crate) doomed: Vec<(Key<Link>, Ended)>,
    /// Who wants to know that the last connection of a side has ended: inbound, outbound.
    pub(crate) drained: [Option<oneshot::Sender<()>>; 2],
}

impl Core {
    pub(crate) fn new(registry: Registry, app: SocketAddr, options: &Options) -> Self {
        let now = Instant::now();
        Self {
            now,
            read_at: now,
            rng: StdRng::from_os_rng(),
            registry,
            links: Links::default(),
            exchanges: Arena::default(),
            wheel: Wheel::new(now),
            engine: Engine::new(options.clone()),
            inbound: InboundEngine::new(options),
            snapshot: None,
            marks: RetryMarks::default(),
            pools: Pools::default(),
            probes: Probes::default(),
            copies: 0,
            stats: Stats::default(),
            throttles: [Throttle::new(LINES), Throttle::new(LINES)],
            access_log: AccessLog::default(),
            identity: None,
            server_config: None,
            app,
            doomed: Vec::new(),
            drained: [None, None],
        }
    }

    pub(crate) fn timer(&mut self, timer: Timer) {
        let current = &mut Current::none();
        match timer {
            Timer::Deadline(key) => self.fail(current, key, Failure::deadline_exceeded()),
            Timer::Pause(key) | Timer::Hedge(key) => self.next_attempt(current, key),
            Timer::Attempt(key, attempt) => self.attempt_timer(current, key, attempt.into()),
        }
    }

    /// Streams of this link that waited for windows or room try again.
    pub(crate) fn unblock(&mut self, current: &mut Current<'_>, link: Key<Link>) {
        let Some(found) = self.links.arena.get_mut(link) else {
            return;
        };
        let mut blocked = std::mem::take(&mut found.blocked);
        let is_downstream = found.is_downstream();
        for token in blocked.drain(..) {
            match is_downstream {
                true => self.send_answer(current, token.exchange),
                false => self.send_request(current, token.exchange, token.attempt.into()),
            }
        }
        if let Some(found) = self.links.arena.get_mut(link)
            && found.blocked.is_empty()
        {
            found.blocked = blocked;
        }
    }

    fn downstream(&mut self, current: &mut Current<'_>, from: &From, event: Event<'_, Token>) {
        match event {
            Event::Headers {
                stream,
                block,
                end_stream,
                ..
            } => self.request(current, from, (stream, block, end_stream)),
            Event::Data {
                stream,
                token,
                bytes,
                end_stream,
            } => self.request_data(current, (stream, token), bytes, end_stream),
            Event::Trailers { stream, token, .. } => {
                // gRPC requests have none; what somebody sends is their end all the same.
                self.request_data(current, (stream, token), &[], true);
            }
            Event::Reset { stream, token, .. } | Event::Malformed { stream, token, .. } => {
                match token {
                    Some(token) => self.cancel(current, token.exchange),
                    None => current.release(stream),
                }
            }
            Event::WindowOpened { token, .. } => {
                if let Some(token) = token {
                    self.send_answer(current, token.exchange);
                }
            }
            Event::WindowsOpened => self.unblock(current, current.link),
            Event::HeadersTooLarge { stream, .. } => self.headers_too_large(current, stream),
            Event::PingAck { .. } => self.leave_for_good(current),
            Event::GoAway { .. }
            | Event::Refused { .. }
            | Event::SettingsChanged
            | Event::ResetsRead => {}
        }
    }

    fn upstream(&mut self, current: &mut Current<'_>, event: Event<'_, Token>) {
        match event {
            Event::Headers {
                informational: true,
                ..
            } => {}
            Event::Headers {
                token: Some(token),
                block,
                end_stream,
                ..
            } => self.response(current, token, block, end_stream),
            Event::Data {
                stream,
                token: Some(token),
                bytes,
                end_stream,
            } => self.response_data(current, (stream, token), bytes, end_stream),
            Event::Trailers {
                token: Some(token),
                block,
                ..
            } => self.response_trailers(current, token, block),
            Event::Reset {
                token: Some(token),
                code,
                ..
            } => self.attempt_reset(current, token, code),
            Event::Refused {
                token: Some(token), ..
            } => self.attempt_reset(current, token, ErrorCode::REFUSED_STREAM),
            Event::Malformed {
                token: Some(token),
                reason,
                ..
            } => self.attempt_malformed(current, token, reason),
            Event::HeadersTooLarge {
                token: Some(token), ..
            } => self.attempt_malformed(current, token, "the answer's headers are too large"),
            Event::WindowOpened {
                token: Some(token), ..
            } => self.send_request(current, token.exchange, token.attempt.into()),
            Event::WindowsOpened => self.unblock(current, current.link),
            Event::SettingsChanged => self.upstream_opened(current),
            Event::ResetsRead => self.resets_read(current),
            _ => {}
        }
    }
}

/// Where requests of a link come from.
pub(crate) struct From {
    pub(crate) side: Side,
    /// The caller's SPIFFE ID, inbound.
    pub(crate) caller: Option<Arc<str>>,
}

/// Carries the events of one link to the core.
pub(crate) struct Events<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) link: Key<Link>,
    /// `None` for an upstream link.
    pub(crate) from: Option<From>,
}

impl Handler<Token> for Events<'_> {
    fn event(&mut self, h2: &mut Connection<Token>, event: Event<'_, Token>) {
        let mut current = Current {
            link: self.link,
            h2: Some(h2),
        };
        match &self.from {
            Some(from) => self.core.downstream(&mut current, from, event),
            None => self.core.upstream(&mut current, event),
        }
    }
}
