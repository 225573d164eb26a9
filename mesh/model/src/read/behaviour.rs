//! How calls behave: gRPC service config and outlier detection.

use crate::{
    dataplane::{OutlierDetection, RetryPolicy, RetryThrottling},
    decode::Decoder,
    mesh::{MethodConfig, MethodName},
    problem::{Problem, nearest},
    span::Spanned,
    tree::Node,
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
    if let (Some(timeout), Some(policy)) = (&timeout, &retry_policy)
        && policy.initial_backoff >= timeout.value
    {
        let message = "`initialBackoff` is not shorter than `timeout`: no second attempt can begin";
        decoder.report(
            Problem::new("useless-retry", policy.span, message)
                .hint("the timeout spans all attempts and the waits between them"),
        );
    }
    fields.finish(decoder);
    MethodConfig {
        names: names.unwrap_or_default(),
        timeout,
        retry_policy,
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
        .and_then(|node| codes(decoder, node));
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
        per_attempt_timeout: None,
    })
}

fn codes(decoder: &mut Decoder, node: &Node) -> Option<Vec<i32>> {
    let names = decoder.texts(node, "`retryableStatusCodes`");
    if names.is_empty() {
        let message = "`retryableStatusCodes` names no status code";
        decoder.report(Problem::new("wrong-value", node.span, message));
        return None;
    }
    let mut codes = Vec::new();
    for name in names {
        match (1..).zip(CODES).find(|(_, code)| *code == name.value) {
            Some((number, _)) => codes.push(number),
            None => {
                let message = format!("`{}` is not a gRPC error code", name.value);
                let problem = Problem::new("wrong-value", name.span, message);
                decoder.report(match nearest(&name, CODES) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint("such as `UNAVAILABLE`"),
                });
            }
        }
    }
    Some(codes)
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

pub(super) fn outlier_detection(decoder: &mut Decoder, node: &Node) -> Option<OutlierDetection> {
    let mut fields = decoder.fields(node, "`outlierDetection`");
    let consecutive = fields
        .require(decoder, "consecutiveGatewayFailure")
        .and_then(|node| decoder.integer(node, "`consecutiveGatewayFailure`", 1..=1000));
    let base = fields
        .require(decoder, "baseEjectionTime")
        .and_then(|node| decoder.duration(node, "`baseEjectionTime`"));
    let percent = fields
        .require(decoder, "maxEjectionPercent")
        .and_then(|node| decoder.integer(node, "`maxEjectionPercent`", 0..=100));
    fields.finish(decoder);
    Some(OutlierDetection {
        consecutive_errors: Some(u32::try_from(consecutive?.value).ok()?),
        base_ejection_time: base?.value,
        max_ejection_percent: u32::try_from(percent?.value).ok()?,
        ..OutlierDetection::default()
    })
}
