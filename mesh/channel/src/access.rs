//! The access log: one line for each call, from its decision record, under the target `weft::access`.
//!
//! What the mesh itself failed or refused, and what rules on trial would have refused, is a warning; all
//! other calls are `debug`.

use std::time::Duration;

use tracing::{Level, debug, enabled, warn};
use weft_policy::{DecisionRecord, Failure, Reason, code, record::FailedAttempt, retry::RetryStop};

/// Whether anybody reads the line of a call that ended this way. Asked first, a line that nobody reads
/// costs nothing.
pub fn is_wanted(reason: Reason) -> bool {
    match is_failure(reason) {
        false => enabled!(target: "weft::access", Level::DEBUG),
        true => enabled!(target: "weft::access", Level::WARN),
    }
}

/// Whether the mesh, not the workload, ended the call.
fn is_failure(reason: Reason) -> bool {
    !matches!(reason, Reason::Answered | Reason::Cancelled)
}

/// A call that is over.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// What was decided, with the reason of its end.
    pub record: &'a DecisionRecord,
    /// The gRPC status it ended with.
    pub status: i32,
    /// What the mesh said about it; empty if the workload answered.
    pub message: &'a str,
    /// How long it took.
    pub took: Duration,
    /// The trace it belongs to, unless the current span says so.
    pub trace: Option<u128>,
}

impl Line<'_> {
    /// Logs a call of this process' workload. `is_copy`: nobody waited for its answer.
    pub fn outbound(self, is_copy: bool) {
        let Self { record, status, .. } = self;
        if !is_wanted(record.reason) {
            return;
        }
        let failures = (!record.failures.is_empty()).then(|| join(&record.failures));
        // A macro keeps the lines' fields the same; the level of an event is a constant.
        macro_rules! line {
            ($level:ident, $text:literal) => {
                $level!(
                    target: "weft::access",
                    decision = %record.id,
                    trace_id = self.trace_id(),
                    authority = &*record.target,
                    method = &*record.method,
                    rule = &*record.rule,
                    route = record.route.as_deref(),
                    backend = record.backend.as_deref(),
                    subset = record.subset.as_deref(),
                    instance = record.instance(),
                    connection_security_policy = record.is_cleartext.then_some("none"),
                    attempts = record.attempts,
                    hedges = record.hedges,
                    transparent_retries = record.transparent_retries,
                    failures = failures.as_deref(),
                    not_retried = record.retry_stop.map(RetryStop::as_str),
                    reason = record.reason.as_str(),
                    status = code::name(status),
                    millis = self.took.as_millis() as u64,
                    message_sent = self.message,
                    $text
                )
            };
        }
        match (is_failure(record.reason), is_copy) {
            (_, true) => line!(debug, "copy of an outbound call"),
            (false, _) => line!(debug, "outbound call"),
            (true, _) => line!(warn, "outbound call failed"),
        }
    }

    /// Logs a call for this process' workload. `rate_limit`: the limit that refused it.
    pub fn inbound(self, rate_limit: Option<&str>) {
        let Self { record, status, .. } = self;
        macro_rules! line {
            ($level:ident, $text:literal) => {
                $level!(
                    target: "weft::access",
                    decision = %record.id,
                    trace_id = self.trace_id(),
                    caller = record.caller.as_deref().unwrap_or("-"),
                    method = &*record.method,
                    rule = &*record.rule,
                    criticality = record.criticality.map(|grade| grade.as_str()),
                    rate_limit,
                    reason = record.reason.as_str(),
                    status = code::name(status),
                    millis = self.took.as_millis() as u64,
                    message_sent = self.message,
                    $text
                )
            };
        }
        match is_failure(record.reason) {
            false => line!(debug, "inbound call"),
            true => line!(warn, "inbound call failed"),
        }
    }

    fn trace_id(&self) -> Option<String> {
        self.trace.map(|trace| format!("{trace:032x}"))
    }
}

/// Logs a call that was refused before anything was known that could be accounted for. Who merely left
/// was not.
pub fn refused(record: &DecisionRecord, message: &str) {
    if !is_failure(record.reason) {
        return;
    }
    warn!(
        target: "weft::access",
        authority = &*record.target,
        method = &*record.method,
        reason = record.reason.as_str(),
        message_sent = message,
        "outbound call refused"
    );
}

/// Logs a call that passes only because its rules are on trial.
pub fn dry_run(record: &DecisionRecord, refusal: &Failure) {
    warn!(
        target: "weft::access",
        decision = %record.id,
        caller = record.caller.as_deref().unwrap_or("-"),
        method = &*record.method,
        rule = &*record.rule,
        criticality = record.criticality.map(|grade| grade.as_str()),
        reason = refusal.reason.as_str(),
        "inbound call would be refused"
    );
}

fn join(failures: &[FailedAttempt]) -> String {
    let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
    failures.join(", ")
}
