//! xDS resources back into `weft_model::dataplane` values. What this data plane would not carry out is
//! refused with the path of the field: a config that is silently ignored is worse than none.

use std::{net::SocketAddr, time::Duration};

use prost::{Message, Name};
use prost_types::{Any, value::Kind};
use weft_model::dataplane::{
    Endpoint, Inbound, MethodRule, OutlierDetection, RetryThrottling, RouteRule, Target,
};

use crate::{
    encode::METADATA,
    proto::envoy::config::{
        core::v3::{
            Address, ConfigSource, HealthStatus, Metadata, address, config_source, socket_address,
        },
        endpoint::v3::{ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier},
    },
    whole,
};

mod cluster;
mod listener;
mod matcher;
mod routes;

pub use cluster::cluster;
pub use listener::listener;
pub use routes::routes;

/// Why a resource is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Invalid {
    /// The field, such as `virtual_hosts[0].routes[2].route.weighted_clusters`.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// The same problem, seen from the message that holds this one.
    pub(crate) fn within(mut self, outer: impl AsRef<str>) -> Self {
        let outer = outer.as_ref();
        self.path = match self.path.as_str() {
            "" => outer.to_owned(),
            path => format!("{outer}.{path}"),
        };
        self
    }
}

/// Refuses a field that is set.
pub(crate) fn unsupported(path: &str, is_set: bool) -> Result<(), Invalid> {
    if is_set {
        return Err(Invalid::new(path, "not supported by this data plane"));
    }
    Ok(())
}

pub(crate) fn required<T>(path: &str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(path, "required"))
}

/// A listener as far as a data plane of ours needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Calls to this authority follow these routes.
    Outbound {
        /// What callers dial.
        authority: String,
        /// The name of the route configuration.
        routes: String,
    },
    /// Who may call the workload.
    Inbound(Inbound),
}

/// The routes of one authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// The route configuration's name.
    pub name: String,
    /// The service's name in the mesh file.
    pub service: String,
    /// Where all of them lead.
    pub cluster: String,
    /// What applies to which method, most specific first.
    pub methods: Vec<MethodRule>,
    /// The rules of the mesh file's routes.
    pub routes: Vec<RouteRule>,
}

/// A group of equal endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's name.
    pub name: String,
    /// The name of its endpoint assignment.
    pub endpoints: String,
    /// The SPIFFE ID an endpoint must prove.
    pub identity: String,
    /// The retry budget.
    pub retry_throttling: Option<RetryThrottling>,
    /// Passive health.
    pub outlier_detection: Option<OutlierDetection>,
    /// The target's settings, where the control plane is one of ours.
    pub target: Option<Box<Target>>,
}

/// Where a cluster's endpoints are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The assignment's name.
    pub name: String,
    /// Sorted.
    pub endpoints: Vec<Endpoint>,
}

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
    for (at, locality) in assignment.endpoints.iter().enumerate() {
        let path = format!("endpoints[{at}]");
        unsupported("priority", locality.priority != 0).map_err(|e| e.within(&path))?;
        unsupported("lb_config", locality.lb_config.is_some()).map_err(|e| e.within(&path))?;
        for (index, endpoint) in locality.lb_endpoints.iter().enumerate() {
            let read = lb_endpoint(endpoint)
                .map_err(|e| e.within(format!("{path}.lb_endpoints[{index}]")))?;
            found.extend(read);
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

/// `None` for an endpoint that takes no new requests.
fn lb_endpoint(endpoint: &LbEndpoint) -> Result<Option<Endpoint>, Invalid> {
    let Some(HostIdentifier::Endpoint(found)) = &endpoint.host_identifier else {
        return Err(Invalid::new("endpoint", "required"));
    };
    let address = found.address.as_ref();
    let address = socket_address(address).map_err(|e| e.within("endpoint.address"))?;
    if let Some(whole) = whole::take::<Endpoint>(endpoint.metadata.as_ref(), "endpoint")? {
        if whole.address != address {
            return Err(Invalid::new("metadata", "it is another endpoint's"));
        }
        return Ok(Some(whole));
    }
    let read = Endpoint::new(address, found.hostname.clone());
    let serves = matches!(
        endpoint.health_status(),
        HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded
    );
    Ok(serves.then_some(read))
}

fn socket_address(found: Option<&Address>) -> Result<SocketAddr, Invalid> {
    let Some(Address {
        address: Some(address::Address::SocketAddress(socket)),
    }) = found
    else {
        return Err(Invalid::new("socket_address", "required"));
    };
    let ip = socket
        .address
        .parse()
        .map_err(|_| Invalid::new("socket_address.address", "not an IP address"))?;
    match socket.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => u16::try_from(port)
            .map(|port| SocketAddr::new(ip, port))
            .map_err(|_| Invalid::new("socket_address.port_value", "above 65535")),
        _ => Err(Invalid::new("socket_address.port_value", "required")),
    }
}

/// The name of a resource that may be refused otherwise. In all four types it is field 1.
pub(crate) fn name(any: &Any) -> Option<String> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    let named = Named::decode(any.value.as_slice()).ok()?;
    (!named.name.is_empty()).then_some(named.name)
}

/// Decodes a packed message after checking its type.
pub(crate) fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, Invalid> {
    let wanted = M::full_name();
    if any.type_url.rsplit('/').next() != Some(wanted.as_str()) {
        let reason = format!(
            "holds `{}`, expected `{wanted}`",
            any.type_url.escape_default()
        );
        return Err(Invalid::new("@type", reason));
    }
    M::decode(any.value.as_slice())
        .map_err(|error| Invalid::new("value", format!("not a readable `{wanted}`: {error}")))
}

/// As [`unpack`], for a field that must be there.
pub(crate) fn unpack_field<M: Message + Name + Default>(
    path: &str,
    any: Option<&Any>,
) -> Result<M, Invalid> {
    unpack(required(path, any)?).map_err(|e| e.within(path))
}

pub(crate) fn named(path: &str, name: String) -> Result<String, Invalid> {
    if name.is_empty() {
        return Err(Invalid::new(path, "required"));
    }
    Ok(name)
}

/// Resources come over the one stream there is.
pub(crate) fn from_this_stream(path: &str, source: Option<&ConfigSource>) -> Result<(), Invalid> {
    use config_source::ConfigSourceSpecifier::{Ads, Self_};
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(Ads(_) | Self_(_)) => Ok(()),
        Some(_) => Err(Invalid::new(path, "only `ads` and `self` are supported")),
        None => Err(Invalid::new(path, "required")),
    }
}

pub(crate) fn duration(
    path: &str,
    value: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Invalid> {
    value
        .map(|value| {
            Duration::try_from(*value).map_err(|_| Invalid::new(path, "not a positive duration"))
        })
        .transpose()
}

/// A whole number among our own facts in a resource's metadata.
pub(crate) fn fact(metadata: Option<&Metadata>, name: &str) -> Result<Option<u32>, Invalid> {
    let value = metadata
        .and_then(|metadata| metadata.filter_metadata.get(METADATA))
        .and_then(|facts| facts.fields.get(name));
    let Some(value) = value else {
        return Ok(None);
    };
    let path = || format!("metadata.filter_metadata[{METADATA}].{name}");
    match value.kind {
        Some(Kind::NumberValue(number))
            if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) =>
        {
            // In range and whole, so the cast is exact.
            Ok(Some(number as u32))
        }
        _ => Err(Invalid::new(path(), "not a whole number")),
    }
}
