//! How a call ends: once, whichever way, with its accounts, metrics and log line.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use tokio::time::Instant;
use tracing::{Span, debug, warn};
use weft_policy::{Call, Failure, Reason, code};
use weft_runtime::metrics::calls::ClientLabels;

use crate::{Inner, in_flight::InFlight, replay::Replay, response::CallEnd, status};

/// A call under way. Dropped before it is answered or failed, the call was cancelled by its caller.
pub(crate) struct Ending {
    pub(crate) inner: Arc<Inner>,
    pub(crate) call: Call,
    pub(crate) replay: Replay,
    pub(crate) labels: ClientLabels,
    pub(crate) span: Span,
    pub(crate) started: Instant,
    /// How long no attempt was under way since the first had begun.
    pub(crate) idle: Duration,
    /// Attempts begun beside others.
    pub(crate) hedges: u32,
    /// A copy of another call's request, of which nobody sees the answer.
    pub(crate) is_copy: bool,
    /// The attempt whose answer is the call's.
    pub(crate) winner: Option<InFlight>,
    pub(crate) is_over: bool,
}

impl Ending {
    fn finish(&mut self, status: i32, reason: Reason, message: &str) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.replay.cancel();
        self.call.record.reason = reason;
        let broken = !self.replay.has_failed()
            && matches!(
                reason,
                Reason::UpstreamReset | Reason::UpstreamProtocolError
            );
        let now = Instant::now();
        let mut engine = self.inner.engine.lock();
        engine.finished(&mut self.call, status, broken, now.into_std());
        drop(engine);
        let took = now.saturating_duration_since(self.started);
        self.inner.metrics.call_ended(
            &self.labels,
            &self.call.record,
            (status, took),
            (self.hedges, self.idle),
            (&self.inner.source, self.inner.is_mutual),
        );
        self.log(status, message, took);
        self.winner = None;
    }

    fn log(&self, status: i32, message: &str, took: Duration) {
        let _entered = self.span.enter();
        let record = &self.call.record;
        let status_name = code::name(status);
        self.span.record("rpc.grpc.status_code", status);
        if !matches!(record.reason, Reason::Answered | Reason::Cancelled) {
            self.span.record("otel.status_code", "ERROR");
        }
        // A macro keeps both lines' fields the same; the level of an event is a constant.
        macro_rules! line {
            ($level:ident, $text:literal) => {
                $level!(
                    target: "weft::access",
                    authority = &*record.target,
                    method = &*record.method,
                    rule = &*record.rule,
                    instance = record.instance(),
                    attempts = record.attempts,
                    transparent_retries = record.transparent_retries,
                    reason = record.reason.as_str(),
                    status = status_name,
                    millis = took.as_millis() as u64,
                    message_sent = message,
                    $text
                )
            };
        }
        match record.reason {
            Reason::Answered | Reason::Cancelled => line!(debug, "outbound call"),
            _ if self.is_copy => line!(debug, "copy of an outbound call failed"),
            _ => line!(warn, "outbound call failed"),
        }
    }
}

impl CallEnd for Ending {
    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(winner) = &self.winner {
            winner.report_load(trailers);
        }
    }

    fn answered(&mut self, status: i32) {
        self.finish(status, Reason::Answered, "");
    }

    fn failed(&mut self, failure: &Failure) -> HeaderMap {
        self.finish(failure.code, failure.reason, &failure.message);
        status::trailers(failure, &self.call.record)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.finish(code::CANCELLED, Reason::Cancelled, "");
    }
}
