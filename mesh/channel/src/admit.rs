//! The beginning of a call: its span, its rule and deadline, and a head fit for the next hop.

use http::{HeaderMap, Response, Uri, header, request, uri::Scheme};
use tokio::time::{Instant, timeout};
use tracing::{Span, field::Empty, info_span};
use weft_policy::{Call, DecisionRecord, Failure, PATIENCE, Reason, RequestFacts};
use weft_runtime::trace;

use crate::{Inner, body::Body, headers, status};

/// A child of the current span, or of the caller's where this process has none for the call yet.
pub(crate) fn call_span(authority: &str, head: &request::Parts) -> Span {
    let path = head.uri.path();
    let current = Span::current();
    let span = info_span!(
        "outbound",
        otel.name = path.strip_prefix('/').unwrap_or(path),
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.grpc.status_code = Empty,
        peer.service = authority,
    );
    if current.is_none() {
        trace::extract(&head.headers, &span);
    }
    span
}

pub(crate) async fn admit(
    inner: &Inner,
    authority: &str,
    head: &request::Parts,
) -> Result<Call, Failure> {
    let arrived = Instant::now();
    let mut updated = inner.updated.subscribe();
    if !inner.engine.lock().is_configured() {
        // Just started: the first configuration is on its way.
        let _ = timeout(PATIENCE, updated.changed()).await;
    }
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let grpc_timeout = text(headers::GRPC_TIMEOUT);
    let facts = RequestFacts {
        authority,
        path: head.uri.path(),
        grpc_timeout,
        is_retry: head.headers.contains_key(headers::PREVIOUS_ATTEMPTS)
            || is_part_of_a_repetition(inner, &head.headers, arrived),
        headers: &headers::Lookup(&head.headers),
    };
    let (now, mut rng) = (arrived.into_std(), rand::rng());
    inner.engine.lock().admit(facts, now, &mut rng)
}

/// Whether this process serves a call of the same trace that is a repetition: what it calls for it is
/// then not repeated once more.
fn is_part_of_a_repetition(inner: &Inner, headers: &HeaderMap, now: Instant) -> bool {
    let trace = headers::trace(headers);
    trace.is_some_and(|trace| inner.marks.lock().is_repeated(trace, now.into_std()))
}

/// An answer without a call: nothing is known that could be accounted for. It is logged.
pub(crate) fn refusal(
    inner: &Inner,
    authority: &str,
    path: &str,
    failure: &Failure,
) -> Response<Body> {
    let record = DecisionRecord {
        target: authority.into(),
        method: path.into(),
        rule: "none".into(),
        reason: failure.reason,
        ..DecisionRecord::default()
    };
    inner.access_log.refused(&record, &failure.message);
    status::response(failure, &record)
}

pub(crate) fn prepare(head: &mut request::Parts, authority: &str) -> Result<(), Failure> {
    let bad = |what: String| Failure::new(Reason::BadRequest, what);
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    let parsed = authority
        .parse()
        .map_err(|_| bad(format!("`{authority}` is no authority")))?;
    parts.authority = Some(parsed);
    head.uri = Uri::from_parts(parts).map_err(|_| bad("the request has no path".to_owned()))?;
    head.extensions.clear();
    headers::clean_request(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(())
}
