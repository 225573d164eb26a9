//! Caller rules (gRFC A43) as a listener with two RBAC filters: deny first, then allow.

use prost_types::Any;
use weft_model::dataplane::{AuthzRule, Inbound};

use super::{TLS_SOCKET, endpoints::address, filter, router, tls};
use crate::{
    proto::envoy::{
        config::{
            core::v3::{Metadata, TrafficDirection, TransportSocket, transport_socket},
            listener::v3::{Filter, FilterChain, Listener, filter as network_filter},
            rbac::v3::{
                Permission, Policy, Principal, Rbac as Rules, permission, principal,
                rbac::Action as RbacAction,
            },
            route::v3::{
                NonForwardingAction, Route, RouteConfiguration, RouteMatch, VirtualHost,
                route::Action, route_match::PathSpecifier,
            },
        },
        extensions::filters::{
            http::rbac::v3::Rbac,
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
            },
        },
        r#type::matcher::v3::{
            PathMatcher, StringMatcher, path_matcher, string_matcher::MatchPattern,
        },
    },
    resources::any,
    whole,
};

pub(crate) const NAME_PREFIX: &str = "inbound/";
pub(crate) const RBAC: &str = "envoy.filters.http.rbac";
pub(crate) const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
/// A sidecar of ours binds the address it was started with; Envoy binds this one.
const INBOUND: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 15006);

/// What the inbound listener of a workload of `service` is called.
pub fn inbound_name(service: &str) -> String {
    format!("{NAME_PREFIX}{service}")
}

/// The listener before a workload, with the rules who may call it.
pub fn inbound_listener(inbound: &Inbound) -> Any {
    let manager = HttpConnectionManager {
        stat_prefix: inbound_name(&inbound.service),
        route_specifier: Some(RouteSpecifier::RouteConfig(to_the_workload(
            &inbound.service,
        ))),
        http_filters: vec![
            rbac(RbacAction::Deny, &inbound.deny_rules),
            rbac(RbacAction::Allow, &inbound.allow_rules),
            router(),
        ],
        ..Default::default()
    };
    let mut facts = Metadata::default();
    whole::put(&mut facts, "inbound", inbound);
    any(&Listener {
        name: inbound_name(&inbound.service),
        metadata: Some(facts),
        address: Some(address(INBOUND)),
        traffic_direction: TrafficDirection::Inbound as i32,
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: CONNECTION_MANAGER.to_owned(),
                config_type: Some(network_filter::ConfigType::TypedConfig(any(&manager))),
            }],
            transport_socket: Some(TransportSocket {
                name: TLS_SOCKET.to_owned(),
                config_type: Some(transport_socket::ConfigType::TypedConfig(any(
                    &tls::downstream(),
                ))),
            }),
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn to_the_workload(service: &str) -> RouteConfiguration {
    RouteConfiguration {
        name: inbound_name(service),
        virtual_hosts: vec![VirtualHost {
            name: service.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![Route {
                r#match: Some(RouteMatch {
                    path_specifier: Some(PathSpecifier::Prefix(String::new())),
                    ..Default::default()
                }),
                action: Some(Action::NonForwardingAction(NonForwardingAction {})),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn rbac(action: RbacAction, rules: &[AuthzRule]) -> HttpFilter {
    let policies = rules
        .iter()
        // Whoever reads only these fields knows no headers: it denies more, never less.
        .filter(|rule| rule.headers.is_empty() || action == RbacAction::Deny)
        .enumerate()
        // Policies are a map; the number keeps their order and lets two rules have one name.
        .map(|(at, rule)| (format!("{at:04}-{}", rule.name), policy(rule)))
        .collect();
    let config = Rbac {
        rules: Some(Rules {
            action: action as i32,
            policies,
            ..Default::default()
        }),
        ..Default::default()
    };
    filter(RBAC, any(&config))
}

fn policy(rule: &AuthzRule) -> Policy {
    let permissions = match rule.paths.as_slice() {
        [] => vec![permission::Rule::Any(true)],
        paths => paths
            .iter()
            .map(|path| {
                permission::Rule::UrlPath(PathMatcher {
                    rule: Some(path_matcher::Rule::Path(path_pattern(path))),
                })
            })
            .collect(),
    };
    let principals = match rule.principals.as_slice() {
        [] => vec![principal::Identifier::Any(true)],
        names => names
            .iter()
            .map(|name| {
                principal::Identifier::Authenticated(principal::Authenticated {
                    // Without a name: whoever is authenticated.
                    principal_name: (name != "*").then(|| pattern(name)),
                })
            })
            .collect(),
    };
    Policy {
        permissions: permissions
            .into_iter()
            .map(|rule| Permission { rule: Some(rule) })
            .collect(),
        principals: principals
            .into_iter()
            .map(|identifier| Principal {
                identifier: Some(identifier),
            })
            .collect(),
        ..Default::default()
    }
}

/// Every path starts with a slash, and xDS allows no empty prefix.
fn path_pattern(path: &str) -> StringMatcher {
    pattern(if path == "*" { "/*" } else { path })
}

fn pattern(text: &str) -> StringMatcher {
    let pattern = if let Some(prefix) = text.strip_suffix('*') {
        MatchPattern::Prefix(prefix.to_owned())
    } else if let Some(suffix) = text.strip_prefix('*') {
        MatchPattern::Suffix(suffix.to_owned())
    } else {
        MatchPattern::Exact(text.to_owned())
    };
    StringMatcher {
        match_pattern: Some(pattern),
        ..Default::default()
    }
}
