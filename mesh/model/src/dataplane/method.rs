//! How calls of a method behave: gRPC service config.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::MethodMatch;

/// How calls of some methods behave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MethodRule {
    /// Which methods.
    pub matches: MethodMatch,
    /// The longest a call may take. The caller's `grpc-timeout` may only shorten it.
    /// `None` for streams that live as long as their caller wants.
    pub timeout: Option<Duration>,
    /// Present only where the contract declares every matched method safe to repeat.
    pub retry_policy: Option<RetryPolicy>,
    /// As [`Self::retry_policy`], and never together with it.
    pub hedging_policy: Option<HedgingPolicy>,
    /// The contract marks every matched method `NO_SIDE_EFFECTS`: only then it is mirrored.
    pub has_no_side_effects: bool,
}

/// gRFC A6's `retryPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// The first attempt included, 2 to 5.
    pub max_attempts: u32,
    /// Before the second attempt, jittered.
    pub initial_backoff: Duration,
    /// The longest wait between attempts.
    pub max_backoff: Duration,
    /// How the wait grows, in thousandths: 2000 doubles it.
    pub backoff_multiplier_permille: u32,
    /// Status codes that are retried, as gRPC numbers them.
    pub retryable_status_codes: Vec<i32>,
    /// How long one attempt may take until its response headers; then it counts as `UNAVAILABLE`
    /// and the next begins. gRFC A6's `perAttemptRecvTimeout`.
    pub per_attempt_timeout: Option<Duration>,
}

/// gRFC A6's `hedgingPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HedgingPolicy {
    /// The first attempt included, 2 to 5.
    pub max_attempts: u32,
    /// Between the start of one attempt and the next, as long as no answer has come. Zero sends all at
    /// once.
    pub hedging_delay: Duration,
    /// An answer with one of these does not end the call while others are under way; the next attempt
    /// begins at once. Every other answer is final.
    pub non_fatal_status_codes: Vec<i32>,
}

/// gRFC A6's `retryThrottling`: a bucket of tokens; a failure takes one, a success gives `token_ratio`
/// back; retries and hedges stop while half or fewer of the tokens are left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryThrottling {
    /// 1 to 1000.
    pub max_tokens: u32,
    /// In thousandths of a token.
    pub token_ratio_permille: u32,
}
