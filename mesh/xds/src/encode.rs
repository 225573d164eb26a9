//! `weft_model::dataplane` values as xDS resources, in the shape that gRPC's xDS clients read: a named
//! listener per authority leads to routes, they to clusters, these to their endpoints.
//!
//! Everything goes into the field that Envoy and gRPC have for it. What they have none for is in the
//! metadata `weft.mesh` of a resource or a route, which they ignore.

use std::time::Duration;

use prost_types::Any;
use weft_model::dataplane::Target;

use crate::{
    proto::envoy::{
        config::{
            core::v3::{
                AggregatedConfigSource, ApiVersion, ConfigSource, RuntimeFractionalPercent,
                config_source::ConfigSourceSpecifier,
            },
            listener::v3::{ApiListener, Listener},
        },
        extensions::filters::{
            http::{fault::v3::HttpFault, router::v3::Router},
            network::http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, Rds, http_connection_manager::RouteSpecifier,
                http_filter,
            },
        },
        r#type::v3::{FractionalPercent, fractional_percent::DenominatorType},
    },
    resources::any,
};

pub(crate) mod balancing;
pub(crate) mod cluster;
mod endpoints;
mod facts;
mod fault;
mod headers;
mod inbound;
mod limits;
mod rbac;
pub(crate) mod retry;
pub(crate) mod routes;
mod subsets;
mod tls;

pub use cluster::cluster;
pub use endpoints::endpoints;
pub use inbound::{inbound_listener, inbound_name};
pub(crate) use limits::{CRITICALITY, RATE_LIMITS};
pub use routes::routes;
pub use subsets::Subsets;

/// The key of our own facts in a resource's metadata, for what xDS has no field for.
pub(crate) const METADATA: &str = "weft.mesh";
/// The key of the labels that Envoy's subsets select by.
pub(crate) const LB_METADATA: &str = "envoy.lb";
pub(crate) const ROUTER: &str = "envoy.filters.http.router";
pub(crate) const FAULT: &str = "envoy.filters.http.fault";
pub(crate) const TLS_SOCKET: &str = "envoy.transport_sockets.tls";
pub(crate) const RAW_SOCKET: &str = "envoy.transport_sockets.raw_buffer";

/// The listener by which callers find `target`, named by its authority.
pub fn listener(target: &Target) -> Any {
    let mut http_filters = Vec::new();
    if target.routes.iter().any(|rule| rule.fault.is_some()) {
        // It does nothing by itself; routes give it something to do.
        http_filters.push(filter(FAULT, any(&HttpFault::default())));
    }
    http_filters.push(router());
    let manager = HttpConnectionManager {
        stat_prefix: target.service.clone(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            route_config_name: target.authority.clone(),
            config_source: Some(ads()),
        })),
        http_filters,
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

/// Durations of a checked mesh file are far below the limit of the wire type.
fn duration(value: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or(0),
    }
}

/// A share in thousandths of a percent.
fn fraction(share_per_100_000: u32) -> FractionalPercent {
    FractionalPercent {
        numerator: share_per_100_000.saturating_mul(10),
        denominator: DenominatorType::Million as i32,
    }
}

fn runtime_fraction(share_per_100_000: u32) -> RuntimeFractionalPercent {
    RuntimeFractionalPercent {
        default_value: Some(fraction(share_per_100_000)),
        ..Default::default()
    }
}

/// Whether an inbound listener would be named like this, and for which service.
pub(crate) fn inbound_service(name: &str) -> Option<&str> {
    name.strip_prefix(inbound::NAME_PREFIX)
}
