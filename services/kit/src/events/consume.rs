//! The consumer of another service's events.

use std::time::Duration;

use contracts::weft::events::v1::{
    Event, StreamEventsRequest, event_service_client::EventServiceClient,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{Instrument as _, field};

use super::metrics;
use crate::{Db, StoreError, Tx, Upstream, call, server::code_name};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
const TRIES: i64 = 5;

/// What happens for an event.
#[tonic::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Deals with one event. All it changes must be changed through `tx`: the consumer's place moves in
    /// the same transaction, so the effect happens once. It must not wait for other services.
    ///
    /// # Errors
    ///
    /// Any error undoes the transaction. A [`StoreError`] that may pass is tried again for as long as
    /// it takes; anything else a few times, then the event is parked and the next one comes.
    async fn handle(&self, tx: &mut Tx, event: &Event) -> anyhow::Result<()>;
}

/// Reads the events of one service into this one's database, each with its effect exactly once. Any
/// number of processes on the same database may do so at the same time.
#[derive(Clone, Debug)]
pub struct Consumer {
    pub(super) name: String,
    pub(super) source: String,
    types: Vec<String>,
    tries: i64,
    upstream: Upstream,
    pub(super) db: Db,
}

impl Consumer {
    /// A consumer called `name` of the events of `upstream`, with its place in `db`. `source` is the
    /// plain name of the service, such as `orders`: with `name` it is the key of the place, so neither
    /// may change later.
    pub fn new(name: &str, source: &str, upstream: Upstream, db: Db) -> Self {
        Self {
            name: name.to_owned(),
            source: source.to_owned(),
            types: Vec::new(),
            tries: TRIES,
            upstream,
            db,
        }
    }

    /// Only events of these types (full message names). Default: all.
    #[must_use]
    pub fn types<'a>(mut self, types: impl IntoIterator<Item = &'a str>) -> Self {
        self.types = types.into_iter().map(str::to_owned).collect();
        self
    }

    /// How often an event is tried before it is parked. Default: 5.
    #[must_use]
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = i64::from(tries.max(1));
        self
    }

    /// Consumes until `token` is cancelled. While the source cannot be reached it tries again, with
    /// growing pauses of at most 5 s.
    ///
    /// # Errors
    ///
    /// Never by itself; the type fits [`crate::Server::with_task`].
    pub async fn run(self, handler: impl Handler, token: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = token.cancelled() => {}
            () = call::without_deadline(self.follow(&handler)) => {}
            () = self.replay(&handler) => {}
        }
        Ok(())
    }

    /// Reads stream after stream until it is dropped.
    async fn follow(&self, handler: &dyn Handler) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let started = Instant::now();
            let mut dealt = 0;
            if let Err(error) = self.stream(handler, &mut dealt).await {
                self.report(&error);
            }
            // A stream that did something, or lived, was not refused.
            if dealt > 0 || started.elapsed() > MAX_BACKOFF {
                backoff = FIRST_BACKOFF;
            }
            tokio::time::sleep(jittered(backoff)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// Reads one stream to its end; counts the events that were dealt with.
    async fn stream(&self, handler: &dyn Handler, dealt: &mut u64) -> anyhow::Result<()> {
        let after_sequence = self.place().await?;
        let request = StreamEventsRequest {
            after_sequence,
            types: self.types.clone(),
        };
        let mut client = EventServiceClient::new(self.upstream.clone());
        let mut stream = client.stream_events(request).await?.into_inner();
        tracing::debug!(
            consumer = self.name,
            source = self.source,
            after_sequence,
            "streaming events"
        );
        while let Some(next) = stream.message().await? {
            let Some(event) = next.event else { continue };
            self.deal_with(handler, &event).await?;
            *dealt += 1;
        }
        Ok(())
    }

    fn report(&self, error: &anyhow::Error) {
        let (consumer, source) = (&self.name, &self.source);
        let Some(status) = error.downcast_ref::<Status>() else {
            let error = format!("{error:#}");
            tracing::warn!(consumer, source, error, "events wait");
            return;
        };
        let (code, message) = (code_name(status.code()), status.message());
        metrics::EVENTS.stream_broke(consumer, source, code);
        if status.code() == Code::OutOfRange {
            // It stays so until a human decides from where to go on, in `kit_cursor`.
            tracing::error!(
                consumer,
                source,
                message,
                "the source lacks the next events"
            );
        } else {
            tracing::warn!(
                consumer,
                source,
                code,
                message,
                "event stream broke, reconnecting"
            );
        }
    }

    /// Tries until the event is dealt with or parked.
    async fn deal_with(&self, handler: &dyn Handler, event: &Event) -> anyhow::Result<()> {
        let span = tracing::info_span!(
            "event",
            otel.name = format!("consume {}", event.r#type),
            otel.kind = "consumer",
            otel.status_code = field::Empty,
            event.sequence = event.sequence,
            event.key = event.key,
        );
        weft_runtime::trace::resume(&event.traceparent, &span);
        let recorded = span.clone();
        async {
            let mut pause = FIRST_BACKOFF;
            loop {
                let Err(error) = self.try_once(handler, event).await else {
                    return Ok(());
                };
                recorded.record("otel.status_code", "ERROR");
                let transient = error
                    .downcast_ref::<StoreError>()
                    .is_some_and(StoreError::is_transient);
                // A store that is away is nobody's fault: the stream is read again later.
                if transient || self.give_up(event, &error).await? {
                    return if transient { Err(error) } else { Ok(()) };
                }
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(MAX_BACKOFF);
            }
        }
        .instrument(span)
        .await
    }

    async fn try_once(&self, handler: &dyn Handler, event: &Event) -> anyhow::Result<()> {
        let mut tx = self.db.begin().await?;
        if self.locked_place(&mut tx).await?.0 >= event.sequence {
            return Ok(());
        }
        handler.handle(&mut tx, event).await?;
        self.move_place(&mut tx, event.sequence).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Counts a failure; parks the event and returns true if it was the last one. The count is in the
    /// database: an event that kills the process comes to its end too.
    async fn give_up(&self, event: &Event, error: &anyhow::Error) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let (sequence, failures) = self.locked_place(&mut tx).await?;
        if sequence >= event.sequence {
            // Another process has dealt with it meanwhile.
            return Ok(true);
        }
        let failures = failures + 1;
        let reason = format!("{error:#}");
        let last = failures >= self.tries;
        if last {
            self.park(&mut tx, event, &reason).await?;
            self.move_place(&mut tx, event.sequence).await?;
        } else {
            self.count_failure(&mut tx, failures).await?;
        }
        tx.commit().await?;
        let (consumer, source, key) = (&self.name, &self.source, &event.key);
        if last {
            tracing::error!(
                consumer,
                source,
                event.sequence,
                key,
                reason,
                "event parked"
            );
        } else {
            tracing::warn!(
                consumer,
                source,
                event.sequence,
                key,
                failures,
                reason,
                "event failed"
            );
        }
        Ok(last)
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.0))
}
