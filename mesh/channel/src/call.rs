//! One call from its first byte to its response headers: admit, race attempts, forward.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, header, request};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};
use tracing::{Instrument as _, Span};
use weft_policy::{Call, Failure, Outcome, Reason, code};

use crate::{
    Inner,
    admit::{admit, call_span, prepare, refusal},
    body::{self, Body},
    ending::Ending,
    headers,
    in_flight::InFlight,
    messages::Messages,
    mirror,
    pool::Lease,
    race::race,
    replay::Replay,
    response::{CallEnd as _, StatusBody},
    status,
};

/// What the last attempt gave, still to be forwarded.
pub(crate) struct Arrived {
    pub(crate) outcome: Outcome,
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
    pub(crate) in_flight: InFlight,
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
        let started = Instant::now();
        let call = match admit(&inner, authority, &head).await {
            Ok(call) => call,
            Err(failure) => return refusal(&inner, authority, &path, &failure),
        };
        let prepared = prepare(&mut head, authority);
        let mut ending = Ending::new(inner, call, body, started);
        ending.trace = headers::trace(&head.headers);
        if let Err(failure) = prepared {
            return ending.answer(&failure);
        }
        headers::change(&mut head.headers, ending.call.request_headers());
        mirror::copies(&mut ending, &head);
        carry_out(ending, &head).await
    };
    work.instrument(span).await
}

/// Makes attempts until one's answer is the call's, or the deadline passes.
pub(crate) async fn carry_out(mut ending: Ending, head: &request::Parts) -> Response<Body> {
    let arrived = match ending.call.deadline.instant() {
        None => race(&mut ending, head).await,
        Some(deadline) => tokio::select! {
            biased;
            arrived = race(&mut ending, head) => arrived,
            () = sleep_until(deadline.into()) => Err(deadline_exceeded()),
        },
    };
    match arrived {
        Ok(arrived) => forward(ending, arrived),
        Err(failure) => ending.answer(&failure),
    }
}

/// The failure of a call whose deadline has passed.
pub(crate) fn deadline_exceeded() -> Failure {
    Failure::new(Reason::DeadlineExceeded, "the deadline passed")
}

fn forward(mut ending: Ending, arrived: Arrived) -> Response<Body> {
    let (mut head, body) = arrived.response.into_parts();
    let status = headers::grpc_status(&head.headers);
    ending.winner = Some(arrived.in_flight);
    if status.is_some() {
        ending.trailers(&head.headers);
    }
    headers::clean_response(&mut head.headers);
    head.headers.remove(header::CONTENT_LENGTH);
    headers::change(&mut head.headers, ending.call.response_headers());
    match (arrived.outcome, status) {
        (Outcome::Headers, _) => {
            let deadline = ending.call.deadline;
            let body = StatusBody::new(body, arrived.lease, ending, deadline);
            Response::from_parts(head, body::boxed(body))
        }
        (Outcome::Unreached(message), _) => {
            let reason = ending.call.record.reason;
            ending.failed(&Failure::new(reason, message));
            Response::from_parts(head, body::empty())
        }
        (_, status) => {
            let status = status.unwrap_or(code::UNKNOWN);
            if status != code::OK {
                ending.tell_spent(&mut head.headers);
            }
            ending.answered(status);
            Response::from_parts(head, body::empty())
        }
    }
}

impl Ending {
    /// A call that was admitted, on the current span.
    pub(crate) fn new(inner: Arc<Inner>, call: Call, body: Body, started: Instant) -> Self {
        Self {
            labels: inner
                .metrics
                .labels(&call.record.target, &call.record.method),
            replay: Replay::new(body, &inner.replay_quota),
            inner,
            call,
            span: Span::current(),
            started,
            idle: Duration::ZERO,
            trace: None,
            is_copy: false,
            winner: None,
            answer: Messages::default(),
            is_over: false,
        }
    }

    /// The request, where it was not known when the call was admitted.
    pub(crate) fn request(&mut self, body: Body) {
        self.replay = Replay::new(body, &self.inner.replay_quota);
    }

    fn answer(mut self, failure: &Failure) -> Response<Body> {
        self.finish(failure.code, failure.reason, &failure.message);
        let mut response = status::response(failure, &self.call.record);
        self.tell_spent(response.headers_mut());
        response
    }
}
