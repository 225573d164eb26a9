//! What callers are told whose calls may not pass.

use weft_model::dataplane::Criticality;

use crate::{
    Decision,
    facts::InboundFacts,
    inbound::{RateLimitStatus, Refusal},
    record::{DecisionId, DecisionRecord, Failure, Reason},
};

pub(super) fn unknown(id: DecisionId, facts: &InboundFacts<'_>) -> DecisionRecord {
    DecisionRecord {
        id,
        caller: Some(facts.caller.into()),
        method: facts.path.into(),
        rule: "none".into(),
        ..DecisionRecord::default()
    }
}

pub(super) fn not_allowed(facts: &InboundFacts<'_>, decision: &Decision) -> Failure {
    let (caller, method, rule) = (facts.caller, facts.path, decision.rule());
    let message = format!("{caller} may not call {method} (rule `{rule}`)");
    Failure::new(Reason::CallerNotAllowed, message)
}

pub(super) fn too_many(facts: &InboundFacts<'_>, status: &RateLimitStatus) -> Failure {
    let (caller, method, name) = (facts.caller, facts.path, &status.name);
    let message = format!("{caller} calls {method} too often (limit `{name}`)");
    Failure::new(Reason::RateLimited, message)
}

pub(super) fn overloaded(service: &str, criticality: Criticality) -> Failure {
    let grade = criticality.as_str();
    let message = format!("`{service}` has all it can carry of calls graded {grade}");
    Failure::new(Reason::Overloaded, message)
}

pub(super) fn refused(mut record: DecisionRecord, failure: Failure) -> Box<Refusal> {
    record.reason = failure.reason;
    Box::new(Refusal {
        record,
        failure,
        retry: None,
        rate_limit: None,
    })
}
