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
use futures::stream;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use weft_policy::REPLAY_LIMIT_BYTES;

use crate::{
    body::{Body, BodyError, boxed},
    messages::{Messages, Traffic},
};

/// All calls of a channel together keep at most this much; a call beyond it is sent once.
const ALL_REPLAYS_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// The request of one call. Each attempt takes its own [`AttemptBody`], which sends what earlier ones
/// took from the caller and then goes on taking. Several may send at the same time, as long as
/// everything is kept.
#[derive(Clone)]
pub(crate) struct Replay(Arc<Mutex<State>>);

struct State {
    source: Body,
    /// What was taken from `source`, while it may have to be sent again.
    kept: Vec<Kept>,
    kept_bytes: usize,
    quota: Arc<AtomicUsize>,
    is_recording: bool,
    has_ended: bool,
    has_failed: bool,
    /// The attempts that may send; others find out that they are over.
    live: Vec<usize>,
    /// What each attempt has sent.
    sent: Vec<Messages>,
    /// What was taken from `source`.
    taken: Messages,
    /// Of the attempts that wait for the caller's next frame.
    wakers: Vec<Waker>,
    /// Wait for the whole request.
    copies: Vec<oneshot::Sender<Body>>,
}

#[derive(Clone)]
enum Kept {
    Bytes(Bytes),
    Trailers(HeaderMap),
}

impl From<Kept> for Frame<Bytes> {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Bytes(bytes) => Frame::data(bytes),
            Kept::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl Replay {
    /// Wraps the caller's body. `quota` counts what all calls of the channel keep.
    pub(crate) fn new(source: Body, quota: &Arc<AtomicUsize>) -> Self {
        Self(Arc::new(Mutex::new(State {
            has_ended: source.is_end_stream(),
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            quota: Arc::clone(quota),
            is_recording: true,
            has_failed: false,
            live: Vec::new(),
            sent: Vec::new(),
            taken: Messages::default(),
            wakers: Vec::new(),
            copies: Vec::new(),
        })))
    }

    /// Wraps a body that is sent once, whatever happens.
    pub(crate) fn once(source: Body) -> Self {
        let replay = Self::new(source, &Arc::default());
        replay.0.lock().stop_recording();
        replay
    }

    /// The body of another attempt.
    pub(crate) fn attempt(&self) -> AttemptBody {
        let mut state = self.0.lock();
        state.sent.push(Messages::default());
        let attempt = state.sent.len();
        state.live.push(attempt);
        AttemptBody {
            state: Arc::clone(&self.0),
            attempt,
            next: 0,
        }
    }

    /// A copy of the request, once all of it has been taken from the caller. An error if it is too long
    /// to be kept, or if the call was answered before.
    pub(crate) fn copy(&self) -> oneshot::Receiver<Body> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.0.lock();
        if state.is_recording {
            state.copies.push(sender);
            state.hand_out_copies();
        }
        receiver
    }

    /// What the caller has sent.
    pub(crate) fn taken(&self) -> Traffic {
        self.0.lock().taken.traffic()
    }

    /// What an attempt has sent.
    pub(crate) fn sent(&self, attempt: usize) -> Traffic {
        let state = self.0.lock();
        let sent = state.sent.get(attempt - 1).copied();
        sent.unwrap_or_default().traffic()
    }

    /// Whether another attempt could send the request from its first byte.
    pub(crate) fn is_replayable(&self) -> bool {
        self.0.lock().is_recording
    }

    /// Whether the caller's body broke off: what became of the attempt then is no fault of its endpoint.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.lock().has_failed
    }

    /// The attempt is over: if it is still sending it resets its stream with `CANCEL`.
    pub(crate) fn stop(&self, attempt: usize) {
        self.0.lock().keep_live(|other| other != attempt);
    }

    /// No other attempt than this one will send: nothing needs to be kept any more.
    pub(crate) fn commit(&self, attempt: usize) {
        let mut state = self.0.lock();
        state.keep_live(|other| other == attempt);
        state.stop_recording();
    }

    /// The call is over: whatever is still sending resets its stream with `CANCEL`.
    pub(crate) fn cancel(&self) {
        let mut state = self.0.lock();
        state.keep_live(|_| false);
        state.forget();
    }
}

impl State {
    /// An attempt sends this.
    fn see(&mut self, attempt: usize, bytes: Option<&Bytes>) {
        if let (Some(sent), Some(bytes)) = (self.sent.get_mut(attempt - 1), bytes) {
            sent.see(bytes);
        }
    }

