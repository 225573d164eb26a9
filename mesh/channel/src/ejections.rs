//! What outlier detection has done, under gRFC A91's names. A91 has no failures in a row: those are called
//! as Envoy calls them.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
};
use weft_policy::{
    ClusterStatus,
    outlier::{Detector, Ejections},
};
use weft_runtime::metrics::calls::Definition;

/// Which target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TargetLabels {
    /// The authority that is called, `payments:7070`.
    pub grpc_target: String,
}

type Count = fn(&Ejections) -> u64;

macro_rules! definition {
    ($name:literal, $help:literal) => {
        Definition {
            name: concat!("grpc_lb_outlier_detection_ejections_", $name),
            help: $help,
        }
    };
}

const COUNTS: [(Definition, Count); 8] = [
    (
        definition!("enforced", "Endpoints ejected"),
        Ejections::enforced_total,
    ),
    (
        definition!(
            "overflow",
            "Endpoints not ejected because too many others are"
        ),
        |ejections| ejections.overflow,
    ),
    (
        definition!(
            "enforced_consecutive_gateway_failure",
            "Endpoints ejected for failures in a row"
        ),
        |ejections| ejections.enforced(Detector::ConsecutiveGatewayFailure),
    ),
    (
        definition!(
            "detected_consecutive_gateway_failure",
            "Endpoints with too many failures in a row, ejected or not"
        ),
        |ejections| ejections.detected(Detector::ConsecutiveGatewayFailure),
    ),
    (
        definition!(
            "enforced_success_rate",
            "Endpoints ejected for a success rate far below the others'"
        ),
        |ejections| ejections.enforced(Detector::SuccessRate),
    ),
    (
        definition!(
            "detected_success_rate",
            "Endpoints with a success rate far below the others', ejected or not"
        ),
        |ejections| ejections.detected(Detector::SuccessRate),
    ),
    (
        definition!(
            "enforced_failure_percentage",
            "Endpoints ejected for failing too large a share of calls"
        ),
        |ejections| ejections.enforced(Detector::FailurePercentage),
    ),
    (
        definition!(
            "detected_failure_percentage",
            "Endpoints that fail too large a share of calls, ejected or not"
        ),
        |ejections| ejections.detected(Detector::FailurePercentage),
    ),
];

/// Shows what happened to each target with outlier detection.
///
/// # Errors
/// As the encoder's.
pub fn encode(clusters: &[ClusterStatus], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (Definition { name, help }, of) in COUNTS {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for cluster in clusters {
            let Some(ejections) = &cluster.ejections else {
                continue;
            };
            let labels = TargetLabels {
                grpc_target: cluster.authority.clone(),
            };
            let family = metric.encode_family(&labels)?;
            ConstCounter::new(of(ejections)).encode(family)?;
        }
    }
    Ok(())
}
