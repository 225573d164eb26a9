//! What an attempt's end leads to: an answer, or another attempt.

use std::time::Instant;

use rand::RngCore;

use crate::{
    PATIENCE, backoff,
    call::{Attempt, AttemptEnd, Call, Next, Outcome},
    code,
    engine::Engine,
    record::{Failure, Reason},
    retry::{Pushback, RetryStop},
};

/// How an attempt failed that a workload may have seen.
struct Ended {
    status: i32,
    pushback: Pushback,
    /// The answer to give. `None`: the endpoint gave one.
    failure: Option<Failure>,
}

impl Engine {
    /// Takes the outcome of an attempt and says what is next.
    pub fn attempt_ended(
        &mut self,
        call: &mut Call,
        attempt: &Attempt,
        outcome: &Outcome,
        end: AttemptEnd,
        mut rng: &mut (impl RngCore + ?Sized),
    ) -> Next {
        self.attempt_ended_by(call, attempt, outcome, end, &mut rng)
    }

    fn attempt_ended_by(
        &mut self,
        call: &mut Call,
        attempt: &Attempt,
        outcome: &Outcome,
        end: AttemptEnd,
        rng: &mut dyn RngCore,
    ) -> Next {
        call.attempt_is_over(attempt);
        self.account(attempt, outcome, end, rng);
        let unseen = match outcome {
            Outcome::Headers => {
                call.committed = Some(attempt.member);
                return Next::Forward;
            }
            Outcome::TrailersOnly { code, pushback } => {
                let ended = Ended {
                    status: *code,
                    pushback: *pushback,
                    failure: None,
                };
                return self.seen(call, attempt, ended, end, rng);
            }
            Outcome::Broken(failure) => {
                return self.broken(call, attempt, failure.clone(), end, rng);
            }
            Outcome::TimedOut => {
                let message = "no response headers came within the time of one attempt";
                let failure = Failure::new(Reason::AttemptTimedOut, message);
                return self.broken(call, attempt, failure, end, rng);
            }
            Outcome::ConnectFailed(message) => (Reason::UpstreamConnectFailed, message),
            Outcome::Unreached(message) => (Reason::WorkloadUnreachable, message),
            Outcome::Refused(message) => (Reason::UpstreamReset, message),
        };
        let failure = Failure::new(unseen.0, unseen.1.clone());
        self.transparent_retry(call, attempt, failure, end, rng)
    }

    fn broken(
        &mut self,
        call: &mut Call,
        attempt: &Attempt,
        failure: Failure,
        end: AttemptEnd,
        rng: &mut dyn RngCore,
    ) -> Next {
        let ended = Ended {
            status: failure.code,
            pushback: Pushback::Absent,
            failure: Some(failure),
        };
        self.seen(call, attempt, ended, end, rng)
    }

    /// The attempt may have been seen: what follows is up to the method's policy.
    fn seen(
        &mut self,
        call: &mut Call,
        attempt: &Attempt,
        ended: Ended,
        end: AttemptEnd,
        rng: &mut dyn RngCore,
    ) -> Next {
        let is_injected = attempt.fault.abort.is_some() && ended.failure.is_none();
        let reason = match &ended.failure {
            Some(failure) => failure.reason,
            None if is_injected => Reason::FaultInjected,
            None => Reason::Answered,
        };
        call.record.reason = reason;
        if ended.status == code::OK {
            return Next::Forward;
        }
        let next = if call.hedge.is_some() {
            self.hedged(call, &ended, end)
        } else {
            self.retried(call, &ended, end, rng).map(Next::RetryAt)
        };
        match next {
            Ok(next) => {
                let endpoint = &attempt.endpoint;
                call.record.attempt_failed(endpoint, reason, ended.status);
                call.avoid.push(attempt.member);
                next
            }
            Err(stop) => {
                call.record.retry_stop = Some(stop);
                call.is_spent |= stop.is_spent() || call.record.attempts > 1;
                match ended.failure {
                    Some(failure) => Next::Fail(failed(call, failure)),
                    None => Next::Forward,
                }
            }
        }
    }

