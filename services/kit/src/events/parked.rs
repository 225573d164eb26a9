//! Events that a consumer gave up, and how an operator has them dealt with after all.
//!
//! ```sql
//! SELECT consumer, source, sequence, event_type, event_key, error FROM kit_parked_event;
//! UPDATE kit_parked_event SET replay = TRUE WHERE sequence = 17;  -- once more, within 2 s
//! DELETE FROM kit_parked_event WHERE sequence = 17;               -- never
//! ```
//!
//! The metric `events_parked` says how many there are.

use std::time::Duration;

use prost::Message as _;

use super::{Consumer, Event, Handler, metrics};
use crate::{Db, StoreError, Tx, params, time};

/// How often a consumer looks for events it shall deal with once more.
const REPLAY_INTERVAL: Duration = Duration::from_secs(2);

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Parked {
    /// The consumer that gave it up.
    pub consumer: String,
    /// The service it came from.
    pub source: String,
    /// Its sequence there.
    pub sequence: i64,
    /// Its type.
    pub event_type: String,
    /// What it is about.
    pub event_key: String,
    /// The last error.
    pub error: String,
    /// When, in microseconds since 1970.
    pub parked_at: i64,
}

/// The events that were given up, oldest first, at most 1,000.
///
/// # Errors
///
/// If the database does not answer.
pub async fn parked(db: &Db) -> Result<Vec<Parked>, StoreError> {
    let sql = "SELECT consumer, source, sequence, event_type, event_key, error, parked_at \
               FROM kit_parked_event ORDER BY parked_at, sequence LIMIT 1000";
    db.fetch_all(sql, params![]).await
}

impl Consumer {
    pub(super) async fn park(
        &self,
        tx: &mut Tx,
        event: &Event,
        reason: &str,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO kit_parked_event (consumer, source, sequence, event_type, event_key, \
                   event, error, parked_at, replay) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let values = params![
            &self.name,
            &self.source,
            event.sequence,
            &event.r#type,
            &event.key,
            event.encode_to_vec(),
            reason,
            time::now_micros(),
            false
        ];
        tx.execute(sql, values).await?;
        Ok(())
    }

    /// Deals with parked events that are marked for it, and counts those that are left, until it is
    /// dropped.
    pub(super) async fn replay(&self, handler: &dyn Handler) {
        loop {
            if let Err(error) = self.replay_marked(handler).await {
                tracing::warn!(
                    consumer = self.name,
                    source = self.source,
                    error = &error as &dyn std::error::Error,
                    "parked events wait"
                );
            }
            tokio::time::sleep(REPLAY_INTERVAL).await;
        }
    }

    async fn replay_marked(&self, handler: &dyn Handler) -> Result<(), StoreError> {
        while let Some((sequence, event)) = self.marked().await? {
            let replayed = self.replay_one(handler, sequence, &event).await;
            let (consumer, source) = (&self.name, &self.source);
            let Err(error) = replayed else {
                tracing::info!(
                    consumer,
                    source,
                    event.sequence = sequence,
                    "event replayed"
                );
                continue;
            };
            let reason = format!("{error:#}");
            match error.downcast::<StoreError>() {
                Ok(store) if store.is_transient() => return Err(store),
                _ => self.unmark(sequence, &reason).await?,
            }
            tracing::error!(
                consumer,
                source,
                event.sequence = sequence,
                reason,
                "event stays parked"
            );
        }
        let sql = "SELECT COUNT(*) FROM kit_parked_event WHERE consumer = $1 AND source = $2";
        let values = params![&self.name, &self.source];
        let (count,) = self.db.fetch_one::<(i64,)>(sql, values).await?;
        metrics::EVENTS.parked(&self.name, &self.source, count);
        Ok(())
    }

    async fn marked(&self) -> Result<Option<(i64, Vec<u8>)>, StoreError> {
        let sql = "SELECT sequence, event FROM kit_parked_event \
                   WHERE consumer = $1 AND source = $2 AND replay ORDER BY sequence LIMIT 1";
        let values = params![&self.name, &self.source];
        self.db.fetch_optional(sql, values).await
    }

    async fn replay_one(
        &self,
        handler: &dyn Handler,
        sequence: i64,
        event: &[u8],
    ) -> anyhow::Result<()> {
        let event = Event::decode(event)?;
        let mut tx = self.db.begin().await?;
        let sql = "DELETE FROM kit_parked_event \
                   WHERE consumer = $1 AND source = $2 AND sequence = $3 AND replay";
        let values = params![&self.name, &self.source, sequence];
        // Another replica may have been faster.
        if tx.execute(sql, values).await? == 1 {
            handler.handle(&mut tx, &event).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn unmark(&self, sequence: i64, reason: &str) -> Result<(), StoreError> {
        let sql = "UPDATE kit_parked_event SET replay = FALSE, error = $4 \
                   WHERE consumer = $1 AND source = $2 AND sequence = $3";
        let values = params![&self.name, &self.source, sequence, reason];
        self.db.execute(sql, values).await.map(drop)
    }
}
