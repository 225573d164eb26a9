//! Clusters: how callers find, choose, probe and protect the endpoints of a target.

use std::time::Duration;

use prost_types::Any;
use weft_model::dataplane::{
    CircuitBreakers, Discovery, DnsName, HealthCheck, OutlierDetection, Target, TlsMode,
};

use super::{TLS_SOCKET, ads, balancing, duration, endpoints::host, facts, tls};
use crate::{
    proto::envoy::{
        config::{
            cluster::v3::{
                self as wire, Cluster,
                circuit_breakers::{Thresholds, thresholds::RetryBudget},
                cluster::{ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig},
            },
            core::v3::{
                self as core_v3, Http2ProtocolOptions, TransportSocket,
                health_check::{GrpcHealthCheck, HealthChecker},
                transport_socket,
            },
            endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints},
        },
        extensions::upstreams::http::v3::{
            HttpProtocolOptions,
            http_protocol_options::{
                ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
            },
        },
        r#type::v3::Percent,
    },
    resources::any,
};

pub(crate) const MAX_TOKENS: &str = "maxTokens";
pub(crate) const TOKEN_RATIO: &str = "tokenRatioPermille";
pub(crate) const SUBSETS: &str = "subsets";
pub(crate) const TLS_MODE: &str = "tlsMode";
pub(crate) const DISABLE: &str = "DISABLE";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How callers of `target` find, choose and check its endpoints.
pub fn cluster(target: &Target) -> Any {
    let http2 = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(
            ExplicitHttpConfig {
                protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(
                    Http2ProtocolOptions::default(),
                )),
            },
        )),
        ..Default::default()
    };
    let mut cluster = Cluster {
        name: target.authority.clone(),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        load_balancing_policy: Some(balancing::policies(&target.load_balancing, &target.subsets)),
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(percent(target.panic_threshold_percent)),
            ..Default::default()
        }),
        typed_extension_protocol_options: [(HTTP_OPTIONS.to_owned(), any(&http2))].into(),
        transport_socket: transport_socket(target),
        outlier_detection: target.outlier_detection.as_ref().map(outlier_detection),
        circuit_breakers: Some(circuit_breakers(&target.circuit_breakers)),
        health_checks: target.health_check.iter().map(health_check).collect(),
        metadata: facts::metadata(cluster_facts(target)),
        ..Default::default()
    };
    discover(&mut cluster, target);
    any(&cluster)
}

/// None at all is cleartext to Envoy and to gRPC, which knows no `raw_buffer`. That it is meant so is
/// said by [`cluster_facts`].
fn transport_socket(target: &Target) -> Option<TransportSocket> {
    let config = match target.tls {
        TlsMode::Mutual => any(&tls::upstream(&target.identity)),
        TlsMode::Disable => return None,
    };
    Some(TransportSocket {
        name: TLS_SOCKET.to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(config)),
    })
}

#[expect(
    deprecated,
    reason = "gRPC's clients know no other field for a cluster found by DNS"
)]
fn discover(cluster: &mut Cluster, target: &Target) {
    match &target.discovery {
        Discovery::Endpoints => {
            let eds = DiscoveryType::Eds as i32;
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(eds));
            cluster.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: Some(ads()),
                service_name: target.authority.clone(),
            });
        }
        Discovery::Dns(name) => {
            // gRPC has no STRICT_DNS.
            let dns = DiscoveryType::LogicalDns as i32;
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(dns));
            cluster.dns_refresh_rate = Some(duration(name.refresh));
            cluster.load_assignment = Some(named_endpoint(&target.authority, name));
        }
    }
}

fn named_endpoint(cluster: &str, name: &DnsName) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![host(&name.host, name.port)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn cluster_facts(target: &Target) -> Vec<(&'static str, prost_types::Value)> {
    let mut found = Vec::new();
    if let Some(throttling) = &target.retry_throttling {
        found.push((MAX_TOKENS, facts::number(throttling.max_tokens)));
        found.push((TOKEN_RATIO, facts::number(throttling.token_ratio_permille)));
    }
    if target.tls == TlsMode::Disable {
        found.push((TLS_MODE, facts::text(DISABLE)));
    }
    if !target.subsets.is_empty() {
        let subsets = target.subsets.iter();
        let named =
            subsets.map(|(name, labels)| (name.as_str(), facts::object(facts::labels(labels))));
        found.push((SUBSETS, facts::object(facts::structure(named))));
    }
    found
}

/// Every field is sent: grpc-js fails on some that are unset, and unset means on for some.
fn outlier_detection(settings: &OutlierDetection) -> wire::OutlierDetection {
    let enforcing = |is_on: bool| Some(if is_on { 100 } else { 0 });
    let success_rate = settings.success_rate.as_ref();
    let failures = settings.failure_percentage.as_ref();
    wire::OutlierDetection {
        enforcing_consecutive_5xx: Some(0),
        consecutive_gateway_failure: Some(settings.consecutive_errors.unwrap_or(5)),
        enforcing_consecutive_gateway_failure: enforcing(settings.consecutive_errors.is_some()),
        interval: Some(duration(settings.interval)),
        base_ejection_time: Some(duration(settings.base_ejection_time)),
        max_ejection_time: Some(duration(settings.max_ejection_time)),
        max_ejection_percent: Some(settings.max_ejection_percent),
        enforcing_success_rate: enforcing(success_rate.is_some()),
        success_rate_minimum_hosts: Some(success_rate.map_or(5, |rate| rate.minimum_hosts)),
        success_rate_request_volume: Some(success_rate.map_or(100, |rate| rate.request_volume)),
        success_rate_stdev_factor: Some(
            success_rate.map_or(1900, |rate| rate.stdev_factor_permille),
        ),
        enforcing_failure_percentage: enforcing(failures.is_some()),
        failure_percentage_threshold: Some(failures.map_or(85, |found| found.threshold)),
        failure_percentage_minimum_hosts: Some(failures.map_or(5, |found| found.minimum_hosts)),
        failure_percentage_request_volume: Some(failures.map_or(50, |found| found.request_volume)),
        ..Default::default()
    }
}

fn circuit_breakers(settings: &CircuitBreakers) -> wire::CircuitBreakers {
    let budget = &settings.retry_budget;
    wire::CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: Some(settings.max_connections),
            max_pending_requests: Some(settings.max_pending_requests),
            max_requests: Some(settings.max_requests),
            max_retries: Some(settings.max_retries),
            retry_budget: Some(RetryBudget {
                budget_percent: Some(percent(budget.budget_percent)),
                min_retry_concurrency: Some(budget.min_retry_concurrency),
                ..Default::default()
            }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn health_check(settings: &HealthCheck) -> core_v3::HealthCheck {
    core_v3::HealthCheck {
        timeout: Some(duration(settings.timeout)),
        interval: Some(duration(settings.interval)),
        unhealthy_threshold: Some(settings.unhealthy_threshold),
        healthy_threshold: Some(settings.healthy_threshold),
        health_checker: Some(HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: settings.service_name.clone(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

fn percent(value: u32) -> Percent {
    Percent {
        value: f64::from(value),
    }
}
