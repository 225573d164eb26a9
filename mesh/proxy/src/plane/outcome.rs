//! What attempts come to, and what follows from that: another one, or the end of the call.

use std::time::Instant;

use weft_http2::ErrorCode;
use weft_policy::{AttemptEnd, Failure, Next, Outcome, Reason, code};

use super::{
    arena::Key,
    core::{Core, Timer},
    exchange::{Exchange, Place, Policy},
    finish::End,
    kind::Token,
    links::Current,
};

impl Core {
    /// An attempt came to nothing that could be handed on.
    pub(crate) fn attempt_failed(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        index: usize,
        outcome: Outcome,
    ) {
        let next = self.report(key, index, &outcome);
        self.end_attempt(current, key, index);
        match next {
            Next::Forward => {
                let failure = match outcome {
                    Outcome::TrailersOnly { code, .. } => Failure {
                        code,
                        ..Failure::new(Reason::FaultInjected, "the mesh file injects this failure")
                    },
                    _ => Failure::new(Reason::UpstreamProtocolError, "the upstream gave no answer"),
                };
                self.fail(current, key, failure);
            }
            Next::RetryAt(at) => self.retry_at(current, key, at),
            Next::Await => self.hedge_again(current, key),
            Next::Fail(failure) => self.fail(current, key, failure),
        }
    }

    /// Tells the engine what an attempt came to. Inbound there is none: the answer follows from the
    /// outcome alone.
    pub(crate) fn report(&mut self, key: Key<Exchange>, index: usize, outcome: &Outcome) -> Next {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return Next::Await;
        };
        // One that is answered by a stream ends with it (gRFC A66).
        if !matches!(outcome, Outcome::Headers) {
            self.stats
                .attempt_ended(exchange, index, outcome.status(), self.now);
        }
        let Some(attempt) = exchange.attempts.get(index) else {
            return Next::Await;
        };
        if let (Policy::Outbound(call), Some(picked)) = (&mut exchange.policy, &attempt.picked) {
            let end = AttemptEnd {
                // Whatever has not been dropped can be sent again.
                is_replayable: exchange.body.end() == exchange.body.kept(),
                now: self.now,
            };
            return self
                .engine
                .attempt_ended(call, picked, outcome, end, &mut self.rng);
        }
        match outcome {
            Outcome::Headers | Outcome::TrailersOnly { .. } => Next::Forward,
            Outcome::Broken(failure) => Next::Fail(failure.clone()),
            Outcome::ConnectFailed(cause) | Outcome::Unreached(cause) | Outcome::Refused(cause) => {
                let message = format!("the workload did not take the request: {cause}");
                Next::Fail(Failure::new(Reason::WorkloadUnreachable, message))
            }
            Outcome::TimedOut => Next::Fail(Failure::deadline_exceeded()),
        }
    }

    pub(crate) fn retry_at(&mut self, current: &mut Current<'_>, key: Key<Exchange>, at: Instant) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        exchange.idle_since = self.now;
        if at <= self.now {
            return self.next_attempt(current, key);
        }
        self.wheel.cancel(exchange.pause);
        exchange.pause = self.wheel.set(at, Timer::Pause(key));
    }

    pub(crate) fn hedge_again(&mut self, current: &mut Current<'_>, key: Key<Exchange>) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        exchange.idle_since = self.now;
        let Policy::Outbound(call) = &exchange.policy else {
            return;
        };
        let Some(at) = call.hedge_at() else { return };
        self.wheel.cancel(std::mem::take(&mut exchange.hedge));
        if at <= self.now {
            return self.next_attempt(current, key);
        }
        exchange.hedge = self.wheel.set(at, Timer::Hedge(key));
    }

    /// Gives back what an attempt holds. A stream that has not ended is cancelled.
    pub(crate) fn end_attempt(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        index: usize,
    ) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        self.stats
            .attempt_ended(exchange, index, code::CANCELLED, self.now);
        let Some(attempt) = exchange.attempts.get_mut(index) else {
            return;
        };
        let place = std::mem::replace(&mut attempt.place, Place::Over);
        self.wheel.cancel(std::mem::take(&mut attempt.timer));
        let pool = attempt.pool;
        if let Some(slot) = attempt.pending.take() {
            self.engine.free(slot);
        }
        if let Some(picked) = attempt.picked.take() {
            self.engine.release(picked);
        }
        if let Place::Sent { link, stream } = place {
            if let Some(h2) = self.links.h2(current, link) {
                h2.release(stream);
            }
            self.abandon(current, key, (link, stream));
            self.close_if_done(link);
            self.pump(current, pool);
        }
    }

    /// The upstream reset the stream of an attempt.
    pub(crate) fn attempt_reset(
        &mut self,
        current: &mut Current<'_>,
        token: Token,
        code: ErrorCode,
    ) {
        if code == ErrorCode::REFUSED_STREAM {
            let message = "the peer refused the stream".to_owned();
            return self.attempt_broke(current, token, Outcome::Refused(message));
        }
        let message = format!("the upstream reset the stream: {code}");
        self.attempt_broke(current, token, Outcome::Broken(reset(Some(code), message)));
    }

    /// The upstream broke a rule on the stream of an attempt.
    pub(crate) fn attempt_malformed(
        &mut self,
        current: &mut Current<'_>,
        token: Token,
        reason: &'static str,
    ) {
        let message = format!("the upstream's answer broke HTTP/2: {reason}");
        let failure = Failure::new(Reason::UpstreamProtocolError, message);
        self.attempt_broke(current, token, Outcome::Broken(failure));
    }

    /// The stream of an attempt broke, before or after response headers.
    pub(crate) fn attempt_broke(
        &mut self,
        current: &mut Current<'_>,
        token: Token,
        outcome: Outcome,
    ) {
        let (key, index) = (token.exchange, usize::from(token.attempt));
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        if exchange.committed != Some(index) {
            return self.attempt_failed(current, key, index, outcome);
        }
        if exchange.has_trailers {
            // The answer is whole and only waits for the caller.
            return;
        }
        let failure = match outcome {
            Outcome::Broken(failure) => failure,
            _ => reset(
                None,
                "the stream was refused after it was answered".to_owned(),
            ),
        };
        self.end_answer(current, key, End::broken(&failure));
    }
}

/// A stream that broke, with the code that gRPC gives its HTTP/2 error.
pub(crate) fn reset(code: Option<ErrorCode>, message: String) -> Failure {
    Failure {
        reason: Reason::UpstreamReset,
        code: code::of_reset(code.map(|code| code.0)),
        message,
    }
}
