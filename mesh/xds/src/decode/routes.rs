//! Route configurations.

use prost_types::Any;
use weft_model::dataplane::{MethodMatch, MethodRule, RetryPolicy};

use super::{Invalid, Routes, duration, fact, matcher, named, required, unpack, unsupported};
use crate::{
    encode::retry::{BY_HEADER, CONDITIONS, DOUBLING, MULTIPLIER, STATUS_HEADER},
    proto::envoy::config::{
        core::v3::Metadata,
        route::v3::{
            self as wire, HeaderMatcher, Route, RouteAction, RouteMatch,
            header_matcher::HeaderMatchSpecifier, route::Action, route_action::ClusterSpecifier,
            route_match::PathSpecifier,
        },
    },
    whole,
};

/// Envoy retries once unless told otherwise.
const DEFAULT_RETRIES: u32 = 1;
const MOST_ATTEMPTS: u32 = 5;

/// Reads the routes of one authority.
///
/// # Errors
/// On what this data plane does not carry out.
pub fn routes(any: &Any) -> Result<Routes, Invalid> {
    let found: wire::RouteConfiguration = unpack(any)?;
    let name = named("name", found.name)?;
    let [host] = found.virtual_hosts.as_slice() else {
        let reason = format!(
            "has {} entries, exactly one is supported",
            found.virtual_hosts.len()
        );
        return Err(Invalid::new("virtual_hosts", reason));
    };
    let mut cluster: Option<String> = None;
    let mut methods = Vec::with_capacity(host.routes.len());
    for (at, route) in host.routes.iter().enumerate() {
        let path = format!("virtual_hosts[0].routes[{at}]");
        let (rule, leads_to) = method_rule(route).map_err(|e| e.within(&path))?;
        if *cluster.get_or_insert_with(|| leads_to.clone()) != leads_to {
            let path = format!("{path}.route.cluster");
            return Err(Invalid::new(path, "all routes must lead to one cluster"));
        }
        methods.push(rule);
    }
    let facts = host.metadata.as_ref();
    if let Some(whole) = whole::take(facts, "methods")? {
        methods = whole;
    }
    Ok(Routes {
        routes: whole::take(facts, "routes")?.unwrap_or_default(),
        name,
        service: named("virtual_hosts[0].name", host.name.clone())?,
        cluster: required("virtual_hosts[0].routes", cluster)?,
        methods,
    })
}

