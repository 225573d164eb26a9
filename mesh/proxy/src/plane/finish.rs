//! How a call ends: once, whichever way, with its accounts, counts and log line.

use weft_channel::messages::Messages;
use weft_http2::{ErrorCode, HeaderBlock, Name};
use weft_policy::{DecisionRecord, Failure, Reason, Refusal, code};

use super::{
    answer,
    arena::Key,
    core::Core,
    exchange::{Exchange, Policy},
    head,
    kind::Side,
    links::Current,
    log,
    wheel::TimerKey,
};

/// The end of a call.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) status: i32,
    pub(crate) reason: Reason,
    /// What the mesh says about it, if it is the mesh that ends the call.
    pub(crate) message: String,
    /// The stream broke after it was answered.
    pub(crate) is_broken: bool,
}

impl End {
    /// The workload's own answer.
    pub(crate) fn answered(status: i32) -> Self {
        Self {
            status,
            reason: Reason::Answered,
            message: String::new(),
            is_broken: false,
        }
    }

    /// The mesh's answer.
    pub(crate) fn failed(failure: &Failure) -> Self {
        Self {
            status: failure.code,
            reason: failure.reason,
            message: failure.message.clone(),
            is_broken: false,
        }
    }

    /// The mesh's end of an answer that broke off.
    pub(crate) fn broken(failure: &Failure) -> Self {
        Self {
            is_broken: true,
            ..Self::failed(failure)
        }
    }

    pub(crate) fn failure(&self) -> Failure {
        Failure {
            reason: self.reason,
            code: self.status,
            message: self.message.clone(),
        }
    }
}

impl Exchange {
    /// What was decided about the call.
    pub(crate) fn record(&self) -> std::borrow::Cow<'_, DecisionRecord> {
        use std::borrow::Cow;
        match &self.policy {
            Policy::Outbound(call) => Cow::Borrowed(&call.record),
            Policy::Inbound(admission) => Cow::Borrowed(&admission.record),
            Policy::Probe(_) | Policy::None => {
                let text = |name| head::text(&self.head, name).unwrap_or_default().into();
                Cow::Owned(DecisionRecord {
                    target: text(weft_http2::Name::Authority),
                    method: text(weft_http2::Name::Path),
                    rule: "none".into(),
                    ..DecisionRecord::default()
                })
            }
        }
    }
}

impl Exchange {
    /// Whether TLS is switched off for where the call goes.
    fn leaves_mesh(&self) -> bool {
        matches!(&self.policy, Policy::Outbound(call) if call.record.is_cleartext)
    }
}

