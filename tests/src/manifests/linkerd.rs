//! Linkerd: GRPCRoutes for how calls behave, and Server, GRPCRoutes and policies for who may call.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use contracts::pool;
use serde_json::{Value, json};
use weft_model::{Service, dataplane::Target};

use super::{Behaviour, behaviours, duration, pods, resource, retry_codes};

const POLICY: &str = "policy.linkerd.io";
const ROUTE: &str = "gateway.networking.k8s.io";

/// A method as its contract's name and its own.
type Method = (String, String);
/// Service accounts that may call the same methods.
type Callers = BTreeSet<String>;

/// Everything about one service.
pub fn resources(service: &Service, target: &Target) -> Result<Vec<Value>> {
    let mut made = Vec::new();
    for behaviour in behaviours(target)? {
        made.push(outbound_route(service, &behaviour)?);
    }
    let name = service.name.as_str();
    let server = json!({
        "podSelector": pods(name),
        "port": "grpc",
        "proxyProtocol": "gRPC",
        "accessPolicy": "deny",
    });
    made.push(resource(
        "policy.linkerd.io/v1beta3",
        "Server",
        name,
        server,
    ));
    made.extend(probes(name));
    for (callers, methods) in allowed(service)? {
        made.extend(caller_rule(name, &callers, &methods));
    }
    Ok(made)
}

/// How calls of some methods behave at the caller's side.
fn outbound_route(service: &Service, behaviour: &Behaviour<'_>) -> Result<Value> {
    let (name, port) = (service.name.as_str(), *service.port);
    let mut rule = json!({ "backendRefs": [{ "name": name, "port": port }] });
    if !behaviour.methods.is_empty() {
        rule["matches"] = behaviour.methods.iter().map(exact).collect();
    }
    let parent = json!({ "group": "", "kind": "Service", "name": name, "port": port });
    let spec = json!({ "parentRefs": [parent], "rules": [rule] });
    let route = format!("{name}-{}", behaviour.name());
    let mut route = resource("gateway.networking.k8s.io/v1", "GRPCRoute", &route, spec);
    let mut annotations = BTreeMap::new();
    if let Some(timeout) = behaviour.timeout {
        annotations.insert("timeout.linkerd.io/request", duration(timeout));
    }
    if let Some(policy) = behaviour.retry {
        annotations.insert("retry.linkerd.io/grpc", retry_codes(policy)?);
        annotations.insert(
            "retry.linkerd.io/limit",
            (policy.max_attempts - 1).to_string(),
        );
    }
    if !annotations.is_empty() {
        route["metadata"]["annotations"] = json!(annotations);
    }
    Ok(route)
}

fn exact((service, method): &(&str, &str)) -> Value {
    json!({ "method": { "service": service, "method": method } })
}

/// A call belongs to the most specific route alone, so two caller rules that overlap must become one
/// route per set of callers: the methods each set may call.
fn allowed(service: &Service) -> Result<BTreeMap<Callers, BTreeSet<Method>>> {
    ensure!(
        service.authz.deny_rules.is_empty(),
        "Linkerd has no deny rules"
    );
    let mut by_method: BTreeMap<Method, Callers> = BTreeMap::new();
    for rule in service
        .authz
        .allow_rules
        .iter()
        .flat_map(weft_model::Rule::to_dataplane)
    {
        ensure!(
            rule.headers.is_empty(),
            "rule {}: Linkerd has no rules for headers",
            rule.name
        );
        for (contract, method) in methods(service) {
            let path = format!("/{contract}/{method}");
            if !rule.paths.is_empty() && !rule.paths.iter().any(|pattern| matches(pattern, &path)) {
                continue;
            }
            let callers = by_method.entry((contract, method)).or_default();
            ensure!(
                !rule.principals.is_empty(),
                "rule {} names no caller",
                rule.name
            );
            for principal in &rule.principals {
                let account = principal.rsplit_once("/sa/").map(|(_, account)| account);
                let account = account.filter(|account| !account.contains('*'));
                let account =
                    account.with_context(|| format!("rule {}: {principal}", rule.name))?;
                callers.insert(account.to_owned());
            }
        }
    }
    let mut by_callers: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (method, callers) in by_method {
        by_callers.entry(callers).or_default().insert(method);
    }
    Ok(by_callers)
}

/// Every method the service serves.
fn methods(service: &Service) -> Vec<Method> {
    let mut found = Vec::new();
    let contracts = service
        .serves
        .iter()
        .filter_map(|name| pool().get_service_by_name(name));
    for contract in contracts {
        let name = contract.full_name();
        found.extend(
            contract
                .methods()
                .map(|method| (name.to_owned(), method.name().to_owned())),
        );
    }
    found
}

/// gRFC A43's wildcards: `*` at one end.
fn matches(pattern: &str, path: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => path.ends_with(end),
        (None, Some(start)) => path.starts_with(start),
        (None, None) => path == pattern,
    }
}

/// Lets a set of callers call some methods of a service.
fn caller_rule(service: &str, callers: &Callers, methods: &BTreeSet<Method>) -> [Value; 3] {
    let names: Vec<_> = callers.iter().map(String::as_str).collect();
    let name = format!("{service}-from-{}", names.join("-"));
    let matches = methods
        .iter()
        .map(|(contract, method)| exact(&(contract, method)))
        .collect();
    let accounts: Vec<_> = names
        .iter()
        .map(|n| json!({ "kind": "ServiceAccount", "name": n }))
        .collect();
    [
        inbound_route(service, &name, matches),
        resource(
            "policy.linkerd.io/v1alpha1",
            "MeshTLSAuthentication",
            &name,
            json!({ "identityRefs": accounts }),
        ),
        policy(&name, "MeshTLSAuthentication", &name),
    ]
}

/// The kubelet's health checks come from outside of the mesh: `probes.yaml` says from where.
fn probes(service: &str) -> [Value; 2] {
    let name = format!("{service}-probes");
    let check = json!([exact(&("grpc.health.v1.Health", "Check"))]);
    [
        inbound_route(service, &name, check),
        policy(&name, "NetworkAuthentication", "anywhere"),
    ]
}

fn inbound_route(service: &str, name: &str, matches: Value) -> Value {
    let parent = json!({ "group": POLICY, "kind": "Server", "name": service });
    let spec = json!({ "parentRefs": [parent], "rules": [{ "matches": matches }] });
    resource("gateway.networking.k8s.io/v1", "GRPCRoute", name, spec)
}

fn policy(route: &str, kind: &str, authentication: &str) -> Value {
    let spec = json!({
        "targetRef": { "group": ROUTE, "kind": "GRPCRoute", "name": route },
        "requiredAuthenticationRefs": [{ "group": POLICY, "kind": kind, "name": authentication }],
    });
    resource(
        "policy.linkerd.io/v1alpha1",
        "AuthorizationPolicy",
        route,
        spec,
    )
}
