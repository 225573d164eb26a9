//! What happens to calls that arrive for the workload: may they pass, and how much of them.
//!
//! The executor asks [`InboundEngine::admit`] once for each request, tells [`InboundEngine::answered`]
//! when response headers came and [`InboundEngine::finished`] when what was admitted is over.
//!
//! In this order: caller rules ([`crate::authorize()`]), rate limits, load shedding. The first two are about
//! the caller, and other replicas would refuse it as well: `PERMISSION_DENIED` and `RESOURCE_EXHAUSTED`,
//! which callers do not repeat elsewhere. Shed load is about this replica: `UNAVAILABLE`, so that a caller
//! whose contract and budget allow it tries another one, after the pushback (SRE book: an overloaded
//! task's work may be tried at another, within the budget, and not at the same one).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use rand::RngCore;
use weft_model::dataplane::{Criticality, Inbound};

use crate::{
    Decision, Options,
    authorize::Rules,
    code,
    deadline::{Deadline, parse_timeout},
    facts::InboundFacts,
    limit::RateLimits,
    record::{DecisionId, DecisionRecord, Failure, Reason},
    shed::Shedder,
};

mod cache;
mod refusal;

use cache::Cache;
use refusal::{not_allowed, overloaded, refused, too_many, unknown};

/// The rules of one workload and their accounts.
#[derive(Debug, Default)]
pub struct InboundEngine {
    rules: Option<Ready>,
    ids: DecisionId,
    limits: RateLimits,
    shedder: Option<Shedder>,
    /// Calls that were admitted and have not been answered.
    in_flight: u32,
}

/// The rules, made ready for calls.
#[derive(Debug)]
struct Ready {
    inbound: Inbound,
    target: Arc<str>,
    rules: Rules,
    cache: Cache,
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
    method: usize,
    /// What the engine was told of it.
    progress: AtomicU8,
}

