//! Metrics of the data plane under gRPC's names, read from its thread when somebody asks.

use std::sync::{Arc, Weak};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter},
};
use weft_policy::code;
use weft_runtime::metrics::CALL_SECONDS;

use crate::plane::{ByStatus, Counts, Durations, Plane, Side, Stats};

/// Reads the counts of a data plane.
#[derive(Debug)]
pub(crate) struct PlaneCollector(pub(crate) Weak<Plane>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClientLabels {
    grpc_method: Arc<str>,
    grpc_target: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClientStatusLabels {
    grpc_method: Arc<str>,
    grpc_target: Arc<str>,
    grpc_status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerLabels {
    grpc_method: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerStatusLabels {
    grpc_method: Arc<str>,
    grpc_status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

type Encoded = Result<(), std::fmt::Error>;

impl Collector for PlaneCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let Some(stats) = self.0.upgrade().and_then(|plane| plane.stats()) else {
            return Ok(());
        };
        client(&stats, &mut encoder)?;
        server(&stats, &mut encoder)?;
        let mut reasons = |name, help, counts: &[(&'static str, u64)]| {
            let counts = counts
                .iter()
                .map(|&(reason, count)| (ReasonLabels { reason }, count));
            counters(&mut encoder, name, help, counts)
        };
        reasons(
            "weft_inbound_connections_refused",
            "Inbound connections refused before any request, by reason",
            &stats.refused,
        )?;
        reasons(
            "weft_connections_closed",
            "Connections closed because the peer broke HTTP/2 or a limit, by reason",
            &stats.violations,
        )
    }
}

fn client(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    let rows = || {
        stats
            .rows
            .iter()
            .filter(|row| row.labels.side == Side::Outbound)
    };
    let labels = |row: &Counts| ClientLabels {
        grpc_method: Arc::clone(&row.labels.method),
        grpc_target: Arc::clone(&row.labels.peer),
    };
    let with_status = |row: &Counts, status| ClientStatusLabels {
        grpc_method: Arc::clone(&row.labels.method),
        grpc_target: Arc::clone(&row.labels.peer),
        grpc_status: code::name(status),
    };
    let histogram =
        |encoder: &mut DescriptorEncoder<'_>, name, help, of: fn(&Counts) -> &ByStatus| {
            let all = rows().flat_map(|row| {
                of(row)
                    .iter()
                    .map(move |(status, durations)| (with_status(row, *status), durations))
            });
            histograms(encoder, name, help, all)
        };
    counters(
        encoder,
        "grpc_client_attempt_started",
        "Attempts of outbound calls begun",
        rows().map(|row| (labels(row), row.attempts_started)),
    )?;
    histogram(
        encoder,
        "grpc_client_attempt_duration_seconds",
        "Time from the start of an attempt to response headers or its failure",
        |row| &row.attempts,
    )?;
    histogram(
        encoder,
        "grpc_client_call_duration_seconds",
        "Time from the start of an outbound call to its end, retries included",
        |row| &row.calls,
    )?;
    counters(
        encoder,
        "grpc_client_call_retries",
        "Attempts after the first that a retry policy asked for",
        rows()
            .filter(|row| row.retries > 0)
            .map(|row| (labels(row), row.retries)),
    )?;
    counters(
        encoder,
        "grpc_client_call_transparent_retries",
        "Attempts that repeated one which reached no workload",
        rows()
            .filter(|row| row.transparent_retries > 0)
            .map(|row| (labels(row), row.transparent_retries)),
    )
}

fn server(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    // Callers are not in gRPC's labels: their rows are summed.
    let mut methods: Vec<(Arc<str>, u64, ByStatus)> = Vec::new();
    for row in stats
        .rows
        .iter()
        .filter(|row| row.labels.side == Side::Inbound)
    {
        let known = methods
            .iter()
            .position(|(method, ..)| *method == row.labels.method);
        let at = known.unwrap_or_else(|| {
            methods.push((Arc::clone(&row.labels.method), 0, Vec::new()));
            methods.len() - 1
        });
        methods[at].1 += row.started;
        for (status, durations) in &row.calls {
            match methods[at].2.iter_mut().find(|(other, _)| other == status) {
                Some((_, sum)) => sum.add(durations),
                None => methods[at].2.push((*status, durations.clone())),
            }
        }
    }
    let labels = |method: &Arc<str>| ServerLabels {
        grpc_method: Arc::clone(method),
    };
    counters(
        encoder,
        "grpc_server_call_started",
        "Inbound calls begun",
        methods
            .iter()
            .map(|(method, started, _)| (labels(method), *started)),
    )?;
    let all = methods.iter().flat_map(|(method, _, calls)| {
        calls.iter().map(move |(status, durations)| {
            let labels = ServerStatusLabels {
                grpc_method: Arc::clone(method),
                grpc_status: code::name(*status),
            };
            (labels, durations)
        })
    });
    histograms(
        encoder,
        "grpc_server_call_duration_seconds",
        "Time from the start of an inbound call to its end",
        all,
    )
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: impl Iterator<Item = (L, u64)>,
) -> Encoded {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in counts {
        let family = metric.encode_family(&labels)?;
        ConstCounter::new(count).encode(family)?;
    }
    Ok(())
}

fn histograms<'a, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    all: impl Iterator<Item = (L, &'a Durations)>,
) -> Encoded {
    let mut metric: MetricEncoder<'_> =
        encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, durations) in all {
        let bounds = CALL_SECONDS.into_iter().chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(durations.buckets).collect();
        let count = durations.buckets.iter().sum();
        metric
            .encode_family(&labels)?
            .encode_histogram::<NoLabelSet>(durations.seconds, count, &buckets, None)?;
    }
    Ok(())
}
