//! Routes against the contracts: methods that exist, backends that serve them, mirrors that do no harm.

use prost_reflect::{MethodDescriptor, ServiceDescriptor};

use super::Checker;
use crate::{
    contract::has_no_side_effects,
    mesh::{BackendRef, MethodName, MirrorRef, RouteEntry, Service},
    problem::Problem,
};

impl Checker<'_> {
    pub(super) fn check_routes(&mut self) {
        let mesh = self.mesh;
        for route in &mesh.routes {
            let parents: Vec<_> = route
                .parents
                .iter()
                .filter_map(|parent| mesh.services.get(&parent.value))
                .collect();
            for rule in &route.rules {
                for one in &rule.matches {
                    self.check_match(&one.method, &parents);
                }
                for parent in &parents {
                    self.check_rule(rule, parent);
                }
            }
        }
    }

    fn check_match(&mut self, name: &MethodName, parents: &[&Service]) {
        let Some(service) = &name.service else { return };
        let Some(found) = self.find(service) else {
            return;
        };
        for parent in parents {
            self.check_served(parent, service);
        }
        if let Some(method) = &name.method {
            self.find_method(&found, method);
        }
    }

    /// What the backends of a rule get to see, they must be able to answer.
    fn check_rule(&mut self, rule: &RouteEntry, parent: &Service) {
        let methods = self.routed(rule, parent);
        for backend in &rule.backends {
            self.check_backend(backend, parent, &methods);
        }
        for mirror in &rule.mirrors {
            self.check_backend(&mirror.backend, parent, &methods);
            self.check_mirror(mirror, &methods);
        }
    }

    /// The methods of `parent` that a rule can match.
    fn routed(&self, rule: &RouteEntry, parent: &Service) -> Vec<MethodDescriptor> {
        let is = |part: &Option<crate::Spanned<String>>, text: &str| {
            part.as_ref().is_none_or(|part| part.value == text)
        };
        let mut methods = self.served(parent);
        methods.retain(|method| {
            let service = method.parent_service();
            rule.matches.is_empty()
                || rule.matches.iter().any(|one| {
                    is(&one.method.service, service.full_name())
                        && is(&one.method.method, method.name())
                })
        });
        methods
    }

    fn check_backend(
        &mut self,
        backend: &BackendRef,
        parent: &Service,
        methods: &[MethodDescriptor],
    ) {
        let Some(service) = self.mesh.services.get(&backend.service.value) else {
            return;
        };
        if service.name.value == parent.name.value {
            return;
        }
        let mut contracts: Vec<ServiceDescriptor> = methods
            .iter()
            .map(|method| method.parent_service().clone())
            .collect();
        contracts.dedup();
        for contract in contracts {
            let contract = contract.full_name();
            if service.serves.iter().any(|served| served.value == contract) {
                continue;
            }
            let (name, span) = (&service.name.value, backend.service.span);
            let message = format!("`{name}` does not serve `{contract}`, which this rule sends it");
            let problem = Problem::new("not-served", span, message);
            self.problems
                .push(problem.hint("add it to `serves`, or match fewer methods"));
        }
    }

    fn check_mirror(&mut self, mirror: &MirrorRef, methods: &[MethodDescriptor]) {
        let harmful = methods.iter().filter(|method| !has_no_side_effects(method));
        let names: Vec<_> = harmful
            .map(|method| format!("{}/{}", method.parent_service().full_name(), method.name()))
            .collect();
        let Some(first) = names.first() else { return };
        let more = match names.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!("`{first}`{more} would do its work twice");
        let problem = Problem::new("unsafe-mirror", mirror.backend.service.span, message);
        self.problems.push(problem.hint(
            "only methods that the contract marks NO_SIDE_EFFECTS are mirrored: match those alone",
        ));
    }
}
