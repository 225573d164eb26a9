//! Clusters.

use prost_types::Any;
use weft_model::dataplane::{OutlierDetection, RetryThrottling, Target};

use super::{
    Cluster, Invalid, duration, fact, from_this_stream, matcher, named, required, unpack,
    unpack_field, unsupported,
};
use crate::{
    encode::{LEAST_REQUEST, TLS_SOCKET},
    proto::envoy::{
        config::{
            cluster::v3 as wire,
            core::v3::{TransportSocket, transport_socket::ConfigType},
        },
        extensions::transport_sockets::tls::v3::{
            UpstreamTlsContext, common_tls_context::ValidationContextType,
        },
    },
    whole,
};

const DEFAULT_EJECTION: std::time::Duration = std::time::Duration::from_secs(30);

/// Reads a cluster.
///
/// # Errors
/// On what this data plane does not carry out: anything but EDS, least request and mutual TLS to one
/// SPIFFE ID.
pub fn cluster(any: &Any) -> Result<Cluster, Invalid> {
    let found: wire::Cluster = unpack(any)?;
    let name = named("name", found.name.clone())?;
    let eds = wire::cluster::ClusterDiscoveryType::Type(wire::cluster::DiscoveryType::Eds as i32);
    if found.cluster_discovery_type != Some(eds) {
        return Err(Invalid::new("type", "only `EDS` is supported"));
    }
    let eds = required("eds_cluster_config", found.eds_cluster_config.as_ref())?;
    from_this_stream("eds_cluster_config.eds_config", eds.eds_config.as_ref())?;
    load_balancing(&found)?;
    unsupported(
        "transport_socket_matches",
        !found.transport_socket_matches.is_empty(),
    )?;
    unsupported("circuit_breakers", found.circuit_breakers.is_some())?;
    unsupported("health_checks", !found.health_checks.is_empty())?;
    let identity =
        identity(found.transport_socket.as_ref()).map_err(|e| e.within("transport_socket"))?;
    let endpoints = match eds.service_name.as_str() {
        "" => name.clone(),
        other => other.to_owned(),
    };
    let target: Option<Box<Target>> = whole::take(found.metadata.as_ref(), "target")?;
    if target
        .as_ref()
        .is_some_and(|target| target.identity != identity)
    {
        return Err(Invalid::new(
            "metadata",
            "its identity is not that of the transport socket",
        ));
    }
    Ok(Cluster {
        target,
        endpoints,
        identity,
        retry_throttling: throttling(&found)?,
        outlier_detection: found
            .outlier_detection
            .as_ref()
            .map(|settings| outlier_detection(settings).map_err(|e| e.within("outlier_detection")))
            .transpose()?,
        name,
    })
}

/// The first policy that is supported counts (gRFC A52).
fn load_balancing(found: &wire::Cluster) -> Result<(), Invalid> {
    let path = "load_balancing_policy.policies";
    let Some(list) = &found.load_balancing_policy else {
        let enumerated = wire::cluster::LbPolicy::LeastRequest as i32;
        if found.lb_policy == enumerated {
            return Ok(());
        }
        return Err(Invalid::new("lb_policy", "only least request is supported"));
    };
    let supported = list.policies.iter().any(|policy| {
        policy
            .typed_extension_config
            .as_ref()
            .is_some_and(|config| config.name == LEAST_REQUEST)
    });
    if supported {
        return Ok(());
    }
    Err(Invalid::new(
        path,
        "none is supported; least request would be",
    ))
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
    let max_tokens = fact(found.metadata.as_ref(), "maxTokens")?;
    let ratio = fact(found.metadata.as_ref(), "tokenRatioPermille")?;
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

fn outlier_detection(settings: &wire::OutlierDetection) -> Result<OutlierDetection, Invalid> {
    for (path, enforcing) in [
        ("enforcing_success_rate", settings.enforcing_success_rate),
        (
            "enforcing_failure_percentage",
            settings.enforcing_failure_percentage,
        ),
    ] {
        unsupported(path, enforcing.is_some_and(|percent| percent > 0))?;
    }
    let max_ejection_percent = settings.max_ejection_percent.unwrap_or(10);
    if max_ejection_percent > 100 {
        return Err(Invalid::new("max_ejection_percent", "above 100"));
    }
    Ok(OutlierDetection {
        consecutive_errors: Some(settings.consecutive_5xx.unwrap_or(5)),
        base_ejection_time: duration("base_ejection_time", settings.base_ejection_time.as_ref())?
            .unwrap_or(DEFAULT_EJECTION),
        max_ejection_percent,
        ..OutlierDetection::default()
    })
}
