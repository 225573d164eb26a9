//! gRFC A6's retry and hedging policies in the words of Envoy's.

use prost_types::Value;
use weft_model::dataplane::{HedgingPolicy, RetryPolicy};

use crate::proto::envoy::{
    config::route::v3::{
        self as route_v3, HeaderMatcher, header_matcher::HeaderMatchSpecifier,
        retry_policy::RetryBackOff,
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};

/// Envoy has a condition for these status codes only; the others go by the header `grpc-status`.
pub(crate) const CONDITIONS: [(&str, i32); 5] = [
    ("cancelled", 1),
    ("deadline-exceeded", 4),
    ("resource-exhausted", 8),
    ("internal", 13),
    ("unavailable", 14),
];
pub(crate) const BY_HEADER: &str = "retriable-headers";
pub(crate) const STATUS_HEADER: &str = "grpc-status";
/// Envoy's backoff always doubles; any other growth is in the route's metadata.
pub(crate) const DOUBLING: u32 = 2000;
pub(crate) const MULTIPLIER: &str = "backoffMultiplierPermille";

pub(super) fn policy(policy: &RetryPolicy) -> route_v3::RetryPolicy {
    route_v3::RetryPolicy {
        num_retries: Some(policy.max_attempts.saturating_sub(1)),
        per_try_timeout: policy.per_attempt_timeout.map(super::duration),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(super::duration(policy.initial_backoff)),
            max_interval: Some(super::duration(policy.max_backoff)),
        }),
        ..on(&policy.retryable_status_codes)
    }
}

/// What a hedge policy stands beside: how many attempts, how far apart, and what does not end them.
pub(super) fn hedged(policy: &HedgingPolicy) -> route_v3::RetryPolicy {
    let delay = policy.hedging_delay;
    route_v3::RetryPolicy {
        num_retries: Some(policy.max_attempts.saturating_sub(1)),
        per_try_timeout: (!delay.is_zero()).then(|| super::duration(delay)),
        ..on(&policy.non_fatal_status_codes)
    }
}

fn on(codes: &[i32]) -> route_v3::RetryPolicy {
    let condition = |code: &i32| CONDITIONS.iter().find(|(_, known)| known == code);
    let mut retry_on: Vec<&str> = codes
        .iter()
        .filter_map(condition)
        .map(|(name, _)| *name)
        .collect();
    let retriable_headers: Vec<_> = codes
        .iter()
        .filter(|code| condition(code).is_none())
        .map(|code| status_is(*code))
        .collect();
    if !retriable_headers.is_empty() {
        retry_on.push(BY_HEADER);
    }
    route_v3::RetryPolicy {
        retry_on: retry_on.join(","),
        retriable_headers,
        ..Default::default()
    }
}

pub(super) fn multiplier(policy: &RetryPolicy) -> Option<(&'static str, Value)> {
    let multiplier = policy.backoff_multiplier_permille;
    (multiplier != DOUBLING).then(|| (MULTIPLIER, super::facts::number(multiplier)))
}

fn status_is(code: i32) -> HeaderMatcher {
    HeaderMatcher {
        name: STATUS_HEADER.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(code.to_string())),
            ..Default::default()
        })),
        ..Default::default()
    }
}
