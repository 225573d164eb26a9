//! One inbound call while it is under way, and how it ends.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;
use tracing::{Span, debug, warn};
use weft_channel::{
    status,
    upstream::{CallEnd, Replay},
};
use weft_policy::{DecisionRecord, Failure, Reason, code};

use crate::metrics::InboundMetrics;

/// Dropped before it is answered or failed, the caller has gone away.
pub(crate) struct InboundCall {
    pub(crate) record: DecisionRecord,
    pub(crate) metrics: InboundMetrics,
    pub(crate) method: Arc<str>,
    pub(crate) started: Instant,
    pub(crate) span: Span,
    /// The request, once it is being sent to the workload.
    pub(crate) request: Option<Replay>,
    pub(crate) is_over: bool,
}

impl InboundCall {
    fn finish(&mut self, status: i32, reason: Reason, message: &str) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        if let Some(request) = &self.request {
            request.cancel();
        }
        self.record.reason = reason;
        let took = self.started.elapsed();
        self.metrics.ended(&self.method, status, took);
        let _entered = self.span.enter();
        self.span.record("rpc.grpc.status_code", status);
        let record = &self.record;
        let caller = record.caller.as_deref().unwrap_or("-");
        let millis = took.as_millis() as u64;
        match reason {
            Reason::Answered | Reason::Cancelled => debug!(
                caller,
                method = &*record.method,
                rule = &*record.rule,
                reason = reason.as_str(),
                status = code::name(status),
                millis,
                "inbound call"
            ),
            _ => {
                self.span.record("otel.status_code", "ERROR");
                warn!(
                    caller,
                    method = &*record.method,
                    rule = &*record.rule,
                    reason = reason.as_str(),
                    status = code::name(status),
                    millis,
                    message_sent = message,
                    "inbound call failed"
                );
            }
        }
    }
}

impl CallEnd for InboundCall {
    fn answered(&mut self, status: i32) {
        self.finish(status, Reason::Answered, "");
    }

    fn failed(&mut self, failure: &Failure) -> HeaderMap {
        self.finish(failure.code, failure.reason, &failure.message);
        status::trailers(failure, &self.record)
    }
}

impl Drop for InboundCall {
    fn drop(&mut self) {
        self.finish(code::CANCELLED, Reason::Cancelled, "");
    }
}
