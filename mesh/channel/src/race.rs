//! The attempts of one call, one after the other or several at once, until one's answer is the call's.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use http::{HeaderValue, Request, request};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{Instrument as _, info_span};
use weft_policy::{
    Attempt, AttemptEnd, Failure, Next, Outcome, Pick, Reason, deadline::format_timeout,
    retry::Pushback,
};
use weft_runtime::trace;

use crate::{
    attempt::{Answer, send_within},
    call::Arrived,
    ending::Ending,
    headers,
    in_flight::InFlight,
    messages::Traffic,
    pool::Key,
    replay::AttemptBody,
};

/// An attempt that has come to something.
struct Ended {
    answer: Answer,
    in_flight: InFlight,
}

/// When an endpoint is to be picked.
#[derive(Clone, Copy)]
enum PickAt {
    /// Then.
    Time(Instant),
    /// Then, or as soon as the configuration changes.
    TimeOrUpdate(Instant),
    /// Not as long as the attempts under way go on.
    Never,
}

/// Tries endpoints until an answer is to be forwarded or the engine gives up. Dropped, it cancels
/// whatever is under way.
pub(crate) async fn race(ending: &mut Ending, head: &request::Parts) -> Result<Arrived, Failure> {
    let mut under_way: FuturesUnordered<BoxFuture<'static, Ended>> = FuturesUnordered::new();
    let mut pick_at = PickAt::Time(Instant::now());
    let mut idle_since = None;
    let inner = Arc::clone(&ending.inner);
    loop {
        let mut updated = inner.updated.subscribe();
        if !under_way.is_empty() && !ending.replay.is_replayable() {
            // The request has become too long since: who has its beginning is the only one.
            pick_at = PickAt::Never;
        }
        if is_due(pick_at) || (under_way.is_empty() && matches!(pick_at, PickAt::Never)) {
            let now = Instant::now().into_std();
            let picked = inner
                .engine
                .lock()
                .pick(&mut ending.call, now, &mut rand::rng());
            pick_at = match picked {
                Pick::Attempt(attempt) => {
                    let idle = idle_since.take().map(|since: Instant| since.elapsed());
                    ending.idle += idle.unwrap_or_default();
                    under_way.push(Box::pin(begin(ending, head, attempt)));
                    hedge_at(ending)
                }
                Pick::Wait(until) => PickAt::TimeOrUpdate(until.into()),
                Pick::Fail(failure) if under_way.is_empty() => return Err(failure),
                Pick::Fail(_) => PickAt::Never,
            };
            continue;
        }
        tokio::select! {
            Some(ended) = under_way.next() => {
                pick_at = match settle(ending, ended) {
                    Step::Forward(arrived) => return Ok(*arrived),
                    Step::PickAt(at) => PickAt::Time(at),
                    Step::Await => hedge_at(ending),
                    Step::Fail(failure) => return Err(failure),
                };
                idle_since = under_way.is_empty().then(Instant::now);
            }
            () = wait(pick_at) => pick_at = PickAt::Time(Instant::now()),
            _ = updated.changed(), if matches!(pick_at, PickAt::TimeOrUpdate(_)) => {
                pick_at = PickAt::Time(Instant::now());
            }
        }
    }
}

fn is_due(pick_at: PickAt) -> bool {
    matches!(pick_at, PickAt::Time(at) if at <= Instant::now())
}

fn hedge_at(ending: &Ending) -> PickAt {
    match ending.call.hedge_at() {
        Some(at) if ending.replay.is_replayable() => PickAt::Time(at.into()),
        _ => PickAt::Never,
    }
}

async fn wait(pick_at: PickAt) {
    match pick_at {
        PickAt::Time(at) | PickAt::TimeOrUpdate(at) => sleep_until(at).await,
        PickAt::Never => std::future::pending().await,
    }
}

