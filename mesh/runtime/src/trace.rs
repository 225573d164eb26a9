//! W3C trace context in and out of HTTP headers, and the current trace's id.
//!
//! It works whether or not spans are exported: without an exporter spans still have ids, and callers
//! and upstreams still see one trace.

pub mod calls;

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Dispatch, Span, dispatcher};
use tracing_opentelemetry::{OpenTelemetrySpanExt as _, get_otel_context};

static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// Makes the caller's span, if `headers` carry a `traceparent`, the parent of `span`. Call it before
/// the span is first entered. Without [`crate::telemetry::init`] it does nothing.
pub fn extract(headers: &HeaderMap, span: &Span) {
    let parent = PROPAGATOR.extract_with_context(&Context::new(), &Headers(headers));
    if parent.span().span_context().is_valid() {
        // Fails only for a span that is disabled or already running, which keeps its own trace then.
        let _ = span.set_parent(parent);
    }
}

/// Writes the current span as `traceparent` and `tracestate`, replacing what is there. Without a
/// current span the headers stay as they are.
pub fn inject(headers: &mut HeaderMap) {
    inject_span(headers, &Span::current());
}

/// Like [`inject`], for a span that is not the current one.
pub fn inject_span(headers: &mut HeaderMap, span: &Span) {
    if let Some(context) = context_of(span) {
        PROPAGATOR.inject_context(&context, &mut HeadersMut(headers));
    }
}

/// The current span as the text of a `traceparent` header, to be kept with work that is done later.
pub fn traceparent() -> Option<String> {
    let mut headers = HeaderMap::new();
    inject(&mut headers);
    Some(headers.get("traceparent")?.to_str().ok()?.to_owned())
}

/// Makes the span of a kept [`traceparent`] the parent of `span`.
pub fn resume(traceparent: &str, span: &Span) {
    if let Ok(value) = HeaderValue::from_str(traceparent) {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", value);
        extract(&headers, span);
    }
}

/// The current span's trace id, 32 hexadecimal digits.
pub fn trace_id() -> Option<String> {
    context_of(&Span::current()).map(|context| context.span().span_context().trace_id().to_string())
}

pub(crate) fn span_context(id: &tracing::span::Id, dispatch: &Dispatch) -> Option<SpanContext> {
    let context = get_otel_context(id, dispatch)?;
    let span_context = context.span().span_context().clone();
    span_context.is_valid().then_some(span_context)
}

fn context_of(span: &Span) -> Option<Context> {
    let id = span.id()?;
    let context = dispatcher::get_default(|dispatch| get_otel_context(&id, dispatch))?;
    context.span().span_context().is_valid().then_some(context)
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::try_from(key);
        let value = HeaderValue::try_from(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            // An empty `tracestate` says nothing.
            if value.is_empty() {
                self.0.remove(&name);
            } else {
                self.0.insert(name, value);
            }
        }
    }
}
