//! What every call is wrapped in: a span, metrics, the deadline, and a net below the handler.

use std::{
    any::Any, collections::BTreeMap, convert::Infallible, panic::AssertUnwindSafe, sync::Arc,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::Service as _;
use tracing::{Instrument as _, Span, field};

use super::{body::CallBody, contract, metrics::CALLS, metrics::code_name};
use crate::{call, status};

/// The routes of a server behind the net. Cloned for every connection.
#[derive(Clone)]
pub(super) struct Guard {
    routes: Routes,
    methods: Arc<BTreeMap<String, &'static str>>,
    closing: CancellationToken,
}

impl Guard {
    /// Streams of health and reflection, which callers would hold for ever, end with `closing`.
    pub(super) fn new(routes: Routes, services: &[&str], closing: CancellationToken) -> Self {
        // Bounded by the contract, so that callers cannot make labels.
        let methods = contract::methods(services)
            .into_iter()
            .map(|method| (format!("/{method}"), intern(method)))
            .collect();
        Self {
            routes,
            methods: Arc::new(methods),
            closing,
        }
    }

    pub(super) fn call(
        &self,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<CallBody>, Infallible>> {
        let method = self
            .methods
            .get(request.uri().path())
            .copied()
            .unwrap_or("other");
        let infrastructure = request.uri().path().starts_with("/grpc.");
        let closing = infrastructure.then(|| self.closing.clone());
        let deadline = call::grpc_timeout(request.headers()).map(|left| Instant::now() + left);
        let criticality = call::stated_criticality(request.headers());
        let call = Call::start(method, request.headers(), infrastructure);
        let span = call.span.clone();
        let mut routes = self.routes.clone();
        let handle = async move {
            let handler = async move {
                match routes.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            };
            let handler =
                AssertUnwindSafe(call::serve(deadline, criticality, handler)).catch_unwind();
            let caught = match deadline {
                Some(at) => match tokio::time::timeout_at(at, handler).await {
                    Ok(caught) => caught,
                    Err(_) => Ok(late().into_http()),
                },
                None => handler.await,
            };
            let response = caught.unwrap_or_else(|panic| {
                log_panic(&*panic);
                status::internal().into_http()
            });
            // A failure without a body has its status in the headers.
            let status = Status::from_header_map(response.headers());
            let response = match &status {
                Some(status) if is_oversized(status) => too_large(status).into_http(),
                _ => response,
            };
            let code = Status::from_header_map(response.headers()).map(|status| status.code());
            Ok(response.map(|body| CallBody::new(body, deadline, closing, call, code)))
        };
        Box::pin(handle.instrument(span))
    }
}

/// tonic says `OUT_OF_RANGE` where gRPC says `RESOURCE_EXHAUSTED`.
fn is_oversized(status: &Status) -> bool {
    status.code() == Code::OutOfRange
        && status
            .message()
            .starts_with("Error, decoded message length too large")
}

fn too_large(status: &Status) -> Status {
    let facts = status.message().trim_start_matches("Error, decoded ");
    Status::resource_exhausted(facts.to_owned())
}

pub(super) fn late() -> Status {
    Status::deadline_exceeded("the call's time is over")
}

pub(super) fn log_panic(panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "not a text".to_owned());
    tracing::error!(message_of_panic = message, "handler panicked");
}

/// One call from its arrival to the end of its response, whichever way it ends.
pub(super) struct Call {
    pub(super) span: Span,
    method: &'static str,
    started: Instant,
    code: Option<Code>,
}

impl Call {
    fn start(method: &'static str, headers: &http::HeaderMap, infrastructure: bool) -> Self {
        let span = if infrastructure {
            // Health is asked all the time; nobody wants that in a trace.
            Span::none()
        } else {
            tracing::info_span!(
                "call",
                otel.name = method,
                otel.kind = "server",
                otel.status_code = field::Empty,
                rpc.system = "grpc",
                rpc.method = method,
                rpc.grpc.status_code = field::Empty,
            )
        };
        weft_runtime::trace::extract(headers, &span);
        CALLS.start(method);
        Self {
            span,
            method,
            started: Instant::now(),
            code: None,
        }
    }

    pub(super) fn set_code(&mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Without a status the caller went away before the end.
        let code = self.code.unwrap_or(Code::Cancelled);
        let took = self.started.elapsed();
        CALLS.end(self.method, code, took);
        self.span.record("rpc.grpc.status_code", code as i64);
        if matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ) {
            self.span.record("otel.status_code", "ERROR");
        }
        let millis = took.as_secs_f64() * 1_000.0;
        self.span
            .in_scope(|| tracing::debug!(status = code_name(code), millis, "call ended"));
    }
}

/// Labels must live as long as the process; a method is leaked once, however many servers it has.
fn intern(method: String) -> &'static str {
    static KNOWN: parking_lot::Mutex<std::collections::BTreeSet<&'static str>> =
        parking_lot::Mutex::new(std::collections::BTreeSet::new());
    let mut known = KNOWN.lock();
    if let Some(&same) = known.get(method.as_str()) {
        return same;
    }
    let leaked: &'static str = method.leak();
    known.insert(leaked);
    leaked
}
