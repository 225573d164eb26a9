//! Requests: from a caller's stream to the streams of their attempts.

use std::sync::{Arc, LazyLock};

use weft_http2::{HeaderBlock, Name, StreamId};
use weft_policy::{Failure, InboundFacts, REPLAY_LIMIT_BYTES, Reason, RequestFacts};
use weft_runtime::trace::calls::exports_calls;

use super::{
    answer,
    arena::Key,
    core::{Core, From, Timer},
    exchange::{Exchange, Place, Policy},
    head::{self, Lookup, text},
    kind::{Side, Token},
    links::Current,
    window,
};

impl Core {
    /// A request's header has come.
    pub(crate) fn request(
        &mut self,
        current: &mut Current<'_>,
        from: &From,
        (stream, block, end_stream): (StreamId, &mut Box<HeaderBlock>, bool),
    ) {
        if let Some(status) = head::refused_as(block) {
            if let Some(h2) = &mut current.h2 {
                answer::other_than_grpc(h2, stream, block, status);
            }
            return;
        }
        let now = self.now;
        let (key, exchange) = self.exchanges.take(|| Exchange::fresh(now));
        std::mem::swap(&mut exchange.head, block);
        (exchange.side, exchange.started) = (from.side, now);
        (exchange.down, exchange.down_stream) = (current.link, stream);
        exchange.request_ended = end_stream;
        if let Some(h2) = &mut current.h2 {
            let token = Token {
                exchange: key,
                attempt: 0,
            };
            h2.set_token(stream, token);
        }
        if exports_calls() {
            exchange.begin_span();
        }
        match from.side {
            Side::Outbound => self.begin_outbound(current, key),
            Side::Inbound => self.begin_inbound(current, key, from.caller.as_ref()),
        }
    }

    /// Asks the engine about a call of the workload, and makes its first attempt.
    pub(crate) fn begin_outbound(&mut self, current: &mut Current<'_>, key: Key<Exchange>) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let block = &exchange.head;
        let authority = text(block, Name::Authority).or_else(|| text(block, Name::Host));
        let facts = RequestFacts {
            authority: authority.unwrap_or_default(),
            path: text(block, Name::Path).unwrap_or_default(),
            grpc_timeout: text(block, Name::GrpcTimeout),
            is_retry: block.contains(Name::GrpcPreviousRpcAttempts)
                || !self.marks.is_empty()
                    && exchange
                        .trace()
                        .is_some_and(|trace| self.marks.is_repeated(trace, self.now)),
            headers: &Lookup(block),
        };
        if !(exchange.is_held || self.identity.is_some() && self.engine.is_configured()) {
            // Just started: certificate and configuration are on their way.
            exchange.is_held = true;
            let until = self.now + weft_policy::PATIENCE;
            exchange.pause = self.wheel.set(until, Timer::Pause(key));
            return;
        }
        let path = facts.path;
        let admitted = match self.identity {
            Some(_) => self.engine.admit(facts, self.now, &mut self.rng),
            None => {
                let message = "no certificate has come from the control plane yet";
                Err(Failure::new(Reason::NoIdentity, message))
            }
        };
        // At once to where it stays: it is large.
        exchange.policy = match admitted {
            Ok(call) => Policy::Outbound(call),
            Err(failure) => {
                let target: Arc<str> = match failure.reason {
                    // Only names of the mesh become labels.
                    Reason::UnknownService | Reason::NoConfiguration | Reason::NoIdentity => {
                        "unknown".into()
                    }
                    _ => authority.unwrap_or_default().into(),
                };
                exchange.row = self.stats.row(Side::Outbound, path, &target);
                self.stats.started(exchange.row);
                return self.fail(current, key, failure);
            }
        };
        let Policy::Outbound(call) = &exchange.policy else {
            return;
        };
        exchange.row = self.stats.row(Side::Outbound, path, &call.record.target);
        self.stats.started(exchange.row);
        head::clean_request(&mut exchange.head);
        head::set_scheme(&mut exchange.head, call.record.is_cleartext);
        head::change(&mut exchange.head, call.request_headers());
        if let Some(at) = call.deadline.instant() {
            exchange.deadline = self.wheel.set(at, Timer::Deadline(key));
        }
        self.next_attempt(current, key);
        self.make_copies(key);
    }