/// An attempt from its fault to its response headers. It owns all it needs, so that it can go on
/// beside others.
fn begin(
    ending: &Ending,
    head: &request::Parts,
    attempt: Attempt,
) -> impl Future<Output = Ended> + Send + use<> {
    let deadline = ending.call.deadline;
    let span = info_span!(
        "attempt",
        otel.kind = "client",
        instance = attempt.endpoint.instance,
        address = %attempt.endpoint.address,
        attempt = attempt.previous_attempts + 1,
    );
    let (inner, labels) = (Arc::clone(&ending.inner), ending.labels.clone());
    let (in_flight, body) = InFlight::new(inner, attempt, labels, ending.replay.clone());
    let mut head = head.clone();
    trace::inject_span(&mut head.headers, &span);
    let work = async move {
        let times_out_at = in_flight.attempt().times_out_at;
        let sent = async {
            let fault = in_flight.attempt().fault;
            if let Some(delay) = fault.delay {
                sleep(delay).await;
            }
            if let Some(code) = fault.abort {
                let pushback = Pushback::Absent;
                return Outcome::TrailersOnly { code, pushback }.into();
            }
            let left = deadline.remaining(Instant::now().into_std());
            let mut request =
                attempt_request(head, body, left, in_flight.attempt().previous_attempts);
            if in_flight.attempt().identity.is_none() {
                headers::leave_mesh(&mut request);
            }
            send(&in_flight, request).await
        };
        let answer = match times_out_at {
            None => sent.await,
            Some(at) => match timeout_at(at.into(), sent).await {
                Ok(answer) => answer,
                Err(_) => Outcome::TimedOut.into(),
            },
        };
        Ended { answer, in_flight }
    };
    work.instrument(span)
}

async fn send(in_flight: &InFlight, request: Request<AttemptBody>) -> Answer {
    let inner = in_flight.inner();
    let attempt = in_flight.attempt();
    let key = Key {
        address: attempt.endpoint.address,
        identity: inner.expected(attempt.identity.as_deref()),
    };
    send_within(&inner.pool, in_flight, &key, request).await
}

fn attempt_request(
    head: request::Parts,
    body: AttemptBody,
    left: Option<Duration>,
    previous_attempts: u32,
) -> Request<AttemptBody> {
    let mut request = Request::from_parts(head, body);
    let headers = request.headers_mut();
    let timeout = left.map(format_timeout);
    match timeout.and_then(|timeout| HeaderValue::try_from(timeout).ok()) {
        Some(timeout) => headers.insert(headers::GRPC_TIMEOUT, timeout),
        None => headers.remove(headers::GRPC_TIMEOUT),
    };
    if previous_attempts > 0 {
        headers.insert(headers::PREVIOUS_ATTEMPTS, previous_attempts.into());
    }
    request
}

/// What the end of an attempt leads to.
enum Step {
    Forward(Box<Arrived>),
    PickAt(Instant),
    Await,
    Fail(Failure),
}

fn settle(ending: &mut Ending, ended: Ended) -> Step {
    let Ended {
        answer: Answer { outcome, response },
        mut in_flight,
    } = ended;
    // An attempt that is answered by a stream ends with it (gRFC A66).
    if !matches!(outcome, Outcome::Headers) {
        in_flight.ended(outcome.status(), Traffic::default());
    }
    if response.is_none() && ending.replay.has_failed() {
        let failure = Failure::new(Reason::Cancelled, "the caller's request broke off");
        return Step::Fail(failure);
    }
    let end = AttemptEnd {
        is_replayable: ending.replay.is_replayable(),
        now: Instant::now().into_std(),
    };
    let mut engine = ending.inner.engine.lock();
    let attempt = in_flight.attempt();
    let next = engine.attempt_ended(&mut ending.call, attempt, &outcome, end, &mut rand::rng());
    drop(engine);
    match (next, response) {
        (Next::RetryAt(at), _) => Step::PickAt(at.into()),
        (Next::Await, _) => Step::Await,
        (Next::Forward | Next::Fail(_), Some((response, lease))) => {
            in_flight.commit();
            Step::Forward(Box::new(Arrived {
                outcome,
                response,
                lease,
                in_flight,
            }))
        }
        (Next::Fail(failure), None) => Step::Fail(failure),
        (Next::Forward, None) => Step::Fail(unsent(&outcome)),
    }
}

/// The answer in place of one that never was: only a fault of the mesh file gives a status that nobody
/// sent.
fn unsent(outcome: &Outcome) -> Failure {
    match outcome {
        Outcome::TrailersOnly { code, .. } => Failure {
            reason: Reason::FaultInjected,
            code: *code,
            message: "the mesh file asks for this failure".to_owned(),
        },
        _ => Failure::new(Reason::UpstreamProtocolError, "the upstream gave no answer"),
    }
}
