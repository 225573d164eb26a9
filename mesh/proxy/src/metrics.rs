//! Metrics of the data plane, read from its thread when somebody asks. Families of calls are those of
//! [`weft_runtime::metrics::calls`]; besides, [`gauges`] says how things stand now, and [`ejections`] what
//! outlier detection has done.

mod gauges;

use std::sync::{Arc, Weak};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter},
};
use weft_channel::ejections;
use weft_identity::SpiffeId;
use weft_policy::{ClusterStatus, InboundStatus, code};
use weft_runtime::metrics::{
    CALL_SECONDS,
    calls::{
        self, ClientLabels, ClientStatusLabels, Definition, ISTIO_MILLISECONDS, IstioLabels,
        MESSAGE_BYTES, RefusalLabels, Reporter, ServerLabels, ServerStatusLabels,
    },
};

use crate::plane::{BYTES, Core, Counts, EndedAlike, Histogram, NANOSECONDS, Plane, Scale, Side};

/// Reads the counts of a data plane.
#[derive(Debug)]
pub(crate) struct PlaneCollector {
    pub(crate) plane: Weak<Plane>,
    /// The workload's.
    pub(crate) service: String,
}

/// What the thread is asked for.
struct Reading {
    rows: Vec<Counts>,
    refused: Vec<(RefusalLabels, u64)>,
    violations: Vec<(RefusalLabels, u64)>,
    clusters: Vec<ClusterStatus>,
    inbound: InboundStatus,
    /// Endpoints and workloads that connections are kept for.
    pools: usize,
    /// How many callers are connected: inbound, outbound.
    connections: [usize; 2],
    /// Bytes that wait for them.
    held: [usize; 2],
    id: Option<SpiffeId>,
}

impl Reading {
    fn take(core: &mut Core) -> Self {
        Self {
            rows: core.stats.rows.clone(),
            refused: reasons(&core.stats.refused),
            violations: reasons(&core.stats.violations),
            clusters: core.engine.clusters(core.now),
            inbound: core.inbound.status(),
            pools: core.pools.len(),
            connections: [Side::Inbound, Side::Outbound].map(|side| core.connections(side)),
            held: core.held(),
            id: core.identity.as_ref().map(|identity| identity.id()),
        }
    }

    fn rows(&self, side: Side) -> impl Iterator<Item = &Counts> {
        let rows = self.rows.iter();
        rows.filter(move |row| row.labels.side == side)
    }
}

fn reasons(counts: &[(&'static str, u64)]) -> Vec<(RefusalLabels, u64)> {
    let counts = counts.iter();
    let counts = counts.map(|&(reason, count)| (RefusalLabels { reason }, count));
    counts.collect()
}

type Encoded = Result<(), std::fmt::Error>;

impl Collector for PlaneCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let plane = self.plane.upgrade();
        let Some(reading) = plane.and_then(|plane| plane.ask(Reading::take)) else {
            return Ok(());
        };
        let encoder = &mut encoder;
        client(&reading, encoder)?;
        server(&reading, encoder)?;
        istio(&reading, &self.service, encoder)?;
        let definition = calls::REFUSED_CONNECTIONS;
        counters(encoder, definition, reading.refused.iter().cloned())?;
        let definition = calls::CLOSED_CONNECTIONS;
        counters(encoder, definition, reading.violations.iter().cloned())?;
        ejections::encode(&reading.clusters, encoder)?;
        gauges::encode(&reading, encoder)
    }
}

fn client(reading: &Reading, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    let rows = || reading.rows(Side::Outbound);
    let labels = |row: &Counts| ClientLabels {
        grpc_method: Arc::clone(&row.labels.method),
        grpc_target: Arc::clone(&row.labels.peer),
    };
    let with_status = |row: &Counts, status| ClientStatusLabels {
        grpc_method: Arc::clone(&row.labels.method),
        grpc_target: Arc::clone(&row.labels.peer),
        grpc_status: code::name(status),
    };
    let nonzero = |of: fn(&Counts) -> u64| {
        let counts = rows().map(move |row| (labels(row), of(row)));
        counts.filter(|(_, count)| *count > 0)
    };
    let attempts = rows().map(|row| (labels(row), row.attempts_started));
    counters(encoder, calls::CLIENT_ATTEMPTS, attempts)?;
    let attempts = || {
        rows().flat_map(|row| {
            let attempts = row.attempts.iter();
            attempts.map(move |alike| (with_status(row, alike.status), alike))
        })
    };
    seconds(encoder, calls::CLIENT_ATTEMPT_SECONDS, attempts())?;
    let [sent, received] = [
        calls::CLIENT_ATTEMPT_SENT_BYTES,
        calls::CLIENT_ATTEMPT_RECEIVED_BYTES,
    ];
    bytes(encoder, sent, 0, attempts())?;
    bytes(encoder, received, 1, attempts())?;
    let mut ended: Sums<_, EndedAlike> = Sums::default();
    for row in rows() {
        for calls in &row.calls {
            ended.of(with_status(row, calls.status)).add(calls);
        }
    }
    seconds(encoder, calls::CLIENT_CALL_SECONDS, ended.iter())?;
    counters(encoder, calls::CLIENT_RETRIES, nonzero(|row| row.retries))?;
    let transparent = nonzero(|row| row.transparent_retries);
    counters(encoder, calls::CLIENT_TRANSPARENT_RETRIES, transparent)?;
    counters(encoder, calls::CLIENT_HEDGES, nonzero(|row| row.hedges))?;
    let delays = rows().map(|row| (labels(row), &row.retry_delay));
    let delays = delays.filter(|(_, delays)| delays.count() > 0);
    let definition = calls::CLIENT_RETRY_DELAY_SECONDS;
    histograms(encoder, definition, &NANOSECONDS, SECONDS, delays)
}

