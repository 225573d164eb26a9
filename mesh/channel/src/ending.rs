//! How a call ends: once, whichever way, with its accounts, metrics and log line.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tracing::Span;
use weft_policy::{Call, Failure, Reason, code};
use weft_runtime::metrics::calls::ClientLabels;

use crate::{
    Inner, access::Line, headers, in_flight::InFlight, messages::Messages, replay::Replay,
    response::CallEnd, status,
};

/// A call under way. Dropped before it is answered or failed, the call was cancelled by its caller.
pub(crate) struct Ending {
    pub(crate) inner: Arc<Inner>,
    pub(crate) call: Call,
    pub(crate) replay: Replay,
    pub(crate) labels: ClientLabels,
    pub(crate) span: Span,
    pub(crate) started: Instant,
    /// The trace it belongs to, which the marks of retries go by.
    pub(crate) trace: Option<u128>,
    /// How long no attempt was under way since the first had begun.
    pub(crate) idle: Duration,
    /// A copy of another call's request, of which nobody sees the answer.
    pub(crate) is_copy: bool,
    /// The attempt whose answer is the call's.
    pub(crate) winner: Option<InFlight>,
    /// What has come of it.
    pub(crate) answer: Messages,
    pub(crate) is_over: bool,
}

impl Ending {
    pub(crate) fn finish(&mut self, status: i32, reason: Reason, message: &str) {
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
        if status != code::OK
            && self.call.retries_are_spent()
            && let Some(trace) = self.trace
        {
            self.inner.marks.lock().spent(trace, now.into_std());
        }
        let took = now.saturating_duration_since(self.started);
        self.inner.metrics.call_ended(
            &self.labels,
            &self.call.record,
            (status, took),
            self.idle,
            (
                &self.inner.source,
                self.inner.is_mutual && !self.call.record.is_cleartext,
            ),
            [self.replay.taken(), self.answer.traffic()],
        );
        self.log(status, message, took);
        if let Some(mut winner) = self.winner.take() {
            winner.ended(status, self.answer.traffic());
        }
    }

    /// There is nothing to send after all: a call that was none.
    pub(crate) fn forget(&mut self) {
        self.is_over = true;
        let now = Instant::now().into_std();
        let mut engine = self.inner.engine.lock();
        engine.finished(&mut self.call, code::CANCELLED, false, now);
    }

    /// Whoever called is told not to repeat what was repeated here in vain.
    pub(crate) fn tell_spent(&self, headers: &mut HeaderMap) {
        if self.call.retries_are_spent() {
            headers.insert(headers::PUSHBACK, HeaderValue::from_static("-1"));
        }
    }

    fn log(&self, status: i32, message: &str, took: Duration) {
        let _entered = self.span.enter();
        let record = &self.call.record;
        self.span.record("rpc.grpc.status_code", status);
        if !matches!(record.reason, Reason::Answered | Reason::Cancelled) {
            self.span.record("otel.status_code", "ERROR");
        }
        let line = Line {
            record,
            status,
            message,
            took,
            trace: None,
        };
        self.inner.access_log.outbound(line, self.is_copy);
    }
}

impl CallEnd for Ending {
    fn payload(&mut self, bytes: &[u8]) {
        self.answer.see(bytes);
    }

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
        let mut trailers = status::trailers(failure, &self.call.record);
        self.tell_spent(&mut trailers);
        trailers
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.finish(code::CANCELLED, Reason::Cancelled, "");
    }
}
