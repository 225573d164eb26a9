//! One call from its first byte to its response headers: admit, pick, attempt, repeat.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, header, request};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, Span, info_span};
use weft_policy::{
    Attempt, Call, Failure, Next, Outcome, Pick, Reason, code, deadline::format_timeout,
};
use weft_runtime::trace;

use crate::{
    Inner,
    admit::{admit, call_span, prepare, refusal},
    attempt::{self, Answer},
    body::{self, Body},
    ending::{Ending, InFlight},
    headers,
    pool::{Key, Lease},
    replay::{AttemptBody, Replay},
    response::{CallEnd as _, StatusBody},
    status,
};

/// What the last attempt gave, still to be forwarded.
struct Arrived {
    outcome: Outcome,
    response: Response<Incoming>,
    lease: Lease,
    in_flight: InFlight,
}

pub(crate) async fn call(
    inner: Arc<Inner>,
    authority: &str,
    request: Request<Body>,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let span = call_span(authority, &head);
    let path = head.uri.path().to_owned();
    let work = async {
        let call = match admit(&inner, authority, &head).await {
            Ok(call) => call,
            Err(failure) => return refusal(authority, &path, &failure),
        };
        if let Err(failure) = prepare(&mut head, authority) {
            return refusal(authority, &path, &failure);
        }
        let mut ending = Ending {
            labels: inner.metrics.labels(authority, head.uri.path()),
            replay: Replay::new(body, &inner.replay_quota),
            inner,
            call,
            span: Span::current(),
            started: Instant::now(),
            is_over: false,
        };
        let arrived = match ending.call.deadline.instant() {
            None => run(&mut ending, &head).await,
            Some(deadline) => tokio::select! {
                biased;
                arrived = run(&mut ending, &head) => arrived,
                () = sleep_until(deadline.into()) => Err(deadline_exceeded()),
            },
        };
        match arrived {
            Ok(arrived) => forward(ending, arrived),
            Err(failure) => {
                ending.failed(&failure);
                status::response(&failure, &ending.call.record)
            }
        }
    };
    work.instrument(span).await
}

/// The failure of a call whose deadline has passed.
pub fn deadline_exceeded() -> Failure {
    Failure::new(Reason::DeadlineExceeded, "the deadline passed")
}

/// Tries endpoints until an answer is to be forwarded or the engine gives up.
async fn run(ending: &mut Ending, head: &request::Parts) -> Result<Arrived, Failure> {
    let inner = Arc::clone(&ending.inner);
    loop {
        let in_flight = pick(&inner, &mut ending.call).await?;
        let attempt = in_flight.attempt();
        let endpoint = &attempt.endpoint;
        let key = Key {
            address: endpoint.address,
            identity: Some(attempt.identity.to_string()),
        };
        let started = Instant::now();
        inner.metrics.attempt_started(&ending.labels);
        let span = info_span!(
            "attempt",
            otel.kind = "client",
            instance = endpoint.instance,
            address = %endpoint.address,
            attempt = attempt.previous_attempts + 1,
        );
        let request = attempt_request(head, ending, attempt, &span);
        let answer = attempt::send(&inner.pool, &key, request)
            .instrument(span)
            .await;
        match settle(ending, answer, in_flight, started) {
            Ok(arrived) => return Ok(arrived),
            Err(Failed::For(failure)) => return Err(failure),
            Err(Failed::Until(at)) => sleep_until(at).await,
        }
    }
}

/// What a failed attempt leads to: another one, or an answer.
enum Failed {
    Until(Instant),
    For(Failure),
}

async fn pick(inner: &Arc<Inner>, call: &mut Call) -> Result<InFlight, Failure> {
    loop {
        let mut updated = inner.updated.subscribe();
        let now = Instant::now().into_std();
        let picked = inner.engine.lock().pick(call, now, &mut rand::rng());
        match picked {
            Pick::Fail(failure) => return Err(failure),
            Pick::Attempt(attempt) => return Ok(InFlight::new(Arc::clone(inner), attempt)),
            Pick::Wait(until) => tokio::select! {
                () = sleep_until(until.into()) => {}
                _ = updated.changed() => {}
            },
        }
    }
}

