//! The access log: one line for each call, from its decision record, under the target `weft::access`.
//!
//! What the mesh itself failed or refused, and what rules on trial would have refused, is a warning; all
//! other calls are `debug`.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{Level, debug, enabled, warn};
use weft_policy::{DecisionRecord, Failure, Reason, code, record::FailedAttempt, retry::RetryStop};
use weft_runtime::throttle::Throttle;

/// Warnings a second for one reason. Whoever calls in vain without end must not fill the disk; the next
/// line has in `left_out` how many there were besides, and the metrics count all.
const WARNINGS: u32 = 100;

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

/// The log of one sidecar, channel or server. Where somebody wants every call, none is left out.
#[derive(Debug)]
pub struct AccessLog(Mutex<Throttle>);

impl Default for AccessLog {
    fn default() -> Self {
        Self(Mutex::new(Throttle::new(WARNINGS)))
    }
}

impl AccessLog {
    /// How many lines were left out before this one. `None`: it is left out, too.
    fn left_out(&self, reason: Reason) -> Option<Option<NonZeroU64>> {
        if !is_failure(reason) || enabled!(target: "weft::access", Level::DEBUG) {
            return Some(None);
        }
        self.0.lock().line(reason.as_str(), Instant::now())
    }

    /// Logs a call of this process' workload. `is_copy`: nobody waited for its answer.
    pub fn outbound(&self, line: Line<'_>, is_copy: bool) {
        let Line { record, status, .. } = line;
        let is_read = match is_copy {
            true => enabled!(target: "weft::access", Level::DEBUG),
            false => is_wanted(record.reason),
        };
        if !is_read {
            return;
        }
        let Some(left_out) = self.left_out(record.reason) else {
            return;
        };
        let failures = (!record.failures.is_empty()).then(|| join(&record.failures));
        // A macro keeps the lines' fields the same; the level of an event is a constant.
        macro_rules! line {
            ($level:ident, $text:literal) => {
                $level!(
                    target: "weft::access",
                    decision = %record.id,
                    trace_id = line.trace_id(),
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
                    millis = line.took.as_millis() as u64,
                    message_sent = line.message,
                    left_out,
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
    pub fn inbound(&self, line: Line<'_>, rate_limit: Option<&str>) {
        let Line { record, status, .. } = line;
        let Some(left_out) = self.left_out(record.reason) else {
            return;
        };
        macro_rules! line {
            ($level:ident, $text:literal) => {
                $level!(
                    target: "weft::access",
                    decision = %record.id,
                    trace_id = line.trace_id(),
                    caller = record.caller.as_deref().unwrap_or("-"),
                    method = &*record.method,
                    rule = &*record.rule,
                    criticality = record.criticality.map(|grade| grade.as_str()),
                    rate_limit,
                    reason = record.reason.as_str(),
                    status = code::name(status),
                    millis = line.took.as_millis() as u64,
                    message_sent = line.message,
                    left_out,
                    $text
                )
            };
        }
        match is_failure(record.reason) {
            false => line!(debug, "inbound call"),
            true => line!(warn, "inbound call failed"),
        }
    }

    /// Logs a call that was refused before anything was known that could be accounted for. Who merely left
    /// was not.
    pub fn refused(&self, record: &DecisionRecord, message: &str) {
        if !is_failure(record.reason) {
            return;
        }
        let Some(left_out) = self.left_out(record.reason) else {
            return;
        };
        warn!(
            target: "weft::access",
            authority = &*record.target,
            method = &*record.method,
            reason = record.reason.as_str(),
            message_sent = message,
            left_out,
            "outbound call refused"
        );
    }

    /// Logs a call that passes only because its rules are on trial.
    pub fn dry_run(&self, record: &DecisionRecord, refusal: &Failure) {
        let Some(left_out) = self.left_out(refusal.reason) else {
            return;
        };
        warn!(
            target: "weft::access",
            decision = %record.id,
            caller = record.caller.as_deref().unwrap_or("-"),
            method = &*record.method,
            rule = &*record.rule,
            criticality = record.criticality.map(|grade| grade.as_str()),
            reason = refusal.reason.as_str(),
            left_out,
            "inbound call would be refused"
        );
    }
}

impl Line<'_> {
    fn trace_id(&self) -> Option<String> {
        self.trace.map(|trace| format!("{trace:032x}"))
    }
}

fn join(failures: &[FailedAttempt]) -> String {
    let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
    failures.join(", ")
}
