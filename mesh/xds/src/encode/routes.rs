//! Method rules and route rules as one list of routes.
//!
//! xDS has one list, the first match of which decides where a call goes *and* how it behaves; the mesh
//! file has two. So each match of a route rule is sent once for every method rule that can meet it,
//! marked with the place of the rule, and after these come the method rules alone, for calls that no
//! route rule matches.

use prost_types::{Any, Value};
use weft_model::dataplane::{
    Backend, LoadBalancing, MethodMatch, MethodRule, RouteMatch as Match, RouteRule, Target,
};

use super::{FAULT, LB_METADATA, METADATA, Subsets, duration, facts, fault, headers, retry};
use crate::{
    proto::envoy::config::{
        core::v3::Metadata,
        route::v3::{
            HedgePolicy, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
            WeightedCluster,
            route::Action,
            route_action::{
                ClusterSpecifier, HashPolicy, MaxStreamDuration, RequestMirrorPolicy, hash_policy,
            },
            route_match::PathSpecifier,
            weighted_cluster::ClusterWeight,
        },
    },
    resources::any,
};

pub(crate) const RULE: &str = "rule";
pub(crate) const MATCH: &str = "match";
pub(crate) const SUBSET: &str = "subset";
pub(crate) const MIRROR_SUBSETS: &str = "mirrorSubsets";
pub(crate) const FIRST_ATTEMPTS: &str = "abortFirstAttempts";
pub(crate) const NO_SIDE_EFFECTS: &str = "noSideEffects";

