//! What proxies need, resolved from the mesh file and the contracts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use prost_reflect::{DescriptorPool, MethodDescriptor};

use crate::{
    contract::{Access, access, has_no_side_effects, is_safe},
    dataplane::{
        AuthzRule, Backend, Discovery, Endpoint, Inbound, Locality, MethodMatch, MethodRule,
        Mirror, RouteRule, Target, TlsMode,
    },
    mesh::{
        BackendRef, EndpointSource, Mesh, MethodConfig, MethodName, RouteEntry, RouteMatchEntry,
        Service,
    },
};

/// How long a unary call may take where no one says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// What an active health check calls.
pub(crate) const PROBE: &str = "/grpc.health.v1.Health/Check";
/// The caller rule that lets health checks in is named for what asks for it.
const PROBE_RULE: &str = "healthCheckConfig";

/// Every service as its callers see it, by authority, with the endpoints the mesh file lists.
///
/// Each method a service serves has a rule of its own: the most specific `methodConfig` applies, of
/// the service first, of `defaults` then. Where it has no timeout, the next one's holds, so that
/// every unary call has a deadline. A server stream has a timeout only from an entry that names the
/// method. Policies to repeat a call are not inherited.
pub fn dataplane(mesh: &Mesh, pool: &DescriptorPool) -> BTreeMap<String, Target> {
    let targets = mesh.services.values().map(|service| {
        let (discovery, endpoints) = endpoints(service);
        let target = Target {
            authority: service.authority(),
            service: service.name.value.clone(),
            identity: match service.tls {
                TlsMode::Mutual => mesh.identity(&service.service_account),
                TlsMode::Disable => String::new(),
            },
            tls: service.tls,
            methods: methods(mesh, service, pool),
            routes: routes(mesh, service),
            retry_throttling: service.retry_throttling.clone(),
            outlier_detection: service.outlier_detection.clone(),
            circuit_breakers: service.circuit_breakers.clone(),
            load_balancing: service.load_balancing.clone(),
            health_check: service
                .health_check
                .as_ref()
                .map(|check| check.value.clone()),
            panic_threshold_percent: service.panic_threshold_percent,
            subsets: service.subsets.clone(),
            discovery,
            endpoints,
        };
        (target.authority.clone(), target)
    });
    targets.collect()
}

fn endpoints(service: &Service) -> (Discovery, Vec<Endpoint>) {
    match &service.endpoints {
        EndpointSource::Registry => (Discovery::Endpoints, Vec::new()),
        EndpointSource::List(endpoints) => {
            let labelled = endpoints.iter().map(|endpoint| placed(service, endpoint));
            (Discovery::Endpoints, labelled.collect())
        }
        EndpointSource::Dns(name) => (Discovery::Dns(name.clone()), Vec::new()),
    }
}

/// An endpoint with what the service says about all of its workloads, where the endpoint says nothing
/// itself.
pub fn placed(service: &Service, endpoint: &Endpoint) -> Endpoint {
    let mut placed = endpoint.clone();
    for (key, value) in &service.labels {
        let own = placed.labels.entry(key.clone());
        own.or_insert_with(|| value.clone());
    }
    if placed.locality == Locality::default() {
        placed.locality = service.locality.clone();
    }
    placed
}

/// The rules for callers of a service, in the order of the file.
fn routes(mesh: &Mesh, service: &Service) -> Vec<RouteRule> {
    let leads_here = |parent: &crate::Spanned<String>| parent.value == service.name.value;
    let routes = mesh.routes.iter();
    let own = routes.filter(|route| route.parents.iter().any(leads_here));
    own.flat_map(|route| &route.rules)
        .map(|entry| route_rule(mesh, entry))
        .collect()
}

fn route_rule(mesh: &Mesh, entry: &RouteEntry) -> RouteRule {
    let backend = |backend: &BackendRef| {
        let service = mesh.services.get(&backend.service.value)?;
        Some(Backend {
            authority: service.authority(),
            subset: backend.subset.as_ref().map(|subset| subset.value.clone()),
            weight: backend.weight,
        })
    };
    let mirrors = entry.mirrors.iter().filter_map(|mirror| {
        Some(Mirror {
            backend: backend(&mirror.backend)?,
            share_per_100_000: mirror.share_per_100_000,
        })
    });
    RouteRule {
        name: entry.name.value.clone(),
        matches: entry
            .matches
            .iter()
            .map(RouteMatchEntry::to_dataplane)
            .collect(),
        backends: entry.backends.iter().filter_map(backend).collect(),
        request_headers: entry.request_headers.clone(),
        response_headers: entry.response_headers.clone(),
        mirrors: mirrors.collect(),
        fault: entry.fault.clone(),
    }
}

