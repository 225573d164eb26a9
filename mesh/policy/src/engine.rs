//! The facade an executor drives: admit a call, pick an endpoint, report the outcome, do what is next.

use std::{collections::HashMap, sync::Arc, time::Instant};

use rand::Rng;
use weft_model::dataplane::{Backend, Snapshot};

use crate::{
    PATIENCE, backoff,
    call::{
        Attempt, AttemptEnd, AttemptFault, Call, LoadReport, Next, Outcome, Pick, Slot, SlotKind,
    },
    cluster::{Choice, Cluster},
    code,
    deadline::{Deadline, parse_timeout},
    facts::RequestFacts,
    record::{DecisionRecord, Failure, Reason, rule_name},
    retry::{Pushback, RetryState},
};

/// The accounts of every target, and the decisions about calls to them.
#[derive(Debug, Default)]
pub struct Engine {
    clusters: HashMap<Arc<str>, Cluster>,
    is_configured: bool,
}

impl Engine {
    /// Takes a new snapshot. What stays keeps its accounts; calls under way go on with what they have.
    pub fn update(&mut self, snapshot: &Snapshot) {
        self.is_configured = true;
        self.clusters
            .retain(|authority, _| snapshot.targets.contains_key(&**authority));
        for (authority, target) in &snapshot.targets {
            match self.clusters.get_mut(authority.as_str()) {
                Some(cluster) => cluster.update(target),
                None => {
                    self.clusters
                        .insert(authority.as_str().into(), Cluster::new(target));
                }
            }
        }
    }

    /// Whether a snapshot has come.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// Whether `authority` has an endpoint, healthy or not.
    pub fn has_endpoints(&self, authority: &str) -> bool {
        let cluster = self.clusters.get(authority);
        cluster.is_some_and(|cluster| !cluster.target.endpoints.is_empty())
    }

    /// Begins a call: finds its route and rule, sets its deadline, and counts it. Every admitted call is
    /// [`Self::finished`] once.
    ///
    /// # Errors
    /// The answer to give where there is no such target or no room for the call.
    pub fn admit(
        &mut self,
        request: RequestFacts<'_>,
        now: Instant,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Call, Failure> {
        let _ = rng;
        let Some((authority, cluster)) = self.clusters.get_key_value(request.authority) else {
            return Err(self.unknown(request.authority));
        };
        let rule = cluster
            .target
            .methods
            .iter()
            .find(|rule| rule.matches.matches(request.path));
        let configured = rule.and_then(|rule| rule.timeout);
        let asked = request.grpc_timeout.and_then(parse_timeout);
        let policy = rule.and_then(|rule| rule.retry_policy.clone());
        let policy = policy.filter(|_| !request.is_retry);
        let record = DecisionRecord {
            target: Arc::clone(authority),
            method: request.path.into(),
            rule: rule.map_or("none".into(), |rule| rule_name(&rule.matches).into()),
            ..DecisionRecord::default()
        };
        let deadline = Deadline::starting(now, asked, configured);
        Ok(Call::new(record, deadline, RetryState::new(policy)))
    }

    /// Begins the call that carries a copy of `call`'s request to `backend`. It is never repeated.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_copy(
        &mut self,
        call: &Call,
        backend: &Backend,
        now: Instant,
    ) -> Result<Call, Failure> {
        let Some((authority, _)) = self.clusters.get_key_value(backend.authority.as_str()) else {
            return Err(self.unknown(&backend.authority));
        };
        let record = DecisionRecord {
            target: Arc::clone(authority),
            method: Arc::clone(&call.record.method),
            rule: Arc::clone(&call.record.rule),
            ..DecisionRecord::default()
        };
        let deadline = call.deadline.at_most(now, None);
        Ok(Call::new(record, deadline, RetryState::new(None)))
    }

    fn unknown(&self, authority: &str) -> Failure {
        if self.is_configured {
            let message = format!("the mesh has no service `{authority}`");
            Failure::new(Reason::UnknownService, message)
        } else {
            let message = "no configuration has come from the control plane yet";
            Failure::new(Reason::NoConfiguration, message)
        }
    }

