//! Spans of calls for a proxy that forwards bytes: made only where somebody exports them, without a
//! task or a `tracing` span around the call.

use std::{borrow::Cow, sync::OnceLock};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanKind, Status, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::PROPAGATOR;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Exports the spans of calls through `tracer` from now on. [`crate::telemetry::init`] does this where
/// an OTLP endpoint is configured. The first tracer stays.
pub fn export_calls(tracer: SdkTracer) {
    let _ = TRACER.set(tracer);
}

/// Whether spans of calls are exported. Without it a proxy leaves `traceparent` as it is.
pub fn exports_calls() -> bool {
    TRACER.get().is_some()
}

/// The span of one call. Dropped without [`CallSpan::end`], it ends without a status.
#[derive(Debug)]
pub struct CallSpan(Span);

struct Parent<'a> {
    traceparent: &'a str,
    tracestate: Option<&'a str>,
}

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.traceparent),
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

impl CallSpan {
    /// Begins a span for a call of `method` (`package.Service/Method`), as a child of the caller's
    /// span if there is one. `None` if nobody exports spans.
    pub fn begin(
        method: &str,
        is_server: bool,
        traceparent: Option<&str>,
        tracestate: Option<&str>,
    ) -> Option<Self> {
        let tracer = TRACER.get()?;
        let parent = match traceparent {
            Some(traceparent) => PROPAGATOR.extract_with_context(
                &Context::new(),
                &Parent {
                    traceparent,
                    tracestate,
                },
            ),
            None => Context::new(),
        };
        let kind = match is_server {
            true => SpanKind::Server,
            false => SpanKind::Client,
        };
        let span = tracer
            .span_builder(method.to_owned())
            .with_kind(kind)
            .with_attributes([KeyValue::new("rpc.system", "grpc")])
            .start_with_context(tracer, &parent);
        Some(Self(span))
    }

    /// The span as `traceparent` and `tracestate`; the latter is empty if it says nothing.
    pub fn headers(&self) -> (String, String) {
        let context = self.0.span_context();
        let traceparent = format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        );
        (traceparent, context.trace_state().header())
    }

    /// Adds a fact.
    pub fn attribute(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.0.set_attribute(KeyValue::new(name, value.into()));
    }

    /// Ends the span with a gRPC status. `failure` is what the mesh says where it failed the call.
    pub fn end(mut self, grpc_status: i32, failure: Option<&str>) {
        let status = i64::from(grpc_status);
        self.0
            .set_attribute(KeyValue::new("rpc.grpc.status_code", status));
        if let Some(failure) = failure {
            self.0.set_status(Status::error(failure.to_owned()));
        }
        self.0.end();
    }
}
