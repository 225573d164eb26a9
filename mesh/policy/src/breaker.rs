//! Circuit breaking: how much may be under way at one target at once.
//!
//! Envoy's four counters and its retry budget: connections, calls that wait for one, calls, and retries
//! with hedges. What exceeds a limit is answered at once, naming the limit, so that a target in trouble
//! costs its callers neither memory nor time.

use weft_model::dataplane::CircuitBreakers;

use crate::record::{Failure, Reason};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connections,
    Pending,
    Requests,
    Retries,
}

/// What is under way at one target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Breakers {
    settings: CircuitBreakers,
    connections: u32,
    pending: u32,
    requests: u32,
    retries: u32,
}

impl Breakers {
    pub(crate) fn new(settings: CircuitBreakers) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// New limits; what is under way stays counted.
    pub(crate) fn update(&mut self, settings: &CircuitBreakers) {
        self.settings = settings.clone();
    }

    /// Counts one more, or says which limit is reached.
    pub(crate) fn take(&mut self, kind: Kind, target: &str) -> Result<(), Failure> {
        let limit = self.limit(kind);
        let count = self.count_mut(kind);
        if *count >= limit {
            return Err(open(kind, limit, target));
        }
        *count += 1;
        Ok(())
    }

    /// One of the kind is over.
    pub(crate) fn give_back(&mut self, kind: Kind) {
        let count = self.count_mut(kind);
        *count = count.saturating_sub(1);
    }

    pub(crate) fn count(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Connections => self.connections,
            Kind::Pending => self.pending,
            Kind::Requests => self.requests,
            Kind::Retries => self.retries,
        }
    }

    /// How many of the kind may be under way now. Retries: Envoy's budget, a share of the calls under
    /// way but never less than its minimum, and never more than `max_retries`.
    pub(crate) fn limit(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Connections => self.settings.max_connections,
            Kind::Pending => self.settings.max_pending_requests,
            Kind::Requests => self.settings.max_requests,
            Kind::Retries => {
                let budget = &self.settings.retry_budget;
                let share = u64::from(self.requests) * u64::from(budget.budget_percent) / 100;
                let share = u32::try_from(share).unwrap_or(u32::MAX);
                share
                    .max(budget.min_retry_concurrency)
                    .min(self.settings.max_retries)
            }
        }
    }

    fn count_mut(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Connections => &mut self.connections,
            Kind::Pending => &mut self.pending,
            Kind::Requests => &mut self.requests,
            Kind::Retries => &mut self.retries,
        }
    }
}

fn open(kind: Kind, limit: u32, target: &str) -> Failure {
    let (what, setting) = match kind {
        Kind::Connections => ("connections", "maxConnections"),
        Kind::Pending => ("calls waiting for a connection", "maxPendingRequests"),
        Kind::Requests => ("calls under way", "maxRequests"),
        Kind::Retries => ("retries under way", "maxRetries and retryBudget"),
    };
    let message = format!("`{target}` has {limit} {what}, as many as its {setting} allows");
    Failure::new(Reason::CircuitBreakerOpen, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weft_model::dataplane::RetryBudget;

    use super::*;

    fn breakers(max_requests: u32, percent: u32, least: u32) -> Breakers {
        Breakers::new(CircuitBreakers {
            max_connections: 2,
            max_pending_requests: 1,
            max_requests,
            max_retries: 5,
            retry_budget: RetryBudget {
                budget_percent: percent,
                min_retry_concurrency: least,
            },
        })
    }

    #[test]
    fn an_open_breaker_names_itself_its_limit_and_its_target() {
        let mut breakers = breakers(1, 20, 3);
        breakers.take(Kind::Requests, "carts:7070").expect("room");
        let failure = breakers.take(Kind::Requests, "carts:7070").unwrap_err();
        assert_eq!(failure.reason, Reason::CircuitBreakerOpen);
        assert_eq!(
            failure.message,
            "`carts:7070` has 1 calls under way, as many as its maxRequests allows"
        );
        breakers.give_back(Kind::Requests);
        breakers
            .take(Kind::Requests, "carts:7070")
            .expect("room again");
    }

    #[test]
    fn retries_are_a_share_of_the_calls_within_both_limits() {
        let mut breakers = breakers(1000, 20, 3);
        assert_eq!(breakers.limit(Kind::Retries), 3);
        for _ in 0..20 {
            breakers.take(Kind::Requests, "a").expect("room");
        }
        assert_eq!(breakers.limit(Kind::Retries), 4);
        for _ in 0..200 {
            breakers.take(Kind::Requests, "a").expect("room");
        }
        assert_eq!(breakers.limit(Kind::Retries), 5);
    }

    proptest! {
        #[test]
        fn what_was_taken_and_given_back_leaves_nothing(kinds in proptest::collection::vec(0usize..4, 0..60)) {
            let all = [Kind::Connections, Kind::Pending, Kind::Requests, Kind::Retries];
            let mut breakers = breakers(10, 50, 1);
            let mut taken = Vec::new();
            for kind in kinds.into_iter().map(|kind| all[kind]) {
                if breakers.take(kind, "a").is_ok() {
                    taken.push(kind);
                }
                prop_assert!(breakers.count(Kind::Connections) <= 2);
                prop_assert!(breakers.count(Kind::Retries) <= 5);
            }
            for kind in taken {
                breakers.give_back(kind);
            }
            for kind in all {
                prop_assert_eq!(breakers.count(kind), 0);
            }
        }
    }
}
