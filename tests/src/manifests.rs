//! The mesh file in the words of Istio and of Linkerd: what `istio/overlays/*/mesh.yaml` must say.
//!
//! Written from the same resolved model the proxies get, so a timeout, a retry or a caller rule that
//! differs between our mesh and a manifest fails a test.

mod istio;
mod linkerd;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use contracts::pool;
use serde_json::{Value, json};
use weft_model::{
    EndpointSource, Mesh, Service, dataplane,
    dataplane::{LoadBalancing, MethodRule, RetryPolicy, Target},
};

/// A mesh with manifests of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Istio with sidecars.
    Istio,
    /// Linkerd.
    Linkerd,
}

impl Kind {
    /// The overlay's folder below `istio/overlays/`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::Linkerd => "linkerd",
        }
    }
}

/// All resources that carry the mesh file into another mesh, in the order of the services.
///
/// # Errors
///
/// If the mesh file says something that mesh cannot express.
pub fn resources(kind: Kind, mesh: &Mesh) -> Result<Vec<Value>> {
    let targets = dataplane(mesh, pool());
    let mut resources = Vec::new();
    for service in mesh.services.values() {
        let target = targets
            .get(&service.authority())
            .context("every service is a target")?;
        expressible(service, target)?;
        let mut made = match kind {
            Kind::Istio => istio::resources(service, target)?,
            Kind::Linkerd => linkerd::resources(service, target)?,
        };
        for resource in &mut made {
            resource["metadata"]["namespace"] = json!(mesh.namespace);
        }
        resources.append(&mut made);
    }
    Ok(resources)
}

/// What neither mesh has, or what nobody carries over yet: better no manifest than one that says less. What
/// they can do without is named by [`comments`].
fn expressible(service: &Service, target: &Target) -> Result<()> {
    let name = &target.service;
    let methods = &target.methods;
    for (is_used, what) in [
        (!target.routes.is_empty(), "routes"),
        (!target.subsets.is_empty(), "subsets"),
        (
            target.load_balancing != LoadBalancing::default(),
            "loadBalancingConfig",
        ),
        (
            service.endpoints != EndpointSource::Registry,
            "endpoints and dns",
        ),
        (
            service
                .run
                .as_ref()
                .is_some_and(|run| !run.versions.is_empty()),
            "run.versions",
        ),
        (!service.rate_limits.is_empty(), "rateLimits"),
        (service.authz.is_dry_run, "authz.dryRun"),
        (
            methods.iter().any(|rule| rule.hedging_policy.is_some()),
            "hedgingPolicy",
        ),
    ] {
        ensure!(!is_used, "{name}: `{what}` is not carried over");
    }
    Ok(())
}

/// What the mesh file says and both meshes do without, as comments: why, and for whom.
pub fn comments(mesh: &Mesh) -> String {
    let left_out = |key: &str, why: &str, has: fn(&Service) -> bool| {
        let services = mesh.services.values().filter(|service| has(service));
        let names: Vec<_> = services.map(|service| service.name.as_str()).collect();
        match names.as_slice() {
            [] => String::new(),
            names => format!("# Left out: {key} of {}; {why}.\n", names.join(", ")),
        }
    };
    let shedding = left_out(
        "adaptiveConcurrency",
        "no proxy sheds load before the workload",
        |service| service.adaptive_concurrency.is_some(),
    );
    let probes = left_out(
        "healthCheckConfig",
        "the kubelet probes each workload, not its callers",
        |service| service.health_check.is_some(),
    );
    shedding + &probes
}

/// Methods that behave alike, as `(service, method)`. Empty: whatever else is called.
struct Behaviour<'a> {
    methods: Vec<(&'a str, &'a str)>,
    timeout: Option<Duration>,
    retry: Option<&'a RetryPolicy>,
}

impl Behaviour<'_> {
    /// Part of a resource's name: `2s-retried`.
    fn name(&self) -> String {
        if self.methods.is_empty() {
            return "other".to_owned();
        }
        let timeout = self.timeout.map_or("unlimited".to_owned(), duration);
        let retried = if self.retry.is_some() { "-retried" } else { "" };
        format!("{timeout}{retried}")
    }
}

/// The rules of a target, alike ones together, the one that matches everything last.
fn behaviours(target: &Target) -> Result<Vec<Behaviour<'_>>> {
    let mut found: Vec<Behaviour<'_>> = Vec::new();
    let mut other = None;
    for MethodRule {
        matches,
        timeout,
        retry_policy,
        ..
    } in &target.methods
    {
        let (timeout, retry) = (*timeout, retry_policy.as_ref());
        let method = match (&matches.service, &matches.method) {
            (Some(service), Some(method)) => (service.as_str(), method.as_str()),
            (None, None) => {
                other = Some(Behaviour {
                    methods: Vec::new(),
                    timeout,
                    retry,
                });
                continue;
            }
            _ => bail!("{}: a rule is for a whole service", target.service),
        };
        match found
            .iter_mut()
            .find(|b| b.timeout == timeout && b.retry == retry)
        {
            Some(behaviour) => behaviour.methods.push(method),
            None => found.push(Behaviour {
                methods: vec![method],
                timeout,
                retry,
            }),
        }
    }
    found.extend(other);
    Ok(found)
}

/// gRPC's status codes in the spelling that Envoy and Linkerd share.
fn retry_codes(policy: &RetryPolicy) -> Result<String> {
    let names = policy.retryable_status_codes.iter().map(|code| match code {
        1 => Ok("cancelled"),
        4 => Ok("deadline-exceeded"),
        8 => Ok("resource-exhausted"),
        13 => Ok("internal"),
        14 => Ok("unavailable"),
        code => bail!("neither Istio nor Linkerd retries status code {code}"),
    });
    Ok(names.collect::<Result<Vec<_>>>()?.join(","))
}

/// `2s`, or `25ms` where seconds are not whole.
fn duration(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

fn resource(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// The pods of a service.
fn pods(service: &str) -> Value {
    json!({ "matchLabels": { "app.kubernetes.io/name": service } })
}