fn attempt_request(
    head: &request::Parts,
    ending: &Ending,
    attempt: &Attempt,
    span: &Span,
) -> Request<AttemptBody> {
    let mut request = Request::from_parts(head.clone(), ending.replay.attempt());
    let headers = request.headers_mut();
    trace::inject_span(headers, span);
    let now = Instant::now().into_std();
    let timeout = ending.call.deadline.remaining(now).map(format_timeout);
    match timeout.and_then(|timeout| HeaderValue::try_from(timeout).ok()) {
        Some(timeout) => headers.insert(headers::GRPC_TIMEOUT, timeout),
        None => headers.remove(headers::GRPC_TIMEOUT),
    };
    let previous = attempt.previous_attempts;
    if previous > 0 {
        headers.insert(headers::PREVIOUS_ATTEMPTS, HeaderValue::from(previous));
    }
    request
}

fn settle(
    ending: &mut Ending,
    Answer { outcome, response }: Answer,
    in_flight: InFlight,
    started: Instant,
) -> Result<Arrived, Failed> {
    let inner = Arc::clone(&ending.inner);
    let now = Instant::now();
    let took = now.saturating_duration_since(started);
    inner
        .metrics
        .attempt_ended(&ending.labels, attempt_status(&outcome), took);
    if response.is_none() && ending.replay.has_failed() {
        let failure = Failure::new(Reason::Cancelled, "the caller's request broke off");
        return Err(Failed::For(failure));
    }
    let next = inner.engine.lock().attempt_ended(
        &mut ending.call,
        in_flight.attempt(),
        &outcome,
        weft_policy::AttemptEnd {
            is_replayable: ending.replay.is_replayable(),
            now: now.into_std(),
        },
        &mut rand::rng(),
    );
    let arrived = response.map(|(response, lease)| Arrived {
        outcome,
        response,
        lease,
        in_flight,
    });
    match (next, arrived) {
        (Next::RetryAt(at), _) => Err(Failed::Until(at.into())),
        // One attempt after the other is made here: there is no other to wait for.
        (Next::Await, _) => Err(Failed::Until(now)),
        (Next::Forward | Next::Fail(_), Some(arrived)) => Ok(arrived),
        (Next::Fail(failure), None) => Err(Failed::For(failure)),
        (Next::Forward, None) => {
            let message = "the upstream gave no answer";
            Err(Failed::For(Failure::new(
                Reason::UpstreamProtocolError,
                message,
            )))
        }
    }
}

fn attempt_status(outcome: &Outcome) -> i32 {
    match outcome {
        Outcome::Headers => code::OK,
        Outcome::TrailersOnly { code, .. } => *code,
        Outcome::Broken(failure) => failure.code,
        Outcome::ConnectFailed(_)
        | Outcome::Unreached(_)
        | Outcome::Refused(_)
        | Outcome::TimedOut => code::UNAVAILABLE,
    }
}

fn forward(mut ending: Ending, arrived: Arrived) -> Response<Body> {
    let (mut head, body) = arrived.response.into_parts();
    let status = headers::grpc_status(&head.headers);
    headers::clean_response(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    match (arrived.outcome, status) {
        (Outcome::Headers, _) => {
            ending.replay.commit();
            let deadline = ending.call.deadline;
            let held = (arrived.lease, arrived.in_flight);
            let body = StatusBody::new(body, held, ending, deadline);
            Response::from_parts(head, body::boxed(body))
        }
        (Outcome::Unreached(message), _) => {
            let reason = ending.call.record.reason;
            ending.failed(&Failure::new(reason, message));
            Response::from_parts(head, body::empty())
        }
        (_, status) => {
            ending.answered(status.unwrap_or(code::UNKNOWN));
            Response::from_parts(head, body::empty())
        }
    }
}
