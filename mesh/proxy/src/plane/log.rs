//! One line for each call, as [`weft_channel::access`] writes it.

use std::time::Duration;

use weft_channel::access::{self, AccessLog, Line};
use weft_policy::{DecisionRecord, Refusal};

use super::{
    exchange::{Exchange, Policy},
    finish::End,
    kind::Side,
};

/// A call is over. Its record tells the reason.
pub(crate) fn ended(log: &AccessLog, exchange: &Exchange, end: &End, took: Duration) {
    if !access::is_wanted(end.reason) {
        return;
    }
    let line = |record| Line {
        record,
        status: end.status,
        message: &end.message,
        took,
        trace: exchange.trace(),
    };
    match &exchange.policy {
        Policy::Outbound(call) => log.outbound(line(&call.record), exchange.is_copy()),
        Policy::Inbound(admission) => log.inbound(line(&admission.record), None),
        // The engine never heard of it.
        Policy::None if exchange.side == Side::Outbound && !exchange.is_copy() => {
            let record = DecisionRecord {
                reason: end.reason,
                ..exchange.record().into_owned()
            };
            log.refused(&record, &end.message);
        }
        Policy::Probe(_) | Policy::None => {}
    }
}

/// A call for the workload was refused by its rules.
pub(crate) fn refused(log: &AccessLog, exchange: &Exchange, refusal: &Refusal) {
    if !access::is_wanted(refusal.failure.reason) {
        return;
    }
    let line = Line {
        record: &refusal.record,
        status: refusal.failure.code,
        message: &refusal.failure.message,
        took: Duration::ZERO,
        trace: exchange.trace(),
    };
    log.inbound(line, refusal.rate_limit.as_ref().map(|limit| &*limit.name));
}