/// The route and method rules of `target`; `subsets` holds at least those that its rules name.
pub fn routes(target: &Target, subsets: &Subsets) -> Any {
    let hash_header = match &target.load_balancing {
        LoadBalancing::RingHash { header, .. } => Some(header.as_str()),
        _ => None,
    };
    let list = RouteList {
        authority: &target.authority,
        hash_header,
        methods: &target.methods,
        rules: &target.routes,
        subsets,
    };
    any(&RouteConfiguration {
        name: target.authority.clone(),
        virtual_hosts: vec![VirtualHost {
            name: target.service.clone(),
            domains: vec![target.authority.clone()],
            routes: list.encode(),
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// What a list of routes is made of.
pub(crate) struct RouteList<'a> {
    pub(crate) authority: &'a str,
    pub(crate) hash_header: Option<&'a str>,
    pub(crate) methods: &'a [MethodRule],
    pub(crate) rules: &'a [RouteRule],
    pub(crate) subsets: &'a Subsets,
}

impl RouteList<'_> {
    pub(crate) fn encode(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let at = (RULE, facts::number(u32::try_from(at).unwrap_or(u32::MAX)));
            if rule.matches.is_empty() {
                routes.extend(self.routed(rule, &Match::default(), &[at]));
                continue;
            }
            for (number, one) in rule.matches.iter().enumerate() {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                let place = [at.clone(), (MATCH, facts::number(number))];
                routes.extend(self.routed(rule, one, &place));
            }
        }
        routes.extend(self.methods.iter().map(|method| self.plain(method)));
        routes
    }

    /// A method rule without a route rule: calls go to the target itself.
    fn plain(&self, method: &MethodRule) -> Route {
        let name = match (&method.matches.service, &method.matches.method) {
            (None, _) => "*".to_owned(),
            (Some(service), None) => format!("{service}/*"),
            (Some(service), Some(method)) => format!("{service}/{method}"),
        };
        let mut action = self.behaviour(method);
        action.cluster_specifier = Some(ClusterSpecifier::Cluster(self.authority.to_owned()));
        Route {
            name,
            r#match: Some(route_match(&method.matches, &[])),
            metadata: facts::metadata(method_facts(method)),
            action: Some(Action::Route(action)),
            ..Default::default()
        }
    }

    /// One match of a route rule, once for each method rule that can meet it.
    fn routed(&self, rule: &RouteRule, one: &Match, place: &[(&'static str, Value)]) -> Vec<Route> {
        let methods = narrowed(self.methods, &one.method);
        let routes = methods.iter().map(|method| {
            let mut action = self.behaviour(method);
            action.cluster_specifier = Some(self.destination(&rule.backends));
            action.request_mirror_policies = rule.mirrors.iter().map(mirror).collect();
            let faults = rule.fault.iter();
            Route {
                name: rule.name.clone(),
                r#match: Some(route_match(&method.matches, &one.headers)),
                metadata: facts::metadata(
                    method_facts(method)
                        .chain(place.iter().cloned())
                        .chain(rule_facts(rule)),
                ),
                request_headers_to_add: headers::changes(
                    &rule.request_headers.set,
                    &rule.request_headers.add,
                ),
                request_headers_to_remove: rule.request_headers.remove.clone(),
                response_headers_to_add: headers::changes(
                    &rule.response_headers.set,
                    &rule.response_headers.add,
                ),
                response_headers_to_remove: rule.response_headers.remove.clone(),
                typed_per_filter_config: faults
                    .map(|found| (FAULT.to_owned(), any(&fault::fault(found))))
                    .collect(),
                action: Some(Action::Route(action)),
                ..Default::default()
            }
        });
        routes.collect()
    }

    fn behaviour(&self, method: &MethodRule) -> RouteAction {
        let hedging = method.hedging_policy.as_ref();
        let hash_policy = self.hash_header.iter().map(|header| HashPolicy {
            policy_specifier: Some(hash_policy::PolicySpecifier::Header(hash_policy::Header {
                header_name: (*header).to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        });
        RouteAction {
            // Envoy answers UNAVAILABLE when `timeout` ends, which callers would retry.
            timeout: Some(duration(std::time::Duration::ZERO)),
            max_stream_duration: Some(MaxStreamDuration {
                max_stream_duration: method.timeout.map(duration),
                grpc_timeout_header_max: Some(duration(std::time::Duration::ZERO)),
                grpc_timeout_header_offset: None,
            }),
            retry_policy: match (&method.retry_policy, hedging) {
                (Some(policy), _) => Some(retry::policy(policy)),
                (None, hedging) => hedging.map(retry::hedged),
            },
            hedge_policy: hedging.map(|policy| HedgePolicy {
                // Envoy begins a hedge where the limit of an attempt ends; without one, it sends all
                // at once.
                hedge_on_per_try_timeout: !policy.hedging_delay.is_zero(),
                initial_requests: policy
                    .hedging_delay
                    .is_zero()
                    .then_some(policy.max_attempts),
                ..Default::default()
            }),
            hash_policy: hash_policy.collect(),
            ..Default::default()
        }
    }

    fn destination(&self, backends: &[Backend]) -> ClusterSpecifier {
        if backends.is_empty() {
            return ClusterSpecifier::Cluster(self.authority.to_owned());
        }
        let clusters = backends.iter().map(|backend| ClusterWeight {
            name: backend.authority.clone(),
            weight: Some(backend.weight),
            metadata_match: backend
                .subset
                .as_ref()
                .map(|subset| self.subset(&backend.authority, subset)),
            ..Default::default()
        });
        ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: clusters.collect(),
            ..Default::default()
        })
    }

    fn subset(&self, authority: &str, name: &str) -> Metadata {
        let labels = self.subsets.labels(authority, name);
        let labels = labels.map(facts::labels).unwrap_or_default();
        let name = facts::structure([(SUBSET, facts::text(name))]);
        Metadata {
            filter_metadata: [
                (LB_METADATA.to_owned(), labels),
                (METADATA.to_owned(), name),
            ]
            .into(),
            ..Default::default()
        }
    }
}

/// The method rules as they apply to what `within` matches. The last one applies to all of it.
fn narrowed(methods: &[MethodRule], within: &MethodMatch) -> Vec<MethodRule> {
    let mut narrowed: Vec<MethodRule> = Vec::new();
    for rule in methods {
        let matches = match (covers(&rule.matches, within), covers(within, &rule.matches)) {
            (true, _) => within,
            (false, true) => &rule.matches,
            (false, false) => continue,
        };
        if !narrowed
            .iter()
            .any(|earlier| covers(&earlier.matches, matches))
        {
            narrowed.push(MethodRule {
                matches: matches.clone(),
                ..rule.clone()
            });
        }
    }
    if !narrowed.iter().any(|rule| rule.matches == *within) {
        narrowed.push(MethodRule {
            matches: within.clone(),
            ..MethodRule::default()
        });
    }
    narrowed
}

/// Whether `wide` matches every method that `narrow` does.
pub(crate) fn covers(wide: &MethodMatch, narrow: &MethodMatch) -> bool {
    let part = |wide: &Option<String>, narrow: &Option<String>| wide.is_none() || wide == narrow;
    part(&wide.service, &narrow.service) && part(&wide.method, &narrow.method)
}

fn route_match(method: &MethodMatch, headers: &[weft_model::dataplane::HeaderMatch]) -> RouteMatch {
    let path = match (&method.service, &method.method) {
        (None, _) => PathSpecifier::Prefix(String::new()),
        (Some(service), None) => PathSpecifier::Prefix(format!("/{service}/")),
        (Some(service), Some(method)) => PathSpecifier::Path(format!("/{service}/{method}")),
    };
    RouteMatch {
        path_specifier: Some(path),
        headers: headers.iter().map(headers::matcher).collect(),
        ..Default::default()
    }
}

fn method_facts(method: &MethodRule) -> impl Iterator<Item = (&'static str, Value)> {
    let multiplier = method.retry_policy.as_ref().and_then(retry::multiplier);
    let harmless = method.has_no_side_effects.then(|| facts::flag(true));
    let harmless = harmless.map(|flag| (NO_SIDE_EFFECTS, flag));
    multiplier.into_iter().chain(harmless)
}

fn rule_facts(rule: &RouteRule) -> impl Iterator<Item = (&'static str, Value)> {
    let subsets = rule
        .mirrors
        .iter()
        .map(|mirror| mirror.backend.subset.as_deref());
    let any = subsets.clone().any(|subset| subset.is_some());
    let subsets = any.then(|| {
        let names = subsets.map(|subset| facts::text(subset.unwrap_or_default()));
        (MIRROR_SUBSETS, facts::list(names))
    });
    let abort = rule.fault.as_ref().and_then(|fault| fault.abort.as_ref());
    let first = abort.and_then(|abort| abort.first_attempts);
    let first = first.map(|first| (FIRST_ATTEMPTS, facts::number(first)));
    subsets.into_iter().chain(first)
}

fn mirror(mirror: &weft_model::dataplane::Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: mirror.backend.authority.clone(),
        runtime_fraction: Some(super::runtime_fraction(mirror.share_per_100_000)),
        ..Default::default()
    }
}
