//! The registry of metrics that the admin port shows.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::text::encode,
    registry::{Metric, Registry},
};

pub mod calls;
mod process;

static GLOBAL: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// A shared handle on a registry. Cloning gives the same registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// A registry that holds what is known about the process itself: resident memory, processor time,
    /// threads, open files and start time.
    pub fn new() -> Self {
        process::mark_start();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::ProcessCollector));
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds a metric and returns it. `name` has no `_total`: counters get it when they are shown.
    pub fn register<M>(&self, name: &str, help: &str, metric: M) -> M
    where
        M: Metric + Clone,
    {
        // The registry adds the full stop.
        self.registry
            .lock()
            .register(name, help.trim_end_matches('.'), metric.clone());
        metric
    }

    /// Adds metrics that are made when they are shown.
    pub fn register_collector(&self, collector: impl Collector) {
        self.registry.lock().register_collector(Box::new(collector));
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a `String` does not fail.
        let _ = encode(&mut text, &self.registry.lock());
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        global()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The registry of this process, the same for all who ask. Register a metric in it once.
pub fn global() -> Metrics {
    GLOBAL.clone()
}

/// Bucket bounds in seconds for the duration of calls, as gRPC's metrics recommend them (A66),
/// thinned to what tells apart.
pub const CALL_SECONDS: [f64; 15] = [
    0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
