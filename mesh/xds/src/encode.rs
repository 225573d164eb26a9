//! `weft_model::dataplane` values as xDS resources, in the shape that gRPC's xDS clients read: a named
//! listener per authority leads to routes, they to a cluster, it to its endpoints.

use std::time::Duration;

use prost_types::{Any, Struct, Value, value::Kind};
use weft_model::dataplane::{MethodRule, OutlierDetection, Target};

use crate::{
    proto::envoy::{
        config::{
            cluster::v3::{
                self as cluster_v3, Cluster, LoadBalancingPolicy, cluster::EdsClusterConfig,
                load_balancing_policy::Policy,
            },
            core::v3::{
                AggregatedConfigSource, ApiVersion, ConfigSource, Http2ProtocolOptions, Metadata,
                TransportSocket, TypedExtensionConfig, config_source::ConfigSourceSpecifier,
                transport_socket,
            },
            listener::v3::{ApiListener, Listener},
            route::v3::{
                Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
                route::Action,
                route_action::{ClusterSpecifier, MaxStreamDuration},
                route_match::PathSpecifier,
            },
        },
        extensions::{
            filters::{
                http::router::v3::Router,
                network::http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds,
                    http_connection_manager::RouteSpecifier, http_filter,
                },
            },
            load_balancing_policies::least_request::v3::LeastRequest,
            upstreams::http::v3::{
                HttpProtocolOptions,
                http_protocol_options::{
                    ExplicitHttpConfig, UpstreamProtocolOptions,
                    explicit_http_config::ProtocolConfig,
                },
            },
        },
    },
    resources::any,
    whole,
};

mod endpoints;
mod inbound;
pub(crate) mod retry;
mod tls;

pub use endpoints::endpoints;
pub use inbound::{inbound_listener, inbound_name};

/// The key of our own facts in a resource's metadata, for what xDS has no field for.
pub(crate) const METADATA: &str = "weft.mesh";
pub(crate) const ROUTER: &str = "envoy.filters.http.router";
pub(crate) const TLS_SOCKET: &str = "envoy.transport_sockets.tls";
pub(crate) const LEAST_REQUEST: &str = "envoy.load_balancing_policies.least_request";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The listener by which callers find `target`, named by its authority.
pub fn listener(target: &Target) -> Any {
    let manager = HttpConnectionManager {
        stat_prefix: target.service.clone(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            route_config_name: target.authority.clone(),
            config_source: Some(ads()),
        })),
        http_filters: vec![router()],
        ..Default::default()
    };
    any(&Listener {
        name: target.authority.clone(),
        api_listener: Some(ApiListener {
            api_listener: Some(any(&manager)),
        }),
        ..Default::default()
    })
}

/// The method rules of `target`, most specific first.
pub fn routes(target: &Target) -> Any {
    any(&RouteConfiguration {
        name: target.authority.clone(),
        virtual_hosts: vec![VirtualHost {
            name: target.service.clone(),
            domains: vec![target.authority.clone()],
            routes: target
                .methods
                .iter()
                .map(|rule| route(rule, &target.authority))
                .collect(),
            metadata: Some(routes_metadata(target)),
            ..Default::default()
        }],
        ..Default::default()
    })
}

fn routes_metadata(target: &Target) -> Metadata {
    let mut facts = Metadata::default();
    whole::put(&mut facts, "methods", &target.methods);
    whole::put(&mut facts, "routes", &target.routes);
    facts
}

fn route(rule: &MethodRule, cluster: &str) -> Route {
    let (name, path) = match (&rule.matches.service, &rule.matches.method) {
        (None, _) => ("*".to_owned(), PathSpecifier::Prefix(String::new())),
        (Some(service), None) => (
            format!("{service}/*"),
            PathSpecifier::Prefix(format!("/{service}/")),
        ),
        (Some(service), Some(method)) => (
            format!("{service}/{method}"),
            PathSpecifier::Path(format!("/{service}/{method}")),
        ),
    };
    Route {
        name,
        r#match: Some(RouteMatch {
            path_specifier: Some(path),
            ..Default::default()
        }),
        metadata: rule.retry_policy.as_ref().and_then(retry::metadata),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
            // Envoy answers UNAVAILABLE when `timeout` ends, which callers would retry.
            timeout: Some(duration(Duration::ZERO)),
            max_stream_duration: Some(MaxStreamDuration {
                max_stream_duration: rule.timeout.map(duration),
                grpc_timeout_header_max: Some(duration(Duration::ZERO)),
                grpc_timeout_header_offset: None,
            }),
            retry_policy: rule.retry_policy.as_ref().map(retry::policy),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// How callers of `target` choose and check its endpoints.
