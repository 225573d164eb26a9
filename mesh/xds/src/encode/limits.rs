//! How much a workload takes: filters that Envoy has, and facts of our own.
//!
//! Envoy's local rate limit has one bucket for all requests. A limit for some callers or methods, or
//! with a bucket for each, is among our facts; these name the others too, so that all keep their order.

use prost_types::Value;
use weft_model::dataplane::{AdaptiveConcurrency, Criticality, Inbound, RateLimit, RateLimitKey};

use super::{duration, facts, filter, runtime_fraction};
use crate::{
    proto::envoy::{
        config::core::v3::Metadata,
        extensions::filters::{
            http::{
                adaptive_concurrency::v3::{
                    self as wire, GradientControllerConfig,
                    adaptive_concurrency::ConcurrencyControllerConfig,
                    gradient_controller_config::{
                        ConcurrencyLimitCalculationParams, MinimumRttCalculationParams,
                    },
                },
                local_ratelimit::v3::LocalRateLimit,
            },
            network::http_connection_manager::v3::HttpFilter,
        },
        r#type::v3::TokenBucket,
    },
    resources::any,
};

pub(crate) const CRITICALITY: &str = "criticality";
pub(crate) const RATE_LIMITS: &str = "rateLimits";
const RATE_LIMIT: &str = "envoy.filters.http.local_ratelimit";
const ADAPTIVE_CONCURRENCY: &str = "envoy.filters.http.adaptive_concurrency";
const ALL: u32 = 100_000;

/// gRPC's servers have none of these filters: they may leave them out.
pub(super) fn filters(inbound: &Inbound) -> Vec<HttpFilter> {
    let limits = inbound.rate_limits.iter().filter(|limit| is_for_all(limit));
    let limits = limits.map(|limit| filter(RATE_LIMIT, any(&local_rate_limit(limit))));
    let adaptive = inbound.adaptive_concurrency.iter();
    let adaptive =
        adaptive.map(|limit| filter(ADAPTIVE_CONCURRENCY, any(&adaptive_concurrency(limit))));
    limits
        .chain(adaptive)
        .map(|filter| HttpFilter {
            is_optional: true,
            ..filter
        })
        .collect()
}

pub(super) fn metadata(inbound: &Inbound) -> Option<Metadata> {
    let mut found = Vec::new();
    if inbound.default_criticality != Criticality::default() {
        let grade = inbound.default_criticality.as_str();
        found.push((CRITICALITY, facts::text(grade)));
    }
    if !inbound.rate_limits.iter().all(is_for_all) {
        let limits = inbound
            .rate_limits
            .iter()
            .map(|limit| match is_for_all(limit) {
                true => facts::text(&limit.name),
                false => rate_limit(limit),
            });
        found.push((RATE_LIMITS, facts::list(limits)));
    }
    facts::metadata(found)
}

fn is_for_all(limit: &RateLimit) -> bool {
    limit.principals.is_empty() && limit.paths.is_empty() && limit.key == RateLimitKey::All
}

fn local_rate_limit(limit: &RateLimit) -> LocalRateLimit {
    let bucket = &limit.token_bucket;
    LocalRateLimit {
        stat_prefix: limit.name.clone(),
        token_bucket: Some(TokenBucket {
            max_tokens: bucket.max_tokens,
            tokens_per_fill: Some(bucket.tokens_per_fill),
            fill_interval: Some(duration(bucket.fill_interval)),
        }),
        filter_enabled: Some(runtime_fraction(ALL)),
        filter_enforced: Some(runtime_fraction(ALL)),
        rate_limited_as_resource_exhausted: true,
        ..Default::default()
    }
}

fn rate_limit(limit: &RateLimit) -> Value {
    let texts = |items: &[String]| facts::list(items.iter().map(|text| facts::text(text)));
    let bucket = &limit.token_bucket;
    let key = match &limit.key {
        RateLimitKey::All => None,
        RateLimitKey::Caller => Some(("key", facts::text("caller"))),
        RateLimitKey::Method => Some(("key", facts::text("method"))),
        RateLimitKey::Header(name) => Some(("header", facts::text(name))),
    };
    let fill = format!("{}s", bucket.fill_interval.as_secs_f64());
    let fields = [
        ("name", facts::text(&limit.name)),
        ("principals", texts(&limit.principals)),
        ("paths", texts(&limit.paths)),
        ("maxTokens", facts::number(bucket.max_tokens)),
        ("tokensPerFill", facts::number(bucket.tokens_per_fill)),
        ("fillInterval", facts::text(&fill)),
    ];
    facts::object(facts::structure(fields.into_iter().chain(key)))
}

fn adaptive_concurrency(limit: &AdaptiveConcurrency) -> wire::AdaptiveConcurrency {
    // What Envoy demands besides: how often it looks, and how it measures the latency of an idle server.
    let seconds = std::time::Duration::from_secs;
    let controller = GradientControllerConfig {
        sample_aggregate_percentile: None,
        concurrency_limit_params: Some(ConcurrencyLimitCalculationParams {
            max_concurrency_limit: Some(limit.max_concurrency),
            concurrency_update_interval: Some(duration(seconds(1) / 10)),
            min_concurrency_limit: Some(limit.min_concurrency),
        }),
        min_rtt_calc_params: Some(MinimumRttCalculationParams {
            interval: Some(duration(seconds(60))),
            ..Default::default()
        }),
    };
    wire::AdaptiveConcurrency {
        concurrency_controller_config: Some(ConcurrencyControllerConfig::GradientControllerConfig(
            controller,
        )),
        ..Default::default()
    }
}
