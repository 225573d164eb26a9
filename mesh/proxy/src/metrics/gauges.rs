//! How things stand now: connections, what circuit breakers count, the health of endpoints, load.

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use weft_channel::ejections::TargetLabels;
use weft_policy::ClusterStatus;
use weft_runtime::metrics::calls::Definition;

use super::{Encoded, Reading};
use crate::plane::Side;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SideLabels {
    side: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HealthLabels {
    grpc_target: String,
    health: &'static str,
}

const CONNECTIONS: Definition = Definition {
    name: "weft_downstream_connections",
    help: "Callers that are connected",
};
const HELD: Definition = Definition {
    name: "weft_downstream_held_bytes",
    help: "Payload of answers that callers have not taken yet",
};
const ENDPOINTS: Definition = Definition {
    name: "weft_upstream_endpoints",
    help: "Endpoints of a target, by health; those that outlier detection left out are EJECTED",
};
const IN_FLIGHT: Definition = Definition {
    name: "weft_inbound_in_flight",
    help: "Inbound calls that were admitted and have not been answered",
};
const POOLS: Definition = Definition {
    name: "weft_upstream_pools",
    help: "Endpoints that connections are made to or kept for, the workload included",
};
const LIMIT: Definition = Definition {
    name: "weft_inbound_concurrency_limit",
    help: "How many of them there may be before load is shed",
};
const SHED: Definition = Definition {
    name: "weft_inbound_shed_ratio",
    help: "Of the inbound calls of late, how many were shed",
};

type Count = fn(&ClusterStatus) -> u32;

/// What circuit breakers count, by target.
const BREAKERS: [(Definition, Count); 5] = [
    (
        Definition {
            name: "weft_upstream_connections",
            help: "Connections to the endpoints of a target",
        },
        |cluster| cluster.connections,
    ),
    (
        Definition {
            name: "weft_upstream_pending_requests",
            help: "Calls that wait for a connection",
        },
        |cluster| cluster.pending,
    ),
    (
        Definition {
            name: "weft_upstream_requests",
            help: "Calls under way",
        },
        |cluster| cluster.requests,
    ),
    (
        Definition {
            name: "weft_upstream_retries",
            help: "Retries and hedges under way or about to begin",
        },
        |cluster| cluster.retries,
    ),
    (
        Definition {
            name: "weft_upstream_retries_throttled",
            help: "1 while a target gets no retries because too many of its calls failed",
        },
        |cluster| cluster.is_throttled.into(),
    ),
];

const HEALTHS: [&str; 4] = ["HEALTHY", "UNHEALTHY", "EJECTED", "DRAINING"];

pub(super) fn encode(reading: &Reading, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    for (definition, counts) in [(CONNECTIONS, reading.connections), (HELD, reading.held)] {
        let sides = [Side::Inbound, Side::Outbound].into_iter();
        let counts = sides.zip(counts).map(|(side, count)| {
            let side = side.as_str();
            (SideLabels { side }, count as f64)
        });
        gauges(encoder, definition, counts)?;
    }
    let target = |cluster: &ClusterStatus| TargetLabels {
        grpc_target: cluster.authority.clone(),
    };
    for (definition, of) in BREAKERS {
        let clusters = reading.clusters.iter();
        let counts = clusters.map(|cluster| (target(cluster), of(cluster).into()));
        gauges(encoder, definition, counts)?;
    }
    let endpoints = reading.clusters.iter().flat_map(|cluster| {
        HEALTHS.into_iter().map(|health| {
            let endpoints = cluster.endpoints.iter();
            let count = endpoints
                .filter(|endpoint| endpoint.health == health)
                .count();
            let grpc_target = cluster.authority.clone();
            let labels = HealthLabels {
                grpc_target,
                health,
            };
            (labels, count as f64)
        })
    });
    gauges(encoder, ENDPOINTS, endpoints)?;
    let inbound = &reading.inbound;
    let limit = inbound.concurrency_limit.map(f64::from);
    let shed = limit.map(|_| inbound.shed_share);
    for (Definition { name, help }, value) in [
        (POOLS, Some(reading.pools as f64)),
        (IN_FLIGHT, Some(inbound.in_flight.into())),
        (LIMIT, limit),
        (SHED, shed),
    ] {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        if let Some(value) = value {
            ConstGauge::<f64>::new(value).encode(metric)?;
        }
    }
    Ok(())
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    Definition { name, help }: Definition,
    values: impl IntoIterator<Item = (L, f64)>,
) -> Encoded {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