impl Core {
    /// Answers a call in the mesh's name: trailers-only, or trailers where the answer has begun.
    pub(crate) fn fail(&mut self, current: &mut Current<'_>, key: Key<Exchange>, failure: Failure) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        if exchange.committed.is_some() {
            // What waits may never be taken: it goes with the call.
            let kept = exchange.answer.end();
            exchange.answer.drop_before(kept);
            let end = match failure.reason {
                Reason::UpstreamReset | Reason::UpstreamProtocolError => End::broken(&failure),
                _ => End::failed(&failure),
            };
            return self.end_answer(current, key, end);
        }
        let mut block = std::mem::take(&mut exchange.trailers);
        block.clear();
        answer::trailers_only(&mut block, &failure, exchange.record().as_ref());
        if failure.reason == Reason::WorkloadUnreachable && exchange.side == Side::Inbound {
            answer::unprocessed(&mut block);
        }
        self.tell_spent(key, &mut block);
        self.answer_and_finish(current, key, block, &End::failed(&failure));
    }

    /// Answers a call that the rules refuse.
    pub(crate) fn refuse_inbound(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        refusal: Refusal,
    ) {
        let mut block = Box::<HeaderBlock>::default();
        answer::trailers_only(&mut block, &refusal.failure, &refusal.record);
        answer::advice(&mut block, &refusal);
        if refusal.failure.reason == Reason::NoConfiguration {
            answer::unprocessed(&mut block);
        }
        if let Some(exchange) = self.exchanges.get(key) {
            log::refused(&self.access_log, exchange, &refusal);
        }
        self.answer_and_finish(current, key, block, &End::failed(&refusal.failure));
    }

    /// Tells whoever called not to repeat what was repeated in vain, here or by a call that the workload
    /// made to answer this one.
    pub(crate) fn tell_spent(&self, key: Key<Exchange>, block: &mut HeaderBlock) {
        let Some(exchange) = self.exchanges.get(key) else {
            return;
        };
        let is_spent = match &exchange.policy {
            Policy::Outbound(call) => call.retries_are_spent(),
            _ if self.marks.is_empty() => false,
            _ => exchange
                .trace()
                .is_some_and(|trace| self.marks.is_spent(trace, self.now)),
        };
        if is_spent && head::grpc_status(block) != Some(code::OK) {
            block.set(Name::GrpcRetryPushbackMs, b"-1");
        }
    }

    fn answer_and_finish(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        block: Box<HeaderBlock>,
        end: &End,
    ) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let (down, stream) = (exchange.down, exchange.down_stream);
        if let Some(h2) = self.links.h2(current, down) {
            h2.send_headers(stream, &block, true);
        }
        exchange.trailers = block;
        self.finish(current, key, end);
    }

    /// The call is over: everything it holds is given back.
    pub(crate) fn finish(&mut self, current: &mut Current<'_>, key: Key<Exchange>, end: &End) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        for timer in [
            &mut exchange.deadline,
            &mut exchange.pause,
            &mut exchange.hedge,
        ] {
            self.wheel.cancel(std::mem::replace(timer, TimerKey::NONE));
        }
        let took = self.now.saturating_duration_since(exchange.started);
        if !matches!(exchange.policy, Policy::Probe(_)) {
            let kind = (end.status, exchange.leaves_mesh());
            let traffic = exchange.messages.map(Messages::traffic);
            self.stats.ended(exchange.row, kind, took, traffic);
        }
        if let Some(mut span) = exchange.span.take() {
            let record = exchange.record();
            if let Some(caller) = &record.caller {
                span.attribute("weft.caller", caller.to_string());
            }
            if record.endpoint.is_some() {
                span.attribute("server.address", record.instance().to_owned());
            }
            span.end(
                end.status,
                (!end.message.is_empty()).then_some(&*end.message),
            );
        }
        match &mut exchange.policy {
            Policy::Outbound(call) => {
                call.record.reason = end.reason;
                self.engine
                    .finished(call, end.status, end.is_broken, self.now);
                if end.status != code::OK
                    && call.retries_are_spent()
                    && let Some(trace) = head::trace(&exchange.head)
                {
                    self.marks.spent(trace, self.now);
                }
                self.stats
                    .repeated(exchange.row, &call.record, exchange.idle);
                if exchange.down == Key::NONE {
                    self.copies -= 1;
                }
            }
            Policy::Inbound(admission) => {
                admission.record.reason = end.reason;
                self.inbound.finished(admission, end.status, self.now);
            }
            Policy::Probe(_) => {
                let policy = std::mem::take(&mut exchange.policy);
                let answer = std::mem::take(&mut exchange.answer);
                if let Policy::Probe(probe) = policy {
                    self.probed(&probe, answer.after(0), end);
                }
            }
            Policy::None => {}
        }
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        log::ended(&self.access_log, exchange, end, took);
        let (down, stream) = (exchange.down, exchange.down_stream);
        let ended = exchange.request_ended;
        let wide = u32::from(exchange.is_request_wide) + u32::from(exchange.is_answer_wide);
        for index in 0..exchange.attempts.len() {
            self.stats
                .attempt_ended(exchange, index, end.status, self.now);
        }
        for index in 0..exchange.attempts.len() {
            self.end_attempt(current, key, index);
        }
        if wide > 0 {
            self.links.narrow(down, wide);
        }
        let found = self.exchanges.get(key);
        let is_abandoned = found.is_some_and(|exchange| exchange.is_abandoned);
        if let Some(h2) = self.links.h2(current, down) {
            if !ended {
                // RFC 9113, section 8.1: the answer is whole, the rest of the request is not needed.
                h2.reset(stream, ErrorCode::NO_ERROR);
            }
            if !is_abandoned {
                h2.release(stream);
            }
        }
        self.close_if_done(down);
        if let Some(exchange) = self.exchanges.free(key) {
            exchange.recycle();
        }
    }
}