    /// Asks the rules about a call for the workload, and hands it on.
    fn begin_inbound(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        caller: Option<&Arc<str>>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        static NOBODY: LazyLock<Arc<str>> = LazyLock::new(Arc::default);
        let caller = caller.unwrap_or(&NOBODY);
        let block = &exchange.head;
        let facts = InboundFacts {
            caller,
            path: text(block, Name::Path).unwrap_or_default(),
            grpc_timeout: text(block, Name::GrpcTimeout),
            criticality: text(block, Name::XWeftCriticality),
            headers: &Lookup(block),
        };
        exchange.row = self.stats.row(Side::Inbound, facts.path, caller);
        self.stats.started(exchange.row);
        if block.contains(Name::GrpcPreviousRpcAttempts)
            && let Some(trace) = exchange.trace()
        {
            self.marks.repeated(trace, self.now);
        }
        match self.inbound.admit(facts, self.now, &mut self.rng) {
            Err(refusal) => self.refuse_inbound(current, key, *refusal),
            Ok(admission) => {
                head::clean_request(&mut exchange.head);
                exchange.head.set(Name::Scheme, b"http");
                exchange.head.set(Name::XWeftCaller, caller.as_bytes());
                let criticality = admission.criticality.as_str().as_bytes();
                exchange.head.set(Name::XWeftCriticality, criticality);
                if !exchange.head.contains(Name::Authority) {
                    let app = self.app.to_string();
                    exchange.head.set(Name::Authority, app.as_bytes());
                }
                if let Some(at) = admission.deadline.instant() {
                    exchange.deadline = self.wheel.set(at, Timer::Deadline(key));
                }
                if let Some(refusal) = &admission.would_be_refused {
                    self.access_log.dry_run(&admission.record, refusal);
                }
                exchange.policy = Policy::Inbound(admission);
                // There is no other workload to try.
                exchange.is_replayable = false;
                self.attempt_at_app(current, key);
            }
        }
    }

    /// More of a request has come, or its end.
    pub(crate) fn request_data(
        &mut self,
        current: &mut Current<'_>,
        (stream, token): (StreamId, Option<Token>),
        bytes: &[u8],
        end_stream: bool,
    ) {
        let found = token.and_then(|token| self.exchanges.get_mut(token.exchange));
        let (Some(token), Some(exchange)) = (token, found) else {
            return current.ignore(stream, bytes.len());
        };
        exchange.request_ended |= end_stream;
        exchange.messages[0].see(bytes);
        let position = exchange.body.end();
        if exchange.is_replayable {
            // A message says in its head how long it is: one that cannot be kept whole is not kept at all.
            exchange.is_replayable = position + bytes.len() <= REPLAY_LIMIT_BYTES
                && window::message_bytes(position, bytes) <= REPLAY_LIMIT_BYTES;
        }
        if window::wants_more(position, bytes) {
            let (down, is_wide) = (exchange.down, &mut exchange.is_request_wide);
            if let Some(h2) = self.links.widen(current, down, is_wide) {
                h2.set_receive_window(stream, window::WIDE_BYTES);
            }
        }
        if let Some(attempt) = exchange.passes_on() {
            return self.pass_request(current, token.exchange, attempt, bytes);
        }
        exchange.body.push(bytes);
        if end_stream {
            self.make_copies(token.exchange);
        }
        let found = self.exchanges.get(token.exchange);
        for attempt in 0..found.map_or(0, |exchange| exchange.attempts.len()) {
            self.send_request(current, token.exchange, attempt);
        }
    }

    /// Sends what an attempt has not sent yet, as far as the windows allow.
    pub(crate) fn send_request(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        index: usize,
    ) {
        self.pass_request(current, key, index, &[]);
    }

    /// As [`Self::send_request`], of what is kept, or if that is nothing of `fresh`, which is kept as far as
    /// it cannot be sent.
    fn pass_request(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        index: usize,
        fresh: &[u8],
    ) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let Some(attempt) = exchange.attempts.get_mut(index) else {
            return;
        };
        let Place::Sent { link, stream } = attempt.place else {
            return;
        };
        let bytes = match fresh {
            [] => exchange.body.after(attempt.sent),
            fresh => fresh,
        };
        if attempt.sent_end || bytes.is_empty() && !exchange.request_ended {
            return;
        }
        let Some(h2) = self.links.h2(current, link) else {
            return;
        };
        let taken = h2.send_data(stream, bytes, exchange.request_ended);
        attempt.sent += taken;
        let (sent, is_all) = (attempt.sent, taken == bytes.len());
        if !fresh.is_empty() {
            exchange.body.skip(taken);
            exchange.body.push(&fresh[taken..]);
        }
        if !is_all {
            let token = Token {
                exchange: key,
                attempt: index as u8,
            };
            self.links.block(link, token);
        } else {
            attempt.sent_end = exchange.request_ended;
        }
        if !exchange.is_replayable {
            exchange.body.drop_before(sent);
        }
        if sent > exchange.given_back {
            let back = sent - exchange.given_back;
            exchange.given_back = sent;
            let (down, stream) = (exchange.down, exchange.down_stream);
            if let Some(h2) = self.links.h2(current, down) {
                h2.consumed(stream, back);
            }
        }
    }

    /// The request's header is over the limit.
    pub(crate) fn headers_too_large(&mut self, current: &mut Current<'_>, stream: StreamId) {
        let message = "the request's headers are larger than 32 KiB";
        let failure = Failure {
            reason: Reason::BadRequest,
            code: weft_policy::code::RESOURCE_EXHAUSTED,
            message: message.to_owned(),
        };
        if let Some(h2) = &mut current.h2 {
            answer::without_call(h2, stream, &failure);
        }
    }
}
