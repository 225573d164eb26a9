//! Retries by gRFC A6: what is repeated, when, and how often at most.
//!
//! Two kinds. A *policy* retry repeats a call that a workload may have seen; it happens only where the
//! mesh file has a `retryPolicy` (which `weft check` accepts only on methods the contract declares safe),
//! only before response headers were forwarded, and only while the target's budget has tokens. A
//! *transparent* retry repeats an attempt that provably reached no workload; it is safe for every
//! method and limited by [`crate::PATIENCE`] (see the engine).

use std::{sync::Arc, time::Duration};

use rand::RngCore;
use weft_model::dataplane::{RetryPolicy, RetryThrottling};

use crate::backoff;

mod marks;

pub use marks::{RetryMarks, trace_id};

/// gRFC A6 caps `maxAttempts` at five, whatever is configured.
pub const MOST_ATTEMPTS: u32 = 5;

/// What `grpc-retry-pushback-ms` asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pushback {
    /// No such header.
    #[default]
    Absent,
    /// Wait exactly this long.
    Wait(Duration),
    /// Do not retry: the value was negative or no number.
    Stop,
}

impl Pushback {
    /// Reads the header's value.
    pub fn parse(value: Option<&str>) -> Self {
        match value.map(str::parse::<i32>) {
            None => Self::Absent,
            Some(Ok(wait)) if wait >= 0 => {
                Self::Wait(Duration::from_millis(wait.unsigned_abs().into()))
            }
            Some(_) => Self::Stop,
        }
    }
}

/// Why a failed attempt is not followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryStop {
    /// The method has no policy, or the hop before this one repeats calls.
    NoPolicy,
    /// The policy does not repeat this status.
    NotRetryable,
    /// The request was too long to be kept.
    NotReplayable,
    /// All attempts the policy allows were made.
    Attempts,
    /// Half or fewer of the target's retry tokens are left.
    Tokens,
    /// Too many retries are under way at the target.
    Budget,
    /// The answer says not to.
    Pushback,
    /// It would begin after the deadline.
    Deadline,
}

impl RetryStop {
    /// The name in logs and error details, `TOKENS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoPolicy => "NO_POLICY",
            Self::NotRetryable => "NOT_RETRYABLE",
            Self::NotReplayable => "NOT_REPLAYABLE",
            Self::Attempts => "ATTEMPTS",
            Self::Tokens => "TOKENS",
            Self::Budget => "BUDGET",
            Self::Pushback => "PUSHBACK",
            Self::Deadline => "DEADLINE",
        }
    }

    /// Whether this hop has done what retries can do, so that a hop before it that repeated the call
    /// would only multiply the load (SRE book: retry at one layer).
    pub(crate) fn is_spent(self) -> bool {
        matches!(
            self,
            Self::Attempts | Self::Tokens | Self::Budget | Self::Pushback
        )
    }
}

/// The retry budget of one target: a bucket of tokens shared by all its methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    settings: RetryThrottling,
    /// In thousandths of a token.
    tokens: u64,
}

impl RetryBudget {
    /// What a target has that configures none: no retry is without a budget.
    pub const DEFAULT: RetryThrottling = RetryThrottling {
        max_tokens: 100,
        token_ratio_permille: 100,
    };

    /// Tokens left, in thousandths.
    pub fn millitokens(&self) -> u64 {
        self.tokens
    }

    /// A full bucket.
    pub fn new(settings: RetryThrottling) -> Self {
        let tokens = u64::from(settings.max_tokens) * 1000;
        Self { settings, tokens }
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &RetryThrottling {
        &self.settings
    }

    /// Whether more than half of the tokens are left.
    pub fn allows(&self) -> bool {
        self.tokens * 2 > u64::from(self.settings.max_tokens) * 1000
    }

    /// An attempt failed with a retryable status, or was told not to retry.
    pub fn failed(&mut self) {
        self.tokens = self.tokens.saturating_sub(1000);
    }

    /// A call succeeded.
    pub fn succeeded(&mut self) {
        let full = u64::from(self.settings.max_tokens) * 1000;
        let more = self.tokens + u64::from(self.settings.token_ratio_permille);
        self.tokens = more.min(full);
    }
}

/// The policy retries of one call.
#[derive(Clone, Debug, Default)]
pub struct RetryState {
    policy: Option<Arc<RetryPolicy>>,
    /// Attempts that ended and may have been seen, the first included.
    ended: u32,
    /// Retries since the call began or the last pushback, which starts the backoff anew.
    since_pushback: u32,
}

impl RetryState {
    /// The state before the first attempt. `policy` is `None` where the method has none, or where the
    /// hop before this one repeats calls already: only the hop nearest the caller does.
    pub fn new(policy: Option<Arc<RetryPolicy>>) -> Self {
        Self {
            policy,
            ended: 0,
            since_pushback: 0,
        }
    }

    /// How many attempts ended before the coming one: the value of `grpc-previous-rpc-attempts`.
    pub fn previous_attempts(&self) -> u32 {
        self.ended
    }

    /// Whether `status` is one the policy repeats.
    pub fn is_retryable(&self, status: i32) -> bool {
        self.policy
            .as_ref()
            .is_some_and(|policy| policy.retryable_status_codes.contains(&status))
    }

    /// How long one attempt may take until its response headers.
    pub(crate) fn per_attempt_timeout(&self) -> Option<Duration> {
        self.policy.as_ref()?.per_attempt_timeout
    }

