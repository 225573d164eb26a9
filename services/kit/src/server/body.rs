//! The response of a guarded call: ends at the deadline, survives a panic, tells its status.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Code, Status, body::Body};

use super::guard::{Call, late, log_panic};
use crate::status;

/// Wraps the handler's body.
pub(super) struct CallBody {
    // `None` once it ended: the call's span, metrics and the handler's stream end with it.
    open: Option<Open>,
}

struct Open {
    inner: Body,
    expires: Option<Pin<Box<Sleep>>>,
    closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    call: Call,
}

impl CallBody {
    pub(super) fn new(
        inner: Body,
        deadline: Option<Instant>,
        closing: Option<CancellationToken>,
        mut call: Call,
        code: Option<Code>,
    ) -> Self {
        if let Some(code) = code {
            call.set_code(code);
        }
        let expires = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        let closing = closing.map(|token| Box::pin(token.cancelled_owned()));
        Self {
            open: Some(Open {
                inner,
                expires,
                closing,
                call,
            }),
        }
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        if let Some(mut open) = self.open.take() {
            open.call.set_code(status.code());
        }
        let mut trailers = HeaderMap::new();
        // Only a message that is no header value could fail, and ours are fixed.
        let _ = status.add_header(&mut trailers);
        Frame::trailers(trailers)
    }
}

impl http_body::Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(open) = &mut self.open else {
            return Poll::Ready(None);
        };
        let Open {
            inner,
            expires,
            closing,
            call,
        } = open;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            call.span
                .in_scope(|| Pin::new(&mut *inner).poll_frame(context))
        }));
        match polled {
            Err(panic) => {
                call.span.in_scope(|| log_panic(&*panic));
                Poll::Ready(Some(Ok(self.end(&status::internal()))))
            }
            Ok(Poll::Pending) => {
                if expires
                    .as_mut()
                    .is_some_and(|at| at.as_mut().poll(context).is_ready())
                {
                    return Poll::Ready(Some(Ok(self.end(&late()))));
                }
                if closing
                    .as_mut()
                    .is_some_and(|closed| closed.as_mut().poll(context).is_ready())
                {
                    let status = status::unavailable("DRAINING", "this replica ends; ask again");
                    return Poll::Ready(Some(Ok(self.end(&status))));
                }
                Poll::Pending
            }
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let code = Status::from_header_map(trailers).map_or(Code::Ok, |s| s.code());
                    call.set_code(code);
                    self.open = None;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(Some(Err(error)))) => {
                call.set_code(error.code());
                self.open = None;
                Poll::Ready(Some(Err(error)))
            }
            Ok(Poll::Ready(None)) => {
                self.open = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open
            .as_ref()
            .is_none_or(|open| open.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.open
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |open| open.inner.size_hint())
    }
}