    fn retried(
        &mut self,
        call: &mut Call,
        ended: &Ended,
        end: AttemptEnd,
        rng: &mut dyn RngCore,
    ) -> Result<Instant, RetryStop> {
        let Some(cluster) = self.clusters.get_mut(call.owner) else {
            return Err(RetryStop::NoPolicy);
        };
        let wait = call.retry.after_failure(
            ended.status,
            ended.pushback,
            end.is_replayable,
            &mut cluster.budget,
            rng,
        )?;
        let at = end.now.checked_add(wait).ok_or(RetryStop::Deadline)?;
        // A retry that would begin after the deadline only hides the failure it had.
        if call.deadline.has_passed(at) {
            return Err(RetryStop::Deadline);
        }
        self.take_retry(call)?;
        Ok(at)
    }

    /// gRFC A6: a status that is not fatal brings the next attempt forward; every other is the answer.
    fn hedged(
        &mut self,
        call: &mut Call,
        ended: &Ended,
        end: AttemptEnd,
    ) -> Result<Next, RetryStop> {
        let attempts = call.record.attempts;
        let Some(hedge) = &mut call.hedge else {
            return Err(RetryStop::NoPolicy);
        };
        let is_non_fatal = hedge.is_non_fatal(ended.status);
        let is_stopped = ended.pushback == Pushback::Stop;
        let budget = self
            .clusters
            .get_mut(call.owner)
            .map(|cluster| &mut cluster.budget);
        let has_tokens = budget.is_some_and(|budget| {
            if is_non_fatal || is_stopped {
                budget.failed();
            }
            budget.allows()
        });
        if !is_non_fatal {
            return Err(if is_stopped {
                RetryStop::Pushback
            } else {
                RetryStop::NotRetryable
            });
        }
        let at = match ended.pushback {
            Pushback::Wait(wait) => end.now.checked_add(wait),
            Pushback::Absent | Pushback::Stop => Some(end.now),
        };
        let at = at.filter(|&at| !call.deadline.has_passed(at));
        let more = if is_stopped {
            Err(RetryStop::Pushback)
        } else if !hedge.allows(attempts) {
            Err(RetryStop::Attempts)
        } else if !end.is_replayable {
            Err(RetryStop::NotReplayable)
        } else if !has_tokens {
            Err(RetryStop::Tokens)
        } else {
            at.ok_or(RetryStop::Deadline)
        };
        hedge.set_next(more.ok());
        if call.is_under_way() {
            return Ok(Next::Await);
        }
        let at = more?;
        self.take_retry(call)?;
        Ok(Next::RetryAt(at))
    }

    /// The attempt reached no workload: each other endpoint is tried at once, then all again with
    /// backoff, as long as [`PATIENCE`] and the deadline last.
    fn transparent_retry(
        &mut self,
        call: &mut Call,
        attempt: &Attempt,
        failure: Failure,
        end: AttemptEnd,
        rng: &mut dyn RngCore,
    ) -> Next {
        call.last_failure = Some(failure.clone());
        call.record.attempts = call.record.attempts.saturating_sub(1);
        let endpoint = &attempt.endpoint;
        call.record
            .attempt_failed(endpoint, failure.reason, failure.code);
        let now = end.now;
        let give_up = *call.held_since.get_or_insert(now) + PATIENCE;
        call.avoid.push(attempt.member);
        let subset = call.record.subset.as_deref();
        let has_other = self
            .clusters
            .get_mut(call.backend)
            .is_some_and(|cluster| cluster.has_other(subset, &call.avoid, now));
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
        let is_possible = end.is_replayable && at <= give_up && !call.deadline.has_passed(at);
        if is_possible {
            call.record.transparent_retries += 1;
        }
        if call.is_under_way() {
            if let Some(hedge) = &mut call.hedge {
                hedge.set_next(is_possible.then_some(at));
            }
            return Next::Await;
        }
        if is_possible {
            return Next::RetryAt(at);
        }
        // Every endpoint was tried for as long as is sensible; hops before this one would only add.
        call.is_spent = true;
        Next::Fail(failed(call, failure))
    }
}

pub(super) fn failed(call: &mut Call, failure: Failure) -> Failure {
    call.record.reason = failure.reason;
    failure
}
