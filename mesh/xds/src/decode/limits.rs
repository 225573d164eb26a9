//! How much a workload takes.

use std::time::Duration;

use prost_types::{Any, Struct, value::Kind};
use weft_model::dataplane::{
    AdaptiveConcurrency, Criticality, Inbound, RateLimit, RateLimitKey, TokenBucket,
};

use super::{Invalid, facts::Facts, named, positive, required, runtime_share, unpack, unsupported};
use crate::{
    encode::{CRITICALITY, RATE_LIMITS},
    proto::envoy::{
        config::core::v3::Metadata,
        extensions::filters::http::{
            adaptive_concurrency::v3::{
                self as wire, adaptive_concurrency::ConcurrencyControllerConfig,
            },
            local_ratelimit::v3::LocalRateLimit,
        },
        r#type::v3 as types,
    },
};

pub(super) const RATE_LIMIT: &str =
    "/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
pub(super) const ADAPTIVE_CONCURRENCY: &str =
    "/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency";
/// Envoy's defaults.
const MAX_CONCURRENCY: u32 = 1000;
const MIN_CONCURRENCY: u32 = 3;

/// Adds what a filter of one of the two types limits.
pub(super) fn add_limit(config: &Any, rules: &mut Inbound) -> Result<(), Invalid> {
    if config.type_url.ends_with(RATE_LIMIT) {
        rules.rate_limits.push(local_rate_limit(config)?);
        return Ok(());
    }
    unsupported("", rules.adaptive_concurrency.is_some())?;
    rules.adaptive_concurrency = Some(adaptive_concurrency(config)?);
    Ok(())
}

fn local_rate_limit(config: &Any) -> Result<RateLimit, Invalid> {
    let found: LocalRateLimit = unpack(config)?;
    unsupported("descriptors", !found.descriptors.is_empty())?;
    unsupported("rate_limits", !found.rate_limits.is_empty())?;
    unsupported(
        "local_rate_limit_per_downstream_connection",
        found.local_rate_limit_per_downstream_connection,
    )?;
    unsupported(
        "local_cluster_rate_limit",
        found.local_cluster_rate_limit.is_some(),
    )?;
    for (path, enabled) in [
        ("filter_enabled", &found.filter_enabled),
        ("filter_enforced", &found.filter_enforced),
    ] {
        // Unset means never.
        if runtime_share(path, required(path, enabled.as_ref())?)? != 100_000 {
            return Err(Invalid::new(path, "only 100 % is supported"));
        }
    }
    let bucket = required("token_bucket", found.token_bucket.as_ref())?;
    Ok(RateLimit {
        name: named("stat_prefix", found.stat_prefix)?,
        principals: Vec::new(),
        paths: Vec::new(),
        key: RateLimitKey::All,
        token_bucket: token_bucket(bucket).map_err(|e| e.within("token_bucket"))?,
    })
}

fn token_bucket(found: &types::TokenBucket) -> Result<TokenBucket, Invalid> {
    let interval = required("fill_interval", found.fill_interval.as_ref())?;
    let bucket = TokenBucket {
        max_tokens: found.max_tokens,
        tokens_per_fill: found.tokens_per_fill.unwrap_or(1),
        fill_interval: positive("fill_interval", Some(interval), Duration::ZERO)?,
    };
    if bucket.max_tokens == 0 || bucket.tokens_per_fill == 0 {
        return Err(Invalid::new(
            "max_tokens",
            "without tokens nothing would pass",
        ));
    }
    Ok(bucket)
}

fn adaptive_concurrency(config: &Any) -> Result<AdaptiveConcurrency, Invalid> {
    let found: wire::AdaptiveConcurrency = unpack(config)?;
    let switched = found.enabled.as_ref().and_then(|flag| flag.default_value);
    unsupported("enabled", switched == Some(false))?;
    let Some(ConcurrencyControllerConfig::GradientControllerConfig(controller)) =
        found.concurrency_controller_config
    else {
        return Err(Invalid::new("gradient_controller_config", "required"));
    };
    let path = "gradient_controller_config.concurrency_limit_params";
    let limits = required(path, controller.concurrency_limit_params)?;
    let read = AdaptiveConcurrency {
        min_concurrency: limits.min_concurrency_limit.unwrap_or(MIN_CONCURRENCY),
        max_concurrency: limits.max_concurrency_limit.unwrap_or(MAX_CONCURRENCY),
    };
    if read.min_concurrency == 0 || read.min_concurrency > read.max_concurrency {
        let reason = "limits must be above 0, the smallest not above the largest";
        return Err(Invalid::new(path, reason));
    }
    Ok(read)
}

/// Adds what is in no filter. The list of limits names those that are in one, for their order.
pub(super) fn add_facts(metadata: Option<&Metadata>, rules: &mut Inbound) -> Result<(), Invalid> {
    let facts = Facts::of(metadata);
    if let Some(text) = facts.text(CRITICALITY)? {
        rules.default_criticality = Criticality::parse(text).ok_or_else(|| {
            let reason = format!("`{}` is no criticality", text.escape_default());
            Invalid::new("metadata", reason)
        })?;
    }
    let Some(list) = facts.list(RATE_LIMITS)? else {
        return Ok(());
    };
    let mut in_filters = std::mem::take(&mut rules.rate_limits).into_iter();
    for (at, entry) in list.iter().enumerate() {
        let within = |e: Invalid| e.within(format!("metadata.{RATE_LIMITS}[{at}]"));
        let limit = match &entry.kind {
            Some(Kind::StringValue(name)) => in_filters
                .next()
                .filter(|limit| limit.name == *name)
                .ok_or_else(|| within(Invalid::new("", "names no filter in its place")))?,
            Some(Kind::StructValue(found)) => rate_limit(found).map_err(within)?,
            _ => return Err(within(Invalid::new("", "neither a name nor a limit"))),
        };
        rules.rate_limits.push(limit);
    }
    rules.rate_limits.extend(in_filters);
    Ok(())
}

fn rate_limit(found: &Struct) -> Result<RateLimit, Invalid> {
    let facts = Facts::within(found);
    let key = match (facts.text("key")?, facts.text("header")?) {
        (None, None) => RateLimitKey::All,
        (Some("caller"), None) => RateLimitKey::Caller,
        (Some("method"), None) => RateLimitKey::Method,
        (None, Some(name)) => RateLimitKey::Header(name.to_owned()),
        _ => return Err(Invalid::new("key", "neither `caller` nor `method`")),
    };
    let name = required("name", facts.text("name")?)?;
    let interval = required("fillInterval", facts.text("fillInterval")?)?;
    let seconds = interval
        .strip_suffix('s')
        .and_then(|text| text.parse().ok());
    let fill_interval = seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| Invalid::new("fillInterval", "not a positive duration"))?;
    let count = |name: &'static str| {
        let count = facts.number(name)?.filter(|count| *count > 0);
        count.ok_or_else(|| Invalid::new(name, "must be above 0"))
    };
    Ok(RateLimit {
        name: name.to_owned(),
        principals: facts.texts("principals")?,
        paths: facts.texts("paths")?,
        key,
        token_bucket: TokenBucket {
            max_tokens: count("maxTokens")?,
            tokens_per_fill: count("tokensPerFill")?,
            fill_interval,
        },
    })
}
