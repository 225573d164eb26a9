//! One call on its way through: a stream of a caller, and a stream for each attempt upstream.

use std::time::{Duration, Instant};

use weft_channel::messages::Messages;
use weft_http2::{HeaderBlock, Name, StreamId};
use weft_policy::{Admission, Attempt as Picked, Call, Probe, Slot};
use weft_runtime::trace::calls::CallSpan;

use super::{
    arena::Key,
    head::{self, text},
    kind::Side,
    link::Link,
    pools::Pool,
    stats::Row,
    wheel::TimerKey,
};

/// What the buffer of a call keeps that has been over for a while.
const KEPT_BYTES: usize = 2 * 1024;

/// Payload that waits to be passed on.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: Vec<u8>,
    /// The stream position of the first byte that is kept.
    from: usize,
}

impl Backlog {
    /// Everything from stream position `at` on.
    pub(crate) fn after(&self, at: usize) -> &[u8] {
        &self.bytes[at.saturating_sub(self.from).min(self.bytes.len())..]
    }

    /// The stream position after the last byte.
    pub(crate) fn end(&self) -> usize {
        self.from + self.bytes.len()
    }

    /// How much is kept.
    pub(crate) fn kept(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes went by without being kept.
    pub(crate) fn skip(&mut self, n: usize) {
        debug_assert!(self.bytes.is_empty());
        self.from += n;
    }

    /// Nothing before stream position `at` is needed any more.
    pub(crate) fn drop_before(&mut self, at: usize) {
        let n = at.saturating_sub(self.from).min(self.bytes.len());
        self.from += n;
        if n == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..n);
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.from = 0;
    }

    /// Gives memory back that was needed once.
    fn shrink(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }
}

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Held back by an injected delay.
    Delayed,
    /// In the queue of a pool.
    Waiting,
    /// On a stream.
    Sent { link: Key<Link>, stream: StreamId },
    /// Over.
    Over,
}

/// One attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// What the engine picked. `None`: the workload beside us.
    pub(crate) picked: Option<Picked>,
    pub(crate) place: Place,
    /// The pool its endpoint is in.
    pub(crate) pool: Key<Pool>,
    /// Its place among the calls that wait for a connection.
    pub(crate) pending: Option<Slot>,
    /// How much of the request was sent on it.
    pub(crate) sent: usize,
    /// The end of the request, too.
    pub(crate) sent_end: bool,
    /// Its own time limit, or its injected delay.
    pub(crate) timer: TimerKey,
    pub(crate) started: Instant,
    /// Its end has been counted.
    pub(crate) is_counted: bool,
}

/// What the engines keep for a call.
#[derive(Debug, Default)]
pub(crate) enum Policy {
    #[default]
    None,
    Outbound(Call),
    Inbound(Admission),
    /// It is a probe of ours.
    Probe(Box<Probe>),
}

/// One call on its way through.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) side: Side,
    pub(crate) down: Key<Link>,
    pub(crate) down_stream: StreamId,
    /// The request's header, as it is sent on.
    pub(crate) head: Box<HeaderBlock>,
    pub(crate) body: Backlog,
    pub(crate) request_ended: bool,
    /// The request is kept from its first byte for another attempt.
    pub(crate) is_replayable: bool,
    /// Its streams have more than the first window: the request's, the answer's.
    pub(crate) is_request_wide: bool,
    pub(crate) is_answer_wide: bool,
    /// Bytes of the request whose window was given back to the caller.
    pub(crate) given_back: usize,
    pub(crate) attempts: Vec<Attempt>,
    /// The attempt whose answer is handed on.
    pub(crate) committed: Option<usize>,
    pub(crate) answer: Backlog,
    /// The trailers, once they have come but payload before them waits.
    pub(crate) trailers: Box<HeaderBlock>,
    pub(crate) has_trailers: bool,
    /// The status in the trailers that wait, and why the mesh made them if it did.
    pub(crate) end: Option<super::finish::End>,
    pub(crate) policy: Policy,
    pub(crate) deadline: TimerKey,
    /// Wakes the call for its next attempt.
    pub(crate) pause: TimerKey,
    pub(crate) hedge: TimerKey,
    /// Waits for an endpoint or a configuration: asked again when that changes.
    pub(crate) is_held: bool,
    /// Its caller has gone away.
    pub(crate) is_cancelled: bool,
    /// Its stream downstream counts on for a while after its end.
    pub(crate) is_abandoned: bool,
    /// Present where spans are exported.
    pub(crate) span: Option<CallSpan>,
    pub(crate) started: Instant,
    /// When an attempt ended last that was not the last.
    pub(crate) idle_since: Instant,
    /// How long no attempt was under way since the first had begun.
    pub(crate) idle: Duration,
    pub(crate) row: Row,
    /// Those of the request, those of the answer.
    pub(crate) messages: [Messages; 2],
}