    /// Picks the endpoint of the call's next attempt. An attempt must be released.
    pub fn pick(&mut self, call: &mut Call, now: Instant, rng: &mut (impl Rng + ?Sized)) -> Pick {
        let choice = match self.clusters.get(&call.record.target) {
            Some(cluster) => cluster.choose(&call.avoid, now, rng),
            None => Choice::Empty,
        };
        let (until, failure) = match choice {
            Choice::Endpoint(endpoint, identity) => {
                if let Some(cluster) = self.clusters.get_mut(&call.record.target) {
                    cluster.started(&endpoint);
                }
                call.record.endpoint = Some(Arc::clone(&endpoint));
                call.record.attempts += 1;
                return Pick::Attempt(Attempt {
                    endpoint,
                    identity,
                    previous_attempts: call.retry.previous_attempts(),
                    fault: AttemptFault::default(),
                    times_out_at: None,
                    started: now,
                    target: Arc::clone(&call.record.target),
                });
            }
            Choice::LeftAlone(until) => {
                let message = format!(
                    "every endpoint of `{}` refuses connections",
                    call.record.target
                );
                (Some(until), message)
            }
            Choice::Empty => {
                let message = format!("`{}` has no healthy endpoint", call.record.target);
                (None, message)
            }
        };
        let give_up = *call.held_since.get_or_insert(now) + PATIENCE;
        if now >= give_up {
            let failure = Failure::new(Reason::NoHealthyEndpoint, failure);
            return Pick::Fail(failed(call, call.last_failure.clone().unwrap_or(failure)));
        }
        Pick::Wait(until.map_or(give_up, |until| until.min(give_up)))
    }

    /// The attempt's stream is over, however it ended.
    pub fn release(&mut self, attempt: Attempt) {
        if let Some(cluster) = self.clusters.get_mut(&attempt.target) {
            cluster.ended(&attempt.endpoint);
        }
    }

    /// Takes the outcome of an attempt and says what is next.
    pub fn attempt_ended(
        &mut self,
        call: &mut Call,
        attempt: &Attempt,
        outcome: &Outcome,
        end: AttemptEnd,
        rng: &mut (impl Rng + ?Sized),
    ) -> Next {
        self.account(attempt, outcome, end, rng);
        match outcome {
            Outcome::Headers => {
                call.is_committed = true;
                Next::Forward
            }
            Outcome::TrailersOnly { code, pushback } => self
                .policy_retry(call, attempt, (*code, *pushback), end, rng)
                .map_or(Next::Forward, Next::RetryAt),
            Outcome::Broken(failure) => self.broken(call, attempt, failure.clone(), end, rng),
            Outcome::TimedOut => {
                let message = "no response headers came within the time of one attempt";
                let failure = Failure::new(Reason::AttemptTimedOut, message);
                self.broken(call, attempt, failure, end, rng)
            }
            Outcome::ConnectFailed(message) => {
                let failure = Failure::new(Reason::UpstreamConnectFailed, message.clone());
                self.transparent_retry(call, attempt, failure, end, rng)
            }
            Outcome::Unreached(message) => {
                let failure = Failure::new(Reason::WorkloadUnreachable, message.clone());
                self.transparent_retry(call, attempt, failure, end, rng)
            }
            Outcome::Refused(message) => {
                let failure = Failure::new(Reason::UpstreamReset, message.clone());
                self.transparent_retry(call, attempt, failure, end, rng)
            }
        }
    }

    fn broken(
        &mut self,
        call: &mut Call,
        attempt: &Attempt,
        failure: Failure,
        end: AttemptEnd,
        rng: &mut (impl Rng + ?Sized),
    ) -> Next {
        let status = (failure.code, Pushback::Absent);
        self.policy_retry(call, attempt, status, end, rng)
            .map_or_else(|| Next::Fail(failed(call, failure)), Next::RetryAt)
    }

    /// Takes a place for a connection to an endpoint of the attempt's target.
    ///
    /// # Errors
    /// The answer to give where the circuit breaker is open.
    pub fn connection(&mut self, attempt: &Attempt) -> Result<Slot, Failure> {
        Ok(Slot {
            target: Arc::clone(&attempt.target),
            kind: SlotKind::Connection,
        })
    }

    /// Takes a place among the calls that wait for a connection.
    ///
    /// # Errors
    /// As [`Self::connection`].
    pub fn pending(&mut self, attempt: &Attempt) -> Result<Slot, Failure> {
        Ok(Slot {
            target: Arc::clone(&attempt.target),
            kind: SlotKind::Pending,
        })
    }

    /// Gives a place back: the connection is closed, or the call waits no more.
    pub fn free(&mut self, slot: Slot) {
        match slot.kind {
            SlotKind::Connection | SlotKind::Pending => {
                debug_assert!(!slot.target.is_empty());
            }
        }
    }

