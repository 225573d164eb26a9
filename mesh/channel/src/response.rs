//! The body of a response: it ends with a status whatever happens to the stream below it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;
use weft_policy::{Failure, Reason, code, deadline::Deadline};

use crate::{BodyError, attempt, call::deadline_exceeded, connect::chain, headers};

/// Who wants to know how a response ended.
pub(crate) trait CallEnd: Send + 'static {
    /// Payload goes by.
    fn payload(&mut self, bytes: &[u8]);
    /// The upstream's own trailers, before they are cleaned and forwarded.
    fn trailers(&mut self, _trailers: &HeaderMap) {}

    /// The upstream's own trailers came, with this status.
    fn answered(&mut self, status: i32);

    /// The stream failed. Returns the trailers that take the place of the upstream's.
    fn failed(&mut self, failure: &Failure) -> HeaderMap;
}

/// Passes frames on; a broken stream, a passed deadline and missing trailers become trailers with a
/// status. Dropped early, it drops `end` unanswered, and resets the stream.
pub(crate) struct StatusBody<E, H, B = Incoming> {
    state: Arc<Mutex<State<E, H, B>>>,
    /// Ends the stream at the deadline also while nobody reads it.
    _deadline: Option<AbortOnDropHandle<()>>,
}

enum State<E, H, B> {
    Open(Box<Open<E, H, B>>),
    /// The stream was ended in our name; this is still to be said.
    Failed(HeaderMap),
    Over,
}

struct Open<E, H, B> {
    stream: B,
    end: E,
    reader: Option<Waker>,
    /// What the stream occupies.
    _held: H,
}

impl<E, H, B> StatusBody<E, H, B>
where
    E: CallEnd,
    H: Send + 'static,
    B: Send + 'static,
{
    /// A body that gives `held` (what the stream occupies) back when the stream is over. Must be called
    /// inside a tokio runtime.
    pub(crate) fn new(stream: B, held: H, end: E, deadline: Deadline) -> Self {
        let state = Arc::new(Mutex::new(State::Open(Box::new(Open {
            stream,
            end,
            reader: None,
            _held: held,
        }))));
        let watch = deadline.instant().map(|at| {
            let state = Arc::clone(&state);
            AbortOnDropHandle::new(tokio::spawn(async move {
                sleep_until(at.into()).await;
                let reader = state.lock().fail(&deadline_exceeded());
                if let Some(reader) = reader {
                    reader.wake();
                }
            }))
        });
        Self {
            state,
            _deadline: watch,
        }
    }
}

impl<E, H, B> Drop for StatusBody<E, H, B> {
    fn drop(&mut self) {
        // The task that watches the deadline holds the state too, and ends a little later.
        let state = std::mem::replace(&mut *self.state.lock(), State::Over);
        drop(state);
    }
}

impl<E: CallEnd, H, B> State<E, H, B> {
    /// Drops the stream, which resets it if it has not ended, and answers in its place.
    fn fail(&mut self, failure: &Failure) -> Option<Waker> {
        let Self::Open(mut open) = std::mem::replace(self, Self::Over) else {
            return None;
        };
        *self = Self::Failed(open.end.failed(failure));
        open.reader
    }

    fn trailers(&mut self, mut trailers: HeaderMap) -> HeaderMap {
        if let Self::Open(open) = self {
            open.end.trailers(&trailers);
            let status = headers::grpc_status(&trailers).unwrap_or(code::UNKNOWN);
            open.end.answered(status);
        }
        *self = Self::Over;
        headers::clean_response(&mut trailers);
        trailers
    }
}

impl<E, H, B> Body for StatusBody<E, H, B>
where
    E: CallEnd,
    H: Send,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut state = self.state.lock();
        if let State::Open(open) = &mut *state {
            let failure = match Pin::new(&mut open.stream).poll_frame(cx) {
                Poll::Pending => {
                    open.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    return Poll::Ready(Some(Ok(match frame.into_trailers() {
                        Ok(trailers) => Frame::trailers(state.trailers(trailers)),
                        Err(frame) => {
                            if let Some(bytes) = frame.data_ref() {
                                open.end.payload(bytes);
                            }
                            frame
                        }
                    })));
                }
                Poll::Ready(Some(Err(error))) => {
                    let error: BodyError = error.into();
                    let reason = attempt::h2_error(&*error).and_then(h2::Error::reason);
                    attempt::reset(reason, chain(&*error))
                }
                Poll::Ready(None) => {
                    let message = "the upstream ended the stream without a status";
                    Failure::new(Reason::UpstreamProtocolError, message)
                }
            };
            state.fail(&failure);
        }
        match std::mem::replace(&mut *state, State::Over) {
            State::Failed(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            State::Open(_) | State::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(*self.state.lock(), State::Over)
    }
}
