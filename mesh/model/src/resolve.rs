//! What proxies need, resolved from the mesh file and the contracts.

use std::{collections::BTreeMap, time::Duration};

use prost_reflect::{DescriptorPool, MethodDescriptor};

use crate::{
    contract::{Access, access, is_safe},
    dataplane::{Inbound, MethodMatch, MethodRule, Target},
    mesh::{Mesh, MethodConfig, MethodName, Service},
};

/// How long a unary call may take where no one says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Envoy's.
const DEFAULT_PANIC_THRESHOLD: u32 = 50;

/// Every service as its callers see it, by authority, endpoints left empty.
///
/// Each method a service serves has a rule of its own: the most specific `methodConfig` applies, of
/// the service first, of `defaults` then. Where it has no timeout, the next one's holds, so that
/// every unary call has a deadline. A server stream has a timeout only from an entry that names the
/// method. A retry policy is not inherited.
pub fn dataplane(mesh: &Mesh, pool: &DescriptorPool) -> BTreeMap<String, Target> {
    let targets = mesh.services.values().map(|service| {
        let target = Target {
            authority: service.authority(),
            service: service.name.value.clone(),
            identity: mesh.identity(&service.service_account),
            methods: methods(mesh, service, pool),
            retry_throttling: service.retry_throttling.clone(),
            outlier_detection: service.outlier_detection.clone(),
            panic_threshold_percent: DEFAULT_PANIC_THRESHOLD,
            ..Target::default()
        };
        (target.authority.clone(), target)
    });
    targets.collect()
}

/// The caller rules of a service. `None` if the mesh has no such service.
pub fn inbound(mesh: &Mesh, service: &str) -> Option<Inbound> {
    let service = mesh.services.get(service)?;
    let plain =
        |rules: &[crate::mesh::Rule]| rules.iter().map(crate::mesh::Rule::to_dataplane).collect();
    Some(Inbound {
        service: service.name.value.clone(),
        deny_rules: plain(&service.authz.deny_rules),
        allow_rules: plain(&service.authz.allow_rules),
        ..Inbound::default()
    })
}

/// Which authority serves each gRPC service that has a method for callers outside the mesh.
pub fn edge_routes(mesh: &Mesh, pool: &DescriptorPool) -> BTreeMap<String, String> {
    let mut routes = BTreeMap::new();
    for service in mesh.services.values() {
        for name in &service.serves {
            let Some(contract) = pool.get_service_by_name(name) else {
                continue;
            };
            let mut methods = contract.methods();
            if methods.any(|method| access(pool, &method) != Access::Internal) {
                routes
                    .entry(name.value.clone())
                    .or_insert_with(|| service.authority());
            }
        }
    }
    routes
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
        let retry_policy = first
            .and_then(|config| config.retry_policy.as_ref())
            .filter(|_| is_safe(method))
            .map(|policy| policy.value.clone());
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
            retry_policy,
            ..MethodRule::default()
        }
    }
}

fn applies(name: &MethodName, service: &str, method: &str) -> bool {
    let is = |part: &Option<crate::Spanned<String>>, text: &str| {
        part.as_ref().is_none_or(|part| part.value == text)
    };
    is(&name.service, service) && is(&name.method, method)
}
