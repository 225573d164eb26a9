//! What to raise an alarm at.

use std::sync::LazyLock;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

pub(super) static PARKED: LazyLock<ParkedEvents> = LazyLock::new(|| {
    let help = "Events that could not be dealt with and were given up.";
    let family = weft_runtime::metrics::global().register("events_parked", help, Family::default());
    ParkedEvents(family)
});

/// Counts parked events.
pub(super) struct ParkedEvents(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    consumer: String,
    source: String,
}

impl ParkedEvents {
    pub(super) fn add(&self, consumer: &str, source: &str) {
        let labels = Labels {
            consumer: consumer.to_owned(),
            source: source.to_owned(),
        };
        self.0.get_or_create(&labels).inc();
    }
}
