//! How metrics of calls are called, labelled and bounded, so that every process of the mesh exposes the
//! same families, however it counts.
//!
//! Two sets: gRPC's own (gRFC A66, A96) and an Istio-compatible one, which dashboards made for Istio
//! read. Method labels are methods that the mesh's contracts know, or [`OTHER`].

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::Metric,
};

use super::{CALL_SECONDS, Metrics};

/// The label of a method that no contract of the mesh knows.
pub const OTHER: &str = "other";

/// A family of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Its name, without the `_total` that counters get when they are shown.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
}

impl Definition {
    /// Adds the family to a registry.
    pub fn register<M: Metric + Clone>(self, metrics: &Metrics, family: M) -> M {
        metrics.register(self.name, self.help, family)
    }
}

macro_rules! definitions {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $help:literal;)+) => {
        $($(#[$doc])* #[doc = $help] pub const $constant: Definition = Definition {
            name: $name,
            help: $help,
        };)+
    };
}

definitions! {
    CLIENT_ATTEMPTS = "grpc_client_attempt_started",
        "Attempts of outbound calls begun.";
    CLIENT_ATTEMPT_SECONDS = "grpc_client_attempt_duration_seconds",
        "Time from the start of an attempt to the end of its stream, or to its failure.";
    CLIENT_ATTEMPT_SENT_BYTES = "grpc_client_attempt_sent_total_compressed_message_size_bytes",
        "Bytes of the messages sent in an attempt, compressed or not, without their heads of five bytes.";
    CLIENT_ATTEMPT_RECEIVED_BYTES = "grpc_client_attempt_rcvd_total_compressed_message_size_bytes",
        "Bytes of the messages received in an attempt, compressed or not, without their heads.";
    CLIENT_CALL_SECONDS = "grpc_client_call_duration_seconds",
        "Time from the start of an outbound call to its end, retries included.";
    CLIENT_RETRIES = "grpc_client_call_retries",
        "Attempts after the first that a retry policy asked for.";
    CLIENT_TRANSPARENT_RETRIES = "grpc_client_call_transparent_retries",
        "Attempts that repeated one which reached no workload.";
    CLIENT_HEDGES = "grpc_client_call_hedges",
        "Attempts begun while another one of the same call was under way.";
    CLIENT_RETRY_DELAY_SECONDS = "grpc_client_call_retry_delay_seconds",
        "Time in which a call that was repeated had no attempt under way.";
    SERVER_CALLS = "grpc_server_call_started",
        "Inbound calls begun.";
    SERVER_CALL_SECONDS = "grpc_server_call_duration_seconds",
        "Time from the start of an inbound call to its end.";
    SERVER_CALL_SENT_BYTES = "grpc_server_call_sent_total_compressed_message_size_bytes",
        "Bytes of the messages sent in an inbound call, compressed or not, without their heads.";
    SERVER_CALL_RECEIVED_BYTES = "grpc_server_call_rcvd_total_compressed_message_size_bytes",
        "Bytes of the messages received in an inbound call, compressed or not, without their heads.";
    ISTIO_REQUESTS = "istio_requests",
        "Calls, as seen by the reporter.";
    ISTIO_REQUEST_MILLISECONDS = "istio_request_duration_milliseconds",
        "Time from the start of a call to its end, as seen by the reporter.";
    ISTIO_REQUEST_MESSAGES = "istio_request_messages",
        "Messages of the requests of calls that have ended, as seen by the reporter.";
    ISTIO_RESPONSE_MESSAGES = "istio_response_messages",
        "Messages of the answers of calls that have ended, as seen by the reporter.";
    REFUSED_CONNECTIONS = "weft_inbound_connections_refused",
        "Inbound connections refused before any request, by reason.";
    CLOSED_CONNECTIONS = "weft_connections_closed",
        "Connections closed because the peer broke HTTP/2 or a limit, by reason.";
}

/// Bucket bounds of [`ISTIO_REQUEST_MILLISECONDS`]: Istio's, as far as calls have a deadline.
pub const ISTIO_MILLISECONDS: [f64; 14] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0,
    30_000.0,
];

/// Bucket bounds of message sizes: those of gRFC A66.
pub const MESSAGE_BYTES: [f64; 14] = [
    0.0,
    1_024.0,
    2_048.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
];