pub fn cluster(target: &Target) -> Any {
    let least_request = Policy {
        typed_extension_config: Some(TypedExtensionConfig {
            name: LEAST_REQUEST.to_owned(),
            typed_config: Some(any(&LeastRequest::default())),
        }),
    };
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
    any(&Cluster {
        name: target.authority.clone(),
        cluster_discovery_type: Some(cluster_v3::cluster::ClusterDiscoveryType::Type(
            cluster_v3::cluster::DiscoveryType::Eds as i32,
        )),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: target.authority.clone(),
        }),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        load_balancing_policy: Some(LoadBalancingPolicy {
            policies: vec![least_request],
        }),
        typed_extension_protocol_options: [(HTTP_OPTIONS.to_owned(), any(&http2))].into(),
        transport_socket: Some(TransportSocket {
            name: TLS_SOCKET.to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(any(
                &tls::upstream(&target.identity),
            ))),
        }),
        outlier_detection: target.outlier_detection.as_ref().map(outlier_detection),
        metadata: Some(cluster_metadata(target)),
        ..Default::default()
    })
}

/// The whole target but for its methods, routes and endpoints, which other resources carry.
fn cluster_metadata(target: &Target) -> Metadata {
    let mut facts = match &target.retry_throttling {
        Some(throttling) => metadata([
            ("maxTokens", throttling.max_tokens),
            ("tokenRatioPermille", throttling.token_ratio_permille),
        ]),
        None => Metadata::default(),
    };
    let rest = Target {
        methods: Vec::new(),
        routes: Vec::new(),
        endpoints: Vec::new(),
        ..target.clone()
    };
    whole::put(&mut facts, "target", &rest);
    facts
}

/// Every field is sent: grpc-js fails on some that are unset.
fn outlier_detection(settings: &OutlierDetection) -> cluster_v3::OutlierDetection {
    cluster_v3::OutlierDetection {
        consecutive_5xx: settings.consecutive_errors,
        enforcing_consecutive_5xx: Some(100),
        consecutive_gateway_failure: settings.consecutive_errors,
        enforcing_consecutive_gateway_failure: Some(0),
        interval: Some(duration(Duration::from_secs(10))),
        base_ejection_time: Some(duration(settings.base_ejection_time)),
        max_ejection_percent: Some(settings.max_ejection_percent),
        enforcing_success_rate: Some(0),
        success_rate_minimum_hosts: Some(5),
        success_rate_request_volume: Some(100),
        success_rate_stdev_factor: Some(1900),
        enforcing_failure_percentage: Some(0),
        failure_percentage_threshold: Some(85),
        failure_percentage_minimum_hosts: Some(5),
        failure_percentage_request_volume: Some(50),
        ..Default::default()
    }
}

fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        resource_api_version: ApiVersion::V3 as i32,
        ..Default::default()
    }
}

fn router() -> HttpFilter {
    filter(ROUTER, any(&Router::default()))
}

fn filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn metadata<const N: usize>(facts: [(&str, u32); N]) -> Metadata {
    let fields = facts
        .into_iter()
        .map(|(name, value)| {
            let kind = Some(Kind::NumberValue(f64::from(value)));
            (name.to_owned(), Value { kind })
        })
        .collect();
    Metadata {
        filter_metadata: [(METADATA.to_owned(), Struct { fields })].into(),
        ..Default::default()
    }
}

/// Durations of a checked mesh file are far below the limit of the wire type.
fn duration(value: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    }
}

/// Whether an inbound listener would be named like this, and for which service.
pub(crate) fn inbound_service(name: &str) -> Option<&str> {
    name.strip_prefix(inbound::NAME_PREFIX)
}
