//! One line for each call, from its decision record. Calls that the mesh failed are warnings; all
//! others are `debug`, under the target `weft::access`.

use std::time::Duration;

use tracing::{Level, debug, enabled, warn};
use weft_policy::{DecisionRecord, Failure, Reason, Refusal, code};

use super::finish::End;

/// A call of the workload is over.
pub(crate) fn outbound(record: &DecisionRecord, end: &End, took: Duration) {
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
                reason = end.reason.as_str(),
                status = code::name(end.status),
                millis = took.as_millis() as u64,
                message_sent = end.message,
                $text
            )
        };
    }
    match end.reason {
        Reason::Answered | Reason::Cancelled => {
            if enabled!(target: "weft::access", Level::DEBUG) {
                line!(debug, "outbound call");
            }
        }
        _ => line!(warn, "outbound call failed"),
    }
}

/// The copy of a call is over. Nobody waited for it.
pub(crate) fn copy(record: &DecisionRecord, end: &End) {
    debug!(
        target: "weft::access",
        authority = &*record.target,
        method = &*record.method,
        reason = end.reason.as_str(),
        status = code::name(end.status),
        message_sent = end.message,
        "copy of an outbound call"
    );
}

/// A call of the workload was refused before anything was known about it.
pub(crate) fn never_admitted(record: &DecisionRecord, end: &End) {
    warn!(
        target: "weft::access",
        authority = &*record.target,
        method = &*record.method,
        reason = end.reason.as_str(),
        message_sent = end.message,
        "outbound call refused"
    );
}

/// A call for the workload is over.
pub(crate) fn inbound(record: &DecisionRecord, end: &End, took: Duration) {
    let caller = record.caller.as_deref().unwrap_or("-");
    macro_rules! line {
        ($level:ident, $text:literal) => {
            $level!(
                target: "weft::access",
                caller,
                method = &*record.method,
                rule = &*record.rule,
                reason = end.reason.as_str(),
                status = code::name(end.status),
                millis = took.as_millis() as u64,
                message_sent = end.message,
                $text
            )
        };
    }
    match end.reason {
        Reason::Answered | Reason::Cancelled => {
            if enabled!(target: "weft::access", Level::DEBUG) {
                line!(debug, "inbound call");
            }
        }
        _ => line!(warn, "inbound call failed"),
    }
}

/// A call for the workload was refused by its rules.
pub(crate) fn refused(refusal: &Refusal) {
    let end = End::failed(&refusal.failure);
    inbound(&refusal.record, &end, Duration::ZERO);
}

/// Rules on trial would have refused a call.
pub(crate) fn dry_run(record: &DecisionRecord, refusal: &Failure) {
    warn!(
        target: "weft::access",
        caller = record.caller.as_deref().unwrap_or("-"),
        method = &*record.method,
        rule = &*record.rule,
        reason = refusal.reason.as_str(),
        "inbound call would be refused"
    );
}
