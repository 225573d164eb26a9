//! One call for this process while it is under way, and how it ends.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::Span;
use weft_policy::{Admission, DecisionRecord, Failure, Reason, Refusal, code};

use super::Shared;
use crate::{
    access::Line,
    headers,
    messages::{Messages, Traffic},
    response::CallEnd,
    status,
};

/// An admitted call. Dropped before it is answered or failed, its caller has gone away.
pub(super) struct InboundCall {
    pub(super) shared: Arc<Shared>,
    pub(super) admission: Admission,
    /// Its method's label.
    pub(super) method: Arc<str>,
    pub(super) trace: Option<u128>,
    /// What the handlers have taken of the request.
    pub(super) request: Arc<Mutex<Messages>>,
    pub(super) answer: Messages,
    pub(super) span: Span,
    pub(super) is_over: bool,
}

impl InboundCall {
    /// Response headers came, and a stream follows.
    pub(super) fn streams(&self) {
        let now = Instant::now().into_std();
        let admission = &self.admission;
        self.shared.engine(|engine| engine.answered(admission, now));
    }

    /// Whoever called is told not to repeat it, if what it was for was repeated below in vain.
    pub(super) fn tell_spent(&self, headers: &mut HeaderMap) {
        let now = Instant::now().into_std();
        let marks = &self.shared.channel.inner.marks;
        if self
            .trace
            .is_some_and(|trace| marks.lock().is_spent(trace, now))
        {
            headers.insert(headers::PUSHBACK, HeaderValue::from_static("-1"));
        }
    }

    fn finish(&mut self, status: i32, reason: Reason, message: &str) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let now = Instant::now().into_std();
        let admission = &self.admission;
        self.shared
            .engine(|engine| engine.finished(admission, status, now));
        self.admission.record.reason = reason;
        let took = now.saturating_duration_since(self.admission.started);
        let record = &self.admission.record;
        let traffic = [self.request.lock().traffic(), self.answer.traffic()];
        self.shared
            .metrics
            .ended(&self.method, record, status, took, traffic);
        self.span.record("rpc.grpc.status_code", status);
        let _entered = self.span.enter();
        self.shared.log(record, status, message, took, None);
    }
}

impl CallEnd for InboundCall {
    fn payload(&mut self, bytes: &[u8]) {
        self.answer.see(bytes);
    }

    fn answered(&mut self, status: i32) {
        self.finish(status, Reason::Answered, "");
    }

    fn failed(&mut self, failure: &Failure) -> HeaderMap {
        self.finish(failure.code, failure.reason, &failure.message);
        status::trailers(failure, &self.admission.record)
    }
}

impl Drop for InboundCall {
    fn drop(&mut self) {
        self.finish(code::CANCELLED, Reason::Cancelled, "");
    }
}

/// Accounts for a call that may not pass.
pub(super) fn refused(shared: &Shared, method: &Arc<str>, refusal: &Refusal) {
    let (record, failure) = (&refusal.record, &refusal.failure);
    let took = Duration::ZERO;
    let none = <[Traffic; 2]>::default();
    shared
        .metrics
        .ended(method, record, failure.code, took, none);
    let rate_limit = refusal.rate_limit.as_ref().map(|limit| &*limit.name);
    shared.log(record, failure.code, &failure.message, took, rate_limit);
}

impl Shared {
    fn log(
        &self,
        record: &DecisionRecord,
        status: i32,
        message: &str,
        took: Duration,
        rate_limit: Option<&str>,
    ) {
        if !matches!(record.reason, Reason::Answered | Reason::Cancelled) {
            Span::current().record("otel.status_code", "ERROR");
        }
        let line = Line {
            record,
            status,
            message,
            took,
            trace: None,
        };
        self.access_log.inbound(line, rate_limit);
    }
}
