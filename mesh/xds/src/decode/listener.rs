//! Listeners: a name that callers dial, or the caller rules before a workload.

use prost_types::Any;
use weft_model::dataplane::{AuthzRule, Inbound};

use super::{
    Invalid, Listener, from_this_stream, matcher, named, required, unpack, unpack_field,
    unsupported,
};
use crate::{
    encode::{ROUTER, inbound_service},
    proto::envoy::{
        config::{
            listener::v3::{self as wire, filter},
            rbac::v3::{
                Permission, Policy, Principal, permission, principal, rbac::Action as RbacAction,
            },
        },
        extensions::filters::{
            http::rbac::v3::Rbac,
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
                http_filter,
            },
        },
        r#type::matcher::v3::path_matcher,
    },
    whole,
};

/// Reads a listener.
///
/// # Errors
/// On what this data plane does not carry out, such as an HTTP filter that is not optional.
pub fn listener(any: &Any) -> Result<Listener, Invalid> {
    let found: wire::Listener = unpack(any)?;
    let name = named("name", found.name.clone())?;
    match &found.api_listener {
        Some(api) => outbound(name, api).map_err(|e| e.within("api_listener.api_listener")),
        None => inbound(&name, &found),
    }
}

fn outbound(authority: String, api: &wire::ApiListener) -> Result<Listener, Invalid> {
    let manager: HttpConnectionManager = unpack(required("", api.api_listener.as_ref())?)?;
    let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier else {
        return Err(Invalid::new("rds", "required; routes come by RDS"));
    };
    from_this_stream("rds.config_source", rds.config_source.as_ref())?;
    for (at, filter) in checked_filters(&manager.http_filters)? {
        if filter.name != ROUTER {
            return Err(unknown_filter(at, filter));
        }
    }
    Ok(Listener::Outbound {
        authority,
        routes: named("rds.route_config_name", rds.route_config_name.clone())?,
    })
}

fn inbound(name: &str, found: &wire::Listener) -> Result<Listener, Invalid> {
    let service = inbound_service(name).ok_or_else(|| {
        Invalid::new(
            "api_listener",
            "required in a listener that is not `inbound/SERVICE`",
        )
    })?;
    let [chain] = found.filter_chains.as_slice() else {
        return Err(Invalid::new("filter_chains", "exactly one is supported"));
    };
    let [network] = chain.filters.as_slice() else {
        return Err(Invalid::new(
            "filter_chains[0].filters",
            "exactly one is supported",
        ));
    };
    let path = "filter_chains[0].filters[0].typed_config";
    let config = match &network.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => Some(config),
        _ => None,
    };
    let manager: HttpConnectionManager = unpack_field(path, config)?;
    let mut rules = Inbound {
        service: service.to_owned(),
        ..Inbound::default()
    };
    let mut decides = false;
    for (at, filter) in checked_filters(&manager.http_filters).map_err(|e| e.within(path))? {
        if filter.name == ROUTER {
            continue;
        }
        let within = format!("{path}.http_filters[{at}].typed_config");
        let Some(http_filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
            return Err(Invalid::new(within, "required"));
        };
        if !config
            .type_url
            .ends_with("/envoy.extensions.filters.http.rbac.v3.RBAC")
        {
            return Err(unknown_filter(at, filter).within(path));
        }
        decides |= add_rules(config, &mut rules).map_err(|e| e.within(within))?;
    }
    if !decides {
        // Without an allow filter Envoy lets everybody in; this data plane never does.
        return Err(Invalid::new(
            path,
            "an RBAC filter with action ALLOW is required",
        ));
    }
    // The filters say who may call; what limits how much comes besides.
    match whole::take::<Inbound>(found.metadata.as_ref(), "inbound")? {
        Some(whole) if whole.service != rules.service => {
            Err(Invalid::new("metadata", "it is for another service"))
        }
        Some(whole) => Ok(Listener::Inbound(whole)),
        None => Ok(Listener::Inbound(rules)),
    }
}

