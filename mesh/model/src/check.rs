//! The mesh file against the contracts.

mod routes;

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};

use crate::{
    contract::{Access, access, http_get, is_safe},
    mesh::{EDGE_ACCOUNT, Mesh, MethodConfig, Rule, Service},
    problem::{Problem, Problems, nearest},
    resolve::PROBE,
    span::Spanned,
};

/// Checks a mesh file against the contracts: unknown services and methods, retries of methods that
/// are not safe to repeat, rules that can match nothing, methods of the edge that lead nowhere.
///
/// # Errors
///
/// All problems found.
pub fn check(mesh: &Mesh, pool: &DescriptorPool) -> Result<(), Problems> {
    let problems = problems(mesh, pool);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Problems::new(mesh.source.clone(), problems))
    }
}

/// What the contracts say against a mesh file.
pub(crate) fn problems(mesh: &Mesh, pool: &DescriptorPool) -> Vec<Problem> {
    let mut checker = Checker {
        mesh,
        pool,
        problems: Vec::new(),
        not_served: BTreeSet::new(),
    };
    for config in &mesh.defaults {
        checker.check_config(config, None);
    }
    for service in mesh.services.values() {
        checker.check_serves(service);
        for config in &service.method_config {
            checker.check_config(config, Some(service));
        }
        let authz = &service.authz;
        let rules = authz.deny_rules.iter().chain(&authz.allow_rules);
        let paths = rules
            .flat_map(|rule| &rule.paths)
            .chain(service.rate_limits.iter().flat_map(|limit| &limit.paths));
        for path in paths {
            checker.check_path(service, path);
        }
        checker.check_probes(service);
    }
    checker.check_routes();
    checker.check_edge();
    checker.problems
}

struct Checker<'a> {
    mesh: &'a Mesh,
    pool: &'a DescriptorPool,
    problems: Vec<Problem>,
    /// Service of the mesh and of the contracts: said once, not at each of its methods.
    not_served: BTreeSet<(String, String)>,
}

