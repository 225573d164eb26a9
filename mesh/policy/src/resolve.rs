//! What holds for calls of one path to one target, found once and remembered.

use std::{sync::Arc, time::Duration};

use foldhash::HashMap;
use rand::{Rng as _, RngCore};
use weft_model::dataplane::{
    Fault, HeaderChanges, HedgingPolicy, MethodMatch, Mirror, RetryPolicy, RouteRule, Target,
};

use crate::{facts::Headers, matcher::HeaderMatcher, record::rule_name};

/// The rules of a target, made ready for calls.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    methods: Vec<(MethodMatch, Arc<Method>)>,
    routes: Vec<(Vec<RouteCondition>, Arc<Route>)>,
    /// By path. Paths come from workloads, so the number is bounded.
    known: HashMap<Arc<str>, Arc<Resolution>>,
}

/// How many paths of one target are remembered. A contract has far fewer; whoever sends more pays for
/// finding the rules anew.
const MOST_PATHS: usize = 1024;

/// How calls of some methods behave.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: Arc<str>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Option<Arc<RetryPolicy>>,
    pub(crate) hedging: Option<Arc<HedgingPolicy>>,
    pub(crate) has_no_side_effects: bool,
}

/// Where calls go.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    backends: Vec<WeightedBackend>,
    total_weight: u64,
    pub(crate) request_headers: HeaderChanges,
    pub(crate) response_headers: HeaderChanges,
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) fault: Option<Fault>,
}

/// A service that takes a share of a route's calls.
#[derive(Debug)]
pub(crate) struct WeightedBackend {
    pub(crate) authority: Arc<str>,
    pub(crate) subset: Option<Arc<str>>,
    weight: u64,
}

#[derive(Clone, Debug)]
struct RouteCondition {
    method: MethodMatch,
    headers: Arc<[HeaderMatcher]>,
}

/// Everything about one path but what depends on headers and chance.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) path: Arc<str>,
    pub(crate) method: Arc<Method>,
    /// Route rules whose method matches, in order; the last one may be free of conditions.
    routes: Vec<(Arc<[HeaderMatcher]>, Arc<Route>)>,
}

impl Rules {
    pub(crate) fn new(target: &Target) -> Self {
        let methods = target.methods.iter().map(|rule| {
            let method = Method {
                name: rule_name(&rule.matches).into(),
                timeout: rule.timeout,
                retry: rule.retry_policy.clone().map(Arc::new),
                hedging: rule.hedging_policy.clone().map(Arc::new),
                has_no_side_effects: rule.has_no_side_effects,
            };
            (rule.matches.clone(), Arc::new(method))
        });
        Self {
            methods: methods.collect(),
            routes: target.routes.iter().map(route).collect(),
            known: HashMap::default(),
        }
    }

    pub(crate) fn resolve(&mut self, path: &str) -> Arc<Resolution> {
        if let Some(known) = self.known.get(path) {
            return Arc::clone(known);
        }
        if self.known.len() >= MOST_PATHS {
            self.known.clear();
        }
        let resolution = Arc::new(self.find(path));
        let key = Arc::clone(&resolution.path);
        self.known.insert(key, Arc::clone(&resolution));
        resolution
    }

    fn find(&self, path: &str) -> Resolution {
        let mut methods = self.methods.iter();
        let method = methods
            .find(|(matches, _)| matches.matches(path))
            .map_or_else(
                || Arc::new(Method::none()),
                |(_, method)| Arc::clone(method),
            );
        let mut routes = Vec::new();
        for (conditions, route) in &self.routes {
            let matching = conditions
                .iter()
                .filter(|condition| condition.method.matches(path));
            for condition in matching {
                routes.push((Arc::clone(&condition.headers), Arc::clone(route)));
            }
            if routes.last().is_some_and(|(headers, _)| headers.is_empty()) {
                break;
            }
        }
        Resolution {
            path: path.into(),
            method,
            routes,
        }
    }
}

impl Method {
    fn none() -> Self {
        Self {
            name: "none".into(),
            timeout: None,
            retry: None,
            hedging: None,
            has_no_side_effects: false,
        }
    }
}

impl Resolution {
    /// The first route rule that matches. `None`: the call goes to the target itself.
    pub(crate) fn route(&self, headers: &dyn Headers) -> Option<&Arc<Route>> {
        let mut routes = self.routes.iter();
        let found = routes.find(|(conditions, _)| {
            conditions
                .iter()
                .all(|condition| condition.matches(headers, false))
        });
        found.map(|(_, route)| route)
    }
}

impl Route {
    /// The backend that chance gives the call, by weight. `Ok(None)`: the target itself; `Err`: no backend
    /// has a weight.
    pub(crate) fn backend(&self, rng: &mut dyn RngCore) -> Result<Option<&WeightedBackend>, ()> {
        if self.backends.is_empty() {
            return Ok(None);
        }
        if self.total_weight == 0 {
            return Err(());
        }
        let mut left = match self.backends.len() {
            1 => 0,
            _ => rng.random_range(0..self.total_weight),
        };
        let chosen = self.backends.iter().find(|backend| {
            let is_chosen = left < backend.weight;
            left = left.saturating_sub(backend.weight);
            is_chosen
        });
        chosen.map(Some).ok_or(())
    }
}

