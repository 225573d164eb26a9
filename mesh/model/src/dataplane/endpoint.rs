//! Where a service is.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr, str::FromStr, time::Duration};

/// One running instance of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The inbound listener of the workload's sidecar.
    pub address: SocketAddr,
    /// The workload's name, for logs: `catalogue-2`.
    pub instance: String,
    /// Where it runs.
    pub locality: Locality,
    /// Lower is used first; the next only as far as the first is not healthy.
    pub priority: u32,
    /// Its share of calls under weighted round robin and ring hash, 1 or more.
    pub weight: u32,
    /// What subsets select by: `version: v2`.
    pub labels: BTreeMap<String, String>,
    /// What the control plane knows.
    pub health: HealthStatus,
}

impl Endpoint {
    /// A healthy endpoint of weight 1 with nothing else known about it.
    pub fn new(address: SocketAddr, instance: impl Into<String>) -> Self {
        Self {
            address,
            instance: instance.into(),
            locality: Locality::default(),
            priority: 0,
            weight: 1,
            labels: BTreeMap::new(),
            health: HealthStatus::Healthy,
        }
    }
}

/// Where a workload runs. Empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Locality {
    /// `eu-west`
    pub region: String,
    /// `eu-west-1b`
    pub zone: String,
    /// `rack-7`
    pub sub_zone: String,
}

/// A text names no locality.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form `REGION/ZONE/SUB_ZONE`")]
pub struct InvalidLocality(String);

impl FromStr for Locality {
    type Err = InvalidLocality;

    /// Reads `REGION/ZONE/SUB_ZONE`, of which the end may be missing.
    fn from_str(text: &str) -> Result<Self, InvalidLocality> {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        let locality = Self {
            region: next(),
            zone: next(),
            sub_zone: next(),
        };
        match parts.next() {
            None => Ok(locality),
            Some(_) => Err(InvalidLocality(text.to_owned())),
        }
    }
}

/// What the control plane knows about an endpoint's health.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum HealthStatus {
    /// It takes calls.
    #[default]
    Healthy,
    /// It is about to leave: calls under way go on, new ones go elsewhere.
    Draining,
    /// It does not take calls.
    Unhealthy,
}

/// Who knows the endpoints of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Discovery {
    /// The control plane: what registered, or what the mesh file lists.
    #[default]
    Endpoints,
    /// A name that each proxy resolves again and again.
    Dns(DnsName),
}

/// How connections to the endpoints of a target are secured. Istio's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// Both ends prove who they are.
    #[default]
    Mutual,
    /// Cleartext, and nobody proves anything: the service is outside the mesh, and the mesh file says so.
    Disable,
}

/// A name with a port, and how often it is resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsName {
    /// `payments.shop.svc.cluster.local`
    pub host: String,
    /// The port of every address.
    pub port: u16,
    /// Between one resolution and the next. Default 5 s.
    pub refresh: Duration,
}