impl Checker<'_> {
    fn find(&mut self, name: &Spanned<String>) -> Option<ServiceDescriptor> {
        let found = self.pool.get_service_by_name(name);
        if found.is_none() {
            let message = format!("the contracts have no service `{}`", name.value);
            let problem = Problem::new("unknown-service", name.span, message);
            let known: Vec<_> = self.pool.services().collect();
            let near = nearest(name, known.iter().map(ServiceDescriptor::full_name));
            self.problems.push(match near {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem.hint("fully qualified, such as `sockshop.orders.v1.OrderService`"),
            });
        }
        found
    }

    fn check_serves(&mut self, service: &Service) {
        for name in &service.serves {
            let Some(found) = self.find(name) else {
                continue;
            };
            let exposed = |method: &MethodDescriptor| access(self.pool, method) != Access::Internal;
            if !found.methods().any(|method| exposed(&method)) {
                continue;
            }
            let answering = self.mesh.serving(name);
            let earlier = answering.filter(|other| other.name.value < service.name.value);
            if let Some(earlier) = earlier
                && !self.mesh.is_backend(&service.name.value)
            {
                let message = format!(
                    "`{}` is served by `{}` as well: the edge cannot choose",
                    name.value, earlier.name.value
                );
                self.problems
                    .push(Problem::new("two-routes", name.span, message));
            }
        }
    }

    fn check_config(&mut self, config: &MethodConfig, service: Option<&Service>) {
        for name in &config.names {
            let Some(service_name) = &name.service else {
                self.check_retry(config, service.map(|s| self.served(s)).unwrap_or_default());
                continue;
            };
            let Some(found) = self.find(service_name) else {
                continue;
            };
            if let Some(service) = service {
                self.check_served(service, service_name);
            }
            match &name.method {
                None => self.check_retry(config, found.methods().collect()),
                Some(method) => {
                    let methods = self.find_method(&found, method);
                    self.check_retry(config, methods.into_iter().collect());
                }
            }
        }
    }

    /// Whether the service serves what an entry of it speaks of.
    fn check_served(&mut self, service: &Service, contract: &Spanned<String>) -> bool {
        if service.serves.iter().any(|s| s.value == contract.value) {
            return true;
        }
        let (name, contract, span) = (&service.name.value, &contract.value, contract.span);
        if self.not_served.insert((name.clone(), contract.clone())) {
            let message = format!("`{name}` does not serve `{contract}`: this applies to no call");
            let problem = Problem::new("not-served", span, message);
            self.problems.push(problem.hint(
                "add it to `serves`, or drop what this service says about it, here and below",
            ));
        }
        false
    }

    fn find_method(
        &mut self,
        service: &ServiceDescriptor,
        name: &Spanned<String>,
    ) -> Option<MethodDescriptor> {
        let found = service.methods().find(|method| method.name() == name.value);
        if found.is_none() {
            let message = format!("`{}` has no method `{}`", service.full_name(), name.value);
            let problem = Problem::new("unknown-method", name.span, message);
            let known: Vec<_> = service.methods().map(|m| m.name().to_owned()).collect();
            self.problems
                .push(match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint(format!("its methods: {}", known.join(", "))),
                });
        }
        found
    }

    /// The methods of everything a service serves, as far as the contracts know them.
    fn served(&self, service: &Service) -> Vec<MethodDescriptor> {
        let services = service.serves.iter();
        let found = services.filter_map(|name| self.pool.get_service_by_name(name));
        found
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .collect()
    }

    fn check_retry(&mut self, config: &MethodConfig, methods: Vec<MethodDescriptor>) {
        let retry = config.retry_policy.as_ref();
        let hedging = config.hedging_policy.as_ref();
        let policies = [
            (retry.map(|policy| policy.span), "retry"),
            (hedging.map(|policy| policy.span), "hedge"),
        ];
        for (span, verb) in policies {
            let Some(span) = span else { continue };
            for method in methods.iter().filter(|method| !is_safe(method)) {
                let (service, name) = (method.parent_service().full_name(), method.name());
                let message = format!("`{service}/{name}` is not safe to {verb}");
                self.problems
                    .push(Problem::new("unsafe-retry", span, message).hint(format!(
                        "the contract gives {name} no `idempotency_level`; set it to IDEMPOTENT \
                         if repeating a call does no harm, or drop the {verb} policy"
                    )));
            }
        }
    }

    /// Whoever may call a service probes it too, where probes are asked for: only a deny rule is in the way.
    fn check_probes(&mut self, service: &Service) {
        let Some(check) = &service.health_check else {
            return;
        };
        let rules = service.authz.allow_rules.iter();
        let callers = rules.flat_map(|rule| &rule.principals);
        let mut refused: Vec<_> = callers
            .map(|caller| caller.as_str())
            .filter(|caller| {
                let mut rules = service.authz.deny_rules.iter();
                rules.any(|rule| rule.headers.is_empty() && is_for(rule, caller, PROBE))
            })
            .collect();
        refused.sort_unstable();
        refused.dedup();
        if !refused.is_empty() && !service.authz.is_dry_run {
            let (name, callers) = (&service.name.value, refused.join(", "));
            let message = format!("the deny rules of `{name}` refuse the probes of {callers}");
            let problem = Problem::new("refused-probe", check.span, message);
            self.problems.push(problem.hint(format!(
                "to them every endpoint would look dead; leave `{PROBE}` out of the deny rules"
            )));
        }
    }

    /// A path that names a gRPC method must name one that the workload serves.
    fn check_path(&mut self, service: &Service, path: &Spanned<String>) {
        let Some((name, method)) = path.strip_prefix('/').and_then(|rest| rest.split_once('/'))
        else {
            return;
        };
        let is_grpc = name.contains('.') && !name.starts_with('.') && !method.contains('/');
        if !is_grpc || name.contains('*') {
            return;
        }
        let name = Spanned::new(name.to_owned(), path.span);
        let Some(found) = self.find(&name) else {
            return;
        };
        if self.check_served(service, &name) && !method.contains('*') {
            self.find_method(&found, &Spanned::new(method.to_owned(), path.span));
        }
    }

    /// Every method the edge serves leads to a service, and the edge may call it there.
    fn check_edge(&mut self) {
        let edge = self.mesh.identity(EDGE_ACCOUNT);
        let mut needs_tokens = false;
        // A mesh that serves no contract at all, such as one of foreign programs, needs no routes.
        let serves_any = self
            .mesh
            .services
            .values()
            .any(|service| !service.serves.is_empty());
        if !serves_any {
            return;
        }
        for contract in self.pool.services() {
            let exposed: Vec<_> = contract
                .methods()
                .filter(|method| access(self.pool, method) != Access::Internal)
                .collect();
            if exposed.is_empty() {
                continue;
            }
            let name = contract.full_name();
            let customer = |method| access(self.pool, method) == Access::Customer;
            needs_tokens |= exposed.iter().any(customer);
            let serving = self.mesh.serving(name).and_then(|service| {
                let place = service.serves.iter().find(|served| served.value == name)?;
                Some((service, place.span))
            });
            let Some((service, span)) = serving else {
                let message = format!("no service serves `{name}`: the edge has no route for it");
                let problem = Problem::new("no-route", self.mesh.edge.span, message);
                self.problems
                    .push(problem.hint("add it to `serves` of the service that does"));
                continue;
            };
            let refused: Vec<_> = exposed
                .iter()
                .filter(|_| !service.is_outside())
                .filter(|method| !allows(service, &edge, &format!("/{name}/{}", method.name())))
                .map(|method| method.name().to_owned())
                .collect();
            if !refused.is_empty() {
                let (service, methods) = (&service.name.value, refused.join(", "));
                let message = format!(
                    "the caller rules of `{service}` refuse the edge in `{name}`: {methods}"
                );
                let problem = Problem::new("no-route", span, message);
                self.problems.push(problem.hint(format!(
                    "the contract lets the edge serve it; add an allow rule for `{edge}`"
                )));
            }
        }
        if needs_tokens && self.mesh.edge.jwt_rules.is_empty() {
            let message = "the contracts have methods for customers, but no token is believed";
            let problem = Problem::new("no-route", self.mesh.edge.span, message);
            self.problems
                .push(problem.hint("add `jwtRules` with issuer, audiences and jwksUri"));
        }
        for rule in &self.mesh.edge.jwt_rules {
            self.check_keys(rule, &edge);
        }
    }

    /// The path that is asked for on the wire: a method's, where a contract binds `path` to it.
    fn called(&self, service: &Service, path: &str) -> String {
        let methods = self.served(service);
        let bound = methods
            .iter()
            .find(|method| http_get(self.pool, method).as_deref() == Some(path));
        match bound {
            Some(method) => format!("/{}/{}", method.parent_service().full_name(), method.name()),
            None => path.to_owned(),
        }
    }

    /// The edge must be allowed to fetch the keys of an issuer.
    fn check_keys(&mut self, rule: &crate::mesh::JwtRule, edge: &str) {
        let found = rule
            .jwks_uri
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'));
        let Some((authority, path)) = found else {
            return;
        };
        let mut services = self.mesh.services.values();
        let Some(service) = services.find(|service| service.authority() == authority) else {
            return;
        };
        if service.is_outside() {
            let message = format!(
                "`{}` proves nothing: its keys are nobody's",
                service.name.value
            );
            let problem = Problem::new("wrong-value", rule.jwks_uri.span, message);
            let hint =
                "whoever is on the way could sign tokens; fetch keys from a service with TLS";
            return self.problems.push(problem.hint(hint));
        }
        let path = self.called(service, &format!("/{path}"));
        if !allows(service, edge, &path) {
            let name = &service.name.value;
            let message = format!("the caller rules of `{name}` refuse the edge in `{path}`");
            let problem = Problem::new("no-route", rule.jwks_uri.span, message);
            self.problems
                .push(problem.hint("without the keys no token can be checked"));
        }
    }
}

fn allows(service: &Service, principal: &str, path: &str) -> bool {
    let matched = |rule: &Rule| is_for(rule, principal, path);
    !service.authz.deny_rules.iter().any(matched) && service.authz.allow_rules.iter().any(matched)
}

/// Whether a rule is about this caller and path, headers aside.
fn is_for(rule: &Rule, principal: &str, path: &str) -> bool {
    let one = |patterns: &[Spanned<String>], text: &str| {
        patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, text))
    };
    one(&rule.principals, principal) && one(&rule.paths, path)
}

/// gRFC A43: `*` alone, at the end or at the beginning.
fn matches(pattern: &str, text: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('*') {
        text.starts_with(prefix)
    } else if let Some(suffix) = pattern.strip_prefix('*') {
        text.ends_with(suffix)
    } else {
        pattern == text
    }
}
