//! Clusters.

use std::{collections::BTreeMap, time::Duration};

use prost_types::Any;
use weft_model::dataplane::{
    CircuitBreakers, Discovery, DnsName, HealthCheck, RetryBudget, RetryThrottling, TlsMode,
};

use super::{
    Cluster, Invalid, balancing, endpoints,
    facts::{self, Facts},
    from_this_stream, matcher, named, outlier, percent, positive, required, unpack, unpack_field,
    unsupported,
};
use crate::{
    encode::{
        RAW_SOCKET, TLS_SOCKET,
        cluster::{DISABLE, MAX_TOKENS, SUBSETS, TLS_MODE, TOKEN_RATIO},
    },
    proto::envoy::{
        config::{
            cluster::v3::{
                self as wire,
                cluster::{ClusterDiscoveryType, DiscoveryType},
            },
            core::v3::{
                self as core_v3, RoutingPriority, TransportSocket, health_check::HealthChecker,
                transport_socket::ConfigType,
            },
        },
        extensions::transport_sockets::tls::v3::{
            UpstreamTlsContext, common_tls_context::ValidationContextType,
        },
    },
};

/// Envoy's default.
const PANIC_THRESHOLD: u32 = 50;
const REFRESH: Duration = Duration::from_secs(5);

/// Reads a cluster.
///
/// # Errors
/// On what this data plane does not carry out, above all anything but mutual TLS to one SPIFFE ID or
/// cleartext that is asked for in so many words.
pub fn cluster(any: &Any) -> Result<Cluster, Invalid> {
    let found: wire::Cluster = unpack(any)?;
    let name = named("name", found.name.clone())?;
    let (discovery, endpoints) = discovery(&name, &found)?;
    unsupported(
        "transport_socket_matches",
        !found.transport_socket_matches.is_empty(),
    )?;
    let (tls, identity) = security(&found).map_err(|e| e.within("transport_socket"))?;
    let panic = found.common_lb_config.as_ref();
    let outliers = found
        .outlier_detection
        .as_ref()
        .map(outlier::outlier_detection);
    Ok(Cluster {
        endpoints,
        discovery,
        tls,
        identity,
        load_balancing: balancing::of_cluster(&found)?,
        subsets: subsets(&found)?,
        retry_throttling: throttling(&found)?,
        outlier_detection: outliers
            .transpose()
            .map_err(|e| e.within("outlier_detection"))?,
        circuit_breakers: found
            .circuit_breakers
            .as_ref()
            .map(|settings| circuit_breakers(settings).map_err(|e| e.within("circuit_breakers")))
            .transpose()?
            .unwrap_or_default(),
        health_check: health_check(&found.health_checks)?,
        panic_threshold_percent: percent(
            "common_lb_config.healthy_panic_threshold",
            panic.and_then(|config| config.healthy_panic_threshold.as_ref()),
            PANIC_THRESHOLD,
        )?,
        name,
    })
}

/// Who knows the endpoints, and the name of their assignment if it comes by EDS.
fn discovery(name: &str, found: &wire::Cluster) -> Result<(Discovery, Option<String>), Invalid> {
    let unknown = || {
        Invalid::new(
            "type",
            "only `EDS`, `LOGICAL_DNS` and `STRICT_DNS` are supported",
        )
    };
    let Some(ClusterDiscoveryType::Type(kind)) = found.cluster_discovery_type else {
        return Err(unknown());
    };
    match DiscoveryType::try_from(kind) {
        Ok(DiscoveryType::Eds) => {
            let eds = required("eds_cluster_config", found.eds_cluster_config.as_ref())?;
            from_this_stream("eds_cluster_config.eds_config", eds.eds_config.as_ref())?;
            let endpoints = match eds.service_name.as_str() {
                "" => name.to_owned(),
                other => other.to_owned(),
            };
            Ok((Discovery::Endpoints, Some(endpoints)))
        }
        Ok(DiscoveryType::LogicalDns | DiscoveryType::StrictDns) => {
            let name = dns_name(found).map_err(|e| e.within("load_assignment"))?;
            Ok((Discovery::Dns(name), None))
        }
        _ => Err(unknown()),
    }
}

