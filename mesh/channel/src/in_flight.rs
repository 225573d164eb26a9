//! One attempt while it is under way: what the engine, the metrics and the request know of it.

use std::sync::Arc;

use http::HeaderMap;
use tokio::time::Instant;
use weft_policy::{Attempt, Failure, Slot, code};
use weft_runtime::metrics::calls::ClientLabels;

use crate::{
    Inner, headers, load,
    messages::Traffic,
    pool::{Breaker, Place},
    replay::{AttemptBody, Replay},
};

/// One request that an endpoint is busy with; the engine balances by it. Dropped, the attempt is over:
/// whatever it still sends is cancelled.
pub(crate) struct InFlight {
    inner: Arc<Inner>,
    /// Taken when it is dropped.
    attempt: Option<Attempt>,
    labels: ClientLabels,
    replay: Replay,
    /// The attempt's number among the call's.
    number: usize,
    started: Instant,
    has_ended: bool,
}

impl InFlight {
    pub(crate) fn new(
        inner: Arc<Inner>,
        attempt: Attempt,
        labels: ClientLabels,
        replay: Replay,
    ) -> (Self, AttemptBody) {
        inner.metrics.attempt_started(&labels);
        let body = replay.attempt();
        let in_flight = Self {
            inner,
            attempt: Some(attempt),
            labels,
            number: body.number(),
            replay,
            started: Instant::now(),
            has_ended: false,
        };
        (in_flight, body)
    }

    #[expect(clippy::expect_used, reason = "only the drop takes it")]
    pub(crate) fn attempt(&self) -> &Attempt {
        self.attempt.as_ref().expect("only the drop takes it")
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The stream is over, with what was received on it, or it is known that there will be none.
    pub(crate) fn ended(&mut self, status: i32, received: Traffic) {
        if !std::mem::replace(&mut self.has_ended, true) {
            let took = self.started.elapsed();
            let traffic = [self.replay.sent(self.number), received];
            self.inner
                .metrics
                .attempt_ended(&self.labels, status, took, traffic);
        }
    }

    /// This attempt's answer is the call's: no other sends the request any more.
    pub(crate) fn commit(&self) {
        self.replay.commit(self.number);
    }

    /// Tells the engine what the endpoint says of its load, if it does.
    pub(crate) fn report_load(&self, trailers: &HeaderMap) {
        let text = trailers.get(headers::LOAD_METRICS);
        let report = match text.and_then(|value| value.to_str().ok()) {
            Some(text) => load::parse_text(text),
            None => headers::binary(trailers, headers::LOAD_METRICS_BIN)
                .and_then(|bytes| load::parse_binary(&bytes)),
        };
        if let Some(report) = report {
            let now = Instant::now().into_std();
            let mut engine = self.inner.engine.lock();
            engine.load_report(self.attempt(), report, now);
        }
    }

    fn place(&self, slot: Result<Slot, Failure>) -> Result<Place, Failure> {
        Ok(Box::new(Taken {
            inner: Arc::clone(&self.inner),
            slot: Some(slot?),
        }))
    }
}

impl Breaker for InFlight {
    fn connection(&self) -> Result<Place, Failure> {
        let slot = self.inner.engine.lock().connection(self.attempt());
        self.place(slot)
    }

    fn pending(&self) -> Result<Place, Failure> {
        let slot = self.inner.engine.lock().pending(self.attempt());
        self.place(slot)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.ended(code::CANCELLED, Traffic::default());
        self.replay.stop(self.number);
        if let Some(attempt) = self.attempt.take() {
            self.inner.engine.lock().release(attempt);
        }
    }
}

/// A place among what circuit breakers count.
struct Taken {
    inner: Arc<Inner>,
    /// Taken when it is dropped.
    slot: Option<Slot>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.inner.engine.lock().free(slot);
        }
    }
}