    /// Keeps a frame that `attempt` has taken. If it is too much, `attempt` goes on alone.
    fn keep(&mut self, frame: &Frame<Bytes>, attempt: usize) {
        if !self.is_recording {
            return;
        }
        if let Some(bytes) = frame.data_ref() {
            let all = self.quota.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
            self.kept_bytes += bytes.len();
            if self.kept_bytes > REPLAY_LIMIT_BYTES || all > ALL_REPLAYS_LIMIT_BYTES {
                self.stop_recording();
                self.keep_live(|other| other == attempt);
                return;
            }
            self.kept.push(Kept::Bytes(bytes.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.kept.push(Kept::Trailers(trailers.clone()));
        }
    }

    fn ended(&mut self) {
        self.has_ended = true;
        self.hand_out_copies();
    }

    fn hand_out_copies(&mut self) {
        if !(self.has_ended && self.is_recording) {
            return;
        }
        for copy in std::mem::take(&mut self.copies) {
            let frames: Vec<Result<Frame<Bytes>, BodyError>> = self
                .kept
                .iter()
                .cloned()
                .map(|kept| Ok(kept.into()))
                .collect();
            // Whoever wanted it may have given up.
            let _ = copy.send(boxed(StreamBody::new(stream::iter(frames))));
        }
    }

    /// Attempts that end here are woken to find out, and others to take their turn at the source.
    fn keep_live(&mut self, keep: impl Fn(usize) -> bool) {
        self.live.retain(|attempt| keep(*attempt));
        self.wake();
    }

    fn wake(&mut self) {
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    fn stop_recording(&mut self) {
        self.is_recording = false;
        self.copies.clear();
    }

    fn forget(&mut self) {
        self.stop_recording();
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
pub(crate) struct AttemptBody {
    state: Arc<Mutex<State>>,
    attempt: usize,
    next: usize,
}

impl AttemptBody {
    /// The number by which the attempt is stopped.
    pub(crate) fn number(&self) -> usize {
        self.attempt
    }
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
        if !state.live.contains(&this.attempt) {
            // hyper finds the h2 reason in the error and resets the stream with it.
            return Poll::Ready(Some(Err(h2::Error::from(h2::Reason::CANCEL).into())));
        }
        if let Some(kept) = state.kept.get(this.next).cloned() {
            this.next += 1;
            let frame = Frame::from(kept);
            state.see(this.attempt, frame.data_ref());
            return Poll::Ready(Some(Ok(frame)));
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
                if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                state.ended();
                state.wake();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    state.taken.see(bytes);
                }
                state.see(this.attempt, frame.data_ref());
                state.keep(&frame, this.attempt);
                this.next = state.kept.len();
                if state.source.is_end_stream() {
                    state.ended();
                }
                state.wake();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                state.has_failed = true;
                state.forget();
                state.keep_live(|_| false);
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.lock();
        self.next >= state.kept.len() && state.has_ended
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn source(chunks: &[usize]) -> Body {
        let frames: Vec<Result<Frame<Bytes>, BodyError>> = chunks
            .iter()
            .map(|&length| Ok(Frame::data(Bytes::from(vec![b'x'; length]))))
            .collect();
        boxed(StreamBody::new(stream::iter(frames)))
    }

    async fn length(body: &mut AttemptBody) -> Option<usize> {
        let frame = body.frame().await?.expect("data");
        frame.data_ref().map(Bytes::len)
    }

    async fn is_reset(body: &mut AttemptBody) -> bool {
        let Some(Err(error)) = body.frame().await else {
            return false;
        };
        let h2 = error.downcast_ref::<h2::Error>();
        h2.and_then(h2::Error::reason) == Some(h2::Reason::CANCEL)
    }

    #[tokio::test]
    async fn a_second_attempt_sends_everything_again() {
        let quota = Arc::new(AtomicUsize::new(0));
        let replay = Replay::new(source(&[3, 4, 5]), &quota);
        let mut first = replay.attempt();
        assert_eq!(length(&mut first).await, Some(3));
        assert!(replay.is_replayable());
        replay.stop(first.number());

        let second = replay.attempt();
        assert!(is_reset(&mut first).await);
        assert_eq!(second.collect().await.expect("whole").to_bytes().len(), 12);
        drop((first, replay));
        assert_eq!(quota.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn attempts_at_the_same_time_each_send_everything_until_one_is_committed() {
        let replay = Replay::new(source(&[3, 4, 5]), &Arc::default());
        let (mut first, mut second) = (replay.attempt(), replay.attempt());
        assert_eq!(length(&mut first).await, Some(3));
        assert_eq!(length(&mut first).await, Some(4));
        assert_eq!(length(&mut second).await, Some(3));
        replay.commit(second.number());
        assert!(is_reset(&mut first).await);
        assert_eq!(length(&mut second).await, Some(4));
        assert_eq!(length(&mut second).await, Some(5));
        assert_eq!(length(&mut second).await, None);
    }

    #[tokio::test]
    async fn a_request_beyond_the_limit_is_sent_once_and_not_kept() {
        let quota = Arc::new(AtomicUsize::new(0));
        let half = REPLAY_LIMIT_BYTES / 2;
        let replay = Replay::new(source(&[half, half, 1, half]), &quota);
        let mut behind = replay.attempt();
        let copy = replay.copy();
        let mut body = replay.attempt();
        for left in [true, true, false, false] {
            body.frame().await.expect("a frame").expect("data");
            assert_eq!(replay.is_replayable(), left);
        }
        assert!(is_reset(&mut behind).await);
        assert!(copy.await.is_err());
        assert!(body.frame().await.is_none());
        assert_eq!(quota.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_copy_comes_once_the_request_is_whole() {
        let replay = Replay::new(source(&[3, 4]), &Arc::default());
        let mut copy = replay.copy();
        let mut body = replay.attempt();
        assert_eq!(length(&mut body).await, Some(3));
        assert!(copy.try_recv().is_err());
        assert_eq!(length(&mut body).await, Some(4));
        assert_eq!(length(&mut body).await, None);
        let copy = copy.await.expect("a copy");
        assert_eq!(copy.collect().await.expect("whole").to_bytes().len(), 7);
    }

    #[tokio::test]
    async fn a_cancelled_call_resets_its_stream() {
        let replay = Replay::new(source(&[1]), &Arc::default());
        let mut body = replay.attempt();
        replay.cancel();
        assert!(is_reset(&mut body).await);
    }
}
