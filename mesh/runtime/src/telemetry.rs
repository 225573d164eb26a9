//! Logs on standard error and spans over OTLP.

pub mod filter;
mod json;

use std::{env, io, io::IsTerminal as _, sync::OnceLock};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Lines that may wait to be written: half a kilobyte each as a rule, never more than a request's headers.
/// Whoever reads the log may pause; calls do not.
const LINES: usize = 4096;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Keeps the exporter and the log running. Spans that are not yet exported are sent when it is dropped,
/// and lines written, for a second at most.
#[derive(Debug)]
#[must_use = "spans are exported and lines written only while this lives"]
pub struct Telemetry {
    provider: SdkTracerProvider,
    _log: WorkerGuard,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // A collector that is down must not keep the process; the batch processor gives up by itself.
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(%error, "spans could not be flushed");
        }
    }
}

/// Sets up logs and spans for the process called `name`. Call it once, inside a tokio runtime.
///
/// - Logs go to standard error, filtered by `RUST_LOG` (default `info`): text on a terminal, else one
///   JSON object a line with `trace_id` and `span_id`. A thread of its own writes them: nothing waits for
///   who reads them, and what is too much is left out and counted (`weft_log_lines_dropped_total`).
/// - Spans are exported over gRPC if `OTEL_EXPORTER_OTLP_ENDPOINT` (or
///   `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) is set; `OTEL_SERVICE_NAME` overrides `name`. Without it
///   spans still have ids that [`crate::trace`] passes on.
///
/// In a process that has a subscriber already, such as a test, the one that is there stays.
pub fn init(name: &str) -> Telemetry {
    init_with(name, &[])
}

/// As [`init`], with levels for targets that `RUST_LOG` does not name.
pub fn init_with(name: &str, levels: &[(&'static str, LevelFilter)]) -> Telemetry {
    let (provider, exporter_error) = tracer_provider(name);
    let tracer = provider.tracer("weft");
    // Our own transport's chatter would be exported by itself, forever.
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_threads(false)
        .with_location(false)
        .with_tracked_inactivity(false)
        .with_filter(span_filter());
    let (logged, reload) = filter::first(levels);
    let (writer, log) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES)
        .thread_name("log")
        .finish(io::stderr());
    let dropped = writer.error_counter();
    let logs = if io::stderr().is_terminal() {
        tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .with_filter(logged)
            .boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .fmt_fields(tracing_subscriber::fmt::format::JsonFields::new())
            .event_format(json::JsonLines::new(name))
            .with_filter(logged)
            .boxed()
    };
    let fresh = tracing_subscriber::registry()
        .with(spans)
        .with(logs)
        .try_init()
        .is_ok();
    if let Some(error) = exporter_error {
        tracing::error!(%error, "spans are not exported");
    }
    if fresh {
        let _ = DROPPED.set(dropped);
        filter::keep(reload, levels);
    } else {
        tracing::debug!("a subscriber is already set");
    }
    Telemetry {
        provider,
        _log: log,
    }
}

/// Lines that were left out because too many waited.
pub(crate) fn dropped_lines() -> u64 {
    DROPPED
        .get()
        .map_or(0, |counter| counter.dropped_lines() as u64)
}

fn span_filter() -> tracing_subscriber::filter::Targets {
    [
        "h2",
        "hyper",
        "hyper_util",
        "tonic",
        "tower",
        "opentelemetry",
        "opentelemetry_sdk",
        "sqlx",
    ]
    .into_iter()
    .fold(
        tracing_subscriber::filter::Targets::new().with_default(LevelFilter::INFO),
        |targets, noisy| targets.with_target(noisy, LevelFilter::OFF),
    )
}

fn tracer_provider(name: &str) -> (SdkTracerProvider, Option<String>) {
    let service = env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| name.to_owned());
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let wanted = [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ]
    .iter()
    .any(|name| env::var(name).is_ok_and(|value| !value.is_empty()));
    if !wanted {
        return (builder.build(), None);
    }
    match SpanExporter::builder().with_tonic().build() {
        Ok(exporter) => {
            let provider = builder.with_batch_exporter(exporter).build();
            crate::trace::calls::export_calls(provider.tracer("weft"));
            (provider, None)
        }
        Err(error) => (builder.build(), Some(error.to_string())),
    }
}
