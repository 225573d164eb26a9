//! Endpoint assignments.

use prost_types::Any;
use weft_model::dataplane::{self, Endpoint};

use crate::{
    proto::envoy::config::{
        core::v3::{
            Address, HealthStatus, Locality, Metadata, SocketAddress, address,
            socket_address::PortSpecifier,
        },
        endpoint::v3::{
            self as endpoint_v3, ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints,
            lb_endpoint::HostIdentifier,
        },
    },
    resources::any,
    whole,
};

/// Where the target of `authority` listens now.
pub fn endpoints(authority: &str, endpoints: &[Endpoint]) -> Any {
    let mut sorted: Vec<_> = endpoints.iter().collect();
    sorted.sort();
    sorted.dedup();
    let locality = (!sorted.is_empty()).then(|| LocalityLbEndpoints {
        locality: Some(Locality::default()),
        load_balancing_weight: Some(1),
        lb_endpoints: sorted.into_iter().map(endpoint).collect(),
        ..Default::default()
    });
    any(&ClusterLoadAssignment {
        cluster_name: authority.to_owned(),
        endpoints: locality.into_iter().collect(),
        ..Default::default()
    })
}

fn endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let mut facts = Metadata::default();
    whole::put(&mut facts, "endpoint", endpoint);
    LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint_v3::Endpoint {
            address: Some(address(endpoint.address)),
            hostname: endpoint.instance.clone(),
            ..Default::default()
        })),
        health_status: match endpoint.health {
            dataplane::HealthStatus::Healthy => HealthStatus::Healthy,
            dataplane::HealthStatus::Draining => HealthStatus::Draining,
            dataplane::HealthStatus::Unhealthy => HealthStatus::Unhealthy,
        } as i32,
        load_balancing_weight: Some(endpoint.weight),
        metadata: Some(facts),
    }
}

pub(super) fn address(socket: std::net::SocketAddr) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: socket.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(socket.port()))),
            ..Default::default()
        })),
    }
}
