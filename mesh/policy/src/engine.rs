//! The facade an executor drives: admit a call, pick an endpoint, report the outcome, do what is next.

use std::{collections::HashMap, time::Instant};

use rand::Rng;
use weft_model::dataplane::{Endpoint, Snapshot};

use crate::{
    PATIENCE, backoff,
    call::{AttemptEnd, Call, Next, Outcome, Pick, RequestFacts},
    cluster::{Choice, Cluster},
    code,
    deadline::{Deadline, parse_timeout},
    record::{DecisionRecord, Failure, Reason, rule_name},
    retry::{Pushback, RetryState},
};

/// The accounts of every target, and the decisions about calls to them.
#[derive(Debug, Default)]
pub struct Engine {
    clusters: HashMap<String, Cluster>,
    is_configured: bool,
}

impl Engine {
    /// Takes a new snapshot. What stays keeps its accounts; calls under way go on with what they have.
    pub fn update(&mut self, snapshot: &Snapshot) {
        self.is_configured = true;
        self.clusters
            .retain(|authority, _| snapshot.targets.contains_key(authority));
        for (authority, target) in &snapshot.targets {
            match self.clusters.get_mut(authority) {
                Some(cluster) => cluster.update(target),
                None => {
                    self.clusters
                        .insert(authority.clone(), Cluster::new(target));
                }
            }
        }
    }

    /// Whether a snapshot has come.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// The SPIFFE ID endpoints of `authority` must prove.
    pub fn identity(&self, authority: &str) -> Option<String> {
        let cluster = self.clusters.get(authority)?;
        Some(cluster.target.identity.clone())
    }

    /// Whether `authority` has an endpoint, healthy or not.
    pub fn has_endpoints(&self, authority: &str) -> bool {
        let cluster = self.clusters.get(authority);
        cluster.is_some_and(|cluster| !cluster.target.endpoints.is_empty())
    }

    /// Begins a call: finds its target and rule and sets its deadline.
    ///
    /// # Errors
    /// The answer to give where there is no such target.
    pub fn admit(&self, request: RequestFacts<'_>, now: Instant) -> Result<Call, Failure> {
        let Some(cluster) = self.clusters.get(request.authority) else {
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
        Ok(Call {
            record: DecisionRecord {
                target: request.authority.to_owned(),
                method: request.path.to_owned(),
                rule: rule.map_or("none".to_owned(), |rule| rule_name(&rule.matches)),
                ..DecisionRecord::default()
            },
            deadline: Deadline::starting(now, asked, configured),
            retry: RetryState::new(policy),
            is_committed: false,
            avoid: Vec::new(),
            held_since: None,
            rounds: 0,
            last_failure: None,
        })
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

    /// Picks the endpoint of the call's next attempt.
    pub fn pick(&mut self, call: &mut Call, now: Instant, rng: &mut (impl Rng + ?Sized)) -> Pick {
        let choice = match self.clusters.get(&call.record.target) {
            Some(cluster) => cluster.choose(&call.avoid, now, rng),
            None => Choice::Empty,
        };
        let (until, failure) = match choice {
            Choice::Endpoint(endpoint) => {
                if let Some(cluster) = self.clusters.get_mut(&call.record.target) {
                    cluster.started(&endpoint);
                }
                call.record.endpoint = Some(endpoint.clone());
                call.record.attempts += 1;
                return Pick::Endpoint(endpoint);
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

    /// The attempt at `endpoint` is over, however it ended; every picked endpoint is released once.
    pub fn release(&mut self, target: &str, endpoint: &Endpoint) {
        if let Some(cluster) = self.clusters.get_mut(target) {
            cluster.ended(endpoint);
        }
    }

    /// Takes the outcome of the attempt at `endpoint` and says what is next.
    pub fn attempt_ended(
        &mut self,
        call: &mut Call,
        endpoint: &Endpoint,
        outcome: &Outcome,
        end: AttemptEnd,
        rng: &mut (impl Rng + ?Sized),
    ) -> Next {
        self.account(&call.record.target, endpoint, outcome, end, rng);
        match outcome {
            Outcome::Headers => {
                call.is_committed = true;
                Next::Forward
            }
            Outcome::TrailersOnly { code, pushback } => self
                .policy_retry(call, endpoint, (*code, *pushback), end, rng)
                .map_or(Next::Forward, Next::RetryAt),
            Outcome::Broken(failure) => {
                let status = (failure.code, Pushback::Absent);
                self.policy_retry(call, endpoint, status, end, rng)
                    .map_or_else(|| Next::Fail(failed(call, failure.clone())), Next::RetryAt)
            }
            Outcome::ConnectFailed(message) => {
                let failure = Failure::new(Reason::UpstreamConnectFailed, message.clone());
                self.transparent_retry(call, endpoint, failure, end, rng)
            }
            Outcome::Unreached(message) => {
                let failure = Failure::new(Reason::WorkloadUnreachable, message.clone());
                self.transparent_retry(call, endpoint, failure, end, rng)
            }
            Outcome::Refused(message) => {
                let failure = Failure::new(Reason::UpstreamReset, message.clone());
                self.transparent_retry(call, endpoint, failure, end, rng)
            }
        }
    }

    fn account(
        &mut self,
        target: &str,
        endpoint: &Endpoint,
        outcome: &Outcome,
        AttemptEnd { latency, now, .. }: AttemptEnd,
        rng: &mut (impl Rng + ?Sized),
    ) {
        let Some(cluster) = self.clusters.get_mut(target) else {
            return;
        };
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
            Outcome::Broken(_) => {
                cluster.failed(endpoint, now);
            }
        }
    }

    fn policy_retry(
        &mut self,
        call: &mut Call,
        endpoint: &Endpoint,
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
        call.avoid.push(endpoint.address);
        Some(at)
    }

    /// The attempt reached no workload: each other endpoint is tried at once, then all again with
    /// backoff, as long as [`PATIENCE`] and the deadline last.
    fn transparent_retry(
        &mut self,
        call: &mut Call,
        endpoint: &Endpoint,
        failure: Failure,
        end: AttemptEnd,
        rng: &mut (impl Rng + ?Sized),
    ) -> Next {
        call.last_failure = Some(failure.clone());
        call.record.attempts = call.record.attempts.saturating_sub(1);
        let now = end.now;
        let give_up = *call.held_since.get_or_insert(now) + PATIENCE;
        call.avoid.push(endpoint.address);
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
    /// the attempts before a stream came to is accounted for already.
    pub fn finished(&mut self, call: &Call, status: i32, broken: bool, now: Instant) {
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
