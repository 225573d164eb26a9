//! What attempts and calls leave behind: health, latency, load, tokens, places.

use std::time::Instant;

use rand::RngCore;
use weft_model::dataplane::LoadBalancing;

use crate::{
    breaker::Kind,
    call::{Attempt, AttemptEnd, Call, LoadReport, Outcome, Slot},
    code,
    engine::Engine,
    record::{Failure, Reason},
    retry::Pushback,
};

impl Engine {
    pub(super) fn account(
        &mut self,
        attempt: &Attempt,
        outcome: &Outcome,
        AttemptEnd { now, .. }: AttemptEnd,
        rng: &mut dyn RngCore,
    ) {
        let Some(cluster) = self.clusters.get_mut(attempt.cluster) else {
            return;
        };
        // An injected failure is nobody's.
        if attempt.fault.abort.is_some() {
            return;
        }
        let member = attempt.member;
        let latency = now.saturating_duration_since(attempt.started);
        match outcome {
            Outcome::TrailersOnly { code, pushback } if *code == code::UNAVAILABLE => {
                // With pushback it sheds load, or passes on that others below it fail. Ejecting it would
                // push its calls onto the next one, and so on.
                if *pushback == Pushback::Absent {
                    cluster.failed(member, now);
                }
            }
            Outcome::Headers => cluster.answered(member, latency, now),
            Outcome::TrailersOnly { .. } => {
                cluster.answered(member, latency, now);
                cluster.succeeded(member);
            }
            Outcome::ConnectFailed(_) | Outcome::Unreached(_) => {
                cluster.refused(member, now, rng);
                cluster.failed(member, now);
            }
            // A connection that closes in good order or is full says nothing about the endpoint's health,
            // nor does an open circuit breaker, which never asked it.
            Outcome::Refused(_) => {}
            Outcome::Broken(Failure {
                reason: Reason::TooManyStreams | Reason::CircuitBreakerOpen,
                ..
            }) => {}
            Outcome::Broken(_) => cluster.failed(member, now),
            Outcome::TimedOut => {
                cluster.failed(member, now);
                if let Some(member) = cluster.member(member) {
                    member.load.observe_at_least(latency, now);
                }
            }
        }
    }

    /// Takes a place for a connection to an endpoint of the attempt's target.
    ///
    /// # Errors
    /// The answer to give where the circuit breaker is open.
    pub fn connection(&mut self, attempt: &Attempt) -> Result<Slot, Failure> {
        self.slot(attempt, Kind::Connections)
    }

    /// Takes a place among the calls that wait for a connection.
    ///
    /// # Errors
    /// As [`Self::connection`].
    pub fn pending(&mut self, attempt: &Attempt) -> Result<Slot, Failure> {
        self.slot(attempt, Kind::Pending)
    }

    fn slot(&mut self, attempt: &Attempt, kind: Kind) -> Result<Slot, Failure> {
        if let Some(cluster) = self.clusters.get_mut(attempt.cluster) {
            cluster.breakers.take(kind, &attempt.target)?;
        }
        Ok(Slot {
            cluster: attempt.cluster,
            kind,
        })
    }

    /// Gives a place back: the connection is closed, or the call waits no more.
    pub fn free(&mut self, slot: Slot) {
        if let Some(cluster) = self.clusters.get_mut(slot.cluster) {
            cluster.breakers.give_back(slot.kind);
        }
    }

    /// What the attempt's endpoint said of its load.
    pub fn load_report(&mut self, attempt: &Attempt, report: LoadReport, now: Instant) {
        let Some(cluster) = self.clusters.get_mut(attempt.cluster) else {
            return;
        };
        let LoadBalancing::WeightedRoundRobin {
            expiration_period,
            error_utilization_penalty_permille,
            ..
        } = cluster.target.load_balancing
        else {
            return;
        };
        if let Some(member) = cluster.member(attempt.member) {
            member.reports.expire(now, expiration_period);
            let penalty = error_utilization_penalty_permille;
            member.reports.observe(report, penalty, now);
        }
    }

    /// The call is over with `status`. `broken`: its stream broke instead of ending with trailers. What
    /// the attempts before a stream came to is accounted for already. A second time changes nothing.
    pub fn finished(&mut self, call: &mut Call, status: i32, broken: bool, now: Instant) {
        if std::mem::replace(&mut call.is_over, true) {
            return;
        }
        self.put_back_retry(call);
        if let Some(cluster) = self.clusters.get_mut(call.backend) {
            cluster.breakers.give_back(Kind::Requests);
            match call.committed {
                Some(member) if broken || status == code::UNAVAILABLE => {
                    cluster.failed(member, now);
                }
                // The caller left: that says nothing.
                Some(_) if matches!(status, code::CANCELLED | code::DEADLINE_EXCEEDED) => {}
                Some(member) => cluster.succeeded(member),
                None if status == code::DEADLINE_EXCEEDED => {
                    for (member, started) in call.under_way.drain(..) {
                        if let Some(member) = cluster.member(member) {
                            let elapsed = now.saturating_duration_since(started);
                            member.load.observe_at_least(elapsed, now);
                            member.outlier.was_too_slow();
                        }
                    }
                }
                None => {}
            }
        }
        if let Some(cluster) = self.clusters.get_mut(call.owner) {
            if status == code::OK {
                cluster.budget.succeeded();
            } else if call.committed.is_some() && call.is_retryable(status) {
                cluster.budget.failed();
            }
        }
    }
}