fn server(reading: &Reading, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    // Callers are not in gRPC's labels: their rows are summed.
    let mut started: Sums<_, u64> = Sums::default();
    let mut ended: Sums<_, EndedAlike> = Sums::default();
    for row in reading.rows(Side::Inbound) {
        let grpc_method = &row.labels.method;
        let labels = ServerLabels {
            grpc_method: Arc::clone(grpc_method),
        };
        *started.of(labels) += row.started;
        for calls in &row.calls {
            let labels = ServerStatusLabels {
                grpc_method: Arc::clone(grpc_method),
                grpc_status: code::name(calls.status),
            };
            ended.of(labels).add(calls);
        }
    }
    counters(encoder, calls::SERVER_CALLS, started.0)?;
    seconds(encoder, calls::SERVER_CALL_SECONDS, ended.iter())?;
    bytes(encoder, calls::SERVER_CALL_RECEIVED_BYTES, 0, ended.iter())?;
    bytes(encoder, calls::SERVER_CALL_SENT_BYTES, 1, ended.iter())
}

/// What Istio's dashboards read. Methods are not in its labels.
fn istio(reading: &Reading, service: &str, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
    let own: Arc<str> = account(reading.id.as_ref().map(SpiffeId::as_str)).into();
    let mut ended: Sums<IstioLabels, EndedAlike> = Sums::default();
    for row in &reading.rows {
        let peer = &row.labels.peer;
        for calls in &row.calls {
            let (status, is_mutual) = (calls.status, !calls.is_cleartext);
            let labels = match row.labels.side {
                Side::Outbound => {
                    IstioLabels::new(Reporter::Source, Arc::clone(&own), peer, status, is_mutual)
                }
                Side::Inbound => {
                    let source = account(Some(peer)).into();
                    IstioLabels::new(Reporter::Destination, source, service, status, is_mutual)
                }
            };
            ended.of(labels).add(calls);
        }
    }
    let counts =
        |of: fn(&EndedAlike) -> u64| ended.iter().map(move |(labels, sum)| (labels, of(sum)));
    counters(
        encoder,
        calls::ISTIO_REQUESTS,
        counts(|sum| sum.durations.count()),
    )?;
    counters(
        encoder,
        calls::ISTIO_REQUEST_MESSAGES,
        counts(|sum| sum.messages[0]),
    )?;
    counters(
        encoder,
        calls::ISTIO_RESPONSE_MESSAGES,
        counts(|sum| sum.messages[1]),
    )?;
    histograms(
        encoder,
        calls::ISTIO_REQUEST_MILLISECONDS,
        &NANOSECONDS,
        (&ISTIO_MILLISECONDS, 1e-6),
        ended.iter().map(|(labels, sum)| (labels, &sum.durations)),
    )
}

/// The service account in a SPIFFE ID.
fn account(id: Option<&str>) -> &str {
    let parts = id.and_then(|id| id.rsplit_once("/sa/"));
    parts.map_or("unknown", |(_, account)| account)
}

/// Sums by labels, few enough to be looked through.
struct Sums<L, V>(Vec<(L, V)>);

impl<L, V> Default for Sums<L, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<L: PartialEq + Clone, V: Default> Sums<L, V> {
    fn of(&mut self, labels: L) -> &mut V {
        let known = self.0.iter().position(|(other, _)| *other == labels);
        let at = known.unwrap_or_else(|| {
            self.0.push((labels, V::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    fn iter(&self) -> impl Iterator<Item = (L, &V)> {
        self.0.iter().map(|(labels, sum)| (labels.clone(), sum))
    }
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    Definition { name, help }: Definition,
    counts: impl IntoIterator<Item = (L, u64)>,
) -> Encoded {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in counts {
        let family = metric.encode_family(&labels)?;
        ConstCounter::new(count).encode(family)?;
    }
    Ok(())
}

/// What is shown of [`NANOSECONDS`] in seconds.
const SECONDS: (&[f64], f64) = (&CALL_SECONDS, 1e-9);

fn seconds<'a, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    definition: Definition,
    all: impl Iterator<Item = (L, &'a EndedAlike)>,
) -> Encoded {
    let all = all.map(|(labels, alike)| (labels, &alike.durations));
    histograms(encoder, definition, &NANOSECONDS, SECONDS, all)
}

/// The sizes of requests, way 0, or of answers, way 1.
fn bytes<'a, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    definition: Definition,
    way: usize,
    all: impl Iterator<Item = (L, &'a EndedAlike)>,
) -> Encoded {
    let all = all.map(|(labels, alike)| (labels, &alike.sizes[way]));
    histograms(encoder, definition, &BYTES, (&MESSAGE_BYTES, 1.0), all)
}

fn histograms<'a, L: EncodeLabelSet, const BUCKETS: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    Definition { name, help }: Definition,
    scale: &Scale<BUCKETS>,
    (bounds, unit): (&[f64], f64),
    all: impl Iterator<Item = (L, &'a Histogram<BUCKETS>)>,
) -> Encoded {
    let mut metric: MetricEncoder<'_> =
        encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, histogram) in all {
        let (sum, count) = (histogram.sum as f64 * unit, histogram.count());
        let buckets = histogram.below(scale, bounds, unit);
        metric
            .encode_family(&labels)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}