/// Which method of which target.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ClientLabels {
    /// `package.Service/Method`, or [`OTHER`].
    pub grpc_method: Arc<str>,
    /// The authority that is called, `payments:7070`.
    pub grpc_target: Arc<str>,
}

/// The same, and how it ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ClientStatusLabels {
    /// As in [`ClientLabels`].
    pub grpc_method: Arc<str>,
    /// As in [`ClientLabels`].
    pub grpc_target: Arc<str>,
    /// `UNAVAILABLE`.
    pub grpc_status: &'static str,
}

/// Which method of the workload.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ServerLabels {
    /// As in [`ClientLabels`].
    pub grpc_method: Arc<str>,
}

/// The same, and how it ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ServerStatusLabels {
    /// As in [`ClientLabels`].
    pub grpc_method: Arc<str>,
    /// `UNAVAILABLE`.
    pub grpc_status: &'static str,
}

/// Why connections are refused.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RefusalLabels {
    /// `PLAINTEXT`.
    pub reason: &'static str,
}

/// Istio's labels of a call.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct IstioLabels {
    /// Who counts.
    pub reporter: &'static str,
    /// The caller's service account, or `unknown`.
    pub source_workload: Arc<str>,
    /// The service that is called, without its port.
    pub destination_service: Arc<str>,
    /// Always `grpc`.
    pub request_protocol: &'static str,
    /// The HTTP status, which is always 200.
    pub response_code: u32,
    /// The number of the gRPC status.
    pub grpc_response_status: u32,
    /// `mutual_tls` or `none`.
    pub connection_security_policy: &'static str,
}

/// The side of a connection that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// Who calls.
    Source,
    /// Who is called.
    Destination,
}

impl IstioLabels {
    /// The labels of a call that ended with `status`. `service` may carry a port.
    pub fn new(
        reporter: Reporter,
        source: Arc<str>,
        service: &str,
        status: i32,
        is_mutual: bool,
    ) -> Self {
        Self {
            reporter: match reporter {
                Reporter::Source => "source",
                Reporter::Destination => "destination",
            },
            source_workload: source,
            destination_service: service
                .split_once(':')
                .map_or(service, |(host, _)| host)
                .into(),
            request_protocol: "grpc",
            response_code: 200,
            // What is no gRPC status is UNKNOWN: whoever answers must not make labels.
            grpc_response_status: u32::try_from(status)
                .ok()
                .filter(|code| *code <= 16)
                .unwrap_or(2),
            connection_security_policy: if is_mutual { "mutual_tls" } else { "none" },
        }
    }
}

/// A family of histograms.
pub type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Histograms of seconds, bounded by [`CALL_SECONDS`].
pub fn seconds<L: Clone + std::hash::Hash + Eq>() -> Histograms<L> {
    Family::new_with_constructor(|| Histogram::new(CALL_SECONDS))
}

/// Histograms of message sizes, bounded by [`MESSAGE_BYTES`].
pub fn bytes<L: Clone + std::hash::Hash + Eq>() -> Histograms<L> {
    Family::new_with_constructor(|| Histogram::new(MESSAGE_BYTES))
}

/// Histograms of milliseconds, bounded by [`ISTIO_MILLISECONDS`].
pub fn milliseconds<L: Clone + std::hash::Hash + Eq>() -> Histograms<L> {
    Family::new_with_constructor(|| Histogram::new(ISTIO_MILLISECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_istio_set_has_istios_names() {
        let metrics = Metrics::new();
        let requests: Family<IstioLabels, prometheus_client::metrics::counter::Counter> =
            ISTIO_REQUESTS.register(&metrics, Family::default());
        let labels =
            |status| IstioLabels::new(Reporter::Source, "edge".into(), "orders:7070", status, true);
        requests.get_or_create(&labels(14)).inc();
        requests.get_or_create(&labels(99)).inc();
        let text = metrics.encode();
        let line = "istio_requests_total{reporter=\"source\",source_workload=\"edge\",\
            destination_service=\"orders\",request_protocol=\"grpc\",response_code=\"200\",\
            grpc_response_status=\"14\",connection_security_policy=\"mutual_tls\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("grpc_response_status=\"2\""), "{text}");
    }
}
