//! Endpoint assignments.

use std::{collections::BTreeMap, net::SocketAddr};

use prost_types::Any;
use weft_model::dataplane::{Endpoint, HealthStatus, Locality};

use super::{LB_METADATA, facts};
use crate::{
    proto::envoy::config::{
        core::v3::{
            self as core_v3, Address, Metadata, SocketAddress, address,
            socket_address::PortSpecifier,
        },
        endpoint::v3::{
            self as endpoint_v3, ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints,
            lb_endpoint::HostIdentifier,
        },
    },
    resources::any,
};

/// Where the target of `authority` listens now.
pub fn endpoints(authority: &str, endpoints: &[Endpoint]) -> Any {
    let mut groups: BTreeMap<(u32, &Locality), Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        let group = groups.entry((endpoint.priority, &endpoint.locality));
        group.or_default().push(endpoint);
    }
    let groups = groups.into_iter().map(|((priority, locality), mut found)| {
        found.sort();
        found.dedup();
        // gRPC ignores a locality without weight.
        let weights = found.iter().map(|endpoint| endpoint.weight);
        LocalityLbEndpoints {
            locality: Some(core_v3::Locality {
                region: locality.region.clone(),
                zone: locality.zone.clone(),
                sub_zone: locality.sub_zone.clone(),
            }),
            load_balancing_weight: Some(weights.fold(0, u32::saturating_add).max(1)),
            priority,
            lb_endpoints: found.into_iter().map(endpoint).collect(),
            ..Default::default()
        }
    });
    any(&ClusterLoadAssignment {
        cluster_name: authority.to_owned(),
        endpoints: groups.collect(),
        ..Default::default()
    })
}

fn endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let health = match endpoint.health {
        HealthStatus::Healthy => core_v3::HealthStatus::Healthy,
        HealthStatus::Draining => core_v3::HealthStatus::Draining,
        HealthStatus::Unhealthy => core_v3::HealthStatus::Unhealthy,
    };
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint_v3::Endpoint {
            address: Some(address(endpoint.address)),
            hostname: endpoint.instance.clone(),
            ..Default::default()
        })),
        health_status: health as i32,
        load_balancing_weight: Some(endpoint.weight.max(1)),
        metadata: (!endpoint.labels.is_empty()).then(|| Metadata {
            filter_metadata: [(LB_METADATA.to_owned(), facts::labels(&endpoint.labels))].into(),
            ..Default::default()
        }),
    }
}

/// An endpoint of which only the name is known.
pub(super) fn host(name: &str, port: u16) -> LbEndpoint {
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint_v3::Endpoint {
            address: Some(socket_address(name.to_owned(), port)),
            ..Default::default()
        })),
        ..Default::default()
    }
}

pub(super) fn address(socket: SocketAddr) -> Address {
    socket_address(socket.ip().to_string(), socket.port())
}

fn socket_address(address: String, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address,
            port_specifier: Some(PortSpecifier::PortValue(u32::from(port))),
            ..Default::default()
        })),
    }
}