/// Who may call a service, and how much. `None` if the mesh has no such service, or only calls it.
pub fn inbound(mesh: &Mesh, service: &str) -> Option<Inbound> {
    let service = mesh.services.get(service)?;
    if service.is_outside() {
        return None;
    }
    let plain = |rules: &[crate::mesh::Rule]| -> Vec<AuthzRule> {
        let rules = rules.iter().flat_map(crate::mesh::Rule::to_dataplane);
        rules.collect()
    };
    Some(Inbound {
        service: service.name.value.clone(),
        deny_rules: plain(&service.authz.deny_rules),
        allow_rules: plain(&service.authz.allow_rules)
            .into_iter()
            .chain(probe_rule(service))
            .collect(),
        is_dry_run: service.authz.is_dry_run,
        rate_limits: service
            .rate_limits
            .iter()
            .map(crate::mesh::RateLimitRule::to_dataplane)
            .collect(),
        adaptive_concurrency: service.adaptive_concurrency.clone(),
        default_criticality: service.criticality,
    })
}

/// Where callers are to ask for a service's health, whoever may call anything of it may ask.
fn probe_rule(service: &Service) -> Option<AuthzRule> {
    let rules = &service.authz.allow_rules;
    if service.health_check.is_none() || rules.is_empty() {
        return None;
    }
    let callers = rules.iter().flat_map(|rule| &rule.principals);
    let mut callers: BTreeSet<_> = callers.map(|caller| caller.value.clone()).collect();
    if rules.iter().any(|rule| rule.principals.is_empty()) {
        // Any caller of the mesh.
        callers.clear();
    }
    Some(AuthzRule {
        name: PROBE_RULE.to_owned(),
        principals: callers.into_iter().collect(),
        paths: vec![PROBE.to_owned()],
        headers: Vec::new(),
    })
}

/// Which authority serves each gRPC service that has a method for callers outside the mesh.
pub fn edge_routes(mesh: &Mesh, pool: &DescriptorPool) -> BTreeMap<String, String> {
    let exposed = pool.services().filter(|contract| {
        let mut methods = contract.methods();
        methods.any(|method| access(pool, &method) != Access::Internal)
    });
    exposed
        .filter_map(|contract| {
            let service = mesh.serving(contract.full_name())?;
            Some((contract.full_name().to_owned(), service.authority()))
        })
        .collect()
}

fn methods(mesh: &Mesh, service: &Service, pool: &DescriptorPool) -> Vec<MethodRule> {
    let layers = Layers {
        own: &service.method_config,
        defaults: &mesh.defaults,
    };
    let contracts = service
        .serves
        .iter()
        .filter_map(|name| pool.get_service_by_name(name));
    let methods = contracts.flat_map(|contract| contract.methods().collect::<Vec<_>>());
    let mut rules: Vec<_> = methods.map(|method| layers.rule(&method)).collect();
    // Whatever the contracts do not know, such as health checks: a deadline, and no retry.
    rules.push(MethodRule {
        matches: MethodMatch::default(),
        timeout: Some(
            layers
                .timeout(&layers.matching("", ""))
                .unwrap_or(DEFAULT_TIMEOUT),
        ),
        ..MethodRule::default()
    });
    rules
}

/// Where a method's behaviour can be written down, the service's own entries first.
struct Layers<'a> {
    own: &'a [MethodConfig],
    defaults: &'a [MethodConfig],
}

impl<'a> Layers<'a> {
    /// The entries that apply to a method, the most specific first.
    fn matching(&self, service: &str, method: &str) -> Vec<(&'a MethodName, &'a MethodConfig)> {
        let mut found = Vec::new();
        for layer in [self.own, self.defaults] {
            let named = layer
                .iter()
                .flat_map(|config| config.names.iter().map(move |n| (n, config)));
            let mut named: Vec<_> = named
                .filter(|(name, _)| applies(name, service, method))
                .collect();
            named.sort_by_key(|(name, _)| (name.method.is_none(), name.service.is_none()));
            found.extend(named);
        }
        found
    }

    fn timeout(&self, matching: &[(&MethodName, &MethodConfig)]) -> Option<Duration> {
        let timeout = |config: &MethodConfig| config.timeout.as_ref().map(|timeout| timeout.value);
        matching.iter().find_map(|(_, config)| timeout(config))
    }

    fn rule(&self, method: &MethodDescriptor) -> MethodRule {
        let service = method.parent_service().full_name().to_owned();
        let mut matching = self.matching(&service, method.name());
        let first = matching.first().map(|(_, config)| *config);
        let first = first.filter(|_| is_safe(method));
        let retry_policy = first.and_then(|config| config.retry_policy.as_ref());
        let hedging_policy = first.and_then(|config| config.hedging_policy.as_ref());
        let streams = method.is_server_streaming();
        let timeout = if streams {
            matching.retain(|(name, _)| name.method.is_some());
            self.timeout(&matching)
        } else {
            Some(self.timeout(&matching).unwrap_or(DEFAULT_TIMEOUT))
        };
        MethodRule {
            matches: MethodMatch {
                service: Some(service),
                method: Some(method.name().to_owned()),
            },
            timeout,
            retry_policy: retry_policy.map(|policy| policy.value.clone()),
            hedging_policy: hedging_policy.map(|policy| policy.value.clone()),
            has_no_side_effects: has_no_side_effects(method),
        }
    }
}

fn applies(name: &MethodName, service: &str, method: &str) -> bool {
    let is = |part: &Option<crate::Spanned<String>>, text: &str| {
        part.as_ref().is_none_or(|part| part.value == text)
    };
    is(&name.service, service) && is(&name.method, method)
}
