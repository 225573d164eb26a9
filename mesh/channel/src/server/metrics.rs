//! What is counted about calls that arrive.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::{counter::Counter, family::Family};
use weft_policy::{DecisionRecord, code};
use weft_runtime::metrics::{
    Metrics,
    calls::{
        self, Histograms, IstioLabels, RefusalLabels, Reporter, ServerLabels, ServerStatusLabels,
    },
};

use crate::{
    messages::Traffic,
    metrics::{ChannelMetrics, IstioMetrics, KnownMethods},
};

#[derive(Clone, Debug)]
pub(super) struct ServerMetrics {
    started: Family<ServerLabels, Counter>,
    seconds: Histograms<ServerStatusLabels>,
    /// Received, sent.
    bytes: [Histograms<ServerStatusLabels>; 2],
    refused: Family<RefusalLabels, Counter>,
    istio: IstioMetrics,
    methods: KnownMethods,
}

impl ServerMetrics {
    pub(super) fn register(metrics: &Metrics, channel: &ChannelMetrics) -> Self {
        Self {
            started: calls::SERVER_CALLS.register(metrics, Family::default()),
            seconds: calls::SERVER_CALL_SECONDS.register(metrics, calls::seconds()),
            bytes: [
                calls::SERVER_CALL_RECEIVED_BYTES,
                calls::SERVER_CALL_SENT_BYTES,
            ]
            .map(|definition| definition.register(metrics, calls::bytes())),
            refused: calls::REFUSED_CONNECTIONS.register(metrics, Family::default()),
            istio: channel.istio.clone(),
            methods: channel.methods.clone(),
        }
    }

    /// Counts a call that begins; returns its method's label.
    pub(super) fn started(&self, path: &str) -> Arc<str> {
        let labels = ServerLabels {
            grpc_method: self.methods.label(path),
        };
        self.started.get_or_create(&labels).inc();
        labels.grpc_method
    }

    pub(super) fn ended(
        &self,
        method: &Arc<str>,
        record: &DecisionRecord,
        status: i32,
        took: Duration,
        traffic: [Traffic; 2],
    ) {
        let labels = ServerStatusLabels {
            grpc_method: Arc::clone(method),
            grpc_status: code::name(status),
        };
        let histogram = self.seconds.get_or_create(&labels);
        histogram.observe(took.as_secs_f64());
        for (bytes, traffic) in self.bytes.iter().zip(traffic) {
            bytes.get_or_create(&labels).observe(traffic.bytes as f64);
        }
        let account = record
            .caller
            .as_deref()
            .and_then(|id| id.rsplit_once("/sa/"));
        let source = account.map_or("unknown", |(_, account)| account).into();
        let service = &record.target;
        let labels = IstioLabels::new(Reporter::Destination, source, service, status, true);
        self.istio.ended(&labels, took, traffic);
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusalLabels { reason }).inc();
    }
}