/// The filters that must be obeyed, with their places; the last must be the router (gRFC A39).
fn checked_filters(filters: &[HttpFilter]) -> Result<Vec<(usize, &HttpFilter)>, Invalid> {
    if filters.last().is_none_or(|last| last.name != ROUTER) {
        return Err(Invalid::new(
            "http_filters",
            format!("the last must be `{ROUTER}`"),
        ));
    }
    let known = |filter: &HttpFilter| {
        let known_type = match &filter.config_type {
            Some(http_filter::ConfigType::TypedConfig(config)) => {
                config.type_url.ends_with(".RBAC")
            }
            _ => false,
        };
        known_type || filter.name == ROUTER
    };
    Ok(filters
        .iter()
        .enumerate()
        .filter(|(_, filter)| !filter.disabled && (known(filter) || !filter.is_optional))
        .collect())
}

fn unknown_filter(at: usize, filter: &HttpFilter) -> Invalid {
    Invalid::new(
        format!("http_filters[{at}]"),
        format!("filter `{}` is not supported", filter.name.escape_default()),
    )
}

/// Adds a filter's rules; true if it is one that allows.
fn add_rules(config: &Any, rules: &mut Inbound) -> Result<bool, Invalid> {
    let filter: Rbac = unpack(config)?;
    unsupported("matcher", filter.matcher.is_some())?;
    let found = required("rules", filter.rules)?;
    let action = found.action();
    let target = match action {
        RbacAction::Allow => &mut rules.allow_rules,
        RbacAction::Deny => &mut rules.deny_rules,
        RbacAction::Log => return Err(Invalid::new("rules.action", "`LOG` is not supported")),
    };
    if action == RbacAction::Allow && !target.is_empty() {
        return Err(Invalid::new(
            "rules",
            "a second ALLOW filter is not supported",
        ));
    }
    let mut policies: Vec<_> = found.policies.iter().collect();
    policies.sort_by_key(|(key, _)| *key);
    for (key, policy) in policies {
        let rule = rule(key, policy)
            .map_err(|e| e.within(format!("rules.policies[{}]", key.escape_default())))?;
        target.push(rule);
    }
    Ok(action == RbacAction::Allow)
}

fn rule(key: &str, policy: &Policy) -> Result<AuthzRule, Invalid> {
    unsupported("condition", policy.condition.is_some())?;
    unsupported("checked_condition", policy.checked_condition.is_some())?;
    let paths = patterns("permissions", &policy.permissions, permission_path)?;
    let principals = patterns("principals", &policy.principals, principal_name)?;
    // Our control plane numbers its rules, because a map has no order.
    let name = match key.split_once('-') {
        Some((number, name)) if number.len() >= 4 && number.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ => key,
    };
    Ok(AuthzRule {
        name: name.to_owned(),
        principals,
        paths,
        ..AuthzRule::default()
    })
}

/// All entries as patterns; empty if one of them (`None`) matches everything.
fn patterns<T>(
    path: &str,
    entries: &[T],
    read: fn(&T) -> Result<Option<String>, Invalid>,
) -> Result<Vec<String>, Invalid> {
    if entries.is_empty() {
        return Err(Invalid::new(path, "at least one is required"));
    }
    let found = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| read(entry).map_err(|e| e.within(format!("{path}[{at}]"))))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(found
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .unwrap_or_default())
}

fn permission_path(permission: &Permission) -> Result<Option<String>, Invalid> {
    match &permission.rule {
        Some(permission::Rule::Any(true)) => Ok(None),
        Some(permission::Rule::UrlPath(path)) => {
            let Some(path_matcher::Rule::Path(text)) = &path.rule else {
                return Err(Invalid::new("url_path.path", "required"));
            };
            matcher::pattern(Some(text))
                .map(Some)
                .map_err(|e| e.within("url_path.path"))
        }
        _ => Err(Invalid::new(
            "rule",
            "only `any` and `url_path` are supported",
        )),
    }
}

fn principal_name(principal: &Principal) -> Result<Option<String>, Invalid> {
    match &principal.identifier {
        Some(principal::Identifier::Any(true)) => Ok(None),
        Some(principal::Identifier::Authenticated(found)) => match &found.principal_name {
            None => Ok(Some("*".to_owned())),
            name => matcher::pattern(name.as_ref())
                .map(Some)
                .map_err(|e| e.within("authenticated.principal_name")),
        },
        _ => Err(Invalid::new(
            "identifier",
            "only `any` and `authenticated` are supported",
        )),
    }
}
