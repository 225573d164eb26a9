//! A request body that can be sent again, as long as little of it was sent.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use parking_lot::Mutex;
use weft_policy::REPLAY_LIMIT_BYTES;

use crate::body::{Body, BodyError};

/// All calls of a channel together keep at most this much; a call beyond it is sent once.
const ALL_REPLAYS_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// The request of one call. Each attempt takes its own [`AttemptBody`], which sends what earlier ones
/// took from the caller and then goes on taking.
#[derive(Clone)]
pub struct Replay(Arc<Mutex<State>>);

struct State {
    source: Body,
    /// What was taken from `source`, while it may have to be sent again.
    kept: Vec<Kept>,
    kept_bytes: usize,
    quota: Arc<AtomicUsize>,
    is_recording: bool,
    has_ended: bool,
    has_failed: bool,
    /// The attempt that may send; others find out that they are over.
    current: Option<u32>,
    attempts: u32,
    waker: Option<Waker>,
}

#[derive(Clone)]
enum Kept {
    Bytes(Bytes),
    Trailers(HeaderMap),
}

impl Replay {
    /// Wraps the caller's body. `quota` counts what all calls of the channel keep.
    pub(crate) fn new(source: Body, quota: &Arc<AtomicUsize>) -> Self {
        Self(Arc::new(Mutex::new(State {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            quota: Arc::clone(quota),
            is_recording: true,
            has_ended: false,
            has_failed: false,
            current: None,
            attempts: 0,
            waker: None,
        })))
    }

    /// Wraps a body that is sent once, whatever happens.
    pub fn once(source: Body) -> Self {
        let replay = Self::new(source, &Arc::default());
        replay.commit();
        replay
    }

    /// The body of the next attempt; the attempt before stops sending.
    pub fn attempt(&self) -> AttemptBody {
        let mut state = self.0.lock();
        state.attempts += 1;
        state.current = Some(state.attempts);
        let woken = state.waker.take();
        let body = AttemptBody {
            state: Arc::clone(&self.0),
            attempt: state.attempts,
            next: 0,
        };
        drop(state);
        wake(woken);
        body
    }

    /// Whether another attempt could send the request from its first byte.
    pub(crate) fn is_replayable(&self) -> bool {
        self.0.lock().is_recording
    }

    /// Whether the caller's body broke off: what became of the attempt then is no fault of its endpoint.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.lock().has_failed
    }

    /// No other attempt will come: nothing needs to be kept any more.
    pub(crate) fn commit(&self) {
        self.0.lock().is_recording = false;
    }

    /// The call is over: whatever is still sending resets its stream with `CANCEL`.
    pub fn cancel(&self) {
        let mut state = self.0.lock();
        state.current = None;
        state.forget();
        let woken = state.waker.take();
        drop(state);
        wake(woken);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        if !self.is_recording {
            return;
        }
        if let Some(bytes) = frame.data_ref() {
            let all = self.quota.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
            self.kept_bytes += bytes.len();
            if self.kept_bytes > REPLAY_LIMIT_BYTES || all > ALL_REPLAYS_LIMIT_BYTES {
                self.is_recording = false;
                return;
            }
            self.kept.push(Kept::Bytes(bytes.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.kept.push(Kept::Trailers(trailers.clone()));
        }
    }

    fn forget(&mut self) {
        self.is_recording = false;
        self.kept = Vec::new();
        self.quota.fetch_sub(self.kept_bytes, Ordering::Relaxed);
        self.kept_bytes = 0;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The request body of one attempt.
pub struct AttemptBody {
    state: Arc<Mutex<State>>,
    attempt: u32,
    next: usize,
}

impl http_body::Body for AttemptBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut state = this.state.lock();
        if state.current != Some(this.attempt) {
            // hyper finds the h2 reason in the error and resets the stream with it.
            return Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL).into())));
        }
        if let Some(kept) = state.kept.get(this.next).cloned() {
            this.next += 1;
            return Poll::Ready(Some(Ok(match kept {
                Kept::Bytes(bytes) => Frame::data(bytes),
                Kept::Trailers(trailers) => Frame::trailers(trailers),
            })));
        }
        if !state.is_recording && state.kept_bytes > 0 {
            state.forget();
            this.next = 0;
        }
        if state.has_ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut state.source).poll_frame(cx) {
            Poll::Pending => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Poll::Ready(None) => {
                state.has_ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                state.keep(&frame);
                this.next = state.kept.len();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                state.has_failed = true;
                state.forget();
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.lock();
        self.next >= state.kept.len() && (state.has_ended || state.source.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::body::boxed;

    fn source(chunks: &[usize]) -> Body {
        let frames: Vec<Result<Frame<Bytes>, BodyError>> = chunks
            .iter()
            .map(|&length| Ok(Frame::data(Bytes::from(vec![b'x'; length]))))
            .collect();
        boxed(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_second_attempt_sends_everything_again() {
        let quota = Arc::new(AtomicUsize::new(0));
        let replay = Replay::new(source(&[3, 4, 5]), &quota);
        let mut first = replay.attempt();
        let frame = first.frame().await.expect("a frame").expect("data");
        assert_eq!(frame.data_ref().map(Bytes::len), Some(3));
        assert!(replay.is_replayable());

        let second = replay.attempt();
        assert!(first.frame().await.expect("a frame").is_err());
        assert_eq!(second.collect().await.expect("whole").to_bytes().len(), 12);
        drop((first, replay));
        assert_eq!(quota.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_request_beyond_the_limit_is_sent_once_and_not_kept() {
        let quota = Arc::new(AtomicUsize::new(0));
        let half = REPLAY_LIMIT_BYTES / 2;
        let replay = Replay::new(source(&[half, half, 1, half]), &quota);
        let mut body = replay.attempt();
        for left in [true, true, false, false] {
            body.frame().await.expect("a frame").expect("data");
            assert_eq!(replay.is_replayable(), left);
        }
        assert!(body.frame().await.is_none());
        assert_eq!(quota.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_cancelled_call_resets_its_stream() {
        let replay = Replay::new(source(&[1]), &Arc::default());
        let mut body = replay.attempt();
        replay.cancel();
        let error = body.frame().await.expect("a frame").expect_err("cancelled");
        let reason = error
            .downcast_ref::<h2::Error>()
            .and_then(h2::Error::reason);
        assert_eq!(reason, Some(h2::Reason::CANCEL));
    }
}
