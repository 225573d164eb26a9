//! A tower layer that lets pass what the rules allow.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field::Empty, info_span};
use weft_policy::{Admission, Failure, InboundFacts, Reason, Refusal, deadline::format_timeout};
use weft_runtime::trace;

use super::{Caller, Server, Shared, call, call::InboundCall};
use crate::{
    Body, BodyError, body,
    call::deadline_exceeded,
    headers,
    messages::Messages,
    response::{CallEnd as _, StatusBody},
    status,
};

/// Asks the rules of a [`Server`] about every request. By itself it answers what they refuse and what is
/// not done in time; the inner service's future or response body is dropped then.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    server: Server,
}

impl ServerLayer {
    pub(super) fn new(server: Server) -> Self {
        Self { server }
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            server: self.server.clone(),
        }
    }
}

/// A service behind the rules.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    server: Server,
}

/// The answer of a [`Guarded`] service.
pub type GuardedFuture<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BodyError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = GuardedFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.server.shared);
        let span = call_span(&request);
        let admitted = span.in_scope(|| admit(&shared, &mut request, &span));
        match admitted {
            Err(answer) => Box::pin(async move { Ok(*answer) }),
            Ok(call) => {
                let seen = Arc::clone(&call.request);
                let handled = self.inner.call(request.map(|body| counted(body, seen)));
                Box::pin(answer(call, handled).instrument(span))
            }
        }
    }
}

/// The body, of which is counted what goes by.
fn counted<B>(body: B, seen: Arc<Mutex<Messages>>) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    body::boxed(body.map_frame(move |frame| {
        if let Some(bytes) = frame.data_ref() {
            seen.lock().see(bytes);
        }
        frame
    }))
}

fn call_span<B>(request: &Request<B>) -> Span {
    let path = request.uri().path();
    let caller = request.extensions().get::<Caller>();
    let span = info_span!(
        "inbound",
        otel.name = path.strip_prefix('/').unwrap_or(path),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.grpc.status_code = Empty,
        caller = caller.map(|caller| &*caller.0),
    );
    trace::extract(request.headers(), &span);
    span
}

/// Asks whether the request may pass and makes it fit for the handlers.
fn admit<B>(
    shared: &Arc<Shared>,
    request: &mut Request<B>,
    span: &Span,
) -> Result<InboundCall, Box<Response<Body>>> {
    let path = request.uri().path();
    let method = shared.metrics.started(path);
    let caller = request.extensions().get::<Caller>();
    let given = request.headers();
    let text = |name| given.get(name).and_then(|value| value.to_str().ok());
    let decided = match caller {
        None => Err(unproven(path)),
        Some(caller) => shared.admit(InboundFacts {
            caller: &caller.0,
            path,
            grpc_timeout: text(headers::GRPC_TIMEOUT),
            criticality: text(headers::CRITICALITY),
            headers: &headers::Lookup(given),
        }),
    };
    let admission = match decided {
        Ok(admission) => admission,
        Err(refusal) => {
            call::refused(shared, &method, &refusal);
            return Err(Box::new(refuse(&refusal)));
        }
    };
    if let Some(failure) = &admission.would_be_refused {
        shared.access_log.dry_run(&admission.record, failure);
    }
    let trace = headers::trace(given);
    if let Some(trace) = trace.filter(|_| given.contains_key(headers::PREVIOUS_ATTEMPTS)) {
        let mut marks = shared.channel.inner.marks.lock();
        marks.repeated(trace, admission.started);
    }
    prepare(request.headers_mut(), &admission);
    Ok(InboundCall {
        shared: Arc::clone(shared),
        admission,
        method,
        trace,
        request: Arc::default(),
        answer: Messages::default(),
        span: span.clone(),
        is_over: false,
    })
}

/// A request of a connection that nobody has checked.
fn unproven(path: &str) -> Box<Refusal> {
    let failure = Failure::new(
        Reason::CallerNotAllowed,
        "the caller has not proven who it is",
    );
    let record = weft_policy::DecisionRecord {
        method: path.into(),
        rule: "none".into(),
        reason: failure.reason,
        ..weft_policy::DecisionRecord::default()
    };
    Box::new(Refusal {
        record,
        failure,
        retry: None,
        rate_limit: None,
    })
}

fn refuse(refusal: &Refusal) -> Response<Body> {
    let mut response = status::response_of(&status::refusal_fields(refusal));
    if refusal.failure.reason == Reason::NoConfiguration {
        // No handler has seen it: another replica may take it.
        let yes = HeaderValue::from_static("1");
        response.headers_mut().insert(headers::UNPROCESSED, yes);
    }
    response
}

fn prepare(headers: &mut HeaderMap, admission: &Admission) {
    headers::clean_request(headers);
    let caller = admission.record.caller.as_deref().unwrap_or_default();
    // A verified SPIFFE ID is printable ASCII.
    if let Ok(caller) = HeaderValue::from_str(caller) {
        headers.insert(headers::CALLER, caller);
    }
    let criticality = HeaderValue::from_static(admission.criticality.as_str());
    headers.insert(headers::CRITICALITY, criticality);
    let left = admission.deadline.remaining(Instant::now().into_std());
    if let Some(left) = left.and_then(|left| HeaderValue::try_from(format_timeout(left)).ok()) {
        headers.insert(headers::GRPC_TIMEOUT, left);
    }
    trace::inject(headers);
}

/// Waits for the handlers, as long as the deadline lasts, and sees their answer to its end.
async fn answer<R, E>(
    mut call: InboundCall,
    handled: impl Future<Output = Result<Response<R>, E>>,
) -> Result<Response<Body>, E>
where
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BodyError>,
{
    let deadline = call.admission.deadline;
    let handled = match deadline.instant() {
        None => handled.await,
        Some(at) => tokio::select! {
            biased;
            handled = handled => handled,
            () = sleep_until(at.into()) => {
                let failure = deadline_exceeded();
                call.failed(&failure);
                return Ok(status::response(&failure, &call.admission.record));
            }
        },
    };
    let (mut head, body) = handled?.into_parts();
    let given = headers::grpc_status(&head.headers);
    headers::clean_response(&mut head.headers);
    if let Some(limit) = &call.admission.rate_limit {
        status::add(&mut head.headers, &status::rate_limit_fields(limit));
    }
    if let Some(status) = given {
        if status != weft_policy::code::OK {
            call.tell_spent(&mut head.headers);
        }
        call.answered(status);
        return Ok(Response::from_parts(head, body::empty()));
    }
    call.streams();
    let body = StatusBody::new(body::boxed(body), (), call, deadline);
    Ok(Response::from_parts(head, body::boxed(body)))
}
