//! What the engine knows, as plain data for the admin port.

use std::time::Instant;

use crate::{
    breaker::Kind,
    cluster::{Cluster, Member, view::Health},
    engine::Engine,
    outlier::Ejections,
};

/// One target.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ClusterStatus {
    /// The name callers dial, `payments:7070`.
    pub authority: String,
    /// The SPIFFE ID its endpoints must prove. `None`: TLS is switched off.
    pub identity: Option<String>,
    /// `mutual_tls` or `none`.
    pub connection_security_policy: &'static str,
    /// Connections to its endpoints, as circuit breakers count.
    pub connections: u32,
    /// Calls that wait for a connection.
    pub pending: u32,
    /// Calls under way.
    pub requests: u32,
    /// Retries and hedges under way or about to begin.
    pub retries: u32,
    /// How many of them may be now.
    pub retries_limit: u32,
    /// Retry tokens left.
    pub retry_tokens: f64,
    /// Whether retries are stopped for lack of tokens.
    pub is_throttled: bool,
    /// What outlier detection has done. `None`: there is none.
    pub ejections: Option<Ejections>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
}

/// One endpoint of a target.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct EndpointStatus {
    /// The workload's name.
    pub instance: String,
    /// The inbound listener of its sidecar.
    pub address: std::net::SocketAddr,
    /// Lower is used first.
    pub priority: u32,
    /// `region/zone/sub-zone`.
    pub locality: String,
    /// Its share where weights count.
    pub weight: u32,
    /// `HEALTHY`, `UNHEALTHY`, `EJECTED` or `DRAINING`.
    pub health: &'static str,
    /// How long it stays ejected.
    pub ejected_for_millis: Option<u64>,
    /// How long it is left alone after it refused a connection.
    pub left_alone_for_millis: Option<u64>,
    /// Attempts under way.
    pub in_flight: u32,
    /// The time to response headers that is expected of it. `None`: not known yet.
    pub latency_millis: Option<f64>,
}

impl Engine {
    /// The state of every target and its endpoints, sorted by authority.
    pub fn clusters(&self, now: Instant) -> Vec<ClusterStatus> {
        let clusters = self.clusters.iter();
        let mut status: Vec<_> = clusters
            .map(|(_, cluster)| describe(cluster, now))
            .collect();
        status.sort_by(|one, other| one.authority.cmp(&other.authority));
        status
    }
}

fn describe(cluster: &Cluster, now: Instant) -> ClusterStatus {
    let members = cluster.members.iter();
    let breakers = &cluster.breakers;
    ClusterStatus {
        authority: cluster.authority.to_string(),
        identity: cluster.identity.as_deref().map(str::to_owned),
        connection_security_policy: match cluster.identity {
            Some(_) => "mutual_tls",
            None => "none",
        },
        connections: breakers.count(Kind::Connections),
        pending: breakers.count(Kind::Pending),
        requests: breakers.count(Kind::Requests),
        retries: breakers.count(Kind::Retries),
        retries_limit: breakers.limit(Kind::Retries),
        retry_tokens: cluster.budget.millitokens() as f64 / 1000.0,
        is_throttled: !cluster.budget.allows(),
        ejections: cluster
            .target
            .outlier_detection
            .is_some()
            .then(|| cluster.ejections.clone()),
        endpoints: members
            .map(|(_, member)| describe_endpoint(member, now))
            .collect(),
    }
}

fn describe_endpoint(member: &Member, now: Instant) -> EndpointStatus {
    let endpoint = &member.endpoint;
    let place = &endpoint.locality;
    let left = |until: Instant| until.saturating_duration_since(now).as_millis() as u64;
    EndpointStatus {
        instance: endpoint.instance.clone(),
        address: endpoint.address,
        priority: endpoint.priority,
        locality: format!("{}/{}/{}", place.region, place.zone, place.sub_zone),
        weight: endpoint.weight,
        health: match member.health(now) {
            Health::Healthy => "HEALTHY",
            Health::Ejected => "EJECTED",
            Health::Unhealthy => "UNHEALTHY",
            Health::Draining => "DRAINING",
        },
        ejected_for_millis: member.outlier.ejected_until(now).map(left),
        left_alone_for_millis: member.connect.until(now).map(left),
        in_flight: member.load.in_flight(),
        latency_millis: member
            .load
            .latency(now)
            .map(|time| time.as_secs_f64() * 1000.0),
    }
}
