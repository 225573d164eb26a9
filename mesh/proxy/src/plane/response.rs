//! Answers: from the stream of an attempt to the caller's stream.

use weft_http2::{HeaderBlock, Name, StreamId};
use weft_policy::{Failure, Next, Outcome, Reason, code, retry::Pushback};

use super::{
    answer,
    arena::Key,
    core::Core,
    exchange::{Exchange, Place, Policy},
    finish::End,
    head,
    kind::{Side, Token},
    links::Current,
    window,
};

impl Core {
    /// The header of an attempt's answer has come.
    pub(crate) fn response(
        &mut self,
        current: &mut Current<'_>,
        token: Token,
        block: &mut HeaderBlock,
        end_stream: bool,
    ) {
        let (key, index) = (token.exchange, usize::from(token.attempt));
        let Some(exchange) = self.exchanges.get(key) else {
            return;
        };
        if exchange.committed.is_some() {
            return;
        }
        let outcome = classify(exchange.side, block, end_stream);
        match outcome {
            Outcome::Headers | Outcome::TrailersOnly { .. } | Outcome::Unreached(_) => {}
            broken => return self.attempt_failed(current, key, index, broken),
        }
        match self.report(key, index, &outcome) {
            Next::Forward => self.forward(current, key, index, block, end_stream),
            Next::RetryAt(at) => {
                self.end_attempt(current, key, index);
                self.retry_at(current, key, at);
            }
            Next::Await => {
                self.end_attempt(current, key, index);
                self.hedge_again(current, key);
            }
            Next::Fail(failure) => match outcome {
                Outcome::TrailersOnly { .. } => {
                    self.forward(current, key, index, block, end_stream);
                }
                _ => self.fail(current, key, failure),
            },
        }
    }

