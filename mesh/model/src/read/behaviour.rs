//! How calls behave: gRPC service config.

use std::time::Duration;

use crate::{
    dataplane::{HedgingPolicy, RetryPolicy, RetryThrottling},
    decode::Decoder,
    mesh::{MethodConfig, MethodName},
    problem::{Problem, nearest},
    span::Spanned,
    tree::{Node, Value},
};

/// The status codes a retry policy can name, as gRPC numbers them from 1. `OK` is none of them.
const CODES: [&str; 16] = [
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub(super) fn method_configs(decoder: &mut Decoder, node: Option<&Node>) -> Vec<MethodConfig> {
    let Some(node) = node else {
        return Vec::new();
    };
    let mut configs: Vec<MethodConfig> = Vec::new();
    for node in decoder.list(node, "`methodConfig`") {
        let config = method_config(decoder, node);
        for name in &config.names {
            let earlier = configs.iter().flat_map(|config| &config.names);
            if let Some(earlier) = earlier.into_iter().find(|other| same(other, name)) {
                let line = earlier.span.line;
                let message = format!("line {line} says how these calls behave already");
                let problem = Problem::new("duplicate-name", name.span, message);
                decoder.report(problem.hint("a name may stand in one entry only"));
            }
        }
        configs.push(config);
    }
    configs
}

fn same(a: &MethodName, b: &MethodName) -> bool {
    fn text(part: &Option<Spanned<String>>) -> Option<&str> {
        part.as_ref().map(|part| part.as_str())
    }
    text(&a.service) == text(&b.service) && text(&a.method) == text(&b.method)
}

fn method_config(decoder: &mut Decoder, node: &Node) -> MethodConfig {
    let mut fields = decoder.fields(node, "the method config");
    let names = fields.require(decoder, "name").map(|list| {
        let items = decoder.list(list, "`name`");
        if items.is_empty() {
            let problem = Problem::new("wrong-value", list.span, "`name` names no method");
            decoder.report(problem.hint("`[{}]` stands for every method"));
        }
        items
            .iter()
            .map(|node| method_name(decoder, node))
            .collect()
    });
    let timeout = fields
        .take("timeout")
        .and_then(|node| decoder.duration(node, "`timeout`"));
    let retry_policy = fields.take("retryPolicy").and_then(|node| {
        let policy = retry_policy(decoder, node)?;
        Some(Spanned::new(policy, node.span))
    });
    let hedging_policy = fields.take("hedgingPolicy").and_then(|node| {
        let policy = hedging_policy(decoder, node)?;
        Some(Spanned::new(policy, node.span))
    });
    if let (Some(_), Some(policy)) = (&retry_policy, &hedging_policy) {
        let message = "a method has a retry policy or a hedging policy, never both";
        decoder.report(Problem::new("two-policies", policy.span, message));
    }
    fields.finish(decoder);
    let config = MethodConfig {
        names: names.unwrap_or_default(),
        timeout,
        retry_policy,
        hedging_policy,
    };
    fits_in_timeout(decoder, &config);
    config
}

/// A wait of a policy that is as long as the timeout is a mistake.
fn fits_in_timeout(decoder: &mut Decoder, config: &MethodConfig) {
    let Some(timeout) = &config.timeout else {
        return;
    };
    let mut refuse = |span, message: &str| {
        decoder.report(
            Problem::new("useless-retry", span, message)
                .hint("the timeout spans all attempts and the waits between them"),
        );
    };
    if let Some(policy) = &config.retry_policy {
        if policy.initial_backoff >= timeout.value {
            refuse(
                policy.span,
                "`initialBackoff` is not shorter than `timeout`: no second attempt can begin",
            );
        }
        if policy.per_attempt_timeout >= Some(timeout.value) {
            refuse(
                policy.span,
                "`perAttemptRecvTimeout` is not shorter than `timeout`: it never ends an attempt",
            );
        }
    }
    if let Some(policy) = &config.hedging_policy
        && policy.hedging_delay >= timeout.value
    {
        refuse(
            policy.span,
            "`hedgingDelay` is not shorter than `timeout`: no second attempt can begin",
        );
    }
}

fn method_name(decoder: &mut Decoder, node: &Node) -> MethodName {
    let mut fields = decoder.fields(node, "the method name");
    let service = fields
        .take("service")
        .and_then(|node| decoder.text(node, "`service`"));
    let method = fields
        .take("method")
        .and_then(|node| decoder.text(node, "`method`"));
    fields.finish(decoder);
    if let (None, Some(method)) = (&service, &method) {
        let message = format!("method `{}` without its `service`", method.value);
        decoder.report(Problem::new("missing-key", method.span, message));
    }
    let span = service.as_ref().map_or(node.span, |service| service.span);
    MethodName {
        service,
        method,
        span,
    }
}

fn retry_policy(decoder: &mut Decoder, node: &Node) -> Option<RetryPolicy> {
    let mut fields = decoder.fields(node, "`retryPolicy`");
    let max_attempts = fields
        .require(decoder, "maxAttempts")
        .and_then(|node| decoder.integer(node, "`maxAttempts`", 2..=5));
    let initial_backoff = fields
        .require(decoder, "initialBackoff")
        .and_then(|node| decoder.duration(node, "`initialBackoff`"));
    let max_backoff = fields
        .require(decoder, "maxBackoff")
        .and_then(|node| decoder.duration(node, "`maxBackoff`"));
    let multiplier = fields
        .require(decoder, "backoffMultiplier")
        .and_then(|node| decoder.permille(node, "`backoffMultiplier`", 100));
    let codes = fields
        .require(decoder, "retryableStatusCodes")
        .and_then(|node| some_codes(decoder, node));
    let per_attempt_timeout = fields
        .take("perAttemptRecvTimeout")
        .and_then(|node| decoder.duration(node, "`perAttemptRecvTimeout`"));
    fields.finish(decoder);
    if let (Some(initial), Some(max)) = (&initial_backoff, &max_backoff)
        && initial.value > max.value
    {
        let message = "`initialBackoff` is longer than `maxBackoff`";
        decoder.report(Problem::new("out-of-range", initial.span, message));
    }
    Some(RetryPolicy {
        max_attempts: u32::try_from(max_attempts?.value).ok()?,
        initial_backoff: initial_backoff?.value,
        max_backoff: max_backoff?.value,
        backoff_multiplier_permille: multiplier?,
        retryable_status_codes: codes?,
        per_attempt_timeout: per_attempt_timeout.map(|timeout| timeout.value),
    })
}

fn hedging_policy(decoder: &mut Decoder, node: &Node) -> Option<HedgingPolicy> {
    let mut fields = decoder.fields(node, "`hedgingPolicy`");
    let max_attempts = fields
        .require(decoder, "maxAttempts")
        .and_then(|node| decoder.count(node, "`maxAttempts`", 2..=5));
    let hedging_delay = match fields.take("hedgingDelay") {
        Some(node) => decoder.duration_or_zero(node, "`hedgingDelay`"),
        None => Some(Spanned::new(Duration::ZERO, node.span)),
    };
    let codes = fields
        .take("nonFatalStatusCodes")
        .map(|node| codes(decoder, node, "`nonFatalStatusCodes`"));
    fields.finish(decoder);
    Some(HedgingPolicy {
        max_attempts: max_attempts?,
        hedging_delay: hedging_delay?.value,
        non_fatal_status_codes: codes.unwrap_or_default(),
    })
}

fn some_codes(decoder: &mut Decoder, node: &Node) -> Option<Vec<i32>> {
    let codes = codes(decoder, node, "`retryableStatusCodes`");
    if matches!(&node.value, Value::List(items) if !items.is_empty()) {
        return Some(codes);
    }
    let message = "`retryableStatusCodes` names no status code";
    decoder.report(Problem::new("wrong-value", node.span, message));
    None
}

/// Status codes by name, in the order of their numbers.
fn codes(decoder: &mut Decoder, node: &Node, what: &str) -> Vec<i32> {
    let nodes = decoder.list(node, what);
    let mut codes: Vec<_> = nodes
        .iter()
        .filter_map(|node| code(decoder, node, what))
        .collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// A status code that is no success, by name.
pub(super) fn code(decoder: &mut Decoder, node: &Node, what: &str) -> Option<i32> {
    let name = decoder.text(node, what)?;
    let found = (1..).zip(CODES).find(|(_, code)| *code == name.value);
    if found.is_none() {
        let message = format!("`{}` is not a gRPC error code", name.value);
        let problem = Problem::new("wrong-value", name.span, message);
        decoder.report(match nearest(&name, CODES) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("such as `UNAVAILABLE`"),
        });
    }
    found.map(|(number, _)| number)
}

pub(super) fn retry_throttling(decoder: &mut Decoder, node: &Node) -> Option<RetryThrottling> {
    let mut fields = decoder.fields(node, "`retryThrottling`");
    let max_tokens = fields
        .require(decoder, "maxTokens")
        .and_then(|node| decoder.integer(node, "`maxTokens`", 1..=1000));
    let token_ratio = fields
        .require(decoder, "tokenRatio")
        .and_then(|node| decoder.permille(node, "`tokenRatio`", 1000));
    fields.finish(decoder);
    Some(RetryThrottling {
        max_tokens: u32::try_from(max_tokens?.value).ok()?,
        token_ratio_permille: token_ratio?,
    })
}
