//! How endpoints are chosen, probed, left out and protected: gRPC's `loadBalancingConfig`, the rest in
//! Envoy's words.

use std::time::Duration;

use crate::{
    dataplane::{
        CircuitBreakers, FailurePercentage, HealthCheck, LoadBalancing, OutlierDetection,
        RetryBudget, SuccessRate,
    },
    decode::{Decoder, Fields},
    problem::{Problem, nearest},
    tree::{Node, Value},
};

/// Envoy's.
pub(super) const DEFAULT_PANIC_THRESHOLD: u32 = 50;
/// Envoy's largest.
const LARGEST_RING: u32 = 8_388_608;
/// More calls than any endpoint sees at once, or in an interval.
const MOST: u32 = 1_000_000;
const POLICIES: [&str; 5] = [
    "least_request",
    "round_robin",
    "weighted_round_robin",
    "ring_hash",
    "pick_first",
];

pub(super) fn load_balancing(decoder: &mut Decoder, node: &Node) -> Option<LoadBalancing> {
    let [entry] = decoder.list(node, "`loadBalancingConfig`") else {
        if matches!(node.value, Value::List(_) | Value::Null) {
            let message = "`loadBalancingConfig` must name exactly one policy";
            let problem = Problem::new("wrong-value", node.span, message);
            decoder.report(problem.hint("such as `[{ least_request: {} }]`"));
        }
        return None;
    };
    let policy = decoder.fields(entry, "the balancing policy");
    if policy.is_broken() {
        return None;
    }
    let entries = policy.rest();
    let [(name, settings)] = entries.as_slice() else {
        let message = "an entry of `loadBalancingConfig` must name exactly one policy";
        let problem = Problem::new("wrong-value", entry.span, message);
        decoder.report(problem.hint(format!("one of {}", POLICIES.join(", "))));
        return None;
    };
    let mut fields = decoder.fields(settings, "the balancing policy");
    let policy = match name.as_str() {
        "least_request" => Some(LoadBalancing::LeastRequest),
        "round_robin" => Some(LoadBalancing::RoundRobin),
        "pick_first" => Some(LoadBalancing::PickFirst),
        "weighted_round_robin" => Some(weighted_round_robin(decoder, &mut fields)),
        "ring_hash" => ring_hash(decoder, &mut fields),
        other => {
            let message = format!("there is no balancing policy `{other}`");
            let problem = Problem::new("wrong-value", name.span, message);
            decoder.report(match nearest(other, POLICIES) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint(format!("one of {}", POLICIES.join(", "))),
            });
            return None;
        }
    };
    fields.finish(decoder);
    policy
}

fn weighted_round_robin(decoder: &mut Decoder, fields: &mut Fields<'_>) -> LoadBalancing {
    LoadBalancing::WeightedRoundRobin {
        blackout_period: fields
            .take("blackoutPeriod")
            .and_then(|node| decoder.duration_or_zero(node, "`blackoutPeriod`"))
            .map_or(Duration::from_secs(10), |period| period.value),
        expiration_period: fields.duration(
            decoder,
            "weightExpirationPeriod",
            Duration::from_secs(180),
        ),
        error_utilization_penalty_permille: fields
            .take("errorUtilizationPenalty")
            .and_then(|node| decoder.permille(node, "`errorUtilizationPenalty`", 100))
            .unwrap_or(1000),
    }
}

fn ring_hash(decoder: &mut Decoder, fields: &mut Fields<'_>) -> Option<LoadBalancing> {
    let header = fields
        .require(decoder, "requestHashHeader")
        .and_then(|node| super::header_name(decoder, node, "`requestHashHeader`"));
    let minimum = fields.count(decoder, "minRingSize", 1..=LARGEST_RING, 1024);
    let span = fields.span;
    let maximum = fields.count(decoder, "maxRingSize", 1..=LARGEST_RING, minimum.max(8192));
    if minimum > maximum {
        let message = format!("`minRingSize` {minimum} is more than `maxRingSize` {maximum}");
        decoder.report(Problem::new("out-of-range", span, message));
    }
    Some(LoadBalancing::RingHash {
        header: header?.value,
        minimum_ring_size: minimum,
        maximum_ring_size: maximum,
    })
}

