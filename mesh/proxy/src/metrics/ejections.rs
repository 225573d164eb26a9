//! What outlier detection has done, under gRFC A91's names. A91 has no failures in a row: those are called
//! as Envoy calls them.

use prometheus_client::encoding::DescriptorEncoder;
use weft_policy::outlier::{Detector, Ejections};
use weft_runtime::metrics::calls::Definition;

use super::{Encoded, Reading, counters, gauges::TargetLabels};

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

pub(super) fn encode(reading: &Reading, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    for (definition, of) in COUNTS {
        let counts = reading.clusters.iter().filter_map(|cluster| {
            let labels = TargetLabels {
                grpc_target: cluster.authority.clone(),
            };
            Some((labels, of(cluster.ejections.as_ref()?)))
        });
        counters(encoder, definition, counts)?;
    }
    Ok(())
}
