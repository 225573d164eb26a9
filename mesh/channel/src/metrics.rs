//! What is counted about calls, under the names of [`weft_runtime::metrics::calls`].

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::Counter, family::Family},
};
use weft_model::dataplane::Snapshot;
use weft_policy::{DecisionRecord, code};
use weft_runtime::metrics::{
    Metrics,
    calls::{self, ClientLabels, ClientStatusLabels, Histograms, IstioLabels, OTHER, Reporter},
};

use crate::{Inner, ejections, messages::Traffic};

/// The labels of the methods that the mesh's contracts know, by path.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownMethods(Arc<RwLock<HashMap<String, Arc<str>>>>);

impl KnownMethods {
    /// Takes the methods that have a rule of their own, as each method of a contract has.
    pub(crate) fn update(&self, snapshot: &Snapshot) {
        let rules = snapshot.targets.values().flat_map(|target| &target.methods);
        let names = rules.filter_map(|rule| {
            let (service, method) = (
                rule.matches.service.as_ref()?,
                rule.matches.method.as_ref()?,
            );
            let label = format!("{service}/{method}");
            Some((format!("/{label}"), label.into()))
        });
        *self.0.write() = names.collect();
    }

    pub(crate) fn label(&self, path: &str) -> Arc<str> {
        let known = self.0.read();
        known.get(path).map_or_else(|| OTHER.into(), Arc::clone)
    }
}

/// Istio's families, of both sides of a process.
#[derive(Clone, Debug)]
pub(crate) struct IstioMetrics {
    requests: Family<IstioLabels, Counter>,
    milliseconds: Histograms<IstioLabels>,
    /// Of requests, of answers.
    messages: [Family<IstioLabels, Counter>; 2],
}

impl IstioMetrics {
    fn register(metrics: &Metrics) -> Self {
        Self {
            requests: calls::ISTIO_REQUESTS.register(metrics, Family::default()),
            milliseconds: calls::ISTIO_REQUEST_MILLISECONDS
                .register(metrics, calls::milliseconds()),
            messages: [
                calls::ISTIO_REQUEST_MESSAGES,
                calls::ISTIO_RESPONSE_MESSAGES,
            ]
            .map(|definition| definition.register(metrics, Family::default())),
        }
    }

    pub(crate) fn ended(&self, labels: &IstioLabels, took: Duration, traffic: [Traffic; 2]) {
        self.requests.get_or_create(labels).inc();
        for (family, traffic) in self.messages.iter().zip(traffic) {
            family.get_or_create(labels).inc_by(traffic.messages);
        }
        let histogram = self.milliseconds.get_or_create(labels);
        histogram.observe(took.as_secs_f64() * 1_000.0);
    }
}

/// What a channel counts.
#[derive(Clone, Debug)]
pub(crate) struct ChannelMetrics {
    attempts: Family<ClientLabels, Counter>,
    attempt_seconds: Histograms<ClientStatusLabels>,
    /// Sent, received.
    attempt_bytes: [Histograms<ClientStatusLabels>; 2],
    call_seconds: Histograms<ClientStatusLabels>,
    retries: Family<ClientLabels, Counter>,
    transparent_retries: Family<ClientLabels, Counter>,
    hedges: Family<ClientLabels, Counter>,
    retry_delay: Histograms<ClientLabels>,
    pub(crate) istio: IstioMetrics,
    pub(crate) methods: KnownMethods,
}

impl ChannelMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            attempts: calls::CLIENT_ATTEMPTS.register(metrics, Family::default()),
            attempt_seconds: calls::CLIENT_ATTEMPT_SECONDS.register(metrics, calls::seconds()),
            attempt_bytes: [
                calls::CLIENT_ATTEMPT_SENT_BYTES,
                calls::CLIENT_ATTEMPT_RECEIVED_BYTES,
            ]
            .map(|definition| definition.register(metrics, calls::bytes())),
            call_seconds: calls::CLIENT_CALL_SECONDS.register(metrics, calls::seconds()),
            retries: calls::CLIENT_RETRIES.register(metrics, Family::default()),
            transparent_retries: calls::CLIENT_TRANSPARENT_RETRIES
                .register(metrics, Family::default()),
            hedges: calls::CLIENT_HEDGES.register(metrics, Family::default()),
            retry_delay: calls::CLIENT_RETRY_DELAY_SECONDS.register(metrics, calls::seconds()),
            istio: IstioMetrics::register(metrics),
            methods: KnownMethods::default(),
        }
    }

    /// Labels for a call. `target` must be one of the mesh.
    pub(crate) fn labels(&self, target: &Arc<str>, path: &str) -> ClientLabels {
        ClientLabels {
            grpc_method: self.methods.label(path),
            grpc_target: Arc::clone(target),
        }
    }

    pub(crate) fn attempt_started(&self, labels: &ClientLabels) {
        self.attempts.get_or_create(labels).inc();
    }

    /// An attempt is over, with what was sent and received in it.
    pub(crate) fn attempt_ended(
        &self,
        labels: &ClientLabels,
        status: i32,
        took: Duration,
        traffic: [Traffic; 2],
    ) {
        let labels = with_status(labels, status);
        let seconds = self.attempt_seconds.get_or_create(&labels);
        seconds.observe(took.as_secs_f64());
        for (bytes, traffic) in self.attempt_bytes.iter().zip(traffic) {
            bytes.get_or_create(&labels).observe(traffic.bytes as f64);
        }
    }

    /// A call is over. `idle`: how long no attempt was under way after the first had begun.
    pub(crate) fn call_ended(
        &self,
        labels: &ClientLabels,
        record: &DecisionRecord,
        (status, took): (i32, Duration),
        idle: Duration,
        (source, is_mutual): (&Arc<str>, bool),
        traffic: [Traffic; 2],
    ) {
        let count = |family: &Family<ClientLabels, Counter>, many: u32| {
            if many > 0 {
                family.get_or_create(labels).inc_by(many.into());
            }
        };
        count(&self.retries, record.retries());
        count(&self.hedges, record.hedges);
        count(&self.transparent_retries, record.transparent_retries);
        if record.attempts > 1 || record.transparent_retries > 0 {
            let histogram = self.retry_delay.get_or_create(labels);
            histogram.observe(idle.as_secs_f64());
        }
        self.call_seconds
            .get_or_create(&with_status(labels, status))
            .observe(took.as_secs_f64());
        let (source, target) = (Arc::clone(source), &labels.grpc_target);
        let labels = IstioLabels::new(Reporter::Source, source, target, status, is_mutual);
        self.istio.ended(&labels, took, traffic);
    }
}

/// Shows what outlier detection has done.
#[derive(Debug)]
pub(crate) struct EjectionCollector(pub(crate) Weak<Inner>);

impl Collector for EjectionCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(inner) = self.0.upgrade() else {
            return Ok(());
        };
        let clusters = inner.engine.lock().clusters(Instant::now());
        ejections::encode(&clusters, &mut encoder)
    }
}

fn with_status(labels: &ClientLabels, status: i32) -> ClientStatusLabels {
    ClientStatusLabels {
        grpc_method: Arc::clone(&labels.grpc_method),
        grpc_target: Arc::clone(&labels.grpc_target),
        grpc_status: code::name(status),
    }
}
