//! How much a service takes: rate limits, adaptive concurrency, criticality.

use std::time::Duration;

use super::{
    authz::{PATHS, PRINCIPALS, patterns},
    header_name,
};
use crate::{
    dataplane::{AdaptiveConcurrency, Criticality, RateLimitKey, TokenBucket},
    decode::Decoder,
    mesh::RateLimitRule,
    problem::Problem,
    tree::{Node, Value},
};

const MOST_TOKENS: u32 = 1_000_000_000;
const MOST_CALLS: u32 = 1_000_000;
/// Envoy's shortest.
const SHORTEST_FILL: Duration = Duration::from_millis(50);

pub(super) fn criticality(decoder: &mut Decoder, node: &Node) -> Option<Criticality> {
    let grades = Criticality::ALL.map(|grade| (grade.as_str(), grade));
    decoder.choice(node, "`criticality`", &grades)
}

pub(super) fn adaptive_concurrency(decoder: &mut Decoder, node: &Node) -> AdaptiveConcurrency {
    let default = AdaptiveConcurrency::default();
    let mut fields = decoder.fields(node, "`adaptiveConcurrency`");
    let min = fields.count(
        decoder,
        "minConcurrency",
        1..=MOST_CALLS,
        default.min_concurrency,
    );
    let longest = default.max_concurrency.max(min);
    let max = fields.count(decoder, "maxConcurrency", 1..=MOST_CALLS, longest);
    if min > max {
        let message = format!("`minConcurrency` {min} is more than `maxConcurrency` {max}");
        decoder.report(Problem::new("out-of-range", fields.span, message));
    }
    fields.finish(decoder);
    AdaptiveConcurrency {
        min_concurrency: min,
        max_concurrency: max,
    }
}

pub(super) fn rate_limits(decoder: &mut Decoder, node: Option<&Node>) -> Vec<RateLimitRule> {
    let Some(node) = node else {
        return Vec::new();
    };
    let mut limits: Vec<RateLimitRule> = Vec::new();
    for node in decoder.list(node, "`rateLimits`") {
        let Some(limit) = rate_limit(decoder, node) else {
            continue;
        };
        if limits.iter().any(|other| *other.name == *limit.name) {
            let message = format!("two rate limits are called `{}`", limit.name.value);
            let problem = Problem::new("duplicate-name", limit.name.span, message);
            decoder.report(problem.hint("logs and errors name the limit that refused"));
        }
        limits.push(limit);
    }
    limits
}

fn rate_limit(decoder: &mut Decoder, node: &Node) -> Option<RateLimitRule> {
    let mut fields = decoder.fields(node, "the rate limit");
    let name = fields
        .require(decoder, "name")
        .and_then(|node| decoder.text(node, "`name`"));
    let principals = fields
        .take("principals")
        .map(|list| patterns(decoder, list, &PRINCIPALS));
    let paths = fields
        .take("paths")
        .map(|list| patterns(decoder, list, &PATHS));
    let key = match fields.take("key") {
        Some(node) => key(decoder, node),
        None => Some(RateLimitKey::All),
    };
    let token_bucket = fields
        .require(decoder, "tokenBucket")
        .and_then(|node| token_bucket(decoder, node));
    fields.finish(decoder);
    Some(RateLimitRule {
        name: name?,
        principals: principals.unwrap_or_default(),
        paths: paths.unwrap_or_default(),
        key: key?,
        token_bucket: token_bucket?,
    })
}

/// `caller`, `method` or `{ header: x-tenant }`.
fn key(decoder: &mut Decoder, node: &Node) -> Option<RateLimitKey> {
    if let Value::Map(_) = node.value {
        let mut fields = decoder.fields(node, "`key`");
        let name = fields
            .require(decoder, "header")
            .and_then(|node| header_name(decoder, node, "`header`"));
        fields.finish(decoder);
        return Some(RateLimitKey::Header(name?.value));
    }
    let is_caller = decoder.choice(node, "`key`", &[("caller", true), ("method", false)])?;
    Some(match is_caller {
        true => RateLimitKey::Caller,
        false => RateLimitKey::Method,
    })
}

fn token_bucket(decoder: &mut Decoder, node: &Node) -> Option<TokenBucket> {
    let mut fields = decoder.fields(node, "`tokenBucket`");
    let max_tokens = fields
        .require(decoder, "maxTokens")
        .and_then(|node| decoder.count(node, "`maxTokens`", 1..=MOST_TOKENS));
    let tokens_per_fill = fields.count(decoder, "tokensPerFill", 1..=MOST_TOKENS, 1);
    let fill_interval = fields
        .require(decoder, "fillInterval")
        .and_then(|node| decoder.duration(node, "`fillInterval`"));
    fields.finish(decoder);
    let fill_interval = fill_interval?;
    if fill_interval.value < SHORTEST_FILL {
        let message = "`fillInterval` must be at least 0.05s";
        let problem = Problem::new("out-of-range", fill_interval.span, message);
        decoder.report(problem.hint("more tokens per fill give the same rate"));
        return None;
    }
    Some(TokenBucket {
        max_tokens: max_tokens?,
        tokens_per_fill,
        fill_interval: fill_interval.value,
    })
}
