//! Metrics under gRPC's names (gRFC A66), with bounded labels.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use weft_policy::code;
use weft_runtime::metrics::{CALL_SECONDS, Metrics};

/// Methods beyond this many are counted as `other`: paths come from callers, memory is ours.
const MOST_METHODS: usize = 256;

/// Method names fit for a label: their number is bounded, whatever callers send.
#[derive(Clone, Debug, Default)]
pub struct Methods(Arc<Mutex<HashSet<Arc<str>>>>);

impl Methods {
    /// The label for a path (`/package.Service/Method`): `package.Service/Method`, or `other` once too
    /// many were seen.
    pub fn label(&self, path: &str) -> Arc<str> {
        let method = path.strip_prefix('/').unwrap_or(path);
        let mut known = self.0.lock();
        if let Some(label) = known.get(method) {
            return Arc::clone(label);
        }
        if known.len() >= MOST_METHODS {
            return "other".into();
        }
        let label: Arc<str> = method.into();
        known.insert(Arc::clone(&label));
        label
    }
}

/// Which method of which target.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct MethodLabels {
    grpc_method: Arc<str>,
    grpc_target: Arc<str>,
}

/// The same, and how it ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct StatusLabels {
    grpc_method: Arc<str>,
    grpc_target: Arc<str>,
    grpc_status: &'static str,
}

impl MethodLabels {
    fn with(&self, status: i32) -> StatusLabels {
        StatusLabels {
            grpc_method: Arc::clone(&self.grpc_method),
            grpc_target: Arc::clone(&self.grpc_target),
            grpc_status: code::name(status),
        }
    }
}

/// What a channel counts.
#[derive(Clone, Debug)]
pub(crate) struct ChannelMetrics {
    attempts: Family<MethodLabels, Counter>,
    attempt_seconds: Family<StatusLabels, Histogram, fn() -> Histogram>,
    call_seconds: Family<StatusLabels, Histogram, fn() -> Histogram>,
    retries: Family<MethodLabels, Counter>,
    transparent_retries: Family<MethodLabels, Counter>,
    methods: Methods,
}

fn call_histogram() -> Histogram {
    Histogram::new(CALL_SECONDS)
}

impl ChannelMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let histograms = || Family::new_with_constructor(call_histogram as fn() -> Histogram);
        Self {
            attempts: metrics.register(
                "grpc_client_attempt_started",
                "Attempts of outbound calls begun.",
                Family::default(),
            ),
            attempt_seconds: metrics.register(
                "grpc_client_attempt_duration_seconds",
                "Time from the start of an attempt to response headers or its failure.",
                histograms(),
            ),
            call_seconds: metrics.register(
                "grpc_client_call_duration_seconds",
                "Time from the start of an outbound call to its end, retries included.",
                histograms(),
            ),
            retries: metrics.register(
                "grpc_client_call_retries",
                "Attempts after the first that a retry policy asked for.",
                Family::default(),
            ),
            transparent_retries: metrics.register(
                "grpc_client_call_transparent_retries",
                "Attempts that repeated one which reached no workload.",
                Family::default(),
            ),
            methods: Methods::default(),
        }
    }

    /// Labels for a call. `target` must be one of the mesh.
    pub(crate) fn labels(&self, target: &str, path: &str) -> MethodLabels {
        MethodLabels {
            grpc_method: self.methods.label(path),
            grpc_target: target.into(),
        }
    }

    pub(crate) fn attempt_started(&self, labels: &MethodLabels) {
        self.attempts.get_or_create(labels).inc();
    }

    pub(crate) fn attempt_ended(&self, labels: &MethodLabels, status: i32, took: Duration) {
        let labels = labels.with(status);
        self.attempt_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    pub(crate) fn call_ended(
        &self,
        labels: &MethodLabels,
        status: i32,
        took: Duration,
        attempts: u32,
        transparent_retries: u32,
    ) {
        let retries = u64::from(attempts.saturating_sub(1));
        if retries > 0 {
            self.retries.get_or_create(labels).inc_by(retries);
        }
        if transparent_retries > 0 {
            let counter = self.transparent_retries.get_or_create(labels);
            counter.inc_by(u64::from(transparent_retries));
        }
        self.call_seconds
            .get_or_create(&labels.with(status))
            .observe(took.as_secs_f64());
    }
}