fn route(rule: &RouteRule) -> (Vec<RouteCondition>, Arc<Route>) {
    let mut conditions: Vec<RouteCondition> = rule
        .matches
        .iter()
        .map(|matches| RouteCondition {
            method: matches.method.clone(),
            headers: matches.headers.iter().map(HeaderMatcher::new).collect(),
        })
        .collect();
    if conditions.is_empty() {
        conditions.push(RouteCondition {
            method: MethodMatch::default(),
            headers: Arc::default(),
        });
    }
    let backends = rule.backends.iter().map(|backend| WeightedBackend {
        authority: backend.authority.as_str().into(),
        subset: backend.subset.as_deref().map(Into::into),
        weight: backend.weight.into(),
    });
    let route = Route {
        name: rule.name.as_str().into(),
        backends: backends.collect(),
        total_weight: rule
            .backends
            .iter()
            .map(|backend| u64::from(backend.weight))
            .sum(),
        request_headers: rule.request_headers.clone(),
        response_headers: rule.response_headers.clone(),
        mirrors: rule.mirrors.clone(),
        fault: rule.fault.clone(),
    };
    (conditions, Arc::new(route))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{SeedableRng, rngs::StdRng};
    use weft_model::dataplane::{Backend, HeaderMatch, RouteMatch, TextMatch};

    use super::*;
    use crate::facts::NoHeaders;

    fn rule(name: &str, matches: Vec<RouteMatch>, backends: &[(&str, u32)]) -> RouteRule {
        RouteRule {
            name: name.to_owned(),
            matches,
            backends: backends
                .iter()
                .map(|&(authority, weight)| Backend {
                    authority: authority.to_owned(),
                    weight,
                    subset: None,
                })
                .collect(),
            ..RouteRule::default()
        }
    }

    fn on(method: Option<&str>, header: Option<(&str, &str)>) -> RouteMatch {
        RouteMatch {
            method: MethodMatch {
                service: method.map(|_| "a.B".to_owned()),
                method: method.map(str::to_owned),
            },
            headers: header
                .map(|(name, value)| HeaderMatch {
                    name: name.to_owned(),
                    value: TextMatch::Exact(value.to_owned()),
                })
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn the_first_rule_whose_method_and_headers_match_is_taken() {
        let mut rules = Rules::new(&Target {
            routes: vec![
                rule("beta", vec![on(Some("Get"), Some(("x-beta", "yes")))], &[]),
                rule("get", vec![on(Some("Get"), None)], &[]),
                rule(
                    "user",
                    vec![on(None, Some(("x-user", "1"))), on(Some("Put"), None)],
                    &[],
                ),
            ],
            ..Target::default()
        });
        let mut name = |path: &str, headers: &[(&str, &str)]| {
            let resolution = rules.resolve(path);
            resolution
                .route(&headers)
                .map(|route| route.name.to_string())
        };
        assert_eq!(
            name("/a.B/Get", &[("x-beta", "yes")]).as_deref(),
            Some("beta")
        );
        assert_eq!(
            name("/a.B/Get", &[("x-beta", "no")]).as_deref(),
            Some("get")
        );
        assert_eq!(name("/a.B/Put", &[]).as_deref(), Some("user"));
        assert_eq!(
            name("/a.B/Other", &[("x-user", "1")]).as_deref(),
            Some("user")
        );
        assert_eq!(name("/a.B/Other", &[]), None);
    }

    #[test]
    fn calls_are_split_by_weight_and_a_weight_of_zero_gets_none() {
        let split = rule("split", vec![], &[("v1:1", 90), ("v2:1", 10), ("v3:1", 0)]);
        let (_, route) = route(&split);
        let mut rng = StdRng::seed_from_u64(5);
        let mut counts = HashMap::new();
        for _ in 0..10_000 {
            let backend = route.backend(&mut rng).unwrap().unwrap();
            *counts.entry(backend.authority.to_string()).or_insert(0) += 1;
        }
        assert!((850..1150).contains(&counts["v2:1"]), "{counts:?}");
        assert!(!counts.contains_key("v3:1"));
    }

    #[test]
    fn a_route_whose_weights_are_all_zero_leads_nowhere() {
        let (_, route) = route(&rule("none", vec![], &[("v1:1", 0)]));
        assert!(route.backend(&mut StdRng::seed_from_u64(5)).is_err());
    }

    #[test]
    fn no_more_paths_are_remembered_than_the_bound() {
        let mut rules = Rules::new(&Target::default());
        for n in 0..3 * MOST_PATHS {
            let resolution = rules.resolve(&format!("/a.B/M{n}"));
            assert!(resolution.route(&NoHeaders).is_none());
        }
        assert!(rules.known.len() <= MOST_PATHS);
    }
}