pub(super) fn outlier_detection(decoder: &mut Decoder, node: &Node) -> OutlierDetection {
    const DETECTORS: [&str; 3] = [
        "consecutiveGatewayFailure",
        "failurePercentage",
        "successRate",
    ];
    let mut fields = decoder.fields(node, "`outlierDetection`");
    if !fields.is_broken() && !DETECTORS.iter().any(|key| fields.has(key)) {
        let message = "`outlierDetection` detects nothing";
        let problem = Problem::new("missing-key", fields.span, message);
        decoder.report(problem.hint(format!("give at least one of {}", DETECTORS.join(", "))));
    }
    let default = OutlierDetection::default();
    let base_ejection_time =
        fields.duration(decoder, "baseEjectionTime", default.base_ejection_time);
    let longest = default.max_ejection_time.max(base_ejection_time);
    let detection = OutlierDetection {
        consecutive_errors: fields
            .take("consecutiveGatewayFailure")
            .and_then(|node| decoder.count(node, "`consecutiveGatewayFailure`", 1..=1000)),
        interval: fields.duration(decoder, "interval", default.interval),
        base_ejection_time,
        max_ejection_time: fields.duration(decoder, "maxEjectionTime", longest),
        max_ejection_percent: fields.count(
            decoder,
            "maxEjectionPercent",
            0..=100,
            default.max_ejection_percent,
        ),
        failure_percentage: fields
            .take("failurePercentage")
            .map(|node| failure_percentage(decoder, node)),
        success_rate: fields
            .take("successRate")
            .map(|node| success_rate(decoder, node)),
    };
    if detection.max_ejection_time < base_ejection_time {
        let message = "`maxEjectionTime` is shorter than `baseEjectionTime`";
        decoder.report(Problem::new("out-of-range", fields.span, message));
    }
    fields.finish(decoder);
    detection
}

fn failure_percentage(decoder: &mut Decoder, node: &Node) -> FailurePercentage {
    let mut fields = decoder.fields(node, "`failurePercentage`");
    let found = FailurePercentage {
        threshold: fields.count(decoder, "threshold", 0..=100, 85),
        minimum_hosts: fields.count(decoder, "minimumHosts", 1..=1000, 5),
        request_volume: fields.count(decoder, "requestVolume", 1..=MOST, 50),
    };
    fields.finish(decoder);
    found
}

fn success_rate(decoder: &mut Decoder, node: &Node) -> SuccessRate {
    let mut fields = decoder.fields(node, "`successRate`");
    let found = SuccessRate {
        stdev_factor_permille: fields.count(decoder, "stdevFactor", 1..=100_000, 1900),
        minimum_hosts: fields.count(decoder, "minimumHosts", 1..=1000, 5),
        request_volume: fields.count(decoder, "requestVolume", 1..=MOST, 100),
    };
    fields.finish(decoder);
    found
}

pub(super) fn circuit_breakers(decoder: &mut Decoder, node: &Node) -> CircuitBreakers {
    let default = CircuitBreakers::default();
    let mut fields = decoder.fields(node, "`circuitBreakers`");
    let mut limit = |key, default| fields.count(decoder, key, 1..=MOST, default);
    let mut found = CircuitBreakers {
        max_connections: limit("maxConnections", default.max_connections),
        max_pending_requests: limit("maxPendingRequests", default.max_pending_requests),
        max_requests: limit("maxRequests", default.max_requests),
        max_retries: limit("maxRetries", default.max_retries),
        retry_budget: default.retry_budget,
    };
    if let Some(node) = fields.take("retryBudget") {
        let default = found.retry_budget;
        let mut fields = decoder.fields(node, "`retryBudget`");
        found.retry_budget = RetryBudget {
            budget_percent: fields.count(decoder, "budgetPercent", 0..=100, default.budget_percent),
            min_retry_concurrency: fields.count(
                decoder,
                "minRetryConcurrency",
                0..=MOST,
                default.min_retry_concurrency,
            ),
        };
        fields.finish(decoder);
    }
    fields.finish(decoder);
    found
}

pub(super) fn health_check(decoder: &mut Decoder, node: &Node) -> HealthCheck {
    let mut fields = decoder.fields(node, "`healthCheckConfig`");
    let found = HealthCheck {
        service_name: fields
            .take("serviceName")
            .and_then(|node| decoder.text(node, "`serviceName`"))
            .map(|name| name.value)
            .unwrap_or_default(),
        interval: fields.duration(decoder, "interval", Duration::from_secs(5)),
        timeout: fields.duration(decoder, "timeout", Duration::from_secs(1)),
        unhealthy_threshold: fields.count(decoder, "unhealthyThreshold", 1..=100, 2),
        healthy_threshold: fields.count(decoder, "healthyThreshold", 1..=100, 1),
    };
    fields.finish(decoder);
    found
}