    /// Hands the header on: from here on the call is this attempt's.
    fn forward(
        &mut self,
        current: &mut Current<'_>,
        key: Key<Exchange>,
        index: usize,
        block: &mut HeaderBlock,
        end_stream: bool,
    ) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        exchange.committed = Some(index);
        exchange.is_replayable = false;
        let sent = exchange.attempts[index].sent;
        exchange.body.drop_before(sent);
        let timer = std::mem::take(&mut exchange.attempts[index].timer);
        self.wheel.cancel(timer);
        self.wheel.cancel(std::mem::take(&mut exchange.hedge));
        self.wheel.cancel(std::mem::take(&mut exchange.pause));
        for other in (0..exchange.attempts.len()).filter(|&other| other != index) {
            self.end_attempt(current, key, other);
        }
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        head::clean_response(block);
        match &exchange.policy {
            Policy::Outbound(call) => head::change(block, call.response_headers()),
            Policy::Inbound(admission) => {
                if !end_stream {
                    self.inbound.answered(admission, self.now);
                }
                if let Some(status) = &admission.rate_limit {
                    answer::rate_limit(block, status);
                }
            }
            Policy::Probe(_) | Policy::None => {}
        }
        if end_stream {
            self.tell_spent(key, block);
        }
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let status = end_stream.then(|| head::grpc_status(block).unwrap_or(code::UNKNOWN));
        let (down, stream) = (exchange.down, exchange.down_stream);
        if let Some(h2) = self.links.h2(current, down) {
            h2.send_headers(stream, block, end_stream);
        }
        if let Some(status) = status {
            self.load_report(key, index, block);
            self.finish(current, key, &End::answered(status));
        }
    }

    /// Payload of an answer has come.
    pub(crate) fn response_data(
        &mut self,
        current: &mut Current<'_>,
        (stream, token): (StreamId, Token),
        bytes: &[u8],
        end_stream: bool,
    ) {
        let (key, index) = (token.exchange, usize::from(token.attempt));
        let found = self.exchanges.get_mut(key);
        let Some(exchange) = found.filter(|exchange| exchange.committed == Some(index)) else {
            return current.ignore(stream, bytes.len());
        };
        if exchange.is_copy() {
            current.ignore(stream, bytes.len());
            if exchange.answer.end() + bytes.len() <= PROBE_ANSWER_BYTES {
                exchange.answer.push(bytes);
            }
            if end_stream {
                self.finish(current, key, &End::answered(code::UNKNOWN));
            }
            return;
        }
        exchange.messages[1].see(bytes);
        let position = exchange.answer.end();
        let mut taken = 0;
        if exchange.answer.kept() == 0 {
            let (down, down_stream) = (exchange.down, exchange.down_stream);
            if let Some(h2) = self.links.h2(current, down) {
                taken = h2.send_data(down_stream, bytes, false);
            }
            exchange.answer.skip(taken);
            current.ignore(stream, taken);
        }
        if taken > 0 && taken == bytes.len() && window::wants_more(position, bytes) {
            let (down, is_wide) = (exchange.down, &mut exchange.is_answer_wide);
            if let Some(h2) = self.links.widen(current, down, is_wide) {
                h2.set_receive_window(stream, window::WIDE_BYTES);
            }
        }
        if taken < bytes.len() {
            exchange.answer.push(&bytes[taken..]);
            let down = exchange.down;
            self.links.block(
                down,
                Token {
                    attempt: 0,
                    ..token
                },
            );
        }
        if end_stream {
            let message = "the upstream ended the stream without a status";
            let failure = Failure::new(Reason::UpstreamProtocolError, message);
            self.end_answer(current, key, End::broken(&failure));
        }
    }

    /// The trailers of an answer have come.
    pub(crate) fn response_trailers(
        &mut self,
        current: &mut Current<'_>,
        token: Token,
        block: &mut Box<HeaderBlock>,
    ) {
        let (key, index) = (token.exchange, usize::from(token.attempt));
        self.load_report(key, index, block);
        let found = self.exchanges.get_mut(key);
        let Some(exchange) = found.filter(|exchange| exchange.committed == Some(index)) else {
            return;
        };
        head::clean_response(block);
        let status = head::grpc_status(block).unwrap_or(code::UNKNOWN);
        std::mem::swap(&mut exchange.trailers, block);
        exchange.has_trailers = true;
        exchange.end = Some(End::answered(status));
        self.send_answer(current, key);
    }

    /// Ends an answer that has begun: with the mesh's own trailers, after the payload that waits.
    pub(crate) fn end_answer(&mut self, current: &mut Current<'_>, key: Key<Exchange>, end: End) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let mut block = std::mem::take(&mut exchange.trailers);
        block.clear();
        answer::status(&mut block, &end.failure(), exchange.record().as_ref());
        exchange.trailers = block;
        exchange.has_trailers = true;
        exchange.end = Some(end);
        self.send_answer(current, key);
    }

    /// Sends the caller what waits for it, as far as the windows allow, and then the trailers.
    pub(crate) fn send_answer(&mut self, current: &mut Current<'_>, key: Key<Exchange>) {
        let Some(exchange) = self.exchanges.get_mut(key) else {
            return;
        };
        let (down, stream) = (exchange.down, exchange.down_stream);
        if exchange.answer.kept() > 0 && !exchange.is_copy() {
            let start = exchange.answer.end() - exchange.answer.kept();
            let bytes = exchange.answer.after(start);
            let Some(h2) = self.links.h2(current, down) else {
                return;
            };
            let taken = h2.send_data(stream, bytes, false);
            exchange.answer.drop_before(start + taken);
            let place = exchange
                .committed
                .map(|index| exchange.attempts[index].place);
            if let Some(Place::Sent { link, stream }) = place
                && let Some(h2) = self.links.h2(current, link)
            {
                h2.consumed(stream, taken);
            }
            if exchange.answer.kept() > 0 {
                let token = Token {
                    exchange: key,
                    attempt: 0,
                };
                return self.links.block(down, token);
            }
        }
        if !exchange.has_trailers {
            return;
        }
        if let Some(h2) = self.links.h2(current, down) {
            h2.send_headers(stream, &exchange.trailers, true);
        }
        if let Some(end) = exchange.end.take() {
            self.finish(current, key, &end);
        }
    }

    fn load_report(&mut self, key: Key<Exchange>, index: usize, block: &HeaderBlock) {
        if !block.contains(Name::EndpointLoadMetrics)
            && !block.contains(Name::EndpointLoadMetricsBin)
        {
            return;
        }
        let found = self.exchanges.get(key);
        let picked = found.and_then(|exchange| exchange.attempts.get(index)?.picked.as_ref());
        if let (Some(picked), Some(report)) = (picked, head::load_report(block)) {
            self.engine.load_report(picked, report, self.now);
        }
    }
}

/// What is kept of an answer that nobody waits for: enough for that of a probe.
const PROBE_ANSWER_BYTES: usize = 64;

/// What an answer's header means.
fn classify(side: Side, block: &HeaderBlock, end_stream: bool) -> Outcome {
    let status = head::grpc_status(block);
    if side == Side::Outbound && block.contains(Name::XWeftUnprocessed) {
        let message = head::text(block, Name::GrpcMessage);
        return Outcome::Unreached(message.unwrap_or("the workload was not reached").to_owned());
    }
    let http = block.get(Name::Status).unwrap_or_default();
    match status {
        None if http != b"200" => {
            let http = String::from_utf8_lossy(http);
            Outcome::Broken(Failure {
                reason: Reason::UpstreamProtocolError,
                code: code::of_http(http.parse().unwrap_or_default()),
                message: format!("the upstream answered HTTP status {http}"),
            })
        }
        None if end_stream => {
            let message = "the upstream ended the stream without a status";
            Outcome::Broken(Failure::new(Reason::UpstreamProtocolError, message))
        }
        Some(code) if end_stream => Outcome::TrailersOnly {
            code,
            pushback: Pushback::parse(head::text(block, Name::GrpcRetryPushbackMs)),
        },
        _ => Outcome::Headers,
    }
}