fn method_rule(route: &Route) -> Result<(MethodRule, String), Invalid> {
    unsupported(
        "typed_per_filter_config",
        !route.typed_per_filter_config.is_empty(),
    )?;
    let found = required("match", route.r#match.as_ref())?;
    let matches = method_match(found).map_err(|e| e.within("match"))?;
    let Some(Action::Route(action)) = &route.action else {
        return Err(Invalid::new(
            "route",
            "required; no other action is supported",
        ));
    };
    let cluster = checked_cluster(action).map_err(|e| e.within("route"))?;
    let limits = action.max_stream_duration.as_ref();
    let timeout = duration(
        "route.max_stream_duration.max_stream_duration",
        limits.and_then(|limits| limits.max_stream_duration.as_ref()),
    )?
    .filter(|timeout| !timeout.is_zero());
    let retry_policy = action
        .retry_policy
        .as_ref()
        .map(|policy| {
            retry_policy(policy, route.metadata.as_ref())
                .map_err(|e| e.within("route.retry_policy"))
        })
        .transpose()?;
    let rule = MethodRule {
        matches,
        timeout,
        retry_policy,
        ..MethodRule::default()
    };
    Ok((rule, cluster))
}

fn method_match(found: &RouteMatch) -> Result<MethodMatch, Invalid> {
    unsupported("headers", !found.headers.is_empty())?;
    unsupported("query_parameters", !found.query_parameters.is_empty())?;
    unsupported("runtime_fraction", found.runtime_fraction.is_some())?;
    unsupported("tls_context", found.tls_context.is_some())?;
    unsupported("dynamic_metadata", !found.dynamic_metadata.is_empty())?;
    unsupported("case_sensitive", found.case_sensitive == Some(false))?;
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

fn checked_cluster(action: &RouteAction) -> Result<String, Invalid> {
    unsupported(
        "request_mirror_policies",
        !action.request_mirror_policies.is_empty(),
    )?;
    unsupported("hedge_policy", action.hedge_policy.is_some())?;
    unsupported("prefix_rewrite", !action.prefix_rewrite.is_empty())?;
    unsupported("regex_rewrite", action.regex_rewrite.is_some())?;
    unsupported("path_rewrite_policy", action.path_rewrite_policy.is_some())?;
    unsupported(
        "host_rewrite_specifier",
        action.host_rewrite_specifier.is_some(),
    )?;
    unsupported("hash_policy", !action.hash_policy.is_empty())?;
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => named("cluster", name.clone()),
        Some(_) => Err(Invalid::new(
            "cluster_specifier",
            "only `cluster` is supported",
        )),
        None => Err(Invalid::new("cluster", "required")),
    }
}

fn retry_policy(
    policy: &wire::RetryPolicy,
    metadata: Option<&Metadata>,
) -> Result<RetryPolicy, Invalid> {
    unsupported("per_try_timeout", policy.per_try_timeout.is_some())?;
    unsupported(
        "retriable_status_codes",
        !policy.retriable_status_codes.is_empty(),
    )?;
    unsupported(
        "retriable_request_headers",
        !policy.retriable_request_headers.is_empty(),
    )?;
    let mut codes = Vec::new();
    for condition in policy.retry_on.split(',').map(str::trim) {
        match CONDITIONS.iter().find(|(name, _)| *name == condition) {
            Some((_, code)) => codes.push(*code),
            None if condition == BY_HEADER => {
                for (at, header) in policy.retriable_headers.iter().enumerate() {
                    let path = format!("retriable_headers[{at}]");
                    codes.push(status_code(header).map_err(|e| e.within(path))?);
                }
            }
            None => {
                let reason = format!("`{}` is not supported", condition.escape_default());
                return Err(Invalid::new("retry_on", reason));
            }
        }
    }
    codes.sort_unstable();
    codes.dedup();
    let back_off = required("retry_back_off", policy.retry_back_off.as_ref())?;
    let initial_backoff = required(
        "retry_back_off.base_interval",
        duration(
            "retry_back_off.base_interval",
            back_off.base_interval.as_ref(),
        )?,
    )?;
    Ok(RetryPolicy {
        // gRFC A44: more than five attempts are cut, not refused.
        max_attempts: policy
            .num_retries
            .unwrap_or(DEFAULT_RETRIES)
            .saturating_add(1)
            .min(MOST_ATTEMPTS),
        initial_backoff,
        max_backoff: duration(
            "retry_back_off.max_interval",
            back_off.max_interval.as_ref(),
        )?
        .unwrap_or(initial_backoff * 10),
        backoff_multiplier_permille: fact(metadata, MULTIPLIER)?.unwrap_or(DOUBLING),
        retryable_status_codes: codes,
        per_attempt_timeout: None,
    })
}

fn status_code(header: &HeaderMatcher) -> Result<i32, Invalid> {
    if header.name != STATUS_HEADER || header.invert_match {
        return Err(Invalid::new("name", "only `grpc-status` is supported"));
    }
    let Some(HeaderMatchSpecifier::StringMatch(text)) = &header.header_match_specifier else {
        return Err(Invalid::new("string_match", "required"));
    };
    let code = matcher::exact(text).map_err(|e| e.within("string_match"))?;
    code.parse()
        .ok()
        .filter(|code| (1..=16).contains(code))
        .ok_or_else(|| Invalid::new("string_match.exact", "not a gRPC status code"))
}