#[expect(
    deprecated,
    reason = "gRPC's clients know no other field for a cluster found by DNS"
)]
fn dns_name(found: &wire::Cluster) -> Result<DnsName, Invalid> {
    let assignment = required("", found.load_assignment.as_ref())?;
    let [group] = assignment.endpoints.as_slice() else {
        return Err(Invalid::new("endpoints", "exactly one is supported"));
    };
    let [endpoint] = group.lb_endpoints.as_slice() else {
        let path = "endpoints[0].lb_endpoints";
        return Err(Invalid::new(path, "exactly one is supported"));
    };
    let (host, port) =
        endpoints::name(endpoint).map_err(|e| e.within("endpoints[0].lb_endpoints[0]"))?;
    Ok(DnsName {
        host,
        port,
        refresh: positive("dns_refresh_rate", found.dns_refresh_rate.as_ref(), REFRESH)?,
    })
}

fn subsets(found: &wire::Cluster) -> Result<BTreeMap<String, BTreeMap<String, String>>, Invalid> {
    let Some(named) = Facts::of(found.metadata.as_ref()).object(SUBSETS)? else {
        return Ok(BTreeMap::new());
    };
    named
        .fields
        .keys()
        .map(|name| {
            let labels = Facts::within(named).object(name)?;
            let labels = labels.map(facts::labels).transpose();
            let labels = labels.map_err(|e| e.within(format!("{SUBSETS}.{name}")))?;
            Ok((name.clone(), labels.unwrap_or_default()))
        })
        .collect()
}

fn circuit_breakers(found: &wire::CircuitBreakers) -> Result<CircuitBreakers, Invalid> {
    unsupported("per_host_thresholds", !found.per_host_thresholds.is_empty())?;
    let default = CircuitBreakers::default();
    // No request of this data plane has another priority.
    let mut thresholds = found.thresholds.iter().enumerate();
    let first = thresholds.find(|(_, one)| one.priority() == RoutingPriority::Default);
    let Some((at, settings)) = first else {
        return Ok(default);
    };
    let within = |e: Invalid| e.within(format!("thresholds[{at}]"));
    unsupported(
        "max_connection_pools",
        settings.max_connection_pools.is_some(),
    )
    .map_err(within)?;
    let budget = settings.retry_budget.unwrap_or_default();
    let budget_percent = percent(
        "retry_budget.budget_percent",
        budget.budget_percent.as_ref(),
        default.retry_budget.budget_percent,
    );
    Ok(CircuitBreakers {
        max_connections: settings.max_connections.unwrap_or(default.max_connections),
        max_pending_requests: settings
            .max_pending_requests
            .unwrap_or(default.max_pending_requests),
        max_requests: settings.max_requests.unwrap_or(default.max_requests),
        max_retries: settings.max_retries.unwrap_or(default.max_retries),
        retry_budget: RetryBudget {
            budget_percent: budget_percent.map_err(within)?,
            min_retry_concurrency: budget
                .min_retry_concurrency
                .unwrap_or(default.retry_budget.min_retry_concurrency),
        },
    })
}

