//! `weft.events.v1.EventService` over the outbox.

use std::{collections::HashSet, time::Duration, vec};

use contracts::weft::events::v1::{
    Event, StreamEventsRequest, StreamEventsResponse, event_service_server::EventService,
};
use futures::stream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

use super::Events;
use crate::{Db, StoreError, params, status, time, validate};

/// Rows that are read at once.
const BATCH: i64 = 100;
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

    /// The last event of these types (all, if none is named) that was forgotten; 0 if none was.
    async fn forgotten(&self, types: &HashSet<String>) -> Result<i64, StoreError> {
        let sql = "SELECT event_type, sequence FROM kit_outbox_forgotten";
        let rows: Vec<(String, i64)> = self.db.fetch_all(sql, params![]).await?;
        let wanted = rows
            .into_iter()
            .filter(|(event_type, _)| types.is_empty() || types.contains(event_type));
        Ok(wanted.map(|(_, sequence)| sequence).max().unwrap_or(0))
    }

    async fn batch(&self, after: i64) -> Result<Vec<EventRow>, StoreError> {
        let sql = "SELECT sequence, id, event_type, event_key, payload, traceparent, created_at \
                   FROM kit_outbox WHERE sequence > $1 ORDER BY sequence LIMIT $2";
        self.db.fetch_all(sql, params![after, BATCH]).await
    }

    /// Where a stream starts that asks for events behind `after`.
    async fn start(&self, after: i64, types: &HashSet<String>) -> Result<i64, Status> {
        if after == 0 {
            return Ok(self.forgotten(&HashSet::new()).await?);
        }
        if after > self.last_sequence().await? {
            // The database was replaced by an older one: going on would skip its new events.
            return Err(out_of_range(
                "UNKNOWN_SEQUENCE",
                "after_sequence lies beyond the last event",
                after,
            ));
        }
        self.nothing_missed(after, types).await.map(|()| after)
    }

    /// Fails if events behind `after` are not there any more.
    async fn nothing_missed(&self, after: i64, types: &HashSet<String>) -> Result<(), Status> {
        if self.forgotten(types).await? <= after {
            return Ok(());
        }
        let message = "events behind after_sequence are not kept any more";
        Err(out_of_range("EVENTS_FORGOTTEN", message, after))
    }
}

fn out_of_range(reason: &str, message: &str, after: i64) -> Status {
    let after = after.to_string();
    let facts = [("afterSequence", after.as_str())];
    status::error_info(Code::OutOfRange, reason, message, facts)
}

/// One stream. It reads when its consumer has room, so a slow one holds a batch and nothing else.
struct Tail {
    outbox: Outbox,
    after: i64,
    types: HashSet<String>,
    batch: vec::IntoIter<EventRow>,
    old: Instant,
}

type Item = Result<StreamEventsResponse, Status>;

impl Tail {
    /// The next event, once there is one; ends when the stream is old, the service drains or the store
    /// fails.
    async fn next(mut self) -> Option<(Item, Option<Self>)> {
        loop {
            if self.outbox.drain.is_cancelled() {
                let message = "this replica ends; stream again";
                return Some((Err(status::unavailable("DRAINING", message)), None));
            }
            if Instant::now() >= self.old {
                return None;
            }
            for row in self.batch.by_ref() {
                self.after = row.sequence;
                if self.types.is_empty() || self.types.contains(&row.event_type) {
                    let event = Some(row.into());
                    return Some((Ok(StreamEventsResponse { event }), Some(self)));
                }
            }
            if let Err(error) = self.read().await {
                return Some((Err(error), None));
            }
        }
    }

    /// Fills the batch; waits for a while if there is nothing to read.
    async fn read(&mut self) -> Result<(), Status> {
        // Armed before the read, so that an append in between is not missed.
        let appended = self.outbox.db.appended().notified();
        tokio::pin!(appended);
        appended.as_mut().enable();
        let rows = self.outbox.batch(self.after).await?;
        match rows.first() {
            // The numbers have no gaps, so what is missing was forgotten while the stream was open.
            Some(first) if first.sequence > self.after + 1 => {
                self.outbox.nothing_missed(self.after, &self.types).await?;
            }
            Some(_) => {}
            None => tokio::select! {
                () = &mut appended => {}
                () = tokio::time::sleep(POLL) => {}
                () = self.outbox.drain.cancelled() => {}
            },
        }
        self.batch = rows.into_iter();
        Ok(())
    }
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
        let types = request.types.into_iter().collect();
        let tail = Tail {
            outbox: self.clone(),
            after: self.start(request.after_sequence, &types).await?,
            types,
            batch: Vec::new().into_iter(),
            old: Instant::now() + STREAM_AGE,
        };
        let events = stream::unfold(Some(tail), |tail| async { tail?.next().await });
        Ok(Response::new(Box::pin(events)))
    }
}
