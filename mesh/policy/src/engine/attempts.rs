//! Attempts: where the next one goes, and when it is over.

use std::{sync::Arc, time::Instant};

use rand::RngCore;
use weft_model::dataplane::Endpoint;

use crate::{
    PATIENCE,
    breaker::Kind,
    call::{Attempt, Call, Pick},
    cluster::Choice,
    engine::{Engine, outcome::failed},
    fault,
    record::{Failure, Reason},
    retry::RetryStop,
    slab::Id,
};

impl Engine {
    /// Picks the endpoint of the call's next attempt. An attempt must be released.
    ///
    /// While others are under way the attempt is a hedge. A hedge for which there is no room is
    /// answered by [`Pick::Fail`] and changes nothing: the others go on.
    pub fn pick(
        &mut self,
        call: &mut Call,
        now: Instant,
        mut rng: &mut (impl RngCore + ?Sized),
    ) -> Pick {
        self.pick_by(call, now, &mut rng)
    }

    fn pick_by(&mut self, call: &mut Call, now: Instant, rng: &mut dyn RngCore) -> Pick {
        let is_hedge = call.is_under_way();
        if is_hedge && let Err(failure) = self.room_for_hedge(call) {
            return Pick::Fail(failure);
        }
        let subset = call.record.subset.as_deref();
        let choice = match self.clusters.get_mut(call.backend) {
            Some(cluster) => cluster.choose(subset, &call.avoid, call.hash, now, rng),
            None => Choice::Empty,
        };
        let backend = call.record.backend.as_ref().unwrap_or(&call.record.target);
        let (until, message) = match choice {
            Choice::Endpoint(member, endpoint) => {
                return Pick::Attempt(self.begin(call, (member, endpoint), is_hedge, now, rng));
            }
            Choice::LeftAlone(until) => {
                let message = format!("every endpoint of `{backend}` refuses connections");
                (Some(until), message)
            }
            Choice::Empty => (None, format!("`{backend}` has no healthy endpoint")),
            Choice::NoSubset => {
                let subset = call.record.subset.as_deref().unwrap_or_default();
                (None, format!("`{backend}` has no subset `{subset}`"))
            }
        };
        let failure = Failure::new(Reason::NoHealthyEndpoint, message);
        self.nowhere(call, failure, until, is_hedge, now)
    }

    /// No endpoint can take the call now.
    fn nowhere(
        &mut self,
        call: &mut Call,
        failure: Failure,
        until: Option<Instant>,
        is_hedge: bool,
        now: Instant,
    ) -> Pick {
        if is_hedge {
            self.put_back_retry(call);
            if let Some(hedge) = &mut call.hedge {
                hedge.set_next(until);
            }
            return until.map_or(Pick::Fail(failure), Pick::Wait);
        }
        let give_up = *call.held_since.get_or_insert(now) + PATIENCE;
        if now >= give_up {
            call.is_spent = true;
            return Pick::Fail(failed(call, call.last_failure.clone().unwrap_or(failure)));
        }
        Pick::Wait(until.map_or(give_up, |until| until.min(give_up)))
    }

    fn begin(
        &mut self,
        call: &mut Call,
        (member, endpoint): (Id, Arc<Endpoint>),
        is_hedge: bool,
        now: Instant,
        rng: &mut dyn RngCore,
    ) -> Attempt {
        let previous_attempts = call.record.attempts;
        call.record.attempts += 1;
        call.record.hedges += u32::from(is_hedge);
        call.record.endpoint = Some(Arc::clone(&endpoint));
        call.under_way.push((member, now));
        let (identity, target) = match self.clusters.get_mut(call.backend) {
            Some(cluster) => {
                if let Some(member) = cluster.member(member) {
                    member.load.started();
                }
                (cluster.identity.clone(), Arc::clone(&cluster.authority))
            }
            // Nobody can prove to be nobody: a target that is gone is not called in cleartext.
            None => (Some(Arc::default()), Arc::clone(&call.record.target)),
        };
        call.record.is_cleartext = identity.is_none();
        if let Some(hedge) = &mut call.hedge {
            hedge.began(call.record.attempts, now);
            call.avoid.push(member);
        }
        let fault = call.route.as_ref().and_then(|route| route.fault.as_ref());
        let fault = fault.map(|fault| fault::draw(fault, call.record.attempts, rng));
        let time = call.retry.per_attempt_timeout();
        Attempt {
            endpoint,
            identity,
            previous_attempts,
            fault: fault.unwrap_or_default(),
            times_out_at: time.and_then(|time| now.checked_add(time)),
            started: now,
            target,
            cluster: call.backend,
            member,
            holds_retry: std::mem::take(&mut call.holds_retry),
        }
    }

    /// A hedge needs a policy, tokens, and a place among the retries.
    fn room_for_hedge(&mut self, call: &mut Call) -> Result<(), Failure> {
        let cluster = self.clusters.get(call.owner);
        let has_tokens = cluster.is_some_and(|cluster| cluster.budget.allows());
        let attempts = call.record.attempts;
        let hedge = call.hedge.as_ref().filter(|_| call.committed.is_none());
        let room = if !hedge.is_some_and(|hedge| hedge.allows(attempts)) {
            Err(RetryStop::Attempts)
        } else if !has_tokens {
            Err(RetryStop::Tokens)
        } else {
            self.take_retry(call)
        };
        room.map_err(|stop| {
            call.record.retry_stop = Some(stop);
            if let Some(hedge) = &mut call.hedge {
                hedge.set_next(None);
            }
            let (target, stop) = (&call.record.target, stop.as_str());
            let message = format!("no further attempt at `{target}` besides others: {stop}");
            Failure::new(Reason::CircuitBreakerOpen, message)
        })
    }

    /// Takes a place among the retries for the call's next attempt.
    pub(super) fn take_retry(&mut self, call: &mut Call) -> Result<(), RetryStop> {
        if call.holds_retry {
            return Ok(());
        }
        if let Some(cluster) = self.clusters.get_mut(call.backend) {
            let room = cluster.breakers.take(Kind::Retries, &cluster.authority);
            room.map_err(|_| RetryStop::Budget)?;
            call.holds_retry = true;
        }
        Ok(())
    }

    pub(super) fn put_back_retry(&mut self, call: &mut Call) {
        if std::mem::take(&mut call.holds_retry)
            && let Some(cluster) = self.clusters.get_mut(call.backend)
        {
            cluster.breakers.give_back(Kind::Retries);
        }
    }

    /// The attempt's stream is over, however it ended.
    pub fn release(&mut self, attempt: Attempt) {
        let Some(cluster) = self.clusters.get_mut(attempt.cluster) else {
            return;
        };
        if attempt.holds_retry {
            cluster.breakers.give_back(Kind::Retries);
        }
        if let Some(member) = cluster.member(attempt.member) {
            member.load.ended();
        }
    }
}