    /// What the attempt's endpoint said of its load.
    pub fn load_report(&mut self, attempt: &Attempt, report: LoadReport, now: Instant) {
        let _ = (attempt, report, now);
    }

    fn account(
        &mut self,
        attempt: &Attempt,
        outcome: &Outcome,
        AttemptEnd { now, .. }: AttemptEnd,
        rng: &mut (impl Rng + ?Sized),
    ) {
        let Some(cluster) = self.clusters.get_mut(&attempt.target) else {
            return;
        };
        let endpoint = &attempt.endpoint;
        let latency = now.saturating_duration_since(attempt.started);
        match outcome {
            Outcome::TrailersOnly { code, .. } if *code == code::UNAVAILABLE => {
                cluster.failed(endpoint, now);
            }
            Outcome::Headers | Outcome::TrailersOnly { .. } => {
                cluster.answered(endpoint, latency, now);
            }
            Outcome::ConnectFailed(_) | Outcome::Unreached(_) => {
                cluster.refused(endpoint, now, rng);
                cluster.failed(endpoint, now);
            }
            // A connection that closes in good order or is full says nothing about the endpoint's health.
            Outcome::Refused(_) => {}
            Outcome::Broken(failure) if failure.reason == Reason::TooManyStreams => {}
            Outcome::Broken(_) | Outcome::TimedOut => {
                cluster.failed(endpoint, now);
            }
        }
    }

    fn policy_retry(
        &mut self,
        call: &mut Call,
        attempt: &Attempt,
        (status, pushback): (i32, Pushback),
        end: AttemptEnd,
        rng: &mut (impl Rng + ?Sized),
    ) -> Option<Instant> {
        let cluster = self.clusters.get_mut(&call.record.target);
        let budget = cluster.and_then(|cluster| cluster.budget.as_mut());
        let wait = call
            .retry
            .after_failure(status, pushback, end.is_replayable, budget, rng)?;
        let at = end.now + wait;
        // A retry that would begin after the deadline only hides the failure it had.
        if call.deadline.has_passed(at) {
            return None;
        }
        call.avoid.push(attempt.endpoint.address);
        Some(at)
    }

    /// The attempt reached no workload: each other endpoint is tried at once, then all again with
    /// backoff, as long as [`PATIENCE`] and the deadline last.
    fn transparent_retry(
        &mut self,
        call: &mut Call,
        attempt: &Attempt,
        failure: Failure,
        end: AttemptEnd,
        rng: &mut (impl Rng + ?Sized),
    ) -> Next {
        call.last_failure = Some(failure.clone());
        call.record.attempts = call.record.attempts.saturating_sub(1);
        let now = end.now;
        let give_up = *call.held_since.get_or_insert(now) + PATIENCE;
        call.avoid.push(attempt.endpoint.address);
        let has_other = self
            .clusters
            .get(&call.record.target)
            .is_some_and(|cluster| cluster.has_other(&call.avoid, now));
        let at = if has_other {
            now
        } else {
            call.avoid.clear();
            call.rounds += 1;
            let (initial, max) = (
                backoff::ConnectBackoff::INITIAL,
                backoff::ConnectBackoff::MAX,
            );
            now + backoff::exponential(initial, 2000, max, call.rounds, rng)
        };
        if !end.is_replayable || at > give_up || call.deadline.has_passed(at) {
            return Next::Fail(failed(call, failure));
        }
        call.record.transparent_retries += 1;
        Next::RetryAt(at)
    }

    /// The call is over with `status`. `broken`: its stream broke instead of ending with trailers. What
    /// the attempts before a stream came to is accounted for already. A second time changes nothing.
    pub fn finished(&mut self, call: &mut Call, status: i32, broken: bool, now: Instant) {
        if std::mem::replace(&mut call.is_over, true) {
            return;
        }
        let Some(cluster) = self.clusters.get_mut(&call.record.target) else {
            return;
        };
        let endpoint = call.record.endpoint.as_ref().filter(|_| broken);
        if let Some(endpoint) = endpoint.filter(|_| call.is_committed) {
            cluster.failed(endpoint, now);
        }
        if let Some(budget) = &mut cluster.budget {
            if status == code::OK {
                budget.succeeded();
            } else if call.is_committed && call.retry.is_retryable(status) {
                budget.failed();
            }
        }
    }
}

fn failed(call: &mut Call, failure: Failure) -> Failure {
    call.record.reason = failure.reason;
    failure
}
