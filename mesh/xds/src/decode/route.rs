//! One route: what it matches, how calls behave, where they go, what is done to them.

use weft_model::dataplane::{
    Backend, Fault, HeaderChanges, HeaderMatch, MethodMatch, MethodRule, Mirror,
};

use super::{
    Invalid, duration, facts::Facts, fault, matcher, named, required, retry, runtime_share,
    unsupported,
};
use crate::{
    encode::{
        LB_METADATA, Subsets,
        routes::{MATCH, MIRROR_SUBSETS, NO_SIDE_EFFECTS, RULE, SUBSET},
    },
    proto::envoy::config::route::v3::{
        Route, RouteAction, RouteMatch, WeightedCluster,
        route::Action,
        route_action::{ClusterSpecifier, RequestMirrorPolicy, hash_policy},
        route_match::PathSpecifier,
    },
};

/// One entry of the list.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Read {
    /// The rule and the match of it that this route stands for, in a list of our own.
    pub(super) place: Option<(u32, Option<u32>)>,
    pub(super) name: String,
    pub(super) method: MethodRule,
    pub(super) headers: Vec<HeaderMatch>,
    pub(super) destination: Destination,
    pub(super) request_headers: HeaderChanges,
    pub(super) response_headers: HeaderChanges,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) fault: Option<Fault>,
    pub(super) hash_header: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Destination {
    Cluster(String),
    Backends(Vec<Backend>),
}

impl Read {
    /// Whether it says nothing but how calls of a method behave.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.destination, Destination::Cluster(_))
            && self.headers.is_empty()
            && self.request_headers == HeaderChanges::default()
            && self.response_headers == HeaderChanges::default()
            && self.mirrors.is_empty()
            && self.fault.is_none()
    }
}

