//! Metrics of inbound calls under gRPC's names, with bounded labels.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use weft_channel::upstream::Methods;
use weft_policy::code;
use weft_runtime::metrics::{CALL_SECONDS, Metrics};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MethodLabels {
    grpc_method: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatusLabels {
    grpc_method: Arc<str>,
    grpc_status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

/// What the inbound side counts.
#[derive(Clone, Debug)]
pub(crate) struct InboundMetrics {
    started: Family<MethodLabels, Counter>,
    seconds: Family<StatusLabels, Histogram, fn() -> Histogram>,
    refused: Family<RefusalLabels, Counter>,
    methods: Methods,
}

fn call_histogram() -> Histogram {
    Histogram::new(CALL_SECONDS)
}

impl InboundMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            started: metrics.register(
                "grpc_server_call_started",
                "Inbound calls begun.",
                Family::default(),
            ),
            seconds: metrics.register(
                "grpc_server_call_duration_seconds",
                "Time from the start of an inbound call to its end.",
                Family::new_with_constructor(call_histogram as fn() -> Histogram),
            ),
            refused: metrics.register(
                "weft_inbound_connections_refused",
                "Inbound connections refused before any request, by reason.",
                Family::default(),
            ),
            methods: Methods::default(),
        }
    }

    /// Counts a call and returns its method's label. Callers that no rule allows must not fill the
    /// table of methods.
    pub(crate) fn started(&self, path: &str, is_allowed: bool) -> Arc<str> {
        let method = match is_allowed {
            true => self.methods.label(path),
            false => "denied".into(),
        };
        let labels = MethodLabels {
            grpc_method: Arc::clone(&method),
        };
        self.started.get_or_create(&labels).inc();
        method
    }

    pub(crate) fn ended(&self, method: &Arc<str>, status: i32, took: Duration) {
        let labels = StatusLabels {
            grpc_method: Arc::clone(method),
            grpc_status: code::name(status),
        };
        self.seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusalLabels { reason }).inc();
    }
}
