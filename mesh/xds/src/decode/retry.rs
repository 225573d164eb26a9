//! Retry and hedge policies as gRFC A6 has them.

use std::time::Duration;

use weft_model::dataplane::{HedgingPolicy, RetryPolicy};

use super::{Invalid, duration, facts::Facts, matcher, positive, required, unsupported};
use crate::{
    encode::retry::{BY_HEADER, CONDITIONS, DOUBLING, MULTIPLIER, STATUS_HEADER},
    proto::envoy::config::route::v3::{
        self as wire, HeaderMatcher, header_matcher::HeaderMatchSpecifier,
    },
};

/// Envoy retries once unless told otherwise.
const DEFAULT_RETRIES: u32 = 1;
const MOST_ATTEMPTS: u32 = 5;

pub(super) fn retry_policy(
    policy: &wire::RetryPolicy,
    facts: Facts<'_>,
) -> Result<RetryPolicy, Invalid> {
    let back_off = required("retry_back_off", policy.retry_back_off.as_ref())?;
    let path = "retry_back_off.base_interval";
    let initial = required(path, back_off.base_interval.as_ref())?;
    let initial_backoff = positive(path, Some(initial), Duration::ZERO)?;
    Ok(RetryPolicy {
        max_attempts: max_attempts(policy),
        initial_backoff,
        max_backoff: duration(
            "retry_back_off.max_interval",
            back_off.max_interval.as_ref(),
        )?
        .unwrap_or(initial_backoff * 10),
        backoff_multiplier_permille: facts.number(MULTIPLIER)?.unwrap_or(DOUBLING),
        retryable_status_codes: codes(policy)?,
        per_attempt_timeout: per_try_timeout(policy)?,
    })
}

/// What a hedge policy and the retry policy beside it mean together.
pub(super) fn hedging_policy(
    hedge: &wire::HedgePolicy,
    policy: Option<&wire::RetryPolicy>,
) -> Result<HedgingPolicy, Invalid> {
    let policy = required("retry_policy", policy)?;
    unsupported(
        "hedge_policy.additional_request_chance",
        hedge.additional_request_chance.is_some(),
    )?;
    let within = |e: Invalid| e.within("retry_policy");
    let max_attempts = max_attempts(policy);
    let delay = per_try_timeout(policy).map_err(within)?;
    let hedging_delay = match (hedge.hedge_on_per_try_timeout, delay) {
        (true, Some(delay)) => delay,
        (false, None) if hedge.initial_requests == Some(max_attempts) => Duration::ZERO,
        _ => {
            let reason = "only attempts at equal intervals, or all at once, are supported";
            return Err(Invalid::new("hedge_policy", reason));
        }
    };
    Ok(HedgingPolicy {
        max_attempts,
        hedging_delay,
        non_fatal_status_codes: codes(policy).map_err(within)?,
    })
}

/// gRFC A44: more than five attempts are cut, not refused.
fn max_attempts(policy: &wire::RetryPolicy) -> u32 {
    let retries = policy.num_retries.unwrap_or(DEFAULT_RETRIES);
    retries.saturating_add(1).min(MOST_ATTEMPTS)
}

fn per_try_timeout(policy: &wire::RetryPolicy) -> Result<Option<Duration>, Invalid> {
    let timeout = duration("per_try_timeout", policy.per_try_timeout.as_ref())?;
    Ok(timeout.filter(|timeout| !timeout.is_zero()))
}

fn codes(policy: &wire::RetryPolicy) -> Result<Vec<i32>, Invalid> {
    unsupported(
        "per_try_idle_timeout",
        policy.per_try_idle_timeout.is_some(),
    )?;
    unsupported(
        "retriable_status_codes",
        !policy.retriable_status_codes.is_empty(),
    )?;
    unsupported(
        "retriable_request_headers",
        !policy.retriable_request_headers.is_empty(),
    )?;
    let mut codes = Vec::new();
    let conditions = policy.retry_on.split(',').map(str::trim);
    for condition in conditions.filter(|condition| !condition.is_empty()) {
        match CONDITIONS.iter().find(|(name, _)| *name == condition) {
            Some((_, code)) => codes.push(*code),
            None if condition == BY_HEADER => {
                for (at, header) in policy.retriable_headers.iter().enumerate() {
                    let path = format!("retriable_headers[{at}]");
                    codes.push(status_code(header).map_err(|e| e.within(path))?);
                }
            }
            None => {
                let reason = format!("`{}` is not supported", condition.escape_default());
                return Err(Invalid::new("retry_on", reason));
            }
        }
    }
    codes.sort_unstable();
    codes.dedup();
    Ok(codes)
}

fn status_code(header: &HeaderMatcher) -> Result<i32, Invalid> {
    if header.name != STATUS_HEADER || header.invert_match {
        return Err(Invalid::new("name", "only `grpc-status` is supported"));
    }
    let Some(HeaderMatchSpecifier::StringMatch(text)) = &header.header_match_specifier else {
        return Err(Invalid::new("string_match", "required"));
    };
    let code = matcher::exact(text).map_err(|e| e.within("string_match"))?;
    code.parse()
        .ok()
        .filter(|code| (1..=16).contains(code))
        .ok_or_else(|| Invalid::new("string_match.exact", "not a gRPC status code"))
}