/// Reads a route; the labels of the subsets it names go to `subsets`.
pub(super) fn route(route: &Route, subsets: &mut Subsets) -> Result<Read, Invalid> {
    let found = required("match", route.r#match.as_ref())?;
    let (matches, headers) = route_match(found).map_err(|e| e.within("match"))?;
    let Some(Action::Route(action)) = &route.action else {
        return Err(Invalid::new(
            "route",
            "required; no other action is supported",
        ));
    };
    let facts = Facts::of(route.metadata.as_ref());
    let rule = facts.number(RULE)?;
    let number = facts.number(MATCH)?;
    Ok(Read {
        place: rule.map(|rule| (rule, number)),
        name: route.name.clone(),
        method: MethodRule {
            matches,
            has_no_side_effects: facts.flag(NO_SIDE_EFFECTS)?,
            ..behaviour(action, facts).map_err(|e| e.within("route"))?
        },
        headers,
        destination: destination(action, subsets).map_err(|e| e.within("route"))?,
        request_headers: matcher::changes(
            "request_headers_to_add",
            &route.request_headers_to_add,
            &route.request_headers_to_remove,
        )?,
        response_headers: matcher::changes(
            "response_headers_to_add",
            &route.response_headers_to_add,
            &route.response_headers_to_remove,
        )?,
        mirrors: mirrors(action, facts)?,
        fault: fault::fault(route, facts)?,
        hash_header: hash_header(action).map_err(|e| e.within("route"))?,
    })
}

fn route_match(found: &RouteMatch) -> Result<(MethodMatch, Vec<HeaderMatch>), Invalid> {
    unsupported("query_parameters", !found.query_parameters.is_empty())?;
    unsupported("runtime_fraction", found.runtime_fraction.is_some())?;
    unsupported("tls_context", found.tls_context.is_some())?;
    unsupported("dynamic_metadata", !found.dynamic_metadata.is_empty())?;
    unsupported("case_sensitive", found.case_sensitive == Some(false))?;
    let headers = found.headers.iter().enumerate().map(|(at, header)| {
        matcher::header(header).map_err(|e| e.within(format!("headers[{at}]")))
    });
    Ok((method_match(found)?, headers.collect::<Result<_, _>>()?))
}

fn method_match(found: &RouteMatch) -> Result<MethodMatch, Invalid> {
    match found.path_specifier.as_ref() {
        Some(PathSpecifier::Prefix(prefix)) if prefix.is_empty() || prefix == "/" => {
            Ok(MethodMatch::default())
        }
        Some(PathSpecifier::Prefix(prefix)) => {
            let service = prefix
                .strip_prefix('/')
                .and_then(|rest| rest.strip_suffix('/'))
                .filter(|service| is_name(service))
                .ok_or_else(|| Invalid::new("prefix", "only `/` and `/SERVICE/` are supported"))?;
            Ok(MethodMatch {
                service: Some(service.to_owned()),
                method: None,
            })
        }
        Some(PathSpecifier::Path(path)) => {
            let (service, method) = path
                .strip_prefix('/')
                .and_then(|rest| rest.split_once('/'))
                .filter(|(service, method)| is_name(service) && is_name(method))
                .ok_or_else(|| Invalid::new("path", "not of the form `/SERVICE/METHOD`"))?;
            Ok(MethodMatch {
                service: Some(service.to_owned()),
                method: Some(method.to_owned()),
            })
        }
        _ => Err(Invalid::new(
            "path_specifier",
            "only `prefix` and `path` are supported",
        )),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

fn behaviour(action: &RouteAction, facts: Facts<'_>) -> Result<MethodRule, Invalid> {
    unsupported("prefix_rewrite", !action.prefix_rewrite.is_empty())?;
    unsupported("regex_rewrite", action.regex_rewrite.is_some())?;
    unsupported("path_rewrite_policy", action.path_rewrite_policy.is_some())?;
    unsupported(
        "host_rewrite_specifier",
        action.host_rewrite_specifier.is_some(),
    )?;
    let limits = action.max_stream_duration.as_ref();
    let timeout = duration(
        "max_stream_duration.max_stream_duration",
        limits.and_then(|limits| limits.max_stream_duration.as_ref()),
    )?;
    let policy = action.retry_policy.as_ref();
    let rule = MethodRule {
        timeout: timeout.filter(|timeout| !timeout.is_zero()),
        ..MethodRule::default()
    };
    if let Some(hedge) = &action.hedge_policy {
        return Ok(MethodRule {
            hedging_policy: Some(retry::hedging_policy(hedge, policy)?),
            ..rule
        });
    }
    let policy = policy.map(|policy| retry::retry_policy(policy, facts));
    Ok(MethodRule {
        retry_policy: policy.transpose().map_err(|e| e.within("retry_policy"))?,
        ..rule
    })
}

fn destination(action: &RouteAction, subsets: &mut Subsets) -> Result<Destination, Invalid> {
    unsupported("metadata_match", action.metadata_match.is_some())?;
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            Ok(Destination::Cluster(named("cluster", name.clone())?))
        }
        Some(ClusterSpecifier::WeightedClusters(split)) => {
            let backends = weighted(split, subsets).map_err(|e| e.within("weighted_clusters"))?;
            Ok(Destination::Backends(backends))
        }
        Some(_) => Err(Invalid::new(
            "cluster_specifier",
            "only `cluster` and `weighted_clusters` are supported",
        )),
        None => Err(Invalid::new("cluster", "required")),
    }
}

fn weighted(split: &WeightedCluster, subsets: &mut Subsets) -> Result<Vec<Backend>, Invalid> {
    let mut backends = Vec::with_capacity(split.clusters.len());
    for (at, cluster) in split.clusters.iter().enumerate() {
        let within = |e: Invalid| e.within(format!("clusters[{at}]"));
        let own = !cluster.request_headers_to_add.is_empty()
            || !cluster.request_headers_to_remove.is_empty()
            || !cluster.response_headers_to_add.is_empty()
            || !cluster.response_headers_to_remove.is_empty();
        unsupported("request_headers_to_add", own).map_err(within)?;
        let filters = !cluster.typed_per_filter_config.is_empty();
        unsupported("typed_per_filter_config", filters).map_err(within)?;
        let authority = named("name", cluster.name.clone()).map_err(within)?;
        let subset = match &cluster.metadata_match {
            None => None,
            Some(metadata) => {
                let path = "metadata_match";
                let name = Facts::of(Some(metadata)).text(SUBSET).map_err(within)?;
                let name = required(path, name).map_err(within)?;
                let labels = metadata.filter_metadata.get(LB_METADATA);
                let labels = labels.map(super::facts::labels).transpose();
                let labels = labels.map_err(|e| within(e.within(path)))?;
                subsets.insert(&authority, name, labels.unwrap_or_default());
                Some(name.to_owned())
            }
        };
        backends.push(Backend {
            authority,
            subset,
            weight: cluster.weight.unwrap_or(0),
        });
    }
    let total = backends.iter().map(|backend| u64::from(backend.weight));
    match total.sum::<u64>() {
        1..=0xFFFF_FFFF => Ok(backends),
        _ => Err(Invalid::new(
            "clusters",
            "weights must add up to 1 to 4294967295",
        )),
    }
}

fn mirrors(action: &RouteAction, facts: Facts<'_>) -> Result<Vec<Mirror>, Invalid> {
    let subsets = facts.texts(MIRROR_SUBSETS)?;
    let read = |(at, policy): (usize, &RequestMirrorPolicy)| {
        unsupported("cluster_header", !policy.cluster_header.is_empty())?;
        let share = policy.runtime_fraction.as_ref();
        let share = share.map(|share| runtime_share("runtime_fraction", share));
        Ok(Mirror {
            backend: Backend {
                authority: named("cluster", policy.cluster.clone())?,
                subset: subsets.get(at).filter(|name| !name.is_empty()).cloned(),
                weight: 0,
            },
            share_per_100_000: share.transpose()?.unwrap_or(100_000),
        })
    };
    let policies = action.request_mirror_policies.iter().enumerate();
    policies
        .map(|(at, policy)| {
            let path = format!("route.request_mirror_policies[{at}]");
            read((at, policy)).map_err(|e: Invalid| e.within(path))
        })
        .collect()
}

fn hash_header(action: &RouteAction) -> Result<Option<String>, Invalid> {
    let policy = match action.hash_policy.as_slice() {
        [] => return Ok(None),
        [one] => one,
        _ => return Err(Invalid::new("hash_policy", "at most one is supported")),
    };
    match &policy.policy_specifier {
        Some(hash_policy::PolicySpecifier::Header(header)) => {
            let rewrites = header.regex_rewrite.is_some();
            unsupported("hash_policy[0].header.regex_rewrite", rewrites)?;
            let name = named(
                "hash_policy[0].header.header_name",
                header.header_name.clone(),
            )?;
            Ok(Some(name.to_ascii_lowercase()))
        }
        _ => Err(Invalid::new("hash_policy[0]", "only `header` is supported")),
    }
}
