//! One attempt at one endpoint, and what its end means.

use std::error::Error;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use weft_policy::{Failure, Outcome, Reason, code, retry::Pushback};

use crate::{
    connect::chain,
    headers,
    pool::{Breaker, ConnectError, Key, Lease, Pool, Unlimited},
    replay::AttemptBody,
};

/// What came back, and the stream it occupies.
pub(crate) struct Answer {
    /// How the attempt ended so far.
    pub(crate) outcome: Outcome,
    /// Present if response headers came that can be forwarded.
    pub(crate) response: Option<(Response<Incoming>, Lease)>,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            response: None,
        }
    }
}

/// Sends the request and waits for response headers.
pub(crate) async fn send(pool: &Pool, key: &Key, request: Request<AttemptBody>) -> Answer {
    send_within(pool, &Unlimited, key, request).await
}

/// As [`send`], as far as the circuit breaker allows.
pub(crate) async fn send_within(
    pool: &Pool,
    breaker: &dyn Breaker,
    key: &Key,
    request: Request<AttemptBody>,
) -> Answer {
    let mut lease = match pool.lease(key, breaker).await {
        Ok(lease) => lease,
        Err(ConnectError::Full) => {
            let failure = Failure::new(Reason::TooManyStreams, ConnectError::Full.to_string());
            return Outcome::Broken(failure).into();
        }
        Err(ConnectError::Broken(failure)) => return Outcome::Broken(failure).into(),
        Err(ConnectError::Failed(message)) => {
            return Outcome::ConnectFailed(message.to_string()).into();
        }
    };
    match lease.sender.try_send_request(request).await {
        Ok(response) => match classify(&response) {
            outcome @ Outcome::Broken(_) => outcome.into(),
            outcome => Answer {
                outcome,
                response: Some((response, lease)),
            },
        },
        Err(mut error) => {
            // hyper gives the request back if it was never sent.
            let unsent = error.take_message().is_some();
            broken(error.error(), unsent).into()
        }
    }
}

fn classify(response: &Response<Incoming>) -> Outcome {
    let headers = response.headers();
    let status = headers::grpc_status(headers);
    if headers.contains_key(headers::UNPROCESSED) {
        let message = headers.get(headers::GRPC_MESSAGE);
        let message = message.and_then(|message| message.to_str().ok());
        return Outcome::Unreached(message.unwrap_or("the workload was not reached").to_owned());
    }
    if response.status() != StatusCode::OK && status.is_none() {
        let message = format!("the upstream answered HTTP status {}", response.status());
        return Outcome::Broken(Failure {
            reason: Reason::UpstreamProtocolError,
            code: code::of_http(response.status().as_u16()),
            message,
        });
    }
    match status {
        None => Outcome::Headers,
        Some(code) => Outcome::TrailersOnly {
            code,
            pushback: Pushback::parse(
                headers
                    .get(headers::PUSHBACK)
                    .map(|value| value.to_str().unwrap_or_default()),
            ),
        },
    }
}

fn broken(error: &hyper::Error, unsent: bool) -> Outcome {
    let message = chain(error);
    if unsent || error.is_canceled() {
        return Outcome::Refused(message);
    }
    match h2_error(error) {
        // GOAWAY: h2 fails only streams the peer says it will not process. REFUSED_STREAM says so itself.
        Some(h2) if h2.is_go_away() && h2.is_remote() => Outcome::Refused(message),
        Some(h2) if h2.is_remote() && h2.reason() == Some(h2::Reason::REFUSED_STREAM) => {
            Outcome::Refused(message)
        }
        found => Outcome::Broken(reset(found.and_then(h2::Error::reason), message)),
    }
}

/// A stream that broke, with the code gRPC gives its HTTP/2 error.
pub(crate) fn reset(reason: Option<h2::Reason>, message: String) -> Failure {
    Failure {
        reason: Reason::UpstreamReset,
        code: code::of_reset(reason.map(u32::from)),
        message: format!("the upstream connection or stream broke: {message}"),
    }
}

/// The HTTP/2 error below `error`, if that is what it is.
pub(crate) fn h2_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a h2::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<h2::Error>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
