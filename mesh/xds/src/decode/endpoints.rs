//! Endpoint assignments.

use std::net::{IpAddr, SocketAddr};

use prost_types::Any;
use weft_model::dataplane::{Endpoint, HealthStatus, Locality};

use super::{Endpoints, Invalid, facts, named, required, unpack, unsupported};
use crate::{
    encode::LB_METADATA,
    proto::envoy::config::{
        core::v3::{Address, HealthStatus as Status, SocketAddress, address, socket_address},
        endpoint::v3::{ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier},
    },
};

/// Reads an endpoint assignment.
///
/// # Errors
/// On what this data plane does not carry out.
pub fn endpoints(any: &Any) -> Result<Endpoints, Invalid> {
    let assignment: ClusterLoadAssignment = unpack(any)?;
    if let Some(policy) = &assignment.policy {
        unsupported("policy.drop_overloads", !policy.drop_overloads.is_empty())?;
    }
    let mut found = Vec::new();
    for (at, group) in assignment.endpoints.iter().enumerate() {
        let path = format!("endpoints[{at}]");
        unsupported("lb_config", group.lb_config.is_some()).map_err(|e| e.within(&path))?;
        let locality = group.locality.as_ref().map(|locality| Locality {
            region: locality.region.clone(),
            zone: locality.zone.clone(),
            sub_zone: locality.sub_zone.clone(),
        });
        let locality = locality.unwrap_or_default();
        for (index, one) in group.lb_endpoints.iter().enumerate() {
            let read =
                lb_endpoint(one).map_err(|e| e.within(format!("{path}.lb_endpoints[{index}]")))?;
            found.push(Endpoint {
                locality: locality.clone(),
                priority: group.priority,
                ..read
            });
        }
    }
    found.sort();
    if let Some(pair) = found
        .windows(2)
        .find(|pair| pair[0].address == pair[1].address)
    {
        let reason = format!("address {} comes twice", pair[0].address);
        return Err(Invalid::new("endpoints", reason));
    }
    Ok(Endpoints {
        name: named("cluster_name", assignment.cluster_name)?,
        endpoints: found,
    })
}

fn lb_endpoint(endpoint: &LbEndpoint) -> Result<Endpoint, Invalid> {
    let (address, instance) = host(endpoint)?;
    let (host, port) = socket_address(address)?;
    let ip: IpAddr = host.parse().map_err(|_| {
        Invalid::new(
            "endpoint.address.socket_address.address",
            "not an IP address",
        )
    })?;
    let labels = endpoint.metadata.as_ref();
    let labels = labels.and_then(|metadata| metadata.filter_metadata.get(LB_METADATA));
    let labels = labels
        .map(facts::labels)
        .transpose()
        .map_err(|e| e.within(format!("metadata.filter_metadata[{LB_METADATA}]")))?;
    let health = match endpoint.health_status() {
        Status::Unknown | Status::Healthy | Status::Degraded => HealthStatus::Healthy,
        Status::Draining => HealthStatus::Draining,
        Status::Unhealthy | Status::Timeout => HealthStatus::Unhealthy,
    };
    Ok(Endpoint {
        weight: endpoint.load_balancing_weight.unwrap_or(1).max(1),
        labels: labels.unwrap_or_default(),
        health,
        ..Endpoint::new(SocketAddr::new(ip, port), instance)
    })
}

fn host(endpoint: &LbEndpoint) -> Result<(Option<&Address>, &str), Invalid> {
    let Some(HostIdentifier::Endpoint(found)) = &endpoint.host_identifier else {
        return Err(Invalid::new("endpoint", "required"));
    };
    Ok((found.address.as_ref(), &found.hostname))
}

/// The name and port of an endpoint that is found by DNS.
pub(super) fn name(endpoint: &LbEndpoint) -> Result<(String, u16), Invalid> {
    let (address, _) = host(endpoint)?;
    let (name, port) = socket_address(address)?;
    if name.is_empty() {
        return Err(Invalid::new(
            "endpoint.address.socket_address.address",
            "required",
        ));
    }
    Ok((name.to_owned(), port))
}

fn socket_address(found: Option<&Address>) -> Result<(&str, u16), Invalid> {
    let path = "endpoint.address.socket_address";
    let socket: Option<&SocketAddress> = match found.and_then(|found| found.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) => Some(socket),
        _ => None,
    };
    let socket = required(path, socket)?;
    let Some(socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return Err(Invalid::new(format!("{path}.port_value"), "required"));
    };
    let port = u16::try_from(port)
        .map_err(|_| Invalid::new(format!("{path}.port_value"), "above 65535"))?;
    Ok((&socket.address, port))
}