fn health_check(found: &[core_v3::HealthCheck]) -> Result<Option<HealthCheck>, Invalid> {
    let check = match found {
        [] => return Ok(None),
        [one] => one,
        _ => return Err(Invalid::new("health_checks", "at most one is supported")),
    };
    let within = |e: Invalid| e.within("health_checks[0]");
    let Some(HealthChecker::GrpcHealthCheck(grpc)) = &check.health_checker else {
        let reason = "only `grpc_health_check` is supported";
        return Err(within(Invalid::new("health_checker", reason)));
    };
    unsupported("grpc_health_check.authority", !grpc.authority.is_empty()).map_err(within)?;
    let time = |path: &str, value: &Option<prost_types::Duration>| {
        let value = required(path, value.as_ref()).map_err(within)?;
        positive(path, Some(value), Duration::ZERO).map_err(within)
    };
    Ok(Some(HealthCheck {
        service_name: grpc.service_name.clone(),
        interval: time("interval", &check.interval)?,
        timeout: time("timeout", &check.timeout)?,
        unhealthy_threshold: check.unhealthy_threshold.unwrap_or(1).max(1),
        healthy_threshold: check.healthy_threshold.unwrap_or(1).max(1),
    }))
}

/// Cleartext only where somebody wrote that it is meant: a transport socket that was forgotten, or lost on
/// the way, must not be taken for one that is not wanted.
fn security(found: &wire::Cluster) -> Result<(TlsMode, String), Invalid> {
    let socket = found.transport_socket.as_ref();
    let is_raw = socket.is_some_and(|socket| socket.name == RAW_SOCKET);
    let mode = Facts::of(found.metadata.as_ref()).text(TLS_MODE)?;
    match (mode, socket) {
        (None | Some(DISABLE), Some(_)) if is_raw => Ok((TlsMode::Disable, String::new())),
        (Some(DISABLE), None) => Ok((TlsMode::Disable, String::new())),
        (Some(DISABLE), Some(_)) => Err(Invalid::new("", "set although TLS is switched off")),
        (Some(mode), _) => {
            let reason = format!(
                "`{TLS_MODE}` is `{}`, not `{DISABLE}`",
                mode.escape_default()
            );
            Err(Invalid::new("", reason))
        }
        (None, socket) => Ok((TlsMode::Mutual, identity(socket)?)),
    }
}

/// The one SPIFFE ID that the server must prove.
#[expect(
    deprecated,
    reason = "gRPC's xDS clients read this field for the server's name (gRFC A29)"
)]
fn identity(socket: Option<&TransportSocket>) -> Result<String, Invalid> {
    let socket = socket.ok_or_else(|| Invalid::new("", "required: connections are mutual TLS"))?;
    if socket.name != TLS_SOCKET {
        return Err(Invalid::new(
            "name",
            format!("only `{TLS_SOCKET}` is supported"),
        ));
    }
    let config = socket
        .config_type
        .as_ref()
        .map(|ConfigType::TypedConfig(config)| config);
    let tls: UpstreamTlsContext = unpack_field("typed_config", config)?;
    let common = required("typed_config.common_tls_context", tls.common_tls_context)?;
    let path = "typed_config.common_tls_context.validation_context";
    let Some(ValidationContextType::ValidationContext(validation)) = common.validation_context_type
    else {
        return Err(Invalid::new(path, "required"));
    };
    match validation.match_subject_alt_names.as_slice() {
        [one] => {
            matcher::exact(one).map_err(|e| e.within(format!("{path}.match_subject_alt_names[0]")))
        }
        names => Err(Invalid::new(
            format!("{path}.match_subject_alt_names"),
            format!("has {} entries, exactly one is supported", names.len()),
        )),
    }
}

fn throttling(found: &wire::Cluster) -> Result<Option<RetryThrottling>, Invalid> {
    let facts = Facts::of(found.metadata.as_ref());
    let max_tokens = facts.number(MAX_TOKENS)?;
    let ratio = facts.number(TOKEN_RATIO)?;
    match (max_tokens, ratio) {
        (None, None) => Ok(None),
        (Some(max_tokens @ 1..=1000), Some(token_ratio_permille @ 1..)) => {
            Ok(Some(RetryThrottling {
                max_tokens,
                token_ratio_permille,
            }))
        }
        _ => Err(Invalid::new(
            "metadata",
            "maxTokens must be 1 to 1000 and tokenRatioPermille above 0",
        )),
    }
}