const ADMITTED: u8 = 0;
const ANSWERED: u8 = 1;
const FINISHED: u8 = 2;

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
    /// When the caller may try again: `grpc-retry-pushback-ms`. `None`: nothing is said about it.
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
    /// An engine whose decision ids differ from those of other processes.
    pub fn new(options: &Options) -> Self {
        Self {
            ids: DecisionId::first(options.process),
            ..Self::default()
        }
    }

    /// Takes new rules. Accounts of limits that stay are kept.
    pub fn update(&mut self, rules: Option<&Inbound>) {
        let Some(inbound) = rules else {
            self.rules = None;
            return;
        };
        if self
            .rules
            .as_ref()
            .is_some_and(|ready| ready.inbound == *inbound)
        {
            return;
        }
        self.limits.update(&inbound.rate_limits);
        match (&mut self.shedder, &inbound.adaptive_concurrency) {
            (Some(shedder), Some(settings)) => shedder.update(settings),
            // It is made with the first call, which tells the time.
            (shedder, _) => *shedder = None,
        }
        self.rules = Some(Ready {
            inbound: inbound.clone(),
            target: inbound.service.as_str().into(),
            rules: Rules::new(inbound),
            cache: Cache::default(),
        });
    }

    /// May this call pass?
    ///
    /// # Errors
    /// The answer to give where it may not.
    pub fn admit(
        &mut self,
        facts: InboundFacts<'_>,
        now: Instant,
        mut rng: &mut (impl RngCore + ?Sized),
    ) -> Result<Admission, Box<Refusal>> {
        self.admit_by(facts, now, &mut rng)
    }

    /// Not generic, so that it is compiled once, and in this crate.
    fn admit_by(
        &mut self,
        facts: InboundFacts<'_>,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Result<Admission, Box<Refusal>> {
        let id = self.ids.next();
        let Some(ready) = &mut self.rules else {
            let message = "no caller rules have come from the control plane yet";
            let failure = Failure::new(Reason::NoConfiguration, message);
            return Err(refused(unknown(id, &facts), failure));
        };
        let inbound = &ready.inbound;
        let known = ready.cache.find(&facts, &ready.rules, &self.limits);
        let decision = known.matching.decide(facts.headers);
        let stated = facts.criticality.and_then(Criticality::parse);
        let criticality = stated.unwrap_or(inbound.default_criticality);
        let refusal = (!decision.is_allowed()).then(|| not_allowed(&facts, &decision));
        let (target, path) = (Arc::clone(&ready.target), Arc::clone(&known.path));
        let mut record = DecisionRecord {
            caller: Some(Arc::clone(&known.caller)),
            criticality: Some(criticality),
            ..DecisionRecord::new(id, target, path, rule(decision))
        };
        if !inbound.is_dry_run
            && let Some(failure) = refusal
        {
            return Err(refused(record, failure));
        }
        let rate_limit = match self.limits.check(&known.limits, &facts, now) {
            Ok(status) => status,
            Err(exhausted) => {
                record.rule = Arc::clone(&exhausted.status.name);
                let failure = too_many(&facts, &exhausted.status);
                let mut refusal = refused(record, failure);
                refusal.retry = Some(
                    exhausted
                        .wait
                        .map_or(RetryAdvice::Never, RetryAdvice::After),
                );
                refusal.rate_limit = Some(exhausted.status);
                return Err(refusal);
            }
        };
        let shedder = inbound.adaptive_concurrency.as_ref().map(|settings| {
            let shedder = &mut self.shedder;
            shedder.get_or_insert_with(|| Shedder::new(settings.clone(), now))
        });
        let mut method = 0;
        if let Some(shedder) = shedder {
            if let Err(advice) = shedder.admit(criticality, self.in_flight, now, rng) {
                let mut refusal = refused(record, overloaded(&inbound.service, criticality));
                refusal.retry = Some(advice);
                return Err(refusal);
            }
            method = shedder.method(facts.path);
        }
        self.limits.take(&known.limits, &facts, now);
        self.in_flight += 1;
        let asked = facts.grpc_timeout.and_then(parse_timeout);
        Ok(Admission {
            record,
            deadline: Deadline::starting(now, asked, None),
            criticality,
            would_be_refused: refusal,
            rate_limit,
            started: now,
            method,
            progress: AtomicU8::new(ADMITTED),
        })
    }

    /// What the caller rules say now of a call that was admitted before: streams may last for hours.
    /// `None`: there are no rules.
    pub fn decide(&mut self, facts: &InboundFacts<'_>) -> Option<Decision> {
        let ready = self.rules.as_mut()?;
        let known = ready.cache.find(facts, &ready.rules, &self.limits);
        Some(known.matching.decide(facts.headers))
    }

    /// Response headers came from the workload, as far as a stream follows them. From here on the call
    /// takes no place among those under way. Not told for answers without a stream, such as most errors:
    /// [`Self::finished`] knows their status.
    pub fn answered(&mut self, admission: &Admission, now: Instant) {
        if admission.progress.swap(ANSWERED, Ordering::Relaxed) == ADMITTED {
            self.leave(admission, true, now);
        }
    }

    /// An admitted call is over with `status`. A second time changes nothing.
    pub fn finished(&mut self, admission: &Admission, status: i32, now: Instant) {
        if admission.progress.swap(FINISHED, Ordering::Relaxed) == ADMITTED {
            self.leave(admission, tells_latency(status), now);
        }
    }

    fn leave(&mut self, admission: &Admission, tells_latency: bool, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(shedder) = self.shedder.as_mut().filter(|_| tells_latency) {
            shedder.answered(admission.method, admission.started, now);
        }
    }

    /// Where limits and shedding stand, for the admin port.
    pub fn status(&self) -> InboundStatus {
        InboundStatus {
            in_flight: self.in_flight,
            concurrency_limit: self.shedder.as_ref().map(Shedder::limit),
            shed_share: self.shedder.as_ref().map_or(0.0, Shedder::shed_share),
            rate_limits: self
                .limits
                .sizes()
                .map(|(name, buckets)| (name.to_owned(), buckets))
                .collect(),
        }
    }
}

/// The state of an [`InboundEngine`].
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct InboundStatus {
    /// Calls that were admitted and have not been answered.
    pub in_flight: u32,
    /// How many of them there may be. `None`: as many as come.
    pub concurrency_limit: Option<u32>,
    /// Of the calls of late, how many were shed: 0 to 1.
    pub shed_share: f64,
    /// Each rate limit and how many buckets it has.
    pub rate_limits: Vec<(String, usize)>,
}

/// Whether the time a call took says how busy the workload is. Where it refused or failed, it may not
/// have worked at all; where the caller left or its time was up, nobody knows how long it would have
/// taken.
fn tells_latency(status: i32) -> bool {
    const NOT_FOUND: i32 = 5;
    const ALREADY_EXISTS: i32 = 6;
    const FAILED_PRECONDITION: i32 = 9;
    const ABORTED: i32 = 10;
    matches!(
        status,
        code::OK | NOT_FOUND | ALREADY_EXISTS | FAILED_PRECONDITION | ABORTED
    )
}

fn rule(decision: Decision) -> Arc<str> {
    match decision {
        Decision::Allowed { rule } | Decision::Denied { rule } => rule,
        Decision::DeniedByDefault => decision.rule().into(),
    }
}
