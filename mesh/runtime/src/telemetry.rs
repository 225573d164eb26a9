//! Logs on standard error and spans over OTLP.

pub mod filter;
mod json;

use std::{env, io, io::IsTerminal as _};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Keeps the exporter running. Spans that are not yet exported are sent when it is dropped.
#[derive(Debug)]
#[must_use = "spans are exported only while this lives"]
pub struct Telemetry {
    provider: SdkTracerProvider,
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
///   JSON object a line with `trace_id` and `span_id`.
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
    let logs = if io::stderr().is_terminal() {
        tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_filter(logged)
            .boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
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
        filter::keep(reload, levels);
    } else {
        tracing::debug!("a subscriber is already set");
    }
    Telemetry { provider }
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
