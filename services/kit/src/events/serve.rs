//! `weft.events.v1.EventService` over the outbox.

use std::{collections::HashSet, time::Duration};

use contracts::weft::events::v1::{
    Event, StreamEventsRequest, StreamEventsResponse, event_service_server::EventService,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument as _;

use super::Events;
use crate::{Db, StoreError, params, status, time, validate};

/// Rows that are read at once.
const BATCH: i64 = 100;
/// Events that wait for a slow consumer.
const BUFFERED: usize = 32;
/// How soon events of another process on the same database are seen.
const POLL: Duration = Duration::from_millis(250);
/// Consumers come back after this, perhaps to another replica.
const STREAM_AGE: Duration = Duration::from_secs(300);

/// Serves the events of one database.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: Db,
    drain: CancellationToken,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    sequence: i64,
    id: String,
    event_type: String,
    event_key: String,
    payload: Vec<u8>,
    traceparent: String,
    created_at: i64,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        Self {
            sequence: row.sequence,
            id: row.id,
            payload: Some(prost_types::Any {
                type_url: format!("type.googleapis.com/{}", row.event_type),
                value: row.payload,
            }),
            r#type: row.event_type,
            key: row.event_key,
            time: Some(time::to_timestamp(row.created_at)),
            traceparent: row.traceparent,
        }
    }
}

impl Outbox {
    pub(super) fn new(db: Db, drain: CancellationToken) -> Self {
        Self { db, drain }
    }

    async fn last_sequence(&self) -> Result<i64, StoreError> {
        let head = "SELECT sequence FROM kit_outbox_head WHERE id = 1";
        Ok(self.db.fetch_one::<(i64,)>(head, params![]).await?.0)
    }

    async fn batch(&self, after: i64) -> Result<Vec<EventRow>, StoreError> {
        let sql = "SELECT sequence, id, event_type, event_key, payload, traceparent, created_at \
                   FROM kit_outbox WHERE sequence > $1 ORDER BY sequence LIMIT $2";
        self.db.fetch_all(sql, params![after, BATCH]).await
    }

    /// Sends until the consumer is gone, the stream is old, the service drains or the store fails.
    async fn tail(
        self,
        mut after: i64,
        types: HashSet<String>,
        sender: mpsc::Sender<Result<StreamEventsResponse, Status>>,
    ) {
        let old = Instant::now() + STREAM_AGE;
        loop {
            // Armed before the read, so that an append in between is not missed.
            let appended = self.db.appended().notified();
            tokio::pin!(appended);
            appended.as_mut().enable();
            let rows = match self.batch(after).await {
                Ok(rows) => rows,
                Err(error) => {
                    let _ = sender.send(Err(error.into())).await;
                    return;
                }
            };
            let empty = rows.is_empty();
            for row in rows {
                after = row.sequence;
                if !types.is_empty() && !types.contains(&row.event_type) {
                    continue;
                }
                let event = StreamEventsResponse {
                    event: Some(row.into()),
                };
                if !self.send(&sender, Ok(event), old).await {
                    return;
                }
            }
            if self.ended(&sender, old).await {
                return;
            }
            if empty {
                tokio::select! {
                    () = &mut appended => {}
                    () = tokio::time::sleep(POLL) => {}
                    () = self.drain.cancelled() => {}
                    () = sender.closed() => return,
                }
            }
        }
    }

    async fn send(
        &self,
        sender: &mpsc::Sender<Result<StreamEventsResponse, Status>>,
        event: Result<StreamEventsResponse, Status>,
        old: Instant,
    ) -> bool {
        tokio::select! {
            sent = sender.send(event) => sent.is_ok(),
            () = self.drain.cancelled() => {
                let _ = sender.try_send(Err(draining()));
                false
            }
            () = tokio::time::sleep_until(old) => false,
        }
    }

    async fn ended(
        &self,
        sender: &mpsc::Sender<Result<StreamEventsResponse, Status>>,
        old: Instant,
    ) -> bool {
        if self.drain.is_cancelled() {
            let _ = sender.try_send(Err(draining()));
            return true;
        }
        Instant::now() >= old
    }
}

fn draining() -> Status {
    Status::unavailable("the service drains")
}

#[tonic::async_trait]
impl EventService for Outbox {
    type StreamEventsStream = Events;

    async fn stream_events(
        &self,
        request: Request<StreamEventsRequest>,
    ) -> Result<Response<Events>, Status> {
        let request = request.into_inner();
        validate(&request)?;
        if request.after_sequence > self.last_sequence().await? {
            // The database was replaced by an older one: going on would skip its new events.
            return Err(status::error_info(
                Code::OutOfRange,
                "UNKNOWN_SEQUENCE",
                "after_sequence lies beyond the last event",
                [("afterSequence", request.after_sequence.to_string().as_str())],
            ));
        }
        let (sender, receiver) = mpsc::channel(BUFFERED);
        let types = request.types.into_iter().collect();
        let tail = self.clone().tail(request.after_sequence, types, sender);
        // Ends when the receiver is dropped with the response.
        tokio::spawn(tail.in_current_span());
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