    /// An attempt ended with `status`, not OK, before response headers were forwarded. Returns how long
    /// to wait before the next one. Takes its token from the budget either way.
    ///
    /// # Errors
    /// Why this one's answer is final.
    pub fn after_failure(
        &mut self,
        status: i32,
        pushback: Pushback,
        replayable: bool,
        budget: &mut RetryBudget,
        rng: &mut dyn RngCore,
    ) -> Result<Duration, RetryStop> {
        self.ended += 1;
        let Some(policy) = &self.policy else {
            return Err(match pushback {
                Pushback::Stop => RetryStop::Pushback,
                _ => RetryStop::NoPolicy,
            });
        };
        let retryable = policy.retryable_status_codes.contains(&status);
        if retryable || pushback == Pushback::Stop {
            budget.failed();
        }
        let most = policy.max_attempts.min(MOST_ATTEMPTS);
        let stop = if pushback == Pushback::Stop {
            RetryStop::Pushback
        } else if self.ended >= most {
            RetryStop::Attempts
        } else if !retryable {
            RetryStop::NotRetryable
        } else if !replayable {
            RetryStop::NotReplayable
        } else if !budget.allows() {
            RetryStop::Tokens
        } else if let Pushback::Wait(wait) = pushback {
            self.since_pushback = 0;
            return Ok(wait);
        } else {
            self.since_pushback += 1;
            return Ok(backoff::exponential(
                policy.initial_backoff,
                policy.backoff_multiplier_permille,
                policy.max_backoff,
                self.since_pushback,
                rng,
            ));
        };
        Err(stop)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::code;

    fn policy(max_attempts: u32) -> Arc<RetryPolicy> {
        Arc::new(RetryPolicy {
            max_attempts,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_millis(1000),
            backoff_multiplier_permille: 2000,
            retryable_status_codes: vec![code::UNAVAILABLE],
            per_attempt_timeout: None,
        })
    }

    fn budget() -> RetryBudget {
        RetryBudget::new(RetryBudget::DEFAULT)
    }

    fn rng() -> StdRng {
        StdRng::seed_from_u64(3)
    }

    fn fail(state: &mut RetryState, status: i32) -> Result<Duration, RetryStop> {
        state.after_failure(status, Pushback::Absent, true, &mut budget(), &mut rng())
    }

    #[test]
    fn only_the_listed_codes_are_retried_up_to_max_attempts_with_growing_waits() {
        let mut state = RetryState::new(Some(policy(3)));
        let first = fail(&mut state, code::UNAVAILABLE).expect("second attempt");
        let second = fail(&mut state, code::UNAVAILABLE).expect("third attempt");
        assert!(first < second);
        assert_eq!(state.previous_attempts(), 2);
        assert_eq!(
            fail(&mut state, code::UNAVAILABLE),
            Err(RetryStop::Attempts)
        );

        let mut state = RetryState::new(Some(policy(3)));
        assert_eq!(
            fail(&mut state, code::INTERNAL),
            Err(RetryStop::NotRetryable)
        );
    }

    #[test]
    fn no_policy_no_retry_and_five_attempts_at_most() {
        let mut none = RetryState::new(None);
        assert_eq!(fail(&mut none, code::UNAVAILABLE), Err(RetryStop::NoPolicy));
        let mut state = RetryState::new(Some(policy(50)));
        let retries = (0..50)
            .take_while(|_| fail(&mut state, code::UNAVAILABLE).is_ok())
            .count();
        assert_eq!(retries, 4);
    }

    #[test]
    fn a_body_that_cannot_be_sent_again_ends_it() {
        let mut state = RetryState::new(Some(policy(3)));
        let (status, pushback) = (code::UNAVAILABLE, Pushback::Absent);
        let wait = state.after_failure(status, pushback, false, &mut budget(), &mut rng());
        assert_eq!(wait, Err(RetryStop::NotReplayable));
    }

    #[test]
    fn pushback_is_obeyed_exactly() {
        let mut state = RetryState::new(Some(policy(4)));
        let ask = |state: &mut RetryState, value| {
            let pushback = Pushback::parse(Some(value));
            state.after_failure(code::UNAVAILABLE, pushback, true, &mut budget(), &mut rng())
        };
        assert_eq!(ask(&mut state, "1234"), Ok(Duration::from_millis(1234)));
        assert_eq!(ask(&mut state, "0"), Ok(Duration::ZERO));
        assert_eq!(ask(&mut state, "-1"), Err(RetryStop::Pushback));
        let mut state = RetryState::new(Some(policy(4)));
        assert_eq!(ask(&mut state, "soon"), Err(RetryStop::Pushback));
    }

    #[test]
    fn the_budget_stops_retries_at_half_and_successes_refill_it() {
        let throttling = RetryThrottling {
            max_tokens: 10,
            token_ratio_permille: 500,
        };
        let mut budget = RetryBudget::new(throttling);
        let mut attempts = 0;
        for _ in 0..100 {
            let mut state = RetryState::new(Some(policy(2)));
            attempts += 1;
            let wait = state.after_failure(
                code::UNAVAILABLE,
                Pushback::Absent,
                true,
                &mut budget,
                &mut rng(),
            );
            if wait.is_ok() {
                attempts += 1;
                budget.failed();
            }
        }
        assert!(
            attempts <= 105,
            "a storm of retries: {attempts} attempts for 100 calls"
        );
        assert!(!budget.allows());
        for _ in 0..11 {
            budget.succeeded();
        }
        assert!(budget.allows());
    }
}
