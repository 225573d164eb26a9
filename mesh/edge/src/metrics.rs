//! What the edge counts.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use weft_runtime::metrics::{CALL_SECONDS, Metrics};

/// A request as metrics see it. `route` is a method's path, `pages`, `api`, or `unknown`: bounded,
/// whatever callers ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Labels {
    pub(crate) protocol: &'static str,
    pub(crate) route: String,
    pub(crate) status: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    protocol: &'static str,
    route: String,
}

/// The edge's metrics. Clones count together.
#[derive(Clone)]
pub(crate) struct EdgeMetrics {
    requests: Family<Labels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    pub(crate) connections: Gauge,
    pub(crate) in_flight: Gauge,
}

impl EdgeMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let seconds: Family<RouteLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(CALL_SECONDS));
        Self {
            requests: metrics.register(
                "edge_requests",
                "Requests answered, by route and HTTP or gRPC status",
                Family::default(),
            ),
            seconds: metrics.register(
                "edge_request_seconds",
                "From a request's head to the end of its response",
                seconds,
            ),
            connections: metrics.register(
                "edge_connections",
                "Connections open now",
                Gauge::default(),
            ),
            in_flight: metrics.register(
                "edge_requests_in_flight",
                "Requests being answered now",
                Gauge::default(),
            ),
        }
    }

    pub(crate) fn answered(&self, labels: Labels, took: Duration) {
        let route = RouteLabels {
            protocol: labels.protocol,
            route: labels.route.clone(),
        };
        self.seconds
            .get_or_create(&route)
            .observe(took.as_secs_f64());
        self.requests.get_or_create(&labels).inc();
    }
}
