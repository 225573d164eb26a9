//! What happens to calls that arrive for the workload: may they pass, and how much of them.
//!
//! The executor asks [`InboundEngine::admit`] once for each request and tells
//! [`InboundEngine::finished`] when what was admitted is over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::Rng;
use weft_model::dataplane::{Criticality, Inbound};

use crate::{
    Decision, authorize,
    deadline::{Deadline, parse_timeout},
    facts::InboundFacts,
    record::{DecisionRecord, Failure, Reason},
};

/// The rules of one workload and their accounts.
#[derive(Debug, Default)]
pub struct InboundEngine {
    rules: Option<Arc<Inbound>>,
}

/// A call that may pass.
#[derive(Debug)]
pub struct Admission {
    /// What was decided.
    pub record: DecisionRecord,
    /// When the call ends.
    pub deadline: Deadline,
    /// How much the call matters: handed on to the workload.
    pub criticality: Criticality,
    /// The rules would have refused it, were they not on trial. For the audit log.
    pub would_be_refused: Option<Failure>,
    /// The rate limit with the fewest tokens left, for `RateLimit-*` headers.
    pub rate_limit: Option<RateLimitStatus>,
    /// When it was admitted.
    pub started: Instant,
}

/// Where a rate limit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// The limit's name in the mesh file.
    pub name: Arc<str>,
    /// Calls that fit in the bucket: `RateLimit-Limit`.
    pub limit: u32,
    /// Calls that may follow at once: `RateLimit-Remaining`.
    pub remaining: u32,
    /// Until the next is allowed (refused) or the bucket is full: `RateLimit-Reset`.
    pub reset: Duration,
}

/// A call that may not pass.
#[derive(Debug)]
pub struct Refusal {
    /// What was decided.
    pub record: DecisionRecord,
    /// The answer.
    pub failure: Failure,
    /// How long the caller should wait before it tries again: `grpc-retry-pushback-ms`. Negative: not.
    pub retry: Option<RetryAdvice>,
    /// The limit that refused it.
    pub rate_limit: Option<RateLimitStatus>,
}

/// What a refused caller is told about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// Not before this long: `grpc-retry-pushback-ms: 200`.
    After(Duration),
    /// Not at all: `grpc-retry-pushback-ms: -1`.
    Never,
}

impl InboundEngine {
    /// Takes new rules. Accounts of limits that stay are kept.
    pub fn update(&mut self, rules: Option<&Inbound>) {
        self.rules = rules.map(|rules| Arc::new(rules.clone()));
    }

    /// May this call pass?
    ///
    /// # Errors
    /// The answer to give where it may not.
    pub fn admit(
        &mut self,
        facts: InboundFacts<'_>,
        now: Instant,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Admission, Box<Refusal>> {
        let _ = rng;
        let mut record = DecisionRecord {
            caller: Some(facts.caller.into()),
            method: facts.path.into(),
            rule: "none".into(),
            ..DecisionRecord::default()
        };
        let Some(rules) = &self.rules else {
            let message = "no caller rules have come from the control plane yet";
            return Err(refused(
                record,
                Failure::new(Reason::NoConfiguration, message),
            ));
        };
        let decision = authorize(rules, facts.caller, facts.path);
        record.rule = decision.rule().into();
        if !decision.is_allowed() {
            return Err(refused(record, not_allowed(&facts, &decision)));
        }
        let asked = facts.grpc_timeout.and_then(parse_timeout);
        let stated = facts.criticality.and_then(Criticality::parse);
        Ok(Admission {
            record,
            deadline: Deadline::starting(now, asked, None),
            criticality: stated.unwrap_or(rules.default_criticality),
            would_be_refused: None,
            rate_limit: None,
            started: now,
        })
    }

    /// An admitted call is over with `status`.
    pub fn finished(&mut self, admission: &Admission, status: i32, now: Instant) {
        let _ = (admission, status, now);
    }
}

fn not_allowed(facts: &InboundFacts<'_>, decision: &Decision) -> Failure {
    let (caller, method, rule) = (facts.caller, facts.path, decision.rule());
    let message = format!("{caller} may not call {method} (rule `{rule}`)");
    Failure::new(Reason::CallerNotAllowed, message)
}

fn refused(mut record: DecisionRecord, failure: Failure) -> Box<Refusal> {
    record.reason = failure.reason;
    Box::new(Refusal {
        record,
        failure,
        retry: None,
        rate_limit: None,
    })
}
