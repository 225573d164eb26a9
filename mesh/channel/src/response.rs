//! The body of a response: it ends with a status whatever happens to the stream below it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep_until};
use weft_policy::{Failure, Reason, code, deadline::Deadline};

use crate::{attempt, call::deadline_exceeded, headers, pool::chain};

/// Who wants to know how a response ended.
pub trait CallEnd: Send + Unpin + 'static {
    /// The upstream's own trailers came, with this status.
    fn answered(&mut self, status: i32);

    /// The stream failed. Returns the trailers that take the place of the upstream's.
    fn failed(&mut self, failure: &Failure) -> HeaderMap;
}

/// Passes frames on; a broken stream, a passed deadline and missing trailers become trailers with a
/// status. Dropped early, it drops `end` unanswered, and resets the stream.
pub struct StatusBody<E, H> {
    stream: Option<(Incoming, H)>,
    end: E,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<E: CallEnd, H> StatusBody<E, H> {
    /// A body that gives `held` (what the stream occupies) back when the stream is over.
    pub fn new(body: Incoming, held: H, end: E, deadline: Deadline) -> Self {
        Self {
            stream: Some((body, held)),
            end,
            deadline: deadline
                .instant()
                .map(|instant| Box::pin(sleep_until(instant.into()))),
        }
    }

    /// Drops the stream, which resets it if it has not ended, and answers in its place.
    fn fail(&mut self, failure: &Failure) -> Frame<Bytes> {
        self.stream = None;
        Frame::trailers(self.end.failed(failure))
    }
}

impl<E, H> http_body::Body for StatusBody<E, H>
where
    E: CallEnd,
    H: Send + Unpin,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let Some((stream, _)) = &mut this.stream else {
            return Poll::Ready(None);
        };
        let failure = match Pin::new(stream).poll_frame(cx) {
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
                    this.end.answered(status);
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
