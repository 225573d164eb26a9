//! What to raise an alarm at.

use std::sync::LazyLock;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use weft_runtime::metrics::global;

pub(super) static EVENTS: LazyLock<Events> = LazyLock::new(|| Events {
    parked: global().register(
        "events_parked",
        "Events that could not be dealt with and wait for a human.",
        Family::default(),
    ),
    broken: global().register(
        "event_streams_broken",
        "Streams of events that ended with a failure. OUT_OF_RANGE does not pass by itself.",
        Family::default(),
    ),
});

/// How the consumers of this process fare.
pub(super) struct Events {
    parked: Family<Place, Gauge>,
    broken: Family<Broken, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    consumer: String,
    source: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Broken {
    consumer: String,
    source: String,
    grpc_status: &'static str,
}

impl Events {
    pub(super) fn parked(&self, consumer: &str, source: &str, count: i64) {
        let labels = Place {
            consumer: consumer.to_owned(),
            source: source.to_owned(),
        };
        self.parked.get_or_create(&labels).set(count);
    }

    pub(super) fn stream_broke(&self, consumer: &str, source: &str, grpc_status: &'static str) {
        let labels = Broken {
            consumer: consumer.to_owned(),
            source: source.to_owned(),
            grpc_status,
        };
        self.broken.get_or_create(&labels).inc();
    }
}