impl Exchange {
    pub(crate) fn fresh(now: Instant) -> Self {
        Self {
            side: Side::Inbound,
            down: Key::NONE,
            down_stream: StreamId::default(),
            head: Box::default(),
            body: Backlog::default(),
            request_ended: false,
            is_replayable: true,
            is_request_wide: false,
            is_answer_wide: false,
            given_back: 0,
            attempts: Vec::new(),
            committed: None,
            answer: Backlog::default(),
            trailers: Box::default(),
            has_trailers: false,
            end: None,
            policy: Policy::None,
            deadline: TimerKey::NONE,
            pause: TimerKey::NONE,
            hedge: TimerKey::NONE,
            is_held: false,
            is_cancelled: false,
            is_abandoned: false,
            span: None,
            started: now,
            idle_since: now,
            idle: Duration::ZERO,
            row: Row::default(),
            messages: Default::default(),
        }
    }

    /// Ready for the next call, with the buffers of the last.
    pub(crate) fn recycle(&mut self) {
        self.head.clear();
        self.body.clear();
        self.request_ended = false;
        self.is_replayable = true;
        self.is_request_wide = false;
        self.is_answer_wide = false;
        self.given_back = 0;
        self.attempts.clear();
        self.committed = None;
        self.answer.clear();
        self.trailers.clear();
        self.has_trailers = false;
        self.end = None;
        self.policy = Policy::None;
        self.deadline = TimerKey::NONE;
        self.pause = TimerKey::NONE;
        self.hedge = TimerKey::NONE;
        self.is_held = false;
        self.is_cancelled = false;
        self.is_abandoned = false;
        self.span = None;
        self.idle = Duration::ZERO;
        self.messages = Default::default();
    }

    /// Gives memory back that the last call needed.
    pub(crate) fn shrink(&mut self) {
        self.body.shrink();
        self.answer.shrink();
    }

    /// A copy of a call: nobody waits for its answer.
    pub(crate) fn is_copy(&self) -> bool {
        self.down == Key::NONE
    }

    /// The trace the call belongs to.
    pub(crate) fn trace(&self) -> Option<u128> {
        head::trace(&self.head)
    }

    /// Makes the call a span, which the next hop sees as its caller's.
    pub(crate) fn begin_span(&mut self) {
        let text = |name| text(&self.head, name);
        let method = text(Name::Path).unwrap_or_default().trim_start_matches('/');
        let (parent, state) = (text(Name::Traceparent), text(Name::Tracestate));
        self.span = CallSpan::begin(method, self.side == Side::Inbound, parent, state);
        if let Some(span) = &self.span {
            let (parent, state) = span.headers();
            self.head.set(Name::Traceparent, parent.as_bytes());
            match state.is_empty() {
                true => _ = self.head.remove(Name::Tracestate),
                false => self.head.set(Name::Tracestate, state.as_bytes()),
            }
        }
    }

    /// The attempt on whose stream the request goes on as it comes, if nothing of it needs to be kept.
    pub(crate) fn passes_on(&self) -> Option<usize> {
        let keeps = self.is_replayable || self.body.kept() > 0;
        match &self.attempts[..] {
            [only] if !keeps && matches!(only.place, Place::Sent { .. }) => Some(0),
            _ => None,
        }
    }

    /// Whether an attempt is under way.
    pub(crate) fn has_attempt(&self) -> bool {
        self.attempts
            .iter()
            .any(|attempt| attempt.place != Place::Over)
    }
}
