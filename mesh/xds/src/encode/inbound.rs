//! What a workload takes, as a listener: two RBAC filters, deny first, then the limits.

use prost_types::Any;
use weft_model::dataplane::Inbound;

use super::{TLS_SOCKET, endpoints::address, limits, rbac, router, tls};
use crate::{
    proto::envoy::{
        config::{
            core::v3::{TrafficDirection, TransportSocket, transport_socket},
            listener::v3::{Filter, FilterChain, Listener, filter as network_filter},
            rbac::v3::rbac::Action as RbacAction,
            route::v3::{
                NonForwardingAction, Route, RouteConfiguration, RouteMatch, VirtualHost,
                route::Action, route_match::PathSpecifier,
            },
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager::RouteSpecifier,
        },
    },
    resources::any,
};

pub(crate) const NAME_PREFIX: &str = "inbound/";
pub(crate) const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
/// A sidecar of ours binds the address it was started with; Envoy binds this one.
const INBOUND: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 15006);

/// What the inbound listener of a workload of `service` is called.
pub fn inbound_name(service: &str) -> String {
    format!("{NAME_PREFIX}{service}")
}

/// The listener before a workload, with the rules who may call it and how much.
pub fn inbound_listener(inbound: &Inbound) -> Any {
    let is_dry_run = inbound.is_dry_run;
    let mut http_filters = vec![
        rbac::filter(RbacAction::Deny, &inbound.deny_rules, is_dry_run),
        rbac::filter(RbacAction::Allow, &inbound.allow_rules, is_dry_run),
    ];
    http_filters.extend(limits::filters(inbound));
    http_filters.push(router());
    let manager = HttpConnectionManager {
        stat_prefix: inbound_name(&inbound.service),
        route_specifier: Some(RouteSpecifier::RouteConfig(to_the_workload(
            &inbound.service,
        ))),
        http_filters,
        ..Default::default()
    };
    any(&Listener {
        name: inbound_name(&inbound.service),
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
        metadata: limits::metadata(inbound),
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
