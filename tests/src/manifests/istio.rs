//! Istio: VirtualService, DestinationRule and AuthorizationPolicy of one service.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_model::{
    Service,
    dataplane::{AuthzRule, CircuitBreakers, OutlierDetection, RetryPolicy, Target},
};

use super::{Behaviour, behaviours, duration, pods, resource, retry_codes};

/// Everything about one service.
pub fn resources(service: &Service, target: &Target) -> Result<Vec<Value>> {
    let mut made = vec![virtual_service(target)?, destination_rule(target)];
    let rules = |rules: &[weft_model::Rule]| -> Result<Vec<Value>> {
        rules
            .iter()
            .flat_map(weft_model::Rule::to_dataplane)
            .map(|rule| caller_rule(&rule))
            .collect()
    };
    let name = service.name.as_str();
    for (suffix, action, rules) in [
        ("-deny", "DENY", rules(&service.authz.deny_rules)?),
        ("", "ALLOW", rules(&service.authz.allow_rules)?),
    ] {
        if !rules.is_empty() {
            let spec = json!({ "selector": pods(name), "action": action, "rules": rules });
            let name = format!("{name}{suffix}");
            made.push(resource(
                "security.istio.io/v1",
                "AuthorizationPolicy",
                &name,
                spec,
            ));
        }
    }
    Ok(made)
}

fn virtual_service(target: &Target) -> Result<Value> {
    let routes = behaviours(target)?;
    let routes: Vec<_> = routes
        .iter()
        .map(|one| route(target, one))
        .collect::<Result<_>>()?;
    let spec = json!({ "hosts": [target.service], "http": routes });
    Ok(resource(
        "networking.istio.io/v1",
        "VirtualService",
        &target.service,
        spec,
    ))
}

fn route(target: &Target, behaviour: &Behaviour<'_>) -> Result<Value> {
    let mut route = json!({
        "name": behaviour.name(),
        "retries": retries(behaviour.retry)?,
        "route": [{ "destination": { "host": target.service } }],
    });
    let path = |(service, method): &(&str, &str)| json!({ "uri": { "exact": format!("/{service}/{method}") } });
    if !behaviour.methods.is_empty() {
        route["match"] = behaviour.methods.iter().map(path).collect();
    }
    if let Some(timeout) = behaviour.timeout {
        route["timeout"] = json!(duration(timeout));
    }
    Ok(route)
}

/// Without a policy Istio would repeat calls on its own: that is switched off. The back-off's cap and
/// factor cannot be set; Envoy doubles up to ten times the first wait.
fn retries(policy: Option<&RetryPolicy>) -> Result<Value> {
    let Some(policy) = policy else {
        return Ok(json!({ "attempts": 0 }));
    };
    Ok(json!({
        "attempts": policy.max_attempts - 1,
        "retryOn": retry_codes(policy)?,
        "backoff": duration(policy.initial_backoff),
    }))
}

fn destination_rule(target: &Target) -> Value {
    let budget = &target.circuit_breakers.retry_budget;
    let mut policy = json!({
        "tls": { "mode": "ISTIO_MUTUAL" },
        "retryBudget": {
            "percent": budget.budget_percent,
            "minRetryConcurrency": budget.min_retry_concurrency,
        },
    });
    if let Some(detection) = &target.outlier_detection {
        policy["outlierDetection"] = outlier_detection(detection);
    }
    if target.circuit_breakers != CircuitBreakers::default() {
        policy["connectionPool"] = connection_pool(&target.circuit_breakers);
    }
    let spec = json!({ "host": target.service, "trafficPolicy": policy });
    resource(
        "networking.istio.io/v1",
        "DestinationRule",
        &target.service,
        spec,
    )
}

/// Istio has errors in a row only: no rates, and no longest ejection.
fn outlier_detection(detection: &OutlierDetection) -> Value {
    json!({
        "consecutiveGatewayErrors": detection.consecutive_errors.unwrap_or(0),
        "consecutive5xxErrors": 0,
        "interval": duration(detection.interval),
        "baseEjectionTime": duration(detection.base_ejection_time),
        "maxEjectionPercent": detection.max_ejection_percent,
    })
}

fn connection_pool(breakers: &CircuitBreakers) -> Value {
    json!({
        "tcp": { "maxConnections": breakers.max_connections },
        "http": {
            // Despite its name it holds for HTTP/2 as well.
            "http1MaxPendingRequests": breakers.max_pending_requests,
            "http2MaxRequests": breakers.max_requests,
            "maxRetries": breakers.max_retries,
        },
    })
}

fn caller_rule(rule: &AuthzRule) -> Result<Value> {
    ensure!(
        rule.headers.is_empty(),
        "rule {}: rules by header are not carried over",
        rule.name
    );
    let principal = |id: &String| {
        let bare = id
            .strip_prefix("spiffe://")
            .or_else(|| id.starts_with('*').then_some(id));
        bare.map(str::to_owned)
            .with_context(|| format!("rule {}: principal {id}", rule.name))
    };
    let mut principals = rule
        .principals
        .iter()
        .map(principal)
        .collect::<Result<Vec<_>>>()?;
    if principals.is_empty() {
        principals.push("*".to_owned());
    }
    let mut made = json!({ "from": [{ "source": { "principals": principals } }] });
    if !rule.paths.is_empty() {
        made["to"] = json!([{ "operation": { "paths": rule.paths } }]);
    }
    Ok(made)
}
