//! The body of a response: it ends with a status whatever happens to the stream below it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep_until};
use weft_policy::{Failure, Reason, code};

use crate::{
    attempt,
    call::deadline_exceeded,
    ending::{Ending, InFlight},
    headers,
    pool::{Lease, chain},
    status,
};

/// Passes frames on; a broken stream, a passed deadline and missing trailers become trailers with a
/// status. Dropped early, it cancels the call.
pub(crate) struct ResponseBody {
    stream: Option<Stream>,
    ending: Ending,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What a stream occupies, given back when it ends.
struct Stream {
    body: Incoming,
    _lease: Lease,
    _in_flight: InFlight,
}

impl ResponseBody {
    pub(crate) fn new(body: Incoming, ending: Ending, lease: Lease, in_flight: InFlight) -> Self {
        let deadline = ending.call.deadline.instant();
        Self {
            stream: Some(Stream {
                body,
                _lease: lease,
                _in_flight: in_flight,
            }),
            ending,
            deadline: deadline.map(|deadline| Box::pin(sleep_until(deadline.into()))),
        }
    }

    /// Drops the stream, which resets it if it has not ended, and answers in its place.
    fn fail(&mut self, failure: &Failure) -> Frame<Bytes> {
        self.stream = None;
        self.ending.failed(failure);
        Frame::trailers(status::trailers(failure, &self.ending.call.record))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        let failure = match Pin::new(&mut stream.body).poll_frame(cx) {
            Poll::Pending => match &mut this.deadline {
                Some(deadline) => match deadline.as_mut().poll(cx) {
                    Poll::Ready(()) => deadline_exceeded(),
                    Poll::Pending => return Poll::Pending,
                },
                None => return Poll::Pending,
            },
            Poll::Ready(Some(Ok(frame))) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    this.stream = None;
                    let status = headers::grpc_status(&trailers).unwrap_or(code::UNKNOWN);
                    headers::clean_response(&mut trailers);
                    this.ending.answered(status);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            },
            Poll::Ready(Some(Err(error))) => {
                let reason = attempt::h2_error(&error).and_then(h2::Error::reason);
                attempt::reset(reason, chain(&error))
            }
            Poll::Ready(None) => {
                let message = "the upstream ended the stream without a status";
                Failure::new(Reason::UpstreamProtocolError, message)
            }
        };
        Poll::Ready(Some(Ok(this.fail(&failure))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_none()
    }
}
